//! A whole bridge from Walla to Daou Office Works: a response becomes a record, an order one for a customer who answered,
//! and a large form's past comes with a replay.

use dari::admin::replay::ReplayRequest;
use dari::connectors::sandbox::Served;
use dari::connectors::{walla, works};
use http::Method;
use serde_json::{Value, json};

use crate::whole::{Whole, played};

const CONFIG: &str = r#"
accounts:
  walla: { walla: { client_id: walla-client, api_key: walla-key, url: "URL", limits: { rate: 1000 } } }
  daou: { works: { client_id: sandbox, client_secret: sandbox-secret, url: "WORKS" } }
sources:
  signup: { walla: { account: walla, project: pj-7, every: 50ms, start: all } }
  orders: { webhook: { verify: none, event: { id: "{{ body.id }}", type: order, subject: "{{ body.id }}" } } }
sinks:
  crm: { works: { account: daou, token: sandbox-token, key: id, fields: { id: text, 제목: text, 문의: multitext, 등급: listbox } } }
tables:
  grade: { values: { 초급: 1, 고급: 2 } }
routes:
  signup-to-works:
    from: signup
    when: data.answers['개인정보 동의'] == '예'
    to: crm
    do: upsert
    map:
      id: "{{ subject }}"
      제목: "{{ data.answers['이름'] }} 신청"
      문의: "{{ data.answers['문의'] | default(omit) }}"
      등급: "{{ data.answers['등급'] | table('grade') }}"
  orders-to-works:
    from: orders
    to: crm
    do: create
    lookup:
      person: { account: walla, workspace: ws-1, project: pj-7, match: { customer_key: "{{ data.customer }}" } }
    map: { id: "{{ subject }}", 제목: "{{ lookup.person.fields.field_name }} 주문" }
"#;

async fn submit(bridge: &Whole, submission: Value) {
    bridge.served.play(Method::POST, "/_sandbox/responses", &submission).await;
}

fn answers(name: &str, consent: &str) -> Value {
    json!({ "이름": name, "개인정보 동의": consent, "등급": "고급" })
}

async fn record(works: &Served, id: &str, title: &str) {
    let wait = async {
        loop {
            let state = works.state().await;
            if state["records"].as_array().unwrap().iter().any(|r| r["id"] == id && r["제목"] == title) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), wait).await;
    assert!(waited.is_ok(), "waited in vain for {id} {title}: {}", works.state().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_becomes_a_record_and_an_order_finds_its_customer() {
    let (_, works) = played(&works::MANIFEST).await;
    let bridge = Whole::start(played(&walla::MANIFEST).await, &CONFIG.replace("WORKS", &works.url)).await;
    submit(&bridge, json!({ "id": "r1", "customer_key": "c1", "answers": answers("김하나", "예") })).await;
    submit(&bridge, json!({ "id": "r2", "answers": answers("김둘", "아니오") })).await;
    record(&works, "r1", "김하나 신청").await;
    submit(&bridge, json!({ "id": "r1", "answers": answers("김하나 (변경)", "예") })).await;
    record(&works, "r1", "김하나 (변경) 신청").await;

    bridge.post("orders", &json!({ "id": "o1", "customer": "c1" })).await;
    record(&works, "o1", "김하나 (변경) 주문").await;
    let records = works.state().await["records"].clone();
    assert_eq!(records.as_array().unwrap().len(), 2, "without consent there is no record");
    assert_eq!(records[0]["등급"], json!([2]));
    let asked = bridge.stop().await.calls.all();
    let asked: Vec<&str> = asked.iter().map(|call| call.path.split('?').next().unwrap_or_default()).collect();
    for path in ["/workspace/query/projectKey", "/workspace/ws-1/project/pj-7/response/get/customerKey/c1"] {
        assert!(asked.contains(&path), "{path}: {asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_brings_a_forms_past_from_the_file_of_all_its_responses() {
    let (_, works) = played(&works::MANIFEST).await;
    let walla = played(&walla::MANIFEST).await;
    for n in 0..3 {
        let submission = json!({ "id": format!("r{n}"), "answers": answers(&format!("사람 {n}"), "예") });
        walla.1.play(Method::POST, "/_sandbox/responses", &submission).await;
    }
    let config = CONFIG.replace("WORKS", &works.url).replace("start: all", "start: now");
    let bridge = Whole::start(walla, &config).await;
    let past = ReplayRequest { source: Some("signup".to_owned()), past: true, ..ReplayRequest::default() };
    let counted = bridge.operator.replay(ReplayRequest { dry_run: true, ..past.clone() }).await.unwrap();
    assert_eq!((counted.events, counted.deliveries), (3, 3));
    assert_eq!(works.state().await["records"], json!([]), "nothing was sent");
    bridge.operator.replay(past).await.unwrap();
    for n in 0..3 {
        record(&works, &format!("r{n}"), &format!("사람 {n} 신청")).await;
    }
    assert_eq!(works.state().await["records"].as_array().unwrap().len(), 3);
    let asked = bridge.stop().await.calls.all();
    assert!(asked.iter().any(|call| call.path == "/workspace/ws-1/project/pj-7/response/list"));
}
