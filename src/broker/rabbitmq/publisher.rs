//! Publishing with confirms.
//!
//! A few tasks, each the only owner of a channel: on a channel that several tasks share the confirms of one are taken
//! for another's. Each keeps many publishes under way. Success is an `Ack` and nothing else; whatever else happens, the
//! same messages are published again, from the first that was not confirmed on, so that order is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, maybe_done};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, poll};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use rand::RngExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::link::Link;
use super::wire::{self, Stamp, short};
use crate::broker::{BrokerError, Result};
use crate::event::Event;

/// How many tasks publish. Fewer channels let the broker write and confirm more at once; two let it use two cores.
const ACTORS: usize = 2;
/// How many batches wait for a task.
const QUEUED: usize = 64;
/// How many messages of a task wait for their confirm.
const WINDOW: usize = 256;
/// How long a write or a confirm may take.
const ANSWER: Duration = Duration::from_secs(4);
/// How long publishing is tried.
const DEADLINE: Duration = Duration::from_secs(10);

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub exchange: ShortString,
    pub key: ShortString,
    pub properties: BasicProperties,
    pub body: Bytes,
}

/// An event as a message.
pub fn parcel(exchange: &str, key: &str, event: &Event, stamp: Stamp) -> Result<Parcel> {
    let build = || {
        let properties = wire::properties(event, stamp)?;
        let body = Bytes::copy_from_slice(event.data.bytes());
        Ok::<_, String>(Parcel { exchange: short(exchange)?, key: short(key)?, properties, body })
    };
    build().map_err(BrokerError::Unavailable)
}

struct Job {
    parcels: Arc<[Parcel]>,
    /// Those before it are confirmed.
    from: usize,
    done: oneshot::Sender<Outcome>,
}

/// How many are confirmed, counted from the first, and why the next is not.
struct Outcome {
    confirmed: usize,
    why: Option<String>,
    /// True if the channel is no good any more.
    broken: bool,
}

/// Publishes.
#[derive(Clone)]
pub struct Publisher {
    actors: Arc<[mpsc::Sender<Job>]>,
    turn: Arc<AtomicUsize>,
}

impl Publisher {
    /// Starts the tasks; they end with the last clone of this.
    pub fn start(link: &Link) -> Self {
        let actors = (0..ACTORS).map(|_| {
            let (sender, jobs) = mpsc::channel(QUEUED);
            tokio::spawn(Actor { link: link.clone(), channel: None, in_flight: 0 }.run(jobs));
            sender
        });
        Self { actors: actors.collect(), turn: Arc::default() }
    }

    /// Returns when every parcel is confirmed, in this order; or gives up.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when the deadline has passed. What was not confirmed may be there nevertheless.
    pub async fn publish(&self, parcels: Vec<Parcel>) -> Result<()> {
        let parcels: Arc<[Parcel]> = parcels.into();
        let deadline = Instant::now() + DEADLINE;
        let mut why = "it does not answer".to_owned();
        let mut from = 0;
        let mut pause = Duration::from_millis(50);
        while from < parcels.len() {
            match tokio::time::timeout_at(deadline, self.once(Arc::clone(&parcels), from)).await {
                Ok(Some(outcome)) => {
                    from = outcome.confirmed;
                    why = outcome.why.unwrap_or(why);
                }
                Ok(None) => "the channel was lost".clone_into(&mut why),
                Err(_) => return Err(BrokerError::Unavailable(why)),
            }
            if from < parcels.len() {
                if Instant::now() + pause >= deadline {
                    return Err(BrokerError::Unavailable(why));
                }
                let share = rand::rng().random_range(0.5..1.0);
                tokio::time::sleep(pause.mul_f64(share)).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
        Ok(())
    }

    async fn once(&self, parcels: Arc<[Parcel]>, from: usize) -> Option<Outcome> {
        let actor = &self.actors[self.turn.fetch_add(1, Ordering::Relaxed) % self.actors.len()];
        let (done, outcome) = oneshot::channel();
        actor.send(Job { parcels, from, done }).await.ok()?;
        outcome.await.ok()
    }
}

struct Actor {
    link: Link,
    channel: Option<(Arc<Connection>, Channel)>,
    in_flight: usize,
}

/// What is under way: the number of its messages, how it ended, and who is to know. Dropped, it tells that as well.
type Flight = FuturesUnordered<BoxFuture<'static, (usize, Outcome, oneshot::Sender<Outcome>)>>;

impl Actor {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut flight = Flight::new();
        loop {
            tokio::select! {
                Some((count, outcome, done)) = flight.next() => {
                    self.in_flight -= count;
                    if outcome.broken {
                        self.drop_channel(&mut flight);
                    }
                    // Who asked may have gone.
                    _ = done.send(outcome);
                }
                job = jobs.recv(), if self.in_flight < WINDOW => match job {
                    Some(job) => self.begin(job, &mut flight).await,
                    None => break,
                }
            }
        }
        while flight.next().await.is_some() {}
    }

    /// Throws the channel away; what is under way on it is unknown and will be published again.
    fn drop_channel(&mut self, flight: &mut Flight) {
        self.channel = None;
        self.in_flight = 0;
        flight.clear();
    }

    async fn begin(&mut self, job: Job, flight: &mut Flight) {
        let Job { parcels, from, done } = job;
        let channel = match self.channel(flight).await {
            Ok(channel) => channel.clone(),
            Err(why) => {
                _ = done.send(Outcome { confirmed: from, why: Some(why), broken: true });
                return;
            }
        };
        let count = parcels.len() - from;
        self.in_flight += count;
        flight.push(Box::pin(async move { (count, publish_all(&channel, &parcels, from).await, done) }));
    }

    /// The channel, a new one if need be.
    async fn channel(&mut self, flight: &mut Flight) -> std::result::Result<&Channel, String> {
        let connection = self.link.now().map_err(|e| e.to_string())?;
        if connection.status().blocked() {
            return Err("it takes no more: its memory or its disk is full".to_owned());
        }
        let usable = self
            .channel
            .as_ref()
            .is_some_and(|(of, channel)| Arc::ptr_eq(of, &connection) && channel.status().connected());
        if !usable {
            self.drop_channel(flight);
            let channel = tokio::time::timeout(ANSWER, open(&connection)).await;
            let channel = channel.map_err(|_| "it opens no channel".to_owned())?.map_err(|e| e.to_string())?;
            self.channel = Some((connection, channel));
        }
        self.channel.as_ref().map(|(_, channel)| channel).ok_or_else(String::new)
    }
}

async fn open(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Publishes in order, without waiting for one before the next, and awaits the confirms.
async fn publish_all(channel: &Channel, parcels: &[Parcel], from: usize) -> Outcome {
    let deadline = Instant::now() + ANSWER;
    let mut answers = Vec::with_capacity(parcels.len() - from);
    for parcel in &parcels[from..] {
        let mut answer = Box::pin(maybe_done(publish(channel, parcel)));
        // The first poll puts it among what is to be written: that makes the order.
        _ = poll!(&mut answer);
        answers.push(answer);
    }
    let mut confirmed = from;
    for mut answer in answers {
        let done = tokio::time::timeout_at(deadline, &mut answer).await;
        let (why, broken) = match done.ok().and_then(|()| answer.as_mut().take_output()) {
            Some(Ok(Confirmation::Ack(None))) => {
                confirmed += 1;
                continue;
            }
            // A channel that was opened while a queue had no leader asks the node that is gone for ever and refuses
            // all, though the queue has another leader by now (RabbitMQ 3.10.8): a new channel asks anew.
            Some(Ok(_)) => ("it refused a message".to_owned(), true),
            Some(Err(e)) => (e.to_string(), true),
            None => ("it does not confirm".to_owned(), true),
        };
        return Outcome { confirmed, why: Some(why), broken };
    }
    Outcome { confirmed, why: None, broken: false }
}

async fn publish(channel: &Channel, parcel: &Parcel) -> lapin::Result<Confirmation> {
    let Parcel { exchange, key, properties, body } = parcel;
    let (exchange, key, properties) = (exchange.clone(), key.clone(), properties.clone());
    channel.basic_publish(exchange, key, BasicPublishOptions::default(), body, properties).await?.await
}
