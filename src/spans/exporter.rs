//! Sends spans to a collector, many at a time.
//!
//! A batch that the collector does not take is kept and tried again, with pauses of up to five seconds, while what comes
//! meanwhile waits in the queue; what it refuses is given up. Whatever is given up is counted.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Settings, Span, wire};
use crate::clock::Clock;
use crate::connectors::client::Client;
use crate::connectors::{Answer, Call};
use crate::deliver::patience;
use crate::metrics::Metrics;

/// The media type, as the specification has it.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How much of a collector's words is told.
const WORDS: usize = 300;

/// Sends what comes through a queue.
pub(super) struct Exporter {
    settings: Settings,
    client: Client,
    clock: Clock,
    metrics: Arc<Metrics>,
    queue: mpsc::Receiver<Span>,
    /// What is to be sent next.
    batch: Vec<Span>,
    standing: Standing,
    /// How many spans had been given up when it last went well.
    dropped: u64,
}

/// How the collector stands; told when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Fine,
    Away,
    Refuses,
}

/// The collector did not take a batch, which is to be sent again.
struct NotNow {
    /// After how long at the least, by its own word.
    after: Option<std::time::Duration>,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.queue.close();
        let left = (self.batch.len() + self.queue.len()) as u64;
        if left > 0 {
            self.metrics.spans_dropped.inc_by(left);
            tracing::warn!(spans = left, "the last spans did not reach the collector of traces");
        }
    }
}

impl Exporter {
    pub(super) fn new(
        settings: Settings,
        client: Client,
        clock: Clock,
        metrics: Arc<Metrics>,
        queue: mpsc::Receiver<Span>,
    ) -> Self {
        let dropped = metrics.spans_dropped.get();
        Self { settings, client, clock, metrics, queue, batch: Vec::new(), standing: Standing::Fine, dropped }
    }

    /// Sends until it is told to stop, then what there is.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tracing::info!(collector = self.collector(), "spans are sent to a collector of traces");
        while stop.run_until_cancelled(self.gather()).await.is_some() {
            self.hand_over(&stop).await;
        }
        loop {
            while self.batch.len() < self.settings.batch
                && let Ok(span) = self.queue.try_recv()
            {
                self.batch.push(span);
            }
            if self.batch.is_empty() || self.send().await.is_err() {
                return;
            }
        }
    }

    /// Waits until a batch is full, or some time after its first span.
    async fn gather(&mut self) {
        let (queue, batch, most) = (&mut self.queue, &mut self.batch, self.settings.batch);
        queue.recv_many(batch, most).await;
        let full = async { while batch.len() < most && queue.recv_many(batch, most - batch.len()).await > 0 {} };
        // One that is not full goes too.
        let _ = tokio::time::timeout(self.settings.delay, full).await;
    }

    /// Sends the batch until it is taken or refused.
    async fn hand_over(&mut self, stop: &CancellationToken) {
        let mut pauses = patience();
        while let Err(NotNow { after }) = self.send().await {
            let pause = after.max(pauses.next()).unwrap_or_default();
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn send(&mut self) -> Result<(), NotNow> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut call = Call::new(Method::POST, self.settings.url.clone()).timeout(self.settings.timeout);
        call.headers = self.settings.headers.clone();
        call.headers.insert(header::CONTENT_TYPE, JSON);
        call.body = wire::encode(&self.settings.resource, &self.batch);
        let answer = match self.client.send(&call).await {
            Ok(answer) => answer,
            Err(error) => return self.not_now(None, &error.to_string()),
        };
        match answer.status {
            status if status.is_success() => {
                self.taken(&answer);
                Ok(())
            }
            // Those that the specification calls retryable.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => self.not_now(answer.retry_after(self.clock.now()), &answer.summary()),
            _ => {
                self.refused(self.batch.len() as u64, &answer.summary());
                self.batch.clear();
                Ok(())
            }
        }
    }

    fn taken(&mut self, answer: &Answer) {
        self.batch.clear();
        let partial = answer.json().map(|mut body| body["partialSuccess"].take()).unwrap_or_default();
        // A number of 64 bits is text in this encoding, and a number with those who write it otherwise.
        let rejected = match &partial["rejectedSpans"] {
            Value::String(text) => text.parse().unwrap_or_default(),
            other => other.as_u64().unwrap_or_default(),
        };
        if rejected > 0 {
            let why: String = partial["errorMessage"].as_str().unwrap_or_default().chars().take(WORDS).collect();
            return self.refused(rejected, &why);
        }
        if std::mem::replace(&mut self.standing, Standing::Fine) != Standing::Fine {
            let dropped = self.metrics.spans_dropped.get() - self.dropped;
            tracing::info!(collector = self.collector(), dropped, "the collector of traces takes spans again");
        }
        self.dropped = self.metrics.spans_dropped.get();
    }

    fn refused(&mut self, spans: u64, why: &str) {
        self.metrics.spans_dropped.inc_by(spans);
        if std::mem::replace(&mut self.standing, Standing::Refuses) != Standing::Refuses {
            tracing::warn!(
                collector = self.collector(),
                why,
                "the collector of traces refuses spans: they are dropped"
            );
        }
    }

    fn not_now(&mut self, after: Option<std::time::Duration>, why: &str) -> Result<(), NotNow> {
        if std::mem::replace(&mut self.standing, Standing::Away) != Standing::Away {
            let queue = self.settings.queue;
            let (collector, how) = (self.collector(), "the collector of traces takes no spans now");
            tracing::warn!(collector, why, "{how}: {queue} wait for it, more are dropped");
        }
        Err(NotNow { after })
    }

    /// Without user and password, and without a path, which may be a secret too.
    fn collector(&self) -> String {
        let url = &self.settings.url;
        let port = url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", url.host_str().unwrap_or_default())
    }
}
