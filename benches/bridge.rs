//! The whole bridge, as its users run it: start, memory, durable ingest over HTTP against the raw disk.
//!
//! `cargo bench --bench bridge` (about two minutes). Everything is measured in one run on one machine; the ratio is
//! what counts. The sink is switched off, so that ingest is measured and not delivery.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a program for people at a terminal"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

#[allow(dead_code, reason = "shared with another bench")]
#[path = "tools/post.rs"]
mod post;
#[allow(dead_code, reason = "shared with another bench")]
#[path = "tools/process.rs"]
mod process;

use post::{CONNECTIONS, body, load};
use process::{Bridge, free_address};

const MEASURED: u64 = 60_000;
const QUEUED: u64 = 200_000;
const STARTS: usize = 9;

fn main() {
    // `cargo test --benches` only wants to see that it builds.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let body = body();
    let raw = raw_commits(dir.path(), &body);
    println!("raw group commit     {raw:>9.0} rows/s   1 KiB, {CONNECTIONS} rows a commit, WAL, synchronous=FULL");

    let mut starts: Vec<Duration> = (0..STARTS).map(|n| start(&dir.path().join(format!("start-{n}"))).1).collect();
    starts.sort_unstable();
    println!("start to ready       {:>9.1} ms       median of {STARTS}, empty store", ms(starts[STARTS / 2]));

    let (bridge, _) = start(&dir.path().join("run"));
    std::thread::sleep(Duration::from_secs(2));
    println!("idle memory          {:>9.1} MiB", bridge.memory().0);

    let before = bridge.cpu();
    let (rate, mut latencies) = load(bridge.address, &body, 0, MEASURED);
    latencies.sort_unstable();
    let at = |share: usize| ms(latencies[(latencies.len() - 1) * share / 100]);
    println!(
        "durable ingest       {rate:>9.0} events/s p50 {:.1} ms, p99 {:.1} ms, {CONNECTIONS} connections",
        at(50),
        at(99)
    );
    println!("of the raw rate      {:>9.2}          aim 0.6", rate / raw);
    let cpu = bridge.cpu().saturating_sub(before).as_secs_f64() * 1e6 / MEASURED as f64;
    println!("processor time       {cpu:>9.1} µs       for each event, journal included");
    let (early, mut sent) = (bridge.memory().0, MEASURED);
    println!("memory, {sent:>7} wait {early:>9.1} MiB");
    while sent < QUEUED {
        load(bridge.address, &body, sent, MEASURED.min(QUEUED - sent));
        sent += MEASURED.min(QUEUED - sent);
    }
    std::thread::sleep(Duration::from_secs(2));
    println!("memory, {sent:>7} wait {:>9.1} MiB", bridge.memory().0);
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What the disk gives: one thread, one insert after another, a commit each `CONNECTIONS` rows.
fn raw_commits(dir: &Path, body: &str) -> f64 {
    let db = rusqlite::Connection::open(dir.join("raw.db")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE row (id INTEGER PRIMARY KEY, body BLOB)",
    )
    .unwrap();
    let (start, mut rows) = (Instant::now(), 0_u32);
    while start.elapsed() < Duration::from_secs(5) {
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..CONNECTIONS {
            db.prepare_cached("INSERT INTO row (body) VALUES (?1)").unwrap().execute([body.as_bytes()]).unwrap();
            rows += 1;
        }
        db.execute_batch("COMMIT").unwrap();
    }
    f64::from(rows) / start.elapsed().as_secs_f64()
}

/// Starts a bridge in a folder of its own; how long it took to be ready.
fn start(dir: &Path) -> (Bridge, Duration) {
    let address = free_address();
    Bridge::start(dir, &config(address), address, "error")
}

fn config(address: SocketAddr) -> String {
    format!(
        "listen: {{ hooks: \"{address}\" }}\n{}sinks:\n  out: {{ http: {{ url: \"http://127.0.0.1:9/\", allow_private: true, \
         enabled: false }} }}\nroutes:\n  all: {{ from: \"*\", to: out, do: create, map: {{ id: \"{{{{ id }}}}\" }} }}\n",
        post::sources()
    )
}
