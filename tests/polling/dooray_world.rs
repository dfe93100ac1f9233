//! Dooray's sandbox behind HTTP, a clock that stands still, and pollers from YAML as a user writes it.

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::dooray::MANIFEST;
use dari::connectors::sandbox::{self, Served};
use dari::connectors::{Manifest, Memory, Page, Poller, SourceRole};
use dari::event::NewEvent;
use dari::poll::StoredMemory;
use dari::store::Store;
use dari::store::sqlite::{self, SqliteStore};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::bench::SOURCE;

const ACCOUNT: &str = "{ dooray: { dooray: { token: sandbox-token, url: 'URL' } } }";

pub struct Dooray {
    pub clock: Clock,
    pub served: Served,
    store: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

impl Dooray {
    /// A Saturday, nine o'clock in Seoul.
    pub async fn new() -> Self {
        Self::of(&MANIFEST).await
    }

    /// The same with another vendor.
    pub async fn of(manifest: &Manifest) -> Self {
        let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
        let router = (manifest.sandbox.unwrap().router)(clock.clone());
        let served = sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let db = sqlite::open(&dir.path().join("dari.db")).unwrap();
        Self { store: Arc::new(SqliteStore::new(db, clock.clone())), served, clock, _dir: dir }
    }

    pub fn poller(&self, source: &str) -> Box<dyn Poller> {
        self.try_poller(ACCOUNT, source).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// A source named `signup`; `URL` stands for the sandbox's.
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

    async fn make(&self, what: &str, item: Value) -> String {
        let made = self.served.play(Method::POST, &format!("/_sandbox/{what}"), &item).await;
        made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// Makes an event, or changes the one with that id.
    pub async fn event(&self, event: Value) -> String {
        self.make("events", event).await
    }

    /// An event of an hour.
    pub async fn meeting(&self, id: &str, start: &str) -> String {
        let at: jiff::Timestamp = start.parse().unwrap();
        let end = (at + SignedDuration::from_hours(1)).to_string();
        self.event(json!({"id": id, "subject": format!("회의 {id}"), "startedAt": start, "endedAt": end})).await
    }

    pub async fn task(&self, task: Value) -> String {
        self.make("tasks", task).await
    }

    pub async fn comment(&self, comment: Value) -> String {
        self.make("comments", comment).await
    }

    pub async fn remove_event(&self, id: &str) {
        self.served.play(Method::DELETE, &format!("/_sandbox/events/{id}"), &Value::Null).await;
    }

    /// The paths that were asked for since the last time, without their queries.
    pub fn asked(&self, since: usize) -> Vec<String> {
        let all = self.served.calls.all();
        all.iter().skip(since).map(|call| call.path.split('?').next().unwrap().to_owned()).collect()
    }

    pub fn calls(&self) -> usize {
        self.served.calls.all().len()
    }

    /// What a source has: polls, keeps cursor and snapshot, gives the events.
    pub async fn turn(&self, poller: &dyn Poller) -> Page {
        let page = self.look(poller).await;
        self.commit(&page).await;
        page
    }

    /// Polls and commits nothing, as if it had crashed before.
    pub async fn look(&self, poller: &dyn Poller) -> Page {
        self.try_look(poller).await.unwrap()
    }

    pub async fn try_look(&self, poller: &dyn Poller) -> Result<Page, dari::connectors::PollError> {
        let cursor = self.store.cursor(SOURCE).await.unwrap();
        poller.poll(cursor.as_ref(), &self.memory()).await
    }

    fn memory(&self) -> impl Memory {
        StoredMemory { store: Arc::clone(&self.store), source: SOURCE.to_owned() }
    }

    pub async fn commit(&self, page: &Page) {
        let fence = self.store.lease("poll", "test", 60_000, self.clock.now()).await.unwrap().unwrap();
        self.store.commit_cursor(SOURCE, &fence, page.cursor.clone(), page.changes.clone()).await.unwrap();
    }

    /// Turns until there is no more; all events.
    pub async fn all(&self, poller: &dyn Poller) -> Vec<NewEvent> {
        let mut events = Vec::new();
        for _ in 0..200 {
            let page = self.turn(poller).await;
            events.extend(page.events);
            if !page.more {
                return events;
            }
        }
        panic!("it never ends");
    }

    pub async fn known(&self) -> usize {
        self.store.snapshot(SOURCE).await.unwrap().len()
    }
}

/// `event.created 1`.
pub fn told(events: &[NewEvent]) -> Vec<String> {
    events.iter().map(|event| format!("{} {}", event.kind, event.subject.as_deref().unwrap_or_default())).collect()
}

pub fn data(event: &NewEvent) -> Value {
    event.data.value()
}
