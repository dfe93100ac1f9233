//! A bridge from its config to its end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::reload::Stage;
use super::scene::{Before, Fresh, Scene};
use super::tasks::Tasks;
use super::{AppError, For, Load, Options, Parts, Seen, listeners, open, plans, settling, spooled};
use crate::admin::reload::Ask;
use crate::admin::{Desk, Operator, Reloads};
use crate::clock::Clock;
use crate::config::Config;
use crate::connectors::client::Client;
use crate::deliver::historian;
use crate::intake::{self, Intake};
use crate::spans::Spans;
use crate::store::journal::Journal;

/// How many wishes for another config wait for each other.
const WISHES: usize = 8;

/// A bridge that is built and listens, but does not work yet.
pub struct Bridge {
    parts: Parts,
    scene: Scene,
    fresh: Fresh,
    intake: Arc<Intake>,
    desk: Desk,
    reloads: Arc<Reloads>,
    asks: mpsc::Receiver<Ask>,
    load: Option<Load>,
    listening: Listening,
}

/// Where it listens.
struct Listening {
    hooks: TcpListener,
    admin: Option<TcpListener>,
    socket: Option<UnixListener>,
}

impl Listening {
    async fn bind(config: &Config) -> Result<Self, AppError> {
        let admin = match &config.listen.admin {
            Some(admin) => Some(listeners::bind(admin.address).await?),
            None => None,
        };
        let hooks = listeners::bind(config.listen.hooks).await?;
        Ok(Self { hooks, admin, socket: listeners::socket(config) })
    }
}

impl Bridge {
    /// Opens, checks and builds everything, and binds the addresses.
    ///
    /// # Errors
    /// Whatever stands in the way; nothing has been received then.
    pub async fn build(config: Arc<Config>, clock: Clock, options: &Options) -> Result<Self, AppError> {
        // Without a client nothing is opened.
        let client = Client::new()?;
        let mut parts = open(&config, &clock, For::Bridge).await?;
        // The queues are there: what is spooled from an earlier time is published at once.
        parts.broker = spooled::before(parts.broker, &config, &clock)?;
        if let Some(to) = options.traces.as_ref().filter(|_| !options.dry_run) {
            parts.spans = Spans::start(to, &client, &clock, &parts.metrics);
        }
        parts.spans.know(&config);
        parts.broker = parts.spans.over(parts.broker);
        let (scene, mut fresh) = Scene::build(Arc::clone(&config), &parts, options.dry_run, &Before::nothing())?;
        let (hooks, limits) = (std::mem::take(&mut fresh.hooks), intake::Limits::default());
        let (broker, metrics) = (Arc::clone(&parts.broker), Arc::clone(&parts.metrics));
        let journal: Arc<dyn Journal> = parts.journal.clone();
        let intake = Arc::new(Intake::new(hooks, broker, journal, clock.clone(), limits, metrics));
        let (wish, asks) = mpsc::channel(WISHES);
        let reloads = Reloads::new(clock.now(), Some(wish));
        let desk = Desk::new(Arc::new(scene.operator(&parts, &reloads)));
        let listening = Listening::bind(&config).await?;
        Ok(Self { parts, scene, fresh, intake, desk, reloads, asks, load: options.load, listening })
    }

    /// The address of the public listener.
    #[must_use]
    pub fn hooks_address(&self) -> SocketAddr {
        self.listening.hooks.local_addr().unwrap_or(self.scene.config.listen.hooks)
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listening.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The operator of this bridge, as it is now.
    #[must_use]
    pub fn operator(&self) -> Arc<Operator> {
        self.desk.now()
    }

    /// Where its operator is found, whatever config it runs.
    #[must_use]
    pub fn desk(&self) -> Desk {
        self.desk.clone()
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
        let Self { parts, scene, fresh, intake, desk, reloads, asks, load, listening } = self;
        let mut tasks = Tasks::new(parts.settling.clone());
        for work in fresh.work.into_iter().chain(scene.common(&intake)) {
            tasks.begin(work, &[], &fresh.limits);
        }
        stay(&mut tasks, &parts, &scene.config);
        let Listening { hooks, admin, socket } = listening;
        listeners::serve_api(&mut tasks, &scene.config, &desk, (admin, socket));
        let public = listeners::public_router(Arc::clone(&intake), desk.clone());
        let until = tasks.until.clone().cancelled_owned();
        tasks.start("intake", intake::serve(hooks, public, intake::Limits::default(), until));

        let mut stage = Stage { parts, scene, tasks, intake, desk, reloads, load };
        let ended = stage.work(asks, &stop).await;
        tracing::info!("stopping: nothing more is received, what is under way is finished");
        let Stage { parts, scene, tasks, intake, .. } = stage;
        intake.stop();
        tasks.finish().await;
        parts.spans.finish().await;
        plans::leave(&scene.gates).await;
        close(&parts).await;
        ended.map_or(Ok(()), |part| Err(AppError::Ended(part)))
    }
}

/// Starts what no config changes.
fn stay(tasks: &mut Tasks, parts: &Parts, config: &Arc<Config>) {
    let (settling, until) = (parts.settling.clone(), tasks.until.clone());
    let history = historian::run(Arc::clone(&parts.broker), parts.journal.clone(), until.clone());
    tasks.start("historian", async move {
        if until.run_until_cancelled(settling.over()).await.is_some() {
            history.await;
        }
    });
    settle(tasks, parts, config);
    let (halts, until) = (Arc::clone(&parts.halts), tasks.until.clone());
    tasks.start("halts", async move { halts.follow(until).await });
}

/// Writes the journal to its end and closes the files.
async fn close(parts: &Parts) {
    if parts.settling.is_over() {
        historian::finish(&*parts.broker, &*parts.journal).await;
    }
    if let Err(error) = parts.journal.flush().await {
        tracing::error!(%error, "the end of the journal could not be written");
    }
    // Before the store: a broker on another machine keeps there what is bound.
    parts.broker.finish().await;
    parts.embedded.close().await;
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
