//! The sink `notes`: writes notes.

use http::Method;
use serde_json::Value;

use super::client::{Door, refusal};
use crate::clock::Clock;
use crate::connectors::{Answer, Build, Built, Call, OnDoubt, Operation, Sink, SinkKind, reading};
use crate::outcome::{Outcome, Verb};
use crate::settings::{Field, Kind, Need};
use crate::template::Escape;

/// The sink.
pub const KIND: SinkKind = SinkKind {
    name: "notes",
    fields: FIELDS,
    verbs: &[Verb::Create, Verb::Update],
    escape: Escape::None,
    takes_request: false,
    advice: "Notes keeps every note: use `cases` with `do: update` and a text that says it is gone",
    build,
};

const FIELDS: &[Field] = &[
    Field { name: "account", kind: Kind::Account("notes"), need: Need::Required, doc: "The account." },
    Field { name: "notebook", kind: Kind::Text, need: Need::Required, doc: "The notebook's id." },
];

/// What Notes takes of a text, in characters.
const LONGEST: usize = 1000;

struct Notes {
    door: Door,
    notebook: String,
    clock: Clock,
}

fn build(build: &Build<'_>) -> Built<Box<dyn Sink>> {
    let notebook = build.settings.text("notebook").unwrap_or_default().to_owned();
    Ok(Box::new(Notes { door: Door::of(build)?, notebook, clock: build.clock.clone() }))
}

impl Sink for Notes {
    fn takes(&self, name: &str) -> Result<(), String> {
        if name == "text" { Ok(()) } else { Err("is no field of a note; it has `text`".to_owned()) }
    }

    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let text = operation.fields.get("text").and_then(Value::as_str).ok_or("`text`: expected text")?;
        let length = text.chars().count();
        if length > LONGEST {
            return Err(format!("`text`: {length} characters, and Notes takes {LONGEST}"));
        }
        let (method, path) = match (operation.verb, operation.remote_id) {
            (Verb::Create, _) => (Method::POST, vec!["notebooks", &self.notebook, "notes"]),
            (Verb::Update, Some(id)) => (Method::PUT, vec!["notebooks", &self.notebook, "notes", id]),
            (verb, _) => return Err(format!("notes cannot {} without a record", verb.name())),
        };
        let remote_id = operation.remote_id.map(str::to_owned);
        // What is written twice is the same note; a note that is made twice is two.
        let idempotent = operation.verb == Verb::Update;
        Ok(self
            .door
            .call(method, &path)
            .json(&Value::Object(operation.fields.clone()))
            .idempotent(idempotent)
            .remote_id(remote_id))
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        if let Some(no) = refusal(answer, self.clock.now()) {
            return no;
        }
        let made = answer.json().and_then(|body| reading::id(&body["id"]));
        Outcome::Delivered { remote_id: made.or_else(|| call.remote_id.clone()) }
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        OnDoubt::Hold
    }
}
