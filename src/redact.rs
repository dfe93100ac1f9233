//! Masks the fields that the config names under `redact`, wherever they are shown (promise P11).
//!
//! Which values these are is known only from the event's body, and the journal forgets bodies before steps: a step is
//! masked when it is recorded, and again when it is shown, for paths that the config has got since.

use serde_json::Value;

use crate::event::Event;
use crate::store::journal::{Refused, Step};

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

    /// Masks what is kept of a refused message. It became no event, so where its `data` begins is not known: it may be
    /// all of it, or a part. What is no JSON is not shown at all.
    pub fn refused(&self, refused: &mut Refused) {
        let Some(body) = refused.body.as_mut().filter(|_| !self.is_empty()) else { return };
        *body = match serde_json::from_str::<Value>(body) {
            Ok(value) => self.values(&value["data"]).text(&self.values(&value).text(body)),
            Err(_) => MASK.to_owned(),
        };
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
        // As they stand in a request's path, in a form, and in Slack's text.
        let others: Vec<String> =
            found.iter().flat_map(|text| escaped(text)).filter(|text| !found.contains(text)).collect();
        found.extend(others);
        // Longer ones first, so that a value within another leaves no rest of it behind.
        found.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        found.dedup();
        Masked(found)
    }
}

/// The other forms in which a text appears in what is sent.
fn escaped(text: &str) -> [String; 5] {
    /// Everything but what RFC 3986 calls unreserved.
    const RESERVED: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    /// As they, with the dots that would be steps of a path.
    const AND_DOTS: &percent_encoding::AsciiSet = &RESERVED.add(b'.');
    let percent = percent_encoding::utf8_percent_encode(text, RESERVED).to_string();
    let dots = percent_encoding::utf8_percent_encode(text, AND_DOTS).to_string();
    let form = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let entities = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // Within a value that was written as JSON.
    let json = serde_json::Value::String(text.to_owned()).to_string();
    [percent, dots, form, entities, json[1..json.len() - 1].to_owned()]
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
            Step::Attempt { call, message, .. } | Step::Asked { call, message, .. } => {
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
    fn what_is_kept_of_a_refused_message_is_masked() {
        let redactor = Redactor::new(["data.phone"]).expect("a path");
        let masked = |body: &str| {
            let mut refused = Refused {
                at: jiff::Timestamp::UNIX_EPOCH,
                source: "in".into(),
                status: 400,
                why: "the type does not fit".into(),
                peer: "orders".into(),
                bytes: 0,
                body: Some(body.into()),
            };
            redactor.refused(&mut refused);
            refused.body.expect("it is kept")
        };
        assert_eq!(masked(r#"{"phone": "010-1", "n": 1}"#), r#"{"phone": "•••", "n": 1}"#);
        assert_eq!(masked(r#"{"data": {"phone": "010-1"}}"#), r#"{"data": {"phone": "•••"}}"#);
        assert_eq!(masked("phone: 010-1"), MASK);
    }

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
    fn a_value_is_masked_in_its_other_forms() {
        let redactor = Redactor::new(["data.name", "data.file"]).expect("paths");
        let masked = redactor.values(&json!({"name": "김 & <하나>", "file": "../a\"b"}));
        for text in [
            "/people/%EA%B9%80%20%26%20%3C%ED%95%98%EB%82%98%3E/x",
            "q=%EA%B9%80+%26+%3C%ED%95%98%EB%82%98%3E",
            "hello 김 &amp; &lt;하나&gt;",
            "/files/%2E%2E%2Fa%22b",
            r#"[{"f":"../a\"b"}]"#,
        ] {
            let shown = masked.text(text);
            assert!(shown.contains(MASK) && !shown.contains('%') && !shown.contains("하나"), "{shown}");
            assert!(!shown.contains("a\\"), "{shown}");
        }
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
