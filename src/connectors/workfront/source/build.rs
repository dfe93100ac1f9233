//! The keys of `workfront`.

use jiff::SignedDuration;

use super::{Asking, Source};
use crate::connectors::pollers::keys;
use crate::connectors::workfront::query;
use crate::connectors::{Build, EventDoc, SourceKind, SourceRole};
use crate::settings::{Fault, Field, Kind, Need, Node};

/// The source.
pub const KIND: SourceKind = SourceKind { name: "workfront", fields: FIELDS, events: EVENTS, build, registrar: None };

const FIELDS: &[Field] = &[
    Field { name: "account", kind: Kind::Account("workfront"), need: Need::Required, doc: "The account." },
    query::OBJECT,
    Field {
        name: "fields",
        kind: Kind::List(&Kind::Text),
        need: Need::Optional,
        doc: "Which of its fields are read, as `status`, `owner:name`, `DE:Budget`, `parameterValues` (all custom fields); all of its own (`*`) if missing.",
    },
    Field {
        name: "filter",
        kind: Kind::Map(&Kind::Text),
        need: Need::Optional,
        doc: "Which objects: fields and values, with `FIELD_Mod` and `FIELD_Range` as in the vendor's searches.",
    },
    keys::every_key("5m"),
    Field {
        name: "start",
        kind: Kind::Text,
        need: Need::Default("now"),
        doc: "What the first poll brings: nothing of what is there (`now`), every object (`all`), or what was changed from a date or an instant on.",
    },
    Field {
        name: "overlap",
        kind: Kind::Duration,
        need: Need::Default("10m"),
        doc: "How far back each poll looks again, for objects that show up late.",
    },
    Field {
        name: "page",
        kind: Kind::Integer { min: 1, max: 2_000 },
        need: Need::Default("200"),
        doc: "How many objects are asked for at once.",
    },
    Field {
        name: "deletions",
        kind: Kind::Duration,
        need: Need::Default("1h"),
        doc: "How often all IDs are listed to find what was deleted; `0s` for never.",
    },
];

const OBJECT: &str = r#"{
  "objCode": "TASK",
  "object": {
    "ID": "4c9a97db0000000f13ee4446b9aead9b", "name": "first task", "objCode": "TASK", "status": "NEW", "percentComplete": 0,
    "plannedStartDate": "2026-11-30T09:00:00.000-07:00", "entryDate": "2026-11-20T09:00:00.000-07:00", "lastUpdateDate": "2026-11-20T09:00:00.000-07:00",
    "DE:CustomText": "a"
  },
  "raw": { "ID": "4c9a97db0000000f13ee4446b9aead9b", "name": "first task", "plannedStartDate": "2026-11-30T09:00:00:000-0700", "description": null }
}"#;

const CHANGED: &str = r#"{
  "objCode": "TASK",
  "object": {
    "ID": "4c9a97db0000000f13ee4446b9aead9b", "name": "first task", "objCode": "TASK", "status": "CPL", "percentComplete": 100,
    "entryDate": "2026-11-20T09:00:00.000-07:00", "lastUpdateDate": "2026-11-21T09:00:00.000-07:00"
  },
  "before": { "ID": "4c9a97db0000000f13ee4446b9aead9b", "name": "first task", "status": "NEW", "percentComplete": 0 },
  "raw": { "ID": "4c9a97db0000000f13ee4446b9aead9b", "name": "first task", "status": "CPL" }
}"#;

/// The events of the poller and of the hook.
pub(in crate::connectors::workfront) const EVENTS: &[EventDoc] = &[
    EventDoc { kind: "object.created", about: "An object is new.", sample: OBJECT },
    EventDoc {
        kind: "object.updated",
        about: "An object changed; `data.before` is how it was known before.",
        sample: CHANGED,
    },
    EventDoc {
        kind: "object.deleted",
        about: "An object is gone; `data.object` is how it was known last.",
        sample: OBJECT,
    },
];

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let settings = &build.settings;
    let fault = |key: &str, why: String| vec![Fault::new(settings.spot(key), why)];
    let of = |key: &'static str| move |why: String| fault(key, format!("`{key}`: {why}"));
    let object = query::object(settings.text("object").unwrap_or_default()).map_err(of("object"))?;
    let wanted = settings.texts("fields");
    let wanted = if wanted.is_empty() { vec!["*"] } else { wanted };
    let entries = settings.get("filter").map(Node::entries).unwrap_or_default();
    let pairs: Vec<(&str, &str)> =
        entries.iter().filter_map(|(key, node)| Some((key.name.as_str(), node.text()?))).collect();
    if pairs.iter().any(|(name, _)| name.starts_with("lastUpdateDate")) {
        return Err(fault(
            "filter",
            "`filter`: the source itself asks by lastUpdateDate; `start` says from when on".to_owned(),
        ));
    }
    let filters = query::written(&pairs).map_err(of("filter"))?;
    let length = |key| settings.duration(key).and_then(|length| SignedDuration::try_from(length).ok());
    Ok(SourceRole::Poller(Box::new(Source {
        asking: Asking::of(build, object, &wanted, filters)?,
        every: keys::every(build)?,
        overlap: length("overlap").unwrap_or_default(),
        start: keys::start(build)?,
        deletions: length("deletions").filter(|every| !every.is_zero()),
        page: settings.integer("page").and_then(|page| u64::try_from(page).ok()).unwrap_or(200),
    })))
}
