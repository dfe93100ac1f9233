//! Counts what pollers ask of an account, and holds it back, as for deliveries (promise P5).

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::connectors::client::{Admitted, Meter};
use crate::deliver::gate::Gate;
use crate::deliver::halts::Halts;
use crate::outcome::Scope;
use crate::store::{Begun, Store, Suspension};

/// Lets each call of a poller through its account's gate, and charges it to the account's month.
pub struct AccountMeter {
    /// The account's gate, shared with the sinks that call it.
    pub gate: Arc<Gate>,
    /// Counts.
    pub store: Arc<dyn Store>,
    /// What is stopped: the account may be, and is when its month is used up.
    pub halts: Arc<Halts>,
    /// Tells the month.
    pub clock: Clock,
}

impl fmt::Debug for AccountMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountMeter").field("account", &self.gate.account).finish_non_exhaustive()
    }
}

#[async_trait]
impl Meter for AccountMeter {
    async fn admit(&self) -> Result<Admitted, String> {
        let account = &self.gate.account;
        let permit = self.gate.permit().await.ok_or("the account takes no more calls")?;
        if let Some(halt) = self.halts.any(&[(Scope::Account, account)]) {
            return Err(format!("the account is suspended: {}", halt.why));
        }
        let now = self.clock.now();
        match self.store.charge(self.gate.charge(now)).await {
            // Nothing is busy for a call that belongs to no delivery.
            Ok(Begun::Go | Begun::Busy) => Ok(Admitted { at: now, permit: Box::new(permit) }),
            Ok(Begun::UsedUp { used }) => {
                let why = format!("the month's calls are used up ({used} made)");
                let until = Some(self.gate.month_turns(now));
                let halt = Suspension {
                    scope: Scope::Account,
                    name: account.clone(),
                    why: why.clone(),
                    since: now,
                    until,
                    probe: None,
                };
                if let Err(error) = self.halts.suspend(halt).await {
                    tracing::warn!(%account, %error, "the account stands still, but only until this process ends");
                }
                Err(why)
            }
            Err(error) => Err(format!("the call could not be counted: {error}")),
        }
    }

    async fn refund(&self, admitted: &Admitted) {
        if let Err(error) = self.store.refund(self.gate.charge(admitted.at)).await {
            tracing::warn!(account = %self.gate.account, %error, "a call that was not sent stays counted");
        }
    }
}
