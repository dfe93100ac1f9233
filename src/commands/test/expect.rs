//! What a test expects of a route, and how what came differs from it.

use serde_json::{Number, Value};

use super::Came;
use crate::outcome::Outcome;
use crate::settings::{Node, NodeValue};

/// What is expected of one route.
#[derive(Debug)]
pub(super) enum Expected {
    /// It ends without a call: `skipped`, `stale`, `nothing-to-do`.
    Ends(String),
    /// It makes a call; only what is named is compared.
    Does { verb: Option<String>, map: Option<Value>, request: Option<Value>, outcome: Option<String> },
}

const ENDS: [&str; 3] = ["skipped", "stale", "nothing-to-do"];
const KEYS: [&str; 4] = ["do", "map", "request", "outcome"];

impl Expected {
    /// Reads the value under a route's name in `expect`.
    ///
    /// # Errors
    /// What it cannot be, in words.
    pub(super) fn read(node: &Node) -> Result<Self, String> {
        let NodeValue::Map(entries) = &node.value else {
            return match node.text() {
                Some(word) if ENDS.contains(&word) => Ok(Self::Ends(word.to_owned())),
                _ => Err(format!("expect {}, or a mapping with {}", ENDS.join(", "), KEYS.join(", "))),
            };
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !KEYS.contains(&key.name.as_str())) {
            return Err(format!("`expect` has no `{}`; there are {}", key.name, KEYS.join(", ")));
        }
        let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let value = |key: &str| node.get(key).map(value_of);
        Ok(Self::Does { verb: text("do"), map: value("map"), request: value("request"), outcome: text("outcome") })
    }

    /// Every difference, a line each, beginning with its path from the route's name on.
    pub(super) fn differences(&self, route: &str, came: &Came) -> Vec<String> {
        match (self, came) {
            (Self::Ends(word), Came::Skipped(_)) if word == "skipped" => Vec::new(),
            (Self::Ends(word), Came::Ended(ending, _)) if word == ending => Vec::new(),
            (Self::Ends(word), came) => vec![format!("{route}: expected {word}, got {}", in_words(came))],
            (Self::Does { verb, map, request, outcome }, Came::Called(call)) => {
                let mut found = Vec::new();
                if let Some(verb) = verb.as_deref().filter(|verb| *verb != call.verb.name()) {
                    found.push(format!("{route}.do: expected {verb}, got {}", call.verb.name()));
                }
                if let Some(map) = map {
                    let fields = Value::Object(call.rendered.fields.clone());
                    compare(map, Some(&fields), &format!("{route}.map"), &mut found);
                }
                if let Some(request) = request {
                    compare(request, Some(&call.shown), &format!("{route}.request"), &mut found);
                }
                if let Some(outcome) = outcome {
                    found.extend(outcome_differs(outcome, call.outcome.as_ref(), route));
                }
                found
            }
            (Self::Does { outcome: Some(outcome), verb, .. }, Came::Rejected { verb: did, .. })
                if outcome == "reject" && verb.as_deref().is_none_or(|v| did.is_some_and(|did| did.name() == v)) =>
            {
                Vec::new()
            }
            (Self::Does { verb, .. }, came) => {
                let expected = verb.as_deref().unwrap_or("a call");
                vec![format!("{route}: expected {expected}, got {}", in_words(came))]
            }
        }
    }
}

fn in_words(came: &Came) -> String {
    match came {
        Came::Skipped(why) => format!("skipped: {why}"),
        Came::Ended(ending, why) => format!("{ending}: {why}"),
        Came::Rejected { verb: Some(verb), why } => format!("a {} that is rejected: {why}", verb.name()),
        Came::Rejected { verb: None, why } => format!("an error: {why}"),
        Came::Called(call) => call.verb.name().to_owned(),
    }
}

fn outcome_differs(expected: &str, came: Option<&Outcome>, route: &str) -> Option<String> {
    let Some(came) = came else {
        return Some(format!("{route}.outcome: expected {expected}, but the test has no `respond` for its sink"));
    };
    let why = came.why().map(|why| format!(": {why}")).unwrap_or_default();
    (came.name() != expected).then(|| format!("{route}.outcome: expected {expected}, got {}{why}", came.name()))
}

/// Compares what is expected with what came: of a mapping only the named keys, of a list every item.
fn compare(expected: &Value, came: Option<&Value>, path: &str, found: &mut Vec<String>) {
    match (expected, came) {
        (Value::Object(expected), Some(Value::Object(came))) => {
            for (key, value) in expected {
                compare(value, came.get(key), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(expected), Some(Value::Array(came))) if expected.len() == came.len() => {
            for (at, (value, came)) in expected.iter().zip(came).enumerate() {
                compare(value, Some(came), &format!("{path}[{at}]"), found);
            }
        }
        (Value::Number(expected), Some(Value::Number(came))) if same_number(expected, came) => {}
        (expected, Some(came)) if expected == came => {}
        (expected, came) => {
            let came = came.map_or_else(|| "nothing".to_owned(), shown);
            found.push(format!("{path}: expected {}, got {came}", shown(expected)));
        }
    }
}

/// `1.1` is `1.10`, but integers are compared with all their digits.
fn same_number(a: &Number, b: &Number) -> bool {
    let decimal = |number: &Number| number.as_str().contains(['.', 'e', 'E']);
    a == b || ((decimal(a) || decimal(b)) && a.as_f64().is_some() && a.as_f64() == b.as_f64())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

/// The config's value as JSON.
pub(super) fn value_of(node: &Node) -> Value {
    match &node.value {
        NodeValue::Null => Value::Null,
        NodeValue::Boolean(yes) => Value::Bool(*yes),
        NodeValue::Number(text) => text.parse().map_or_else(|_| Value::String(text.clone()), Value::Number),
        NodeValue::Text(text) => Value::String(text.clone()),
        NodeValue::List(items) => items.iter().map(value_of).collect(),
        NodeValue::Map(entries) => entries.iter().map(|(key, node)| (key.name.clone(), value_of(node))).collect(),
    }
}
