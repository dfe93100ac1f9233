//! What is measured.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueBindOptions};
use lapin::types::FieldTable;
use tokio::runtime::Runtime;

use crate::bare::{Bare, plain};
use crate::node::Node;
use crate::post::{self, CONNECTIONS, Sender, load};
use crate::process::{Bridge, ask, cpu, free_address};
use crate::sink::Sink;
use crate::{Size, at, config, head, row};

/// Calls that the sink's account takes at once, and what the bridge's worker prefetches for that.
const AT_ONCE: usize = 32;
const PREFETCH: usize = AT_ONCE * 8;

/// A bridge with its folder.
struct Site {
    bridge: Bridge,
    admin: SocketAddr,
    dir: tempfile::TempDir,
}

impl Site {
    fn start(broker: Option<(&str, &str)>, sink: &str, log: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (hooks, admin) = (free_address(), free_address());
        let (bridge, _) = Bridge::start(dir.path(), &config(hooks, admin, broker, sink, AT_ONCE), hooks, log);
        Self { bridge, admin, dir }
    }

    /// Stops the sink, or lets it go on.
    fn sink(&self, what: &str) {
        let answer = ask(self.admin, "POST", &format!("/api/sinks/out/{what}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// HTTP to confirmed publish against a bare publisher.
pub fn publish(runtime: &Runtime, node: &Node, size: Size) {
    let (body, url) = (post::body(), node.url());
    let site = Site::start(Some((&url, "a")), "http://127.0.0.1:9/", "warn");
    site.sink("suspend");
    let bare = runtime.block_on(Bare::connect(&url));
    for queue in ["bare", "two-a", "two-b"] {
        runtime.block_on(bare.queue(queue));
    }
    runtime.block_on(bare.exchange("two", &["two-a", "two-b"]));
    // Once before, so that neither side pays for what is cold.
    runtime.block_on(bare.publish("", "bare", body.as_bytes(), plain, (5_000, CONNECTIONS)));
    load(site.bridge.address, &body, 0, 5_000);
    let (mut raw, mut rates, mut ratios, mut p50, mut p99) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut own, mut broker, mut twice) = (vec![], vec![], vec![]);
    for round in 0..size.rounds as u64 {
        runtime.block_on(bare.purge("bare"));
        let limit = runtime.block_on(bare.publish("", "bare", body.as_bytes(), plain, (size.events, CONNECTIONS)));
        let two = bare.publish("two", "", body.as_bytes(), plain, (size.events, CONNECTIONS));
        twice.push(runtime.block_on(two));
        for queue in ["two-a", "two-b", "a.route.all.v1"] {
            runtime.block_on(bare.purge(queue));
        }
        let before = (site.bridge.cpu(), cpu(node.server_pid()));
        let (rate, mut took) = load(site.bridge.address, &body, 10_000_000 * (round + 1), size.events);
        own.push(site.bridge.cpu().saturating_sub(before.0).as_secs_f64() * 1e6 / size.events as f64);
        broker.push(cpu(node.server_pid()).saturating_sub(before.1).as_secs_f64() * 1e6 / size.events as f64);
        took.sort_unstable();
        p50.push(at(&took, 0.5));
        p99.push(at(&took, 0.99));
        raw.push(limit);
        rates.push(rate);
        ratios.push(rate / limit);
    }
    head("HTTP → confirmed publish, 1 KiB, 64 connections");
    row("bare publisher, window 64", &raw, "messages/s, one quorum queue");
    row("the same to two queues", &twice, "messages/s");
    row("bridge", &rates, "events/s, the route's and the journal's quorum queue");
    row("ratio", &ratios, "aim 0.7");
    row("answer, p50", &p50, "ms");
    row("answer, p99", &p99, "ms");
    row("processor, bridge", &own, "µs an event, journal included");
    row("processor, RabbitMQ", &broker, "µs an event");
}

/// Consume, map, post, ack, with the ledger, against a bare loop.
pub fn deliver(runtime: &Runtime, node: &Node, size: Size) {
    let (body, url) = (post::body(), node.url());
    let sink = runtime.block_on(Sink::start(0));
    let site = Site::start(Some((&url, "b")), &sink.url, "warn");
    let bare = runtime.block_on(Bare::connect(&url));
    runtime.block_on(bare.queue("bare"));
    let (mut raw, mut rates, mut ratios, mut own) = (vec![], vec![], vec![], vec![]);
    for round in 0..size.rounds as u64 {
        let count = size.events;
        runtime.block_on(bare.publish("", "bare", body.as_bytes(), plain, (count, 1_024)));
        let limit = runtime.block_on(bare.forward("bare", &sink.url, (count, PREFETCH, AT_ONCE)));
        site.sink("suspend");
        load(site.bridge.address, &body, 10_000_000 * (round + 1), count);
        while runtime.block_on(bare.ready("b.journal.v1")) > 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs(1));
        let (came, before) = (sink.count.load(Ordering::Relaxed), site.bridge.cpu());
        site.sink("resume");
        sink.reach(came + 1);
        let start = Instant::now();
        sink.reach(came + count);
        let rate = count as f64 / start.elapsed().as_secs_f64();
        own.push(site.bridge.cpu().saturating_sub(before).as_secs_f64() * 1e6 / count as f64);
        raw.push(limit);
        rates.push(rate);
        ratios.push(rate / limit);
    }
    head(&format!("consume → map → HTTP sink → ack, prefetch {PREFETCH}, {AT_ONCE} calls at once"));
    row("bare loop: consume, post, ack", &raw, "messages/s");
    row("bridge, with ledger and journal", &rates, "deliveries/s");
    row("ratio", &ratios, "aim 0.7");
    row("processor, bridge", &own, "µs a delivery");
}

/// From the POST to the sink's receipt, at a steady rate.
pub fn latency(runtime: &Runtime, node: &Node) {
    const RATE: u64 = 1_000;
    const COUNT: u64 = 20_000;
    println!("\nadded latency at {RATE} events/s, from POST to the sink's receipt, {COUNT} events");
    for (name, broker) in [("RabbitMQ", Some(())), ("embedded queue", None)] {
        let sink = runtime.block_on(Sink::start(COUNT));
        let url = node.url();
        let site = Site::start(broker.map(|()| (url.as_str(), "c")), &sink.url, "warn");
        let (body, sent) = (post::body(), (0..COUNT).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
        let (next, start) = (AtomicU64::new(0), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    let mut sender = Sender::connect(site.bridge.address).unwrap();
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= COUNT {
                            return;
                        }
                        let due = start + Duration::from_micros(n * 1_000_000 / RATE);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        sent[n as usize].store(sink.now(), Ordering::Relaxed);
                        assert_eq!(sender.post(&body, n).unwrap(), 202);
                    }
                });
            }
        });
        sink.reach(COUNT);
        let took = |n: u64| sink.when(n).unwrap().saturating_sub(sent[n as usize].load(Ordering::Relaxed));
        // The first second is for what is cold.
        let mut took: Vec<_> = (RATE..COUNT).map(|n| Duration::from_micros(took(n))).collect();
        took.sort_unstable();
        println!(
            "{name:<20} p50 {:>7.1} ms   p99 {:>7.1} ms   max {:>7.1} ms",
            at(&took, 0.5),
            at(&took, 0.99),
            at(&took, 1.0)
        );
    }
}

/// Memory while many messages wait behind a sink that does not answer.
pub fn memory(runtime: &Runtime, node: &Node, size: Size) {
    let (body, url) = (post::body(), node.url());
    let sink = runtime.block_on(Sink::start(0));
    let site = Site::start(Some((&url, "d")), &sink.url, "warn");
    println!("\nmemory of the bridge while messages wait in the broker");
    std::thread::sleep(Duration::from_secs(2));
    let show = |waiting: u64| {
        let (now, highest) = site.bridge.memory();
        println!("{waiting:>9} wait {now:>7.1} MiB, highest {highest:.1} MiB");
    };
    show(0);
    sink.hold(true);
    let bare = runtime.block_on(Bare::connect(&url));
    let properties = runtime.block_on(async {
        // One message of the bridge's own is the pattern of all others.
        bare.queue("pattern").await;
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        bare.channel.queue_bind("pattern".into(), "d.events".into(), "#".into(), options, arguments).await.unwrap();
        load(site.bridge.address, &body, 7_777_777, 1);
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let mut stream = bare.channel.basic_consume("pattern".into(), "".into(), options, arguments).await.unwrap();
        let delivery = stream.next().await.unwrap().unwrap();
        delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
        delivery.properties
    });
    // Another id for each: else they would be one event.
    let numbered = |n: u64| {
        let mut headers = properties.headers().clone().unwrap_or_default();
        if let Some(lapin::types::AMQPValue::LongString(event)) = headers.inner().get("dari-event") {
            let event = event.to_string().replace("7777777", &n.to_string());
            headers.insert("dari-event".into(), lapin::types::AMQPValue::LongString(event.into()));
        }
        properties.clone().with_headers(headers)
    };
    let step = size.waiting.div_ceil(4).max(1);
    let mut waiting = 0;
    while waiting < size.waiting {
        let more = step.min(size.waiting - waiting);
        let batch = bare.publish("", "d.route.all.v1", body.as_bytes(), |n| numbered(waiting + n), (more, 1_024));
        runtime.block_on(batch);
        waiting += more;
        show(waiting);
    }
    // And while it works through some of them.
    sink.hold(false);
    sink.reach(sink.count.load(Ordering::Relaxed) + size.waiting.min(20_000) / 2);
    show(runtime.block_on(bare.ready("d.route.all.v1")));
}

/// How long after the broker is there again the bridge publishes and delivers.
pub fn recovery(runtime: &Runtime, node: &Node, size: Size) {
    let (body, url) = (post::body(), node.url());
    let sink = runtime.block_on(Sink::start(0));
    let site = Site::start(Some((&url, "e")), &sink.url, "warn,dari::broker=debug");
    let (mut published, mut delivered) = (vec![], vec![]);
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| under_load(&site, &body, &next, &stop));
        }
        for _ in 0..size.rounds {
            let goal = sink.count.load(Ordering::Relaxed) + 500;
            sink.reach(goal);
            node.kill();
            // What was on its way arrives.
            std::thread::sleep(Duration::from_secs(1));
            let (came, told) = (sink.count.load(Ordering::Relaxed), forwarded(site.dir.path()));
            let watching = scope.spawn({
                let (site, sink) = (&site, Arc::clone(&sink));
                move || watch(node.port(), &sink, came, site.dir.path(), told)
            });
            node.run();
            let (first_publish, first_delivery) = watching.join().unwrap();
            published.push(first_publish.as_secs_f64());
            delivered.push(first_delivery.as_secs_f64());
        }
        stop.store(true, Ordering::Relaxed);
    });
    head("after a kill -9 of RabbitMQ under load, seconds from its port being open again");
    row("first confirmed publish", &published, "s, aim below 3");
    row("first delivery", &delivered, "s, aim below 3");
}

fn under_load(site: &Site, body: &str, next: &AtomicU64, stop: &AtomicBool) {
    let mut sender = Sender::connect(site.bridge.address).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let status = sender.post(body, next.fetch_add(1, Ordering::Relaxed)).unwrap();
        assert_eq!(status, 202, "the spool takes what the broker does not");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How often the bridge has told that spooled events were published: nothing else is while the spool is not empty.
fn forwarded(dir: &Path) -> usize {
    std::fs::read_to_string(dir.join("log")).unwrap().matches("spooled events were published").count()
}

fn watch(port: u16, sink: &Sink, came: u64, dir: &Path, told: usize) -> (Duration, Duration) {
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let open = Instant::now();
    let (mut published, mut delivered) = (None, None);
    loop {
        if published.is_none() && forwarded(dir) > told {
            published = Some(open.elapsed());
        }
        if delivered.is_none() && sink.count.load(Ordering::Relaxed) > came {
            delivered = Some(open.elapsed());
        }
        if let (Some(published), Some(delivered)) = (published, delivered) {
            return (published, delivered);
        }
        assert!(open.elapsed() < Duration::from_mins(1), "it does not recover");
        std::thread::sleep(Duration::from_millis(5));
    }
}
