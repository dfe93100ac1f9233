//! The bridge while RabbitMQ is away, with nodes of this binary's own that it kills (promise P1).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dari::app::{Bridge, Options};
use dari::clock::Clock;
use dari::connectors::client::Client;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "shared with another binary")]
#[path = "../rabbit/node.rs"]
mod node;
#[allow(dead_code, reason = "shared with another binary")]
#[path = "../bridge/receiver.rs"]
mod receiver;

use node::Node;
use receiver::Receiver;

/// How long everything may take to arrive once the broker is back.
const PATIENCE: Duration = Duration::from_secs(90);

fn config(hooks: &str, broker: &str, sink: &str) -> String {
    format!(
        r#"
listen: {{ hooks: "{hooks}" }}
min_free: 1KiB
broker: {{ url: "{broker}" }}
spool: {{ max: 1MiB }}
sources:
  in: {{ webhook: {{ verify: none, event: {{ id: "{{{{ body.id }}}}", type: "thing.changed", subject: "{{{{ body.s }}}}" }} }} }}
sinks:
  out: {{ http: {{ url: "{sink}", allow_private: true }} }}
routes:
  news:
    from: in
    to: out
    do: create
    on_doubt: retry
    map: {{ s: "{{{{ subject }}}}", n: "{{{{ data.n }}}}" }}
"#
    )
}

/// Sends webhooks of these numbers, one after the other; each is to be answered 202 in the time that senders wait.
async fn send(hooks: &str, numbers: std::ops::Range<i64>) {
    // For the process's TLS provider, which every HTTP client needs.
    Client::new().unwrap();
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    for n in numbers {
        let body = json!({"id": format!("e{n}"), "s": format!("s{}", n % 3), "n": n});
        let before = Instant::now();
        let answer = http.post(format!("{hooks}/hooks/in")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{n}");
        assert!(before.elapsed() < Duration::from_secs(3), "{n} took {:?}", before.elapsed());
    }
}

/// Waits until so many have arrived: each once, and of each subject in order.
async fn arrive(receiver: &Receiver, count: i64) {
    let deadline = Instant::now() + PATIENCE;
    while receiver.count() < usize::try_from(count).unwrap() {
        assert!(Instant::now() < deadline, "of {count} these came: {:?}", receiver.numbers());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let came = receiver.numbers();
    let mut sorted = came.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..count).collect::<Vec<_>>(), "each came once");
    for subject in 0..3 {
        let of: Vec<i64> = came.iter().copied().filter(|n| n % 3 == subject).collect();
        assert!(of.is_sorted(), "of one subject: {of:?}");
    }
}

async fn away(node: &Arc<Node>) {
    let node = Arc::clone(node);
    tokio::task::spawn_blocking(move || node.kill()).await.unwrap();
}

async fn back(node: &Arc<Node>) {
    let node = Arc::clone(node);
    tokio::task::spawn_blocking(move || node.run()).await.unwrap();
}

async fn readiness(hooks: &str) -> (u16, Value) {
    let answer = reqwest::get(format!("{hooks}/readyz")).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_webhooks_are_taken_while_rabbitmq_is_away_and_arrive_once_it_is_back() {
    let Some(node) = node::own().await else { return };
    let receiver = Receiver::ok().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dari.yaml");
    std::fs::write(&file, config("127.0.0.1:0", &node.url(), &receiver.url)).unwrap();
    let (client, clock) = (Client::new().unwrap(), Clock::system(7));
    let config = dari::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
    let bridge = Bridge::build(Arc::new(config), clock, &Options::default()).await.unwrap();
    let (hooks, operator) = (format!("http://{}", bridge.hooks_address()), bridge.operator());
    let stop = CancellationToken::new();
    let task = tokio::spawn(bridge.run(stop.clone()));

    send(&hooks, 0..6).await;
    away(&node).await;
    send(&hooks, 6..30).await;
    let (status, ready) = readiness(&hooks).await;
    assert_eq!(status, 200, "what is taken is no reason to be taken out of service: {ready}");
    let notes = json!(["broker: it does not answer", "spool: 24 events wait until the broker takes them"]);
    assert_eq!(ready["notes"], notes);
    let told = operator.readiness().await.notes;
    assert!(told[0].starts_with("broker: the broker cannot take events now: "), "operators are told more: {told:?}");

    back(&node).await;
    send(&hooks, 30..36).await;
    arrive(&receiver, 36).await;
    assert_eq!(readiness(&hooks).await, (200, json!({"ready": true, "notes": []})));
    stop.cancel();
    task.await.unwrap().unwrap();
}

/// `dari` as a process.
fn dari(dir: &Path, arguments: &[&str]) -> Command {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dari"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command
}

async fn run(dir: &Path, hooks: &str) -> Child {
    let child = dari(dir, &["run"]).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while reqwest::get(format!("{hooks}/healthz")).await.is_err() {
        let log = || std::fs::read_to_string(dir.join("log")).unwrap();
        assert!(Instant::now() < deadline, "the bridge does not start: {}", log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_killed_bridge_keeps_its_spool_and_a_command_forwards_one_that_was_left() {
    let Some(node) = node::own().await else { return };
    Client::new().unwrap();
    let receiver = Receiver::ok().await;
    let dir = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    std::fs::write(dir.path().join("dari.yaml"), config(&address, &node.url(), &receiver.url)).unwrap();
    let hooks = format!("http://{address}");

    let bridge = run(dir.path(), &hooks).await;
    away(&node).await;
    send(&hooks, 0..12).await;
    kill(bridge);
    back(&node).await;
    let bridge = run(dir.path(), &hooks).await;
    send(&hooks, 12..18).await;
    arrive(&receiver, 18).await;

    away(&node).await;
    send(&hooks, 18..30).await;
    let held = dari(dir.path(), &["spool", "forward"]).status().unwrap();
    assert_eq!(held.code(), Some(1), "a running bridge has it");
    kill(bridge);
    let without: Vec<String> = config(&address, &node.url(), &receiver.url)
        .lines()
        .filter(|line| !line.starts_with("broker:") && !line.starts_with("spool:"))
        .map(str::to_owned)
        .collect();
    std::fs::write(dir.path().join("without.yaml"), without.join("\n")).unwrap();
    let refused = dari(dir.path(), &["run", "without.yaml"]).status().unwrap();
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert_eq!(refused.code(), Some(1));
    assert!(log().contains("12 events are still in the spool"), "{}", log());

    let (own, left): (PathBuf, PathBuf) = (dir.path().join("data/spool"), dir.path().join("left"));
    std::fs::rename(own, &left).unwrap();
    back(&node).await;
    let output = dari(dir.path(), &["spool", "forward", "left"]).stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", log());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "12 events were published; the spool is empty\n");
    let bridge = run(dir.path(), &hooks).await;
    arrive(&receiver, 30).await;
    kill(bridge);
}
