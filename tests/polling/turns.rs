//! The polling loop: what is durable when, who polls, and when it waits (promise P9).

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dari::clock::Clock;
use dari::connectors::{Memory, Page, PollError, Poller};
use dari::event::{Event, NewEvent, Payload};
use dari::outcome::Scope;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::bench::{Bench, SOURCE, Trick, until};
use crate::world::{Api, World};

/// Often, for a test; `start: all` in the past.
const QUICK: &[(&str, &str)] = &[("start", "all"), ("every", "20ms")];

fn ids(events: &[Arc<Event>]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

fn subjects(events: &[Arc<Event>]) -> BTreeSet<&str> {
    events.iter().filter_map(|event| event.subject.as_deref()).collect()
}

async fn with_responses(world: &World, ids: &[&str]) {
    for id in ids {
        world.submit(json!({"id": id, "answers": {"이름": id}})).await;
    }
    world.advance(1);
}

#[tokio::test]
async fn p9_events_are_published_and_then_the_cursor_is_stored() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    let running = bench.run("one", world.poller(Api::Response, QUICK));
    with_responses(&world, &["a", "b"]).await;
    let events = bench.published(2).await;
    assert_eq!(subjects(&events), ["a", "b"].into());
    assert!(events[0].received < events[1].received);
    assert_eq!((events[0].source.as_str(), events[0].kind.as_str()), (SOURCE, "response.created"));
    until("the cursor", async || bench.cursor().await.is_some_and(|c| c["seen"].get("b").is_some())).await;
    let polls = bench.polled(1, |polled| polled.events > 0).await;
    assert_eq!((polls[0].failed, polls[0].note.as_deref()), (false, None));
    running.end().await;
    assert_eq!(bench.broker.events().await.len(), 2, "polled again and again, published once");
}

#[tokio::test]
async fn p9_a_crash_between_publish_and_commit_repeats_with_the_same_ids_and_skips_nothing() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    bench.broker.play(Trick::KeepAndHang);
    with_responses(&world, &["a", "b"]).await;
    let first = bench.run("one", world.poller(Api::Open, QUICK));
    let before = bench.published(2).await;
    first.crash().await;
    assert_eq!(bench.cursor().await, None);

    with_responses(&world, &["c"]).await;
    // The lease of the dead runs out.
    world.advance(31);
    let second = bench.run("two", world.poller(Api::Open, QUICK));
    let all = bench.published(5).await;
    assert_eq!(ids(&all[2..4]), ids(&before), "the same ids collapse under P2");
    assert_eq!(all[4].subject.as_deref(), Some("c"));
    second.end().await;
    assert_eq!(bench.broker.events().await.len(), 5);
}

#[tokio::test]
async fn p9_a_replica_that_lost_its_lease_cannot_commit() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    bench.broker.play(Trick::KeepAndSteal(Arc::clone(&bench.store), world.clock.clone()));
    with_responses(&world, &["a"]).await;
    let running = bench.run("one", world.poller(Api::Response, QUICK));
    let polls = bench.polled(1, |polled| polled.failed).await;
    assert_eq!(polls[0].note.as_deref(), Some("poll/signup is held by another"));
    assert_eq!(bench.cursor().await, None);
    // It stands by until the thief's lease has run out, and then does what was not committed again.
    world.advance(31);
    bench.wake.notify_one();
    let events = bench.published(2).await;
    assert_eq!(events[0].id, events[1].id);
    until("the cursor", async || bench.cursor().await.is_some()).await;
    running.end().await;
}

#[tokio::test]
async fn p9_while_the_broker_fails_the_cursor_stays() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    bench.broker.play(Trick::Fail);
    bench.broker.play(Trick::Fail);
    with_responses(&world, &["a"]).await;
    let running = bench.run("one", world.poller(Api::Response, QUICK));
    let polls = bench.polled(2, |polled| polled.failed).await;
    assert_eq!(polls[0].note.as_deref(), Some("the broker cannot take events now: no room"));
    bench.published(1).await;
    until("the cursor", async || bench.cursor().await.is_some()).await;
    running.end().await;
}

#[tokio::test]
async fn a_stop_finishes_the_page_that_is_being_published() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    let gate = Arc::new(Notify::new());
    bench.broker.play(Trick::Gate(Arc::clone(&gate)));
    with_responses(&world, &["a"]).await;
    let running = bench.run("one", world.poller(Api::Response, QUICK));
    bench.broker.entered.notified().await;
    running.stop.cancel();
    gate.notify_one();
    running.end().await;
    assert_eq!(bench.broker.events().await.len(), 1);
    assert!(bench.cursor().await.is_some(), "what was published is committed");
    let taken = bench.store.lease("poll/signup", "next", 1_000, world.clock.now()).await.unwrap();
    assert!(taken.is_some(), "the lease was given back");
}

#[tokio::test]
async fn p5_refused_keys_suspend_the_account_until_it_is_resumed() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    world.answer_next(401, &[], r#"{"message":"Unauthorized"}"#);
    with_responses(&world, &["a"]).await;
    let running = bench.run("one", world.poller(Api::Response, QUICK));
    let (scope, name, why) = bench.suspended().await;
    assert_eq!((scope, name.as_str()), (Scope::Account, "walla"));
    assert!(why.starts_with("walla refused the account's keys (401 Unauthorized)"), "{why}");
    // A wake-up alone resumes nothing.
    let asked = world.front.asked.lock().unwrap().len();
    bench.wake.notify_one();
    until("the wake-up to be taken", async || bench.wake_is_taken()).await;
    assert_eq!(world.front.asked.lock().unwrap().len(), asked);
    assert_eq!(bench.polled(1, |polled| polled.failed).await.len(), 1, "told once");

    assert!(bench.halts.resume(Scope::Account, "walla").await.unwrap());
    bench.wake.notify_one();
    assert_eq!(subjects(&bench.published(1).await), ["a"].into());
    running.end().await;
}

#[tokio::test]
async fn p5_refused_keys_are_tried_again_by_polling_now_and_then() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    for _ in 0..2 {
        world.answer_next(401, &[], r#"{"message":"Unauthorized"}"#);
    }
    with_responses(&world, &["a"]).await;
    let running = bench.run("one", world.poller(Api::Response, QUICK));
    bench.suspended().await;
    // Refused again after a minute; not after the next.
    world.advance(61);
    bench.wake.notify_one();
    bench.polled(2, |polled| polled.failed).await;
    assert!(bench.halts.any(&[(Scope::Account, "walla")]).is_some());
    world.advance(61);
    bench.wake.notify_one();
    assert_eq!(subjects(&bench.published(1).await), ["a"].into());
    until("the account to go on", async || bench.halts.any(&[(Scope::Account, "walla")]).is_none()).await;
    assert_eq!(bench.polled(2, |polled| polled.failed).await.len(), 2);
    running.end().await;
}

#[tokio::test]
async fn p5_a_source_that_a_person_stopped_is_not_polled_to_probe_its_account() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    world.answer_next(401, &[], r#"{"message":"Unauthorized"}"#);
    with_responses(&world, &["a"]).await;
    let running = bench.run("one", world.poller(Api::Response, QUICK));
    bench.suspended().await;
    bench.halts.stop(Scope::Source, SOURCE, "maintenance".to_owned()).await.unwrap();
    let asked = world.front.asked.lock().unwrap().len();
    world.advance(61);
    bench.wake.notify_one();
    until("the wake-up to be taken", async || bench.wake_is_taken()).await;
    bench.wake.notify_one();
    until("the wake-up to be taken", async || bench.wake_is_taken()).await;
    assert_eq!(world.front.asked.lock().unwrap().len(), asked);
    running.end().await;
}

#[tokio::test]
async fn equal_labels_stop_the_source_and_ask_a_person() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    world.ask(json!({"column": "field_name2", "label": "이름", "type": "TEXT"})).await;
    let running = bench.run("one", world.poller(Api::Open, QUICK));
    let (scope, name, why) = bench.suspended().await;
    assert_eq!((scope, name.as_str()), (Scope::Source, SOURCE));
    assert!(why.contains("field_name and field_name2"), "{why}");
    world.ask(json!({"column": "field_name2", "label": "보호자", "type": "TEXT"})).await;
    with_responses(&world, &["a"]).await;
    bench.halts.resume(Scope::Source, SOURCE).await.unwrap();
    bench.wake.notify_one();
    bench.published(1).await;
    running.end().await;
}

#[tokio::test]
async fn p5_retry_after_pauses_the_account_unless_a_person_says_now() {
    let world = World::new().await;
    let bench = Bench::new(&world.clock).await;
    world.answer_next(429, &[("retry-after", "3600")], "{}");
    with_responses(&world, &["a"]).await;
    let running = bench.run("one", world.poller(Api::Response, QUICK));
    let polls = bench.polled(1, |polled| polled.failed).await;
    assert_eq!(polls[0].note.as_deref(), Some("walla asks to slow down (429)"));
    until("a pause", async || bench.store.suspensions().await.unwrap().len() == 1).await;
    let pause = bench.store.suspensions().await.unwrap().remove(0);
    assert_eq!((pause.scope, pause.name.as_str()), (Scope::Account, "walla"));
    assert_eq!(pause.until, Some(pause.since + SignedDuration::from_hours(1)));
    bench.wake.notify_one();
    assert_eq!(world.front.asked.lock().unwrap().len(), 1, "the account is left alone");
    bench.halts.resume(Scope::Account, "walla").await.unwrap();
    bench.wake.notify_one();
    bench.published(1).await;
    running.end().await;
}

/// A poller that plays its pages, and then has no news.
#[derive(Clone, Default)]
struct Script(Arc<Scene>);

#[derive(Default)]
struct Scene {
    pages: Mutex<VecDeque<Page>>,
    polls: AtomicUsize,
}

impl Script {
    fn of(pages: impl IntoIterator<Item = Page>) -> Self {
        Self(Arc::new(Scene { pages: Mutex::new(pages.into_iter().collect()), polls: AtomicUsize::new(0) }))
    }

    fn polls(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Poller for Script {
    fn every(&self) -> Duration {
        Duration::from_hours(1)
    }

    async fn poll(&self, cursor: Option<&Value>, _: &dyn Memory) -> Result<Page, PollError> {
        self.0.polls.fetch_add(1, Ordering::SeqCst);
        let next = self.0.pages.lock().unwrap().pop_front();
        Ok(next.unwrap_or_else(|| page(cursor.cloned().unwrap_or_default(), &[], false)))
    }
}

fn page(cursor: Value, kinds: &[&str], more: bool) -> Page {
    let events = kinds.iter().map(|kind| NewEvent::new(*kind, Payload::from_value(&json!(kind)))).collect();
    Page { events, cursor, more, ..Page::default() }
}

fn clock() -> Clock {
    Clock::manual("2026-11-21T00:00:00Z".parse().unwrap())
}

#[tokio::test]
async fn more_means_at_once_and_in_order() {
    let bench = Bench::new(&clock()).await;
    let script = Script::of((1..4).map(|n| page(json!(n), &[&format!("t{n}")], n < 3)));
    let running = bench.run("one", Box::new(script.clone()));
    let events = bench.published(3).await;
    assert_eq!(events.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(), ["t1", "t2", "t3"]);
    until("the last cursor", async || bench.cursor().await == Some(json!(3))).await;
    assert_eq!(script.polls(), 3, "and then in an hour");
    bench.wake.notify_one();
    until("a poll now", async || script.polls() == 4).await;
    running.end().await;
}

#[tokio::test]
async fn what_cannot_be_an_event_stops_the_source_and_publishes_nothing_of_its_page() {
    let bench = Bench::new(&clock()).await;
    let script = Script::of([page(json!(1), &["fine", "not fine"], false)]);
    let running = bench.run("one", Box::new(script));
    let (scope, _, why) = bench.suspended().await;
    assert_eq!(scope, Scope::Source);
    insta::assert_snapshot!(why, @r#"the poll brought what cannot be an event: the type "not fine" does not fit [A-Za-z0-9._-]{1,128}"#);
    assert_eq!((bench.broker.events().await.len(), bench.cursor().await), (0, None));
    running.end().await;
}

#[tokio::test]
async fn p9_one_replica_polls_and_another_takes_over() {
    let clock = clock();
    let bench = Bench::new(&clock).await;
    let scripts: [Script; 2] = Default::default();
    let polls = |n: usize| scripts[n].polls();
    let wake = Arc::new(Notify::new());
    let first = bench.run("one", Box::new(scripts[0].clone()));
    until("the first to poll", async || polls(0) == 1).await;
    let second = bench.run_woken_by("two", Box::new(scripts[1].clone()), &wake);
    bench.wake.notify_one();
    until("the first to poll again", async || polls(0) == 2).await;
    wake.notify_one();
    until("the second to look", async || !is_notified(&wake)).await;
    assert_eq!(polls(1), 0, "the lease is the first's");
    first.end().await;
    wake.notify_one();
    until("the second to poll", async || polls(1) == 1).await;
    second.end().await;
}

#[tokio::test]
async fn a_source_suspended_for_a_time_goes_on_by_itself() {
    let clock = clock();
    let bench = Bench::new(&clock).await;
    let until_then = clock.now() + SignedDuration::from_secs(60);
    let suspension = dari::store::Suspension {
        scope: Scope::Account,
        name: "walla".to_owned(),
        why: "slow down".to_owned(),
        since: clock.now(),
        until: Some(until_then),
        probe: None,
    };
    bench.halts.suspend(suspension).await.unwrap();
    let script = Script::default();
    let running = bench.run("one", Box::new(script.clone()));
    bench.wake.notify_one();
    until("the wake-up to be taken", async || bench.wake_is_taken()).await;
    assert_eq!(script.polls(), 0);
    clock.advance(SignedDuration::from_secs(61));
    until("a poll", async || script.polls() == 1).await;
    running.end().await;
}

/// True while a notification waits for somebody.
fn is_notified(wake: &Notify) -> bool {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};
    let mut waiting = Box::pin(wake.notified());
    let taken = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(());
    if taken {
        wake.notify_one();
    }
    taken
}

impl Bench {
    fn wake_is_taken(&self) -> bool {
        !is_notified(&self.wake)
    }
}
