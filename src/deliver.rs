//! From queue to sink: one worker for each route.
//!
//! # Layout
//! [`worker`] receives a route's messages; [`lanes`] keep the events of one subject behind each other. [`attempt`] takes
//! one delivery through its commits: intent, call, outcome, ack. [`batch`] brings calls
//! together that go as one, [`lookups`] keeps what was read for it. [`gate`] says whether a call may be made now: permits of
//! the account, suspensions ([`halts`]), the sink's breaker, [`refusals`] in a row; [`probe`] finds out whether what was
//! suspended works again, and [`alerts`] tells people. [`schedule`] says when the next attempt is due. [`historian`] writes
//! the journal from its own queue.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::{Config, RouteConfig};
use crate::connectors::client::Client;
use crate::connectors::{OnDoubt, Sink, SinkKind};
use crate::event::{Collapse, Event};
use crate::metrics::Metrics;
use crate::outcome::{Scope, Verb};
use crate::redact::Redactor;
use crate::spans::Spans;
use crate::store::Store;
use crate::store::journal::Journal;

pub mod alerts;
pub mod attempt;
pub mod batch;
pub mod breaker;
pub mod direct;
pub mod gate;
pub mod halts;
pub mod historian;
pub mod lanes;
pub mod lookups;
pub mod probe;
pub mod refill;
pub mod refusals;
pub mod schedule;
pub mod worker;

/// How long a repetition of a body that has neither id nor subject is known.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long at the least the ledger knows what has just ended: leftovers of it may still be on their way.
const LEFTOVERS: SignedDuration = SignedDuration::from_hours(1);

/// What every worker shares.
pub struct Services {
    /// The config.
    pub config: Arc<Config>,
    /// What remembers.
    pub store: Arc<dyn Store>,
    /// What moves events.
    pub broker: Arc<dyn Broker>,
    /// The history.
    pub journal: Arc<dyn Journal>,
    /// Talks to vendors.
    pub client: Client,
    /// Tells the time.
    pub clock: Clock,
    /// What is stopped.
    pub halts: Arc<halts::Halts>,
    /// What to mask in what is logged and recorded.
    pub redactor: Arc<Redactor>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where spans go, if anywhere.
    pub spans: Spans,
    /// True: render and show, but send nothing.
    pub dry_run: bool,
}

/// A sink, built.
pub struct Destination {
    /// Its name in the config.
    pub name: String,
    /// What it is.
    pub kind: &'static SinkKind,
    /// What it does.
    pub sink: Arc<dyn Sink>,
    /// Whether its account lets it call now.
    pub gate: Arc<gate::Gate>,
    /// Whether it has failed too often in a row.
    pub breaker: breaker::Breaker,
    /// Brings calls together, where one may carry several.
    pub batcher: Option<Arc<batch::Batcher>>,
    /// Whom it refused lately for want of a permission.
    pub refusals: refusals::Refusals,
}

/// A route and where it leads.
pub struct Plan {
    /// The route's place in [`Config::routes`].
    pub index: usize,
    /// Its sink.
    pub to: Arc<Destination>,
    /// The config that `index` is of.
    pub config: Arc<Config>,
    /// The route's lookups, in its order.
    pub lookups: Vec<lookups::LookupPart>,
    /// How many events in a row could not be mapped.
    pub mapping_errors: AtomicU32,
}

impl Plan {
    /// The route.
    #[must_use]
    pub fn route(&self) -> &RouteConfig {
        &self.config.routes[self.index]
    }

    /// What must not be stopped for this route to run.
    #[must_use]
    pub fn scopes(&self) -> Vec<(Scope, &str)> {
        let own =
            [(Scope::Route, &self.route().name), (Scope::Sink, &self.to.name), (Scope::Account, &self.to.gate.account)];
        let asked = self.lookups.iter().map(|part| (Scope::Account, &part.gate.account));
        own.into_iter().chain(asked).map(|(scope, name)| (scope, name.as_str())).collect()
    }

    /// What becomes of a call in doubt on this route.
    #[must_use]
    pub fn on_doubt(&self, verb: Verb) -> OnDoubt {
        self.route().on_doubt.unwrap_or_else(|| self.to.sink.on_doubt(verb))
    }
}

/// When the ledger may forget a delivery that ends now.
fn expires(config: &Config, event: &Event, now: Timestamp) -> Timestamp {
    let dedupe = SignedDuration::try_from(config.dedupe).unwrap_or(SignedDuration::MAX);
    let known_until = match event.collapse {
        Collapse::Id | Collapse::IdOrBody => now.saturating_add(dedupe),
        Collapse::BodyForADay => event.received.at().saturating_add(A_DAY),
    };
    let at_least = now.saturating_add(LEFTOVERS).unwrap_or(Timestamp::MAX);
    known_until.unwrap_or(Timestamp::MAX).max(at_least)
}

/// The `webhook-id` of a delivery: the same for all its attempts, another for every other delivery.
#[must_use]
pub fn webhook_id(route: &str, event: &Event) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{route}\n{}\n{}", event.key(), event.generation));
    format!("msg_{}", hex::encode(&digest[..16]))
}

/// The start of an answer, for people.
#[must_use]
pub fn excerpt(status: StatusCode, body: &[u8]) -> String {
    const SHOWN: usize = 300;
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(SHOWN).collect();
    let more = if short.len() < line.len() { "…" } else { "" };
    format!("{status} {short}{more}").trim_end().to_owned()
}

/// The pauses between tries at something of our own that must succeed: 100 ms to 5 s, without end.
pub(crate) fn patience() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}
