//! `fetch: true`: a webhook is only a hint, and its subject is read anew before any route sees it.

use std::collections::HashMap;

use dari::clock::Clock;
use dari::connectors::dooray;
use dari::connectors::sandbox::{self, Fault, Order, Served};
use dari::outcome::Scope;
use dari::store::journal::Step;
use http::Method;
use serde_json::json;

use crate::binary::{Process, done, folder};
use crate::bridge::{PATIENCE, Running, World, http};
use crate::receiver::{Answer, Receiver};

const SECRET: &str = "0123456789abcdef";

/// A Dooray with these tasks.
pub async fn vendor(tasks: &[&str]) -> Served {
    let clock = Clock::system(9);
    let served = sandbox::serve(dooray::sandbox::router(clock.clone()), clock, sandbox::LOOPBACK).await.unwrap();
    served.play(Method::POST, "/_sandbox", &json!({"burst": 100_000, "replenish": 100_000})).await;
    for id in tasks {
        let task = json!({"id": id, "subject": format!("{id} as it is")});
        served.play(Method::POST, "/_sandbox/tasks", &task).await;
    }
    served
}

pub fn yaml(vendor: &str, receiver: &Receiver, token: &str, fetch: bool) -> String {
    format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
accounts: {{ dooray: {{ dooray: {{ token: {token}, url: "{}", limits: {{ rate: 10000 }} }} }} }}
sources: {{ tasks: {{ dooray-hook: {{ account: dooray, secrets: ["{SECRET}"], fetch: {fetch} }} }} }}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true }} }} }}
routes:
  news:
    from: tasks
    to: out
    do: create
    on_doubt: retry
    map:
      s: "{{{{ subject }}}}"
      kind: "{{{{ type }}}}"
      title: "{{{{ data.task.title if data.task is defined else data.post.subject }}}}"
      n: "{{{{ (data.hook | default(data)).n | default(0) }}}}"
"#,
        vendor, receiver.url
    )
}

/// Tells of a task as Dooray does.
pub async fn hint(bridge: &Running, event: &str, task: &str) -> String {
    let body =
        json!({"hookEventType": event, "post": {"id": task, "subject": "as it was said"}, "project": {"id": "7"}});
    let (status, text) = bridge.post(&format!("tasks/{SECRET}"), &body).await;
    assert_eq!(status, 202, "{text}");
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["id"].as_str().unwrap().to_owned()
}

/// What happened to an event before any route saw it.
async fn before(bridge: &Running, id: &str) -> Vec<String> {
    bridge.operator().journal.flush().await.unwrap();
    let journeys = bridge.operator().trace(id).await.unwrap();
    let words = |step: &Step| match step {
        Step::Asked { what, message, .. } => format!("{what}: {message}"),
        Step::Waiting { attempt, why, .. } => format!("waiting {attempt}: {why}"),
        other => format!("{other:?}"),
    };
    journeys.iter().flat_map(|j| &j.before).map(|entry| words(&entry.step)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_see_what_the_vendor_says_now() {
    let (vendor, receiver) = (vendor(&["42"]).await, Receiver::ok().await);
    let world = World::whole(&yaml(&vendor.url, &receiver, "sandbox-token", true));
    let bridge = world.start().await;
    let id = hint(&bridge, "postCreated", "42").await;
    bridge.ended(&id, "news", "delivered").await;
    let got = receiver.reach(1).await.remove(0);
    assert_eq!((&got.body["title"], &got.body["kind"]), (&json!("42 as it is"), &json!("task.created")));
    assert_eq!(before(&bridge, &id).await, ["fetch: its subject was read anew"]);

    // The same again is read again, and is the same event.
    assert_eq!(hint(&bridge, "postCreated", "42").await, id);
    bridge.ended(&id, "news", "duplicate").await;

    let gone = hint(&bridge, "postCreated", "43").await;
    bridge.ended(&gone, "news", "delivered").await;
    assert_eq!(receiver.reach(2).await[1].body["title"], "as it was said");
    let said = before(&bridge, &gone).await;
    assert!(said.len() == 1 && said[0].ends_with("it goes on as it came"), "{said:?}");

    // What the journal has is what the routes saw.
    let again = dari::admin::replay::ReplayRequest { event: Some(id), ..Default::default() };
    bridge.operator().replay(again).await.unwrap();
    assert_eq!(receiver.reach(3).await[2].body["title"], "42 as it is");
    assert_eq!(bridge.operator().accounts().await.unwrap()[0].used, 3, "each question is counted");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_cannot_be_read_waits_in_its_order_and_others_go_on() {
    let (vendor, receiver) = (vendor(&["42", "43"]).await, Receiver::ok().await);
    let path = "/project/v1/posts/42".to_owned();
    vendor.faults.order(Order { fault: Fault::ServerError, times: 2, path });
    let world = World::whole(&yaml(&vendor.url, &receiver, "sandbox-token", true));
    let bridge = world.start().await;
    let first = hint(&bridge, "postCreated", "42").await;
    let second = hint(&bridge, "postWorkflowChanged", "42").await;
    let other = hint(&bridge, "postCreated", "43").await;
    bridge.ended(&other, "news", "delivered").await;
    assert!(receiver.calls().iter().all(|got| got.subject() == "task/43"), "{:?}", receiver.calls());
    bridge.ended(&second, "news", "delivered").await;
    let of: Vec<_> = receiver.calls().into_iter().filter(|got| got.subject() == "task/42").collect();
    assert_eq!(
        of.iter().map(|got| got.body["kind"].as_str().unwrap()).collect::<Vec<_>>(),
        ["task.created", "task.workflow"]
    );
    let told = before(&bridge, &first).await;
    assert!(told.len() == 3 && told[0].starts_with("waiting 2: ") && told[0].contains("500"), "{told:?}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_refused_credentials_keep_everything_in_the_inbox_until_they_work() {
    let (vendor, receiver) = (vendor(&["42"]).await, Receiver::ok().await);
    let world = World::whole(&yaml(&vendor.url, &receiver, "wrong", true));
    let bridge = world.start().await;
    let id = hint(&bridge, "postCreated", "42").await;
    let halt = bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "dooray")).await;
    assert!(halt.why.contains("refused") && halt.probe.is_some(), "{halt:?}");
    let later = hint(&bridge, "postWorkflowChanged", "42").await;
    bridge.until("both in the inbox", async |op| (op.sources().await.unwrap()[0].unfetched == 2).then_some(())).await;
    let journey = bridge.until("it in the journal", async |op| op.trace(&id).await.unwrap().into_iter().next()).await;
    assert_eq!(journey.routes[0].not_bound.as_deref(), Some("its subject is still to be read anew"));
    bridge.abort().await;
    world.write(&yaml(&vendor.url, &receiver, "sandbox-token", true));
    let bridge = world.start().await;
    assert_eq!(receiver.count(), 0);
    // A minute after, one event is read to see whether it works again.
    world.advance(std::time::Duration::from_secs(90));
    bridge.ended(&later, "news", "delivered").await;
    let kinds: Vec<_> = receiver.calls().iter().map(|got| got.body["kind"].clone()).collect();
    assert_eq!(kinds, ["task.created", "task.workflow"]);
    assert!(bridge.suspended(Scope::Account, "dooray").is_none());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_stops_the_source_until_a_person_has_looked() {
    let (vendor, receiver) = (Receiver::start(|_, _| Answer::Status(400, "no")).await, Receiver::ok().await);
    let world = World::whole(&yaml(&vendor.url, &receiver, "sandbox-token", true));
    let bridge = world.start().await;
    let id = hint(&bridge, "postCreated", "42").await;
    let halt = bridge.until("a stop", async |_| bridge.suspended(Scope::Source, "tasks")).await;
    assert!(halt.until.is_none() && halt.probe.is_none(), "{halt:?}");
    vendor.now(|_, _| {
        let task = r#"{"header":{"isSuccessful":true,"resultCode":0,"resultMessage":""},"result":{"id":"42","subject":"mended"}}"#;
        Answer::Status(200, task)
    });
    bridge.operator().resume(Scope::Source, "tasks").await.unwrap();
    bridge.ended(&id, "news", "delivered").await;
    assert_eq!(receiver.reach(1).await[0].body["title"], "mended");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_goes_on_as_it_came_where_nothing_is_read_anew_any_more() {
    let (vendor, receiver) = (vendor(&["42"]).await, Receiver::ok().await);
    let world = World::whole(&yaml(&vendor.url, &receiver, "wrong", true));
    let bridge = world.start().await;
    let id = hint(&bridge, "postCreated", "42").await;
    bridge.until("a suspension", async |_| bridge.suspended(Scope::Account, "dooray")).await;
    bridge.stop().await;
    world.write(&yaml(&vendor.url, &receiver, "wrong", false));
    let bridge = world.start().await;
    bridge.ended(&id, "news", "delivered").await;
    assert_eq!(receiver.reach(1).await[0].body["title"], "as it was said");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_nothing_is_lost_by_kill_9_while_it_is_read_anew() {
    const EVENTS: usize = 60;
    let tasks: Vec<String> = (0..6).map(|n| format!("4{n}")).collect();
    let (vendor, receiver) =
        (vendor(&tasks.iter().map(String::as_str).collect::<Vec<_>>()).await, Receiver::ok().await);
    vendor.faults.next(Fault::Slow { ms: 40 }, 100_000);
    let dir = folder(&yaml(&vendor.url, &receiver, "sandbox-token", true));
    let mut process = Process::start(dir.path()).await;
    let http = http(PATIENCE);
    for n in 0..EVENTS {
        let body = json!({"hookEventType": "postCreated", "post": {"id": tasks[n % 6], "subject": "said"}, "n": n});
        let answer = http.post(format!("{}/hooks/tasks/{SECRET}", process.hooks)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
    for least in [5, 25] {
        receiver.reach(least).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        process = Process::start(dir.path()).await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let missing =
        || (0..EVENTS).filter(|n| !receiver.numbers().contains(&i64::try_from(*n).unwrap())).collect::<Vec<_>>();
    while !missing().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "answered 202 and lost: {:?}", missing());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut newest: HashMap<String, i64> = HashMap::new();
    for got in receiver.calls() {
        assert_eq!(got.body["title"], format!("{} as it is", got.subject().trim_start_matches("task/")));
        let before = newest.insert(got.subject(), got.n()).unwrap_or(-1);
        assert!(before <= got.n(), "{} came after {before} of its subject", got.n());
    }
    loop {
        let (code, text) = done(dir.path(), &["trace", "--last", "tasks"]).await;
        if code == 0 && text.contains("asked      fetch") && text.contains("its subject was read anew") {
            break;
        }
        // The journal writes its steps a moment after they were taken.
        assert!(tokio::time::Instant::now() < deadline, "{text}");
    }
}
