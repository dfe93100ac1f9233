//! A whole bridge between Dooray's calendar, its tasks and its messenger: from what somebody does to the recorded call.

use std::sync::Arc;
use std::time::Duration;

use dari::admin::Operator;
use dari::app::{AppError, Bridge, Options};
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::dooray::MANIFEST;
use dari::connectors::sandbox::{self, Served};
use dari::poll::guard::Asked;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CONFIG: &str = r#"
listen: { hooks: "127.0.0.1:0" }
store: { url: "sqlite://dari.db" }
min_free: 1KiB
time_zone: Asia/Seoul
accounts:
  dooray: { dooray: { token: sandbox-token, url: "URL", limits: { rate: 1000 } } }
sources:
  calendar: { dooray-calendar: { account: dooray, calendars: ["1"], every: 50ms, start: all } }
  tasks: { dooray-task: { account: dooray, project: "7", every: 50ms, start: all, comments: updated } }
sinks:
  todo: { dooray-task: { account: dooray, project: "7" } }
  plan: { dooray-calendar: { account: dooray, calendar: "1" } }
  news: { dooray-message: { account: dooray, channel: "900" } }
routes:
  event-to-task:
    from: calendar
    when: data.title != '마감'
    to: todo
    cases:
      - { types: [event.created, event.updated, event.moved], do: upsert, map: { subject: "{{ data.title }}", dueDate: "{{ data.end }}" } }
      - { types: [event.deleted], do: complete }
  due-to-calendar:
    from: tasks
    types: [task.created]
    when: data.task.title == '준비'
    to: plan
    do: create
    map: { subject: 마감, startedAt: "2026-12-24", endedAt: "2026-12-24" }
  task-news:
    from: tasks
    to: news
    key: "{{ data.task.id }}"
    cases:
      - { types: [task.created], do: create, map: { text: "새 업무 {{ data.task.title }}" } }
      - { types: [task.closed], do: reply, map: { text: "완료 {{ data.task.title }}" } }
"#;

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

async fn has(served: &Served, what: &str, fits: impl Fn(&Value) -> bool) -> bool {
    served.state().await[what].as_array().unwrap().iter().any(fits)
}

struct Running {
    clock: Clock,
    served: Served,
    operator: Arc<Operator>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), AppError>>,
    _dir: tempfile::TempDir,
}

async fn start() -> Running {
    let clock = Clock::system(7);
    let router = (MANIFEST.sandbox.unwrap().router)(clock.clone());
    let served = sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dari.yaml");
    std::fs::write(&file, CONFIG.replace("URL", &served.url)).unwrap();
    let client = Client::new().unwrap();
    let config = dari::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
    let bridge = Bridge::build(Arc::new(config), clock.clone(), &Options::default()).await.unwrap();
    let (operator, stop) = (bridge.operator(), CancellationToken::new());
    let task = tokio::spawn(bridge.run(stop.clone()));
    Running { clock, served, operator, stop, task, _dir: dir }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_a_calendar_that_is_emptied_waits_for_a_persons_word() {
    let Running { clock, served, operator, stop, task, _dir } = start().await;
    let start = (clock.now() + jiff::SignedDuration::from_hours(48)).to_string();
    for n in 0..12 {
        let event =
            json!({ "id": n.to_string(), "subject": format!("회의 {n}"), "startedAt": start, "endedAt": start });
        served.play(Method::POST, "/_sandbox/events", &event).await;
    }
    let tasks = async || served.state().await["tasks"].as_array().unwrap().clone();
    until("the tasks", async || tasks().await.len() == 12).await;
    // In one moment: a poll that is under way may see all of them or none.
    served.play(Method::DELETE, "/_sandbox/events", &Value::Null).await;
    let view = async || operator.sources().await.unwrap().into_iter().find(|source| source.name == "calendar").unwrap();
    until("a question", async || view().await.asks.is_some()).await;
    until("a stop", async || view().await.suspension.is_some()).await;
    let asking = view().await;
    assert_eq!(asking.asks, Some(Asked { deleted: 12, known: 12 }));
    assert!(asking.suspension.unwrap().why.contains("dari sources confirm calendar"));
    assert!(tasks().await.iter().all(|task| task["closed"] == false), "nothing was sent");
    assert!(operator.confirm("tasks").await.is_err(), "that source asks nothing");

    let done = operator.confirm("calendar").await.unwrap().done;
    assert_eq!(done, "source calendar goes on: its next poll may delete 12 of 12, or more, once");
    until("the tasks to be done", async || tasks().await.iter().all(|task| task["closed"] == true)).await;
    until("the question to be over", async || view().await.asks.is_none()).await;
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_in_a_calendar_becomes_tasks_events_and_messages() {
    let Running { clock, served, operator: _operator, stop, task, _dir } = start().await;
    let start = clock.now() + jiff::SignedDuration::from_hours(48);
    let end = (start + jiff::SignedDuration::from_hours(1)).to_string();
    let event = json!({ "id": "5", "subject": "준비", "startedAt": start.to_string(), "endedAt": end });
    served.play(Method::POST, "/_sandbox/events", &event).await;
    until("a task", async || has(&served, "tasks", |task| task["subject"] == "준비").await).await;
    until("an event of the task", async || {
        has(&served, "events", |event| event["startedAt"] == "2026-12-24+09:00").await
    })
    .await;
    until("a message", async || has(&served, "messages", |message| message["text"] == "새 업무 준비").await).await;

    served
        .play(
            Method::POST,
            "/_sandbox/events",
            &json!({ "id": "5", "location": "4-5", "subject": "준비 2", "updatedAt": end }),
        )
        .await;
    until("the task to follow", async || has(&served, "tasks", |task| task["subject"] == "준비 2").await).await;
    assert_eq!(served.state().await["tasks"].as_array().unwrap().len(), 1, "one event, one task");

    served.play(Method::DELETE, "/_sandbox/events/5", &Value::Null).await;
    until("the task to be done", async || has(&served, "tasks", |task| task["workflowClass"] == "closed").await).await;
    until("an answer", async || {
        has(&served, "messages", |message| message["text"] == "완료 준비 2" && message["replyTo"].is_string()).await
    })
    .await;
    stop.cancel();
    task.await.unwrap().unwrap();
    assert!(
        served
            .calls
            .all()
            .iter()
            .any(|call| call.method == "PUT" && call.path.starts_with("/project/v1/projects/7/posts/"))
    );
}
