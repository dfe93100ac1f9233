//! A bridge that starts while RabbitMQ is away (promise P1).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dari::admin::Operator;
use dari::app::{Bridge, Options};
use dari::broker::Broker;
use dari::broker::rabbitmq::RabbitBroker;
use dari::clock::Clock;
use dari::connectors::client::Client;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::load::config_at as config;
use crate::node::{self, Node};
use crate::receiver::Receiver;

/// How long a broker may take to come, and what waited for it to arrive.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A running bridge.
pub struct Running {
    pub url: String,
    pub operator: Arc<Operator>,
    pub http: reqwest::Client,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Starts a bridge on a config in a folder.
    pub async fn start(dir: &Path, text: &str) -> Self {
        let file = dir.join("dari.yaml");
        std::fs::write(&file, text).unwrap();
        let (client, clock) = (Client::new().unwrap(), Clock::system(7));
        let config = dari::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
        let bridge = Bridge::build(Arc::new(config), clock, &Options::default()).await.unwrap();
        let (url, operator) = (format!("http://{}", bridge.hooks_address()), bridge.operator());
        let stop = CancellationToken::new();
        let until = stop.clone();
        let task = tokio::spawn(async move { bridge.run(until).await.unwrap() });
        Self { url, operator, http: reqwest::Client::new(), stop, task }
    }

    /// Sends a webhook.
    pub async fn send(&self, id: &str, subject: &str, n: i64) -> u16 {
        let body = json!({"id": id, "s": subject, "n": n});
        self.http.post(format!("{}/hooks/in", self.url)).json(&body).send().await.unwrap().status().as_u16()
    }

    /// `/readyz`.
    pub async fn readiness(&self) -> (u16, Value) {
        let answer = self.http.get(format!("{}/readyz", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Waits until it is ready and nothing is worth a note: an event leaves the spool a moment after it was published.
    pub async fn is_well(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let readiness = self.readiness().await;
            if readiness == (200, json!({"ready": true, "notes": []})) {
                return;
            }
            assert!(Instant::now() < deadline, "{readiness:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for a note that operators see; all of them then.
    pub async fn note(&self, part: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let notes = self.operator.readiness().await.notes;
            if notes.iter().any(|note| note.contains(part)) {
                return notes;
            }
            assert!(Instant::now() < deadline, "nobody says {part:?}: {notes:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        drop(self.operator);
        self.task.await.unwrap();
    }
}

pub async fn kill(node: &Arc<Node>) {
    let node = Arc::clone(node);
    tokio::task::spawn_blocking(move || node.kill()).await.unwrap();
}

pub async fn run(node: &Arc<Node>) {
    let node = Arc::clone(node);
    tokio::task::spawn_blocking(move || node.run()).await.unwrap();
}

/// Waits until these numbers have come, each once.
pub async fn arrive(receiver: &Receiver, numbers: impl IntoIterator<Item = i64>) {
    let all: Vec<i64> = numbers.into_iter().collect();
    let deadline = Instant::now() + PATIENCE;
    while receiver.count() < all.len() {
        assert!(Instant::now() < deadline, "of {all:?} these came: {:?}", receiver.numbers());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut came = receiver.numbers();
    came.sort_unstable();
    assert_eq!(came, all, "each came once");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_bridge_starts_at_once_while_rabbitmq_is_away_and_delivers_once_it_is_there() {
    let Some(node) = node::own().await else { return };
    kill(&node).await;
    let (receiver, dir) = (Receiver::ok().await, tempfile::tempdir().unwrap());
    let text = config("127.0.0.1:0", &node.url(), &node::prefix(), &receiver.url);
    let began = Instant::now();
    let bridge = Running::start(dir.path(), &text).await;
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    for n in 0..6 {
        assert_eq!(bridge.send(&format!("e{n}"), &format!("s{}", n % 2), n).await, 202);
    }
    let notes = json!(["broker: it does not answer", "spool: 6 events wait until the broker takes them"]);
    assert_eq!(bridge.readiness().await, (200, json!({"ready": true, "notes": notes})));
    let told = bridge.operator.readiness().await.notes;
    assert!(told[0].contains("the broker cannot take events now: ") && told[0].contains("refused"), "{told:?}");

    run(&node).await;
    arrive(&receiver, 0..6).await;
    assert_eq!(bridge.send("e6", "s0", 6).await, 202);
    arrive(&receiver, 0..7).await;
    for subject in ["s0", "s1"] {
        let of: Vec<i64> =
            receiver.calls().iter().filter(|got| got.subject() == subject).map(crate::receiver::Got::n).collect();
        assert!(of.is_sorted(), "of one subject: {of:?}");
    }
    bridge.is_well().await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_what_is_found_wrong_once_rabbitmq_is_there_is_told_and_loses_nothing() {
    let Some(node) = node::own().await else { return };
    let (receiver, dir, prefix) = (Receiver::ok().await, tempfile::tempdir().unwrap(), node::prefix());
    // The names belong to another store.
    let (other, clock) = (tempfile::tempdir().unwrap(), Clock::system(1));
    let store = node::store(other.path(), &clock);
    let owner = RabbitBroker::open(node::address(&node.url()), &prefix, store, clock).await.unwrap();
    owner.finish().await;
    drop(owner);
    kill(&node).await;
    let text = config("127.0.0.1:0", &node.url(), &prefix, &receiver.url);
    let bridge = Running::start(dir.path(), &text).await;
    assert_eq!(bridge.send("e0", "s", 0).await, 202);
    run(&node).await;
    bridge.note("belong to a bridge with another store; give this one another `prefix`").await;
    let (status, ready) = bridge.readiness().await;
    assert_eq!(status, 503, "waiting does not help: {ready}");
    assert_eq!(ready["notes"][0], "broker: it is not to be used like this");
    assert_eq!(bridge.send("e1", "s", 1).await, 202, "what comes is taken all the same");
    bridge.stop().await;

    // What a start that finds the broker refuses stops it.
    let file = dir.path().join("dari.yaml");
    let loaded = dari::config::load(&file, &|_| None, &Client::new().unwrap(), &Clock::system(7));
    let loaded = Arc::new(loaded.unwrap_or_else(|faults| panic!("{faults}")));
    let refused = Bridge::build(loaded, Clock::system(7), &Options::default()).await.err().unwrap().to_string();
    assert!(refused.contains("belong to a bridge with another store"), "{refused}");

    let text = config("127.0.0.1:0", &node.url(), &node::prefix(), &receiver.url);
    let bridge = Running::start(dir.path(), &text).await;
    arrive(&receiver, 0..2).await;
    // A route that vanishes with messages is found when the broker is there, and put right while the bridge runs.
    bridge.operator.suspend(dari::outcome::Scope::Route, "news", None).await.unwrap();
    assert_eq!(bridge.send("e2", "s", 2).await, 202);
    bridge.stop().await;
    kill(&node).await;
    let bridge = Running::start(dir.path(), &text.replace("  news:", "  other:")).await;
    assert_eq!(bridge.send("e3", "s", 3).await, 202);
    run(&node).await;
    bridge.note("route news is no longer in the config, but 1 messages wait for it").await;
    assert_eq!(bridge.readiness().await.0, 503);
    assert_eq!(receiver.numbers(), [0, 1], "nothing is delivered meanwhile");
    bridge.operator.retire("news", dari::admin::retire::Leftover::Drop).await.unwrap();
    arrive(&receiver, [0, 1, 3]).await;
    bridge.is_well().await;
    bridge.stop().await;
}
