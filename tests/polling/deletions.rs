//! A poll that would delete much asks a person first (promise P9).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dari::clock::Clock;
use dari::connectors::snapshot::{self, Item};
use dari::connectors::{Memory, Page, PollError, Poller};
use dari::event::{NewEvent, Payload};
use dari::outcome::Scope;
use dari::poll::guard::{self, Asked};
use serde_json::{Value, json};

use crate::bench::{Bench, SOURCE, Trick, until};

/// A vendor that shows its items, and a poller that compares.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<String, u32>>>);

impl Shelf {
    fn with(count: u32) -> Self {
        let shelf = Self::default();
        shelf.put(0..count, 0);
        shelf
    }

    fn put(&self, items: std::ops::Range<u32>, version: u32) {
        self.0.lock().unwrap().extend(items.map(|n| (format!("i{n:03}"), version)));
    }

    fn take(&self, items: std::ops::Range<u32>) {
        let mut shelf = self.0.lock().unwrap();
        items.for_each(|n| _ = shelf.remove(&format!("i{n:03}")));
    }
}

#[async_trait]
impl Poller for Shelf {
    fn every(&self) -> Duration {
        Duration::from_millis(10)
    }

    async fn poll(&self, cursor: Option<&Value>, memory: &dyn Memory) -> Result<Page, PollError> {
        let turn = cursor.and_then(Value::as_u64).unwrap_or(0);
        let shelf = self.0.lock().unwrap().clone();
        let items = shelf.into_iter().map(|(key, v)| Item { key, hash: v.to_string(), value: json!(v) }).collect();
        let diff = snapshot::diff(items, memory).await?;
        let mut page = Page { known: Some(diff.known), cursor: json!(turn), ..Page::default() };
        let mut tell = |kind: &str, key: &str| {
            let mut event = NewEvent::new(kind, Payload::from_value(&json!(key)));
            event.id = Some(format!("{key}:{kind}:{turn}"));
            event.subject = Some(key.to_owned());
            page.events.push(event);
        };
        for item in diff.created {
            tell("item.created", &item.key);
            page.changes.push(snapshot::remember(item.key, item.hash, item.value));
        }
        for (key, _) in diff.missing {
            tell("item.deleted", &key);
            page.changes.push(snapshot::forget(key));
        }
        if !page.changes.is_empty() {
            page.cursor = json!(turn + 1);
        }
        Ok(page)
    }
}

async fn bench() -> Bench {
    Bench::new(&Clock::manual("2026-11-21T00:00:00Z".parse().unwrap())).await
}

async fn deleted(bench: &Bench) -> usize {
    bench.broker.events().await.iter().filter(|event| event.kind == "item.deleted").count()
}

async fn known(bench: &Bench) -> usize {
    bench.store.snapshot(SOURCE).await.unwrap().len()
}

/// As `dari sources confirm` does.
async fn confirm(bench: &Bench) -> Option<Asked> {
    let asked = guard::confirm(&*bench.store, SOURCE).await.unwrap();
    bench.halts.resume(Scope::Source, SOURCE).await.unwrap();
    bench.wake.notify_one();
    asked
}

#[tokio::test]
async fn p9_few_deletions_and_a_small_part_pass() {
    for (count, gone) in [(10, 10), (100, 20)] {
        let (bench, shelf) = (bench().await, Shelf::with(count));
        let running = bench.run("one", Box::new(shelf.clone()));
        until("all to be known", async || known(&bench).await == count as usize).await;
        shelf.take(0..gone);
        until("the deletions", async || deleted(&bench).await == gone as usize).await;
        running.end().await;
        assert!(bench.store.suspensions().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn p9_a_mass_deletion_emits_nothing_stops_the_source_and_asks() {
    let (bench, shelf) = (bench().await, Shelf::with(50));
    let running = bench.run("one", Box::new(shelf.clone()));
    until("all to be known", async || known(&bench).await == 50).await;
    // One is new, too: it waits with the others, or the cursor would pass them by.
    shelf.put(90..91, 0);
    shelf.take(0..11);
    let (scope, name, why) = bench.suspended().await;
    assert_eq!((scope, name.as_str()), (Scope::Source, SOURCE));
    insta::assert_snapshot!(why, @"the poll would delete 11 of 50, so nothing of it was sent: see whether that is so at the vendor, then say `dari sources confirm signup` to let it pass, or `dari sources resume signup` to look again");
    assert_eq!((bench.broker.events().await.len(), known(&bench).await), (50, 50));
    assert_eq!(guard::asked(&*bench.store, SOURCE).await.unwrap(), Some(Asked { deleted: 11, known: 50 }));

    // Resumed without a word it asks again.
    bench.halts.resume(Scope::Source, SOURCE).await.unwrap();
    bench.wake.notify_one();
    bench.suspended().await;
    assert_eq!(bench.broker.events().await.len(), 50);

    assert_eq!(confirm(&bench).await, Some(Asked { deleted: 11, known: 50 }));
    until("the deletions", async || deleted(&bench).await == 11 && known(&bench).await == 40).await;

    // The word was for once.
    shelf.take(11..30);
    let (.., why) = bench.suspended().await;
    assert!(why.starts_with("the poll would delete 19 of 40"), "{why}");
    assert_eq!(deleted(&bench).await, 11);
    running.end().await;
}

#[tokio::test]
async fn p9_a_confirmed_deletion_survives_a_crash_between_publish_and_commit() {
    let (bench, shelf) = (bench().await, Shelf::with(20));
    let first = bench.run("one", Box::new(shelf.clone()));
    until("all to be known", async || known(&bench).await == 20).await;
    shelf.take(0..20);
    bench.suspended().await;
    bench.broker.play(Trick::KeepAndHang);
    confirm(&bench).await;
    until("the deletions", async || deleted(&bench).await == 20).await;
    first.crash().await;
    assert_eq!(known(&bench).await, 20, "not committed");

    bench.clock.advance(jiff::SignedDuration::from_secs(31));
    let second = bench.run("two", Box::new(shelf.clone()));
    until("the commit", async || known(&bench).await == 0).await;
    let mut ids: Vec<_> = bench.broker.events().await.iter().skip(20).map(|event| event.id.clone()).collect();
    assert_eq!(ids.len(), 40);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "the same ids collapse under P2");

    // And passes nothing else.
    shelf.put(0..20, 1);
    until("all to be known", async || known(&bench).await == 20).await;
    shelf.take(0..20);
    bench.suspended().await;
    second.end().await;
}

#[tokio::test]
async fn p9_a_word_that_was_not_needed_in_the_end_lapses() {
    let (bench, shelf) = (bench().await, Shelf::with(20));
    let running = bench.run("one", Box::new(shelf.clone()));
    until("all to be known", async || known(&bench).await == 20).await;
    shelf.take(0..20);
    bench.suspended().await;
    // The vendor has come to itself.
    shelf.put(0..20, 0);
    confirm(&bench).await;
    until("the word to lapse", async || guard::asked(&*bench.store, SOURCE).await.unwrap().is_none()).await;
    shelf.take(0..20);
    bench.suspended().await;
    assert_eq!(deleted(&bench).await, 0);
    running.end().await;
}
