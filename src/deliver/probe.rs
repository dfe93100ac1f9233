//! Tries now and then whether an account whose credentials were refused works again, by a harmless call of one of its
//! sinks ([`Sink::probe`]). Its pollers try by polling.
//!
//! [`Sink::probe`]: crate::connectors::Sink::probe

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Destination, Services, direct};
use crate::connectors::Call;
use crate::outcome::{Outcome, Scope};

/// How often is looked whether a probe is due.
const LOOK: Duration = Duration::from_secs(1);
/// How long one may take; longer than any call.
const LONGEST: Duration = Duration::from_secs(90);

/// Probes until told to stop.
pub async fn run(sinks: Vec<Arc<Destination>>, services: Arc<Services>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let due = services.halts.all().into_iter().filter(|halt| halt.scope == Scope::Account && halt.probe.is_some());
        let probes = due.filter_map(|halt| {
            let (to, call) =
                sinks.iter().filter(|to| to.gate.account == halt.name).find_map(|to| Some((to, to.sink.probe()?)))?;
            Some(probe(&services, to, call))
        });
        let all = futures_util::future::join_all(probes);
        tokio::select! {
            () = stop.cancelled() => return,
            _ = all => {}
        }
    }
}

async fn probe(services: &Services, to: &Destination, call: Call) {
    let account = &to.gate.account;
    if !services.halts.claim_probe(Scope::Account, account).await {
        return;
    }
    let outcome = tokio::time::timeout(LONGEST, direct::call(services, to, &call)).await;
    let outcome = outcome.unwrap_or_else(|_| Outcome::retry("it takes too long"));
    let why = outcome.why().unwrap_or("it works");
    tracing::info!(%account, sink = %to.name, outcome = outcome.name(), "probed: {why}");
    services.halts.probed(Scope::Account, account, matches!(outcome, Outcome::Delivered { .. })).await;
}
