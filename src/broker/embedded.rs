//! The queue in the SQLite file of the store: the semantics of RabbitMQ without a server.
//!
//! An event's body is stored once, with one narrow row for each queue it is in. Acks, waits and publishes are durable
//! when they return and share the commits of the store. Which messages are handed out is known in memory alone: after
//! a kill all that was not acked is there again.

mod consumer;
mod rows;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Binding, Broker, BrokerError, Consumer, Depth, Message, Result, origin};
use crate::clock::Clock;
use crate::event::{Event, Received};
use crate::store::StoreError;
use crate::store::journal::sqlite::SqliteJournal;
use crate::store::sqlite::{self, Database, SqliteStore};
use rows::Parcel;

/// How many rows of a removed queue go in one command: others' commands are served in between.
const REMOVED_AT_ONCE: usize = 500;
/// How many bytes of bodies [`EmbeddedBroker::first`] reads, about.
const FIRST_BYTES: usize = 2 << 20;

/// Everything that a bridge on one machine keeps: one file for store and broker, one beside it for the journal.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// The store.
    pub store: Arc<SqliteStore>,
    /// The broker.
    pub broker: Arc<EmbeddedBroker>,
    /// The journal.
    pub journal: Arc<SqliteJournal>,
}

impl Embedded {
    /// Opens or creates `path` and the journal beside it (`dari.db` and `dari.journal.db`), and moves `clock` on to the
    /// newest receipt found there. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`StoreError::Held`] while another process has it open, [`StoreError::Newer`], [`StoreError::Failed`].
    pub fn open(path: &Path, clock: Clock) -> std::result::Result<Self, StoreError> {
        let db = sqlite::open(path)?;
        let journal = SqliteJournal::open(&journal_path(path))?;
        let broker = EmbeddedBroker::new(Arc::clone(&db), clock.clone())?;
        Ok(Self { store: Arc::new(SqliteStore::new(db, clock)), broker: Arc::new(broker), journal: Arc::new(journal) })
    }

    /// Ends the consumers, finishes what was asked for, and closes the files.
    pub async fn close(&self) {
        self.broker.close();
        self.store.database().close().await;
        self.journal.close().await;
    }
}

/// Where the journal of a store's file is. A dot, because SQLite's own companions begin with a dash.
#[must_use]
pub fn journal_path(store: &Path) -> PathBuf {
    store.with_extension("journal.db")
}

/// A message as it lies in its queue.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its number in the queue.
    pub tag: u64,
    /// The number of the attempt that it stands for.
    pub attempt: u32,
    /// When its time comes, if it was put in wait.
    pub due: Option<Timestamp>,
    /// The event; the bytes of what cannot be read.
    pub event: std::result::Result<Arc<Event>, Vec<u8>>,
}

/// The broker over a [`Database`]. Made once for a database: it numbers the messages.
#[derive(Debug)]
pub struct EmbeddedBroker {
    db: Arc<Database>,
    clock: Clock,
    queues: RwLock<Arc<Queues>>,
    /// The number of the next message, read and raised on the writer's thread alone, so that numbers rise in the order
    /// of commits: a reader that has seen one has seen all lower ones.
    next: Arc<AtomicI64>,
    closed: Arc<AtomicBool>,
}

type Queues = BTreeMap<String, Queue>;

/// A queue and what goes into it.
#[derive(Clone, Debug)]
struct Queue {
    /// `None`: nothing; no config names it any more.
    binding: Option<Binding>,
    line: Arc<Line>,
}

/// The side of a queue that is in memory.
#[derive(Debug)]
struct Line {
    id: i64,
    name: String,
    /// Told when there may be something to hand out. It keeps one word, so a consumer that was looking does not miss it.
    wake: Notify,
    held: Mutex<HashSet<u64>>,
    consumed: AtomicBool,
    /// True once the queue was removed: its consumer ends.
    removed: AtomicBool,
}

impl Line {
    fn new(id: i64, name: String) -> Self {
        let (held, consumed, removed) = Default::default();
        Self { id, name, wake: Notify::new(), held, consumed, removed }
    }

    /// The tags of what is handed out.
    fn held(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, tag: u64) {
        self.held().remove(&tag);
        self.wake.notify_one();
    }
}

impl EmbeddedBroker {
    /// Reads the queues and moves `clock` on to the newest receipt that was ever published.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Closed`].
    pub fn new(db: Arc<Database>, clock: Clock) -> std::result::Result<Self, StoreError> {
        let found = db.read_blocking("reading the queues", rows::open)?;
        clock.observe(Received { clock: found.newest, process: 0 });
        let queues = found.queues.into_iter().map(|row| {
            let line = Arc::new(Line::new(row.id, row.binding.queue.clone()));
            (row.binding.queue.clone(), Queue { binding: row.bound.then_some(row.binding), line })
        });
        Ok(Self {
            db,
            clock,
            queues: RwLock::new(Arc::new(queues.collect())),
            next: Arc::new(AtomicI64::new(found.next)),
            closed: Arc::default(),
        })
    }

    /// The first messages of a queue that nobody consumes: those that wait for their time before the fresh ones, each
    /// in their order; for moving them to another broker.
    ///
    /// # Errors
    /// As [`Broker::consume`].
    pub async fn first(&self, queue: &str, most: usize) -> Result<Vec<Stored>> {
        let id = self.line(queue)?.id;
        let found = self.db.read("reading a queue", move |db| rows::first(db, id, most, FIRST_BYTES)).await?;
        Ok(found
            .into_iter()
            .map(|ready| Stored {
                tag: ready.id.cast_unsigned(),
                attempt: ready.attempt,
                due: ready.due.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
                event: serde_json::from_slice(&ready.body).map(Arc::new).map_err(|_| ready.body),
            })
            .collect())
    }

    /// Takes messages out of a queue in one commit: they are safe elsewhere.
    ///
    /// # Errors
    /// As [`Broker::ack`].
    pub async fn take_out(&self, queue: &str, tags: Vec<u64>) -> Result<()> {
        let id = self.line(queue)?.id;
        Ok(self.db.write("emptying a queue", move |db| rows::ack(db, id, &tags)).await?)
    }

    /// Ends every consumer and refuses what comes from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    /// Makes every consumer look at its queue and at the clock now: for tests that move the clock.
    pub fn wake(&self) {
        for queue in self.queues().values() {
            queue.line.wake.notify_one();
        }
    }

    fn queues(&self) -> Arc<Queues> {
        Arc::clone(&self.queues.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn line(&self, queue: &str) -> Result<Arc<Line>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(BrokerError::Closed);
        }
        let queues = self.queues();
        let found = queues.get(queue).map(|queue| Arc::clone(&queue.line));
        found.ok_or_else(|| BrokerError::Unavailable(format!("there is no queue {queue}")))
    }

    async fn put(&self, parcels: Vec<Parcel>) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(BrokerError::Closed);
        }
        if parcels.is_empty() {
            return Ok(());
        }
        let lines: BTreeMap<i64, Arc<Line>> =
            parcels.iter().flat_map(|parcel| &parcel.lines).map(|line| (line.id, Arc::clone(line))).collect();
        let next = Arc::clone(&self.next);
        let wake = move |(): &()| lines.values().for_each(|line| line.wake.notify_one());
        Ok(self.db.write_then("publishing", move |db| rows::publish(db, &next, &parcels), wake).await?)
    }

    fn parcel(&self, event: &Event, lines: Vec<Arc<Line>>) -> Result<Parcel> {
        let body = serde_json::to_vec(event).map_err(|e| BrokerError::Unavailable(format!("an event: {e}")))?;
        Ok(Parcel { body, entered: millis(self.clock.now()), received: event.received, lines })
    }
}

/// A time as milliseconds, rounded up: nothing is due before its time.
fn millis(at: Timestamp) -> i64 {
    let ms = at.as_millisecond();
    ms + i64::from(at.subsec_nanosecond() % 1_000_000 > 0)
}

impl From<StoreError> for BrokerError {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Closed => Self::Closed,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn declare(&self, bindings: Vec<Binding>) -> Result<()> {
        let rows = self.db.write("declaring the queues", move |db| rows::declare(db, &bindings)).await?;
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let declared = rows.into_iter().map(|row| {
            let name = row.binding.queue.clone();
            let known = queues.get(&name).filter(|queue| queue.line.id == row.id);
            let line = known.map_or_else(|| Arc::new(Line::new(row.id, name.clone())), |queue| Arc::clone(&queue.line));
            (name, Queue { binding: row.bound.then_some(row.binding), line })
        });
        *queues = Arc::new(declared.collect());
        Ok(())
    }

    async fn publish(&self, events: Vec<Arc<Event>>) -> Result<()> {
        let queues = self.queues();
        let mut parcels = Vec::with_capacity(events.len());
        for event in events {
            let takes = |queue: &&Queue| queue.binding.as_ref().is_some_and(|b| b.takes(&origin(&event), &event.kind));
            let lines: Vec<_> = queues.values().filter(takes).map(|queue| Arc::clone(&queue.line)).collect();
            if !lines.is_empty() {
                parcels.push(self.parcel(&event, lines)?);
            }
        }
        self.put(parcels).await
    }

    async fn publish_to(&self, queue: &str, event: Arc<Event>) -> Result<()> {
        let line = self.line(queue)?;
        let parcel = self.parcel(&event, vec![line])?;
        self.put(vec![parcel]).await
    }

    async fn consume(&self, queue: &str, prefetch: usize) -> Result<Box<dyn Consumer>> {
        let line = self.line(queue)?;
        if line.consumed.swap(true, Ordering::AcqRel) {
            return Err(BrokerError::Unavailable(format!("{queue} has a consumer already")));
        }
        let (db, clock) = (Arc::clone(&self.db), self.clock.clone());
        Ok(Box::new(consumer::EmbeddedConsumer::new(db, clock, line, Arc::clone(&self.closed), prefetch)))
    }

    async fn wait(&self, queue: &str, message: &Message, attempt: u32, due: Timestamp) -> Result<()> {
        let line = self.line(queue)?;
        let (id, tag, event) = (line.id, message.tag, Arc::clone(&message.event));
        let (entered, due) = (millis(self.clock.now()), millis(due).max(1));
        let next = Arc::clone(&self.next);
        let row = rows::Wait { queue: id, tag, event, attempt, entered, due };
        let work = move |db: &_| rows::wait(db, &next, &row);
        Ok(self.db.write_then("waiting", work, move |()| line.wake.notify_one()).await?)
    }

    async fn ack(&self, queue: &str, message: &Message) -> Result<()> {
        let line = self.line(queue)?;
        let (id, tag) = (line.id, message.tag);
        Ok(self.db.write_then("acking", move |db| rows::ack(db, id, &[tag]), move |()| line.ended(tag)).await?)
    }

    async fn ack_all(&self, queue: &str, messages: &[Message]) -> Result<()> {
        let line = self.line(queue)?;
        let id = line.id;
        let tags: Arc<[u64]> = messages.iter().map(|message| message.tag).collect();
        let acked = Arc::clone(&tags);
        let ended = move |(): &()| acked.iter().for_each(|&tag| line.ended(tag));
        Ok(self.db.write_then("acking", move |db| rows::ack(db, id, &tags), ended).await?)
    }

    async fn depths(&self) -> Result<Vec<Depth>> {
        let now = millis(self.clock.now());
        Ok(self.db.read("counting the queues", move |db| rows::depths(db, now)).await?)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (from.to_owned(), to.to_owned());
        let moved = self.db.write("renaming a queue", move |db| rows::rename(db, &old, &new)).await?;
        if !moved {
            return Err(BrokerError::Unavailable(format!("the queue {to} has messages of its own")));
        }
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let queues = Arc::make_mut(&mut queues);
        if let Some(Queue { line, .. }) = queues.remove(from) {
            let line = Arc::new(Line::new(line.id, to.to_owned()));
            queues.insert(to.to_owned(), Queue { binding: None, line });
        }
        Ok(())
    }

    async fn remove(&self, queue: &str) -> Result<u64> {
        let line = self.line(queue)?;
        let id = line.id;
        self.db.write("removing a queue", move |db| rows::unbind(db, id)).await?;
        let mut removed = 0;
        loop {
            let some = self.db.write("removing a queue", move |db| rows::remove_some(db, id, REMOVED_AT_ONCE)).await?;
            removed += some;
            if some < REMOVED_AT_ONCE as u64 {
                break;
            }
        }
        self.db.write("removing a queue", move |db| rows::drop_queue(db, id)).await?;
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut queues).retain(|_, queue| queue.line.id != id);
        line.removed.store(true, Ordering::Release);
        line.wake.notify_one();
        Ok(removed)
    }
}
