//! Worksection's webhooks over a real socket: subscribed, called, told, read again, switched off.

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self, Served};
use dari::connectors::worksection::{MANIFEST, hook::KIND};
use dari::connectors::{Account, Build, Fetch, Fetched, PollError, Registrar, SourceRole};
use dari::event::{Event, NewEvent, Payload};
use dari::settings::{Node, Settings};
use http::Method;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::sync::Arc;

use super::support::{Bridge, Mood, hook, until};

async fn played() -> (Clock, Served) {
    let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
    let router = (MANIFEST.sandbox.unwrap().router)(clock.clone());
    let served = sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap();
    switch(&served, json!({ "rate": 1e12 })).await;
    (clock, served)
}

async fn switch(served: &Served, switches: Value) {
    served.play(Method::PUT, "/_sandbox/state", &switches).await;
}

/// What is built from a source's settings at the sandbox's account.
fn built<T>((clock, served): &(Clock, Served), source: &Value, what: impl Fn(&Build<'_>) -> T) -> T {
    let account = Node::from(&json!({ "admin_key": "7776461cd931e7b1c8e9632ff8e979ce" }));
    let source = Node::from(source);
    let account_fields = MANIFEST.account.as_ref().unwrap().fields;
    what(&Build {
        name: "tasks",
        settings: Settings::new(&source, KIND.fields),
        account: Some(Account { name: "ws", settings: Settings::new(&account, account_fields), url: &served.url }),
        zone: TimeZone::get("Europe/Kyiv").unwrap(),
        client: Client::new().unwrap(),
        clock: clock.clone(),
    })
}

fn registrar(world: &(Clock, Served), source: &Value) -> Box<dyn Registrar> {
    built(world, source, |build| (KIND.registrar.unwrap())(build).unwrap_or_else(|faults| panic!("{faults:?}")))
}

async fn bridge() -> Bridge {
    Bridge::start(vec![("tasks", hook("worksection-hook", &json!({ "users": { "dari": "secret" } })))]).await
}

#[tokio::test]
async fn a_webhook_is_subscribed_called_told_and_ended() {
    let (world, bridge) = (played().await, bridge().await);
    let url = format!("http://{}/hooks/tasks", bridge.address).parse().unwrap();
    let source = json!({ "users": { "dari": "secret" }, "projects": ["26", "27"] });
    let registrar = registrar(&world, &source);
    let made = registrar.register(&url).await.unwrap().remove(0);
    assert_eq!((made.url.as_str(), made.active), (url.as_str(), true));
    assert!(
        made.about.starts_with("post_task, post_comment") && made.about.ends_with("close_task of projects 26, 27"),
        "{made:?}"
    );
    let sent = world.1.calls.all().into_iter().find(|call| call.path.contains("add_webhook")).unwrap();
    assert!(sent.path.contains("&http_user=dari&http_pass=secret&hash="), "{}", sent.path);

    world.1.play(Method::POST, "/_sandbox/tasks", &json!({ "id": "42", "name": "Offer" })).await;
    world.1.play(Method::POST, "/_sandbox/tasks", &json!({ "id": "42", "status": "done" })).await;
    until(|| bridge.fake.events().len() == 2).await;
    let mut kinds: Vec<_> = bridge.fake.events().iter().map(|event| event.kind.clone()).collect();
    kinds.sort();
    assert_eq!(kinds, ["task.closed", "task.created"]);
    assert!(bridge.fake.events().iter().all(|event| event.subject.as_deref() == Some("task/42")));

    // Again: the old one goes when the new one is there, so that nothing is sent twice.
    let again = registrar.register(&url).await.unwrap().remove(0);
    assert_ne!(again.id, made.id);
    assert_eq!(registrar.list().await.unwrap(), vec![again.clone()]);
    assert_eq!((registrar.remove(&again.id).await, registrar.remove(&again.id).await), (Ok(true), Ok(false)));
    assert_eq!(registrar.list().await.unwrap(), vec![]);
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_as_it_must_is_not_taken() {
    let (world, bridge) = (played().await, bridge().await);
    let wrong = registrar(&world, &json!({ "users": { "dari": "other" } }));
    let url = format!("http://{}/hooks/tasks", bridge.address).parse().unwrap();
    let Err(PollError::Stop { why }) = wrong.register(&url).await else { panic!("refused") };
    assert!(
        why.starts_with("11: Url should respond 200 HTTP_CODE and JSON {status:OK}: Worksection calls http://"),
        "{why}"
    );
    // One that has to be switched on by hand says so.
    switch(&world.1, json!({ "webhooks_begin_paused": true })).await;
    let right = registrar(&world, &json!({ "users": { "dari": "secret" }, "events": ["post_task"] }));
    let made = right.register(&url).await.unwrap().remove(0);
    assert_eq!((made.active, made.about.as_str()), (false, "post_task"));
    let without = built(&world, &json!({ "users": { "dari": "secret" } }), |build| {
        let account = None;
        (KIND.registrar.unwrap())(&Build {
            account,
            settings: build.settings,
            zone: TimeZone::UTC,
            name: "tasks",
            client: build.client.clone(),
            clock: build.clock.clone(),
        })
        .err()
    });
    insta::assert_snapshot!(without.unwrap()[0].message, @"to register a webhook the source needs an account");
}

#[tokio::test]
async fn after_ten_errors_worksection_switches_it_off() {
    let (world, bridge) = (played().await, bridge().await);
    let registrar = registrar(&world, &json!({ "users": { "dari": "secret" } }));
    registrar.register(&format!("http://{}/hooks/tasks", bridge.address).parse().unwrap()).await.unwrap();
    bridge.fake.mood(Mood::Fails);
    for n in 0..10 {
        world.1.play(Method::POST, "/_sandbox/tasks", &json!({ "id": n.to_string(), "name": "x" })).await;
    }
    let paused = async {
        while registrar.list().await.unwrap()[0].active {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::support::PATIENCE, paused).await.expect("it is switched off");
}

fn fetch(world: &(Clock, Served)) -> Arc<dyn Fetch> {
    let source = json!({ "users": { "dari": "secret" }, "account": "ws", "fetch": true });
    let role = built(world, &source, |build| (KIND.build)(build).unwrap_or_else(|faults| panic!("{faults:?}")));
    let SourceRole::Hook(hook) = role else { panic!("no hook") };
    hook.fetch().unwrap()
}

fn hinted(world: &(Clock, Served), kind: &str, item: &Value) -> Event {
    let mut new = NewEvent::new(kind, Payload::from_value(item));
    new.subject =
        Some(format!("{}/{}", item["object"]["type"].as_str().unwrap(), item["object"]["id"].as_str().unwrap()));
    new.stamp("tasks", &world.0).unwrap()
}

#[tokio::test]
async fn what_a_webhook_is_about_is_read_again_under_the_same_id() {
    let world = played().await;
    let again = fetch(&world);
    world.1.play(Method::POST, "/_sandbox/tasks", &json!({ "id": "42", "name": "As it is", "text": "whole" })).await;
    world
        .1
        .play(Method::POST, "/_sandbox/comments", &json!({ "id": "77", "task": "42", "text": "As it is now" }))
        .await;
    let read = async |kind: &str, what: &str, id: &str, page: &str| {
        let item = json!({ "action": "update", "object": { "type": what, "id": id, "page": page }, "new": { "priority": "5" }, "old": { "priority": "1" }, "user_from": { "id": "9" } });
        let event = hinted(&world, kind, &item);
        match again.fetch(&event).await.unwrap() {
            Fetched::Event(read) => {
                assert_eq!(
                    (read.id.as_deref(), read.subject.as_ref()),
                    (Some(event.id.as_str()), event.subject.as_ref())
                );
                assert_eq!((read.data.value()["hook"].clone(), read.time), (item, Some(event.time)));
                Ok(read.data.value())
            }
            Fetched::Gone(why) => Err(why),
        }
    };
    let task = read("task.updated", "task", "42", "/project/26/42/").await.unwrap();
    assert_eq!((&task["task"]["title"], &task["task"]["text"]), (&json!("As it is"), &json!("whole")));
    assert_eq!((&task["by"]["id"], &task["old"]["priority"]), (&json!("9"), &json!("1")));
    let comment = read("comment.updated", "comment", "77", "/project/26/42/#com77").await.unwrap();
    assert_eq!((&comment["comment"]["text"], &comment["task"]["id"]), (&json!("As it is now"), &json!("42")));
    let project = read("project.updated", "project", "26", "/project/26/").await.unwrap();
    assert_eq!(project["project"]["title"], "Shop");
    assert_eq!(read("task.updated", "task", "43", "/project/26/43/").await.unwrap_err(), "5: Task is invalid");
    assert_eq!(read("comment.updated", "comment", "78", "/task/42/").await.unwrap_err(), "the task has no comment 78");
    assert_eq!(read("project.updated", "project", "99", "/project/99/").await.unwrap_err(), "4: Project is invalid");
    let calls = world.1.calls.count();
    assert_eq!(read("task.deleted", "task", "42", "/project/26/42/").await.unwrap_err(), "it was deleted");
    assert_eq!(world.1.calls.count(), calls, "there is nothing to ask for");

    switch(&world.1, json!({ "rate": 1.0 })).await;
    let event =
        hinted(&world, "task.updated", &json!({ "action": "update", "object": { "type": "task", "id": "42" } }));
    let fast = again.fetch(&event).await;
    assert!(matches!(fast, Err(PollError::Retry { account: true, .. })), "{fast:?}");
}
