//! RabbitMQ against the suite of all brokers.
//!
//! Left out: a retry's place among fresh messages to the millisecond, since it waits in whole seconds.

use crate::node::{self, Site};
use crate::suite::{self, Rig};

async fn rig() -> Rig {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    let (broker, clock) = (site.broker.clone(), site.clock.clone());
    Rig { broker, clock, counts_waiting: false, one_order: false, _keep: Box::new((site, server)) }
}

#[tokio::test]
async fn an_event_goes_to_every_queue_bound_to_it() {
    suite::an_event_goes_to_every_queue_bound_to_it(rig().await).await;
}

#[tokio::test]
async fn messages_come_in_the_order_of_publishing() {
    suite::messages_come_in_the_order_of_publishing(rig().await).await;
}

#[tokio::test]
async fn several_are_acked_at_once_and_no_others() {
    suite::several_are_acked_at_once_and_no_others(rig().await).await;
}

#[tokio::test]
async fn a_body_comes_byte_for_byte() {
    suite::a_body_comes_byte_for_byte(rig().await).await;
}

#[tokio::test]
async fn no_more_than_prefetch_are_handed_out() {
    suite::no_more_than_prefetch_are_handed_out(rig().await).await;
}

#[tokio::test]
async fn a_consumer_that_waits_is_woken_by_a_publish() {
    suite::a_consumer_that_waits_is_woken_by_a_publish(rig().await).await;
}

#[tokio::test]
async fn what_was_not_acked_comes_back_in_its_place() {
    suite::what_was_not_acked_comes_back_in_its_place(rig().await).await;
}

#[tokio::test]
async fn a_message_waits_until_its_time() {
    suite::a_message_waits_until_its_time(rig().await).await;
}

#[tokio::test]
async fn a_message_waits_again_under_the_same_attempt() {
    suite::a_message_waits_again_under_the_same_attempt(rig().await).await;
}

#[tokio::test]
async fn without_the_ack_both_attempts_are_there() {
    suite::without_the_ack_both_attempts_are_there(rig().await).await;
}

#[tokio::test]
async fn a_replay_goes_to_one_queue() {
    suite::a_replay_goes_to_one_queue(rig().await).await;
}

#[tokio::test]
async fn depths_tell_how_queues_stand() {
    suite::depths_tell_how_queues_stand(rig().await).await;
}

#[tokio::test]
async fn a_queue_that_is_no_longer_named_keeps_its_messages() {
    suite::a_queue_that_is_no_longer_named_keeps_its_messages(rig().await).await;
}

#[tokio::test]
async fn a_removed_queue_is_gone_and_the_others_are_not() {
    suite::a_removed_queue_is_gone_and_the_others_are_not(rig().await).await;
}

#[tokio::test]
async fn publishing_from_many_sides_loses_nothing() {
    suite::publishing_from_many_sides_loses_nothing(rig().await).await;
}

#[tokio::test]
async fn a_renamed_queue_keeps_its_messages() {
    suite::a_renamed_queue_keeps_its_messages(rig().await).await;
}
