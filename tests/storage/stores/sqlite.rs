//! The SQLite store against the suite.

use dari::clock::Clock;
use dari::store::sqlite::{SqliteStore, open};
use std::sync::Arc;

use super::{Rig, deliveries, intents, keeping};
use crate::common::time;

fn rig() -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual(time("2026-11-10T00:00:00Z"));
    let db = open(&folder.path().join("dari.db")).expect("opens");
    let store = || Arc::new(SqliteStore::new(Arc::clone(&db), clock.clone()));
    Rig { store: store(), other: store(), clock: clock.clone(), _keep: Box::new(folder) }
}

#[tokio::test]
async fn nothing_is_known_of_what_was_never_seen() {
    deliveries::nothing_is_known_of_what_was_never_seen(rig()).await;
}

#[tokio::test]
async fn a_doubt_is_remembered_while_it_waits_and_not_beyond_a_persons_word() {
    deliveries::a_doubt_is_remembered_while_it_waits_and_not_beyond_a_persons_word(rig()).await;
}

#[tokio::test]
async fn an_intent_is_open_until_it_is_settled() {
    deliveries::an_intent_is_open_until_it_is_settled(rig()).await;
}

#[tokio::test]
async fn a_link_is_as_it_was_unless_a_settlement_says_otherwise() {
    deliveries::a_link_is_as_it_was_unless_a_settlement_says_otherwise(rig()).await;
}

#[tokio::test]
async fn the_first_retry_is_remembered_through_the_attempts() {
    deliveries::the_first_retry_is_remembered_through_the_attempts(rig()).await;
}

#[tokio::test]
async fn p2_an_ended_delivery_is_known_until_it_expires() {
    deliveries::p2_an_ended_delivery_is_known_until_it_expires(rig()).await;
}

#[tokio::test]
async fn unfinished_deliveries_never_expire() {
    deliveries::unfinished_deliveries_never_expire(rig()).await;
}

#[tokio::test]
async fn expiry_goes_in_small_steps_oldest_first() {
    deliveries::expiry_goes_in_small_steps_oldest_first(rig()).await;
}

#[tokio::test]
async fn routes_and_generations_are_deliveries_of_their_own() {
    deliveries::routes_and_generations_are_deliveries_of_their_own(rig()).await;
}

#[tokio::test]
async fn p2_a_body_is_known_under_another_id() {
    deliveries::p2_a_body_is_known_under_another_id(rig()).await;
}

#[tokio::test]
async fn p2_a_body_is_known_as_long_as_its_delivery() {
    deliveries::p2_a_body_is_known_as_long_as_its_delivery(rig()).await;
}

#[tokio::test]
async fn a_delivery_that_ends_without_an_attempt_is_known_by_its_body() {
    deliveries::a_delivery_that_ends_without_an_attempt_is_known_by_its_body(rig()).await;
}

#[tokio::test]
async fn p3_the_earliest_unfinished_delivery_of_a_link_is_ahead() {
    deliveries::p3_the_earliest_unfinished_delivery_of_a_link_is_ahead(rig()).await;
}

#[tokio::test]
async fn p1_what_is_unfinished_is_listed_by_its_route() {
    deliveries::p1_what_is_unfinished_is_listed_by_its_route(rig()).await;
}

#[tokio::test]
async fn p5_calls_are_charged_until_they_are_used_up() {
    deliveries::p5_calls_are_charged_until_they_are_used_up(rig()).await;
}

#[tokio::test]
async fn p5_a_call_that_was_not_sent_is_given_back_once() {
    deliveries::p5_a_call_that_was_not_sent_is_given_back_once(rig()).await;
}

#[tokio::test]
async fn dead_letters_are_listed_counted_and_read() {
    deliveries::dead_letters_are_listed_counted_and_read(rig()).await;
}

#[tokio::test]
async fn a_delivery_settled_twice_has_one_dead_letter() {
    deliveries::a_delivery_settled_twice_has_one_dead_letter(rig()).await;
}

#[tokio::test]
async fn a_dropped_letter_ends_what_was_held() {
    deliveries::a_dropped_letter_ends_what_was_held(rig()).await;
}

#[tokio::test]
async fn p6_a_held_delivery_is_marked_as_delivered() {
    deliveries::p6_a_held_delivery_is_marked_as_delivered(rig()).await;
}

#[tokio::test]
async fn only_what_is_held_can_be_marked() {
    deliveries::only_what_is_held_can_be_marked(rig()).await;
}

#[tokio::test]
async fn p9_one_owner_has_a_lease_at_a_time() {
    keeping::p9_one_owner_has_a_lease_at_a_time(rig()).await;
}

#[tokio::test]
async fn p9_a_cursor_is_written_under_the_newest_lease_alone() {
    keeping::p9_a_cursor_is_written_under_the_newest_lease_alone(rig()).await;
}

#[tokio::test]
async fn p9_a_snapshot_is_written_with_its_cursor_or_not_at_all() {
    keeping::p9_a_snapshot_is_written_with_its_cursor_or_not_at_all(rig()).await;
}

#[tokio::test]
async fn a_renamed_source_keeps_its_snapshot() {
    keeping::a_renamed_source_keeps_its_snapshot(rig()).await;
}

#[tokio::test]
async fn a_renamed_source_keeps_what_it_knows() {
    keeping::a_renamed_source_keeps_what_it_knows(rig()).await;
}

#[tokio::test]
async fn a_renamed_sink_stays_suspended() {
    keeping::a_renamed_sink_stays_suspended(rig()).await;
}

#[tokio::test]
async fn people_are_told_once_of_a_suspension() {
    keeping::people_are_told_once_of_a_suspension(rig()).await;
}

#[tokio::test]
async fn p5_a_share_is_held_until_it_runs_out() {
    keeping::p5_a_share_is_held_until_it_runs_out(rig()).await;
}

#[tokio::test]
async fn p5_turns_are_given_once_and_not_saved_up() {
    keeping::p5_turns_are_given_once_and_not_saved_up(rig()).await;
}

#[tokio::test]
async fn p5_what_is_lifted_is_what_was_seen() {
    keeping::p5_what_is_lifted_is_what_was_seen(rig()).await;
}

#[tokio::test]
async fn facts_are_kept() {
    keeping::facts_are_kept(rig()).await;
}

#[tokio::test]
async fn a_renamed_route_keeps_what_it_knows() {
    keeping::a_renamed_route_keeps_what_it_knows(rig()).await;
}

#[tokio::test]
async fn a_route_renamed_onto_a_used_name_keeps_the_newer_knowledge() {
    keeping::a_route_renamed_onto_a_used_name_keeps_the_newer_knowledge(rig()).await;
}

#[tokio::test]
async fn a_held_delivery_is_made_ready_before_its_letter_goes() {
    deliveries::a_held_delivery_is_made_ready_before_its_letter_goes(rig()).await;
}

#[tokio::test]
async fn a_forgotten_route_knows_nothing() {
    keeping::a_forgotten_route_knows_nothing(rig()).await;
}

#[tokio::test]
async fn p3_two_deliveries_of_a_link_are_never_begun_at_once() {
    intents::p3_two_deliveries_of_a_link_are_never_begun_at_once(rig()).await;
}

#[tokio::test]
async fn p3_of_one_event_on_two_routes_one_goes_first() {
    intents::p3_of_one_event_on_two_routes_one_goes_first(rig()).await;
}

#[tokio::test]
async fn p3_what_stands_for_others_does_not_wait_for_those_that_wait() {
    intents::p3_what_stands_for_others_does_not_wait_for_those_that_wait(rig()).await;
}

#[tokio::test]
async fn p6_what_another_process_has_under_way_is_its_own_until_its_lease_ends() {
    intents::p6_what_another_process_has_under_way_is_its_own_until_its_lease_ends(rig()).await;
}

#[tokio::test]
async fn an_intent_is_kept_for_as_long_as_it_is_renewed() {
    intents::an_intent_is_kept_for_as_long_as_it_is_renewed(rig()).await;
}

#[tokio::test]
async fn p6_an_outcome_of_a_delivery_that_was_taken_over_counts_no_more() {
    intents::p6_an_outcome_of_a_delivery_that_was_taken_over_counts_no_more(rig()).await;
}

#[tokio::test]
async fn what_a_record_holds_is_known_until_the_next_call() {
    intents::what_a_record_holds_is_known_until_the_next_call(rig()).await;
}

#[tokio::test]
async fn links_of_others_are_read_along() {
    intents::links_of_others_are_read_along(rig()).await;
}

#[tokio::test]
async fn p6_a_restart_takes_up_at_once_what_the_last_process_had_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual(time("2026-11-10T00:00:00Z"));
    let store = || {
        let db = open(&folder.path().join("dari.db")).expect("opens");
        Arc::new(SqliteStore::new(db, clock.clone()))
    };
    let rig = |store: Arc<SqliteStore>| Rig { other: store.clone(), store, clock: clock.clone(), _keep: Box::new(()) };
    let first = rig(store());
    let case = first.case("1", "k");
    first.begin(&case).await;
    drop(first);
    let second = rig(store());
    assert_eq!(second.standing(&case).await.busy, None);
    second.begin(&case).await;
}

#[tokio::test]
async fn p3_a_delivery_received_again_keeps_its_place_in_line() {
    deliveries::p3_a_delivery_received_again_keeps_its_place_in_line(rig()).await;
}

#[tokio::test]
async fn p6_the_letter_of_what_has_ended_goes_when_it_is_marked() {
    deliveries::p6_the_letter_of_what_has_ended_goes_when_it_is_marked(rig()).await;
}
