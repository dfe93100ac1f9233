//! Trouble of our own: a store that cannot write, a full disk, stops at bad moments.

use std::time::{Duration, Instant};

use dari::outcome::Scope;
use dari::store::journal::Step;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::bridge::{HEAD, World};
use crate::receiver::{Answer, Got, Receiver};

fn news(url: &str, sink: &str, route: &str) -> String {
    format!(
        r#"
sinks: {{ out: {{ http: {{ url: "{url}", allow_private: true{sink} }} }} }}
routes:
  news: {{ from: in, to: out, do: create, map: {{ s: "{{{{ subject | default('') }}}}", n: "{{{{ data.n | default(0) }}}}" }}{route} }}
"#
    )
}

const QUICK: &str = ", retry: { first: 200ms, factor: 1, max: 200ms }";

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_store_that_cannot_write_refuses_webhooks_and_keeps_deliveries() {
    let receiver = Receiver::start(|got, _| if got.n() == 1 { Answer::Hold } else { Answer::Ok }).await;
    let world = World::new(&news(&receiver.url, "", ""));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.send(json!({"id": "b", "s": "1", "n": 2})).await;
    receiver.reach(1).await;
    let other = rusqlite::Connection::open(world.dir.path().join("dari.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    receiver.release();
    let url = format!("{}/hooks/in", bridge.hooks);
    let began = Instant::now();
    let answer = bridge.http.post(&url).json(&json!({"id": "c", "s": "2", "n": 3})).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(receiver.numbers(), [1], "nothing begins whose intent cannot be written");
    other.execute_batch("ROLLBACK").unwrap();
    let deadline = Instant::now() + crate::bridge::PATIENCE;
    while bridge.post("in", &json!({"id": "c", "s": "2", "n": 3})).await.0 != 202 {
        assert!(Instant::now() < deadline);
    }
    receiver.reach(3).await;
    bridge.drained("news").await;
    let mut came = receiver.numbers();
    came.sort_unstable();
    assert_eq!(came, [1, 2, 3], "each once");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_bridge_whose_store_cannot_write_is_not_ready() {
    let world = World::new(&news("http://127.0.0.1:1", "", ""));
    let bridge = world.start().await;
    let url = format!("{}/readyz", bridge.hooks);
    let ready = async || {
        let answer = bridge.http.get(&url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(ready().await.0, 200);
    let other = rusqlite::Connection::open(world.dir.path().join("dari.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.advance(Duration::from_secs(6));
    let (status, text) = ready().await;
    assert!(status == 503 && text.contains("store: "), "{status}: {text}");
    other.execute_batch("ROLLBACK").unwrap();
    let deadline = Instant::now() + crate::bridge::PATIENCE;
    while ready().await.0 != 200 {
        assert!(Instant::now() < deadline);
        world.advance(Duration::from_secs(6));
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_disk_that_is_nearly_full_refuses_webhooks() {
    let world = World::whole(&format!("{HEAD}{}", news("http://127.0.0.1:1", "", "")).replace("1KiB", "1000000GiB"));
    let bridge = world.start().await;
    let url = format!("{}/hooks/in", bridge.hooks);
    let refused = bridge.until("a refusal", async |_| {
        let answer = bridge.http.post(&url).json(&json!({"n": 1})).send().await.unwrap();
        (answer.status() == 503).then_some(answer)
    });
    assert!(refused.await.headers().contains_key("retry-after"));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_one_event_sent_many_times_at_once_is_delivered_once() {
    let receiver = Receiver::start(|_, _| Answer::Slow(Duration::from_millis(50))).await;
    let world = World::new(&news(&receiver.url, "", ""));
    let bridge = world.start().await;
    let sends = (0..40).map(|n| {
        let body = match n % 2 {
            0 => json!({"id": "same", "s": "1", "n": 1}),
            _ => json!({"n": 2}),
        };
        let request = bridge.http.post(format!("{}/hooks/in", bridge.hooks)).json(&body);
        async move { assert_eq!(request.send().await.unwrap().status(), 202) }
    });
    futures_util::future::join_all(sends).await;
    receiver.reach(2).await;
    bridge.drained("news").await;
    let mut came = receiver.numbers();
    came.sort_unstable();
    assert_eq!(came, [1, 2]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_order_holds_over_restarts_while_the_first_is_retried() {
    let refuse_the_first = |got: &Got, _| if got.n() == 0 { Answer::Status(500, "not yet") } else { Answer::Ok };
    let receiver = Receiver::start(refuse_the_first).await;
    let world = World::new(&news(&receiver.url, "", QUICK));
    let mut tried = 0;
    for restart in 0..3 {
        let bridge = world.start().await;
        for n in restart * 3..restart * 3 + 3 {
            bridge.send(json!({"id": format!("e{n}"), "s": "1", "n": n})).await;
        }
        receiver.reach(tried + 2).await;
        bridge.stop().await;
        tried = receiver.count();
    }
    assert!(receiver.numbers().iter().all(|n| *n == 0));
    receiver.now(|_, _| Answer::Ok);
    let bridge = world.start().await;
    bridge.drained("news").await;
    let mut order = receiver.numbers();
    order.dedup();
    assert_eq!(order, (0..9).collect::<Vec<_>>());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_patience_stands_still_while_something_is_suspended() {
    let receiver =
        Receiver::start(|_, before| if before < 2 { Answer::Status(500, "not yet") } else { Answer::Ok }).await;
    let retry = ", retry: { first: 1s, factor: 1, max: 1s, give_up_after: 1m }";
    let world = World::new(&news(&receiver.url, "", retry));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    bridge.until("a waiting message", async |op| (op.routes().await.unwrap()[0].waiting == 1).then_some(())).await;
    bridge.operator().suspend(Scope::Account, "out", None).await.unwrap();
    world.advance(Duration::from_hours(5));
    bridge.operator().resume(Scope::Account, "out").await.unwrap();
    bridge.ended("a", "news", "delivered").await;
    assert_eq!(receiver.count(), 3);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_suspended_event_is_told_as_matched_once() {
    let receiver = Receiver::start(|_, _| Answer::Status(401, "no")).await;
    let world = World::new(&news(&receiver.url, "", ""));
    let bridge = world.start().await;
    for n in 0..3 {
        bridge.send(json!({"id": format!("e{n}"), "s": "1", "n": n})).await;
    }
    for round in 0..3 {
        bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "out")).await;
        if round == 2 {
            receiver.now(|_, _| Answer::Ok);
        }
        bridge.operator().resume(Scope::Account, "out").await.unwrap();
    }
    bridge.drained("news").await;
    for n in 0..3 {
        let steps = bridge.steps(&format!("e{n}"), "news").await;
        let matched = steps.iter().filter(|step| matches!(step, Step::Matched { .. })).count();
        assert_eq!(matched, 1, "{steps:#?}");
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_neither_for_a_turn_by_the_rate_nor_for_silent_clients() {
    let receiver = Receiver::ok().await;
    let world = World::new(&news(&receiver.url, ", limits: { rate: 0.01 }", ""));
    let bridge = world.start().await;
    for n in 0..20 {
        bridge.send(json!({"id": format!("e{n}"), "s": n.to_string(), "n": n})).await;
    }
    receiver.reach(1).await;
    let mut half =
        bridge.until("the socket", async |_| tokio::net::UnixStream::connect(world.socket()).await.ok()).await;
    half.write_all(b"GET /api/sinks HTTP/1.1\r\nhost: loc").await.unwrap();
    let mut silent = tokio::net::TcpStream::connect(bridge.hooks.trim_start_matches("http://")).await.unwrap();
    silent.write_all(b"POST /hooks/in HTTP/1.1\r\nhost: loc").await.unwrap();
    let began = Instant::now();
    bridge.stop().await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(receiver.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_too_long_for_a_socket_keeps_no_bridge_from_working() {
    let receiver = Receiver::ok().await;
    let deep = "a-folder-with-quite-a-long-name/".repeat(5);
    let yaml = format!("{HEAD}{}", news(&receiver.url, "", ""));
    let world = World::whole(&yaml.replace("sqlite://dari.db", &format!("sqlite://{deep}dari.db")));
    let bridge = world.start().await;
    bridge.send(json!({"id": "a", "s": "1", "n": 1})).await;
    receiver.reach(1).await;
    bridge.drained("news").await;
    bridge.stop().await;
}
