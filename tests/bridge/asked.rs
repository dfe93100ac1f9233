//! What a route asks before it makes a record: `match`, and `lookup`.

use std::time::Duration;

use dari::connectors::client::Client;
use dari::connectors::http;
use dari::connectors::sandbox::{self, Fault, Order, Served};
use dari::outcome::Scope;
use dari::store::journal::Step;
use serde_json::{Value, json};

use crate::bridge::{HEAD, Running, World};

const QUICK: &str = "retry: { first: 300ms, factor: 1, max: 300ms }";
const FIND: &str = r#"find: { path: "/received?s={{ fields.s }}", items: "{{ body.items }}", id: "{{ item.no }}" }"#;

async fn served(world: &World) -> Served {
    let router = http::sandbox::router(world.clock.clone());
    sandbox::serve(router, world.clock.clone(), sandbox::LOOPBACK).await.unwrap()
}

async fn asked(bridge: &Running, event: &str) -> Vec<String> {
    let steps = bridge.steps(event, "news").await;
    let asked = steps.iter().filter_map(|step| match step {
        Step::Asked { what, message, cached, .. } => {
            Some(format!("{what}: {message}{}", if *cached { ", known" } else { "" }))
        }
        _ => None,
    });
    asked.collect()
}

/// Method and path of every call.
fn calls(served: &Served) -> Vec<String> {
    served.calls.all().iter().map(|call| format!("{} {}", call.method, call.path)).collect()
}

async fn put(served: &Served, id: &str, body: Value) {
    let client = crate::bridge::http(Duration::from_secs(5));
    client.post(format!("{}/by-hand", served.url)).header("webhook-id", id).json(&body).send().await.unwrap();
}

// === match ===

async fn world_that_matches() -> (World, Served) {
    let world = World::new("");
    let served = served(&world).await;
    world.write(&format!(
        r#"{HEAD}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true, {FIND}, limits: {{ monthly: 100 }} }} }} }}
routes:
  news:
    from: in
    to: out
    do: upsert
    match: {{ s: "{{{{ subject }}}}" }}
    map: {{ s: "{{{{ subject }}}}", n: "{{{{ data.n }}}}" }}
    request: {{ create: {{ path: /things }}, update: {{ method: PUT, path: "/things/{{{{ link.id }}}}" }} }}
    {QUICK}
"#,
        served.url
    ));
    (world, served)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_there_is_linked_and_updated() {
    let (world, receiver) = world_that_matches().await;
    put(&receiver, "old", json!({"s": "1"})).await;
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.ended("a", "news", "delivered").await;
    bridge.send(json!({"id": "b", "s": "1", "n": 2})).await;
    bridge.ended("b", "news", "delivered").await;
    bridge.send(json!({"id": "c", "s": "2", "n": 3})).await;
    bridge.ended("c", "news", "delivered").await;
    assert_eq!(asked(&bridge, "a").await, ["match: found 1"]);
    assert_eq!(asked(&bridge, "b").await, [""; 0], "a linked record is not looked for");
    assert_eq!(asked(&bridge, "c").await, ["match: nothing found"]);
    assert_eq!(
        calls(&receiver)[1..],
        ["GET /received?s=1", "PUT /things/1", "PUT /things/1", "GET /received?s=2", "POST /things"]
    );
    assert_eq!(bridge.operator().accounts().await.unwrap()[0].used, 5, "a question is a call of the month");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_records_that_match_are_for_nobody_to_choose() {
    let (world, receiver) = world_that_matches().await;
    put(&receiver, "old", json!({"s": "1"})).await;
    put(&receiver, "older", json!({"s": "1"})).await;
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    let why = bridge.ended("a", "news", "rejected").await;
    assert_eq!(why, "match: 2 records have these values: 1, 2");
    assert_eq!(receiver.calls.count(), 3);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_was_lost_after_a_match_is_made_again_on_the_same_record() {
    let (world, receiver) = world_that_matches().await;
    put(&receiver, "old", json!({"s": "1"})).await;
    receiver.faults.order(Order { fault: Fault::ServerError, times: 1, path: "/received".into() });
    receiver.faults.order(Order { fault: Fault::ResetAfter, times: 1, path: "/things".into() });
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.ended("a", "news", "delivered").await;
    let search = "GET /received?s=1";
    assert_eq!(calls(&receiver)[1..], [search, search, "PUT /things/1", "PUT /things/1"]);
    bridge.stop().await;
}

// === lookup ===

async fn world_that_looks_up(more: &str) -> (World, Served, Served) {
    let world = World::new("");
    let (people, out) = (served(&world).await, served(&world).await);
    world.write(&looking_up(&people, &out, more));
    (world, people, out)
}

fn looking_up(people: &Served, out: &Served, more: &str) -> String {
    format!(
        r#"{HEAD}
sinks:
  people: {{ http: {{ url: "{}", allow_private: true, limits: {{ monthly: 20 }} }} }}
  out: {{ http: {{ url: "{}", allow_private: true }} }}
routes:
  news:
    from: in
    to: out
    do: create
    lookup: {{ person: {{ account: people, path: "/received?mail={{{{ match.mail }}}}", items: "{{{{ body.items }}}}", match: {{ mail: "{{{{ data.mail }}}}" }}{more} }} }}
    map: {{ n: "{{{{ data.n }}}}", by: "{{{{ lookup.person.no }}}}" }}
    {QUICK}
"#,
        people.url, out.url
    )
}

async fn bodies(out: &Served) -> Vec<Value> {
    let state = out.state().await;
    let mut all: Vec<Value> = state["received"].as_object().unwrap().values().map(|r| r["body"].clone()).collect();
    all.sort_by_key(|body| body["n"].as_i64());
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_is_read_once_and_known_for_a_while() {
    let (world, people, out) = world_that_looks_up(", cache: 1m").await;
    put(&people, "kim", json!({"mail": "kim@x"})).await;
    let bridge = world.start().await;
    for n in 0..10 {
        bridge.send(json!({"id": format!("e{n}"), "s": n.to_string(), "n": n, "mail": "kim@x"})).await;
    }
    bridge.drained("news").await;
    assert_eq!(bodies(&out).await, (0..10).map(|n| json!({"n": n, "by": "1"})).collect::<Vec<_>>());
    assert_eq!(people.calls.count(), 2, "one call for ten events that wanted the same");
    let mut told: Vec<String> = Vec::new();
    for n in 0..10 {
        told.extend(asked(&bridge, &format!("e{n}")).await);
    }
    assert_eq!(told.iter().filter(|line| *line == "lookup.person: found").count(), 1);
    assert_eq!(told.iter().filter(|line| *line == "lookup.person: found, known").count(), 9);
    world.advance(Duration::from_secs(61));
    bridge.send(json!({"id": "late", "s": "9", "n": 10, "mail": "kim@x"})).await;
    bridge.ended("late", "news", "delivered").await;
    assert_eq!(people.calls.count(), 3);
    let accounts = bridge.operator().accounts().await.unwrap();
    assert_eq!(accounts.iter().find(|a| a.name == "people").unwrap().used, 2);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_found_is_a_dead_letter_and_asked_for_anew_when_it_is_replayed() {
    let (world, people, out) = world_that_looks_up("").await;
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1, "mail": "kim@x"})).await;
    assert_eq!(bridge.ended("a", "news", "rejected").await, "lookup.person: nothing was found");
    put(&people, "kim", json!({"mail": "kim@x"})).await;
    bridge.send(json!({"id": "b", "s": "2", "n": 2, "mail": "kim@x"})).await;
    bridge.ended("b", "news", "delivered").await;
    put(&people, "kim2", json!({"mail": "lee@x"})).await;
    put(&people, "kim3", json!({"mail": "lee@x"})).await;
    bridge.send(json!({"id": "c", "s": "3", "n": 3, "mail": "lee@x"})).await;
    assert_eq!(bridge.ended("c", "news", "rejected").await, "lookup.person: 2 were found, which is no answer");
    bridge.send(json!({"id": "d", "s": "3", "n": 3, "mail": ""})).await;
    let why = bridge.ended("d", "news", "rejected").await;
    assert!(why.starts_with("lookup.person: path: a value in it is empty"), "{why}");
    assert_eq!(bodies(&out).await, [json!({"n": 2, "by": "1"})]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_may_be_left_out_if_nothing_is_found() {
    let (world, people, out) = world_that_looks_up(", missing: omit").await;
    let bridge = world.start().await;
    for id in ["a", "b"] {
        bridge.send(json!({"id": id, "s": id, "n": 1, "mail": "kim@x"})).await;
        bridge.ended(id, "news", "delivered").await;
    }
    assert_eq!(bodies(&out).await, [json!({"n": 1}), json!({"n": 1})]);
    assert_eq!(asked(&bridge, "b").await, ["lookup.person: nothing found, known"]);
    assert_eq!(people.calls.count(), 1);
    bridge.stop().await;
}

#[tokio::test]
async fn a_test_of_the_config_answers_for_a_lookup() {
    let (world, people, out) = world_that_looks_up("").await;
    let event = json!({"source": "in", "type": "thing.changed", "subject": "1", "data": {"n": 1, "mail": "kim@x"}});
    std::fs::write(world.dir.path().join("kim.json"), event.to_string()).unwrap();
    let yaml = looking_up(&people, &out, "");
    world.write(&format!(
        r#"{yaml}
tests:
  - {{ name: found, event: kim.json, respond: {{ lookup.person: {{ body: {{ items: [{{ no: "7" }}] }} }} }}, expect: {{ news: {{ map: {{ by: "7" }} }} }} }}
  - {{ name: none, event: kim.json, respond: {{ lookup.person: {{ body: {{ items: [] }} }} }}, expect: {{ news: {{ outcome: reject }} }} }}
  - {{ name: silent, event: kim.json, expect: {{ news: {{ do: create }} }} }}
"#
    ));
    let client = Client::new().unwrap();
    let file = world.dir.path().join("dari.yaml");
    let config =
        dari::config::load(&file, &|_| None, &client, &world.clock).unwrap_or_else(|faults| panic!("{faults}"));
    let report = dari::commands::test::run_all(&config, &client, &world.clock).unwrap();
    insta::assert_snapshot!(report, @r"
    ok    found
    ok    none
    FAIL  silent (line 23)
          news: the test has no `respond` for lookup.person
    2 passed, 1 failed
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_p5_a_lookup_waits_and_stops_as_a_call_does() {
    let (world, people, out) = world_that_looks_up("").await;
    put(&people, "kim", json!({"mail": "kim@x"})).await;
    people.faults.next(Fault::ServerError, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1, "mail": "kim@x"})).await;
    bridge.ended("a", "news", "delivered").await;
    let waited =
        bridge.steps("a", "news").await.into_iter().any(|step| matches!(step, Step::Waiting { attempt: 2, .. }));
    assert!(waited);
    // The month of the account that is asked is used up: the route waits, and goes on when a person sees to it.
    bridge.operator().set_used("people", 20).await.unwrap();
    bridge.send(json!({"id": "b", "s": "2", "n": 2, "mail": "lee@x"})).await;
    bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "people")).await;
    assert_eq!(out.calls.count(), 1);
    put(&people, "lee", json!({"mail": "lee@x"})).await;
    bridge.operator().set_used("people", 0).await.unwrap();
    bridge.operator().resume(Scope::Account, "people").await.unwrap();
    bridge.ended("b", "news", "delivered").await;
    assert_eq!(bodies(&out).await, [json!({"n": 1, "by": "1"}), json!({"n": 2, "by": "2"})]);
    bridge.stop().await;
}
