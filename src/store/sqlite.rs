//! The store in a SQLite file: WAL, `synchronous=FULL`, one writer thread whose commits all callers share.

mod accounts;
mod backlog;
mod backup;
mod codec;
mod count;
mod database;
mod dead;
mod deliveries;
mod intents;
mod leases;
mod lock;
mod permits;
mod renames;
mod schema;
mod seed;
mod simulated;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

pub use backup::{Copy, copy};
pub(crate) use codec::{json, key, micros, parse, time, unreadable};
pub use count::count;
pub use database::Database;
pub use schema::Migrations;
pub use seed::seed;
pub use simulated::{Calm, Weather};

use super::permits::{ShareAsk, TurnAsk};
use super::{
    Backlog, Begun, Charge, DeadClass, DeadFilter, DeliveryKey, Fence, Intent, LedgerEntry, Question, Result,
    Settlement, Standing, Store, StoreError, StoredDead, Suspension, Unfinished,
};
use crate::clock::Clock;
use crate::connectors::{Change, Remembered};
use crate::outcome::Scope;
use intents::Settled;

/// The schema of the store's file, the embedded broker's tables included.
pub const MIGRATIONS: Migrations = &[
    include_str!("sqlite/migrations/0001_start.sql"),
    include_str!("sqlite/migrations/0002_queue.sql"),
    include_str!("sqlite/migrations/0003_snapshot.sql"),
    include_str!("sqlite/migrations/0004_backlog.sql"),
    include_str!("sqlite/migrations/0005_accounts.sql"),
    include_str!("sqlite/migrations/0006_doubt.sql"),
    include_str!("sqlite/migrations/0007_links.sql"),
];

/// Opens the file of the store and the embedded broker.
///
/// # Errors
/// [`StoreError::Held`], [`StoreError::Newer`], [`StoreError::Failed`].
pub fn open(path: &Path) -> Result<Arc<Database>> {
    // One process at a time has the file: who wrote the intents that are open is gone.
    Database::open_and(path, MIGRATIONS, "UPDATE ledger SET until = 0 WHERE state = 1 AND until > 0").map(Arc::new)
}

/// The store over a [`Database`].
#[derive(Debug)]
pub struct SqliteStore {
    db: Arc<Database>,
    clock: Clock,
    /// Whose the intents are that are written here.
    holder: Arc<str>,
}

impl SqliteStore {
    /// A store in a file opened with [`open`]. Two of one file are as two processes that share a store.
    #[must_use]
    pub fn new(db: Arc<Database>, clock: Clock) -> Self {
        Self { db, clock, holder: uuid::Uuid::now_v7().to_string().into() }
    }

    /// The file.
    #[must_use]
    pub fn database(&self) -> &Arc<Database> {
        &self.db
    }
}

#[async_trait]
impl Store for SqliteStore {
    // === Deliveries ===

    async fn standing(&self, question: Question) -> Result<Standing> {
        let (holder, now) = (Arc::clone(&self.holder), self.clock.now());
        self.db.read("reading the ledger", move |db| deliveries::standing(db, &question, &holder, now)).await
    }

    async fn begin(&self, intent: Intent) -> Result<Begun> {
        let (holder, now) = (Arc::clone(&self.holder), self.clock.now());
        self.db.write("writing an intent", move |db| intents::begin(db, &intent, &holder, now)).await
    }

    async fn renew(&self, delivery: DeliveryKey) -> Result<()> {
        let (holder, now) = (Arc::clone(&self.holder), self.clock.now());
        self.db.write("keeping an intent", move |db| intents::renew(db, &delivery, &holder, now)).await
    }

    async fn settle(&self, settlement: Settlement) -> Result<()> {
        let (holder, now) = (Arc::clone(&self.holder), self.clock.now());
        let of = settlement.delivery.event.clone();
        let settle = move |db: &_| deliveries::settle(db, &settlement, &holder, now);
        match self.db.write("writing an outcome", settle).await? {
            Settled::Yes => Ok(()),
            Settled::Fenced => Err(StoreError::Fenced(of)),
            Settled::Overtaken => Err(StoreError::Overtaken(of)),
        }
    }

    async fn advance(&self, delivery: DeliveryKey, attempt: u32) -> Result<()> {
        self.db.write("writing an attempt", move |db| deliveries::advance(db, &delivery, attempt)).await
    }

    async fn leave(&self, delivery: DeliveryKey) -> Result<()> {
        self.db.write("leaving a delivery", move |db| deliveries::leave(db, &delivery)).await
    }

    async fn entry(&self, delivery: DeliveryKey) -> Result<Option<LedgerEntry>> {
        let now = self.clock.now();
        self.db.read("reading the ledger", move |db| deliveries::entry(db, &delivery, now)).await
    }

    async fn enlist(&self, settlement: Settlement) -> Result<bool> {
        let (holder, now) = (Arc::clone(&self.holder), self.clock.now());
        self.db.write("writing a delivery", move |db| deliveries::enlist(db, &settlement, &holder, now)).await
    }

    async fn unfinished(&self, route: &str) -> Result<Vec<Unfinished>> {
        let route = route.to_owned();
        self.db.read("listing what is unfinished", move |db| backlog::unfinished(db, &route)).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>> {
        self.db.read("counting what waits", move |db| backlog::backlog(db, now)).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<usize> {
        self.db.write("forgetting old deliveries", move |db| deliveries::expire(db, now, limit)).await
    }

    // === Dead letters ===

    async fn dead(&self, filter: DeadFilter) -> Result<Vec<StoredDead>> {
        self.db.read("listing dead letters", move |db| dead::list(db, &filter)).await
    }

    async fn dead_letter(&self, id: i64) -> Result<Option<StoredDead>> {
        self.db.read("reading a dead letter", move |db| dead::get(db, id)).await
    }

    async fn dead_counts(&self) -> Result<Vec<(String, DeadClass, u64)>> {
        self.db.read("counting dead letters", dead::counts).await
    }

    async fn drop_dead(&self, id: i64) -> Result<bool> {
        self.db.write("dropping a dead letter", move |db| dead::drop_letter(db, id)).await
    }

    async fn mark_delivered(&self, id: i64, remote_id: Option<String>, _now: Timestamp) -> Result<bool> {
        self.db.write("marking a delivery", move |db| dead::mark_delivered(db, id, remote_id.as_deref())).await
    }

    async fn retry_held(&self, id: i64, now: Timestamp) -> Result<bool> {
        self.db.write("retrying a held delivery", move |db| dead::retry_held(db, id, now)).await
    }

    async fn forget_dead(&self, id: i64, at: Timestamp) -> Result<()> {
        self.db.write("forgetting a dead letter", move |db| dead::forget(db, id, at)).await
    }

    async fn next_generation(&self) -> Result<u32> {
        self.db.write("numbering a replay", accounts::next_generation).await
    }

    // === Cursors ===

    async fn lease(&self, name: &str, owner: &str, ttl_ms: u64, now: Timestamp) -> Result<Option<Fence>> {
        let (name, owner) = (name.to_owned(), owner.to_owned());
        self.db.write("taking a lease", move |db| leases::take(db, &name, &owner, ttl_ms, now)).await
    }

    async fn release(&self, fence: Fence) -> Result<()> {
        self.db.write("giving a lease back", move |db| leases::release(db, &fence)).await
    }

    async fn cursor(&self, source: &str) -> Result<Option<Value>> {
        let source = source.to_owned();
        self.db.read("reading a cursor", move |db| leases::cursor(db, &source)).await
    }

    async fn commit_cursor(&self, source: &str, fence: &Fence, cursor: Value, changes: Vec<Change>) -> Result<()> {
        let (source, under) = (source.to_owned(), fence.clone());
        let write = move |db: &_| leases::commit_cursor(db, &source, &under, &cursor, &changes);
        let written = self.db.write("writing a cursor", write).await?;
        if written { Ok(()) } else { Err(StoreError::Fenced(fence.name.clone())) }
    }

    async fn snapshot(&self, source: &str) -> Result<BTreeMap<String, String>> {
        let source = source.to_owned();
        self.db.read("reading a snapshot", move |db| leases::snapshot(db, &source)).await
    }

    async fn remembered(&self, source: &str, key: &str) -> Result<Option<Remembered>> {
        let (source, key) = (source.to_owned(), key.to_owned());
        self.db.read("reading a snapshot", move |db| leases::remembered(db, &source, &key)).await
    }

    async fn forget_cursor(&self, source: &str) -> Result<()> {
        let source = source.to_owned();
        self.db.write("forgetting a cursor", move |db| leases::forget_cursor(db, &source)).await
    }

    // === Accounts ===

    async fn share(&self, ask: ShareAsk) -> Result<u32> {
        let now = self.clock.now();
        self.db.write("taking a share of an account", move |db| permits::share(db, &ask, now)).await
    }

    async fn turns(&self, ask: TurnAsk) -> Result<Duration> {
        let now = self.clock.now();
        let first = self.db.write("reserving calls", move |db| permits::turns(db, &ask, now)).await?;
        Ok(Duration::try_from(first.duration_since(now)).unwrap_or_default())
    }

    async fn suspend(&self, suspension: Suspension) -> Result<bool> {
        self.db.write("suspending", move |db| accounts::suspend(db, &suspension)).await
    }

    async fn resume(&self, scope: Scope, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.db.write("resuming", move |db| accounts::resume(db, scope, &name)).await
    }

    async fn lift(&self, suspension: Suspension) -> Result<bool> {
        self.db.write("resuming", move |db| accounts::lift(db, &suspension)).await
    }

    async fn claim_probe(&self, suspension: Suspension, next: Timestamp) -> Result<bool> {
        self.db.write("claiming a probe", move |db| accounts::claim_probe(db, &suspension, next)).await
    }

    async fn suspensions(&self) -> Result<Vec<Suspension>> {
        self.db.read("listing what is suspended", accounts::suspensions).await
    }

    async fn used(&self, account: &str, month: &str) -> Result<u64> {
        let (account, month) = (account.to_owned(), month.to_owned());
        self.db.read("reading a quota", move |db| deliveries::used(db, &account, &month)).await
    }

    async fn charge(&self, charge: Charge) -> Result<Begun> {
        self.db.write("charging a call", move |db| accounts::charge(db, &charge)).await
    }

    async fn refund(&self, charge: Charge) -> Result<()> {
        self.db.write("giving a call back", move |db| deliveries::add_calls(db, &charge, -1)).await
    }

    async fn set_used(&self, account: &str, month: &str, used: u64) -> Result<()> {
        let (account, month) = (account.to_owned(), month.to_owned());
        self.db.write("setting a quota", move |db| accounts::set_used(db, &account, &month, used)).await
    }

    // === Names ===

    async fn fact(&self, name: &str) -> Result<Option<Value>> {
        let name = name.to_owned();
        self.db.read("reading a fact", move |db| accounts::fact(db, &name)).await
    }

    async fn set_fact(&self, name: &str, value: Value) -> Result<()> {
        let name = name.to_owned();
        self.db.write("writing a fact", move |db| accounts::set_fact(db, &name, &value)).await
    }

    async fn link_count(&self, owner: &str) -> Result<u64> {
        let owner = owner.to_owned();
        self.db.read("counting links", move |db| deliveries::link_count(db, &owner)).await
    }

    async fn forget_route(&self, owner: &str, links: bool) -> Result<u64> {
        let owner = owner.to_owned();
        self.db.write("forgetting a route", move |db| deliveries::forget_route(db, &owner, links)).await
    }

    async fn rename_route(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.db.write("renaming a route", move |db| deliveries::rename_route(db, &from, &to)).await
    }

    async fn rename_source(&self, from: &str, to: &str, routes: &[String]) -> Result<()> {
        let (from, to, routes) = (from.to_owned(), to.to_owned(), routes.to_vec());
        self.db.write("renaming a source", move |db| renames::source(db, &from, &to, &routes)).await
    }

    async fn rename_sink(&self, from: &str, to: &str, its_own_account: bool) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.db.write("renaming a sink", move |db| renames::sink(db, &from, &to, its_own_account)).await
    }
}
