//! Whether an account may be called now: its concurrency, its rate, its month (promise P5).
//!
//! # How it is shared
//! All sources, sinks and routes of an account in a process go through one [`Gate`]. Processes share through the store:
//! each has a share of the concurrency for a while, which it renews as long as it needs it, and turns by the rate are
//! reserved there, in blocks where the rate is high. So a process that is alone pays for a call with nothing, a restart
//! makes no burst, and what is together never exceeds the limits. A turn is used by whoever is first in line when it is
//! due: who left the line, because something was halted, wasted none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::halts::sleep_until;
use crate::clock::Clock;
use crate::config::Priority;
use crate::connectors::Limits;
use crate::store::permits::{ShareAsk, TurnAsk};
use crate::store::{Charge, Store, StoreError};

pub mod forecast;
mod state;

use state::{Bounds, State, Step, TTL};

/// Calls at once where neither the vendor nor the user has set a number.
const USUAL_CONCURRENCY: u32 = 8;

/// What the gates of a process have in common.
#[derive(Clone)]
pub struct Shared {
    /// Where processes agree.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Clock,
    /// The process: unique among those that share the store, and the same after a restart where there can be only one.
    pub owner: String,
}

/// The permits of one account, shared by all that call it.
pub struct Gate {
    /// The account's name.
    pub account: String,
    /// Its limits.
    pub limits: Limits,
    zone: TimeZone,
    inner: Arc<Inner>,
    _keeper: AbortOnDropHandle<()>,
}

struct Inner {
    account: String,
    bounds: Bounds,
    shared: Shared,
    state: Mutex<State>,
    changed: Notify,
}

/// How the permits of an account stand in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Calls under way.
    pub in_use: u32,
    /// Calls that wait for a permit.
    pub waiting: u32,
    /// How many calls at once this process may make now; 0 where it makes none.
    pub share: u32,
}

/// Leave to make one call. Dropped when the call has its answer.
#[derive(Debug)]
pub struct Permit(Option<Arc<Inner>>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.state().free();
            inner.changed.notify_one();
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("account", &self.account).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Gate {
    /// The gate of an account. Works as long as the runtime that this is called in.
    #[must_use]
    pub fn new(account: impl Into<String>, limits: Limits, zone: TimeZone, shared: Shared) -> Self {
        let account = account.into();
        let slots = limits.concurrency.unwrap_or(USUAL_CONCURRENCY).max(1);
        let gap = limits.rate.filter(|rate| *rate > 0.0).map(|rate| std::time::Duration::from_secs_f64(1.0 / rate));
        let inner = Arc::new(Inner {
            account: account.clone(),
            bounds: Bounds { slots, gap },
            shared,
            state: Mutex::new(State::new()),
            changed: Notify::new(),
        });
        let keeper = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&inner).keep()));
        Self { account, limits, zone, inner, _keeper: keeper }
    }

    /// How many calls the account takes at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.inner.bounds.slots as usize
    }

    /// Waits for a permit: a free slot, and its turn by the rate. The slot is free again when the permit is dropped.
    /// `None`: there will be none any more.
    pub async fn permit(&self) -> Option<Permit> {
        self.permit_for(Priority::Normal).await
    }

    /// As [`Gate::permit`], before those of a lower priority: but of five permits one is theirs, if they wait.
    pub async fn permit_for(&self, priority: Priority) -> Option<Permit> {
        let waiting = {
            let mut state = self.inner.state();
            if state.take_now(self.inner.bounds, self.inner.shared.clock.now()) {
                return Some(Permit(Some(Arc::clone(&self.inner))));
            }
            state.wait(priority)
        };
        self.inner.changed.notify_one();
        waiting.await.ok()
    }

    /// How its permits stand.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (in_use, waiting, share) = self.inner.state().usage();
        Usage { in_use, waiting, share }
    }

    /// Gives this process's share back, at an orderly end: others need not wait until it runs out.
    ///
    /// # Errors
    /// The store; the share runs out by itself.
    pub async fn leave(&self) -> Result<(), StoreError> {
        if self.usage().share == 0 {
            return Ok(());
        }
        self.inner.ask_share(0, 0).await.map(drop)
    }

    /// What one call is charged to: the month in the account's zone.
    #[must_use]
    pub fn charge(&self, now: Timestamp) -> Charge {
        charge(&self.account, self.limits, &self.zone, now)
    }

    /// Where the account's month turns.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// When the account's month turns.
    #[must_use]
    pub fn month_turns(&self, now: Timestamp) -> Timestamp {
        month_turns(now, &self.zone)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives out permits as long as the gate lives.
    async fn keep(self: Arc<Self>) {
        let clock = &self.shared.clock;
        loop {
            let now = clock.now();
            let step = self.state().step(self.bounds, now);
            let asked = match step {
                Step::Hand => {
                    self.hand(now);
                    Ok(())
                }
                Step::Share { wants, busy } => {
                    let got = self.ask_share(wants, busy).await;
                    got.map(|share| self.state().shared(share, now))
                }
                Step::Turns(count) => self.ask_turns(count, now).await,
                Step::Rest(until) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = rest(clock, until) => {}
                    }
                    Ok(())
                }
            };
            if let Err(error) = asked {
                tracing::warn!(account = %self.account, %error, "no calls: the store does not say whether they may be made");
                self.state().failed(now);
            }
        }
    }

    fn hand(self: &Arc<Self>, now: Timestamp) {
        let next = self.state().hand(self.bounds, now);
        if let Some(next) = next {
            // Who has gone meanwhile drops the permit, and it is free again; the turn is spent.
            drop(next.send(Permit(Some(Arc::clone(self)))));
        }
    }

    async fn ask_share(&self, wants: u32, busy: u32) -> Result<u32, StoreError> {
        let (account, owner) = (self.account.clone(), self.shared.owner.clone());
        self.shared.store.share(ShareAsk { account, owner, wants, busy, limit: self.bounds.slots, ttl: TTL }).await
    }

    async fn ask_turns(&self, count: u32, asked: Timestamp) -> Result<(), StoreError> {
        let gap = self.bounds.gap.unwrap_or_default();
        let ask = TurnAsk { account: self.account.clone(), count, gap };
        let wait = self.shared.store.turns(ask).await?;
        let wait = jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::MAX);
        let first = self.shared.clock.now().saturating_add(wait).unwrap_or(Timestamp::MAX);
        self.state().reserved(self.bounds, first, asked);
        Ok(())
    }
}

async fn rest(clock: &Clock, until: Option<Timestamp>) {
    match until {
        Some(until) => sleep_until(clock, until).await,
        None => std::future::pending().await,
    }
}

/// What one call is charged to: the month in a zone.
#[must_use]
pub fn charge(account: &str, limits: Limits, zone: &TimeZone, now: Timestamp) -> Charge {
    let month = now.to_zoned(zone.clone()).strftime("%Y-%m").to_string();
    Charge { account: account.to_owned(), month, limit: limits.monthly }
}

/// The first moment of the next month in a zone.
#[must_use]
pub fn month_turns(now: Timestamp, zone: &TimeZone) -> Timestamp {
    let first = now.to_zoned(zone.clone()).date().first_of_month();
    first
        .checked_add(1.month())
        .ok()
        .and_then(|date| date.to_zoned(zone.clone()).ok())
        .map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests;
