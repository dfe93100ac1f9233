//! Queues that go from the broker: noticed, made again, and filled with what they missed (promises P1 to P4).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dari::broker::Broker;
use dari::broker::rabbitmq::RabbitBroker;
use dari::outcome::Scope;
use dari::store::journal::Step;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use tokio::time::Instant;

use crate::away::{PATIENCE, Running, arrive};
use crate::common::{event, is_quiet, next};
use crate::keeping::all;
use crate::load::config_at as config;
use crate::node::{self, Site};
use crate::receiver::{Answer, Got, Receiver};

/// Deletes a queue as a person would.
pub async fn delete(url: &str, queue: &str) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    connection.close(200, "".into()).await.unwrap();
}

/// True if a queue is there.
async fn is_there(url: &str, queue: &str) -> bool {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let there = channel.queue_declare(queue.into(), options, FieldTable::default()).await.is_ok();
    connection.close(200, "".into()).await.unwrap();
    there
}

/// Waits until the journal has an event and its queue nothing.
async fn journalled(bridge: &Running, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while bridge
        .operator
        .journal
        .events(dari::store::journal::EventFilter { limit: 1000, ..Default::default() })
        .await
        .unwrap()
        .len()
        < count
    {
        assert!(Instant::now() < deadline, "the journal lags behind");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn in_order(receiver: &Receiver, subject: &str) {
    let of: Vec<i64> = receiver.calls().iter().filter(|got| got.subject() == subject).map(Got::n).collect();
    assert!(of.is_sorted(), "of {subject}: {of:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_p4_a_queue_that_is_deleted_is_filled_again_with_what_it_missed() {
    let server = node::server().await;
    let refuse = AtomicBool::new(true);
    let receiver = Receiver::start(move |got, _| {
        if got.n() == 100 && refuse.swap(false, Ordering::Relaxed) { Answer::Later(503, 20) } else { Answer::Ok }
    })
    .await;
    let (dir, prefix) = (tempfile::tempdir().unwrap(), node::prefix());
    let text = config("127.0.0.1:0", &server.url, &prefix, &receiver.url);
    let bridge = Running::start(dir.path(), &text).await;
    for n in 0..3 {
        bridge.send(&format!("e{n}"), &format!("s{}", n % 2), n).await;
    }
    // Waits in the ladder all the while.
    bridge.send("e100", "waits", 100).await;
    receiver.reach(4).await;
    bridge.operator.suspend(Scope::Route, "news", None).await.unwrap();
    for n in 3..10 {
        bridge.send(&format!("e{n}"), &format!("s{}", n % 2), n).await;
    }
    journalled(&bridge, 11).await;
    let queue = format!("{prefix}.route.news.v1");
    delete(&server.url, &queue).await;
    // Confirmed although its queue is not there: another one took it.
    for n in 10..14 {
        assert_eq!(bridge.send(&format!("e{n}"), &format!("s{}", n % 2), n).await, 202);
    }
    let deadline = Instant::now() + PATIENCE;
    while !is_there(&server.url, &queue).await {
        assert!(Instant::now() < deadline, "it is not made again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for n in 14..16 {
        bridge.send(&format!("e{n}"), &format!("s{}", n % 2), n).await;
    }
    bridge.operator.resume(Scope::Route, "news").await.unwrap();
    arrive(&receiver, (0..16).chain([100, 100])).await;
    in_order(&receiver, "s0");
    in_order(&receiver, "s1");
    let ids: BTreeSet<String> = receiver.calls().into_iter().filter(|got| got.n() == 100).map(|got| got.id).collect();
    assert_eq!(ids.len(), 1, "what waited came once more under its id");
    assert_eq!(bridge.readiness().await.0, 200);
    assert_eq!(bridge.operator.readiness().await.notes, Vec::<String>::new());
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_queue_that_is_missing_at_a_start_gets_what_it_had_and_nothing_from_before_its_route() {
    let server = node::server().await;
    let (receiver, dir, prefix) = (Receiver::ok().await, tempfile::tempdir().unwrap(), node::prefix());
    let text = config("127.0.0.1:0", &server.url, &prefix, &receiver.url);
    let bridge = Running::start(dir.path(), &text).await;
    for n in 0..2 {
        bridge.send(&format!("e{n}"), "s", n).await;
    }
    receiver.reach(2).await;
    bridge.stop().await;
    // A second route takes the same from now on.
    let at = text.find("  news:").unwrap();
    let both = format!("{text}{}", text[at..].replace("  news:", "  late:").replace("thing.*", "[thing.changed]"));
    let bridge = Running::start(dir.path(), &both).await;
    for route in ["news", "late"] {
        bridge.operator.suspend(Scope::Route, route, None).await.unwrap();
    }
    for n in 2..4 {
        bridge.send(&format!("e{n}"), "s", n).await;
    }
    journalled(&bridge, 4).await;
    bridge.stop().await;
    for route in ["news", "late"] {
        delete(&server.url, &format!("{prefix}.route.{route}.v1")).await;
    }
    let bridge = Running::start(dir.path(), &both).await;
    for route in ["news", "late"] {
        bridge.operator.resume(Scope::Route, route).await.unwrap();
    }
    arrive(&receiver, [0, 1, 2, 2, 3, 3]).await;
    bridge.operator.journal.flush().await.unwrap();
    let steps = bridge.operator.journal.journey("in/e2").await.unwrap();
    let told = |step: &Step| matches!(step, Step::Waiting { why, .. } if why.contains("sent again from the journal"));
    assert!(steps.iter().any(|entry| told(&entry.step)), "its trace says so: {steps:?}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p4_a_broker_that_has_lost_everything_is_filled_again() {
    let Some(node) = node::own().await else { return };
    let refuse = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&refuse);
    let receiver = Receiver::start(move |got, _| {
        let no = got.n() == 9 && asked.swap(false, Ordering::Relaxed);
        if no { Answer::Later(503, 30) } else { Answer::Ok }
    })
    .await;
    let (dir, prefix) = (tempfile::tempdir().unwrap(), node::prefix());
    let text = config("127.0.0.1:0", &node.url(), &prefix, &receiver.url);
    let bridge = Running::start(dir.path(), &text).await;
    bridge.send("e9", "waits", 9).await;
    receiver.reach(1).await;
    bridge.operator.suspend(Scope::Route, "news", None).await.unwrap();
    for n in 0..5 {
        bridge.send(&format!("e{n}"), "s", n).await;
    }
    journalled(&bridge, 6).await;
    let wiping = Arc::clone(&node);
    tokio::task::spawn_blocking(move || {
        wiping.kill();
        wiping.wipe();
        wiping.run();
    })
    .await
    .unwrap();
    bridge.operator.resume(Scope::Route, "news").await.unwrap();
    // The one that waited lay in the ladder, of which nothing is left.
    arrive(&receiver, (0..5).chain([9, 9])).await;
    in_order(&receiver, "s");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_what_waited_in_a_queue_that_is_deleted_comes_in_its_time() {
    let server = node::server().await;
    let refuse = AtomicBool::new(true);
    let receiver =
        Receiver::start(
            move |_, _| {
                if refuse.swap(false, Ordering::Relaxed) { Answer::Later(503, 20) } else { Answer::Ok }
            },
        )
        .await;
    let (dir, prefix) = (tempfile::tempdir().unwrap(), node::prefix());
    let text = config("127.0.0.1:0", &server.url, &prefix, &receiver.url);
    let bridge = Running::start(dir.path(), &text).await;
    bridge.send("e1", "s", 1).await;
    let first = receiver.reach(1).await[0].at;
    let deadline = Instant::now() + PATIENCE;
    while bridge.operator.routes().await.unwrap()[0].waiting != 1 {
        assert!(Instant::now() < deadline, "it does not wait");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for level in 0..=4 {
        delete(&server.url, &format!("{prefix}.wait.{level}.v1")).await;
    }
    arrive(&receiver, [1, 1]).await;
    let late = receiver.calls()[1].at.duration_since(first);
    assert!(late < Duration::from_secs(35), "it came after {late:?}");
    bridge.stop().await;
}

#[tokio::test]
async fn p1_a_queue_is_known_as_lost_until_it_is_filled_whatever_ends_the_bridge() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    let before = site.clock.now();
    site.broker.declare(vec![all("r"), all("idle")]).await.expect("declared");
    delete(&server.url, &format!("{}.route.r.v1", site.prefix)).await;
    // Nobody receives from it: it is looked for all the same.
    let lost = tokio::time::timeout(PATIENCE, site.broker.lost()).await.expect("it is noticed");
    let Site { broker, clock, prefix, folder } = site;
    broker.finish().await;
    drop(broker);
    let store = node::store(folder.path(), &clock);
    let broker = RabbitBroker::open(node::address(&server.url), &prefix, store, clock.clone()).await.expect("a broker");
    assert_eq!(broker.lost().await, lost);
    assert!(lost.had("s", "t", clock.now()) && !lost.had("s", "t", before - jiff::SignedDuration::from_mins(1)));
    broker.publish(vec![event(&clock, "s", "t", "1")]).await.expect("published");
    let mut consumer = broker.consume("r", 1).await.expect("a consumer");
    assert!(is_quiet(consumer.as_mut()).await, "what is newer does not come before what was lost");
    broker.refilled(&lost).await.expect("kept");
    assert_eq!(next(consumer.as_mut()).await.event.id, "1");
    assert!(broker.notes().is_empty());
}
