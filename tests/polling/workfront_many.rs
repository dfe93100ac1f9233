//! `workfront` where there are more objects than a result may have.

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self as served, Served};
use dari::connectors::workfront::{MANIFEST, sandbox};
use dari::connectors::{Memory, PollError, Poller, SourceRole};
use dari::event::NewEvent;
use dari::poll::StoredMemory;
use dari::store::Store;
use dari::store::sqlite::{self, SqliteStore};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::bench::SOURCE;
use crate::vendor::told;

struct Many {
    clock: Clock,
    served: Served,
    store: Arc<dyn Store>,
    poller: Box<dyn Poller>,
    _dir: tempfile::TempDir,
}

impl Many {
    async fn new(keys: &str) -> Self {
        let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
        let router = (MANIFEST.sandbox.unwrap().router)(clock.clone());
        let served = served::serve(router, clock.clone(), served::LOOPBACK).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let db = sqlite::open(&dir.path().join("dari.db")).unwrap();
        let yaml = format!(
            "accounts: {{ wf: {{ workfront: {{ host: acme.my.workfront.com, url: '{}', auth: {{ api_key: {} }} }} }} }}\n\
             sources:\n  {SOURCE}: {{ workfront: {{ account: wf, object: task, {keys} }} }}\n",
            served.url,
            sandbox::API_KEY
        );
        let file = dir.path().join("dari.yaml");
        std::fs::write(&file, yaml).unwrap();
        let client = Client::new().unwrap();
        let config = dari::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
        let SourceRole::Poller(poller) = config.build_source(&config.sources[0], &client, &clock).unwrap() else {
            panic!("no poller")
        };
        Self { store: Arc::new(SqliteStore::new(db, clock.clone())), served, clock, poller, _dir: dir }
    }

    async fn task(&self, id: usize, more: Value) {
        let made: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let made = made + SignedDuration::from_mins(i64::try_from(id).unwrap());
        let made = made.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        let mut task = json!({
            "objCode": "TASK", "ID": format!("t{id:05}"), "name": "x", "entryDate": made, "lastUpdateDate": made,
            "projectID": sandbox::PROJECT,
        });
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.served.play(Method::POST, "/_sandbox/objects", &task).await;
    }

    async fn switch(&self, switches: Value) {
        self.served.play(Method::PUT, "/_sandbox/state", &switches).await;
    }

    async fn all(&self) -> Result<Vec<NewEvent>, PollError> {
        let mut events = Vec::new();
        loop {
            let cursor = self.store.cursor(SOURCE).await.unwrap();
            let memory: &dyn Memory = &StoredMemory { store: Arc::clone(&self.store), source: SOURCE.to_owned() };
            let page = self.poller.poll(cursor.as_ref(), memory).await?;
            let fence = self.store.lease("poll", "test", 60_000, self.clock.now()).await.unwrap().unwrap();
            self.store.commit_cursor(SOURCE, &fence, page.cursor.clone(), page.changes.clone()).await.unwrap();
            events.extend(page.events);
            if !page.more {
                return Ok(events);
            }
        }
    }

    fn searches(&self, with: &str) -> usize {
        let calls = self.served.calls.all();
        calls.iter().filter(|call| call.path.ends_with("/search") && call.body.contains(with)).count()
    }
}

/// Whether all pages of a result count together the page does not say: a list goes on either way.
#[tokio::test]
async fn p9_more_than_a_result_may_have_is_listed_all_the_same() {
    let many = Many::new("start: all, deletions: 1h, page: 2000").await;
    for n in 0..4_500 {
        many.task(n, json!({})).await;
    }
    assert_eq!(many.all().await.unwrap().len(), 4_500);
    many.switch(json!({ "most_objects": 3_000 })).await;
    many.clock.advance(SignedDuration::from_mins(70));
    many.served.play(Method::DELETE, "/_sandbox/objects/t00007", &Value::Null).await;
    many.served.play(Method::DELETE, "/_sandbox/objects/t04321", &Value::Null).await;
    let mut gone = told(&many.all().await.unwrap());
    gone.sort();
    assert_eq!(gone, ["object.deleted t00007", "object.deleted t04321"]);
    assert!(many.searches("entryDate_Mod=gte") > 0, "it went on with what was made later");
    assert!(many.searches("id=") == 0, "nothing else was missing");
}

#[tokio::test]
async fn a_page_with_too_many_objects_of_others_is_asked_for_in_halves() {
    let many = Many::new("start: all, fields: ['*', 'project:name', 'project:status']").await;
    many.switch(json!({ "most_objects": 100 })).await;
    for n in 0..40 {
        many.task(n, json!({})).await;
    }
    let events = many.all().await.unwrap();
    assert_eq!(events.len(), 40);
    let pages = |limit: usize| many.searches(&format!("LIMIT={limit}&"));
    assert!(pages(200) > 0 && pages(25) > 0, "{} {}", pages(200), pages(25));

    // What is refused for another reason stops the source.
    let wrong = Many::new("start: all, fields: ['project:name', 'alien:name']").await;
    let Err(PollError::Stop { why }) = wrong.all().await else { panic!("stopped") };
    assert!(why.contains("does not support field alien:name"), "{why}");
    assert!(wrong.served.calls.count() < 12, "{}", wrong.served.calls.count());
}
