//! What a loop runs on in a test: a real store and journal, and a real broker that tricks are played on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dari::broker::embedded::{Embedded, EmbeddedBroker};
use dari::broker::{self, Binding, Broker, BrokerError, Consumer, Depth, Message};
use dari::clock::Clock;
use dari::connectors::Poller;
use dari::deliver::halts::Halts;
use dari::event::Event;
use dari::outcome::Scope;
use dari::poll::PollLoop;
use dari::store::Store;
use dari::store::journal::{Journal, Polled};
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
    journal: Arc<dyn Journal>,
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
    pub async fn new(clock: &Clock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let Embedded { store, broker, journal } = Embedded::open(&dir.path().join("dari.db"), clock.clone()).unwrap();
        let store: Arc<dyn Store> = store;
        Self {
            clock: clock.clone(),
            halts: Arc::new(Halts::new(Arc::clone(&store), clock.clone(), Vec::new())),
            store,
            broker: Arc::new(Tape::over(broker).await),
            journal,
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
            journal: Arc::clone(&self.journal),
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
        until(&format!("{count} events"), async || self.broker.events().await.len() >= count).await;
        self.broker.events().await
    }

    /// Waits until the journal holds `count` polls that fit.
    pub async fn polled(&self, count: usize, fits: impl Fn(&Polled) -> bool) -> Vec<Polled> {
        let fitting = async || {
            self.journal.flush().await.unwrap();
            let polls = self.journal.polled(SOURCE, 10_000).await.unwrap();
            polls.into_iter().rev().filter(|polled| fits(polled)).collect::<Vec<_>>()
        };
        until(&format!("{count} polls in the journal"), async || fitting().await.len() >= count).await;
        fitting().await
    }

    /// Waits until something is suspended; scope, name and reason.
    pub async fn suspended(&self) -> (Scope, String, String) {
        until("a suspension", async || !self.store.suspensions().await.unwrap().is_empty()).await;
        let first = self.store.suspensions().await.unwrap().remove(0);
        (first.scope, first.name, first.why)
    }
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

/// A queue that takes all events, and that nobody consumes.
const QUEUE: &str = "tape";

/// A broker that fails where a trick says so.
pub struct Tape {
    kept: Arc<EmbeddedBroker>,
    tricks: Mutex<VecDeque<Trick>>,
    pub entered: Notify,
}

impl Tape {
    async fn over(kept: Arc<EmbeddedBroker>) -> Self {
        kept.declare(vec![Binding { queue: QUEUE.to_owned(), sources: None, types: None }]).await.unwrap();
        Self { kept, tricks: Mutex::default(), entered: Notify::new() }
    }

    /// All that was published, in that order.
    pub async fn events(&self) -> Vec<Arc<Event>> {
        let stored = self.kept.first(QUEUE, usize::MAX).await.unwrap();
        stored.into_iter().map(|message| message.event.unwrap()).collect()
    }

    pub fn play(&self, trick: Trick) {
        self.tricks.lock().unwrap().push_back(trick);
    }
}

#[async_trait]
impl Broker for Tape {
    async fn publish(&self, events: Vec<Arc<Event>>) -> broker::Result<()> {
        let trick = if events.is_empty() { None } else { self.tricks.lock().unwrap().pop_front() };
        self.entered.notify_one();
        match &trick {
            Some(Trick::Fail) => return Err(BrokerError::Unavailable("no room".to_owned())),
            Some(Trick::Gate(open)) => open.notified().await,
            _ => {}
        }
        self.kept.publish(events).await?;
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

    async fn declare(&self, bindings: Vec<Binding>) -> broker::Result<()> {
        self.kept.declare(bindings).await
    }

    async fn publish_to(&self, queue: &str, event: Arc<Event>) -> broker::Result<()> {
        self.kept.publish_to(queue, event).await
    }

    async fn consume(&self, queue: &str, prefetch: usize) -> broker::Result<Box<dyn Consumer>> {
        self.kept.consume(queue, prefetch).await
    }

    async fn wait(&self, queue: &str, message: &Message, attempt: u32, due: Timestamp) -> broker::Result<()> {
        self.kept.wait(queue, message, attempt, due).await
    }

    async fn ack(&self, queue: &str, message: &Message) -> broker::Result<()> {
        self.kept.ack(queue, message).await
    }

    async fn depths(&self) -> broker::Result<Vec<Depth>> {
        self.kept.depths().await
    }

    async fn rename(&self, from: &str, to: &str) -> broker::Result<()> {
        self.kept.rename(from, to).await
    }

    async fn remove(&self, queue: &str) -> broker::Result<u64> {
        self.kept.remove(queue).await
    }
}
