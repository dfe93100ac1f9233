//! Reads Dooray's project hooks (프로젝트 설정 > 서비스 연동).
//!
//! Dooray signs nothing, gives no id, and says nothing of retries: the secret is in the path. Its pages show
//! `hookEventType` with `hookVersion`; captured bodies have `webhookType` and `version` beside or instead of them.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::{Api, Reply};
use super::registrar;
use super::task::{Comment, Task};
use super::times;
use crate::clock::Clock;
use crate::connectors::signature::credentials;
use crate::connectors::{
    Build, EventDoc, Fetch, Fetched, Hook, HookRequest, PollError, Reading, Refusal, SourceKind, SourceRole, reading,
    verify,
};
use crate::event::{Event, NewEvent, Payload, Version};
use crate::settings::{Fault, Field, Kind, Need};

/// Equal bodies within so many seconds are one: a repetition by the sender. Bodies of changes bear no time, and a
/// change that is taken back and made again has the same body.
const REPEATS: i64 = 600;

/// The source.
pub const KIND: SourceKind =
    SourceKind { name: "dooray-hook", fields: FIELDS, events: EVENTS, build, registrar: Some(registrar::build) };

const FIELDS: &[Field] = &[
    Field {
        name: "secrets",
        kind: Kind::List(&Kind::Secret),
        need: Need::Required,
        doc: "The secrets at the end of the path, `/hooks/{source}/{secret}`, any of which is accepted: Dooray has no other proof. At least 16 characters each.",
    },
    Field {
        name: "account",
        kind: Kind::Account("dooray"),
        need: Need::Optional,
        doc: "The account: for `fetch`, for `dari hooks register`, and for its `time_zone`.",
    },
    Field {
        name: "project",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The project's id, for `dari hooks register`.",
    },
    Field {
        name: "events",
        kind: Kind::List(&Kind::Choice(registrar::EVENTS)),
        need: Need::Optional,
        doc: "What `dari hooks register` asks to be told of; everything about tasks if missing.",
    },
    Field {
        name: "fetch",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "Reads the task again with the account first: what a request says is then only a hint that something happened.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "task.created",
        about: "A task was made. `data` is the body as it came; with `fetch: true` it is that of `dooray-task`.",
        sample: r#"{"hookEventType":"postCreated","hookVersion":2,"post":{"id":"42","subject":"버그 1","number":1,"createdAt":"2026-11-21T09:00:00+09:00","updatedAt":"2026-11-21T09:00:00+09:00","body":{"mimeType":"text/x-markdown","content":"재현 방법"}},"project":{"id":"7","code":"dev"},"tenant":{"id":"1"},"source":{"type":"member","member":{"id":"101","name":"김하나"}}}"#,
    },
    EventDoc {
        kind: "task.workflow",
        about: "The workflow of a task changed.",
        sample: r#"{"hookEventType":"postWorkflowChanged","hookVersion":2,"workflow":{"id":"4","name":"완료"},"post":{"id":"42","subject":"버그 1","number":1},"project":{"id":"7","code":"dev"},"tenant":{"id":"1"},"source":{"type":"member","member":{"id":"101","name":"김하나"}}}"#,
    },
    EventDoc {
        kind: "task.updated",
        about: "Something else of a task changed: `data.hookEventType` says what.",
        sample: r#"{"webhookType":"postTagChanged","version":2,"removedtags":[],"post":{"id":"42","subject":"버그 1","number":1},"project":{"id":"7","code":"dev"}}"#,
    },
    EventDoc {
        kind: "comment.created",
        about: "Someone commented; likewise `comment.updated`.",
        sample: r#"{"hookEventType":"postCommentCreated","hookVersion":2,"comment":{"id":"77","subtype":"general","createdAt":"2026-11-21T10:00:00+09:00","body":{"mimeType":"text/x-markdown","content":"확인 바랍니다."}},"post":{"id":"42","subject":"버그 1","number":1},"project":{"id":"7","code":"dev"}}"#,
    },
    EventDoc {
        kind: "project.updated",
        about: "State, code or members of a project changed.",
        sample: r#"{"hookEventType":"memberChanged","hookVersion":2,"project":{"id":"7","code":"dev"},"tenant":{"id":"1"}}"#,
    },
];

/// Reads the hooks of Dooray.
struct Dooray {
    secrets: Vec<SecretString>,
    zone: TimeZone,
    clock: Clock,
    fetch: Option<Arc<Again>>,
}

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    const LEAST: usize = 16;
    let settings = &build.settings;
    let fault = |key: &str, message: String| vec![Fault::new(settings.spot(key), message)];
    let secrets = verify::secrets(settings, "secrets")?;
    if settings.texts("secrets").iter().any(|secret| secret.len() < LEAST) {
        let why = format!(
            "a secret is all that keeps others out: expected at least {LEAST} characters, as from `openssl rand -hex 16`"
        );
        return Err(fault("secrets", why));
    }
    let again = |api| Arc::new(Again { api, zone: build.zone.clone() });
    let api = settings.flag("fetch").then(|| Api::of(build)).transpose();
    let fetch = api.map_err(|why| fault("fetch", format!("to read a task again it {why}")))?.map(again);
    let hook = Dooray { secrets, zone: build.zone.clone(), clock: build.clock.clone(), fetch };
    Ok(SourceRole::Hook(Box::new(hook)))
}

impl Hook for Dooray {
    fn verify(&self, request: &HookRequest<'_>, _: Timestamp) -> Result<(), Refusal> {
        credentials::path(&self.secrets, request.path_secret)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        let (payload, body) = reading::payload(request)?;
        let word = ["hookEventType", "webhookType", "event", "type"].iter().find_map(|key| body[*key].as_str());
        let word = word.filter(|word| !word.is_empty());
        let word = word.ok_or_else(|| {
            Refusal::Malformed("this is no hook of Dooray: there is neither hookEventType nor webhookType".to_owned())
        })?;
        let (task, comment) = (&body["post"], comment(&body));
        let mut event = NewEvent::new(kind(word), payload);
        event.subject = match (comment.and_then(|c| reading::id(&c["id"])), reading::id(&task["id"])) {
            (Some(id), _) => Some(Comment::subject(&id)),
            (None, Some(id)) => Some(Task::subject(&id)),
            (None, None) => reading::id(&body["project"]["id"]).map(|id| format!("project/{id}")),
        };
        let told = |of: &Value| {
            ["modifiedAt", "updatedAt", "createdAt"].iter().find_map(|key| times::instant(&of[*key], &self.zone))
        };
        event.time = comment.map_or_else(|| told(task), told);
        event.version = event.time.map(Version::Instant);
        event.id = Some(self.id(word, &event));
        Ok(Reading::Events(vec![event]))
    }

    fn path_secret(&self) -> Option<&SecretString> {
        self.secrets.first()
    }

    fn fetch(&self) -> Option<Arc<dyn Fetch>> {
        self.fetch.clone().map(|again| again as Arc<dyn Fetch>)
    }
}

impl Dooray {
    /// Dooray gives no id: what was sent names the event, and where it bears no time, that of the clock.
    fn id(&self, word: &str, event: &NewEvent) -> String {
        let hash = hex::encode(&Sha256::digest(event.data.bytes())[..16]);
        match event.time {
            Some(_) => format!("{word}:{hash}"),
            None => format!("{word}:{hash}:{}", self.clock.now().as_second() / REPEATS),
        }
    }
}

/// The comment of a body: under `comment` by the page, under `log` in captured bodies.
fn comment(body: &Value) -> Option<&Value> {
    [&body["comment"], &body["log"]].into_iter().find(|comment| comment.is_object())
}

fn kind(word: &str) -> String {
    match word {
        "postCreated" => "task.created",
        "postWorkflowChanged" => "task.workflow",
        "postCommentCreated" => "comment.created",
        "postCommentUpdated" => "comment.updated",
        "stateChanged" | "codeChanged" | "memberChanged" => "project.updated",
        post if post.starts_with("post") => "task.updated",
        other => other,
    }
    .to_owned()
}

/// Reads the task of an event again.
struct Again {
    api: Api,
    zone: TimeZone,
}

#[async_trait]
impl Fetch for Again {
    async fn fetch(&self, event: &Event) -> Result<Fetched, PollError> {
        let body = event.data.value();
        let Some(id) = reading::id(&body["post"]["id"]) else {
            return Ok(Fetched::Gone("it is about no task".to_owned()));
        };
        let raw = match self.api.ask(&["project", "v1", "posts", &id], &[]).await? {
            Reply::Yes(said) => said.result,
            Reply::No(_, why) => return Ok(Fetched::Gone(why)),
            Reply::Long => return Ok(Fetched::Gone("the task takes more than 1 MiB".to_owned())),
        };
        let task = Task::read(raw, &self.zone).map_err(PollError::stop)?;
        let mut data = json!({ "task": task.data(None, &self.zone), "raw": task.raw(), "hook": body });
        if let Some(comment) = comment(&data["hook"]).cloned().and_then(|raw| Comment::read(raw, &self.zone)) {
            data["comment"] = comment.data(&self.zone);
        }
        let mut new = NewEvent::new(event.kind.clone(), Payload::from_value(&data));
        new.id = Some(event.id.clone());
        new.subject.clone_from(&event.subject);
        new.time = task.updated.or(Some(event.time));
        new.version = task.updated.map(Version::Instant);
        new.headers.clone_from(&event.headers);
        Ok(Fetched::Event(Box::new(new)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;

    fn hook() -> Dooray {
        let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
        let secrets = vec!["0123456789abcdef".into()];
        Dooray { secrets, zone: TimeZone::get("Asia/Seoul").unwrap(), clock, fetch: None }
    }

    fn read(hook: &Dooray, body: &str) -> NewEvent {
        let (headers, body) = (HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()));
        let request =
            HookRequest { method: &Method::POST, headers: &headers, query: "", path_secret: None, body: &body };
        match hook.read(&request).unwrap() {
            Reading::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_sample_has_its_type() {
        for doc in EVENTS {
            assert_eq!(read(&hook(), doc.sample).kind, doc.kind);
        }
        let both =
            read(&hook(), r#"{"webhookType":"postCommentCreated","version":2,"log":{"id":"77"},"post":{"id":42}}"#);
        assert_eq!((both.kind.as_str(), both.subject.as_deref()), ("comment.created", Some("comment/77")));
        let moved = read(&hook(), r#"{"hookEventType":"postMoved","post":{"id":"42"}}"#);
        assert_eq!((moved.kind.as_str(), moved.subject.as_deref()), ("task.updated", Some("task/42")));
    }

    #[test]
    fn a_repetition_is_known_and_a_change_made_again_is_not_one() {
        let hook = hook();
        let timed = r#"{"hookEventType":"postCreated","post":{"id":"42","updatedAt":"2026-11-21T09:00:00.453+09:00"}}"#;
        let untimed = r#"{"hookEventType":"postTagChanged","post":{"id":"42"}}"#;
        let ids = |body: &str| read(&hook, body).id.unwrap();
        let before = (ids(timed), ids(untimed));
        assert_eq!(before, (ids(timed), ids(untimed)));
        hook.clock.advance(jiff::SignedDuration::from_secs(REPEATS));
        assert_eq!(ids(timed), before.0);
        assert_ne!(ids(untimed), before.1);
        assert_eq!(read(&hook, timed).version.unwrap().to_string(), "2026-11-21T00:00:00.453Z");
    }

    #[test]
    fn what_is_no_hook_is_refused() {
        let hook = hook();
        let (headers, body) = (HeaderMap::new(), Bytes::from_static(b"{\"a\":1}"));
        let request =
            HookRequest { method: &Method::POST, headers: &headers, query: "", path_secret: Some("no"), body: &body };
        assert!(matches!(hook.read(&request), Err(Refusal::Malformed(_))));
        assert!(matches!(hook.verify(&request, Timestamp::UNIX_EPOCH), Err(Refusal::Unauthorized(_))));
        let right = HookRequest { path_secret: Some("0123456789abcdef"), ..request };
        assert_eq!(hook.verify(&right, Timestamp::UNIX_EPOCH), Ok(()));
    }
}
