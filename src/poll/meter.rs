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
        let probing = self.halts.is_probed(Scope::Account, account);
        if let Some(halt) = self.halts.any(&[(Scope::Account, account)]).filter(|_| !probing) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::Limits;
    use crate::deliver::gate::Shared;
    use crate::store::sqlite::{SqliteStore, open};
    use jiff::SignedDuration;
    use jiff::tz::TimeZone;

    #[tokio::test]
    async fn a_call_is_given_back_to_the_month_that_it_was_counted_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::manual("2026-11-30T23:59:59Z".parse().expect("a time"));
        let db = open(&folder.path().join("dari.db")).expect("opens");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::new(db, clock.clone()));
        let shared = Shared { store: Arc::clone(&store), clock: clock.clone(), owner: "file".into() };
        let limits = Limits { monthly: Some(10), ..Limits::default() };
        let gate = Arc::new(Gate::new("walla", limits, TimeZone::UTC, shared));
        let halts = Arc::new(Halts::new(Arc::clone(&store), clock.clone(), Vec::new()));
        let meter = AccountMeter { gate, store: Arc::clone(&store), halts, clock: clock.clone() };
        store.set_used("walla", "2026-12", 3).await.expect("set");
        let admitted = meter.admit().await.expect("admitted");
        clock.advance(SignedDuration::from_secs(2));
        meter.refund(&admitted).await;
        assert_eq!(store.used("walla", "2026-11").await.expect("read"), 0);
        assert_eq!(store.used("walla", "2026-12").await.expect("read"), 3);
    }
}
