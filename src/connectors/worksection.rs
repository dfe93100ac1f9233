//! Worksection.

pub mod hook;

use super::{AccountKind, EventDoc, Limits, Manifest, SourceKind, SourceRole, verify};
use crate::settings::{Field, Kind, Need};

/// Worksection.
pub static MANIFEST: Manifest = Manifest {
    name: "worksection",
    title: "Worksection",
    about: "Webhooks of an account: tasks, comments and projects that were posted, updated, closed, reopened or deleted. \
            Worksection signs nothing: give the webhook a user and a password when you make it. Its times bear no zone: set \
            `time_zone` of the account to that of the workspace. Changes of status tags do not fire its webhooks.",
    account: Some(AccountKind {
        fields: ACCOUNT,
        check: |_| Vec::new(),
        url: None,
        // worksection.com/en/faq/api-start.html: one request a second.
        limits: Limits { rate: Some(1.0), concurrency: Some(1), monthly: None },
        zone: None,
    }),
    sources: &[SourceKind {
        name: "worksection-hook",
        registrar: None,
        fields: FIELDS,
        events: EVENTS,
        build: |build| {
            let users = verify::users(&build.settings)?;
            Ok(SourceRole::Hook(Box::new(hook::Worksection::new(users, build.zone.clone()))))
        },
    }],
    sinks: &[],
    lookup: None,
    sandbox: None,
};

/// Why keys of calls do not work yet.
const NO_CALLS: &str = "webhooks are received and Worksection is not called; leave it out";

const ACCOUNT: &[Field] = &[
    Field {
        name: "host",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The account's host, as `acme.worksection.com`, for who reads the config: receiving webhooks does not need it.",
    },
    Field { name: "admin_key", kind: Kind::Secret, need: Need::NotYet(NO_CALLS), doc: "The admin API's key." },
    Field { name: "url", kind: Kind::Url, need: Need::NotYet(NO_CALLS), doc: "Another base URL." },
    Field { name: "limits", kind: Kind::Any, need: Need::NotYet(NO_CALLS), doc: "How much the account may be used." },
];

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("worksection"),
        need: Need::Optional,
        doc: "The account the webhooks come from; its `time_zone` is that of their times.",
    },
    verify::USERS,
    Field {
        name: "fetch",
        kind: Kind::Boolean,
        need: Need::NotYet("reading the subject again before it is passed on comes later"),
        doc: "Reads the subject again from Worksection first.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "task.created",
        about: "A task was posted.",
        sample: r#"{"action":"post","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:16","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"},"new":{"title":"Offer"}}"#,
    },
    EventDoc {
        kind: "task.updated",
        about: "A task was changed: `old` and `new` hold what differs.",
        sample: r#"{"action":"update","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:17","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"},"new":{"priority":"5"},"old":{"priority":"1"}}"#,
    },
    EventDoc {
        kind: "task.closed",
        about: "A task was completed.",
        sample: r#"{"action":"close","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:18","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"}}"#,
    },
    EventDoc {
        kind: "task.reopened",
        about: "A completed task was opened again.",
        sample: r#"{"action":"reopen","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:19","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"}}"#,
    },
    EventDoc {
        kind: "task.deleted",
        about: "A task was deleted.",
        sample: r#"{"action":"delete","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:20","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"}}"#,
    },
    EventDoc {
        kind: "comment.created",
        about: "Someone commented; likewise `comment.updated` and `comment.deleted`.",
        sample: r#"{"action":"post","object":{"type":"comment","id":"777","page":"/project/26/1512/#com777"},"date_added":"2026-01-02 10:21","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"},"new":{"text":"Sent"}}"#,
    },
    EventDoc {
        kind: "project.created",
        about: "A project was made; likewise `project.updated`.",
        sample: r#"{"action":"post","object":{"type":"project","id":"26","page":"/project/26/"},"date_added":"2026-01-02 10:22","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"},"new":{"title":"Shop"}}"#,
    },
];
