//! Daou Office Works against its sandbox.

use std::time::Duration;

use dari::connectors::sandbox::Fault;
use dari::connectors::works::{MANIFEST, sandbox};
use dari::connectors::{Call, OnDoubt, Sink};
use dari::outcome::{Outcome, Scope, Verb};
use serde_json::{Value, json};
use url::Url;

use crate::world::{Op, Tried, World, in_doubt};

const ACCOUNT: &str = "{ daou: { works: { client_id: sandbox, client_secret: sandbox-secret, url: 'URL' } } }";
const SINK: &str = "{ works: { account: daou, token: sandbox-token, key: id, fields: { id: text, 제목: text, 문의: multitext, \
                    금액: number, 등급: listbox, 희망일: date, 접수: datetime, 없음: text } } }";

async fn world() -> (World, Box<dyn Sink>) {
    World::with(&MANIFEST, ACCOUNT, SINK).await
}

fn create(fields: Value) -> Op {
    Op::new(Verb::Create, fields)
}

async fn records(world: &World) -> Value {
    world.served.state().await["records"].clone()
}

async fn set(world: &World, state: Value) {
    let url = Url::parse(&format!("{}/_sandbox/state", world.served.url)).unwrap();
    let answer = world.send(&Call::new(::http::Method::PUT, url).json(&state)).await.unwrap();
    assert_eq!(answer.status.as_u16(), 204);
}

#[tokio::test]
async fn a_record_is_created_changed_and_deleted_by_its_key() {
    let (world, sink) = world().await;
    let fields = json!({
        "id": 7, "제목": "김하나 신청", "금액": "1200.50", "등급": 2,
        "희망일": "2026-12-24", "접수": "2026-11-21T03:04:05Z",
    });
    assert_eq!(world.delivered(&*sink, &create(fields)).await.as_deref(), Some("7"));
    assert_eq!(
        records(&world).await.to_string(),
        r#"[{"id":"7","제목":"김하나 신청","금액":1200.50,"등급":[2],"희망일":"2026-12-24","접수":"2026-11-21 12:04"}]"#
    );
    // The link's id is the key, though the map leaves it out.
    let update = Op::new(Verb::Update, json!({ "제목": "김하나 (변경)" })).linked("7");
    assert_eq!(world.delivered(&*sink, &update).await.as_deref(), Some("7"));
    assert_eq!(records(&world).await[0]["제목"], "김하나 (변경)");
    let delete = Op::new(Verb::Delete, json!({ "제목": "ignored" })).linked("7");
    let call = world.call(&*sink, &delete).unwrap();
    assert_eq!(call.shown["body"]["params"], json!({ "id": "7" }));
    assert_eq!(world.delivered(&*sink, &delete).await.as_deref(), Some("7"));
    assert_eq!(records(&world).await, json!([]));
}

#[tokio::test]
async fn what_works_would_swallow_or_refuse_is_refused_before_a_call_is_spent() {
    let (world, sink) = world().await;
    let cases = [
        (create(json!({ "id": "1", "제먹": "x" })), "제먹"),
        (create(json!({ "id": "1", "희망일": "tomorrow", "등급": "초급" })), "희망일 등급"),
        (create(json!({ "제목": "no key" })), "no key"),
        (create(json!({ "id": "", "제목": "empty key" })), "empty key"),
        (create(json!({ "id": null })), "null key"),
        (Op::new(Verb::Update, json!({ "id": "8" })).linked("7"), "another record"),
        (Op::new(Verb::Delete, json!({})), "no link"),
    ];
    let mut told = Vec::new();
    for (op, name) in cases {
        let Tried::Refused(why) = world.try_it(&*sink, &op).await else { panic!("{name}") };
        told.push(why);
    }
    assert_eq!(world.served.calls.count(), 0);
    insta::assert_snapshot!(told.join("\n"), @r#"
    제먹: not among the sink's `fields` (id, 제목, 문의, 금액, 등급, 희망일, 접수, 없음)
    희망일: expected a date (2024-11-04) or an RFC 3339 time, found a text like "aaaaaaaa"; 등급: expected a choice's number, or a list of them, found a text like "aa"
    id: the key field has no value
    id: the key field has no value
    id: the key field has no value
    id: the link leads to the record "7", the map says "8"
    id: the key field has no value
    "#);
}

#[tokio::test]
async fn refusals_stop_the_account_or_the_record() {
    let (world, sink) = world().await;
    for (account, code) in [
        (ACCOUNT.replace("client_id: sandbox", "client_id: other"), "code 901"),
        (ACCOUNT.replace("sandbox-secret", "other"), "code 902"),
    ] {
        let refused = world.outcome(&*world.sink(&account, SINK), &create(json!({ "id": "1" }))).await;
        let Outcome::Suspend { what: Scope::Account, why, until: None } = refused else { panic!("{refused:?}") };
        assert!(why.starts_with(code), "{why}");
    }
    let other_token = world.sink(ACCOUNT, &SINK.replace("sandbox-token", "other"));
    let refused = world.outcome(&*other_token, &create(json!({ "id": "1" }))).await;
    assert!(matches!(&refused, Outcome::Reject { why } if why.starts_with("code 926")), "{refused:?}");
    let gone = world.outcome(&*sink, &Op::new(Verb::Update, json!({})).linked("9")).await;
    assert!(matches!(&gone, Outcome::Reject { why } if why.starts_with("code 955")), "{gone:?}");
}

#[tokio::test]
async fn an_exhausted_quota_waits_for_the_month_to_turn_in_seoul() {
    let (world, sink) = world().await;
    set(&world, json!({ "quota": { "limit": 1 } })).await;
    world.delivered(&*sink, &create(json!({ "id": "1" }))).await;
    let Outcome::Suspend { what: Scope::Account, until: Some(until), .. } =
        world.outcome(&*sink, &create(json!({ "id": "2" }))).await
    else {
        panic!("not suspended")
    };
    assert_eq!(until.to_string(), "2026-11-30T15:00:00Z");
    let wait = until.duration_since(world.clock.now());
    world.clock.advance(wait - jiff::SignedDuration::from_secs(1));
    assert_eq!(world.outcome(&*sink, &create(json!({ "id": "2" }))).await.name(), "suspend");
    world.advance(Duration::from_secs(1));
    world.delivered(&*sink, &create(json!({ "id": "2" }))).await;
}

#[tokio::test]
async fn times_are_told_in_seoul_unless_the_account_says_otherwise() {
    let world = World::of(&MANIFEST).await;
    for (account, told) in [
        (ACCOUNT.to_owned(), "2026-11-21 12:04"),
        (ACCOUNT.replace("url:", "time_zone: America/New_York, url:"), "2026-11-20 22:04"),
    ] {
        let op = create(json!({ "id": "1", "접수": "2026-11-21T03:04:05Z" }));
        let call = world.call(&*world.sink(&account, SINK), &op).unwrap();
        assert_eq!(call.shown["body"]["params"]["접수"], told);
    }
}

#[tokio::test]
async fn each_fault_has_its_outcome() {
    let (world, sink) = world().await;
    let create = create(json!({ "id": "1" }));
    let fault = |fault| world.served.faults.next(fault, 1);

    fault(Fault::TooManyRequests { after: 30 });
    let limited = world.outcome(&*sink, &create).await;
    assert!(matches!(limited, Outcome::Retry { after: Some(after), account: true, .. } if after.as_secs() == 30));
    fault(Fault::ServerError);
    assert_eq!(world.outcome(&*sink, &create).await.name(), "retry");
    fault(Fault::ResetBefore);
    assert!(in_doubt(&world.try_it(&*sink, &create).await));
    assert_eq!(records(&world).await, json!([]));

    // Here Works has acted, and the sink cannot know: nothing but doubt keeps it from a second record.
    for (count, doubtful) in [(1, Fault::ResetAfter), (2, Fault::Timeout)] {
        fault(doubtful);
        assert!(in_doubt(&world.try_it(&*sink, &create).await), "{doubtful:?}");
        assert_eq!(records(&world).await.as_array().unwrap().len(), count);
    }
    fault(Fault::Garbage);
    assert_eq!(world.outcome(&*sink, &create).await.name(), "unknown");
    assert!(!world.call(&*sink, &create).unwrap().idempotent);
    assert_eq!(sink.on_doubt(Verb::Create), OnDoubt::Hold);

    let update = Op::new(Verb::Update, json!({ "제목": "x" })).linked("1");
    assert!(world.call(&*sink, &update).unwrap().idempotent);
    fault(Fault::Garbage);
    assert_eq!(world.outcome(&*sink, &update).await.name(), "retry");
    fault(Fault::Slow { ms: 20 });
    world.delivered(&*sink, &update).await;
}

#[tokio::test]
async fn the_sandbox_ignores_what_the_app_does_not_know() {
    let (world, sink) = world().await;
    world.delivered(&*sink, &create(json!({ "id": "1", "없음": "lost" }))).await;
    assert_eq!(records(&world).await, json!([{ "id": "1" }]));
}

#[tokio::test]
async fn secrets_are_in_the_body_and_nowhere_to_be_seen() {
    let (world, sink) = world().await;
    let call = world.call(&*sink, &create(json!({ "id": "1" }))).unwrap();
    let sent: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(sent["clientSecret"], sandbox::CLIENT_SECRET);
    assert_eq!(call.headers["content-type"], "application/json; charset=UTF-8");
    let seen = format!("{call:?} {}", call.shown);
    for secret in [sandbox::CLIENT_SECRET, sandbox::TOKEN] {
        assert!(!seen.contains(secret), "{seen}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_tell_records_apart_is_a_fault_of_the_config() {
    let world = World::of(&MANIFEST).await;
    let told: Vec<String> = ["id2", "제목들"]
        .into_iter()
        .map(|key| {
            let sink = format!(
                "{{ works: {{ account: daou, token: t, key: {key}, fields: {{ id: text, 제목들: checkbox }} }} }}"
            );
            world.try_sink(ACCOUNT, &sink).err().expect("a fault")
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    dari.yaml:3:47: the key "id2" is not among `fields`
    dari.yaml:3:47: the key "제목들" must be of type text or number
    "#);
}
