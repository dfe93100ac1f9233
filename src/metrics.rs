//! What is counted while the bridge works, for Prometheus. What can be asked for at any time (queues, quotas, what is
//! stopped) is read when it is scraped: `Operator::scrape`.
//!
//! Labels are names of the config and fixed words: their number is bounded by the config.

use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::event::Event;
use crate::store::journal::{Entry, Polled, Record, Refused, Step};

pub mod pace;

use pace::{Line, Minute, Pace};

/// The labels of one series.
pub type Labels = Vec<(&'static str, String)>;

type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Seconds: from a fast vendor's answer to the client's patience.
const CALL: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Seconds: from receipt to delivery, retries of hours included.
const JOURNEY: [f64; 10] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0, 86_400.0];

/// Counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    received: Counters,
    published: Counters,
    refused: Counters,
    polls: Counters,
    attempts: Counters,
    attempt_seconds: Histograms,
    deliveries: Counters,
    journey_seconds: Histograms,
    /// Spans that the collector of traces did not get.
    pub spans_dropped: Counter,
    /// The last hour, for people to see.
    pub pace: Pace,
    /// The sources of the config: anybody can ask for another.
    sources: RwLock<Vec<String>>,
    reloads: Counters,
}

impl Metrics {
    /// Counts from zero. Requests to sources that are not among these count as `unknown`.
    #[must_use]
    pub fn new(sources: Vec<String>) -> Self {
        let mut registry = Registry::with_prefix("dari");
        let counters = Counters::default;
        let histograms = |make: fn() -> Histogram| Histograms::new_with_constructor(make);
        let metrics = Self {
            received: counters(),
            published: counters(),
            refused: counters(),
            polls: counters(),
            attempts: counters(),
            attempt_seconds: histograms(|| Histogram::new(CALL)),
            deliveries: counters(),
            journey_seconds: histograms(|| Histogram::new(JOURNEY)),
            spans_dropped: Counter::default(),
            pace: Pace::default(),
            sources: RwLock::new(sources),
            reloads: counters(),
            registry: Registry::default(),
        };
        registry.register("events_received", "Events made durable, by source", metrics.received.clone());
        registry.register(
            "events_published",
            "Events that came out of the broker, by source",
            metrics.published.clone(),
        );
        registry.register(
            "requests_refused",
            "Requests that became no event, by source and status",
            metrics.refused.clone(),
        );
        registry.register(
            "config_reloads",
            "Times that the config was to be loaded anew, by result",
            metrics.reloads.clone(),
        );
        registry.register("polls", "Polls by source and result", metrics.polls.clone());
        registry.register("attempts", "Calls made for deliveries, by route and outcome", metrics.attempts.clone());
        let help = "How long those calls took, by route";
        registry.register_with_unit("attempt", help, Unit::Seconds, metrics.attempt_seconds.clone());
        registry.register("deliveries", "Deliveries that ended, by route and ending", metrics.deliveries.clone());
        let help = "From an event's receipt to its delivery, by route";
        registry.register_with_unit("delivery", help, Unit::Seconds, metrics.journey_seconds.clone());
        let help = "Spans that the collector of traces did not get";
        registry.register("spans_dropped", help, metrics.spans_dropped.clone());
        Self { registry, ..metrics }
    }

    /// The sources of the config are these now.
    pub fn know(&self, sources: Vec<String>) {
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// The config was loaded anew, or was refused.
    pub fn reloaded(&self, good: bool) {
        self.reloads.get_or_create(&of("result", if good { "ok" } else { "refused" })).inc();
        self.pace.tell();
    }

    /// Events of a source are durable.
    pub fn received(&self, source: &str, events: u64) {
        self.received.get_or_create(&of("source", source)).inc_by(events);
    }

    /// An event came out of the broker.
    pub fn published(&self, event: &Event) {
        self.published.get_or_create(&of("source", &event.source)).inc();
        self.pace.add(Line::Source, &event.source, event.received.at(), Minute { came: 1, ..Minute::default() });
        self.pace.tell();
    }

    /// An event was delivered at that time, this many seconds after its receipt.
    pub fn delivered(&self, route: &str, at: Timestamp, seconds: f64) {
        self.pace.add(Line::Route, route, at, Minute { seconds, ..Minute::default() });
        self.journey_seconds.get_or_create(&of("route", route)).observe(seconds);
    }

    /// Something was written into the journal.
    pub fn record(&self, record: &Record) {
        match record {
            Record::Entry(entry) => self.step(entry),
            Record::Refused(Refused { source, status, .. }) => {
                let known = self.sources.read().unwrap_or_else(PoisonError::into_inner).contains(source);
                let source = if known { source.as_str() } else { "unknown" };
                self.refused.get_or_create(&two(("source", source), ("status", &status.to_string()))).inc();
            }
            Record::Polled(Polled { source, failed, events, .. }) => {
                let result = if *failed { "failed" } else { "ok" };
                self.polls.get_or_create(&two(("source", source), ("result", result))).inc();
                self.received(source, *events);
            }
        }
        self.pace.tell();
    }

    fn step(&self, entry: &Entry) {
        let Some(route) = entry.route.as_deref() else { return };
        match &entry.step {
            Step::Attempt { outcome, took_ms, .. } => {
                self.attempts.get_or_create(&two(("route", route), ("outcome", outcome))).inc();
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a call")]
                let seconds = *took_ms as f64 / 1000.0;
                self.attempt_seconds.get_or_create(&of("route", route)).observe(seconds);
            }
            Step::Ended { ending, .. } => {
                self.deliveries.get_or_create(&two(("route", route), ("ending", ending))).inc();
                let (delivered, failed) = match ending.as_str() {
                    "delivered" => (1, 0),
                    "rejected" | "exhausted" | "poison" | "held" => (0, 1),
                    _ => (0, 0),
                };
                self.pace.add(Line::Route, route, entry.at, Minute { delivered, failed, ..Minute::default() });
            }
            Step::Skipped { .. } => {
                self.deliveries.get_or_create(&two(("route", route), ("ending", "skipped"))).inc();
            }
            _ => {}
        }
    }

    /// All counts in the text format of `OpenMetrics`, without its last line.
    ///
    /// # Errors
    /// None: text takes all there is to write.
    pub fn encode(&self, text: &mut String) -> std::fmt::Result {
        encode_registry(text, &self.registry)
    }
}

/// One label.
#[must_use]
pub fn of(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

/// Two labels.
#[must_use]
pub fn two(a: (&'static str, &str), b: (&'static str, &str)) -> Labels {
    vec![(a.0, a.1.to_owned()), (b.0, b.1.to_owned())]
}
