//! Each vendor as it sends, over a real socket.

use serde_json::{Value, json};

use super::support::{Bridge, NOW, base64_of, hex_hmac, hmac, hook};

#[tokio::test]
async fn github_is_believed_by_its_signature_alone() {
    let bridge = Bridge::start(vec![("git", hook("github-hook", &json!({"secrets": ["old", "hush"]})))]).await;
    let body = br#"{ "action":"opened", "issue":{"number":7}, "repository":{"full_name":"a/b"} }"#;
    let signature = format!("sha256={}", hex_hmac("hush", &[body]));
    let headers = [("X-GitHub-Event", "issues"), ("X-GitHub-Delivery", "d-1"), ("X-Hub-Signature-256", &*signature)];
    let reply = bridge.post("/hooks/git", &headers, body).await;
    assert_eq!((reply.status, reply.json()), (202, json!({"id": "d-1"})));
    let event = &bridge.fake.events()[0];
    assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("issues.opened", Some("a/b#7")));
    assert_eq!(event.data.bytes(), body);
    assert!(event.body_key().is_some(), "a captured request cannot come back under a new id");
    assert!(!event.headers.contains_key("x-hub-signature-256"));

    let mut changed = body.to_vec();
    changed[1] = b'\t';
    let reply = bridge.post("/hooks/git", &headers, &changed).await;
    assert_eq!((reply.status, reply.problem().as_str()), (401, "the signature does not match"));
    assert_eq!(bridge.fake.events().len(), 1);
    let refused = bridge.fake.the_refused();
    assert_eq!((refused.status, refused.source.as_str(), refused.bytes), (401, "git", body.len() as u64));
    assert_eq!(refused.why, "the signature does not match");
    assert!(refused.peer.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn stripe_is_believed_for_five_minutes() {
    let bridge = Bridge::start(vec![("pay", hook("stripe-hook", &json!({"secrets": ["whsec_s"]})))]).await;
    let body = br#"{"id":"evt_1","type":"invoice.paid","created":1800000000,"data":{"object":{"id":"in_1"}}}"#;
    let send = async |sent: i64, secret: &str| {
        let time = sent.to_string();
        let header = format!("t={time},v1={},v0=00", hex_hmac(secret, &[time.as_bytes(), b".", body]));
        bridge.post("/hooks/pay", &[("Stripe-Signature", &*header)], body).await
    };
    assert_eq!(send(NOW - 300, "whsec_s").await.json(), json!({"id": "evt_1"}));
    let stale = send(NOW - 301, "whsec_s").await;
    assert_eq!(
        (stale.status, stale.problem().as_str()),
        (401, "the timestamp is 301 s old, at most 300 s are allowed")
    );
    assert_eq!(send(NOW, "s").await.status, 401);
    let event = &bridge.fake.events()[0];
    assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("invoice.paid", Some("in_1")));
    assert!(event.body_key().is_none(), "id and time are signed");
}

#[tokio::test]
async fn standard_webhooks_are_believed_for_five_minutes() {
    let bridge = Bridge::start(vec![("std", hook("standard-hook", &json!({"secrets": ["whsec_aHVzaA=="]})))]).await;
    let body = br#"{"type":"user.created","data":{}}"#;
    let send = async |sent: i64, id: &str| {
        let time = sent.to_string();
        let signature = format!("v1,{}", base64_of(hmac("hush", &[b"m-1.", time.as_bytes(), b".", body])));
        let headers = [("webhook-id", id), ("webhook-timestamp", &*time), ("webhook-signature", &*signature)];
        bridge.post("/hooks/std", &headers, body).await
    };
    assert_eq!(send(NOW, "m-1").await.json(), json!({"id": "m-1"}));
    assert_eq!(send(NOW, "m-2").await.problem(), "the signature does not match");
    assert_eq!(send(NOW - 301, "m-1").await.status, 401);
    assert_eq!(send(NOW + 301, "m-1").await.problem(), "the timestamp is 301 s ahead, at most 300 s are allowed");
    assert_eq!(bridge.fake.events()[0].kind, "user.created");
}

#[tokio::test]
async fn shopify_names_its_topic() {
    let bridge = Bridge::start(vec![("shop", hook("shopify-hook", &json!({"secrets": "hush"})))]).await;
    let body = br#"{"id":7,"updated_at":"2026-01-01T09:00:00+09:00"}"#;
    let signature = base64_of(hmac("hush", &[body]));
    let headers =
        [("X-Shopify-Topic", "orders/create"), ("X-Shopify-Webhook-Id", "w-1"), ("X-Shopify-Hmac-Sha256", &*signature)];
    assert_eq!(bridge.post("/hooks/shop", &headers, body).await.json(), json!({"id": "w-1"}));
    assert_eq!(bridge.post("/hooks/shop", &headers, b"{}").await.status, 401);
    let event = &bridge.fake.events()[0];
    assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("orders.create", Some("orders/7")));
}

async fn slack(bridge: &Bridge, sent: i64, media: &str, body: &str) -> super::support::Reply {
    let time = sent.to_string();
    let signature = format!("v0={}", hex_hmac("hush", &[b"v0:", time.as_bytes(), b":", body.as_bytes()]));
    let headers = [("X-Slack-Request-Timestamp", &*time), ("X-Slack-Signature", &*signature), ("Content-Type", media)];
    bridge.post("/hooks/slack", &headers, body.as_bytes()).await
}

#[tokio::test]
async fn slack_hears_its_challenge_and_nothing_else_of_ours() {
    let bridge = Bridge::start(vec![("slack", hook("slack-hook", &json!({"signing_secrets": ["hush"]})))]).await;
    let json = "application/json";
    let challenge = json!({"type": "url_verification", "token": "t", "challenge": "3eZb"}).to_string();
    let reply = slack(&bridge, NOW, json, &challenge).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "3eZb"));
    let noted = bridge.fake.the_refused();
    assert_eq!((noted.status, noted.why.as_str()), (200, "Slack's challenge (url_verification)"));

    let stale = slack(&bridge, NOW - 301, json, &challenge).await;
    assert_eq!(
        (stale.status, stale.problem().as_str()),
        (401, "the timestamp is 301 s old, at most 300 s are allowed")
    );

    let message = |extra: &Value| {
        let mut event = json!({"type": "message", "channel": "C1", "ts": "1.1", "event_ts": "1.1"});
        event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"type": "event_callback", "api_app_id": "A1", "event_id": "Ev1", "event": event}).to_string()
    };
    let reply = slack(&bridge, NOW, json, &message(&json!({"user": "U1"}))).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    let own = slack(&bridge, NOW, json, &message(&json!({"app_id": "A1"}))).await;
    assert_eq!(own.status, 200);
    let command = slack(&bridge, NOW, "application/x-www-form-urlencoded", "command=%2Fa&trigger_id=1.2").await;
    assert_eq!((command.status, command.body.as_str()), (200, ""));
    let events = bridge.fake.events();
    let seen: Vec<(&str, &str)> = events.iter().map(|event| (event.kind.as_str(), event.id.as_str())).collect();
    assert_eq!(seen, [("message.created", "Ev1"), ("command", "1.2")]);
}

#[tokio::test]
async fn worksection_hears_ok_or_it_switches_the_webhook_off() {
    let users = json!({"users": {"dari": "secret"}});
    let bridge = Bridge::start(vec![("tasks", hook("worksection-hook", &users))]).await;
    let ok = |reply: super::support::Reply| {
        assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"status":"OK"}"#));
    };
    ok(bridge.post("/hooks/tasks", &[], b"").await);
    ok(bridge.send("GET", "/hooks/tasks", &[], b"").await);
    let user = [("Authorization", "Basic ZGFyaTpzZWNyZXQ="), ("Content-Type", "text/plain")];
    ok(bridge.post("/hooks/tasks", &user, b"[]").await);
    assert!(bridge.fake.events().is_empty());

    let first = r#"{ "action":"post", "object":{"type":"task","id":7}, "date_added":"2026-01-02 10:16" }"#;
    let second = r#"{"action":"close","object":{"type":"task","id":"7"},"date_added":"2026-01-02 10:17"}"#;
    let body = format!("[{first}, {second}]");
    ok(bridge.post("/hooks/tasks", &user, body.as_bytes()).await);
    let events = bridge.fake.events();
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].kind.as_str(), events[1].kind.as_str()), ("task.created", "task.closed"));
    assert_eq!(
        (events[0].data.bytes(), events[0].time.to_string().as_str()),
        (first.as_bytes(), "2026-01-02T01:16:00Z")
    );
    ok(bridge.post("/hooks/tasks", &user, body.as_bytes()).await);
    assert_eq!(bridge.fake.events()[2].id, events[0].id, "the same item is the same event");

    assert_eq!(bridge.post("/hooks/tasks", &[], body.as_bytes()).await.status, 401);
    assert_eq!(bridge.post("/hooks/tasks", &[("Authorization", "Basic ZGFyaTp4")], body.as_bytes()).await.status, 401);
}

#[tokio::test]
async fn walla_sends_by_any_of_three_methods() {
    let keys = json!({"verify": {"header": {"name": "X-Key", "values": ["k"]}}});
    let bridge = Bridge::start(vec![("form", hook("walla-hook", &keys))]).await;
    let key = [("X-Key", "k")];
    assert_eq!(bridge.send("POST", "/hooks/form", &key, br#"{"responseKey":"r-1"}"#).await.status, 202);
    assert_eq!(bridge.send("PUT", "/hooks/form", &key, br#"{"responseKey":"r-2"}"#).await.status, 202);
    assert_eq!(bridge.send("GET", "/hooks/form?responseKey=r-3", &key, b"").await.status, 202);
    assert_eq!(bridge.send("GET", "/hooks/form?responseKey=r-3", &[("X-Key", "K")], b"").await.status, 401);
    assert_eq!(bridge.send("DELETE", "/hooks/form", &key, b"").await.status, 405);
    let subjects: Vec<String> = bridge.fake.events().iter().filter_map(|event| event.subject.clone()).collect();
    assert_eq!(subjects, ["r-1", "r-2", "r-3"]);
}
