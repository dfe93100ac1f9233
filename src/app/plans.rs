//! Every enabled route with its sink, and the permits that sinks of one account share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use jiff::tz::TimeZone;

use super::AppError;
use super::scene::Before;
use crate::config::{Config, RouteConfig};
use crate::deliver::alerts::Alerts;
use crate::deliver::batch::Batcher;
use crate::deliver::breaker::Breaker;
use crate::deliver::gate::{Gate, Shared};
use crate::deliver::lookups::{Cache, LookupPart};
use crate::deliver::refusals::Refusals;
use crate::deliver::{Destination, Plan, Services};

/// The gates of all accounts by name: whoever calls an account goes through the same one.
pub type Gates = HashMap<String, Arc<Gate>>;

/// The gates of all accounts, the sinks that are their own among them.
pub fn gates(config: &Config, shared: &Shared, before: &Before<'_>) -> Gates {
    let accounts = config.accounts.values();
    let of_accounts = accounts.map(|account| (&account.name, account.limits, &account.zone));
    let own = config.sinks.iter().filter(|sink| !config.accounts.contains_key(&sink.account));
    let own = own.map(|sink| (&sink.account, sink.limits, &config.zone));
    let make =
        |(name, limits, zone): (&String, _, &TimeZone)| Arc::new(Gate::new(name, limits, zone.clone(), shared.clone()));
    of_accounts.chain(own).map(|of| (of.0.clone(), before.gate(of.0).unwrap_or_else(|| make(of)))).collect()
}

/// Sinks by name.
pub type Destinations = BTreeMap<String, Arc<Destination>>;

/// Builds all sinks that are switched on.
pub fn destinations(services: &Services, gates: &Gates, before: &Before<'_>) -> Result<Destinations, AppError> {
    let config = &services.config;
    let mut destinations = Destinations::new();
    for sink in config.sinks.iter().filter(|sink| sink.enabled) {
        if let Some(same) = before.sink(&sink.name) {
            destinations.insert(sink.name.clone(), same);
            continue;
        }
        let built = config
            .build_sink(sink, &services.client, &services.clock)
            .map_err(|faults| AppError::Build { name: sink.name.clone(), faults })?;
        let Some(gate) = gates.get(&sink.account) else { continue };
        let batcher = Some(built.batch()).filter(|most| *most > 1).map(|most| Arc::new(Batcher::new(most)));
        let destination = Destination {
            name: sink.name.clone(),
            kind: sink.kind,
            sink: Arc::from(built),
            batcher,
            gate: Arc::clone(gate),
            breaker: Breaker::default(),
            refusals: Refusals::default(),
        };
        destinations.insert(sink.name.clone(), Arc::new(destination));
    }
    Ok(destinations)
}

/// True if a route works: it and its sink are switched on.
pub fn works(route: &RouteConfig, destinations: &Destinations) -> bool {
    route.enabled && destinations.contains_key(&route.to)
}

/// Builds the plans of all routes that work and did not before, or by other words.
pub fn plans(
    services: &Services,
    destinations: &Destinations,
    gates: &Gates,
    before: &Before<'_>,
) -> Result<Vec<Plan>, AppError> {
    let config = &services.config;
    let routes = config.routes.iter().enumerate().filter(|(_, route)| works(route, destinations));
    let mut plans = Vec::new();
    for (index, route) in routes.filter(|(_, route)| !before.route(&route.name)) {
        let Some(to) = destinations.get(route.to.as_str()).map(Arc::clone) else { continue };
        let lookups = lookups(route, services, gates)?;
        plans.push(Plan { index, to, config: Arc::clone(config), lookups, mapping_errors: AtomicU32::new(0) });
    }
    Ok(plans)
}

fn lookups(route: &RouteConfig, services: &Services, gates: &Gates) -> Result<Vec<LookupPart>, AppError> {
    let mut parts = Vec::new();
    for lookup in &route.lookups {
        let name = format!("{}: lookup.{}", route.name, lookup.name);
        let built = services.config.build_lookup(lookup, &services.client, &services.clock);
        let gate = gates.get(&lookup.account).map(Arc::clone);
        match (built, gate) {
            (Ok(lookup_part), Some(gate)) => {
                parts.push(LookupPart { lookup: lookup_part, gate, cache: Cache::new(lookup.cache) });
            }
            (Err(faults), _) => return Err(AppError::Build { name, faults }),
            // Every account and every sink that is its own has a gate.
            (Ok(_), None) => return Err(AppError::Build { name, faults: Vec::new() }),
        }
    }
    Ok(parts)
}

/// What tells operators.
pub fn alerts(services: &Arc<Services>, sinks: &Destinations, gates: &Gates, owner: &str) -> Alerts {
    Alerts {
        services: Arc::clone(services),
        to: services.config.alerts.as_ref().and_then(|name| sinks.get(name)).cloned(),
        sinks: sinks.values().cloned().collect(),
        gates: gates.values().cloned().collect(),
        owner: owner.to_owned(),
    }
}

/// Gives back what this process has of the accounts.
pub async fn leave(gates: &Gates) {
    for gate in gates.values() {
        if let Err(error) = gate.leave().await {
            tracing::debug!(account = %gate.account, %error, "a share was not given back and runs out by itself");
        }
    }
}
