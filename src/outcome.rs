//! What is done to a record, and what an attempt came to. The worker acts on this alone and knows nothing of vendors.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is done to a record at a sink. `upsert` and `sync` of a route are resolved to these before a sink sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Make a record.
    Create,
    /// Change the record of the link.
    Update,
    /// Remove the record of the link.
    Delete,
    /// Answer the record of the link, as in a thread.
    Reply,
    /// Add a comment to it.
    Comment,
    /// Mark it as done.
    Complete,
    /// Mark it as not done after all.
    Reopen,
    /// Put tags on it.
    Tag,
    /// Add a cost to it.
    Cost,
    /// Put it elsewhere.
    Move,
    /// Let others have it.
    Share,
    /// Attach a file to it.
    Upload,
    /// Do with it what the vendor has a name for, given in the map.
    Act,
}

impl Verb {
    /// All that mean every event and need a record to be there: each is a `do` of its own.
    pub const ON_A_RECORD: [Self; 10] = [
        Self::Reply,
        Self::Comment,
        Self::Complete,
        Self::Reopen,
        Self::Tag,
        Self::Cost,
        Self::Move,
        Self::Share,
        Self::Upload,
        Self::Act,
    ];

    /// True if there is nothing to do without a `map`.
    #[must_use]
    pub fn needs_map(self) -> bool {
        !matches!(self, Self::Delete | Self::Complete | Self::Reopen)
    }

    /// The verb as in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Reply => "reply",
            Self::Comment => "comment",
            Self::Complete => "complete",
            Self::Reopen => "reopen",
            Self::Tag => "tag",
            Self::Cost => "cost",
            Self::Move => "move",
            Self::Share => "share",
            Self::Upload => "upload",
            Self::Act => "act",
        }
    }
}

/// What one attempt at a delivery came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// The vendor said yes.
    Delivered {
        /// The vendor's id of the record, if it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote_id: Option<String>,
    },
    /// Not now: 429, 5xx, failed before it was sent, transient codes.
    Retry {
        /// The vendor's own word on when to come back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Duration>,
        /// True if the vendor asked the whole account to slow down (a 429).
        #[serde(default)]
        account: bool,
        /// In words, for people.
        why: String,
    },
    /// This record can never succeed.
    Reject {
        /// In words, for people.
        why: String,
    },
    /// This record was refused for want of a permission. One alone is as [`Outcome::Reject`]; where several subjects in a
    /// row are refused the permission is gone, and the sink stops.
    Refused {
        /// In words, for people.
        why: String,
    },
    /// Nothing will succeed there for now: credentials, quota, permission, app switched off.
    Suspend {
        /// What has to stop.
        what: Scope,
        /// In words, for people.
        why: String,
        /// When it resumes by itself; `None`: when a probe succeeds or a person says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Sent, no answer, and the operation is not idempotent (promise P6).
    Unknown {
        /// In words, for people.
        why: String,
    },
}

impl Outcome {
    /// A retry on the route's own schedule.
    #[must_use]
    pub fn retry(why: impl Into<String>) -> Self {
        Self::Retry { after: None, account: false, why: why.into() }
    }

    /// A record that can never succeed.
    #[must_use]
    pub fn reject(why: impl Into<String>) -> Self {
        Self::Reject { why: why.into() }
    }

    /// A record that was refused for want of a permission.
    #[must_use]
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }

    /// The outcome's name, as in traces and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Retry { .. } => "retry",
            Self::Reject { .. } | Self::Refused { .. } => "reject",
            Self::Suspend { .. } => "suspend",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The reason in words; `None` for a success.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Delivered { .. } => None,
            Self::Retry { why, .. }
            | Self::Reject { why }
            | Self::Refused { why }
            | Self::Suspend { why, .. }
            | Self::Unknown { why } => Some(why),
        }
    }
}

/// What can be stopped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// An account, with all its sources and sinks.
    Account,
    /// One sink.
    Sink,
    /// One route.
    Route,
    /// One source.
    Source,
}

impl Scope {
    /// The word of the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Sink => "sink",
            Self::Route => "route",
            Self::Source => "source",
        }
    }
}
