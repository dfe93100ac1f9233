//! The sink `workfront`: objects of one kind.
//!
//! Workfront has no key by which it knows a repetition. So a created object bears the delivery's own key in a field of the
//! user's choice (`reference`), by which a create in doubt is looked for; and creates go in one call only where it is there,
//! to tell them apart.

use async_trait::async_trait;
use http::Method;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::door::{Door, parameters};
use super::{answer, query, times};
use crate::clock::Clock;
use crate::connectors::client::{Client, SendError};
use crate::connectors::{Answer, Ask, Build, Built, Call, OnDoubt, Operation, Sink, SinkKind, reading};
use crate::outcome::{Outcome, Verb};
use crate::settings::{Fault, Field, Kind, Need};
use crate::template::Escape;

mod bulk;
mod files;
mod write;

pub(super) use write::code;

/// The sink.
pub const KIND: SinkKind = SinkKind {
    name: "workfront",
    fields: FIELDS,
    verbs: &[Verb::Create, Verb::Update, Verb::Delete, Verb::Comment, Verb::Move, Verb::Share, Verb::Upload, Verb::Act],
    escape: Escape::None,
    takes_request: false,
    advice: "use `cases` with `do: update` and a `status`, or `do: act` with a named action",
    build,
};

const FIELDS: &[Field] = &[
    Field { name: "account", kind: Kind::Account("workfront"), need: Need::Required, doc: "The account." },
    query::OBJECT,
    Field {
        name: "reference",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "A field of these objects for the bridge's own use, as `extRefID` or `DE:Dari`: a create without an answer is found by it, and creates can go together. Without it such a create waits for a person.",
    },
    Field {
        name: "dates",
        kind: Kind::List(&Kind::Text),
        need: Need::Optional,
        doc: "Custom fields that hold a time, as `DE:Deadline`: they are written as the vendor writes times, like all fields whose name ends in `Date`.",
    },
    Field {
        name: "force",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "Deletes an object with all that depends on it (the vendor's `force=true`).",
    },
    Field {
        name: "bulk",
        kind: Kind::Integer { min: 1, max: 100 },
        need: Need::Default("100"),
        doc: "How many objects are created or changed in one call at most.",
    },
    Field {
        name: "fetch_hosts",
        kind: Kind::List(&Kind::Text),
        need: Need::Optional,
        doc: "The hosts from which `upload` takes files, as `files.acme.kr`: by https, unless it is written as `http://files.acme.kr`.",
    },
    Field {
        name: "fetch_limit",
        kind: Kind::Size,
        need: Need::Default("10MiB"),
        doc: "How long a file may be. It is held in memory.",
    },
    Field {
        name: "allow_private",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "True if the hosts of `fetch_hosts` may have private addresses.",
    },
];

/// What an attempt of long ago may be in the vendor's index at the most: two are enough to say that there are several.
const SEVERAL: &str = "3";

struct Objects {
    door: Door,
    /// As in a path.
    object: String,
    reference: Option<String>,
    dates: Vec<String>,
    force: bool,
    bulk: usize,
    files: files::Files,
    zone: TimeZone,
    clock: Clock,
}

fn build(build: &Build<'_>) -> Built<Box<dyn Sink>> {
    let settings = &build.settings;
    let fault = |key: &str, why: String| vec![Fault::new(settings.spot(key), format!("`{key}`: {why}"))];
    let object = query::object(settings.text("object").unwrap_or_default()).map_err(|why| fault("object", why))?;
    let reference = settings.text("reference").map(str::to_owned);
    if reference.as_deref().is_some_and(|name| name.is_empty() || matches!(name, "ID" | "objCode" | "name")) {
        return Err(fault(
            "reference",
            "expected a field that nobody else writes to, as extRefID or DE:Dari".to_owned(),
        ));
    }
    let files = files::Files::of(settings).map_err(|why| fault("fetch_hosts", why))?;
    Ok(Box::new(Objects {
        door: Door::of(build)?,
        object,
        reference,
        dates: settings.texts("dates").into_iter().map(str::to_owned).collect(),
        force: settings.flag("force"),
        bulk: settings.integer("bulk").and_then(|most| usize::try_from(most).ok()).unwrap_or(1),
        files,
        zone: build.zone.clone(),
        clock: build.clock.clone(),
    }))
}

#[async_trait]
impl Sink for Objects {
    fn takes(&self, name: &str) -> Result<(), String> {
        match name {
            "ID" | "objCode" => Err("the vendor gives it".to_owned()),
            name if self.reference.as_deref() == Some(name) => {
                Err("it is the sink's `reference`, which the bridge writes itself: name another field there".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        self.written(operation)
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        bulk::whole(call, answer::outcome(call, answer, self.clock.now()))
    }

    async fn send(&self, client: &Client, call: &Call) -> Result<Answer, SendError> {
        if bulk::creates(call) {
            return self.create_together(client, call).await;
        }
        match files::wanted(call) {
            Some(file) => self.upload(client, call, &file).await,
            None => client.send(call).await,
        }
    }

    fn ask(&self, question: &Ask<'_>) -> Option<Result<Call, String>> {
        match question {
            Ask::Doubt { operation, .. } if operation.verb == Verb::Create => {
                let reference = self.reference.as_deref()?;
                Some(Ok(self.search(parameters([(reference, operation.webhook_id.to_owned())]), &["ID", reference])))
            }
            Ask::Doubt { .. } => None,
            Ask::Match(wanted) => Some(query::filters(wanted).map(|filters| self.search(filters, &["ID"]))),
        }
    }

    fn answered(&self, question: &Ask<'_>, answer: &Answer) -> Result<Vec<String>, Outcome> {
        let rows = answer::found(answer, self.clock.now())?;
        let ids = |fits: &dyn Fn(&Value) -> bool| {
            rows.iter().filter(|row| fits(row)).filter_map(|row| reading::id(&row["ID"])).collect()
        };
        Ok(match (question, &self.reference) {
            (Ask::Doubt { operation, .. }, Some(reference)) => {
                ids(&|row| row[reference.as_str()] == operation.webhook_id)
            }
            (Ask::Doubt { .. }, None) => Vec::new(),
            (Ask::Match(_), _) => ids(&|_| true),
        })
    }

    fn matches(&self) -> bool {
        true
    }

    fn probe(&self) -> Option<Call> {
        let limit = parameters([("$$LIMIT", "1".to_owned()), ("fields", "ID".to_owned())]);
        Some(self.door.call(&Method::GET, &[&self.object, "search"], limit))
    }

    fn batch(&self) -> usize {
        self.bulk
    }

    fn merge(&self, calls: &[&Call]) -> Option<Call> {
        self.together(calls)
    }

    fn split(&self, merged: &Call, calls: &[&Call], answer: &Answer) -> Option<Vec<Outcome>> {
        bulk::split(merged, calls, answer)
    }

    fn on_doubt(&self, verb: Verb) -> OnDoubt {
        match verb {
            Verb::Create if self.reference.is_some() => OnDoubt::Find,
            Verb::Update | Verb::Delete | Verb::Move | Verb::Share => OnDoubt::Retry,
            // A comment or a document once more is one too many, and what an action does is the vendor's.
            _ => OnDoubt::Hold,
        }
    }
}

impl Objects {
    fn search(&self, mut filters: super::door::Parameters, fields: &[&str]) -> Call {
        filters.extend(parameters([("fields", fields.join(",")), ("$$LIMIT", SEVERAL.to_owned())]));
        self.door.call(&Method::GET, &[&self.object, "search"], filters)
    }

    /// The fields of an object as the vendor takes them.
    fn fields(&self, fields: &Map<String, Value>, verb: Verb) -> Result<Map<String, Value>, String> {
        let mut written = Map::new();
        for (name, value) in fields {
            self.takes(name).map_err(|why| format!("{name}: {why}"))?;
            if name.is_empty() || name.starts_with("$$") {
                return Err(format!("{name:?} is no field"));
            }
            // Nothing is cleared of what is new.
            if !(value.is_null() && verb == Verb::Create) {
                written.insert(name.clone(), self.value(name, value));
            }
        }
        Ok(written)
    }

    fn value(&self, name: &str, value: &Value) -> Value {
        let is_time = name.ends_with("Date") || self.dates.iter().any(|date| date == name);
        let last = ["Completion", "End", "Due"].iter().any(|word| name.contains(word));
        match value {
            Value::String(text) if is_time => {
                times::field(text, last, &self.zone).map_or_else(|| value.clone(), Value::String)
            }
            other => other.clone(),
        }
    }
}
