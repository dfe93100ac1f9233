//! Dates, which Workfront spells in three ways.
//!
//! The REST API has `2010-08-30T09:00:00:000-0600` (a colon before the milliseconds, none in the zone), event
//! subscriptions have `2017-10-06T13:48:56.980-0600`, and examples of queries `2020-05-13T18:18:37.255Z`. All are read.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// A time of Workfront's as RFC 3339; `None` if it is none of its spellings.
pub(super) fn rfc3339(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    // `2010-08-30T09:00:00` and something after it.
    if !text.is_ascii() || bytes.len() < 20 || bytes[10] != b'T' || bytes[4] != b'-' || bytes[13] != b':' {
        return None;
    }
    let (moment, rest) = text.split_at(19);
    let zone = rest.find(['+', '-', 'Z'])?;
    let (fraction, zone) = rest.split_at(zone);
    let zone = match zone.len() {
        5 => format!("{}:{}", &zone[..3], &zone[3..]),
        _ => zone.to_owned(),
    };
    let whole = format!("{moment}{}{zone}", fraction.replacen(':', ".", 1));
    whole.parse::<Timestamp>().ok().map(|_| whole)
}

/// A time of Workfront's, or RFC 3339.
pub(super) fn instant(value: &Value) -> Option<Timestamp> {
    rfc3339(value.as_str()?)?.parse().ok()
}

/// As the REST API writes a time.
pub(super) fn written(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S:%3f%z").to_string()
}

/// As the vendor's examples of queries write a time.
pub(super) fn asked(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// What a field for a time is to hold: a moment, or a whole day's first or last moment. Anything else stays as it is.
pub(super) fn field(text: &str, last: bool, zone: &TimeZone) -> Option<String> {
    if let Some(at) = rfc3339(text).and_then(|text| text.parse().ok()) {
        return Some(written(at, zone));
    }
    let day: Date = Some(text).filter(|text| text.len() == 10)?.parse().ok()?;
    let time = if last { Time::constant(23, 59, 0, 0) } else { Time::midnight() };
    Some(written(day.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp(), zone))
}

/// A record as events carry it: times in RFC 3339, without what is absent (null).
pub(super) fn normalised(value: &Value) -> Value {
    match value {
        Value::String(text) => rfc3339(text).map_or_else(|| value.clone(), Value::String),
        Value::Array(items) => items.iter().map(normalised).collect(),
        Value::Object(entries) => {
            let there = entries.iter().filter(|(_, value)| !value.is_null());
            Value::Object(there.map(|(key, value)| (key.clone(), normalised(value))).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn all_three_spellings_are_read() {
        let read = |text: &str| instant(&json!(text)).map(|at| at.to_string());
        assert_eq!(read("2010-08-30T09:00:00:000-0600").as_deref(), Some("2010-08-30T15:00:00Z"));
        assert_eq!(read("2017-10-06T13:48:56.980-0600").as_deref(), Some("2017-10-06T19:48:56.98Z"));
        assert_eq!(read("2020-05-13T18:18:37.255Z").as_deref(), Some("2020-05-13T18:18:37.255Z"));
        assert_eq!(read("2020-05-13T18:18:37+09:00").as_deref(), Some("2020-05-13T09:18:37Z"));
        for none in
            ["", "2020-05-13", "2020-05-13T18:18:37", "a note of 2020-05-13T18:18:37.255Z", "2020-13-13T18:18:37Z"]
        {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn a_field_is_written_as_the_api_writes_it() {
        let seoul = TimeZone::get("Asia/Seoul").unwrap();
        let write = |text, last| field(text, last, &seoul);
        assert_eq!(write("2026-11-23T01:30:00Z", false).as_deref(), Some("2026-11-23T10:30:00:000+0900"));
        assert_eq!(write("2026-12-24", false).as_deref(), Some("2026-12-24T00:00:00:000+0900"));
        assert_eq!(write("2026-12-24", true).as_deref(), Some("2026-12-24T23:59:00:000+0900"));
        assert_eq!(write("$$TODAY", true), None);
        assert_eq!(asked("2026-11-23T01:30:00.5Z".parse().unwrap()), "2026-11-23T01:30:00.500Z");
    }

    #[test]
    fn a_record_is_told_in_rfc_3339_without_what_is_absent() {
        let raw = json!({ "name": "a", "entryDate": "2010-08-30T09:00:00:000-0600", "owner": { "ID": "1", "title": null }, "x": null, "n": [null, 1.1] });
        insta::assert_snapshot!(normalised(&raw).to_string(), @r#"{"name":"a","entryDate":"2010-08-30T09:00:00.000-06:00","owner":{"ID":"1"},"n":[null,1.1]}"#);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "([0-9T:.Z+-]|\\PC)*") {
            let _ = (rfc3339(&text), field(&text, true, &TimeZone::UTC));
        }

        #[test]
        fn what_is_written_is_read(second in 0_i64..4_000_000_000, ms in 0_i32..1000) {
            let at = Timestamp::new(second, ms * 1_000_000).unwrap();
            let zone = TimeZone::get("America/Denver").unwrap();
            prop_assert_eq!(instant(&json!(written(at, &zone))), Some(at));
            prop_assert_eq!(instant(&json!(asked(at))), Some(at));
        }
    }
}
