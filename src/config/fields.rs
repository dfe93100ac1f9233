//! The keys of the config that belong to no connector. The check and the schema both work from these lists.

use crate::settings::{Field, Kind, Need};

const fn field(name: &'static str, kind: Kind, need: Need, doc: &'static str) -> Field {
    Field { name, kind, need, doc }
}

/// A section whose entries are checked one by one.
const SECTION: Kind = Kind::Map(&Kind::Any);
/// A sensible bound for counts.
const MANY: i64 = 1_000_000_000;

/// The top of the file.
pub(super) static TOP: &[Field] = &[
    field("store", Kind::Object(STORE), Need::Optional, "Where Dari remembers things."),
    field("listen", Kind::Object(LISTEN), Need::Optional, "Where Dari listens."),
    field("time_zone", Kind::Zone, Need::Default("UTC"), "The zone of times that bear none, and in which months turn."),
    field("journal", Kind::Object(JOURNAL), Need::Optional, "How long the history of events is kept."),
    field("dedupe", Kind::Duration, Need::Default("35d"), "How long a repeated event is known as a repetition."),
    field(
        "min_free",
        Kind::Size,
        Need::Default("512MiB"),
        "Below this much free disk space bodies are no longer kept, and then webhooks are refused.",
    ),
    field(
        "redact",
        Kind::List(&Kind::Text),
        Need::Optional,
        "Paths as `data.answers['연락처']` whose values are masked wherever they are shown.",
    ),
    field("accounts", SECTION, Need::Optional, "Credentials by name: `name: { vendor: { … } }`."),
    field("tables", SECTION, Need::Optional, "Lookup tables by name, for `table('name')` in templates."),
    field("sources", SECTION, Need::Optional, "Where events come from, by name: `name: { kind: { … } }`."),
    field("sinks", SECTION, Need::Optional, "Where records go, by name: `name: { kind: { … } }`."),
    field("routes", SECTION, Need::Optional, "Which events go to which sink, and how, by name."),
    field("tests", Kind::List(&Kind::Object(TEST)), Need::Optional, "Tests of this file, for `dari test`."),
    field(
        "broker",
        Kind::Object(BROKER),
        Need::Optional,
        "A RabbitMQ that moves events; without it they move through a queue in the store's file.",
    ),
    field(
        "spool",
        Kind::Object(SPOOL),
        Need::Optional,
        "Where events wait on this machine while the `broker` does not take them.",
    ),
    field(
        "alerts",
        Kind::Text,
        Need::Optional,
        "The sink that operators are told through of what needs them; besides the log.",
    ),
];

/// `store`.
static STORE: &[Field] = &[field(
    "url",
    Kind::Text,
    Need::Default("sqlite://data/dari.db"),
    "The file, as `sqlite://data/dari.db`; a relative path starts at the config's folder.",
)];

/// `broker`.
pub(super) static BROKER: &[Field] = &[
    field("url", Kind::Secret, Need::Optional, "Its URL, as `amqp://user:${PASSWORD}@host/vhost`; `amqps` for TLS."),
    field(
        "urls",
        Kind::List(&Kind::Secret),
        Need::Optional,
        "Instead of `url`: the nodes of a cluster, tried one after the other.",
    ),
    field(
        "prefix",
        Kind::Text,
        Need::Default("dari"),
        "How the names of its exchanges and queues begin: bridges that share a virtual host differ in it.",
    ),
    field("ca_file", Kind::Path, Need::Optional, "PEM of a root certificate besides the system's."),
    field("client_cert", Kind::Path, Need::Optional, "PEM of the certificate that the broker knows this bridge by."),
    field("client_key", Kind::Path, Need::Optional, "PEM of its key."),
];

/// `spool`.
pub(super) static SPOOL: &[Field] = &[
    field("path", Kind::Path, Need::Optional, "Its folder; `spool` beside the store's file if missing."),
    field("max", Kind::Size, Need::Default("1GiB"), "How much may wait in it."),
];

/// `listen`.
pub(super) static LISTEN: &[Field] = &[
    field("hooks", Kind::Address, Need::Default("0.0.0.0:8080"), "The address that webhooks come to."),
    field("public", Kind::Url, Need::Optional, "The URL under which others reach that address."),
    field(
        "admin",
        Kind::Object(ADMIN),
        Need::Optional,
        "The address of the admin API; without it there is only a socket beside the store.",
    ),
];

/// `listen.admin`.
pub(super) static ADMIN: &[Field] = &[
    field("address", Kind::Address, Need::Default("127.0.0.1:8081"), "The address of the admin API."),
    field(
        "token",
        Kind::Secret,
        Need::Optional,
        "The token that it asks for; required unless the address is a loopback one.",
    ),
];

/// `journal`.
pub(super) static JOURNAL: &[Field] = &[
    field("keep", Kind::Duration, Need::Default("30d"), "How long events and their steps are kept."),
    field("bodies", Kind::Duration, Need::Default("7d"), "How long the bodies of events are kept."),
];

/// What every account takes besides its vendor's keys.
pub(super) static ACCOUNT: &[Field] = &[
    field("url", Kind::Url, Need::Optional, "Another base URL: a sandbox, a proxy, another region."),
    field(
        "limits",
        Kind::Object(LIMITS),
        Need::Optional,
        "How much the account may be used; the vendor's own limits are the default.",
    ),
    field("time_zone", Kind::Zone, Need::Optional, "The account's zone, if it is not the config's."),
];

/// `limits` of an account, and of a sink that is its own account.
pub(super) static LIMITS: &[Field] = &[
    field("rate", Kind::Number { min: 0.001, max: 100_000.0 }, Need::Optional, "Calls a second."),
    field("concurrency", Kind::Integer { min: 1, max: 10_000 }, Need::Optional, "Calls at the same time."),
    field("monthly", Kind::Integer { min: 1, max: MANY }, Need::Optional, "Calls a month."),
];

/// What every source takes besides its kind's keys.
pub(super) static SOURCE: &[Field] = &[WAS, ENABLED];

/// What every sink takes besides its kind's keys.
pub(super) static SINK: &[Field] = &[
    WAS,
    ENABLED,
    field(
        "fetch_hosts",
        Kind::Any,
        Need::NotYet("this sink uploads no files; a `workfront` one does"),
        "Hosts that files may be fetched from.",
    ),
    field(
        "find",
        Kind::Any,
        Need::NotYet("this sink knows itself whether it can be asked; only an `http` one is told how"),
        "How to ask whether a call took effect.",
    ),
];

/// What a sink that is its own account takes besides.
pub(super) static OWN_ACCOUNT: &[Field] =
    &[field("limits", Kind::Object(LIMITS), Need::Optional, "How much this sink may be used.")];

const WAS: Field =
    field("was", Kind::Text, Need::Optional, "Its former name: what is remembered under that name moves here.");
const ENABLED: Field =
    field("enabled", Kind::Boolean, Need::Default("true"), "`false` switches it off and keeps what it has.");

/// A table.
pub(super) static TABLE: &[Field] = &[
    field("values", Kind::Map(&Kind::Any), Need::Optional, "The values by key."),
    field("csv", Kind::Object(CSV), Need::Optional, "A file with a heading line."),
];

/// `csv` of a table.
pub(super) static CSV: &[Field] = &[
    field("file", Kind::Path, Need::Required, "The file; a relative path starts at the config's folder."),
    field("key", Kind::Text, Need::Required, "The heading of the column that is looked up."),
    field("value", Kind::Text, Need::Required, "The heading of the column that is found."),
];

/// A route.
pub(super) static ROUTE: &[Field] = &[
    field(
        "from",
        Kind::List(&Kind::Text),
        Need::Required,
        "The sources it takes events from; `*` stands for any part of a name.",
    ),
    field(
        "types",
        Kind::List(&Kind::Text),
        Need::Optional,
        "The types of events it takes, `*` allowed; all if missing.",
    ),
    field("when", Kind::Expression, Need::Optional, "An expression: only events for which it is true pass."),
    field("to", Kind::Text, Need::Required, "The sink."),
    field("do", ACTION, Need::Optional, "What to do there."),
    field("map", Kind::Mapping, Need::Optional, "The record: each leaf is a template."),
    field("request", REQUEST, Need::Optional, "How the sink is called."),
    field(
        "key",
        Kind::Template,
        Need::Optional,
        "What a record is remembered by; the event's source and subject if missing.",
    ),
    field(
        "cases",
        Kind::List(&Kind::Object(CASE)),
        Need::Optional,
        "Instead of `do` and `map`: the first case that fits an event decides.",
    ),
    field("retry", Kind::Object(RETRY), Need::Optional, "The schedule of retries."),
    field(
        "on_doubt",
        Kind::Choice(&["find", "hold", "retry"]),
        Need::Optional,
        "What to do when it is unknown whether a call took effect: ask the sink, hold it for a person, or retry it.",
    ),
    field(
        "link",
        Kind::Text,
        Need::Optional,
        "A name under which several routes remember the same records; that of a route shares that route's.",
    ),
    field(
        "leaves",
        Kind::Choice(&["keep", "delete"]),
        Need::Default("keep"),
        "What becomes of the record of a subject that no longer passes `when`.",
    ),
    WITHOUT_LINK,
    WAS,
    ENABLED,
    field(
        "lookup",
        Kind::Map(&Kind::Any),
        Need::Optional,
        "Records read from vendors, by name: `lookup.name` in `map`.",
    ),
    field(
        "match",
        Kind::Mapping,
        Need::Optional,
        "For `upsert` and `sync`: the values by which a record is found at the vendor before one is created.",
    ),
    field(
        "priority",
        Kind::Choice(&["normal", "high"]),
        Need::Default("normal"),
        "`high`: its calls go before those of other routes to the same account.",
    ),
];

/// What every lookup takes besides its connector's keys.
pub(super) static LOOKUP: &[Field] = &[
    field("account", Kind::Text, Need::Required, "The account that is asked, or the `http` sink."),
    field("match", Kind::Mapping, Need::Required, "The values by which the record is found."),
    field("cache", Kind::Duration, Need::Default("5m"), "How long what was found is known."),
    field(
        "missing",
        Kind::Choice(&["reject", "omit"]),
        Need::Default("reject"),
        "What if nothing or more than one is found: a dead letter, or fields that need it are left out.",
    ),
];

/// One of `cases`.
pub(super) static CASE: &[Field] = &[
    field(
        "types",
        Kind::List(&Kind::Text),
        Need::Optional,
        "The types of events it takes, `*` allowed; all if missing.",
    ),
    field("when", Kind::Expression, Need::Optional, "An expression: only events for which it is true pass."),
    field("do", ACTION, Need::Required, "What to do."),
    field("map", Kind::Mapping, Need::Optional, "The record: each leaf is a template."),
    field("request", REQUEST, Need::Optional, "How the sink is called."),
    WITHOUT_LINK,
];

const WITHOUT_LINK: Field = field(
    "without_link",
    Kind::Choice(&["skip", "create"]),
    Need::Default("skip"),
    "What to do if `do` needs a record and none is remembered: nothing, or create one.",
);

/// `do`.
const ACTION: Kind = Kind::Choice(&[
    "create", "update", "delete", "upsert", "sync", "reply", "comment", "complete", "reopen", "tag", "cost", "move",
    "share", "upload", "act",
]);

/// `request`: one call, or one for each verb.
const REQUEST: Kind = Kind::Either(&[Kind::Object(CALL), Kind::Object(CALLS)]);

/// One call of `request`.
pub(super) static CALL: &[Field] = &[
    field("method", Kind::Choice(&["GET", "POST", "PUT", "PATCH", "DELETE"]), Need::Default("POST"), "The method."),
    field(
        "path",
        Kind::Template,
        Need::Required,
        "The path below the sink's URL: a template whose values are percent-encoded.",
    ),
];

/// The calls of `request` by verb.
pub(super) static CALLS: &[Field] = &[
    field("create", Kind::Object(CALL), Need::Optional, "How a record is created."),
    field("update", Kind::Object(CALL), Need::Optional, "How a record is updated."),
    field("delete", Kind::Object(CALL), Need::Optional, "How a record is deleted."),
];

/// `retry`.
pub(super) static RETRY: &[Field] = &[
    field("first", Kind::Duration, Need::Default("5s"), "The first delay."),
    field(
        "factor",
        Kind::Number { min: 1.0, max: 100.0 },
        Need::Default("2"),
        "By how much each delay is longer than the one before.",
    ),
    field("max", Kind::Duration, Need::Default("1h"), "The longest delay."),
    field("give_up_after", Kind::Duration, Need::Default("3d"), "When to stop, counted from the first retry."),
];

/// A test.
pub(super) static TEST: &[Field] = &[
    field("name", Kind::Text, Need::Required, "What it shows, in words."),
    field("event", Kind::Path, Need::Optional, "A file with a whole event."),
    field("request", Kind::Object(TEST_REQUEST), Need::Optional, "A webhook as it arrives, to test from the bytes on."),
    field(
        "answer",
        Kind::Integer { min: 200, max: 599 },
        Need::Optional,
        "The status that the sender of `request` gets. Without it a wrong signature is only noted.",
    ),
    field(
        "events",
        Kind::List(&Kind::Object(TEST_EVENT)),
        Need::Optional,
        "The events that `request` is read as, in their order; of each only what is named is compared.",
    ),
    field(
        "links",
        Kind::Map(&Kind::Object(TEST_LINK)),
        Need::Optional,
        "The records that the subject has before, by route.",
    ),
    field(
        "respond",
        Kind::Map(&TEST_ANSWER),
        Need::Optional,
        "What the vendors answer, by sink; to a lookup by `lookup.name`, to a route's `match` by `match.sink`.",
    ),
    field("expect", Kind::Map(&TEST_EXPECTED), Need::Optional, "What each route is to do."),
];

/// `request` of a test.
static TEST_REQUEST: &[Field] = &[
    field("source", Kind::Text, Need::Required, "The source it comes to."),
    field("file", Kind::Path, Need::Required, "A file with the body."),
    field("headers", Kind::Map(&Kind::Text), Need::Optional, "Its headers."),
    field("method", Kind::Text, Need::Optional, "Its method; the first that the source takes if missing."),
    field("query", Kind::Text, Need::Optional, "What stands after the `?` of its URL."),
    field("secret", Kind::Secret, Need::Optional, "The last part of its path, as `/hooks/source/secret`."),
    field(
        "at",
        Kind::Text,
        Need::Optional,
        "When it arrives, as `2026-01-31T09:00:00Z`: signatures hold for a few minutes. Now if missing.",
    ),
];

/// One of `events` of a test.
static TEST_EVENT: &[Field] = &[
    field("id", Kind::Text, Need::Optional, "Its id: the same id again is a repetition."),
    field("type", Kind::Text, Need::Optional, "Its type."),
    field("subject", Kind::Text, Need::Optional, "Its subject."),
    field("version", Kind::Text, Need::Optional, "Its version."),
    field("time", Kind::Text, Need::Optional, "Its time, as `2026-01-31T09:00:00Z`."),
    field("headers", Kind::Map(&Kind::Any), Need::Optional, "Headers that travel with it, by lower-case name."),
    field("data", Kind::Any, Need::Optional, "Its data."),
];

/// One of `links` of a test.
static TEST_LINK: &[Field] = &[
    field("id", Kind::Text, Need::Optional, "The record's id at the vendor."),
    field("version", Kind::Text, Need::Optional, "The version that was applied last: an older event is `stale`."),
    field("state", Kind::Choice(&["linked", "deleted", "in_doubt"]), Need::Default("linked"), "What is known of it."),
    field(
        "holds",
        Kind::Map(&Kind::Any),
        Need::Optional,
        "What was written last, as it was rendered: an update to the same is `unchanged`.",
    ),
];

/// One of `respond` of a test.
static TEST_ANSWER: Kind = Kind::Either(&[Kind::Choice(&["no-answer", "not-sent"]), Kind::Object(TEST_ANSWERED)]);

static TEST_ANSWERED: &[Field] = &[
    field("status", Kind::Integer { min: 100, max: 599 }, Need::Default("200"), "The status."),
    field("headers", Kind::Map(&Kind::Text), Need::Optional, "Headers."),
    field("body", Kind::Any, Need::Optional, "The body: text as it is, anything else as JSON."),
];

/// One of `expect` of a test.
static TEST_EXPECTED: Kind =
    Kind::Either(&[Kind::Choice(&["skipped", "stale", "unchanged", "nothing-to-do"]), Kind::Object(TEST_CALL)]);

static TEST_CALL: &[Field] = &[
    field(
        "do",
        Kind::Choice(&[
            "create", "update", "delete", "reply", "comment", "complete", "reopen", "tag", "cost", "move", "share",
            "upload", "act",
        ]),
        Need::Optional,
        "What is done at the sink.",
    ),
    field("map", Kind::Map(&Kind::Any), Need::Optional, "The rendered record, or a part of it."),
    field(
        "request",
        Kind::Map(&Kind::Any),
        Need::Optional,
        "The call, or a part of it: `method`, `path`, `url`, `body`.",
    ),
    field(
        "outcome",
        Kind::Choice(&["delivered", "retry", "reject", "suspend", "unknown"]),
        Need::Optional,
        "How the sink reads the answer in `respond`; `reject` also where no call can be made.",
    ),
    field("id", Kind::Text, Need::Optional, "The id of the record that the answer tells: the link leads to it."),
    field("why", Kind::Text, Need::Optional, "A part of the reason that is given with the outcome."),
];

/// The store where the config names none.
pub(super) const DEFAULT_STORE: &str = "sqlite://data/dari.db";
/// What to say to a `store.url` that is no file.
pub(super) const NO_STORE_FILE: &str = "`url`: expected a file, as `sqlite://data/dari.db`";

/// The file of a `sqlite://` URL; a relative one starts at the config's folder.
pub(super) fn store_file(dir: &std::path::Path, url: &str) -> Option<std::path::PathBuf> {
    url.strip_prefix("sqlite://").filter(|path| !path.is_empty()).map(|path| dir.join(path))
}
