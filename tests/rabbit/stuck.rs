//! A consumer that gets nothing although something is there: told, and built anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dari::broker::Broker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::away::PATIENCE;
use crate::common::{event, is_quiet, next};
use crate::keeping::all;
use crate::node::{self, Site};
use crate::proxy::place;

/// A way to the broker on which, while it is deaf, deliveries get lost and nothing else: heartbeats and answers come.
struct DeafWay {
    url: String,
    deaf: Arc<AtomicBool>,
}

impl DeafWay {
    async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = url::Url::parse(server).unwrap().socket_addrs(|| Some(5672)).unwrap()[0];
        let url = server.replace(place(server), &listener.local_addr().unwrap().to_string());
        let deaf = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&deaf);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(there).await.unwrap().into_split();
                let (mut from_client, mut to_server) = (from_client, to_server);
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                tokio::spawn(frames(from_server, to_client, Arc::clone(&its)));
            }
        });
        Self { url, deaf }
    }
}

/// Passes frames on, but for deliveries with their contents while deaf.
async fn frames(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, deaf: Arc<AtomicBool>) -> std::io::Result<()> {
    const METHOD: u8 = 1;
    const BASIC_DELIVER: [u8; 4] = [0, 60, 0, 60];
    const HEARTBEAT: u8 = 8;
    let mut swallowing = BTreeSet::new();
    loop {
        let mut head = [0; 7];
        from.read_exact(&mut head).await?;
        let (kind, channel) = (head[0], [head[1], head[2]]);
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut rest = vec![0; size as usize + 1];
        from.read_exact(&mut rest).await?;
        if kind == METHOD {
            let lost = deaf.load(Ordering::Relaxed) && rest.starts_with(&BASIC_DELIVER);
            if lost {
                swallowing.insert(channel)
            } else {
                swallowing.remove(&channel)
            };
        }
        if kind == HEARTBEAT || !swallowing.contains(&channel) {
            to.write_all(&head).await?;
            to.write_all(&rest).await?;
        }
    }
}

async fn notes(site: &Site, wanted: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let notes = site.broker.notes();
        if wanted(&notes) {
            return;
        }
        assert!(Instant::now() < deadline, "{notes:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_nothing_comes_to_is_told_from_one_that_waits_and_is_built_anew() {
    let server = node::server().await;
    let way = DeafWay::to(&server.url).await;
    let site = Site::new(&way.url).await;
    site.broker.declare(vec![all("r"), all("idle")]).await.expect("declared");
    let mut consumer = site.broker.consume("r", 2).await.expect("a consumer");
    let mut idle = site.broker.consume("idle", 2).await.expect("a consumer");
    site.broker.publish(vec![event(&site.clock, "s", "t", "0")]).await.expect("published");
    let message = next(consumer.as_mut()).await;
    site.broker.ack("r", &message).await.expect("acked");
    let message = next(idle.as_mut()).await;
    site.broker.ack("idle", &message).await.expect("acked");

    way.deaf.store(true, Ordering::Relaxed);
    for id in 1..=6 {
        site.broker.publish_to("r", event(&site.clock, "s", "t", &id.to_string())).await.expect("published");
    }
    assert!(is_quiet(consumer.as_mut()).await, "nothing comes");
    notes(&site, |notes| notes.len() == 1 && notes[0].starts_with("queue r: 4 messages are ready and none has come"))
        .await;
    way.deaf.store(false, Ordering::Relaxed);
    for id in 1..=6 {
        let message = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").unwrap().unwrap();
        assert_eq!(message.event.id, id.to_string());
        site.broker.ack("r", &message).await.expect("acked");
    }
    notes(&site, <[String]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_may_not_be_read_is_told() {
    let Some(node) = node::own().await else { return };
    let site = Site::new(&node.url()).await;
    site.broker.declare(vec![all("r")]).await.expect("declared");
    let may_read = async |what: &'static str| {
        let node = Arc::clone(&node);
        tokio::task::spawn_blocking(move || node.ctl(&["set_permissions", "guest", ".*", ".*", what])).await.unwrap();
    };
    may_read("^$").await;
    let mut consumer = site.broker.consume("r", 2).await.expect("a consumer");
    let refused = |notes: &[String]| notes.iter().any(|note| note.starts_with("queue r: nothing can be received: "));
    notes(&site, refused).await;
    site.broker.publish(vec![event(&site.clock, "s", "t", "1")]).await.expect("published");
    may_read(".*").await;
    assert_eq!(next(consumer.as_mut()).await.event.id, "1");
    notes(&site, <[String]>::is_empty).await;
}
