//! A breaker for each sink: after failures in a row it stops the consuming, then lets one delivery probe.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Failures in a row that open it.
const TOLERATED: u32 = 8;
/// How long it stays open the first time; doubled with each failed probe.
const FIRST_REST: Duration = Duration::from_secs(2);
/// How long others wait for a probe before they ask again.
const PROBE: Duration = Duration::from_millis(250);
/// How long it stays open at the most.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// Counts a sink's failures in a row.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
    worked: bool,
}

#[derive(Debug)]
struct Open {
    since: Timestamp,
    until: Timestamp,
    rest: Duration,
    probing: bool,
}

/// Whether a delivery may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Yes,
    /// It may, and what comes of it decides for all.
    Probe,
    /// Not before this time.
    Not(Timestamp),
    /// Another delivery is probing: when it has ended.
    Probing,
}

impl Breaker {
    /// Asks to send one delivery. Who is let through must call [`Breaker::record`] afterwards.
    pub fn admit(&self, now: Timestamp) -> Admission {
        let mut state = self.lock();
        match &mut state.open {
            None => Admission::Yes,
            Some(open) if now < open.until => Admission::Not(open.until),
            Some(open) if open.probing => Admission::Probing,
            Some(open) => {
                open.probing = true;
                Admission::Probe
            }
        }
    }

    /// Since when it is open.
    pub fn open_since(&self) -> Option<Timestamp> {
        self.lock().open.as_ref().map(|open| open.since)
    }

    /// True if the sink has answered sensibly since this process began.
    pub fn has_worked(&self) -> bool {
        self.lock().worked
    }

    /// When to ask again whether a delivery may go on; `None`: now.
    pub fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.lock().open {
            Some(open) if now < open.until => Some(open.until),
            Some(open) if open.probing => Some(later(now, PROBE)),
            _ => None,
        }
    }

    /// Tells how a delivery that was let through as `admitted` went: `Some(true)` the sink answered sensibly,
    /// `Some(false)` it failed, `None` it never came to a call. True if the breaker has just opened.
    pub fn record(&self, admitted: Admission, went: Option<bool>, now: Timestamp) -> bool {
        let mut state = self.lock();
        let probe = admitted == Admission::Probe;
        match (went, &mut state.open) {
            (Some(true), _) => *state = State { worked: true, ..State::default() },
            (None, Some(open)) => open.probing &= !probe,
            (Some(false), Some(open)) if probe => {
                open.rest = (open.rest * 2).min(LONGEST_REST);
                open.until = later(now, open.rest);
                open.probing = false;
            }
            // Nothing came of it; or it was under way since before the breaker opened, and that is no news.
            (None, None) | (Some(false), Some(_)) => {}
            (Some(false), None) => {
                state.failures += 1;
                if state.failures >= TOLERATED {
                    state.open =
                        Some(Open { since: now, until: later(now, FIRST_REST), rest: FIRST_REST, probing: false });
                    return true;
                }
            }
        }
        false
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
    }

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        for n in 1..=TOLERATED {
            assert_eq!(breaker.admit(at(0)), Admission::Yes);
            assert_eq!(breaker.record(Admission::Yes, Some(false), at(0)), n == TOLERATED);
        }
        breaker
    }

    #[test]
    fn it_opens_on_failures_in_a_row_and_lets_one_probe() {
        let breaker = opened();
        assert_eq!(breaker.admit(at(1)), Admission::Not(at(2)));
        assert_eq!(breaker.admit(at(2)), Admission::Probe);
        assert_eq!(breaker.admit(at(2)), Admission::Probing);
        assert!(breaker.closed_until(at(2)).is_some_and(|soon| soon > at(2)), "nobody asks without a pause");
        breaker.record(Admission::Probe, Some(true), at(3));
        assert_eq!(breaker.admit(at(3)), Admission::Yes);
        assert_eq!(breaker.admit(at(3)), Admission::Yes);
    }

    #[test]
    fn a_failed_probe_rests_twice_as_long() {
        let breaker = opened();
        assert_eq!(breaker.admit(at(2)), Admission::Probe);
        breaker.record(Admission::Probe, Some(false), at(2));
        assert_eq!(breaker.admit(at(5)), Admission::Not(at(6)));
    }

    #[test]
    fn a_probe_that_never_called_makes_room_for_another() {
        let breaker = opened();
        assert_eq!(breaker.admit(at(2)), Admission::Probe);
        breaker.record(Admission::Probe, None, at(2));
        assert_eq!(breaker.admit(at(2)), Admission::Probe);
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..TOLERATED {
                assert!(!breaker.record(Admission::Yes, Some(false), at(0)));
            }
            breaker.record(Admission::Yes, Some(true), at(0));
        }
        assert_eq!(breaker.admit(at(0)), Admission::Yes);
    }

    #[test]
    fn stragglers_neither_lengthen_the_rest_nor_end_the_probe() {
        let breaker = opened();
        breaker.record(Admission::Yes, Some(false), at(1));
        assert_eq!(breaker.admit(at(2)), Admission::Probe);
        breaker.record(Admission::Yes, Some(false), at(2));
        breaker.record(Admission::Yes, None, at(2));
        assert_eq!(breaker.admit(at(2)), Admission::Probing);
    }
}
