//! Adobe Workfront: its objects (projects, tasks, issues, …) as records, looked at, listened to and written.
//!
//! Source: the vendor's page "API basics" (kept whole with the project's material), its pages on event subscriptions and
//! OAuth 2, and what public code has seen of answers. A no is an object `error`, also within a 200 (`answer.rs`). Dates are
//! spelled in three ways (`times.rs`). All parameters go in the body, with `method` in place of the HTTP method, for a URI
//! may have 8,892 bytes at most (`door.rs`).

use super::{AccountKind, Limits, Manifest, Sandbox};

mod account;
mod answer;
mod auth;
mod door;
pub mod hook;
mod jwt;
mod lookup;
mod query;
mod registrar;
pub mod sandbox;
pub mod sink;
pub mod source;
mod times;

/// The connector.
pub static MANIFEST: Manifest = Manifest {
    name: "workfront",
    title: "Adobe Workfront",
    about: "Looks at objects of one kind (projects, tasks, issues, …) that are created, changed and deleted, receives event \
            subscriptions, and creates, changes, finds, moves, shares, comments and deletes objects, with their custom fields \
            (`DE:`), actions and documents. What the account's user cannot see or change, the account cannot either.",
    account: Some(AccountKind {
        fields: account::FIELDS,
        check: account::check,
        url: None,
        // Source: "each customer is limited to 10 concurrent API threads".
        limits: Limits { rate: None, concurrency: Some(10), monthly: None },
        zone: None,
    }),
    sources: &[source::KIND, hook::KIND],
    sinks: &[sink::KIND],
    lookup: Some(lookup::KIND),
    sandbox: Some(Sandbox { router: sandbox::router, knows: sandbox::KNOWS }),
    start: &[
        ("account.host", "acme.my.workfront.com"),
        ("workfront.object", "task"),
        ("workfront.map", r#"{ name: "{{ type }}" }"#),
    ],
};
