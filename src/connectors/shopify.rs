//! Shopify.

pub mod hook;

use super::{EventDoc, Manifest, SourceKind, SourceRole, verify};
use crate::settings::{Field, Kind, Need};

/// Shopify.
pub static MANIFEST: Manifest = Manifest {
    name: "shopify",
    title: "Shopify",
    about: "Webhooks of shops. The type is the topic with dots, as `orders.create`; a topic that ends in `/delete` becomes \
            `….deleted`, which routes with `do: sync` understand. The subject is the resource with its id, as \
            `orders/820982911946154508`, the version its `updated_at`. Every topic comes through, the ones listed are \
            examples.",
    account: None,
    sources: &[SourceKind {
        name: "shopify-hook",
        registrar: None,
        fields: FIELDS,
        events: EVENTS,
        build: |build| {
            let secrets = verify::secrets(&build.settings, "secrets")?;
            Ok(SourceRole::Hook(Box::new(hook::Shopify::new(secrets))))
        },
    }],
    sinks: &[],
    lookup: None,
    sandbox: None,
    start: &[],
};

const FIELDS: &[Field] = &[Field {
    name: "secrets",
    kind: Kind::List(&Kind::Secret),
    need: Need::Required,
    doc: "The app's client secret, or the signing secret that the shop's admin shows. Any of several is accepted, so that \
          one can be rotated.",
}];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "orders.create",
        about: "A customer ordered; likewise `orders.updated`, `orders.paid`, `orders.cancelled`.",
        sample: r##"{"id":820982911946154508,"name":"#1001","total_price":"49000.00","currency":"KRW","updated_at":"2026-01-01T09:00:00+09:00"}"##,
    },
    EventDoc {
        kind: "products.update",
        about: "A product changed.",
        sample: r#"{"id":788032119674292922,"title":"Shirt","updated_at":"2026-01-01T09:00:00+09:00"}"#,
    },
    EventDoc { kind: "products.deleted", about: "A product was deleted.", sample: r#"{"id":788032119674292922}"# },
];
