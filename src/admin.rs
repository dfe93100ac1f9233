//! What people ask of a bridge, and what they tell it.
//!
//! # Layout
//! [`Operator`] answers, over the store, the journal and the broker; it works the same within a running bridge and on
//! the files of a stopped one. With another config comes another, and [`Desk`] knows the one of now ([`reload`]). [`api`] puts it behind HTTP paths, which the command line uses too: over a socket
//! beside the store while the bridge runs, in-process otherwise. [`serve`] listens, behind its [`doors`]. [`views`] are the
//! answers' shapes, [`needs`] are what a person has to see to. [`who`] did what is written into the journal.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::Config;
use crate::connectors::Poller;
use crate::connectors::client::Client;
use crate::deliver::Destination;
use crate::deliver::gate::Gate;
use crate::deliver::halts::Halts;
use crate::metrics::Metrics;
use crate::redact::Redactor;
use crate::store::Store;
use crate::store::journal::Journal;

pub mod api;
mod desk;
pub mod doors;
pub mod needs;
pub mod preview;
mod pulse;
pub mod reload;
pub mod replay;
pub mod retire;
mod scrape;
pub mod serve;
mod settling;
mod states;
pub mod subscriptions;
mod trace;
pub mod views;
pub mod who;

pub use desk::Desk;
pub use pulse::Pulse;
pub use reload::Reloads;
pub use scrape::OPEN_METRICS;
pub use settling::Settling;

/// Answers people's questions and does what they say.
pub struct Operator {
    /// The config.
    pub config: Arc<Config>,
    /// What remembers.
    pub store: Arc<dyn Store>,
    /// What moves events.
    pub broker: Arc<dyn Broker>,
    /// The history.
    pub journal: Arc<dyn Journal>,
    /// What is stopped.
    pub halts: Arc<Halts>,
    /// Tells the time.
    pub clock: Clock,
    /// What to mask.
    pub redactor: Arc<Redactor>,
    /// Whether the store takes writes.
    pub pulse: Arc<Pulse>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether names and queues are as the config has them.
    pub settling: Settling,
    /// When the config was loaded.
    pub reloads: Arc<Reloads>,
    /// Wakes the poller of a source; empty where none runs.
    pub pollers: HashMap<String, Arc<Notify>>,
    /// Who reads the past of a source that is polled; empty where none runs.
    pub pasts: HashMap<String, Arc<dyn Poller>>,
    /// Held while a replay takes a step: two at once would take the same one.
    pub replaying: Arc<tokio::sync::Mutex<()>>,
    /// The gates of the accounts; empty where none run.
    pub gates: HashMap<String, Arc<Gate>>,
    /// Asks vendors for what a person wants done there.
    pub client: Client,
    /// The sinks; empty where none run.
    pub sinks: BTreeMap<String, Arc<Destination>>,
}

/// Why an operator's wish was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no such thing.
    #[error("there is no {what} {name:?}{hint}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// A suggestion, with a leading separator, or nothing.
        hint: String,
    },
    /// It makes no sense, in words.
    #[error("{0}")]
    Refused(String),
    /// The store.
    #[error("{0}")]
    Store(#[from] crate::store::StoreError),
    /// The broker.
    #[error("{0}")]
    Broker(#[from] crate::broker::BrokerError),
}

/// The result of an operator's wish.
pub type Result<T> = std::result::Result<T, OperatorError>;

impl OperatorError {
    /// No such thing among these; the nearest name is suggested.
    #[must_use]
    pub fn unknown<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let near = known
            .map(|k| (strsim::jaro_winkler(k, name), k))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = near.map_or_else(String::new, |(_, k)| format!("; did you mean {k:?}?"));
        Self::NotFound { what, name: name.to_owned(), hint }
    }
}
