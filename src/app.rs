//! Builds every part from the config, starts it, and brings it to an orderly end.
//!
//! # Order
//! Start: files, names of the last start, bindings, sinks and sources, listeners; only then is anything received.
//! Stop: nothing new is received or begun, what is under way is finished within a deadline, then the journal is
//! written to its end, then the files are closed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{Operator, Pulse, Settling};
use crate::broker::embedded::Embedded;
use crate::broker::rabbitmq::RabbitBroker;
use crate::broker::spool::SpoolError;
use crate::broker::{Binding, Broker, BrokerError, JOURNAL};
use crate::clock::Clock;
use crate::config::Config;
use crate::connectors::client::{Client, ClientError};
use crate::connectors::{Hook, SourceRole};
use crate::deliver::gate::Shared;
use crate::deliver::halts::Halts;
use crate::deliver::{Services, historian, probe, refill, worker};
use crate::intake::{self, Intake};
use crate::metrics::Metrics;
use crate::redact::Redactor;
use crate::settings::Fault;
use crate::spans::{self, Spans};
use crate::store::journal::Journal;
use crate::store::{Store, StoreError};
use crate::stream::StreamLoop;

mod connect;
mod housekeeping;
mod listeners;
pub mod moving;
mod names;
mod observe;
mod plans;
mod settling;
mod sources;
mod spooled;

pub use connect::greet;
pub use observe::{Observed, Seen};
use sources::{Fetching, Polled, meter, receiving};
pub use spooled::forward;

/// Who has the leases. The store's file is one process's alone: a restart takes its own over at once.
const OWNER: &str = "file";
/// How long what is under way may take to finish at a stop.
const GRACE: Duration = Duration::from_secs(25);

/// Why a bridge does not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The broker.
    #[error("{0}")]
    Broker(#[from] BrokerError),
    /// The spool.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// The HTTP client.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        why: std::io::Error,
    },
    /// A folder cannot be made.
    #[error("cannot make the folder {path}: {why}")]
    Folder {
        /// The folder.
        path: String,
        /// Why not.
        why: std::io::Error,
    },
    /// The config names a broker, and there are messages in the queue that was used without one.
    #[error(
        "{left} messages are still in the queue in {file}, and the config has a `broker` now: move them with \
         `dari move OLD NEW`, where OLD is the config without it, or run without it until they are delivered"
    )]
    LeftBehind {
        /// How many.
        left: u64,
        /// The store's file.
        file: String,
    },
    /// The config names no broker, and a move to one has begun.
    #[error(
        "the move of the queue in {file} to RabbitMQ was begun and is not over: end it with the same `dari move OLD NEW`"
    )]
    HalfMoved {
        /// The store's file.
        file: String,
    },
    /// A move that cannot be made; a sentence with the way out.
    #[error("{0}")]
    Move(String),
    /// The config names no broker any more, and there are events in the spool that was used with one.
    #[error(
        "{left} events are still in the spool {folder}, and the config has no `broker` now: run with it until they are \
         published, or remove the folder to give them up"
    )]
    Spooled {
        /// How many.
        left: u64,
        /// The spool's folder.
        folder: String,
    },
    /// There is nothing to forward.
    #[error("there is no spool to forward: {0}")]
    NoSpool(String),
    /// A certificate or key cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        why: std::io::Error,
    },
    /// A source or sink cannot be built although the config was checked.
    #[error("{name}: {}", faults.iter().map(|f| f.message.as_str()).collect::<Vec<_>>().join("; "))]
    Build {
        /// Its name.
        name: String,
        /// What it says.
        faults: Vec<Fault>,
    },
    /// The config does not go with what the store remembers; each is a sentence with the ways out.
    #[error("{}", .0.join("\n"))]
    Names(Vec<String>),
    /// A path of `redact`.
    #[error("redact: {0}")]
    Redact(String),
    /// A part ended although nobody told it to.
    #[error("the part {0} ended by itself, which is a bug; the bridge stops rather than run without it")]
    Ended(&'static str),
}

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
    /// Where spans go, if anywhere.
    pub traces: Option<spans::Settings>,
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

/// A bridge that is built and listens, but does not work yet.
pub struct Bridge {
    config: Arc<Config>,
    parts: Parts,
    services: Arc<Services>,
    operator: Arc<Operator>,
    intake: Arc<Intake>,
    gates: plans::Gates,
    sinks: plans::Destinations,
    pollers: Vec<Polled>,
    streams: Vec<StreamLoop>,
    fetching: Vec<Fetching>,
    hooks: TcpListener,
    admin: Option<TcpListener>,
    socket: Option<UnixListener>,
}

impl Bridge {
    /// Opens, checks and builds everything, and binds the addresses.
    ///
    /// # Errors
    /// Whatever stands in the way; nothing has been received then.
    pub async fn build(config: Arc<Config>, clock: Clock, options: &Options) -> Result<Self, AppError> {
        let client = Client::new()?;
        let mut parts = open(&config, &clock, For::Bridge).await?;
        let client = client.keeping_tokens(Arc::clone(&parts.store));
        // The queues are there: what is spooled from an earlier time is published at once.
        parts.broker = spooled::before(parts.broker, &config, &clock)?;
        let traces = options.traces.as_ref().filter(|_| !options.dry_run);
        let spans = traces.map(|to| Spans::start(to, &client, &clock, &parts.metrics)).unwrap_or_default();
        parts.broker = spans.over(parts.broker, &config);
        let (mut hooks, mut pollers) = (Vec::<(String, Box<dyn Hook>)>::new(), Vec::<Polled>::new());
        let (mut streams, mut fetching) = (Vec::new(), Vec::new());
        let (store, owner) = (Arc::clone(&parts.store), OWNER.to_owned());
        let gates = plans::gates(&config, &Shared { store, clock: clock.clone(), owner });
        for source in config.sources.iter().filter(|source| source.enabled) {
            let gate = source.account.as_ref().and_then(|account| gates.get(account));
            let client = gate.map_or_else(|| client.clone(), |gate| client.metered(meter(gate, &parts, &clock)));
            let role = config
                .build_source(source, &client, &clock)
                .map_err(|faults| AppError::Build { name: source.name.clone(), faults })?;
            match role {
                SourceRole::Hook(hook) => {
                    if hook.unverified() {
                        tracing::warn!(source = %source.name, "anybody who knows the address can send here: verify is none");
                    }
                    fetching.extend(Fetching::of(source, &*hook, gate));
                    hooks.push((source.name.clone(), hook));
                }
                SourceRole::Poller(poller) => {
                    let (source, account) = (source.name.clone(), source.account.clone());
                    let poller = Arc::from(poller);
                    pollers.push(Polled { source, account, poller, wake: Arc::new(Notify::new()) });
                }
                SourceRole::Stream(stream) => {
                    let (source, account) = (source.name.clone(), source.account.clone());
                    streams.push(receiving((source, account), stream, &parts, &clock, options.dry_run));
                }
            }
        }
        let journal: Arc<dyn Journal> = parts.journal.clone();
        let services = Arc::new(Services {
            config: Arc::clone(&config),
            store: Arc::clone(&parts.store),
            broker: Arc::clone(&parts.broker),
            journal: Arc::clone(&journal),
            client,
            clock: clock.clone(),
            halts: Arc::clone(&parts.halts),
            redactor: Arc::clone(&parts.redactor),
            metrics: Arc::clone(&parts.metrics),
            spans,
            dry_run: options.dry_run,
        });
        let sinks = plans::destinations(&services, &gates)?;
        let limits = intake::Limits::default();
        let intake = Arc::new(Intake::new(
            hooks,
            Arc::clone(&parts.broker),
            journal,
            clock.clone(),
            limits,
            Arc::clone(&parts.metrics),
        ));
        let operator = Arc::new(Operator {
            pollers: pollers.iter().map(|p| (p.source.clone(), Arc::clone(&p.wake))).collect(),
            pasts: pollers.iter().map(|p| (p.source.clone(), Arc::clone(&p.poller))).collect(),
            gates: gates.clone(),
            sinks: sinks.clone(),
            ..operator(&config, &parts, clock, services.client.clone())
        });
        let admin = match &config.listen.admin {
            Some(admin) => Some(listeners::bind(admin.address).await?),
            None => None,
        };
        let hooks = listeners::bind(config.listen.hooks).await?;
        let socket = listeners::socket(&config);
        let built = Self {
            config,
            parts,
            services,
            operator,
            intake,
            gates,
            sinks,
            pollers,
            streams,
            fetching,
            hooks,
            admin,
            socket,
        };
        Ok(built)
    }

    /// The address of the public listener.
    #[must_use]
    pub fn hooks_address(&self) -> SocketAddr {
        self.hooks.local_addr().unwrap_or(self.config.listen.hooks)
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The operator of this bridge.
    #[must_use]
    pub fn operator(&self) -> Arc<Operator> {
        Arc::clone(&self.operator)
    }

    /// What happens from now on, as it happens.
    #[must_use]
    pub fn watch(&self) -> tokio::sync::broadcast::Receiver<Seen> {
        self.parts.journal.watch()
    }

    /// Works until told to stop, then ends in order.
    ///
    /// # Errors
    /// A part ended by itself.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AppError> {
        let mut tasks = Tasks { set: JoinSet::new(), until: CancellationToken::new() };
        let Self {
            config,
            parts,
            services,
            operator,
            intake,
            gates,
            sinks: destinations,
            pollers,
            streams,
            fetching,
            hooks,
            admin,
            socket,
        } = self;
        for plan in plans::plans(&services, &destinations, &gates)? {
            let until = tasks.until.clone();
            tasks.later("worker", &parts, worker::run(Arc::new(plan), Arc::clone(&services), until));
        }
        let until = tasks.until.clone();
        let inboxes = sources::inboxes(fetching, Arc::clone(&config), &parts, &services.clock, until);
        tasks.later("inboxes", &parts, inboxes);
        let until = tasks.until.clone();
        tasks.later("historian", &parts, historian::run(Arc::clone(&parts.broker), parts.journal.clone(), until));
        let until = tasks.until.clone();
        tasks.later("refill", &parts, refill::run(Arc::clone(&services), until));
        settle(&mut tasks, &parts, &config);
        let until = tasks.until.clone();
        tasks.start("housekeeping", housekeeping::run(Arc::clone(&services), Arc::clone(&intake), until));
        if !services.dry_run {
            let sinks = destinations.values().cloned().collect();
            tasks.start("probe", probe::run(sinks, Arc::clone(&services), tasks.until.clone()));
            tasks.start("alerts", plans::alerts(&services, &destinations, &gates, OWNER).run(tasks.until.clone()));
        }
        let (halts, until) = (Arc::clone(&parts.halts), tasks.until.clone());
        tasks.start("halts", async move { halts.follow(until).await });
        for poller in pollers {
            let polling = poller.into_loop(&parts, services.clock.clone());
            let until = tasks.until.clone();
            tasks.start("poller", polling.run(until));
        }
        for stream in streams {
            let until = tasks.until.clone();
            tasks.start("stream", stream.run(until));
        }
        listeners::serve_api(&mut tasks, &config, &operator, (admin, socket));
        let public = listeners::public_router(Arc::clone(&intake), operator);
        let until = tasks.until.clone().cancelled_owned();
        tasks.start("intake", intake::serve(hooks, public, intake::Limits::default(), until));

        let ended = tokio::select! {
            () = stop.cancelled() => None,
            ended = tasks.set.join_next() => ended,
        };
        tracing::info!("stopping: nothing more is received, what is under way is finished");
        intake.stop();
        tasks.finish().await;
        services.spans.finish().await;
        plans::leave(&gates).await;
        if parts.settling.is_over() {
            historian::finish(&*parts.broker, &*parts.journal).await;
        }
        if let Err(error) = parts.journal.flush().await {
            tracing::error!(%error, "the end of the journal could not be written");
        }
        // Before the store: a broker on another machine keeps there what is bound.
        parts.broker.finish().await;
        parts.embedded.close().await;
        // A part that panicked has no name to give.
        ended.map_or(Ok(()), |part| Err(AppError::Ended(part.unwrap_or("that panicked"))))
    }
}

/// What runs, and how it is told to stop.
struct Tasks {
    set: JoinSet<&'static str>,
    /// Cancelled: nothing new is begun.
    until: CancellationToken,
}

impl Tasks {
    fn start(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            part.await;
            name
        });
    }

    /// Starts a part that needs the queues, once they are declared.
    fn later(&mut self, name: &'static str, parts: &Parts, part: impl Future<Output = ()> + Send + 'static) {
        let (settling, until) = (parts.settling.clone(), self.until.clone());
        self.start(name, async move {
            if until.run_until_cancelled(settling.over()).await.is_some() {
                part.await;
            }
        });
    }

    /// Tells all to stop and waits, but not for ever.
    async fn finish(mut self) {
        self.until.cancel();
        if tokio::time::timeout(GRACE, async { while self.set.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("not everything finished in time; what was under way is taken up at the next start");
            self.set.shutdown().await;
        }
    }
}

/// Does at a broker that was away what a start does, once it is there.
fn settle(tasks: &mut Tasks, parts: &Parts, config: &Arc<Config>) {
    let Some(rabbit) = parts.rabbit.clone().filter(|_| !parts.settling.is_over()) else { return };
    let (settling, config, store) = (parts.settling.clone(), Arc::clone(config), Arc::clone(&parts.store));
    let until = tasks.until.clone();
    tasks.start("settling", async move {
        _ = until.run_until_cancelled(settling::run(&settling, &config, &*store, &rabbit)).await;
        // A part that ends before it is told to is taken for broken.
        until.cancelled().await;
    });
}
