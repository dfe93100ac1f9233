//! What waits to be read anew is in the broker: it survives kill -9, and a route of the source's name is not its inbox.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::dooray;
use dari::connectors::sandbox::{self, Fault};
use http::Method;
use serde_json::json;

use crate::keeping::ready;
use crate::load::until;
use crate::node;
use crate::receiver::Receiver;
use crate::vanished::delete;
use crate::whole::spawn;

const SECRET: &str = "0123456789abcdef";

fn config(hooks: &str, (broker, prefix): (&str, &str), vendor: &str, sink: &str) -> String {
    format!(
        r#"
listen: {{ hooks: "{hooks}" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
broker: {{ url: "{broker}", prefix: {prefix} }}
accounts: {{ dooray: {{ dooray: {{ token: sandbox-token, url: "{vendor}", limits: {{ rate: 10000 }} }} }} }}
sources: {{ tasks: {{ dooray-hook: {{ account: dooray, secrets: ["{SECRET}"], fetch: true }} }} }}
sinks: {{ out: {{ http: {{ url: "{sink}", allow_private: true }} }} }}
routes:
  tasks:
    from: tasks
    to: out
    do: create
    on_doubt: retry
    map: {{ s: "{{{{ subject }}}}", title: "{{{{ data.task.title }}}}", n: "{{{{ data.hook.n }}}}" }}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_what_waits_to_be_read_anew_survives_kill_9() {
    const EVENTS: i64 = 30;
    let server = node::server().await;
    let receiver = Receiver::ok().await;
    // For the process's TLS provider, which every HTTP client needs.
    Client::new().unwrap();
    let clock = Clock::system(9);
    let vendor = sandbox::serve(dooray::sandbox::router(clock.clone()), clock, sandbox::LOOPBACK).await.unwrap();
    for id in ["40", "41", "42"] {
        vendor.play(Method::POST, "/_sandbox/tasks", &json!({"id": id, "subject": format!("{id} as it is")})).await;
    }
    // The vendor is away: nothing but the inbox has them.
    vendor.faults.next(Fault::ServerError, 1_000_000);
    let (dir, prefix) = (tempfile::tempdir().unwrap(), node::prefix());
    let hooks = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    std::fs::write(dir.path().join("dari.yaml"), config(&hooks, (&server.url, &prefix), &vendor.url, &receiver.url))
        .unwrap();
    let mut child = spawn(dir.path());
    let http = reqwest::Client::new();
    let url = format!("http://{hooks}/hooks/tasks/{SECRET}");
    for n in 0..EVENTS {
        let body = json!({"hookEventType": "postCreated", "post": {"id": (40 + n % 3).to_string()}, "n": n});
        loop {
            match http.post(&url).json(&body).send().await {
                Ok(answer) => break assert_eq!(answer.status(), 202),
                // It has only just been started.
                Err(error) => assert!(n == 0 && error.is_connect(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Handed back at the loss of the connection, or spooled.
    child = spawn(dir.path());
    // The inbox goes, with all that was in it: the journal has what had not been read anew.
    let asked = vendor.calls.count();
    until("it goes on asking", || vendor.calls.count() > asked + 3).await;
    delete(&server.url, &format!("{prefix}.inbox.tasks.v1")).await;
    vendor.faults.clear();
    let missing = || (0..EVENTS).filter(|n| !receiver.numbers().contains(n)).count();
    until("a part of it arrives", || missing() < 20).await;
    child.kill().unwrap();
    child.wait().unwrap();
    child = spawn(dir.path());
    until("all that was answered 202 arrives", || missing() == 0).await;
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    for got in receiver.calls() {
        assert_eq!(got.body["title"], format!("{} as it is", got.subject().trim_start_matches("task/")));
        let before = newest.insert(got.subject(), got.n()).unwrap_or(-1);
        assert!(before <= got.n(), "{} came after {before} of its subject", got.n());
    }
    assert_eq!(ready(&server.url, &format!("{prefix}.inbox.tasks.v1")).await, 0);
    child.kill().unwrap();
    child.wait().unwrap();
}
