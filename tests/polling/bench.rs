//! What a loop runs on in a test: a real store, a broker and a journal that remember, and tricks to play on it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dari::broker::{Binding, Broker, BrokerError, Consumer, Depth, Message};
use dari::clock::Clock;
use dari::connectors::Poller;
use dari::deliver::halts::Halts;
use dari::event::Event;
use dari::outcome::Scope;
use dari::poll::PollLoop;
use dari::store::journal::{Entry, EventFilter, Journal, Listed, Polled, Record, Refused};
use dari::store::sqlite::{self, SqliteStore};
use dari::store::{self, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The source's name in all tests.
pub const SOURCE: &str = "signup";

pub struct Bench {
    pub clock: Clock,
    pub store: Arc<dyn Store>,
    pub halts: Arc<Halts>,
    pub broker: Arc<Tape>,
    pub journal: Arc<Notes>,
    pub wake: Arc<Notify>,
    _dir: tempfile::TempDir,
}

/// A loop under way.
pub struct Running {
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Running {
    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("ends in time").expect("no panic");
    }

    /// As a kill would: between any two steps, nothing given back.
    pub async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

impl Bench {
    pub fn new(clock: &Clock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("dari.db"), clock);
        Self {
            clock: clock.clone(),
            halts: Arc::new(Halts::new(Arc::clone(&store), clock.clone(), Vec::new())),
            store,
            broker: Arc::default(),
            journal: Arc::default(),
            wake: Arc::default(),
            _dir: dir,
        }
    }

    pub fn run(&self, owner: &str, poller: Box<dyn Poller>) -> Running {
        self.run_woken_by(owner, poller, &self.wake)
    }

    pub fn run_woken_by(&self, owner: &str, poller: Box<dyn Poller>, wake: &Arc<Notify>) -> Running {
        let stop = CancellationToken::new();
        let poll = PollLoop {
            source: SOURCE.to_owned(),
            account: Some("walla".to_owned()),
            poller: Arc::from(poller),
            store: Arc::clone(&self.store),
            halts: Arc::clone(&self.halts),
            broker: Arc::clone(&self.broker) as Arc<dyn Broker>,
            journal: Arc::clone(&self.journal) as Arc<dyn Journal>,
            clock: self.clock.clone(),
            owner: owner.to_owned(),
            wake: Arc::clone(wake),
        };
        let task = tokio::spawn(poll.run(stop.clone()));
        Running { stop, task }
    }

    pub async fn cursor(&self) -> Option<Value> {
        self.store.cursor(SOURCE).await.unwrap()
    }

    /// Waits until `count` events were published.
    pub async fn published(&self, count: usize) -> Vec<Arc<Event>> {
        until(&format!("{count} events"), async || self.broker.events().len() >= count).await;
        self.broker.events()
    }

    /// Waits until the journal holds `count` polls that fit.
    pub async fn polled(&self, count: usize, fits: impl Fn(&Polled) -> bool) -> Vec<Polled> {
        let fitting = || self.journal.0.lock().unwrap().iter().filter(|p| fits(p)).cloned().collect::<Vec<_>>();
        until(&format!("{count} polls in the journal"), async || fitting().len() >= count).await;
        fitting()
    }

    /// Waits until something is suspended; scope, name and reason.
    pub async fn suspended(&self) -> (Scope, String, String) {
        until("a suspension", async || !self.store.suspensions().await.unwrap().is_empty()).await;
        let first = self.store.suspensions().await.unwrap().remove(0);
        (first.scope, first.name, first.why)
    }
}

fn open(path: &Path, clock: &Clock) -> Arc<dyn Store> {
    Arc::new(SqliteStore::new(sqlite::open(path).unwrap(), clock.clone()))
}

/// Waits for a condition, at most ten seconds.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// What happens to one publish.
pub enum Trick {
    /// It fails, and nothing is kept.
    Fail,
    /// The events are kept, and the answer never comes.
    KeepAndHang,
    /// The events are kept once this is notified.
    Gate(Arc<Notify>),
    /// The events are kept, and meanwhile another takes the lease that has run out.
    KeepAndSteal(Arc<dyn Store>, Clock),
}

/// A broker that only takes.
#[derive(Default)]
pub struct Tape {
    events: Mutex<Vec<Arc<Event>>>,
    pub tricks: Mutex<VecDeque<Trick>>,
    pub entered: Notify,
}

impl Tape {
    pub fn events(&self) -> Vec<Arc<Event>> {
        self.events.lock().unwrap().clone()
    }

    pub fn play(&self, trick: Trick) {
        self.tricks.lock().unwrap().push_back(trick);
    }
}

#[async_trait]
impl Broker for Tape {
    async fn publish(&self, events: Vec<Arc<Event>>) -> dari::broker::Result<()> {
        let trick = if events.is_empty() { None } else { self.tricks.lock().unwrap().pop_front() };
        self.entered.notify_one();
        match &trick {
            Some(Trick::Fail) => return Err(BrokerError::Unavailable("no room".to_owned())),
            Some(Trick::Gate(open)) => open.notified().await,
            _ => {}
        }
        self.events.lock().unwrap().extend(events);
        match trick {
            Some(Trick::KeepAndHang) => std::future::pending().await,
            Some(Trick::KeepAndSteal(store, clock)) => {
                clock.advance(SignedDuration::from_mins(1));
                let taken = store.lease(&format!("poll/{SOURCE}"), "thief", 30_000, clock.now()).await.unwrap();
                assert!(taken.is_some(), "the lease has run out");
            }
            _ => {}
        }
        Ok(())
    }

    async fn declare(&self, _: Vec<Binding>) -> dari::broker::Result<()> {
        unimplemented!()
    }

    async fn publish_to(&self, _: &str, _: Arc<Event>) -> dari::broker::Result<()> {
        unimplemented!()
    }

    async fn consume(&self, _: &str, _: usize) -> dari::broker::Result<Box<dyn Consumer>> {
        unimplemented!()
    }

    async fn wait(&self, _: &str, _: &Message, _: u32, _: Timestamp) -> dari::broker::Result<()> {
        unimplemented!()
    }

    async fn ack(&self, _: &str, _: &Message) -> dari::broker::Result<()> {
        unimplemented!()
    }

    async fn depths(&self) -> dari::broker::Result<Vec<Depth>> {
        unimplemented!()
    }

    async fn rename(&self, _: &str, _: &str) -> dari::broker::Result<()> {
        unimplemented!()
    }

    async fn remove(&self, _: &str) -> dari::broker::Result<u64> {
        unimplemented!()
    }
}

/// A journal of polls.
#[derive(Default)]
pub struct Notes(Mutex<Vec<Polled>>);

#[async_trait]
impl Journal for Notes {
    fn record(&self, record: Record) {
        if let Record::Polled(polled) = record {
            self.0.lock().unwrap().push(polled);
        }
    }

    async fn received(&self, _: Vec<Arc<Event>>) -> store::Result<()> {
        unimplemented!()
    }

    async fn flush(&self) -> store::Result<()> {
        unimplemented!()
    }

    async fn events(&self, _: EventFilter) -> store::Result<Vec<Listed>> {
        unimplemented!()
    }

    async fn journey(&self, _: &str) -> store::Result<Vec<Entry>> {
        unimplemented!()
    }

    async fn refused(&self, _: Option<&str>, _: usize) -> store::Result<Vec<Refused>> {
        unimplemented!()
    }

    async fn polled(&self, _: &str, _: usize) -> store::Result<Vec<Polled>> {
        unimplemented!()
    }

    async fn forget(&self, _: Timestamp, _: Timestamp, _: usize) -> store::Result<usize> {
        unimplemented!()
    }

    fn store_bodies(&self, _: bool) {
        unimplemented!()
    }
}
