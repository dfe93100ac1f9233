//! The polling loop of one source (promise P9).
//!
//! # One turn
//! lease → suspended? → cursor → poll → publish every event of the page → commit the cursor under the lease's fence →
//! journal. A crash anywhere repeats a page; its events have the ids of the first time and collapse under P2. The lease
//! is kept between turns, so that one replica polls a source and the others stand by. A page that would delete too much is
//! not published: a person is asked first ([`guard`]).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError};
use crate::clock::Clock;
use crate::connectors::{Change, Page, PollError, Poller};
use crate::deliver::halts::{Halts, next_probe};
use crate::event::{Event, Malformed};
use crate::outcome::Scope;
use crate::store::journal::{Journal, Polled, Record};
use crate::store::{Fence, Store, StoreError, Suspension};

pub mod guard;
mod memory;
pub mod meter;
pub(crate) mod pace;

use guard::Verdict;
pub use memory::StoredMemory;
use pace::Pace;

/// How long a lease lasts without being renewed: after a crash another replica takes over within this time.
const LEASE: Duration = Duration::from_secs(30);
/// How often a lease is renewed, and asked for by those who stand by.
const RENEW: Duration = Duration::from_secs(10);
/// How often a suspended source looks whether it may go on, if nobody wakes it.
const LOOK: Duration = Duration::from_secs(1);
/// How many events are handed to the broker at once.
const CHUNK: usize = 500;

/// Polls one source until it is told to stop.
pub struct PollLoop {
    /// The source's name.
    pub source: String,
    /// The account it belongs to: what is suspended when credentials are refused.
    pub account: Option<String>,
    /// Asks for news.
    pub poller: Arc<dyn Poller>,
    /// Holds lease and cursor.
    pub store: Arc<dyn Store>,
    /// Takes the events.
    pub broker: Arc<dyn Broker>,
    /// Is told of every poll.
    pub journal: Arc<dyn Journal>,
    /// What is stopped: the source or its account may be.
    pub halts: Arc<Halts>,
    /// Tells the time and stamps the events.
    pub clock: Clock,
    /// Who polls: unique among the replicas and their restarts.
    pub owner: String,
    /// Notified: poll now.
    pub wake: Arc<Notify>,
}

/// What comes after a turn.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Another turn at once: the poller has more.
    Now,
    /// Another turn at the source's own pace.
    Wait,
    /// Another turn later than usual, at least after `Some`.
    BackOff(Option<Duration>),
    /// Another replica has the lease.
    StandBy,
    /// A person has to resume the source or its account, or its pause has to end.
    Suspended,
}

/// Why a page did not become durable. The cursor is where it was.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Poll(#[from] PollError),
    #[error("{0}")]
    Broker(#[from] BrokerError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the poll brought what cannot be an event: {0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    TooManyDeleted(String),
    #[error("another replica took the lease during the poll")]
    LeaseLost,
    #[error("stopped")]
    Stopped,
}

impl PollLoop {
    /// Polls until `stop` is cancelled, and then gives the lease back. A poll under way is dropped; a page that is being
    /// published is finished and its cursor committed.
    pub async fn run(self, stop: CancellationToken) {
        let mut pace = Pace::new(self.poller.every());
        let mut fence = None;
        while !stop.is_cancelled() {
            let next = self.turn(&mut fence, &stop).await;
            let pause = match next {
                Next::Now => {
                    pace.recovered();
                    continue;
                }
                Next::Wait => {
                    pace.recovered();
                    self.poller.every()
                }
                Next::BackOff(least) => pace.back_off(least),
                Next::StandBy => RENEW,
                Next::Suspended => LOOK,
            };
            self.pause(pause, &mut fence, &stop).await;
        }
        if let Some(fence) = fence
            && let Err(error) = self.store.release(fence).await
        {
            tracing::warn!(source = %self.source, %error, "the lease was not given back and runs out by itself");
        }
    }

    async fn turn(&self, fence: &mut Option<Fence>, stop: &CancellationToken) -> Next {
        match self.ready(fence).await {
            Ok(None) => {}
            Ok(Some(next)) => return next,
            Err(error) => {
                tracing::warn!(source = %self.source, %error, "the store fails, no poll");
                return Next::BackOff(None);
            }
        }
        let Some(held) = fence.clone() else { return Next::StandBy };
        let started = Instant::now();
        let read = self.read_and_publish(&held, stop).await;
        self.probed(read.is_ok()).await;
        match read {
            Ok((events, page)) => {
                self.tell(events, page.note, false, started);
                if page.more { Next::Now } else { Next::Wait }
            }
            Err(Trouble::Stopped) => Next::Wait,
            Err(trouble) => self.failed(trouble, fence, started).await,
        }
    }

    /// Takes or renews the lease and looks for suspensions: `None` if a poll may be made.
    async fn ready(&self, fence: &mut Option<Fence>) -> Result<Option<Next>, StoreError> {
        *fence = self.lease().await?;
        if fence.is_none() {
            return Ok(Some(Next::StandBy));
        }
        let stopped: Vec<_> = self.scopes().iter().filter_map(|scope| self.halts.any(&[*scope])).collect();
        let may = match &stopped[..] {
            [] => true,
            // A poll is harmless: it tells whether what is suspended works again.
            [one] => self.halts.claim_probe(one.scope, &one.name).await,
            _ => false,
        };
        Ok((!may).then_some(Next::Suspended))
    }

    /// If the poll was a probe: it ended.
    async fn probed(&self, good: bool) {
        for (scope, name) in self.scopes() {
            if self.halts.is_probed(scope, name) {
                self.halts.probed(scope, name, good).await;
            }
        }
    }

    /// What must not be stopped for this source to be polled.
    fn scopes(&self) -> Vec<(Scope, &str)> {
        let account = self.account.iter().map(|account| (Scope::Account, account.as_str()));
        account.chain([(Scope::Source, self.source.as_str())]).collect()
    }

    async fn lease(&self) -> Result<Option<Fence>, StoreError> {
        let ttl_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        self.store.lease(&format!("poll/{}", self.source), &self.owner, ttl_ms, self.clock.now()).await
    }

    async fn read_and_publish(&self, fence: &Fence, stop: &CancellationToken) -> Result<(u64, Page), Trouble> {
        let cursor = self.store.cursor(&self.source).await?;
        let memory = StoredMemory { store: Arc::clone(&self.store), source: self.source.clone() };
        let page = tokio::select! {
            () = stop.cancelled() => return Err(Trouble::Stopped),
            page = self.renewing(fence, self.poller.poll(cursor.as_ref(), &memory)) => page??,
        };
        if let Verdict::Ask(why) = guard::look(&*self.store, &self.source, cursor.as_ref(), &page).await? {
            return Err(Trouble::TooManyDeleted(why));
        }
        let Page { events, cursor: next, more, changes, note, .. } = page;
        let events = events
            .into_iter()
            .map(|new| new.stamp(&self.source, &self.clock).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let count = events.len() as u64;
        self.renewing(fence, self.publish(&events)).await??;
        self.commit(fence, cursor, &next, changes).await?;
        Ok((count, Page { cursor: next, more, note, ..Page::default() }))
    }

    async fn publish(&self, events: &[Arc<Event>]) -> Result<(), BrokerError> {
        for chunk in events.chunks(CHUNK) {
            self.broker.publish(chunk.to_vec()).await?;
        }
        Ok(())
    }

    async fn commit(
        &self,
        fence: &Fence,
        before: Option<Value>,
        next: &Value,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        if before.as_ref() == Some(next) && changes.is_empty() {
            return Ok(());
        }
        self.store.commit_cursor(&self.source, fence, next.clone(), changes).await
    }

    /// Awaits `work` while the lease is kept alive.
    async fn renewing<T>(&self, fence: &Fence, work: impl Future<Output = T>) -> Result<T, Trouble> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(RENEW) => match self.lease().await {
                    // A store that fails for a moment is no loss: the commit is fenced.
                    Ok(Some(renewed)) if renewed == *fence => {}
                    Err(_) => {}
                    Ok(_) => return Err(Trouble::LeaseLost),
                },
            }
        }
    }

    async fn failed(&self, trouble: Trouble, fence: &mut Option<Fence>, started: Instant) -> Next {
        let why = trouble.to_string();
        let next = match trouble {
            Trouble::LeaseLost | Trouble::Store(StoreError::Fenced(_)) => {
                *fence = None;
                Next::StandBy
            }
            Trouble::Poll(PollError::Retry { after, account, .. }) => match (after, &self.account) {
                // Who else calls the account waits too, until a person says that it need not.
                (Some(after), Some(name)) if account => {
                    let until = self.clock.now().saturating_add(after).unwrap_or(Timestamp::MAX);
                    self.suspend(Scope::Account, name, &why, Some(until), None).await
                }
                _ => Next::BackOff(after),
            },
            Trouble::Poll(PollError::Suspend { .. }) => {
                let now = self.clock.now();
                let account = self.account.as_ref().map(|account| (Scope::Account, account));
                let (scope, name) = account.unwrap_or((Scope::Source, &self.source));
                self.suspend(scope, name, &why, None, Some(next_probe(now, now))).await
            }
            Trouble::Poll(PollError::Stop { .. }) | Trouble::Malformed(_) | Trouble::TooManyDeleted(_) => {
                self.suspend(Scope::Source, &self.source, &why, None, None).await
            }
            Trouble::Broker(_) | Trouble::Store(_) | Trouble::Stopped => Next::BackOff(None),
        };
        self.tell(0, Some(why), true, started);
        next
    }

    async fn suspend(
        &self,
        scope: Scope,
        name: &str,
        why: &str,
        until: Option<Timestamp>,
        probe: Option<Timestamp>,
    ) -> Next {
        let (name_of, why, since) = (name.to_owned(), why.to_owned(), self.clock.now());
        let suspension = Suspension { scope, name: name_of, why, since, until, probe };
        match self.halts.suspend(suspension).await {
            Ok(_) => Next::Suspended,
            Err(error) => {
                tracing::warn!(source = %self.source, %error, "the {} {name} could not be suspended", scope.name());
                Next::BackOff(None)
            }
        }
    }

    fn tell(&self, events: u64, note: Option<String>, failed: bool, started: Instant) {
        let note_text = note.as_deref().unwrap_or_default();
        match (failed, events, &note) {
            (true, ..) => tracing::warn!(source = %self.source, "the poll failed: {note_text}"),
            (false, 0, None) => tracing::debug!(source = %self.source, "polled, no news"),
            (false, _, None) => tracing::info!(source = %self.source, events, "polled"),
            (false, _, Some(_)) => tracing::info!(source = %self.source, events, "polled: {note_text}"),
        }
        self.journal.record(Record::Polled(Polled {
            at: self.clock.now(),
            source: self.source.clone(),
            events,
            note,
            failed,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }));
    }

    /// Waits for `length`, a wake-up or the stop, keeping the lease if it is held.
    async fn pause(&self, length: Duration, fence: &mut Option<Fence>, stop: &CancellationToken) {
        let end = tokio::time::sleep(length);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => return,
                () = &mut end => return,
                () = tokio::time::sleep(RENEW), if fence.is_some() => {
                    if let Ok(renewed) = self.lease().await {
                        *fence = renewed;
                    }
                }
            }
        }
    }
}
