//! Worksection's sandbox behind HTTP, a clock that stands still, and pollers from YAML as a user writes it.

use std::sync::Arc;

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self, Served};
use dari::connectors::worksection::MANIFEST;
use dari::connectors::{Memory, Page, PollError, Poller, SourceRole};
use dari::event::NewEvent;
use dari::poll::StoredMemory;
use dari::store::Store;
use dari::store::sqlite::{self, SqliteStore};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::bench::SOURCE;

const ACCOUNT: &str =
    "{ ws: { worksection: { admin_key: 7776461cd931e7b1c8e9632ff8e979ce, url: 'URL', time_zone: Europe/Kyiv } } }";

pub struct Worksection {
    pub clock: Clock,
    pub served: Served,
    store: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

impl Worksection {
    /// A Saturday, two o'clock in Kyiv. One request a second is for the account's permits to keep, which are not here.
    pub async fn new() -> Self {
        let world = Self::strict().await;
        world.switch(json!({ "rate": 1e12 })).await;
        world
    }

    /// As the vendor is.
    pub async fn strict() -> Self {
        let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
        let router = (MANIFEST.sandbox.unwrap().router)(clock.clone());
        let served = sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let db = sqlite::open(&dir.path().join("dari.db")).unwrap();
        Self { store: Arc::new(SqliteStore::new(db, clock.clone())), served, clock, _dir: dir }
    }

    /// A source of the account `ws` with these keys besides.
    pub fn poller(&self, keys: &str) -> Box<dyn Poller> {
        self.try_poller(&format!("{{ worksection: {{ account: ws, {keys} }} }}"))
            .unwrap_or_else(|faults| panic!("{faults}"))
    }

    pub fn try_poller(&self, source: &str) -> Result<Box<dyn Poller>, String> {
        let yaml = format!("accounts: {ACCOUNT}\nsources:\n  {SOURCE}: {source}\n");
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

    /// Somebody makes something in Worksection, or changes what has that id.
    pub async fn make(&self, what: &str, item: Value) {
        let made = self.served.play(Method::POST, &format!("/_sandbox/{what}"), &item).await;
        assert!(made["id"].is_string(), "{made}");
    }

    pub async fn task(&self, task: Value) {
        self.make("tasks", task).await;
    }

    pub async fn remove_task(&self, id: &str) {
        self.served.play(Method::DELETE, &format!("/_sandbox/tasks/{id}"), &Value::Null).await;
    }

    /// The actions that were asked for since the last time.
    pub fn asked(&self, since: usize) -> Vec<String> {
        let all = self.served.calls.all();
        let action = |path: &str| path.split_once("action=").unwrap().1.split('&').next().unwrap().to_owned();
        all.iter().skip(since).map(|call| action(&call.path)).collect()
    }

    pub async fn look(&self, poller: &dyn Poller) -> Page {
        self.try_look(poller).await.unwrap()
    }

    pub async fn try_look(&self, poller: &dyn Poller) -> Result<Page, PollError> {
        let cursor = self.store.cursor(SOURCE).await.unwrap();
        poller.poll(cursor.as_ref(), &self.memory()).await
    }

    fn memory(&self) -> impl Memory {
        StoredMemory { store: Arc::clone(&self.store), source: SOURCE.to_owned() }
    }

    /// Polls, and keeps cursor and snapshot.
    pub async fn turn(&self, poller: &dyn Poller) -> Page {
        let page = self.look(poller).await;
        let fence = self.store.lease("poll", "test", 60_000, self.clock.now()).await.unwrap().unwrap();
        self.store.commit_cursor(SOURCE, &fence, page.cursor.clone(), page.changes.clone()).await.unwrap();
        page
    }

    pub async fn told(&self, poller: &dyn Poller) -> Vec<String> {
        told(&self.turn(poller).await.events)
    }
}

/// `task.created task/1`.
pub fn told(events: &[NewEvent]) -> Vec<String> {
    events.iter().map(|event| format!("{} {}", event.kind, event.subject.as_deref().unwrap_or_default())).collect()
}

pub fn ids(page: &Page) -> Vec<String> {
    page.events.iter().map(|event| event.id.clone().unwrap()).collect()
}
