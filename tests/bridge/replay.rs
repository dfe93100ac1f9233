//! Again: what a replay counts, sends, leaves, and goes on with.

use dari::admin::replay::ReplayRequest;
use dari::connectors::http::sandbox as http_sandbox;
use dari::connectors::{sandbox, walla};
use dari::store::DeadFilter;
use http::Method;
use serde_json::json;

use crate::bridge::{Running, World};
use crate::receiver::{Answer, Receiver};

fn yaml(url: &str, news: &str) -> String {
    format!(
        r#"
sinks: {{ out: {{ http: {{ url: "{url}", allow_private: true }} }} }}
routes:
  {news}: {{ from: in, types: [news], to: out, do: create, map: {{ n: "{{{{ data.n }}}}" }} }}
  state: {{ from: in, types: [state], to: out, do: upsert, request: {{ path: "/things" }}, map: {{ n: "{{{{ data.n }}}}" }} }}
"#
    )
}

fn all_dead() -> ReplayRequest {
    ReplayRequest { all_dead: true, ..ReplayRequest::default() }
}

fn from_journal() -> ReplayRequest {
    ReplayRequest { source: Some("in".into()), ..ReplayRequest::default() }
}

async fn dead_news(bridge: &Running, count: i64) {
    for n in 0..count {
        bridge.send(json!({"kind": "news", "id": format!("e{n}"), "s": n.to_string(), "n": n})).await;
    }
    bridge.drained("news").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_whose_route_is_gone_are_counted_and_stop_no_others() {
    let receiver = Receiver::start(|_, before| if before < 4 { Answer::Status(422, "no") } else { Answer::Ok }).await;
    let world = World::new(&yaml(&receiver.url, "news"));
    let bridge = world.start().await;
    dead_news(&bridge, 3).await;
    bridge.send(json!({"kind": "state", "id": "s", "s": "s", "v": 1, "n": 9})).await;
    bridge.ended("s", "state", "rejected").await;
    bridge.stop().await;
    world.write(&format!("{}{}", crate::bridge::HEAD, yaml(&receiver.url, "others")));
    let bridge = world.start().await;
    let counted = bridge.operator().replay(ReplayRequest { dry_run: true, ..all_dead() }).await.unwrap();
    assert_eq!((counted.events, counted.without_route, counted.changes), (1, 3, Some(1)));
    let sent = bridge.operator().replay(all_dead()).await.unwrap();
    assert_eq!((sent.deliveries, sent.without_route), (1, 3));
    assert_eq!(receiver.reach(5).await[4].n(), 9);
    bridge.drained("state").await;
    assert_eq!(bridge.dead().await.len(), 3, "they stay until a person says where to, or drops them");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_after_a_crash_and_sends_nothing_twice() {
    let receiver = Receiver::ok().await;
    let world = World::new(&yaml(&receiver.url, "news"));
    let bridge = world.start().await;
    dead_news(&bridge, 10).await;
    let counted = bridge.operator().replay(ReplayRequest { dry_run: true, ..from_journal() }).await.unwrap();
    assert_eq!((counted.deliveries, counted.changes), (10, Some(10)), "a create means every event");
    let begun = bridge.operator().start_replay(from_journal()).await.unwrap();
    let other = bridge.operator().replay(all_dead()).await.unwrap_err().to_string();
    assert!(other.contains("`dari replay --resume`"), "{other}");
    let job = bridge.operator().step(4).await.unwrap();
    assert_eq!((job.done.deliveries(), job.finished), (4, false));
    bridge.drained("news").await;
    // As if the process had ended between the publishing and the writing of the place.
    bridge.operator().store.set_fact("replay", serde_json::to_value(&begun).unwrap()).await.unwrap();
    bridge.abort().await;
    let bridge = world.start().await;
    let mut job = bridge.operator().unfinished_replay().await.unwrap().expect("it is remembered");
    while !job.finished {
        job = bridge.operator().step(4).await.unwrap();
    }
    bridge.drained("news").await;
    let mut numbers = receiver.numbers();
    numbers.sort_unstable();
    let twice: Vec<i64> = (0..10).flat_map(|n| [n, n]).collect();
    assert_eq!(numbers, twice, "each once when it was received, and once more");
    assert!(bridge.operator().unfinished_replay().await.unwrap().is_none());
    bridge.operator().step(4).await.expect_err("it is over");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_what_is_older_is_applied_only_by_force() {
    let receiver = Receiver::ok().await;
    let world = World::new(&yaml(&receiver.url, "news"));
    let bridge = world.start().await;
    for v in [1, 2] {
        bridge.send(json!({"kind": "state", "id": format!("e{v}"), "s": "1", "v": v, "n": v})).await;
        bridge.ended(&format!("e{v}"), "state", "delivered").await;
    }
    let first = ReplayRequest { event: Some("e1".into()), ..ReplayRequest::default() };
    let counted = bridge.operator().replay(ReplayRequest { dry_run: true, ..first.clone() }).await.unwrap();
    assert_eq!((counted.deliveries, counted.changes), (1, Some(0)));
    bridge.operator().replay(first.clone()).await.unwrap();
    bridge.ended("e1", "state", "stale").await;
    assert_eq!(receiver.numbers(), [1, 2]);
    let forced = ReplayRequest { force: true, ..first };
    let counted = bridge.operator().replay(ReplayRequest { dry_run: true, ..forced.clone() }).await.unwrap();
    assert_eq!(counted.changes, Some(1));
    bridge.operator().replay(forced).await.unwrap();
    receiver.reach(3).await;
    bridge.drained("state").await;
    assert_eq!(receiver.numbers(), [1, 2, 1]);
    // What was forced does not make what came before it new.
    bridge.send(json!({"kind": "state", "id": "late", "s": "1", "v": 1, "n": 7})).await;
    bridge.ended("late", "state", "stale").await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_any_api_is_counted_and_sent_and_goes_on_after_a_crash() {
    let receiver = Receiver::ok().await;
    let world = World::new("");
    let router = http_sandbox::router(world.clock.clone());
    let erp = sandbox::serve(router, world.clock.clone(), sandbox::LOOPBACK).await.unwrap();
    for n in 1..=5 {
        erp.play(Method::PUT, &format!("/_sandbox/orders/{n}"), &json!({"total": n})).await;
    }
    let text = format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
sources:
  in: {{ http-poll: {{ url: "{}/api/by-page", auth: {{ bearer: sandbox-key }}, allow_private: true, id: "{{{{ item.no }}}}", type: order, paging: {{ page: {{ size: 2 }} }}, every: 50ms }} }}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes: {{ all: {{ from: in, types: [order.created], to: out, do: upsert, request: {{ path: "/orders" }}, map: {{ s: "{{{{ subject }}}}", n: "{{{{ data.total }}}}" }} }} }}
"#,
        erp.url, receiver.url
    );
    world.write(&text);
    let bridge = world.start().await;
    let past = ReplayRequest { source: Some("in".into()), past: true, ..ReplayRequest::default() };
    let counted = bridge.operator().replay(ReplayRequest { dry_run: true, ..past.clone() }).await.unwrap();
    assert_eq!((counted.events, counted.deliveries, counted.changes), (5, 5, Some(5)));
    assert_eq!(receiver.count(), 0);
    bridge.operator().start_replay(past).await.unwrap();
    let job = bridge.operator().step(100).await.unwrap();
    assert_eq!((job.done.deliveries(), job.finished), (2, false), "a page of the source");
    bridge.drained("all").await;
    bridge.abort().await;
    let bridge = world.start().await;
    while !bridge.operator().step(100).await.unwrap().finished {}
    bridge.drained("all").await;
    let mut numbers = receiver.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    // What comes now comes by polling.
    erp.play(Method::PUT, "/_sandbox/orders/6", &json!({"total": 6})).await;
    assert_eq!(receiver.reach(6).await[5].n(), 6);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sources_own_past_is_read_from_the_source() {
    let receiver = Receiver::ok().await;
    let world = World::new("");
    let router = walla::sandbox::router(world.clock.clone());
    let form = sandbox::serve(router, world.clock.clone(), sandbox::LOOPBACK).await.unwrap();
    for (id, at) in
        [("old", "2026-01-01T00:00:00Z"), ("newer", "2026-03-01T00:00:00Z"), ("newest", "2026-05-01T00:00:00Z")]
    {
        let body = json!({"id": id, "submitted_at": at, "answers": {}});
        form.play(Method::POST, "/_sandbox/responses", &body).await;
    }
    let (id, key) = (walla::sandbox::CLIENT_ID, walla::sandbox::API_KEY);
    let (workspace, project) = (walla::sandbox::WORKSPACE, walla::sandbox::PROJECT);
    let text = format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
accounts: {{ walla: {{ walla: {{ client_id: {id}, api_key: {key}, url: "{}" }} }} }}
sources:
  in: {{ walla: {{ account: walla, workspace: {workspace}, project: {project}, every: 1s, start: now }} }}
  hook: {{ webhook: {{ verify: none }} }}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes: {{ all: {{ from: in, to: out, do: create, map: {{ s: "{{{{ subject }}}}" }} }} }}
"#,
        form.url, receiver.url
    );
    world.write(&text);
    let bridge = world.start().await;
    let past = ReplayRequest {
        source: Some("in".into()),
        past: true,
        from: Some("2026-02-01T00:00:00Z".parse().unwrap()),
        ..ReplayRequest::default()
    };
    let counted = bridge.operator().replay(ReplayRequest { dry_run: true, ..past.clone() }).await.unwrap();
    assert_eq!((counted.events, counted.changes), (2, Some(2)));
    assert_eq!(receiver.count(), 0);
    assert_eq!(bridge.operator().replay(past.clone()).await.unwrap().deliveries, 2);
    let mut subjects: Vec<_> = receiver.reach(2).await.iter().map(crate::receiver::Got::subject).collect();
    subjects.sort();
    assert_eq!(subjects, ["newer", "newest"]);
    // Again is again.
    bridge.operator().replay(past).await.unwrap();
    receiver.reach(4).await;
    bridge.drained("all").await;
    let none = ReplayRequest { source: Some("hook".into()), past: true, ..ReplayRequest::default() };
    let why = bridge.operator().replay(none).await.unwrap_err().to_string();
    assert!(why.contains("is not polled here"), "{why}");
    assert!(bridge.operator().dead(DeadFilter::default()).await.unwrap().is_empty());
    bridge.stop().await;
}
