//! The embedded broker against the suite, and what is its own.

use std::path::Path;
use std::sync::Arc;

use dari::broker::embedded::Embedded;
use dari::broker::{Binding, Broker, BrokerError};
use dari::clock::Clock;
use jiff::SignedDuration;

use crate::common::{event, is_quiet, next, time};
use crate::suite::{self, Rig};

fn rig() -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::system(1);
    let parts = Embedded::open(&folder.path().join("dari.db"), clock.clone()).expect("opens");
    Rig { broker: parts.broker, clock, counts_waiting: true, one_order: true, _keep: Box::new(folder) }
}

#[tokio::test]
async fn an_event_goes_to_every_queue_bound_to_it() {
    suite::an_event_goes_to_every_queue_bound_to_it(rig()).await;
}

#[tokio::test]
async fn messages_come_in_the_order_of_publishing() {
    suite::messages_come_in_the_order_of_publishing(rig()).await;
}

#[tokio::test]
async fn several_are_acked_at_once_and_no_others() {
    suite::several_are_acked_at_once_and_no_others(rig()).await;
}

#[tokio::test]
async fn a_body_comes_byte_for_byte() {
    suite::a_body_comes_byte_for_byte(rig()).await;
}

#[tokio::test]
async fn no_more_than_prefetch_are_handed_out() {
    suite::no_more_than_prefetch_are_handed_out(rig()).await;
}

#[tokio::test]
async fn a_consumer_that_waits_is_woken_by_a_publish() {
    suite::a_consumer_that_waits_is_woken_by_a_publish(rig()).await;
}

#[tokio::test]
async fn what_was_not_acked_comes_back_in_its_place() {
    suite::what_was_not_acked_comes_back_in_its_place(rig()).await;
}

#[tokio::test]
async fn a_message_waits_until_its_time() {
    suite::a_message_waits_until_its_time(rig()).await;
}

#[tokio::test]
async fn a_message_waits_again_under_the_same_attempt() {
    suite::a_message_waits_again_under_the_same_attempt(rig()).await;
}

#[tokio::test]
async fn without_the_ack_both_attempts_are_there() {
    suite::without_the_ack_both_attempts_are_there(rig()).await;
}

#[tokio::test]
async fn a_retry_takes_its_turn_among_fresh_ones() {
    suite::a_retry_takes_its_turn_among_fresh_ones(rig()).await;
}

#[tokio::test]
async fn a_replay_goes_to_one_queue() {
    suite::a_replay_goes_to_one_queue(rig()).await;
}

#[tokio::test]
async fn depths_tell_how_queues_stand() {
    suite::depths_tell_how_queues_stand(rig()).await;
}

#[tokio::test]
async fn a_queue_that_is_no_longer_named_keeps_its_messages() {
    suite::a_queue_that_is_no_longer_named_keeps_its_messages(rig()).await;
}

#[tokio::test]
async fn a_removed_queue_is_gone_and_the_others_are_not() {
    suite::a_removed_queue_is_gone_and_the_others_are_not(rig()).await;
}

#[tokio::test]
async fn publishing_from_many_sides_loses_nothing() {
    suite::publishing_from_many_sides_loses_nothing(rig()).await;
}

fn all(queue: &str) -> Binding {
    Binding { queue: queue.into(), sources: None, types: None }
}

fn open(folder: &Path, clock: &Clock) -> Embedded {
    Embedded::open(&folder.join("dari.db"), clock.clone()).expect("opens")
}

#[tokio::test]
async fn p4_what_waits_is_there_after_a_restart_and_comes_when_the_clock_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual(time("2026-03-01T00:00:00Z"));
    let parts = open(folder.path(), &clock);
    parts.broker.declare(vec![all("r")]).await.expect("declared");
    parts.broker.publish(vec![event(&clock, "s", "t", "1")]).await.expect("published");
    let mut consumer = parts.broker.consume("r", 1).await.expect("a consumer");
    let message = next(consumer.as_mut()).await;
    parts.broker.wait("r", &message, 2, clock.now() + SignedDuration::from_hours(1)).await.expect("waiting");
    parts.broker.ack("r", &message).await.expect("acked");
    drop(consumer);
    parts.close().await;

    let parts = open(folder.path(), &clock);
    let mut consumer = parts.broker.consume("r", 1).await.expect("its binding was kept");
    assert!(is_quiet(consumer.as_mut()).await);
    clock.advance(SignedDuration::from_secs(3_599));
    parts.broker.wake();
    assert!(is_quiet(consumer.as_mut()).await);
    clock.advance(SignedDuration::from_secs(1));
    parts.broker.wake();
    assert_eq!(next(consumer.as_mut()).await.attempt, 2);
}

#[tokio::test]
async fn a_closed_broker_ends_its_consumers() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::system(1);
    let parts = open(folder.path(), &clock);
    parts.broker.declare(vec![all("r")]).await.expect("declared");
    let mut consumer = parts.broker.consume("r", 1).await.expect("a consumer");
    let (end, ()) = tokio::join!(consumer.next(), async { parts.broker.close() });
    assert!(end.expect("no error").is_none());
    let refused = parts.broker.publish(vec![event(&clock, "s", "t", "1")]).await.expect_err("closed");
    assert!(matches!(refused, BrokerError::Closed));
}

#[tokio::test]
async fn receipts_go_on_after_a_restart_though_the_clock_went_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual(time("2026-03-01T00:00:00Z"));
    let parts = open(folder.path(), &clock);
    parts.broker.declare(vec![all("r")]).await.expect("declared");
    let before = event(&clock, "s", "t", "1");
    parts.broker.publish(vec![Arc::clone(&before)]).await.expect("published");
    let message = next(parts.broker.consume("r", 1).await.expect("a consumer").as_mut()).await;
    parts.broker.ack("r", &message).await.expect("acked");
    parts.close().await;

    let clock = Clock::manual(time("2026-02-01T00:00:00Z"));
    let _parts = open(folder.path(), &clock);
    assert!(clock.stamp().clock > before.received.clock);
}

#[tokio::test]
async fn a_queue_has_one_consumer() {
    let folder = tempfile::tempdir().expect("a folder");
    let parts = open(folder.path(), &Clock::system(1));
    parts.broker.declare(vec![all("r")]).await.expect("declared");
    let first = parts.broker.consume("r", 1).await.expect("a consumer");
    let second = parts.broker.consume("r", 1).await.err().expect("one is enough");
    insta::assert_snapshot!(second, @"the broker cannot take events now: r has a consumer already");
    drop(first);
    parts.broker.consume("r", 1).await.expect("the first is gone");
}

#[tokio::test]
async fn a_renamed_queue_keeps_its_messages() {
    suite::a_renamed_queue_keeps_its_messages(rig()).await;
}

#[tokio::test]
async fn a_clock_that_goes_back_lets_no_message_be_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual(time("2026-03-01T00:00:00Z"));
    let parts = Embedded::open(&folder.path().join("dari.db"), clock.clone()).expect("opens");
    let queue = Binding { queue: "q".into(), sources: None, types: None };
    parts.broker.declare(vec![queue]).await.expect("declared");
    let publish = async |id: &str| {
        parts.broker.publish(vec![event(&clock, "s", "t", id)]).await.expect("published");
    };
    let ms = SignedDuration::from_millis;
    publish("retry").await;
    let mut consumer = parts.broker.consume("q", 2).await.expect("consumes");
    let retry = next(&mut *consumer).await;
    parts.broker.wait("q", &retry, 2, clock.now() + ms(150)).await.expect("waits");
    parts.broker.ack("q", &retry).await.expect("acked");
    drop(consumer);
    // The later number has the earlier time, and the retry that is due lies between the two.
    clock.advance(ms(200));
    publish("first").await;
    clock.advance(ms(-100));
    publish("second").await;
    clock.advance(ms(200));

    let mut consumer = parts.broker.consume("q", 2).await.expect("consumes");
    let mut came = Vec::new();
    for _ in 0..3 {
        let message = next(&mut *consumer).await;
        parts.broker.ack("q", &message).await.expect("acked");
        came.push(message.event.id.clone());
    }
    assert_eq!(came, ["retry", "first", "second"]);
}
