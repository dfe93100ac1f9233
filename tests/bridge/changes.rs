//! What a changed config, a late event and a late word of a person must not do.

use std::time::Duration;

use serde_json::json;

use crate::bridge::World;
use crate::receiver::{Answer, Receiver};

fn route(url: &str, rest: &str) -> String {
    format!(
        r#"
sinks:
  out: {{ http: {{ url: "{url}", allow_private: true }} }}
routes:
  news:
    from: in
    to: out
{rest}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_what_a_changed_filter_leaves_does_not_block_its_subject() {
    let receiver = Receiver::start(|got, _| if got.n() == 1 { Answer::Status(503, "") } else { Answer::Ok }).await;
    let map = r#"    map: { s: "{{ subject }}", n: "{{ data.n }}" }
    retry: { first: 1h, max: 1h }
    do: create"#;
    let world = World::new(&route(&receiver.url, map));
    let bridge = world.start().await;
    bridge.send(json!({"id": "one", "s": "1", "n": 1})).await;
    receiver.reach(1).await;
    bridge.send(json!({"id": "two", "s": "1", "n": 2})).await;
    bridge
        .until("the second to wait", async |op| {
            let routes = op.routes().await.unwrap();
            (routes[0].waiting == 2).then_some(())
        })
        .await;
    bridge.stop().await;
    world.write(&format!("{}{}", crate::bridge::HEAD, route(&receiver.url, &format!("{map}\n    when: data.n != 1"))));
    world.advance(Duration::from_hours(2));
    let bridge = world.start().await;
    world.advance(Duration::from_hours(2));
    assert_eq!(receiver.reach(2).await[1].n(), 2);
    bridge.drained("news").await;
    bridge.stop().await;
}

const STATE: &str = r#"    do: sync
    request:
      create: { method: POST, path: /things }
      update: { method: PUT, path: "/things/{{ subject }}" }
      delete: { method: DELETE, path: "/things/{{ subject }}" }
    map: { s: "{{ subject }}", n: "{{ data.n | default(0) }}" }"#;

#[tokio::test(flavor = "multi_thread")]
async fn p3_what_was_deleted_before_it_was_created_stays_deleted() {
    let receiver = Receiver::ok().await;
    let world = World::new(&route(&receiver.url, STATE));
    let bridge = world.start().await;
    bridge.send(json!({"id": "gone", "kind": "thing.deleted", "s": "1", "v": 2})).await;
    bridge.ended("gone", "news", "nothing-to-do").await;
    bridge.send(json!({"id": "made", "kind": "thing.created", "s": "1", "v": 1, "n": 1})).await;
    bridge.ended("made", "news", "stale").await;
    bridge.send(json!({"id": "again", "kind": "thing.created", "s": "1", "v": 3, "n": 3})).await;
    assert_eq!(receiver.reach(1).await[0].n(), 3);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_late_create_does_not_make_older_state_newer() {
    let receiver = Receiver::ok().await;
    let request = "request: { method: POST, path: /things }, map: { n: \"{{ data.n }}\" }";
    let cases = format!(
        "    cases:\n      - {{ types: [create], do: create, {request} }}\n      - {{ types: [update], do: update, {request} }}"
    );
    let world = World::new(&route(&receiver.url, &cases));
    let bridge = world.start().await;
    for (id, kind, version) in [("a", "create", 1), ("b", "update", 3), ("c", "create", 1), ("d", "update", 2)] {
        bridge.send(json!({"id": id, "kind": kind, "s": "1", "v": version, "n": version})).await;
    }
    assert_eq!(bridge.ended("d", "news", "stale").await, "older than what was applied (3)");
    assert_eq!(receiver.numbers(), [1, 3, 1]);
    bridge.stop().await;
}
