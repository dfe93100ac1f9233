//! A vendor's sandbox behind HTTP, a clock that stands still, and pollers from YAML as a user writes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self, Served};
use dari::connectors::{Manifest, NoMemory, Page, PollError, Poller, SourceRole};
use dari::event::NewEvent;
use dari::poll::StoredMemory;
use dari::store::Store;
use dari::store::sqlite::{self, SqliteStore};
use http::Method;
use jiff::SignedDuration;
use serde_json::Value;

use crate::bench::SOURCE;

pub struct Vendor {
    pub clock: Clock,
    pub served: Served,
    store: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

impl Vendor {
    /// A Saturday, nine o'clock in Seoul.
    pub async fn of(manifest: &Manifest) -> Self {
        let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
        let router = (manifest.sandbox.unwrap().router)(clock.clone());
        let served = sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let db = sqlite::open(&dir.path().join("dari.db")).unwrap();
        Self { store: Arc::new(SqliteStore::new(db, clock.clone())), served, clock, _dir: dir }
    }

    pub fn poller(&self, accounts: &str, source: &str) -> Box<dyn Poller> {
        self.try_poller(accounts, source).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// A source named [`SOURCE`]; `URL` stands for the sandbox's.
    pub fn try_poller(&self, accounts: &str, source: &str) -> Result<Box<dyn Poller>, String> {
        let yaml = format!("accounts: {accounts}\nsources:\n  {SOURCE}: {source}\n");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.yaml");
        std::fs::write(&file, yaml.replace("URL", &self.served.url)).unwrap();
        let client = Client::new().unwrap();
        let config = dari::config::load(&file, &|_| None, &client, &self.clock)
            .map_err(|e| e.to_string().replace(&format!("{}/", dir.path().display()), ""))?;
        match config.build_source(&config.sources[0], &client, &self.clock).unwrap() {
            SourceRole::Poller(poller) => Ok(poller),
            _ => panic!("no poller"),
        }
    }

    pub fn advance(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
    }

    pub async fn switch(&self, switches: Value) {
        self.served.play(Method::PUT, "/_sandbox/state", &switches).await;
    }

    /// Somebody makes something, or changes what has that id; its id.
    pub async fn make(&self, what: &str, item: Value) -> String {
        let made = self.served.play(Method::POST, &format!("/_sandbox/{what}"), &item).await;
        let id = made["id"].as_str().or_else(|| made["ID"].as_str());
        id.unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// Somebody takes something away.
    pub async fn remove(&self, what: &str, id: &str) {
        self.served.play(Method::DELETE, &format!("/_sandbox/{what}/{id}"), &Value::Null).await;
    }

    /// The paths that were asked for since the last time, with their queries.
    pub fn asked(&self, since: usize) -> Vec<String> {
        self.served.calls.all().into_iter().skip(since).map(|call| call.path).collect()
    }

    /// Polls, and keeps cursor and snapshot.
    pub async fn turn(&self, poller: &dyn Poller) -> Page {
        let page = self.look(poller).await;
        self.commit(&page).await;
        page
    }

    /// Polls and commits nothing, as if it had crashed before.
    pub async fn look(&self, poller: &dyn Poller) -> Page {
        self.try_look(poller).await.unwrap()
    }

    pub async fn try_look(&self, poller: &dyn Poller) -> Result<Page, PollError> {
        let cursor = self.store.cursor(SOURCE).await.unwrap();
        let memory = StoredMemory { store: Arc::clone(&self.store), source: SOURCE.to_owned() };
        poller.poll(cursor.as_ref(), &memory).await
    }

    pub async fn commit(&self, page: &Page) {
        let fence = self.store.lease("poll", "test", 60_000, self.clock.now()).await.unwrap().unwrap();
        self.store.commit_cursor(SOURCE, &fence, page.cursor.clone(), page.changes.clone()).await.unwrap();
    }

    /// Turns until there is no more; all events.
    pub async fn all(&self, poller: &dyn Poller) -> Vec<NewEvent> {
        let mut events = Vec::new();
        for _ in 0..400 {
            let page = self.turn(poller).await;
            events.extend(page.events);
            if !page.more {
                return events;
            }
        }
        panic!("it never ends");
    }

    /// How many subjects are remembered.
    pub async fn known(&self) -> usize {
        self.store.snapshot(SOURCE).await.unwrap().len()
    }
}

/// The ids of all events of a source's past.
pub async fn past(poller: &dyn Poller) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut cursor = poller.past(None).unwrap();
    loop {
        let page = poller.poll(Some(&cursor), &NoMemory).await.unwrap();
        ids.extend(page.events.into_iter().filter_map(|event| event.id));
        cursor = page.cursor;
        if !page.more {
            return ids;
        }
    }
}

/// `event.created 1`.
pub fn told(events: &[NewEvent]) -> Vec<String> {
    events.iter().map(|event| format!("{} {}", event.kind, event.subject.as_deref().unwrap_or_default())).collect()
}

pub fn data(event: &NewEvent) -> Value {
    event.data.value()
}
