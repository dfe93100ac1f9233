//! Receives from one embedded queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{Line, rows};
use crate::broker::{Consumer, Message, Result};
use crate::clock::Clock;
use crate::store::sqlite::Database;

/// How many messages are read ahead at most, within the prefetch.
const AHEAD: usize = 64;
/// How many bytes of bodies are read ahead, about.
const BYTES: usize = 1 << 20;
/// How often the clock is read while a message waits: the machine's clock may be set, or its sleep not be counted.
const GLANCE: Duration = Duration::from_secs(1);

/// The consumer of one embedded queue.
pub struct EmbeddedConsumer {
    db: Arc<Database>,
    clock: Clock,
    line: Arc<Line>,
    closed: Arc<AtomicBool>,
    prefetch: usize,
    /// The number of the last fresh message that was taken: those after it are new.
    cursor: i64,
    ahead: VecDeque<Message>,
}

impl EmbeddedConsumer {
    pub fn new(db: Arc<Database>, clock: Clock, line: Arc<Line>, closed: Arc<AtomicBool>, prefetch: usize) -> Self {
        Self { db, clock, line, closed, prefetch, cursor: 0, ahead: VecDeque::new() }
    }

    /// Takes what is ready into `ahead`; tells when the next one that waits is due, in milliseconds.
    async fn look(&mut self) -> Result<Option<i64>> {
        // As they were before the read: what is acked meanwhile may still be in the snapshot.
        let held = self.line.held().clone();
        let room = self.prefetch.saturating_sub(held.len()).min(AHEAD);
        if room == 0 {
            return Ok(None);
        }
        let (queue, cursor, now) = (self.line.id, self.cursor, millis(&self.clock));
        let work = move |db: &_| rows::look(db, queue, cursor, room, BYTES, now, &held);
        let found = self.db.read("reading a queue", work).await?;
        // Nothing is awaited from here on: a caller that stops waiting leaves nothing half taken.
        self.cursor = found.cursor;
        for row in found.ready {
            let tag = row.id.cast_unsigned();
            self.line.held().insert(tag);
            match serde_json::from_slice(&row.body) {
                Ok(event) => {
                    self.ahead.push_back(Message { event: Arc::new(event), attempt: row.attempt, tag, rounds: 0 });
                }
                Err(e) => {
                    tracing::error!(queue = self.line.name, tag, error = %e, "a message cannot be read: it stays");
                }
            }
        }
        Ok(found.next_due)
    }
}

/// The time in milliseconds, cut: what is due within this one is not due yet.
fn millis(clock: &Clock) -> i64 {
    clock.now().as_millisecond()
}

/// Sleeps until the clock shows `due`.
async fn until(clock: &Clock, due: Option<i64>) {
    let Some(due) = due else { return std::future::pending().await };
    loop {
        let left = due - millis(clock);
        match u64::try_from(left) {
            Ok(left) if left > 0 => tokio::time::sleep(Duration::from_millis(left).min(GLANCE)).await,
            _ => return,
        }
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if self.closed.load(Ordering::Acquire) || self.line.removed.load(Ordering::Acquire) {
                return Ok(None);
            }
            if let Some(message) = self.ahead.pop_front() {
                return Ok(Some(message));
            }
            let due = self.look().await?;
            if self.ahead.is_empty() {
                // A word that came since the look began is kept, so this returns at once.
                tokio::select! {
                    () = self.line.wake.notified() => {}
                    () = until(&self.clock, due) => {}
                }
            }
        }
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.line.held().clear();
        self.line.consumed.store(false, Ordering::Release);
    }
}
