//! P5: permits, probes, refusals in a row, and what operators are told.

use std::time::Duration;

use dari::connectors::sandbox::{self, Fault, Served};
use dari::connectors::slack;
use dari::outcome::Scope;
use dari::store::journal::Step;
use serde_json::{Value, json};

use crate::bridge::{HEAD, Running, World};
use crate::receiver::{Answer, Receiver};

const MAP: &str = r#"map: { s: "{{ subject | default('') }}", n: "{{ data.n | default(0) }}" }"#;

// === Probes ===

/// A stand-in for Slack that says what a test wants.
fn slack_yaml(url: &str) -> String {
    format!(
        r#"
accounts: {{ slack: {{ slack: {{ bot_token: xoxb-1, url: "{url}" }} }} }}
sinks: {{ ops: {{ slack: {{ account: slack, channel: C0123456789 }} }} }}
routes: {{ news: {{ from: in, to: ops, do: create, map: {{ text: "{{{{ data.n }}}}" }} }} }}
"#
    )
}

const REFUSED: &str = r#"{"ok":false,"error":"token_revoked"}"#;
const POSTED: &str = r#"{"ok":true,"channel":"C0123456789","ts":"1.2"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn p5_refused_credentials_are_probed_and_what_waits_goes_on_by_itself() {
    let receiver = Receiver::start(|_, _| Answer::Status(200, REFUSED)).await;
    let world = World::new(&slack_yaml(&receiver.url));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "n": 1})).await;
    let halt = bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "slack")).await;
    assert_eq!((halt.why.as_str(), halt.until), ("token_revoked", None));
    assert_eq!(halt.probe.map(|at| at.duration_since(halt.since).as_mins()), Some(1));
    assert_eq!(receiver.count(), 1);
    // The first probe is refused as well; the second is not.
    world.advance(Duration::from_secs(61));
    let calls = receiver.reach(2).await;
    assert_eq!(calls[1].path, "/api/auth.test");
    bridge.until("the end of the probe", async |op| (!op.halts.is_probed(Scope::Account, "slack")).then_some(())).await;
    assert!(bridge.suspended(Scope::Account, "slack").is_some());
    receiver.now(|_, _| Answer::Status(200, POSTED));
    world.advance(Duration::from_secs(61));
    bridge.ended("a", "news", "delivered").await;
    let paths: Vec<String> = receiver.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, ["/api/chat.postMessage", "/api/auth.test", "/api/auth.test", "/api/chat.postMessage"]);
    assert!(bridge.dead().await.is_empty());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_what_a_person_suspended_is_not_probed() {
    let receiver = Receiver::start(|_, _| Answer::Status(200, REFUSED)).await;
    let world = World::new(&slack_yaml(&receiver.url));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "n": 1})).await;
    bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "slack")).await;
    bridge.operator().suspend(Scope::Account, "slack", Some("maintenance".to_owned())).await.unwrap();
    receiver.now(|_, _| Answer::Status(200, POSTED));
    world.advance(Duration::from_hours(1));
    bridge.operator().resume(Scope::Account, "slack").await.unwrap();
    bridge.ended("a", "news", "delivered").await;
    assert!(receiver.calls().iter().all(|call| call.path == "/api/chat.postMessage"));
    bridge.stop().await;
}

// === Refusals in a row ===

#[tokio::test(flavor = "multi_thread")]
async fn p5_several_subjects_refused_in_a_row_suspend_the_sink() {
    let receiver = Receiver::start(|_, _| Answer::Status(403, "not yours")).await;
    let world = World::new(&format!(
        r#"
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true, limits: {{ concurrency: 1 }} }} }} }}
routes: {{ news: {{ from: in, to: out, do: create, {MAP} }} }}
"#,
        receiver.url
    ));
    let bridge = world.start().await;
    // One record that is refused again and again is that record's fault.
    for n in 0..8 {
        bridge.send(json!({"id": format!("same{n}"), "s": "same", "n": n})).await;
    }
    bridge.drained("news").await;
    assert_eq!(bridge.dead().await.len(), 8);
    receiver.now(|_, _| Answer::Ok);
    bridge.send(json!({"id": "good", "s": "good", "n": 0})).await;
    bridge.ended("good", "news", "delivered").await;
    receiver.now(|_, _| Answer::Status(403, "not yours"));
    for n in 0..30 {
        bridge.send(json!({"id": format!("e{n}"), "s": format!("s{n}"), "n": n})).await;
    }
    let halt = bridge.until("a suspension", async |_| bridge.suspended(Scope::Sink, "out")).await;
    assert_eq!(halt.why, "5 subjects in a row were refused; the last: HTTP 403: not yours");
    assert_eq!(bridge.dead().await.len(), 8 + 4, "the fifth and all later ones wait");
    receiver.now(|_, _| Answer::Ok);
    bridge.operator().resume(Scope::Sink, "out").await.unwrap();
    bridge.drained("news").await;
    assert_eq!(bridge.dead().await.len(), 12);
    bridge.stop().await;
}

// === Priority ===

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_route_of_high_priority_goes_first_at_a_busy_account() {
    let receiver = Receiver::start(|_, _| Answer::Hold).await;
    let world = World::new(&format!(
        r#"
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true, limits: {{ concurrency: 4 }} }} }} }}
routes:
  bulk: {{ from: in, types: [bulk], to: out, do: create, {MAP} }}
  urgent: {{ from: in, types: [urgent], to: out, do: create, priority: high, {MAP} }}
"#,
        receiver.url
    ));
    let bridge = world.start().await;
    for n in 0..20 {
        bridge.send(json!({"kind": "bulk", "s": format!("b{n}"), "n": n})).await;
    }
    receiver.reach(4).await;
    for n in 0..4 {
        bridge.send(json!({"kind": "urgent", "s": format!("u{n}"), "n": 100 + n})).await;
    }
    // Eight wait for the four permits: four of them of high priority.
    let waiting = async |op: &dari::admin::Operator| {
        let of = op.accounts().await.unwrap().into_iter().find(|a| a.name == "out").unwrap();
        of.permits.is_some_and(|permits| permits.waiting >= 4).then_some(())
    };
    bridge.until("calls that wait", waiting).await;
    receiver.release();
    bridge.drained("bulk").await;
    bridge.drained("urgent").await;
    assert_eq!(receiver.count(), 24);
    let last = receiver.numbers().iter().rposition(|n| *n >= 100).unwrap();
    assert!(last < 14, "{:?}", receiver.numbers());
    bridge.stop().await;
}

// === Alerts ===

async fn slack_sandbox(world: &World) -> Served {
    let router = slack::sandbox::router(world.clock.clone());
    sandbox::serve(router, world.clock.clone(), sandbox::LOOPBACK).await.unwrap()
}

/// A receiver that deliveries go to, and a Slack that operators are told through.
async fn world_with_alerts(receiver: &Receiver) -> (World, Served) {
    let world = World::new("");
    let slack = slack_sandbox(&world).await;
    world.write(&format!(
        r#"{HEAD}
time_zone: Asia/Seoul
alerts: ops
accounts: {{ slack: {{ slack: {{ bot_token: {}, url: "{}" }} }} }}
sinks:
  ops: {{ slack: {{ account: slack, channel: {} }} }}
  out: {{ http: {{ url: "{}", allow_private: true }} }}
routes:
  news: {{ from: in, to: out, do: create, {MAP} }}
"#,
        slack::sandbox::BOT_TOKEN,
        slack.url,
        slack::sandbox::CHANNEL,
        receiver.url
    ));
    (world, slack)
}

async fn messages(slack: &Served) -> Vec<String> {
    let state = slack.state().await;
    let text = |message: &Value| message["text"].as_str().unwrap_or_default().to_owned();
    state["messages"].as_array().unwrap().iter().map(text).collect()
}

async fn told(bridge: &Running, slack: &Served, count: usize) -> Vec<String> {
    bridge
        .until("so many messages", async |_| {
            let messages = messages(slack).await;
            (messages.len() >= count).then_some(messages)
        })
        .await
}

/// Gives operators something to be told of. Whoever has told it has looked at all else, and told what was news there.
async fn mark(bridge: &Running) {
    bridge.operator().suspend(Scope::Source, "in", Some("a mark".to_owned())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_operators_are_told_once_and_when_it_is_over() {
    let receiver = Receiver::start(|_, _| Answer::Status(401, "who are <you>?")).await;
    let (world, slack) = world_with_alerts(&receiver).await;
    slack.faults.next(Fault::ServerError, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    let halt = bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "out")).await;
    // The first try failed: it is made again, after a pause.
    bridge.until("a try", async |_| (slack.calls.count() >= 1).then_some(())).await;
    world.advance(Duration::from_secs(6));
    let first = told(&bridge, &slack, 1).await;
    let since = halt.since.to_zoned(jiff::tz::TimeZone::get("Asia/Seoul").unwrap()).strftime("%Y-%m-%d %H:%M KST");
    let expected = format!(
        "account out is suspended since {since}: HTTP 401: who are &lt;you&gt;?. Put it right, then `dari accounts \
         resume out`. What comes for it waits."
    );
    assert_eq!(first, [expected.as_str()]);
    // A restart tells it no second time.
    bridge.stop().await;
    let bridge = world.start().await;
    mark(&bridge).await;
    let marked = told(&bridge, &slack, 2).await;
    assert!(marked.len() == 2 && marked[1].starts_with("source in is suspended"), "{marked:?}");
    receiver.now(|_, _| Answer::Ok);
    bridge.operator().resume(Scope::Account, "out").await.unwrap();
    bridge.operator().resume(Scope::Source, "in").await.unwrap();
    bridge.ended("a", "news", "delivered").await;
    // Calm for a minute: then it is over.
    bridge
        .until("it to be noted", async |op| {
            let book = op.store.fact("alerts").await.unwrap()?;
            ["account/out", "source/in"].iter().all(|about| !book[about]["gone"].is_null()).then_some(())
        })
        .await;
    world.advance(Duration::from_secs(61));
    let all = told(&bridge, &slack, 4).await;
    assert_eq!(all[2], format!("account out goes on. It was suspended since {since}."));
    assert!(all[3].starts_with("source in goes on."), "{}", all[3]);
    bridge
        .until("an empty book", async |op| (op.store.fact("alerts").await.unwrap() == Some(json!({}))).then_some(()))
        .await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_alerts_about_their_own_sink_go_to_the_log_alone() {
    let slack = Receiver::start(|_, _| Answer::Status(200, REFUSED)).await;
    let world = World::new(&format!("alerts: ops\n{}", slack_yaml(&slack.url)));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "n": 1})).await;
    bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "slack")).await;
    bridge
        .until("it to be noted", async |op| {
            let book = op.store.fact("alerts").await.unwrap()?;
            (book["account/slack"]["told"] == true).then_some(())
        })
        .await;
    assert_eq!(slack.count(), 1, "the delivery's call alone");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_month_that_comes_to_its_end_is_told_of_through_any_http_endpoint() {
    let (receiver, ops) = (Receiver::ok().await, Receiver::ok().await);
    let world = World::new(&format!(
        r#"
alerts: ops
sinks:
  ops: {{ http: {{ url: "{}", allow_private: true }} }}
  out: {{ http: {{ url: "{}", allow_private: true, limits: {{ monthly: 10 }} }} }}
routes:
  news: {{ from: in, to: out, do: create, {MAP} }}
"#,
        ops.url, receiver.url
    ));
    let bridge = world.start().await;
    bridge.operator().set_used("out", 7).await.unwrap();
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.ended("a", "news", "delivered").await;
    let calls = ops.reach(1).await;
    let body = &calls[0].body;
    let month = world.clock.now().strftime("%Y-%m").to_string();
    assert_eq!((&body["about"], &body["state"]), (&json!(format!("quota/out/{month}")), &json!("began")));
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with(&format!("account out has used 8 of the 10 calls of {month}")), "{text}");
    assert!(calls[0].id.starts_with("alert_"), "{:?}", calls[0]);
    // Nine are used: nothing new.
    bridge.send(json!({"id": "b", "s": "1", "n": 1})).await;
    bridge.ended("b", "news", "delivered").await;
    mark(&bridge).await;
    let calls = ops.reach(2).await;
    assert_eq!((calls.len(), &calls[1].body["about"]), (2, &json!("source/in")));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_operators_are_told_that_something_waits_for_them() {
    let ops = Receiver::ok().await;
    let sink = Receiver::start(|_, _| Answer::Status(200, "who knows")).await;
    let world = World::new(&format!(
        r#"
alerts: ops
accounts: {{ slack: {{ slack: {{ bot_token: xoxb-1, url: "{}" }} }} }}
sinks:
  ops: {{ http: {{ url: "{}", allow_private: true }} }}
  chat: {{ slack: {{ account: slack, channel: C0123456789 }} }}
routes: {{ news: {{ from: in, to: chat, do: create, on_doubt: hold, map: {{ text: "{{{{ data.n }}}}" }} }} }}
"#,
        sink.url, ops.url
    ));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.ended("a", "news", "held").await;
    let calls = ops.reach(1).await;
    let text = calls[0].body["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("1 delivery is held on route news since "), "{text}");
    assert!(text.ends_with("Look at the destination, then `dari dead list --held` and `dari dead mark`."), "{text}");
    let steps = bridge.steps("a", "news").await;
    assert!(steps.iter().any(|step| matches!(step, Step::Ended { ending, .. } if ending == "held")));
    bridge.stop().await;
}
