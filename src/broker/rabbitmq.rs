//! RabbitMQ 3.10 or newer, without plugins.
//!
//! Two connections: the broker may refuse to take more while it still hands out. Both are rebuilt from nothing, with
//! all exchanges and queues, whatever goes wrong with them. What a message waits in is a ladder of queues, each twice
//! as slow as the one before; nothing that waits is in this process.
//!
//! An ack is not confirmed by RabbitMQ: if its connection is lost meanwhile the message comes again, and the ledger
//! knows it. [`Depth::waiting`](crate::broker::Depth::waiting) and [`Depth::oldest`](crate::broker::Depth::oldest) are not known: what
//! waits is in queues that all routes share, and is not counted.

mod asides;
mod line;
mod link;
mod publisher;
mod pump;
mod topology;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeleteOptions};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Binding, Broker, BrokerError, Consumer, Depth, Message, Result};
use crate::clock::Clock;
use crate::event::Event;
use crate::store::Store;
use line::{Held, Line, LineConsumer, Want};
use link::Link;
use publisher::{Parcel, Publisher};
use pump::within;
use topology::{Bound, Names, Plan, Queues};
use wire::{Stamp, short};

pub use link::Address;

/// The stamp of a message that is new.
const FIRST: Stamp = Stamp { attempt: 1, due: None, rounds: 0 };
/// How long a start waits for the broker.
const START: Duration = Duration::from_secs(30);
/// How long a change of the queues waits for the connection.
const CHANGE: Duration = Duration::from_secs(10);
/// How long the end may take.
const END: Duration = Duration::from_secs(20);

/// The broker over RabbitMQ.
pub struct RabbitBroker {
    shared: Arc<Shared>,
    /// One change of the queues at a time.
    changing: tokio::sync::Mutex<()>,
    lines: Mutex<BTreeMap<String, Arc<Line>>>,
    pumps: TaskTracker,
}

impl Drop for RabbitBroker {
    fn drop(&mut self) {
        for line in self.lines().values() {
            line.end();
        }
        self.shared.stop.cancel();
    }
}

/// What all parts use.
struct Shared {
    names: Names,
    clock: Clock,
    store: Arc<dyn Store>,
    owner: String,
    plan: Arc<RwLock<Arc<Plan>>>,
    publishing: Link,
    consuming: Link,
    publisher: Publisher,
    /// Nothing is begun any more.
    stopping: CancellationToken,
    /// The connections end.
    stop: CancellationToken,
}

/// What the store remembers of the broker.
#[derive(Default, Serialize, Deserialize)]
struct Fact {
    owner: String,
    queues: Plan,
}

impl Shared {
    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a plan, in the store first: what was ever bound must be known to be unbound.
    async fn keep(&self, plan: Plan) -> Result<()> {
        let fact = Fact { owner: self.owner.clone(), queues: plan.clone() };
        let fact = serde_json::to_value(fact).map_err(|e| BrokerError::Unavailable(e.to_string()))?;
        self.store.set_fact(&fact_name(&self.names), fact).await.map_err(failed)?;
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Makes everything that is planned be there.
    async fn redeclare(&self) -> std::result::Result<(), String> {
        let connection = self.publishing.up(CHANGE).await.map_err(|e| e.to_string())?;
        topology::declare(&connection, &self.names, &self.owner, &self.plan()).await
    }

    /// Puts a message into a route's queue, now or when it is due.
    async fn send(&self, queue: &str, event: &Event, stamp: Stamp) -> Result<()> {
        self.send_all(queue, [(event, stamp)]).await
    }

    /// The same with several, in their order.
    async fn send_all(&self, queue: &str, messages: impl IntoIterator<Item = (&Event, Stamp)>) -> Result<()> {
        let now = self.clock.now();
        let mut parcels = Vec::new();
        for (event, stamp) in messages {
            let seconds = stamp.due.map_or(0, |due| seconds_until(now, due));
            let (exchange, key) = self.names.after(queue, seconds);
            parcels.push(parcel(&exchange, &key, event, stamp)?);
        }
        self.publisher.publish(parcels).await
    }

    /// Puts what cannot be read where a person finds it.
    async fn put_aside(&self, properties: BasicProperties, body: Vec<u8>) -> Result<()> {
        let exchange = short(&self.names.unreadable()).map_err(BrokerError::Unavailable)?;
        let parcel = Parcel { exchange, key: "".into(), properties, body: Bytes::from(body) };
        self.publisher.publish(vec![parcel]).await
    }
}

/// What the store remembers, or the beginning of it.
async fn recall(store: &dyn Store, names: &Names) -> Result<Fact> {
    if let Some(fact) = store.fact(&fact_name(names)).await.map_err(failed)? {
        return serde_json::from_value(fact).map_err(failed);
    }
    let fact = Fact { owner: uuid::Uuid::now_v7().to_string(), queues: Plan::new() };
    let value = serde_json::to_value(&fact).map_err(failed)?;
    store.set_fact(&fact_name(names), value).await.map_err(failed)?;
    Ok(fact)
}

/// Whole seconds until a time, rounded up: nothing comes before it.
fn seconds_until(now: Timestamp, due: Timestamp) -> u64 {
    let left = due.duration_since(now);
    if left.is_negative() {
        return 0;
    }
    u64::try_from(left.as_secs()).unwrap_or(0) + u64::from(left.subsec_nanos() > 0)
}

fn parcel(exchange: &str, key: &str, event: &Event, stamp: Stamp) -> Result<Parcel> {
    let build = || {
        let properties = wire::properties(event, stamp)?;
        let body = Bytes::copy_from_slice(event.data.bytes());
        Ok::<_, String>(Parcel { exchange: short(exchange)?, key: short(key)?, properties, body })
    };
    build().map_err(BrokerError::Unavailable)
}

fn fact_name(names: &Names) -> String {
    format!("rabbitmq:{}", names.0)
}

fn failed(error: impl std::fmt::Display) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}

impl RabbitBroker {
    /// Connects, and declares what the store remembers. `prefix` begins all names: bridges that share a virtual host
    /// differ in it.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] if the broker cannot be used within 30 s, or belongs to another store.
    pub async fn open(address: Address, prefix: &str, store: Arc<dyn Store>, clock: Clock) -> Result<Self> {
        let names = Names(prefix.to_owned());
        let fact = recall(&*store, &names).await?;
        let (stop, plan) = (CancellationToken::new(), Arc::new(RwLock::new(Arc::new(fact.queues))));
        let address = Arc::new(address);
        let setup = {
            let (names, owner, plan) = (names.clone(), fact.owner.clone(), Arc::clone(&plan));
            Box::new(move |connection: Arc<lapin::Connection>| {
                let (names, owner, plan) = (names.clone(), owner.clone(), Arc::clone(&plan));
                let plan = Arc::clone(&plan.read().unwrap_or_else(PoisonError::into_inner));
                Box::pin(async move { topology::declare(&connection, &names, &owner, &plan).await })
                    as futures_util::future::BoxFuture<'static, _>
            })
        };
        let publishing = Link::start("publishing", Arc::clone(&address), setup, stop.clone());
        let nothing = Box::new(|_| Box::pin(async { Ok(()) }) as futures_util::future::BoxFuture<'static, _>);
        let consuming = Link::start("consuming", address, nothing, stop.clone());
        let publisher = Publisher::start(&publishing);
        let stopping = CancellationToken::new();
        let owner = fact.owner;
        let shared = Shared { names, clock, store, owner, plan, publishing, consuming, publisher, stopping, stop };
        // Ends the connections if it comes to nothing.
        let guard = shared.stop.clone().drop_guard();
        shared.publishing.up(START).await?;
        shared.consuming.up(START).await?;
        guard.disarm();
        let known = shared.plan().keys().map(|name| (name.clone(), Arc::new(Line::new(name)))).collect();
        let shared = Arc::new(shared);
        tokio::spawn(asides::run(Arc::clone(&shared)));
        Ok(Self {
            shared,
            changing: tokio::sync::Mutex::default(),
            lines: Mutex::new(known),
            pumps: TaskTracker::new(),
        })
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

    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, queue: &str) -> Result<Arc<Line>> {
        if self.shared.is_stopping() {
            return Err(BrokerError::Closed);
        }
        let line = self.lines().get(queue).cloned();
        line.ok_or_else(|| BrokerError::Unavailable(format!("there is no queue {queue}")))
    }

    async fn queues<'a>(&self, connection: &'a lapin::Connection) -> Result<Queues<'a>> {
        timely(Queues::new(connection)).await
    }

    /// Moves messages from one queue to another, one after the other, each acked when its copy is confirmed: a crash
    /// leaves a message twice, never not at all.
    async fn move_all(&self, queues: &Queues<'_>, from: &str, to: &str) -> Result<u64> {
        let (queue, mut moved) = (short(&self.shared.names.queue(from)).map_err(failed)?, 0);
        loop {
            let got = within(queues.channel.basic_get(queue.clone(), BasicGetOptions::default())).await;
            let Some(got) = got.map_err(failed)? else { return Ok(moved) };
            let delivery = got.delivery;
            let letter = wire::read(&delivery.properties, &delivery.data);
            match letter {
                Ok(letter) => self.shared.send(to, &letter.event, letter.stamp).await?,
                Err(_) => self.shared.put_aside(delivery.properties, delivery.data).await?,
            }
            within(delivery.acker.ack(BasicAckOptions::default())).await.map_err(failed)?;
            moved += 1;
        }
    }
}

/// Awaits an answer of several steps, but not for ever.
async fn timely<T>(answer: impl Future<Output = std::result::Result<T, String>>) -> Result<T> {
    match tokio::time::timeout(CHANGE, answer).await {
        Ok(answer) => answer.map_err(BrokerError::Unavailable),
        Err(_) => Err(BrokerError::Unavailable("it does not answer".to_owned())),
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn declare(&self, bindings: Vec<Binding>) -> Result<()> {
        let _alone = self.changing.lock().await;
        let before = self.shared.plan();
        let mut after: Plan = before.iter().map(|(name, bound)| (name.clone(), orphan(bound))).collect();
        for binding in &bindings {
            let bound = after.entry(binding.queue.clone()).or_default();
            bound.events = topology::keys(binding);
            bound.due.insert(binding.queue.clone());
        }
        let mut both = after.clone();
        for (name, bound) in &*before {
            both.entry(name.clone()).or_default().events.extend(bound.events.iter().cloned());
        }
        // Known before it is bound, forgotten after it is unbound.
        self.shared.keep(both).await?;
        let connection = self.shared.publishing.up(CHANGE).await?;
        let Shared { names, owner, .. } = &*self.shared;
        topology::declare(&connection, names, owner, &after).await.map_err(BrokerError::Unavailable)?;
        let queues = self.queues(&connection).await?;
        for (name, bound) in &*before {
            let gone = bound.events.difference(&after[name].events);
            timely(queues.unbind(names, name, gone)).await?;
        }
        for name in after.keys() {
            self.lines().entry(name.clone()).or_insert_with(|| Arc::new(Line::new(name)));
        }
        self.shared.keep(after).await
    }

    async fn publish(&self, events: Vec<Arc<Event>>) -> Result<()> {
        if self.shared.is_stopping() {
            return Err(BrokerError::Closed);
        }
        let exchange = self.shared.names.events();
        let parcel = |event: &Arc<Event>| parcel(&exchange, &topology::key(&event.source, &event.kind), event, FIRST);
        self.shared.publisher.publish(events.iter().map(parcel).collect::<Result<_>>()?).await
    }

    async fn publish_to(&self, queue: &str, event: Arc<Event>) -> Result<()> {
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
        let line = self.lines().get(queue).cloned();
        let Some(held) = line.and_then(|line| line.take(message.tag)) else {
            tracing::debug!(queue, "a message whose connection was lost is done: it comes again and is known");
            return Ok(());
        };
        ack(queue, &held, BasicAckOptions::default()).await;
        Ok(())
    }

    async fn ack_all(&self, queue: &str, messages: &[Message]) -> Result<()> {
        let tags: Vec<u64> = messages.iter().map(|message| message.tag).collect();
        let line = self.lines().get(queue).cloned();
        if let Some(last) = line.and_then(|line| line.take_first(&tags)) {
            // One word for all of them, which costs the broker far less than a word for each.
            ack(queue, &last, BasicAckOptions { multiple: true }).await;
            return Ok(());
        }
        let acks = messages.iter().map(|message| self.ack(queue, message));
        futures_util::future::try_join_all(acks).await.map(drop)
    }

    async fn depths(&self) -> Result<Vec<Depth>> {
        // Publishing is what readiness hangs on; asking goes over the connection that is never refused.
        self.shared.publishing.now()?;
        let connection = self.shared.consuming.now()?;
        let mut queues = self.queues(&connection).await?;
        let mut depths = Vec::new();
        let lines: Vec<_> = self.lines().values().cloned().collect();
        for line in lines {
            let ready = timely(queues.ready(&self.shared.names.queue(&line.name))).await?.unwrap_or(0);
            let messages = ready + line.held();
            depths.push(Depth { queue: line.name.clone(), messages, waiting: 0, oldest: None });
        }
        within(queues.channel.close(200, "".into())).await.map_err(failed)?;
        Ok(depths)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let _alone = self.changing.lock().await;
        let plan = self.shared.plan();
        let Some(old) = plan.get(from) else { return Ok(()) };
        let connection = self.shared.publishing.up(CHANGE).await?;
        let names = &self.shared.names;
        let mut queues = self.queues(&connection).await?;
        // A crash half-way leaves messages in both: told by the old one's being there, with the former name bound.
        let half = plan.get(to).is_some_and(|bound| bound.due.contains(from));
        if !half && timely(queues.ready(&names.queue(to))).await?.unwrap_or(0) > 0 {
            return Err(BrokerError::Unavailable(format!("the queue {to} has messages of its own")));
        }
        let mut with_new = (*plan).clone();
        let new = with_new.entry(to.to_owned()).or_default();
        new.due.extend(old.due.iter().cloned().chain([from.to_owned(), to.to_owned()]));
        let bound = new.clone();
        self.shared.keep(with_new.clone()).await?;
        timely(queues.route(names, to, &bound)).await?;
        timely(queues.unbind(names, from, old.events.iter())).await?;
        self.lines().entry(to.to_owned()).or_insert_with(|| Arc::new(Line::new(to)));
        // From here on nothing new comes to the old one except what waits; that goes to both until it is deleted.
        self.move_all(&queues, from, to).await?;
        delete(&queues, names, from).await?;
        with_new.remove(from);
        if let Some(line) = self.lines().remove(from) {
            line.end();
        }
        self.shared.keep(with_new).await
    }

    async fn remove(&self, queue: &str) -> Result<u64> {
        let line = self.line(queue)?;
        let _alone = self.changing.lock().await;
        let connection = self.shared.publishing.up(CHANGE).await?;
        let mut queues = self.queues(&connection).await?;
        // Forgotten first: nobody makes it anew.
        let mut plan = (*self.shared.plan()).clone();
        plan.remove(queue);
        *self.shared.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan.clone());
        let held = line.held();
        let ready = timely(queues.ready(&self.shared.names.queue(queue))).await?.unwrap_or(0);
        line.end();
        let pump = line.pump.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pump) = pump {
            // It ends by itself, whatever the broker does.
            _ = pump.await;
        }
        delete(&queues, &self.shared.names, queue).await?;
        self.lines().remove(queue);
        self.shared.keep(plan).await?;
        Ok(ready + held)
    }

    async fn finish(&self) {
        self.shared.stopping.cancel();
        let lines: Vec<_> = self.lines().values().cloned().collect();
        for line in lines {
            line.end();
        }
        self.pumps.close();
        if tokio::time::timeout(END, self.pumps.wait()).await.is_err() {
            tracing::warn!("not everything was handed back to the broker in time; it does that by itself");
        }
        self.shared.stop.cancel();
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

/// What is left of a queue's bindings when no config names it: what waits still comes back to it.
fn orphan(bound: &Bound) -> Bound {
    Bound { events: BTreeSet::new(), due: bound.due.clone() }
}

async fn delete(queues: &Queues<'_>, names: &Names, name: &str) -> Result<()> {
    let queue = short(&names.queue(name)).map_err(failed)?;
    let count = within(queues.channel.queue_delete(queue, QueueDeleteOptions::default())).await;
    count.map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-03-01T00:00:00.5Z");
        assert_eq!(seconds_until(now, at("2026-03-01T00:00:00.5Z")), 0);
        assert_eq!(seconds_until(now, at("2026-03-01T00:00:00.501Z")), 1);
        assert_eq!(seconds_until(now, at("2026-03-01T00:00:02.5Z")), 2);
        assert_eq!(seconds_until(now, at("2026-02-01T00:00:00Z")), 0);
    }
}
