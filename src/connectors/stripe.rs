//! Stripe.

pub mod hook;

use super::{EventDoc, Manifest, SourceKind, SourceRole};
use crate::settings::{Field, Kind, Need};

/// Stripe.
pub static MANIFEST: Manifest = Manifest {
    name: "stripe",
    title: "Stripe",
    about: "Webhooks of an account or of connected accounts, snapshot and thin events. Type, id and time are Stripe's own; \
            the subject is the id of the object that the event is about, the version the second the event was made in. \
            Every event of Stripe comes through, the ones listed are examples.",
    account: None,
    sources: &[SourceKind {
        name: "stripe-hook",
        registrar: None,
        fields: FIELDS,
        events: EVENTS,
        build: |build| hook::Stripe::build(&build.settings).map(|hook| SourceRole::Hook(Box::new(hook))),
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
        doc: "The endpoint's signing secret, `whsec_…`. Any of several is accepted, so that one can be rolled.",
    },
    Field {
        name: "tolerance",
        kind: Kind::Duration,
        need: Need::Default("5m"),
        doc: "How far the time in the signature may be from ours.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "checkout.session.completed",
        about: "A customer finished a checkout.",
        sample: r#"{"id":"evt_1","object":"event","created":1767225600,"type":"checkout.session.completed","data":{"object":{"id":"cs_1","object":"checkout.session","amount_total":49000,"currency":"krw"}}}"#,
    },
    EventDoc {
        kind: "customer.subscription.updated",
        about: "A subscription changed; likewise created, deleted, paused.",
        sample: r#"{"id":"evt_2","object":"event","created":1767225600,"type":"customer.subscription.updated","data":{"object":{"id":"sub_1","object":"subscription","status":"active"}}}"#,
    },
    EventDoc {
        kind: "invoice.paid",
        about: "An invoice was paid.",
        sample: r#"{"id":"evt_3","object":"event","created":1767225600,"type":"invoice.paid","data":{"object":{"id":"in_1","object":"invoice","amount_paid":49000}}}"#,
    },
];
