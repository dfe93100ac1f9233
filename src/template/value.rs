//! JSON ↔ the engine's values, and how values look in text.
//!
//! Never through serde: with `arbitrary_precision` every number would become a map on the way.

use std::fmt::Write as _;

use minijinja::value::{Object, ObjectRepr, Value, ValueKind};
use serde_json::{Map, Number, Value as Json};

/// The most that one template, and one mapping, may come to, in bytes.
pub(super) const MAX_OUTPUT: usize = 1 << 20;
/// The deepest nesting of a result.
const MAX_DEPTH: usize = 128;
/// How many characters of a value people are shown.
const SHOWN: usize = 64;

/// Why a value cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A field is missing: its path.
    Missing(String),
    /// Something in it is undefined: in words, where.
    Undefined(String),
    /// Anything else, in words.
    Other(String),
}

impl Failure {
    fn other(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }
}

/// What `omit` looks like when it went through a filter into text: no character that any data has.
const OMIT_MARK: &str = "\u{fdd0}\u{fdef}";

/// What is said of `null` in a text.
pub(super) const NULL_IN_TEXT: &str = "null stands within a longer text (for an empty text: `| default('', true)`)";

/// The value of `omit`.
#[derive(Debug)]
pub(super) struct Omit;

impl Object for Omit {
    fn repr(self: &std::sync::Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &std::sync::Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(OMIT_MARK)
    }
}

/// True for `omit`.
pub(super) fn is_omit(value: &Value) -> bool {
    value.downcast_object_ref::<Omit>().is_some()
}

/// JSON as the engine's value. Integers keep their digits: those beyond 128 bits become text. Decimals become floats.
pub(super) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(yes) => Value::from(*yes),
        Json::Number(number) => from_number(number),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(from_json).collect::<Vec<_>>().into(),
        Json::Object(entries) => Value::from_pairs(entries.iter().map(|(key, value)| (key.as_str(), from_json(value)))),
    }
}

fn from_number(number: &Number) -> Value {
    let text = number.as_str();
    if let Ok(small) = text.parse::<i64>() {
        return Value::from(small);
    }
    if let Ok(big) = text.parse::<i128>() {
        return Value::from(big);
    }
    let decimal = text.contains(['.', 'e', 'E']);
    match text.parse::<f64>() {
        Ok(float) if decimal && float.is_finite() => Value::from(float),
        _ => Value::from(text),
    }
}

/// The engine's value as JSON. `omit` within a list or an object leaves its item out.
///
/// # Errors
/// [`Failure`], with the place within the value.
pub(super) fn to_json(value: &Value) -> Result<Json, Failure> {
    let mut left = MAX_OUTPUT;
    convert(value, &mut String::new(), 0, &mut left)
}

fn convert(value: &Value, place: &mut String, depth: usize, left: &mut usize) -> Result<Json, Failure> {
    let length = value.as_str().map_or(1, str::len);
    *left = left.checked_sub(length).ok_or_else(|| Failure::Other(too_long()))?;
    if depth > MAX_DEPTH {
        return Err(Failure::Other(format!("the result is nested more than {MAX_DEPTH} deep")));
    }
    match value.kind() {
        ValueKind::Undefined if place.is_empty() => {
            Err(Failure::Undefined("the result is undefined (an `if` without `else`, or an empty list?)".into()))
        }
        ValueKind::Undefined => Err(Failure::Undefined(format!("{place} of the result is undefined"))),
        ValueKind::None => Ok(Json::Null),
        ValueKind::Bool => Ok(Json::Bool(value.is_true())),
        ValueKind::Number => to_number(value),
        ValueKind::String => to_text(value).map(Json::String),
        ValueKind::Seq | ValueKind::Iterable => to_list(value, place, depth, left),
        ValueKind::Map => to_object(value, place, depth, left),
        _ => Err(Failure::Other(format!("the result is {}, which no field can hold", describe(value)))),
    }
}

fn to_number(value: &Value) -> Result<Json, Failure> {
    let text = value.to_string();
    text.parse().map(Json::Number).map_err(|_| Failure::Other(format!("the result is {text}, which is no number")))
}

fn to_text(value: &Value) -> Result<String, Failure> {
    let text = value.as_str().unwrap_or_default();
    if text.contains(OMIT_MARK) { Err(Failure::other(OMIT_IN_TEXT)) } else { Ok(text.to_owned()) }
}

fn to_list(value: &Value, place: &mut String, depth: usize, left: &mut usize) -> Result<Json, Failure> {
    let mut items = Vec::new();
    for (at, item) in value.try_iter().map_err(|e| Failure::Other(e.kind().to_string()))?.enumerate() {
        if is_omit(&item) {
            continue;
        }
        let length = place.len();
        let _ = write!(place, "[{at}]");
        items.push(convert(&item, place, depth + 1, left)?);
        place.truncate(length);
    }
    Ok(Json::Array(items))
}

fn to_object(value: &Value, place: &mut String, depth: usize, left: &mut usize) -> Result<Json, Failure> {
    let mut entries = Map::new();
    for key in value.try_iter().map_err(|e| Failure::Other(e.kind().to_string()))? {
        let item = value.get_item(&key).map_err(|e| Failure::Other(e.kind().to_string()))?;
        let key = key.to_string();
        *left = left.checked_sub(key.len()).ok_or_else(|| Failure::Other(too_long()))?;
        if is_omit(&item) {
            continue;
        }
        let length = place.len();
        let _ = write!(place, ".{key}");
        entries.insert(key, convert(&item, place, depth + 1, left)?);
        place.truncate(length);
    }
    Ok(Json::Object(entries))
}

const OMIT_IN_TEXT: &str = "omit stands within a longer text or a filter; it can only be a whole field";

/// What is said of a result that passes [`MAX_OUTPUT`].
pub(super) fn too_long() -> String {
    format!("the result is longer than {MAX_OUTPUT} bytes")
}

/// The engine's value within a longer text.
///
/// # Errors
/// [`Failure`].
pub(super) fn interpolate(value: &Value) -> Result<String, Failure> {
    if is_omit(value) {
        return Err(Failure::other(OMIT_IN_TEXT));
    }
    interpolate_json(&to_json(value)?)
}

/// A JSON value within a longer text: numbers as written, lists and objects as JSON.
///
/// # Errors
/// [`Failure`].
pub(super) fn interpolate_json(json: &Json) -> Result<String, Failure> {
    match json {
        Json::Null => Err(Failure::other(NULL_IN_TEXT)),
        Json::String(text) => Ok(text.clone()),
        other => Ok(other.to_string()),
    }
}

/// A value as people are shown it: text in quotes, at most 64 characters.
pub(super) fn show(json: &Json) -> String {
    let (text, quote) = match json {
        Json::String(text) => (text.clone(), "'"),
        other => (other.to_string(), ""),
    };
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{quote}{shown}{quote}")
}

/// The engine's value as people are shown it.
pub(super) fn describe(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => "undefined".into(),
        _ if is_omit(value) => "omit".into(),
        ValueKind::Plain | ValueKind::Bytes | ValueKind::Invalid => "a function or another thing of the engine".into(),
        _ => to_json(value).map_or_else(|_| "something that is too large to show".into(), |json| show(&json)),
    }
}

/// About how many bytes a JSON value takes.
pub(super) fn size(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(size).sum::<usize>() + 1,
        Json::Object(entries) => entries.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>() + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i128>().prop_map(|n| Json::Number(n.to_string().parse().unwrap())),
            any::<u64>().prop_map(|n| Json::Number(n.into())),
            ".{0,20}".prop_map(Json::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
                prop::collection::vec((".{0,8}", inner), 0..4).prop_map(|all| Json::Object(all.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_without_decimals_comes_back_as_it_went(json in json()) {
            prop_assert_eq!(to_json(&from_json(&json)).unwrap(), json);
        }
    }

    #[test]
    fn an_integer_beyond_128_bits_becomes_text() {
        let digits = "9".repeat(60);
        let value = from_json(&serde_json::from_str(&digits).unwrap());
        assert_eq!(to_json(&value).unwrap(), Json::String(digits));
        let far = from_json(&serde_json::from_str("1e999").unwrap());
        assert_eq!(to_json(&far).unwrap(), Json::String("1e+999".into()));
    }

    #[test]
    fn long_values_are_cut_where_people_see_them() {
        let shown = show(&Json::String("가".repeat(100)));
        assert_eq!(shown.chars().count(), 67);
        assert!(shown.ends_with("…'"));
    }
}
