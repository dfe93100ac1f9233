//! What RabbitMQ and its client are known to do, each with the way around it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dari::broker::rabbitmq::RabbitBroker;
use dari::broker::{Broker, BrokerError};
use dari::event::{MAX_ID, MAX_SUBJECT, MAX_TYPE, NewEvent, Payload};
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::away::PATIENCE;
use crate::common::{event, is_quiet, next};
use crate::keeping::all;
use crate::node::{self, Node, Site};

async fn ctl(node: &Arc<Node>, arguments: &[&str]) {
    let (node, arguments) = (Arc::clone(node), arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>());
    let ask = move || node.ctl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(ask).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_nack_is_no_ack_and_what_was_refused_can_be_published_again() {
    let Some(node) = node::own().await else { return };
    let site = Site::new(&node.url()).await;
    site.broker.declare(vec![all("r")]).await.expect("declared");
    // A person's policy: the queue refuses what is over its length.
    let pattern = format!("^{}.route", site.prefix);
    let limit = async |most: &str| {
        let policy = format!(r#"{{"max-length":{most}}}"#);
        ctl(&node, &["set_policy", "--apply-to", "queues", "length", &pattern, &policy]).await;
    };
    limit("2").await;
    let mut confirmed = Vec::new();
    let refused = loop {
        let id = confirmed.len().to_string();
        match site.broker.publish(vec![event(&site.clock, "s", "t", &id)]).await {
            Ok(()) => confirmed.push(id),
            Err(error) => break error,
        }
        assert!(confirmed.len() < 20, "it takes everything");
    };
    assert!(matches!(&refused, BrokerError::Unavailable(why) if why == "it refused a message"), "{refused}");
    limit("1000").await;
    // The queue goes on refusing until some of it is gone.
    let mut consumer = site.broker.consume("r", 100).await.expect("a consumer");
    for id in confirmed {
        let message = next(consumer.as_mut()).await;
        assert_eq!(message.event.id, id, "what was confirmed is there");
        site.broker.ack("r", &message).await.expect("acked");
    }
    // Of several hands none takes a refusal of another for its own confirm.
    let more = (0..32).map(|n| {
        let (broker, event) = (Arc::clone(&site.broker), event(&site.clock, "s", "t", &format!("more-{n}")));
        tokio::spawn(async move { while broker.publish(vec![Arc::clone(&event)]).await.is_err() {} })
    });
    for publish in more.collect::<Vec<_>>() {
        tokio::time::timeout(PATIENCE, publish).await.expect("it takes them again").unwrap();
    }
    let mut missing: BTreeSet<String> = (0..32).map(|n| format!("more-{n}")).collect();
    while !missing.is_empty() {
        let message = next(consumer.as_mut()).await;
        missing.remove(&message.event.id);
        site.broker.ack("r", &message).await.expect("acked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_because_it_was_held_too_long_comes_again() {
    let Some(node) = node::own().await else { return };
    // The channel is closed by the broker, and its stream stays silent for good.
    let soon = "application:set_env(rabbit, channel_tick_interval, 500).";
    ctl(&node, &["eval", soon]).await;
    let site = Site::new(&node.url()).await;
    site.broker.declare(vec![all("r")]).await.expect("declared");
    ctl(&node, &["eval", "application:set_env(rabbit, consumer_timeout, 2000)."]).await;
    let mut consumer = site.broker.consume("r", 2).await.expect("a consumer");
    site.broker.publish(vec![event(&site.clock, "s", "t", "1")]).await.expect("published");
    let held = next(consumer.as_mut()).await;
    let again = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("it comes again").unwrap().unwrap();
    assert_eq!((again.event.id.as_str(), again.attempt), ("1", 1));
    site.broker.ack("r", &held).await.expect("an ack that comes too late does no harm");
    site.broker.ack("r", &again).await.expect("acked");
    site.broker.publish(vec![event(&site.clock, "s", "t", "2")]).await.expect("published");
    loop {
        let message = next(consumer.as_mut()).await;
        site.broker.ack("r", &message).await.expect("acked");
        if message.event.id == "2" {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_accepts_and_says_nothing_does_not_keep_the_bridge_from_another() {
    let server = node::server().await;
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut address = node::address(&format!("amqp://guest:guest@{}/%2f", mute.local_addr().unwrap()));
    address.urls.push(server.url.clone().into());
    let (folder, clock) = (tempfile::tempdir().unwrap(), dari::clock::Clock::system(1));
    let store = node::store(folder.path(), &clock);
    let began = Instant::now();
    let broker = RabbitBroker::start(address, &node::prefix(), store, clock.clone()).await.expect("it starts");
    assert!(began.elapsed() < Duration::from_secs(1), "nothing is waited for");
    let deadline = Instant::now() + PATIENCE;
    while let Err(why) = broker.declare(vec![all("r")]).await {
        assert!(Instant::now() < deadline, "{why}");
    }
    broker.publish(vec![event(&clock, "s", "t", "1")]).await.expect("published");
}

#[tokio::test]
async fn p4_p8_what_waits_for_a_route_that_is_gone_does_not_hold_up_the_others() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    site.broker.declare(vec![all("gone"), all("stays")]).await.expect("declared");
    site.broker.publish(vec![event(&site.clock, "s", "t", "1")]).await.expect("published");
    let mut consumer = site.broker.consume("gone", 1).await.expect("a consumer");
    let message = next(consumer.as_mut()).await;
    let due = site.clock.now() + SignedDuration::from_secs(2);
    // Ten do no harm, forty do.
    for _ in 0..80 {
        site.broker.wait("gone", &message, 2, due).await.expect("waiting");
    }
    drop(consumer);
    site.broker.declare(vec![all("stays")]).await.expect("declared");
    site.broker.remove("gone").await.expect("removed");
    let mut consumer = site.broker.consume("stays", 1).await.expect("a consumer");
    let message = next(consumer.as_mut()).await;
    let due = site.clock.now() + SignedDuration::from_secs(5);
    site.broker.wait("stays", &message, 2, due).await.expect("waiting");
    site.broker.ack("stays", &message).await.expect("acked");
    assert_eq!(next(consumer.as_mut()).await.attempt, 2);
    let late = site.clock.now().duration_since(due);
    assert!(late < SignedDuration::from_secs(2), "it came {late:?} after its time");
}

#[tokio::test]
async fn the_longest_names_fit() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    let route = "r".repeat(63);
    site.broker.declare(vec![all(&route)]).await.expect("declared");
    let mut new = NewEvent::new("t.".repeat(MAX_TYPE / 2), Payload::json(b"1").unwrap());
    new.id = Some("가".repeat(MAX_ID / 3));
    new.subject = Some("s".repeat(MAX_SUBJECT));
    let event = Arc::new(new.stamp(&"s".repeat(63), &site.clock).unwrap());
    site.broker.publish(vec![Arc::clone(&event)]).await.expect("published");
    let mut consumer = site.broker.consume(&route, 1).await.expect("a consumer");
    let message = next(consumer.as_mut()).await;
    assert_eq!((&message.event.id, &message.event.subject), (&event.id, &event.subject));
    let due = site.clock.now() + SignedDuration::from_secs(1);
    site.broker.wait(&route, &message, 2, due).await.expect("waiting");
    site.broker.ack(&route, &message).await.expect("acked");
    assert_eq!(next(consumer.as_mut()).await.attempt, 2);
}

#[tokio::test]
async fn p1_a_queue_that_is_new_is_left_alone_until_it_survives_a_crash() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    let began = Instant::now();
    site.broker.declare(vec![all("r")]).await.expect("declared");
    assert!(began.elapsed() >= Duration::from_secs(2), "it took only {:?}", began.elapsed());
    let mut consumer = site.broker.consume("r", 1).await.expect("a consumer");
    assert!(is_quiet(consumer.as_mut()).await);
}
