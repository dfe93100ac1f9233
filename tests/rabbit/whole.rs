//! The whole bridge over RabbitMQ.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dari::app::{Bridge, Options};
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::store::{DeadClass, DeadFilter};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::common::{DEADLINE, event};
use crate::keeping::{crash, ready};
use crate::load::{self, Load, in_order, until};
use crate::node;
use crate::receiver::{Answer, Got, Receiver};

/// A config on the broker of a URL.
pub fn config(hooks: &str, broker: &str, prefix: &str, sink: &str) -> String {
    load::config(hooks, &format!("url: \"{broker}\""), prefix, sink)
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p4_a_webhook_comes_out_once_and_a_refused_one_after_its_wait() {
    let server = node::server().await;
    let first = std::sync::atomic::AtomicBool::new(true);
    let receiver = Receiver::start(move |got, _| {
        let refuse = got.n() == 2 && first.swap(false, std::sync::atomic::Ordering::Relaxed);
        if refuse { Answer::Status(503, "later") } else { Answer::Ok }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dari.yaml");
    std::fs::write(&file, config("127.0.0.1:0", &server.url, &node::prefix(), &receiver.url)).unwrap();
    let (client, clock) = (Client::new().unwrap(), Clock::system(7));
    let config = dari::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
    let bridge = Bridge::build(Arc::new(config), clock, &Options::default()).await.unwrap();
    let url = format!("http://{}", bridge.hooks_address());
    let stop = CancellationToken::new();
    let task = tokio::spawn(bridge.run(stop.clone()));

    let http = reqwest::Client::new();
    for n in [1, 2, 1] {
        let body = json!({"id": format!("e{n}"), "s": format!("s{n}"), "n": n});
        let answer = http.post(format!("{url}/hooks/in")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
    // The first, the second twice; the repetition of the first not at all.
    let calls = receiver.reach(3).await;
    let ids: BTreeSet<_> = calls.iter().filter(|got| got.n() == 2).map(|got| got.id.clone()).collect();
    assert_eq!(ids.len(), 1, "a retry has its first call's id");
    let ready = http.get(format!("{url}/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200, "{}", ready.text().await.unwrap());
    stop.cancel();
    task.await.unwrap().unwrap();
    let mut numbers = receiver.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_the_bridge_each_time_becomes_a_dead_letter_and_stops_no_other() {
    let server = node::server().await;
    let receiver = Receiver::ok().await;
    let (dir, prefix) = (tempfile::tempdir().unwrap(), node::prefix());
    let file = dir.path().join("dari.yaml");
    std::fs::write(&file, config("127.0.0.1:0", &server.url, &prefix, &receiver.url)).unwrap();
    let (client, clock) = (Client::new().unwrap(), Clock::system(7));
    let config = dari::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
    let bridge = Bridge::build(Arc::new(config), clock.clone(), &Options::default()).await.unwrap();
    let operator = bridge.operator();
    operator.broker.publish(vec![event(&clock, "in", "thing.changed", "crash")]).await.unwrap();
    for _ in 0..3 {
        crash(&server.url, &format!("{prefix}.route.news.v1")).await;
    }
    operator.broker.publish(vec![event(&clock, "in", "thing.changed", "good")]).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(bridge.run(stop.clone()));
    let calls = receiver.reach(1).await;
    let deadline = tokio::time::Instant::now() + 3 * DEADLINE;
    let dead = loop {
        let dead = operator.dead(DeadFilter::default()).await.unwrap();
        if !dead.is_empty() {
            break dead;
        }
        if tokio::time::Instant::now() > deadline {
            let mut left = Vec::new();
            for queue in ["route.news", "poison", "unrouted", "unreadable"] {
                left.push((queue, ready(&server.url, &format!("{prefix}.{queue}.v1")).await));
            }
            panic!("it is no dead letter: {left:?}, {:?}", operator.broker.depths().await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(calls.iter().map(crate::receiver::Got::subject).collect::<Vec<_>>(), ["subject-good"]);
    assert_eq!((dead.len(), dead[0].letter.class, dead[0].letter.event.id.as_str()), (1, DeadClass::Poison, "crash"));
    stop.cancel();
    drop(operator);
    task.await.unwrap().unwrap();
}

/// `dari run` as a process.
pub fn spawn(dir: &Path) -> Child {
    let out = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_dari"))
        .args(["run", "dari.yaml"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(out)
        .spawn()
        .expect("it starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_a_bridge_that_is_killed_ten_times_loses_nothing() {
    let server = node::server().await;
    let receiver = Receiver::start(|_, _| Answer::Slow(Duration::from_millis(15))).await;
    let dir = tempfile::tempdir().unwrap();
    let hooks = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = config(&hooks, &server.url, &node::prefix(), &receiver.url);
    std::fs::write(dir.path().join("dari.yaml"), config).unwrap();
    // For the process's TLS provider, which every HTTP client needs.
    Client::new().unwrap();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let load = Load::start(&format!("http://{hooks}/hooks/in"), 4);
    let mut child = spawn(dir.path());
    let mut kills = Vec::new();
    for kill in 0..10 {
        if kill % 2 == 0 {
            // At work; else whenever it comes, at the start too.
            load.more(1).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..2_000))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        kills.push(Instant::now());
        child = spawn(dir.path());
    }
    load.more(50).await;
    let answered = load.end().await;
    let missing = || answered.iter().filter(|n| !receiver.numbers().contains(n)).count();
    until("all that was answered 2xx arrives", || missing() == 0).await;
    let mut calls: BTreeMap<i64, Vec<Got>> = BTreeMap::new();
    for got in receiver.calls() {
        calls.entry(got.n()).or_default().push(got);
    }
    for (n, calls) in calls {
        for pair in calls.windows(2) {
            assert_eq!(pair[0].id, pair[1].id, "{n} comes again under the same webhook-id");
            let in_flight = |kill: &&Instant| pair[0].at < **kill && **kill < pair[1].at;
            let kill = kills.iter().find(in_flight).unwrap_or_else(|| panic!("{n} came twice without a kill between"));
            assert!(kill.duration_since(pair[0].at) < Duration::from_secs(3), "{n} was not in flight at the kill");
        }
    }
    in_order(&receiver);
    child.kill().unwrap();
    child.wait().unwrap();
}
