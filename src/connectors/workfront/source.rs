//! The source `workfront`: objects of one kind by when they were last changed, and which of them are gone.
//!
//! Each page is asked for by the time that the last one ended with (`gte`, sorted), and only within one and the same instant by
//! `$$FIRST`, overlapped: an object that changes while pages are read moves to the end and shifts the others. What a page shows
//! again is known by the source's memory. What is deleted is shown nowhere: now and then all IDs are listed and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{self, Said, Trouble};
use super::door::{Door, Parameters, parameters};
use super::{query, times};
use crate::clock::Clock;
use crate::connectors::client::{Client, MAX_ANSWER};
use crate::connectors::pollers::keys::Start;
use crate::connectors::pollers::read_cursor;
use crate::connectors::{Build, Built, Memory, Page, PollError, Poller, reading, snapshot};
use crate::event::{NewEvent, Payload, Version};
use crate::settings::Fault;

mod build;
mod missing;

pub use build::KIND;

/// Before Workfront. 2001-01-01.
const BEGINNING: Timestamp = Timestamp::constant(978_307_200, 0);
/// How long after its change an object may change again under the same time.
const SETTLES: SignedDuration = SignedDuration::from_secs(5);
/// How many objects a page of one instant shows again.
const AGAIN: u64 = 10;

struct Source {
    asking: Asking,
    every: Duration,
    overlap: SignedDuration,
    start: Start,
    /// How often all IDs are listed; `None`: never.
    deletions: Option<SignedDuration>,
    page: u64,
}

/// Asks for objects of one kind.
pub(super) struct Asking {
    door: Door,
    client: Client,
    clock: Clock,
    /// As in a path.
    object: String,
    /// The parameter.
    fields: String,
    filters: Parameters,
}

/// The stored cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The next page holds what changed from then on.
    from: Timestamp,
    /// How many of these are passed over, where one instant takes several pages.
    #[serde(default)]
    first: u64,
    /// What changed before is learnt and not sent.
    start: Timestamp,
    /// When all IDs were listed last.
    #[serde(default)]
    listed: Option<Timestamp>,
    /// True for the source's past, in which nothing is missing.
    #[serde(default)]
    past: bool,
}

/// An object as it was read.
#[derive(Clone, Debug)]
pub(super) struct Row {
    id: String,
    pub(super) updated: Option<Timestamp>,
    created: Option<Timestamp>,
    pub(super) raw: Value,
}

impl Row {
    fn read(raw: Value) -> Result<Self, PollError> {
        let id = reading::id(&raw["ID"]).ok_or_else(|| PollError::stop("workfront showed an object without an ID"))?;
        let (updated, created) = (times::instant(&raw["lastUpdateDate"]), times::instant(&raw["entryDate"]));
        Ok(Self { id, updated, created, raw })
    }

    /// What tells whether it changed: its time; its content, which counts while the time is young; whether it is not.
    fn mark(&self, now: Timestamp) -> String {
        let young = self.updated.is_none_or(|at| now.duration_since(at) < SETTLES);
        let updated = self.updated.map(|at| at.to_string()).unwrap_or_default();
        format!("{updated}|{}|{}", snapshot::hash(&self.raw), if young { '~' } else { '.' })
    }
}

/// True if a mark says other than what was known.
fn changed(known: &str, now: &str) -> bool {
    let parts = |mark: &str| -> Vec<String> { mark.split('|').map(str::to_owned).collect() };
    match (&parts(known)[..], &parts(now)[..]) {
        ([before, content, young], [updated, read, _]) => before != updated || (young == "~" && content != read),
        _ => true,
    }
}

#[async_trait]
impl Poller for Source {
    fn every(&self) -> Duration {
        self.every
    }

    async fn poll(&self, cursor: Option<&Value>, memory: &dyn Memory) -> Result<Page, PollError> {
        let now = self.asking.clock.now();
        let (cursor, note) = match cursor {
            Some(value) => (read_cursor(value)?, None),
            None => self.first(now),
        };
        let (rows, full) = self.read_page(&cursor).await?;
        let mut next = self.next(&cursor, &rows, full, now);
        if !full && !cursor.past && self.start == Start::Now {
            // All is learnt: what is not known is new, whatever the vendor's clock says.
            next.start = BEGINNING;
        }
        let hashes = memory.hashes().await?;
        let mut page = Page { more: full, note, ..Page::default() };
        let mut seen = BTreeSet::new();
        for row in rows {
            if seen.insert(row.id.clone()) {
                self.take(row, &hashes, (cursor.start, now), memory, &mut page).await?;
            }
        }
        let due = self.deletions.filter(|_| !full && !cursor.past).is_some_and(|every| {
            cursor.listed.is_none_or(|listed| listed.saturating_add(every).unwrap_or(Timestamp::MAX) <= now)
        });
        if due {
            page.known = Some(hashes.len() as u64);
            match self.tell_missing(&hashes, &seen, (cursor.start, now), memory, &mut page).await {
                Ok(()) => next.listed = Some(now),
                // What changed is more urgent than what is gone: that is looked for at the next turn.
                Err(PollError::Retry { .. }) if !page.changes.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        page.cursor = written(&next);
        Ok(page)
    }

    fn past(&self, from: Option<Timestamp>) -> Option<Value> {
        let from = from.unwrap_or(BEGINNING);
        Some(written(&Cursor { from, first: 0, start: from, listed: None, past: true }))
    }
}

fn written(cursor: &Cursor) -> Value {
    serde_json::to_value(cursor).unwrap_or_default()
}

impl Source {
    fn first(&self, now: Timestamp) -> (Cursor, Option<String>) {
        let (from, start, note) = match self.start {
            // All are learnt, so that a change is told from a new one, and a deletion carries what there was.
            Start::Now => (
                BEGINNING,
                now,
                Some("starts now: the objects that are there already are learnt and not sent".to_owned()),
            ),
            Start::All => (BEGINNING, BEGINNING, None),
            Start::From(at) => (at, at, Some(format!("starts with what was changed from {at} on"))),
        };
        (Cursor { from, first: 0, start, listed: None, past: false }, note)
    }

    /// A page, and whether there may be more.
    async fn read_page(&self, cursor: &Cursor) -> Result<(Vec<Row>, bool), PollError> {
        // How fine the vendor compares times is not said.
        let from = cursor.from.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(cursor.from);
        let mut limit = self.page;
        loop {
            let when = parameters([
                ("lastUpdateDate", times::asked(from)),
                ("lastUpdateDate_Mod", "gte".to_owned()),
                ("lastUpdateDate_Sort", "asc".to_owned()),
                ("ID_Sort", "asc".to_owned()),
                ("fields", self.asking.fields.clone()),
                ("$$FIRST", cursor.first.to_string()),
                ("$$LIMIT", limit.to_string()),
            ]);
            match self.asking.searched(when).await? {
                Ok(Some(rows)) => {
                    let full = rows.len() as u64 >= limit;
                    return Ok((rows, full));
                }
                Ok(None) if limit > 1 => limit /= 2,
                Ok(None) => {
                    return Err(PollError::stop(
                        "one object takes more than the 1 MiB that is read of an answer: name its `fields`",
                    ));
                }
                // Source: the page's limits: a result has 50,000 objects at most, those that others refer to included.
                Err((Trouble::Wrong, _)) if limit > 1 && self.asking.asks_for_others() => limit /= 2,
                Err((_, error)) => return Err(error),
            }
        }
    }

    /// Where to go on after a page.
    fn next(&self, cursor: &Cursor, rows: &[Row], full: bool, now: Timestamp) -> Cursor {
        let cursor = cursor.clone();
        if !full {
            let from = now.saturating_sub(self.overlap).unwrap_or(BEGINNING);
            // Not before the beginning of the source's time.
            let earliest = if self.start == Start::Now && !cursor.past { BEGINNING } else { cursor.start };
            return Cursor { from: from.max(earliest.min(now)), first: 0, ..cursor };
        }
        let sorted = rows.is_sorted_by_key(|row| row.updated);
        match rows.last().and_then(|row| row.updated) {
            Some(last) if sorted && last > cursor.from => Cursor { from: last, first: 0, ..cursor },
            _ => {
                let count = rows.len() as u64;
                Cursor { first: cursor.first + count - AGAIN.min(count / 2), ..cursor }
            }
        }
    }

    /// An object that a page or a question showed: its event, if it is new or different.
    async fn take(
        &self,
        row: Row,
        hashes: &BTreeMap<String, String>,
        (start, now): (Timestamp, Timestamp),
        memory: &dyn Memory,
        page: &mut Page,
    ) -> Result<(), PollError> {
        let mark = row.mark(now);
        let known = hashes.get(&row.id);
        if known == Some(&mark) {
            return Ok(());
        }
        let is_change = known.is_none_or(|known| changed(known, &mark));
        if is_change && row.updated.is_none_or(|at| at >= start) {
            let before = match known {
                Some(_) => memory.get(&row.id).await?.map(|known| known.value),
                None => None,
            };
            page.events.push(self.event(&row, before.as_ref(), start));
        }
        page.changes.push(snapshot::remember(row.id, mark, row.raw));
        Ok(())
    }

    fn event(&self, row: &Row, before: Option<&Value>, start: Timestamp) -> NewEvent {
        let kind = match before {
            None if row.created.is_none_or(|at| at >= start) => "object.created",
            None | Some(_) => "object.updated",
        };
        let mut data = data(&row.raw, &self.asking.object);
        if let Some(before) = before {
            data["before"] = times::normalised(before);
        }
        let mut event = NewEvent::new(kind, Payload::from_value(&data));
        event.id = Some(format!("{}:{}", row.id, snapshot::hash(&row.raw)));
        event.subject = Some(row.id.clone());
        event.time = row.updated;
        event.version = row.updated.map(Version::Instant);
        event
    }
}

/// An object as events carry it.
pub(super) fn data(raw: &Value, object: &str) -> Value {
    let code = raw["objCode"].as_str().map_or_else(|| super::sink::code(object), str::to_owned);
    json!({ "objCode": code, "object": times::normalised(raw), "raw": raw })
}

/// What is needed of every object.
const NEEDED: [&str; 4] = ["ID", "name", "lastUpdateDate", "entryDate"];

impl Asking {
    /// Asks with the account of a build.
    ///
    /// # Errors
    /// What is wrong with the account or the fields.
    pub(super) fn of(build: &Build<'_>, object: String, fields: &[&str], filters: Parameters) -> Built<Self> {
        let fields = query::fields(fields, &NEEDED)
            .map_err(|why| vec![Fault::new(build.settings.spot("fields"), format!("`fields`: {why}"))])?;
        let (client, clock) = (build.client.clone(), build.clock.clone());
        Ok(Self { door: Door::of(build)?, client, clock, object, fields, filters })
    }

    /// A page of a search; `None` if it is longer than is read of an answer; or why the vendor refuses it.
    async fn searched(&self, mut how: Parameters) -> Result<Result<Option<Vec<Row>>, (Trouble, PollError)>, PollError> {
        how.extend(self.filters.iter().cloned());
        self.rows(&["search"], how).await
    }

    /// True if a row brings fields of objects that it refers to.
    fn asks_for_others(&self) -> bool {
        self.fields.split(',').any(|field| !field.starts_with("DE:") && field.contains(':'))
    }

    /// Those of these objects that are there.
    pub(super) async fn by_ids(&self, ids: &[&str]) -> Result<Vec<Row>, PollError> {
        let how = parameters([("id", ids.join(",")), ("fields", self.fields.clone())]);
        match (self.rows(&[], how).await?, ids) {
            (Ok(Some(rows)), _) => Ok(rows),
            // One is not there, or they are long: one by one. Which it is the vendor's page does not say.
            (Ok(None) | Err((Trouble::Missing, _)), [_, _, ..]) => {
                let mut rows = Vec::new();
                for id in ids {
                    rows.extend(Box::pin(self.by_ids(&[id])).await?);
                }
                Ok(rows)
            }
            (Ok(None), _) => Err(PollError::stop(
                "one object takes more than the 1 MiB that is read of an answer: name its `fields`",
            )),
            (Err((Trouble::Missing, _)), _) => Ok(Vec::new()),
            (Err((_, error)), _) => Err(error),
        }
    }

    async fn rows(
        &self,
        path: &[&str],
        how: Parameters,
    ) -> Result<Result<Option<Vec<Row>>, (Trouble, PollError)>, PollError> {
        let path = [&[self.object.as_str()], path].concat();
        let call = self.door.call(&Method::GET, &path, how);
        let answer = self.client.send(&call).await?;
        if answer.status.is_success() && answer.body.len() >= MAX_ANSWER {
            return Ok(Ok(None));
        }
        Ok(match answer::read(&answer) {
            Said::Yes(data) => Ok(Some(answer::rows(data).into_iter().map(Row::read).collect::<Result<_, _>>()?)),
            Said::No(trouble, why) => {
                let why = format!("workfront answered {why}");
                Err((trouble, answer::poll_error(trouble, why, &answer, self.clock.now())))
            }
        })
    }
}
