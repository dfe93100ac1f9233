//! The ten types of Works' components, and how a value is written for each.
//!
//! Source: the vendor's page. Dates are `yyyy-mm-dd`, times `hh:mm`, both `yyyy-mm-dd hh:mm`, without a zone; choices are
//! lists of their texts, those of a list box lists of numbers, a single choice one text.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use serde_json::{Number, Value};

/// The words of the config, one for each type.
pub const NAMES: &[&str] =
    &["text", "multitext", "number", "dropbox", "checkbox", "radio", "listbox", "date", "time", "datetime"];

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// 텍스트
    Text,
    /// 멀티 텍스트
    Multitext,
    /// 숫자
    Number,
    /// 드롭 박스
    Dropbox,
    /// 체크박스
    Checkbox,
    /// 단일 선택
    Radio,
    /// 리스트 박스
    Listbox,
    /// 날짜
    Date,
    /// 시간
    Time,
    /// 날짜와 시간
    Datetime,
}

impl FieldType {
    /// The type of a word of the config.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "multitext" => Self::Multitext,
            "number" => Self::Number,
            "dropbox" => Self::Dropbox,
            "checkbox" => Self::Checkbox,
            "radio" => Self::Radio,
            "listbox" => Self::Listbox,
            "date" => Self::Date,
            "time" => Self::Time,
            "datetime" => Self::Datetime,
            _ => return None,
        })
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::Multitext => "text",
            Self::Number => "a number",
            Self::Dropbox | Self::Checkbox => "a choice's text, or a list of them",
            Self::Radio => "the text of one choice",
            Self::Listbox => "a choice's number, or a list of them",
            Self::Date => "a date (2024-11-04) or an RFC 3339 time",
            Self::Time => "a time of day (13:00) or an RFC 3339 time",
            Self::Datetime => "an RFC 3339 time, or a date and a time of day (2024-11-04 13:00)",
        }
    }

    /// Writes a value as Works wants it. `null` clears the field: as the page says nothing of `null`, it is sent as an
    /// empty text, or an empty list for what is a list. Instants are told in `zone`; seconds are cut off, for Works
    /// has none.
    ///
    /// # Errors
    /// What was expected and the shape of what came, without its content.
    pub fn format(self, value: &Value, zone: &TimeZone) -> Result<Value, String> {
        if value.is_null() {
            return Ok(match self {
                Self::Dropbox | Self::Checkbox | Self::Listbox => Value::Array(Vec::new()),
                _ => Value::String(String::new()),
            });
        }
        let formatted = match self {
            Self::Text | Self::Multitext | Self::Radio => text(value).map(Value::String),
            Self::Number => number(value).map(Value::Number),
            Self::Dropbox | Self::Checkbox => each(value, |item| text(item).map(Value::String)),
            Self::Listbox => each(value, |item| number(item).map(Value::Number)),
            Self::Date => value.as_str().and_then(|text| date(text, zone)).map(Value::String),
            Self::Time => value.as_str().and_then(|text| time(text, zone)).map(Value::String),
            Self::Datetime => value.as_str().and_then(|text| datetime(text, zone)).map(Value::String),
        };
        formatted.ok_or_else(|| format!("expected {}, found {}", self.expected(), shape(value)))
    }

    /// True if `value` has the shape that the page shows for this type: what the sandbox takes.
    #[must_use]
    pub fn is_written(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Dropbox | Self::Checkbox, Value::Array(items)) => items.iter().all(Value::is_string),
            (Self::Listbox, Value::Array(items)) => items.iter().all(Value::is_number),
            (Self::Dropbox | Self::Checkbox | Self::Listbox, _) => false,
            (Self::Number, value) => value.is_number() || value == "",
            (Self::Text | Self::Multitext | Self::Radio, value) => value.is_string(),
            (_, Value::String(text)) => text.is_empty() || self.is_written_time(text),
            _ => false,
        }
    }

    fn is_written_time(self, text: &str) -> bool {
        match self {
            Self::Date => civil_date(text).is_some(),
            Self::Time => text.len() == 5 && civil_time(text).is_some(),
            _ => text.len() == 16 && text.as_bytes()[10] == b' ' && civil(text).is_some(),
        }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A number keeps the digits it was written with.
fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn each(value: &Value, one: impl Fn(&Value) -> Option<Value>) -> Option<Value> {
    match value {
        Value::Array(items) => items.iter().map(one).collect::<Option<Vec<_>>>().map(Value::Array),
        single => one(single).map(|item| Value::Array(vec![item])),
    }
}

/// In words; values are people's data, so of a text only its pattern is shown.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) if text.is_empty() => "an empty text (`null` clears a field)".to_owned(),
        Value::String(text) => format!("a text like {:?}", pattern(text)),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// `04.11.2024` → `99.99.9999`, `초급` → `aa`.
fn pattern(text: &str) -> String {
    let masked = |c: char| match c {
        c if c.is_numeric() => '9',
        c if c.is_alphabetic() => 'a',
        c => c,
    };
    text.chars().take(30).map(masked).collect()
}

fn date(text: &str, zone: &TimeZone) -> Option<String> {
    let date = civil_date(text).or_else(|| moment(text, zone).map(DateTime::date))?;
    Some(date.strftime("%Y-%m-%d").to_string())
}

fn time(text: &str, zone: &TimeZone) -> Option<String> {
    let time = civil_time(text).or_else(|| moment(text, zone).map(DateTime::time))?;
    Some(time.strftime("%H:%M").to_string())
}

fn datetime(text: &str, zone: &TimeZone) -> Option<String> {
    Some(moment(text, zone)?.strftime("%Y-%m-%d %H:%M").to_string())
}

/// An instant as the clock on the wall of `zone` shows it, or a date and time that bear no zone as they are.
fn moment(text: &str, zone: &TimeZone) -> Option<DateTime> {
    let moment = match text.parse::<Timestamp>() {
        Ok(at) => at.to_zoned(zone.clone()).datetime(),
        Err(_) => civil(text)?,
    };
    four_digits(moment.date()).then_some(moment)
}

/// `2024-11-04 13:00`, with `T` or a space, with or without seconds.
fn civil(text: &str) -> Option<DateTime> {
    let (date, time) = (text.get(..10)?, text.get(11..)?);
    matches!(text.as_bytes().get(10), Some(b' ' | b'T' | b't')).then_some(())?;
    Some(DateTime::from_parts(civil_date(date)?, civil_time(time)?))
}

fn civil_date(text: &str) -> Option<Date> {
    // `jiff` takes more notations than this one.
    let written = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    text.parse().ok().filter(|date: &Date| written && four_digits(*date))
}

fn civil_time(text: &str) -> Option<Time> {
    let written = text.len() >= 5 && text.as_bytes()[2] == b':' && text.as_bytes()[0].is_ascii_digit();
    text.parse().ok().filter(|_| written)
}

fn four_digits(date: Date) -> bool {
    (0..=9999).contains(&date.year())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn seoul() -> TimeZone {
        TimeZone::get("Asia/Seoul").expect("a zone")
    }

    fn write(name: &str, value: &Value) -> Result<Value, String> {
        FieldType::named(name).expect("a type").format(value, &seoul())
    }

    #[test]
    fn values_are_written_as_the_page_shows_them() {
        let cases = [
            ("text", json!("1"), json!("1")),
            ("text", json!(42), json!("42")),
            ("multitext", json!("a\nb"), json!("a\nb")),
            ("number", json!("1200"), json!(1200)),
            ("dropbox", json!("드롭2"), json!(["드롭2"])),
            ("checkbox", json!(["체크1", "체크2"]), json!(["체크1", "체크2"])),
            ("radio", json!("옵션1"), json!("옵션1")),
            ("listbox", json!([1, "2", 3]), json!([1, 2, 3])),
            ("listbox", json!(2), json!([2])),
            ("date", json!("2024-11-04"), json!("2024-11-04")),
            ("date", json!("2024-11-03T16:00:00Z"), json!("2024-11-04")),
            ("date", json!("2024-11-04 23:59"), json!("2024-11-04")),
            ("time", json!("13:00:59"), json!("13:00")),
            ("time", json!("2024-11-04T04:00:00Z"), json!("13:00")),
            ("datetime", json!("2024-11-04T13:00:30.5+09:00"), json!("2024-11-04 13:00")),
            ("datetime", json!("2024-11-04T04:00:00Z"), json!("2024-11-04 13:00")),
            ("datetime", json!("2024-11-04T13:00"), json!("2024-11-04 13:00")),
            ("date", Value::Null, json!("")),
            ("checkbox", Value::Null, json!([])),
        ];
        for (name, value, written) in cases {
            assert_eq!(write(name, &value), Ok(written), "{name} {value}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_without_its_content() {
        let wrong = [
            ("text", json!(true)),
            ("text", json!(["a"])),
            ("number", json!("12 pieces")),
            ("number", json!("NaN")),
            ("dropbox", json!([["a"]])),
            ("radio", json!(["옵션1"])),
            ("listbox", json!("초급")),
            ("date", json!("04.11.2024")),
            ("date", json!("20241104")),
            ("date", json!("2024-02-30")),
            ("date", json!("")),
            ("time", json!("25:00")),
            ("time", json!("1300")),
            ("time", json!("2024-11-04")),
            ("datetime", json!("2024-11-04")),
            ("datetime", json!(1_730_692_800)),
        ];
        let told: Vec<String> = wrong
            .into_iter()
            .map(|(name, value)| format!("{name}: {}", write(name, &value).expect_err(&format!("{name} {value}"))))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        text: expected text, found true or false
        text: expected text, found a list of 1
        number: expected a number, found a text like "99 aaaaaa"
        number: expected a number, found a text like "aaa"
        dropbox: expected a choice's text, or a list of them, found a list of 1
        radio: expected the text of one choice, found a list of 1
        listbox: expected a choice's number, or a list of them, found a text like "aa"
        date: expected a date (2024-11-04) or an RFC 3339 time, found a text like "99.99.9999"
        date: expected a date (2024-11-04) or an RFC 3339 time, found a text like "99999999"
        date: expected a date (2024-11-04) or an RFC 3339 time, found a text like "9999-99-99"
        date: expected a date (2024-11-04) or an RFC 3339 time, found an empty text (`null` clears a field)
        time: expected a time of day (13:00) or an RFC 3339 time, found a text like "99:99"
        time: expected a time of day (13:00) or an RFC 3339 time, found a text like "9999"
        time: expected a time of day (13:00) or an RFC 3339 time, found a text like "9999-99-99"
        datetime: expected an RFC 3339 time, or a date and a time of day (2024-11-04 13:00), found a text like "9999-99-99"
        datetime: expected an RFC 3339 time, or a date and a time of day (2024-11-04 13:00), found a number
        "#);
    }

    #[test]
    fn numbers_keep_their_digits() {
        let big: Value = serde_json::from_str("12345678901234567890123").expect("a number");
        assert_eq!(write("number", &big).expect("fits").to_string(), "12345678901234567890123");
        assert_eq!(write("number", &json!("1.10")).expect("fits").to_string(), "1.10");
        assert_eq!(write("text", &serde_json::from_str("1.10").expect("a number")), Ok(json!("1.10")));
    }

    proptest! {
        #[test]
        fn every_instant_of_four_digit_years_has_the_shape_that_works_takes(seconds in -62_000_000_000_i64..253_000_000_000) {
            let at = Timestamp::from_second(seconds).expect("in range");
            for name in ["date", "time", "datetime"] {
                let kind = FieldType::named(name).expect("a type");
                let written = kind.format(&json!(at.to_string()), &seoul()).expect("an instant fits");
                prop_assert!(kind.is_written(&written), "{} {}", name, written);
                // What was written is read back as itself.
                prop_assert_eq!(kind.format(&written, &seoul()), Ok(written.clone()));
            }
        }

        #[test]
        fn what_is_written_has_the_shape_of_its_type(name in proptest::sample::select(NAMES), value in any_value()) {
            let kind = FieldType::named(name).expect("a type");
            if let Ok(written) = kind.format(&value, &seoul()) {
                prop_assert!(kind.is_written(&written), "{} {} {}", name, value, written);
            }
        }

        #[test]
        fn no_text_makes_a_panic(name in proptest::sample::select(NAMES), text in "\\PC*|[0-9:. TtZ+-]{0,25}") {
            let _ = FieldType::named(name).expect("a type").format(&json!(text), &seoul());
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            "[0-9]{1,4}(-[0-9]{2}){0,2}|[0-9]{2}:[0-9]{2}|[가-힣a-z]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 12, 4, |inner| proptest::collection::vec(inner, 0..4).prop_map(Value::Array))
    }
}
