//! Again: dead letters, the journal's past and a source's own, with the config of now.
//!
//! # One job at a time
//! A replay is a job that the store remembers: what was asked for, its generation, how far it is. Each step takes a page,
//! publishes it, and then writes the place. Whoever drives it may stop or crash at any time, and [`Operator::step`] goes
//! on where it stopped: what a crash makes it publish twice has the same generation, so the ledger collapses it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::views::Replayed;
use super::{Operator, OperatorError, Result};
use crate::event::Event;
use crate::outcome::Scope;

mod judge;
mod pages;

use pages::Position;

/// How many events a step takes at the most.
const PAGE: usize = 200;
/// Under which name the store keeps the job.
const FACT: &str = "replay";

/// What to replay.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command")]
pub struct ReplayRequest {
    /// The events with this id.
    #[serde(default)]
    pub event: Option<String>,
    /// The events of this source.
    #[serde(default)]
    pub source: Option<String>,
    /// Read the source's events from the source itself rather than from the journal.
    #[serde(default)]
    pub past: bool,
    /// The dead letter with this number.
    #[serde(default)]
    pub dead: Option<i64>,
    /// All dead letters that are not held.
    #[serde(default)]
    pub all_dead: bool,
    /// On this route only.
    #[serde(default)]
    pub route: Option<String>,
    /// Dead letters: onto this route instead of their own.
    #[serde(default)]
    pub to: Option<String>,
    /// Received at or after; of a source's own past what happened since.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Apply what is older than what was applied, too.
    #[serde(default)]
    pub force: bool,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

impl ReplayRequest {
    /// What it is a replay of.
    fn in_words(&self) -> String {
        let mut words = match (&self.event, &self.source, self.dead) {
            (Some(event), ..) => format!("event {event}"),
            (_, Some(source), _) if self.past => format!("the past of source {source}"),
            (_, Some(source), _) => format!("the events of source {source}"),
            (.., Some(id)) => format!("dead letter {id}"),
            _ => "all dead letters".to_owned(),
        };
        for (what, name) in [(" of route ", &self.route), (" onto route ", &self.to)] {
            if let Some(name) = name {
                words.push_str(what);
                words.push_str(name);
            }
        }
        words
    }
}

/// What a replay has done so far, or would do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Events found.
    pub events: u64,
    /// Events whose body the journal no longer has.
    pub without_body: u64,
    /// Dead letters whose route the config no longer has.
    pub without_route: u64,
    /// Deliveries by route.
    pub routes: BTreeMap<String, u64>,
    /// Deliveries that would do something; only counted, for it may be otherwise when their turn comes.
    pub changes: u64,
}

impl Tally {
    /// All deliveries.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.routes.values().sum()
    }
}

/// A replay that is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What was asked for.
    pub request: ReplayRequest,
    /// The generation of all that it sends.
    pub generation: u32,
    /// When it was begun: what comes later is not part of it.
    pub began: Timestamp,
    /// What it has sent.
    pub done: Tally,
    /// True if nothing is left.
    pub finished: bool,
    at: Position,
}

impl Operator {
    /// Sends events again through the routes of now, all of them before it returns. A replay is a new generation: the
    /// ledger does not take it for a repetition, but a state event that is older than what was applied stays `stale`
    /// unless it is forced. With `dry_run` it only counts.
    ///
    /// # Errors
    /// The request makes no sense; there is nothing like that; another replay is unfinished; store, journal or broker.
    pub async fn replay(&self, request: ReplayRequest) -> Result<Replayed> {
        if request.dry_run {
            return self.count(request).await;
        }
        let mut job = self.start_replay(request).await?;
        while !job.finished {
            job = self.step(PAGE).await?;
        }
        let Job { request, done, .. } = job;
        is_something(&request, &done)?;
        self.report(done, false).await
    }

    async fn count(&self, request: ReplayRequest) -> Result<Replayed> {
        let mut at = self.first(&request).await?;
        let (began, mut tally) = (self.clock.now(), Tally::default());
        while at != Position::End {
            let page = self.page(&request, began, &at, PAGE).await?;
            for parcel in &page.parcels {
                if self.would_change(&request, &parcel.route, &parcel.event).await? {
                    tally.changes += 1;
                }
            }
            page.add_to(&mut tally);
            at = page.next;
        }
        is_something(&request, &tally)?;
        self.report(tally, true).await
    }

    /// Begins a replay; [`Operator::step`] takes it further.
    ///
    /// # Errors
    /// The request makes no sense, another replay is unfinished, or the store.
    pub async fn start_replay(&self, request: ReplayRequest) -> Result<Job> {
        let _alone = self.replaying.lock().await;
        if self.unfinished_replay().await?.is_some() {
            let why = "another replay is unfinished: `dari replay --resume` goes on with it, `--forget` gives it up";
            return Err(OperatorError::Refused(why.to_owned()));
        }
        let at = self.first(&request).await?;
        let generation = self.store.next_generation().await?;
        let (began, done) = (self.clock.now(), Tally::default());
        let job = Job { request, generation, began, done, finished: false, at };
        self.keep(Some(&job)).await?;
        self.write_down(&format!("began a replay of {}", job.request.in_words()));
        Ok(job)
    }

    /// Takes the replay a page further, at most `most` events where they come one by one.
    ///
    /// # Errors
    /// There is none; store, journal, broker or the source: then it is where it was.
    pub async fn step(&self, most: usize) -> Result<Job> {
        let _alone = self.replaying.lock().await;
        let Some(mut job) = self.unfinished_replay().await? else {
            return Err(OperatorError::Refused("no replay is unfinished".to_owned()));
        };
        let page = self.page(&job.request, job.began, &job.at, most.clamp(1, PAGE)).await?;
        for parcel in &page.parcels {
            let (generation, forced) = (job.generation, job.request.force);
            let again = Event { generation, forced, ..Event::clone(&parcel.event) };
            self.broker.publish_to(&parcel.route, Arc::new(again)).await?;
            if let Some(letter) = &parcel.letter {
                // After the publish: between the two a crash leaves a letter too many, never one too few.
                self.store.forget_dead(letter.id, letter.letter.at).await?;
                self.note(letter, &format!("replayed dead letter {}", letter.id));
            }
        }
        page.add_to(&mut job.done);
        job.at = page.next;
        job.finished = job.at == Position::End;
        self.keep(Some(&job).filter(|job| !job.finished)).await?;
        Ok(job)
    }

    /// The replay that is not finished.
    ///
    /// # Errors
    /// The store.
    pub async fn unfinished_replay(&self) -> Result<Option<Job>> {
        let kept = self.store.fact(FACT).await?;
        // Of another version of dari: then it cannot be gone on with.
        Ok(kept.and_then(|job| serde_json::from_value(job).ok()))
    }

    /// Gives up the replay that is not finished; what it has sent is sent.
    ///
    /// # Errors
    /// The store.
    pub async fn forget_replay(&self) -> Result<Option<Job>> {
        let _alone = self.replaying.lock().await;
        let job = self.unfinished_replay().await?;
        self.keep(None).await?;
        if let Some(job) = &job {
            self.write_down(&format!("gave up the replay of {}", job.request.in_words()));
        }
        Ok(job)
    }

    async fn keep(&self, job: Option<&Job>) -> Result<()> {
        let job = serde_json::to_value(job).map_err(|e| OperatorError::Refused(format!("the replay: {e}")))?;
        Ok(self.store.set_fact(FACT, job).await?)
    }

    /// Refuses a route that cannot be sent to.
    pub(super) fn check_target(&self, name: &str) -> Result<()> {
        match self.config.routes.iter().find(|r| r.name == name) {
            Some(route) if route.enabled => Ok(()),
            Some(_) => Err(OperatorError::Refused(format!("route {name} is switched off"))),
            None => {
                let known = self.config.routes.iter().map(|r| r.name.as_str());
                Err(OperatorError::unknown(Scope::Route.name(), name, known))
            }
        }
    }

    async fn report(&self, tally: Tally, dry_run: bool) -> Result<Replayed> {
        let accounts = self.accounts().await?;
        let concerned = |account: &str| {
            let sinks = self.config.sinks.iter().filter(|sink| sink.account == account);
            let mut routes = sinks.flat_map(|s| self.config.routes.iter().filter(move |r| r.to == s.name));
            routes.any(|route| tally.routes.contains_key(&route.name))
        };
        let limited = accounts.iter().filter(|a| concerned(&a.name));
        let calls_left = limited.filter_map(|a| Some((a.name.clone(), a.monthly?.saturating_sub(a.used)))).collect();
        Ok(Replayed {
            events: tally.events,
            deliveries: tally.deliveries(),
            changes: dry_run.then_some(tally.changes),
            routes: tally.routes.into_iter().collect(),
            calls_left,
            without_body: tally.without_body,
            without_route: tally.without_route,
            dry_run,
        })
    }
}

/// Refuses a search of the journal that found nothing.
fn is_something(request: &ReplayRequest, tally: &Tally) -> Result<()> {
    let searched = !request.past && (request.event.is_some() || request.source.is_some());
    if !searched || tally.events + tally.without_body > 0 {
        return Ok(());
    }
    let name = request.event.clone().or_else(|| request.source.clone()).unwrap_or_default();
    let hint = "; the journal lists what there is: `dari events`".to_owned();
    Err(OperatorError::NotFound { what: "event in the journal for", name, hint })
}
