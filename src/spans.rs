//! Spans of an event's journey, for a collector of traces that speaks OTLP over HTTP
//! (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! # Layout
//! [`Settings`] are read from the variables that OpenTelemetry names. [`Spans`] is handed around: [`Spans::over`] a broker
//! it makes a span of each receipt, [`Spans::tried`] one of each attempt. `exporter` sends them, in the encoding of `wire`.
//!
//! The collector is nothing that anybody waits for: a span that finds the queue full is given up, and counted.
//! The ids are those that senders and sinks see in `traceparent`: a span is within the trace of its event, and an event
//! whose sender does not record its trace has none.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::Config;
use crate::connectors::Call;
use crate::connectors::client::Client;
use crate::event::Event;
use crate::event::trace::Place;
use crate::metrics::Metrics;
use crate::outcome::{Outcome, Verb};
use exporter::Exporter;
use receipts::{Known, Receipts};

mod exporter;
mod receipts;
mod settings;
mod wire;

pub use settings::{Settings, Unfit};

/// How long what is left may take at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Where spans go; by default nowhere, and then nothing is made of anything. Clones share one queue.
#[derive(Clone, Debug, Default)]
pub struct Spans(Option<Arc<Line>>);

/// The way to the exporter.
#[derive(Debug)]
struct Line {
    queue: mpsc::Sender<Span>,
    clock: Clock,
    metrics: Arc<Metrics>,
    sources: RwLock<Known>,
    /// Cancelled: send what there is, and end.
    stop: CancellationToken,
    exporter: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An attempt that was made.
#[derive(Debug)]
pub struct Tried<'a> {
    /// What the sink was sent.
    pub traceparent: &'a str,
    /// The route.
    pub route: &'a str,
    /// The sink.
    pub sink: &'a str,
    /// What was to be done.
    pub verb: Verb,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// How it was asked for.
    pub call: &'a Call,
    /// What it came to.
    pub outcome: &'a Outcome,
    /// The vendor's status; `None`: no answer.
    pub status: Option<u16>,
    /// The outcome in words, masked.
    pub message: &'a str,
    /// How long it took, until now.
    pub took: Duration,
}

/// A span that has ended.
#[derive(Debug)]
struct Span {
    place: Place,
    name: String,
    kind: Kind,
    start: Timestamp,
    end: Timestamp,
    facts: Vec<(&'static str, Fact)>,
    /// Why it failed, if it did.
    error: Option<String>,
}

/// Which side of a call a span is, with the numbers of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Called by the sender.
    Server = 2,
    /// Calls the sink.
    Client = 3,
    /// Takes what it is handed, or what it has asked for.
    Consumer = 5,
}

/// The value of an attribute.
#[derive(Debug)]
enum Fact {
    Text(String),
    Number(i64),
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Spans {
    /// Begins to send spans to a collector. To be called within a runtime.
    #[must_use]
    pub fn start(settings: &Settings, client: &Client, clock: &Clock, metrics: &Arc<Metrics>) -> Self {
        let (queue, spans) = mpsc::channel(settings.queue);
        let (stop, metrics) = (CancellationToken::new(), Arc::clone(metrics));
        let exporter = Exporter::new(settings.clone(), client.bare(), clock.clone(), Arc::clone(&metrics), spans);
        let exporter = Mutex::new(Some(tokio::spawn(exporter.run(stop.clone()))));
        Self(Some(Arc::new(Line { queue, clock: clock.clone(), metrics, sources: RwLock::default(), stop, exporter })))
    }

    /// The same broker; but a span is made of each event that it takes from a source.
    #[must_use]
    pub fn over(&self, inner: Arc<dyn Broker>) -> Arc<dyn Broker> {
        match self.0 {
            Some(_) => Arc::new(Receipts { inner, spans: self.clone() }),
            None => inner,
        }
    }

    /// These are the sources from now on.
    pub fn know(&self, config: &Config) {
        if let Some(line) = &self.0 {
            *line.sources.write().unwrap_or_else(PoisonError::into_inner) = Known::of(config);
        }
    }

    /// An event is durable now.
    fn received(&self, event: &Event) {
        let Some(line) = &self.0 else { return };
        let Some(kind) = line.sources.read().unwrap_or_else(PoisonError::into_inner).kind(event) else { return };
        let place = event.receipt();
        if !place.sampled {
            return;
        }
        let start = event.received.at();
        line.put(Span {
            place,
            name: format!("receive {}", event.source),
            kind,
            start,
            // The stamp may be ahead of the clock, where that went back.
            end: line.clock.now().max(start),
            facts: facts_of(event),
            error: None,
        });
    }

    /// An attempt at a delivery of an event has just ended.
    pub fn tried(&self, event: &Event, tried: &Tried<'_>) {
        let Some(line) = &self.0 else { return };
        let place = event.receipt().within(tried.traceparent);
        if !place.sampled {
            return;
        }
        let end = line.clock.now();
        let took = SignedDuration::try_from(tried.took).unwrap_or(SignedDuration::MAX);
        let mut facts = facts_of(event);
        facts.extend([
            ("dari.route", tried.route.into()),
            ("dari.sink", tried.sink.into()),
            ("dari.verb", tried.verb.name().into()),
            ("dari.attempt", Fact::Number(tried.attempt.into())),
            ("dari.outcome", tried.outcome.name().into()),
            ("http.request.method", tried.call.method.as_str().into()),
            ("server.address", tried.call.url.host_str().unwrap_or_default().into()),
        ]);
        facts.extend(tried.status.map(|status| ("http.response.status_code", Fact::Number(status.into()))));
        let failed = tried.outcome.why().is_some();
        if failed {
            let what = tried.status.filter(|status| *status >= 400).map(|status| status.to_string());
            facts.push(("error.type", what.as_deref().unwrap_or(tried.outcome.name()).into()));
        }
        line.put(Span {
            place,
            name: format!("deliver {}", tried.route),
            kind: Kind::Client,
            start: end.saturating_sub(took).unwrap_or(end),
            end,
            facts,
            error: failed.then(|| tried.message.to_owned()),
        });
    }

    /// Sends what there is, and ends: within two seconds, whatever the collector does.
    pub async fn finish(&self) {
        let Some(line) = &self.0 else { return };
        line.stop.cancel();
        let exporter = line.exporter.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut exporter) = exporter else { return };
        if tokio::time::timeout(FLUSH, &mut exporter).await.is_err() {
            exporter.abort();
            // What it had is counted when it is gone.
            _ = exporter.await;
        }
    }
}

impl Line {
    fn put(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.metrics.spans_dropped.inc();
        }
    }
}

/// What is said of an event: nothing of what it carries, and not what it is about, which may be a person.
fn facts_of(event: &Event) -> Vec<(&'static str, Fact)> {
    vec![
        ("dari.event.id", event.id.as_str().into()),
        ("dari.event.type", event.kind.as_str().into()),
        ("dari.source", event.source.as_str().into()),
    ]
}
