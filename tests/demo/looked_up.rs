//! `dari run --sandbox` of a config whose routes look something up: that reaches the sandbox too.

use serde_json::json;

use crate::process::{Process, eventually};
use crate::sandboxed::{field, get, post};

const CONFIG: &str = r#"
listen: { hooks: "127.0.0.1:0" }
accounts:
  forms: { walla: { url: "http://127.0.0.1:1", client_id: mine, api_key: my-key } }
sources:
  open: { webhook: { verify: none, event: { id: "{{ body.id }}", type: order } } }
sinks:
  erp: { http: { url: "http://127.0.0.1:1/api" } }
routes:
  to-erp:
    from: open
    to: erp
    do: create
    lookup:
      person: { account: forms, workspace: my-workspace, project: my-project, match: { customer_key: "{{ data.who }}" } }
    map: { response: "{{ lookup.person.response_id }}" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_route_looks_up_is_asked_of_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dari.yaml"), CONFIG).unwrap();
    let mut run = Process::start(&["run", "--sandbox", "--log-format", "json"], dir.path(), &[]);
    let mut urls = std::collections::BTreeMap::new();
    for _ in 0..2 {
        let line = run.until("played by a sandbox");
        urls.insert(field(&line, "name"), field(&line, "url"));
    }
    let submission = json!({ "id": "r1", "customer_key": "c1", "answers": {} });
    assert_eq!(post(&format!("{}/_sandbox/responses", urls["forms"]), submission).await, 200);
    let address = field(&run.until("the bridge is ready"), "address");
    assert_eq!(post(&format!("http://{address}/hooks/open"), json!({ "id": "7", "who": "c1" })).await, 202);
    eventually("the response at the ERP", async || {
        let state = get(&format!("{}/_sandbox/state", urls["erp"])).await;
        (state["received"].as_object()?.values().next()?["body"]["response"] == "r1").then_some(())
    })
    .await;
    run.interrupt();
    assert!(run.end().success(), "{}", run.seen);
}
