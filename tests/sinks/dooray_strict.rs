//! Dooray's sandbox takes nothing that the vendor's pages do not.

use ::http::header::AUTHORIZATION;
use dari::connectors::Call;
use dari::connectors::dooray::{MANIFEST, sandbox};
use serde_json::{Value, json};
use url::Url;

use crate::world::World;

const RIGHT: &str = "dooray-api sandbox-token";
const WINDOW: &str = "timeMin=2026-11-01T00:00:00%2B09:00&timeMax=2026-11-30T00:00:00%2B09:00";
const ALL_EVENTS: &str = "/calendar/v1/calendars/*/events";
const EVENTS: &str = "/calendar/v1/calendars/1/events";
const POSTS: &str = "/project/v1/projects/7/posts";
const HOOKS: &str = "/project/v1/projects/7/hooks";
const LOGS: &str = "/messenger/v1/channels/900/logs";

/// The status of the answer, whose envelope says the same.
async fn get(world: &World, path: &str, token: &str) -> u16 {
    ask(world, ::http::Method::GET, path, None, token).await
}

async fn post(world: &World, path: &str, body: Value) -> u16 {
    ask(world, ::http::Method::POST, path, Some(body), RIGHT).await
}

async fn ask(world: &World, method: ::http::Method, path: &str, body: Option<Value>, token: &str) -> u16 {
    let url = Url::parse(&format!("{}{path}", world.served.url)).unwrap();
    let mut call = Call::new(method, url).header(AUTHORIZATION, token.parse().unwrap());
    if let Some(body) = body {
        call = call.json(&body);
    }
    let answer = world.send(&call).await.unwrap();
    let told = answer.json().unwrap_or_default();
    assert_eq!(told["header"]["isSuccessful"], answer.status.is_success(), "{path}");
    answer.status.as_u16()
}

/// A meeting with one field that is different.
fn event(key: &str, value: Value) -> Value {
    let mut event =
        json!({ "subject": "x", "startedAt": "2026-11-23T10:30:00+09:00", "endedAt": "2026-11-23T11:30:00+09:00" });
    event[key] = value;
    event
}

#[tokio::test]
async fn questions_are_the_pages() {
    let world = World::of(&MANIFEST).await;
    let calendars = "/calendar/v1/calendars";
    assert_eq!(get(&world, calendars, "Bearer sandbox-token").await, 401);
    let cases = [
        (200, calendars.to_owned()),
        (400, format!("{calendars}?size=101")),
        (200, format!("{ALL_EVENTS}?{WINDOW}")),
        // By its id, which the page forbids; without an end; a raw plus; quoted; too long.
        (400, format!("{EVENTS}?{WINDOW}")),
        (400, format!("{ALL_EVENTS}?timeMin=2026-11-01T00:00:00%2B09:00")),
        (400, format!("{ALL_EVENTS}?{}", WINDOW.replace("%2B", "+"))),
        (
            400,
            format!(
                "{ALL_EVENTS}?{}",
                WINDOW.replace("2026-11-01T00:00:00%2B09:00", "%222026-11-01T00:00:00%2B09:00%22")
            ),
        ),
        (400, format!("{ALL_EVENTS}?{}", WINDOW.replace("11-30", "12-30"))),
        (400, format!("{ALL_EVENTS}?{WINDOW}&updatedSince=x")),
        (404, format!("{EVENTS}/9")),
        (404, "/project/v1/projects/8/posts".to_owned()),
        (400, format!("{POSTS}?postUpdatedAt=today")),
        (400, format!("{POSTS}?order=updatedAt")),
        (404, "/calendar/v2/calendars".to_owned()),
    ];
    for (status, path) in cases {
        assert_eq!(get(&world, &path, RIGHT).await, status, "{path}");
    }
}

#[tokio::test]
async fn bodies_are_the_pages() {
    let world = World::of(&MANIFEST).await;
    let whole = event("location", json!("x"));
    let cases = [
        (400, EVENTS, event("title", json!("x"))),
        (400, EVENTS, event("startedAt", json!("2026-11-23"))),
        (400, EVENTS, event("wholeDayFlag", json!(true))),
        (400, EVENTS, event("users", json!({ "to": [{ "id": 1 }] }))),
        (400, EVENTS, event("body", json!("text"))),
        (403, "/calendar/v1/calendars/2/events", whole.clone()),
        (200, EVENTS, whole),
        (400, POSTS, json!({ "body": { "mimeType": "text/html", "content": "" } })),
        (400, POSTS, json!({ "subject": "x", "priority": "urgent" })),
        (400, HOOKS, json!({ "url": "http://x", "sendEvents": ["postCreated"] })),
        (400, HOOKS, json!({ "url": "https://x", "sendEvents": ["postDeleted"] })),
        (200, HOOKS, json!({ "url": "https://x", "type": "task", "sendEvents": ["postCreated"] })),
        (403, "/messenger/v1/channels/1/logs", json!({ "text": "x" })),
        (400, LOGS, json!({ "text": "" })),
        (404, "/services/1/2/3", json!({ "botName": "x", "text": "x" })),
        (400, sandbox::WEBHOOK, json!({ "botName": "x" })),
    ];
    for (status, path, body) in cases {
        assert_eq!(post(&world, path, body.clone()).await, status, "{path} {body}");
    }
    let without_body = ask(&world, ::http::Method::POST, LOGS, None, RIGHT).await;
    assert_eq!(without_body, 415);
}
