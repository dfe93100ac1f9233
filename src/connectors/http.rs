//! Any HTTP endpoint as a destination, and any JSON API as a source.
//!
//! Every call bears the headers of [Standard Webhooks](https://www.standardwebhooks.com): a `webhook-id` that stays the
//! same over all attempts, so that a receiver can tell a repetition, and a signature if there is a secret.

use super::{LookupKind, Manifest, Sandbox, SinkKind};
use crate::outcome::Verb;
use crate::settings::{Field, Kind, Need};
use crate::template::Escape;

mod endpoint;
mod find;
pub mod poll;
pub mod sandbox;
mod sink;
mod target;

/// The connector.
pub static MANIFEST: Manifest = Manifest {
    name: "http",
    title: "HTTP",
    about: "Polls any JSON API, and sends JSON to any HTTP endpoint. Each call of the sink bears a webhook-id that stays the same over all attempts, and is \
            signed as Standard Webhooks say if a secret is set. Redirects are not followed, private addresses are \
            reached only if allowed, and the host never comes from data.",
    account: None,
    sources: &[poll::KIND],
    sinks: &[SINK],
    lookup: Some(LookupKind { fields: LOOKUP, build: find::lookup }),
    sandbox: Some(Sandbox { router: sandbox::router, knows: &[("url", "/")] }),
    start: &[],
};

const SINK: SinkKind = SinkKind {
    name: "http",
    fields: FIELDS,
    verbs: &[Verb::Create, Verb::Update, Verb::Delete],
    escape: Escape::None,
    takes_request: true,
    advice: "use `create` with a `request`: what the call means is the receiver's matter",
    build: sink::build,
};

const AUTH: &[Field] = &[
    Field {
        name: "bearer",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "A token, sent as `Authorization: Bearer …`",
    },
    Field { name: "basic", kind: Kind::Object(BASIC), need: Need::Optional, doc: "User and password" },
    Field { name: "header", kind: Kind::Object(HEADER), need: Need::Optional, doc: "A secret in a header of its own" },
];

const BASIC: &[Field] = &[
    Field { name: "user", kind: Kind::Text, need: Need::Required, doc: "The user" },
    Field { name: "password", kind: Kind::Secret, need: Need::Required, doc: "The password" },
];

const HEADER: &[Field] = &[
    Field { name: "name", kind: Kind::Text, need: Need::Required, doc: "The header's name, as `X-Api-Key`" },
    Field { name: "value", kind: Kind::Secret, need: Need::Required, doc: "The secret" },
];

const HEADERS: Field = Field {
    name: "headers",
    kind: Kind::Map(&Kind::Secret),
    need: Need::Optional,
    doc: "Further headers, the same for every call",
};

const AUTH_KEY: Field =
    Field { name: "auth", kind: Kind::OneOf(AUTH), need: Need::Optional, doc: "How to say who we are" };

const ACCEPT: Field = Field {
    name: "accept",
    kind: Kind::Expression,
    need: Need::Optional,
    doc: "What a yes is, over `status`, `headers` and `body`, besides a 2xx: `body.result == 'OK'`",
};

const ALLOW_PRIVATE: Field = Field {
    name: "allow_private",
    kind: Kind::Boolean,
    need: Need::Default("false"),
    doc: "The URL may lead to a private address, as within a company's network; proxies from the environment are \
          used only then",
};

const TIMEOUT: Field = Field {
    name: "timeout",
    kind: Kind::Duration,
    need: Need::Default("30s"),
    doc: "How long to wait for the whole answer",
};

const FIELDS: &[Field] = &[
    Field {
        name: "url",
        kind: Kind::Url,
        need: Need::Required,
        doc: "Where to send: scheme, host, port and base path. A route's `request.path` goes below it",
    },
    HEADERS,
    AUTH_KEY,
    Field {
        name: "secret",
        kind: Kind::List(&Kind::Secret),
        need: Need::Optional,
        doc: "Signs every call as Standard Webhooks say: `whsec_` and base64. With several, each signs",
    },
    ACCEPT,
    Field {
        name: "id",
        kind: Kind::Template,
        need: Need::Optional,
        doc: "The receiver's id of the record, over `status`, `headers` and `body`: `{{ body.no }}`",
    },
    Field {
        name: "idempotent",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "The receiver knows a repetition by its webhook-id: no doubt can arise",
    },
    ALLOW_PRIVATE,
    TIMEOUT,
    Field {
        name: "find",
        kind: Kind::Object(FIND),
        need: Need::Optional,
        doc: "How to ask the receiver what it has, with a GET: whether a call took effect, and for a route's `match`",
    },
];

const FIND: &[Field] = &[
    Field {
        name: "path",
        kind: Kind::Template,
        need: Need::Required,
        doc: "The path below `url`, over `webhook_id` and `fields` (the rendered `map`, or `match`): \
              `/orders?ref={{ webhook_id }}`",
    },
    Field {
        name: "items",
        kind: Kind::Template,
        need: Need::Optional,
        doc: "The records in the answer, over `status`, `headers` and `body`: `{{ body.items }}`. Without it the answer is \
              the record, or a list of them, and 404 says that there is none",
    },
    Field {
        name: "id",
        kind: Kind::Template,
        need: Need::Required,
        doc: "The id of one, over `item`: `{{ item.no }}`",
    },
];

const LOOKUP: &[Field] = &[
    Field {
        name: "path",
        kind: Kind::Template,
        need: Need::Required,
        doc: "The path below the sink's `url`, over `match`: `/customers?mail={{ match.mail }}`",
    },
    Field { name: "items", kind: Kind::Template, need: Need::Optional, doc: "The records in the answer, as in `find`" },
];
