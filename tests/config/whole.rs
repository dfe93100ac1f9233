//! What a good config comes to.

use std::time::Duration;

use dari::config::{Action, Config};
use dari::connectors::Limits;
use dari::settings::Node;
use insta::assert_snapshot;

use crate::{load, load_in, told};

fn good(yaml: &str) -> Config {
    load(yaml).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = good("");
    assert_eq!(config.store, config.dir.join("data/dari.db"));
    assert_eq!(config.listen.hooks.to_string(), "0.0.0.0:8080");
    assert!(config.listen.admin.is_none() && config.listen.public.is_none());
    assert_eq!(config.journal_keep, Duration::from_hours(30 * 24));
    assert_eq!(config.journal_bodies, Duration::from_hours(7 * 24));
    assert_eq!(config.dedupe, Duration::from_hours(35 * 24));
    assert_eq!(config.min_free, 512 << 20);
}

pub const WHOLE: &str = r#"
store: { url: "sqlite:///var/lib/dari.db" }
listen: { hooks: "127.0.0.1:0", public: "https://bridge.example/", admin: { address: "0.0.0.0:81", token: "${KEY}" } }
time_zone: Asia/Seoul
journal: { keep: 2d }
redact: ["data.phone"]
accounts:
  acme: { forms: { api_key: "${KEY}", url: "http://127.0.0.1:1/", limits: { monthly: 1500, rate: 0.5 }, time_zone: Europe/Berlin } }
  spare: { forms: { open_api_key: "$${KEY}" } }
tables:
  grade: { values: { 초급: 1, 고급: 12345678901234567890123, none: ~, yes: no } }
  members: { csv: { file: members.csv, key: id, value: name } }
sources:
  signup: { forms: { account: acme, project: 1.10, was: sign-up } }
  signup-old: { forms: { account: acme, project: p-0, start: 2026-01-01, enabled: false } }
  open: { hook: { verify: none, event: { type: "{{ body.kind }} ${KEY}" } } }
sinks:
  crm: { records: { account: acme, token: "${KEY}", fields: { id: text } } }
  erp: { http: { url: "https://bob:${PASSWORD}@erp.example/api", limits: { concurrency: 2 }, enabled: false } }
routes:
  all:
    from: ["signup*", signup]
    types: ["response.*"]
    when: data.answers['개인정보 동의'] == '예'
    to: crm
    do: upsert
    key: "{{ data.id }}"
    map: { 이름: "{{ data.answers['이름'] }}", price: 1.10, raw: "${KEY}" }
    retry: { first: 1s, factor: 1.5, give_up_after: 1h }
    on_doubt: retry
  push:
    from: open
    to: erp
    cases:
      - { types: [a], do: create, map: { a: b }, request: { path: "/x/{{ data.id }}" } }
      - { types: [b, c], when: data.x, do: sync, map: { a: b }, request: { create: { path: /x }, update: { method: PUT, path: /x }, delete: { method: DELETE, path: /x } } }
tests:
  - { name: works, event: fixtures/a.json, expect: { all: { do: create }, push: skipped } }
"#;

fn whole() -> Config {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("members.csv"), "\u{feff}id,name,other\nu1, 김하나 ,x\nu2,\"이, 둘\",y\n")
        .expect("a file");
    load_in(dir.path(), WHOLE).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn settings_have_their_values() {
    let config = whole();
    assert_eq!(config.store.to_str(), Some("/var/lib/dari.db"));
    assert_eq!(config.listen.public.as_deref(), Some("https://bridge.example"));
    let admin = config.listen.admin.as_ref().expect("an admin listener");
    assert!(admin.token.is_some() && admin.address.port() == 81);
    assert_eq!(config.journal_bodies, Duration::from_hours(48));
    assert_eq!(config.redact, ["data.phone"]);
    let acme = &config.accounts["acme"];
    assert_eq!((acme.url.as_str(), acme.zone.iana_name()), ("http://127.0.0.1:1", Some("Europe/Berlin")));
    assert_eq!(acme.limits, Limits { rate: Some(0.5), concurrency: Some(4), monthly: Some(1500) });
    let spare = &config.accounts["spare"];
    assert_eq!((spare.url.as_str(), spare.zone.iana_name()), ("https://forms.example", Some("Asia/Seoul")));
    assert_eq!(spare.node.get("open_api_key").and_then(Node::text), Some("${KEY}"));
}

#[test]
fn tables_keep_digits() {
    let tables = serde_json::to_string(&whole().tables.0).expect("JSON");
    assert_snapshot!(tables, @r#"{"grade":{"none":null,"yes":"no","고급":12345678901234567890123,"초급":1},"members":{"u1":"김하나","u2":"이, 둘"}}"#);
}

#[test]
fn sources_and_sinks_lose_the_common_keys() {
    let config = whole();
    let source = &config.sources[0];
    assert_eq!((source.name.as_str(), source.was.as_deref(), source.enabled), ("signup", Some("sign-up"), true));
    assert_eq!(source.node.get("project").and_then(Node::text), Some("1.10"));
    assert!(source.node.get("was").is_none());
    assert!(!config.sources[1].enabled);
    // A template keeps `${…}` as it is.
    let event = config.sources[2].node.get("event").and_then(|event| event.get("type"));
    assert_eq!(event.and_then(Node::text), Some("{{ body.kind }} ${KEY}"));
    let (crm, erp) = (&config.sinks[0], &config.sinks[1]);
    assert_eq!((crm.account.as_str(), erp.account.as_str(), erp.enabled), ("acme", "erp", false));
    assert_eq!(erp.limits, Limits { rate: None, concurrency: Some(2), monthly: None });
    assert_eq!(erp.node.get("url").and_then(Node::text), Some("https://bob:p%40ss%2Fword@erp.example/api"));
    assert!(!format!("{config:?}").contains("hunter2") && !format!("{config:?}").contains("p%40ss"));
}

#[test]
fn routes_are_resolved() {
    let config = whole();
    let [all, push] = &config.routes[..] else { panic!("two routes") };
    assert_eq!(all.from, ["signup", "signup-old"]);
    assert_eq!(all.types.as_deref(), Some(&["response.*".to_owned()][..]));
    assert!(all.when.is_some() && all.key.is_some() && all.cases.len() == 1);
    assert_eq!(all.cases[0].action, Action::Upsert);
    assert_eq!(all.retry.first, Duration::from_secs(1));
    assert_eq!(all.retry.max, Duration::from_hours(1));
    assert!((all.retry.factor - 1.5).abs() < f32::EPSILON);
    assert_eq!(push.types.as_ref().map(|types| types.join(" ")).as_deref(), Some("a b c"));
    assert_eq!(push.cases[0].request["create"].method, http::Method::POST);
    let verbs: Vec<_> = push.cases[1].request.iter().map(|(verb, call)| format!("{verb} {}", call.method)).collect();
    assert_eq!(verbs, ["create POST", "delete DELETE", "update PUT"]);
    assert_eq!(config.tests[0].name, "works");
}

#[test]
fn what_is_worth_a_word_is_a_warning() {
    assert_snapshot!(told(r#"
accounts: { spare: { forms: { api_key: x } } }
sources:
  open: { hook: { verify: none } }
  lonely: { hook: { verify: { path: { secrets: x } } } }
sinks: { erp: { http: { url: "http://localhost:1" } } }
routes:
  r: { from: open, to: erp, cases: [{ do: create, map: { a: b } }, { types: [x], do: create, map: { a: b } }] }
"#), @r"
    dari.yaml:2:29: nothing uses account `spare`
    dari.yaml:4:3: anybody can send to source `open`: its webhooks are not verified
    dari.yaml:5:3: no route takes events from source `lonely`
    dari.yaml:8:68: no event comes to this case: the one before it takes all
    ");
}

#[test]
fn what_yaml_or_a_template_takes_otherwise_is_a_warning() {
    assert_snapshot!(told(r#"
sources: { open: { hook: { verify: { path: { secrets: x } } } } }
sinks: { erp: { http: { url: "http://localhost:1" } } }
routes:
  r:
    from: open
    to: erp
    do: create
    map:
      text: Order #{{ data.no }}
      cut: Order # {{ data.no }}
      key: ["${KEY}"]
"#), @r"
    dari.yaml:10:13: ` #` starts a comment: quote the value if the rest belongs to it
    dari.yaml:11:12: ` #` starts a comment: quote the value if the rest belongs to it
    dari.yaml:12:13: `${…}` is not replaced in templates and expressions: it stays as it is
    ");
}

#[test]
fn a_broker_has_a_spool_beside_the_store() {
    let spool = |yaml: &str| {
        let config = good(yaml);
        config.spool.map(|spool| (spool.path.strip_prefix(&config.dir).expect("within").to_owned(), spool.max))
    };
    let broker = "broker: { url: \"amqp://there\" }\nstore: { url: \"sqlite://var/dari.db\" }\n";
    assert_eq!(spool(""), None);
    assert_eq!(spool(broker), Some(("var/spool".into(), 1 << 30)));
    assert_eq!(spool(&format!("{broker}spool: {{ path: elsewhere, max: 5MiB }}")), Some(("elsewhere".into(), 5 << 20)));
}
