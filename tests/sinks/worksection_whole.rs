//! A whole bridge between Worksection and Slack: from what somebody does to the recorded call, one request a second.

use std::sync::Arc;
use std::time::Duration;

use dari::app::{AppError, Bridge, Options};
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self, Served};
use dari::connectors::{Manifest, slack, worksection};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CONFIG: &str = r#"
listen: { hooks: "127.0.0.1:0" }
store: { url: "sqlite://dari.db" }
min_free: 1KiB
accounts:
  ws: { worksection: { admin_key: 7776461cd931e7b1c8e9632ff8e979ce, url: "WS", time_zone: Europe/Kyiv, LIMITS } }
  slack: { slack: { bot_token: xoxb-sandbox, url: "SLACK", limits: { rate: 1000 } } }
sources:
  board: { worksection: { account: ws, projects: "26", every: 50ms, start: all, history: HISTORY } }
  hints: { worksection-hook: { account: ws, users: { dari: secret } } }
sinks:
  ops: { slack: { account: slack, channel: C0123456789 } }
  yard: { worksection: { account: ws, project: "27", author: kim@acme.kr } }
routes:
  task-news:
    from: board
    to: ops
    key: "{{ data.task.id }}"
    cases:
      - { types: [task.created], do: create, map: { text: ":memo: {{ data.task.title }}" } }
      - { types: [comment.created], do: reply, without_link: create, map: { text: "{{ data.comment.text }}" } }
      - { types: [task.closed], do: reply, without_link: create, map: { text: "done {{ data.task.title }}" } }
  copies:
    from: board
    to: yard
    lookup: { kim: { account: ws, object: user, match: { name: "김하나" }, cache: 1h } }
    cases:
      - types: [task.created, task.updated]
        do: upsert
        map: { title: "{{ data.task.title }}", text: "from {{ data.task.id }}", dateend: "{{ data.task.end | default(omit) }}", email_user_to: "{{ lookup.kim.email }}" }
      - { types: [task.closed], do: complete }
  visits:
    from: hints
    types: [project.created]
    to: yard
    do: create
    map: { title: "see {{ data.new.title }}" }
"#;

struct Running {
    ws: Served,
    slack: Served,
    hooks: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), AppError>>,
    _dir: tempfile::TempDir,
}

async fn served(manifest: &Manifest, clock: &Clock) -> Served {
    let router = (manifest.sandbox.unwrap().router)(clock.clone());
    sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap()
}

/// `limits`: of the account. Without any they are the vendor's.
async fn start(limits: &str, history: bool) -> Running {
    let clock = Clock::system(7);
    let (ws, slack) = (served(&worksection::MANIFEST, &clock).await, served(&slack::MANIFEST, &clock).await);
    if !limits.is_empty() {
        ws.play(Method::PUT, "/_sandbox/state", &json!({ "rate": 1e12 })).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dari.yaml");
    let text = CONFIG.replace("WS", &ws.url).replace("SLACK", &slack.url);
    std::fs::write(&file, text.replace(", LIMITS", limits).replace("HISTORY", &history.to_string())).unwrap();
    let client = Client::new().unwrap();
    let config = dari::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
    let bridge = Bridge::build(Arc::new(config), clock, &Options::default()).await.unwrap();
    let (hooks, stop) = (format!("http://{}/hooks/hints", bridge.hooks_address()), CancellationToken::new());
    let task = tokio::spawn(bridge.run(stop.clone()));
    Running { ws, slack, hooks, stop, task, _dir: dir }
}

impl Running {
    async fn list(&self, what: &str) -> Vec<Value> {
        let served = if what == "messages" { &self.slack } else { &self.ws };
        served.state().await[what].as_array().unwrap().clone()
    }

    async fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                if let Some(found) = self.list(what).await.into_iter().find(&fits) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    async fn play(&self, path: &str, body: Value) {
        self.ws.play(Method::POST, path, &body).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_tasks_is_announced_and_copied() {
    let running = start(", limits: { rate: 1000, concurrency: 4 }", true).await;
    let task = json!({ "id": "42", "name": "Offer <1>", "date_end": "2026-12-24" });
    running.play("/_sandbox/tasks", task).await;
    let message = running.until("messages", |message| message["text"] == ":memo: Offer &lt;1&gt;").await;
    let copy = running.until("tasks", |task| task["project"]["id"] == "27").await;
    assert_eq!((&copy["name"], &copy["date_end"]), (&json!("Offer <1>"), &json!("2026-12-24")));
    assert_eq!(copy["user_to"]["email"], "kim@acme.kr", "found by the lookup");
    assert!(copy["text"].as_str().unwrap().starts_with("from 42\n\ndari:msg_"), "{copy}");

    running.play("/_sandbox/tasks", json!({ "id": "42", "name": "Offer 2" })).await;
    running.until("tasks", |task| task["id"] == copy["id"] && task["name"] == "Offer 2").await;
    running.play("/_sandbox/tasks", json!({ "id": "42", "status": "done" })).await;
    let reply = running.until("messages", |message| message["text"] == "done Offer 2").await;
    assert_eq!(reply["thread_ts"], message["ts"], "in the thread of its task");
    running.until("tasks", |task| task["id"] == copy["id"] && task["status"] == "done").await;
    running.play("/_sandbox/comments", json!({ "task": "42", "text": "Sent" })).await;
    let comment = running.until("messages", |message| message["text"] == "Sent").await;
    assert_eq!(comment["thread_ts"], message["ts"]);
    assert_eq!(running.list("tasks").await.len(), 2, "one task, one copy");

    // A webhook, as Worksection sends it.
    let client = Client::new().unwrap();
    let item = json!([{ "action": "post", "object": { "type": "project", "id": 30, "page": "/project/30/" }, "date_added": "2026-11-21 10:00", "new": { "title": "Pier" } }]);
    let basic = dari::connectors::call::secret_header("Basic ZGFyaTpzZWNyZXQ=").unwrap();
    let call = dari::connectors::Call::new(Method::POST, running.hooks.parse().unwrap()).json(&item);
    let answer = client.send(&call.header(http::header::AUTHORIZATION, basic)).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"{"status":"OK"}"#));
    running.until("tasks", |task| task["name"] == "see Pier").await;
    let calls = running.ws.calls.all();
    assert!(calls.iter().any(|call| call.path.contains("action=complete_task&id_task=")));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_polls_lookups_and_deliveries_together_make_one_request_a_second() {
    let running = start("", false).await;
    for n in 0..3 {
        running.play("/_sandbox/tasks", json!({ "id": (40 + n).to_string(), "name": format!("Offer {n}") })).await;
    }
    for n in 0..3 {
        running.until("tasks", |task| task["project"]["id"] == "27" && task["name"] == format!("Offer {n}")).await;
    }
    let calls = running.ws.calls.all();
    let took = calls.last().unwrap().at.duration_since(calls[0].at).as_secs();
    assert!(i64::try_from(calls.len()).unwrap() <= took + 1, "{} calls in {took} s", calls.len());
    assert_eq!(running.list("tasks").await.len(), 6, "each was copied once");
    running.stop().await;
}
