//! Durable publishing through the embedded broker against the raw rate of SQLite with the same settings.
//!
//! 64 producers publish events of 1 KiB, each waiting for its commit, to a route's queue and the journal's. The raw
//! loop inserts as many rows of 1 KiB in transactions as large as the broker's were on average. `cargo bench --bench
//! embedded`; `DARI_BENCH_DIR` says on which disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs, reason = "a bench")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dari::broker::embedded::Embedded;
use dari::broker::{Binding, Broker, JOURNAL};
use dari::clock::Clock;
use dari::event::{Event, NewEvent, Payload};
use rusqlite::Connection;

const PRODUCERS: usize = 64;
const EACH: usize = 1_000;
const QUEUED: usize = 200_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = std::env::var_os("DARI_BENCH_DIR").map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    let folder = folder.expect("a folder");
    // Once before, so that neither side pays for a cold disk.
    raw(&folder.path().join("warm.db"), 20_000, PRODUCERS);
    let (rate, batch, mut took) = runtime.block_on(publish(folder.path()));
    let raw = raw(&folder.path().join("raw.db"), PRODUCERS * EACH, batch);
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
    println!("raw group commit     {raw:>8.0} rows/s, {batch} a commit");
    println!("durable publish      {rate:>8.0} events/s  p50 {:.1} ms  p99 {:.1} ms", at(50), at(99));
    println!("ratio                {:>8.2}", rate / raw);
    runtime.block_on(drain(folder.path()));
    runtime.block_on(queue(folder.path()));
}

fn event(clock: &Clock, n: usize) -> Arc<Event> {
    let body = format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(800));
    let mut new = NewEvent::new("order.created", Payload::json(body.as_bytes()).expect("JSON"));
    new.id = Some(format!("{n:032x}"));
    new.subject = Some(format!("order-{n}"));
    Arc::new(new.stamp("shop", clock).expect("an event"))
}

fn queue_of(name: &str) -> Binding {
    Binding { queue: name.into(), sources: None, types: None }
}

fn open(folder: &Path, clock: &Clock) -> Embedded {
    Embedded::open(&folder.join("dari.db"), clock.clone()).expect("opens")
}

/// Events per second, events per commit, and how long each took.
async fn publish(folder: &Path) -> (f64, usize, Vec<Duration>) {
    let clock = Clock::system(1);
    let parts = open(folder, &clock);
    parts.broker.declare(vec![queue_of("route"), queue_of(JOURNAL)]).await.expect("declared");
    println!("an event is {} bytes as stored", serde_json::to_vec(&event(&clock, 0)).expect("JSON").len());
    let commits = parts.store.database().commits();
    let start = Instant::now();
    let producers = (0..PRODUCERS).map(|side| {
        let (broker, clock) = (Arc::clone(&parts.broker), clock.clone());
        tokio::spawn(async move {
            let mut took = Vec::with_capacity(EACH);
            for n in 0..EACH {
                let event = event(&clock, side * EACH + n);
                let start = Instant::now();
                broker.publish(vec![event]).await.expect("published");
                took.push(start.elapsed());
            }
            took
        })
    });
    let mut took = Vec::new();
    for producer in producers.collect::<Vec<_>>() {
        took.extend(producer.await.expect("it ends"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = took.len() as f64 / start.elapsed().as_secs_f64();
    let commits = usize::try_from(parts.store.database().commits() - commits).expect("a count");
    parts.close().await;
    (rate, took.len().div_ceil(commits), took)
}

/// Rows per second of a loop that does nothing else.
fn raw(path: &Path, rows: usize, batch: usize) -> f64 {
    let db = Connection::open(path).expect("opens");
    db.pragma_update(None, "journal_mode", "wal").expect("set");
    db.pragma_update(None, "synchronous", "full").expect("set");
    db.pragma_update(None, "cache_size", -8_192).expect("set");
    db.execute_batch("CREATE TABLE event (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT").expect("created");
    let body = vec![b'x'; 1_024];
    let start = Instant::now();
    for _ in 0..rows.div_ceil(batch) {
        db.execute_batch("BEGIN IMMEDIATE").expect("begun");
        let mut add = db.prepare_cached("INSERT INTO event (body) VALUES (?1)").expect("prepared");
        for _ in 0..batch {
            add.execute([&body]).expect("inserted");
        }
        db.execute_batch("COMMIT").expect("committed");
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = rows as f64 / start.elapsed().as_secs_f64();
    rate
}

/// Receives and acks what was published, with 64 acks under way.
async fn drain(folder: &Path) {
    let parts = open(folder, &Clock::system(1));
    let mut consumer = parts.broker.consume("route", 256).await.expect("a consumer");
    let start = Instant::now();
    let mut acks = tokio::task::JoinSet::new();
    for _ in 0..PRODUCERS * EACH {
        let message = consumer.next().await.expect("it works").expect("it is open");
        if acks.len() == 64 {
            acks.join_next().await;
        }
        let broker = Arc::clone(&parts.broker);
        acks.spawn(async move { broker.ack("route", &message).await.expect("acked") });
    }
    acks.join_all().await;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = (PRODUCERS * EACH) as f64 / start.elapsed().as_secs_f64();
    println!("receive and ack      {rate:>8.0} messages/s");
    parts.close().await;
}

/// Memory while many events wait behind a queue that nobody consumes, and how long it takes to open that.
async fn queue(folder: &Path) {
    let clock = Clock::system(1);
    let parts = open(folder, &clock);
    parts.broker.declare(vec![queue_of("suspended")]).await.expect("declared");
    let before = memory();
    for n in 0..QUEUED / 500 {
        let events = (0..500).map(|m| event(&clock, n * 500 + m)).collect();
        parts.broker.publish(events).await.expect("published");
    }
    let after = memory();
    let start = Instant::now();
    let depths = parts.broker.depths().await.expect("depths");
    let took = start.elapsed().as_secs_f64() * 1_000.0;
    println!("{QUEUED} events queued: memory {before} → {after} KiB, depths in {took:.1} ms");
    assert!(depths.iter().any(|depth| depth.messages == QUEUED as u64));
    parts.close().await;
    let start = Instant::now();
    let parts = open(folder, &clock);
    println!("opened again in {:.1} ms", start.elapsed().as_secs_f64() * 1_000.0);
    parts.close().await;
}

/// The resident memory of this process, in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
