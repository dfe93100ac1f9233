//! Pauses, restarts and waits lose nothing and put nothing aside (promise P4).

use dari::broker::rabbitmq::RabbitBroker;
use dari::broker::{Binding, Broker, JOURNAL};
use jiff::SignedDuration;
use lapin::options::{BasicGetOptions, BasicNackOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

use crate::common::{DEADLINE, event, is_quiet, next};
use crate::node::{self, Site};

pub fn all(queue: &str) -> Binding {
    Binding { queue: queue.into(), sources: None, types: None }
}

/// How many messages are ready in a queue of the server.
pub async fn ready(url: &str, queue: &str) -> u32 {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("it is there");
    connection.close(200, "".into()).await.expect("closes");
    found.message_count()
}

#[tokio::test]
async fn p4_fifty_pauses_put_nothing_aside() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    site.broker.declare(vec![all("r")]).await.expect("declared");
    for id in ["1", "2", "3"] {
        site.broker.publish(vec![event(&site.clock, "s", "t", id)]).await.expect("published");
    }
    for pause in 0..50 {
        let mut consumer = site.broker.consume("r", 3).await.expect("a consumer");
        for id in ["1", "2", "3"] {
            assert_eq!(next(consumer.as_mut()).await.event.id, id, "after {pause} pauses");
        }
    }
    assert_eq!(ready(&server.url, &format!("{}.poison.v1", site.prefix)).await, 0);
    assert_eq!(ready(&server.url, &format!("{}.unrouted.v1", site.prefix)).await, 0);
}

#[tokio::test]
async fn p4_thirty_restarts_hand_back_and_put_nothing_aside() {
    let server = node::server().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (clock, prefix) = (dari::clock::Clock::system(1), node::prefix());
    let store = node::store(folder.path(), &clock);
    for restart in 0..30 {
        let broker = RabbitBroker::open(node::address(&server.url), &prefix, store.clone(), clock.clone()).await;
        let broker = broker.expect("a broker");
        if restart == 0 {
            broker.declare(vec![all("r"), all(JOURNAL)]).await.expect("declared");
            for id in ["1", "2"] {
                broker.publish(vec![event(&clock, "s", "t", id)]).await.expect("published");
            }
        }
        for queue in ["r", JOURNAL] {
            let mut consumer = broker.consume(queue, 5).await.expect("its binding was kept");
            for id in ["1", "2"] {
                let message = next(consumer.as_mut()).await;
                assert_eq!((message.event.id.as_str(), message.attempt), (id, 1), "after {restart} restarts");
            }
            assert!(is_quiet(consumer.as_mut()).await, "nothing is there twice");
        }
        broker.finish().await;
    }
    assert_eq!(ready(&server.url, &format!("{prefix}.route.r.v1")).await, 2);
    assert_eq!(ready(&server.url, &format!("{prefix}.poison.v1")).await, 0);
    assert_eq!(ready(&server.url, &format!("{prefix}.unrouted.v1")).await, 0);
}

#[tokio::test]
async fn p4_what_waits_outlives_the_bridge_and_comes_within_two_seconds_of_its_time() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    site.broker.declare(vec![all("a"), all("b")]).await.expect("declared");
    site.broker.publish(vec![event(&site.clock, "s", "t", "1")]).await.expect("published");
    let start = site.clock.now();
    for (queue, seconds) in [("a", 7), ("b", 4)] {
        let mut consumer = site.broker.consume(queue, 1).await.expect("a consumer");
        let message = next(consumer.as_mut()).await;
        site.broker.wait(queue, &message, 2, start + SignedDuration::from_secs(seconds)).await.expect("waiting");
        site.broker.ack(queue, &message).await.expect("acked");
    }
    site.broker.finish().await;
    let Site { broker, clock, prefix, folder } = site;
    drop(broker);
    let store = node::store(folder.path(), &clock);
    let broker = RabbitBroker::open(node::address(&server.url), &prefix, store, clock.clone()).await.expect("a broker");
    for (queue, seconds) in [("b", 4), ("a", 7)] {
        let message = next(broker.consume(queue, 1).await.expect("a consumer").as_mut()).await;
        let late = clock.now().duration_since(start + SignedDuration::from_secs(seconds));
        assert!(!late.is_negative() && late < SignedDuration::from_secs(2), "it came {late:?} after its time");
        assert_eq!((message.event.id.as_str(), message.attempt), ("1", 2));
    }
}

#[tokio::test]
async fn several_acks_in_one_word_end_those_and_no_others() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    site.broker.declare(vec![all("r")]).await.expect("declared");
    for id in ["1", "2", "3", "4", "5", "6"] {
        site.broker.publish(vec![event(&site.clock, "s", "t", id)]).await.expect("published");
    }
    let mut consumer = site.broker.consume("r", 6).await.expect("a consumer");
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(next(consumer.as_mut()).await);
    }
    // The first ones, then some that have an earlier one before them.
    site.broker.ack_all("r", &held[..2]).await.expect("acked");
    site.broker.ack_all("r", &held[3..5]).await.expect("acked");
    drop(consumer);
    site.broker.finish().await;
    assert_eq!(ready(&server.url, &format!("{}.route.r.v1", site.prefix)).await, 2);
}

#[tokio::test]
async fn urls_are_tried_one_after_the_other() {
    let server = node::server().await;
    let (folder, clock) = (tempfile::tempdir().expect("a folder"), dari::clock::Clock::system(1));
    let store = node::store(folder.path(), &clock);
    let mut address = node::address("amqp://guest:guest@127.0.0.1:1/%2f");
    address.urls.push(server.url.clone().into());
    let broker = RabbitBroker::open(address, &node::prefix(), store, clock.clone()).await.expect("the second is there");
    broker.declare(vec![all("r")]).await.expect("declared");
    broker.publish(vec![event(&clock, "s", "t", "1")]).await.expect("published");
}

#[tokio::test]
async fn a_bridge_with_another_store_is_refused() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = node::store(folder.path(), &site.clock);
    let other = RabbitBroker::open(node::address(&server.url), &site.prefix, store, site.clock.clone()).await;
    let why = other.err().expect("refused").to_string();
    assert!(why.contains("belong to a bridge with another store; give this one another `prefix`"), "{why}");
}

/// Receives a message and hands it back by nack until it is put aside, as a bridge that crashes on it does.
pub async fn crash(url: &str, queue: &str) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut nacks = 0;
    while nacks < 21 {
        match channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("an answer") {
            Some(got) => {
                let again = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                assert!(got.acker.nack(again).await.expect("nacked"));
                nacks += 1;
            }
            None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
        assert!(tokio::time::Instant::now() < deadline, "only {nacks} were possible");
    }
    connection.close(200, "".into()).await.expect("closes");
}

#[tokio::test]
async fn what_was_put_aside_comes_back_and_says_how_often() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    site.broker.declare(vec![all("r")]).await.expect("declared");
    site.broker.publish(vec![event(&site.clock, "s", "t", "1")]).await.expect("published");
    let queue = format!("{}.route.r.v1", site.prefix);
    for _ in 0..3 {
        crash(&server.url, &queue).await;
    }
    let message = next(site.broker.consume("r", 1).await.expect("a consumer").as_mut()).await;
    assert_eq!((message.event.id.as_str(), message.attempt, message.rounds), ("1", 1, 3));
    assert_eq!(ready(&server.url, &format!("{}.unreadable.v1", site.prefix)).await, 0);
}

#[tokio::test]
async fn what_comes_due_for_a_queue_that_was_deleted_is_not_lost() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    site.broker.declare(vec![all("r")]).await.expect("declared");
    site.broker.publish(vec![event(&site.clock, "s", "t", "1")]).await.expect("published");
    let mut consumer = site.broker.consume("r", 1).await.expect("a consumer");
    let message = next(consumer.as_mut()).await;
    drop(consumer);
    let due = site.clock.now() + SignedDuration::from_secs(1);
    site.broker.wait("r", &message, 2, due).await.expect("waiting");
    site.broker.ack("r", &message).await.expect("acked");
    // Nobody receives, so nobody makes it anew before the message comes.
    let Site { broker, clock, prefix, folder } = site;
    broker.finish().await;
    drop(broker);
    let connection = Connection::connect(&server.url, ConnectionProperties::default()).await.expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    let queue = format!("{prefix}.route.r.v1");
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    let unrouted = format!("{prefix}.unrouted.v1");
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while ready(&server.url, &unrouted).await == 0 {
        assert!(tokio::time::Instant::now() < deadline, "it did not come due");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let store = node::store(folder.path(), &clock);
    let broker = RabbitBroker::open(node::address(&server.url), &prefix, store, clock.clone()).await.expect("a broker");
    crate::faults::refill(&broker, "r").await;
    let message = next(broker.consume("r", 1).await.expect("a consumer").as_mut()).await;
    assert_eq!((message.event.id.as_str(), message.attempt), ("1", 2));
}
