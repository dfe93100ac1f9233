//! What all parts of a history share, and the weather in which its processes live.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dari::clock::Clock;
use dari::deliver::webhook_id;
use dari::event::Event;
use dari::store::sqlite::Weather;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;

use crate::knobs::Knobs;
use crate::vendor::Vendor;

/// Awaits after which a history is taken for one that goes in circles.
const MOST_AWAITS: u32 = 2_000_000;

/// What all parts of a history share.
pub struct World {
    pub knobs: Knobs,
    pub clock: Clock,
    pub start: Timestamp,
    pub vendor: Vendor,
    dice: Mutex<StdRng>,
    log: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    calm: AtomicBool,
    awaits: AtomicU32,
    deliveries: Mutex<HashMap<String, Delivery>>,
}

/// Whose call it is, by its `webhook-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub route: String,
    pub event: String,
    pub subject: String,
}

impl World {
    pub fn new(knobs: Knobs) -> Arc<Self> {
        let month: Timestamp = "2026-12-01T00:00:00Z".parse().expect("a time");
        let start = month - SignedDuration::from_secs(i64::from(knobs.month));
        Arc::new(Self {
            clock: Clock::simulated(start, 1),
            start,
            vendor: Vendor::default(),
            dice: Mutex::new(StdRng::seed_from_u64(knobs.dice)),
            log: Mutex::default(),
            wrong: Mutex::default(),
            calm: AtomicBool::new(false),
            awaits: AtomicU32::new(0),
            deliveries: Mutex::default(),
            knobs,
        })
    }

    /// True once the troubles are over.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn calm_down(&self) {
        self.log("— the troubles are over —");
        self.calm.store(true, Ordering::Relaxed);
    }

    pub fn random<T>(&self, roll: impl FnOnce(&mut StdRng) -> T) -> T {
        roll(&mut lock(&self.dice))
    }

    /// True so many times of `of`.
    pub fn happens(&self, times: u32, of: u32) -> bool {
        times > 0 && self.random(|dice| dice.random_range(0..of)) < times
    }

    pub async fn sleep(&self, from_ms: u64, to_ms: u64) {
        let ms = self.random(|dice| dice.random_range(from_ms..=to_ms));
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    pub fn log(&self, line: impl AsRef<str>) {
        let at = self.clock.now().duration_since(self.start).as_secs_f64();
        lock(&self.log).push(format!("{at:>10.3}  {}", line.as_ref()));
    }

    /// Notes that a promise is broken.
    pub fn wrong(&self, what: impl Into<String>) {
        let what = what.into();
        self.log(format!("WRONG: {what}"));
        lock(&self.wrong).push(what);
    }

    pub fn wrongs(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    pub fn logged(&self) -> Vec<String> {
        lock(&self.log).clone()
    }

    /// Remembers whose calls will come under which `webhook-id`.
    pub fn announce(&self, event: &Event, routes: &[&str]) {
        for route in routes {
            let delivery = Delivery {
                route: (*route).to_owned(),
                event: event.id.clone(),
                subject: event.subject.clone().unwrap_or_default(),
            };
            lock(&self.deliveries).insert(webhook_id(route, event), delivery);
        }
    }

    pub fn delivery(&self, webhook_id: &str) -> Delivery {
        lock(&self.deliveries).get(webhook_id).cloned().expect("only what was published is delivered")
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One life of a process: from its start to its crash.
pub struct Process {
    pub world: Arc<World>,
    pub name: String,
    dead: AtomicBool,
    died: Notify,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Process {
    pub fn new(world: &Arc<World>, name: String) -> Arc<Self> {
        Arc::new(Self { world: Arc::clone(world), name, dead: AtomicBool::new(false), died: Notify::new() })
    }

    /// Ends it: whatever it is about, it does nothing more.
    pub fn end(&self, why: &str) {
        if !self.dead.swap(true, Ordering::Relaxed) {
            self.world.log(format!("{} ends: {why}", self.name));
        }
        self.died.notify_one();
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Waits for its end.
    pub async fn died(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    /// An await: it may take a while, and the process may end in it.
    pub async fn point(&self, doing: &str) {
        self.live().await;
        let world = &self.world;
        if world.awaits.fetch_add(1, Ordering::Relaxed) == MOST_AWAITS {
            world.wrong("it goes in circles");
        }
        if world.awaits.load(Ordering::Relaxed) > MOST_AWAITS {
            std::future::pending::<()>().await;
        }
        if world.is_calm() {
            return;
        }
        if world.happens(world.knobs.crashes, 10_000) {
            self.end(doing);
        }
        if world.happens(world.knobs.delays, 1_000) {
            let longest = if world.happens(1, 30) { 3_000 } else { 40 };
            world.sleep(0, longest).await;
        }
        self.live().await;
    }

    async fn live(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    fn fault(&self, doing: &str, when: &str) -> Result<(), String> {
        let world = &self.world;
        if world.is_calm() || !world.happens(world.knobs.faults, 1_000) {
            return Ok(());
        }
        world.log(format!("{}: {doing} fails {when}", self.name));
        Err(format!("{doing} failed {when}"))
    }
}

#[async_trait]
impl Weather for Process {
    async fn before(&self, doing: &'static str) -> Result<(), String> {
        self.point(doing).await;
        self.fault(doing, "before it is done")
    }

    async fn after(&self, doing: &'static str) -> Result<(), String> {
        self.point(doing).await;
        self.fault(doing, "after it was done")
    }
}
