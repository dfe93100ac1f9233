//! Builds every part from the config, starts it, and brings it to an orderly end.
//!
//! # Order
//! Start: files, names of the last start, bindings, sinks and sources, listeners; only then is anything received.
//! Stop: intake, then pollers and workers (what is under way is finished within a deadline), then the journal, then
//! the files.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{Operator, api, serve};
use crate::broker::embedded::Embedded;
use crate::broker::{Binding, Broker, BrokerError, JOURNAL};
use crate::clock::Clock;
use crate::config::Config;
use crate::connectors::client::{Client, ClientError};
use crate::connectors::{Hook, Poller, SourceRole};
use crate::deliver::halts::Halts;
use crate::deliver::{Services, historian, worker};
use crate::intake::{self, Intake};
use crate::poll::PollLoop;
use crate::redact::Redactor;
use crate::settings::Fault;
use crate::store::journal::Journal;
use crate::store::{Store, StoreError};

mod housekeeping;
mod names;
mod observe;
mod plans;

pub use observe::{Observed, Seen};

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
}

/// The files, opened: what a bridge and a command on a stopped one share.
struct Parts {
    embedded: Embedded,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    journal: Arc<Observed>,
    halts: Arc<Halts>,
    redactor: Arc<Redactor>,
}

async fn open(config: &Config, clock: &Clock) -> Result<Parts, AppError> {
    if let Some(folder) = config.store.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|why| AppError::Folder { path: folder.display().to_string(), why })?;
    }
    let embedded = Embedded::open(&config.store, clock.clone())?;
    let store: Arc<dyn Store> = embedded.store.clone();
    let broker: Arc<dyn Broker> = embedded.broker.clone();
    let journal = Arc::new(Observed::new(embedded.journal.clone()));
    let halts = Arc::new(Halts::load(Arc::clone(&store), clock.clone()).await?);
    let redactor = Arc::new(Redactor::new(config.redact.iter().map(String::as_str)).map_err(AppError::Redact)?);
    Ok(Parts { embedded, store, broker, journal, halts, redactor })
}

/// Every queue that the config asks for, and what it receives.
fn bindings(config: &Config) -> Vec<Binding> {
    let journal = Binding { queue: JOURNAL.to_owned(), sources: None, types: None };
    let routes = config.routes.iter().filter(|route| route.enabled);
    routes.map(crate::config::RouteConfig::binding).chain([journal]).collect()
}

/// Opens the files of a stopped bridge for an operator's command. What it sends again waits for the next start.
///
/// # Errors
/// The files, or a config that does not go with them.
pub async fn open_for_operator(config: Arc<Config>, clock: Clock) -> Result<Arc<Operator>, AppError> {
    let parts = open(&config, &clock).await?;
    parts.broker.declare(bindings(&config)).await?;
    Ok(Arc::new(operator(&config, &parts, clock, HashMap::new())))
}

fn operator(config: &Arc<Config>, parts: &Parts, clock: Clock, pollers: HashMap<String, Arc<Notify>>) -> Operator {
    Operator {
        config: Arc::clone(config),
        store: Arc::clone(&parts.store),
        broker: Arc::clone(&parts.broker),
        journal: parts.journal.clone(),
        halts: Arc::clone(&parts.halts),
        clock,
        redactor: Arc::clone(&parts.redactor),
        pollers,
    }
}

/// A bridge that is built and listens, but does not work yet.
pub struct Bridge {
    config: Arc<Config>,
    parts: Parts,
    services: Arc<Services>,
    operator: Arc<Operator>,
    intake: Arc<Intake>,
    pollers: Vec<(String, Option<String>, Box<dyn Poller>, Arc<Notify>)>,
    hooks: TcpListener,
    admin: Option<TcpListener>,
}

impl Bridge {
    /// Opens, checks and builds everything, and binds the addresses.
    ///
    /// # Errors
    /// Whatever stands in the way; nothing has been received then.
    pub async fn build(config: Arc<Config>, clock: Clock, options: &Options) -> Result<Self, AppError> {
        let client = Client::new()?;
        let mut parts = open(&config, &clock).await?;
        names::settle(&config, &*parts.store, &*parts.broker).await?;
        // A route that has got another name is suspended under it.
        parts.halts = Arc::new(Halts::load(Arc::clone(&parts.store), clock.clone()).await?);
        parts.broker.declare(bindings(&config)).await?;
        let (mut hooks, mut pollers) = (Vec::<(String, Box<dyn Hook>)>::new(), Vec::new());
        for source in config.sources.iter().filter(|source| source.enabled) {
            let role = config
                .build_source(source, &client, &clock)
                .map_err(|faults| AppError::Build { name: source.name.clone(), faults })?;
            match role {
                SourceRole::Hook(hook) => {
                    if hook.unverified() {
                        tracing::warn!(source = %source.name, "anybody who knows the address can send here: verify is none");
                    }
                    hooks.push((source.name.clone(), hook));
                }
                SourceRole::Poller(poller) => {
                    pollers.push((source.name.clone(), source.account.clone(), poller, Arc::new(Notify::new())));
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
            dry_run: options.dry_run,
        });
        let limits = intake::Limits::default();
        let intake = Arc::new(Intake::new(hooks, Arc::clone(&parts.broker), journal, clock.clone(), limits));
        let wakes = pollers.iter().map(|(name, _, _, wake)| (name.clone(), Arc::clone(wake))).collect();
        let operator = Arc::new(operator(&config, &parts, clock, wakes));
        let admin = match &config.listen.admin {
            Some(admin) => Some(bind(admin.address).await?),
            None => None,
        };
        let hooks = bind(config.listen.hooks).await?;
        Ok(Self { config, parts, services, operator, intake, pollers, hooks, admin })
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
        let mut tasks: JoinSet<&'static str> = JoinSet::new();
        let (receiving, working) = (CancellationToken::new(), CancellationToken::new());
        let plans = plans::plans(&self.services)?;
        for plan in plans {
            let (services, stop) = (Arc::clone(&self.services), working.clone());
            tasks.spawn(async move {
                worker::run(Arc::new(plan), services, stop).await;
                "worker"
            });
        }
        let (broker, journal, until) = (self.parts.broker.clone(), self.parts.journal.clone(), working.clone());
        tasks.spawn(async move {
            historian::run(broker, journal, until).await;
            "historian"
        });
        let (services, intake, until) = (Arc::clone(&self.services), Arc::clone(&self.intake), working.clone());
        tasks.spawn(async move {
            housekeeping::run(services, intake, until).await;
            "housekeeping"
        });
        for (source, account, poller, wake) in self.pollers {
            let polling = PollLoop {
                // The store's file is this process's alone: a restart takes its own lease over at once.
                owner: "file".to_owned(),
                source,
                account,
                poller,
                store: Arc::clone(&self.parts.store),
                broker: Arc::clone(&self.parts.broker),
                journal: self.parts.journal.clone(),
                halts: Arc::clone(&self.parts.halts),
                clock: self.services.clock.clone(),
                wake,
            };
            let until = receiving.clone();
            tasks.spawn(async move {
                polling.run(until).await;
                "poller"
            });
        }
        let ready = public_router(Arc::clone(&self.intake), Arc::clone(&self.operator));
        let until = receiving.clone();
        tasks.spawn(async move {
            intake::serve(self.hooks, ready, intake::Limits::default(), until.cancelled_owned()).await;
            "intake"
        });
        let api = api::router(Arc::clone(&self.operator));
        if let Some(listener) = self.admin {
            let token = self.config.listen.admin.as_ref().and_then(|admin| admin.token.clone());
            let (api, until) = (api.clone(), working.clone());
            tasks.spawn(async move {
                let served = serve::on_listener(listener, api, token, until.clone()).await;
                after(served, "listener", &until).await;
                "admin"
            });
        }
        let (socket, until) = (serve::socket_path(&self.config.store), working.clone());
        tasks.spawn(async move {
            let served = serve::on_socket(&socket, api, until.clone()).await;
            after(served, "socket", &until).await;
            "socket"
        });
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            // A panic is printed where it happens and has no name here.
            ended = tasks.join_next() => ended.map(|ended| ended.unwrap_or("that panicked")),
        };
        tracing::info!("stopping: nothing more is received, what is under way is finished");
        self.intake.stop();
        receiving.cancel();
        working.cancel();
        if tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("not everything finished in time; what was under way is taken up at the next start");
            tasks.shutdown().await;
        }
        if let Err(error) = self.parts.journal.flush().await {
            tracing::error!(%error, "the end of the journal could not be written");
        }
        self.parts.embedded.close().await;
        ended.map_or(Ok(()), |part| Err(AppError::Ended(part)))
    }
}

/// Deliveries need no admin API: without it (a path too long for a socket) the bridge works on.
async fn after(served: std::io::Result<()>, at: &'static str, until: &CancellationToken) {
    if let Err(error) = served {
        tracing::error!(%error, at, "the admin API cannot be served there");
        until.cancelled().await;
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|why| AppError::Listen { address: address.to_string(), why })
}

fn public_router(intake: Arc<Intake>, operator: Arc<Operator>) -> axum::Router {
    use axum::Json;
    use axum::http::StatusCode;
    use axum::routing::get;
    intake::router(intake).route(
        "/readyz",
        get(async move || {
            let readiness = operator.readiness().await;
            let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, Json(readiness))
        }),
    )
}
