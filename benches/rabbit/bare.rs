//! Programs that do nothing but the calls: the limit that the bridge is compared with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use tokio::sync::Semaphore;

/// A connection with a channel.
pub struct Bare {
    connection: Connection,
    pub channel: Channel,
}

impl Bare {
    pub async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { connection, channel }
    }

    /// A quorum queue that is empty.
    pub async fn queue(&self, name: &str) {
        self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        self.channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
    }

    /// An exchange that leads to all of these queues.
    pub async fn exchange(&self, name: &str, queues: &[&str]) {
        let (options, arguments) = (ExchangeDeclareOptions::default(), FieldTable::default());
        self.channel.exchange_declare(name.into(), ExchangeKind::Fanout, options, arguments).await.unwrap();
        for queue in queues {
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            self.channel.queue_bind((*queue).into(), name.into(), "".into(), options, arguments).await.unwrap();
        }
    }

    pub async fn purge(&self, queue: &str) {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.unwrap();
    }

    /// How many messages are ready.
    pub async fn ready(&self, queue: &str) -> u64 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        let found = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
        u64::from(found.message_count())
    }

    /// Publishes with at most `window` messages unconfirmed; how many a second.
    pub async fn publish(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: impl Fn(u64) -> BasicProperties,
        (count, window): (u64, usize),
    ) -> f64 {
        let channel = self.connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let start = Instant::now();
        let mut confirms = FuturesUnordered::new();
        for n in 0..count {
            if confirms.len() == window {
                confirmed(confirms.next().await.unwrap());
            }
            let options = BasicPublishOptions::default();
            let publish = channel.basic_publish(exchange.into(), key.into(), options, body, properties(n));
            confirms.push(publish.await.unwrap());
        }
        while let Some(confirm) = confirms.next().await {
            confirmed(confirm);
        }
        channel.close(200, "".into()).await.unwrap();
        count as f64 / start.elapsed().as_secs_f64()
    }

    /// Receives, posts each body to `url`, and acks, until `count` are done; how many a second from the first on.
    pub async fn forward(&self, queue: &str, url: &str, (count, prefetch, at_once): (u64, usize, usize)) -> f64 {
        let channel = self.connection.create_channel().await.unwrap();
        channel.basic_qos(prefetch as u16, BasicQosOptions::default()).await.unwrap();
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let mut stream = channel.basic_consume(queue.into(), "".into(), options, arguments).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (slots, done) = (Arc::new(Semaphore::new(at_once)), Arc::new(AtomicU64::new(0)));
        let mut start = None;
        for _ in 0..count {
            let slot = Arc::clone(&slots).acquire_owned().await.unwrap();
            let delivery = stream.next().await.unwrap().unwrap();
            start.get_or_insert_with(Instant::now);
            let (client, url, done) = (client.clone(), url.to_owned(), Arc::clone(&done));
            tokio::spawn(async move {
                client.post(url).body(delivery.data).send().await.unwrap().bytes().await.unwrap();
                delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
                drop(slot);
            });
        }
        while done.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let rate = count as f64 / start.unwrap().elapsed().as_secs_f64();
        channel.close(200, "".into()).await.unwrap();
        rate
    }
}

fn confirmed(confirm: lapin::Result<Confirmation>) {
    assert_eq!(confirm.unwrap(), Confirmation::Ack(None));
}

/// A message as plain as can be that survives a restart.
pub fn plain(_: u64) -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}
