//! Collects records and writes them a few times a second: a step is not worth a sync of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::Record;
use super::write;
use crate::store::sqlite::Database;
use crate::store::{Result, StoreError};

/// How long records are collected.
const LINGER: Duration = Duration::from_millis(200);
/// How many are written at once.
const AT_ONCE: usize = 1_000;
/// How many may wait before new ones are dropped.
const MOST: usize = 100_000;

/// The buffer and the thread that empties it.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// Told when the buffer is no longer empty, when somebody flushes, and at the end.
    change: Condvar,
    dropped: AtomicU64,
}

/// Where somebody waits to hear that everything so far is written.
type Flush = oneshot::Sender<Result<()>>;

#[derive(Debug, Default)]
struct Buffer {
    records: Vec<Record>,
    flushes: Vec<Flush>,
    ended: bool,
}

impl Recorder {
    /// Starts the thread.
    pub fn start(db: Arc<Database>) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("dari-recorder".into())
            .spawn(move || its.run(&db))
            .map_err(|e| StoreError::Failed { doing: "starting the journal", why: e.to_string() })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes a record; drops and counts it when too many wait.
    pub fn record(&self, record: Record) {
        let mut buffer = self.shared.lock();
        if buffer.records.len() >= MOST {
            drop(buffer);
            let before = self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            if before.is_multiple_of(10_000) {
                tracing::error!(dropped = before + 1, "the journal cannot keep up: steps are missing from it");
            }
            return;
        }
        buffer.records.push(record);
        if buffer.records.len() == 1 || buffer.records.len() == AT_ONCE {
            self.shared.change.notify_one();
        }
    }

    /// Waits until all that was recorded is written.
    pub async fn flush(&self) -> Result<()> {
        let (done, wait) = oneshot::channel();
        self.shared.lock().flushes.push(done);
        self.shared.change.notify_one();
        wait.await.map_err(|_| StoreError::Closed)?
    }

    /// How many records were dropped.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.change.notify_one();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, db: &Database) {
        loop {
            let Some((records, flushes)) = self.collect() else { return };
            let written = write_all(db, records);
            if let Err(e) = &written {
                tracing::error!(error = %e, "steps are missing from the journal");
            }
            for flush in flushes {
                _ = flush.send(written.clone());
            }
        }
    }

    /// Waits for records and a while for more of them; `None` at the end, when all is written.
    fn collect(&self) -> Option<(Vec<Record>, Vec<Flush>)> {
        let urgent = |b: &Buffer| b.ended || !b.flushes.is_empty() || b.records.len() >= AT_ONCE;
        let sleeping = |b: &mut Buffer| b.records.is_empty() && !urgent(b);
        let buffer = self.change.wait_while(self.lock(), sleeping).unwrap_or_else(PoisonError::into_inner);
        let (mut buffer, _) =
            self.change.wait_timeout_while(buffer, LINGER, |b| !urgent(b)).unwrap_or_else(PoisonError::into_inner);
        if buffer.ended && buffer.records.is_empty() && buffer.flushes.is_empty() {
            return None;
        }
        Some((std::mem::take(&mut buffer.records), std::mem::take(&mut buffer.flushes)))
    }
}

fn write_all(db: &Database, records: Vec<Record>) -> Result<()> {
    let mut records = records.into_iter().peekable();
    while records.peek().is_some() {
        let some: Vec<_> = records.by_ref().take(AT_ONCE).collect();
        db.write_blocking("writing into the journal", move |db| {
            some.iter().try_for_each(|record| write::record(db, record))
        })?;
    }
    Ok(())
}
