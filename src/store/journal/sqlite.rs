//! The journal in a SQLite file of its own, so that reading and forgetting never hold up a delivery.

mod recorder;
mod search;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Entry, EventFilter, Journal, Listed, Part, Polled, Record, Refused};
use crate::event::Event;
use crate::store::Result;
use crate::store::sqlite::{Database, Migrations};
use recorder::Recorder;

const MIGRATIONS: Migrations = &[
    include_str!("migrations/0001_start.sql"),
    include_str!("migrations/0002_refused_body.sql"),
    include_str!("migrations/0003_search.sql"),
];

/// The journal of one process.
#[derive(Debug)]
pub struct SqliteJournal {
    db: Arc<Database>,
    recorder: Recorder,
    bodies: AtomicBool,
}

impl SqliteJournal {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open(path: &Path) -> Result<Self> {
        let db = Arc::new(Database::open(path, MIGRATIONS)?);
        let recorder = Recorder::start(Arc::clone(&db))?;
        Ok(Self { db, recorder, bodies: AtomicBool::new(true) })
    }

    /// Writes what was recorded and closes the file.
    pub async fn close(&self) {
        if let Err(e) = self.flush().await {
            tracing::warn!(error = %e, "the last steps are missing from the journal");
        }
        self.db.close().await;
    }

    /// How many records were dropped since the start because the disk could not keep up.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.recorder.dropped()
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn received(&self, events: Vec<Arc<Event>>) -> Result<()> {
        let bodies = self.bodies.load(Ordering::Relaxed);
        self.db.write("writing events into the journal", move |db| write::events(db, &events, bodies)).await
    }

    fn record(&self, record: Record) {
        self.recorder.record(record);
    }

    async fn flush(&self) -> Result<()> {
        self.recorder.flush().await
    }

    async fn events(&self, filter: EventFilter) -> Result<Vec<Listed>> {
        self.db.read("searching the journal", move |db| search::events(db, &filter)).await
    }

    async fn journey(&self, event: &str) -> Result<Vec<Entry>> {
        let event = event.to_owned();
        self.db.read("reading a journey", move |db| search::journey(db, &event)).await
    }

    async fn refused(&self, source: Option<&str>, limit: usize) -> Result<Vec<Refused>> {
        let source = source.map(str::to_owned);
        self.db.read("listing refused requests", move |db| search::refused(db, source.as_deref(), limit)).await
    }

    async fn polled(&self, source: &str, limit: usize) -> Result<Vec<Polled>> {
        let source = source.to_owned();
        self.db.read("listing polls", move |db| search::polled(db, &source, limit)).await
    }

    async fn course(&self, from: Timestamp, length: Duration, parts: usize) -> Result<Vec<Part>> {
        self.db.read("counting what happened", move |db| search::course(db, from, length, parts)).await
    }

    async fn forget(&self, keep: Timestamp, bodies: Timestamp, limit: usize) -> Result<usize> {
        self.db.write("forgetting old events", move |db| write::forget(db, keep, bodies, limit)).await
    }

    fn store_bodies(&self, yes: bool) {
        self.bodies.store(yes, Ordering::Relaxed);
    }
}
