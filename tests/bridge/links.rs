//! Links between routes, what leaves, what is unchanged, what a newer event stands for.

use std::time::Duration;

use dari::outcome::Scope;
use serde_json::json;

use crate::bridge::{HEAD, Running, World};
use crate::receiver::{Answer, Receiver};

/// Routes to one sink at the receiver, which gives no ids.
fn plain(url: &str, routes: &str) -> String {
    format!("sinks:\n  out: {{ http: {{ url: \"{url}\", allow_private: true }} }}\nroutes:\n{routes}")
}

/// Routes to one sink at the receiver, which gives ids.
fn routes(url: &str, routes: &str) -> String {
    format!(
        "sinks:\n  out: {{ http: {{ url: \"{url}\", allow_private: true, id: \"{{{{ body.no | default(omit) }}}}\" }} }}\nroutes:\n{routes}"
    )
}

const MADE: Answer = Answer::Status(200, r#"{"no":"r7"}"#);

const SHARED: &str = r#"
  tasks:
    from: in
    types: [made]
    to: out
    do: create
    link: work
    map: { s: "{{ subject }}", n: "{{ data.n }}" }
    retry: { first: 300ms, factor: 1, max: 300ms }
  done:
    from: in
    types: [done]
    to: out
    link: work
    do: update
    request: { method: PUT, path: "/tasks/{{ link.id }}" }
    map: { s: "{{ subject }}", n: "{{ data.n }}" }
  news:
    from: in
    types: [news]
    to: out
    do: create
    map: { n: "{{ data.n }}", of: "{{ links['work'].id }}", is: "{{ links['tasks'].state }}", none: "{{ (links['state'] | default({})).id | default('no') }}" }
  state: { from: in, types: [state], to: out, do: upsert, request: { path: /x }, map: { n: "{{ data.n }}" } }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_record_of_one_route_is_changed_by_another_after_it_was_made() {
    let receiver = Receiver::start(|_, before| if before < 2 { Answer::Status(503, "") } else { MADE }).await;
    let world = World::new(&routes(&receiver.url, SHARED));
    let bridge = world.start().await;
    bridge.send(json!({"kind": "made", "id": "e-1", "s": "1", "n": 1})).await;
    receiver.reach(1).await;
    bridge.send(json!({"kind": "done", "id": "e-2", "s": "1", "n": 2})).await;
    bridge.ended("e-2", "done", "delivered").await;
    let calls = receiver.calls();
    assert_eq!(calls.iter().map(crate::receiver::Got::n).collect::<Vec<_>>(), [1, 1, 1, 2]);
    assert_eq!((calls[3].method.as_str(), calls[3].path.as_str()), ("PUT", "/tasks/r7"));
    // What another route knows of the same subject.
    bridge.send(json!({"kind": "news", "id": "e-3", "s": "1", "n": 3})).await;
    let news = receiver.reach(5).await[4].body.clone();
    assert_eq!(news, json!({"n": 3, "of": "r7", "is": "linked", "none": "no"}));
    bridge.send(json!({"kind": "news", "id": "e-4", "s": "2", "n": 4})).await;
    let why = bridge.ended("e-4", "news", "rejected").await;
    assert!(why.contains("links['work'] is missing"), "{why}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refers_to_a_record_waits_for_the_route_that_makes_it() {
    let receiver = Receiver::start(|got, before| match got.path.as_str() {
        "/tasks" if before == 0 => Answer::Status(503, ""),
        _ => MADE,
    })
    .await;
    let both = r#"
  news:
    from: in
    to: out
    do: create
    request: { path: /news }
    map: { n: "{{ data.n }}", of: "{{ links['tasks'].id }}" }
  tasks:
    from: in
    when: data.n < 10
    to: out
    do: create
    request: { path: /tasks }
    map: { n: "{{ data.n }}" }
    retry: { first: 300ms, factor: 1, max: 300ms }
"#;
    let world = World::new(&routes(&receiver.url, both));
    let bridge = world.start().await;
    bridge.send(json!({"id": "e-1", "s": "1", "n": 1})).await;
    bridge.ended("e-1", "news", "delivered").await;
    let calls: Vec<_> = receiver.calls().iter().map(|call| format!("{} {}", call.path, call.body["of"])).collect();
    assert_eq!(calls, ["/tasks null", "/tasks null", "/news \"r7\""]);
    // The other route leaves this one: nobody makes what is asked for.
    bridge.send(json!({"id": "e-2", "s": "2", "n": 20})).await;
    bridge.ended("e-2", "news", "rejected").await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_two_routes_of_one_link_are_never_under_way_at_once() {
    let receiver =
        Receiver::start(|got, _| if got.n() % 7 == 0 { Answer::Hold } else { Answer::Slow(Duration::from_millis(5)) })
            .await;
    let both = r#"
  one: { from: in, types: [a], to: out, link: work, do: create, map: { s: "{{ subject }}", n: "{{ data.n }}" } }
  two: { from: in, types: [b], to: out, link: work, do: create, map: { s: "{{ subject }}", n: "{{ data.n }}" } }
"#;
    let world = World::new(&plain(&receiver.url, both));
    let bridge = world.start().await;
    for n in 1..=21 {
        let kind = if n % 2 == 0 { "a" } else { "b" };
        bridge.send(json!({"kind": kind, "id": format!("e{n}"), "s": (n % 3).to_string(), "n": n})).await;
    }
    receiver.reach(3).await;
    receiver.release();
    receiver.reach(21).await;
    bridge.drained("one").await;
    bridge.drained("two").await;
    assert_eq!(receiver.overlaps(), Vec::<String>::new());
    assert_eq!(receiver.count(), 21);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_nobody_goes_by_any_more_stop_the_start() {
    let receiver = Receiver::start(|_, _| MADE).await;
    let one = |name: &str, rest: &str| {
        format!("  {name}: {{ from: in, to: out, do: create, map: {{ n: \"{{{{ data.n }}}}\" }}, {rest} }}\n")
    };
    let world = World::new(&routes(&receiver.url, &one("tasks", "")));
    let bridge = world.start().await;
    bridge.send(json!({"id": "e-1", "s": "1", "n": 1})).await;
    bridge.ended("e-1", "tasks", "delivered").await;
    bridge.stop().await;
    let tried = async |yaml: &str| {
        world.write(&format!("{HEAD}{}", routes(&receiver.url, yaml)));
        match world.try_start().await {
            Ok(bridge) => {
                bridge.stop().await;
                "started".to_owned()
            }
            Err(error) => error.to_string(),
        }
    };
    insta::assert_snapshot!(tried(&one("tasks", "link: work")).await, @"route tasks has 1 links of its own, and now goes by the link work. Say `link: tasks` at the routes that are to share them; or take it out of the config, forget the links with `dari routes retire tasks`, and put it back");
    // Shared under its own name, by one that takes its place, and under a shared name.
    assert_eq!(tried(&format!("{}{}", one("tasks", ""), one("other", "link: tasks"))).await, "started");
    assert_eq!(tried(&one("other", "link: tasks")).await, "started");
    insta::assert_snapshot!(tried(&one("other", "")).await, @"no route goes by the link tasks any more, and 1 links belong to it. Say `link: tasks` at the routes that go by it, `was: tasks` at the one whose own links they become, or forget them with `dari routes retire tasks`");
    assert_eq!(tried(&one("other", "was: tasks")).await, "started");
    assert_eq!(tried(&format!("{}{}", one("third", "was: other"), one("more", "link: third"))).await, "started");
    let told = tried(&one("more", "link: fourth")).await;
    assert!(told.contains("route third is no longer in the config, but 0 messages wait for it and 1 links"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_longer_passes_is_deleted_where_it_is_linked() {
    let receiver = Receiver::start(|_, _| MADE).await;
    let world = World::new(&routes(
        &receiver.url,
        r#"
  small:
    from: in
    when: data.n < 10
    to: out
    do: upsert
    leaves: delete
    request:
      create: { path: /x }
      update: { method: PUT, path: "/x/{{ link.id }}" }
      delete: { method: DELETE, path: "/x/{{ link.id }}" }
    map: { n: "{{ data.n }}" }
"#,
    ));
    let bridge = world.start().await;
    let send = async |id: &str, version: i64, n: i64, ending: &str| {
        bridge.send(json!({"id": id, "s": "1", "v": version, "n": n})).await;
        if !ending.is_empty() {
            bridge.ended(id, "small", ending).await;
        }
    };
    send("never", 1, 50, "").await;
    send("in", 2, 1, "delivered").await;
    send("out", 4, 50, "delivered").await;
    send("late", 3, 2, "stale").await;
    send("still-out", 5, 60, "").await;
    send("again", 6, 3, "delivered").await;
    send("old-out", 5, 70, "stale").await;
    bridge.drained("small").await;
    let calls: Vec<_> = receiver.calls().iter().map(|c| format!("{} {}", c.method, c.path)).collect();
    assert_eq!(calls, ["POST /x", "DELETE /x/r7", "POST /x"]);
    let steps = format!("{:?}", bridge.steps("never", "small").await);
    assert!(steps.contains("Skipped") && steps.contains("data.n is 50"), "{steps}");
    assert!(!steps.contains("Matched"), "{steps}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_record_can_make_one() {
    let receiver = Receiver::start(|_, _| MADE).await;
    let world = World::new(&routes(
        &receiver.url,
        r#"
  state:
    from: in
    to: out
    do: update
    without_link: create
    request: { create: { path: /x }, update: { method: PUT, path: "/x/{{ link.id }}" } }
    map: { n: "{{ data.n }}" }
"#,
    ));
    let bridge = world.start().await;
    for n in 1..=2 {
        bridge.send(json!({"id": format!("e{n}"), "s": "1", "n": n})).await;
        receiver.reach(n).await;
    }
    let calls: Vec<_> = receiver.calls().iter().map(|c| format!("{} {}", c.method, c.path)).collect();
    assert_eq!(calls, ["POST /x", "PUT /x/r7"]);
    bridge.stop().await;
}

/// A route that keeps state by one call for both verbs.
const STATE: &str = r#"
  state:
    from: in
    to: out
    do: upsert
    request: { method: PUT, path: "/things/{{ subject }}" }
    map: { s: "{{ subject }}", n: "{{ data.n }}" }
    retry: { first: 300ms, factor: 1, max: 300ms }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_record_holds_already_costs_no_call() {
    let receiver = Receiver::start(|got, _| if got.n() == 9 { Answer::Status(422, "no") } else { Answer::Ok }).await;
    let world = World::new(&plain(&receiver.url, STATE));
    let bridge = world.start().await;
    let sent = async |id: &str, version: i64, n: i64, ending: &str| {
        bridge.send(json!({"id": id, "s": "1", "v": version, "n": n})).await;
        bridge.ended(id, "state", ending).await;
    };
    sent("a", 1, 1, "delivered").await;
    sent("b", 3, 1, "unchanged").await;
    sent("c", 2, 2, "stale").await;
    assert_eq!(receiver.numbers(), [1]);
    // A call that was refused may have changed something all the same.
    sent("d", 4, 9, "rejected").await;
    sent("e", 5, 1, "delivered").await;
    sent("f", 6, 1, "unchanged").await;
    assert_eq!(receiver.numbers(), [1, 9, 1]);
    let used = bridge.operator().accounts().await.unwrap();
    assert_eq!(used[0].used, 3, "only calls are charged");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_the_newest_state_stands_for_those_that_wait_with_it() {
    let receiver = Receiver::start(|got, _| if got.n() == 1 { Answer::Hold } else { Answer::Ok }).await;
    let world = World::new(&plain(&receiver.url, STATE));
    let bridge = world.start().await;
    for (id, version) in [("a", 1), ("b", 2), ("d", 4), ("c", 3)] {
        bridge.send(json!({"id": id, "s": "1", "v": version, "n": version})).await;
    }
    receiver.reach(1).await;
    bridge.until("all to be received", async |op| (op.routes().await.unwrap()[0].queued == 4).then_some(())).await;
    bridge.send(json!({"id": "z", "s": "2", "v": 1, "n": 100})).await;
    receiver.reach(2).await;
    receiver.release();
    for id in ["b", "c"] {
        assert_eq!(bridge.ended(id, "state", "superseded").await, "by in/d");
    }
    bridge.drained("state").await;
    assert_eq!(receiver.numbers(), [1, 100, 4]);
    bridge.stop().await;
}

/// Sends four states of one subject, of which the last three wait together until the call for the first has its answer.
async fn four_states(world: &World, receiver: &Receiver) -> Running {
    let bridge = world.start().await;
    for n in 1..=4 {
        bridge.send(json!({"id": format!("e{n}"), "s": "1", "v": n, "n": n})).await;
    }
    bridge.send(json!({"id": "z", "s": "2", "v": 1, "n": 100})).await;
    receiver.reach(2).await;
    receiver.release();
    bridge
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_where_the_newest_is_refused_the_next_newest_is_applied() {
    let receiver = Receiver::start(|got, _| match got.n() {
        1 => Answer::Hold,
        4 => Answer::Status(422, "no"),
        _ => Answer::Ok,
    })
    .await;
    let world = World::new(&plain(&receiver.url, STATE));
    let bridge = four_states(&world, &receiver).await;
    bridge.ended("e4", "state", "rejected").await;
    assert_eq!(bridge.ended("e2", "state", "superseded").await, "by in/e3");
    bridge.drained("state").await;
    assert_eq!(receiver.numbers(), [1, 100, 4, 3]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_while_the_newest_is_retried_the_older_ones_cost_no_call() {
    let receiver = Receiver::start(|got, before| match got.n() {
        1 => Answer::Hold,
        4 if before < 5 => Answer::Status(503, ""),
        _ => Answer::Ok,
    })
    .await;
    let world = World::new(&plain(&receiver.url, STATE));
    let bridge = four_states(&world, &receiver).await;
    bridge.ended("e4", "state", "delivered").await;
    bridge.drained("state").await;
    assert_eq!(receiver.numbers().last(), Some(&4), "the newest is what is there");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_subject_with_more_events_than_the_window_holds_up_no_other() {
    let receiver = Receiver::start(|got, _| if got.n() == 0 { Answer::Hold } else { Answer::Ok }).await;
    let yaml = plain(
        &receiver.url,
        r#"
  news: { from: in, to: out, do: create, map: { s: "{{ subject }}", n: "{{ data.n }}" } }
"#,
    )
    .replace("allow_private: true", "allow_private: true, limits: { concurrency: 2 }");
    let world = World::new(&yaml);
    let bridge = world.start().await;
    bridge.operator().suspend(Scope::Route, "news", None).await.unwrap();
    for n in 0..40 {
        bridge.send(json!({"id": format!("e{n}"), "s": "busy", "n": n})).await;
    }
    bridge.send(json!({"id": "other", "s": "other", "n": 100})).await;
    bridge.operator().resume(Scope::Route, "news").await.unwrap();
    bridge.ended("other", "news", "delivered").await;
    assert_eq!(receiver.numbers(), [0, 100]);
    receiver.release();
    bridge.drained("news").await;
    let busy: Vec<_> = receiver.calls().iter().filter(|c| c.subject() == "busy").map(crate::receiver::Got::n).collect();
    assert_eq!(busy, (0..40).collect::<Vec<i64>>());
    bridge.stop().await;
}
