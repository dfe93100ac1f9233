//! A broker in memory that does what RabbitMQ does, as far as a worker can see it: several consumers share a queue, what
//! a consumer leaves unacked comes back in its place, what waits comes when it is due. It passes the suite of the brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use dari::broker::{Binding, Broker, BrokerError, Consumer, Depth, Message, Result};
use dari::clock::Clock;
use dari::deliver::halts::sleep_until;
use dari::event::Event;
use dari::store::sqlite::Weather;
use jiff::Timestamp;
use tokio::sync::Notify;

/// The broker as one process sees it.
#[derive(Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
    weather: Arc<dyn Weather>,
    clock: Clock,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes in the order of waiting, so that a history can be lived again.
    changed: Notify,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<String, Queue>,
    tags: u64,
    consumers: u64,
    /// True: of several consumers of a queue the oldest alone receives.
    single: bool,
}

#[derive(Default)]
struct Queue {
    binding: Option<Binding>,
    /// In the order in which they are handed out.
    messages: BTreeMap<(Timestamp, u64), Entry>,
    consumers: BTreeSet<u64>,
}

struct Entry {
    event: Arc<Event>,
    attempt: u32,
    waits: bool,
    /// The consumer that has it.
    held: Option<u64>,
}

impl MemoryBroker {
    /// An empty one.
    pub fn new(clock: Clock, weather: Arc<dyn Weather>) -> Self {
        let shared = Shared { state: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared), weather, clock }
    }

    /// From now on, of several consumers of a queue the oldest alone receives.
    #[allow(dead_code, reason = "only histories have several processes")]
    pub fn make_single(&self) {
        self.shared.state().single = true;
    }

    /// The same broker as another process sees it.
    #[allow(dead_code, reason = "only histories have several processes")]
    pub fn beside(&self, weather: Arc<dyn Weather>) -> Self {
        Self { weather, ..self.clone() }
    }

    /// Does something, with the weather before and after it.
    async fn change<T>(&self, doing: &'static str, work: impl FnOnce(&mut State, Timestamp) -> Result<T>) -> Result<T> {
        self.weather.before(doing).await.map_err(BrokerError::Unavailable)?;
        let done = work(&mut self.shared.state(), self.clock.now())?;
        self.shared.changed.notify_waiters();
        self.weather.after(doing).await.map_err(BrokerError::Unavailable)?;
        Ok(done)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, name: &str) -> Result<&mut Queue> {
        self.queues.get_mut(name).ok_or_else(|| no_queue(name))
    }

    fn put(&mut self, queue: &str, event: &Arc<Event>, at: Timestamp, attempt: u32, waits: bool) -> Result<()> {
        self.tags += 1;
        let tag = self.tags;
        let queue = self.queue(queue)?;
        // A clock that went back lets nothing overtake.
        let last = queue.messages.iter().rev().find(|(_, m)| !m.waits).map(|((at, _), _)| *at);
        let at = if waits { at } else { last.map_or(at, |last| at.max(last)) };
        queue.messages.insert((at, tag), Entry { event: Arc::clone(event), attempt, waits, held: None });
        Ok(())
    }
}

fn no_queue(name: &str) -> BrokerError {
    BrokerError::Unavailable(format!("there is no queue {name}"))
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn declare(&self, bindings: Vec<Binding>) -> Result<()> {
        self.change("declaring", |state, _| {
            for queue in state.queues.values_mut() {
                queue.binding = None;
            }
            for binding in bindings {
                let name = binding.queue.clone();
                state.queues.entry(name).or_default().binding = Some(binding);
            }
            Ok(())
        })
        .await
    }

    async fn publish(&self, events: Vec<Arc<Event>>) -> Result<()> {
        self.change("publishing", |state, now| {
            for event in events {
                let takes = |queue: &Queue| queue.binding.as_ref().is_some_and(|b| b.takes(&event.source, &event.kind));
                let names: Vec<_> =
                    state.queues.iter().filter(|(_, q)| takes(q)).map(|(name, _)| name.clone()).collect();
                for name in names {
                    state.put(&name, &event, now, 1, false)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn publish_to(&self, queue: &str, event: Arc<Event>) -> Result<()> {
        self.change("publishing", |state, now| state.put(queue, &event, now, 1, false)).await
    }

    async fn consume(&self, queue: &str, prefetch: usize) -> Result<Box<dyn Consumer>> {
        self.change("consuming", |state, _| {
            state.consumers += 1;
            let id = state.consumers;
            state.queue(queue)?.consumers.insert(id);
            // Whoever ends from here on gives it up by dropping this.
            let consumer = MemoryConsumer { broker: self.clone(), queue: queue.to_owned(), id, prefetch };
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
        .await
    }

    async fn wait(&self, queue: &str, message: &Message, attempt: u32, due: Timestamp) -> Result<()> {
        self.change("waiting", |state, _| state.put(queue, &message.event, due, attempt, true)).await
    }

    async fn ack(&self, queue: &str, message: &Message) -> Result<()> {
        self.change("acking", |state, _| {
            state.queue(queue)?.messages.retain(|(_, tag), _| *tag != message.tag);
            Ok(())
        })
        .await
    }

    async fn depths(&self) -> Result<Vec<Depth>> {
        let now = self.clock.now();
        let state = self.shared.state();
        let depths = state.queues.iter().map(|(name, queue)| {
            let waiting = queue.messages.iter().filter(|((due, _), m)| m.waits && *due > now).count();
            let oldest = queue.messages.values().map(|m| m.event.received.at()).min();
            Depth { queue: name.clone(), messages: queue.messages.len() as u64, waiting: waiting as u64, oldest }
        });
        Ok(depths.collect())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.change("renaming", |state, _| {
            if !state.queues.contains_key(from) {
                return Ok(());
            }
            if state.queues.get(to).is_some_and(|queue| !queue.messages.is_empty()) {
                return Err(BrokerError::Unavailable(format!("{to} has messages of its own")));
            }
            if let Some(queue) = state.queues.remove(from) {
                state.queues.insert(to.to_owned(), queue);
            }
            Ok(())
        })
        .await
    }

    async fn remove(&self, queue: &str) -> Result<u64> {
        self.change("removing", |state, _| {
            let removed = state.queues.remove(queue).ok_or_else(|| no_queue(queue))?;
            Ok(removed.messages.len() as u64)
        })
        .await
    }
}

struct MemoryConsumer {
    broker: MemoryBroker,
    queue: String,
    id: u64,
    prefetch: usize,
}

/// What a consumer finds.
enum Found {
    Message(Message),
    /// Nothing now; when the next one that waits is due.
    Nothing(Option<Timestamp>),
    Removed,
}

impl MemoryConsumer {
    fn take(&self) -> Found {
        let now = self.broker.clock.now();
        let mut state = self.broker.shared.state();
        let single = state.single;
        let Some(queue) = state.queues.get_mut(&self.queue) else { return Found::Removed };
        if single && queue.consumers.first() != Some(&self.id) {
            return Found::Nothing(None);
        }
        if queue.messages.values().filter(|m| m.held == Some(self.id)).count() >= self.prefetch {
            return Found::Nothing(None);
        }
        let free = queue.messages.iter_mut().find(|(_, m)| m.held.is_none());
        let Some(((at, tag), entry)) = free else { return Found::Nothing(None) };
        if entry.waits && *at > now {
            return Found::Nothing(Some(*at));
        }
        entry.held = Some(self.id);
        let (event, attempt) = (Arc::clone(&entry.event), entry.attempt);
        Found::Message(Message { event, attempt, tag: *tag, rounds: 0 })
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            self.broker.weather.before("receiving").await.map_err(BrokerError::Unavailable)?;
            let mut changed = pin!(self.broker.shared.changed.notified());
            changed.as_mut().enable();
            // Nothing is awaited after it: a caller that stops waiting leaves nothing half taken.
            let due = match self.take() {
                Found::Message(message) => return Ok(Some(message)),
                Found::Removed => return Ok(None),
                Found::Nothing(due) => due,
            };
            let due = async {
                match due {
                    Some(due) => sleep_until(&self.broker.clock, due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = due => {}
            }
        }
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        if let Some(queue) = self.broker.shared.state().queues.get_mut(&self.queue) {
            queue.consumers.remove(&self.id);
            queue.messages.values_mut().filter(|m| m.held == Some(self.id)).for_each(|m| m.held = None);
        }
        self.broker.shared.changed.notify_waiters();
    }
}
