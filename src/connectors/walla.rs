//! Walla, the form builder (walla.my).
//!
//! Walla has had three generations of APIs, and two are in use: the response API of its Enterprise plan (a client id and
//! an API key), and the Open API v1 (one key). A source polls either for the responses of one form. What both leave
//! unsaid is kept in one place each: `response.rs` reads every shape a response is known to come in, `cursor.rs` relies
//! on nothing about the ends of a date range or the order of pages, `client.rs` asks. `again.rs` reads the response of a
//! webhook, `lookup.rs` what a mapping needs to know.

use crate::connectors::{AccountKind, Limits, Manifest, Sandbox};
use crate::settings::{Fault, Field, Kind, Need, Settings};

mod again;
mod client;
mod cursor;
mod door;
mod export;
pub mod hook;
mod labels;
pub mod lookup;
mod past;
mod questions;
mod response;
pub mod sandbox;
pub mod source;

/// The connector.
pub static MANIFEST: Manifest = Manifest {
    name: "walla",
    title: "Walla",
    about: "Reads the responses of Walla forms: `response.created` when one was submitted, `response.updated` when it changed. \
            Answers are in `data.answers` by the question's label and in `data.fields` by its stable column; \
            a single-choice answer is text, a multiple-choice one a list, an unanswered question is absent.",
    account: Some(AccountKind {
        fields: ACCOUNT,
        check: check_account,
        url: None,
        // 6,000 requests an hour and key (Open API).
        limits: Limits { rate: Some(6_000.0 / 3_600.0), concurrency: None, monthly: None },
        zone: None,
    }),
    sources: &[source::KIND, hook::KIND],
    sinks: &[],
    lookup: Some(lookup::KIND),
    sandbox: Some(Sandbox {
        router: sandbox::router,
        knows: &[
            ("client_id", sandbox::CLIENT_ID),
            ("api_key", sandbox::API_KEY),
            ("open_api_key", sandbox::OPEN_API_KEY),
            ("workspace", sandbox::WORKSPACE),
            ("project", sandbox::PROJECT),
            ("form", sandbox::FORM),
        ],
    }),
    start: &[
        ("account.client_id", r#""${WALLA_CLIENT_ID}""#),
        ("account.api_key", r#""${WALLA_API_KEY}""#),
        ("walla.project", "FILL-IN"),
    ],
};

const ACCOUNT: &[Field] = &[
    Field {
        name: "client_id",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The client id (클라이언트 ID) of the response API: in Walla under 팀 설정 > API (team settings > API). Enterprise plan; team administrators only.",
    },
    Field {
        name: "api_key",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "The API key (API 키) of the response API: in Walla under 팀 설정 > API, beside the client id.",
    },
    Field {
        name: "open_api_key",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "The key of the Open API v1 (X-WALLA-API-KEY), in place of `client_id` and `api_key`: in Walla under 팀 설정 > API.",
    },
];

fn check_account(settings: &Settings<'_>) -> Vec<Fault> {
    let has = |key| settings.get(key).is_some();
    let message = match (has("client_id"), has("api_key"), has("open_api_key")) {
        (true, true, false) | (false, false, true) => return Vec::new(),
        (false, false, false) => {
            "no keys: expected `client_id` and `api_key` (response API), or `open_api_key` (Open API)"
        }
        (_, _, true) => "keys of two APIs: expected either `client_id` and `api_key`, or `open_api_key`",
        (true, false, false) => "`api_key` is missing beside `client_id`",
        (false, true, false) => "`client_id` is missing beside `api_key`",
    };
    vec![Fault::new(settings.node().spot, message)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Key, Node, NodeValue, Spot};

    #[test]
    fn an_account_has_the_keys_of_one_api() {
        let faults = |keys: &[&str]| {
            let text = |key: &str| {
                let spot = Spot { line: 1, column: 1 };
                (Key { name: key.to_owned(), spot }, Node { spot, value: NodeValue::Text("x".into()) })
            };
            let node =
                Node { spot: Spot::default(), value: NodeValue::Map(keys.iter().map(|key| text(key)).collect()) };
            check_account(&Settings::new(&node, ACCOUNT)).into_iter().map(|fault| fault.message).collect::<Vec<_>>()
        };
        assert!(faults(&["client_id", "api_key"]).is_empty());
        assert!(faults(&["open_api_key"]).is_empty());
        insta::assert_snapshot!(faults(&[])[0], @"no keys: expected `client_id` and `api_key` (response API), or `open_api_key` (Open API)");
        insta::assert_snapshot!(faults(&["client_id"])[0], @"`api_key` is missing beside `client_id`");
        insta::assert_snapshot!(faults(&["api_key"])[0], @"`client_id` is missing beside `api_key`");
        insta::assert_snapshot!(faults(&["api_key", "open_api_key"])[0], @"keys of two APIs: expected either `client_id` and `api_key`, or `open_api_key`");
    }
}
