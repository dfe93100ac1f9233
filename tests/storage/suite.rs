//! What every broker must do, as functions over the trait: each implementation is run through the same ones.

use std::any::Any;
use std::sync::Arc;

use dari::broker::{Binding, Broker, Consumer, Depth, JOURNAL};
use dari::clock::Clock;
use jiff::{SignedDuration, Timestamp};

use crate::common::{DEADLINE, event, is_quiet, next};

/// A broker without queues, by the machine's clock.
pub struct Rig {
    pub broker: Arc<dyn Broker>,
    pub clock: Clock,
    /// True if the broker itself knows what waits, and since when the oldest message is there.
    pub counts_waiting: bool,
    /// True if two queues have the messages of several publishers in one order.
    pub one_order: bool,
    /// What must live as long: a folder, a container.
    pub _keep: Box<dyn Any + Send>,
}

type Names = Option<&'static [&'static str]>;

impl Rig {
    /// Queues by name with their sources and types.
    async fn declare(&self, bindings: &[(&str, Names, Names)]) {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let bindings = bindings.iter().map(|(queue, sources, types)| Binding {
            queue: (*queue).to_owned(),
            sources: sources.map(list),
            types: types.map(list),
        });
        self.broker.declare(bindings.collect()).await.expect("declared");
    }

    async fn publish(&self, source: &str, kind: &str, id: &str) {
        self.broker.publish(vec![event(&self.clock, source, kind, id)]).await.expect("published");
    }

    async fn consume(&self, queue: &str, prefetch: usize) -> Box<dyn Consumer> {
        self.broker.consume(queue, prefetch).await.expect("a consumer")
    }

    /// Receives and acks `count` messages: their ids.
    async fn drain(&self, queue: &str, count: usize) -> Vec<String> {
        let mut consumer = self.consume(queue, 10).await;
        let mut ids = Vec::new();
        for _ in 0..count {
            let message = next(consumer.as_mut()).await;
            self.broker.ack(queue, &message).await.expect("acked");
            ids.push(message.event.id.clone());
        }
        assert!(is_quiet(consumer.as_mut()).await, "{queue} has more than {count} messages");
        ids
    }

    async fn depth(&self, queue: &str) -> Option<Depth> {
        self.broker.depths().await.expect("depths").into_iter().find(|depth| depth.queue == queue)
    }

    /// Waits until a queue stands so: counts may lag behind.
    async fn stands(&self, expected: Depth) {
        let expected = if self.counts_waiting {
            expected
        } else {
            Depth { messages: expected.messages - expected.waiting, waiting: 0, oldest: None, ..expected }
        };
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let mut depth = self.depth(&expected.queue).await;
            if let Some(depth) = depth.as_mut().filter(|_| !self.counts_waiting) {
                depth.oldest = None;
            }
            if depth.as_ref() == Some(&expected) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{depth:?} is not {expected:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    fn in_ms(&self, ms: i64) -> Timestamp {
        self.clock.now() + SignedDuration::from_millis(ms)
    }
}

pub async fn an_event_goes_to_every_queue_bound_to_it(rig: Rig) {
    rig.declare(&[
        ("by-source", Some(&["shop"]), None),
        ("by-type", None, Some(&["order.*"])),
        ("by-both", Some(&["shop", "git"]), Some(&["push"])),
        (JOURNAL, None, None),
    ])
    .await;
    rig.publish("shop", "order.created", "1").await;
    rig.publish("git", "push", "2").await;
    rig.publish("crm", "note", "nobody's").await;
    assert_eq!(rig.drain("by-source", 1).await, ["1"]);
    assert_eq!(rig.drain("by-type", 1).await, ["1"]);
    assert_eq!(rig.drain("by-both", 1).await, ["2"]);
    assert_eq!(rig.drain(JOURNAL, 3).await, ["1", "2", "nobody's"]);
}

pub async fn messages_come_in_the_order_of_publishing(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    let ids: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let mut left = ids.as_slice();
    for size in (1..).map_while(|n| (!left.is_empty()).then_some(n)) {
        let (batch, rest) = left.split_at(left.len().min(size));
        let events = batch.iter().map(|id| event(&rig.clock, "s", "t", id)).collect();
        rig.broker.publish(events).await.expect("published");
        left = rest;
        if left.is_empty() {
            break;
        }
    }
    assert_eq!(rig.drain("r", 200).await, ids);
}

pub async fn several_are_acked_at_once_and_no_others(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    for id in ["1", "2", "3", "4", "5"] {
        rig.publish("s", "t", id).await;
    }
    let mut consumer = rig.consume("r", 10).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(next(consumer.as_mut()).await);
    }
    // Not the first ones, then the first ones.
    rig.broker.ack_all("r", &[held[1].clone(), held[3].clone()]).await.expect("acked");
    rig.broker.ack_all("r", &[held[0].clone(), held[2].clone()]).await.expect("acked");
    rig.broker.ack_all("r", &[]).await.expect("nothing to do");
    drop(consumer);
    assert_eq!(rig.drain("r", 1).await, ["5"]);
    rig.stands(Depth { queue: "r".into(), messages: 0, waiting: 0, oldest: None }).await;
}

pub async fn a_body_comes_byte_for_byte(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    let sent = event(&rig.clock, "s", "t", "1");
    rig.broker.publish(vec![Arc::clone(&sent)]).await.expect("published");
    let got = next(rig.consume("r", 1).await.as_mut()).await;
    assert_eq!(got.event.data.bytes(), sent.data.bytes());
    assert_eq!((got.event.received, got.event.time, &got.event.subject), (sent.received, sent.time, &sent.subject));
    assert_eq!(got.attempt, 1);
}

pub async fn no_more_than_prefetch_are_handed_out(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    for id in ["1", "2", "3"] {
        rig.publish("s", "t", id).await;
    }
    let mut consumer = rig.consume("r", 2).await;
    let first = next(consumer.as_mut()).await;
    next(consumer.as_mut()).await;
    assert!(is_quiet(consumer.as_mut()).await);
    rig.broker.ack("r", &first).await.expect("acked");
    assert_eq!(next(consumer.as_mut()).await.event.id, "3");
}

pub async fn a_consumer_that_waits_is_woken_by_a_publish(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    let mut consumer = rig.consume("r", 1).await;
    let receive = async { next(consumer.as_mut()).await.event.id.clone() };
    let (id, ()) = tokio::join!(receive, rig.publish("s", "t", "1"));
    assert_eq!(id, "1");
}

pub async fn what_was_not_acked_comes_back_in_its_place(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    for id in ["1", "2", "3", "4"] {
        rig.publish("s", "t", id).await;
    }
    let mut consumer = rig.consume("r", 3).await;
    next(consumer.as_mut()).await;
    let second = next(consumer.as_mut()).await;
    rig.broker.ack("r", &second).await.expect("acked");
    drop(consumer);
    assert_eq!(rig.drain("r", 3).await, ["1", "3", "4"]);
}

pub async fn a_message_waits_until_its_time(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    rig.publish("s", "t", "1").await;
    let mut consumer = rig.consume("r", 1).await;
    let message = next(consumer.as_mut()).await;
    let due = rig.in_ms(400);
    rig.broker.wait("r", &message, 2, due).await.expect("waiting");
    rig.broker.ack("r", &message).await.expect("acked");
    if rig.counts_waiting {
        let depth = rig.depth("r").await.expect("the queue");
        assert_eq!((depth.messages, depth.waiting), (1, 1));
    }
    let again = next(consumer.as_mut()).await;
    let late = rig.clock.now().duration_since(due);
    assert!(!late.is_negative(), "it came {late:?} after its time");
    assert!(late < SignedDuration::from_secs(2), "it came {late:?} after its time");
    assert_eq!((again.event.id.as_str(), again.attempt), ("1", 2));
    assert_eq!(again.event.data.bytes(), message.event.data.bytes());
    rig.broker.ack("r", &again).await.expect("acked");
    rig.stands(Depth { queue: "r".into(), messages: 0, waiting: 0, oldest: None }).await;
}

pub async fn a_message_waits_again_under_the_same_attempt(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    rig.publish("s", "t", "1").await;
    let mut consumer = rig.consume("r", 1).await;
    for _ in 0..3 {
        let message = next(consumer.as_mut()).await;
        assert_eq!(message.attempt, 1);
        rig.broker.wait("r", &message, 1, rig.in_ms(1)).await.expect("waiting");
        rig.broker.ack("r", &message).await.expect("acked");
    }
    assert_eq!(next(consumer.as_mut()).await.attempt, 1);
    assert_eq!(rig.depth("r").await.expect("the queue").messages, 1);
}

pub async fn without_the_ack_both_attempts_are_there(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    rig.publish("s", "t", "1").await;
    let mut consumer = rig.consume("r", 1).await;
    let message = next(consumer.as_mut()).await;
    rig.broker.wait("r", &message, 2, rig.in_ms(1)).await.expect("waiting");
    drop(consumer);
    let mut consumer = rig.consume("r", 2).await;
    let mut attempts = [next(consumer.as_mut()).await.attempt, next(consumer.as_mut()).await.attempt];
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2]);
}

pub async fn a_retry_takes_its_turn_among_fresh_ones(rig: Rig) {
    rig.declare(&[("r", None, None)]).await;
    for id in ["retried", "before"] {
        rig.publish("s", "t", id).await;
    }
    let mut consumer = rig.consume("r", 1).await;
    let message = next(consumer.as_mut()).await;
    // Due later than "before" was published and earlier than "after".
    let due = rig.in_ms(30);
    rig.broker.wait("r", &message, 2, due).await.expect("waiting");
    while rig.clock.now() <= due + SignedDuration::from_millis(5) {
        tokio::task::yield_now().await;
    }
    rig.publish("s", "t", "after").await;
    rig.broker.ack("r", &message).await.expect("acked");
    let mut order = Vec::new();
    for _ in 0..3 {
        let message = next(consumer.as_mut()).await;
        rig.broker.ack("r", &message).await.expect("acked");
        order.push(message.event.id.clone());
    }
    assert_eq!(order, ["before", "retried", "after"]);
}

pub async fn a_replay_goes_to_one_queue(rig: Rig) {
    rig.declare(&[("a", None, None), ("b", None, None)]).await;
    rig.broker.publish_to("b", event(&rig.clock, "s", "t", "1")).await.expect("published");
    assert_eq!(rig.drain("b", 1).await, ["1"]);
    assert_eq!(rig.depth("a").await.expect("the queue").messages, 0);
    rig.broker.publish_to("c", event(&rig.clock, "s", "t", "2")).await.expect_err("there is no such queue");
}

pub async fn depths_tell_how_queues_stand(rig: Rig) {
    rig.declare(&[("a", None, None), ("b", Some(&["other"]), None)]).await;
    let first = event(&rig.clock, "s", "t", "1");
    rig.broker.publish(vec![Arc::clone(&first)]).await.expect("published");
    rig.publish("s", "t", "2").await;
    let mut consumer = rig.consume("a", 1).await;
    let message = next(consumer.as_mut()).await;
    let expected = Depth { queue: "a".into(), messages: 2, waiting: 0, oldest: Some(first.received.at()) };
    // A message that is handed out is still in the queue.
    rig.stands(expected.clone()).await;
    rig.broker.wait("a", &message, 2, rig.in_ms(60_000)).await.expect("waiting");
    rig.broker.ack("a", &message).await.expect("acked");
    rig.stands(Depth { waiting: 1, ..expected }).await;
    let empty = Depth { queue: "b".into(), messages: 0, waiting: 0, oldest: None };
    rig.stands(empty).await;
}

pub async fn a_queue_that_is_no_longer_named_keeps_its_messages(rig: Rig) {
    rig.declare(&[("old", None, None), ("stays", None, Some(&["a"]))]).await;
    rig.publish("s", "a", "1").await;
    rig.declare(&[("stays", None, Some(&["b"])), ("new", None, None)]).await;
    rig.publish("s", "a", "2").await;
    rig.publish("s", "b", "3").await;
    assert_eq!(rig.depth("old").await.expect("it is shown").messages, 1);
    assert_eq!(rig.drain("stays", 2).await, ["1", "3"]);
    assert_eq!(rig.drain("new", 2).await, ["2", "3"]);
    assert_eq!(rig.drain("old", 1).await, ["1"]);
}

pub async fn a_removed_queue_is_gone_and_the_others_are_not(rig: Rig) {
    rig.declare(&[("old", None, None), ("other", None, None)]).await;
    for id in ["1", "2"] {
        rig.publish("s", "t", id).await;
    }
    rig.declare(&[("other", None, None)]).await;
    let mut consumer = rig.consume("old", 1).await;
    next(consumer.as_mut()).await;
    let (removed, end) = tokio::join!(rig.broker.remove("old"), consumer.next());
    assert_eq!(removed.expect("removed"), 2);
    assert!(end.expect("no error").is_none(), "its consumer ends");
    assert_eq!(rig.depth("old").await, None);
    rig.broker.consume("old", 1).await.err().expect("there is no such queue");
    assert_eq!(rig.drain("other", 2).await, ["1", "2"]);
}

pub async fn publishing_from_many_sides_loses_nothing(rig: Rig) {
    rig.declare(&[("r", None, None), (JOURNAL, None, None)]).await;
    let tasks = (0..16).map(|side| {
        let (broker, clock) = (Arc::clone(&rig.broker), rig.clock.clone());
        tokio::spawn(async move {
            for n in 0..25 {
                let events = vec![event(&clock, "s", "t", &format!("{side}-{n}"))];
                broker.publish(events).await.expect("published");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("it ends");
    }
    let mut ids = rig.drain("r", 400).await;
    let mut journal = rig.drain(JOURNAL, 400).await;
    if rig.one_order {
        assert_eq!(journal, ids, "both queues have the same order");
    }
    journal.sort_unstable();
    for side in 0..16 {
        let own: Vec<_> = ids.iter().filter(|id| id.starts_with(&format!("{side}-"))).collect();
        assert_eq!(own, (0..25).map(|n| format!("{side}-{n}")).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    }
    ids.sort_unstable();
    assert_eq!(journal, ids);
    ids.dedup();
    assert_eq!(ids.len(), 400);
}

pub async fn a_renamed_queue_keeps_its_messages(rig: Rig) {
    rig.declare(&[("old", None, None), ("busy", None, None)]).await;
    rig.publish("s", "t", "1").await;
    rig.broker.rename("old", "busy").await.expect_err("it has messages of its own");
    rig.broker.rename("old", "new").await.expect("renamed");
    rig.broker.rename("unknown", "new").await.expect("a queue that is not there needs no new name");
    rig.declare(&[("new", None, None)]).await;
    rig.publish("s", "t", "2").await;
    assert_eq!(rig.depth("old").await, None);
    assert_eq!(rig.drain("new", 2).await, ["1", "2"]);
}
