//! What a poller is: a cursor and a memory in, a page of news out.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::SendError;
use crate::event::NewEvent;

pub mod keys;

/// Asks a vendor for news.
#[async_trait]
pub trait Poller: Send + Sync {
    /// How long to wait between two polls.
    fn every(&self) -> Duration;

    /// Reads what happened since `cursor` (`None` at the first poll). The events of one page become durable before its
    /// cursor and its changes of the snapshot are stored, together, so a crash in between repeats a page and never skips
    /// one.
    ///
    /// # Errors
    /// [`PollError`]; cursor and snapshot stay as they were.
    async fn poll(&self, cursor: Option<&Value>, memory: &dyn Memory) -> Result<Page, PollError>;

    /// The cursor from which polling brings the source's past from this time on (`None`: all of it), with an empty
    /// memory; `None` if the vendor has no past to read.
    fn past(&self, from: Option<Timestamp>) -> Option<Value> {
        let _ = from;
        None
    }
}

/// What one poll brought.
#[derive(Debug, Default)]
pub struct Page {
    /// News, oldest first.
    pub events: Vec<NewEvent>,
    /// Where to go on.
    pub cursor: Value,
    /// True if there is more right now.
    pub more: bool,
    /// What the source remembers from now on, for a poller that compares with what it saw last.
    pub changes: Vec<Change>,
    /// How many subjects were remembered before, for a poll that can delete: where its `*.deleted` events are too many
    /// of them a person is asked first (promise P9).
    pub known: Option<u64>,
    /// Something a person should read in the log and the journal, as how much the start date leaves out.
    pub note: Option<String>,
}

/// Why a poll failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// Passing: again at the next turn, or after `after`.
    #[error("{why}")]
    Retry {
        /// The vendor's word on when to come back.
        after: Option<Duration>,
        /// True if that word is for the whole account (429), false if only for this source.
        account: bool,
        /// In words.
        why: String,
    },
    /// Credentials or permissions: the account is suspended until a person resumes it.
    #[error("{why}")]
    Suspend {
        /// In words.
        why: String,
    },
    /// What came makes no sense or would do harm: this source stops and asks a person.
    #[error("{why}")]
    Stop {
        /// In words.
        why: String,
    },
}

impl PollError {
    /// Passing trouble that is this source's alone.
    pub fn retry(after: Option<Duration>, why: impl Into<String>) -> Self {
        Self::Retry { after, account: false, why: why.into() }
    }

    /// Stops the source.
    pub fn stop(why: impl Into<String>) -> Self {
        Self::Stop { why: why.into() }
    }
}

impl From<SendError> for PollError {
    /// A question can be asked again, whether it reached the vendor or not; not with credentials that are refused.
    fn from(error: SendError) -> Self {
        match error {
            SendError::Refused(why) => Self::Suspend { why },
            SendError::NotSent(_) | SendError::NoAnswer(_) => Self::retry(None, error.to_string()),
        }
    }
}

/// Reads a stored cursor.
///
/// # Errors
/// [`PollError::Stop`] for what another version, or another kind of source, has left there.
pub(super) fn read_cursor<T: DeserializeOwned>(value: &Value) -> Result<T, PollError> {
    T::deserialize(value).map_err(|error| {
        PollError::stop(format!("the stored cursor cannot be read ({error}); forget it to start anew"))
    })
}

/// What a source remembered at its last poll: one entry a subject.
#[async_trait]
pub trait Memory: Send + Sync {
    /// The hashes of all subjects by key: enough to see what changed and what is missing.
    ///
    /// # Errors
    /// [`PollError::Retry`] while the store cannot be read.
    async fn hashes(&self) -> Result<BTreeMap<String, String>, PollError>;

    /// One subject, whole.
    ///
    /// # Errors
    /// [`PollError::Retry`] while the store cannot be read.
    async fn get(&self, key: &str) -> Result<Option<Remembered>, PollError>;
}

/// A subject as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Tells whether it changed.
    pub hash: String,
    /// What its `*.deleted` event will carry.
    pub value: Value,
}

/// A change of what is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The subject.
    pub key: String,
    /// As it is now; `None`: forgotten.
    pub now: Option<Remembered>,
}

/// The memory of a source that remembers nothing: its first poll, and its past.
#[derive(Clone, Copy, Debug)]
pub struct NoMemory;

#[async_trait]
impl Memory for NoMemory {
    async fn hashes(&self) -> Result<BTreeMap<String, String>, PollError> {
        Ok(BTreeMap::new())
    }

    async fn get(&self, _: &str) -> Result<Option<Remembered>, PollError> {
        Ok(None)
    }
}
