//! Masks the fields that the config names under `redact`, wherever they are shown (promise P11).
//!
//! Which values these are is known only from the event's body, and the journal forgets bodies before steps: a step is
//! masked when it is recorded, and again when it is shown, for paths that the config has got since.

use serde_json::Value;

use crate::event::Event;
use crate::store::journal::Step;

/// What stands in place of a masked value.
pub const MASK: &str = "•••";

/// The paths of `redact`, parsed: `data.answers['연락처']`.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    paths: Vec<Vec<String>>,
}

impl Redactor {
    /// Parses paths as they stand in the config.
    ///
    /// # Errors
    /// The first path that is none, in words.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let paths = paths.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { paths })
    }

    /// True if nothing is to be masked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Masks a step of an event's journey.
    pub fn step(&self, event: &Event, step: &mut Step) {
        if !self.is_empty() {
            self.values(&event.data.value()).step(step);
        }
    }

    /// The values to mask for an event with this `data`.
    ///
    /// The same value is masked wherever else it appears (the stable columns, the raw answer, rendered requests), so
    /// it is values that are carried, not places.
    #[must_use]
    pub fn values(&self, data: &Value) -> Masked {
        let mut found = Vec::new();
        for path in &self.paths {
            if let [first, rest @ ..] = path.as_slice()
                && first == "data"
                && let Some(value) = rest.iter().try_fold(data, |value, segment| step(value, segment))
            {
                collect(value, &mut found);
            }
        }
        // Longer ones first, so that a value within another leaves no rest of it behind.
        found.sort_by_key(|text| std::cmp::Reverse(text.len()));
        found.dedup();
        Masked(found)
    }
}

fn step<'a>(value: &'a Value, segment: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        other => other.get(segment),
    }
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => map.values().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The values that are masked for one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masked(Vec<String>);

impl Masked {
    /// Masks within a text.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), MASK))
    }

    /// Masks within a tree of values.
    pub fn value(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Number(number) if self.0.contains(&number.to_string()) => *value = Value::String(MASK.to_owned()),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.value(item)),
            _ => {}
        }
    }

    /// Masks within what the journal says of a delivery.
    pub fn step(&self, step: &mut Step) {
        match step {
            Step::Attempt { call, message, .. } => {
                self.value(call);
                *message = self.text(message);
            }
            Step::Skipped { why: text } | Step::Waiting { why: text, .. } | Step::Ended { detail: text, .. } => {
                *text = self.text(text);
            }
            Step::Matched { .. } | Step::Operator { .. } => {}
        }
    }
}

/// Reads `a.b['c d'][0]`.
fn parse(path: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{path:?} is no path like data.answers['name'] or data.items[0]");
    let mut segments = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (segment, after) = inner.split_once(']').ok_or_else(wrong)?;
            let quoted = |quote| segment.strip_prefix(quote).and_then(|s: &str| s.strip_suffix(quote));
            let name = quoted('\'').or_else(|| quoted('"')).unwrap_or(segment);
            segments.push(name.to_owned());
            rest = after;
        } else {
            let rest_here = if segments.is_empty() { rest } else { rest.strip_prefix('.').ok_or_else(wrong)? };
            let end = rest_here.find(['.', '[']).unwrap_or(rest_here.len());
            segments.push(rest_here[..end].to_owned());
            rest = &rest_here[end..];
        }
    }
    let fits = segments.first().is_some_and(|s| s == "data") && segments.iter().all(|s| !s.is_empty());
    if fits { Ok(segments) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_value_is_masked_wherever_it_appears() {
        let redactor = Redactor::new(["data.answers['연락처']", "data.n"]).expect("paths");
        let data = json!({"answers": {"연락처": "010-1234"}, "fields": {"f1": "010-1234"}, "n": 77});
        let masked = redactor.values(&data);
        let mut shown = json!({"data": data, "call": {"text": "tel 010-1234!", "x": 77, "y": 7}});
        masked.value(&mut shown);
        assert_eq!(
            shown,
            json!({"data": {"answers": {"연락처": MASK}, "fields": {"f1": MASK}, "n": MASK},
                   "call": {"text": "tel •••!", "x": MASK, "y": 7}})
        );
    }

    #[test]
    fn what_is_no_path_is_told() {
        for wrong in ["", "answers", "data.", "data[", "data..x", "data['a'"] {
            assert!(Redactor::new([wrong]).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(path in ".*") {
            let _ = Redactor::new([path.as_str()]);
        }
    }
}
