//! Builds every part from the config, starts it, and brings it to an orderly end.
//!
//! # Order
//! Start: files, names of the last start, bindings, sinks and sources, listeners; only then is anything received.
//! Stop: nothing new is received or begun, what is under way is finished within a deadline, then the journal is
//! written to its end, then the files are closed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::admin::{Operator, Pulse, Settling};
use crate::broker::embedded::Embedded;
use crate::broker::rabbitmq::RabbitBroker;
use crate::broker::{Binding, Broker, JOURNAL};
use crate::clock::Clock;
use crate::config::Config;
use crate::connectors::client::Client;
use crate::deliver::Services;
use crate::deliver::halts::Halts;
use crate::metrics::Metrics;
use crate::redact::Redactor;
use crate::store::Store;

mod bridge;
mod connect;
mod error;
mod housekeeping;
mod listeners;
pub mod moving;
mod names;
mod observe;
mod plans;
mod settling;
mod sources;
mod spooled;
mod tasks;

pub use bridge::Bridge;
pub use connect::greet;
pub use error::AppError;
pub use observe::{Observed, Seen};
pub use spooled::forward;

/// Who has the leases. The store's file is one process's alone: a restart takes its own over at once.
const OWNER: &str = "file";

/// A number for this process that tells its stamps from those of others.
#[must_use]
pub fn process_number() -> u16 {
    rand::random()
}

/// How a bridge is to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Render and show, but send nothing; nothing is kept.
    pub dry_run: bool,
}

/// The files, opened: what a bridge and a command on a stopped one share.
struct Parts {
    embedded: Embedded,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    /// The same where it is RabbitMQ, without the spool before it.
    rabbit: Option<Arc<RabbitBroker>>,
    settling: Settling,
    journal: Arc<Observed>,
    halts: Arc<Halts>,
    redactor: Arc<Redactor>,
    metrics: Arc<Metrics>,
}

impl Parts {
    /// What workers of this config share.
    fn services(&self, config: &Arc<Config>, client: Client, clock: &Clock, dry_run: bool) -> Services {
        Services {
            config: Arc::clone(config),
            store: Arc::clone(&self.store),
            broker: Arc::clone(&self.broker),
            journal: self.journal.clone(),
            client,
            clock: clock.clone(),
            halts: Arc::clone(&self.halts),
            redactor: Arc::clone(&self.redactor),
            metrics: Arc::clone(&self.metrics),
            dry_run,
        }
    }
}

/// Whom the files are opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// A bridge: a config that does not go with them is refused.
    Bridge,
    /// A command: it may be the one that puts that right.
    Operator,
}

async fn open(config: &Config, clock: &Clock, whom: For) -> Result<Parts, AppError> {
    if let Some(folder) = config.store.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|why| AppError::Folder { path: folder.display().to_string(), why })?;
    }
    let embedded = Embedded::open(&config.store, clock.clone())?;
    let store: Arc<dyn Store> = embedded.store.clone();
    let sources = config.sources.iter().map(|source| source.name.clone()).collect();
    let metrics = Arc::new(Metrics::new(sources));
    let journal = Arc::new(Observed::new(embedded.journal.clone(), Arc::clone(&metrics)));
    let connected = connect::open(config, &embedded, clock, whom).await?;
    let settling = match connect::settle(config, &*store, &connected, whom).await {
        Ok(settling) => settling,
        Err(error) => {
            connected.0.finish().await;
            return Err(error);
        }
    };
    let (broker, rabbit) = connected;
    // Read after the renaming: a route that has got another name is suspended under it.
    let halts = Arc::new(Halts::load(Arc::clone(&store), clock.clone()).await?);
    let redactor = Arc::new(Redactor::new(config.redact.iter().map(String::as_str)).map_err(AppError::Redact)?);
    Ok(Parts { embedded, store, broker, rabbit, settling, journal, halts, redactor, metrics })
}

/// Every queue that the config asks for, and what it receives.
fn bindings(config: &Config) -> Vec<Binding> {
    let journal = Binding { queue: JOURNAL.to_owned(), sources: None, types: None };
    let routes = config.routes.iter().filter(|route| route.enabled);
    let fetching = config.sources.iter().filter(|source| source.enabled && source.fetches());
    let inboxes = fetching.map(|source| Binding::inbox(&source.name));
    routes.map(crate::config::RouteConfig::binding).chain([journal]).chain(inboxes).collect()
}

/// Opens the files of a stopped bridge for an operator's command. What it sends again waits for the next start.
///
/// # Errors
/// The files, or a config that does not go with them.
pub async fn open_for_operator(config: Arc<Config>, clock: Clock) -> Result<Arc<Operator>, AppError> {
    let parts = open(&config, &clock, For::Operator).await?;
    let client = Client::new()?.keeping_tokens(Arc::clone(&parts.store));
    Ok(Arc::new(operator(&config, &parts, clock, client)))
}

/// One that knows what the files tell.
fn operator(config: &Arc<Config>, parts: &Parts, clock: Clock, client: Client) -> Operator {
    Operator {
        client,
        config: Arc::clone(config),
        store: Arc::clone(&parts.store),
        broker: Arc::clone(&parts.broker),
        journal: parts.journal.clone(),
        halts: Arc::clone(&parts.halts),
        clock,
        redactor: Arc::clone(&parts.redactor),
        pulse: Pulse::default(),
        metrics: Arc::clone(&parts.metrics),
        settling: parts.settling.clone(),
        pollers: HashMap::new(),
        gates: HashMap::new(),
        sinks: plans::Destinations::new(),
        pasts: HashMap::new(),
        replaying: tokio::sync::Mutex::default(),
    }
}
