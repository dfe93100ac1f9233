//! Calls of the bridge's own, which belong to no delivery: they go through the account's gate and count like any other.

use super::{Destination, Services};
use crate::connectors::Call;
use crate::connectors::client::SendError;
use crate::outcome::{Outcome, Scope};
use crate::store::Begun;

/// Makes a call to a sink's vendor, and reads the answer as the sink does.
pub async fn call(services: &Services, to: &Destination, call: &Call) -> Outcome {
    let Some(_permit) = to.gate.permit().await else { return Outcome::retry("the bridge stops") };
    let now = services.clock.now();
    let charge = to.gate.charge(now);
    match services.store.charge(charge.clone()).await {
        // Nothing is busy for a call that belongs to no delivery.
        Ok(Begun::Go | Begun::Busy) => {}
        Ok(Begun::UsedUp { used }) => {
            let why = format!("the month's calls are used up ({used} made)");
            return Outcome::Suspend { what: Scope::Account, why, until: Some(to.gate.month_turns(now)) };
        }
        Err(error) => return Outcome::retry(format!("the call could not be counted: {error}")),
    }
    let sent = to.sink.send(&services.client, call).await;
    if matches!(sent, Err(SendError::NotSent(_) | SendError::Refused(_)))
        && let Err(error) = services.store.refund(charge).await
    {
        tracing::warn!(account = %to.gate.account, %error, "a call that was not sent stays counted");
    }
    match sent {
        Ok(answer) => to.sink.classify(call, &answer),
        Err(SendError::Refused(why)) => Outcome::Suspend { what: Scope::Account, why, until: None },
        Err(SendError::NoAnswer(why)) if !call.idempotent => Outcome::Unknown { why: format!("no answer: {why}") },
        Err(error) => Outcome::retry(error.to_string()),
    }
}
