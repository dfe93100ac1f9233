//! When the next attempt is due: backon's exponential schedule with full jitter. The waiting itself is the broker's.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::config::RetryConfig;

/// The shortest wait: an immediate retry would only meet the same trouble.
const LEAST: Duration = Duration::from_millis(200);

/// How long to wait before attempt `failed + 1`, where `failed` attempts (from 1) have failed.
///
/// Full jitter: anything between nothing and the schedule's delay, so that deliveries that failed together do not come
/// back together. The vendor's own word (`after`) is never undercut.
#[must_use]
pub fn delay(retry: &RetryConfig, failed: u32, after: Option<Duration>) -> Duration {
    let ceiling = ceiling(retry, failed);
    // The thread's own generator, as backon's: a simulated history seeds it, and can be lived again.
    let spread = fastrand::f64();
    ceiling.mul_f64(spread).max(LEAST.min(ceiling)).max(after.unwrap_or_default())
}

/// The schedule's delay without jitter.
fn ceiling(retry: &RetryConfig, failed: u32) -> Duration {
    let mut delays = ExponentialBuilder::default()
        .with_min_delay(retry.first)
        .with_factor(retry.factor)
        .with_max_delay(retry.max)
        .without_max_times()
        .build();
    // The schedule is flat once it has reached `max`; a thousand steps reach it from any `first` and `factor` above 1.
    delays.nth(failed.saturating_sub(1).min(1_000) as usize).unwrap_or(retry.max).min(retry.max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_longest() {
        let retry = RetryConfig::default();
        let seconds: Vec<u64> = (1..=12).map(|n| ceiling(&retry, n).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
    }

    proptest! {
        #[test]
        fn a_delay_is_within_its_bounds(failed in 1u32..5_000, first in 1u64..10_000, max in 1u64..4_000_000) {
            let retry = RetryConfig {
                first: Duration::from_millis(first),
                max: Duration::from_millis(max),
                ..RetryConfig::default()
            };
            prop_assert!(delay(&retry, failed, None) <= retry.max.max(LEAST));
            let after = Duration::from_secs(7);
            prop_assert!(delay(&retry, failed, Some(after)) >= after);
        }
    }
}
