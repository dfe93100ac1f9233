//! Dooray's project hooks over a real socket.

use super::support::{Bridge, hook};
use serde_json::json;

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
