//! Publishes what is in the spool, in its order.

use std::sync::Arc;
use std::time::Duration;

use super::rows::{self, Load, Spooled};
use super::{Broker, BrokerError, Event, Inside, Result};

/// How many events are published at once.
const BATCH: usize = 256;
/// How many bytes at once.
const BATCH_BYTES: usize = 4 << 20;
/// How long the broker may take for a batch before it is asked anew; longer than any broker tries by itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// The shortest and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The one that publishes from the spool.
pub struct Forwarder {
    inside: Arc<Inside>,
    inner: Arc<dyn Broker>,
}

impl Forwarder {
    pub fn new(inside: Arc<Inside>, inner: Arc<dyn Broker>) -> Self {
        Self { inside, inner }
    }

    /// Publishes for ever. May be dropped at any time: what was not removed is published again.
    pub async fn run(self) {
        let (mut pause, mut told) = (PAUSES.0, false);
        loop {
            match self.some().await {
                Ok(0) => self.inside.written.notified().await,
                Ok(events) => {
                    (pause, told) = (PAUSES.0, false);
                    let left = self.inside.held.borrow().load.events;
                    tracing::debug!(events, left, "spooled events were published");
                    if left == 0 {
                        tracing::info!("the broker takes events again, and the spool is empty");
                    }
                }
                Err(error) => {
                    if !told {
                        tracing::warn!(%error, "spooled events cannot be published yet; it is tried until they are");
                        told = true;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Publishes the first events and removes them; how many there were.
    async fn some(&self) -> Result<usize> {
        let db = &self.inside.db;
        let first = db.read("reading the spool", |db| rows::first(db, BATCH, BATCH_BYTES)).await?;
        let Some(last) = first.last().map(|spooled| spooled.id) else { return Ok(0) };
        let count = first.len();
        let mut events = Vec::with_capacity(count);
        for spooled in first {
            events.extend(self.read(spooled).await?);
        }
        if !events.is_empty() {
            let published = tokio::time::timeout(PATIENCE, self.inner.publish(events)).await;
            published.map_err(|_| BrokerError::Unavailable("the broker does not answer".to_owned()))??;
        }
        let inside = Arc::clone(&self.inside);
        let removed = move |load: &Load| inside.removed(*load);
        db.write_then("removing from the spool", move |db| rows::remove(db, last), removed).await?;
        Ok(count)
    }

    /// An event that cannot be read is no reason to hold up all others: it stays in the file for a person.
    async fn read(&self, spooled: Spooled) -> Result<Option<Arc<Event>>> {
        let Spooled { id, event } = spooled;
        match serde_json::from_slice(&event) {
            Ok(event) => Ok(Some(Arc::new(event))),
            Err(error) => {
                let file = self.inside.db.path().display();
                tracing::error!(%error, id, %file, "a spooled event cannot be read: it stays there and is not published");
                let inside = Arc::clone(&self.inside);
                let load = Load { events: 1, bytes: event.len() as u64 };
                let aside = move |(): &()| inside.removed(load);
                self.inside.db.write_then("putting an event aside", move |db| rows::put_aside(db, id), aside).await?;
                Ok(None)
            }
        }
    }
}
