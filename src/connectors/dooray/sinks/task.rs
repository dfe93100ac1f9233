//! The sink `dooray-task`: tasks of one project, their workflow, their comments.

use async_trait::async_trait;
use http::Method;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::super::client::Door;
use super::super::{answer, sinks, times};
use super::{doing, send_whole, text, wrong};
use crate::clock::Clock;
use crate::connectors::client::{Client, SendError};
use crate::connectors::{Answer, Ask, Build, Built, Call, OnDoubt, Operation, Sink, SinkKind, reading};
use crate::outcome::{Outcome, Verb};
use crate::settings::{Field, Kind, Need};
use crate::template::Escape;

/// The sink.
pub const KIND: SinkKind = SinkKind {
    name: "dooray-task",
    fields: FIELDS,
    verbs: &[Verb::Create, Verb::Update, Verb::Complete, Verb::Reopen, Verb::Comment, Verb::Move, Verb::Act],
    escape: Escape::None,
    takes_request: false,
    advice: "Dooray's API deletes no task: use `cases` with `do: complete`",
    build,
};

const FIELDS: &[Field] = &[
    Field { name: "account", kind: Kind::Account("dooray"), need: Need::Required, doc: "The account." },
    Field {
        name: "project",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The project's id, the number in the address of its page.",
    },
    Field {
        name: "done",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The id of the workflow that `complete` sets; the project's own for what is done (완료) if missing.",
    },
    Field { name: "open", kind: Kind::Text, need: Need::Optional, doc: "The id of the workflow that `reopen` sets." },
];

const TAKES: [&str; 9] =
    ["subject", "body", "to", "cc", "dueDate", "milestoneId", "tagIds", "priority", "parentPostId"];
const PRIORITIES: [&str; 6] = ["highest", "high", "normal", "low", "lowest", "none"];

struct TaskSink {
    door: Door,
    project: String,
    done: Option<String>,
    open: Option<String>,
    zone: TimeZone,
    clock: Clock,
}

fn build(build: &Build<'_>) -> Built<Box<dyn Sink>> {
    let get = |key| build.settings.text(key).map(str::to_owned);
    Ok(Box::new(TaskSink {
        door: sinks::door(build)?,
        project: get("project").unwrap_or_default(),
        done: get("done"),
        open: get("open"),
        zone: build.zone.clone(),
        clock: build.clock.clone(),
    }))
}

#[async_trait]
impl Sink for TaskSink {
    fn takes(&self, name: &str) -> Result<(), String> {
        let known = TAKES.iter().chain(&["workflowId", "targetProjectId"]);
        if known.clone().any(|known| *known == name) {
            return Ok(());
        }
        Err(format!("expected one of {}", known.copied().collect::<Vec<_>>().join(", ")))
    }

    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let (verb, fields) = (operation.verb, operation.fields);
        if verb == Verb::Create {
            let task = self.written(fields, verb)?;
            return Ok(doing(&self.door, verb, Method::POST, &self.posts(&[])).json(&Value::Object(task)));
        }
        let id = super::linked(operation.remote_id, "task", verb)?;
        let post = |more: &str| doing(&self.door, verb, Method::POST, &self.posts(&[&id, more]));
        let set = |workflow: &str| post("set-workflow").json(&json!({ "workflowId": workflow })).idempotent(true);
        let call = match verb {
            Verb::Update => {
                let task = self.written(fields, verb)?;
                let call = doing(&self.door, verb, Method::PUT, &self.posts(&[&id]));
                call.json(&Value::Object(task)).idempotent(true)
            }
            Verb::Complete => match &self.done {
                Some(workflow) => set(workflow),
                None => post("set-done").json(&json!({})).idempotent(true),
            },
            Verb::Reopen => {
                set(self.open.as_deref().ok_or("to reopen a task the sink needs `open`, a workflow's id")?)
            }
            Verb::Act => set(&only(fields, "workflowId")?),
            Verb::Move => {
                let body = json!({ "targetProjectId": only(fields, "targetProjectId")?, "includeSubPosts": true });
                post("move").json(&body)
            }
            Verb::Comment => {
                let body = fields.get("body").filter(|body| !body.is_null()).ok_or("body: a comment says something")?;
                alone(fields, "body")?;
                let body = super::body(body, super::as_markdown).map_err(|why| wrong("body", why))?;
                post("logs").json(&json!({ "body": body }))
            }
            other => return Err(format!("a task cannot {}", other.name())),
        };
        Ok(call.remote_id(Some(id)))
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        answer::api(call, answer, self.clock.now())
    }

    /// An update is read first: the page does not say that what is left out stays as it is.
    async fn send(&self, client: &Client, call: &Call) -> Result<Answer, SendError> {
        if call.method != Method::PUT {
            return client.send(call).await;
        }
        send_whole(client, call, completed).await
    }

    fn ask(&self, question: &Ask<'_>) -> Option<Result<Call, String>> {
        let list = |query: Vec<(&'static str, String)>| {
            let size = [("size", super::super::client::PAGE.to_string())];
            self.door.call(Method::GET, &self.posts(&[]), &[&query[..], &size].concat())
        };
        match question {
            Ask::Doubt { operation, since } if operation.verb == Verb::Create => Some((|| {
                let title = title(operation.fields).ok_or("subject: a task needs one")?;
                Ok(list(vec![("subjects", title), ("createdAt", self.range(*since))]))
            })()),
            Ask::Doubt { .. } => None,
            Ask::Match(wanted) => Some((|| {
                let mut query = Vec::new();
                for (name, value) in *wanted {
                    let key = match name.as_str() {
                        "subject" => "subjects",
                        "number" => "postNumber",
                        _ => return Err(wrong(name, "tasks are found by subject and number")),
                    };
                    query.push((key, text(value).map_err(|why| wrong(name, why))?));
                }
                Ok(list(query))
            })()),
        }
    }

    fn answered(&self, question: &Ask<'_>, answer: &Answer) -> Result<Vec<String>, Outcome> {
        let Some(Ok(call)) = self.ask(question) else { return Ok(Vec::new()) };
        let items = answer::found(&call, answer, self.clock.now())?;
        // How `subjects` compares is not said: a part of the title may be enough for it.
        let same = |item: &Value, title: &str| item["subject"].as_str().unwrap_or_default().trim() == title.trim();
        Ok(match question {
            Ask::Doubt { operation, since } => {
                let title = title(operation.fields).unwrap_or_default();
                let since = before(*since);
                super::ids(&items, |item| {
                    let made = times::instant(&item["createdAt"], &self.zone);
                    same(item, &title) && made.is_none_or(|made| made >= since)
                })
            }
            Ask::Match(wanted) => super::ids(&items, |item| {
                let is = |(name, value): (&String, &Value)| match (name.as_str(), text(value)) {
                    ("subject", Ok(title)) => same(item, &title),
                    (_, Ok(number)) => reading::id(&item["number"]).is_some_and(|known| known == number),
                    (_, Err(_)) => false,
                };
                wanted.iter().all(is)
            }),
        })
    }

    fn probe(&self) -> Option<Call> {
        Some(self.door.call(Method::GET, &["project", "v1", "projects", &self.project], &[]))
    }

    fn on_doubt(&self, verb: Verb) -> OnDoubt {
        match verb {
            Verb::Create => OnDoubt::Find,
            Verb::Update | Verb::Complete | Verb::Reopen | Verb::Act => OnDoubt::Retry,
            // A comment's text may be stored otherwise than it was sent, and then it would be written again.
            _ => OnDoubt::Hold,
        }
    }
}

/// The time of a record made by an attempt that began then: Dooray's clock may be behind ours.
fn before(since: Timestamp) -> Timestamp {
    since.saturating_sub(SignedDuration::from_mins(2)).unwrap_or(since)
}

impl TaskSink {
    fn posts<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let base = ["project", "v1", "projects", self.project.as_str(), "posts"];
        [&base[..], more].concat()
    }

    fn range(&self, since: Timestamp) -> String {
        let to = self.clock.now().saturating_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX);
        format!("{}~{}", times::rfc3339(before(since), &self.zone), times::rfc3339(to, &self.zone))
    }

    /// The task as Dooray takes it; all that is wrong at once. Null clears a due date, a milestone or the tags.
    fn written(&self, fields: &Map<String, Value>, verb: Verb) -> Result<Map<String, Value>, String> {
        let (mut task, mut told) = (Map::new(), Vec::new());
        for (name, value) in fields.iter().filter(|(name, _)| !matches!(name.as_str(), "to" | "cc")) {
            match self.field(name, value, verb) {
                Ok(Some(written)) => _ = task.insert(name.clone(), written),
                Ok(None) => {}
                Err(why) => told.push(wrong(name, why)),
            }
        }
        super::put_users(fields, &mut task, &mut told);
        if verb == Verb::Create && told.is_empty() {
            if title(fields).is_none() {
                told.push("subject: a task needs one".to_owned());
            }
            task.entry("users").or_insert_with(|| json!({ "to": [], "cc": [] }));
        }
        if task.contains_key("dueDate") {
            // The page: to go, and to be sent as true until then.
            task.insert("dueDateFlag".to_owned(), Value::Bool(true));
        }
        if told.is_empty() { Ok(task) } else { Err(told.join("; ")) }
    }

    fn field(&self, name: &str, value: &Value, verb: Verb) -> Result<Option<Value>, String> {
        let clears = matches!(name, "dueDate" | "milestoneId" | "tagIds") && verb == Verb::Update;
        Ok(Some(match (name, value) {
            ("parentPostId", _) if verb == Verb::Update => return Err("only a new task takes it".to_owned()),
            (name, _) if !TAKES.contains(&name) => return Err(format!("expected one of {}", TAKES.join(", "))),
            ("tagIds", Value::Null) if clears => json!([]),
            (_, Value::Null) if clears => Value::Null,
            ("subject", Value::Null) => return Err("a task needs one".to_owned()),
            (_, Value::Null) => return Ok(None),
            ("body", value) => super::body(value, super::as_markdown)?,
            ("dueDate", value) => Value::from(self.due(value)?),
            ("tagIds", Value::Array(ids)) => {
                ids.iter().map(|id| text(id).map(Value::from)).collect::<Result<_, _>>()?
            }
            ("tagIds", id) => json!([text(id)?]),
            ("priority", value) => match text(value)? {
                word if PRIORITIES.contains(&word.as_str()) => Value::from(word),
                _ => return Err(format!("expected one of {}", PRIORITIES.join(", "))),
            },
            ("subject", value) => match text(value)? {
                title if title.trim().is_empty() => return Err("a task needs one".to_owned()),
                title => Value::from(title),
            },
            (_, value) => Value::from(text(value)?),
        }))
    }

    /// A time, or the end of a day.
    fn due(&self, value: &Value) -> Result<String, String> {
        const EXPECTED: &str = "expected a date (2026-12-24) or an RFC 3339 time";
        let text = value.as_str().ok_or(EXPECTED)?;
        if let (10, Ok(day)) = (text.len(), text.parse::<jiff::civil::Date>()) {
            let end = day.at(23, 59, 59, 0).to_zoned(self.zone.clone()).map_err(|error| error.to_string())?;
            return Ok(times::rfc3339(end.timestamp(), &self.zone));
        }
        let at = times::instant(value, &self.zone).filter(|_| text.contains('T')).ok_or(EXPECTED)?;
        Ok(times::rfc3339(at, &self.zone))
    }
}

fn title(fields: &Map<String, Value>) -> Option<String> {
    fields.get("subject").and_then(|title| text(title).ok()).filter(|title| !title.trim().is_empty())
}

/// The only field of a map.
fn only(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    alone(fields, name)?;
    let value = fields.get(name).ok_or_else(|| wrong(name, "it is missing"))?;
    text(value).map_err(|why| wrong(name, why))
}

fn alone(fields: &Map<String, Value>, name: &str) -> Result<(), String> {
    match fields.keys().find(|key| *key != name) {
        Some(other) => Err(wrong(other, format!("nothing but {name} is taken here"))),
        None => Ok(()),
    }
}

/// An update with all that it does not change, as the task has it now. Its version has a change in between refused.
fn completed(call: &Call, now: &Value) -> Call {
    let mut task: Map<String, Value> = serde_json::from_slice(&call.body).unwrap_or_default();
    let mut keep = |key: &str, value: Value| _ = task.entry(key).or_insert(value);
    keep("subject", now["subject"].clone());
    keep("body", now["body"].clone());
    keep("dueDate", now["dueDate"].clone());
    keep("dueDateFlag", Value::Bool(true));
    keep("milestoneId", reading::id(&now["milestone"]["id"]).map(Value::from).unwrap_or_default());
    let tags = now["tags"].as_array().into_iter().flatten();
    keep("tagIds", tags.filter_map(|tag| reading::id(&tag["id"])).map(Value::from).collect());
    keep("priority", now["priority"].clone());
    if now["version"].is_number() {
        keep("version", now["version"].clone());
    }
    let mut users = super::users_again(&now["users"]);
    for key in ["to", "cc"] {
        if let Some(set) = task.get("users").and_then(|users| users.get(key)) {
            users[key] = set.clone();
        }
    }
    task.insert("users".to_owned(), users);
    call.clone().json(&Value::Object(task))
}
