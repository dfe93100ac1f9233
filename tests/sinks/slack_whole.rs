//! A whole bridge before Slack: a subject is announced, its message follows it, its later events are in the thread.

use dari::connectors::slack::MANIFEST;
use serde_json::{Value, json};

use crate::whole::{Whole, played};

const CONFIG: &str = r#"
accounts:
  team: { slack: { bot_token: xoxb-sandbox, url: "URL", limits: { rate: 1000 } } }
sources:
  orders: { webhook: { verify: none, event: { id: "{{ body.id }}", type: "{{ body.kind }}", subject: "{{ body.no }}" } } }
sinks:
  ops: { slack: { account: team, channel: C0123456789 } }
routes:
  orders:
    from: orders
    to: ops
    cases:
      - types: [placed, changed]
        do: upsert
        map:
          text: "Order {{ subject }}: {{ data.title }}"
          blocks:
            - { type: header, text: { type: plain_text, text: "Order {{ subject }}" } }
            - { type: section, fields: { $each: data.lines, $as: line, $map: { type: mrkdwn, text: "*{{ line.sku }}* {{ line.note }}" } } }
            - { type: actions, elements: [ { type: button, action_id: open, text: { type: plain_text, text: Open }, url: "{{ data.link }}" } ] }
          metadata: { event_type: order, event_payload: { title: "{{ data.title }}" } }
      - { types: [shipped], do: reply, map: { text: "shipped: {{ data.note }} <https://track.example/{{ subject }}|track>" } }
      - { types: [cancelled], do: delete }
"#;

fn order(id: &str, kind: &str, title: &str) -> Value {
    json!({
        "id": id, "kind": kind, "no": "7", "title": title, "note": "<!channel> & more",
        "link": "https://erp.example/?no=7&view=<all>", "lines": [{ "sku": "A&B", "note": "<@U1>" }],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_subject_is_followed_in_its_message_and_its_thread() {
    let bridge = Whole::start(played(&MANIFEST).await, CONFIG).await;
    let first = |state: &Value| state["messages"][0].clone();
    bridge.post("orders", &order("1", "placed", "<b> & co")).await;
    let state = bridge.until("the announcement", |state| first(state)["text"] == "Order 7: &lt;b&gt; &amp; co").await;
    let message = &first(&state)["message"];
    assert_eq!(message["blocks"][0]["text"]["text"], "Order 7");
    let field = json!({ "type": "mrkdwn", "text": "*A&amp;B* &lt;@U1&gt;" });
    assert_eq!(message["blocks"][1]["fields"], json!([field]));
    assert_eq!(message["blocks"][2]["elements"][0]["url"], "https://erp.example/?no=7&view=<all>", "an address is one");
    assert_eq!(message["metadata"]["event_payload"]["title"], "<b> & co");

    bridge.post("orders", &order("2", "shipped", "")).await;
    let state = bridge.until("an answer", |state| state["messages"].as_array().unwrap().len() == 2).await;
    let reply = &state["messages"][1];
    let text = "shipped: &lt;!channel&gt; &amp; more <https://track.example/7|track>";
    assert_eq!((&reply["thread_ts"], reply["text"].as_str()), (&first(&state)["ts"], Some(text)));

    bridge.post("orders", &order("3", "changed", "two")).await;
    bridge.until("the message to follow", |state| first(state)["text"] == "Order 7: two").await;
    bridge.post("orders", &order("4", "cancelled", "")).await;
    bridge.until("it to be gone", |state| first(state)["thread_ts"].is_string()).await;

    let calls = bridge.stop().await.calls.all();
    let paths: Vec<&str> = calls.iter().map(|call| call.path.as_str()).collect();
    assert_eq!(paths, ["/api/chat.postMessage", "/api/chat.postMessage", "/api/chat.update", "/api/chat.delete"]);
}
