//! A row of a Parquet file as JSON: times are RFC 3339, numbers keep their digits.

use jiff::civil::{Date, Time};
use jiff::{Timestamp, ToSpan};
use parquet::record::{Field, Row};
use serde_json::{Map, Number, Value};

/// The columns of a row by name.
pub(super) fn object(row: Row) -> Value {
    Value::Object(row.into_columns().into_iter().map(|(name, field)| (name, value(&field))).collect())
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(yes) => Value::Bool(*yes),
        Field::Byte(n) => Value::from(*n),
        Field::Short(n) => Value::from(*n),
        Field::Int(n) => Value::from(*n),
        Field::Long(n) => Value::from(*n),
        Field::UByte(n) => Value::from(*n),
        Field::UShort(n) => Value::from(*n),
        Field::UInt(n) => Value::from(*n),
        Field::ULong(n) => Value::from(*n),
        Field::Float(n) => Number::from_f64(f64::from(*n)).map_or(Value::Null, Value::Number),
        Field::Double(n) => Number::from_f64(*n).map_or(Value::Null, Value::Number),
        // Written out by the reader, without an exponent.
        Field::Float16(_) | Field::Decimal(_) => field.to_string().parse().map_or(Value::Null, Value::Number),
        Field::Str(text) => Value::String(text.clone()),
        Field::Bytes(bytes) => Value::String(String::from_utf8_lossy(bytes.data()).into_owned()),
        Field::Date(days) => text(Date::constant(1970, 1, 1).checked_add(days.days()).ok()),
        Field::TimeMillis(ms) => time(i64::from(*ms).saturating_mul(1_000)),
        Field::TimeMicros(micros) => time(*micros),
        Field::TimestampMillis(ms) => text(Timestamp::from_millisecond(*ms).ok()),
        Field::TimestampMicros(micros) => text(Timestamp::from_microsecond(*micros).ok()),
        Field::Group(row) => {
            Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect())
        }
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let entry = |(key, field): &(Field, Field)| (key_of(key), value(field));
            Value::Object(map.entries().iter().map(entry).collect::<Map<_, _>>())
        }
    }
}

fn text(time: Option<impl std::fmt::Display>) -> Value {
    time.map_or(Value::Null, |time| Value::String(time.to_string()))
}

fn time(micros: i64) -> Value {
    text(Time::midnight().checked_add(micros.microseconds()).ok())
}

fn key_of(key: &Field) -> String {
    match value(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
