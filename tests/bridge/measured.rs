//! `/metrics`: what it says after something happened, and that anybody's input makes no series.

use serde_json::json;

use crate::bridge::{HEAD, World};
use crate::receiver::{Answer, Receiver};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_happened_and_how_things_stand() {
    let refuse = |n| if n == 1 { Answer::Status(422, "no") } else { Answer::Ok };
    let receiver = Receiver::start(move |got, _| refuse(got.n())).await;
    let world = World::whole(&format!(
        r#"{}
sinks: {{ out: {{ http: {{ url: "{}", allow_private: true, limits: {{ monthly: 100 }} }} }} }}
routes: {{ news: {{ from: in, when: "data.n > 0", to: out, do: create, map: {{ n: "{{{{ data.n }}}}" }} }} }}
"#,
        HEAD.replace("}\nstore:", ", admin: { address: \"127.0.0.1:0\" } }\nstore:"),
        receiver.url
    ));
    let bridge = world.start().await;
    for (n, id) in [(0, "e-0"), (1, "e-1"), (2, "e-2")] {
        bridge.send(json!({ "id": id, "n": n })).await;
    }
    bridge.ended("e-1", "news", "rejected").await;
    bridge.ended("e-2", "news", "delivered").await;
    let stranger = bridge.http.post(format!("{}/hooks/{}", bridge.hooks, "x".repeat(40))).send().await.unwrap();
    assert_eq!(stranger.status(), 404);
    bridge.drained("news").await;
    let answer = bridge.http.get(format!("{}/metrics", bridge.admin.as_ref().unwrap())).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text().await.unwrap();
    for line in [
        r#"dari_events_received_total{source="in"} 3"#,
        r#"dari_events_published_total{source="in"} 3"#,
        r#"dari_requests_refused_total{source="unknown",status="404"} 1"#,
        r#"dari_attempts_total{route="news",outcome="reject"} 1"#,
        r#"dari_attempt_seconds_count{route="news"} 2"#,
        r#"dari_deliveries_total{route="news",ending="delivered"} 1"#,
        r#"dari_deliveries_total{route="news",ending="skipped"} 1"#,
        r#"dari_delivery_seconds_count{route="news"} 1"#,
        r#"dari_dead_letters{route="news",class="payload"} 1.0"#,
        r#"dari_quota_used{account="out"} 2.0"#,
        r#"dari_quota_remaining{account="out"} 98.0"#,
        r#"dari_suspended{scope="sink",name="out"} 0.0"#,
        r#"dari_queue_messages{queue="news"} 0.0"#,
        "dari_broker_up 1.0",
        "dari_store_up 1.0",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    bridge.stop().await;
}
