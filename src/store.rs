//! What remembers: ledger, links, dead letters, cursors, quotas, suspensions; and the journal for people to read.
//!
//! # Order of commits
//! A delivery is [`Store::standing`] (what is known) → [`Store::begin`] (intent and quota charge) → the call →
//! [`Store::settle`] (outcome, link, ledger, dead letter) → the broker's ack. Each of them is one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::connectors::{Change, Remembered};
use crate::event::{Event, Received, Version};
use crate::outcome::{Scope, Verb};

pub mod journal;
/// Permits that processes share.
pub mod permits;
/// SQLite: WAL, `synchronous=FULL`, one writer thread.
pub mod sqlite;

/// A store that cannot do what it is asked now.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file is held by another process.
    #[error("{path} is in use by another dari (process {holder})")]
    Held {
        /// The file.
        path: String,
        /// The process id that the lock names, or `unknown`.
        holder: String,
    },
    /// The file was written by a newer dari.
    #[error("{path} was written by a newer version of dari (schema {found}, this one knows {known})")]
    Newer {
        /// The file.
        path: String,
        /// The schema found.
        found: i64,
        /// The newest schema known.
        known: i64,
    },
    /// The lease ran out or was taken over: what was to be written is not.
    #[error("{0} is held by another")]
    Fenced(String),
    /// Another delivery of the link came in between.
    #[error("{0} was overtaken by another delivery of its link")]
    Overtaken(String),
    /// The database said no.
    #[error("{doing}: {why}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The database's words.
        why: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// The result of a store's operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Which delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeliveryKey {
    /// The route's name.
    pub route: String,
    /// [`Event::key`].
    pub event: String,
    /// [`Event::generation`].
    pub generation: u32,
}

/// Which link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkKey {
    /// The route's name, or that of links that several routes share.
    pub owner: String,
    /// The rendered key; by default [`Event::subject_key`].
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
    /// Another event of this route that this one repeats (same body, see [`Event::body_key`]).
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

/// What [`Store::standing`] is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The delivery.
    pub delivery: DeliveryKey,
    /// [`Event::body_key`].
    pub body_key: Option<String>,
    /// Its link.
    pub link: LinkKey,
    /// Links of other routes that its templates name.
    pub others: Vec<LinkKey>,
    /// Deliveries on its route that it stands for: those of them that wait are not ahead of it.
    pub instead_of: Vec<DeliveryKey>,
    /// [`Event::received`].
    pub received: Received,
    /// The time: entries that expired before it are as if they were not there.
    pub now: Timestamp,
}

/// An attempt that is about to be made: written before the call.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The delivery.
    pub delivery: DeliveryKey,
    /// [`Event::body_key`].
    pub body_key: Option<String>,
    /// Its link.
    pub link: LinkKey,
    /// What that link was when it was decided what to do. The time until a permit is free is long enough for another
    /// process to make the record.
    pub seen: Option<Link>,
    /// [`Event::received`].
    pub received: Received,
    /// [`Event::version`].
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
    /// [`Event::body_key`], so that a delivery that ends without an attempt is known as well.
    pub body_key: Option<String>,
    /// Its link.
    pub link: LinkKey,
    /// [`Event::received`].
    pub received: Received,
    /// [`Event::version`].
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

/// Why a delivery is with the dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadClass {
    /// The record can never succeed: the mapping or the vendor refused it.
    Payload,
    /// It was retried until `give_up_after`.
    Exhausted,
    /// It made the worker crash.
    Poison,
    /// In doubt: a person decides (`dari dead mark`).
    Held,
    /// Its route was retired before it was delivered.
    Retired,
}

/// A delivery that was given up or is held, kept until a person replays, marks or drops it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The delivery.
    pub delivery: DeliveryKey,
    /// The event, whole: it may be replayed when the journal has forgotten it.
    pub event: Arc<Event>,
    /// The sink.
    pub sink: String,
    /// Whose fault.
    pub class: DeadClass,
    /// Why, in words.
    pub reason: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// The rendered call as shown to people, if it came so far.
    #[serde(default)]
    pub call: Option<Value>,
    /// When.
    pub at: Timestamp,
}

/// A stored dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredDead {
    /// Its number, for `dari dead show N`.
    pub id: i64,
    /// What it is.
    pub letter: DeadLetter,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeadFilter {
    /// Of this route only.
    pub route: Option<String>,
    /// Of this class only.
    pub class: Option<DeadClass>,
    /// After this id (paging).
    pub after: Option<i64>,
    /// At most so many; 0: 100.
    #[serde(default)]
    pub limit: usize,
}

/// An unfinished delivery that no person decides on: it waits, or a call may be under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfinished {
    /// [`Event::key`].
    pub event: String,
    /// [`Event::generation`].
    pub generation: u32,
    /// Its line in the ledger.
    pub entry: LedgerEntry,
}

/// How much of a route waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The route.
    pub route: String,
    /// Deliveries whose next attempt is not due yet.
    pub waiting: u64,
    /// When the oldest of those that wait or are due was received.
    pub oldest: Option<Timestamp>,
}

/// Something that was stopped as a whole, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// What kind of thing.
    pub scope: Scope,
    /// Its name in the config.
    pub name: String,
    /// Why, in words.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When it resumes by itself; `None`: a probe or a person.
    pub until: Option<Timestamp>,
    /// When it is tried next whether it works again; `None`: only its time or a person resumes it.
    #[serde(default)]
    pub probe: Option<Timestamp>,
}

/// A fencing token: only the newest holder of a lease can write under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// What is leased.
    pub name: String,
    /// Rises with every holder.
    pub token: i64,
}

/// What remembers. Every method is one transaction, durable when it returns.
#[async_trait]
pub trait Store: Send + Sync {
    // === Deliveries ===

    /// All that is known before an attempt.
    async fn standing(&self, question: Question) -> Result<Standing>;

    /// Writes an intent (progress [`Progress::Open`]) and charges the call; or writes nothing. What is known of the
    /// linked record's content is forgotten: only an outcome can tell again.
    async fn begin(&self, intent: Intent) -> Result<Begun>;

    /// Keeps an open intent for another [`LEASE`], if it is still this process's own.
    async fn renew(&self, delivery: DeliveryKey) -> Result<()>;

    /// Writes how a delivery goes on.
    ///
    /// Fails with [`StoreError::Fenced`] if another process has it under way, or has taken it up since its intent; with
    /// [`StoreError::Overtaken`] if the link by which it was decided is not as it was.
    async fn settle(&self, settlement: Settlement) -> Result<()>;

    /// Sets the ledger's attempt: called when the message of the next attempt is durable in the broker.
    async fn advance(&self, delivery: DeliveryKey, attempt: u32) -> Result<()>;

    /// Ends an unfinished delivery as `skipped`: its route takes it no more. What is held stays held.
    async fn leave(&self, delivery: DeliveryKey) -> Result<()>;

    /// The ledger's line of a delivery.
    async fn entry(&self, delivery: DeliveryKey) -> Result<Option<LedgerEntry>>;

    /// Writes the first line of a delivery, unless it has one; true if it was written.
    async fn enlist(&self, settlement: Settlement) -> Result<bool>;

    /// The unfinished deliveries of a route, those that are held left out, in order of receipt.
    async fn unfinished(&self, route: &str) -> Result<Vec<Unfinished>>;

    /// What waits, by route; routes of which nothing waits may be missing.
    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>>;

    /// Forgets at most `limit` ended ledger lines that expired before `now`; tells how many.
    async fn expire(&self, now: Timestamp, limit: usize) -> Result<usize>;

    // === Dead letters ===

    /// Lists dead letters, oldest first.
    async fn dead(&self, filter: DeadFilter) -> Result<Vec<StoredDead>>;

    /// One dead letter.
    async fn dead_letter(&self, id: i64) -> Result<Option<StoredDead>>;

    /// How many dead letters there are, by route and class.
    async fn dead_counts(&self) -> Result<Vec<(String, DeadClass, u64)>>;

    /// Drops a dead letter and ends its delivery as `dropped` if it was held. False if there is none.
    async fn drop_dead(&self, id: i64) -> Result<bool>;

    /// Marks a held delivery as delivered: ends it, sets the link, and removes the dead letter. False if there is none,
    /// or it is being tried again; where that has ended, the letter goes.
    async fn mark_delivered(&self, id: i64, remote_id: Option<String>, now: Timestamp) -> Result<bool>;

    /// Makes a held delivery ready to be tried again: its ledger line becomes [`Progress::Waiting`], its link is as it
    /// was before. The letter stays until [`Store::forget_dead`]. False if there is none, or it is no longer held
    /// because an earlier try is under way or has ended; then the letter goes.
    async fn retry_held(&self, id: i64, now: Timestamp) -> Result<bool>;

    /// Removes a dead letter whose event was published again, and nothing else; not if it was written anew since `at`
    /// ([`DeadLetter::at`]).
    async fn forget_dead(&self, id: i64, at: Timestamp) -> Result<()>;

    /// The next replay generation, unique and rising.
    async fn next_generation(&self) -> Result<u32>;

    // === Cursors ===

    /// Takes or renews a lease for `ttl_ms` milliseconds by the store's clock; `None` while another owner holds it.
    async fn lease(&self, name: &str, owner: &str, ttl_ms: u64, now: Timestamp) -> Result<Option<Fence>>;

    /// Gives a lease back.
    async fn release(&self, fence: Fence) -> Result<()>;

    /// A source's cursor.
    async fn cursor(&self, source: &str) -> Result<Option<Value>>;

    /// Writes a source's cursor and the changes of its snapshot under a fence, together.
    ///
    /// Fails with [`StoreError::Fenced`] if another has taken the lease since.
    async fn commit_cursor(&self, source: &str, fence: &Fence, cursor: Value, changes: Vec<Change>) -> Result<()>;

    /// The hashes of a source's snapshot by key.
    async fn snapshot(&self, source: &str) -> Result<BTreeMap<String, String>>;

    /// One entry of a source's snapshot.
    async fn remembered(&self, source: &str, key: &str) -> Result<Option<Remembered>>;

    /// Forgets a source's cursor and snapshot.
    async fn forget_cursor(&self, source: &str) -> Result<()>;

    // === Accounts ===

    /// Takes, renews or gives back this process's share of an account's concurrency, by the store's clock; how many calls
    /// at once it may make until the share runs out ([`permits::grant`]).
    async fn share(&self, ask: permits::ShareAsk) -> Result<u32>;

    /// Reserves the next turns of an account by its rate, by the store's clock; how long it is until the first. Turns
    /// outlast a restart, so none is given twice.
    async fn turns(&self, ask: permits::TurnAsk) -> Result<Duration>;

    /// Suspends; true if it was not suspended before (so that people are told once). A later `until` wins, and the first
    /// `since` stays.
    async fn suspend(&self, suspension: Suspension) -> Result<bool>;

    /// Resumes; true if it was suspended.
    async fn resume(&self, scope: Scope, name: &str) -> Result<bool>;

    /// Resumes what is suspended exactly so, by `since` and `until`; false if it was resumed, or suspended anew, meanwhile.
    async fn lift(&self, suspension: Suspension) -> Result<bool>;

    /// Moves the next probe of a suspension from [`Suspension::probe`] to `next`; true for one caller alone, who is to
    /// make the probe.
    async fn claim_probe(&self, suspension: Suspension, next: Timestamp) -> Result<bool>;

    /// Everything that is suspended.
    async fn suspensions(&self) -> Result<Vec<Suspension>>;

    /// How many calls an account has made in a month.
    async fn used(&self, account: &str, month: &str) -> Result<u64>;

    /// Charges a call that belongs to no delivery; or writes nothing.
    async fn charge(&self, charge: Charge) -> Result<Begun>;

    /// Gives a call back that was charged and certainly not sent.
    async fn refund(&self, charge: Charge) -> Result<()>;

    /// Sets that number: for a start in mid-month.
    async fn set_used(&self, account: &str, month: &str, used: u64) -> Result<()>;

    // === Names ===

    /// A small value kept under a name: what was declared last time, this store's id.
    async fn fact(&self, name: &str) -> Result<Option<Value>>;

    /// Keeps a small value under a name.
    async fn set_fact(&self, name: &str, value: Value) -> Result<()>;

    /// How many links an owner has (`0` if none), for the refusals at start.
    async fn link_count(&self, owner: &str) -> Result<u64>;

    /// Forgets a route's ledger, and with `links` the links of its name; how many links there were. Its dead letters stay
    /// until they are dropped.
    async fn forget_route(&self, owner: &str, links: bool) -> Result<u64>;

    /// Moves links and ledger from a route's former name to its new one.
    async fn rename_route(&self, from: &str, to: &str) -> Result<()>;

    /// Moves what is known of a source to its new name: its cursor, its suspension, and of these owners the links and
    /// unfinished deliveries whose key is [`Event::subject_key`]. What the new name already knows stays.
    async fn rename_source(&self, from: &str, to: &str, owners: &[String]) -> Result<()>;

    /// Moves a sink's suspension to its new name; for one that is `its_own_account`, the account's and its used calls
    /// too.
    async fn rename_sink(&self, from: &str, to: &str, its_own_account: bool) -> Result<()>;
}
