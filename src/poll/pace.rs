//! How long a failing source waits before it is polled again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The longest wait between two failing polls, unless the source is polled even more seldom.
const SLOWEST: Duration = Duration::from_mins(5);

/// The growing waits of a failing source. They start below the source's own pace and end at five minutes, or at that
/// pace if it is slower.
#[derive(Debug)]
pub(crate) struct Pace {
    first: Duration,
    cap: Duration,
    waits: Option<ExponentialBackoff>,
}

impl Pace {
    /// For a source that is polled every `every`.
    pub(crate) fn new(every: Duration) -> Self {
        let first = every.clamp(Duration::from_millis(10), Duration::from_secs(1));
        Self { first, cap: every.max(SLOWEST), waits: None }
    }

    /// A poll succeeded: the next failure starts anew.
    pub(crate) fn recovered(&mut self) {
        self.waits = None;
    }

    /// A poll failed: how long to wait, at least `least` where the vendor said so.
    pub(crate) fn back_off(&mut self, least: Option<Duration>) -> Duration {
        let waits = self.waits.get_or_insert_with(|| {
            ExponentialBuilder::default()
                .with_min_delay(self.first)
                .with_max_delay(self.cap)
                .with_jitter()
                .without_max_times()
                .build()
        });
        let wait = waits.next().unwrap_or(self.cap).min(self.cap);
        wait.max(least.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_start_anew() {
        let mut pace = Pace::new(Duration::from_mins(1));
        let waits: Vec<_> = (0..20).map(|_| pace.back_off(None)).collect();
        assert!(waits[0] >= Duration::from_secs(1) && waits[0] < Duration::from_secs(2), "{waits:?}");
        assert!(waits[4] >= Duration::from_secs(16), "{waits:?}");
        assert_eq!(waits[19], SLOWEST);
        pace.recovered();
        assert!(pace.back_off(None) < Duration::from_secs(2));
    }

    #[test]
    fn the_vendors_word_is_the_least() {
        let mut pace = Pace::new(Duration::from_mins(1));
        assert_eq!(pace.back_off(Some(Duration::from_mins(50))), Duration::from_mins(50));
        assert!(pace.back_off(Some(Duration::ZERO)) >= Duration::from_secs(2));
    }

    #[test]
    fn a_seldom_polled_source_waits_no_less_than_its_pace() {
        let mut pace = Pace::new(Duration::from_hours(1));
        let last = (0..30).map(|_| pace.back_off(None)).last();
        assert_eq!(last, Some(Duration::from_hours(1)));
    }
}
