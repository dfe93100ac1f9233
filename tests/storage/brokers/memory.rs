//! The broker of the simulated histories against the suite.

use std::sync::Arc;

use dari::clock::Clock;
use dari::store::sqlite::Calm;

use crate::memory::MemoryBroker;
use crate::suite::{self, Rig};

fn rig() -> Rig {
    let clock = Clock::system(1);
    let broker = Arc::new(MemoryBroker::new(clock.clone(), Arc::new(Calm)));
    Rig { broker, clock, counts_waiting: true, one_order: true, _keep: Box::new(()) }
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

#[tokio::test]
async fn a_renamed_queue_keeps_its_messages() {
    suite::a_renamed_queue_keeps_its_messages(rig()).await;
}
