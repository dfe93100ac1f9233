//! A route's lookups, built, with what each has found lately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::gate::Gate;
use crate::connectors::Lookup;

/// How many answers of one lookup are known at once.
const MOST: usize = 10_000;

/// One lookup.
pub struct LookupPart {
    /// What it does.
    pub lookup: Box<dyn Lookup>,
    /// Whether its account lets it be asked now.
    pub gate: Arc<Gate>,
    /// What it has found.
    pub cache: Cache,
}

/// What a lookup has found, by what it was asked for. Nothing that became a dead letter is kept: who puts it right at
/// the vendor and replays is answered anew.
#[derive(Debug)]
pub struct Cache {
    keep: Duration,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// One answer. Whoever holds it asks the vendor, and others wait for what it says.
pub type Slot = tokio::sync::Mutex<Option<Known>>;

/// An answer and how long it holds.
#[derive(Clone, Debug)]
pub struct Known {
    /// The record; `None`: there is none.
    pub record: Option<Value>,
    until: Timestamp,
}

impl Known {
    /// True if it still holds.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

impl Cache {
    /// One that keeps each answer so long.
    #[must_use]
    pub fn new(keep: Duration) -> Self {
        Self { keep, slots: Mutex::default() }
    }

    /// The place of the answer to a question.
    #[must_use]
    pub fn slot(&self, question: &str, now: Timestamp) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST && !slots.contains_key(question) {
            slots.retain(|_, slot| slot.try_lock().map_or(true, |known| known.as_ref().is_some_and(|k| k.holds(now))));
        }
        if slots.len() >= MOST && !slots.contains_key(question) {
            // All of them hold: those that nobody waits for are asked for again.
            slots.retain(|_, slot| slot.try_lock().is_err());
        }
        Arc::clone(slots.entry(question.to_owned()).or_default())
    }

    /// An answer as it is kept.
    #[must_use]
    pub fn known(&self, record: Option<Value>, now: Timestamp) -> Known {
        let keep = SignedDuration::try_from(self.keep).unwrap_or(SignedDuration::MAX);
        Known { record, until: now.saturating_add(keep).unwrap_or(Timestamp::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
    }

    #[tokio::test]
    async fn an_answer_holds_for_its_time() {
        let cache = Cache::new(Duration::from_mins(1));
        *cache.slot("a", at(0)).lock().await = Some(cache.known(Some(Value::from(1)), at(0)));
        let known = cache.slot("a", at(59)).lock().await.clone().expect("an answer");
        assert_eq!(
            (known.record.clone(), known.holds(at(59)), known.holds(at(60))),
            (Some(Value::from(1)), true, false)
        );
        assert!(cache.slot("b", at(0)).lock().await.is_none());
    }

    #[tokio::test]
    async fn only_so_many_answers_are_known() {
        let cache = Cache::new(Duration::from_mins(1));
        let count = || cache.slots.lock().expect("not poisoned").len();
        for n in 0..MOST {
            *cache.slot(&n.to_string(), at(0)).lock().await =
                Some(cache.known(None, at(i64::try_from(n % 2).expect("small"))));
        }
        assert_eq!(count(), MOST);
        let _ = cache.slot("more", at(60));
        assert_eq!(count(), MOST / 2 + 1, "those that had run out went");
        for n in 0..MOST {
            *cache.slot(&format!("x{n}"), at(60)).lock().await = Some(cache.known(None, at(60)));
        }
        assert!(count() <= MOST);
    }
}
