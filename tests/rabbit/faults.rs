//! Faults of the broker, with a ledger of what was confirmed (promise P1).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dari::broker::{Broker, BrokerError};
use lapin::options::QueueDeleteOptions;
use lapin::{Connection, ConnectionProperties};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::common::{event, next};
use crate::keeping::all;
use crate::node::{self, Site};

/// How long a broker may take to come back.
const PATIENCE: Duration = Duration::from_secs(90);

/// Publishes from several sides, as intake does: what is refused is sent again.
struct Load {
    confirmed: Arc<Mutex<BTreeSet<String>>>,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    fn start(site: &Site) -> Self {
        let (confirmed, count, stop) = (Arc::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut load = Self { confirmed, count, stop, tasks: JoinSet::new() };
        for side in 0..8 {
            let (broker, clock) = (Arc::clone(&site.broker), site.clock.clone());
            let (confirmed, count, stop) =
                (Arc::clone(&load.confirmed), Arc::clone(&load.count), Arc::clone(&load.stop));
            load.tasks.spawn(async move {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("{side}-{n}");
                    while broker.publish(vec![event(&clock, "s", "t", &id)]).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    confirmed.lock().unwrap().insert(id);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    async fn reach(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.count.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < deadline, "{} of {count} were confirmed", self.count.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn confirmed(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends the load; everything that was confirmed.
    async fn end(mut self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        std::mem::take(&mut self.confirmed.lock().unwrap())
    }
}

/// Receives and acks until all of these have come.
async fn all_arrive(site: &Site, queue: &str, mut missing: BTreeSet<String>) {
    let mut consumer = site.broker.consume(queue, 256).await.expect("a consumer");
    while !missing.is_empty() {
        let received = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await;
        let Ok(Ok(Some(message))) = received else { panic!("lost in {queue}: {missing:?}") };
        missing.remove(&message.event.id);
        site.broker.ack(queue, &message).await.expect("acked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_nothing_confirmed_is_lost_when_the_broker_is_killed() {
    let Some(node) = node::own().await else { return };
    let site = Site::new(&node.url()).await;
    site.broker.declare(vec![all("a"), all("b")]).await.expect("declared");
    let load = Load::start(&site);
    for round in 1..=2 {
        load.reach(load.confirmed() + 300).await;
        let restart = Arc::clone(&node);
        tokio::task::spawn_blocking(move || {
            restart.kill();
            restart.run();
        })
        .await
        .unwrap_or_else(|_| panic!("round {round}: it did not come back"));
    }
    load.reach(load.confirmed() + 300).await;
    let confirmed = load.end().await;
    all_arrive(&site, "a", confirmed.clone()).await;
    all_arrive(&site, "b", confirmed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_closed_connections_a_full_memory_and_a_broker_that_stops_cost_nothing() {
    let Some(node) = node::own().await else { return };
    let site = Site::new(&node.url()).await;
    site.broker.declare(vec![all("a")]).await.expect("declared");
    let load = Load::start(&site);
    let mut consumer = site.broker.consume("a", 16).await.expect("a consumer");
    load.reach(200).await;
    let closing = Arc::clone(&node);
    tokio::task::spawn_blocking(move || closing.ctl(&["close_all_connections", "test"])).await.expect("closed");
    load.reach(load.confirmed() + 200).await;
    // The consumer has a new connection as well.
    let message = next(consumer.as_mut()).await;
    site.broker.ack("a", &message).await.expect("acked");
    drop(consumer);

    // Memory: what is there is still handed out, and nothing more is taken.
    let alarm = Arc::clone(&node);
    let set = |mark: &'static str| {
        let node = Arc::clone(&alarm);
        tokio::task::spawn_blocking(move || node.ctl(&["set_vm_memory_high_watermark", mark]))
    };
    set("0.00001").await.expect("set");
    let mut consumer = site.broker.consume("a", 16).await.expect("a consumer");
    let refused = async { while site.broker.publish(vec![event(&site.clock, "s", "t", "refused")]).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), refused).await.expect("a full broker takes no more");
    site.broker.depths().await.expect("it is there all the same");
    let during = next(consumer.as_mut()).await;
    site.broker.ack("a", &during).await.expect("acked");
    drop(consumer);
    set("0.4").await.expect("set");
    load.reach(load.confirmed() + 200).await;

    node.signal("-STOP");
    let stopped = Instant::now();
    let gone = async {
        while site.broker.depths().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(35), gone).await.expect("it is noticed that nobody answers");
    let refused = site.broker.publish(vec![event(&site.clock, "s", "t", "refused")]).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "a publish is given up: {refused:?}");
    assert!(stopped.elapsed() < PATIENCE);
    node.signal("-CONT");
    load.reach(load.confirmed() + 200).await;
    all_arrive(
        &site,
        "a",
        load.end().await.into_iter().filter(|id| *id != message.event.id && *id != during.event.id).collect(),
    )
    .await;
}

/// Says that a queue which had gone has what it missed.
pub async fn refill(broker: &dyn Broker, queue: &str) {
    let lost = tokio::time::timeout(PATIENCE, broker.lost()).await.expect("it is noticed");
    assert_eq!(lost.queue, queue);
    broker.refilled(&lost).await.expect("kept");
}

#[tokio::test]
async fn a_queue_that_is_deleted_under_its_consumer_is_made_anew() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    site.broker.declare(vec![all("r")]).await.expect("declared");
    site.broker.publish(vec![event(&site.clock, "s", "t", "1")]).await.expect("published");
    let mut consumer = site.broker.consume("r", 4).await.expect("a consumer");
    let first = next(consumer.as_mut()).await;
    let other = Connection::connect(&server.url, ConnectionProperties::default()).await.expect("connects");
    let channel = other.create_channel().await.expect("a channel");
    let queue = format!("{}.route.r.v1", site.prefix);
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    // What is done with a message of the lost queue does no harm.
    site.broker.ack("r", &first).await.expect("acked");
    refill(&*site.broker, "r").await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        site.broker.publish(vec![event(&site.clock, "s", "t", "2")]).await.expect("published");
        if let Ok(received) = tokio::time::timeout(Duration::from_millis(500), consumer.next()).await {
            assert_eq!(received.expect("it works").expect("it is open").event.id, "2");
            return;
        }
        assert!(Instant::now() < deadline, "the queue did not come back");
    }
}
