//! Walla's webhooks read anew, against its sandbox.

use std::sync::Arc;
use std::time::Duration;

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self, Served};
use dari::connectors::walla::{MANIFEST, hook::KIND};
use dari::connectors::{Account, Build, Fetch, Fetched, PollError, SourceRole};
use dari::event::{Event, NewEvent, Payload};
use dari::settings::{Node, Settings};
use http::Method;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

const RESPONSE: &str = r#"{"client_id":"walla-client","api_key":"walla-key"}"#;
const OPEN: &str = r#"{"open_api_key":"walla-open-key"}"#;

struct World {
    clock: Clock,
    served: Served,
}

impl World {
    async fn new() -> Self {
        let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
        let router = (MANIFEST.sandbox.unwrap().router)(clock.clone());
        let served = sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap();
        Self { clock, served }
    }

    async fn submit(&self, id: &str, name: &str) {
        let submission = json!({ "id": id, "answers": { "이름": name, "개인정보 동의": "예" } });
        self.served.play(Method::POST, "/_sandbox/responses", &submission).await;
    }

    async fn set(&self, switches: &Value) {
        self.served.play(Method::PUT, "/_sandbox/state", switches).await;
    }

    fn try_hook(&self, account: Option<&str>, mut source: Value) -> Result<SourceRole, String> {
        source["verify"] = json!({ "bearer": { "tokens": ["t"] } });
        source["fetch"] = json!(true);
        let keys: Value = serde_json::from_str(account.unwrap_or("{}")).unwrap();
        let (keys, source) = (Node::from(&keys), Node::from(&source));
        let keys = Settings::new(&keys, MANIFEST.account.as_ref().unwrap().fields);
        let build = Build {
            name: "signup",
            settings: Settings::new(&source, KIND.fields),
            account: account.map(|_| Account { name: "walla", settings: keys, url: &self.served.url }),
            zone: TimeZone::get("Asia/Seoul").unwrap(),
            client: Client::new().unwrap(),
            clock: self.clock.clone(),
        };
        (KIND.build)(&build).map_err(|faults| faults.into_iter().map(|f| f.message).collect::<Vec<_>>().join("; "))
    }

    fn fetch(&self, account: &str, source: Value) -> Arc<dyn Fetch> {
        match self.try_hook(Some(account), source) {
            Ok(SourceRole::Hook(hook)) => hook.fetch().expect("it reads again"),
            Ok(_) => panic!("no hook"),
            Err(why) => panic!("{why}"),
        }
    }

    /// An event as the hook's body makes it.
    fn hinted(&self, kind: &str, body: &Value) -> Event {
        let mut new = NewEvent::new(kind, Payload::from_value(body));
        new.subject = body["responseKey"].as_str().map(str::to_owned);
        new.stamp("signup", &self.clock).unwrap()
    }
}

fn told(fetched: Result<Fetched, PollError>) -> String {
    match fetched {
        Ok(Fetched::Gone(why)) => format!("gone: {why}"),
        Ok(Fetched::Event(new)) => format!("event: {} {:?}", new.kind, new.subject),
        Err(PollError::Retry { after, why, .. }) => format!("retry {after:?}: {why}"),
        Err(PollError::Suspend { why }) => format!("suspend: {why}"),
        Err(PollError::Stop { why }) => format!("stop: {why}"),
    }
}

#[tokio::test]
async fn a_response_is_read_again_under_the_same_id_with_the_data_of_a_poll() {
    let bodies = [
        (RESPONSE, json!({}), json!({ "responseKey": "r1", "projectKey": "pj-7", "name": "as it was said" })),
        (
            RESPONSE,
            json!({ "project": "pj-7" }),
            json!({ "form_response": { "response_id": "r1" }, "form_answers": [] }),
        ),
        (RESPONSE, json!({ "workspace": "ws-1", "project": "pj-7" }), json!({ "responseKey": "r1" })),
        (OPEN, json!({ "form": "form-7" }), json!({ "responseId": "r1" })),
    ];
    for (account, source, body) in bodies {
        let world = World::new().await;
        world.submit("r1", "김하나").await;
        let again = world.fetch(account, source);
        let event = world.hinted("response.created", &body);
        for _ in 0..2 {
            let Fetched::Event(read) = again.fetch(&event).await.unwrap() else { panic!("gone: {body}") };
            assert_eq!((read.id.as_deref(), read.subject.as_deref()), (Some(event.id.as_str()), Some("r1")));
            let data = read.data.value();
            assert_eq!(data["answers"], json!({ "이름": "김하나", "개인정보 동의": "예" }), "a single choice is text");
            assert_eq!(data["fields"]["field_name"], "김하나");
            assert_eq!(read.time.unwrap().to_string(), "2026-11-21T00:00:00Z");
        }
        let asked: Vec<String> = world.served.calls.all().into_iter().map(|call| call.path).collect();
        let labels = asked.iter().filter(|path| path.ends_with("/columns") || path.ends_with("/fields")).count();
        assert_eq!(labels, 1, "labels are read once: {asked:?}");
    }
}

#[tokio::test]
async fn a_response_that_is_not_shown_yet_is_waited_for_a_minute() {
    let world = World::new().await;
    world.set(&json!({ "lag": 20 })).await;
    world.submit("r1", "김하나").await;
    let again = world.fetch(RESPONSE, json!({ "project": "pj-7" }));
    let event = world.hinted("response.created", &json!({ "responseKey": "r1" }));
    insta::assert_snapshot!(told(again.fetch(&event).await), @"retry Some(5s): walla does not show the response yet");
    world.clock.advance(SignedDuration::from_secs(20));
    insta::assert_snapshot!(told(again.fetch(&event).await), @r#"event: response.created Some("r1")"#);

    let never = world.hinted("response.created", &json!({ "responseKey": "r9" }));
    world.clock.advance(SignedDuration::from_secs(60));
    insta::assert_snapshot!(told(again.fetch(&never).await), @"gone: walla has no response with this key");
}

#[tokio::test]
async fn what_cannot_be_read_again_goes_on_as_it_came_and_says_why() {
    let world = World::new().await;
    let again = world.fetch(RESPONSE, json!({}));
    let fetch = async |kind: &str, body: Value| told(again.fetch(&world.hinted(kind, &body)).await);
    let bare = json!({ "event_type": "response_submitted", "answers": [{ "field_id": "q1", "value": "x" }] });
    insta::assert_snapshot!(fetch("response.created", bare).await, @"gone: its body has no responseKey: set a body of your own in Walla, with {{responseKey}} in it");
    insta::assert_snapshot!(fetch("response.created", json!({ "responseKey": "r1" })).await, @"gone: its body has no projectKey, and the source no `project`");
    let rejected = json!({ "responseKey": "r1", "projectKey": "pj-7", "event_type": "response_rejected" });
    insta::assert_snapshot!(fetch("response.rejected", rejected).await, @"gone: walla has no response with this key");
    let elsewhere = json!({ "responseKey": "r1", "projectKey": "pj-8" });
    insta::assert_snapshot!(fetch("response.created", elsewhere).await, @r#"stop: walla knows no project "pj-8" (404): Not Found; the keys see the workspaces ws-1 (마케팅팀 워크스페이스)"#);

    let wrong = world.fetch(&RESPONSE.replace("walla-key", "other"), json!({ "project": "pj-7" }));
    let event = world.hinted("response.created", &json!({ "responseKey": "r1" }));
    assert!(told(wrong.fetch(&event).await).starts_with("suspend: walla refused the account's keys (401"));
    world.served.faults.next(sandbox::Fault::TooManyRequests { after: 30 }, 1);
    let Err(PollError::Retry { after, account: true, .. }) =
        again.fetch(&world.hinted("response.created", &json!({ "responseKey": "r1", "projectKey": "pj-7" }))).await
    else {
        panic!("not limited")
    };
    assert_eq!(after, Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn half_of_what_reading_again_needs_is_a_fault_of_the_config() {
    let world = World::new().await;
    let fault = |account, source| world.try_hook(account, source).err().expect("a fault");
    insta::assert_snapshot!(fault(None, json!({})), @"to read a response again it needs an `account`");
    insta::assert_snapshot!(fault(Some(OPEN), json!({})), @"to read a response again with an open_api_key it needs the `form`");
    insta::assert_snapshot!(fault(Some(OPEN), json!({ "project": "p" })), @"the account has an open_api_key: expected `form`, and neither `workspace` nor `project`");
    insta::assert_snapshot!(fault(Some(RESPONSE), json!({ "workspace": "w" })), @"the account has a client_id and an api_key: expected `project`, perhaps with `workspace`, and no `form`");
}
