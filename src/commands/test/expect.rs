//! What a test expects of a route, and how what came differs from it.

use serde_json::{Number, Value, json};

use super::difference::Difference;
use super::travel::{Called, Came};
use crate::event::Event;
use crate::outcome::Outcome;
use crate::settings::{Node, NodeValue};

/// What is expected of one route.
#[derive(Debug)]
pub(super) enum Expected {
    /// It ends without a call: `skipped`, `stale`, `unchanged`, `nothing-to-do`.
    Ends(String),
    /// It makes a call; only what is named is compared.
    Does(Box<Does>),
}

#[derive(Debug)]
pub(super) struct Does {
    verb: Option<String>,
    map: Option<Value>,
    request: Option<Value>,
    outcome: Option<String>,
    id: Option<String>,
    why: Option<String>,
}

impl Expected {
    /// Reads the value under a route's name in `expect`.
    pub(super) fn read(node: &Node) -> Self {
        if let Some(word) = node.text() {
            return Self::Ends(word.to_owned());
        }
        let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let value = |key: &str| node.get(key).map(value_of);
        Self::Does(Box::new(Does {
            verb: text("do"),
            map: value("map"),
            request: value("request"),
            outcome: text("outcome"),
            id: text("id"),
            why: text("why"),
        }))
    }

    /// Every difference, its path beginning with the route's name.
    pub(super) fn differences(&self, route: &str, came: &Came) -> Vec<Difference> {
        match (self, came) {
            (Self::Ends(word), Came::Skipped(_)) if word == "skipped" => Vec::new(),
            (Self::Ends(word), Came::Ended(ending, _)) if word == ending => Vec::new(),
            (Self::Ends(word), came) => vec![Difference::new(route, word, in_words(came))],
            (Self::Does(does), Came::Called(call)) => does.of_a_call(route, call),
            (Self::Does(does), Came::Stopped { verb, outcome }) if does.outcome.is_some() => {
                let did = verb.map(crate::outcome::Verb::name);
                let other = does.verb.as_deref().filter(|verb| did.is_some_and(|did| did != *verb));
                let mut found: Vec<_> = other
                    .map(|verb| Difference::new(format!("{route}.do"), verb, did.unwrap_or_default()))
                    .into_iter()
                    .collect();
                found.extend(does.of_an_outcome(route, Some(outcome), None));
                found
            }
            (Self::Does(does), came) => {
                vec![Difference::new(route, does.verb.as_deref().unwrap_or("a call"), in_words(came))]
            }
        }
    }
}

impl Does {
    fn of_a_call(&self, route: &str, call: &Called) -> Vec<Difference> {
        let mut found = Vec::new();
        if let Some(verb) = self.verb.as_deref().filter(|verb| *verb != call.verb.name()) {
            found.push(Difference::new(format!("{route}.do"), verb, call.verb.name()));
        }
        if let Some(map) = &self.map {
            let fields = Value::Object(call.rendered.fields.clone());
            compare(map, Some(&fields), &format!("{route}.map"), &mut found);
        }
        if let Some(request) = &self.request {
            compare(request, Some(&call.shown), &format!("{route}.request"), &mut found);
        }
        found.extend(self.of_an_outcome(route, call.outcome.as_ref(), call.remote_id.as_deref()));
        found
    }

    fn of_an_outcome(&self, route: &str, came: Option<&Outcome>, id: Option<&str>) -> Vec<Difference> {
        let asked = [("outcome", &self.outcome), ("id", &self.id), ("why", &self.why)];
        let Some(came) = came else {
            let none = "nothing: the test has no `respond` for its sink";
            let named = asked.iter().filter_map(|(key, expected)| Some((key, expected.as_deref()?)));
            return named.map(|(key, expected)| Difference::new(format!("{route}.{key}"), expected, none)).collect();
        };
        let why = came.why().unwrap_or_default();
        let told = if why.is_empty() { came.name().to_owned() } else { format!("{}: {why}", came.name()) };
        let is = |key: &str, expected: &str| match key {
            "outcome" => came.name() == expected,
            "id" => id == Some(expected),
            _ => why.contains(expected),
        };
        let actual = |key: &str| match key {
            "id" => id.map_or_else(|| format!("none, but {told}"), str::to_owned),
            _ => told.clone(),
        };
        let wrong = asked.iter().filter_map(|(key, expected)| Some((*key, expected.as_deref()?)));
        let wrong = wrong.filter(|(key, expected)| !is(key, expected));
        wrong.map(|(key, expected)| Difference::new(format!("{route}.{key}"), expected, actual(key))).collect()
    }
}

fn in_words(came: &Came) -> String {
    match came {
        Came::Skipped(why) => format!("skipped: {why}"),
        Came::Ended(ending, why) => format!("{ending}: {why}"),
        Came::Stopped { verb, outcome } => {
            let why = outcome.why().unwrap_or_default();
            match verb {
                Some(verb) => format!("no {} but {}: {why}", verb.name(), outcome.name()),
                None => format!("{}: {why}", outcome.name()),
            }
        }
        Came::Called(call) => call.verb.name().to_owned(),
    }
}

/// How the events that a request became differ from what is expected of them.
pub(super) fn events_differ(expected: &[Node], came: &[Event]) -> Vec<Difference> {
    let mut found = Vec::new();
    if expected.len() != came.len() {
        found.push(Difference::new("events", expected.len().to_string(), came.len().to_string()));
    }
    for (at, (expected, event)) in expected.iter().zip(came).enumerate() {
        let event = shown_event(event);
        for (key, node) in expected.entries() {
            // All but these is text, however it is written.
            let is_json = matches!(key.name.as_str(), "data" | "headers");
            let text = node.text().filter(|_| !is_json).map(Value::from);
            let value = text.unwrap_or_else(|| value_of(node));
            let came = Some(&event[&key.name]).filter(|came| !came.is_null() || is_json);
            compare(&value, came, &format!("events[{at}].{}", key.name), &mut found);
        }
    }
    found
}

/// An event as a fixture has it; all but its data as text.
pub(super) fn shown_event(event: &Event) -> Value {
    json!({
        "id": event.id,
        "type": event.kind,
        "subject": event.subject,
        "version": event.version.map(|version| version.to_string()),
        "time": event.time.to_string(),
        "headers": event.headers,
        "data": event.data.value(),
    })
}

/// Compares what is expected with what came: of a mapping only the named keys, of a list every item.
fn compare(expected: &Value, came: Option<&Value>, path: &str, found: &mut Vec<Difference>) {
    match (expected, came) {
        (Value::Object(expected), Some(Value::Object(came))) => {
            for (key, value) in expected {
                compare(value, came.get(key), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(expected), Some(Value::Array(came))) => {
            for (at, (value, came)) in expected.iter().zip(came).enumerate() {
                compare(value, Some(came), &format!("{path}[{at}]"), found);
            }
            let both = expected.len().min(came.len());
            for (at, value) in expected.iter().enumerate().skip(both) {
                found.push(Difference::new(format!("{path}[{at}]"), shown(value), "nothing"));
            }
            for (at, value) in came.iter().enumerate().skip(both) {
                found.push(Difference::new(format!("{path}[{at}]"), "nothing", shown(value)));
            }
        }
        (Value::Number(expected), Some(Value::Number(came))) if same_number(expected, came) => {}
        (expected, Some(came)) if expected == came => {}
        (expected, came) => found.push(Difference::new(path, shown(expected), came.map_or("nothing".into(), shown))),
    }
}

/// `1.1` is `1.10`, but integers are compared with all their digits.
fn same_number(a: &Number, b: &Number) -> bool {
    let decimal = |number: &Number| number.as_str().contains(['.', 'e', 'E']);
    a == b || ((decimal(a) || decimal(b)) && a.as_f64().is_some() && a.as_f64() == b.as_f64())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('\n') => text.clone(),
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
