//! The source `worksection`: tasks as they are, compared with how they were; comments and projects from the history.
//!
//! Worksection tells no time of change, so every poll lists all tasks and compares. Its history (`get_events`) is by the
//! minute, without ids, and goes back 30 days: each poll looks a while further back than the last one, and an item is known by
//! its content, and by which of its kind it is where the minute has several.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::Api;
use crate::clock::Clock;
use crate::connectors::pollers::keys::Start;
use crate::connectors::pollers::read_cursor;
use crate::connectors::{Memory, Page, PollError, Poller};

mod build;
mod history;
mod tasks;

pub use build::KIND;

/// Before Worksection.
const BEGINNING: Timestamp = Timestamp::constant(946_684_800, 0);

struct Source {
    api: Api,
    clock: Clock,
    every: Duration,
    overlap: SignedDuration,
    projects: Vec<String>,
    tasks: Tasks,
    history: bool,
    start: Start,
}

/// Where what happens to tasks is learnt from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tasks {
    /// All tasks are listed and compared.
    Snapshot,
    /// The history.
    Events,
    /// Nothing of tasks is told.
    None,
}

/// The stored cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The number of the poll: what changes twice in the same way is told twice, what is polled again is not.
    turn: u64,
    /// What happened before is learnt at the first poll, and not sent.
    start: Timestamp,
    /// When the history was asked for last.
    since: Option<Timestamp>,
    /// The items of the last answer: what the overlap shows again.
    seen: Vec<String>,
    /// The order in which the history's items come, once it is known.
    #[serde(default)]
    newest_first: Option<bool>,
}

impl Cursor {
    fn from(start: Timestamp) -> Self {
        Self { turn: 0, start, since: None, seen: Vec::new(), newest_first: None }
    }
}

#[async_trait]
impl Poller for Source {
    fn every(&self) -> Duration {
        self.every
    }

    async fn poll(&self, cursor: Option<&Value>, memory: &dyn Memory) -> Result<Page, PollError> {
        let now = self.clock.now();
        let (cursor, mut notes) = match cursor {
            Some(value) => (read_cursor(value)?, Vec::new()),
            None => self.first(now),
        };
        let mut page = Page::default();
        let mut next = Cursor { turn: cursor.turn + 1, ..cursor.clone() };
        if self.tasks == Tasks::Snapshot {
            notes.extend(self.compare(&cursor, memory, &mut page).await?);
        }
        if self.history || self.tasks == Tasks::Events {
            let (told, note) = self.history(&cursor, &mut next, now).await?;
            page.events.extend(told);
            notes.extend(note);
        }
        page.cursor = serde_json::to_value(&next).unwrap_or_default();
        page.note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(page)
    }

    fn past(&self, from: Option<Timestamp>) -> Option<Value> {
        serde_json::to_value(Cursor::from(from.unwrap_or(BEGINNING))).ok()
    }
}

impl Source {
    fn first(&self, now: Timestamp) -> (Cursor, Vec<String>) {
        let (start, note) = match self.start {
            Start::Now => (now, Some("starts now: what is there already is learnt and not sent".to_owned())),
            Start::All => (BEGINNING, None),
            Start::From(at) => (at, Some(format!("starts with what happened from {at} on"))),
        };
        (Cursor::from(start), note.into_iter().collect())
    }
}
