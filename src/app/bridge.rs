//! A bridge from its config to its end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::sources::{Bench, Fetching, Polled, Sources};
use super::tasks::Tasks;
use super::{AppError, For, OWNER, Options, Parts, Seen, housekeeping, listeners, open, operator, plans, settling};
use super::{sources, spooled};
use crate::admin::Operator;
use crate::clock::Clock;
use crate::config::Config;
use crate::connectors::client::Client;
use crate::deliver::gate::Shared;
use crate::deliver::{Services, historian, probe, refill, worker};
use crate::intake::{self, Intake};
use crate::store::journal::Journal;
use crate::stream::StreamLoop;

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
        let client = Client::new()?;
        let mut parts = open(&config, &clock, For::Bridge).await?;
        let client = client.keeping_tokens(Arc::clone(&parts.store));
        // The queues are there: what is spooled from an earlier time is published at once.
        parts.broker = spooled::before(parts.broker, &config, &clock)?;
        let (store, owner) = (Arc::clone(&parts.store), OWNER.to_owned());
        let gates = plans::gates(&config, &Shared { store, clock: clock.clone(), owner });
        let bench = Bench { parts: &parts, client: &client, gates: &gates, clock: &clock, dry_run: options.dry_run };
        let Sources { hooks, pollers, streams, fetching } = bench.sources(&config)?;
        let services = Arc::new(parts.services(&config, client, &clock, options.dry_run));
        let sinks = plans::destinations(&services, &gates)?;
        let (limits, metrics) = (intake::Limits::default(), Arc::clone(&parts.metrics));
        let (broker, journal) = (Arc::clone(&parts.broker), Arc::clone(&services.journal));
        let intake = Arc::new(Intake::new(hooks, broker, journal, clock.clone(), limits, metrics));
        let operator = Arc::new(Operator {
            pollers: pollers.iter().map(|p| (p.source.clone(), Arc::clone(&p.wake))).collect(),
            pasts: pollers.iter().map(|p| (p.source.clone(), Arc::clone(&p.poller))).collect(),
            gates: gates.clone(),
            sinks: sinks.clone(),
            ..operator(&config, &parts, clock, services.client.clone())
        });
        let listening = Listening::bind(&config).await?;
        Ok(Self { config, parts, services, operator, intake, gates, sinks, pollers, streams, fetching, listening })
    }

    /// The address of the public listener.
    #[must_use]
    pub fn hooks_address(&self) -> SocketAddr {
        self.listening.hooks.local_addr().unwrap_or(self.config.listen.hooks)
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listening.admin.as_ref().and_then(|listener| listener.local_addr().ok())
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
        let mut tasks = Tasks::new();
        self.deliver(&mut tasks)?;
        let Self { config, parts, services, operator, intake, gates, pollers, streams, fetching, listening, .. } = self;
        let inboxes = sources::inboxes(fetching, Arc::clone(&config), &parts, &services.clock, tasks.until.clone());
        tasks.later("inboxes", &parts, inboxes);
        for poller in pollers {
            let polling = poller.into_loop(&parts, services.clock.clone());
            tasks.start("poller", polling.run(tasks.until.clone()));
        }
        for stream in streams {
            tasks.start("stream", stream.run(tasks.until.clone()));
        }
        let Listening { hooks, admin, socket } = listening;
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
        plans::leave(&gates).await;
        close(&parts).await;
        // A part that panicked has no name to give.
        ended.map_or(Ok(()), |part| Err(AppError::Ended(part.unwrap_or("that panicked"))))
    }

    /// Starts what delivers, and what looks after it.
    fn deliver(&self, tasks: &mut Tasks) -> Result<(), AppError> {
        let Self { config, parts, services, intake, gates, sinks, .. } = self;
        for plan in plans::plans(services, sinks, gates)? {
            let until = tasks.until.clone();
            tasks.later("worker", parts, worker::run(Arc::new(plan), Arc::clone(services), until));
        }
        let until = tasks.until.clone();
        tasks.later("historian", parts, historian::run(Arc::clone(&parts.broker), parts.journal.clone(), until));
        let until = tasks.until.clone();
        tasks.later("refill", parts, refill::run(Arc::clone(services), until));
        settle(tasks, parts, config);
        let until = tasks.until.clone();
        tasks.start("housekeeping", housekeeping::run(Arc::clone(services), Arc::clone(intake), until));
        if !services.dry_run {
            let probed = sinks.values().cloned().collect();
            tasks.start("probe", probe::run(probed, Arc::clone(services), tasks.until.clone()));
            tasks.start("alerts", plans::alerts(services, sinks, gates, OWNER).run(tasks.until.clone()));
        }
        let (halts, until) = (Arc::clone(&parts.halts), tasks.until.clone());
        tasks.start("halts", async move { halts.follow(until).await });
        Ok(())
    }
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
