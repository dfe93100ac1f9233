//! Builds every part from the config, starts it, and brings it to an orderly end.
//!
//! # Order
//! Start: files, names of the last start, bindings, sinks and sources, listeners; only then is anything received.
//! Stop: nothing new is received or begun, what is under way is finished within a deadline, then the journal is
//! written to its end, then the files are closed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::admin::{Operator, Pulse, Reloads, Settling};
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
use crate::spans::{self, Spans};
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
mod reload;
mod scene;
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
    /// How the config's file is loaded anew; `None`: it is not.
    pub load: Option<Load>,
    /// Where spans go, if anywhere.
    pub traces: Option<spans::Settings>,
}

/// Loads and checks a config; what is wrong with it, in words.
pub type Load = fn(&Path) -> Result<Config, String>;

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
    metrics: Arc<Metrics>,
    spans: Spans,
    clock: Clock,
    pulse: Arc<Pulse>,
    /// Held while a replay takes a step.
    replaying: Arc<tokio::sync::Mutex<()>>,
}

impl Parts {
    /// What workers of this config share.
    fn services(&self, config: &Arc<Config>, client: Client, dry_run: bool) -> Result<Services, AppError> {
        Ok(Services {
            config: Arc::clone(config),
            store: Arc::clone(&self.store),
            broker: Arc::clone(&self.broker),
            journal: self.journal.clone(),
            client,
            clock: self.clock.clone(),
            halts: Arc::clone(&self.halts),
            redactor: redactor(config)?,
            metrics: Arc::clone(&self.metrics),
            spans: self.spans.clone(),
            dry_run,
        })
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
    let (clock, spans, pulse, replaying) = (clock.clone(), Spans::default(), Arc::default(), Arc::default());
    Ok(Parts { embedded, store, broker, rabbit, settling, journal, halts, metrics, spans, clock, pulse, replaying })
}

fn redactor(config: &Config) -> Result<Arc<Redactor>, AppError> {
    Ok(Arc::new(Redactor::new(config.redact.iter().map(String::as_str)).map_err(AppError::Redact)?))
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
    let (redactor, reloads) = (redactor(&config)?, Reloads::new(clock.now(), None));
    Ok(Arc::new(operator(&config, &parts, client, redactor, reloads)))
}

/// One that knows what the files tell.
fn operator(
    config: &Arc<Config>,
    parts: &Parts,
    client: Client,
    redactor: Arc<Redactor>,
    reloads: Arc<Reloads>,
) -> Operator {
    Operator {
        client,
        config: Arc::clone(config),
        store: Arc::clone(&parts.store),
        broker: Arc::clone(&parts.broker),
        journal: parts.journal.clone(),
        halts: Arc::clone(&parts.halts),
        clock: parts.clock.clone(),
        redactor,
        pulse: Arc::clone(&parts.pulse),
        reloads,
        metrics: Arc::clone(&parts.metrics),
        settling: parts.settling.clone(),
        pollers: HashMap::new(),
        gates: HashMap::new(),
        sinks: plans::Destinations::new(),
        pasts: HashMap::new(),
        replaying: Arc::clone(&parts.replaying),
    }
}
