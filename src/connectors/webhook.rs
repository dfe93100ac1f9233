//! `webhook`: a webhook from anything.

pub mod attributes;
pub mod hook;

use super::{EventDoc, Manifest, SourceKind, SourceRole};
use crate::settings::{Field, Kind, Need};

/// The generic webhook.
pub static MANIFEST: Manifest = Manifest {
    name: "webhook",
    title: "Webhook",
    about: "A webhook from anything that can POST JSON or a form. The sender is verified by what `verify` says; `event` \
            says where in the request id, type, subject, version and time are. A body that is an array is one event an \
            item; `items` finds such an array deeper down. Without `event` the type is `received`, and a body that comes \
            again within 24 hours is the same event.",
    account: None,
    sources: &[SourceKind {
        name: "webhook",
        registrar: None,
        fields: FIELDS,
        events: &[EventDoc {
            kind: "received",
            about: "A request came; the type is what `event.type` says, and this where it says nothing.",
            sample: r#"{"kind":"order.paid","order":{"id":"A-1001","rev":3,"total":"49000"}}"#,
        }],
        build: |build| hook::Webhook::build(&build.settings, &build.zone).map(|hook| SourceRole::Hook(Box::new(hook))),
    }],
    sinks: &[],
    lookup: None,
    sandbox: None,
    start: &[],
};

const FIELDS: &[Field] = &[
    super::verify::VERIFY,
    attributes::EVENT,
    Field {
        name: "items",
        kind: Kind::Template,
        need: Need::Optional,
        doc: "Where the list of items is, as \"{{ body.orders }}\": each becomes an event, with `body` being the item in \
              the templates of `event`. A body that is itself an array needs no `items`.",
    },
];
