//! How much came and went in each of the last sixty minutes: what the dashboard draws. It begins anew with the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

/// How many minutes are known.
pub const MINUTES: usize = 60;

/// Whose minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// A source's.
    Source,
    /// A route's.
    Route,
}

/// What happened in one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Minute {
    /// Of a source: events that came.
    pub came: u64,
    /// Of a route: deliveries that ended well.
    pub delivered: u64,
    /// Of a route: deliveries that were given up or are held.
    pub failed: u64,
    /// From receipt to delivery, in seconds, of all that were delivered together.
    pub seconds: f64,
}

impl std::ops::AddAssign for Minute {
    fn add_assign(&mut self, other: Self) {
        self.came += other.came;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.seconds += other.seconds;
    }
}

/// The minutes of one line; the newest is the last.
#[derive(Clone, Debug)]
struct Ring {
    /// Minutes since 1970.
    newest: i64,
    minutes: [Minute; MINUTES],
}

impl Ring {
    fn new(newest: i64) -> Self {
        Self { newest, minutes: [Minute::default(); MINUTES] }
    }

    /// Lets time pass.
    fn reach(&mut self, minute: i64) {
        let passed = usize::try_from(minute - self.newest).unwrap_or(0);
        if passed > 0 {
            let gone = passed.min(MINUTES);
            self.minutes.rotate_left(gone);
            self.minutes[MINUTES - gone..].fill(Minute::default());
            self.newest = minute;
        }
    }

    fn add(&mut self, minute: i64, what: Minute) {
        self.reach(minute);
        let back = usize::try_from(self.newest - minute).unwrap_or(MINUTES);
        if let Some(at) = (MINUTES - 1).checked_sub(back) {
            self.minutes[at] += what;
        }
    }
}

/// Counts by minute, and tells whoever waits for news.
#[derive(Debug)]
pub struct Pace {
    rings: Mutex<HashMap<(Line, String), Ring>>,
    news: watch::Sender<()>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rings: Mutex::default(), news: watch::Sender::new(()) }
    }
}

impl Pace {
    /// Something happened.
    pub fn add(&self, line: Line, name: &str, at: Timestamp, what: Minute) {
        let minute = minute_of(at);
        let mut rings = self.rings();
        match rings.get_mut(&(line, name.to_owned())) {
            Some(ring) => ring.add(minute, what),
            None => rings.entry((line, name.to_owned())).or_insert_with(|| Ring::new(minute)).add(minute, what),
        }
    }

    /// There is something new to see.
    pub fn tell(&self) {
        self.news.send_replace(());
    }

    /// Is told of all that happens from now on.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// The last sixty minutes, the present one at the end.
    #[must_use]
    pub fn hour(&self, line: Line, name: &str, now: Timestamp) -> [Minute; MINUTES] {
        let mut rings = self.rings();
        rings.get_mut(&(line, name.to_owned())).map_or([Minute::default(); MINUTES], |ring| {
            ring.reach(minute_of(now));
            ring.minutes
        })
    }

    fn rings(&self) -> MutexGuard<'_, HashMap<(Line, String), Ring>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of it there was within the sixty seconds before `now`, as far as whole minutes tell: all of the present
/// minute, and of the one before it the part that is less than sixty seconds old.
#[must_use]
pub fn a_minute(hour: &[Minute; MINUTES], now: Timestamp, of: impl Fn(&Minute) -> u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate, for the eye")]
    let count = |at: usize| of(&hour[at]) as f64;
    #[expect(clippy::cast_precision_loss, reason = "less than sixty")]
    let gone = now.as_second().rem_euclid(60) as f64 / 60.0;
    count(MINUTES - 1) + count(MINUTES - 2) * (1.0 - gone)
}

fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn came(n: u64) -> Minute {
        Minute { came: n, ..Minute::default() }
    }

    #[test]
    fn minutes_pass_and_an_hour_is_forgotten() {
        let pace = Pace::default();
        pace.add(Line::Source, "a", at("2026-11-22T10:00:30Z"), came(2));
        pace.add(Line::Source, "a", at("2026-11-22T10:01:10Z"), came(3));
        // A clock of another process may be behind.
        pace.add(Line::Source, "a", at("2026-11-22T10:00:59Z"), came(1));
        let hour = pace.hour(Line::Source, "a", at("2026-11-22T10:01:30Z"));
        assert_eq!((hour[58].came, hour[59].came), (3, 3));
        assert!((a_minute(&hour, at("2026-11-22T10:01:30Z"), |m| m.came) - 4.5).abs() < 1e-9);
        assert_eq!(pace.hour(Line::Source, "a", at("2026-11-22T11:00:00Z"))[0].came, 3);
        let later = pace.hour(Line::Source, "a", at("2026-11-22T23:00:00Z"));
        assert!(later.iter().all(|minute| minute.came == 0));
        pace.add(Line::Source, "a", at("2026-11-22T10:00:59Z"), came(1));
        assert!(pace.hour(Line::Source, "b", at("2026-11-22T23:00:00Z")).iter().all(|minute| minute.came == 0));
    }
}
