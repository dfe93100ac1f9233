//! The source `dooray-calendar`: looks at a moving window of calendars and tells what changed in it.
//!
//! Dooray shows how calendars are and not what happened to them. Each poll lists the window and compares
//! ([`snapshot`]); what is new or different is read whole. An entry that is no longer listed was deleted only if Dooray
//! does not know it any more: it may have slid out of the window, been put to another time, or its calendar may no longer
//! be shared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Api, Reply, list};
use super::entry::{Entry, Kind as EntryKind, Place, Reading};
use super::window::{Window, whole_second};
use crate::clock::Clock;
use crate::connectors::pollers::keys::Start;
use crate::connectors::pollers::read_cursor;
use crate::connectors::snapshot::{self, Item, Updated};
use crate::connectors::{Memory, Page, PollError, Poller, Remembered, reading};
use crate::event::{NewEvent, Payload, Version};

mod build;
mod missing;

pub use build::KIND;

/// Before Dooray: where the past begins. 2014-01-01.
const BEGINNING: Timestamp = Timestamp::constant(1_388_534_400, 0);
/// How many entries are read whole in one turn.
const MOST: usize = 100;
/// The narrowest slice that is asked for.
const NARROWEST: SignedDuration = SignedDuration::from_hours(24);

struct Source {
    api: Api,
    clock: Clock,
    reading: Reading,
    every: Duration,
    start: Start,
    calendars: Vec<String>,
    /// `category` and `postType` of the list.
    filters: Vec<(&'static str, String)>,
    past: SignedDuration,
    ahead: SignedDuration,
    span: SignedDuration,
    quoted: bool,
}

/// The stored cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// How many turns brought something: makes the ids of a change that is taken back and made again differ.
    turn: u64,
    /// Until the first pass is over: what was last changed before this is learnt and not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    learn: Option<Timestamp>,
    /// Set for the past: where its next slice begins, and where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    past: Option<(Timestamp, Timestamp)>,
}

/// What is remembered of an entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Memo {
    place: Place,
    /// As its last event had it.
    data: Value,
    /// True if it is no longer listed though Dooray may have it.
    #[serde(default)]
    unlisted: bool,
    /// True if Dooray said 404 of it while it listed it: the same word later does not mean that it was deleted.
    #[serde(default)]
    opaque: bool,
}

impl Memo {
    fn read(remembered: &Remembered) -> Result<Self, PollError> {
        serde_json::from_value(remembered.value.clone())
            .map_err(|error| PollError::stop(format!("what is remembered of an event cannot be read: {error}")))
    }

    /// By which hash it is remembered: another while it is unlisted, so that it is noticed when it is listed again.
    fn hash(&self, hash: &str) -> String {
        if self.unlisted { format!("~{hash}") } else { hash.to_owned() }
    }
}

/// A page in the making.
struct Making {
    page: Page,
    turn: u64,
}

impl Making {
    fn tell(&mut self, kind: &str, place: &Place, mark: &str, (updated, data): (Option<Timestamp>, &Value)) {
        let mut event = NewEvent::new(kind, Payload::from_value(data));
        event.id = Some(format!("{}:{mark}:{}", place.subject(), self.turn));
        event.subject = Some(place.subject());
        event.time = updated;
        event.version = updated.map(Version::Instant);
        self.page.events.push(event);
    }

    fn remember(&mut self, hash: &str, memo: &Memo) {
        let value = serde_json::to_value(memo).unwrap_or_default();
        self.page.changes.push(snapshot::remember(memo.place.subject(), memo.hash(hash), value));
    }
}

#[async_trait]
impl Poller for Source {
    fn every(&self) -> Duration {
        self.every
    }

    async fn poll(&self, cursor: Option<&Value>, memory: &dyn Memory) -> Result<Page, PollError> {
        let now = whole_second(self.clock.now());
        let (cursor, note) = match cursor {
            Some(value) => (read_cursor(value)?, None),
            None => self.first(now),
        };
        match cursor.past {
            Some((at, until)) => self.read_past(cursor, at, until).await,
            None => self.compare(cursor, note, now, memory).await,
        }
    }

    fn past(&self, from: Option<Timestamp>) -> Option<Value> {
        let until = Window::around(self.clock.now(), self.past, self.ahead).to;
        let past = Some((whole_second(from.unwrap_or(BEGINNING)), whole_second(until)));
        serde_json::to_value(Cursor { past, ..Cursor::default() }).ok()
    }
}

impl Source {
    fn first(&self, now: Timestamp) -> (Cursor, Option<String>) {
        let (learn, note) = match self.start {
            Start::Now => (Some(now), Some("starts now: what is in the calendars already is not sent".to_owned())),
            Start::All => (None, None),
            Start::From(at) => (Some(at), Some(format!("starts with what was changed from {at} on"))),
        };
        (Cursor { learn, ..Cursor::default() }, note)
    }

    async fn compare(
        &self,
        cursor: Cursor,
        note: Option<String>,
        now: Timestamp,
        memory: &dyn Memory,
    ) -> Result<Page, PollError> {
        let shown = self.calendars().await?;
        let window = Window::around(now, self.past, self.ahead);
        let entries = self.list(window).await?;
        let visible: BTreeSet<String> =
            shown.into_iter().chain(entries.iter().map(|entry| entry.place.calendar.clone())).collect();
        let diff = snapshot::diff(items(entries), memory).await?;
        let known = Some(diff.known);
        let mut making = Making { page: Page { known, note, ..Page::default() }, turn: cursor.turn };
        let is_old = |entry: &Entry| cursor.learn.is_some_and(|learn| entry.updated.is_none_or(|at| at < learn));
        let (old, new): (Vec<_>, Vec<_>) = diff.created.into_iter().partition(|item| is_old(&item.value));
        for Item { hash, value: entry, .. } in old {
            let data = entry.data(None, &self.reading);
            making.remember(&hash, &Memo { place: entry.place, data, unlisted: false, opaque: false });
        }
        let mut changed: Vec<_> = new.into_iter().map(|item| (item, None)).collect();
        for Updated { item, before } in diff.updated {
            let memo = Memo::read(&before)?;
            if memo.unlisted && before.hash == memo.hash(&item.hash) {
                // It is listed again, as it was.
                making.remember(&item.hash, &Memo { unlisted: false, ..memo });
            } else {
                changed.push((item, Some(memo)));
            }
        }
        changed.sort_by(|(a, _), (b, _)| (a.value.updated, &a.key).cmp(&(b.value.updated, &b.key)));
        let whole = self.tell_changed(changed, &mut making).await?;
        if whole {
            self.tell_missing(diff.missing, (window, &visible), &mut making).await?;
        }
        let Making { mut page, .. } = making;
        let brought = !page.events.is_empty() || !page.changes.is_empty();
        let turn = cursor.turn + u64::from(brought);
        // The window is gone through whole before anything counts as new that is old.
        let learn = cursor.learn.filter(|_| !whole);
        page.more = !whole;
        page.cursor = serde_json::to_value(Cursor { turn, learn, past: None }).unwrap_or_default();
        Ok(page)
    }

    /// Reads what is new or different whole, and tells it. False if there was too much for one turn.
    async fn tell_changed(
        &self,
        changed: Vec<(Item<Entry>, Option<Memo>)>,
        making: &mut Making,
    ) -> Result<bool, PollError> {
        let whole = changed.len() <= MOST;
        for (at, (item, before)) in changed.into_iter().take(MOST).enumerate() {
            match self.tell(item, before, making).await {
                Ok(()) => {}
                // What was read until now is kept, or a change of many events would never come through.
                Err(PollError::Retry { .. }) if at > 0 => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    async fn tell(&self, item: Item<Entry>, before: Option<Memo>, making: &mut Making) -> Result<(), PollError> {
        let Item { hash, value: entry, .. } = item;
        let (detail, opaque) = match self.detail(&entry.place).await? {
            Reply::Yes(said) => (Some(said.result).filter(Value::is_object), false),
            // Deleted since it was listed, which the next poll will tell, or not for this account to read.
            Reply::No(status, _) => (None, status == StatusCode::NOT_FOUND),
            Reply::Long => (None, false),
        };
        let mut data = entry.data(detail.as_ref(), &self.reading);
        let kind = match &before {
            None => "event.created",
            Some(before) => changed_kind(&entry.place, before, &mut data),
        };
        making.tell(kind, &entry.place, &hash, (entry.updated, &data));
        data.as_object_mut().map(|data| data.shift_remove("before"));
        making.remember(&hash, &Memo { place: entry.place, data, unlisted: false, opaque });
        Ok(())
    }

    /// One slice of the past, everything in it as new.
    async fn read_past(&self, cursor: Cursor, at: Timestamp, until: Timestamp) -> Result<Page, PollError> {
        let Some(slice) = (Window { from: at, to: until }).slices(self.span).into_iter().next() else {
            let cursor = serde_json::to_value(cursor).unwrap_or_default();
            return Ok(Page { cursor, ..Page::default() });
        };
        let entries = self.list(slice).await?;
        let mut making = Making { page: Page::default(), turn: 0 };
        for item in items(entries) {
            self.tell(item, None, &mut making).await?;
        }
        let Making { mut page, .. } = making;
        page.more = slice.to < until;
        let next = Cursor { past: Some((slice.to, until)), ..cursor };
        page.cursor = serde_json::to_value(next).unwrap_or_default();
        Ok(page)
    }

    /// The calendars that the account sees. One that is configured and not seen stops the source.
    async fn calendars(&self) -> Result<BTreeSet<String>, PollError> {
        let shown = self.api.all(&["calendar", "v1", "calendars"], &[]).await?;
        let names: BTreeMap<String, String> = shown
            .iter()
            .filter_map(|calendar| {
                let name = calendar["name"].as_str().unwrap_or_default();
                Some((reading::id(&calendar["id"])?, name.to_owned()))
            })
            .collect();
        for id in self.calendars.iter().filter(|id| !names.contains_key(*id)) {
            // Whether the list has every calendar that can be read is not said: this one may be readable all the same.
            if let Reply::No(_, why) = self.api.ask(&["calendar", "v1", "calendars", id], &[]).await? {
                let known: Vec<String> = names.iter().map(|(id, name)| format!("{id} ({name})")).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(PollError::stop(format!("{why}: the account sees no calendar {id}; it sees {known}")));
            }
        }
        Ok(names.into_keys().chain(self.calendars.iter().cloned()).collect())
    }

    /// Everything in a window, slice by slice.
    async fn list(&self, window: Window) -> Result<Vec<Entry>, PollError> {
        let mut slices = window.slices(self.span);
        slices.reverse();
        let mut entries = Vec::new();
        while let Some(slice) = slices.pop() {
            let mut query = slice.query(&self.reading.zone, self.quoted).to_vec();
            if !self.calendars.is_empty() {
                query.push(("calendars", self.calendars.join(",")));
            }
            query.extend(self.filters.iter().cloned());
            // The literal `*`: a calendar's id is refused there.
            match self.api.ask(&["calendar", "v1", "calendars", "*", "events"], &query).await? {
                Reply::Yes(said) => {
                    for raw in list(said.result)? {
                        entries.push(Entry::read(raw, &self.reading).map_err(PollError::stop)?);
                    }
                }
                Reply::Long if slice.span() > NARROWEST => {
                    let half = SignedDuration::from_secs(slice.span().as_secs() / 2).max(NARROWEST);
                    slices.extend(slice.slices(half).into_iter().rev());
                }
                Reply::Long => {
                    return Err(PollError::stop(format!("the events of {} take more than 1 MiB", slice.from)));
                }
                Reply::No(_, why) => return Err(PollError::stop(why)),
            }
        }
        Ok(entries)
    }

    /// An entry with its body and users. Tasks and milestones have those elsewhere.
    async fn detail(&self, place: &Place) -> Result<Reply, PollError> {
        if place.kind != EntryKind::General || place.calendar.is_empty() {
            return Ok(Reply::Long);
        }
        self.api.ask(&["calendar", "v1", "calendars", &place.calendar, "events", &place.id], &[]).await
    }
}

/// `event.moved` with where it was, or `event.updated`.
fn changed_kind(place: &Place, before: &Memo, data: &mut Value) -> &'static str {
    if !place.moved(&before.place) {
        return "event.updated";
    }
    let was = |key: &str| before.data.get(key).cloned().unwrap_or_default();
    data["before"] =
        json!({ "start": was("start"), "end": was("end"), "due": was("due"), "calendar": was("calendar") });
    "event.moved"
}

/// One for each entry: of one that several calendars show, that of the first by id.
fn items(mut entries: Vec<Entry>) -> Vec<Item<Entry>> {
    entries.sort_by(|a, b| b.place.calendar.cmp(&a.place.calendar));
    let item = |entry: Entry| Item { key: entry.place.subject(), hash: entry.hash(), value: entry };
    entries.into_iter().map(item).collect()
}
