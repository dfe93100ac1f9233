//! The embedded queue against a list: whatever is done to it in whatever order.

use dari::broker::embedded::Embedded;
use dari::broker::{Binding, Broker, Consumer, Message};
use dari::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::common::{event, is_quiet, next, time};

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Receive,
    Ack(usize),
    /// Puts the one with this index in wait for so many milliseconds, and acks it.
    Retry(usize, i64),
    Advance(i64),
    DropConsumer,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..4usize).prop_map(Step::Publish),
        6 => Just(Step::Receive),
        3 => (0..4usize).prop_map(Step::Ack),
        3 => ((0..4usize), (-5..30i64)).prop_map(|(which, ms)| Step::Retry(which, ms)),
        2 => (1..20i64).prop_map(Step::Advance),
        1 => Just(Step::DropConsumer),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..50)
}

/// A message as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    id: String,
    attempt: u32,
    /// When it entered the queue, or is due.
    rank: Timestamp,
    fresh: bool,
    held: bool,
}

struct Run {
    folder: tempfile::TempDir,
    clock: Clock,
    parts: Embedded,
    consumer: Option<Box<dyn Consumer>>,
    prefetch: usize,
    /// In the order in which they entered the queue.
    rows: Vec<Row>,
    messages: Vec<Message>,
    published: usize,
}

impl Run {
    async fn new(prefetch: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::manual(time("2026-03-01T00:00:00Z"));
        let parts = Embedded::open(&folder.path().join("dari.db"), clock.clone()).expect("opens");
        let all = Binding { queue: "r".into(), sources: None, types: None };
        parts.broker.declare(vec![all]).await.expect("declared");
        let (rows, messages) = (Vec::new(), Vec::new());
        Self { folder, clock, parts, consumer: None, prefetch, rows, messages, published: 0 }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Publish(count) => self.publish(count).await,
            Step::Receive => {
                if self.messages.len() < self.prefetch && self.ready().next().is_some() {
                    self.receive().await;
                }
            }
            Step::Ack(which) if which < self.messages.len() => {
                let message = self.messages.remove(which);
                self.ack(&message).await;
            }
            Step::Retry(which, ms) if which < self.messages.len() => self.retry(which, ms).await,
            Step::Ack(_) | Step::Retry(..) => {}
            Step::Advance(ms) => {
                self.clock.advance(SignedDuration::from_millis(ms));
                self.parts.broker.wake();
            }
            Step::DropConsumer => self.give_back(),
            Step::Reopen => {
                self.give_back();
                self.parts.close().await;
                let path = self.folder.path().join("dari.db");
                self.parts = Embedded::open(&path, self.clock.clone()).expect("opens");
            }
        }
    }

    fn give_back(&mut self) {
        self.consumer = None;
        self.messages.clear();
        self.rows.iter_mut().for_each(|row| row.held = false);
    }

    async fn publish(&mut self, count: usize) {
        let mut events = Vec::new();
        for _ in 0..count {
            self.published += 1;
            let id = self.published.to_string();
            events.push(event(&self.clock, "s", "t", &id));
            self.rows.push(Row { id, attempt: 1, rank: self.clock.now(), fresh: true, held: false });
        }
        self.parts.broker.publish(events).await.expect("published");
    }

    fn ready(&self) -> impl Iterator<Item = &Row> {
        let now = self.clock.now();
        self.rows.iter().filter(move |row| !row.held && (row.fresh || row.rank <= now))
    }

    async fn receive(&mut self) {
        if self.consumer.is_none() {
            self.consumer = Some(self.parts.broker.consume("r", self.prefetch).await.expect("a consumer"));
        }
        let message = next(self.consumer.as_mut().expect("just made").as_mut()).await;
        let is_it = |row: &&Row| row.id == message.event.id && row.attempt == message.attempt;
        let got = self.ready().find(is_it).cloned();
        let got = got.unwrap_or_else(|| panic!("{} attempt {} was not to come", message.event.id, message.attempt));
        if self.prefetch == 1 {
            // Nothing is read ahead, so the order is exact.
            let first = self.ready().min_by_key(|row| row.rank).expect("one is ready");
            assert_eq!((first.id.as_str(), first.attempt), (got.id.as_str(), got.attempt));
        } else if got.fresh {
            let first = self.ready().find(|row| row.fresh).expect("one is ready");
            assert_eq!(first.id, got.id, "fresh ones keep their order");
        }
        self.row(&message).held = true;
        self.messages.push(message);
    }

    fn row(&mut self, message: &Message) -> &mut Row {
        let is_it = |row: &&mut Row| row.id == message.event.id && row.attempt == message.attempt;
        self.rows.iter_mut().find(is_it).expect("the model has it")
    }

    async fn ack(&mut self, message: &Message) {
        self.parts.broker.ack("r", message).await.expect("acked");
        self.rows.retain(|row| row.id != message.event.id || row.attempt != message.attempt);
    }

    async fn retry(&mut self, which: usize, ms: i64) {
        let message = self.messages.remove(which);
        let due = self.clock.now() + SignedDuration::from_millis(ms);
        self.parts.broker.wait("r", &message, message.attempt + 1, due).await.expect("waiting");
        let id = message.event.id.clone();
        self.rows.push(Row { id, attempt: message.attempt + 1, rank: due, fresh: false, held: false });
        self.ack(&message).await;
    }

    /// Empties the queue: all that the model has is there, and nothing else.
    async fn finish(mut self) {
        let now = self.clock.now();
        let depth = self.parts.broker.depths().await.expect("depths").remove(0);
        let waiting = self.rows.iter().filter(|row| !row.fresh && row.rank > now).count();
        assert_eq!((depth.messages, depth.waiting), (self.rows.len() as u64, waiting as u64));
        self.clock.advance(SignedDuration::from_secs(1));
        self.give_back();
        while !self.rows.is_empty() {
            self.receive().await;
            let message = self.messages.remove(0);
            self.ack(&message).await;
        }
        let mut consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => self.parts.broker.consume("r", 1).await.expect("a consumer"),
        };
        assert!(is_quiet(consumer.as_mut()).await);
        let left = "SELECT (SELECT count(*) FROM body) + (SELECT count(*) FROM message)";
        let left = move |db: &rusqlite::Connection| db.query_row(left, [], |row| row.get::<_, i64>(0));
        assert_eq!(self.parts.store.database().read("counting", left).await.expect("read"), 0, "nothing stays behind");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_is_a_list(steps in steps(), prefetch in prop_oneof![Just(1usize), 2..6usize]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut run = Run::new(prefetch).await;
            for step in steps {
                run.step(step).await;
            }
            run.finish().await;
        });
    }
}
