//! The SQLite store against the suite: in a file, and in memory as the simulated histories have it.

use dari::clock::Clock;
use dari::store::sqlite::{Calm, Database, MIGRATIONS, SqliteStore, open};
use std::any::Any;
use std::sync::Arc;

use super::{Rig, deliveries, intents, keeping};
use crate::common::time;

fn over(db: &Arc<Database>, clock: &Clock, keep: Box<dyn Any + Send>) -> Rig {
    let store = || Arc::new(SqliteStore::new(Arc::clone(db), clock.clone()));
    Rig { store: store(), other: store(), clock: clock.clone(), _keep: keep }
}

/// Runs a test over each of them.
async fn each(test: impl AsyncFn(Rig)) {
    let clock = || Clock::manual(time("2026-11-10T00:00:00Z"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = open(&folder.path().join("dari.db")).expect("opens");
    eprintln!("in a file");
    test(over(&file, &clock(), Box::new(folder))).await;
    let memory = Arc::new(Database::simulated(MIGRATIONS, Arc::new(Calm)).expect("opens"));
    eprintln!("in memory");
    test(over(&memory, &clock(), Box::new(()))).await;
}

#[tokio::test]
async fn nothing_is_known_of_what_was_never_seen() {
    each(deliveries::nothing_is_known_of_what_was_never_seen).await;
}

#[tokio::test]
async fn a_doubt_is_remembered_while_it_waits_and_not_beyond_a_persons_word() {
    each(deliveries::a_doubt_is_remembered_while_it_waits_and_not_beyond_a_persons_word).await;
}

#[tokio::test]
async fn an_intent_is_open_until_it_is_settled() {
    each(deliveries::an_intent_is_open_until_it_is_settled).await;
}

#[tokio::test]
async fn a_link_is_as_it_was_unless_a_settlement_says_otherwise() {
    each(deliveries::a_link_is_as_it_was_unless_a_settlement_says_otherwise).await;
}

#[tokio::test]
async fn the_first_retry_is_remembered_through_the_attempts() {
    each(deliveries::the_first_retry_is_remembered_through_the_attempts).await;
}

#[tokio::test]
async fn p2_an_ended_delivery_is_known_until_it_expires() {
    each(deliveries::p2_an_ended_delivery_is_known_until_it_expires).await;
}

#[tokio::test]
async fn unfinished_deliveries_never_expire() {
    each(deliveries::unfinished_deliveries_never_expire).await;
}

#[tokio::test]
async fn expiry_goes_in_small_steps_oldest_first() {
    each(deliveries::expiry_goes_in_small_steps_oldest_first).await;
}

#[tokio::test]
async fn routes_and_generations_are_deliveries_of_their_own() {
    each(deliveries::routes_and_generations_are_deliveries_of_their_own).await;
}

#[tokio::test]
async fn p2_a_body_is_known_under_another_id() {
    each(deliveries::p2_a_body_is_known_under_another_id).await;
}

#[tokio::test]
async fn p2_a_body_is_known_as_long_as_its_delivery() {
    each(deliveries::p2_a_body_is_known_as_long_as_its_delivery).await;
}

#[tokio::test]
async fn a_delivery_that_ends_without_an_attempt_is_known_by_its_body() {
    each(deliveries::a_delivery_that_ends_without_an_attempt_is_known_by_its_body).await;
}

#[tokio::test]
async fn p3_the_earliest_unfinished_delivery_of_a_link_is_ahead() {
    each(deliveries::p3_the_earliest_unfinished_delivery_of_a_link_is_ahead).await;
}

#[tokio::test]
async fn p1_what_is_unfinished_is_listed_by_its_route() {
    each(deliveries::p1_what_is_unfinished_is_listed_by_its_route).await;
}

#[tokio::test]
async fn p5_calls_are_charged_until_they_are_used_up() {
    each(deliveries::p5_calls_are_charged_until_they_are_used_up).await;
}

#[tokio::test]
async fn p5_a_call_that_was_not_sent_is_given_back_once() {
    each(deliveries::p5_a_call_that_was_not_sent_is_given_back_once).await;
}

#[tokio::test]
async fn dead_letters_are_listed_counted_and_read() {
    each(deliveries::dead_letters_are_listed_counted_and_read).await;
}

#[tokio::test]
async fn a_delivery_settled_twice_has_one_dead_letter() {
    each(deliveries::a_delivery_settled_twice_has_one_dead_letter).await;
}

#[tokio::test]
async fn a_dropped_letter_ends_what_was_held() {
    each(deliveries::a_dropped_letter_ends_what_was_held).await;
}

#[tokio::test]
async fn p6_a_held_delivery_is_marked_as_delivered() {
    each(deliveries::p6_a_held_delivery_is_marked_as_delivered).await;
}

#[tokio::test]
async fn only_what_is_held_can_be_marked() {
    each(deliveries::only_what_is_held_can_be_marked).await;
}

#[tokio::test]
async fn p9_one_owner_has_a_lease_at_a_time() {
    each(keeping::p9_one_owner_has_a_lease_at_a_time).await;
}

#[tokio::test]
async fn p9_a_cursor_is_written_under_the_newest_lease_alone() {
    each(keeping::p9_a_cursor_is_written_under_the_newest_lease_alone).await;
}

#[tokio::test]
async fn p9_a_snapshot_is_written_with_its_cursor_or_not_at_all() {
    each(keeping::p9_a_snapshot_is_written_with_its_cursor_or_not_at_all).await;
}

#[tokio::test]
async fn a_renamed_source_keeps_its_snapshot() {
    each(keeping::a_renamed_source_keeps_its_snapshot).await;
}

#[tokio::test]
async fn a_renamed_source_keeps_what_it_knows() {
    each(keeping::a_renamed_source_keeps_what_it_knows).await;
}

#[tokio::test]
async fn a_renamed_sink_stays_suspended() {
    each(keeping::a_renamed_sink_stays_suspended).await;
}

#[tokio::test]
async fn people_are_told_once_of_a_suspension() {
    each(keeping::people_are_told_once_of_a_suspension).await;
}

#[tokio::test]
async fn p5_a_share_is_held_until_it_runs_out() {
    each(keeping::p5_a_share_is_held_until_it_runs_out).await;
}

#[tokio::test]
async fn p5_turns_are_given_once_and_not_saved_up() {
    each(keeping::p5_turns_are_given_once_and_not_saved_up).await;
}

#[tokio::test]
async fn p5_what_is_lifted_is_what_was_seen() {
    each(keeping::p5_what_is_lifted_is_what_was_seen).await;
}

#[tokio::test]
async fn facts_are_kept() {
    each(keeping::facts_are_kept).await;
}

#[tokio::test]
async fn a_renamed_route_keeps_what_it_knows() {
    each(keeping::a_renamed_route_keeps_what_it_knows).await;
}

#[tokio::test]
async fn a_route_renamed_onto_a_used_name_keeps_the_newer_knowledge() {
    each(keeping::a_route_renamed_onto_a_used_name_keeps_the_newer_knowledge).await;
}

#[tokio::test]
async fn a_held_delivery_is_made_ready_before_its_letter_goes() {
    each(deliveries::a_held_delivery_is_made_ready_before_its_letter_goes).await;
}

#[tokio::test]
async fn a_forgotten_route_knows_nothing() {
    each(keeping::a_forgotten_route_knows_nothing).await;
}

#[tokio::test]
async fn p3_two_deliveries_of_a_link_are_never_begun_at_once() {
    each(intents::p3_two_deliveries_of_a_link_are_never_begun_at_once).await;
}

#[tokio::test]
async fn p3_of_one_event_on_two_routes_one_goes_first() {
    each(intents::p3_of_one_event_on_two_routes_one_goes_first).await;
}

#[tokio::test]
async fn p3_what_stands_for_others_does_not_wait_for_those_that_wait() {
    each(intents::p3_what_stands_for_others_does_not_wait_for_those_that_wait).await;
}

#[tokio::test]
async fn p6_what_another_process_has_under_way_is_its_own_until_its_lease_ends() {
    each(intents::p6_what_another_process_has_under_way_is_its_own_until_its_lease_ends).await;
}

#[tokio::test]
async fn an_intent_is_kept_for_as_long_as_it_is_renewed() {
    each(intents::an_intent_is_kept_for_as_long_as_it_is_renewed).await;
}

#[tokio::test]
async fn p6_an_outcome_of_a_delivery_that_was_taken_over_counts_no_more() {
    each(intents::p6_an_outcome_of_a_delivery_that_was_taken_over_counts_no_more).await;
}

#[tokio::test]
async fn what_a_record_holds_is_known_until_the_next_call() {
    each(intents::what_a_record_holds_is_known_until_the_next_call).await;
}

#[tokio::test]
async fn links_of_others_are_read_along() {
    each(intents::links_of_others_are_read_along).await;
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
    each(deliveries::p3_a_delivery_received_again_keeps_its_place_in_line).await;
}

#[tokio::test]
async fn p6_the_letter_of_what_has_ended_goes_when_it_is_marked() {
    each(deliveries::p6_the_letter_of_what_has_ended_goes_when_it_is_marked).await;
}
