//! The one place that reads the time of day.
//!
//! Everything that needs the time is given a [`Clock`], so that a test can hold it still or move it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::event::Received;

/// Tells the time and stamps what arrives with the order of its receipt.
///
/// Clones share one state, so stamps from any clone are unique and rising within a process.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hands: Hands,
    last: AtomicU64,
    process: u16,
    moved: Notify,
}

#[derive(Debug)]
enum Hands {
    System { skew_ms: AtomicI64 },
    Manual(RwLock<Timestamp>),
    Runtime { start: Timestamp, since: tokio::time::Instant, skew_ms: AtomicI64 },
}

impl Clock {
    /// The machine's clock. `process` tells apart the stamps of several processes.
    #[must_use]
    pub fn system(process: u16) -> Self {
        Self::new(Hands::System { skew_ms: AtomicI64::new(0) }, process)
    }

    /// A clock that stands still until a test moves it with [`Clock::advance`].
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self::new(Hands::Manual(RwLock::new(start)), 1)
    }

    /// A clock that goes as the runtime's timers do: where a test has paused them, it stands still while anything is
    /// under way and jumps to the next timer when nothing is.
    #[must_use]
    pub fn simulated(start: Timestamp, process: u16) -> Self {
        let since = tokio::time::Instant::now();
        Self::new(Hands::Runtime { start, since, skew_ms: AtomicI64::new(0) }, process)
    }

    fn new(hands: Hands, process: u16) -> Self {
        Self(Arc::new(Inner { hands, last: AtomicU64::new(0), process, moved: Notify::new() }))
    }

    /// The time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Timestamp {
        match &self.0.hands {
            Hands::System { skew_ms } => {
                let skew = SignedDuration::from_millis(skew_ms.load(Ordering::Relaxed));
                Timestamp::now().saturating_add(skew).unwrap_or(Timestamp::MAX)
            }
            Hands::Manual(at) => *at.read().unwrap_or_else(std::sync::PoisonError::into_inner),
            Hands::Runtime { start, since, skew_ms } => {
                let gone = SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX);
                let skew = SignedDuration::from_millis(skew_ms.load(Ordering::Relaxed));
                start.saturating_add(gone.saturating_add(skew)).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Moves the clock; on the machine's clock this is a lasting offset.
    pub fn advance(&self, by: SignedDuration) {
        match &self.0.hands {
            Hands::System { skew_ms } | Hands::Runtime { skew_ms, .. } => {
                let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
                skew_ms.fetch_add(by, Ordering::Relaxed);
            }
            Hands::Manual(at) => {
                let mut at = at.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                *at = at.saturating_add(by).unwrap_or(Timestamp::MAX);
            }
        }
        self.0.moved.notify_waiters();
    }

    /// Waits until the clock is moved by [`Clock::advance`] after this call.
    pub fn moved(&self) -> Notified<'_> {
        self.0.moved.notified()
    }

    /// The next stamp of receipt: later than every earlier one of this process, even if the machine's clock went back.
    #[must_use]
    pub fn stamp(&self) -> Received {
        let wall = u64::try_from(self.now().as_millisecond()).unwrap_or(0) << Received::COUNTER_BITS;
        let mut last = self.0.last.load(Ordering::Relaxed);
        loop {
            let next = wall.max(last + 1);
            match self.0.last.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Received { clock: next, process: self.0.process },
                Err(seen) => last = seen,
            }
        }
    }

    /// Makes every later stamp come after `seen`: called at start with the newest stamp found on disk.
    pub fn observe(&self, seen: Received) {
        self.0.last.fetch_max(seen.clock, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_though_the_clock_goes_back() {
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
        let first = clock.stamp();
        clock.advance(SignedDuration::from_hours(-1));
        let second = clock.stamp();
        assert!(second > first);
    }

    #[test]
    fn stamps_go_on_from_what_was_seen_on_disk() {
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
        let ahead = Received { clock: clock.stamp().clock + 1_000_000_000, process: 9 };
        clock.observe(ahead);
        assert!(clock.stamp() > ahead);
    }
}
