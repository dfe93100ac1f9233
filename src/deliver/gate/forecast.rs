//! When a month's calls are used up if it goes on like this.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::month_turns;

/// The part of the month that must be over before its pace says anything, unless a good part of the calls is used.
const ENOUGH: SignedDuration = SignedDuration::from_hours(24);
/// Which part of the calls that is: a tenth.
const A_GOOD_PART: u64 = 10;

/// When the month's calls are used up at the pace so far; `None` if they last, or if it is too early to say.
#[must_use]
pub fn used_up(used: u64, monthly: u64, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let start = now.to_zoned(zone.clone()).first_of_month().ok()?.start_of_day().ok()?.timestamp();
    let elapsed = now.duration_since(start);
    let early = elapsed < ENOUGH && used.saturating_mul(A_GOOD_PART) < monthly;
    if used == 0 || early {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a forecast, to the day")]
    let needed = elapsed.as_secs_f64() * (monthly as f64) / (used as f64);
    let at = start.saturating_add(SignedDuration::try_from_secs_f64(needed).ok()?).ok()?;
    (at < month_turns(now, zone)).then_some(at)
}

/// The forecast in words: `used up on the 19th`.
#[must_use]
pub fn in_words(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    if at <= now {
        return "used up".to_owned();
    }
    let day = at.to_zoned(zone.clone()).day();
    let ending = match day {
        11..=13 => "th",
        _ if day % 10 == 1 => "st",
        _ if day % 10 == 2 => "nd",
        _ if day % 10 == 3 => "rd",
        _ => "th",
    };
    format!("used up on the {day}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(used: u64, now: &str) -> String {
        let zone = TimeZone::get("Asia/Seoul").expect("a zone");
        let now = now.parse().expect("a time");
        used_up(used, 1500, now, &zone).map_or_else(|| "lasts".to_owned(), |at| in_words(at, now, &zone))
    }

    #[test]
    fn it_goes_on_at_the_months_pace_in_the_accounts_zone() {
        assert_eq!(forecast(750, "2026-11-10T15:00:00Z"), "used up on the 21st");
        assert_eq!(forecast(827, "2026-11-10T15:00:00Z"), "used up on the 19th");
        assert_eq!(forecast(400, "2026-11-10T15:00:00Z"), "lasts");
        assert_eq!(forecast(0, "2026-11-10T15:00:00Z"), "lasts");
        assert_eq!(forecast(1500, "2026-11-10T15:00:00Z"), "used up");
    }

    #[test]
    fn the_first_day_says_little() {
        assert_eq!(forecast(140, "2026-10-31T16:00:00Z"), "lasts");
        assert_eq!(forecast(140, "2026-11-01T15:00:00Z"), "used up on the 11th");
        assert_eq!(forecast(600, "2026-10-31T21:00:00Z"), "used up on the 1st", "unless it says much");
    }
}
