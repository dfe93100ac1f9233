//! What every connector has to be, the one to copy among them: its manifest, what is built from it, and how it stands towards its sandbox.
//!
//! A new kind of source or sink gets a line in [`SOURCES`] or [`SINKS`]; all else is asked of it here.

use std::collections::BTreeSet;

use bytes::Bytes;
use dari::clock::Clock;
use dari::config::Config;
use dari::connectors::sandbox::{LOOPBACK, Served, serve};
use dari::connectors::{self, Answer, Call, Manifest, NoMemory, PollError, SourceRole, template};
use dari::event::{NewEvent, Payload};
use dari::outcome::{Outcome, Scope};
use dari::settings::{Field, Kind};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;

use crate::CLIENT;

/// A kind, the keys of its account (empty: it has none) and its own. `<key>` stands for what the sandbox knows under that key, `URL` for
/// where it is.
type Example = (&'static str, &'static str, &'static str);

const SOURCES: &[Example] = &[
    (
        "walla",
        "client_id: <client_id>, api_key: <api_key>",
        "account: a, workspace: <workspace>, project: <project>, start: all",
    ),
    ("walla-hook", "", "verify: { bearer: { tokens: [hush] } }"),
    ("slack-hook", "signing_secrets: [hush]", "account: a"),
    ("worksection-hook", "", "users: { dari: hush }"),
    ("dooray-calendar", "token: <token>", "account: a, calendars: ['<calendar>'], start: all"),
    ("dooray-task", "token: <token>", "account: a, project: '<project>', start: all"),
    ("dooray-hook", "token: <token>", "account: a, project: '<project>', secrets: [0123456789abcdef]"),
    (
        "workfront",
        "host: acme.my.workfront.com, auth: { session: <auth.session> }",
        "account: a, object: task, start: all",
    ),
    (
        "workfront-hook",
        "host: acme.my.workfront.com, auth: { session: <auth.session> }",
        "account: a, object: task, tokens: [0123456789abcdef]",
    ),
    ("github-hook", "", "secrets: [hush]"),
    ("stripe-hook", "", "secrets: [whsec_hush]"),
    ("shopify-hook", "", "secrets: [hush]"),
    ("standard-hook", "", "secrets: [whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=]"),
    ("webhook", "", "verify: none"),
    ("amqp", "", "url: 'amqp://localhost', queue: orders"),
    (
        "http-poll",
        "",
        "url: 'URL/api/by-page', auth: { bearer: sandbox-key }, allow_private: true, id: '{{ item.no }}', start: all",
    ),
    ("notes", "token: <token>", "account: a, notebook: <notebook>, start: all"),
];

const SINKS: &[Example] = &[
    (
        "works",
        "client_id: <client_id>, client_secret: <client_secret>",
        "account: a, token: <token>, key: id, fields: { id: text }",
    ),
    ("slack", "bot_token: <bot_token>", "account: a, channel: <channel>"),
    ("dooray-message", "token: <token>", "account: a, channel: '<channel>'"),
    ("dooray-calendar", "token: <token>", "account: a, calendar: '<calendar>'"),
    ("dooray-task", "token: <token>", "account: a, project: '<project>'"),
    ("workfront", "host: acme.my.workfront.com, auth: { session: <auth.session> }", "account: a, object: task"),
    ("http", "", "url: 'URL', allow_private: true"),
    ("notes", "token: <token>", "account: a, notebook: <notebook>"),
];

/// Kinds that bring their lines with them when they land.
const LATER: &[&str] = &["worksection"];

fn all() -> impl Iterator<Item = &'static Manifest> {
    connectors::ALL.iter().copied().chain([&template::MANIFEST])
}

/// A field with all that are below it.
fn each(fields: &'static [Field], to: &mut Vec<&'static Field>) {
    fn below(kind: &Kind, to: &mut Vec<&'static Field>) {
        match kind {
            Kind::Object(fields) | Kind::OneOf(fields) => each(fields, to),
            Kind::List(kind) | Kind::Map(kind) => below(kind, to),
            Kind::Either(kinds) => kinds.iter().for_each(|kind| below(kind, to)),
            _ => {}
        }
    }
    for field in fields {
        to.push(field);
        below(&field.kind, to);
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

// === The manifest ===

#[test]
fn names_are_unique_and_every_key_says_what_it_does() {
    let (mut manifests, mut sources, mut sinks) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for manifest in all() {
        assert!(is_name(manifest.name) && manifests.insert(manifest.name), "connector {}", manifest.name);
        assert!(
            !manifest.title.is_empty() && manifest.about.ends_with('.'),
            "{} says nothing of itself",
            manifest.name
        );
        assert!(!manifest.sources.is_empty() || !manifest.sinks.is_empty(), "{} does nothing", manifest.name);
        let mut lists = vec![];
        for source in manifest.sources {
            assert!(is_name(source.name) && sources.insert(source.name), "source {}", source.name);
            lists.push((source.name, source.fields, &["was", "enabled"][..]));
        }
        for sink in manifest.sinks {
            assert!(is_name(sink.name) && sinks.insert(sink.name), "sink {}", sink.name);
            assert!(!sink.verbs.is_empty(), "sink {} has no verb", sink.name);
            lists.push((sink.name, sink.fields, &["was", "enabled"][..]));
        }
        if let Some(account) = &manifest.account {
            lists.push((manifest.name, account.fields, &[][..]));
        }
        for (name, fields, common) in lists {
            let mut seen = BTreeSet::new();
            for field in fields {
                assert!(seen.insert(field.name), "{name} has `{}` twice", field.name);
                assert!(!common.contains(&field.name), "{name}: `{}` is a key of all", field.name);
            }
            let mut whole = Vec::new();
            each(fields, &mut whole);
            for field in whole {
                assert!(field.doc.len() > 5, "{name}: `{}` does not say what it does", field.name);
            }
        }
    }
}

#[test]
fn every_sample_is_data_of_an_event_that_can_be() {
    let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
    for source in all().flat_map(|manifest| manifest.sources) {
        let mut kinds = BTreeSet::new();
        for doc in source.events {
            assert!(kinds.insert(doc.kind), "{} has {} twice", source.name, doc.kind);
            assert!(doc.about.ends_with('.'), "{}: {} does not say when it comes", source.name, doc.kind);
            let sample: Value =
                serde_json::from_str(doc.sample).unwrap_or_else(|e| panic!("{} {}: {e}", source.name, doc.kind));
            NewEvent::new(doc.kind, Payload::from_value(&sample)).stamp("source", &clock).unwrap();
        }
        assert!(
            !kinds.is_empty() || source.name == "webhook" || source.name == "amqp",
            "{} has no sample",
            source.name
        );
    }
}

#[test]
fn every_kind_has_an_example() {
    let known =
        |examples: &[Example], kind: &str| examples.iter().any(|(name, ..)| *name == kind) || LATER.contains(&kind);
    let sources = all().flat_map(|m| m.sources).map(|kind| kind.name).filter(|kind| !known(SOURCES, kind));
    let sinks = all().flat_map(|m| m.sinks).map(|kind| kind.name).filter(|kind| !known(SINKS, kind));
    let missing: Vec<_> = sources.chain(sinks).collect();
    assert!(missing.is_empty(), "SOURCES or SINKS has no line for {missing:?}");
}

// === What is built ===

/// Which credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Right,
    Wrong,
}

/// A config with one thing in it.
fn config(manifest: &'static Manifest, section: &str, example: &Example, more: &str, at: &str, keys: Keys) -> Config {
    let (kind, account, settings) = example;
    let fill = |text: &str, keys: Keys| {
        let mut text = text.replace("URL", at);
        for (key, value) in manifest.sandbox.iter().flat_map(|sandbox| sandbox.knows) {
            let value = if keys == Keys::Wrong { "wrong" } else { value };
            text = text.replace(&format!("<{key}>"), value);
        }
        text
    };
    let account = fill(account, keys);
    let accounts = if account.is_empty() {
        String::new()
    } else {
        let at = if at.is_empty() { "https://vendor.example.com" } else { at };
        format!("accounts: {{ a: {{ {}: {{ {account}, url: '{at}' }} }} }}\n", manifest.name)
    };
    let mut settings = fill(settings, Keys::Right) + more;
    if keys == Keys::Wrong {
        settings = settings.replace("sandbox-key", "wrong");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dari.yaml");
    std::fs::write(&file, format!("{accounts}{section}: {{ x: {{ {kind}: {{ {settings} }} }} }}\n")).unwrap();
    let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
    dari::config::load_with(&[manifest], &file, &|_| None, &CLIENT, &clock)
        .unwrap_or_else(|faults| panic!("{kind}: {faults}"))
}

fn built(config: &Config) -> SourceRole {
    let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
    config.build_source(&config.sources[0], &CLIENT, &clock).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn of<'a>(examples: &'a [Example], kind: &str) -> Option<&'a Example> {
    examples.iter().find(|(name, ..)| *name == kind)
}

#[test]
fn a_source_is_what_its_keys_say() {
    let at = "http://127.0.0.1:9";
    for manifest in all() {
        for kind in manifest.sources {
            let Some(example) = of(SOURCES, kind.name) else { continue };
            let config = config(manifest, "sources", example, "", at, Keys::Right);
            let source = &config.sources[0];
            let role = match built(&config) {
                SourceRole::Hook(hook) => {
                    assert!(hook.fetch().is_none(), "{} reads anew though nobody asked for it", kind.name);
                    "hook"
                }
                SourceRole::Poller(poller) => {
                    assert!(!poller.every().is_zero(), "{} never rests", kind.name);
                    assert!(
                        poller.past(None).is_some(),
                        "{} has no past that `dari replay --source` could read",
                        kind.name
                    );
                    "poller"
                }
                SourceRole::Stream(_) => "stream",
            };
            let said = if source.polls() {
                "poller"
            } else if source.streams() {
                "stream"
            } else {
                "hook"
            };
            assert_eq!(role, said, "{}: `every` is a poller's key, `prefetch` a stream's", kind.name);
            assert_eq!(
                kind.name.ends_with("hook"),
                role == "hook",
                "{} does not say in its name what it is",
                kind.name
            );
            if kind.fields.iter().any(|field| field.name == "fetch") && !example.1.is_empty() {
                let config = self::config(manifest, "sources", example, ", fetch: true", at, Keys::Right);
                assert!(config.sources[0].fetches());
                let SourceRole::Hook(hook) = built(&config) else { panic!("{} is no hook", kind.name) };
                assert!(hook.fetch().is_some(), "{} has `fetch` and reads nothing anew", kind.name);
            }
            if kind.registrar.is_some() && !example.1.is_empty() {
                let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
                let built = config.build_registrar(source, &CLIENT, &clock).unwrap();
                assert!(built.is_ok() && role == "hook", "{} cannot be subscribed", kind.name);
            }
        }
    }
}

// === Towards the sandbox ===

async fn sandbox(manifest: &Manifest) -> Option<Served> {
    let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
    let router = (manifest.sandbox?.router)(clock.clone());
    Some(serve(router, clock, LOOPBACK).await.unwrap())
}

#[tokio::test]
async fn a_sandbox_shows_its_state_and_refuses_what_its_vendor_has_not() {
    for manifest in all() {
        let Some(served) = sandbox(manifest).await else { continue };
        assert!(served.state().await.is_object(), "{} shows no state", manifest.name);
        // It is what installs the process's TLS provider.
        std::sync::LazyLock::force(&CLIENT);
        let http = reqwest::Client::new();
        let answer = http.get(format!("{}/no/such/thing", served.url)).send().await.unwrap();
        assert!(!answer.status().is_success() && served.calls.count() == 1, "{} takes anything", manifest.name);
    }
}

#[tokio::test]
async fn a_poller_reads_its_sandbox_and_tells_wrong_keys() {
    for manifest in all() {
        let Some(served) = sandbox(manifest).await else { continue };
        for kind in manifest.sources {
            let Some(example) = of(SOURCES, kind.name) else { continue };
            let right = config(manifest, "sources", example, "", &served.url, Keys::Right);
            let SourceRole::Poller(poller) = built(&right) else { continue };
            let mut cursor = None;
            for turn in 0..3 {
                let page = poller
                    .poll(cursor.as_ref(), &NoMemory)
                    .await
                    .unwrap_or_else(|e| panic!("{} poll {turn}: {e}", kind.name));
                assert!(!page.cursor.is_null(), "{} remembers nothing", kind.name);
                cursor = Some(page.cursor);
            }
            let past = poller.past(Some("2026-01-01T00:00:00Z".parse().unwrap()));
            poller.poll(past.as_ref(), &NoMemory).await.unwrap_or_else(|e| panic!("{}'s past: {e}", kind.name));
            let wrong = config(manifest, "sources", example, "", &served.url, Keys::Wrong);
            let SourceRole::Poller(poller) = built(&wrong) else { continue };
            let why = poller.poll(None, &NoMemory).await.unwrap_err();
            assert!(matches!(why, PollError::Suspend { .. }), "{} with wrong keys: {why:?}", kind.name);
        }
    }
}

fn answer(status: u16, body: &'static str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("7"));
    Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(body.as_bytes()) }
}

#[test]
fn a_sink_waits_as_it_is_told_and_gives_up_no_record_for_the_vendors_trouble() {
    for manifest in all() {
        for kind in manifest.sinks {
            let Some(example) = of(SINKS, kind.name) else { continue };
            let config = config(manifest, "sinks", example, "", "http://127.0.0.1:9", Keys::Right);
            let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
            let sink = config.build_sink(&config.sinks[0], &CLIENT, &clock).unwrap();
            let call = Call::new(Method::POST, "http://127.0.0.1:9/a/b/c".parse().unwrap());
            let said = |status, body| sink.classify(&call, &answer(status, body));
            match said(429, "") {
                Outcome::Retry { after: Some(after), account, .. } => {
                    assert!(after.as_secs() >= 7 && account, "{}: 429 is for the whole account", kind.name);
                }
                other => panic!("{}: 429 is {other:?}", kind.name),
            }
            for status in [500, 502, 503] {
                let out = said(status, "<html>busy</html>");
                assert!(
                    matches!(out, Outcome::Retry { .. } | Outcome::Unknown { .. }),
                    "{}: {status} is {out:?}",
                    kind.name
                );
            }
            let out = said(401, "{}");
            assert!(matches!(out, Outcome::Suspend { what: Scope::Account, .. }), "{}: 401 is {out:?}", kind.name);
            if kind.name != "http" {
                let out = said(200, "<html>a proxy's page</html>");
                assert!(!matches!(out, Outcome::Delivered { .. }), "{}: a page of HTML is a yes", kind.name);
            }
        }
    }
}
