//! Whole bridges that are told by a vendor's own webhooks: subscribed at its sandbox, called by it in each of the spellings
//! that its pages contradict each other by, and what came of it at a vendor.

use dari::connectors::sandbox::Served;
use dari::connectors::{dooray, slack, walla, workfront, works, worksection};
use http::Method;
use serde_json::{Value, json};

use crate::whole::{Whole, played};

async fn switch(bridge: &Whole, switches: Value) {
    bridge.served.play(Method::PUT, "/_sandbox/state", &switches).await;
}

fn base(bridge: &Whole) -> &str {
    bridge.hooks.trim_end_matches("/hooks")
}

fn texts(state: &Value, list: &str, key: &str) -> Vec<String> {
    let items = state[list].as_array().unwrap().iter();
    items.map(|item| item[key].as_str().unwrap_or_default().to_owned()).collect()
}

// === Dooray ===

const DOORAY: &str = r#"
accounts:
  dooray: { dooray: { token: sandbox-token, url: "URL", limits: { rate: 1000 } } }
sources:
  tasks: { dooray-hook: { secrets: ["0123456789abcdef"], account: dooray, project: "7" } }
sinks:
  news: { dooray-message: { account: dooray, channel: "900" } }
routes:
  news:
    from: tasks
    to: news
    key: "{{ data.post.id }}"
    cases:
      - { types: [task.created], do: create, map: { text: "새 업무 {{ data.post.subject }}" } }
      - { types: [task.workflow], do: reply, map: { text: "{{ data.workflow.name }}" } }
      - { types: [comment.created], do: reply, map: { text: "댓글: {{ (data.comment | default(data.log)).body.content }}" } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projects_hook_is_heard_in_both_spellings() {
    for spelling in ["documented", "captured"] {
        let bridge = Whole::start(played(&dooray::MANIFEST).await, DOORAY).await;
        switch(&bridge, json!({ "deliver_to": base(&bridge), "hooks_as": spelling })).await;
        assert!(bridge.operator.subscribe("tasks", false).await.unwrap().made);
        let task = bridge.served.play(Method::POST, "/_sandbox/tasks", &json!({ "subject": "<버그> & 1" })).await;
        let says =
            |text: &'static str| move |state: &Value| texts(state, "messages", "text").contains(&text.to_owned());
        bridge.until("the announcement", says("새 업무 <버그> & 1")).await;
        let id = &task["id"];
        let done = json!({ "id": id, "workflow": { "id": "4", "name": "완료" } });
        bridge.served.play(Method::POST, "/_sandbox/tasks", &done).await;
        bridge.until("the answer", says("완료")).await;
        let comment = json!({ "post": { "id": id }, "body": { "mimeType": "text/x-markdown", "content": "확인" } });
        bridge.served.play(Method::POST, "/_sandbox/comments", &comment).await;
        let state = bridge.until("the comment", says("댓글: 확인")).await;
        let messages = state["messages"].as_array().unwrap();
        assert!(
            messages[1..].iter().all(|message| message["replyTo"] == messages[0]["id"]),
            "{spelling}: {messages:?}"
        );
        assert_eq!(messages.len(), 3, "{spelling}");
        bridge.stop().await;
    }
}

// === Workfront ===

const WORKFRONT: &str = r#"
accounts:
  wf: { workfront: { host: acme.my.workfront.com, url: "URL", auth: { session: sandboxsession0123456789 } } }
sources:
  tasks: { workfront-hook: { tokens: ["0123456789abcdef"], account: wf, object: task, base64: BASE64 } }
sinks:
  issues: { workfront: { account: wf, object: issue, reference: extRefID } }
routes:
  tasks-to-issues:
    from: tasks
    to: issues
    do: sync
    map:
      name: "{{ data.object.name }}"
      projectID: 4c7c08b20000002de5ca1ebc19edf2d5
      plannedStartDate: "{{ data.object.plannedStartDate | default(omit) }}"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_are_told_plain_or_in_base64_and_twice() {
    for base64 in ["false", "true"] {
        let bridge = Whole::start(played(&workfront::MANIFEST).await, &WORKFRONT.replace("BASE64", base64)).await;
        switch(&bridge, json!({ "deliver_to": base(&bridge), "told_twice": true })).await;
        let made = bridge.operator.subscribe("tasks", false).await.unwrap();
        assert_eq!(
            made.hooks.iter().map(|hook| hook.about.as_str()).collect::<Vec<_>>(),
            ["TASK CREATE", "TASK UPDATE", "TASK DELETE"]
        );
        let issues = |state: &Value| -> Vec<Value> {
            let all = state["objects"].as_array().unwrap().iter();
            all.filter(|object| object["objCode"] == "OPTASK").cloned().collect()
        };
        let named = |name: &'static str| move |state: &Value| issues(state).iter().any(|issue| issue["name"] == name);
        let task =
            json!({ "objCode": "TASK", "ID": "42", "name": "준비", "plannedStartDate": "2026-12-24T01:00:00.000Z" });
        bridge.served.play(Method::POST, "/_sandbox/objects", &task).await;
        let state = bridge.until("an issue", named("준비")).await;
        assert_eq!(issues(&state)[0]["plannedStartDate"], "2026-12-24T01:00:00.000Z", "the event spells it with a dot");
        bridge.served.play(Method::POST, "/_sandbox/objects", &json!({ "ID": "42", "name": "준비 2" })).await;
        bridge.until("the issue to follow", named("준비 2")).await;
        bridge.served.play(Method::DELETE, "/_sandbox/objects/42", &Value::Null).await;
        bridge.until("the issue to go", |state| issues(state).is_empty()).await;
        let calls = bridge.stop().await.calls.all();
        let writes: Vec<&str> = calls
            .iter()
            .filter(|call| call.path.contains("/issue") && !call.path.ends_with("/search"))
            .map(|call| call.path.as_str())
            .collect();
        assert_eq!(writes.len(), 3, "what was told twice was done once: {writes:?}");
    }
}

// === Slack ===

const SLACK: &str = r#"
accounts:
  team: { slack: { bot_token: xoxb-sandbox, signing_secrets: [sandbox-signing-secret], url: "URL", limits: { rate: 1000 } } }
sources:
  talk: { slack-hook: { account: team } }
sinks:
  ops: { slack: { account: team, channel: C0123456789 } }
routes:
  echo: { from: talk, types: [message.created], to: ops, do: create, map: { text: "heard: {{ data.event.text }}" } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slacks_events_are_challenged_signed_repeated_and_no_echo_answers_itself() {
    let bridge = Whole::start(played(&slack::MANIFEST).await, SLACK).await;
    let set = async |events: Value| bridge.served.play(Method::PUT, "/_sandbox/events", &events).await;
    let refused = set(json!({ "request_url": format!("{}/nobody", bridge.hooks) })).await;
    assert!(refused["error"].as_str().unwrap().contains("`challenge`"), "{refused}");
    assert_eq!(set(json!({ "request_url": format!("{}/talk", bridge.hooks) })).await, Value::Null, "it is taken");

    let say = async |text: &str| bridge.served.play(Method::POST, "/_sandbox/messages", &json!({ "text": text })).await;
    let said = |text: &'static str| move |state: &Value| texts(state, "messages", "text").contains(&text.to_owned());
    say("<hello> & you").await;
    bridge.until("an echo", said("heard: &lt;hello&gt; &amp; you")).await;
    // Of the bot's own message Slack tells too.
    let state = bridge.until("both events to be told", |state| state["told"].as_array().unwrap().len() == 2).await;
    assert!(state["told"].as_array().unwrap().iter().all(|told| told["status"] == 200), "{}", state["told"]);

    set(json!({ "signed_ago": 301 })).await;
    say("of yesterday").await;
    let state = bridge.until("three repetitions", |state| state["told"].as_array().unwrap().len() == 6).await;
    let stale: Vec<_> = state["told"].as_array().unwrap()[2..].iter().map(|t| (&t["retry"], &t["status"])).collect();
    assert_eq!(
        stale,
        [(&json!(0), &json!(401)), (&json!(1), &json!(401)), (&json!(2), &json!(401)), (&json!(3), &json!(401))]
    );
    set(json!({ "signed_ago": 0 })).await;
    say("of today").await;
    let state = bridge.until("the last echo", said("heard: of today")).await;
    let all = texts(&state, "messages", "text");
    assert_eq!(all.iter().filter(|text| text.starts_with("heard:")).count(), 2, "{all:?}");
    bridge.stop().await;
}

// === Walla ===

const WALLA: &str = r#"
accounts:
  walla: { walla: { client_id: walla-client, api_key: walla-key, url: "URL", limits: { rate: 1000 } } }
  daou: { works: { client_id: sandbox, client_secret: sandbox-secret, url: "WORKS" } }
sources:
  read: { walla-hook: { verify: { bearer: { tokens: ["0123456789abcdef"] } }, account: walla, project: pj-7, fetch: true } }
  plain: { walla-hook: { verify: { header: { name: X-Key, values: ["0123456789abcdef"] } } } }
sinks:
  crm: { works: { account: daou, token: sandbox-token, key: id, fields: { id: text, 제목: text } } }
routes:
  read: { from: read, types: [response.created], to: crm, do: upsert, map: { id: "{{ subject }}", 제목: "{{ data.answers['이름'] }}" } }
  plain: { from: plain, types: [response.created], to: crm, do: create, map: { id: "{{ id }}", 제목: "{{ data.answers[0].value }}" } }
  rejected: { from: plain, types: [response.rejected], to: crm, do: create, map: { id: "{{ id }}", 제목: "탈락 {{ data.answers[0].value }}" } }
"#;

/// The titles of the records in Works, once there are so many.
async fn records(works: &Served, bridge: &Whole, count: usize) -> Vec<String> {
    let wait = async {
        while works.state().await["records"].as_array().unwrap().len() < count {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), wait).await;
    let (state, told) = (works.state().await, bridge.served.state().await["webhook_log"].clone());
    assert!(waited.is_ok(), "waited in vain for {count} records: {} {told}", state["records"]);
    texts(&state, "records", "제목")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_body_of_a_forms_webhook_is_read_and_who_was_rejected_is_told() {
    let (_, works) = played(&works::MANIFEST).await;
    let bridge = Whole::start(played(&walla::MANIFEST).await, &WALLA.replace("WORKS", &works.url)).await;
    let set = async |webhook: Value| {
        let mut webhook = webhook;
        webhook["deliver_to"] = json!(base(&bridge));
        bridge.served.play(Method::PUT, "/_sandbox/webhook", &webhook).await
    };
    let bearer = json!({ "Authorization": "Bearer 0123456789abcdef" });
    for own in
        ["http://127.0.0.1/hooks/read", "http://[::1]/hooks/read", "https://localhost/hooks/read", "https://10.0.0.7/"]
    {
        let told = set(json!({ "url": own })).await;
        assert_eq!(told["message"], "private and loopback hosts are not allowed", "{own}");
    }
    let read = "https://bridge.acme.kr/hooks/read";
    let custom = json!({ "responseKey": "{{responseKey}}", "projectKey": "{{projectKey}}", "timestamp": "{{timestamp}}", "name": "{{res:field_name}}" });
    set(json!({ "url": read, "headers": bearer, "body": custom })).await;
    set(json!({ "url": read, "headers": bearer, "body": "form", "method": "PUT" })).await;
    set(json!({ "url": read, "headers": bearer, "body": { "responseKey": "{{responseKey}}" }, "method": "GET" })).await;
    set(json!({ "url": "https://bridge.acme.kr/hooks/plain", "headers": { "X-Key": "0123456789abcdef" } })).await;
    set(json!({ "url": "https://bridge.acme.kr/hooks/plain", "headers": { "X-Key": "0123456789abcdef" }, "on": "rejected" })).await;
    let submission = json!({ "id": "r1", "answers": { "이름": "김하나", "개인정보 동의": "예" } });
    bridge.served.play(Method::POST, "/_sandbox/responses", &submission).await;
    let mut titles = records(&works, &bridge, 2).await;
    titles.sort();
    assert_eq!(titles, ["김하나", "김하나"], "one that was read by its key, one as it came");
    bridge.until("four webhooks", |state| state["webhook_log"].as_array().unwrap().len() == 4).await;
    bridge.served.play(Method::POST, "/_sandbox/rejections", &json!({ "answers": { "field_name": "17" } })).await;
    assert!(records(&works, &bridge, 3).await.contains(&"탈락 17".to_owned()));
    // A person sends the last one again: its body is the same.
    bridge.served.play(Method::POST, "/_sandbox/webhook/resend", &Value::Null).await;
    let state = bridge.until("the repetition", |state| state["webhook_log"].as_array().unwrap().len() == 6).await;
    assert!(
        state["webhook_log"].as_array().unwrap().iter().all(|line| line == "Webhook delivered with status: 202"),
        "{state}"
    );
    bridge.idle().await;
    assert_eq!(records(&works, &bridge, 3).await.len(), 3, "nothing was made twice");
    // A credential that is not ours.
    set(json!({ "url": read, "headers": { "Authorization": "Bearer wrong" } })).await;
    bridge
        .served
        .play(Method::POST, "/_sandbox/responses", &json!({ "id": "r2", "answers": { "이름": "김둘" } }))
        .await;
    bridge
        .until("the refusal", |state| {
            state["webhook_log"].as_array().unwrap().contains(&json!("Webhook failed with status: 401"))
        })
        .await;
    bridge.stop().await;
}

// === Worksection ===

const WORKSECTION: &str = r#"
accounts:
  ws: { worksection: { host: acme.worksection.com, url: "URL", admin_key: 7776461cd931e7b1c8e9632ff8e979ce, limits: { rate: 1000 }, time_zone: Europe/Kyiv } }
  daou: { works: { client_id: sandbox, client_secret: sandbox-secret, url: "WORKS" } }
sources:
  tasks: { worksection-hook: { account: ws, users: { dari: secret }, fetch: true } }
sinks:
  crm: { works: { account: daou, token: sandbox-token, key: id, fields: { id: text, 제목: text } } }
routes:
  tasks: { from: tasks, types: [task.created, task.updated], to: crm, do: upsert, map: { id: "{{ subject }}", 제목: "{{ data.task.title }}" } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_of_worksection_is_subscribed_and_its_task_read_again() {
    for ids_as_numbers in [false, true] {
        let (_, works) = played(&works::MANIFEST).await;
        let bridge =
            Whole::start(played(&worksection::MANIFEST).await, &WORKSECTION.replace("WORKS", &works.url)).await;
        let switches = json!({ "deliver_to": base(&bridge), "ids_as_numbers": ids_as_numbers, "rate": 1e12 });
        switch(&bridge, switches).await;
        assert!(bridge.operator.subscribe("tasks", false).await.unwrap().made);
        bridge.served.play(Method::POST, "/_sandbox/tasks", &json!({ "id": "42", "name": "Offer" })).await;
        let record = async |title: &str| {
            let wait = async {
                while !texts(&works.state().await, "records", "제목").contains(&title.to_owned()) {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            };
            let waited = tokio::time::timeout(std::time::Duration::from_secs(30), wait).await;
            assert!(waited.is_ok(), "waited in vain for {title}: {}", works.state().await);
        };
        record("Offer").await;
        bridge.served.play(Method::POST, "/_sandbox/tasks", &json!({ "id": "42", "name": "Offer 2" })).await;
        record("Offer 2").await;
        assert_eq!(works.state().await["records"], json!([{ "id": "task/42", "제목": "Offer 2" }]));
        bridge.stop().await;
    }
}
