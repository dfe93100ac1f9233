//! A journal that also tells what is written to whoever watches (the demo's lines today), and has it counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::event::Event;
use crate::metrics::Metrics;
use crate::store::Result;
use crate::store::journal::{Entry, EventFilter, Journal, Listed, Part, Polled, Record, Refused};

/// How many sights a slow watcher may lag behind before it misses some.
const LAG: usize = 4096;

/// Something that was written into the journal.
#[derive(Clone, Debug)]
pub enum Seen {
    /// An event.
    Event(Arc<Event>),
    /// A step, a refused request, a poll.
    Record(Record),
}

/// A journal with watchers.
pub struct Observed {
    journal: Arc<dyn Journal>,
    metrics: Arc<Metrics>,
    watchers: broadcast::Sender<Seen>,
}

impl Observed {
    /// Lets others watch a journal, and counts.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, metrics: Arc<Metrics>) -> Self {
        Self { journal, metrics, watchers: broadcast::Sender::new(LAG) }
    }

    /// What is written from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Seen> {
        self.watchers.subscribe()
    }

    fn tell(&self, seen: impl FnOnce() -> Seen) {
        if self.watchers.receiver_count() > 0 {
            // Nobody watching any more is no failure.
            let _ = self.watchers.send(seen());
        }
    }
}

#[async_trait]
impl Journal for Observed {
    async fn received(&self, events: Vec<Arc<Event>>) -> Result<()> {
        for event in &events {
            self.metrics.published(event);
            self.tell(|| Seen::Event(Arc::clone(event)));
        }
        self.journal.received(events).await
    }

    fn record(&self, record: Record) {
        self.metrics.record(&record);
        self.tell(|| Seen::Record(record.clone()));
        self.journal.record(record);
    }

    async fn flush(&self) -> Result<()> {
        self.journal.flush().await
    }

    async fn events(&self, filter: EventFilter) -> Result<Vec<Listed>> {
        self.journal.events(filter).await
    }

    async fn journey(&self, event: &str) -> Result<Vec<Entry>> {
        self.journal.journey(event).await
    }

    async fn refused(&self, source: Option<&str>, limit: usize) -> Result<Vec<Refused>> {
        self.journal.refused(source, limit).await
    }

    async fn polled(&self, source: &str, limit: usize) -> Result<Vec<Polled>> {
        self.journal.polled(source, limit).await
    }

    async fn course(&self, from: Timestamp, length: Duration, parts: usize) -> Result<Vec<Part>> {
        self.journal.course(from, length, parts).await
    }

    async fn forget(&self, keep: Timestamp, bodies: Timestamp, limit: usize) -> Result<usize> {
        self.journal.forget(keep, bodies, limit).await
    }

    fn store_bodies(&self, yes: bool) {
        self.journal.store_bodies(yes);
    }
}
