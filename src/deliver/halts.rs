//! What is stopped: accounts, sinks, routes and sources, by a vendor's word or a person's (promise P5).
//!
//! The store remembers; this is its image in memory, with a way to wait until something may go on. A `Retry-After`
//! that pauses an account is a suspension with an end.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::outcome::Scope;
use crate::store::{Store, StoreError, Suspension};

/// Everything that is stopped now.
pub struct Halts {
    store: Arc<dyn Store>,
    clock: Clock,
    now: RwLock<HashMap<(Scope, String), Suspension>>,
    changed: watch::Sender<u64>,
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
        let now = stopped.into_iter().map(|s| ((s.scope, s.name.clone()), s)).collect();
        Self { store, clock, now: RwLock::new(now), changed: watch::Sender::new(0) }
    }

    /// Stops something. Durable when it returns; true if it was not stopped before.
    ///
    /// # Errors
    /// [`StoreError`]: it is stopped in this process all the same.
    pub async fn suspend(&self, suspension: Suspension) -> Result<bool, StoreError> {
        {
            let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
            let known = now.entry((suspension.scope, suspension.name.clone())).or_insert_with(|| suspension.clone());
            // Of two pauses the longer one holds, and a stop without an end holds until a person ends it.
            if lasts_longer(suspension.until, known.until) {
                *known = suspension.clone();
            }
        }
        self.changed.send_modify(|n| *n += 1);
        let (scope, name) = (suspension.scope.name(), suspension.name.clone());
        let (why, until) = (suspension.why.clone(), suspension.until);
        let first = self.store.suspend(suspension).await?;
        if first {
            let until = until.map_or_else(|| "a person resumes it".to_owned(), |until| until.to_string());
            tracing::warn!(%scope, %name, "suspended until {until}: {why}");
        }
        Ok(first)
    }

    /// Lets something go on; true if it was stopped.
    ///
    /// # Errors
    /// [`StoreError`]: it stays stopped.
    pub async fn resume(&self, scope: Scope, name: &str) -> Result<bool, StoreError> {
        let was = self.store.resume(scope, name).await?;
        self.now.write().unwrap_or_else(PoisonError::into_inner).remove(&(scope, name.to_owned()));
        self.changed.send_modify(|n| *n += 1);
        if was {
            tracing::info!(scope = scope.name(), %name, "resumed");
        }
        Ok(was)
    }

    /// Everything that is stopped and has not run out.
    #[must_use]
    pub fn all(&self) -> Vec<Suspension> {
        let at = self.clock.now();
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = now.values().filter(|s| s.until.is_none_or(|until| until > at)).cloned().collect();
        all.sort_by(|a, b| (a.scope, &a.name).cmp(&(b.scope, &b.name)));
        all
    }

    /// The first of these that is stopped.
    #[must_use]
    pub fn any(&self, of: &[(Scope, &str)]) -> Option<Suspension> {
        let at = self.clock.now();
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        of.iter()
            .filter_map(|(scope, name)| now.get(&(*scope, (*name).to_owned())))
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
            if !self.take_over(*scope, name, at) {
                continue;
            }
            match self.store.resume(*scope, name).await {
                Ok(_) => tracing::info!(scope = scope.name(), %name, "resumed: its time is over"),
                // It no longer stops anything. Only the store still lists it, with its end.
                Err(error) => tracing::debug!(%error, "the end of a suspension is not stored yet"),
            }
        }
    }

    /// Takes away what has reached its end; true for one caller alone. A new suspension that another caller brings
    /// meanwhile stays.
    fn take_over(&self, scope: Scope, name: &str, at: Timestamp) -> bool {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let key = (scope, name.to_owned());
        let over = now.get(&key).is_some_and(|s| s.until.is_some_and(|until| until <= at));
        over && now.remove(&key).is_some()
    }
}

fn lasts_longer(new: Option<Timestamp>, old: Option<Timestamp>) -> bool {
    match (new, old) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(new), Some(old)) => new > old,
    }
}

/// Sleeps until a time of the clock. A clock that is moved is looked at again every second.
pub async fn sleep_until(clock: &Clock, until: Timestamp) {
    const LOOK: std::time::Duration = std::time::Duration::from_secs(1);
    loop {
        let left = until.duration_since(clock.now());
        let Ok(left) = std::time::Duration::try_from(left) else { return };
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}
