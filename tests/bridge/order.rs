//! P1 to P4: durable, once, newer wins, waiting survives.

use std::time::{Duration, Instant};

use dari::connectors::{sandbox, walla};
use dari::outcome::Scope;
use dari::store::Store as _;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::bridge::World;
use crate::receiver::{Answer, Receiver};

/// A route that creates, and one that keeps state, each with a sink of its own at one receiver.
fn create(url: &str) -> String {
    format!(
        r#"
sinks:
  out: {{ http: {{ url: "{url}", allow_private: true }} }}
routes:
  news: {{ from: in, to: out, do: create, map: {{ s: "{{{{ subject | default('') }}}}", n: "{{{{ data.n | default(0) }}}}" }}, retry: {{ first: 300ms, factor: 1, max: 300ms }} }}
"#
    )
}

fn upsert(url: &str) -> String {
    format!(
        r#"
sinks:
  out: {{ http: {{ url: "{url}", allow_private: true }} }}
routes:
  state:
    from: in
    to: out
    do: upsert
    request: {{ create: {{ method: POST, path: /things }}, update: {{ method: PUT, path: "/things/{{{{ subject }}}}" }} }}
    map: {{ s: "{{{{ subject }}}}", n: "{{{{ data.n }}}}" }}
    retry: {{ first: 300ms, factor: 1, max: 300ms }}
"#
    )
}

// === P1 ===

#[tokio::test(flavor = "multi_thread")]
async fn p1_an_array_is_taken_whole_or_not_at_all() {
    let receiver = Receiver::ok().await;
    let world = World::new(&create(&receiver.url));
    let bridge = world.start().await;
    let long = "x".repeat(600);
    let items = json!([{"id": "a", "s": "1", "n": 1}, {"id": "b", "s": long, "n": 2}]);
    let (status, why) = bridge.post("in", &items).await;
    assert_eq!(status, 400, "{why}");
    let (status, answer) =
        bridge.post("in", &json!([{"id": "a", "s": "1", "n": 1}, {"id": "b", "s": "2", "n": 2}])).await;
    assert_eq!(status, 202, "{answer}");
    let mut numbers: Vec<_> = receiver.reach(2).await.iter().map(crate::receiver::Got::n).collect();
    numbers.sort_unstable();
    bridge.drained("news").await;
    assert_eq!(numbers, [1, 2]);
    assert_eq!(receiver.count(), 2, "nothing of the refused array came through");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_store_that_is_closed_is_our_trouble() {
    let receiver = Receiver::ok().await;
    let world = World::new(&create(&receiver.url));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    receiver.reach(1).await;
    // What is answered from the moment on that the bridge stops is either taken and kept, or refused as our trouble.
    let (url, http) = (format!("{}/hooks/in", bridge.hooks), bridge.http.clone());
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (url, http) = (url.clone(), http.clone());
            tokio::spawn(async move {
                let mut taken = Vec::new();
                for n in 0..10_000 {
                    let id = format!("s{sender}-{n}");
                    let Ok(answer) = http.post(&url).json(&json!({"id": id, "s": id, "n": n})).send().await else {
                        break;
                    };
                    match answer.status().as_u16() {
                        202 => taken.push(id),
                        503 => assert!(answer.headers().contains_key("retry-after")),
                        other => panic!("{other}"),
                    }
                }
                taken
            })
        })
        .collect();
    receiver.reach(40).await;
    bridge.stop().await;
    let mut taken = vec!["1".to_owned()];
    for sender in senders {
        taken.extend(sender.await.unwrap());
    }
    let bridge = world.start().await;
    receiver.reach(taken.len()).await;
    bridge.drained("news").await;
    let mut came: Vec<String> = receiver.calls().iter().map(crate::receiver::Got::subject).collect();
    came.sort();
    taken.sort();
    assert_eq!(came, taken, "each event that was answered 2xx, once");
    bridge.stop().await;
}

// === P2 ===

#[tokio::test(flavor = "multi_thread")]
async fn p2_the_same_event_is_delivered_once_also_after_a_restart() {
    let receiver = Receiver::ok().await;
    let world = World::new(&create(&receiver.url));
    let bridge = world.start().await;
    for _ in 0..3 {
        bridge.send(json!({"id": "e-1", "s": "1", "n": 1})).await;
    }
    bridge.drained("news").await;
    assert_eq!(bridge.ended("e-1", "news", "duplicate").await, "was delivered already");
    bridge.stop().await;
    let bridge = world.start().await;
    bridge.send(json!({"id": "e-1", "s": "1", "n": 1})).await;
    bridge.send(json!({"id": "e-2", "s": "1", "n": 2})).await;
    receiver.reach(2).await;
    bridge.drained("news").await;
    assert_eq!(receiver.numbers(), [1, 2]);
    bridge.stop().await;
}

pub fn github(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_captured_request_under_another_id_is_the_same_event() {
    let receiver = Receiver::ok().await;
    let yaml = format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
store: {{ url: "sqlite://dari.db" }}
sources: {{ git: {{ github-hook: {{ secrets: ["${{GIT}}"] }} }} }}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes: {{ news: {{ from: git, to: out, do: create, map: {{ n: "{{{{ data.n }}}}" }} }} }}
"#,
        receiver.url
    );
    let world = World::whole(&yaml);
    let bridge = world.start().await;
    let post = async |id: &str, body: &str| {
        let request = bridge.http.post(format!("{}/hooks/git", bridge.hooks)).body(body.to_owned());
        let request = request.header("content-type", "application/json").header("x-github-event", "org_block");
        let request =
            request.header("x-github-delivery", id).header("x-hub-signature-256", github("hunter2-git", body));
        assert_eq!(request.send().await.unwrap().status(), 202);
    };
    // No repository: events without a subject have nothing to stand behind each other for but their bodies.
    bridge.operator().suspend(Scope::Route, "news", None).await.unwrap();
    for id in ["d-1", "d-2", "d-3", "d-4", "d-5"] {
        post(id, r#"{"n":1}"#).await;
    }
    bridge.operator().resume(Scope::Route, "news").await.unwrap();
    receiver.reach(1).await;
    bridge.drained("news").await;
    post("d-6", r#"{"n":1}"#).await;
    post("d-7", r#"{"n":2}"#).await;
    receiver.reach(2).await;
    bridge.drained("news").await;
    assert_eq!(receiver.numbers(), [1, 2]);
    assert_eq!(bridge.ended("d-6", "news", "duplicate").await, "same body as git/d-1");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p9_a_poll_that_is_made_again_brings_nothing_twice() {
    let receiver = Receiver::ok().await;
    let clock = dari::clock::Clock::system(1);
    let walla = sandbox::serve(walla::sandbox::router(clock.clone()), clock, sandbox::LOOPBACK).await.unwrap();
    let yaml = format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
store: {{ url: "sqlite://dari.db" }}
accounts: {{ walla: {{ walla: {{ client_id: {}, api_key: {}, url: "{}" }} }} }}
sources: {{ signup: {{ walla: {{ account: walla, workspace: {}, project: {}, every: 50ms, start: all }} }} }}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes: {{ news: {{ from: signup, to: out, do: create, map: {{ s: "{{{{ subject }}}}" }} }} }}
"#,
        walla::sandbox::CLIENT_ID,
        walla::sandbox::API_KEY,
        walla.url,
        walla::sandbox::WORKSPACE,
        walla::sandbox::PROJECT,
        receiver.url
    );
    let world = World::whole(&yaml);
    let bridge = world.start().await;
    let http = bridge.http.clone();
    let submit = async |name: &str| {
        let answers = json!({"answers": {"field_name": name}});
        let answer = http.post(format!("{}/_sandbox/responses", walla.url)).json(&answers).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    submit("one").await;
    submit("two").await;
    let first = receiver.count();
    receiver.reach(first.max(2)).await;
    let known = bridge.until("a quiet source", async |op| {
        let polls = op.journal.polled("signup", 3).await.unwrap();
        (polls.len() == 3 && polls.iter().all(|poll| poll.events == 0 && !poll.failed)).then(|| receiver.count() as u64)
    });
    let known = known.await;
    bridge.stop().await;
    // The cursor is lost: everything is polled again.
    let store = dari::broker::embedded::Embedded::open(&world.dir.path().join("dari.db"), world.clock.clone()).unwrap();
    store.store.forget_cursor("signup").await.unwrap();
    store.close().await;
    drop(store);
    let bridge = world.start().await;
    let polled = bridge.until("a poll with events", async |op| {
        let polls = op.journal.polled("signup", 50).await.unwrap();
        let with_events = polls.iter().filter(|poll| poll.events > 0).map(|poll| poll.events).sum::<u64>();
        (with_events >= 2 * known).then_some(with_events)
    });
    assert_eq!(polled.await, 2 * known);
    bridge.drained("news").await;
    assert_eq!(receiver.count() as u64, known, "each response once: {:#?}", receiver.calls());
    bridge.stop().await;
}

// === P3 ===

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_older_state_that_comes_later_is_not_sent() {
    let receiver = Receiver::ok().await;
    let world = World::new(&upsert(&receiver.url));
    let bridge = world.start().await;
    bridge.send(json!({"id": "new", "s": "1", "v": 5, "n": 5})).await;
    receiver.reach(1).await;
    bridge.send(json!({"id": "old", "s": "1", "v": 4, "n": 4})).await;
    assert_eq!(bridge.ended("old", "state", "stale").await, "older than what was applied (5)");
    bridge.send(json!({"id": "newer", "s": "1", "v": 6, "n": 6})).await;
    let calls = receiver.reach(2).await;
    let made: Vec<_> = calls.iter().map(|c| (c.method.as_str(), c.path.as_str(), c.n())).collect();
    assert_eq!(made, [("POST", "/things", 5), ("PUT", "/things/1", 6)]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_two_events_of_one_subject_are_never_under_way_at_once_and_others_go_on() {
    let receiver =
        Receiver::start(
            |got, _| {
                if got.subject() == "blocked" { Answer::Hold } else { Answer::Slow(Duration::from_millis(5)) }
            },
        )
        .await;
    let world = World::new(&create(&receiver.url));
    let bridge = world.start().await;
    for n in 0..6 {
        bridge.send(json!({"id": format!("b{n}"), "s": "blocked", "n": n})).await;
    }
    for n in 0..40 {
        bridge.send(json!({"id": format!("o{n}"), "s": format!("other-{}", n % 4), "n": n})).await;
    }
    receiver.reach(41).await;
    let of = |subject: &str| -> Vec<i64> {
        receiver.calls().iter().filter(|c| c.subject() == subject).map(crate::receiver::Got::n).collect()
    };
    assert_eq!(of("blocked"), [0], "those behind it wait");
    receiver.release();
    receiver.reach(46).await;
    bridge.drained("news").await;
    assert_eq!(of("blocked"), [0, 1, 2, 3, 4, 5]);
    for k in 0..4 {
        assert_eq!(of(&format!("other-{k}")), (0..10).map(|n| n * 4 + k).collect::<Vec<i64>>());
    }
    assert_eq!(receiver.overlaps(), Vec::<String>::new());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_every_create_arrives_in_order_behind_one_that_needs_retries() {
    let receiver = Receiver::start(|got, _| match (got.subject().as_str(), got.n()) {
        ("1", 0) => Answer::Status(500, "not yet"),
        _ => Answer::Ok,
    })
    .await;
    let world = World::new(&create(&receiver.url));
    let bridge = world.start().await;
    for n in 0..5 {
        bridge.send(json!({"id": format!("a{n}"), "s": "1", "n": n})).await;
    }
    bridge.send(json!({"id": "z", "s": "2", "n": 100})).await;
    receiver.reach(4).await;
    assert!(receiver.calls().iter().filter(|c| c.subject() == "1").all(|c| c.n() == 0), "the later ones wait");
    assert!(receiver.numbers().contains(&100), "another subject goes on");
    receiver.now(|_, _| Answer::Ok);
    bridge.drained("news").await;
    let mut order: Vec<_> =
        receiver.calls().iter().filter(|c| c.subject() == "1").map(crate::receiver::Got::n).collect();
    order.dedup();
    assert_eq!(order, [0, 1, 2, 3, 4]);
    let ids: std::collections::HashSet<_> =
        receiver.calls().iter().filter(|c| c.n() == 0).map(|c| c.id.clone()).collect();
    assert_eq!(ids.len(), 1, "all attempts bear one webhook-id");
    bridge.stop().await;
}

// === P4 ===

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_waiting_retry_survives_a_restart_and_is_sent_when_due() {
    let receiver = Receiver::start(|_, before| if before == 0 { Answer::Later(503, 2) } else { Answer::Ok }).await;
    let world = World::new(&create(&receiver.url));
    let bridge = world.start().await;
    let id = bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    let began = receiver.reach(1).await[0].at;
    bridge
        .until("a waiting message", async |op| {
            let routes = op.routes().await.unwrap();
            (routes[0].waiting == 1).then_some(())
        })
        .await;
    bridge.stop().await;
    let bridge = world.start().await;
    let second = receiver.reach(2).await[1].clone();
    let waited = second.at.duration_since(began);
    assert!(waited >= Duration::from_secs(2), "asked for two seconds, came after {waited:?}");
    assert!(waited < Duration::from_secs(6), "within two seconds of its time: {waited:?}");
    bridge.ended(&id, "news", "delivered").await;
    assert_eq!(receiver.calls()[0].id, second.id);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_retry_after_holds_though_the_process_died_before_the_wait_was_stored() {
    let receiver = Receiver::ok().await;
    let world = World::new(&create(&receiver.url));
    let bridge = world.start().await;
    bridge.operator().suspend(Scope::Route, "news", None).await.unwrap();
    let id = bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    // The ledger as it is between the outcome and the wait: the first attempt failed, the second is due in two seconds.
    let due = world.clock.now() + jiff::SignedDuration::from_secs(2);
    let delivery = dari::store::DeliveryKey { route: "news".into(), event: format!("in/{id}"), generation: 0 };
    let settlement = dari::store::Settlement {
        delivery,
        body_key: None,
        link: dari::store::LinkKey { owner: "news".into(), key: "in/1".into() },
        received: dari::event::Received { clock: 1, process: 7 },
        version: None,
        entry: dari::store::LedgerEntry {
            attempt: 1,
            progress: dari::store::Progress::Waiting { due },
            first_retry: Some(world.clock.now()),
            doubt: None,
        },
        expires: world.clock.now() + jiff::SignedDuration::from_hours(1),
        new_link: None,
        refund: None,
        dead: None,
        basis: dari::store::Basis::Delivery,
    };
    bridge.operator().store.settle(settlement).await.unwrap();
    let began = Instant::now();
    bridge.operator().resume(Scope::Route, "news").await.unwrap();
    let call = receiver.reach(1).await[0].clone();
    assert!(call.at.duration_since(began) > Duration::from_millis(1500), "{:?}", call.at.duration_since(began));
    bridge.drained("news").await;
    assert_eq!(receiver.count(), 1);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_bridge_that_is_cut_off_goes_on_where_it_was() {
    let receiver = Receiver::start(|got, _| if got.n() == 1 { Answer::Hold } else { Answer::Ok }).await;
    let world = World::new(&create(&receiver.url));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.send(json!({"id": "b", "s": "1", "n": 2})).await;
    receiver.reach(1).await;
    bridge.abort().await;
    receiver.now(|_, _| Answer::Ok);
    // The files are free once the last task of the old bridge is gone.
    let deadline = Instant::now() + crate::bridge::PATIENCE;
    let bridge = loop {
        match world.try_start().await {
            Ok(bridge) => break bridge,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    bridge.drained("news").await;
    let calls = receiver.calls();
    assert_eq!(calls.iter().map(crate::receiver::Got::n).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(calls[0].id, calls[1].id, "the one in doubt comes again under its id");
    bridge.stop().await;
}
