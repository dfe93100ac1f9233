//! A connector to copy: the notes of a vendor that does not exist. `docs/new-connector.md` says how.
//!
//! It is in no list, so no config can name it; its tests and the conformance suite keep it working.

use super::{AccountKind, Limits, Manifest, Sandbox};
use crate::settings::{Field, Kind, Need};

mod client;
pub mod sandbox;
pub mod sink;
pub mod source;

/// The connector.
pub static MANIFEST: Manifest = Manifest {
    name: "notes",
    title: "Notes",
    about: "Polls notes and writes them.",
    account: Some(AccountKind {
        fields: ACCOUNT,
        check: |_| Vec::new(),
        url: Some("https://api.notes.example"),
        // Where the vendor's page says nothing: what a careful client would do.
        limits: Limits { rate: Some(5.0), concurrency: Some(2), monthly: None },
        zone: None,
    }),
    sources: &[source::KIND],
    sinks: &[sink::KIND],
    lookup: None,
    sandbox: Some(Sandbox {
        router: sandbox::router,
        knows: &[("token", sandbox::TOKEN), ("notebook", sandbox::NOTEBOOK)],
    }),
    start: &[],
};

const ACCOUNT: &[Field] = &[Field {
    name: "token",
    kind: Kind::Secret,
    need: Need::Required,
    doc: "The token: in Notes under Settings > API.",
}];
