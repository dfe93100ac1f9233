//! Fills a queue again that had gone from the broker: with what it missed, from the journal, and with what was under way,
//! from the ledger.
//!
//! # What is sent again
//! - An event that was to come to the queue while it was bound, that the route takes, and of which the ledger has no
//!   line: it lay in the queue, or came while there was none. It gets a line first, so that newer events of its subject
//!   wait behind it, as they would have in the queue.
//! - A delivery that the ledger has begun and not ended. Its message may have been in the queue, or waits elsewhere and
//!   comes as well: both stand for the same attempt, and whichever is second is dropped by the ledger.
//!
//! Events of which the journal no longer has the body, and replays that had not been begun, cannot be sent again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Services, patience};
use crate::broker::lost::Lost;
use crate::broker::{JOURNAL, Message, inbox_of};
use crate::config::RouteConfig;
use crate::event::Event;
use crate::route::{self, Decision};
use crate::store::journal::{Entry, EventFilter, Listed, Record, Step};
use crate::store::{Basis, DeliveryKey, LedgerEntry, LinkKey, Progress, Settlement};

/// How many events are read and sent at once.
const PAGE: usize = 100;
/// How often it is looked whether the journal knows everything.
const GLANCE: Duration = Duration::from_millis(250);
/// An event in the journal that was received so long after a moment was published after it: no publish takes longer.
const SLOWEST: SignedDuration = SignedDuration::from_secs(30);
const WHY: &str = "its queue had gone from the broker: it is sent again from the journal";

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    missed: usize,
    under_way: usize,
    without_body: usize,
}

type Result<T> = std::result::Result<T, String>;

/// Fills whatever queue is lost, until told to stop.
pub async fn run(services: Arc<Services>, stop: CancellationToken) {
    let mut pauses = patience();
    loop {
        let lost = tokio::select! {
            () = stop.cancelled() => return,
            lost = services.broker.lost() => lost,
        };
        let filled = tokio::select! {
            () = stop.cancelled() => return,
            filled = fill(&services, &lost) => filled,
        };
        match filled {
            Ok(()) => pauses = patience(),
            Err(why) => {
                let pause = pauses.next().unwrap_or(Duration::from_secs(5));
                tracing::error!(queue = lost.queue, why, ?pause, "a queue that had gone cannot be filled again yet");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

async fn fill(services: &Services, lost: &Lost) -> Result<()> {
    let route = services.config.routes.iter().find(|route| route.name == lost.queue);
    let tally = match route {
        Some(route) => Filling { services, lost, route, tally: Tally::default() }.run().await?,
        None if inbox_of(&lost.queue).is_some() => {
            let missed = refill_inbox(services, lost).await?;
            tracing::warn!(queue = lost.queue, missed, "an inbox that had gone is filled again");
            Tally::default()
        }
        None if lost.queue == JOURNAL => {
            tracing::error!(
                "the journal's queue had gone: events that it had not read yet are missing from the journal"
            );
            Tally::default()
        }
        None => {
            tracing::error!(
                queue = lost.queue,
                "what was in the queue of a route that is no longer in the config is gone"
            );
            Tally::default()
        }
    };
    services.broker.refilled(lost).await.map_err(|e| e.to_string())?;
    let Tally { missed, under_way, without_body } = tally;
    if lost.queue != JOURNAL && route.is_some() {
        tracing::warn!(route = lost.queue, missed, under_way, "a queue that had gone is filled again");
    }
    if without_body > 0 {
        tracing::error!(
            route = lost.queue,
            events = without_body,
            "the journal no longer has the bodies of events that were lost with a queue (`journal.bodies`)"
        );
    }
    Ok(())
}

/// Publishes again what was received, and had not been read anew yet, as far as the journal knows. What had is known by
/// its id; how many there were.
async fn refill_inbox(services: &Services, lost: &Lost) -> Result<usize> {
    journal_is_written(services).await?;
    let source = inbox_of(&lost.queue).map(str::to_owned);
    let mut filter =
        EventFilter { source, from: lost.since(), oldest_first: true, limit: PAGE, ..EventFilter::default() };
    let mut missed = 0;
    loop {
        let page = services.journal.events(filter.clone()).await.map_err(|e| e.to_string())?;
        let Some(last) = page.last() else { return Ok(missed) };
        filter.after = Some(last.seq);
        let events: Vec<_> =
            page.iter().filter(|l| l.event.unfetched && l.body).map(|l| Arc::clone(&l.event)).collect();
        missed += events.len();
        if !events.is_empty() {
            services.broker.publish(events).await.map_err(|e| e.to_string())?;
        }
    }
}

/// Waits until the journal has what was published before now.
async fn journal_is_written(services: &Services) -> Result<()> {
    let until = services.clock.now().saturating_add(SLOWEST).unwrap_or(Timestamp::MAX);
    let mut empty = 0;
    loop {
        let depths = services.broker.depths().await.map_err(|e| e.to_string())?;
        let left = depths.iter().find(|depth| depth.queue == JOURNAL).map_or(0, |depth| depth.messages);
        // Twice: a count may be a moment old.
        empty = if left == 0 { empty + 1 } else { 0 };
        if empty > 1 {
            return Ok(());
        }
        let newest = EventFilter { limit: 1, ..EventFilter::default() };
        let newest = services.journal.events(newest).await.map_err(|e| e.to_string())?;
        if newest.first().is_some_and(|listed| listed.event.received.at() > until) {
            return Ok(());
        }
        tokio::time::sleep(GLANCE).await;
    }
}

struct Filling<'a> {
    services: &'a Services,
    lost: &'a Lost,
    route: &'a RouteConfig,
    tally: Tally,
}

/// An event to send, as this attempt, at its time.
struct Sending {
    event: Arc<Event>,
    attempt: u32,
    due: Timestamp,
}

impl Filling<'_> {
    async fn run(mut self) -> Result<Tally> {
        journal_is_written(self.services).await?;
        self.send_unfinished().await?;
        self.send_missed().await?;
        Ok(self.tally)
    }

    async fn send_unfinished(&mut self) -> Result<()> {
        let all = self.services.store.unfinished(&self.route.name).await.map_err(|e| e.to_string())?;
        for page in all.chunks(PAGE) {
            let mut sendings = Vec::new();
            for delivery in page {
                let Some(found) = self.find(&delivery.event).await?.filter(|listed| listed.body) else {
                    self.tally.without_body += 1;
                    continue;
                };
                let due = match delivery.entry.progress {
                    Progress::Waiting { due } => due,
                    _ => self.services.clock.now(),
                };
                let event = Event { generation: delivery.generation, ..Event::clone(&found.event) };
                sendings.push(Sending { event: Arc::new(event), attempt: delivery.entry.attempt, due });
            }
            self.tally.under_way += sendings.len();
            self.send(sendings).await?;
        }
        Ok(())
    }

    /// The event with this key.
    async fn find(&self, key: &str) -> Result<Option<Listed>> {
        let Some((source, id)) = key.split_once('/') else { return Ok(None) };
        let (source, id) = (Some(source.to_owned()), Some(id.to_owned()));
        let filter = EventFilter { source, id, limit: 1, ..EventFilter::default() };
        Ok(self.services.journal.events(filter).await.map_err(|e| e.to_string())?.into_iter().next())
    }

    async fn send_missed(&mut self) -> Result<()> {
        let Some(from) = self.lost.since() else { return Ok(()) };
        let mut filter = EventFilter { from: Some(from), oldest_first: true, limit: PAGE, ..EventFilter::default() };
        // What comes from now on finds its queue.
        let newest = EventFilter { oldest_first: false, limit: 1, ..filter.clone() };
        let newest = self.services.journal.events(newest).await.map_err(|e| e.to_string())?;
        filter.before = newest.first().map(|listed| listed.seq.saturating_add(1));
        loop {
            let page = self.services.journal.events(filter.clone()).await.map_err(|e| e.to_string())?;
            let Some(last) = page.last() else { return Ok(()) };
            filter.after = Some(last.seq);
            let mut sendings = Vec::new();
            for listed in &page {
                if self.was_for(listed) && self.is_missed(listed).await? {
                    let due = self.services.clock.now();
                    sendings.push(Sending { event: Arc::clone(&listed.event), attempt: 1, due });
                }
            }
            self.tally.missed += sendings.len();
            self.send(sendings).await?;
        }
    }

    /// True if the event came to the queue, and the journal does not know how it ended there.
    fn was_for(&self, listed: &Listed) -> bool {
        let Event { source, kind, received, unfetched, .. } = &*listed.event;
        if *unfetched {
            // It comes to the queue from its source's inbox.
            return false;
        }
        let names = [source.as_str(), self.route.source_now(source)];
        names.iter().any(|source| self.lost.had(source, kind, received.at()))
            // The ledger forgets an event that is known by its body alone after a day.
            && !listed.endings.iter().any(|(route, _)| *route == self.route.name)
    }

    /// True if the route takes the event and nothing had become of it; the ledger has a line of it then.
    async fn is_missed(&mut self, listed: &Listed) -> Result<bool> {
        let event = &listed.event;
        let delivery = DeliveryKey { route: self.route.name.clone(), event: event.key(), generation: event.generation };
        if self.services.store.entry(delivery.clone()).await.map_err(|e| e.to_string())?.is_some() {
            return Ok(false);
        }
        if !listed.body {
            self.tally.without_body += 1;
            return Ok(false);
        }
        let context = route::context(self.route, event, Arc::clone(&self.services.config.tables), None);
        let link = match route::decide(self.route, event, &context) {
            Decision::Skip { .. } => return Ok(false),
            // The worker comes to the same and makes a dead letter of it.
            Decision::Error(_) => return Ok(true),
            Decision::Take { .. } | Decision::Leave { .. } => route::link_key(self.route, event, &context),
        };
        let Ok(link) = link else { return Ok(true) };
        let now = self.services.clock.now();
        let entry =
            LedgerEntry { attempt: 1, progress: Progress::Waiting { due: now }, first_retry: None, doubt: None };
        let settlement = Settlement {
            delivery,
            body_key: event.body_key(),
            link: LinkKey { owner: self.route.link.clone(), key: link },
            received: event.received,
            version: event.version,
            entry,
            expires: super::expires(&self.services.config, event, now),
            new_link: None,
            refund: None,
            dead: None,
            basis: Basis::Delivery,
        };
        self.services.store.enlist(settlement).await.map_err(|e| e.to_string())
    }

    async fn send(&self, sendings: Vec<Sending>) -> Result<()> {
        let (broker, route) = (&self.services.broker, &self.route.name);
        let sends = sendings.iter().map(|Sending { event, attempt, due }| async move {
            let message = Message { event: Arc::clone(event), attempt: *attempt, tag: 0, rounds: 0 };
            broker.wait(route, &message, *attempt, *due).await
        });
        try_join_all(sends).await.map_err(|e| e.to_string())?;
        let now = self.services.clock.now();
        for Sending { event, attempt, due } in sendings {
            let step = Step::Waiting { attempt, until: due.max(now), why: WHY.to_owned() };
            let entry = Entry { at: now, event: event.key(), route: Some(route.clone()), step };
            self.services.journal.record(Record::Entry(entry));
        }
        Ok(())
    }
}
