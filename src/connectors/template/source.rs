//! The source `notes`: polls a notebook for notes that are new or different.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{Door, refusal};
use crate::clock::Clock;
use crate::connectors::client::Client;
use crate::connectors::pollers::keys;
use crate::connectors::{Build, EventDoc, Memory, Page, PollError, Poller, SourceKind, SourceRole, reading};
use crate::event::{NewEvent, Payload, Version};
use crate::outcome::Outcome;
use crate::settings::{Fault, Field, Kind, Need};

/// The source.
pub const KIND: SourceKind = SourceKind { name: "notes", fields: FIELDS, events: EVENTS, build, registrar: None };

const FIELDS: &[Field] = &[
    Field { name: "account", kind: Kind::Account("notes"), need: Need::Required, doc: "The account." },
    Field {
        name: "notebook",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The notebook's id: the last part of its address.",
    },
    keys::every_key("1m"),
    Field {
        name: "start",
        kind: Kind::Choice(&["now", "all"]),
        need: Need::Default("now"),
        doc: "What the first poll brings: nothing, or everything.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "note.created",
        about: "A note was written.",
        sample: r#"{"id":"7","revision":1,"text":"우유","changed_at":"2026-11-21T00:00:00Z","raw":{"id":7,"rev":1,"seq":1,"text":"우유","changed":1795219200}}"#,
    },
    EventDoc {
        kind: "note.updated",
        about: "A note was changed.",
        sample: r#"{"id":"7","revision":2,"text":"우유, 빵","changed_at":"2026-11-21T01:00:00Z","raw":{"id":7,"rev":2,"seq":2,"text":"우유, 빵","changed":1795222800}}"#,
    },
];

struct Source {
    door: Door,
    notebook: String,
    every: Duration,
    all: bool,
    client: Client,
    clock: Clock,
}

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let settings = &build.settings;
    Ok(SourceRole::Poller(Box::new(Source {
        door: Door::of(build)?,
        notebook: settings.text("notebook").unwrap_or_default().to_owned(),
        every: keys::every(build)?,
        all: settings.text("start") == Some("all"),
        client: build.client.clone(),
        clock: build.clock.clone(),
    })))
}

#[async_trait]
impl Poller for Source {
    fn every(&self) -> Duration {
        self.every
    }

    /// The cursor is the number of the last change that was seen.
    async fn poll(&self, cursor: Option<&Value>, _: &dyn Memory) -> Result<Page, PollError> {
        let first = cursor.is_none() && !self.all;
        let after = cursor.and_then(Value::as_u64).unwrap_or(0);
        let mut call = self.door.call(Method::GET, &["notebooks", &self.notebook, "notes"]);
        call.url.query_pairs_mut().append_pair("after", &after.to_string());
        let answer = self.client.send(&call).await?;
        if let Some(no) = refusal(&answer, self.clock.now()) {
            return Err(trouble(no));
        }
        let body = answer.json().unwrap_or_default();
        let notes = body["notes"].as_array().ok_or_else(|| PollError::stop("notes answered without a list"))?;
        let events = notes.iter().map(event).collect::<Option<Vec<_>>>();
        let events = events.ok_or_else(|| PollError::stop("notes answered a note without id, revision or time"))?;
        Ok(Page {
            events: if first { Vec::new() } else { events },
            // None is no reason to begin anew.
            cursor: notes.last().map_or_else(|| json!(after), |last| last["seq"].clone()),
            more: body["more"] == true,
            ..Page::default()
        })
    }

    fn past(&self, _: Option<Timestamp>) -> Option<Value> {
        Some(json!(0))
    }
}

/// What an outcome means to a poll.
fn trouble(no: Outcome) -> PollError {
    match no {
        Outcome::Retry { after, account, why } => PollError::Retry { after, account, why },
        Outcome::Unknown { why } => PollError::retry(None, why),
        Outcome::Suspend { why, .. } | Outcome::Refused { why } => PollError::Suspend { why },
        other => PollError::stop(other.why().unwrap_or("notes answered what it should not")),
    }
}

/// The same id however often a revision is read, so that repetitions collapse.
fn event(raw: &Value) -> Option<NewEvent> {
    let (id, revision) = (reading::id(&raw["id"])?, raw["rev"].as_i64()?);
    let changed = Timestamp::from_second(raw["changed"].as_i64()?).ok()?;
    let kind = if revision == 1 { "note.created" } else { "note.updated" };
    let data =
        json!({ "id": id, "revision": revision, "text": raw["text"], "changed_at": changed.to_string(), "raw": raw });
    let mut event = NewEvent::new(kind, Payload::from_value(&data));
    event.id = Some(format!("{id}:{revision}"));
    event.version = Some(Version::Integer(revision));
    event.time = Some(changed);
    event.subject = Some(id);
    Some(event)
}
