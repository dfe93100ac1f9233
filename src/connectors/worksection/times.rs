//! Worksection's times: `YYYY-MM-DD` and `YYYY-MM-DD HH:MM` out, without a zone; `DD.MM.YYYY` in.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

use crate::connectors::reading;

/// A time of the vendor's, in the account's zone; `None` for what is none.
pub(super) fn instant(value: &Value, zone: &TimeZone) -> Option<Timestamp> {
    value.as_str()?;
    reading::instant(value, zone)
}

/// A day of the vendor's as `2026-12-24`; `None` for what is none, as `0000-00-00`.
pub(super) fn day(value: &Value) -> Option<Value> {
    let date: Date = value.as_str()?.get(..10)?.parse().ok()?;
    Some(Value::from(date.to_string()))
}

/// A time of the vendor's as RFC 3339.
pub(super) fn shown(value: &Value, zone: &TimeZone) -> Option<Value> {
    let at: Zoned = instant(value, zone)?.to_zoned(zone.clone());
    Some(Value::from(at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()))
}

/// A date as Worksection takes it: from `2026-12-24`, `24.12.2026`, or a time, whose day is that in the account's zone.
///
/// # Errors
/// What was expected.
pub(super) fn written(value: &Value, zone: &TimeZone) -> Result<String, String> {
    const EXPECTED: &str = "expected a date (2026-12-24) or an RFC 3339 time";
    let text = value.as_str().ok_or(EXPECTED)?.trim();
    let date = match text.len() {
        10 => text.parse::<Date>().or_else(|_| Date::strptime("%d.%m.%Y", text)).ok(),
        _ => instant(value, zone).map(|at| at.to_zoned(zone.clone()).date()),
    };
    date.map(as_written).ok_or_else(|| EXPECTED.to_owned())
}

/// `24.12.2026`.
pub(super) fn as_written(date: Date) -> String {
    date.strftime("%d.%m.%Y").to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kyiv() -> TimeZone {
        TimeZone::get("Europe/Kyiv").unwrap()
    }

    #[test]
    fn times_are_read_in_the_zone_and_written_as_days() {
        assert_eq!(shown(&"2021-01-02 10:16".into(), &kyiv()).unwrap(), "2021-01-02T10:16:00+02:00");
        assert_eq!((shown(&"".into(), &kyiv()), shown(&Value::Null, &kyiv())), (None, None));
        assert_eq!(day(&"2021-01-02 10:16".into()).unwrap(), "2021-01-02");
        assert_eq!((day(&"0000-00-00".into()), day(&"".into())), (None, None));
        let write = |text: &str| written(&text.into(), &kyiv());
        assert_eq!(write("2026-12-24").unwrap(), "24.12.2026");
        assert_eq!(write("24.12.2026").unwrap(), "24.12.2026");
        assert_eq!(write("2026-12-24T22:30:00Z").unwrap(), "25.12.2026", "the day of the account");
        insta::assert_snapshot!(write("24.13.2026").unwrap_err(), @"expected a date (2026-12-24) or an RFC 3339 time");
        assert!(write("soon").is_err() && written(&Value::from(7), &kyiv()).is_err());
    }

    proptest! {
        #[test]
        fn a_day_that_is_written_is_the_day_that_was_meant(days in -20_000_i32..40_000) {
            let date = Date::constant(2000, 1, 1).saturating_add(jiff::Span::new().days(days));
            let text = written(&Value::from(date.to_string()), &kyiv()).unwrap();
            prop_assert_eq!(Date::strptime("%d.%m.%Y", &text).unwrap(), date);
            prop_assert_eq!(text.len(), 10);
        }
    }
}
