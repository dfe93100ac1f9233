//! The keys of `dooray-task`.

use jiff::SignedDuration;

use super::super::client::Api;
use super::{Comments, Source};
use crate::connectors::pollers::keys;
use crate::connectors::{Build, EventDoc, SourceKind, SourceRole};
use crate::settings::{Fault, Field, Kind, Need};

/// The source.
pub const KIND: SourceKind = SourceKind { name: "dooray-task", fields: FIELDS, events: EVENTS, build, registrar: None };

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("dooray"),
        need: Need::Required,
        doc: "The account: its token's user must be a member of the project.",
    },
    Field {
        name: "project",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The project's id, the number in the address of its page.",
    },
    keys::every_key("5m"),
    Field {
        name: "start",
        kind: Kind::Text,
        need: Need::Default("now"),
        doc: "What the first poll brings: nothing of what is there (`now`), every task (`all`), or what was changed from a date or an instant on.",
    },
    Field {
        name: "overlap",
        kind: Kind::Duration,
        need: Need::Default("10m"),
        doc: "How far back each poll looks again, for tasks that show up late.",
    },
    Field {
        name: "comments",
        kind: Kind::Choice(&["all", "updated", "none"]),
        need: Need::Default("all"),
        doc: "Whose comments are read: of tasks that changed and of 20 other open ones after each poll in turn (`all`), of tasks that changed (`updated`), or nobody's (`none`).",
    },
];

const TASK: &str = r#"{
  "task": {
    "id": "4097351331779866861", "number": 3, "name": "dev/3", "title": "버그 1", "project": { "id": "7", "code": "dev" },
    "state": "working", "workflow": { "id": "3", "name": "진행" }, "due": "2026-11-28T18:00:00+09:00", "priority": "high",
    "author": { "kind": "member", "id": "101" }, "assignees": [{ "kind": "member", "id": "102", "workflow": { "id": "3", "name": "진행" } }],
    "body": { "type": "text/x-markdown", "text": "재현 방법" }, "created": "2026-11-20T09:00:00+09:00", "updated": "2026-11-21T09:00:00+09:00"
  },
  "raw": { "id": "4097351331779866861", "subject": "버그 1", "workflowClass": "working" }
}"#;

const CHANGED: &str = r#"{
  "task": {
    "id": "4097351331779866861", "number": 3, "name": "dev/3", "title": "버그 1", "project": { "id": "7", "code": "dev" },
    "state": "closed", "workflow": { "id": "4", "name": "완료" }, "created": "2026-11-20T09:00:00+09:00", "updated": "2026-11-21T11:00:00+09:00"
  },
  "before": { "state": "working", "workflow": { "id": "3", "name": "진행" } },
  "raw": { "id": "4097351331779866861", "subject": "버그 1", "workflowClass": "closed" }
}"#;

const COMMENT: &str = r#"{
  "comment": { "id": "77", "kind": "general", "author": { "kind": "member", "id": "102" }, "body": { "type": "text/x-markdown", "text": "확인 바랍니다." }, "created": "2026-11-21T10:00:00+09:00" },
  "task": { "id": "4097351331779866861", "number": 3, "name": "dev/3", "title": "버그 1", "project": { "id": "7", "code": "dev" }, "state": "working" },
  "raw": { "id": "77", "type": "comment", "subtype": "general", "body": { "mimeType": "text/x-markdown", "content": "확인 바랍니다." } }
}"#;

const EVENTS: &[EventDoc] = &[
    EventDoc { kind: "task.created", about: "A task is new.", sample: TASK },
    EventDoc { kind: "task.updated", about: "A task changed, but not its workflow.", sample: TASK },
    EventDoc {
        kind: "task.workflow",
        about: "A task was put to another workflow; where it was is in `data.before`.",
        sample: CHANGED,
    },
    EventDoc { kind: "task.closed", about: "A task was completed (완료).", sample: CHANGED },
    EventDoc { kind: "task.reopened", about: "A completed task was opened again.", sample: CHANGED },
    EventDoc { kind: "comment.created", about: "Someone commented on a task.", sample: COMMENT },
    EventDoc { kind: "comment.updated", about: "A comment was edited.", sample: COMMENT },
];

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let settings = &build.settings;
    let fault = |key: &str, message: &str| vec![Fault::new(settings.spot(key), message)];
    let api = Api::of(build).map_err(|why| fault("account", &why))?;
    let overlap = settings.duration("overlap").and_then(|length| SignedDuration::try_from(length).ok());
    let comments = match settings.text("comments") {
        Some("none") => Comments::None,
        Some("updated") => Comments::Updated,
        _ => Comments::All,
    };
    Ok(SourceRole::Poller(Box::new(Source {
        api,
        clock: build.clock.clone(),
        zone: build.zone.clone(),
        project: settings.text("project").unwrap_or_default().to_owned(),
        every: keys::every(build)?,
        overlap: overlap.unwrap_or_default(),
        start: keys::start(build)?,
        comments,
    })))
}
