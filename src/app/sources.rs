//! What polls, receives and reads anew, with what each needs to know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::plans::Gates;
use super::scene::Before;
use super::tasks::{Name, Work};
use super::{AppError, OWNER, Parts};
use crate::broker::inbox_of;
use crate::config::{Config, SourceConfig};
use crate::connectors::client::Client;
use crate::connectors::{Fetch, Hook, Poller, SourceRole, Stream};
use crate::deliver::gate::Gate;
use crate::deliver::patience;
use crate::fetch::FetchLoop;
use crate::poll::PollLoop;
use crate::poll::meter::AccountMeter;
use crate::stream::StreamLoop;

/// What there is new of a config's sources.
#[derive(Default)]
pub struct Sources {
    /// What receives webhooks, with the name of its source.
    pub hooks: Vec<(String, Box<dyn Hook>)>,
    /// What polls; of those that go on as well.
    pub pollers: BTreeMap<String, Polled>,
    /// What works for a source until it is told to stop.
    pub work: Vec<Work>,
}

/// What sources are built with.
pub struct Bench<'a> {
    pub parts: &'a Parts,
    pub client: &'a Client,
    pub gates: &'a Gates,
    pub dry_run: bool,
}

impl Bench<'_> {
    /// Builds all sources that are switched on, those that go on from before excepted.
    pub fn sources(&self, config: &Config, before: &Before<'_>) -> Result<Sources, AppError> {
        let mut sources = Sources::default();
        for source in config.sources.iter().filter(|source| source.enabled) {
            if before.source(&source.name) {
                let polled = before.polled(&source.name).map(|polled| (source.name.clone(), polled));
                sources.pollers.extend(polled);
            } else {
                self.source(config, source, &mut sources)?;
            }
        }
        Ok(sources)
    }

    fn source(&self, config: &Config, source: &SourceConfig, all: &mut Sources) -> Result<(), AppError> {
        let gate = source.account.as_ref().and_then(|account| self.gates.get(account));
        let client = gate.map_or_else(|| self.client.clone(), |gate| self.client.metered(meter(gate, self.parts)));
        let role = config
            .build_source(source, &client, &self.parts.clock)
            .map_err(|faults| AppError::Build { name: source.name.clone(), faults })?;
        let name = source.name.clone();
        let accounts: BTreeSet<String> = source.account.iter().cloned().collect();
        match role {
            SourceRole::Hook(hook) => {
                if hook.unverified() {
                    tracing::warn!(source = %name, "anybody who knows the address can send here: verify is none");
                }
                if let Some(fetch) = hook.fetch() {
                    let at_once = gate.map_or(1, |gate| gate.concurrency());
                    let reading = reading(self.parts, (name.clone(), source.account.clone()), Some(fetch), at_once);
                    let work = Work::new(Name::Inbox(name.clone()), accounts, |until| reading.run(until));
                    all.work.push(work.with_queues());
                }
                all.hooks.push((name, hook));
            }
            SourceRole::Poller(poller) => {
                let polled = Polled { poller: Arc::from(poller), wake: Arc::new(Notify::new()) };
                let polling = self.polling(source, &polled);
                all.work.push(Work::new(Name::Source(name.clone()), accounts, |until| polling.run(until)));
                all.pollers.insert(name, polled);
            }
            SourceRole::Stream(stream) => {
                let receiving = self.receiving(source, stream);
                all.work.push(Work::new(Name::Source(name), accounts, |until| receiving.run(until)));
            }
        }
        Ok(())
    }

    fn polling(&self, source: &SourceConfig, polled: &Polled) -> PollLoop {
        PollLoop {
            owner: OWNER.to_owned(),
            source: source.name.clone(),
            account: source.account.clone(),
            poller: Arc::clone(&polled.poller),
            store: Arc::clone(&self.parts.store),
            broker: Arc::clone(&self.parts.broker),
            journal: self.parts.journal.clone(),
            halts: Arc::clone(&self.parts.halts),
            clock: self.parts.clock.clone(),
            wake: Arc::clone(&polled.wake),
        }
    }

    fn receiving(&self, source: &SourceConfig, stream: Box<dyn Stream>) -> StreamLoop {
        StreamLoop {
            source: source.name.clone(),
            account: source.account.clone(),
            stream,
            broker: Arc::clone(&self.parts.broker),
            journal: self.parts.journal.clone(),
            halts: Arc::clone(&self.parts.halts),
            clock: self.parts.clock.clone(),
            dry_run: self.dry_run,
        }
    }
}

/// Counts the calls of an account's sources.
fn meter(gate: &Arc<Gate>, parts: &Parts) -> Arc<AccountMeter> {
    let (store, halts) = (Arc::clone(&parts.store), Arc::clone(&parts.halts));
    Arc::new(AccountMeter { gate: Arc::clone(gate), store, halts, clock: parts.clock.clone() })
}

/// A poller, and what makes it poll at once.
#[derive(Clone)]
pub struct Polled {
    pub poller: Arc<dyn Poller>,
    pub wake: Arc<Notify>,
}

fn reading(
    parts: &Parts,
    (source, account): (String, Option<String>),
    fetch: Option<Arc<dyn Fetch>>,
    at_once: usize,
) -> FetchLoop {
    FetchLoop {
        source,
        account,
        fetch,
        at_once,
        broker: Arc::clone(&parts.broker),
        journal: parts.journal.clone(),
        halts: Arc::clone(&parts.halts),
        clock: parts.clock.clone(),
    }
}

/// Works off the inboxes of sources that read nothing anew any more: what is left there goes on as it came. That of a
/// source that is switched off stays as it is.
pub fn leftovers(config: &Config, parts: &Parts) -> Work {
    let kept = config.sources.iter().filter(|source| !source.enabled || source.fetches());
    let kept: BTreeSet<String> = kept.map(|source| source.name.clone()).collect();
    let broker = Arc::clone(&parts.broker);
    let nameless = reading(parts, (String::new(), None), None, 1);
    let work = Work::new(Name::Leftovers, BTreeSet::new(), |until| async move {
        let mut pauses = patience();
        let depths = loop {
            match broker.depths().await {
                Ok(depths) => break depths,
                Err(error) => tracing::warn!(%error, "the inboxes cannot be looked at yet"),
            }
            let pause = tokio::time::sleep(pauses.next().unwrap_or_default());
            if until.run_until_cancelled(pause).await.is_none() {
                return;
            }
        };
        let left = depths.iter().filter(|depth| depth.messages > 0).filter_map(|depth| inbox_of(&depth.queue));
        join_all(left.filter(|name| !kept.contains(*name)).map(|name| nameless.named(name).run(until.clone()))).await;
        // A part that ends before it is told to is taken for broken.
        until.cancelled().await;
    });
    work.with_queues()
}
