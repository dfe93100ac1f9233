//! Ledger, links, quota, dead letters.

use dari::event::Version;
use dari::outcome::Verb;
use dari::store::{Ahead, Begun, DeadClass, DeadFilter, Doubt, LedgerEntry, Link, LinkState, Progress, Standing};
use jiff::SignedDuration;

use super::{Rig, charge, done, linked};

pub async fn nothing_is_known_of_what_was_never_seen(rig: Rig) {
    let case = rig.case("1", "k");
    assert_eq!(
        rig.standing(&case).await,
        Standing { entry: None, repeats: None, received: None, link: None, others: vec![], ahead: None, busy: None }
    );
    assert_eq!(rig.store.entry(case.key()).await.expect("read"), None);
}

pub async fn an_intent_is_open_until_it_is_settled(rig: Rig) {
    let case = rig.case("1", "k");
    rig.begin(&case).await;
    let doubt = Some(Doubt { verb: Verb::Create, since: rig.now() });
    let open = LedgerEntry { attempt: 1, progress: Progress::Open { verb: Verb::Create }, first_retry: None, doubt };
    assert_eq!(rig.standing(&case).await.entry, Some(open));

    let mut settlement = rig.settlement(&case, done());
    let version = Some(Version::Instant("2026-03-01T09:00:00.123456789Z".parse().expect("a time")));
    let link = Link { version, ..linked("r-1", case.event.received) };
    settlement.new_link = Some(link.clone());
    rig.settle(settlement).await;
    let standing = rig.standing(&case).await;
    assert_eq!(standing.entry, Some(LedgerEntry { attempt: 1, progress: done(), first_retry: None, doubt: None }));
    assert_eq!(standing.link, Some(link));
    assert_eq!(rig.store.link_count("route").await.expect("counted"), 1);
}

pub async fn a_doubt_is_remembered_while_it_waits_and_not_beyond_a_persons_word(rig: Rig) {
    let case = rig.case("1", "k");
    let since = rig.now() - SignedDuration::from_secs(5);
    let doubt = Some(Doubt { verb: Verb::Reply, since });
    let mut settlement = rig.settlement(&case, Progress::Waiting { due: rig.now() });
    settlement.entry.doubt = doubt;
    rig.settle(settlement).await;
    assert_eq!(rig.standing(&case).await.entry.expect("a line").doubt, doubt);
    let mut intent = rig.intent(&case).await;
    (intent.verb, intent.since) = (Verb::Reply, since);
    rig.store.begin(intent).await.expect("begun");
    assert_eq!(rig.standing(&case).await.entry.expect("a line").doubt, doubt);
    let letter = rig.bury(&case, DeadClass::Held).await;
    assert_eq!(rig.standing(&case).await.entry.expect("a line").doubt, None);
    assert!(rig.store.retry_held(letter, rig.now()).await.expect("made ready"));
    assert_eq!(rig.standing(&case).await.entry.expect("a line").doubt, None);
}

pub async fn a_link_is_as_it_was_unless_a_settlement_says_otherwise(rig: Rig) {
    let (first, second) = (rig.case("1", "k"), rig.case("2", "k"));
    let mut settlement = rig.settlement(&first, done());
    settlement.new_link = Some(Link { version: Some(Version::Integer(-7)), ..linked("r-1", first.event.received) });
    rig.settle(settlement).await;
    rig.done(&second).await;
    let link = rig.standing(&second).await.link.expect("the link");
    assert_eq!((link.remote_id.as_deref(), link.version), (Some("r-1"), Some(Version::Integer(-7))));

    let mut settlement = rig.settlement(&second, done());
    settlement.new_link = Some(Link { state: LinkState::Deleted, ..link });
    rig.settle(settlement).await;
    assert_eq!(rig.standing(&second).await.link.expect("the link").state, LinkState::Deleted);
    assert_eq!(rig.store.link_count("route").await.expect("counted"), 0, "a removed record is no link to lose");
}

pub async fn the_first_retry_is_remembered_through_the_attempts(rig: Rig) {
    let case = rig.case("1", "k");
    rig.begin(&case).await;
    let due = rig.now() + SignedDuration::from_secs(5);
    let mut settlement = rig.settlement(&case, Progress::Waiting { due });
    settlement.entry.first_retry = Some(rig.now());
    rig.settle(settlement).await;
    rig.store.advance(case.key(), 2).await.expect("advanced");
    let waiting =
        LedgerEntry { attempt: 2, progress: Progress::Waiting { due }, first_retry: Some(rig.now()), doubt: None };
    assert_eq!(rig.store.entry(case.key()).await.expect("read"), Some(waiting));
    let mut intent = rig.intent(&case).await;
    (intent.attempt, intent.first_retry) = (2, Some(rig.now()));
    rig.store.begin(intent).await.expect("begun");
    let entry = rig.standing(&case).await.entry.expect("the entry");
    assert_eq!((entry.attempt, entry.first_retry), (2, Some(rig.now())));
    rig.store.advance(rig.case("unknown", "k").key(), 9).await.expect("nothing to advance is no error");
}

pub async fn p2_an_ended_delivery_is_known_until_it_expires(rig: Rig) {
    let case = rig.case("1", "k");
    rig.done(&case).await;
    rig.clock.advance(SignedDuration::from_hours(24 * 35));
    assert!(rig.standing(&case).await.entry.is_some());
    rig.clock.advance(SignedDuration::from_millis(1));
    assert_eq!(rig.standing(&case).await.entry, None, "expired, though nobody has taken it away yet");
    assert_eq!(rig.store.entry(case.key()).await.expect("read"), None);
    assert_eq!(rig.store.expire(rig.now(), 10).await.expect("expired"), 1);
    assert_eq!(rig.store.expire(rig.now(), 10).await.expect("expired"), 0);
    // It may come again, and is a new delivery.
    rig.begin(&case).await;
    assert!(rig.standing(&case).await.entry.is_some());
}

pub async fn unfinished_deliveries_never_expire(rig: Rig) {
    let (open, waiting, held) = (rig.case("1", "a"), rig.case("2", "b"), rig.case("3", "c"));
    rig.begin(&open).await;
    rig.settle(rig.settlement(&waiting, Progress::Waiting { due: rig.now() })).await;
    rig.settle(rig.settlement(&held, Progress::Held { verb: Verb::Create })).await;
    rig.clock.advance(SignedDuration::from_hours(24 * 365));
    assert_eq!(rig.store.expire(rig.now(), 10).await.expect("expired"), 0);
    for case in [open, waiting, held] {
        assert!(rig.standing(&case).await.entry.is_some());
    }
}

pub async fn expiry_goes_in_small_steps_oldest_first(rig: Rig) {
    let mut cases = Vec::new();
    for n in 0..5 {
        let case = rig.case(&n.to_string(), "k");
        rig.done(&case).await;
        rig.clock.advance(SignedDuration::from_hours(1));
        cases.push(case);
    }
    rig.clock.advance(SignedDuration::from_hours(24 * 35));
    assert_eq!(rig.store.expire(rig.now(), 2).await.expect("expired"), 2);
    assert_eq!(rig.store.expire(rig.now(), 2).await.expect("expired"), 2);
    assert_eq!(rig.store.expire(rig.now(), 2).await.expect("expired"), 1);
}

pub async fn routes_and_generations_are_deliveries_of_their_own(rig: Rig) {
    let case = rig.case("1", "k");
    rig.done(&case).await;
    let mut other = rig.case("1", "k");
    other.route = "another".into();
    assert_eq!(rig.standing(&other).await.entry, None);
    other.route = "route".into();
    other.generation = rig.store.next_generation().await.expect("a generation");
    assert_eq!(rig.standing(&other).await.entry, None);
    assert!(rig.store.next_generation().await.expect("a generation") > other.generation);
}

pub async fn p2_a_body_is_known_under_another_id(rig: Rig) {
    let case = |id: &str, generation| {
        let mut case = rig.case(id, id);
        case.body = Some("s/body-abc".into());
        case.generation = generation;
        case
    };
    let (first, second) = (case("1", 0), case("2", 0));
    rig.begin(&first).await;
    assert_eq!(rig.standing(&first).await.repeats, None, "nothing repeats itself");
    assert_eq!(rig.standing(&second).await.repeats, Some(first.event.key()));

    // The repetition ends without taking the body over: a retry of the first must not look like a repetition.
    rig.settle(rig.settlement(&second, Progress::Done { ending: "duplicate".into() })).await;
    assert_eq!(rig.standing(&first).await.repeats, None);
    assert_eq!(rig.standing(&case("3", 0)).await.repeats, Some(first.event.key()));

    let mut elsewhere = case("4", 0);
    elsewhere.route = "another".into();
    assert_eq!(rig.standing(&elsewhere).await.repeats, None);
    assert_eq!(rig.standing(&case("5", 1)).await.repeats, None, "a replay is no repetition of the first time");
}

pub async fn p2_a_body_is_known_as_long_as_its_delivery(rig: Rig) {
    let mut first = rig.case("1", "k");
    first.body = Some("s/body-abc".into());
    let mut second = rig.case("2", "k");
    second.body.clone_from(&first.body);
    rig.begin(&first).await;
    rig.clock.advance(SignedDuration::from_hours(24 * 36));
    rig.store.expire(rig.now(), 10).await.expect("expired");
    assert_eq!(rig.standing(&second).await.repeats, Some(first.event.key()), "it has not ended");
    rig.done(&first).await;
    rig.clock.advance(SignedDuration::from_hours(24 * 36));
    assert_eq!(rig.standing(&second).await.repeats, None, "forgotten with its delivery");
    rig.done(&second).await;
    assert_eq!(rig.standing(&first).await.repeats, Some(second.event.key()));
}

pub async fn a_delivery_that_ends_without_an_attempt_is_known_by_its_body(rig: Rig) {
    let mut first = rig.case("1", "k");
    first.body = Some("s/body-abc".into());
    let mut second = rig.case("2", "k");
    second.body.clone_from(&first.body);
    rig.settle(rig.settlement(&first, Progress::Done { ending: "rejected".into() })).await;
    assert_eq!(rig.standing(&second).await.repeats, Some(first.event.key()));
}

pub async fn p3_a_delivery_received_again_keeps_its_place_in_line(rig: Rig) {
    let (first, second) = (rig.case("1", "link"), rig.case("2", "link"));
    let again = rig.case("1", "link");
    for case in [&first, &second, &again] {
        rig.settle(rig.settlement(case, Progress::Waiting { due: rig.now() })).await;
    }
    assert_eq!(rig.standing(&first).await.ahead, None);
    assert_eq!(rig.standing(&again).await.received, Some(first.event.received));
    assert_eq!(rig.standing(&again).await.ahead, None, "it would wait behind the one that waits behind it");
    let ahead = rig.standing(&second).await.ahead.expect("the first is not finished");
    assert_eq!(ahead.event, first.event.key());
    let mut settlement = rig.settlement(&again, done());
    settlement.new_link = Some(linked("7", again.event.received));
    rig.settle(settlement).await;
    let link = rig.standing(&second).await.link.expect("it is linked");
    assert_eq!(link.received, first.event.received, "or what came between would be older than it");
}

pub async fn p3_the_earliest_unfinished_delivery_of_a_link_is_ahead(rig: Rig) {
    let (first, second, third) = (rig.case("1", "k"), rig.case("2", "k"), rig.case("3", "k"));
    let elsewhere = rig.case("4", "other");
    // Written in another order than received.
    rig.begin(&third).await;
    rig.settle(rig.settlement(&second, Progress::Held { verb: Verb::Update })).await;
    rig.settle(rig.settlement(&first, Progress::Waiting { due: rig.now() })).await;

    let waiting = Ahead { event: first.event.key(), progress: Progress::Waiting { due: rig.now() }, others: 1 };
    assert_eq!(rig.standing(&third).await.ahead, Some(waiting.clone()));
    assert_eq!(rig.standing(&second).await.ahead, Some(waiting));
    let held = Ahead { event: second.event.key(), progress: Progress::Held { verb: Verb::Update }, others: 0 };
    let of_two = Ahead { others: 1, ..held.clone() };
    assert_eq!(rig.standing(&first).await.ahead, Some(of_two), "a later one in doubt is");
    assert_eq!(rig.standing(&elsewhere).await.ahead, None);

    rig.done(&first).await;
    assert_eq!(rig.standing(&third).await.ahead, Some(held));
    rig.done(&second).await;
    let waits = rig.settlement(&third, Progress::Waiting { due: rig.now() });
    rig.settle(waits).await;
    assert_eq!(rig.standing(&first).await.ahead, None, "a later one that waits is not");
    assert_eq!(rig.standing(&third).await.ahead, None);
}

pub async fn p1_what_is_unfinished_is_listed_by_its_route(rig: Rig) {
    let (waits, open, held) = (rig.case("1", "a"), rig.case("2", "b"), rig.case("3", "c"));
    rig.settle(rig.settlement(&waits, Progress::Waiting { due: rig.now() })).await;
    rig.begin(&open).await;
    rig.settle(rig.settlement(&held, Progress::Held { verb: Verb::Create })).await;
    let all = rig.store.unfinished("route").await.expect("the store works");
    let told: Vec<_> = all.iter().map(|one| (one.event.clone(), one.entry.doubt.is_some())).collect();
    assert_eq!(told, [(waits.event.key(), false), (open.event.key(), true)], "what is held is a person's");
    assert_eq!(rig.store.unfinished("other").await.expect("the store works"), []);
}

pub async fn p5_calls_are_charged_until_they_are_used_up(rig: Rig) {
    let store = &rig.store;
    let begin = async |id: &str, limit| {
        let case = rig.case(id, id);
        let mut intent = rig.intent(&case).await;
        intent.charge = Some(charge(limit));
        (case, intent)
    };
    for id in ["1", "2"] {
        assert_eq!(store.begin(begin(id, Some(2)).await.1).await.expect("begun"), Begun::Go);
    }
    let (third, intent) = begin("3", Some(2)).await;
    assert_eq!(store.begin(intent).await.expect("asked"), Begun::UsedUp { used: 2 });
    assert_eq!(rig.standing(&third).await.entry, None, "nothing was written");
    assert_eq!(store.used("daou", "2026-11").await.expect("read"), 2);
    assert_eq!(store.used("daou", "2026-12").await.expect("read"), 0);

    assert_eq!(store.begin(begin("4", None).await.1).await.expect("begun"), Begun::Go, "counted without a limit");
    assert_eq!(store.used("daou", "2026-11").await.expect("read"), 3);
    store.set_used("daou", "2026-11", 1).await.expect("set");
    assert_eq!(store.begin(begin("5", Some(2)).await.1).await.expect("begun"), Begun::Go);
    assert_eq!(store.used("daou", "2026-11").await.expect("read"), 2);
}

pub async fn p5_a_call_that_was_not_sent_is_given_back_once(rig: Rig) {
    let case = rig.case("1", "k");
    let mut intent = rig.intent(&case).await;
    intent.charge = Some(charge(None));
    rig.store.begin(intent).await.expect("begun");
    let mut settlement = rig.settlement(&case, Progress::Waiting { due: rig.now() });
    settlement.refund = Some(charge(None));
    rig.settle(settlement.clone()).await;
    assert_eq!(rig.store.used("daou", "2026-11").await.expect("read"), 0);
    rig.store.set_used("daou", "2026-11", 5).await.expect("set");
    rig.settle(settlement).await;
    assert_eq!(rig.store.used("daou", "2026-11").await.expect("read"), 5, "settled again after a lost answer");
}

pub async fn dead_letters_are_listed_counted_and_read(rig: Rig) {
    let (first, second, mut third) = (rig.case("1", "a"), rig.case("2", "b"), rig.case("3", "c"));
    third.route = "another".into();
    let one = rig.bury(&first, DeadClass::Payload).await;
    let two = rig.bury(&second, DeadClass::Held).await;
    let three = rig.bury(&third, DeadClass::Payload).await;
    let ids = async |filter: DeadFilter| {
        let letters = rig.store.dead(filter).await.expect("listed");
        letters.into_iter().map(|d| d.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(DeadFilter::default()).await, [one, two, three]);
    assert_eq!(ids(DeadFilter { route: Some("route".into()), ..DeadFilter::default() }).await, [one, two]);
    assert_eq!(ids(DeadFilter { class: Some(DeadClass::Payload), ..DeadFilter::default() }).await, [one, three]);
    assert_eq!(ids(DeadFilter { after: Some(one), limit: 1, ..DeadFilter::default() }).await, [two]);
    let counts = rig.store.dead_counts().await.expect("counted");
    let expected =
        [("another", DeadClass::Payload, 1), ("route", DeadClass::Held, 1), ("route", DeadClass::Payload, 1)];
    assert_eq!(counts, expected.map(|(route, class, n)| (route.to_owned(), class, n)));

    let letter = rig.store.dead_letter(one).await.expect("read").expect("it is there").letter;
    assert_eq!(letter.event.data.bytes(), first.event.data.bytes());
    assert_eq!(letter.delivery, first.key());
    assert_eq!((letter.reason.as_str(), letter.attempts, letter.at), ("because", 3, rig.now()));
    assert_eq!(letter.call, Some(serde_json::json!({"path": "/x", "n": 1})));
    assert!(rig.store.dead_letter(999).await.expect("read").is_none());
}

pub async fn a_delivery_settled_twice_has_one_dead_letter(rig: Rig) {
    let case = rig.case("1", "k");
    let first = rig.bury(&case, DeadClass::Payload).await;
    assert_eq!(rig.bury(&case, DeadClass::Payload).await, first);
    assert_eq!(rig.store.dead(DeadFilter::default()).await.expect("listed").len(), 1);
}

pub async fn a_dropped_letter_ends_what_was_held(rig: Rig) {
    let (held, later) = (rig.case("1", "k"), rig.case("2", "k"));
    let id = rig.bury(&held, DeadClass::Held).await;
    assert!(rig.standing(&later).await.ahead.is_some());
    assert!(rig.store.drop_dead(id).await.expect("dropped"));
    assert!(!rig.store.drop_dead(id).await.expect("asked"));
    let standing = rig.standing(&held).await;
    assert_eq!(standing.entry.expect("the entry").progress, Progress::Done { ending: "dropped".into() });
    assert_eq!(rig.standing(&later).await.ahead, None);

    let rejected = rig.case("3", "k");
    let id = rig.bury(&rejected, DeadClass::Payload).await;
    assert!(rig.store.drop_dead(id).await.expect("dropped"));
    let entry = rig.standing(&rejected).await.entry.expect("the entry");
    assert_eq!(entry.progress, Progress::Done { ending: "rejected".into() }, "it had ended already");
}

pub async fn p6_a_held_delivery_is_marked_as_delivered(rig: Rig) {
    let (held, later) = (rig.case("1", "k"), rig.case("2", "k"));
    let id = rig.bury(&held, DeadClass::Held).await;
    assert!(rig.store.mark_delivered(id, Some("r-9".into()), rig.now()).await.expect("marked"));
    assert!(!rig.store.mark_delivered(id, None, rig.now()).await.expect("asked"));
    let standing = rig.standing(&held).await;
    assert_eq!(standing.entry.expect("the entry").progress, done());
    assert_eq!(standing.link, Some(linked("r-9", held.event.received)));
    assert_eq!(rig.standing(&later).await.ahead, None);
    assert!(rig.store.dead(DeadFilter::default()).await.expect("listed").is_empty());

    // Without a remote id the link keeps the one it has.
    let id = rig.bury(&later, DeadClass::Held).await;
    assert!(rig.store.mark_delivered(id, None, rig.now()).await.expect("marked"));
    assert_eq!(rig.standing(&later).await.link, Some(linked("r-9", later.event.received)));
}

pub async fn p6_the_letter_of_what_has_ended_goes_when_it_is_marked(rig: Rig) {
    let case = rig.case("1", "k");
    let id = rig.bury(&case, DeadClass::Held).await;
    // Tried again, and delivered; the process ended before it could take the letter away.
    assert!(rig.store.retry_held(id, rig.now()).await.expect("asked"));
    assert!(!rig.store.mark_delivered(id, None, rig.now()).await.expect("asked"));
    assert!(rig.store.dead_letter(id).await.expect("read").is_some(), "it is under way");
    rig.done(&case).await;
    assert!(!rig.store.mark_delivered(id, None, rig.now()).await.expect("asked"));
    assert!(rig.store.dead_letter(id).await.expect("read").is_none());
}

pub async fn only_what_is_held_can_be_marked(rig: Rig) {
    let case = rig.case("1", "k");
    let id = rig.bury(&case, DeadClass::Payload).await;
    assert!(!rig.store.mark_delivered(id, None, rig.now()).await.expect("asked"));
    assert!(rig.store.dead_letter(id).await.expect("read").is_some());
}

pub async fn a_held_delivery_is_made_ready_before_its_letter_goes(rig: Rig) {
    let (held, rejected) = (rig.case("1", "a"), rig.case("2", "b"));
    let id = rig.bury(&held, DeadClass::Held).await;
    assert!(rig.store.retry_held(id, rig.now()).await.expect("asked"));
    let waiting =
        LedgerEntry { attempt: 1, progress: Progress::Waiting { due: rig.now() }, first_retry: None, doubt: None };
    assert_eq!(rig.standing(&held).await.entry, Some(waiting));
    let letter = rig.store.dead_letter(id).await.expect("read").expect("it stays").letter;
    rig.store.forget_dead(id, letter.at - SignedDuration::from_secs(1)).await.expect("asked");
    assert!(rig.store.dead_letter(id).await.expect("read").is_some(), "it was written anew");
    rig.store.forget_dead(id, letter.at).await.expect("forgotten");
    assert!(rig.store.dead_letter(id).await.expect("read").is_none());

    let id = rig.bury(&rejected, DeadClass::Payload).await;
    assert!(!rig.store.retry_held(id, rig.now()).await.expect("asked"), "it is not held");
}
