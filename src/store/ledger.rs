//! What the ledger and the links say: how far a delivery is, what is asked before an attempt, and what is written
//! around it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::DeadLetter;
use crate::event::{Received, Version};
use crate::outcome::Verb;

/// Which delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeliveryKey {
    /// The route's name.
    pub route: String,
    /// [`Event::key`](crate::event::Event::key).
    pub event: String,
    /// [`Event::generation`](crate::event::Event::generation).
    pub generation: u32,
}

/// Which link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkKey {
    /// The route's name, or that of links that several routes share.
    pub owner: String,
    /// The rendered key; by default [`Event::subject_key`](crate::event::Event::subject_key).
    pub key: String,
}

/// What is remembered about a subject at a sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The vendor's id of the record.
    pub remote_id: Option<String>,
    /// The version that was last applied.
    pub version: Option<Version>,
    /// The receipt of the event that was last applied; [`Received::BEFORE_ALL`] if none was.
    pub received: Received,
    /// What is known of the record.
    pub state: LinkState,
    /// The hash of what was last written into it: the same again needs no call. `None` once it may hold anything else.
    pub content: Option<Content>,
}

/// The hash of a record's content.
pub type Content = [u8; 16];

/// What is known of a linked record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It is unknown whether the last call took effect.
    InDoubt,
    /// It is there.
    Linked,
    /// It was removed.
    Deleted,
}

/// How far a delivery is, by the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Progress {
    /// It waits for an attempt.
    Waiting {
        /// When the next attempt is due.
        due: Timestamp,
    },
    /// A call may be under way: an intent without an outcome.
    Open {
        /// What the call was to do.
        verb: Verb,
    },
    /// In doubt; a person decides.
    Held {
        /// What the call was to do.
        verb: Verb,
    },
    /// It ended.
    Done {
        /// How: `delivered`, `rejected`, `stale` and the like.
        ending: String,
    },
}

/// The ledger's line of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The number of the attempt that is next or under way, from 1. A message with a lower one is a leftover.
    pub attempt: u32,
    /// How far it is.
    pub progress: Progress,
    /// When its first retry was asked for: where `give_up_after` starts.
    pub first_retry: Option<Timestamp>,
    /// The call of which it is unknown whether it took effect; of an ended or held delivery there is none.
    pub doubt: Option<Doubt>,
}

/// A call of which it is unknown whether it took effect (promise P6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// What it was to do.
    pub verb: Verb,
    /// When the first of them began: what it made, if it made anything, is no older.
    pub since: Timestamp,
}

/// An unfinished delivery that must end before a later one of the same link may begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Ahead {
    /// Its event's key.
    pub event: String,
    /// How far it is.
    pub progress: Progress,
    /// How many more must end before the later one may begin; no more than a thousand are counted.
    pub others: u32,
}

/// All that is known before an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// This delivery's line in the ledger; `None` if it was never seen, or is forgotten.
    pub entry: Option<LedgerEntry>,
    /// Another event of this route that this one repeats (same body, see [`Event::body_key`](crate::event::Event::body_key)).
    pub repeats: Option<String>,
    /// The receipt that this delivery counts by so far, while it is unfinished: the first one that the ledger has seen.
    pub received: Option<Received>,
    /// The link.
    pub link: Option<Link>,
    /// The links of [`Question::others`], in that order.
    pub others: Vec<Option<Link>>,
    /// The first delivery of the same link that must end before this one may begin: one that is unfinished and was
    /// received earlier, or one under way or in doubt, whenever it was received.
    pub ahead: Option<Ahead>,
    /// Until when another process has this very delivery under way, by the store's clock.
    pub busy: Option<Timestamp>,
}

/// What [`Store::standing`](super::Store::standing) is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The delivery.
    pub delivery: DeliveryKey,
    /// [`Event::body_key`](crate::event::Event::body_key).
    pub body_key: Option<String>,
    /// Its link.
    pub link: LinkKey,
    /// Links of other routes that its templates name.
    pub others: Vec<LinkKey>,
    /// Deliveries on its route that it stands for: those of them that wait are not ahead of it.
    pub instead_of: Vec<DeliveryKey>,
    /// [`Event::received`](crate::event::Event::received).
    pub received: Received,
    /// The time: entries that expired before it are as if they were not there.
    pub now: Timestamp,
}

/// An attempt that is about to be made: written before the call.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The delivery.
    pub delivery: DeliveryKey,
    /// [`Event::body_key`](crate::event::Event::body_key).
    pub body_key: Option<String>,
    /// Its link.
    pub link: LinkKey,
    /// What that link was when it was decided what to do. The time until a permit is free is long enough for another
    /// process to make the record.
    pub seen: Option<Link>,
    /// [`Event::received`](crate::event::Event::received).
    pub received: Received,
    /// [`Event::version`](crate::event::Event::version).
    pub version: Option<Version>,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The ledger's new [`LedgerEntry::first_retry`].
    pub first_retry: Option<Timestamp>,
    /// What the call will do.
    pub verb: Verb,
    /// Since when it is unknown whether a call took effect: now, unless an earlier one is still in doubt.
    pub since: Timestamp,
    /// When the ledger may forget it once it has ended.
    pub expires: Timestamp,
    /// The account to charge one call to, with its monthly limit.
    pub charge: Option<Charge>,
    /// As [`Question::instead_of`].
    pub instead_of: Vec<DeliveryKey>,
}

/// One call on an account's monthly quota.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The account's name.
    pub account: String,
    /// The month in the account's zone, as `2026-11`.
    pub month: String,
    /// How many calls the month has; `None`: count only.
    pub limit: Option<u64>,
}

/// How long an intent belongs to the process that wrote it, unless it is settled or renewed: longer than a pause of the
/// process should last, and as long as a subject waits when a process died during a call.
pub const LEASE: Duration = Duration::from_secs(30);

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The intent is written and the call charged. It is this process's alone for [`LEASE`], or until it is settled.
    Go,
    /// Nothing was written: another delivery of the link has to end first, another process has this one under way or has
    /// made this attempt, or the link is not as it was seen.
    Busy,
    /// Nothing was written: the month's calls are used up.
    UsedUp {
        /// How many were made.
        used: u64,
    },
}

/// How a delivery goes on after an attempt, or without one.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The delivery.
    pub delivery: DeliveryKey,
    /// [`Event::body_key`](crate::event::Event::body_key), so that a delivery that ends without an attempt is known as well.
    pub body_key: Option<String>,
    /// Its link.
    pub link: LinkKey,
    /// [`Event::received`](crate::event::Event::received).
    pub received: Received,
    /// [`Event::version`](crate::event::Event::version).
    pub version: Option<Version>,
    /// The ledger's new line.
    pub entry: LedgerEntry,
    /// When the ledger may forget it once it has ended.
    pub expires: Timestamp,
    /// The link's new state; `None`: as it was.
    pub new_link: Option<Link>,
    /// True if the call was certainly not sent and is to be given back to the quota.
    pub refund: Option<Charge>,
    /// The dead letter, if the delivery was given up or is held.
    pub dead: Option<DeadLetter>,
    /// What it follows from, and must still be so.
    pub basis: Basis,
}

/// What the end of an attempt, or of a delivery without one, follows from.
#[derive(Clone, Debug)]
pub enum Basis {
    /// Nothing that another process could change.
    Delivery,
    /// An intent: no other process may have taken the delivery up since.
    Intent,
    /// What the link is: it may not have changed since, and no other delivery may have to end first.
    Link {
        /// The link as it was seen.
        seen: Option<Link>,
        /// As [`Question::instead_of`].
        instead_of: Vec<DeliveryKey>,
    },
}
