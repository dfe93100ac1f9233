//! Receives from a queue.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use jiff::tz::TimeZone;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection};

use super::{DECLARE, message};
use crate::broker::rabbitmq::{Address, code, connect};
use crate::connectors::verify::both;
use crate::connectors::webhook::attributes::Attributes;
use crate::connectors::{Came, Flow, PollError, Stream};
use crate::settings::{Fault, Node, Settings};

/// How long a connect may take. Each attempt that is given up leaves a thread behind while its peer says nothing.
const CONNECT: Duration = Duration::from_secs(10);
/// How long RabbitMQ may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How often a channel is looked at: the stream of a dead one may stay silent.
const GLANCE: Duration = Duration::from_secs(1);
/// How many messages are published and acked together at most.
const BATCH: usize = 100;

/// A queue of a RabbitMQ.
#[derive(Debug)]
pub struct Queue {
    address: Arc<Address>,
    /// Which URL is next.
    turn: AtomicUsize,
    name: ShortString,
    declare: Option<Declare>,
    dead_letter: bool,
    prefetch: u16,
    attributes: Option<Arc<Attributes>>,
}

#[derive(Debug)]
struct Declare {
    exchange: Option<ShortString>,
    keys: Vec<ShortString>,
}

impl Queue {
    /// Builds it; `zone` is for times that bear none.
    ///
    /// # Errors
    /// What the fields alone cannot say, files that cannot be read among it.
    pub fn build(settings: &Settings<'_>, zone: &TimeZone) -> Result<Self, Vec<Fault>> {
        let (address, (names, attributes)) =
            both(address(settings), both(names(settings), Attributes::build(settings, zone)))?;
        let (name, declare) = names;
        Ok(Self {
            address: Arc::new(address),
            turn: AtomicUsize::new(0),
            name,
            declare,
            dead_letter: settings.text("refused") == Some("dead-letter"),
            prefetch: settings.integer("prefetch").and_then(|n| u16::try_from(n).ok()).unwrap_or(200),
            attributes: attributes.map(Arc::new),
        })
    }

    /// Declares what is to be declared, makes sure of the queue, and subscribes.
    async fn subscribe(&self, connection: &Connection) -> Result<(Channel, lapin::Consumer), PollError> {
        let mut channel = answered(connection.create_channel()).await?;
        if !self.is_there(&channel).await? {
            // The question has cost the channel.
            channel = answered(connection.create_channel()).await?;
            self.make(&channel).await?;
        }
        self.bind(&channel).await?;
        answered(channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let options = BasicConsumeOptions::default();
        let stream = within(channel.basic_consume(self.name.clone(), "".into(), options, FieldTable::default())).await;
        Ok((channel, stream.map_err(|e| e.of(&format!("the queue `{}`", self.name)))?))
    }

    async fn is_there(&self, channel: &Channel) -> Result<bool, PollError> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        match within(channel.queue_declare(self.name.clone(), options, FieldTable::default())).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(404) => Ok(false),
            Err(error) => Err(error.of(&format!("the queue `{}`", self.name))),
        }
    }

    async fn make(&self, channel: &Channel) -> Result<(), PollError> {
        if self.declare.is_none() {
            let why = format!(
                "there is no queue `{}` in the virtual host: have the program that publishes to it declare it, or say \
                 `declare: {{}}`",
                self.name
            );
            return Err(PollError::retry(None, why));
        }
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let made = within(channel.queue_declare(self.name.clone(), QueueDeclareOptions::durable(), arguments)).await;
        made.map(drop).map_err(|e| e.of(&format!("the queue `{}`", self.name)))
    }

    async fn bind(&self, channel: &Channel) -> Result<(), PollError> {
        let Some(Declare { exchange: Some(exchange), keys }) = &self.declare else { return Ok(()) };
        for key in keys {
            let (queue, exchange, key) = (self.name.clone(), exchange.clone(), key.clone());
            let said = format!("binding the queue to the exchange `{exchange}`");
            let bound = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default());
            within(bound).await.map_err(|e| e.of(&said))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Stream for Queue {
    async fn open(&self) -> Result<Box<dyn Flow>, PollError> {
        let urls = &self.address.urls;
        let url = &urls[self.turn.fetch_add(1, Ordering::Relaxed) % urls.len()];
        let connected = tokio::time::timeout(CONNECT, connect(url, &self.address, "source")).await;
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(why)) if why.contains("ACCESS_REFUSED") => return Err(PollError::Suspend { why }),
            Ok(Err(why)) => return Err(PollError::retry(None, why)),
            Err(_) => return Err(PollError::retry(None, format!("nothing answered within {} s", CONNECT.as_secs()))),
        };
        match self.subscribe(&connection).await {
            Ok((channel, stream)) => Ok(Box::new(Subscription {
                connection,
                channel,
                stream,
                queue: self.name.to_string(),
                dead_letter: self.dead_letter,
                attributes: self.attributes.clone(),
                held: Vec::new(),
                cancelled: false,
            })),
            Err(error) => {
                close(connection).await;
                Err(error)
            }
        }
    }
}

/// A consumer of the queue.
struct Subscription {
    connection: Connection,
    channel: Channel,
    stream: lapin::Consumer,
    queue: String,
    dead_letter: bool,
    attributes: Option<Arc<Attributes>>,
    /// What was given out and is not acked, in order.
    held: Vec<Delivery>,
    cancelled: bool,
}

impl Subscription {
    /// The next message; `None` when nothing more is to come.
    async fn first(&mut self) -> Result<Option<Delivery>, PollError> {
        loop {
            tokio::select! {
                next = self.stream.next() => match next {
                    Some(Ok(delivery)) => return Ok(Some(delivery)),
                    Some(Err(error)) => return Err(PollError::retry(None, error.to_string())),
                    None if self.cancelled => return Ok(None),
                    None => return Err(PollError::retry(None, format!("RabbitMQ ended the consumer of `{}`", self.queue))),
                },
                () = tokio::time::sleep(GLANCE) => {}
            }
            if !self.channel.status().connected() {
                return Err(PollError::retry(None, "the connection was lost"));
            }
            if self.cancelled {
                // What was on its way came before the answer to the cancel.
                return Ok(None);
            }
        }
    }
}

#[async_trait]
impl Flow for Subscription {
    async fn next(&mut self) -> Result<Vec<Came>, PollError> {
        self.held.clear();
        let Some(first) = self.first().await? else { return Ok(Vec::new()) };
        self.held.push(first);
        while self.held.len() < BATCH {
            match self.stream.next().now_or_never() {
                Some(Some(Ok(delivery))) => self.held.push(delivery),
                // An error or the end comes again at the next call.
                _ => break,
            }
        }
        let came = |delivery: &Delivery| Came {
            events: message::read(delivery, self.attributes.as_deref()),
            from: format!("{}, key {:?}", self.queue, delivery.routing_key.as_str()),
            body: Bytes::copy_from_slice(&delivery.data),
        };
        Ok(self.held.iter().map(came).collect())
    }

    async fn take(&mut self, refused: &[usize]) -> Result<(), PollError> {
        let held = std::mem::take(&mut self.held);
        let Some(last) = held.last() else { return Ok(()) };
        if self.dead_letter {
            for index in refused {
                let options = BasicRejectOptions { requeue: false };
                alive(within(held[*index].acker.reject(options)).await)?;
            }
            if refused.last() == Some(&(held.len() - 1)) {
                // The last one is rejected, and an ack of it would end the channel.
                for (_, delivery) in held.iter().enumerate().filter(|(index, _)| !refused.contains(index)) {
                    alive(within(delivery.acker.ack(BasicAckOptions::default())).await)?;
                }
                return Ok(());
            }
        }
        alive(within(last.acker.ack(BasicAckOptions { multiple: true })).await)
    }

    fn keeps_refused(&self) -> bool {
        self.dead_letter
    }

    async fn cancel(&mut self) -> Result<(), PollError> {
        self.cancelled = true;
        answered(self.channel.basic_cancel(self.stream.tag(), BasicCancelOptions::default())).await
    }

    async fn close(self: Box<Self>) {
        // In this order: a stream that is dropped on an open channel sends a cancel of its own.
        _ = within(self.channel.close(200, "".into())).await;
        close(self.connection).await;
    }
}

async fn close(connection: Connection) {
    _ = within(connection.close(200, "".into())).await;
}

/// An ack of a channel that is gone does nothing.
fn alive(acked: Result<bool, Failed>) -> Result<(), PollError> {
    match acked {
        Ok(true) => Ok(()),
        Ok(false) => Err(PollError::retry(None, "the connection was lost before the ack: the messages come again")),
        Err(error) => Err(error.of("an ack")),
    }
}

/// Why RabbitMQ did not do something.
enum Failed {
    Said(lapin::Error),
    Silent,
}

impl Failed {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Said(error) => code(error),
            Self::Silent => None,
        }
    }

    fn of(self, what: &str) -> PollError {
        let refused = self.code() == Some(403);
        let why = match self {
            Self::Said(error) => format!("{what}: {error}"),
            Self::Silent => format!("{what}: RabbitMQ does not answer"),
        };
        if refused { PollError::Suspend { why } } else { PollError::retry(None, why) }
    }
}

async fn within<T>(answer: impl Future<Output = lapin::Result<T>>) -> Result<T, Failed> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(Failed::Said),
        Err(_) => Err(Failed::Silent),
    }
}

async fn answered<T>(answer: impl Future<Output = lapin::Result<T>>) -> Result<T, PollError> {
    within(answer).await.map_err(|e| e.of("the channel"))
}

// === Settings ===

fn address(settings: &Settings<'_>) -> Result<Address, Vec<Fault>> {
    let mut faults = Vec::new();
    for url in settings.get("url").map(Node::items).unwrap_or_default() {
        // Without the parser's words: they may quote the password.
        if url.text().is_none_or(|text| text.parse::<AMQPUri>().is_err()) {
            faults.push(Fault::new(url.spot, "expected an AMQP URL, as `amqp://user:${PASSWORD}@host:5672/vhost`"));
        }
    }
    let mut read = |key: &str| {
        let path = settings.text(key)?;
        match std::fs::read_to_string(Path::new(path)) {
            Ok(text) => Some(text),
            Err(error) => {
                faults.push(Fault::new(settings.spot(key), format!("`{key}`: cannot read {path}: {error}")));
                None
            }
        }
    };
    let (ca, certificate, key) = (read("ca_file"), read("client_cert"), read("client_key"));
    if settings.get("client_cert").is_some() != settings.get("client_key").is_some() {
        faults.push(Fault::new(settings.node().spot, "`client_cert` and `client_key` go together"));
    }
    let identity = certificate.zip(key).map(|(certificate, key)| (certificate.into_bytes(), key.into()));
    if faults.is_empty() { Ok(Address { urls: settings.secrets("url"), ca, identity }) } else { Err(faults) }
}

fn names(settings: &Settings<'_>) -> Result<(ShortString, Option<Declare>), Vec<Fault>> {
    let mut faults = Vec::new();
    let mut short = |settings: &Settings<'_>, key: &str, text: &str| {
        let fits = ShortString::try_new(text).ok().filter(|_| !text.is_empty());
        fits.unwrap_or_else(|| {
            faults.push(Fault::new(settings.spot(key), format!("`{key}`: expected 1 to 255 bytes")));
            ShortString::default()
        })
    };
    let queue = short(settings, "queue", settings.text("queue").unwrap_or_default());
    let declare = settings.object("declare", DECLARE).map(|declare| {
        let keys = declare.texts("keys");
        let keys = if keys.is_empty() { vec!["#"] } else { keys };
        Declare {
            exchange: declare.text("exchange").map(|name| short(&declare, "exchange", name)),
            keys: keys.into_iter().map(|key| short(&declare, "keys", key)).collect(),
        }
    });
    if faults.is_empty() { Ok((queue, declare)) } else { Err(faults) }
}
