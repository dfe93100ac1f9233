//! One process of the bridge: the real workers over the history's broker, store and vendor. It crashes and starts again.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dari::admin::Operator;
use dari::broker::embedded::EmbeddedBroker;
use dari::broker::{Broker, JOURNAL};
use dari::config::Config;
use dari::connectors::Limits;
use dari::connectors::client::Client;
use dari::deliver::batch::Batcher;
use dari::deliver::breaker::Breaker;
use dari::deliver::gate::{Gate, Shared};
use dari::deliver::halts::Halts;
use dari::deliver::refusals::Refusals;
use dari::deliver::{Destination, Plan, Services, probe, worker};
use dari::event::Event;
use dari::redact::Redactor;
use dari::store::journal::{Entry, EventFilter, Journal, Listed, Polled, Record, Refused, Step};
use dari::store::sqlite::{Calm, Database, MIGRATIONS, SqliteStore};
use dari::store::{self, Store};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::RngExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::broker::MemoryBroker;
use crate::vendor::{KIND, Model};
use crate::world::{Process, World, lock};

/// The routes: a state, every event, and a thread of events.
pub const ROUTES: [&str; 3] = ["state", "every", "news"];

/// The client that no call goes through.
pub static CLIENT: LazyLock<Client> = LazyLock::new(|| Client::new().expect("a client"));

const YAML: &str = r#"
sources:
  in: { webhook: { verify: none } }
accounts:
  a: { model: {} }
sinks:
  s0: { model: { account: a } }
  s1: { model: { account: a } }
  s2: { model: { account: a } }
routes:
  state: { from: in, to: s0, do: sync, map: { c: "{{ data.c }}" }, RETRY }
  every: { from: in, to: s1, do: create, map: { e: "{{ id }}" }, RETRY }
  news:
    from: in
    to: s2
    RETRY
    cases:
      - { types: [thing.created], do: create, map: { e: "{{ id }}" } }
      - { types: [thing.updated], do: comment, map: { e: "{{ id }}" } }
"#;

fn config(patience: &str) -> Arc<Config> {
    let retry = format!("retry: {{ first: 1s, factor: 2, max: 20s, give_up_after: {patience} }}");
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("dari.yaml");
    std::fs::write(&file, YAML.replace("RETRY", &retry)).expect("written");
    let clock = dari::clock::Clock::manual(Timestamp::UNIX_EPOCH);
    let known = [&dari::connectors::webhook::MANIFEST, &crate::vendor::MANIFEST];
    let config = dari::config::load_with(&known, &file, &|_| None, &CLIENT, &clock);
    Arc::new(config.unwrap_or_else(|faults| panic!("{faults}")))
}

/// Makes what all histories share: that is no part of any.
pub fn prepare() {
    LazyLock::force(&PATIENT);
    LazyLock::force(&IMPATIENT);
}

static PATIENT: LazyLock<Arc<Config>> = LazyLock::new(|| config("3d"));
static IMPATIENT: LazyLock<Arc<Config>> = LazyLock::new(|| config("40s"));

/// The journal of a history: its log.
pub struct Diary(pub Arc<World>);

#[async_trait]
impl Journal for Diary {
    async fn received(&self, _events: Vec<Arc<Event>>) -> store::Result<()> {
        Ok(())
    }

    fn record(&self, record: Record) {
        if let Record::Entry(Entry { event, route, step, .. }) = record {
            let of = format!("{}/{event}", route.unwrap_or_default());
            self.0.log(match step {
                Step::Ended { ending, detail } => format!("{of} ended: {ending} {detail}"),
                Step::Waiting { attempt, until, why } => format!("{of} attempt {attempt} waits until {until}: {why}"),
                Step::Operator { what } => format!("{of} a person {what}"),
                Step::Attempt { attempt, outcome, .. } => format!("{of} attempt {attempt}: {outcome}"),
                Step::Asked { what, message, .. } => format!("{of} asked for {what}: {message}"),
                Step::Skipped { .. } | Step::Matched { .. } => return,
            });
        }
    }

    async fn flush(&self) -> store::Result<()> {
        Ok(())
    }

    async fn events(&self, _filter: EventFilter) -> store::Result<Vec<Listed>> {
        Ok(Vec::new())
    }

    async fn journey(&self, _event: &str) -> store::Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    async fn refused(&self, _source: Option<&str>, _limit: usize) -> store::Result<Vec<Refused>> {
        Ok(Vec::new())
    }

    async fn polled(&self, _source: &str, _limit: usize) -> store::Result<Vec<Polled>> {
        Ok(Vec::new())
    }

    async fn forget(&self, _keep: Timestamp, _bodies: Timestamp, _limit: usize) -> store::Result<usize> {
        Ok(0)
    }

    fn store_bodies(&self, _yes: bool) {}
}

/// What outlives every process: the store's data, and the broker's.
pub struct Ground {
    pub world: Arc<World>,
    pub config: Arc<Config>,
    pub db: Database,
    pub rabbit: MemoryBroker,
    /// A view of the store that no weather reaches.
    pub store: Arc<dyn Store>,
}

impl Ground {
    pub async fn new(world: &Arc<World>) -> Self {
        let db = Database::simulated(MIGRATIONS, Arc::new(Calm)).expect("opens");
        let rabbit = MemoryBroker::new(world.clock.clone(), Arc::new(Calm));
        let config = if world.knobs.short_patience { &IMPATIENT } else { &PATIENT };
        let beside = Arc::new(db.beside(Arc::new(Calm)).expect("it is simulated"));
        let store = Arc::new(SqliteStore::new(beside, world.clock.clone()));
        let ground = Self { world: Arc::clone(world), config: Arc::clone(config), db, rabbit, store };
        if world.knobs.single {
            ground.rabbit.make_single();
        }
        ground.rabbit.declare(ground.bindings()).await.expect("declared");
        ground
    }

    fn bindings(&self) -> Vec<dari::broker::Binding> {
        self.config.routes.iter().map(dari::config::RouteConfig::binding).collect()
    }

    /// How many messages there are.
    pub async fn messages(&self) -> u64 {
        let depths = if self.world.knobs.embedded {
            let db = Arc::new(self.db.beside(Arc::new(Calm)).expect("it is simulated"));
            EmbeddedBroker::new(db, self.world.clock.clone()).expect("opens").depths().await
        } else {
            self.rabbit.depths().await
        };
        depths.expect("depths").iter().filter(|d| d.queue != JOURNAL).map(|d| d.messages).sum()
    }
}

/// A process that runs.
pub struct Life {
    pub process: Arc<Process>,
    pub operator: Arc<Operator>,
    stop: CancellationToken,
    workers: JoinSet<()>,
}

impl Life {
    async fn start(ground: &Ground, process: Arc<Process>) -> Result<Self, String> {
        let world = &ground.world;
        let (config, clock) = (Arc::clone(&ground.config), world.clock.clone());
        let db = Arc::new(ground.db.beside(process.clone()).ok_or("it is simulated")?);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::new(Arc::clone(&db), clock.clone()));
        let broker: Arc<dyn Broker> = if world.knobs.embedded {
            Arc::new(EmbeddedBroker::new(db, clock.clone()).map_err(|e| e.to_string())?)
        } else {
            Arc::new(ground.rabbit.beside(process.clone()))
        };
        broker.declare(ground.bindings()).await.map_err(|e| e.to_string())?;
        let halts = Halts::load(Arc::clone(&store), clock.clone()).await.map_err(|e| e.to_string())?;
        let services = Arc::new(Services {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            broker: Arc::clone(&broker),
            journal: Arc::new(Diary(Arc::clone(world))),
            client: CLIENT.clone(),
            clock: clock.clone(),
            halts: Arc::new(halts),
            redactor: Arc::new(Redactor::default()),
            metrics: Arc::new(dari::metrics::Metrics::new(Vec::new())),
            spans: dari::spans::Spans::default(),
            dry_run: false,
        });
        let operator = Arc::new(Operator {
            client: CLIENT.clone(),
            config,
            store,
            broker,
            journal: Arc::clone(&services.journal),
            halts: Arc::clone(&services.halts),
            reloads: dari::admin::Reloads::new(clock.now(), None),
            clock,
            redactor: Arc::clone(&services.redactor),
            pulse: Arc::default(),
            metrics: Arc::clone(&services.metrics),
            settling: dari::admin::Settling::new(true),
            pollers: std::collections::HashMap::new(),
            gates: std::collections::HashMap::new(),
            sinks: std::collections::BTreeMap::new(),
            pasts: std::collections::HashMap::new(),
            replaying: Arc::default(),
        });
        let (stop, mut workers) = (CancellationToken::new(), JoinSet::new());
        // A file is one process's alone; of several each has a name of its own.
        let owner = if world.knobs.replicas == 1 { "file".to_owned() } else { process.name.clone() };
        let shared = Shared { store: Arc::clone(&services.store), clock: world.clock.clone(), owner };
        let plans = plans(ground, &process, &shared);
        let sinks = plans.iter().map(|plan| Arc::clone(&plan.to)).collect();
        workers.spawn(probe::run(sinks, Arc::clone(&services), stop.clone()));
        for plan in plans {
            workers.spawn(worker::run(plan, Arc::clone(&services), stop.clone()));
        }
        let (halts, until) = (Arc::clone(&services.halts), stop.clone());
        workers.spawn(async move { halts.follow(until).await });
        Ok(Self { process, operator, stop, workers })
    }

    /// Stops in order, as far as the process lives that long.
    async fn stop(&mut self) {
        self.stop.cancel();
        tokio::select! {
            biased;
            () = self.process.died() => {}
            () = async { while self.workers.join_next().await.is_some() {} } => {}
            () = tokio::time::sleep(Duration::from_secs(25)) => {}
        }
    }
}

fn gates(world: &World, shared: &Shared) -> [Arc<Gate>; 3] {
    let knobs = &world.knobs;
    let limits = Limits {
        rate: (knobs.rate > 0).then(|| f64::from(knobs.rate) / 10.0),
        concurrency: Some(knobs.concurrency),
        monthly: (knobs.quota > 0 && !world.is_calm()).then(|| u64::from(knobs.quota)),
    };
    let gate = |name: &str| Arc::new(Gate::new(name, limits, TimeZone::UTC, shared.clone()));
    let one = gate("a");
    ["a", "a1", "a2"].map(|name| if knobs.one_account { Arc::clone(&one) } else { gate(name) })
}

fn plans(ground: &Ground, process: &Arc<Process>, shared: &Shared) -> Vec<Arc<Plan>> {
    let gates = gates(&ground.world, shared);
    let plan = |index: usize| {
        let name = format!("s{index}");
        let gate = Arc::clone(&gates[index]);
        let nature = ground.world.knobs.natures[index];
        let model = Model { process: Some(Arc::clone(process)), account: gate.account.clone(), nature };
        let most = ground.world.knobs.batch as usize;
        let batcher = (most > 1).then(|| Arc::new(Batcher::new(most)));
        let to = Destination {
            name,
            kind: &KIND,
            sink: Arc::new(model),
            gate,
            breaker: Breaker::default(),
            batcher,
            refusals: Refusals::default(),
        };
        let config = Arc::clone(&ground.config);
        Arc::new(Plan { index, to: Arc::new(to), config, lookups: Vec::new(), mapping_errors: AtomicU32::new(0) })
    };
    (0..ROUTES.len()).map(plan).collect()
}

/// What of a replica runs now.
#[derive(Default)]
pub struct Seat(Mutex<Option<(Arc<Process>, Arc<Operator>)>>);

impl Seat {
    /// The running process, if one runs.
    pub fn taken(&self) -> Option<(Arc<Process>, Arc<Operator>)> {
        lock(&self.0).clone()
    }
}

/// Keeps a process running: it crashes, is killed or is stopped now and then, and starts again. When the troubles are
/// over it starts once more, and then lives on.
pub async fn keep(ground: Arc<Ground>, number: u32, seat: Arc<Seat>) {
    let world = Arc::clone(&ground.world);
    for life in 1.. {
        let process = Process::new(&world, format!("replica {number}.{life}"));
        let born_calm = world.is_calm();
        let started = tokio::select! {
            biased;
            () = process.died() => Err("it ended at its start".to_owned()),
            started = Life::start(&ground, Arc::clone(&process)) => started,
        };
        match started {
            Ok(mut alive) => {
                *lock(&seat.0) = Some((Arc::clone(&process), Arc::clone(&alive.operator)));
                world.log(format!("{process:?} runs"));
                live(&world, &mut alive, born_calm).await;
                *lock(&seat.0) = None;
                process.end("it is over");
                alive.workers.shutdown().await;
            }
            Err(why) => world.log(format!("{process:?} did not start: {why}")),
        }
        // What it had spawned is gone when its tasks have been dropped.
        process.end("it is over");
        world.sleep(1, 1_500).await;
    }
}

async fn live(world: &Arc<World>, alive: &mut Life, born_calm: bool) {
    let kills = u64::from(world.knobs.kills) * 1_000;
    let killed = async {
        if kills == 0 || born_calm {
            return std::future::pending().await;
        }
        world.sleep(1, kills * 2).await;
    };
    let calmed = async {
        if born_calm {
            return std::future::pending().await;
        }
        while !world.is_calm() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::select! {
        biased;
        () = alive.process.died() => {}
        () = killed => {
            if world.random(|dice| dice.random_bool(0.3)) {
                alive.stop().await;
            } else {
                alive.process.end("killed");
            }
        }
        () = calmed => alive.process.end("killed, for the last time"),
    }
}
