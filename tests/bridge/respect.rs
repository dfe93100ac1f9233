//! P5, P6, P8: the destination is respected, doubt is resolved, sinks do not hinder each other.

use std::time::{Duration, Instant};

use dari::connectors::sandbox::{self, Fault, Served};
use dari::connectors::{http as http_connector, walla, works};
use dari::outcome::Scope;
use dari::store::DeadClass;
use dari::store::journal::Step;
use serde_json::{Value, json};

use crate::bridge::{Running, World};
use crate::receiver::{Answer, Got, Receiver};

const MAP: &str = r#"map: { s: "{{ subject | default('') }}", n: "{{ data.n | default(0) }}" }"#;

// === P5 ===

#[tokio::test(flavor = "multi_thread")]
async fn p5_refused_credentials_suspend_the_account_and_lose_nothing() {
    let receiver = Receiver::start(|_, _| Answer::Status(401, "who are you?")).await;
    let world = World::new(&format!(
        r#"
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes: {{ news: {{ from: in, to: out, do: create, {MAP} }} }}
"#,
        receiver.url
    ));
    let bridge = world.start().await;
    for n in 0..30 {
        bridge.send(json!({"id": format!("e{n}"), "s": format!("s{}", n % 3), "n": n})).await;
    }
    let why = bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "out")).await;
    assert!(why.why.contains("HTTP 401: who are you?") && why.until.is_none(), "{why:?}");
    assert!(receiver.count() <= 8, "calls that were under way at the first refusal: {}", receiver.count());
    assert!(bridge.dead().await.is_empty());
    // It outlives the process.
    bridge.stop().await;
    let bridge = world.start().await;
    assert!(bridge.suspended(Scope::Account, "out").is_some());
    let tried = receiver.count();
    receiver.now(|_, _| Answer::Ok);
    let socket = reqwest::Client::builder().unix_socket(world.socket()).build().unwrap();
    let answer = bridge.until("the socket", async |_| {
        socket.post("http://localhost/api/accounts/out/resume").json(&json!({})).send().await.ok()
    });
    let answer = answer.await;
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"done": "account out goes on"}));
    bridge.drained("news").await;
    let came: Vec<Got> = receiver.calls().split_off(tried);
    for k in 0..3 {
        let of: Vec<_> = came.iter().filter(|c| c.subject() == format!("s{k}")).map(Got::n).collect();
        assert_eq!(of, (0..10).map(|n| n * 3 + k).collect::<Vec<_>>());
    }
    assert!(bridge.dead().await.is_empty());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_too_many_requests_pauses_every_route_of_the_account() {
    let receiver = Receiver::start(|_, before| if before == 0 { Answer::Later(429, 2) } else { Answer::Ok }).await;
    let world = World::new(&format!(
        r#"
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes:
  one: {{ from: in, types: [one], to: out, do: create, {MAP} }}
  two: {{ from: in, types: [two], to: out, do: create, {MAP} }}
"#,
        receiver.url
    ));
    let bridge = world.start().await;
    bridge.send(json!({"kind": "one", "s": "1", "n": 1})).await;
    bridge.until("a pause", async |_| bridge.suspended(Scope::Account, "out")).await;
    for n in 2..6 {
        bridge.send(json!({"kind": "two", "s": format!("{n}"), "n": n})).await;
    }
    let calls = receiver.reach(6).await;
    for call in &calls[1..] {
        let waited = call.at.duration_since(calls[0].at);
        assert!(waited >= Duration::from_secs(2), "{call:?} after {waited:?}");
    }
    bridge.drained("one").await;
    bridge.drained("two").await;
    assert_eq!(receiver.count(), 6);
    assert!(bridge.suspended(Scope::Account, "out").is_none());
    bridge.stop().await;
}

async fn works_sandbox(world: &World) -> Served {
    let router = works::sandbox::router(world.clock.clone());
    sandbox::serve(router, world.clock.clone(), sandbox::LOOPBACK).await.unwrap()
}

/// Works behind `url`, with a route that keeps one record a subject.
fn works_yaml(url: &str, limit: u64, what: &str) -> String {
    format!(
        r#"
time_zone: Asia/Seoul
accounts: {{ daou: {{ works: {{ client_id: {}, client_secret: {}, url: "{url}", limits: {{ monthly: {limit} }} }} }} }}
sinks: {{ crm: {{ works: {{ account: daou, token: {}, key: id, fields: {{ id: text, Title: text }} }} }} }}
routes:
  records: {{ from: in, to: crm, do: {what}, map: {{ id: "{{{{ subject }}}}", Title: "v{{{{ data.n }}}}" }}, retry: {{ first: 300ms, factor: 1, max: 300ms }} }}
"#,
        works::sandbox::CLIENT_ID,
        works::sandbox::CLIENT_SECRET,
        works::sandbox::TOKEN
    )
}

async fn world_with_works(limit: u64, what: &str) -> (World, Served) {
    let world = World::new("");
    let served = works_sandbox(&world).await;
    world.write(&format!("{}{}", crate::bridge::HEAD, works_yaml(&served.url, limit, what)));
    (world, served)
}

async fn records(served: &Served) -> Vec<(String, String)> {
    let state = served.state().await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    state["records"].as_array().unwrap().iter().map(|r| (text(&r["id"]), text(&r["Title"]))).collect()
}

async fn used(bridge: &Running) -> u64 {
    bridge.operator().accounts().await.unwrap().into_iter().find(|a| a.name == "daou").unwrap().used
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_month_that_is_used_up_waits_for_the_next() {
    let (world, works) = world_with_works(3, "create").await;
    works.faults.next(Fault::ServerError, 1);
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.ended("a", "records", "delivered").await;
    assert_eq!(used(&bridge).await, 2, "each attempt counts");
    for n in 2..5 {
        bridge.send(json!({"id": format!("e{n}"), "s": n.to_string(), "n": n})).await;
    }
    let halt = bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "daou")).await;
    assert_eq!(halt.why, "the month's calls are used up (3 made)");
    assert_eq!((used(&bridge).await, works.calls.count()), (3, 3));
    assert!(bridge.dead().await.is_empty());
    let until = halt.until.expect("an end");
    let seoul = until.to_zoned(jiff::tz::TimeZone::get("Asia/Seoul").unwrap());
    assert_eq!((seoul.day(), seoul.hour(), seoul.minute()), (1, 0, 0), "{seoul}");
    let left = until.duration_since(world.clock.now());
    world.clock.advance(left + jiff::SignedDuration::from_secs(1));
    bridge.drained("records").await;
    assert_eq!(records(&works).await.len(), 4);
    assert_eq!(used(&bridge).await, 2, "the new month's");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_call_that_was_not_sent_is_given_back() {
    let world = World::new("");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    world.write(&format!("{}{}", crate::bridge::HEAD, works_yaml(&nobody, 1, "create")));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge
        .until("three attempts", async |_| {
            let steps = bridge.steps("a", "records").await;
            let unsent =
                |step: &&Step| matches!(step, Step::Attempt { status: None, outcome, .. } if outcome == "retry");
            (steps.iter().filter(unsent).count() >= 3).then_some(())
        })
        .await;
    assert!(used(&bridge).await <= 1);
    assert!(
        bridge.suspended(Scope::Account, "daou").is_none(),
        "a month of one call is not used up by calls that never left"
    );
    bridge.stop().await;
}

// === P6 ===

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_call_in_doubt_goes_again_under_the_same_webhook_id() {
    let world = World::new("");
    let router = http_connector::sandbox::router(world.clock.clone());
    let served = sandbox::serve(router, world.clock.clone(), sandbox::LOOPBACK).await.unwrap();
    world.write(&format!(
        r#"{}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes: {{ news: {{ from: in, to: out, do: create, {MAP}, retry: {{ first: 300ms }} }} }}
"#,
        crate::bridge::HEAD,
        served.url
    ));
    served.faults.next(Fault::ResetAfter, 1);
    let bridge = world.start().await;
    for n in 0..3 {
        bridge.send(json!({"id": format!("e{n}"), "s": "1", "n": n})).await;
    }
    bridge.drained("news").await;
    let state = served.state().await;
    let mut came: Vec<_> = state["received"]
        .as_object()
        .unwrap()
        .values()
        .map(|r| (r["body"]["n"].as_i64().unwrap(), r["times"].as_i64().unwrap()))
        .collect();
    came.sort_unstable();
    assert_eq!(came, [(0, 2), (1, 1), (2, 1)]);
    assert_eq!(state["repeats"], 1);
    bridge.stop().await;
}

/// A create in doubt at Works, with a later event of the same subject behind it; the letter's number.
async fn held(bridge: &Running, works: &Served, fault: Fault) -> i64 {
    works.faults.next(fault, 1);
    bridge.send(json!({"id": "first", "s": "1", "n": 1})).await;
    let why = bridge.ended("first", "records", "held").await;
    assert!(why.starts_with("no answer"), "{why}");
    bridge.send(json!({"id": "second", "s": "1", "n": 2})).await;
    bridge.send(json!({"id": "other", "s": "2", "n": 9})).await;
    bridge.ended("other", "records", "delivered").await;
    let waits = bridge.until("the later one to wait", async |_| {
        let steps = bridge.steps("second", "records").await;
        steps.iter().find_map(|step| match step {
            Step::Waiting { why, .. } => Some(why.clone()),
            _ => None,
        })
    });
    assert_eq!(waits.await, "in/first of the same subject comes first");
    let letters = bridge.dead().await;
    let [letter] = &letters[..] else { panic!("one letter: {letters:#?}") };
    assert_eq!((letter.letter.class, letter.letter.delivery.event.as_str()), (DeadClass::Held, "in/first"));
    letter.id
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_a_person_marks_as_delivered_is_not_sent_again() {
    let (world, works) = world_with_works(100, "upsert").await;
    let bridge = world.start().await;
    let letter = held(&bridge, &works, Fault::ResetAfter).await;
    bridge.operator().mark_delivered(letter, None).await.unwrap();
    // What is behind it looks again soon.
    bridge.drained("records").await;
    let mut made = records(&works).await;
    made.sort();
    assert_eq!(made, [("1".into(), "v2".into()), ("2".into(), "v9".into())]);
    let methods: Vec<_> = works.calls.all().iter().map(|c| c.method.clone()).collect();
    assert_eq!(methods, ["POST", "POST", "PUT"]);
    assert!(bridge.dead().await.is_empty());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_a_person_sends_again_is_created_before_the_later_ones() {
    let (world, works) = world_with_works(100, "upsert").await;
    let bridge = world.start().await;
    let letter = held(&bridge, &works, Fault::ResetBefore).await;
    // The doubt outlives the process.
    bridge.stop().await;
    let bridge = world.start().await;
    bridge.operator().mark_again(letter).await.unwrap();
    bridge.ended("first", "records", "delivered").await;
    world.advance(Duration::from_secs(31));
    bridge.drained("records").await;
    let mut made = records(&works).await;
    made.sort();
    assert_eq!(made, [("1".into(), "v2".into()), ("2".into(), "v9".into())]);
    let calls: Vec<_> = works.calls.all().iter().map(|c| c.method.clone()).collect();
    assert_eq!(calls, ["POST", "POST", "POST", "PUT"]);
    assert!(bridge.dead().await.is_empty());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_a_person_drops_lets_the_later_ones_go_on() {
    let (world, works) = world_with_works(100, "upsert").await;
    let bridge = world.start().await;
    let letter = held(&bridge, &works, Fault::ResetBefore).await;
    // As after a crash in the midst of sending it again: it waits, and no message stands for it.
    bridge.operator().store.retry_held(letter, world.clock.now()).await.unwrap();
    let late = bridge.operator().mark_delivered(letter, None).await.unwrap_err().to_string();
    assert!(late.contains("is being tried again"), "{late}");
    bridge.operator().drop_dead(letter).await.unwrap();
    world.advance(Duration::from_secs(31));
    bridge.drained("records").await;
    let mut made = records(&works).await;
    made.sort();
    assert_eq!(made, [("1".into(), "v2".into()), ("2".into(), "v9".into())]);
    assert!(bridge.dead().await.is_empty());
    bridge.stop().await;
}

// === P8 ===

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_hanging_sink_delays_neither_another_nor_the_webhooks() {
    let (hanging, quick) = (Receiver::start(|_, _| Answer::Hold).await, Receiver::ok().await);
    let world = World::new(&format!(
        r#"
sinks:
  hanging: {{ http: {{ url: "{}", allow_private: true }} }}
  quick: {{ http: {{ url: "{}", allow_private: true }} }}
routes:
  to-hanging: {{ from: in, to: hanging, do: create, {MAP} }}
  to-quick: {{ from: in, to: quick, do: create, {MAP} }}
"#,
        hanging.url, quick.url
    ));
    let bridge = world.start().await;
    for n in 0..100 {
        let began = Instant::now();
        bridge.send(json!({"id": format!("e{n}"), "s": n.to_string(), "n": n})).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    quick.reach(100).await;
    bridge.drained("to-quick").await;
    assert_eq!(hanging.count(), 8, "as many as the account takes at once");
    hanging.release();
    bridge.drained("to-hanging").await;
    assert_eq!(hanging.count(), 100);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_sink_that_fails_is_probed_and_then_goes_on() {
    let receiver = Receiver::start(|_, _| Answer::Status(500, "broken")).await;
    let world = World::new(&format!(
        r#"
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes:
  one: {{ from: in, types: [one], to: out, do: create, {MAP}, retry: {{ first: 300ms, factor: 1, max: 300ms }} }}
  two: {{ from: in, types: [two], to: out, do: create, {MAP}, retry: {{ first: 300ms, factor: 1, max: 300ms }} }}
"#,
        receiver.url
    ));
    let bridge = world.start().await;
    for n in 0..20 {
        let kind = if n % 2 == 0 { "one" } else { "two" };
        bridge.send(json!({"kind": kind, "s": n.to_string(), "n": n})).await;
    }
    receiver.reach(8).await;
    receiver.now(|_, before| if before < 18 { Answer::Status(500, "broken") } else { Answer::Ok });
    world.advance(Duration::from_secs(2));
    let failed = receiver.count();
    assert!(failed < 20, "the breaker opened: {failed} calls");
    receiver.now(|_, _| Answer::Ok);
    bridge.drained("one").await;
    bridge.drained("two").await;
    let mut came: Vec<_> = receiver.numbers();
    came.sort_unstable();
    came.dedup();
    assert_eq!(came, (0..20).collect::<Vec<_>>());
    assert!(bridge.dead().await.is_empty());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_polls_count_as_calls_of_their_account() {
    let receiver = Receiver::ok().await;
    let clock = dari::clock::Clock::system(1);
    let walla = sandbox::serve(walla::sandbox::router(clock.clone()), clock, sandbox::LOOPBACK).await.unwrap();
    let world = World::whole(&format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
store: {{ url: "sqlite://dari.db" }}
accounts: {{ walla: {{ walla: {{ client_id: {}, api_key: {}, url: "{}", limits: {{ monthly: 1 }} }} }} }}
sources: {{ signup: {{ walla: {{ account: walla, workspace: {}, project: {}, every: 50ms, start: all }} }} }}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes: {{ news: {{ from: signup, to: out, do: create, map: {{ n: "{{{{ subject }}}}" }} }} }}
"#,
        walla::sandbox::CLIENT_ID,
        walla::sandbox::API_KEY,
        walla.url,
        walla::sandbox::WORKSPACE,
        walla::sandbox::PROJECT,
        receiver.url
    ));
    let bridge = world.start().await;
    let op = bridge.operator();
    let stopped =
        bridge.until("the end of the month's calls", async |_| bridge.suspended(Scope::Account, "walla")).await;
    assert_eq!(stopped.why, "the month's calls are used up (1 made)");
    assert!(stopped.until.is_some_and(|until| until > world.clock.now()), "until the month turns");
    assert_eq!(op.accounts().await.unwrap()[0].used, 1);
    assert_eq!(receiver.count(), 0);
    // The questions are known by now: one more call brings the responses.
    let answers = json!({"answers": {"field_name": "a"}});
    let answer = bridge.http.post(format!("{}/_sandbox/responses", walla.url)).json(&answers).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    op.set_used("walla", 0).await.unwrap();
    op.resume(Scope::Account, "walla").await.unwrap();
    receiver.reach(1).await;
    bridge.until("the end again", async |_| bridge.suspended(Scope::Account, "walla")).await;
    assert_eq!(op.accounts().await.unwrap()[0].used, 1);
    bridge.stop().await;
}
