//! The journal.

use std::sync::Arc;
use std::time::Duration;

use dari::clock::Clock;
use dari::event::{Event, NewEvent, Payload};
use dari::store::journal::sqlite::SqliteJournal;
use dari::store::journal::{Entry, EventFilter, Journal, Part, Polled, Record, Refused, Step};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::common::{event, time};

struct Rig {
    journal: SqliteJournal,
    clock: Clock,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = SqliteJournal::open(&folder.path().join("dari.journal.db")).expect("opens");
    Rig { journal, clock: Clock::manual(time("2026-03-01T00:00:00Z")), _folder: folder }
}

impl Rig {
    async fn receive(&self, source: &str, kind: &str, id: &str) -> Arc<Event> {
        let event = event(&self.clock, source, kind, id);
        self.journal.received(vec![Arc::clone(&event)]).await.expect("written");
        self.clock.advance(SignedDuration::from_secs(1));
        event
    }

    async fn find(&self, filter: EventFilter) -> Vec<String> {
        let found = self.journal.events(filter).await.expect("found");
        found.into_iter().map(|listed| listed.event.id.clone()).collect()
    }

    fn step(&self, event: &str, route: &str, step: Step) {
        let entry = Entry { at: self.clock.now(), event: event.into(), route: Some(route.into()), step };
        self.journal.record(Record::Entry(entry));
    }
}

fn ended(ending: &str) -> Step {
    Step::Ended { ending: ending.into(), detail: "r-1".into() }
}

#[tokio::test]
async fn events_are_found_by_what_people_know_of_them() {
    let rig = rig();
    rig.receive("shop", "order.created", "1").await;
    let second = rig.receive("shop", "order.paid", "2").await;
    rig.receive("git", "push", "100%").await;
    let all = EventFilter::default;
    assert_eq!(rig.find(all()).await, ["100%", "2", "1"], "newest first");
    assert_eq!(rig.find(EventFilter { oldest_first: true, ..all() }).await, ["1", "2", "100%"]);
    assert_eq!(rig.find(EventFilter { source: Some("shop".into()), ..all() }).await, ["2", "1"]);
    assert_eq!(rig.find(EventFilter { kind: Some("push".into()), ..all() }).await, ["100%"]);
    assert_eq!(rig.find(EventFilter { subject: Some("subject-2".into()), ..all() }).await, ["2"]);
    assert_eq!(rig.find(EventFilter { id: Some("1".into()), ..all() }).await, ["1"]);
    assert_eq!(rig.find(EventFilter { text: Some(r#""100%""#.into()), ..all() }).await, ["100%"]);
    assert_eq!(rig.find(EventFilter { text: Some("1_0".into()), ..all() }).await, [""; 0]);
    let at = second.received.at();
    assert_eq!(rig.find(EventFilter { from: Some(at), ..all() }).await, ["100%", "2"]);
    assert_eq!(rig.find(EventFilter { to: Some(at), ..all() }).await, ["1"]);
    assert_eq!(rig.find(EventFilter { limit: 1, ..all() }).await, ["100%"]);
    let newest = rig.journal.events(EventFilter { limit: 1, ..all() }).await.expect("found").remove(0).seq;
    assert_eq!(rig.find(EventFilter { before: Some(newest), limit: 1, ..all() }).await, ["2"]);
}

#[tokio::test]
async fn an_event_is_written_once_and_byte_for_byte() {
    let rig = rig();
    let first = rig.receive("shop", "order", "1").await;
    rig.receive("shop", "order", "1").await;
    let form = NewEvent::new("form", Payload::Form("a=1&b=%20".into())).stamp("shop", &rig.clock).expect("an event");
    rig.journal.received(vec![Arc::new(form)]).await.expect("written");
    let listed = rig.journal.events(EventFilter::default()).await.expect("found");
    assert_eq!(listed.len(), 2);
    assert!(matches!(&listed[0].event.data, Payload::Form(text) if text == "a=1&b=%20"));
    assert_eq!(listed[1].event.data.bytes(), first.data.bytes());
    assert_eq!(listed[1].event.received, first.received);
    assert!(listed[1].body);
}

#[tokio::test]
async fn p7_a_journey_is_read_in_order_with_its_endings() {
    let rig = rig();
    let event = rig.receive("shop", "order", "1").await;
    let key = event.key();
    let call = json!({"url": "https://crm", "amount": 1.5});
    rig.step(&key, "crm", Step::Matched { verb: "upsert".into() });
    rig.step(&key, "erp", Step::Skipped { why: "3 > 5".into() });
    rig.step(
        &key,
        "crm",
        Step::Attempt {
            attempt: 1,
            call: call.clone(),
            status: Some(429),
            outcome: "retry".into(),
            message: "slow".into(),
            took_ms: 12,
        },
    );
    rig.step(&key, "crm", Step::Waiting { attempt: 2, until: rig.clock.now(), why: "429".into() });
    rig.step(&key, "crm", ended("exhausted"));
    rig.step(&key, "crm", ended("delivered"));
    rig.step("shop/2", "crm", ended("stale"));
    rig.journal.flush().await.expect("flushed");
    let journey = rig.journal.journey(&key).await.expect("read");
    let routes: Vec<_> = journey.iter().filter_map(|entry| entry.route.as_deref()).collect();
    assert_eq!(routes, ["crm", "erp", "crm", "crm", "crm", "crm"]);
    assert!(journey.iter().all(|entry| entry.event == key && entry.at == rig.clock.now()));
    assert!(
        matches!(&journey[2].step, Step::Attempt { attempt: 1, call: c, status: Some(429), took_ms: 12, .. } if *c == call)
    );
    let listed = rig.journal.events(EventFilter::default()).await.expect("found");
    assert_eq!(listed[0].endings, [("crm".to_owned(), "delivered".to_owned())]);
}

#[tokio::test]
async fn what_happened_is_counted_by_parts_of_time() {
    let rig = rig();
    let from = rig.clock.now();
    let part = |came, delivered, failed| Part { came, delivered, failed };
    let end = |ending: &str| Step::Ended { ending: ending.into(), detail: String::new() };
    for (n, ending) in ["delivered", "rejected", "delivered", "skipped", "held"].into_iter().enumerate() {
        let event = rig.receive("shop", "order.created", &n.to_string()).await;
        rig.step(&event.key(), "r", end(ending));
        rig.clock.advance(SignedDuration::from_mins(29));
    }
    rig.journal.flush().await.expect("written");
    let hour = Duration::from_hours(1);
    let course = async |from, parts| rig.journal.course(from, hour, parts).await.expect("counted");
    assert_eq!(course(from, 4).await, [part(3, 2, 1), part(2, 0, 1), part(0, 0, 0), part(0, 0, 0)]);
    assert_eq!(
        course(from + SignedDuration::from_hours(1), 1).await,
        [part(2, 0, 1)],
        "what is outside is not counted"
    );
    assert_eq!(course(from, 0).await, []);
}

#[tokio::test]
async fn p7_what_became_no_event_is_read_newest_first() {
    let rig = rig();
    for (source, status) in [("shop", 401), ("git", 404), ("shop", 413)] {
        rig.journal.record(Record::Refused(Refused {
            at: rig.clock.now(),
            source: source.into(),
            status,
            why: "the signature does not fit".into(),
            peer: "10.0.0.1:1".into(),
            bytes: 7,
            body: (status == 413).then(|| "too much".to_owned()),
        }));
    }
    for note in ["first", "second"] {
        rig.journal.record(Record::Polled(Polled {
            at: rig.clock.now(),
            source: "signup".into(),
            events: 2,
            note: Some(note.into()),
            failed: false,
            took_ms: 3,
        }));
    }
    rig.journal.flush().await.expect("flushed");
    let statuses = async |source, limit| {
        let refused = rig.journal.refused(source, limit).await.expect("read");
        refused.into_iter().map(|r| r.status).collect::<Vec<_>>()
    };
    assert_eq!(statuses(None, 0).await, [413, 404, 401]);
    assert_eq!(statuses(Some("shop"), 0).await, [413, 401]);
    assert_eq!(statuses(None, 1).await, [413]);
    let polled = rig.journal.polled("signup", 10).await.expect("read");
    assert_eq!(polled.iter().map(|p| p.note.as_deref()).collect::<Vec<_>>(), [Some("second"), Some("first")]);
    assert!(rig.journal.polled("other", 10).await.expect("read").is_empty());
}

#[tokio::test]
async fn bodies_are_forgotten_before_heads() {
    let rig = rig();
    for id in ["1", "2", "3"] {
        rig.receive("shop", "order", id).await;
        rig.step(&format!("shop/{id}"), "crm", ended("delivered"));
    }
    rig.journal.flush().await.expect("flushed");
    let (never, later) = (Timestamp::MIN, rig.clock.now() + SignedDuration::from_secs(1));
    assert_eq!(rig.journal.forget(never, later, 2).await.expect("forgotten"), 2, "in small batches");
    assert_eq!(rig.journal.forget(never, later, 2).await.expect("forgotten"), 1);
    let listed = rig.journal.events(EventFilter::default()).await.expect("found");
    assert_eq!(listed.iter().map(|l| (l.body, l.event.data.bytes())).collect::<Vec<_>>(), [(false, &b"null"[..]); 3]);
    while rig.journal.forget(later, later, 2).await.expect("forgotten") > 0 {}
    assert!(rig.journal.events(EventFilter::default()).await.expect("found").is_empty());
    assert!(rig.journal.journey("shop/1").await.expect("read").is_empty());
}

#[tokio::test]
async fn without_room_for_bodies_heads_are_written() {
    let rig = rig();
    rig.journal.store_bodies(false);
    rig.receive("shop", "order", "1").await;
    rig.journal.store_bodies(true);
    rig.receive("shop", "order", "2").await;
    let listed = rig.journal.events(EventFilter::default()).await.expect("found");
    assert_eq!(listed.iter().map(|l| l.body).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_close() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dari.journal.db");
    let journal = SqliteJournal::open(&path).expect("opens");
    for n in 0..5_000 {
        let entry = Entry {
            at: time("2026-03-01T00:00:00Z"),
            event: "s/1".into(),
            route: None,
            step: Step::Operator { what: n.to_string() },
        };
        journal.record(Record::Entry(entry));
    }
    journal.close().await;
    let journal = SqliteJournal::open(&path).expect("opens again");
    let journey = journal.journey("s/1").await.expect("read");
    assert_eq!(journey.len(), 5_000);
    assert!(
        journey.iter().enumerate().all(|(n, e)| matches!(&e.step, Step::Operator { what } if *what == n.to_string()))
    );
    assert_eq!(journal.dropped(), 0);
}
