//! Where events wait on this machine while the broker does not take them: a file, synced before anybody hears 2xx.
//!
//! # Order
//! An event never overtakes one whose publishing had returned before its own began. Whoever publishes looks at how
//! many events are in the spool, those on their way into it included:
//! - None: all that was published before is confirmed by the broker, since an event counts from before it is written
//!   until the broker has confirmed it and it is removed. So it may go to the broker.
//! - Some: it goes into the spool, where it is written after them and gets a higher number, because the file has one
//!   writer. The forwarder publishes in the order of the numbers, one batch after the other.
//!
//! It counts before it is written, so the spool cannot be found empty between the look and the write of an event that
//! others wait behind. Two that are published at the same time have no order, here as at any broker: one may go to the
//! broker while the other goes into the spool.
//!
//! What a publish that was given up after `PATIENCE` had brought through, and what was confirmed and not yet removed
//! at a crash, is published again. It is the same event, which is applied once (promise P2).

mod forwarder;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::lost::Lost;
use super::{Binding, Broker, BrokerError, Consumer, Depth, Message, Result, Waiting};
use crate::clock::Clock;
use crate::event::{Event, Received};
use crate::store::StoreError;
use crate::store::sqlite::{Database, Migrations};
use forwarder::Forwarder;
use rows::{Entry, Load};

const MIGRATIONS: Migrations = &[include_str!("spool/migrations/0001_start.sql")];

/// The name of the file in the spool's folder.
pub const FILE: &str = "spool.db";
/// How long the broker may take before an event is spooled: a sender as Slack waits 3 s in all.
pub const PATIENCE: Duration = Duration::from_millis(1_500);

/// The folder of a spool where the config names none.
#[must_use]
pub fn beside(store: &Path) -> PathBuf {
    store.with_file_name("spool")
}

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Its file: another process has it, a newer version wrote it, or the disk fails.
    #[error("the spool: {0}")]
    File(#[from] StoreError),
}

/// A broker that takes events even while the one behind it does not. Everything but publishing goes to that one.
pub struct Spool {
    inner: Arc<dyn Broker>,
    inside: Arc<Inside>,
    patience: Duration,
    stop: CancellationToken,
    forwarder: Mutex<Option<JoinHandle<()>>>,
}

/// What publishers and the forwarder share.
struct Inside {
    db: Database,
    max: u64,
    held: watch::Sender<Held>,
    /// Told when something was written. It keeps one word, so a forwarder that was looking does not miss it.
    written: Notify,
}

/// What is in the spool.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// From before it is written until its removal is durable.
    load: Load,
    /// True if the last event found no room, or the disk failed.
    refusing: bool,
}

impl Spool {
    /// Opens or creates the spool in a folder, at most `max` bytes of events, moves `clock` on to the newest receipt in
    /// it, and begins to publish what is there. Blocks for some milliseconds; to be called within a runtime, once
    /// `inner` has its queues: what it publishes before reaches none.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub fn open(
        dir: &Path,
        max: u64,
        inner: Arc<dyn Broker>,
        clock: &Clock,
    ) -> std::result::Result<Arc<Self>, SpoolError> {
        Self::with_patience(dir, max, inner, clock, PATIENCE)
    }

    fn with_patience(
        dir: &Path,
        max: u64,
        inner: Arc<dyn Broker>,
        clock: &Clock,
        patience: Duration,
    ) -> std::result::Result<Arc<Self>, SpoolError> {
        let db = Database::open(&dir.join(FILE), MIGRATIONS)?;
        let (load, newest) = db.read_blocking("reading the spool", rows::found)?;
        clock.observe(Received { clock: newest, process: 0 });
        if load.events > 0 {
            tracing::info!(events = load.events, "the spool has events of an earlier time: they are published first");
        }
        let held = watch::Sender::new(Held { load, refusing: false });
        let inside = Arc::new(Inside { db, max, held, written: Notify::new() });
        let stop = CancellationToken::new();
        let forwarder = Forwarder::new(Arc::clone(&inside), Arc::clone(&inner));
        let until = stop.clone();
        let forwarder = tokio::spawn(async move { _ = until.run_until_cancelled_owned(forwarder.run()).await });
        Ok(Arc::new(Self { inner, inside, patience, stop, forwarder: Mutex::new(Some(forwarder)) }))
    }

    /// How many events are in the spool of a folder, which nobody has open; none if there is no spool.
    ///
    /// # Errors
    /// [`SpoolError::File`].
    pub fn left(dir: &Path) -> std::result::Result<u64, SpoolError> {
        let file = dir.join(FILE);
        if !file.exists() {
            return Ok(0);
        }
        let db = Database::open(&file, MIGRATIONS)?;
        Ok(db.read_blocking("reading the spool", rows::found)?.0.events)
    }

    /// How many events are in it.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.inside.held.borrow().load.events
    }

    /// Waits until the broker has taken everything.
    pub async fn emptied(&self) {
        let mut held = self.inside.held.subscribe();
        // Its sender is held by `self`.
        _ = held.wait_for(|held| held.load.events == 0).await;
    }

    /// Ends the publishing of what is in it and closes its file; the broker behind it stays as it is.
    pub async fn close(&self) {
        self.stop.cancel();
        let forwarder = self.forwarder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(forwarder) = forwarder {
            // A panic of it has been printed.
            _ = forwarder.await;
        }
        let left = self.events();
        if left > 0 {
            tracing::warn!(events = left, "the spool is not empty: what is in it is published after the next start");
        }
        self.inside.db.close().await;
    }

    async fn direct(&self, events: Vec<Arc<Event>>) -> std::result::Result<(), String> {
        match tokio::time::timeout(self.patience, self.inner.publish(events)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the broker took longer than {} ms", self.patience.as_millis())),
        }
    }

    async fn append(&self, events: &[Arc<Event>]) -> Result<()> {
        let unreadable = |e| BrokerError::Unavailable(format!("an event: {e}"));
        let entry = |event: &Arc<Event>| {
            Ok(Entry { event: serde_json::to_vec(event).map_err(unreadable)?, received: event.received.clock })
        };
        let entries = events.iter().map(entry).collect::<Result<Vec<_>>>()?;
        let place = Place::take(&self.inside, &entries)?;
        let written =
            self.inside.db.write_then("spooling", move |db| rows::append(db, &entries), move |(): &()| place.keep());
        written.await.inspect_err(|_| self.inside.refuse()).map_err(BrokerError::from)
    }
}

impl Inside {
    fn refuse(&self) {
        self.held.send_modify(|held| held.refusing = true);
    }

    fn removed(&self, load: Load) {
        self.held.send_modify(|held| {
            held.load.events = held.load.events.saturating_sub(load.events);
            held.load.bytes = held.load.bytes.saturating_sub(load.bytes);
            held.refusing = false;
        });
    }
}

/// Room for events that are about to be written; given back unless they were. It goes along with the write, since a
/// caller may stop waiting for that while it goes on.
struct Place {
    inside: Arc<Inside>,
    load: Load,
    kept: bool,
}

impl Place {
    fn take(inside: &Arc<Inside>, entries: &[Entry]) -> Result<Self> {
        let bytes = entries.iter().map(|entry| entry.event.len() as u64).sum();
        let load = Load { events: entries.len() as u64, bytes };
        let mut fits = false;
        inside.held.send_modify(|held| {
            fits = held.load.bytes.saturating_add(bytes) <= inside.max;
            held.refusing |= !fits;
            if fits {
                held.load.events += load.events;
                held.load.bytes += load.bytes;
            }
        });
        if fits {
            return Ok(Self { inside: Arc::clone(inside), load, kept: false });
        }
        let max = inside.max;
        Err(BrokerError::Unavailable(format!(
            "the spool is full, and the broker takes nothing ({max} bytes are its most)"
        )))
    }

    fn keep(mut self) {
        self.kept = true;
        self.inside.held.send_modify(|held| held.refusing = false);
        self.inside.written.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            self.inside.held.send_modify(|held| {
                held.load.events = held.load.events.saturating_sub(self.load.events);
                held.load.bytes = held.load.bytes.saturating_sub(self.load.bytes);
            });
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[async_trait]
impl Broker for Spool {
    async fn publish(&self, events: Vec<Arc<Event>>) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        if self.events() == 0 {
            let Err(why) = self.direct(events.clone()).await else { return Ok(()) };
            if self.events() == 0 {
                tracing::warn!(why, "the broker does not take events: from now on they are spooled until it does");
            }
        }
        self.append(&events).await
    }

    async fn declare(&self, bindings: Vec<Binding>) -> Result<()> {
        self.inner.declare(bindings).await
    }

    async fn prepare(&self, bindings: &[Binding]) -> Result<()> {
        self.inner.prepare(bindings).await
    }

    async fn publish_to(&self, queue: &str, event: Arc<Event>) -> Result<()> {
        self.inner.publish_to(queue, event).await
    }

    async fn consume(&self, queue: &str, prefetch: usize) -> Result<Box<dyn Consumer>> {
        self.inner.consume(queue, prefetch).await
    }

    async fn wait(&self, queue: &str, message: &Message, attempt: u32, due: Timestamp) -> Result<()> {
        self.inner.wait(queue, message, attempt, due).await
    }

    async fn ack(&self, queue: &str, message: &Message) -> Result<()> {
        self.inner.ack(queue, message).await
    }

    async fn ack_all(&self, queue: &str, messages: &[Message]) -> Result<()> {
        self.inner.ack_all(queue, messages).await
    }

    async fn depths(&self) -> Result<Vec<Depth>> {
        self.inner.depths().await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }

    async fn lost(&self) -> Lost {
        self.inner.lost().await
    }

    async fn refilled(&self, lost: &Lost) -> Result<()> {
        self.inner.refilled(lost).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.inner.rename(from, to).await
    }

    async fn remove(&self, queue: &str) -> Result<u64> {
        self.inner.remove(queue).await
    }

    fn spooled(&self) -> Option<Waiting> {
        let held = *self.inside.held.borrow();
        Some(Waiting { events: held.load.events, refusing: held.refusing })
    }

    async fn finish(&self) {
        self.close().await;
        self.inner.finish().await;
    }
}

#[cfg(test)]
mod tests;
