//! Faults that a sandbox can be told to have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// 429 with `Retry-After: after`, in seconds; the vendor does not act.
    TooManyRequests {
        /// Seconds.
        #[serde(default = "one")]
        after: u64,
    },
    /// 500; the vendor does not act.
    ServerError,
    /// The vendor acts, and never answers.
    Timeout,
    /// The connection is reset before the vendor acts.
    ResetBefore,
    /// The connection is reset after the vendor has acted, before it answers.
    ResetAfter,
    /// The vendor acts, and a 200 comes back that is not the vendor's.
    Garbage,
    /// The vendor acts, and its answer takes so much longer.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
}

fn one() -> u64 {
    1
}

impl Fault {
    /// The fault's name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::ServerError => "server-error",
            Self::Timeout => "timeout",
            Self::ResetBefore => "reset-before",
            Self::ResetAfter => "reset-after",
            Self::Garbage => "garbage",
            Self::Slow { .. } => "slow",
        }
    }
}

/// A fault, how often, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
    /// With how many calls.
    #[serde(default = "one")]
    pub times: u64,
    /// Only with calls whose path starts so.
    #[serde(default)]
    pub path: String,
}

/// Switches faults of one sandbox on and off. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    orders: Vec<Order>,
    random: Option<Random>,
}

#[derive(Debug)]
struct Random {
    rate: f64,
    faults: Vec<Fault>,
    dice: StdRng,
}

impl Faults {
    /// The next `times` calls have this fault, after those that were ordered before.
    pub fn next(&self, fault: Fault, times: u64) {
        self.order(Order { fault, times, path: String::new() });
    }

    /// As the order says, after those that were given before.
    pub fn order(&self, order: Order) {
        self.plan().orders.push(order);
    }

    /// From now on a share `rate` (0 to 1) of the calls that no order is for has one of `faults`; the same with the
    /// same seed.
    pub fn at_random(&self, rate: f64, seed: u64, faults: &[Fault]) {
        let random = Random { rate: rate.clamp(0.0, 1.0), faults: faults.to_vec(), dice: StdRng::seed_from_u64(seed) };
        self.plan().random = Some(random);
    }

    /// Switches all faults off.
    pub fn clear(&self) {
        *self.plan() = Plan::default();
    }

    /// How many orders are not yet used up.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plan().orders.len()
    }

    /// True if every order is used up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The fault of a call to `path`.
    pub(super) fn take(&self, path: &str) -> Option<Fault> {
        let mut plan = self.plan();
        plan.orders.retain(|order| order.times > 0);
        if let Some(at) = plan.orders.iter().position(|order| path.starts_with(&order.path)) {
            let fault = plan.orders[at].fault;
            plan.orders[at].times -= 1;
            plan.orders.retain(|order| order.times > 0);
            return Some(fault);
        }
        let random = plan.random.as_mut()?;
        if random.dice.random_bool(random.rate) { random.faults.choose(&mut random.dice).copied() } else { None }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_used_up_in_turn_and_by_path() {
        let faults = Faults::default();
        let order = |text| faults.order(serde_json::from_str(text).expect("an order"));
        order(r#"{"fault": "too-many-requests", "after": 7, "times": 2, "path": "/api"}"#);
        order(r#"{"fault": "slow", "ms": 5}"#);
        assert_eq!(faults.take("/other"), Some(Fault::Slow { ms: 5 }));
        assert_eq!(faults.take("/other"), None);
        assert_eq!(faults.take("/api/x"), Some(Fault::TooManyRequests { after: 7 }));
        assert_eq!(faults.len(), 1);
        assert_eq!(faults.take("/api"), Some(Fault::TooManyRequests { after: 7 }));
        assert!(faults.is_empty());
        assert_eq!(faults.take("/api"), None);
    }

    #[test]
    fn chance_is_the_same_with_the_same_seed() {
        let draw = |seed| {
            let faults = Faults::default();
            faults.at_random(0.3, seed, &[Fault::ServerError, Fault::ResetBefore]);
            (0..200).map(|_| faults.take("/")).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let faulty = draw(1).iter().flatten().count();
        assert!((30..90).contains(&faulty), "{faulty}");
    }
}
