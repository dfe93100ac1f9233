//! Daou Office Works (다우오피스 Works).
//!
//! One URL for every verb: `POST` creates, `PUT` updates, `DELETE` deletes, all with a JSON body that bears the
//! credentials. Nothing can be read back and no id is given, so the record's id is the rendered `key` field. Source: the
//! vendor's page "Works 연동 API".

use super::{AccountKind, Limits, Manifest, Sandbox, SinkKind};
use crate::outcome::Verb;
use crate::settings::{Field, Kind, Need};
use crate::template::Escape;

mod answer;
mod door;
pub mod fields;
pub mod sandbox;
mod sink;

/// The path of the one URL, below the account's.
pub const PATH: &str = "/public/v1/works";

/// The connector.
pub static MANIFEST: Manifest = Manifest {
    name: "works",
    title: "Daou Office Works",
    about: "Creates, updates and deletes records of a Works app. The app needs 외부데이터 가져오기 switched on and a parameter \
            name for each field under 연동 항목관리: a name that is not there is silently ignored by Works. The secret goes in \
            the body of each call, or (`auth: oauth`) a token for a day is fetched with it. 1,500 calls a month, each \
            attempt counted. Works cannot be asked what it did, so a create without an answer waits for a \
            person.",
    account: Some(AccountKind {
        fields: ACCOUNT,
        check: |_| Vec::new(),
        url: Some("https://api.daouoffice.com"),
        limits: Limits { rate: None, concurrency: None, monthly: Some(1500) },
        zone: Some("Asia/Seoul"),
    }),
    sources: &[],
    sinks: &[SINK],
    lookup: None,
    sandbox: Some(Sandbox {
        router: sandbox::router,
        knows: &[
            ("client_id", sandbox::CLIENT_ID),
            ("client_secret", sandbox::CLIENT_SECRET),
            ("token", sandbox::TOKEN),
        ],
    }),
    start: &[("works.key", "id"), ("works.fields", "{ id: text }"), ("works.map", r#"{ id: "{{ id }}" }"#)],
};

const ACCOUNT: &[Field] = &[
    Field {
        name: "client_id",
        kind: Kind::Text,
        need: Need::Required,
        doc: "clientId of the OpenAPI key (통합설정 → 시스템연동)",
    },
    Field { name: "client_secret", kind: Kind::Secret, need: Need::Required, doc: "clientSecret of the OpenAPI key" },
    Field {
        name: "auth",
        kind: Kind::Choice(door::AUTH),
        need: Need::Default("body"),
        doc: "How calls show whom they are from: the secret in the `body`, a token of the newer `oauth`, or `both`",
    },
];

const SINK: SinkKind = SinkKind {
    name: "works",
    fields: FIELDS,
    verbs: &[Verb::Create, Verb::Update, Verb::Delete],
    escape: Escape::None,
    takes_request: false,
    advice: "use `create` or `upsert`: Works has records and no replies",
    build: sink::build,
};

const FIELDS: &[Field] = &[
    Field { name: "account", kind: Kind::Account("works"), need: Need::Required, doc: "The account" },
    Field {
        name: "token",
        kind: Kind::Secret,
        need: Need::Required,
        doc: "The app's Works token. Changes are recorded under the user who issued it",
    },
    Field {
        name: "key",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The parameter that tells records apart: one of `fields`, of type `text` or `number`",
    },
    Field {
        name: "fields",
        kind: Kind::Map(&Kind::Choice(fields::NAMES)),
        need: Need::Required,
        doc: "The parameters of 연동 항목관리 by name, each with the type of its component",
    },
];
