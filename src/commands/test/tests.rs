//! Tests of the tests.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::tz::TimeZone;

use super::*;
use crate::config::{CaseConfig, Leaves, Listen, Priority, RetryConfig, SinkConfig, SourceConfig, WithoutLink};
use crate::connectors::client::Addresses;
use crate::connectors::{Answer, HookRequest, Limits, Manifest, OnDoubt, Reading, Refusal, SinkKind, SourceKind};
use crate::event::{NewEvent, Payload};
use crate::template::mapping::Mapping;
use crate::template::{Escape, Expression};

static SINK: SinkKind = SinkKind {
    name: "crm",
    fields: &[],
    verbs: &[Verb::Create, Verb::Update],
    escape: Escape::Entities,
    takes_request: false,
    advice: "",
    build: |_| Err(Vec::new()),
};
static SOURCE: SourceKind =
    SourceKind { name: "form", fields: &[], events: &[], build: |_| Err(Vec::new()), registrar: None };
static MANIFEST: Manifest =
    Manifest { name: "m", title: "M", about: "", account: None, sources: &[], sinks: &[], lookup: None, sandbox: None };

/// Takes records with a title, and suspends where the vendor says 905.
struct Crm;

#[async_trait::async_trait]
impl Sink for Crm {
    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        if operation.fields.get("title").is_some_and(|title| title == "") {
            return Err("title is empty".into());
        }
        let body = Value::Object(operation.fields.clone());
        let id = operation.remote_id.unwrap_or("new");
        Ok(Call {
            method: Method::POST,
            url: format!("https://crm.example/{id}").parse().unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            shown: json!({ "method": "POST", "url": format!("https://crm.example/{id}"), "body": body }),
            idempotent: false,
            remote_id: None,
            timeout: Duration::from_secs(1),
            longest: 0,
            addresses: Addresses::Public,
            tokens: None,
            part: Value::Null,
        })
    }

    fn classify(&self, _: &Call, answer: &Answer) -> Outcome {
        if answer.body.windows(3).any(|code| code == b"905") {
            let what = crate::outcome::Scope::Account;
            return Outcome::Suspend { what, why: "the quota is used up".into(), until: None };
        }
        Outcome::Delivered { remote_id: None }
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        OnDoubt::Hold
    }
}

/// A webhook that wants a signature.
struct Form;

impl Hook for Form {
    fn verify(&self, request: &HookRequest<'_>, _: jiff::Timestamp) -> Result<(), Refusal> {
        let signed = request.headers.contains_key("x-signature");
        if signed { Ok(()) } else { Err(Refusal::Unauthorized("the header x-signature is missing".into())) }
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        let data = Payload::json(request.body).map_err(|e| Refusal::Malformed(e.to_string()))?;
        let mut event = NewEvent::new("response.created", data);
        event.subject = Some("7".into());
        Ok(Reading::Events(vec![NewEvent::new("ping", Payload::json(b"{}").unwrap()), event]))
    }
}

fn config(dir: PathBuf, tests: &[Value]) -> Config {
    let map =
        Node::from(&json!({ "title": "{{ data.name }} applied", "tags": "{{ data.tags }}", "n": "{{ data.n }}" }));
    let case = CaseConfig {
        types: None,
        when: None,
        action: Action::Upsert,
        without_link: WithoutLink::Skip,
        map: Mapping::compile(&map).unwrap(),
        request: BTreeMap::new(),
    };
    let route = |name: &str, when: Option<&str>, case: CaseConfig| RouteConfig {
        name: name.into(),
        spot: Spot::default(),
        from: vec!["form".into()],
        from_former: BTreeMap::new(),
        types: Some(vec!["response.*".into()]),
        when: when.map(|when| Expression::compile(when).unwrap()),
        to: "crm".into(),
        key: None,
        link: name.into(),
        reads: Vec::new(),
        leaves: Leaves::Keep,
        cases: vec![case],
        matching: None,
        lookups: Vec::new(),
        on_doubt: None,
        retry: RetryConfig::default(),
        priority: Priority::default(),
        was: None,
        enabled: true,
    };
    let source = SourceConfig {
        name: "form".into(),
        spot: Spot::default(),
        kind: &SOURCE,
        manifest: &MANIFEST,
        node: Node::from(&json!({})),
        account: None,
        was: None,
        enabled: true,
    };
    let sink = SinkConfig {
        name: "crm".into(),
        spot: Spot::default(),
        kind: &SINK,
        manifest: &MANIFEST,
        node: Node::from(&json!({})),
        account: "crm".into(),
        limits: Limits::default(),
        was: None,
        enabled: true,
    };
    let updating = CaseConfig { action: Action::Update, ..case.clone() };
    Config {
        broker: None,
        spool: None,
        file: dir.join("dari.yaml"),
        store: dir.join("dari.db"),
        dir,
        listen: Listen { hooks: "127.0.0.1:0".parse().unwrap(), public: None, admin: None },
        alerts: None,
        zone: TimeZone::UTC,
        journal_keep: Duration::ZERO,
        journal_bodies: Duration::ZERO,
        dedupe: Duration::ZERO,
        min_free: 0,
        redact: Vec::new(),
        accounts: BTreeMap::new(),
        tables: Arc::default(),
        sources: vec![source],
        sinks: vec![sink],
        routes: vec![route("to-crm", None, case), route("paid", Some("data.n > 5"), updating)],
        tests: tests
            .iter()
            .map(|test| TestConfig {
                name: test["name"].as_str().unwrap().into(),
                spot: Spot { line: 9, column: 5 },
                node: Node::from(test),
            })
            .collect(),
        warnings: Vec::new(),
        shown: String::new(),
        written: crate::settings::Node::from(&serde_json::Value::Null),
    }
}

fn report(tests: &[Value]) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let kim = r#"{"source": "form", "type": "response.created", "subject": "7", "version": 3,
        "data": {"name": "<Kim>", "tags": ["a", "b"], "n": 1.10}}"#;
    std::fs::write(dir.path().join("kim.json"), kim).unwrap();
    std::fs::write(dir.path().join("body.json"), r#"{"name": "Lee", "tags": [], "n": 9}"#).unwrap();
    let config = config(dir.path().to_owned(), tests);
    let sinks: BTreeMap<String, Arc<dyn Sink>> = [("crm".to_owned(), Arc::new(Crm) as Arc<dyn Sink>)].into();
    let hooks: BTreeMap<String, Arc<dyn Hook>> = [("form".to_owned(), Arc::new(Form) as Arc<dyn Hook>)].into();
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
    run(Bench { config: &config, sinks: &sinks, hooks: &hooks, lookups: &BTreeMap::new(), clock: &clock })
}

#[test]
fn what_is_as_expected_passes() {
    let report = report(&[
        json!({ "name": "a new record", "event": "kim.json", "expect": {
            "to-crm": { "do": "create", "map": { "title": "&lt;Kim&gt; applied", "tags": ["a", "b"] },
                        "request": { "method": "POST", "url": "https://crm.example/new" } },
            "paid": "skipped" } }),
        json!({ "name": "a known one, and the quota", "event": "kim.json", "links": { "to-crm": { "id": "42" } },
            "respond": { "crm": { "body": { "code": "905" } } },
            "expect": { "to-crm": { "do": "update", "outcome": "suspend", "request": { "url": "https://crm.example/42" } } } }),
        json!({ "name": "an older one", "event": "kim.json", "links": { "to-crm": { "id": "42", "version": 4 } },
            "expect": { "to-crm": "stale" } }),
        json!({ "name": "from the bytes on", "request": { "source": "form", "file": "body.json" },
            "expect": { "to-crm": { "map": { "n": 9 } }, "paid": "nothing-to-do" } }),
        json!({ "name": "signed", "request": { "source": "form", "file": "body.json", "headers": { "X-Signature": "x" } },
            "expect": { "to-crm": { "do": "create" } } }),
    ]);
    insta::assert_snapshot!(report, @"
    ok    a new record
    ok    a known one, and the quota
    ok    an older one
    ok    from the bytes on
          note: a real request like this would be refused: the header x-signature is missing
    ok    signed
    5 passed, 0 failed
    ");
    assert_eq!(report.failed(), 0);
    assert_eq!(report.json()["passed"], 5);
}

#[test]
fn what_differs_is_told_with_its_path() {
    let report = report(&[
        json!({ "name": "differs", "event": "kim.json", "expect": {
            "to-crm": { "do": "update", "map": { "title": "Kim", "tags": ["a"], "n": 1.1, "more": true }, "outcome": "delivered" },
            "paid": { "do": "create" } } }),
        json!({ "name": "the other way", "event": "kim.json", "respond": { "crm": { "status": 500 } },
            "expect": { "to-crm": "skipped" } }),
        json!({ "name": "outcome", "event": "kim.json", "respond": { "crm": { "body": "905" } },
            "expect": { "to-crm": { "outcome": "delivered" } } }),
    ]);
    insta::assert_snapshot!(report, @r#"
    FAIL  differs (line 9)
          to-crm.do: expected update, got create
          to-crm.map.title: expected 'Kim', got '&lt;Kim&gt; applied'
          to-crm.map.tags: expected ["a"], got ["a","b"]
          to-crm.map.more: expected true, got nothing
          to-crm.outcome: expected delivered, but the test has no `respond` for its sink
          paid: expected create, got skipped: data.n > 5 (data.n is 1.10)
    FAIL  the other way (line 9)
          to-crm: expected skipped, got create
    FAIL  outcome (line 9)
          to-crm.outcome: expected delivered, got suspend: the quota is used up
    0 passed, 3 failed
    "#);
    assert_eq!(report.failed(), 3);
}

#[test]
fn a_test_that_makes_no_sense_fails_with_a_word_on_why() {
    let expect = json!({ "to-crm": "skipped" });
    let report = report(&[
        json!({ "name": "no file", "event": "lee.json", "expect": expect }),
        json!({ "name": "no route", "event": "kim.json", "expect": { "crm": "skipped" } }),
        json!({ "name": "no such word", "event": "kim.json", "expect": { "to-crm": "ignored", "paid": { "maps": {} } } }),
        json!({ "name": "links", "event": "kim.json", "links": { "to-crm": { "remote": 1 } }, "expect": expect }),
        json!({ "name": "respond", "event": "kim.json", "respond": { "crm": { "status": 7 } }, "expect": expect }),
        json!({ "name": "no hook", "request": { "source": "poll", "file": "body.json" }, "expect": expect }),
        json!({ "name": "neither", "expect": expect }),
    ]);
    insta::assert_snapshot!(report, @r#"
    FAIL  no file (line 9)
          lee.json: No such file or directory (os error 2)
    FAIL  no route (line 9)
          crm: there is no route crm
    FAIL  no such word (line 9)
          to-crm: expect skipped, stale, nothing-to-do, or a mapping with do, map, request, outcome
          paid: `expect` has no `maps`; there are do, map, request, outcome
    FAIL  links (line 9)
          to-crm: `links` has no `remote`; there are id, version, state
    FAIL  respond (line 9)
          to-crm: "7" is no HTTP status
    FAIL  no hook (line 9)
          there is no webhook source poll
    FAIL  neither (line 9)
          a test has an `event` or a `request`
    0 passed, 7 failed
    "#);
}

#[test]
fn a_config_with_real_connectors_is_tested_without_a_network() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = r#"
accounts:
  walla: { walla: { client_id: id, api_key: key } }
  daou: { works: { client_id: id, client_secret: secret } }
  slack: { slack: { bot_token: xoxb-1 } }
tables:
  grade: { values: { 초급: 1, 고급: 2 } }
sources:
  signup: { walla: { account: walla, workspace: ws-1, project: pj-7, every: 1m, start: now } }
  git: { github-hook: { secrets: [hush] } }
sinks:
  crm: { works: { account: daou, token: t, key: id, fields: { id: text, 제목: text, 문의: multitext, 등급: number } } }
  ops: { slack: { account: slack, channel: C0123456789 } }
  erp: { http: { url: "https://erp.acme.kr/api" } }
routes:
  signup-to-works:
    from: signup
    types: [response.created, response.updated]
    when: data.answers['개인정보 동의'] == '예'
    to: crm
    do: upsert
    map:
      id: "{{ subject }}"
      제목: "{{ data.answers['이름'] }} 신청"
      문의: "{{ data.answers['문의'] | default(omit) }}"
      등급: "{{ data.answers['등급'] | table('grade') }}"
  push-to-ops: { from: git, to: ops, do: create, map: { text: ":memo: {{ data.ref }}" } }
  push-to-erp:
    from: git
    types: [push]
    to: erp
    do: create
    request: { method: POST, path: "/repos/{{ data.repository.id }}/pushes" }
    map: { commits: { $each: data.commits, $as: c, $map: { sha: "{{ c.id }}", by: "{{ c.author.email }}" } } }
tests:
  - name: consenting respondents become Works records
    event: kim.json
    expect:
      signup-to-works: { do: create, map: { 제목: "김하나 신청", 등급: 2 } }
      push-to-erp: skipped
  - name: an exhausted quota suspends and keeps the event
    event: kim.json
    links: { signup-to-works: { id: "7" } }
    respond: { crm: { status: 200, body: { code: "905" } } }
    expect: { signup-to-works: { do: update, outcome: suspend } }
  - name: a push
    request: { source: git, file: push.json, headers: { X-GitHub-Event: push, X-GitHub-Delivery: d-1 } }
    respond: { ops: { body: { ok: false, error: channel_not_found } } }
    expect:
      push-to-ops: { do: create, map: { text: ":memo: refs/heads/a&amp;b" }, outcome: suspend }
      push-to-erp: { request: { method: POST, path: /repos/5/pushes }, map: { commits: [{ sha: abc, by: a@b.kr }] } }
"#;
    let kim = json!({ "source": "signup", "type": "response.created", "subject": "7",
        "data": { "answers": { "개인정보 동의": "예", "이름": "김하나", "등급": "고급" } } });
    let push = json!({ "ref": "refs/heads/a&b", "repository": { "id": 5 },
        "commits": [{ "id": "abc", "author": { "email": "a@b.kr" } }] });
    std::fs::write(dir.path().join("kim.json"), kim.to_string()).unwrap();
    std::fs::write(dir.path().join("push.json"), push.to_string()).unwrap();
    let file = dir.path().join("dari.yaml");
    std::fs::write(&file, yaml).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new().unwrap();
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
    let config = crate::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
    let report = run_all(&config, &client, &clock).unwrap();
    insta::assert_snapshot!(report, @"
    ok    consenting respondents become Works records
    ok    an exhausted quota suspends and keeps the event
    ok    a push
          note: a real request like this would be refused: the header x-hub-signature-256 is missing
    3 passed, 0 failed
    ");
}
