//! Dooray's times: RFC 3339 with a zone, `2015-09-08+09:00` for whole days, null for what has none.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::Value;

use crate::connectors::reading;

/// What the end of a whole day is. The page's sample of two days, the 8th to the 9th, can be read either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DayEnd {
    /// The day after the last.
    Exclusive,
    /// The last day.
    Inclusive,
}

impl DayEnd {
    /// The words of the config, the default first.
    pub(super) const NAMES: &'static [&'static str] = &["exclusive", "inclusive"];

    pub(super) fn named(name: Option<&str>) -> Self {
        if name == Some("inclusive") { Self::Inclusive } else { Self::Exclusive }
    }

    /// The last day of an event.
    pub(super) fn last(self, start: Date, end: &str, zone: &TimeZone) -> Option<Date> {
        let (day, is_midnight) = match instant_text(end, zone) {
            Some(at) if end.contains('T') => {
                let local = at.to_zoned(zone.clone());
                (local.date(), local.time() == jiff::civil::Time::midnight())
            }
            _ => (day(end, zone)?, true),
        };
        // A time within a day (23:59:59) names that day by either reading.
        let back = i32::from(is_midnight && self == Self::Exclusive);
        Some(day.saturating_sub(back.days()).max(start))
    }

    /// How a last day is written.
    pub(super) fn written(self, last: Date, zone: &TimeZone) -> Option<String> {
        let day = match self {
            Self::Exclusive => last.checked_add(1.day()).ok()?,
            Self::Inclusive => last,
        };
        whole_day(day, zone)
    }
}

/// A time of Dooray's; `None` for null and what is none.
pub(super) fn instant(value: &Value, zone: &TimeZone) -> Option<Timestamp> {
    instant_text(value.as_str()?, zone)
}

fn instant_text(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if !text.contains('T') {
        return day(text, zone)?.to_zoned(zone.clone()).ok().map(|at| at.timestamp());
    }
    reading::instant(&Value::from(text), zone)
}

/// The day of `2015-09-08+09:00`, `2015-09-08`, or a whole time, as it is in the zone.
pub(super) fn day(text: &str, zone: &TimeZone) -> Option<Date> {
    if text.contains('T') {
        return instant_text(text, zone).map(|at| at.to_zoned(zone.clone()).date());
    }
    text.get(..10)?.parse().ok()
}

/// A time as RFC 3339 in the zone; text that is no time stays as it is.
pub(super) fn shown(value: &Value, zone: &TimeZone) -> Option<Value> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    Some(Value::from(instant_text(text, zone).map_or_else(|| text.to_owned(), |at| rfc3339(at, zone))))
}

/// `2020-08-01T00:00:00+09:00`.
pub(super) fn rfc3339(at: Timestamp, zone: &TimeZone) -> String {
    let at: Zoned = at.to_zoned(zone.clone());
    let fraction = if at.subsec_nanosecond() == 0 { "" } else { "%.3f" };
    at.strftime(&format!("%Y-%m-%dT%H:%M:%S{fraction}%:z")).to_string()
}

/// `2015-09-08+09:00`.
pub(super) fn whole_day(day: Date, zone: &TimeZone) -> Option<String> {
    let at = day.to_zoned(zone.clone()).ok()?;
    Some(at.strftime("%Y-%m-%d%:z").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seoul() -> TimeZone {
        TimeZone::get("Asia/Seoul").unwrap()
    }

    #[test]
    fn days_and_times_are_read_in_the_zone() {
        let at = |text: &str| instant(&Value::from(text), &seoul()).map(|at| at.to_string());
        assert_eq!(at("2014-10-18T09:30:00+09:00").as_deref(), Some("2014-10-18T00:30:00Z"));
        assert_eq!(at("2022-01-02T12:00:26.453+09:00").as_deref(), Some("2022-01-02T03:00:26.453Z"));
        assert_eq!(at("2015-09-08+09:00").as_deref(), Some("2015-09-07T15:00:00Z"));
        assert_eq!((at(""), instant(&Value::Null, &seoul())), (None, None));
        let shown = |text: &str| shown(&Value::from(text), &seoul()).unwrap();
        assert_eq!(shown("2014-10-18T00:30:00Z"), "2014-10-18T09:30:00+09:00");
        assert_eq!(shown("2022-01-02T12:00:26.453+09:00"), "2022-01-02T12:00:26.453+09:00");
    }

    #[test]
    fn the_last_day_of_a_whole_day() {
        let last = |reading: DayEnd, start: &str, end: &str| {
            reading.last(start.parse().unwrap(), end, &seoul()).unwrap().to_string()
        };
        assert_eq!(last(DayEnd::Exclusive, "2015-09-08", "2015-09-09+09:00"), "2015-09-08");
        assert_eq!(last(DayEnd::Inclusive, "2015-09-08", "2015-09-09+09:00"), "2015-09-09");
        assert_eq!(last(DayEnd::Exclusive, "2015-09-08", "2015-09-08+09:00"), "2015-09-08", "never before its start");
        assert_eq!(last(DayEnd::Exclusive, "2015-09-08", "2015-09-10T00:00:00+09:00"), "2015-09-09");
        assert_eq!(last(DayEnd::Exclusive, "2015-09-08", "2015-09-09T23:59:59+09:00"), "2015-09-09");
        for reading in [DayEnd::Exclusive, DayEnd::Inclusive] {
            let day: Date = "2026-11-21".parse().unwrap();
            let written = reading.written(day, &seoul()).unwrap();
            assert_eq!(reading.last(day, &written, &seoul()), Some(day), "{reading:?}");
        }
    }
}
