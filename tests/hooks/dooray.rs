//! Dooray's project hooks over a real socket.

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::dooray::{MANIFEST, hook::KIND};
use dari::connectors::sandbox::{self, Served};
use dari::connectors::{Account, Build, Fetched, PollError, SourceRole};
use dari::event::{NewEvent, Payload};
use dari::settings::{Node, Settings};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::support::{Bridge, hook};

const SECRET: &str = "0123456789abcdef";

#[tokio::test]
async fn dooray_is_believed_by_the_secret_in_its_path() {
    let bridge =
        Bridge::start(vec![("tasks", hook("dooray-hook", &json!({"secrets": [SECRET, "fedcba9876543210"]})))]).await;
    let created = r#"{"hookEventType":"postCreated","hookVersion":2,"post":{"id":"42","subject":"버그","updatedAt":"2026-01-02T12:00:26.453+09:00"},"project":{"id":"7"}}"#;
    let path = format!("/hooks/tasks/{SECRET}");
    let reply = bridge.post(&path, &[], created.as_bytes()).await;
    assert_eq!(reply.status, 202);
    assert_eq!(bridge.post("/hooks/tasks/fedcba9876543210", &[], created.as_bytes()).await.status, 202);
    let events = bridge.fake.events();
    assert_eq!((events[0].kind.as_str(), events[0].subject.as_deref()), ("task.created", Some("task/42")));
    assert_eq!(events[0].time.to_string(), "2026-01-02T03:00:26.453Z");
    assert_eq!(events[0].data.bytes(), created.as_bytes());
    assert_eq!(events[0].id, events[1].id, "a repetition collapses");

    // As it was captured: the other spelling, null where the page has text.
    let captured = r#"{"webhookType":"postWorkflowChanged","version":2,"post":{"id":42,"dueDate":null,"parent":{"id":null}},"workflow":{"id":"4","name":"완료"}}"#;
    assert_eq!(bridge.post(&path, &[], captured.as_bytes()).await.status, 202);
    assert_eq!(
        (bridge.fake.events()[2].kind.as_str(), bridge.fake.events()[2].subject.as_deref()),
        ("task.workflow", Some("task/42"))
    );

    for wrong in ["/hooks/tasks", "/hooks/tasks/0123456789abcdeF"] {
        assert_eq!(bridge.post(wrong, &[], created.as_bytes()).await.status, 401, "{wrong}");
    }
    assert_eq!(bridge.post(&path, &[], b"{\"post\":{}}").await.status, 400);
    assert_eq!(bridge.post(&path, &[], b"[1]").await.status, 400);
    assert_eq!(bridge.send("GET", &path, &[], b"").await.status, 405);
    assert_eq!(bridge.fake.events().len(), 3);
}

async fn played() -> (Clock, Served) {
    let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
    let router = (MANIFEST.sandbox.unwrap().router)(clock.clone());
    let served = sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap();
    (clock, served)
}

/// What is built from a source's settings at the sandbox's account.
fn built<T>((clock, served): &(Clock, Served), source: &Value, what: impl Fn(&Build<'_>) -> T) -> T {
    let (account, source) = (Node::from(&json!({"token": "sandbox-token"})), Node::from(source));
    let account_fields = MANIFEST.account.as_ref().unwrap().fields;
    what(&Build {
        name: "tasks",
        settings: Settings::new(&source, KIND.fields),
        account: Some(Account { name: "dooray", settings: Settings::new(&account, account_fields), url: &served.url }),
        zone: TimeZone::get("Asia/Seoul").unwrap(),
        client: Client::new().unwrap(),
        clock: clock.clone(),
    })
}

#[tokio::test]
async fn a_project_can_be_asked_to_send_and_not_for_what_it_sends() {
    let world = played().await;
    let source =
        json!({"secrets": SECRET, "account": "dooray", "project": "7", "events": ["postCreated", "postMoved"]});
    let registrar = built(&world, &source, |build| (KIND.registrar.unwrap())(build).unwrap());
    let url = format!("https://bridge.acme.kr/hooks/tasks/{SECRET}").parse().unwrap();
    let made = registrar.register(&url).await.unwrap().remove(0);
    assert_eq!(
        (made.url.as_str(), made.about.as_str()),
        ("https://bridge.acme.kr/hooks/tasks/***", "postCreated, postMoved")
    );
    let there = world.1.state().await["hooks"][0].clone();
    assert_eq!((&there["id"], &there["url"]), (&json!(made.id), &json!(url.as_str())));
    assert_eq!(there["sendEvents"], json!(["postCreated", "postMoved"]));
    assert!(matches!(registrar.list().await, Err(PollError::Stop { .. })));
    assert!(matches!(registrar.remove(&made.id).await, Err(PollError::Stop { .. })));
}

#[tokio::test]
async fn a_task_is_read_again_under_the_same_id() {
    let world = played().await;
    world.1.play(http::Method::POST, "/_sandbox/tasks", &json!({"id": "42", "subject": "as it is"})).await;
    let source = json!({"secrets": SECRET, "account": "dooray", "fetch": true});
    let role = built(&world, &source, |build| (KIND.build)(build).unwrap_or_else(|faults| panic!("{faults:?}")));
    let SourceRole::Hook(hook) = role else { panic!("no hook") };
    let again = hook.fetch().unwrap();
    let hinted = |id: &str| {
        let body = json!({"hookEventType": "postCreated", "post": {"id": id, "subject": "as it was said"}});
        let mut new = NewEvent::new("task.created", Payload::from_value(&body));
        new.subject = Some(format!("task/{id}"));
        new.stamp("tasks", &world.0).unwrap()
    };
    let event = hinted("42");
    let Fetched::Event(read) = again.fetch(&event).await.unwrap() else { panic!("gone") };
    assert_eq!((read.id.as_deref(), read.subject.as_deref()), (Some(event.id.as_str()), Some("task/42")));
    assert_eq!(read.data.value()["task"]["title"], "as it is");
    assert!(matches!(again.fetch(&hinted("43")).await.unwrap(), Fetched::Gone(_)));
}
