//! P6: what is in doubt is asked for where the sink can be asked, and never guessed.

use std::time::Duration;

use dari::connectors::sandbox::{self, Fault, Order, Served};
use dari::connectors::{http, slack};
use dari::outcome::Scope;
use dari::store::DeadClass;
use dari::store::journal::Step;
use serde_json::json;

use crate::bridge::{HEAD, Running, World};

const QUICK: &str = "retry: { first: 300ms, factor: 1, max: 300ms }";

async fn world_with(router: impl FnOnce(&World) -> axum::Router, yaml: impl Fn(&str) -> String) -> (World, Served) {
    let world = World::new("");
    let served = sandbox::serve(router(&world), world.clock.clone(), sandbox::LOOPBACK).await.unwrap();
    world.write(&format!("{HEAD}{}", yaml(&served.url)));
    (world, served)
}

fn slack_yaml(url: &str, token: &str, more: &str) -> String {
    format!(
        r#"
accounts: {{ team: {{ slack: {{ bot_token: {token}, url: "{url}", limits: {{ rate: 100, monthly: 50 }} }} }} }}
sinks: {{ ops: {{ slack: {{ account: team, channel: {} }} }} }}
routes: {{ news: {{ from: in, to: ops, do: create, map: {{ text: "n{{{{ data.n }}}}" }}, {QUICK}{more} }} }}
"#,
        slack::sandbox::CHANNEL
    )
}

async fn world_with_slack(token: &str, more: &str) -> (World, Served) {
    world_with(|world| slack::sandbox::router(world.clock.clone()), |url| slack_yaml(url, token, more)).await
}

async fn texts(served: &Served) -> Vec<String> {
    let state = served.state().await;
    state["messages"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap().to_owned()).collect()
}

/// What was asked, and what was said to it.
async fn asked(bridge: &Running, event: &str) -> Vec<String> {
    let steps = bridge.steps(event, "news").await;
    let asked = steps.iter().filter_map(|step| match step {
        Step::Asked { what, message, .. } => Some(format!("{what}: {message}")),
        _ => None,
    });
    asked.collect()
}

fn paths(served: &Served) -> Vec<String> {
    let path = |path: &str| path.split('?').next().unwrap_or_default().trim_start_matches("/api/").to_owned();
    served.calls.all().iter().map(|call| path(&call.path)).collect()
}

async fn used(bridge: &Running) -> u64 {
    bridge.operator().accounts().await.unwrap()[0].used
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_post_whose_answer_was_lost_is_found_and_not_made_again() {
    let (world, slack) = world_with_slack(slack::sandbox::BOT_TOKEN, "").await;
    slack.faults.next(Fault::ResetAfter, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.send(json!({"id": "b", "s": "1", "n": 2})).await;
    let id = bridge.ended("a", "news", "delivered").await;
    bridge.ended("b", "news", "delivered").await;
    assert_eq!(texts(&slack).await, ["n1", "n2"]);
    assert_eq!(asked(&bridge, "a").await, [format!("doubt: found {id}")]);
    assert_eq!(paths(&slack), ["chat.postMessage", "conversations.history", "chat.postMessage"]);
    assert_eq!(used(&bridge).await, 3, "a question is a call of the month");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_post_that_never_arrived_is_made_again() {
    let (world, slack) = world_with_slack(slack::sandbox::BOT_TOKEN, "").await;
    slack.faults.next(Fault::ResetBefore, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.ended("a", "news", "delivered").await;
    assert_eq!(texts(&slack).await, ["n1"]);
    assert_eq!(asked(&bridge, "a").await, ["doubt: nothing found"]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_crash_in_the_middle_of_a_call_is_cleared_up_by_asking() {
    let (world, slack) = world_with_slack(slack::sandbox::BOT_TOKEN, "").await;
    slack.faults.next(Fault::Timeout, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.until("the call", async |_| (slack.calls.count() == 1).then_some(())).await;
    bridge.abort().await;
    let bridge = world.start().await;
    bridge.ended("a", "news", "delivered").await;
    assert_eq!(texts(&slack).await, ["n1"]);
    assert_eq!(paths(&slack), ["chat.postMessage", "conversations.history"]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_while_the_vendor_does_not_say_it_stays_in_doubt() {
    let (world, slack) = world_with_slack(slack::sandbox::BOT_TOKEN, "").await;
    slack.faults.next(Fault::ResetAfter, 1);
    for fault in [Fault::ServerError, Fault::Garbage, Fault::ResetBefore] {
        slack.faults.order(Order { fault, times: 1, path: "/api/conversations.history".into() });
    }
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.ended("a", "news", "delivered").await;
    assert_eq!(texts(&slack).await, ["n1"]);
    assert_eq!(asked(&bridge, "a").await.len(), 4);
    assert_eq!(paths(&slack).iter().filter(|path| *path == "chat.postMessage").count(), 1);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_doubt_outlives_a_suspension_and_a_restart() {
    let (world, slack) = world_with_slack(slack::sandbox::BOT_TOKEN, "").await;
    slack.faults.next(Fault::ResetAfter, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.until("the retry", async |op| (op.routes().await.unwrap()[0].waiting == 1).then_some(())).await;
    bridge.stop().await;
    world.write(&format!("{HEAD}{}", slack_yaml(&slack.url, "xoxb-revoked", "")));
    let bridge = world.start().await;
    bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "team")).await;
    bridge.stop().await;
    world.write(&format!("{HEAD}{}", slack_yaml(&slack.url, slack::sandbox::BOT_TOKEN, "")));
    let bridge = world.start().await;
    bridge.operator().resume(Scope::Account, "team").await.unwrap();
    bridge.ended("a", "news", "delivered").await;
    assert_eq!(texts(&slack).await, ["n1"]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_where_asking_is_not_allowed_a_person_decides_and_nothing_stops() {
    let (world, slack) = world_with_slack(slack::sandbox::POSTING_TOKEN, "").await;
    slack.faults.next(Fault::ResetAfter, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    let why = bridge.ended("a", "news", "held").await;
    assert!(why.contains("the bot needs the scope channels:history"), "{why}");
    bridge.send(json!({"id": "b", "s": "2", "n": 2})).await;
    bridge.ended("b", "news", "delivered").await;
    assert_eq!(texts(&slack).await, ["n1", "n2"]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_who_cannot_be_asked_until_patience_ends_is_held() {
    let (world, slack) = world_with_slack(slack::sandbox::BOT_TOKEN, "").await;
    let yaml =
        slack_yaml(&slack.url, slack::sandbox::BOT_TOKEN, "").replace("max: 300ms", "max: 300ms, give_up_after: 2s");
    world.write(&format!("{HEAD}{yaml}"));
    slack.faults.next(Fault::ResetAfter, 1);
    slack.faults.order(Order { fault: Fault::ServerError, times: 1000, path: "/api/conversations".into() });
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.ended("a", "news", "held").await;
    assert_eq!(bridge.dead().await[0].letter.class, DeadClass::Held);
    bridge.stop().await;
}

// === http ===

async fn world_with_http(find: &str, more: &str) -> (World, Served) {
    let yaml = |url: &str| {
        format!(
            r#"
sinks: {{ out: {{ http: {{ url: "{url}", allow_private: true, id: "{{{{ body.no }}}}"{find} }} }} }}
routes: {{ news: {{ from: in, to: out, do: create, map: {{ s: "{{{{ subject }}}}" }}, {QUICK}{more} }} }}
"#
        )
    };
    world_with(|world| http::sandbox::router(world.clock.clone()), yaml).await
}

const BY_ID: &str = r#", find: { path: "/received/{{ webhook_id }}", id: "{{ item.no }}" }"#;
const BY_SUBJECT: &str =
    r#", find: { path: "/received?s={{ fields.s }}", items: "{{ body.items }}", id: "{{ item.no }}" }"#;

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_http_receiver_is_asked_with_its_find() {
    let (world, receiver) = world_with_http(BY_ID, "").await;
    receiver.faults.next(Fault::ResetAfter, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1"})).await;
    assert_eq!(bridge.ended("a", "news", "delivered").await, "1");
    receiver.faults.next(Fault::ResetBefore, 1);
    bridge.send(json!({"id": "b", "s": "2"})).await;
    assert_eq!(bridge.ended("b", "news", "delivered").await, "2");
    let methods: Vec<String> = receiver.calls.all().into_iter().map(|call| call.method).collect();
    assert_eq!(methods, ["POST", "GET", "POST", "GET", "POST"]);
    assert_eq!(receiver.state().await["repeats"], 0);
    assert!(!receiver.calls.all()[1].headers.contains_key("webhook-id"), "a question is no delivery");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_several_that_could_be_it_are_for_a_person() {
    let (world, receiver) = world_with_http(BY_SUBJECT, "").await;
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1"})).await;
    bridge.ended("a", "news", "delivered").await;
    receiver.faults.next(Fault::ResetAfter, 1);
    bridge.send(json!({"id": "b", "s": "1"})).await;
    let why = bridge.ended("b", "news", "held").await;
    assert_eq!(why, "it is unknown whether an earlier create took effect: 2 records could be its own: 1, 2");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_route_may_hold_or_retry_all_the_same() {
    let (world, receiver) = world_with_http(BY_ID, ", on_doubt: hold").await;
    receiver.faults.next(Fault::ResetAfter, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1"})).await;
    bridge.ended("a", "news", "held").await;
    let letter = bridge.dead().await[0].id;
    bridge.operator().mark_again(letter).await.unwrap();
    bridge.ended("a", "news", "delivered").await;
    assert_eq!(receiver.state().await["repeats"], 1, "a person said so");
    bridge.stop().await;
    let (world, receiver) = world_with_http(BY_ID, ", on_doubt: retry").await;
    receiver.faults.next(Fault::ResetAfter, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1"})).await;
    bridge.ended("a", "news", "delivered").await;
    assert_eq!(receiver.state().await["repeats"], 1);
    world.advance(Duration::from_secs(1));
    bridge.stop().await;
}
