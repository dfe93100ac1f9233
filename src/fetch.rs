//! Reads the subject of a webhook's event anew at the vendor, before any route sees it (`fetch: true`).
//!
//! # One event
//! its source's inbox → the vendor, within the account's permits and month → published to the routes, under the id and
//! with the place in time that it was received with → ack. The inbox is a queue of the broker, so what waits in it is
//! durable. A crash anywhere reads an event anew once more; what is published twice has one id and collapses (promise P2).
//!
//! Events of one subject are read one after the other, in their order; as many subjects beside each other as the account
//! takes calls at once. While the vendor does not answer, its events stay where they are and others go on; what
//! suspends the source or its account stops all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError, Message, inbox};
use crate::clock::Clock;
use crate::connectors::{Fetch, Fetched, PollError};
use crate::deliver::halts::{Halts, next_probe};
use crate::deliver::patience;
use crate::event::{Collapse, Event, Malformed, NewEvent};
use crate::outcome::Scope;
use crate::poll::pace::Pace;
use crate::store::Suspension;
use crate::store::journal::{Entry, Journal, Record, Step};

/// How many events are held for each that is under way: enough to find other subjects behind a busy one.
const PREFETCH_FACTOR: usize = 8;
/// How often a suspended source looks whether it may go on, if nobody wakes it.
const LOOK: Duration = Duration::from_secs(1);
/// What the journal calls it.
const WHAT: &str = "fetch";

/// Works off one source's inbox until it is told to stop.
pub struct FetchLoop {
    /// The source's name.
    pub source: String,
    /// The account it belongs to: what is suspended when credentials are refused.
    pub account: Option<String>,
    /// Reads anew; `None`: the source does not any more, and what is left in its inbox goes on as it came.
    pub fetch: Option<Arc<dyn Fetch>>,
    /// How many subjects are read at once.
    pub at_once: usize,
    /// Has the inbox, and takes what was read.
    pub broker: Arc<dyn Broker>,
    /// Is told what was read, and why not.
    pub journal: Arc<dyn Journal>,
    /// What is stopped: the source or its account may be.
    pub halts: Arc<Halts>,
    /// Tells the time.
    pub clock: Clock,
}

/// Why a turn ended.
enum End {
    Stopped,
    Halted,
}

/// Why an event did not go on.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Vendor(#[from] PollError),
    #[error("what was read anew cannot be an event: {0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Broker(#[from] BrokerError),
}

/// What may be done at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// As much as there is.
    All,
    /// One event, which tells whether what is suspended works again.
    Probe,
}

impl FetchLoop {
    /// The same for another source.
    #[must_use]
    pub fn named(&self, source: &str) -> Self {
        Self {
            source: source.to_owned(),
            account: self.account.clone(),
            fetch: self.fetch.clone(),
            at_once: self.at_once,
            broker: Arc::clone(&self.broker),
            journal: Arc::clone(&self.journal),
            halts: Arc::clone(&self.halts),
            clock: self.clock.clone(),
        }
    }

    /// Reads anew until `stop` is cancelled. What is under way then is dropped, and comes again.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut pauses = patience();
        loop {
            let leave = tokio::select! {
                () = stop.cancelled() => return,
                leave = this.leave() => leave,
            };
            match this.turn(leave, &stop).await {
                Ok(End::Stopped) => return,
                Ok(End::Halted) => pauses = patience(),
                Err(error) => {
                    let pause = pauses.next().unwrap_or(LOOK);
                    tracing::error!(source = %this.source, %error, ?pause, "the inbox cannot be read");
                    if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// What must not be stopped for this source's events to be read anew.
    fn scopes(&self) -> Vec<(Scope, &str)> {
        let account = self.account.iter().map(|account| (Scope::Account, account.as_str()));
        account.chain([(Scope::Source, self.source.as_str())]).collect()
    }

    /// Waits until something may be read.
    async fn leave(&self) -> Leave {
        let scopes = self.scopes();
        loop {
            let stopped: Vec<_> = scopes.iter().filter_map(|scope| self.halts.any(&[*scope])).collect();
            match &stopped[..] {
                [] => return Leave::All,
                [one] if self.is_due(one) && self.has_events().await && self.claims(one).await => return Leave::Probe,
                _ => {}
            }
            tokio::select! {
                () = self.halts.clear(&scopes) => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn claims(&self, stopped: &Suspension) -> bool {
        self.halts.claim_probe(stopped.scope, &stopped.name).await
    }

    fn is_due(&self, stopped: &Suspension) -> bool {
        stopped.probe.is_some_and(|at| at <= self.clock.now())
    }

    async fn has_events(&self) -> bool {
        let name = inbox(&self.source);
        let depths = self.broker.depths().await.unwrap_or_default();
        depths.iter().any(|depth| depth.queue == name && depth.messages > 0)
    }

    async fn turn(self: &Arc<Self>, leave: Leave, stop: &CancellationToken) -> Result<End, BrokerError> {
        let (name, scopes) = (inbox(&self.source), self.scopes());
        let at_once = if leave == Leave::Probe { 1 } else { self.at_once.max(1) };
        let prefetch = if leave == Leave::Probe { 1 } else { at_once * PREFETCH_FACTOR };
        let mut consumer = self.broker.consume(&name, prefetch).await?;
        let (mut lanes, mut tasks) = (Lanes::default(), JoinSet::new());
        loop {
            while let Some((lane, event)) = lanes.start(at_once) {
                let this = Arc::clone(self);
                tasks.spawn(async move { (lane, this.forward(&event, leave).await) });
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(End::Stopped),
                () = self.halts.halted(&scopes), if leave == Leave::All => return Ok(End::Halted),
                Some(ended) = tasks.join_next() => {
                    // Nobody aborts it while this set lives; a panic is the connector's, and its event comes again.
                    let Ok((lane, went)) = ended else { return Err(BrokerError::Unavailable("a part panicked".into())) };
                    if leave == Leave::Probe {
                        self.probed(went).await;
                    }
                    if let Some(message) = lanes.ended(&lane, went) {
                        self.broker.ack(&name, &message).await?;
                    }
                    if leave == Leave::Probe {
                        return Ok(End::Halted);
                    }
                }
                received = consumer.next(), if lanes.held < prefetch => match received? {
                    Some(message) => lanes.put(message),
                    None => return Ok(End::Stopped),
                },
            }
        }
    }

    /// A probe ended.
    async fn probed(&self, good: bool) {
        for (scope, name) in self.scopes() {
            if self.halts.is_probed(scope, name) {
                self.halts.probed(scope, name, good).await;
            }
        }
    }

    /// Reads one event's subject anew and publishes it, until that succeeds; false if a suspension stands against it.
    async fn forward(&self, event: &Arc<Event>, leave: Leave) -> bool {
        let mut pace = Pace::new(Duration::from_secs(1));
        let mut attempt = 1;
        loop {
            let trouble = match self.once(event).await {
                Ok(()) => return true,
                Err(trouble) => trouble,
            };
            let why = trouble.to_string();
            let Some(least) = self.failed(trouble).await else {
                self.tell(event, asked(why, Duration::ZERO));
                return false;
            };
            if leave == Leave::Probe {
                return false;
            }
            let pause = pace.back_off(least);
            attempt += 1;
            let until =
                jiff::SignedDuration::try_from(pause).ok().and_then(|pause| self.clock.now().checked_add(pause).ok());
            tracing::warn!(source = %self.source, event.id = %event.id, ?pause, "it cannot be read anew yet: {why}");
            self.tell(event, Step::Waiting { attempt, until: until.unwrap_or(Timestamp::MAX), why });
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self, event: &Arc<Event>) -> Result<(), Trouble> {
        let started = Instant::now();
        let read = match &self.fetch {
            Some(fetch) => fetch.fetch(event).await?,
            None => Fetched::Gone("its source reads nothing anew any more".to_owned()),
        };
        let (forwarded, message) = match read {
            Fetched::Event(new) => (self.read_anew(event, *new)?, "its subject was read anew".to_owned()),
            Fetched::Gone(why) => {
                let as_it_came = Event { source: self.source.clone(), unfetched: false, ..Event::clone(event) };
                (as_it_came, format!("{why}: it goes on as it came"))
            }
        };
        self.broker.publish(vec![Arc::new(forwarded)]).await?;
        tracing::info!(source = %self.source, event.id = %event.id, "{message}");
        self.tell(event, asked(message, started.elapsed()));
        Ok(())
    }

    /// What was read, with the id and the place in time of what came.
    fn read_anew(&self, event: &Event, new: NewEvent) -> Result<Event, Malformed> {
        let time = new.time.or(Some(event.time));
        let headers = if new.headers.is_empty() { event.headers.clone() } else { new.headers };
        let stamped = NewEvent { time, headers, ..new }.stamp(&self.source, &self.clock)?;
        // Two changes that are read after both have happened have equal bodies: only the id tells them apart. What a
        // stranger sends again under another id is no more than a hint.
        let collapse = if event.collapse == Collapse::BodyForADay { event.collapse } else { Collapse::Id };
        let (id, received) = (event.id.clone(), event.received);
        Ok(Event { id, received, collapse, generation: event.generation, forced: event.forced, ..stamped })
    }

    /// Suspends what has to be: `None`. Else after how long at the least it may be tried again.
    async fn failed(&self, trouble: Trouble) -> Option<Option<Duration>> {
        let why = trouble.to_string();
        let source = (Scope::Source, &self.source);
        let account = self.account.as_ref().map(|account| (Scope::Account, account));
        let now = self.clock.now();
        let ((scope, name), until, probe) = match trouble {
            Trouble::Broker(_) => return Some(None),
            Trouble::Vendor(PollError::Retry { after, account: whole, .. }) => match (after, account) {
                // Who else calls the account waits too.
                (Some(after), Some(account)) if whole => {
                    let until = now.saturating_add(after).unwrap_or(Timestamp::MAX);
                    (account, Some(until), None)
                }
                _ => return Some(after),
            },
            Trouble::Vendor(PollError::Suspend { .. }) => (account.unwrap_or(source), None, Some(next_probe(now, now))),
            Trouble::Vendor(PollError::Stop { .. }) | Trouble::Malformed(_) => (source, None, None),
        };
        let halt = Suspension { scope, name: name.clone(), why, since: now, until, probe };
        if let Err(error) = self.halts.suspend(halt).await {
            tracing::warn!(source = %self.source, %error, "it stands still, but only until this process ends");
        }
        None
    }

    fn tell(&self, event: &Event, step: Step) {
        // Under the name that the event goes on with.
        let key = format!("{}/{}", self.source, event.id);
        self.journal.record(Record::Entry(Entry { at: self.clock.now(), event: key, route: None, step }));
    }
}

/// What the journal is told.
fn asked(message: String, took: Duration) -> Step {
    Step::Asked {
        what: WHAT.to_owned(),
        call: Value::Null,
        status: None,
        message,
        cached: false,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

/// What is held, by subject: one event of each is under way at a time.
#[derive(Default)]
struct Lanes {
    waiting: HashMap<String, VecDeque<Message>>,
    /// Subjects that have an event and none under way, in the order of coming.
    ready: VecDeque<String>,
    busy: usize,
    held: usize,
}

impl Lanes {
    fn put(&mut self, message: Message) {
        let lane = self.waiting.entry(message.event.subject_key()).or_default();
        // It has come again because its connection was lost: only its newest tag can be acked.
        if let Some(known) = lane.iter_mut().find(|known| known.event.received == message.event.received) {
            *known = message;
            return;
        }
        if lane.is_empty() {
            self.ready.push_back(message.event.subject_key());
        }
        lane.push_back(message);
        self.held += 1;
    }

    /// The next event to read anew, with its lane.
    fn start(&mut self, at_once: usize) -> Option<(String, Arc<Event>)> {
        if self.busy >= at_once {
            return None;
        }
        let lane = self.ready.pop_front()?;
        let event = Arc::clone(&self.waiting.get(&lane)?.front()?.event);
        self.busy += 1;
        Some((lane, event))
    }

    /// An event went on, or did not: the message to ack. What did not stays in its place, and its subject with it.
    fn ended(&mut self, lane: &str, went: bool) -> Option<Message> {
        self.busy -= 1;
        let messages = self.waiting.get_mut(lane).filter(|_| went)?;
        let message = messages.pop_front();
        self.held -= usize::from(message.is_some());
        if messages.is_empty() {
            self.waiting.remove(lane);
        } else {
            self.ready.push_back(lane.to_owned());
        }
        message
    }
}
