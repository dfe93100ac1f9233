//! The keys of `worksection`.

use jiff::SignedDuration;

use super::super::client::Api;
use super::{Source, Tasks};
use crate::connectors::pollers::keys;
use crate::connectors::{Build, EventDoc, SourceKind, SourceRole};
use crate::settings::{Fault, Field, Kind, Need};

/// The source.
pub const KIND: SourceKind = SourceKind { name: "worksection", fields: FIELDS, events: EVENTS, build, registrar: None };

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("worksection"),
        need: Need::Required,
        doc: "The account. Its `time_zone` is that of Worksection's times, which bear none.",
    },
    Field {
        name: "projects",
        kind: Kind::List(&Kind::Text),
        need: Need::Optional,
        doc: "Ids of the projects that count, each a call a poll; all of the account in one call if missing, 10,000 tasks at most.",
    },
    Field {
        name: "every",
        kind: Kind::Duration,
        need: Need::Default("1m"),
        doc: "How long to wait between two polls. All of the account takes one call a second.",
    },
    Field {
        name: "start",
        kind: Kind::Text,
        need: Need::Default("now"),
        doc: "What the first poll brings: nothing of what is there (`now`), every task (`all`), or what was made from a date or an instant on.",
    },
    Field {
        name: "tasks",
        kind: Kind::Choice(&["snapshot", "events", "none"]),
        need: Need::Default("snapshot"),
        doc: "Where tasks are told from: all are listed and compared (`snapshot`), the history alone (`events`), or not at all.",
    },
    Field {
        name: "history",
        kind: Kind::Boolean,
        need: Need::Default("true"),
        doc: "Whether comments and projects are told, from the history.",
    },
    Field {
        name: "overlap",
        kind: Kind::Duration,
        need: Need::Default("10m"),
        doc: "How much further back than the last poll the history is asked for.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "task.created",
        about: "A task or subtask is there that was not.",
        sample: r#"{"task":{"id":"1512","title":"Offer","project":{"id":"26","name":"Shop"},"page":"/project/26/1512/","state":"active","priority":1,"author":{"id":"9","name":"김하나","email":"kim@acme.kr"},"assignee":{"id":"9","name":"김하나","email":"kim@acme.kr"},"text":"Three pages.","tags":[{"id":"5","name":"Urgent"}],"end":"2026-01-09","created":"2026-01-02T10:16:00+02:00"},"raw":{"id":"1512","name":"Offer"}}"#,
    },
    EventDoc {
        kind: "task.updated",
        about: "Something of a task changed; `data.before` is how it was. Tags count, which fire no webhook.",
        sample: r#"{"task":{"id":"1512","title":"Offer","project":{"id":"26"},"state":"active","priority":5},"raw":{"id":"1512","name":"Offer"},"before":{"id":"1512","title":"Offer","project":{"id":"26"},"state":"active","priority":1}}"#,
    },
    EventDoc {
        kind: "task.closed",
        about: "A task was completed.",
        sample: r#"{"task":{"id":"1512","title":"Offer","project":{"id":"26"},"state":"done","closed":"2026-01-03T09:00:00+02:00"},"raw":{"id":"1512","name":"Offer"},"before":{"id":"1512","title":"Offer","state":"active"}}"#,
    },
    EventDoc {
        kind: "task.reopened",
        about: "A completed task was opened again.",
        sample: r#"{"task":{"id":"1512","title":"Offer","project":{"id":"26"},"state":"active"},"raw":{"id":"1512","name":"Offer"},"before":{"id":"1512","title":"Offer","state":"done"}}"#,
    },
    EventDoc {
        kind: "task.deleted",
        about: "A task is gone: Worksection says that there is none of its id. `data.task` is how it was.",
        sample: r#"{"task":{"id":"1512","title":"Offer","project":{"id":"26"},"state":"active"}}"#,
    },
    EventDoc {
        kind: "comment.created",
        about: "Someone commented; likewise `comment.updated` and `comment.deleted`.",
        sample: r#"{"comment":{"id":"777","page":"/project/26/1512/#com777","text":"Sent"},"task":{"id":"1512"},"project":{"id":"26"},"by":{"id":"9","name":"김하나","email":"kim@acme.kr"},"new":{"text":"Sent"},"raw":{"action":"post","object":{"type":"comment","id":"777","page":"/project/26/1512/#com777"},"date_added":"2026-01-02 10:21"}}"#,
    },
    EventDoc {
        kind: "project.created",
        about: "A project was made; likewise `project.updated`.",
        sample: r#"{"project":{"id":"26","page":"/project/26/","title":"Shop"},"by":{"id":"9"},"new":{"title":"Shop"},"raw":{"action":"post","object":{"type":"project","id":"26","page":"/project/26/"},"date_added":"2026-01-02 10:22"}}"#,
    },
];

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let settings = &build.settings;
    let fault = |key: &str, why: String| vec![Fault::new(settings.spot(key), why)];
    let tasks = match settings.text("tasks") {
        Some("events") => Tasks::Events,
        Some("none") => Tasks::None,
        _ => Tasks::Snapshot,
    };
    let history = settings.flag("history");
    if tasks == Tasks::None && !history {
        return Err(fault("history", "neither tasks nor history: there is nothing to tell".to_owned()));
    }
    let projects: Vec<String> = settings.texts("projects").into_iter().map(str::to_owned).collect();
    if let Some(odd) = projects.iter().find(|id| id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit())) {
        return Err(fault(
            "projects",
            format!("a project's id is the number in the address of its page, found {odd:?}"),
        ));
    }
    Ok(SourceRole::Poller(Box::new(Source {
        api: Api::of(build).map_err(|why| fault("account", why))?,
        clock: build.clock.clone(),
        every: keys::every(build)?,
        overlap: settings.duration("overlap").and_then(|d| SignedDuration::try_from(d).ok()).unwrap_or_default(),
        projects,
        tasks,
        history,
        start: keys::start(build)?,
    })))
}
