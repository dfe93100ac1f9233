//! A whole bridge before Daou Office Works: from a webhook to the record, by a token, until the month's calls are used up.

use dari::connectors::works::MANIFEST;
use http::Method;
use serde_json::{Value, json};

use crate::whole::{Whole, played};

const CONFIG: &str = r#"
accounts:
  daou: { works: { client_id: sandbox, client_secret: sandbox-secret, auth: oauth, url: "URL", limits: { monthly: 1000 } } }
sources:
  orders: { webhook: { verify: none, event: { id: "{{ body.id }}", type: "{{ body.kind }}", subject: "{{ body.no }}" } } }
sinks:
  crm: { works: { account: daou, token: sandbox-token, key: id, fields: { id: text, Title: text, number: number, radio: radio, checkbox: checkbox, datetime: datetime } } }
routes:
  orders-to-works:
    from: orders
    to: crm
    do: sync
    map:
      id: "{{ subject }}"
      Title: "{{ data.title }}"
      number: "{{ data.total }}"
      radio: "{{ data.grade }}"
      checkbox: "{{ data.tags | default(omit) }}"
      datetime: "{{ data.at }}"
    retry: { first: 300ms, factor: 1, max: 300ms }
"#;

fn order(id: &str, kind: &str, title: &str) -> Value {
    json!({ "id": id, "kind": kind, "no": 7, "title": title, "total": "1200.50", "grade": "초급", "at": "2026-11-21T01:30:00Z" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_becomes_a_record_that_follows_it_and_goes_with_it() {
    let bridge = Whole::start(played(&MANIFEST).await, CONFIG).await;
    let title = |state: &Value| state["records"][0]["Title"].clone();
    bridge.post("orders", &order("1", "placed", "하나")).await;
    let state = bridge.until("the record", |state| title(state) == "하나").await;
    assert_eq!(
        state["records"][0].to_string(),
        r#"{"id":"7","Title":"하나","number":1200.50,"radio":"초급","datetime":"2026-11-21 10:30"}"#
    );
    bridge.post("orders", &order("2", "changed", "둘")).await;
    bridge.until("the change", |state| title(state) == "둘").await;

    // The vendor's own count is reached before ours: the account waits, and nothing is lost.
    let used = bridge.served.state().await["quota"]["used"].clone();
    bridge.served.play(Method::PUT, "/_sandbox/state", &json!({ "quota": { "limit": used } })).await;
    bridge.post("orders", &order("3", "order.deleted", "")).await;
    let suspended = async || {
        let accounts = bridge.operator.accounts().await.unwrap();
        accounts.into_iter().find_map(|account| account.suspension).map(|suspension| suspension.why)
    };
    let mut why = None;
    while why.is_none() {
        bridge.until("the account to stop", |_| true).await;
        why = suspended().await;
    }
    assert!(why.unwrap().contains("code 905"));
    bridge.served.play(Method::PUT, "/_sandbox/state", &json!({ "quota": { "limit": 1_500 } })).await;
    // Its own probe may have resumed it a moment before.
    if let Err(error) = bridge.operator.resume(dari::outcome::Scope::Account, "daou").await {
        assert!(error.to_string().contains("is not suspended"), "{error}");
    }
    bridge.until("the record to go", |state| state["records"] == json!([])).await;
    let calls = bridge.stop().await.calls.all();
    let made: Vec<String> = calls.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    assert_eq!(made[0], "POST /public/auth/v1/oauth2/token");
    assert_eq!(made[1..3], ["POST /public/v1/works", "PUT /public/v1/works"]);
    assert!(made[3..].iter().all(|call| call == "DELETE /public/v1/works"), "{made:?}");
}
