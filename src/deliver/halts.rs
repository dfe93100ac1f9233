//! What is stopped: accounts, sinks, routes and sources, by a vendor's word or a person's (promise P5).
//!
//! The store remembers; this is its image in memory, with a way to wait until something may go on. A `Retry-After`
//! that pauses an account is a suspension with an end. What other processes that share the store stop and resume is
//! seen here a few seconds later ([`Halts::follow`]).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::outcome::Scope;
use crate::store::{Store, StoreError, Suspension};

/// Everything that is stopped now.
pub struct Halts {
    store: Arc<dyn Store>,
    clock: Clock,
    now: RwLock<Image>,
    changed: watch::Sender<u64>,
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
/// How long a probe may take before it counts as given up.
const PROBE: SignedDuration = SignedDuration::from_mins(2);
/// The least and the longest time between two probes; in between it grows with the time that the suspension lasts.
const PROBE_FIRST: SignedDuration = SignedDuration::from_mins(1);
const PROBE_SELDOM: SignedDuration = SignedDuration::from_hours(1);

/// When to try next whether what is suspended works again: after a minute, then twice as late each time, then hourly.
#[must_use]
pub fn next_probe(since: Timestamp, now: Timestamp) -> Timestamp {
    let lasted = now.duration_since(since).clamp(PROBE_FIRST, PROBE_SELDOM);
    now.saturating_add(lasted).unwrap_or(Timestamp::MAX)
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
        Self { store, clock, now: RwLock::new(image), changed: watch::Sender::new(0) }
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
        let before = *self.changed.borrow();
        let stored = by_key(self.store.suspensions().await?);
        let differs = {
            let mut now = self.write();
            if *self.changed.borrow() != before {
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
            self.changed.send_modify(|n| *n += 1);
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
        self.changed.send_modify(|n| *n += 1);
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
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
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
                // The sender lives as long as `self`.
                _ = changes.changed() => {}
            }
        }
    }

    /// Waits until one of these is stopped.
    pub async fn halted(&self, of: &[(Scope, &str)]) {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if self.any(of).is_some() {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
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
            self.changed.send_modify(|n| *n += 1);
        }
        over
    }

    fn forget(&self, key: &Key) {
        let mut now = self.write();
        now.stopped.remove(key);
        now.unstored.remove(key);
        now.probing.remove(key);
        drop(now);
        self.changed.send_modify(|n| *n += 1);
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
mod tests {
    use super::*;
    use crate::store::sqlite::{SqliteStore, open};

    /// The images that two processes have of one store.
    struct Bench {
        one: Halts,
        other: Halts,
        clock: Clock,
        _folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let clock = Clock::manual("2026-11-30T14:00:00Z".parse().expect("a time"));
            let db = open(&folder.path().join("dari.db")).expect("opens");
            let store: Arc<dyn Store> = Arc::new(SqliteStore::new(db, clock.clone()));
            let halts = || Halts::new(Arc::clone(&store), clock.clone(), Vec::new());
            Self { one: halts(), other: halts(), clock, _folder: folder }
        }

        /// An account, suspended until so many minutes from now, or until a probe so many from now.
        fn account(&self, until: Option<i64>, probe: Option<i64>) -> Suspension {
            let at = |minutes: Option<i64>| minutes.map(|m| self.clock.now() + SignedDuration::from_mins(m));
            let (scope, name, why) = (Scope::Account, "crm".to_owned(), "401".to_owned());
            Suspension { scope, name, why, since: self.clock.now(), until: at(until), probe: at(probe) }
        }

        fn pass(&self, minutes: i64) {
            self.clock.advance(SignedDuration::from_mins(minutes));
        }
    }

    const CRM: [(Scope, &str); 1] = [(Scope::Account, "crm")];

    #[tokio::test]
    async fn what_one_process_stops_and_resumes_the_other_sees() {
        let bench = Bench::new();
        bench.one.suspend(bench.account(None, None)).await.expect("stored");
        assert!(bench.other.any(&CRM).is_none());
        bench.other.refresh().await.expect("read");
        assert_eq!(bench.other.any(&CRM), bench.one.any(&CRM));
        bench.other.resume(Scope::Account, "crm").await.expect("stored");
        bench.one.refresh().await.expect("read");
        assert!(bench.one.any(&CRM).is_none());
    }

    #[tokio::test]
    async fn the_end_of_a_pause_leaves_alone_what_was_suspended_since() {
        let bench = Bench::new();
        bench.one.suspend(bench.account(Some(1), None)).await.expect("stored");
        bench.other.refresh().await.expect("read");
        bench.pass(2);
        // The other process hears of refused credentials before this one sees that the pause is over.
        bench.other.suspend(bench.account(None, None)).await.expect("stored");
        bench.one.clear(&CRM).await;
        bench.one.refresh().await.expect("read");
        assert!(bench.one.any(&CRM).is_some_and(|halt| halt.until.is_none()));
    }

    #[tokio::test]
    async fn one_of_all_probes_when_it_is_time() {
        let bench = Bench::new();
        bench.one.suspend(bench.account(None, Some(1))).await.expect("stored");
        bench.other.refresh().await.expect("read");
        assert!(!bench.one.claim_probe(Scope::Account, "crm").await, "not yet");
        bench.pass(1);
        assert!(bench.one.claim_probe(Scope::Account, "crm").await);
        assert!(!bench.one.claim_probe(Scope::Account, "crm").await, "it is under way");
        assert!(!bench.other.claim_probe(Scope::Account, "crm").await, "in the other process");
        bench.one.probed(Scope::Account, "crm", false).await;
        assert!(bench.one.any(&CRM).is_some());
        bench.pass(1);
        bench.other.refresh().await.expect("read");
        assert!(bench.other.claim_probe(Scope::Account, "crm").await);
        bench.other.probed(Scope::Account, "crm", true).await;
        bench.one.refresh().await.expect("read");
        assert!(bench.one.any(&CRM).is_none());
    }

    #[tokio::test]
    async fn a_probe_resumes_nothing_that_a_person_stopped_meanwhile() {
        let bench = Bench::new();
        bench.one.suspend(bench.account(None, Some(1))).await.expect("stored");
        bench.pass(1);
        assert!(bench.one.claim_probe(Scope::Account, "crm").await);
        bench.one.resume(Scope::Account, "crm").await.expect("stored");
        bench.one.suspend(bench.account(None, None)).await.expect("stored");
        bench.one.probed(Scope::Account, "crm", true).await;
        bench.one.refresh().await.expect("read");
        assert!(bench.one.any(&CRM).is_some());
    }

    #[tokio::test]
    async fn what_a_person_stops_is_not_probed() {
        let bench = Bench::new();
        bench.one.suspend(bench.account(None, Some(1))).await.expect("stored");
        bench.one.stop(Scope::Account, "crm", "maintenance".to_owned()).await.expect("stored");
        bench.pass(1);
        assert!(!bench.one.claim_probe(Scope::Account, "crm").await);
        bench.other.refresh().await.expect("read");
        assert_eq!(bench.other.any(&CRM).map(|halt| halt.why).as_deref(), Some("maintenance"));
    }

    #[test]
    fn probes_become_seldom() {
        let since: Timestamp = "2026-11-30T14:00:00Z".parse().expect("a time");
        let mut at = since;
        let mut minutes = Vec::new();
        for _ in 0..8 {
            at = next_probe(since, at);
            minutes.push(at.duration_since(since).as_mins());
        }
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 64, 124]);
    }
}
