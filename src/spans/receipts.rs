//! A broker before which spans are made of what it takes from sources.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Kind, Spans};
use crate::broker::lost::Lost;
use crate::broker::{Binding, Broker, Consumer, Depth, Message, Result, Waiting};
use crate::config::{Config, SourceConfig};
use crate::event::Event;

/// What there is to know of the config's sources.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Sources that are called.
    hooks: HashSet<String>,
    /// Sources whose events come twice: as they were received, and as they were read anew.
    fetching: HashSet<String>,
}

impl Known {
    pub(super) fn of(config: &Config) -> Self {
        let names = |which: fn(&SourceConfig) -> bool| {
            config.sources.iter().filter(|source| which(source)).map(|source| source.name.clone()).collect()
        };
        Self { hooks: names(SourceConfig::is_hook), fetching: names(SourceConfig::fetches) }
    }

    /// As what an event was received; `None`: it is received once more.
    pub(super) fn kind(&self, event: &Event) -> Option<Kind> {
        if !event.unfetched && self.fetching.contains(&event.source) {
            return None;
        }
        Some(if self.hooks.contains(&event.source) { Kind::Server } else { Kind::Consumer })
    }
}

/// Whatever a source is, its events come through here, once they are read and stamped.
pub(super) struct Receipts {
    pub(super) inner: Arc<dyn Broker>,
    pub(super) spans: Spans,
}

#[async_trait]
impl Broker for Receipts {
    async fn publish(&self, events: Vec<Arc<Event>>) -> Result<()> {
        self.inner.publish(events.clone()).await?;
        for event in &events {
            self.spans.received(event);
        }
        Ok(())
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
        self.inner.spooled()
    }

    async fn finish(&self) {
        self.inner.finish().await;
    }
}
