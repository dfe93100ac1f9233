//! What the sandboxes refuse of calls that Dari itself would not make: wrong types, missing and unknown fields, wrong
//! credentials, and each limit. A sandbox that took what its vendor refuses would hide faults.

use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::{Method, StatusCode};
use dari::connectors::{Answer, Call, dooray, slack, workfront, worksection};
use dari::outcome::{Outcome, Verb};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use url::Url;

use crate::world::{Op, World};

async fn switch(world: &World, switches: Value) {
    world.served.play(Method::PUT, "/_sandbox/state", &switches).await;
}

fn to(world: &World, method: Method, path: &str) -> Call {
    Call::new(method, Url::parse(&format!("{}{path}", world.served.url)).unwrap())
}

fn with(call: Call, name: HeaderName, value: &str) -> Call {
    call.header(name, HeaderValue::from_str(value).unwrap())
}

// === Dooray ===

#[tokio::test]
async fn dooray_takes_no_value_of_another_type() {
    let world = World::of(&dooray::MANIFEST).await;
    let ask = async |method: Method, path: &str, body: Option<Value>| {
        let call = with(to(&world, method, path), AUTHORIZATION, "dooray-api sandbox-token");
        let call = body.iter().fold(call, Call::json);
        let answer = world.send(&call).await.unwrap();
        (answer.status.as_u16(), answer.json().unwrap()["header"]["resultMessage"].as_str().unwrap().to_owned())
    };
    let events = "/calendar/v1/calendars/1/events";
    let (start, end) = ("2026-11-23T10:30:00+09:00", "2026-11-23T11:30:00+09:00");
    for (key, value, about) in [
        ("wholeDayFlag", json!("false"), "wholeDayFlag is a boolean"),
        ("recurrenceRule", json!("weekly"), "recurrenceRule"),
        ("recurrenceRule", json!({ "frequency": "hourly" }), "recurrenceRule"),
        ("recurrenceRule", json!({ "frequency": "daily", "interval": 0 }), "recurrenceRule"),
        ("personalSettings", json!([]), "personalSettings is an object"),
        ("endedAt", json!("2026-11-23T09:30:00+09:00"), "endedAt is before startedAt"),
        ("location", json!(7), "subject and location are text"),
    ] {
        let mut event = json!({ "subject": "x", "startedAt": start, "endedAt": end });
        event[key] = value;
        assert_eq!(ask(Method::POST, events, Some(event)).await, (400, about.to_owned()), "{key}");
    }
    let posts = "/project/v1/projects/7/posts";
    for (key, value) in [
        ("tagIds", json!("5")),
        ("tagIds", json!([5])),
        ("milestoneId", json!("단계")),
        ("parentPostId", json!(7)),
        ("dueDateFlag", json!("true")),
        ("dueDate", json!("2026-11-23")),
        ("users", json!({ "to": "101" })),
        ("body", json!({ "mimeType": "text/plain", "content": "x" })),
    ] {
        let mut task = json!({ "subject": "x" });
        task[key] = value;
        assert_eq!(ask(Method::POST, posts, Some(task)).await.0, 400, "{key}");
    }
    let window = "timeMin=2026-11-01T00:00:00%2B09:00&timeMax=2026-11-30T00:00:00%2B09:00";
    for (path, status) in [
        (format!("/calendar/v1/calendars/*/events?{window}&postType=toMe&category=general"), 200),
        (format!("/calendar/v1/calendars/*/events?{window}&postType=mine"), 400),
        (format!("/calendar/v1/calendars/*/events?{window}&category=holiday"), 400),
        (format!("{posts}?postWorkflowClasses=registered,working"), 200),
        (format!("{posts}?postWorkflowClasses=open"), 400),
        (format!("{posts}?size=101"), 400),
    ] {
        assert_eq!(ask(Method::GET, &path, None).await.0, status, "{path}");
    }
    let hook =
        |kind: Value| json!({ "url": "https://bridge.acme.kr/hooks/x", "type": kind, "sendEvents": ["postCreated"] });
    for kind in [Value::Null, json!("calendar"), json!(1)] {
        assert_eq!(ask(Method::POST, "/project/v1/projects/7/hooks", Some(hook(kind))).await.0, 400);
    }
    for body in [
        json!({ "botName": "x", "text": 7 }),
        json!({ "botName": "x", "text": "x", "attachments": {} }),
        json!({ "botName": "x", "text": "x", "attachments": [{ "title": 1 }] }),
        json!({ "botName": "x", "text": "x", "attachments": [{ "footer": "x" }] }),
        json!({ "text": "x" }),
    ] {
        let path = dooray::sandbox::WEBHOOK;
        assert_eq!(ask(Method::POST, path, Some(body)).await, (400, "INVALID_PAYLOAD".to_owned()));
    }
    let state = world.served.state().await;
    assert!(["events", "tasks", "hooks", "posted"].iter().all(|list| state[*list] == json!([])), "{state}");
}

#[tokio::test]
async fn a_task_of_dooray_keeps_what_a_change_does_not_name_whether_it_merges_or_not() {
    for put_merges in [false, true] {
        let world = World::of(&dooray::MANIFEST).await;
        switch(&world, json!({ "put_merges": put_merges })).await;
        let account = "{ dooray: { dooray: { token: sandbox-token, url: 'URL' } } }";
        let sink = world.sink(account, "{ dooray-task: { account: dooray, project: '7' } }");
        let task =
            json!({ "subject": "x", "body": "보존", "priority": "high", "dueDate": "2026-12-24T09:00:00+09:00" });
        let id = world.delivered(&*sink, &Op::new(Verb::Create, task)).await.unwrap();
        let id: &'static str = Box::leak(id.into_boxed_str());
        let change = Op::new(Verb::Update, json!({ "subject": "y" })).linked(id);
        let outcome = change_of(&world, &*sink, &change).await;
        assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
        let task = world.served.state().await["tasks"][0].clone();
        let kept = (&task["subject"], &task["body"]["content"], &task["priority"]);
        assert_eq!(kept, (&json!("y"), &json!("보존"), &json!("high")), "merges: {put_merges}");
        assert!(!task["dueDate"].is_null(), "merges: {put_merges}");
    }
}

/// A change as the bridge makes it: what the sink reads first included.
async fn change_of(world: &World, sink: &dyn dari::connectors::Sink, op: &Op) -> Outcome {
    let empty = serde_json::Map::new();
    let fields = op.fields.as_object().unwrap_or(&empty);
    let operation = op.operation(fields, None, world.clock.now());
    let call = sink.prepare(&operation).unwrap();
    let answer = sink.send(&world.client, &call).await.unwrap();
    sink.classify(&call, &answer)
}

// === Slack ===

/// What Slack says to a message.
async fn posted(world: &World, mut body: Value) -> Value {
    body["channel"] = json!(slack::sandbox::CHANNEL);
    let call = with(to(world, Method::POST, "/api/chat.postMessage"), AUTHORIZATION, "Bearer xoxb-sandbox");
    world.send(&call.json(&body)).await.unwrap().json().unwrap()
}

#[tokio::test]
async fn slack_takes_no_block_that_block_kit_does_not_know() {
    let world = World::of(&slack::MANIFEST).await;
    let plain = |text: &str| json!({ "type": "plain_text", "text": text });
    let cases = [
        (json!({ "type": "sectoin" }), "unsupported type: sectoin [json-pointer:/blocks/0/type]"),
        (json!({ "type": "section" }), "missing required field: text [json-pointer:/blocks/0]"),
        (
            json!({ "type": "section", "text": "x" }),
            "must be one of: plain_text, mrkdwn [json-pointer:/blocks/0/text/type]",
        ),
        (
            json!({ "type": "section", "text": plain("") }),
            "must be more than 0 characters [json-pointer:/blocks/0/text/text]",
        ),
        (
            json!({ "type": "section", "text": plain(&"x".repeat(3_001)) }),
            "must be less than 3001 characters [json-pointer:/blocks/0/text/text]",
        ),
        (
            json!({ "type": "header", "text": { "type": "mrkdwn", "text": "x" } }),
            "must be one of: plain_text [json-pointer:/blocks/0/text/type]",
        ),
        (
            json!({ "type": "header", "text": plain(&"x".repeat(151)) }),
            "must be less than 151 characters [json-pointer:/blocks/0/text/text]",
        ),
        (json!({ "type": "actions", "elements": [] }), "missing required field: elements [json-pointer:/blocks/0]"),
        (
            json!({ "type": "actions", "elements": [{ "type": "button" }] }),
            "missing required field: text [json-pointer:/blocks/0/elements/0]",
        ),
        (
            json!({ "type": "actions", "elements": [{ "type": "button", "text": plain(&"x".repeat(76)) }] }),
            "must be less than 76 characters [json-pointer:/blocks/0/elements/0/text/text]",
        ),
        (
            json!({ "type": "context", "elements": vec![json!({ "type": "mrkdwn", "text": "x" }); 11] }),
            "no more than 10 items allowed [json-pointer:/blocks/0/elements]",
        ),
        (
            json!({ "type": "image", "image_url": "https://x" }),
            "missing required field: alt_text [json-pointer:/blocks/0]",
        ),
        (
            json!({ "type": "divider", "block_id": "x".repeat(256) }),
            "must be less than 256 characters [json-pointer:/blocks/0/block_id]",
        ),
    ];
    for (block, why) in cases {
        let said = posted(&world, json!({ "text": "x", "blocks": [block] })).await;
        assert_eq!(said["error"], "invalid_blocks", "{why}");
        assert_eq!(said["response_metadata"]["messages"], json!([format!("[ERROR] {why}")]));
    }
    let long = json!({ "type": "markdown", "text": "m".repeat(6_001) });
    assert_eq!(posted(&world, json!({ "text": "x", "blocks": [long, long] })).await["error"], "msg_blocks_too_long");
    assert_eq!(posted(&world, json!({ "text": "x", "attachments": "a" })).await["error"], "invalid_attachments");
    assert_eq!(world.served.state().await["messages"], json!([]));
}

#[tokio::test]
async fn slack_takes_fifty_changes_at_once_and_then_one_a_second() {
    let world = World::of(&slack::MANIFEST).await;
    let account = "{ team: { slack: { bot_token: xoxb-sandbox, url: 'URL' } } }";
    let sink = world.sink(account, &format!("{{ slack: {{ account: team, channel: {} }} }}", slack::sandbox::CHANNEL));
    let id = world.delivered(&*sink, &Op::new(Verb::Create, json!({ "text": "x" }))).await.unwrap();
    let id: &'static str = Box::leak(id.into_boxed_str());
    let change = || Op::new(Verb::Update, json!({ "text": "y" })).linked(id);
    for _ in 0..slack::sandbox::OFTEN {
        world.delivered(&*sink, &change()).await;
    }
    let limited = world.outcome(&*sink, &change()).await;
    let second = Duration::from_secs(1);
    assert!(
        matches!(&limited, Outcome::Retry { account: true, after: Some(after), .. } if *after == second),
        "{limited:?}"
    );
    world.advance(second);
    world.delivered(&*sink, &change()).await;
}

// === Workfront ===

async fn workfront(world: &World, path: &str, form: &str) -> Answer {
    let mut call = to(world, Method::POST, path);
    call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    call.body = format!("{form}&apiKey={}", workfront::sandbox::API_KEY).into();
    world.send(&call).await.unwrap()
}

#[tokio::test]
async fn workfront_takes_no_value_of_another_type_and_nothing_that_is_not_there() {
    let world = World::of(&workfront::MANIFEST).await;
    let project = workfront::sandbox::PROJECT;
    let new = |field: &str, value: Value| {
        let mut task = json!({ "name": "a", "projectID": project });
        task[field] = value;
        format!("updates={}", form_urlencoded::byte_serialize(task.to_string().as_bytes()).collect::<String>())
    };
    for (field, value) in [
        ("name", json!(7)),
        ("status", json!(["NEW"])),
        ("priority", json!("high")),
        ("percentComplete", json!(101)),
        ("assignedToID", json!("nobody")),
        ("parentID", json!("nothing")),
        ("assignments", json!("nobody")),
        ("projectID", json!("nowhere")),
        ("DE:CustomNumber", json!("12")),
        ("DE:Alien", json!("x")),
        ("plannedStartDate", json!("2026-11-30T09:00:00Z")),
    ] {
        let answer = workfront(&world, "/attask/api/v15.0/task", &new(field, value)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {}", answer.summary());
        assert!(answer.json().unwrap()["error"]["message"].is_string());
    }
    for (path, form, status) in [
        ("/attask/api/v15.0/task/search", "method=get&$$LIMIT=0", 422),
        ("/attask/api/v15.0/task/search", "method=get&ID_Sort=upwards", 422),
        ("/attask/api/v15.0/task/search", "method=get&$$FIRST=x", 422),
        ("/attask/api/v99.0/task/search", "method=get", 404),
        ("/attask/api/v15/task/search", "method=get", 404),
        ("/attask/api/v15.0/task/7", "method=patch", 422),
    ] {
        assert_eq!(workfront(&world, path, form).await.status.as_u16(), status, "{path} {form}");
    }
    let shared = format!("/attask/api/v15.0/project/{project}/share");
    let form = "method=put&accessorID=4c76ed7a0000054c172b2c2d9f7f81c3&accessorObjCode=USER&coreAction=RULE";
    assert_eq!(workfront(&world, &shared, form).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    // JSON is not what the page shows, and no key is no key.
    let json = to(&world, Method::POST, "/attask/api/v15.0/task").json(&json!({ "name": "a" }));
    assert_eq!(world.send(&json).await.unwrap().status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for (path, status) in [("", 401), ("?apiKey=wrong", 401), ("?sessionID=wrong", 401)] {
        let call = to(&world, Method::GET, &format!("/attask/api/v15.0/task/search{path}"));
        assert_eq!(world.send(&call).await.unwrap().status.as_u16(), status, "{path}");
    }
    assert_eq!(world.served.state().await["objects"].as_array().unwrap().len(), 2, "nothing was made");
}

#[tokio::test]
async fn workfronts_limits_are_the_pages() {
    let world = World::of(&workfront::MANIFEST).await;
    // A URI of 8,892 bytes passes, one more does not. The page counts the scheme and the host.
    let host = world.served.url.trim_start_matches("http://").len();
    let uri = |length: usize| {
        let head = "/attask/api/v15.0/project/search?name=";
        format!("{head}{}", "n".repeat(length - head.len() - host - "https://".len()))
    };
    let session = HeaderName::from_static("sessionid");
    for (length, status) in [(8_892, 200), (8_893, 414)] {
        let call = with(to(&world, Method::GET, &uri(length)), session.clone(), workfront::sandbox::SESSION);
        assert_eq!(world.send(&call).await.unwrap().status.as_u16(), status, "{length}");
    }
    // The eleventh at once is too many.
    switch(&world, json!({ "takes_ms": 300 })).await;
    let calls = (0..11).map(|_| workfront(&world, "/attask/api/v15.0/project/search", "method=get"));
    let answers = futures_util::future::join_all(calls).await;
    let refused = answers.iter().filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!((refused, answers.len()), (1, 11));
    switch(&world, json!({ "takes_ms": 0, "most_objects": 3 })).await;
    for n in 0..4 {
        let object =
            json!({ "objCode": "TASK", "ID": n.to_string(), "name": "x", "projectID": workfront::sandbox::PROJECT });
        world.served.play(Method::POST, "/_sandbox/objects", &object).await;
    }
    let search = async |form: &str| {
        let form = format!("method=get&ID_Sort=asc&{form}");
        workfront(&world, "/attask/api/v15.0/task/search", &form).await.status.as_u16()
    };
    // Four; three; the fourth on a page of its own; one and its project; two and theirs.
    let asked = [
        search("$$LIMIT=4").await,
        search("$$LIMIT=3").await,
        search("$$FIRST=3&$$LIMIT=1").await,
        search("$$LIMIT=1&fields=project:name").await,
        search("$$LIMIT=2&fields=project:name").await,
    ];
    assert_eq!(asked, [422, 200, 422, 200, 422]);
}

#[tokio::test]
async fn workfront_makes_no_subscription_of_what_it_does_not_know() {
    let world = World::of(&workfront::MANIFEST).await;
    let session = HeaderName::from_static("sessionid");
    let path = "/attask/eventsubscription/api/v1/subscriptions";
    let good =
        json!({ "objCode": "TASK", "eventType": "UPDATE", "url": "https://bridge.acme.kr/hooks/x", "authToken": "t" });
    let ask = async |body: &Value, key: &str| {
        let call = with(to(&world, Method::POST, path).json(body), session.clone(), key);
        world.send(&call).await.unwrap().status.as_u16()
    };
    assert_eq!(ask(&good, "wrong").await, 401);
    for (key, value) in [
        ("objCode", json!("PERSON")),
        ("eventType", json!("SHARE")),
        ("url", json!("http://bridge.acme.kr/hooks/x")),
        ("authToken", json!("")),
        ("retries", json!(3)),
        ("base64Encoding", json!(true)),
        ("filters", json!([{ "fieldName": "name", "comparison": "like" }])),
    ] {
        let mut wrong = good.clone();
        wrong[key] = value;
        assert_eq!(ask(&wrong, workfront::sandbox::SESSION).await, 400, "{key}");
    }
    assert_eq!(ask(&json!([good]), workfront::sandbox::SESSION).await, 400, "no object");
    assert_eq!(ask(&good, workfront::sandbox::SESSION).await, 201);
    assert_eq!(ask(&good, workfront::sandbox::SESSION).await, 409, "it is there already");
}

// === Worksection ===

async fn worksection(world: &World, query: &str) -> Value {
    world.advance(Duration::from_secs(1));
    let mut hash = Md5::new();
    hash.update(query);
    hash.update(worksection::sandbox::ADMIN_KEY);
    let path = format!("/api/admin/v2/?{query}&hash={}", hex::encode(hash.finalize()));
    world.send(&to(world, Method::GET, &path)).await.unwrap().json().unwrap_or_default()
}

#[tokio::test]
async fn worksection_says_what_is_wrong_with_a_call_and_does_nothing() {
    let world = World::of(&worksection::MANIFEST).await;
    let made = worksection(&world, "action=post_task&id_project=26&title=a").await;
    let id = made["data"]["id"].as_str().unwrap().to_owned();
    let cases = [
        ("action=post_task&title=a".to_owned(), 10, "Field is required"),
        ("action=post_task&id_project=26".to_owned(), 10, "Field is required"),
        ("action=post_task&id_project=99&title=a".to_owned(), 4, "Project is invalid"),
        ("action=post_task&id_project=26&title=a&colour=red".to_owned(), 10, "Field is unknown"),
        ("action=post_task&id_project=26&title=a&dateend=2026-12-24".to_owned(), 10, "Field is invalid"),
        ("action=post_task&id_project=26&title=a&dateend=32.12.2026".to_owned(), 10, "Field is invalid"),
        ("action=post_task&id_project=26&title=a&priority=11".to_owned(), 10, "Field is invalid"),
        ("action=post_task&id_project=26&title=a&email_user_to=x".to_owned(), 11, "Invalid email"),
        ("action=post_task&id_project=26&title=a&tags=Alien".to_owned(), 16, "Tag is invalid"),
        ("action=post_task&id_project=26&title=a&id_parent=9".to_owned(), 5, "Task is invalid"),
        (format!("action=update_task&id_task={id}&text=x"), 10, "Field is unknown"),
        (format!("action=reopen_task&id_task={id}"), 12, "Task is already active"),
        (format!("action=add_costs&id_task={id}&email_user_from=kim@acme.kr"), 10, "At least one of fields required"),
        (format!("action=add_costs&id_task={id}&time=1"), 10, "Field is required"),
        (format!("action=add_costs&id_task={id}&time=long&email_user_from=kim@acme.kr"), 10, "Field is invalid"),
        (format!("action=post_comment&id_task={id}"), 10, "At least one of fields required"),
        ("action=get_events&period=400m".to_owned(), 10, "Field is invalid"),
        ("action=get_events&period=1h&id_project=99".to_owned(), 4, "Project is invalid"),
        ("action=get_all_tasks&filter=done".to_owned(), 10, "Field is invalid"),
        ("action=get_projects&filter=mine".to_owned(), 10, "Field is invalid"),
        ("action=search_tasks".to_owned(), 10, "At least one of fields required"),
        ("action=search_tasks&id_project=99".to_owned(), 4, "Project is invalid"),
        ("action=delete_task&id_task=1".to_owned(), 1, "Action is invalid"),
        ("action=delete_webhook&id=7".to_owned(), 10, "WebHook not found"),
    ];
    for (query, code, message) in cases {
        let said = worksection(&world, &query).await;
        assert_eq!((&said["status_code"], &said["message"]), (&json!(code), &json!(message)), "{query}: {said}");
    }
    // A hash over other bytes than those that came, another method, an address that is too long, and twice in a second.
    world.advance(Duration::from_secs(1));
    let wrong = to(&world, Method::GET, "/api/admin/v2/?action=get_users&hash=0");
    assert_eq!(world.send(&wrong).await.unwrap().json().unwrap()["status_code"], 2);
    assert_eq!(world.send(&wrong).await.unwrap().json().unwrap()["message"], "Too many requests");
    let long = format!("/api/admin/v2/?action=get_users&hash={}", "0".repeat(8_192));
    assert_eq!(world.send(&to(&world, Method::GET, &long)).await.unwrap().status, StatusCode::URI_TOO_LONG);
    assert_eq!(world.send(&to(&world, Method::PUT, "/api/admin/v2/")).await.unwrap().status.as_u16(), 405);
    let state = world.served.state().await;
    let left = ["tasks", "comments", "costs", "webhooks"].map(|list| state[list].as_array().unwrap().len());
    assert_eq!(left, [1, 0, 0, 0]);
}

#[tokio::test]
async fn worksections_tokens_are_given_to_forms_and_end_after_a_month() {
    let world = World::of(&worksection::MANIFEST).await;
    let form = |refresh: &str| {
        format!(
            "client_id=sandbox-client&client_secret=sandbox-secret&grant_type=refresh_token&refresh_token={refresh}"
        )
    };
    let ask = async |body: String, media: &'static str| {
        let mut call = to(&world, Method::POST, "/oauth2/refresh");
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        call.body = body.into();
        let answer = world.send(&call).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "errors come with 200");
        answer.json().unwrap()
    };
    let urlencoded = "application/x-www-form-urlencoded";
    assert_eq!(ask(form("sandbox-refresh"), "application/json").await["errorDescription"], "The request is no form");
    let pair = ask(form("sandbox-refresh"), urlencoded).await;
    assert_eq!(pair["refresh_token"], "refresh-1");
    assert_eq!(
        ask(form("sandbox-refresh"), urlencoded).await["error"],
        "invalid_request",
        "the old one is no longer good"
    );
    world.advance(Duration::from_hours(24 * 30));
    assert_eq!(ask(form("refresh-1"), urlencoded).await["errorDescription"], "The refresh token is invalid");
}
