//! `dari run --sandbox` and `dari sandbox`.

use dari::connectors::client::Client;
use serde_json::{Value, json};

use crate::process::{Process, eventually};

pub async fn get(url: &str) -> Value {
    let _ = Client::new().unwrap();
    let answer = reqwest::get(url).await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

pub async fn post(url: &str, body: Value) -> u16 {
    let _ = Client::new().unwrap();
    let request = reqwest::Client::new().post(url).header("content-type", "application/json");
    request.body(body.to_string()).send().await.unwrap().status().as_u16()
}

/// The field of a line of JSON logs.
pub fn field(line: &str, name: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    line[name].as_str().unwrap_or_default().to_owned()
}

/// All vendors at addresses where nobody listens, credentials and names of the user's own.
const CONFIG: &str = r#"
listen: { hooks: "127.0.0.1:0" }
accounts:
  daou: { works: { url: "http://127.0.0.1:1", client_id: mine, client_secret: my-secret } }
  slack: { slack: { url: "http://127.0.0.1:1", bot_token: xoxb-mine } }
sources:
  open: { webhook: { verify: none, event: { id: "{{ body.id }}", type: order } } }
sinks:
  crm: { works: { account: daou, token: my-token, key: no, fields: { no: text, 고객: text } } }
  ops: { slack: { account: slack, channel: C0MINE } }
  hook: { slack: { webhook_url: "http://127.0.0.1:1/services/mine" } }
  erp: { http: { url: "http://127.0.0.1:1/api" } }
routes:
  to-crm: { from: open, to: crm, do: create, map: { no: "{{ data.id }}", 고객: "{{ data.who }}" } }
  to-ops: { from: open, to: ops, do: create, map: { text: "{{ data.who }}" } }
  to-hook: { from: open, to: hook, do: create, map: { text: "{{ data.who }}" } }
  to-erp: { from: open, to: erp, do: create, map: { who: "{{ data.who }}" } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_config_runs_against_sandboxes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dari.yaml"), CONFIG).unwrap();
    let mut run = Process::start(&["run", "--sandbox", "--log-format", "json"], dir.path(), &[]);
    let mut urls = std::collections::BTreeMap::new();
    for _ in 0..4 {
        let line = run.until("played by a sandbox");
        urls.insert(field(&line, "name"), field(&line, "url"));
    }
    let address = field(&run.until("the bridge is ready"), "address");
    assert_eq!(post(&format!("http://{address}/hooks/open"), json!({ "id": "7", "who": "김하나" })).await, 202);

    let of = |name: &str| format!("{}/_sandbox/state", urls[name]);
    let record = json!({ "no": "7", "고객": "김하나" });
    eventually("a record in Works", async || (get(&of("daou")).await["records"][0] == record).then_some(())).await;
    for (name, list) in [("slack", "/messages/0/text"), ("hook", "/messages/0/text")] {
        eventually(name, async || (get(&of(name)).await.pointer(list)? == "김하나").then_some(())).await;
    }
    eventually("a call to the ERP", async || {
        let state = get(&of("erp")).await;
        let received = state["received"].as_object()?.values().next()?["body"]["who"] == "김하나";
        received.then_some(())
    })
    .await;
    for url in urls.values() {
        let calls = get(&format!("{url}/_sandbox/calls")).await.to_string();
        for secret in ["my-secret", "my-token", "xoxb-mine"] {
            assert!(!calls.contains(secret), "{secret} went to {url}");
        }
    }
    run.interrupt();
    assert!(run.end().success(), "{}", run.seen);
    assert!(!dir.path().join("data").exists(), "the store of the config was not touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sandboxes_are_served_until_ctrl_c() {
    let dir = tempfile::tempdir().unwrap();
    let mut sandbox = Process::start(&["sandbox", "works"], dir.path(), &[]);
    let line = sandbox.until("works ");
    let url = line.split_whitespace().last().unwrap().to_owned();
    sandbox.until("Ctrl-C");
    assert!(sandbox.seen.contains("client_secret: sandbox-secret"), "{}", sandbox.seen);
    assert_eq!(post(&format!("{url}/_sandbox/faults"), json!({ "fault": "too-many-requests", "after": 2 })).await, 201);
    assert_eq!(post(&format!("{url}/public/v1/works"), json!({})).await, 429);
    sandbox.interrupt();
    assert!(sandbox.end().success(), "{}", sandbox.seen);
}

#[test]
fn a_connector_without_a_sandbox_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut sandbox = Process::start(&["sandbox", "github"], dir.path(), &[]);
    assert_eq!(sandbox.end().code(), Some(2));
    assert!(sandbox.seen.contains("there is no sandbox of `github`"), "{}", sandbox.seen);
}
