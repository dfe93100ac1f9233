//! RabbitMQ 3.10 or newer, without plugins.
//!
//! Two connections: the broker may refuse to take more while it still hands out. Both are rebuilt from nothing, with
//! all exchanges and queues, whatever goes wrong with them. What a message waits in is a ladder of queues, each twice
//! as slow as the one before; nothing that waits is in this process.
//!
//! An ack is not confirmed by RabbitMQ: if its connection is lost meanwhile the message comes again, and the ledger
//! knows it. What waits is in queues that all routes share and cannot be counted there:
//! [`Depth::waiting`](crate::broker::Depth::waiting) is what the ledger says.

mod asides;
mod bindings;
mod line;
mod link;
mod publisher;
mod pump;
mod register;
mod topology;
mod upkeep;
mod vigil;
mod wire;
mod words;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::options::BasicAckOptions;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lost::Lost;
use super::{Binding, Broker, BrokerError, Consumer, Depth, Message, Result};
use crate::clock::Clock;
use crate::event::Event;
use crate::store::Store;
use line::{Held, Line, LineConsumer, Want};
use link::Link;
use publisher::{Parcel, Publisher, parcel};
use pump::{timely, within};
use register::Register;
use topology::{Names, Plan};
use wire::{Stamp, seconds_until, short};

pub use link::{Address, connect, greet};
pub use topology::code;

/// The stamp of a message that is new.
const FIRST: Stamp = Stamp { attempt: 1, due: None, rounds: 0 };
/// How long a command waits for the broker.
const START: Duration = Duration::from_secs(30);
/// How long a bridge that starts waits to be connected.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a change of the queues waits for the connection.
const CHANGE: Duration = Duration::from_secs(10);
/// How long the end may take.
const END: Duration = Duration::from_secs(20);

/// The broker over RabbitMQ.
pub struct RabbitBroker {
    shared: Arc<Shared>,
    /// One change of the queues at a time.
    changing: tokio::sync::Mutex<()>,
    /// Held by whoever publishes, and alone by whoever binds the queues to other events.
    turning: tokio::sync::RwLock<()>,
    pumps: TaskTracker,
}

impl Drop for RabbitBroker {
    fn drop(&mut self) {
        for line in self.shared.lines().values() {
            line.end();
        }
        self.shared.stop.cancel();
    }
}

/// What all parts use.
struct Shared {
    register: Arc<Register>,
    store: Arc<dyn Store>,
    publishing: Link,
    consuming: Link,
    publisher: Publisher,
    lines: Mutex<BTreeMap<String, Arc<Line>>>,
    /// True once the queues of this process's config are known: what is published before could reach the wrong ones.
    open: AtomicBool,
    /// Nothing is begun any more.
    stopping: CancellationToken,
    /// The connections end.
    stop: CancellationToken,
}

impl Shared {
    fn names(&self) -> &Names {
        &self.register.names
    }

    fn plan(&self) -> Arc<Plan> {
        self.register.plan()
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_line(&self, name: &str) {
        self.lines().entry(name.to_owned()).or_insert_with(|| Arc::new(Line::new(name)));
    }

    fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    fn check_open(&self) -> Result<()> {
        if self.is_stopping() {
            return Err(BrokerError::Closed);
        }
        if self.open.load(Ordering::Acquire) {
            return Ok(());
        }
        self.publishing.now()?;
        Err(BrokerError::Unavailable("its queues are not declared yet".to_owned()))
    }

    /// Makes everything that is planned be there.
    async fn redeclare(&self) -> Result<()> {
        let connection = self.publishing.up(CHANGE).await?;
        self.register.make(&connection).await
    }

    /// Puts a message into a route's queue, now or when it is due.
    async fn send(&self, queue: &str, event: &Event, stamp: Stamp) -> Result<()> {
        self.send_all(queue, [(event, stamp)]).await
    }

    /// The same with several, in their order.
    async fn send_all(&self, queue: &str, messages: impl IntoIterator<Item = (&Event, Stamp)>) -> Result<()> {
        let now = self.register.clock.now();
        let mut parcels = Vec::new();
        for (event, stamp) in messages {
            let seconds = stamp.due.map_or(0, |due| seconds_until(now, due));
            let (exchange, key) = self.names().after(queue, seconds);
            parcels.push(parcel(&exchange, &key, event, stamp)?);
        }
        self.publisher.publish(parcels).await
    }

    /// Puts what cannot be read where a person finds it.
    async fn put_aside(&self, properties: BasicProperties, body: Vec<u8>) -> Result<()> {
        let exchange = short(&self.names().unreadable()).map_err(BrokerError::Unavailable)?;
        let parcel = Parcel { exchange, key: "".into(), properties, body: Bytes::from(body) };
        self.publisher.publish(vec![parcel]).await
    }
}

fn failed(error: impl std::fmt::Display) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}

impl RabbitBroker {
    /// Connects, and declares what the store remembers. `prefix` begins all names: bridges that share a virtual host
    /// differ in it.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] if the broker cannot be used within 30 s, [`BrokerError::Refused`] if it belongs to
    /// another store.
    pub async fn open(address: Address, prefix: &str, store: Arc<dyn Store>, clock: Clock) -> Result<Self> {
        let broker = Self::start(address, prefix, store, clock).await?;
        if let Err(error @ BrokerError::Refused(_)) = broker.reach().await {
            return Err(error);
        }
        broker.shared.publishing.up(START).await?;
        broker.shared.consuming.up(START).await?;
        broker.shared.open.store(true, Ordering::Release);
        Ok(broker)
    }

    /// Begins to connect, and goes on for ever. Until it has been told the queues by [`Broker::declare`] nothing can be
    /// published.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] if the store fails.
    pub async fn start(address: Address, prefix: &str, store: Arc<dyn Store>, clock: Clock) -> Result<Self> {
        let register = Register::recall(Names(prefix.to_owned()), Arc::clone(&store), clock).await?;
        let (register, address) = (Arc::new(register), Arc::new(address));
        let (stopping, stop) = (CancellationToken::new(), CancellationToken::new());
        let making = Arc::clone(&register);
        let setup = Box::new(move |connection: Arc<lapin::Connection>| {
            let register = Arc::clone(&making);
            async move { register.make(&connection).await }.boxed()
        });
        let publishing = Link::start("publishing", Arc::clone(&address), setup, stop.clone());
        let consuming = Link::start("consuming", address, Box::new(|_| async { Ok(()) }.boxed()), stop.clone());
        let publisher = Publisher::start(&publishing);
        let lines = register.plan().keys().map(|name| (name.clone(), Arc::new(Line::new(name)))).collect();
        let (lines, open) = (Mutex::new(lines), AtomicBool::new(false));
        let shared = Shared { register, store, publishing, consuming, publisher, lines, open, stopping, stop };
        let shared = Arc::new(shared);
        let pumps = TaskTracker::new();
        for looking in [asides::run(Arc::clone(&shared)).boxed(), vigil::run(Arc::clone(&shared)).boxed()] {
            // What is cut off comes again, and the ledger knows it.
            pumps.spawn(shared.stopping.clone().run_until_cancelled_owned(looking));
        }
        Ok(Self { shared, changing: tokio::sync::Mutex::default(), turning: tokio::sync::RwLock::default(), pumps })
    }

    /// Whether the broker is there: waits for the first attempt at each URL.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] if it is not, [`BrokerError::Refused`] if it belongs to another store.
    pub async fn reach(&self) -> Result<()> {
        self.shared.publishing.first(CONNECT).await?;
        self.shared.consuming.first(CONNECT).await.map(drop)
    }

    /// Puts messages of another broker into a queue, in their order: the number of the attempt that each stands for, and
    /// when its time comes if it waits. Durable when it returns; after an error some may be there.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`].
    pub async fn take_over(&self, queue: &str, messages: &[(Arc<Event>, u32, Option<Timestamp>)]) -> Result<()> {
        self.line(queue)?;
        let stamped = messages.iter().map(|(event, attempt, due)| {
            let stamp = Stamp { attempt: *attempt, due: *due, rounds: 0 };
            (&**event, stamp)
        });
        self.shared.send_all(queue, stamped).await
    }

    /// Keeps a body that cannot be read where a person finds it.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`].
    pub async fn take_unreadable(&self, body: Vec<u8>) -> Result<()> {
        self.shared.put_aside(BasicProperties::default(), body).await
    }

    fn line(&self, queue: &str) -> Result<Arc<Line>> {
        if self.shared.is_stopping() {
            return Err(BrokerError::Closed);
        }
        let line = self.shared.lines().get(queue).cloned();
        line.ok_or_else(|| BrokerError::Unavailable(format!("there is no queue {queue}")))
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn declare(&self, bindings: Vec<Binding>) -> Result<()> {
        self.turn(&bindings).await
    }

    async fn prepare(&self, bindings: &[Binding]) -> Result<()> {
        self.make(bindings).await
    }

    async fn publish(&self, events: Vec<Arc<Event>>) -> Result<()> {
        self.shared.check_open()?;
        let _turn = self.turning.read().await;
        let exchange = self.shared.names().events();
        let parcel = |event: &Arc<Event>| parcel(&exchange, &topology::key_of(event), event, FIRST);
        self.shared.publisher.publish(events.iter().map(parcel).collect::<Result<_>>()?).await
    }

    async fn publish_to(&self, queue: &str, event: Arc<Event>) -> Result<()> {
        self.shared.check_open()?;
        self.line(queue)?;
        self.shared.send(queue, &event, FIRST).await
    }

    async fn consume(&self, queue: &str, prefetch: usize) -> Result<Box<dyn Consumer>> {
        let line = self.line(queue)?;
        if line.consumed.swap(true, Ordering::AcqRel) {
            return Err(BrokerError::Unavailable(format!("{queue} has a consumer already")));
        }
        let most = u16::try_from(prefetch).unwrap_or(u16::MAX).max(1);
        line.want.send_modify(|want| *want = Want { prefetch: most, parked: false, ..*want });
        let start = || self.pumps.spawn(pump::run(Arc::clone(&self.shared), Arc::clone(&line)));
        line.pump.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(start);
        Ok(Box::new(LineConsumer::new(line, prefetch)))
    }

    async fn wait(&self, queue: &str, message: &Message, attempt: u32, due: Timestamp) -> Result<()> {
        // What is under way may put its message in wait until the very end.
        self.shared.send(queue, &message.event, Stamp { attempt, due: Some(due), rounds: 0 }).await
    }

    async fn ack(&self, queue: &str, message: &Message) -> Result<()> {
        let line = self.shared.lines().get(queue).cloned();
        let Some(held) = line.and_then(|line| line.take(message.tag)) else {
            tracing::debug!(queue, "a message whose connection was lost is done: it comes again and is known");
            return Ok(());
        };
        ack(queue, &held, BasicAckOptions::default()).await;
        Ok(())
    }

    async fn ack_all(&self, queue: &str, messages: &[Message]) -> Result<()> {
        let tags: Vec<u64> = messages.iter().map(|message| message.tag).collect();
        let line = self.shared.lines().get(queue).cloned();
        if let Some(last) = line.and_then(|line| line.take_first(&tags)) {
            // One word for all of them, which costs the broker far less than a word for each.
            ack(queue, &last, BasicAckOptions { multiple: true }).await;
            return Ok(());
        }
        let acks = messages.iter().map(|message| self.ack(queue, message));
        futures_util::future::try_join_all(acks).await.map(drop)
    }

    async fn depths(&self) -> Result<Vec<Depth>> {
        self.check().await?;
        self.count_depths().await
    }

    async fn check(&self) -> Result<()> {
        // Publishing is what readiness hangs on.
        self.shared.publishing.now()?;
        self.shared.consuming.now().map(drop)
    }

    fn notes(&self) -> Vec<String> {
        let plan = self.shared.plan();
        let lost = plan.iter().filter(|(_, bound)| bound.lost.is_some());
        let lost = lost.map(|(queue, _)| {
            format!(
                "queue {queue} had gone from the broker: it is filled again from the journal, nothing of it is sent"
            )
        });
        let lines: Vec<_> = self.shared.lines().values().cloned().collect();
        let troubled = lines.iter().filter_map(|line| Some(format!("queue {}: {}", line.name, line.trouble()?)));
        lost.chain(troubled).collect()
    }

    async fn lost(&self) -> Lost {
        let mut plan = self.shared.register.watch();
        loop {
            plan.mark_unchanged();
            if let Some(lost) = self.shared.register.lost() {
                return lost;
            }
            if plan.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn refilled(&self, lost: &Lost) -> Result<()> {
        self.shared.register.refilled(lost).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_queue(from, to).await
    }

    async fn remove(&self, queue: &str) -> Result<u64> {
        self.remove_queue(queue).await
    }

    async fn finish(&self) {
        self.shared.stopping.cancel();
        let lines: Vec<_> = self.shared.lines().values().cloned().collect();
        for line in lines {
            line.end();
        }
        self.pumps.close();
        if tokio::time::timeout(END, self.pumps.wait()).await.is_err() {
            tracing::warn!("not everything was handed back to the broker in time; it does that by itself");
        }
        self.shared.stop.cancel();
        // What they hold of the store is free then.
        self.shared.publishing.ended().await;
        self.shared.consuming.ended().await;
    }
}

/// An ack that does not come through does no harm: the ledger knows the message.
async fn ack(queue: &str, held: &Held, options: BasicAckOptions) {
    match within(held.acker.ack(options)).await {
        Ok(true) => {}
        Ok(false) => tracing::debug!(queue, "an ack came too late: the message comes again and is known"),
        Err(error) => tracing::debug!(queue, %error, "an ack was lost: the message comes again and is known"),
    }
}
