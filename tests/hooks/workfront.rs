//! Workfront's event subscriptions over a real socket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self as served, Fault, Served};
use dari::connectors::workfront::{MANIFEST, hook::KIND, sandbox};
use dari::connectors::{Account, Build, Fetched, PollError, Registrar, SourceRole};
use dari::event::{NewEvent, Payload};
use dari::settings::{Node, Settings};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::support::{Bridge, hook};

const TOKEN: &str = "0123456789abcdef";

fn update() -> Value {
    json!({
        "eventType": "UPDATE", "subscriptionId": "s1", "eventTime": { "nano": 998_000_000, "epochSecond": 1_507_319_336 },
        "newState": { "ID": "42", "objCode": "TASK", "name": "b", "lastUpdateDate": "2017-10-06T13:48:56.980-0600" },
        "oldState": { "ID": "42", "objCode": "TASK", "name": "a" },
    })
}

#[tokio::test]
async fn workfront_is_believed_by_its_bearer_token() {
    let source = json!({ "tokens": [TOKEN, "fedcba9876543210"] });
    let bridge = Bridge::start(vec![("tasks", hook("workfront-hook", &source))]).await;
    let body = update().to_string();
    let bearer = format!("Bearer {TOKEN}");
    let json = ("Content-Type", "application/json");
    for token in [bearer.as_str(), "Bearer fedcba9876543210"] {
        let reply = bridge.post("/hooks/tasks", &[json, ("Authorization", token)], body.as_bytes()).await;
        assert_eq!(reply.status, 202);
    }
    let mut encoded = update();
    for key in ["newState", "oldState"] {
        encoded[key] = Value::from(STANDARD.encode(encoded[key].to_string()));
    }
    let encoded = encoded.to_string();
    assert_eq!(bridge.post("/hooks/tasks", &[json, ("Authorization", &bearer)], encoded.as_bytes()).await.status, 202);
    let events = bridge.fake.events();
    assert_eq!((events[0].kind.as_str(), events[0].subject.as_deref()), ("object.updated", Some("42")));
    assert_eq!(events[0].time.to_string(), "2017-10-06T19:48:56.998Z");
    assert_eq!(events[0].data.value()["before"]["name"], "a");
    assert!(events.iter().all(|event| event.id == events[0].id), "a repetition collapses, in base64 too");

    for wrong in ["Bearer 0123456789abcdeF", "Basic eDp5", TOKEN] {
        let reply = bridge.post("/hooks/tasks", &[json, ("Authorization", wrong)], body.as_bytes()).await;
        assert_eq!(reply.status, 401, "{wrong}");
    }
    assert_eq!(bridge.post("/hooks/tasks", &[json], body.as_bytes()).await.status, 401);
    for senseless in [
        json!({}),
        json!([1]),
        json!({ "eventType": "SHARE", "newState": { "ID": "1" } }),
        json!({ "eventType": "UPDATE", "newState": "*" }),
    ] {
        let senseless = senseless.to_string();
        let reply = bridge.post("/hooks/tasks", &[json, ("Authorization", &bearer)], senseless.as_bytes()).await;
        assert_eq!(reply.status, 400, "{senseless}");
    }
    assert_eq!(bridge.fake.events().len(), 3);
}

#[tokio::test]
async fn an_object_is_read_again_under_the_same_id() {
    let world = played().await;
    let task = json!({ "objCode": "TASK", "ID": "42", "name": "as it is", "DE:CustomText": "x" });
    world.1.play(http::Method::POST, "/_sandbox/objects", &task).await;
    let source = json!({ "tokens": TOKEN, "account": "wf", "object": "task", "fetch": true });
    let role = built(&world, &json!({ "session": sandbox::SESSION }), &source, |build| (KIND.build)(build).unwrap());
    let SourceRole::Hook(hook) = role else { panic!("no hook") };
    let again = hook.fetch().unwrap();
    let hinted = |kind: &str, id: &str| {
        let mut new = NewEvent::new(
            kind,
            Payload::from_value(&json!({ "before": { "name": "as it was" }, "raw": { "subscriptionId": "s1" } })),
        );
        new.subject = Some(id.to_owned());
        new.stamp("tasks", &world.0).unwrap()
    };
    let event = hinted("object.updated", "42");
    let Fetched::Event(read) = again.fetch(&event).await.unwrap() else { panic!("gone") };
    assert_eq!((read.id.as_deref(), read.subject.as_deref()), (Some(event.id.as_str()), Some("42")));
    let data = read.data.value();
    assert_eq!((&data["object"]["name"], &data["before"]["name"]), (&json!("as it is"), &json!("as it was")));
    assert_eq!(
        (&data["object"]["parameterValues"]["DE:CustomText"], &data["hook"]["subscriptionId"]),
        (&json!("x"), &json!("s1"))
    );
    for gone in [hinted("object.updated", "43"), hinted("object.deleted", "42")] {
        assert!(matches!(again.fetch(&gone).await.unwrap(), Fetched::Gone(_)));
    }
    world.1.faults.next(Fault::ServerError, 1);
    assert!(matches!(again.fetch(&event).await, Err(PollError::Retry { .. })));
}

async fn played() -> (Clock, Served) {
    let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
    let router = (MANIFEST.sandbox.unwrap().router)(clock.clone());
    let served = served::serve(router, clock.clone(), served::LOOPBACK).await.unwrap();
    (clock, served)
}

fn registrar(world: &(Clock, Served), auth: &Value, source: &Value) -> Box<dyn Registrar> {
    built(world, auth, source, |build| (KIND.registrar.unwrap())(build).unwrap())
}

/// What is built from a source's settings at the sandbox's account.
fn built<T>((clock, served): &(Clock, Served), auth: &Value, source: &Value, what: impl Fn(&Build<'_>) -> T) -> T {
    let account = Node::from(&json!({ "host": "acme.my.workfront.com", "auth": auth }));
    let source = Node::from(source);
    let account_fields = MANIFEST.account.as_ref().unwrap().fields;
    what(&Build {
        name: "tasks",
        settings: Settings::new(&source, KIND.fields),
        account: Some(Account { name: "wf", settings: Settings::new(&account, account_fields), url: &served.url }),
        zone: TimeZone::UTC,
        client: Client::new().unwrap(),
        clock: clock.clone(),
    })
}

#[tokio::test]
async fn subscriptions_are_made_listed_and_ended() {
    let world = played().await;
    let key = json!({ "api_key": sandbox::API_KEY });
    let session = json!({ "session": sandbox::SESSION });
    let login = json!({ "login": { "username": sandbox::USERNAME, "password": sandbox::PASSWORD } });
    let source = json!({ "tokens": TOKEN, "account": "wf", "object": "task", "events": ["CREATE", "UPDATE"],
        "base64": true, "connector": "OR",
        "filters": [{ "fieldName": "status", "fieldValue": "CUR" }, { "fieldName": "name", "comparison": "changed" }] });
    let url = "https://bridge.acme.kr/hooks/tasks".parse().unwrap();
    let first = registrar(&world, &key, &source);
    let made = first.register(&url).await.unwrap();
    let about: Vec<&str> = made.iter().map(|one| one.about.as_str()).collect();
    assert_eq!(about, ["TASK CREATE", "TASK UPDATE"]);
    let there = world.1.state().await["subscriptions"].clone();
    assert_eq!(
        there[0],
        json!({ "objCode": "TASK", "eventType": "CREATE", "url": "https://bridge.acme.kr/hooks/tasks", "authToken": TOKEN,
            "filters": [{ "fieldName": "status", "fieldValue": "CUR", "comparison": "eq" }, { "fieldName": "name", "comparison": "changed" }],
            "filterConnector": "OR", "base64Encoding": "true", "id": made[0].id })
    );

    for auth in [&key, &session, &login] {
        let again = registrar(&world, auth, &source);
        assert_eq!(again.register(&url).await.unwrap(), made, "what is there already is not made twice");
        let listed = again.list().await.unwrap();
        assert_eq!(listed, made);
        assert!(!format!("{listed:?}").contains(TOKEN));
    }
    assert!(first.remove(&made[0].id).await.unwrap());
    assert!(!first.remove(&made[0].id).await.unwrap(), "it is gone");
    assert_eq!(first.list().await.unwrap(), &made[1..]);
}

#[tokio::test]
async fn all_pages_of_subscriptions_are_listed() {
    let world = played().await;
    let source = json!({ "tokens": TOKEN, "account": "wf", "object": "issue" });
    let registrar = registrar(&world, &json!({ "session": sandbox::SESSION }), &source);
    for n in 0..367 {
        let url = format!("https://bridge.acme.kr/hooks/{n}").parse().unwrap();
        assert_eq!(registrar.register(&url).await.unwrap().len(), 3);
    }
    assert_eq!(registrar.list().await.unwrap().len(), 1_101);
}

#[tokio::test]
async fn what_is_refused_is_told() {
    let world = played().await;
    let source = json!({ "tokens": TOKEN, "account": "wf", "object": "task" });
    let stranger = registrar(&world, &json!({ "session": "hunter2" }), &source);
    let url = "https://bridge.acme.kr/hooks/tasks".parse().unwrap();
    let refused = stranger.register(&url).await.unwrap_err();
    assert!(matches!(refused, PollError::Suspend { .. }) && !refused.to_string().contains("hunter2"), "{refused}");
    assert!(matches!(stranger.list().await, Err(PollError::Suspend { .. })));
    let known = registrar(&world, &json!({ "session": sandbox::SESSION }), &source);
    let plain = "http://bridge.acme.kr/hooks/tasks".parse().unwrap();
    assert!(matches!(known.register(&plain).await, Err(PollError::Stop { .. })), "the vendor sends to https only");
    world.1.faults.next(Fault::ServerError, 1);
    assert!(matches!(known.list().await, Err(PollError::Retry { .. })));
}
