//! Who tries whether what is suspended works again, and when: of all processes that share the store one, and ever more
//! seldom.

use jiff::{SignedDuration, Timestamp};

use super::Halts;
use crate::outcome::Scope;

/// How long a probe may take before it counts as given up.
const PROBE: SignedDuration = SignedDuration::from_mins(2);
/// The least time between two probes. It grows with the time that the suspension lasts.
const PROBE_FIRST: SignedDuration = SignedDuration::from_mins(1);
/// The longest time between two probes.
pub const PROBE_SELDOM: SignedDuration = SignedDuration::from_hours(1);

/// When to try next whether what is suspended works again: after a minute, then twice as late each time, then hourly.
#[must_use]
pub fn next_probe(since: Timestamp, now: Timestamp) -> Timestamp {
    let lasted = now.duration_since(since).clamp(PROBE_FIRST, PROBE_SELDOM);
    now.saturating_add(lasted).unwrap_or(Timestamp::MAX)
}

impl Halts {
    /// Takes it on oneself to try whether what is suspended works again: true for one caller alone, when its time has
    /// come. Until [`Halts::probed`] the calls of that caller are let through.
    pub async fn claim_probe(&self, scope: Scope, name: &str) -> bool {
        let now = self.clock.now();
        let key = (scope, name.to_owned());
        let due = {
            let image = self.read();
            let is_being = image.probing.get(&key).is_some_and(|until| *until > now);
            image.stopped.get(&key).filter(|s| !is_being && s.probe.is_some_and(|at| at <= now)).cloned()
        };
        let Some(due) = due else { return false };
        let next = next_probe(due.since, now);
        match self.store.claim_probe(due, next).await {
            Ok(mine) => {
                let mut image = self.write();
                if let Some(stopped) = image.stopped.get_mut(&key) {
                    stopped.probe = Some(next);
                }
                if mine {
                    image.probing.insert(key, now.saturating_add(PROBE).unwrap_or(Timestamp::MAX));
                }
                mine
            }
            Err(error) => {
                tracing::debug!(%error, "a probe could not be claimed");
                false
            }
        }
    }

    /// True while somebody in this process tries whether it works again.
    #[must_use]
    pub fn is_probed(&self, scope: Scope, name: &str) -> bool {
        let now = self.clock.now();
        self.read().probing.get(&(scope, name.to_owned())).is_some_and(|until| *until > now)
    }

    /// Ends a probe. A good answer resumes what was suspended before it; not what was suspended anew since, nor by a person.
    pub async fn probed(&self, scope: Scope, name: &str, good: bool) {
        let key = (scope, name.to_owned());
        let probed = {
            let mut image = self.write();
            image.probing.remove(&key);
            image.stopped.get(&key).filter(|s| good && s.until.is_none() && s.probe.is_some()).cloned()
        };
        let Some(probed) = probed else { return };
        match self.store.lift(probed.clone()).await {
            Ok(lifted) => {
                self.forget_exactly(&probed);
                if lifted {
                    self.write().lifted.insert(key, (probed.since, self.clock.now()));
                    tracing::info!(scope = scope.name(), %name, "resumed: it works again");
                }
            }
            Err(error) => {
                tracing::warn!(%error, scope = scope.name(), %name, "it works again, but stays suspended until the next probe");
            }
        }
    }
}
