//! Everything that follows from one config, built whole before any of it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::plans::{self, Destinations, Gates};
use super::sources::{Bench, Polled, Sources, leftovers};
use super::tasks::{Name, Work};
use super::{AppError, OWNER, Parts, operator};
use crate::admin::{Operator, Reloads};
use crate::config::Config;
use crate::config::compare::Comparison;
use crate::connectors::Hook;
use crate::connectors::client::Client;
use crate::deliver::gate::{Gate, Shared};
use crate::deliver::{Destination, Plan, Services, probe, refill, worker};
use crate::intake::Intake;

/// What a config comes to.
pub struct Scene {
    pub config: Arc<Config>,
    pub services: Arc<Services>,
    pub gates: Gates,
    pub sinks: Destinations,
    pub pollers: BTreeMap<String, Polled>,
}

/// What is new of it, and to be started.
pub struct Fresh {
    pub hooks: Vec<(String, Box<dyn Hook>)>,
    pub work: Vec<Work>,
    /// The accounts whose limits are others than before.
    pub limits: BTreeSet<String>,
}

/// What there was before, as far as it is the same and goes on.
#[derive(Clone, Copy)]
pub struct Before<'a>(Option<(&'a Scene, Comparison<'a>)>);

impl<'a> Before<'a> {
    /// At the start.
    pub fn nothing() -> Self {
        Self(None)
    }

    /// When a config takes the place of another.
    pub fn of(scene: &'a Scene, new: &'a Config) -> Self {
        Self(Some((scene, Comparison { old: &scene.config, new })))
    }

    pub fn gate(&self, account: &str) -> Option<Arc<Gate>> {
        let (scene, same) = self.0?;
        scene.gates.get(account).filter(|_| same.gate(account)).map(Arc::clone)
    }

    pub fn sink(&self, name: &str) -> Option<Arc<Destination>> {
        let (scene, same) = self.0?;
        scene.sinks.get(name).filter(|_| same.sink(name)).map(Arc::clone)
    }

    pub fn polled(&self, source: &str) -> Option<Polled> {
        self.0?.0.pollers.get(source).cloned()
    }

    pub fn source(&self, name: &str) -> bool {
        self.0.is_some_and(|(_, same)| same.source(name))
    }

    pub fn route(&self, name: &str) -> bool {
        self.0.is_some_and(|(_, same)| same.route(name))
    }

    /// True for a part that needs no successor.
    pub fn keeps(&self, part: &Name) -> bool {
        match part {
            Name::Route(name) => self.route(name),
            Name::Source(name) | Name::Inbox(name) => self.source(name),
            Name::Leftovers | Name::Common(_) => true,
        }
    }

    /// The client of before, where no account has other credentials now.
    fn client(&self) -> Option<Client> {
        let (scene, same) = self.0?;
        let changed = scene.gates.keys().filter(|account| !same.account(account)).cloned().collect();
        Some(scene.services.client.renewing(&changed))
    }

    /// True if no source is another.
    fn all_sources(&self) -> bool {
        self.0.is_some_and(|(_, same)| {
            same.old.sources.len() == same.new.sources.len() && same.new.sources.iter().all(|s| same.source(&s.name))
        })
    }
}

impl Scene {
    /// Builds all that there is new in a config.
    pub fn build(
        config: Arc<Config>,
        parts: &Parts,
        dry_run: bool,
        before: &Before<'_>,
    ) -> Result<(Self, Fresh), AppError> {
        let client = match before.client() {
            Some(client) => client,
            None => Client::new()?.keeping_tokens(Arc::clone(&parts.store)),
        };
        let (store, clock) = (Arc::clone(&parts.store), parts.clock.clone());
        let gates = plans::gates(&config, &Shared { store, clock, owner: OWNER.to_owned() }, before);
        let Sources { hooks, pollers, mut work } =
            Bench { parts, client: &client, gates: &gates, dry_run }.sources(&config, before)?;
        let services = Arc::new(parts.services(&config, client, dry_run)?);
        let sinks = plans::destinations(&services, &gates, before)?;
        for plan in plans::plans(&services, &sinks, &gates, before)? {
            work.push(route(plan, Arc::clone(&services)));
        }
        if !before.all_sources() {
            work.push(leftovers(&config, parts));
        }
        let limits = gates.keys().filter(|account| before.gate(account).is_none()).cloned().collect();
        Ok((Self { config, services, gates, sinks, pollers }, Fresh { hooks, work, limits }))
    }

    /// What is done for all routes and sources together.
    pub fn common(&self, intake: &Arc<Intake>) -> Vec<Work> {
        let common = |name| (Name::Common(name), BTreeSet::new());
        let ((name, none), services) = (common("refill"), Arc::clone(&self.services));
        let mut all = vec![Work::new(name, none, |until| refill::run(services, until)).with_queues()];
        let ((name, none), services, intake) = (common("housekeeping"), Arc::clone(&self.services), Arc::clone(intake));
        all.push(Work::new(name, none, |until| super::housekeeping::run(services, intake, until)));
        if !self.services.dry_run {
            let ((name, none), services) = (common("probe"), Arc::clone(&self.services));
            let probed = self.sinks.values().cloned().collect();
            all.push(Work::new(name, none, |until| probe::run(probed, services, until)));
            let ((name, none), alerts) =
                (common("alerts"), plans::alerts(&self.services, &self.sinks, &self.gates, OWNER));
            all.push(Work::new(name, none, |until| alerts.run(until)));
        }
        all
    }

    /// Who answers by this config.
    pub fn operator(&self, parts: &Parts, reloads: &Arc<Reloads>) -> Operator {
        let pollers = || self.pollers.iter();
        let (client, redactor) = (self.services.client.clone(), Arc::clone(&self.services.redactor));
        Operator {
            pollers: pollers().map(|(source, polled)| (source.clone(), Arc::clone(&polled.wake))).collect(),
            pasts: pollers().map(|(source, polled)| (source.clone(), Arc::clone(&polled.poller))).collect(),
            gates: self.gates.clone(),
            sinks: self.sinks.clone(),
            ..operator(&self.config, parts, client, redactor, Arc::clone(reloads))
        }
    }
}

/// What delivers on a route.
fn route(plan: Plan, services: Arc<Services>) -> Work {
    let name = Name::Route(plan.route().name.clone());
    let own = std::iter::once(plan.to.gate.account.clone());
    let accounts = own.chain(plan.lookups.iter().map(|part| part.gate.account.clone())).collect();
    Work::new(name, accounts, |until| worker::run(Arc::new(plan), services, until)).with_queues()
}
