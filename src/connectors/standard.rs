//! Standard Webhooks: the scheme that many senders share, Svix among them.

pub mod hook;

use super::{EventDoc, Manifest, SourceKind, SourceRole, webhook};
use crate::settings::{Field, Kind, Need};

/// Standard Webhooks.
pub static MANIFEST: Manifest = Manifest {
    name: "standard",
    title: "Standard Webhooks",
    about: "Webhooks by the specification of standardwebhooks.com, also under Svix's header names. The id is `webhook-id`, \
            the time `timestamp` of the body or the signed one; the type is `type` of the body (or `event_type`), \
            `received` where there is none. `event` says where the subject and the version are.",
    account: None,
    sources: &[SourceKind {
        name: "standard-hook",
        registrar: None,
        fields: FIELDS,
        events: &[EventDoc {
            kind: "received",
            about: "A message came; the type is what the body's `type` says, and this where it says nothing.",
            sample: r#"{"type":"user.created","timestamp":"2026-01-01T00:00:00Z","data":{"id":"u-1","name":"김하나"}}"#,
        }],
        build: |build| hook::Standard::build(&build.settings, &build.zone).map(|hook| SourceRole::Hook(Box::new(hook))),
    }],
    sinks: &[],
    lookup: None,
    sandbox: None,
    start: &[],
};

const FIELDS: &[Field] = &[
    Field {
        name: "secrets",
        kind: Kind::List(&Kind::Secret),
        need: Need::Required,
        doc: "The endpoint's secret, `whsec_…`. Any of several is accepted, so that one can be rotated.",
    },
    Field {
        name: "tolerance",
        kind: Kind::Duration,
        need: Need::Default("5m"),
        doc: "How far the signed time may be from ours.",
    },
    webhook::attributes::EVENT,
];
