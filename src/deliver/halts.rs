//! What is stopped: accounts, sinks, routes and sources, by a vendor's word or a person's (promise P5).
//!
//! The store remembers; this is its image in memory, with a way to wait until something may go on. A `Retry-After`
//! that pauses an account is a suspension with an end. What other processes that share the store stop and resume is
//! seen here a few seconds later ([`Halts::follow`]).

mod probes;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::outcome::Scope;
use crate::store::{Store, StoreError, Suspension};
use probes::PROBE_SELDOM;

pub use probes::next_probe;

/// Everything that is stopped now.
pub struct Halts {
    store: Arc<dyn Store>,
    clock: Clock,
    now: RwLock<Image>,
    changed: Changes,
}

type Key = (Scope, String);

/// What is stopped, as this process knows it.
#[derive(Default)]
struct Image {
    stopped: HashMap<Key, Suspension>,
    /// What the store does not know yet, or would not take.
    unstored: HashSet<Key>,
    /// What is being tried now: until when at the latest.
    probing: HashMap<Key, Timestamp>,
    /// What a probe resumed: since when it had been suspended, and when it was resumed. Where that was wrong, the next
    /// probe does not come so soon.
    lifted: HashMap<Key, (Timestamp, Timestamp)>,
}

/// How often the store is read again.
const FOLLOW: std::time::Duration = std::time::Duration::from_secs(3);

/// Counts changes, and wakes those who wait for one in the order of their waiting: a watch channel wakes in any order,
/// and a simulated history could not be lived again.
#[derive(Default)]
struct Changes {
    count: AtomicU64,
    wake: Notify,
}

impl Changes {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn tell(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_waiters();
    }

    /// Waits until there are more than were seen.
    async fn since(&self, seen: u64) {
        let mut told = pin!(self.wake.notified());
        // From here on it is told, so what comes before the look is seen and what comes after it wakes.
        told.as_mut().enable();
        if self.count() == seen {
            told.await;
        }
    }
}

impl Halts {
    /// Reads what was stopped when the process last ended.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub async fn load(store: Arc<dyn Store>, clock: Clock) -> Result<Self, StoreError> {
        let stopped = store.suspensions().await?;
        Ok(Self::new(store, clock, stopped))
    }

    /// An image of a store in which this is stopped.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, stopped: Vec<Suspension>) -> Self {
        let image = Image { stopped: by_key(stopped), ..Image::default() };
        Self { store, clock, now: RwLock::new(image), changed: Changes::default() }
    }

    /// Reads the store again every few seconds until told to stop.
    pub async fn follow(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(FOLLOW) => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "what is suspended cannot be read again now");
            }
        }
    }

    /// Takes over what the store says. What this process changes meanwhile is newer than what was read.
    ///
    /// # Errors
    /// [`StoreError`]: all stays as it is known.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let before = self.changed.count();
        let stored = by_key(self.store.suspensions().await?);
        let differs = {
            let mut now = self.write();
            if self.changed.count() != before {
                return Ok(());
            }
            let Image { stopped, unstored, .. } = &mut *now;
            let mut stored = stored;
            stored
                .extend(stopped.iter().filter(|(key, _)| unstored.contains(key)).map(|(k, s)| (k.clone(), s.clone())));
            let differs = *stopped != stored;
            *stopped = stored;
            differs
        };
        if differs {
            self.changed.tell();
        }
        Ok(())
    }

    /// Stops something. Durable when it returns; true if it was not stopped before.
    ///
    /// # Errors
    /// [`StoreError`]: it is stopped in this process all the same.
    pub async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError> {
        let mut suspension = Suspension { since: to_micros(suspension.since), ..suspension };
        let key = (suspension.scope, suspension.name.clone());
        if let Some((since, lifted)) = self.read().lifted.get(&key).copied()
            && suspension.probe.is_some()
            && suspension.since.duration_since(lifted) < PROBE_SELDOM
        {
            suspension.probe = Some(next_probe(since, suspension.since));
        }
        {
            let mut now = self.write();
            let known = now.stopped.entry(key.clone()).or_insert_with(|| suspension.clone());
            // Of two pauses the longer one holds, and a stop without an end holds until a person ends it.
            if lasts_longer(suspension.until, known.until) {
                *known = Suspension { since: known.since, ..suspension.clone() };
            }
            now.unstored.insert(key.clone());
        }
        self.changed.tell();
        let (scope, name) = (suspension.scope.name(), suspension.name.clone());
        let (why, until) = (suspension.why.clone(), suspension.until);
        let first = self.store.suspend(suspension).await?;
        self.write().unstored.remove(&key);
        if first {
            let until = until.map_or_else(|| "a person resumes it".to_owned(), |until| until.to_string());
            tracing::warn!(%scope, %name, "suspended until {until}: {why}");
        }
        Ok(first)
    }

    /// Stops something by a person's word: nothing but a person resumes it, whatever it was stopped by before.
    ///
    /// # Errors
    /// [`StoreError`]: what was stopped before still is.
    pub async fn stop(&self, scope: Scope, name: &str, why: String) -> Result<(), StoreError> {
        let known = self.read().stopped.get(&(scope, name.to_owned())).cloned();
        if let Some(known) = known {
            self.store.lift(known.clone()).await?;
            self.write().stopped.remove(&(scope, name.to_owned()));
        }
        let since = self.clock.now();
        self.suspend(Suspension { scope, name: name.to_owned(), why, since, until: None, probe: None }).await.map(drop)
    }

    /// Lets something go on; true if it was stopped.
    ///
    /// # Errors
    /// [`StoreError`]: it stays stopped.
    pub async fn resume(&self, scope: Scope, name: &str) -> Result<bool, StoreError> {
        let was = self.store.resume(scope, name).await?;
        self.forget(&(scope, name.to_owned()));
        if was {
            tracing::info!(scope = scope.name(), %name, "resumed");
        }
        Ok(was)
    }

    /// Everything that is stopped and has not run out.
    #[must_use]
    pub fn all(&self) -> Vec<Suspension> {
        let at = self.clock.now();
        let now = self.read();
        let mut all: Vec<_> =
            now.stopped.values().filter(|s| s.until.is_none_or(|until| until > at)).cloned().collect();
        all.sort_by(|a, b| (a.scope, &a.name).cmp(&(b.scope, &b.name)));
        all
    }

    /// The first of these that is stopped.
    #[must_use]
    pub fn any(&self, of: &[(Scope, &str)]) -> Option<Suspension> {
        let at = self.clock.now();
        let now = self.read();
        of.iter()
            .filter_map(|(scope, name)| now.stopped.get(&(*scope, (*name).to_owned())))
            .find(|s| s.until.is_none_or(|until| until > at))
            .cloned()
    }

    /// Waits until none of these is stopped. What had an end and has reached it is resumed.
    pub async fn clear(&self, of: &[(Scope, &str)]) {
        loop {
            let seen = self.changed.count();
            self.end_what_ran_out(of).await;
            let Some(halt) = self.any(of) else { return };
            let ends = async {
                match halt.until {
                    Some(until) => sleep_until(&self.clock, until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ends => {}
                () = self.changed.since(seen) => {}
            }
        }
    }

    /// Waits until one of these is stopped.
    pub async fn halted(&self, of: &[(Scope, &str)]) {
        loop {
            let seen = self.changed.count();
            if self.any(of).is_some() {
                return;
            }
            self.changed.since(seen).await;
        }
    }

    async fn end_what_ran_out(&self, of: &[(Scope, &str)]) {
        let at = self.clock.now();
        for (scope, name) in of {
            let Some(over) = self.take_over(*scope, name, at) else { continue };
            // What was stored in between, by another process, is another suspension and stays.
            match self.store.lift(over).await {
                Ok(_) => tracing::info!(scope = scope.name(), %name, "resumed: its time is over"),
                // It no longer stops anything. Only the store still lists it, with its end.
                Err(error) => tracing::debug!(%error, "the end of a suspension is not stored yet"),
            }
        }
    }

    /// Takes away what has reached its end, for one caller alone. A new suspension that another caller brings meanwhile
    /// stays.
    fn take_over(&self, scope: Scope, name: &str, at: Timestamp) -> Option<Suspension> {
        let mut now = self.write();
        let key = (scope, name.to_owned());
        let over = now.stopped.get(&key).is_some_and(|s| s.until.is_some_and(|until| until <= at));
        let over = if over { now.stopped.remove(&key) } else { None };
        drop(now);
        if over.is_some() {
            // For the reading again: what it has read may still list it.
            self.changed.tell();
        }
        over
    }

    fn forget(&self, key: &Key) {
        let mut now = self.write();
        now.stopped.remove(key);
        now.unstored.remove(key);
        now.probing.remove(key);
        drop(now);
        self.changed.tell();
    }

    fn forget_exactly(&self, suspension: &Suspension) {
        let key = (suspension.scope, suspension.name.clone());
        let same = |known: &Suspension| (known.since, known.until) == (suspension.since, suspension.until);
        if self.read().stopped.get(&key).is_some_and(same) {
            self.forget(&key);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Image> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Image> {
        self.now.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_key(all: Vec<Suspension>) -> HashMap<Key, Suspension> {
    all.into_iter().map(|s| ((s.scope, s.name.clone()), s)).collect()
}

/// As the store keeps it: suspensions are told apart by it.
fn to_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

fn lasts_longer(new: Option<Timestamp>, old: Option<Timestamp>) -> bool {
    match (new, old) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(new), Some(old)) => new > old,
    }
}

/// Sleeps until a time of the clock. The machine's clock is looked at every second: it may be set.
pub async fn sleep_until(clock: &Clock, until: Timestamp) {
    const LOOK: std::time::Duration = std::time::Duration::from_secs(1);
    loop {
        let moved = clock.moved();
        let left = until.duration_since(clock.now());
        let Ok(left) = std::time::Duration::try_from(left) else { return };
        if left.is_zero() {
            return;
        }
        tokio::select! {
            () = moved => {}
            () = tokio::time::sleep(left.min(LOOK)) => {}
        }
    }
}

#[cfg(test)]
mod tests;
