//! A whole bridge at Workfront: from what somebody does to the recorded call, and never more than ten calls at once.

use std::sync::Arc;
use std::time::Duration;

use dari::app::{AppError, Bridge, Options};
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self as served, Served};
use dari::connectors::workfront::{MANIFEST, sandbox};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const HEAD: &str = r#"
listen: { hooks: "127.0.0.1:0" }
store: { url: "sqlite://dari.db" }
min_free: 1KiB
time_zone: Asia/Seoul
accounts:
  wf: { workfront: { host: acme.my.workfront.com, url: "URL", auth: { login: { username: bridge@acme.kr, password: sandbox-password } } } }
"#;

const ROUTES: &str = r#"
sources:
  tasks: { workfront: { account: wf, object: task, fields: ["*", "DE:CustomText"], every: 50ms, start: all, deletions: 100ms } }
sinks:
  issues: { workfront: { account: wf, object: issue, reference: extRefID } }
  projects: { workfront: { account: wf, object: project, reference: "DE:Dari" } }
routes:
  tasks-to-issues:
    from: tasks
    when: data.object.name != '공지'
    to: issues
    do: sync
    match: { "DE:CustomText": "{{ subject }}" }
    lookup: { project: { account: wf, object: proj, match: { name: 새 프로젝트 }, fields: [ID], cache: 1h } }
    map:
      name: "{{ data.object.name }}"
      projectID: "{{ lookup.project.ID }}"
      DE:CustomText: "{{ subject }}"
      plannedStartDate: "{{ data.object.plannedStartDate | default(omit) }}"
  notices:
    from: tasks
    types: [object.created]
    when: data.object.name == '공지'
    to: projects
    do: create
    map: { name: "{{ data.object['DE:CustomText'] }}" }
    retry: { first: 100ms }
"#;

const MANY: &str = r#"
sources:
  tasks: { workfront: { account: wf, object: task, every: 50ms, start: all } }
sinks:
  issues: { workfront: { account: wf, object: issue, bulk: 1 } }
  projects: { workfront: { account: wf, object: project, bulk: 1 } }
routes:
  to-issues: { from: tasks, to: issues, do: create, map: { name: "{{ data.object.name }}", projectID: 4c7c08b20000002de5ca1ebc19edf2d5 } }
  to-projects: { from: tasks, to: projects, do: create, map: { name: "{{ data.object.name }}" } }
"#;

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

struct Running {
    served: Served,
    stop: CancellationToken,
    task: JoinHandle<Result<(), AppError>>,
    _dir: tempfile::TempDir,
}

impl Running {
    async fn start(routes: &str) -> Self {
        let clock = Clock::system(7);
        let router = (MANIFEST.sandbox.unwrap().router)(clock.clone());
        let served = served::serve(router, clock.clone(), served::LOOPBACK).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.yaml");
        std::fs::write(&file, format!("{HEAD}{routes}").replace("URL", &served.url)).unwrap();
        let client = Client::new().unwrap();
        let config = dari::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
        let bridge = Bridge::build(Arc::new(config), clock.clone(), &Options::default()).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(bridge.run(stop.clone()));
        Self { served, stop, task, _dir: dir }
    }

    async fn play(&self, object: Value) {
        self.served.play(Method::POST, "/_sandbox/objects", &object).await;
    }

    async fn of(&self, code: &str) -> Vec<Value> {
        let objects = self.served.state().await["objects"].clone();
        objects.as_array().unwrap().iter().filter(|object| object["objCode"] == code).cloned().collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_tasks_becomes_issues_and_projects() {
    let bridge = Running::start(ROUTES).await;
    bridge
        .play(json!({ "objCode": "TASK", "ID": "1", "name": "준비", "plannedStartDate": "2026-12-24T01:00:00.000Z" }))
        .await;
    until("an issue", async || bridge.of("OPTASK").await.iter().any(|issue| issue["name"] == "준비")).await;
    let issue = bridge.of("OPTASK").await.remove(0);
    assert_eq!(
        (&issue["projectID"], &issue["plannedStartDate"], &issue["DE:CustomText"]),
        (&json!(sandbox::PROJECT), &json!("2026-12-24T01:00:00.000Z"), &json!("1"))
    );
    assert!(issue["extRefID"].as_str().unwrap().starts_with("msg_"));

    // One that somebody else made is found, not made again.
    bridge.play(json!({ "objCode": "OPTASK", "ID": "77", "name": "기존", "DE:CustomText": "2" })).await;
    bridge.play(json!({ "objCode": "TASK", "ID": "2", "name": "기존 2" })).await;
    until("the match", async || {
        bridge.of("OPTASK").await.iter().any(|one| one["ID"] == "77" && one["name"] == "기존 2")
    })
    .await;

    bridge.play(json!({ "objCode": "TASK", "ID": "1", "name": "준비 2" })).await;
    until("the issue to follow", async || bridge.of("OPTASK").await.iter().any(|issue| issue["name"] == "준비 2"))
        .await;
    assert_eq!(bridge.of("OPTASK").await.len(), 2, "one task, one issue");
    bridge.served.play(Method::DELETE, "/_sandbox/objects/1", &Value::Null).await;
    until("the issue to go", async || bridge.of("OPTASK").await.len() == 1).await;

    let calls = bridge.served.calls.all();
    let made = calls.iter().find(|call| call.path == "/attask/api/v15.0/issue").unwrap();
    assert!(made.body.contains("updates=") && made.status == Some(200), "{made:?}");
    assert!(calls.iter().all(|call| !call.path.contains('?')), "nothing is in a URI");
    assert_eq!(bridge.served.state().await["renewals"], 1, "one session for source, sinks and lookup");

    // The vendor acts and its answer is lost: it is asked, and nothing is made twice.
    let order = json!({ "fault": "reset-after", "path": "/attask/api/v15.0/project", "times": 1 });
    bridge.served.faults.order(serde_json::from_value(order).unwrap());
    bridge.play(json!({ "objCode": "TASK", "ID": "3", "name": "공지", "DE:CustomText": "개편" })).await;
    until("the question", async || {
        let calls = bridge.served.calls.all();
        calls.iter().any(|call| call.path.ends_with("/project/search") && call.body.contains("DE%3ADari=msg_"))
    })
    .await;
    assert!(bridge.served.faults.is_empty());
    let made: Vec<_> = bridge.of("PROJ").await.into_iter().filter(|project| project["name"] == "개편").collect();
    assert_eq!(made.len(), 1);
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_no_more_than_ten_calls_are_under_way_for_the_account() {
    let bridge = Running::start(MANY).await;
    bridge.served.play(Method::PUT, "/_sandbox/state", &json!({ "takes_ms": 40 })).await;
    for n in 0..40 {
        bridge.play(json!({ "objCode": "TASK", "ID": format!("{}", 1000 + n), "name": format!("t{n}") })).await;
    }
    until("all of them", async || bridge.of("OPTASK").await.len() == 40 && bridge.of("PROJ").await.len() == 41).await;
    let busiest = bridge.served.state().await["busiest"].as_u64().unwrap();
    assert!((5..=10).contains(&busiest), "{busiest}");
    assert!(bridge.served.calls.all().iter().all(|call| call.status != Some(429)), "none was too many");
    bridge.end().await;
}
