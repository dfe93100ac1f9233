//! Dooray (두레이), of NHN: calendars, the tasks of projects, messages.
//!
//! Sources: the pages of helpdesk.dooray.com on its API (the calendar's is kept whole with the project's material; the
//! others by mirrors), and what public code has measured. Every answer is an envelope (`envelope.rs`) and counts against a
//! token bucket (`limits.rs`). Flags, counts and names change their spelling from page to page: `envelope.rs`, `people.rs`
//! and `times.rs` read all of them.

use super::{AccountKind, Limits, Manifest, Sandbox};
use crate::settings::{Field, Kind, Need};

mod answer;
pub mod calendar;
mod client;
mod entry;
mod envelope;
pub mod hook;
mod limits;
mod people;
mod registrar;
pub mod sandbox;
mod sinks;
mod task;
pub mod tasks;
mod times;
mod window;

/// The connector.
pub static MANIFEST: Manifest = Manifest {
    name: "dooray",
    title: "Dooray",
    about: "Looks at calendars (events that are created, changed, moved and deleted) and at the tasks and comments of \
            projects, receives project hooks, posts messages, and writes events and tasks. A token acts as the user who \
            made it: what the user cannot see or change, the account cannot either.",
    account: Some(AccountKind {
        fields: ACCOUNT,
        check: |_| Vec::new(),
        url: None,
        // The vendor tells its own in headers, and may change them; these are ours, to stay clear of them.
        limits: Limits { rate: Some(10.0), concurrency: Some(4), monthly: None },
        zone: Some("Asia/Seoul"),
    }),
    sources: &[calendar::KIND, tasks::KIND, hook::KIND],
    sinks: &[sinks::message::KIND, sinks::calendar::KIND, sinks::task::KIND],
    lookup: None,
    sandbox: Some(Sandbox {
        router: sandbox::router,
        knows: &[
            ("token", sandbox::TOKEN),
            ("calendar", sandbox::CALENDAR),
            ("calendars", sandbox::CALENDAR),
            ("project", sandbox::PROJECT),
            ("channel", sandbox::CHANNEL),
            ("webhook_url", sandbox::WEBHOOK),
        ],
    }),
    start: &[
        ("dooray-message.channel", r#""1234567890123456789""#),
        ("dooray-calendar.map", r#"{ subject: "{{ type }}", startedAt: "{{ time }}", endedAt: "{{ time }}" }"#),
        ("dooray-task.map", r#"{ subject: "{{ type }}" }"#),
    ],
};

const ACCOUNT: &[Field] = &[
    Field {
        name: "token",
        kind: Kind::Secret,
        need: Need::Required,
        doc: "The personal token (개인 인증 토큰): in Dooray under 개인설정 > API. It acts as that user, and the user's IP rules hold.",
    },
    Field {
        name: "cloud",
        kind: Kind::Choice(&["public", "gov", "gov-work", "fin"]),
        need: Need::Default("public"),
        doc: "Which of Dooray's clouds: 민간 (`public`, api.dooray.com), 공공 (`gov`, api.gov-dooray.com), 공공 업무망 (`gov-work`, api.gov-dooray.co.kr), 금융 (`fin`, api.dooray.co.kr). `url` names another host.",
    },
];
