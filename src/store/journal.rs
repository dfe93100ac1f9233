//! The history of events, deliveries and attempts, for people to read (promise P7).

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Result;
use crate::event::Event;

/// The journal in a SQLite file of its own.
pub mod sqlite;

/// One thing worth reading afterwards.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// A route's decision: it takes the event.
    Matched {
        /// What it will do, as `upsert`.
        verb: String,
    },
    /// A route's decision: it leaves the event.
    Skipped {
        /// Why, with the operands.
        why: String,
    },
    /// One attempt.
    Attempt {
        /// Its number, from 1.
        attempt: u32,
        /// The call as shown to people.
        call: Value,
        /// The vendor's status; `None`: no answer.
        status: Option<u16>,
        /// The outcome's name.
        outcome: String,
        /// The reason in words, or the start of the vendor's answer.
        message: String,
        /// How long the call took, in milliseconds.
        took_ms: u64,
    },
    /// The vendor was asked something on its behalf, without effect there.
    Asked {
        /// What for: `doubt` (did an earlier call take effect?), `match`, or `lookup.` and its name.
        what: String,
        /// The call as shown to people.
        call: Value,
        /// The vendor's status; `None`: no answer, or known from before.
        status: Option<u16>,
        /// What was found, or why the vendor did not say.
        message: String,
        /// True if it was known from before and no call was made.
        #[serde(default)]
        cached: bool,
        /// How long the call took, in milliseconds.
        took_ms: u64,
    },
    /// It goes on later.
    Waiting {
        /// The number of the attempt that is to come.
        attempt: u32,
        /// When.
        until: Timestamp,
        /// Why.
        why: String,
    },
    /// It ended.
    Ended {
        /// How: `delivered`, `rejected`, `exhausted`, `stale`, `duplicate`, `held`, `dropped`.
        ending: String,
        /// The remote id, the reason, by which event it is stale.
        detail: String,
    },
    /// A person did something.
    Operator {
        /// What.
        what: String,
    },
}

/// A step of one event's journey.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// [`Event::key`].
    pub event: String,
    /// The route, where the step belongs to one.
    pub route: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub step: Step,
}

/// A request that became no event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// The path's source, known or not.
    pub source: String,
    /// The status it was answered with.
    pub status: u16,
    /// Why, as the sender was told.
    pub why: String,
    /// From where.
    pub peer: String,
    /// The size of its body as far as it was read, in bytes.
    pub bytes: u64,
    /// The body, where nobody else has it any more: as text, or `base64:` and the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// One poll of a source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Polled {
    /// When.
    pub at: Timestamp,
    /// The source.
    pub source: String,
    /// How many events it brought.
    pub events: u64,
    /// What went wrong, or what a person should know.
    pub note: Option<String>,
    /// True if it failed.
    pub failed: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What is written into the journal.
#[derive(Clone, Debug)]
pub enum Record {
    /// A step of a delivery.
    Entry(Entry),
    /// A refused request.
    Refused(Refused),
    /// A poll.
    Polled(Polled),
}

/// Which events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EventFilter {
    /// Of this source.
    pub source: Option<String>,
    /// Of this type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Of this subject.
    pub subject: Option<String>,
    /// With this id.
    pub id: Option<String>,
    /// With this text in the body.
    pub text: Option<String>,
    /// Received at or after.
    pub from: Option<Timestamp>,
    /// Received before.
    pub to: Option<Timestamp>,
    /// Paging: only events with a lower number than this.
    pub before: Option<i64>,
    /// Paging: only events with a higher number than this.
    pub after: Option<i64>,
    /// Oldest first rather than newest first.
    #[serde(default)]
    pub oldest_first: bool,
    /// At most so many; 0: 50.
    #[serde(default)]
    pub limit: usize,
}

/// An event as the journal lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Its number in the journal, rising with receipt.
    pub seq: i64,
    /// The event; `data` is null where the body has been forgotten.
    pub event: Arc<Event>,
    /// True if the body is still there.
    pub body: bool,
    /// How it ended on each route so far: route and ending.
    pub endings: Vec<(String, String)>,
}

/// Writes and reads the history.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes received events; durable when it returns. An event that is there already is left as it is, unless it is
    /// [`Event::unfetched`] there and no longer here.
    async fn received(&self, events: Vec<Arc<Event>>) -> Result<()>;

    /// Writes a record soon: batched, never blocking. What was recorded less than a second before a kill may be
    /// missing from the journal; what a delivery came to is in the store in any case.
    fn record(&self, record: Record);

    /// Waits until everything recorded so far is durable.
    async fn flush(&self) -> Result<()>;

    /// Searches events.
    async fn events(&self, filter: EventFilter) -> Result<Vec<Listed>>;

    /// The steps of an event (by [`Event::key`]), in order.
    async fn journey(&self, event: &str) -> Result<Vec<Entry>>;

    /// The refused requests, newest first.
    async fn refused(&self, source: Option<&str>, limit: usize) -> Result<Vec<Refused>>;

    /// The polls of a source, newest first.
    async fn polled(&self, source: &str, limit: usize) -> Result<Vec<Polled>>;

    /// Forgets in small batches what is older than `keep` and bodies older than `bodies`; tells how many rows.
    async fn forget(&self, keep: Timestamp, bodies: Timestamp, limit: usize) -> Result<usize>;

    /// Stops or resumes the storing of bodies: below `min_free` only heads are written.
    fn store_bodies(&self, yes: bool);
}
