//! Where a replay's events come from, a page at a time.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ReplayRequest, Tally};
use crate::admin::{Operator, OperatorError, Result};
use crate::config::RouteConfig;
use crate::connectors::{NoMemory, PollError};
use crate::event::Event;
use crate::store::journal::EventFilter;
use crate::store::{DeadClass, DeadFilter, StoredDead};

/// How far a replay is.
#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Position {
    /// One dead letter.
    Letter(i64),
    /// All dead letters after this one.
    Letters(i64),
    /// The journal between these two, the first of which is done.
    Journal { after: Option<i64>, before: Option<i64> },
    /// The source's own past, by its poller's cursor.
    Past(Value),
    /// Through.
    #[default]
    End,
}

/// What a step sends.
#[derive(Default)]
pub(super) struct Page {
    pub parcels: Vec<Parcel>,
    pub next: Position,
    pub events: u64,
    pub without_body: u64,
    pub without_route: u64,
}

/// One delivery to be made again.
pub(super) struct Parcel {
    pub route: String,
    pub event: Arc<Event>,
    /// The dead letter that it comes from.
    pub letter: Option<StoredDead>,
}

impl Page {
    pub fn add_to(&self, tally: &mut Tally) {
        tally.events += self.events;
        tally.without_body += self.without_body;
        tally.without_route += self.without_route;
        for parcel in &self.parcels {
            *tally.routes.entry(parcel.route.clone()).or_default() += 1;
        }
    }
}

impl Operator {
    /// Where a replay begins.
    pub(super) async fn first(&self, request: &ReplayRequest) -> Result<Position> {
        // A letter's own route may be gone by now: it only chooses which letters.
        let of_letters = request.to.is_some();
        for name in request.route.iter().filter(|_| !of_letters).chain(&request.to) {
            self.check_target(name)?;
        }
        match (&request.event, &request.source, request.dead, request.all_dead) {
            (None, None, Some(id), false) => {
                self.check_letter(id, request).await?;
                Ok(Position::Letter(id))
            }
            (None, None, None, true) => Ok(Position::Letters(0)),
            (None, Some(source), None, false) if request.past && !of_letters => self.beginning(source, request.from),
            (Some(_), None, None, false) | (None, Some(_), None, false) if !of_letters && !request.past => {
                // What is received meanwhile is delivered as it comes, and is not to be sent again.
                let newest = EventFilter { oldest_first: false, limit: 1, ..wanted(request) };
                let before = self.journal.events(newest).await?.first().map(|listed| listed.seq.saturating_add(1));
                Ok(Position::Journal { after: None, before })
            }
            _ => {
                let why =
                    "say one of: an event, a source (with or without its own past), a dead letter, or all of them";
                Err(OperatorError::Refused(why.to_owned()))
            }
        }
    }

    async fn check_letter(&self, id: i64, request: &ReplayRequest) -> Result<()> {
        let letter = self.store.dead_letter(id).await?;
        let letter = letter.ok_or_else(|| OperatorError::NotFound {
            what: "dead letter",
            name: id.to_string(),
            hint: String::new(),
        })?;
        if letter.letter.class == DeadClass::Held {
            let why = format!("delivery {id} is held: use `dari dead mark {id} --delivered` or `--again`");
            return Err(OperatorError::Refused(why));
        }
        let route = request.to.as_ref().unwrap_or(&letter.letter.delivery.route);
        if self.config.routes.iter().any(|r| &r.name == route) {
            return Ok(());
        }
        Err(OperatorError::Refused(format!(
            "dead letter {id}: the config has no route {route} any more; say which one is to take it with --to, or drop it"
        )))
    }

    fn beginning(&self, source: &str, from: Option<Timestamp>) -> Result<Position> {
        if !self.config.sources.iter().any(|s| s.name == source) {
            let known = self.config.sources.iter().map(|s| s.name.as_str());
            return Err(OperatorError::unknown("source", source, known));
        }
        let Some(poller) = self.pasts.get(source) else {
            let why = format!("{source} is not polled here: only a running bridge reads a source's own past");
            return Err(OperatorError::Refused(why));
        };
        let cursor = poller.past(from).ok_or_else(|| {
            OperatorError::Refused(format!("{source} has no past that can be read: replay it from the journal"))
        })?;
        Ok(Position::Past(cursor))
    }

    pub(super) async fn page(
        &self,
        request: &ReplayRequest,
        began: Timestamp,
        at: &Position,
        most: usize,
    ) -> Result<Page> {
        match at {
            Position::End => Ok(Page::default()),
            Position::Letter(id) => {
                let mut page = Page::default();
                // Gone meanwhile: it was sent before a crash, or dropped.
                if let Some(letter) = self.store.dead_letter(*id).await? {
                    self.take_letter(letter, request, began, &mut page);
                }
                Ok(page)
            }
            Position::Letters(after) => self.letters(request, began, *after, most).await,
            Position::Journal { after, before } => self.journalled(request, (*after, *before), most).await,
            Position::Past(cursor) => self.past(request, cursor).await,
        }
    }

    async fn letters(&self, request: &ReplayRequest, began: Timestamp, after: i64, most: usize) -> Result<Page> {
        let filter =
            DeadFilter { route: request.route.clone(), after: Some(after), limit: most, ..DeadFilter::default() };
        let letters = self.store.dead(filter).await?;
        let mut page = Page::default();
        // Numbers rise: where all of a page were written since, those after it were too.
        if let Some(last) = letters.last().filter(|_| letters.iter().any(|l| l.letter.at <= began)) {
            page.next = Position::Letters(last.id);
        }
        for letter in letters {
            self.take_letter(letter, request, began, &mut page);
        }
        Ok(page)
    }

    fn take_letter(&self, letter: StoredDead, request: &ReplayRequest, began: Timestamp, page: &mut Page) {
        // What dies again meanwhile is a letter of its own, for the next replay.
        if letter.letter.class == DeadClass::Held || letter.letter.at > began {
            return;
        }
        let route = request.to.as_ref().unwrap_or(&letter.letter.delivery.route).clone();
        if !self.config.routes.iter().any(|r| r.name == route) {
            page.without_route += 1;
            return;
        }
        page.events += 1;
        page.parcels.push(Parcel { route, event: Arc::clone(&letter.letter.event), letter: Some(letter) });
    }

    async fn journalled(
        &self,
        request: &ReplayRequest,
        (after, before): (Option<i64>, Option<i64>),
        most: usize,
    ) -> Result<Page> {
        let filter = EventFilter { after, before, limit: most, ..wanted(request) };
        let listed = self.journal.events(filter).await?;
        let mut page = Page::default();
        if let Some(last) = listed.last() {
            page.next = Position::Journal { after: Some(last.seq), before };
        }
        for listed in listed {
            if listed.event.unfetched {
                // Its routes get it for the first time once its subject has been read anew.
                continue;
            }
            if listed.body {
                self.take_event(&listed.event, request, &mut page);
            } else {
                page.without_body += 1;
            }
        }
        Ok(page)
    }

    async fn past(&self, request: &ReplayRequest, cursor: &Value) -> Result<Page> {
        let source = request.source.as_deref().unwrap_or_default();
        let Some(poller) = self.pasts.get(source) else {
            return Err(OperatorError::Refused(format!("{source} is not polled here")));
        };
        let read = poller.poll(Some(cursor), &NoMemory).await.map_err(|error| {
            let when = match &error {
                PollError::Retry { after: Some(after), .. } => format!(" for {} s", after.as_secs()),
                _ => String::new(),
            };
            OperatorError::Refused(format!("{source} cannot be read now{when}: {error}"))
        })?;
        let mut page = Page::default();
        if read.more {
            page.next = Position::Past(read.cursor);
        }
        for new in read.events {
            let event = new.stamp(source, &self.clock).map_err(|e| OperatorError::Refused(format!("{source}: {e}")))?;
            self.take_event(&Arc::new(event), request, &mut page);
        }
        Ok(page)
    }

    fn take_event(&self, event: &Arc<Event>, request: &ReplayRequest, page: &mut Page) {
        page.events += 1;
        for route in self.routes_of(event, request.route.as_deref()) {
            page.parcels.push(Parcel { route: route.name.clone(), event: Arc::clone(event), letter: None });
        }
    }

    fn routes_of<'a>(&'a self, event: &'a Event, only: Option<&'a str>) -> impl Iterator<Item = &'a RouteConfig> {
        // A route that is switched off receives nothing: it need not even have a queue.
        let routes = self.config.routes.iter().filter(move |r| r.enabled && only.is_none_or(|name| r.name == name));
        routes.filter(|route| route.binding().takes(route.source_now(&event.source), &event.kind))
    }
}

/// Which events of the journal.
fn wanted(request: &ReplayRequest) -> EventFilter {
    EventFilter {
        id: request.event.clone(),
        source: request.source.clone(),
        from: request.from,
        oldest_first: true,
        ..EventFilter::default()
    }
}
