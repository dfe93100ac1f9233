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

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;
/// The rate limit holds for each source: several share the load.
const SOURCES: usize = 16;
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

    let mut starts: Vec<Duration> =
        (0..STARTS).map(|n| Bridge::start(&dir.path().join(format!("start-{n}"))).1).collect();
    starts.sort_unstable();
    println!("start to ready       {:>9.1} ms       median of {STARTS}, empty store", ms(starts[STARTS / 2]));

    let (bridge, _) = Bridge::start(&dir.path().join("run"));
    std::thread::sleep(Duration::from_secs(2));
    println!("idle memory          {:>9.1} MiB", bridge.memory());

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
    let (early, mut sent) = (bridge.memory(), MEASURED);
    println!("memory, {sent:>7} wait {early:>9.1} MiB");
    while sent < QUEUED {
        load(bridge.address, &body, sent, MEASURED.min(QUEUED - sent));
        sent += MEASURED.min(QUEUED - sent);
    }
    std::thread::sleep(Duration::from_secs(2));
    println!("memory, {sent:>7} wait {:>9.1} MiB", bridge.memory());
}

fn body() -> String {
    format!("{{\"order\":{{\"id\":7,\"text\":\"{}\"}}}}", "x".repeat(990))
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

struct Bridge {
    process: Child,
    address: SocketAddr,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bridge {
    /// Starts a bridge and waits until it answers.
    fn start(dir: &Path) -> (Self, Duration) {
        std::fs::create_dir_all(dir).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        std::fs::write(dir.join("dari.yaml"), config(address)).unwrap();
        let started = Instant::now();
        let process = Command::new(env!("CARGO_BIN_EXE_dari"))
            .args(["run", "dari.yaml"])
            .current_dir(dir)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let bridge = Self { process, address };
        while !bridge.is_ready() {
            assert!(started.elapsed() < Duration::from_secs(20), "the bridge does not start");
            std::thread::sleep(Duration::from_millis(1));
        }
        (bridge, started.elapsed())
    }

    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    }

    /// Processor time used so far.
    fn cpu(&self) -> Duration {
        // Ticks of 10 ms, wherever Linux is used today.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

fn config(address: SocketAddr) -> String {
    let mut sources = String::new();
    for n in 0..SOURCES {
        let event = "event: { id: \"{{ headers['x-id'] }}\" }";
        let _ = writeln!(sources, "  s{n}: {{ webhook: {{ verify: {{ bearer: {{ tokens: [sesame] }} }}, {event} }} }}");
    }
    format!(
        "listen: {{ hooks: \"{address}\" }}\nsources:\n{sources}sinks:\n  out: {{ http: {{ url: \"http://127.0.0.1:9/\", \
         allow_private: true, enabled: false }} }}\nroutes:\n  all: {{ from: \"*\", to: out, do: create, map: {{ id: \"{{{{ id }}}}\" }} }}\n"
    )
}

/// Posts `count` events over all connections, each waiting for its answer; the rate and every latency.
fn load(address: SocketAddr, body: &str, first: u64, count: u64) -> (f64, Vec<Duration>) {
    let next = AtomicU64::new(first);
    let start = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let posting: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| post(address, body, &next, first + count))).collect();
        posting.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    (count as f64 / start.elapsed().as_secs_f64(), latencies)
}

fn post(address: SocketAddr, body: &str, next: &AtomicU64, end: u64) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut latencies = Vec::new();
    loop {
        let id = next.fetch_add(1, Ordering::Relaxed);
        if id >= end {
            return latencies;
        }
        let started = Instant::now();
        let source = id as usize % SOURCES;
        let request = format!(
            "POST /hooks/s{source} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sesame\r\nx-id: {id}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let status = answer(&mut answers);
        assert_eq!(status, 202, "event {id}");
        latencies.push(started.elapsed());
    }
}

fn answer(reader: &mut impl BufRead) -> u16 {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    status
}
