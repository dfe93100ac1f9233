//! Writes received events into the journal, from the journal's own queue: intake needs no journal to answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::patience;
use crate::broker::{Broker, BrokerError, Consumer, JOURNAL, Message};
use crate::store::journal::Journal;

/// How many events are written at once.
const BATCH: usize = 256;
/// How long the last of them may take at a stop.
const LAST: Duration = Duration::from_secs(3);

/// Writes until told to stop.
pub async fn run(broker: Arc<dyn Broker>, journal: Arc<dyn Journal>, stop: CancellationToken) {
    let mut pauses = patience();
    while !stop.is_cancelled() {
        let failed = match write(&*broker, &*journal, &stop).await {
            Ok(()) => return,
            Err(why) => why,
        };
        let pause = pauses.next().unwrap_or(Duration::from_secs(5));
        tracing::error!(why = %failed, ?pause, "the journal cannot be written; events wait in its queue");
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn write(broker: &dyn Broker, journal: &dyn Journal, stop: &CancellationToken) -> Result<(), String> {
    let mut consumer = broker.consume(JOURNAL, BATCH).await.map_err(|e| e.to_string())?;
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = batch(&mut *consumer) => batch.map_err(|e| e.to_string())?,
        };
        if batch.is_empty() {
            return Ok(());
        }
        keep(broker, journal, &batch).await?;
    }
}

async fn keep(broker: &dyn Broker, journal: &dyn Journal, batch: &[Message]) -> Result<(), String> {
    let events = batch.iter().map(|message| Arc::clone(&message.event)).collect();
    journal.received(events).await.map_err(|e| e.to_string())?;
    broker.ack_all(JOURNAL, batch).await.map_err(|e| e.to_string())
}

/// Writes what is left once nothing more is received: the journal of a stopped bridge knows every event. What takes
/// too long is written at the next start.
pub async fn finish(broker: &dyn Broker, journal: &dyn Journal) {
    match tokio::time::timeout(LAST, write_all(broker, journal)).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => tracing::error!(%why, "the end of the journal could not be written"),
        Err(_) => tracing::warn!("the end of the journal is written at the next start"),
    }
}

async fn write_all(broker: &dyn Broker, journal: &dyn Journal) -> Result<(), String> {
    let mut consumer = broker.consume(JOURNAL, BATCH).await.map_err(|e| e.to_string())?;
    loop {
        let depths = broker.depths().await.map_err(|e| e.to_string())?;
        if !depths.iter().any(|depth| depth.queue == JOURNAL && depth.messages > 0) {
            return Ok(());
        }
        let batch = batch(&mut *consumer).await.map_err(|e| e.to_string())?;
        keep(broker, journal, &batch).await?;
    }
}

/// One message and whatever else is there already; empty when the broker was closed.
async fn batch(consumer: &mut dyn Consumer) -> Result<Vec<Message>, BrokerError> {
    let Some(first) = consumer.next().await? else { return Ok(Vec::new()) };
    let mut batch = vec![first];
    while batch.len() < BATCH {
        match consumer.next().now_or_never() {
            Some(Ok(Some(message))) => batch.push(message),
            // An error or the end comes again at the next call.
            _ => break,
        }
    }
    Ok(batch)
}
