//! Worksection: tasks, comments and costs of projects.
//!
//! Sources: worksection.com, "API" and "Webhooks" (the page on its start and authorization is kept whole with the project's
//! material), the vendor's SDKs, and what public code has seen. An action is a name in the query; errors come with HTTP 200
//! (`answer.rs`); times bear no zone and dates go in as `DD.MM.YYYY` (`times.rs`); nothing tells when a task changed
//! (`source.rs`); the API deletes no task.

use super::{AccountKind, Limits, Manifest, Sandbox};
use crate::settings::{Fault, Field, Kind, Need};

mod answer;
mod client;
mod fetch;
pub mod hook;
mod item;
mod lookup;
mod oauth;
mod registrar;
pub mod sandbox;
mod sink;
pub mod source;
mod task;
mod times;

/// The connector.
pub static MANIFEST: Manifest = Manifest {
    name: "worksection",
    title: "Worksection",
    about: "Makes, changes, completes and reopens tasks, tags them, comments on them and books costs; looks at the tasks, \
            comments and projects of an account; receives its webhooks. One call a second for the whole account. Its times \
            bear no zone: set `time_zone` of the account to that of the workspace. Its API deletes no tasks, and changes of \
            status tags fire no webhooks.",
    account: Some(AccountKind {
        fields: ACCOUNT,
        check: |settings| {
            let fault = client::wrong(settings).map(|why| Fault::new(settings.node().spot, why));
            fault.into_iter().collect()
        },
        url: None,
        // One request a second by the page, and a little less here: on the way two calls may come closer to each other.
        limits: Limits { rate: Some(0.95), concurrency: Some(1), monthly: None },
        zone: None,
    }),
    sources: &[source::KIND, hook::KIND],
    sinks: &[sink::KIND],
    lookup: Some(lookup::KIND),
    sandbox: Some(Sandbox {
        router: sandbox::router,
        knows: &[
            ("admin_key", sandbox::ADMIN_KEY),
            ("client_id", sandbox::CLIENT_ID),
            ("client_secret", sandbox::CLIENT_SECRET),
            ("refresh_token", sandbox::REFRESH_TOKEN),
            ("code", sandbox::CODE),
            ("redirect_uri", sandbox::REDIRECT_URI),
            ("project", sandbox::PROJECT),
            ("projects", sandbox::PROJECT),
            ("author", sandbox::USER),
        ],
    }),
    start: &[
        ("account.host", "acme.worksection.com"),
        ("account.admin_key", r#""${WORKSECTION_ADMIN_KEY}""#),
        ("worksection.project", r#""26""#),
    ],
};

const ACCOUNT: &[Field] = &[
    Field {
        name: "host",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The name in the account's address, as `acme.worksection.com`. Receiving webhooks alone does not need it.",
    },
    Field {
        name: "admin_key",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "The admin API's key: in Worksection under Account > API > Show API key, for the account's owner alone. It may do everything.",
    },
    Field {
        name: "hash",
        kind: Kind::Choice(&["encoded", "raw"]),
        need: Need::Default("encoded"),
        doc: "Over what the admin key's hash is: the encoded bytes that are sent, or the plain text. Worksection's page does not say.",
    },
    Field {
        name: "client_id",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "In place of `admin_key`: the Client ID of an OAuth 2.0 application, made in the API section of the account settings. It acts as the user who allowed it.",
    },
    Field { name: "client_secret", kind: Kind::Secret, need: Need::Optional, doc: "The application's Client Secret." },
    Field {
        name: "refresh_token",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "The first refresh token. Each renewal replaces it: the newest is kept in the store.",
    },
    Field {
        name: "code",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "In place of `refresh_token`: an authorization code, good for ten minutes and once.",
    },
    Field {
        name: "redirect_uri",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The application's Redirect URI, with which the `code` was asked for.",
    },
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::settings::{Node, Settings};

    #[test]
    fn an_account_has_the_keys_of_one_way_in() {
        let told = |keys: Value| client::wrong(&Settings::new(&Node::from(&keys), ACCOUNT)).unwrap_or("fine");
        assert_eq!(told(json!({})), "fine", "webhooks need none");
        assert_eq!(told(json!({"host": "acme.worksection.com", "admin_key": "k"})), "fine");
        let oauth = |more: Value| {
            let mut all = json!({"host": "acme.worksection.com", "client_id": "c", "client_secret": "s"});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            told(all)
        };
        assert_eq!(oauth(json!({"refresh_token": "r"})), "fine");
        assert_eq!(oauth(json!({"code": "c", "redirect_uri": "https://a.b/c"})), "fine");
        insta::assert_snapshot!(told(json!({"host": "https://acme.worksection.com"})), @"`host` is a name alone, as acme.worksection.com");
        insta::assert_snapshot!(oauth(json!({"admin_key": "k"})), @"two ways in: expected either `admin_key`, or `client_id` and what belongs to it");
        insta::assert_snapshot!(oauth(json!({})), @"no token: expected `refresh_token`, or `code` and `redirect_uri`");
        insta::assert_snapshot!(oauth(json!({"code": "c"})), @"`redirect_uri` is missing beside `code`");
        insta::assert_snapshot!(oauth(json!({"code": "c", "refresh_token": "r"})), @"two tokens: expected either `refresh_token`, or `code` and `redirect_uri`");
        insta::assert_snapshot!(told(json!({"host": "a.b", "client_id": "c"})), @"`client_secret` is missing beside `client_id`");
    }
}
