//! The shapes of the answers: what the API sends and the command line prints.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::poll::guard::Asked;
use crate::store::journal::{Entry, Listed, Polled};
use crate::store::{LedgerEntry, Suspension};

/// An event's journey.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Journey {
    /// The event.
    pub event: Listed,
    /// The id of its trace, by which a collector of traces knows it.
    #[serde(default)]
    pub trace: String,
    /// What happened before any route saw it, in order.
    #[serde(default)]
    pub before: Vec<Entry>,
    /// What became of it on each route of the config, and on former routes that left steps.
    pub routes: Vec<RouteJourney>,
}

/// An event's journey on one route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteJourney {
    /// The route.
    pub route: String,
    /// Its sink; `None` if the config has no such route any more.
    pub to: Option<String>,
    /// Why the event never came into the route's queue, if it did not.
    pub not_bound: Option<String>,
    /// How far the ledger says it is.
    pub ledger: Option<LedgerEntry>,
    /// What happened, in order.
    pub steps: Vec<Entry>,
}

/// An account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountView {
    /// Its name.
    pub name: String,
    /// Its connector.
    pub connector: String,
    /// Its base URL.
    pub url: String,
    /// The month in its zone.
    pub month: String,
    /// Calls made in it.
    pub used: u64,
    /// Calls it may make in it.
    pub monthly: Option<u64>,
    /// When the month's calls are used up if it goes on like this; `None`: not this month, or too early to say.
    pub used_up: Option<Timestamp>,
    /// The same in words, in the account's zone.
    #[serde(default)]
    pub forecast: Option<String>,
    /// Calls a second.
    pub rate: Option<f64>,
    /// Calls at once.
    pub concurrency: Option<u32>,
    /// How its calls stand in the running bridge; `None` where none runs.
    #[serde(default)]
    pub permits: Option<PermitsView>,
    /// Why it is stopped, if it is.
    pub suspension: Option<Suspension>,
}

/// How an account's calls stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermitsView {
    /// Under way.
    pub in_use: u32,
    /// Waiting for a permit.
    pub waiting: u32,
    /// How many at once this process may make.
    pub limit: u32,
}

/// A sink's breaker, open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerView {
    /// Since when.
    pub since: Timestamp,
    /// When one delivery tries next.
    pub next: Timestamp,
}

/// A sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SinkView {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Its account.
    pub account: String,
    /// False: switched off in the config.
    pub enabled: bool,
    /// Messages in the queues of its routes.
    pub queued: u64,
    /// Its breaker, if that is open in the running bridge.
    #[serde(default)]
    pub breaker: Option<BreakerView>,
    /// Why it (or its account) is stopped, if it is.
    pub suspension: Option<Suspension>,
}

/// A source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// False: switched off in the config.
    pub enabled: bool,
    /// Where it listens, if it is a webhook.
    pub path: Option<String>,
    /// How many of its events wait until their subjects are read anew.
    #[serde(default)]
    pub unfetched: u64,
    /// Its last poll, if it is a poller.
    pub last_poll: Option<Polled>,
    /// Its cursor, if it is a poller.
    pub cursor: Option<Value>,
    /// What it asks before it deletes that much; answered by `dari sources confirm`.
    #[serde(default)]
    pub asks: Option<Asked>,
    /// Why it is stopped, if it is.
    pub suspension: Option<Suspension>,
}

/// A route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteView {
    /// Its name.
    pub name: String,
    /// Its sources.
    pub from: Vec<String>,
    /// Its sink; `None`: the queue is left over from a former route.
    pub to: Option<String>,
    /// What it does, one word a case.
    pub does: Vec<String>,
    /// False: switched off in the config.
    pub enabled: bool,
    /// Messages in its queue.
    pub queued: u64,
    /// How many of them wait for their time.
    pub waiting: u64,
    /// When the oldest was received.
    pub oldest: Option<Timestamp>,
    /// Dead letters.
    pub dead: u64,
    /// Held deliveries.
    pub held: u64,
    /// Why it (or its sink or account) is stopped, if it is.
    pub suspension: Option<Suspension>,
}

/// What a replay would do, or did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Replayed {
    /// Events found.
    pub events: u64,
    /// Deliveries they make: events times the routes that take them.
    pub deliveries: u64,
    /// Deliveries that would do something as things stand; `None` once they are sent.
    #[serde(default)]
    pub changes: Option<u64>,
    /// Deliveries by route.
    pub routes: Vec<(String, u64)>,
    /// Calls left this month in the accounts concerned that have a limit.
    pub calls_left: Vec<(String, u64)>,
    /// Events whose body the journal no longer has, which cannot be replayed.
    pub without_body: u64,
    /// Dead letters whose route the config no longer has: they stay.
    #[serde(default)]
    pub without_route: u64,
    /// True if nothing was done.
    pub dry_run: bool,
}

/// What an action did, in words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// In words.
    pub done: String,
}

/// Whether the bridge can do its work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Readiness {
    /// True: it can.
    pub ready: bool,
    /// What is wrong or worth knowing, in words.
    pub notes: Vec<String>,
}
