//! The sink: operation → call, answer → outcome.

use async_trait::async_trait;
use http::Method;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::answer;
use super::door::Door;
use super::fields::FieldType;
use crate::clock::Clock;
use crate::connectors::{Answer, Build, Call, OnDoubt, Operation, Sink};
use crate::outcome::{Outcome, Verb};
use crate::settings::{Fault, Node};

struct WorksSink {
    door: Door,
    token: SecretString,
    key: String,
    fields: Vec<(String, FieldType)>,
    zone: TimeZone,
    clock: Clock,
}

/// Builds the sink.
///
/// # Errors
/// A `key` that is none of `fields` or cannot tell records apart, or an account without a usable URL.
pub fn build(build: &Build<'_>) -> Result<Box<dyn Sink>, Vec<Fault>> {
    let settings = build.settings;
    let fault = |key, message: String| Err(vec![Fault::new(settings.spot(key), message)]);
    let Some(account) = build.account else { return fault("account", "needs an account".to_owned()) };
    let door = match Door::of(build, account) {
        Ok(door) => door,
        Err(why) => return fault("account", why),
    };
    let fields: Vec<_> = settings
        .get("fields")
        .map(Node::entries)
        .unwrap_or_default()
        .iter()
        .filter_map(|(name, node)| Some((name.name.clone(), FieldType::named(node.text()?)?)))
        .collect();
    let key = settings.text("key").unwrap_or_default();
    match fields.iter().find(|(name, _)| name == key) {
        Some((_, FieldType::Text | FieldType::Number)) => {}
        Some(_) => return fault("key", format!("the key {key:?} must be of type text or number")),
        None => return fault("key", format!("the key {key:?} is not among `fields`")),
    }
    Ok(Box::new(WorksSink {
        door,
        token: settings.secret("token").unwrap_or_default(),
        key: key.to_owned(),
        fields,
        zone: build.zone.clone(),
        clock: build.clock.clone(),
    }))
}

#[async_trait]
impl Sink for WorksSink {
    fn takes(&self, name: &str) -> Result<(), String> {
        self.kind(name).map(|_| ())
    }

    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let mut params = self.params(operation.fields)?;
        let rendered = params.get(&self.key).and_then(as_key);
        let id = match operation.verb {
            Verb::Create => rendered,
            _ => agreed(&self.key, operation.remote_id, rendered)?,
        };
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(format!("{}: the key field has no value", self.key));
        };
        let method = match operation.verb {
            Verb::Create => Method::POST,
            Verb::Update => Method::PUT,
            Verb::Delete => Method::DELETE,
            other => return Err(format!("Works cannot {}", other.name())),
        };
        if operation.verb == Verb::Delete {
            params.clear();
        }
        if !params.contains_key(&self.key) {
            let written = self.write(&self.key, &Value::String(id.clone()))?;
            params.insert(self.key.clone(), written);
        }
        let call = self.door.call(method, &self.token, &params);
        Ok(call.idempotent(operation.verb != Verb::Create).remote_id(Some(id)))
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        let probed = self.door.probed(call, answer);
        probed.unwrap_or_else(|| answer::classify(call, answer, self.clock.now(), &self.zone))
    }

    /// Source: the page on OAuth. The Works API itself has no call without effect.
    fn probe(&self) -> Option<Call> {
        self.door.probe()
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        OnDoubt::Hold
    }
}

impl WorksSink {
    /// Every field checked and written; all that is wrong at once.
    fn params(&self, fields: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut params = Map::new();
        let mut wrong = Vec::new();
        for (name, value) in fields {
            match self.write(name, value) {
                Ok(written) => _ = params.insert(name.clone(), written),
                Err(why) => wrong.push(why),
            }
        }
        if wrong.is_empty() { Ok(params) } else { Err(wrong.join("; ")) }
    }

    fn write(&self, name: &str, value: &Value) -> Result<Value, String> {
        let written = self.kind(name).and_then(|kind| kind.format(value, &self.zone));
        written.map_err(|why| format!("{name}: {why}"))
    }

    /// Works takes a call with an unknown name and silently leaves the value out: here it is refused.
    fn kind(&self, name: &str) -> Result<FieldType, String> {
        let known = self.fields.iter().find(|(known, _)| known == name);
        known.map(|(_, kind)| *kind).ok_or_else(|| {
            let known: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
            format!("not among the sink's `fields` ({})", known.join(", "))
        })
    }
}

fn as_key(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The record to change: the link's, and the map must not mean another.
fn agreed(key: &str, linked: Option<&str>, rendered: Option<String>) -> Result<Option<String>, String> {
    match (linked, rendered) {
        (Some(linked), Some(rendered)) if linked != rendered => {
            Err(format!("{key}: the link leads to the record {linked:?}, the map says {rendered:?}"))
        }
        (Some(linked), _) => Ok(Some(linked.to_owned())),
        (None, rendered) => Ok(rendered),
    }
}
