//! Whether an account may be called now: its concurrency, its rate, its month (promise P5).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::connectors::Limits;
use crate::store::Charge;

/// Calls at once where neither the vendor nor the user has set a number.
const USUAL_CONCURRENCY: u32 = 8;

/// The permits of one account, shared by all that call it.
#[derive(Debug)]
pub struct Gate {
    /// The account's name.
    pub account: String,
    /// Its limits.
    pub limits: Limits,
    zone: TimeZone,
    slots: Arc<Semaphore>,
    next_call: Mutex<Option<Instant>>,
}

impl Gate {
    /// The gate of an account.
    #[must_use]
    pub fn new(account: impl Into<String>, limits: Limits, zone: TimeZone) -> Self {
        let slots = Arc::new(Semaphore::new(Self::slots_of(&limits)));
        Self { account: account.into(), limits, zone, slots, next_call: Mutex::new(None) }
    }

    fn slots_of(limits: &Limits) -> usize {
        limits.concurrency.unwrap_or(USUAL_CONCURRENCY).max(1) as usize
    }

    /// How many calls the account takes at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        Self::slots_of(&self.limits)
    }

    /// Waits for a permit: a free slot, and its turn by the rate. The slot is free again when the permit is dropped.
    pub async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        if let Some(turn) = self.turn() {
            tokio::time::sleep_until(turn).await;
        }
        Some(slot)
    }

    /// Takes the next place in the row of calls; `None`: at once.
    fn turn(&self) -> Option<Instant> {
        let rate = self.limits.rate.filter(|rate| *rate > 0.0)?;
        let gap = Duration::from_secs_f64(1.0 / rate);
        let mut next = self.next_call.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + gap);
        (turn > now).then_some(turn)
    }

    /// What one call is charged to: the month in the account's zone.
    #[must_use]
    pub fn charge(&self, now: Timestamp) -> Charge {
        let month = now.to_zoned(self.zone.clone()).strftime("%Y-%m").to_string();
        Charge { account: self.account.clone(), month, limit: self.limits.monthly }
    }

    /// When the account's month turns.
    #[must_use]
    pub fn month_turns(&self, now: Timestamp) -> Timestamp {
        month_turns(now, &self.zone)
    }
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
mod tests {
    use super::*;

    #[test]
    fn the_month_turns_in_the_accounts_zone() {
        let zone = TimeZone::get("Asia/Seoul").expect("a zone");
        let gate = Gate::new("daou", Limits { monthly: Some(1500), ..Limits::default() }, zone);
        let now: Timestamp = "2026-11-30T14:59:59Z".parse().expect("a time");
        assert_eq!(gate.charge(now).month, "2026-11");
        assert_eq!(gate.month_turns(now).to_string(), "2026-11-30T15:00:00Z");
        let later: Timestamp = "2026-11-30T15:00:00Z".parse().expect("a time");
        assert_eq!(gate.charge(later).month, "2026-12");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_spaced_by_the_rate() {
        let gate = Gate::new("slack", Limits { rate: Some(1.0), ..Limits::default() }, TimeZone::UTC);
        let start = Instant::now();
        for _ in 0..4 {
            drop(gate.permit().await);
        }
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_slot_is_free_again_when_its_permit_is_dropped() {
        let gate = Gate::new("wf", Limits { concurrency: Some(1), ..Limits::default() }, TimeZone::UTC);
        let held = gate.permit().await.expect("a permit");
        assert!(tokio::time::timeout(Duration::from_millis(20), gate.permit()).await.is_err());
        drop(held);
        assert!(gate.permit().await.is_some());
    }
}
