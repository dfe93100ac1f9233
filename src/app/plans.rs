//! Every enabled route with its sink, and the permits that sinks of one account share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::AppError;
use crate::config::{Config, SinkConfig};
use crate::deliver::breaker::Breaker;
use crate::deliver::gate::Gate;
use crate::deliver::{Destination, Plan, Services};

/// Builds the plans of all routes that are switched on and whose sink is.
pub fn plans(services: &Services) -> Result<Vec<Plan>, AppError> {
    let config = &services.config;
    let mut gates = HashMap::new();
    let mut destinations = HashMap::new();
    for sink in config.sinks.iter().filter(|sink| sink.enabled) {
        let built = config
            .build_sink(sink, &services.client, &services.clock)
            .map_err(|faults| AppError::Build { name: sink.name.clone(), faults })?;
        let gate = gates.entry(sink.account.as_str()).or_insert_with(|| Arc::new(gate(config, sink)));
        let destination = Destination {
            name: sink.name.clone(),
            kind: sink.kind,
            sink: Arc::from(built),
            gate: Arc::clone(gate),
            breaker: Breaker::default(),
        };
        destinations.insert(sink.name.as_str(), Arc::new(destination));
    }
    let routes = config.routes.iter().enumerate().filter(|(_, route)| route.enabled);
    let plans = routes.filter_map(|(index, route)| {
        let to = Arc::clone(destinations.get(route.to.as_str())?);
        Some(Plan { index, to, config: Arc::clone(config), mapping_errors: AtomicU32::new(0) })
    });
    Ok(plans.collect())
}

fn gate(config: &Config, sink: &SinkConfig) -> Gate {
    match config.accounts.get(&sink.account) {
        Some(account) => Gate::new(&account.name, account.limits, account.zone.clone()),
        None => Gate::new(&sink.account, sink.limits, config.zone.clone()),
    }
}
