//! Operators are told once of what needs them, and when it is over (promise P5): in the log, and through the sink that
//! the config names under `alerts`.
//!
//! # How
//! Every few seconds all that is not as it should be is gathered (`conditions`) and compared with what was told (`book`),
//! which the store keeps: a restart tells nothing twice. What is news is sent through the sink's account like any other
//! call, but around the routes and their queues, and again with growing pauses until it succeeds. Where nobody knows
//! whether a message was heard it is sent again: told twice is better than not told. What concerns the sink or the
//! account of the alerts themselves goes to the log alone.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::{Destination, Services, direct};
use crate::connectors::notice::Notice;
use crate::outcome::{Outcome, Scope};
use crate::store::{StoreError, Suspension};

mod book;
mod conditions;

use book::Book;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(2);
/// How long one process is the one that tells, without saying so again.
const LEASE_MS: u64 = 30_000;
/// Under which name the store keeps the book.
const FACT: &str = "alerts";
/// The pauses between tries.
const FIRST: SignedDuration = SignedDuration::from_secs(5);
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
/// How long what is being told at a stop may take: cut off, it would be told again.
const LAST: Duration = Duration::from_secs(3);
/// How long a try may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Tells operators.
pub struct Alerts {
    /// What workers share.
    pub services: Arc<Services>,
    /// The sink that operators are told through; `None`: the log alone.
    pub to: Option<Arc<Destination>>,
    /// All sinks, for their breakers.
    pub sinks: Vec<Arc<Destination>>,
    /// All accounts, for their quotas.
    pub gates: Vec<Arc<Gate>>,
    /// The process: one of those that share the store tells.
    pub owner: String,
}

/// What only time tells.
#[derive(Default)]
struct Watched {
    broker_away: Option<Timestamp>,
    spool_refusing: Option<Timestamp>,
}

/// How the sending goes.
#[derive(Default)]
struct Pace {
    /// Not before this time.
    next: Option<Timestamp>,
    failures: u32,
}

impl Pace {
    /// Nothing was told: false.
    fn failed(&mut self, now: Timestamp, after: Option<Duration>, why: &str) -> bool {
        let wait = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        let wait = wait.max(after.and_then(|after| SignedDuration::try_from(after).ok()).unwrap_or_default());
        self.failures += 1;
        self.next = now.saturating_add(wait).ok();
        tracing::warn!("operators could not be told of something, which is tried again: {why}");
        false
    }
}

impl Alerts {
    /// Tells until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.watch(&stop) => {}
            () = async { stop.cancelled().await; tokio::time::sleep(LAST).await } => {}
        }
    }

    async fn watch(&self, stop: &CancellationToken) {
        let (mut book, mut watched, mut pace) = (None, Watched::default(), Pace::default());
        loop {
            if let Err(error) = self.turn(&mut book, &mut watched, &mut pace).await {
                // What others wrote meanwhile is read again.
                book = None;
                tracing::debug!(%error, "operators cannot be told of anything now");
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    async fn turn(&self, known: &mut Option<Book>, watched: &mut Watched, pace: &mut Pace) -> Result<(), StoreError> {
        let store = &self.services.store;
        if store.lease(FACT, &self.owner, LEASE_MS, self.services.clock.now()).await?.is_none() {
            *known = None;
            return Ok(());
        }
        let mut book = match known.take() {
            Some(book) => book,
            None => self.read().await?,
        };
        let now = self.conditions(&book, watched).await?;
        if book.update(&now, self.services.clock.now()) {
            self.keep(&book).await?;
        }
        while let Some((notice, log_only)) = book.next(self.services.clock.now()) {
            if !self.tell(&notice, log_only, pace).await {
                break;
            }
            book.told(&notice);
            self.keep(&book).await?;
        }
        *known = Some(book);
        Ok(())
    }

    async fn read(&self) -> Result<Book, StoreError> {
        let kept = self.services.store.fact(FACT).await?;
        // Of another version: better told again than never.
        Ok(kept.and_then(|kept| serde_json::from_value(kept).ok()).unwrap_or_default())
    }

    async fn keep(&self, book: &Book) -> Result<(), StoreError> {
        self.services.store.set_fact(FACT, serde_json::to_value(book).unwrap_or_default()).await
    }

    /// True if it was told, or can never be.
    async fn tell(&self, notice: &Notice, log_only: bool, pace: &mut Pace) -> bool {
        let (about, text) = (&notice.about, &notice.text);
        let Some(to) = self.to.as_ref().filter(|_| !log_only) else {
            log(notice);
            return true;
        };
        let now = self.services.clock.now();
        let scopes = [(Scope::Sink, to.name.as_str()), (Scope::Account, &to.gate.account)];
        if pace.next.is_some_and(|next| next > now) || self.services.halts.any(&scopes).is_some() {
            return false;
        }
        let outcome = match notice.call(to.kind, &*to.sink, now) {
            Ok(call) => tokio::time::timeout(PATIENCE, direct::call(&self.services, to, &call)).await,
            Err(why) => Ok(Outcome::reject(why)),
        };
        match outcome.unwrap_or_else(|_| Outcome::retry("it takes too long")) {
            Outcome::Delivered { .. } => {
                log(notice);
                *pace = Pace::default();
                true
            }
            Outcome::Reject { why } => {
                tracing::error!(%about, sink = %to.name, "operators cannot be told, for the sink refuses it ({why}): {text}");
                true
            }
            Outcome::Retry { after, account, why } => {
                if account {
                    let until = after.and_then(|after| now.saturating_add(after).ok());
                    let until = until.unwrap_or_else(|| now.saturating_add(FIRST).unwrap_or(now));
                    self.suspend(Scope::Account, to, format!("asked to slow down: {why}"), Some(until)).await;
                }
                pace.failed(now, after, &why)
            }
            Outcome::Suspend { what, why, until } => {
                self.suspend(what, to, why.clone(), until).await;
                pace.failed(now, None, &why)
            }
            Outcome::Refused { why } | Outcome::Unknown { why } => pace.failed(now, None, &why),
        }
    }

    async fn suspend(&self, what: Scope, to: &Destination, why: String, until: Option<Timestamp>) {
        let (scope, name) = match what {
            Scope::Account => (what, to.gate.account.clone()),
            Scope::Sink | Scope::Route | Scope::Source => (Scope::Sink, to.name.clone()),
        };
        let since = self.services.clock.now();
        let probed = scope == Scope::Account && until.is_none() && to.sink.probe().is_some();
        let probe = probed.then(|| super::halts::next_probe(since, since));
        if let Err(error) = self.services.halts.suspend(Suspension { scope, name, why, since, until, probe }).await {
            tracing::error!(%error, "a suspension could not be stored");
        }
    }
}

fn log(notice: &Notice) {
    let Notice { about, text, over, .. } = notice;
    if *over {
        tracing::info!(%about, "{text}");
    } else {
        tracing::warn!(%about, "{text}");
    }
}
