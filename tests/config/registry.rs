//! Two made-up vendors that take every kind of setting and talk to nobody.

use async_trait::async_trait;
use dari::connectors::{
    AccountKind, Answer, Build, Call, EventDoc, Hook, HookRequest, Limits, Lookup, LookupKind, Manifest, OnDoubt,
    Operation, Page, PollError, Poller, Reading, Refusal, Sink, SinkKind, SourceKind, SourceRole,
};
use dari::outcome::{Outcome, Verb};
use dari::settings::{Fault, Field, Kind, Need, Settings};
use dari::template::Escape;
use jiff::Timestamp;

/// All of them.
pub static ALL: &[&Manifest] = &[&FORMS, &ANYONE];

const fn field(name: &'static str, kind: Kind, need: Need) -> Field {
    Field { name, kind, need, doc: "A key for tests." }
}

static FORMS: Manifest = Manifest {
    name: "forms",
    title: "Forms",
    about: "Polls and stores.",
    account: Some(AccountKind {
        fields: &[
            field("client_id", Kind::Text, Need::Optional),
            field("api_key", Kind::Secret, Need::Optional),
            field("open_api_key", Kind::Secret, Need::Optional),
        ],
        check: either_key,
        url: Some("https://forms.example/"),
        limits: Limits { rate: Some(10.0), concurrency: Some(4), monthly: None },
        zone: None,
    }),
    sources: &[SourceKind {
        name: "forms",
        registrar: None,
        fields: &[
            field("account", Kind::Account("forms"), Need::Required),
            field("project", Kind::Text, Need::Required),
            field("every", Kind::Duration, Need::Default("1m")),
            field("start", Kind::Text, Need::Default("now")),
        ],
        events: &[EventDoc { kind: "response.created", about: "A response came.", sample: "{}" }],
        build: poller,
    }],
    sinks: &[SinkKind {
        name: "records",
        fields: &[
            field("account", Kind::Account("forms"), Need::Required),
            field("token", Kind::Secret, Need::Required),
            field("fields", Kind::Map(&Kind::Choice(&["text", "number", "date"])), Need::Optional),
            field("beta", Kind::Any, Need::NotYet("it is not out")),
        ],
        verbs: &[Verb::Create, Verb::Update],
        escape: Escape::None,
        takes_request: false,
        advice: "use `cases` with a field that says it is gone",
        build: sink,
    }],
    lookup: Some(LookupKind { fields: &[field("by", Kind::Choice(&["mail", "name"]), Need::Required)], build: lookup }),
    sandbox: None,
    start: &[],
};

static ANYONE: Manifest = Manifest {
    name: "anyone",
    title: "Anyone",
    about: "Hooks in, HTTP out.",
    account: None,
    sources: &[SourceKind {
        name: "hook",
        registrar: None,
        fields: &[
            field(
                "verify",
                Kind::OneOf(&[
                    field(
                        "bearer",
                        Kind::Object(&[field("tokens", Kind::List(&Kind::Secret), Need::Required)]),
                        Need::Optional,
                    ),
                    field(
                        "path",
                        Kind::Object(&[field("secrets", Kind::List(&Kind::Secret), Need::Required)]),
                        Need::Optional,
                    ),
                    field("none", Kind::Object(&[]), Need::Optional),
                ]),
                Need::Required,
            ),
            field(
                "event",
                Kind::Object(&[
                    field("type", Kind::Template, Need::Optional),
                    field("id", Kind::Template, Need::Optional),
                ]),
                Need::Optional,
            ),
        ],
        events: &[],
        build: hook,
    }],
    sinks: &[SinkKind {
        name: "http",
        fields: &[
            field("url", Kind::Url, Need::Required),
            field("id", Kind::Template, Need::Optional),
            field("accept", Kind::Expression, Need::Optional),
            field("timeout", Kind::Duration, Need::Default("10s")),
            field("idempotent", Kind::Boolean, Need::Default("false")),
        ],
        verbs: &[Verb::Create, Verb::Update, Verb::Delete],
        escape: Escape::None,
        takes_request: true,
        advice: "",
        build: sink,
    }],
    lookup: None,
    sandbox: None,
    start: &[],
};

fn either_key(settings: &Settings<'_>) -> Vec<Fault> {
    if settings.get("api_key").is_some() == settings.get("open_api_key").is_some() {
        return vec![Fault::new(settings.node().spot, "expected either `api_key` or `open_api_key`")];
    }
    Vec::new()
}

fn poller(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let start = build.settings.text("start").unwrap_or_default();
    if start == "now" || dari::settings::parse_instant(start, &build.zone).is_some() {
        return Ok(SourceRole::Poller(Box::new(Silent)));
    }
    Err(vec![Fault::new(build.settings.spot("start"), format!("`start`: expected now or a date, found `{start}`"))])
}

fn hook(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let verify = build.settings.get("verify").expect("it is required");
    Ok(SourceRole::Hook(Box::new(Deaf { open: verify.get("none").is_some() })))
}

fn sink(_: &Build<'_>) -> Result<Box<dyn Sink>, Vec<Fault>> {
    Ok(Box::new(Silent))
}

fn lookup(_: &Build<'_>) -> Result<Box<dyn Lookup>, Vec<Fault>> {
    Ok(Box::new(Silent))
}

struct Silent;

impl Lookup for Silent {
    fn prepare(&self, _: &serde_json::Map<String, serde_json::Value>) -> Result<Call, String> {
        Err("nothing to ask".to_owned())
    }

    fn read(&self, _: &Answer) -> Result<Vec<serde_json::Value>, Outcome> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Poller for Silent {
    fn every(&self) -> std::time::Duration {
        std::time::Duration::from_mins(1)
    }

    async fn poll(&self, _: Option<&serde_json::Value>, _: &dyn dari::connectors::Memory) -> Result<Page, PollError> {
        Err(PollError::Stop { why: "nothing to poll".to_owned() })
    }
}

impl Sink for Silent {
    fn prepare(&self, _: &Operation<'_>) -> Result<Call, String> {
        Err("nothing to call".to_owned())
    }

    fn classify(&self, _: &Call, _: &Answer) -> Outcome {
        Outcome::reject("no answer")
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        OnDoubt::Hold
    }
}

struct Deaf {
    open: bool,
}

impl Hook for Deaf {
    fn unverified(&self) -> bool {
        self.open
    }

    fn verify(&self, _: &HookRequest<'_>, _: Timestamp) -> Result<(), Refusal> {
        Ok(())
    }

    fn read(&self, _: &HookRequest<'_>) -> Result<Reading, Refusal> {
        Ok(Reading::Events(Vec::new()))
    }
}
