//! The public listener over real sockets: every answer, every limit.
// One binary: each would link the whole crate again.

mod support;

use serde_json::json;
use support::{Bridge, hex_hmac, hook, open};

#[tokio::test]
async fn an_event_is_durable_before_it_is_answered() {
    let bridge = Bridge::start(vec![("any", open())]).await;
    let body = br#"{ "price": 1.10, "big": 12345678901234567890123 }"#;
    let reply = bridge.post("/hooks/any", &[("X-Delivery", "7"), ("Authorization", "Bearer x")], body).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let events = bridge.fake.events();
    assert_eq!(reply.json(), json!({"id": events[0].id}));
    assert_eq!(events[0].data.bytes(), body, "byte for byte");
    assert_eq!((events[0].source.as_str(), events[0].kind.as_str()), ("any", "received"));
    assert_eq!(events[0].headers.get("x-delivery").map(String::as_str), Some("7"));
    assert!(!events[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn github_is_believed_by_its_signature_alone() {
    let bridge = Bridge::start(vec![("git", hook("github-hook", &json!({"secrets": ["old", "hush"]})))]).await;
    let body = br#"{ "action":"opened", "issue":{"number":7}, "repository":{"full_name":"a/b"} }"#;
    let signature = format!("sha256={}", hex_hmac("hush", &[body]));
    let headers = [("X-GitHub-Event", "issues"), ("X-GitHub-Delivery", "d-1"), ("X-Hub-Signature-256", &signature)];
    let reply = bridge.post("/hooks/git", &headers, body).await;
    assert_eq!((reply.status, reply.json()), (202, json!({"id": "d-1"})));
    let event = &bridge.fake.events()[0];
    assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("issues.opened", Some("a/b#7")));
    assert_eq!(event.data.bytes(), body);
    assert!(!event.headers.contains_key("x-hub-signature-256"));

    let mut changed = body.to_vec();
    changed[1] = b'\t';
    let reply = bridge.post("/hooks/git", &headers, &changed).await;
    assert_eq!((reply.status, reply.problem().as_str()), (401, "the signature does not match"));
    assert_eq!(bridge.fake.events().len(), 1);
    let refused = bridge.fake.refused.lock().unwrap()[0].clone();
    assert_eq!((refused.status, refused.source.as_str(), refused.bytes), (401, "git", body.len() as u64));
    assert_eq!(refused.why, "the signature does not match");
    assert!(refused.peer.starts_with("127.0.0.1:"));
}
