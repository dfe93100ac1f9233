//! What ledger and links cost a delivery, and whether it stays so with ten million links.
//!
//! The whole bridge with a sink that answers at once, so that all the time is the bridge's own: `cargo bench --bench
//! links` (some minutes; it fills a store of about a gigabyte). `DARI_BENCH_DIR` says on which disk, `DARI_LINKS` how
//! many links.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a program for people at a terminal"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dari::app::{Bridge, Options};
use dari::clock::Clock;
use dari::connectors::client::{Client, SendError};
use dari::connectors::{Answer, Build, Built, Call, Manifest, OnDoubt, Operation, Sink, SinkKind, webhook};
use dari::event::{Event, NewEvent, Payload, Version};
use dari::outcome::{Outcome, Verb};
use dari::template::Escape;
use http::{HeaderMap, Method, StatusCode};
use rand::RngExt;
use tokio_util::sync::CancellationToken;

/// Deliveries measured at a time.
const MEASURED: u64 = 20_000;
const ROUNDS: usize = 3;
const MANY: u64 = 10_000_000;

/// A vendor that answers at once.
static INSTANT: Manifest = Manifest {
    name: "instant",
    title: "Instant",
    about: "Answers at once.",
    account: None,
    sources: &[],
    sinks: &[SinkKind {
        name: "instant",
        fields: &[],
        verbs: &[Verb::Create, Verb::Update, Verb::Delete],
        escape: Escape::None,
        takes_request: false,
        advice: "",
        build,
    }],
    lookup: None,
    sandbox: None,
    start: &[],
};

struct AtOnce;

#[expect(clippy::unnecessary_wraps, reason = "a sink kind's signature")]
fn build(_: &Build<'_>) -> Built<Box<dyn Sink>> {
    Ok(Box::new(AtOnce))
}

#[async_trait]
impl Sink for AtOnce {
    fn prepare(&self, _: &Operation<'_>) -> Result<Call, String> {
        Ok(Call::new(Method::POST, "http://instant/".parse().unwrap()).idempotent(true))
    }

    fn classify(&self, _: &Call, _: &Answer) -> Outcome {
        Outcome::Delivered { remote_id: Some("4711".to_owned()) }
    }

    async fn send(&self, _: &Client, _: &Call) -> Result<Answer, SendError> {
        Ok(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: bytes::Bytes::new() })
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        OnDoubt::Retry
    }
}

const YAML: &str = r#"
listen: { hooks: "127.0.0.1:0" }
store: { url: "sqlite://dari.db" }
min_free: 1KiB
sources: { in: { webhook: { verify: none } } }
sinks: { out: { instant: { limits: { concurrency: 32 } } } }
routes:
  none: { from: in, types: [left], when: "false", to: out, do: create, map: { n: "{{ id }}" } }
  every: { from: in, types: [made], to: out, do: create, map: { n: "{{ id }}" } }
  state: { from: in, types: [changed], to: out, do: upsert, map: { n: "{{ id }}" } }
"#;

fn main() {
    // `cargo test --benches` only wants to see that it builds.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = std::env::var_os("DARI_BENCH_DIR").map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let many = std::env::var("DARI_LINKS").map_or(MANY, |n| n.parse().unwrap());
    let (empty, full) = (folder.path().join("empty"), folder.path().join("full"));
    for dir in [&empty, &full] {
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join("dari.yaml"), YAML).unwrap();
        // Makes the tables.
        runtime.block_on(measure(dir, "made", 1, |n| n));
    }
    // Those that the updates are for.
    fill(&empty, MEASURED);
    let took = Instant::now();
    fill(&full, many);
    let size = std::fs::metadata(full.join("dari.db")).unwrap().len() >> 20;
    println!("{many} links in {:.0} s, {size} MiB", took.elapsed().as_secs_f64());

    let left = best(|| runtime.block_on(measure(&empty, "left", MEASURED, |n| n)));
    let every = best(|| runtime.block_on(measure(&empty, "made", MEASURED, |n| 2 * n + 1)));
    println!("left by its filter       {:>8.0} deliveries/s  {:>6.1} µs each", left, 1e6 / left);
    println!("create, all commits      {:>8.0} deliveries/s  {:>6.1} µs each", every, 1e6 / every);
    let new = |dir: &Path, of: u64| {
        // Between those that are there, anywhere.
        best(|| runtime.block_on(measure(dir, "changed", MEASURED, |_| 2 * rand::rng().random_range(0..of) + 1)))
    };
    let known = |dir: &Path, of: u64| {
        best(|| runtime.block_on(measure(dir, "changed", MEASURED, |_| 2 * rand::rng().random_range(0..of))))
    };
    for (what, few, much) in [
        ("upsert, new subjects", new(&empty, MEASURED), new(&full, many)),
        ("upsert, known subjects", known(&empty, MEASURED), known(&full, many)),
    ] {
        println!(
            "{what:<24} {:>8.0} deliveries/s, with {many} links {:>8.0}: {:.2} of it (aim 0.8)",
            few,
            much,
            much / few
        );
    }
}

/// The best of some rounds: on a busy machine what is slower says more of the machine.
fn best(round: impl Fn() -> f64) -> f64 {
    (0..ROUNDS).map(|_| round()).max_by(f64::total_cmp).unwrap()
}

/// Links written in one statement.
const AT_ONCE: u64 = 500_000;

/// Writes links of even numbers as they would be written one by one.
fn fill(dir: &Path, count: u64) {
    let db = rusqlite::Connection::open(dir.join("dari.db")).unwrap();
    db.execute_batch("PRAGMA synchronous = off; INSERT OR IGNORE INTO owner (name) VALUES ('state');").unwrap();
    let sql = "INSERT INTO link (owner, key, remote_id, version, clock, process, state)
               WITH RECURSIVE numbers (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?2)
               SELECT (SELECT id FROM owner WHERE name = 'state'), printf('in/subject-%016d', 2 * n), 'record-' || n, '1',
                   1, 1, 'linked' FROM numbers";
    for from in (0..count).step_by(usize::try_from(AT_ONCE).unwrap()) {
        db.execute(sql, [from, count.min(from + AT_ONCE)].map(u64::cast_signed)).unwrap();
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

/// Queues events of a type, starts the bridge, and waits until it has worked them off: deliveries a second.
async fn measure(dir: &Path, kind: &str, count: u64, subject: impl Fn(u64) -> u64) -> f64 {
    let clock = Clock::system(1);
    let client = Client::new().unwrap();
    let known = [&webhook::MANIFEST, &INSTANT];
    let config = dari::config::load_with(&known, &dir.join("dari.yaml"), &|_| None, &client, &clock);
    let config = Arc::new(config.unwrap_or_else(|faults| panic!("{faults}")));
    let bridge = Bridge::build(config, clock.clone(), &Options::default()).await.unwrap();
    let operator = bridge.operator();
    let events: Vec<Arc<Event>> = (0..count).map(|n| event(&clock, kind, subject(n))).collect();
    for chunk in events.chunks(500) {
        operator.broker.publish(chunk.to_vec()).await.unwrap();
    }
    let stop = CancellationToken::new();
    let began = Instant::now();
    let running = tokio::spawn(bridge.run(stop.clone()));
    loop {
        let depths = operator.broker.depths().await.unwrap();
        if depths.iter().filter(|d| !d.queue.contains('.')).all(|d| d.messages == 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    drop(operator);
    stop.cancel();
    running.await.unwrap().unwrap();
    rate
}

fn event(clock: &Clock, kind: &str, subject: u64) -> Arc<Event> {
    let id: u128 = rand::random();
    let body = format!(r#"{{"n":{subject},"text":"{}"}}"#, "x".repeat(400));
    let mut new = NewEvent::new(kind, Payload::json(body.as_bytes()).unwrap());
    new.id = Some(format!("{id:032x}"));
    new.subject = Some(format!("subject-{subject:016}"));
    new.version = Some(Version::Integer(2));
    Arc::new(new.stamp("in", clock).unwrap())
}
