//! How long the dashboard's pages and the API take with 100,000 events in the journal.
//!
//! Each page is asked for twenty times over HTTP; the slowest answer counts. `cargo bench --bench board`;
//! `DARI_BENCH_DIR` says on which disk, `DARI_BENCH_EVENTS` how many events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs, reason = "a bench")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dari::app::{Bridge, Options};
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::event::{Event, NewEvent, Payload};
use dari::store::journal::{Entry, Record, Step};
use dari::store::{DeadClass, DeadLetter, DeliveryKey, LedgerEntry, LinkKey, Progress, Settlement};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const EVENTS: usize = 100_000;
const DEAD: usize = 1_000;
const AT_ONCE: usize = 1_000;
const TIMES: usize = 20;

const CONFIG: &str = r#"
listen: { hooks: "127.0.0.1:0", admin: { address: "127.0.0.1:0" } }
store: { url: "sqlite://dari.db" }
min_free: 1KiB
redact: ["data.phone"]
sources:
  shop: { webhook: { verify: none } }
  forms: { webhook: { verify: none } }
sinks:
  crm: { http: { url: "http://127.0.0.1:1/crm", allow_private: true, limits: { monthly: 1500 } } }
  ops: { http: { url: "http://127.0.0.1:1/ops", allow_private: true } }
routes:
  shop-to-crm: { from: shop, to: crm, do: create, map: { n: "{{ data.n }}" } }
  forms-to-crm: { from: forms, to: crm, do: create, map: { n: "{{ data.n }}" } }
  all-to-ops: { from: [shop, forms], to: ops, do: create, map: { n: "{{ data.n }}" } }
"#;

const PAGES: [&str; 20] = [
    "/",
    "/journal",
    "/journal?before=50000",
    "/journal?what=nothing",
    "/journal?what=order-77",
    "/journal?source=forms",
    "/journal?type=order.rare",
    "/journal?type=order.none",
    "/journal?from=2020-01-01T00:00&to=2020-01-02T00:00",
    "/journal?source=forms&type=order.rare",
    "/journal?text=nowhere",
    "/event?source=shop&id=e-99998",
    "/dead",
    "/dead?route=shop-to-crm&class=payload",
    "/dead/1",
    "/sinks",
    "/sources",
    "/config",
    "/api/events?type=order.rare",
    "/api/needs",
];

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = std::env::var_os("DARI_BENCH_DIR").map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    let folder = folder.expect("a folder");
    std::fs::write(folder.path().join("dari.yaml"), CONFIG).expect("written");
    runtime.block_on(run(folder.path()));
}

async fn run(folder: &Path) {
    let clock = Clock::system(1);
    let config = dari::config::load(&folder.join("dari.yaml"), &|_| None, &Client::new().unwrap(), &clock);
    let config = config.unwrap_or_else(|faults| panic!("{faults}"));
    let bridge = Bridge::build(Arc::new(config), clock.clone(), &Options::default()).await.unwrap();
    let (operator, admin) = (bridge.operator(), bridge.admin_address().unwrap());
    let events = std::env::var("DARI_BENCH_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(EVENTS);
    let started = Instant::now();
    for first in (0..events).step_by(AT_ONCE) {
        let some: Vec<_> = (first..first + AT_ONCE).map(|n| event(&clock, n)).collect();
        operator.journal.received(some.clone()).await.unwrap();
        for event in &some {
            for entry in journey(event, &clock) {
                operator.journal.record(Record::Entry(entry));
            }
        }
        operator.journal.flush().await.unwrap();
    }
    for n in 0..DEAD {
        operator.store.settle(dead(&event(&clock, n), &clock)).await.unwrap();
    }
    println!("{events} events of 1 KB with their journeys, {DEAD} dead letters: {:.0?}", started.elapsed());
    let stop = CancellationToken::new();
    let running = tokio::spawn(bridge.run(stop.clone()));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut slowest = (Duration::ZERO, "");
    for page in PAGES {
        let mut took = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let started = Instant::now();
            let answer = http.get(format!("http://{admin}{page}")).send().await.unwrap();
            let status = answer.status();
            let bytes = answer.bytes().await.unwrap().len();
            assert!(status.is_success(), "{page}: {status}, {bytes} bytes");
            took.push(started.elapsed());
        }
        took.sort_unstable();
        let (median, most) = (took[TIMES / 2], took[TIMES - 1]);
        println!("{page:<52} p50 {median:>10.1?}  slowest {most:>10.1?}");
        slowest = slowest.max((most, page));
    }
    println!("the slowest is {} with {:.1?}; the aim is 100 ms", slowest.1, slowest.0);
    stop.cancel();
    running.await.unwrap().unwrap();
}

fn event(clock: &Clock, n: usize) -> Arc<Event> {
    let body = json!({ "n": n, "phone": format!("010-{n:08}"), "text": "x".repeat(900) });
    let kind = if n.is_multiple_of(9_973) { "order.rare" } else { "order.created" };
    let mut new = NewEvent::new(kind, Payload::from_value(&body));
    new.id = Some(format!("e-{n}"));
    new.subject = Some(format!("order-{}", n / 4));
    Arc::new(new.stamp(if n.is_multiple_of(2) { "shop" } else { "forms" }, clock).expect("an event"))
}

fn journey(event: &Event, clock: &Clock) -> Vec<Entry> {
    let own = format!("{}-to-crm", event.source);
    let call =
        json!({ "method": "POST", "url": "http://127.0.0.1:1/crm", "body": { "n": 1, "text": "y".repeat(200) } });
    let steps = [
        Step::Matched { verb: "create".into() },
        Step::Attempt {
            attempt: 1,
            call,
            status: Some(200),
            outcome: "delivered".into(),
            message: "200 OK".into(),
            took_ms: 12,
        },
        Step::Ended { ending: "delivered".into(), detail: "rec-1".into() },
    ];
    let at = clock.now();
    let on = |route: &str| {
        let entry = |step: &Step| Entry { at, event: event.key(), route: Some(route.to_owned()), step: step.clone() };
        steps.iter().map(entry).collect::<Vec<_>>()
    };
    [on(&own), on("all-to-ops")].concat()
}

fn dead(event: &Arc<Event>, clock: &Clock) -> Settlement {
    let route = format!("{}-to-crm", event.source);
    let delivery = DeliveryKey { route: route.clone(), event: event.key(), generation: 0 };
    let letter = DeadLetter {
        delivery: delivery.clone(),
        event: Arc::clone(event),
        sink: "crm".into(),
        class: DeadClass::Payload,
        reason: "HTTP 422: the grade is empty".into(),
        attempts: 1,
        call: None,
        at: clock.now(),
    };
    let progress = Progress::Done { ending: "rejected".into() };
    Settlement {
        link: LinkKey { owner: route, key: event.subject_key() },
        delivery,
        body_key: None,
        received: event.received,
        version: None,
        entry: LedgerEntry { attempt: 1, progress, first_retry: None, doubt: None },
        expires: clock.now(),
        new_link: None,
        refund: None,
        dead: Some(letter),
        basis: dari::store::Basis::Delivery,
    }
}
