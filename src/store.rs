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
use crate::event::Event;
use crate::outcome::Scope;

pub mod journal;
mod ledger;
/// Permits that processes share.
pub mod permits;
/// SQLite: WAL, `synchronous=FULL`, one writer thread.
pub mod sqlite;

pub use ledger::{
    Ahead, Basis, Begun, Charge, Content, DeliveryKey, Doubt, Intent, LEASE, LedgerEntry, Link, LinkKey, LinkState,
    Progress, Question, Settlement, Standing,
};

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
