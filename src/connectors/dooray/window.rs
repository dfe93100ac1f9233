//! The window of a calendar that is looked at, and how it is cut into questions.
//!
//! The page says a question may span a year. Public code has measured less: a month (2025), 50 days (2026), above which
//! Dooray answers 400 `USER_INVALID_EXCEED_MAXIMUM_PERIOD`. So the window is asked for in slices.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::entry::Place;
use super::times;

/// The times that are looked at: from the first, before the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// How an entry lies to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    /// Over before it: no longer looked at.
    Before,
    /// It touches the window, or has no time.
    Within,
    /// Not yet looked at.
    After,
}

impl Window {
    pub(super) fn around(now: Timestamp, past: SignedDuration, ahead: SignedDuration) -> Self {
        Self { from: before(now, past), to: after(now, ahead) }
    }

    pub(super) fn span(self) -> SignedDuration {
        self.to.duration_since(self.from)
    }

    /// Slices of at most `span`, in order.
    pub(super) fn slices(self, span: SignedDuration) -> Vec<Self> {
        let mut slices = Vec::new();
        let mut from = self.from;
        while from < self.to {
            let to = after(from, span).min(self.to);
            slices.push(Self { from, to });
            from = to;
        }
        slices
    }

    pub(super) fn lies(self, place: &Place) -> Lies {
        match (place.from, place.to) {
            (_, Some(to)) if to <= self.from && place.from != place.to => Lies::Before,
            // What takes no time is within at the window's first moment.
            (Some(from), _) if from < self.from && place.from == place.to => Lies::Before,
            (Some(from), _) if from >= self.to => Lies::After,
            _ => Lies::Within,
        }
    }

    /// `timeMin` and `timeMax` as they are asked with.
    pub(super) fn query(self, zone: &TimeZone, quoted: bool) -> [(&'static str, String); 2] {
        let text = |at| {
            let at = times::rfc3339(at, zone);
            if quoted { format!("\"{at}\"") } else { at }
        };
        [("timeMin", text(self.from)), ("timeMax", text(self.to))]
    }
}

fn before(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

fn after(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// `at` without what is below a second: Dooray's times have none in its samples.
pub(super) fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn times_are_asked_for_with_their_zone() {
        let window = Window { from: at(0), to: at(86_400) };
        let seoul = TimeZone::get("Asia/Seoul").unwrap();
        assert_eq!(window.query(&seoul, false)[0], ("timeMin", "1970-01-01T09:00:00+09:00".to_owned()));
        assert_eq!(window.query(&seoul, true)[1], ("timeMax", "\"1970-01-02T09:00:00+09:00\"".to_owned()));
    }

    proptest! {
        #[test]
        fn slices_cover_the_window_without_gaps(from in 0_i64..1_000_000, length in 0_i64..40_000_000, span in 86_400_i64..40_000_000) {
            let window = Window { from: at(from), to: at(from + length) };
            let slices = window.slices(SignedDuration::from_secs(span));
            let mut reached = window.from;
            for slice in &slices {
                prop_assert_eq!(slice.from, reached);
                prop_assert!(slice.from < slice.to && slice.span() <= SignedDuration::from_secs(span));
                reached = slice.to;
            }
            prop_assert_eq!(reached, window.to);
        }
    }
}
