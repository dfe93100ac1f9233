//! Whose turn it is, and whose intent counts.

use dari::outcome::Verb;
use dari::store::{Basis, Begun, Content, LEASE, Link, LinkKey, Progress, StoreError};
use jiff::SignedDuration;

use super::{Case, Rig, done, linked};

fn lease() -> SignedDuration {
    SignedDuration::try_from(LEASE).expect("it fits")
}

impl Rig {
    async fn try_begin(&self, case: &Case) -> Begun {
        self.store.begin(self.intent(case).await).await.expect("asked")
    }

    fn after_call(&self, case: &Case, progress: Progress) -> dari::store::Settlement {
        dari::store::Settlement { basis: Basis::Intent, ..self.settlement(case, progress) }
    }
}

pub async fn p3_two_deliveries_of_a_link_are_never_begun_at_once(rig: Rig) {
    let (first, second, elsewhere) = (rig.case("1", "k"), rig.case("2", "k"), rig.case("3", "other"));
    rig.begin(&second).await;
    assert_eq!(rig.try_begin(&first).await, Begun::Busy, "also not one that was received before");
    assert_eq!(rig.standing(&first).await.ahead.expect("the second").event, second.event.key());
    rig.begin(&elsewhere).await;
    let due = rig.now() + SignedDuration::from_hours(1);
    rig.settle(rig.after_call(&second, Progress::Waiting { due })).await;
    rig.begin(&first).await;
    rig.settle(rig.after_call(&first, Progress::Waiting { due })).await;
    assert_eq!(rig.try_begin(&second).await, Begun::Busy, "an earlier one waits for its next attempt");
    rig.done(&first).await;
    rig.begin(&second).await;
}

pub async fn p3_of_one_event_on_two_routes_one_goes_first(rig: Rig) {
    let one = rig.case("1", "k");
    // A route of its own that shares the link of the first.
    let mut two = rig.settlement(&one, Progress::Waiting { due: rig.now() });
    two.delivery.route = "notes".into();
    rig.settle(rig.settlement(&one, Progress::Waiting { due: rig.now() })).await;
    rig.settle(two).await;
    let of_one = rig.standing(&one).await.ahead;
    let question = dari::store::Question {
        delivery: dari::store::DeliveryKey { route: "notes".into(), ..one.key() },
        body_key: None,
        link: one.link_key(),
        others: Vec::new(),
        instead_of: Vec::new(),
        received: one.event.received,
        now: rig.now(),
    };
    let of_two = rig.store.standing(question).await.expect("read").ahead;
    assert_eq!((of_one.is_some(), of_two.is_some()), (false, true));
}

pub async fn p3_what_stands_for_others_does_not_wait_for_those_that_wait(rig: Rig) {
    let [one, two, three] = ["1", "2", "3"].map(|id| rig.case(id, "k"));
    let waits = || Progress::Waiting { due: rig.now() };
    rig.settle(rig.settlement(&one, waits())).await;
    rig.settle(rig.settlement(&two, waits())).await;
    let mut intent = rig.intent(&three).await;
    intent.instead_of = vec![two.key()];
    assert_eq!(rig.store.begin(intent.clone()).await.expect("asked"), Begun::Busy, "the first is none of them");
    intent.instead_of.push(one.key());
    assert_eq!(rig.store.begin(intent.clone()).await.expect("asked"), Begun::Go);
    rig.settle(rig.after_call(&three, waits())).await;
    rig.begin(&one).await;
    assert_eq!(rig.store.begin(intent).await.expect("asked"), Begun::Busy, "a call of one of them may have had effect");
}

pub async fn p6_what_another_process_has_under_way_is_its_own_until_its_lease_ends(rig: Rig) {
    let (case, later) = (rig.case("1", "k"), rig.case("2", "k"));
    assert_eq!(rig.other.begin(rig.intent(&case).await).await.expect("asked"), Begun::Go);
    let until = rig.now() + lease();
    assert_eq!(rig.standing(&case).await.busy, Some(until));
    assert_eq!(rig.try_begin(&case).await, Begun::Busy);
    assert_eq!(rig.try_begin(&later).await, Begun::Busy);
    let told = rig.store.settle(rig.settlement(&case, done())).await;
    assert!(matches!(told, Err(StoreError::Fenced(_))), "{told:?}");
    rig.clock.advance(lease());
    assert_eq!(rig.standing(&case).await.busy, None);
    assert_eq!(rig.try_begin(&later).await, Begun::Busy, "it is in doubt, and comes first");
    rig.begin(&case).await;
}

pub async fn an_intent_is_kept_for_as_long_as_it_is_renewed(rig: Rig) {
    let case = rig.case("1", "k");
    rig.other.begin(rig.intent(&case).await).await.expect("begun");
    for _ in 0..4 {
        rig.clock.advance(lease() / 2);
        rig.other.renew(case.key()).await.expect("renewed");
        assert_eq!(rig.try_begin(&case).await, Begun::Busy);
    }
    rig.clock.advance(lease());
    rig.begin(&case).await;
    // It is another's now.
    rig.other.renew(case.key()).await.expect("asked");
    rig.clock.advance(lease());
    assert_eq!(rig.other.begin(rig.intent(&case).await).await.expect("asked"), Begun::Go);
}

pub async fn p6_an_outcome_of_a_delivery_that_was_taken_over_counts_no_more(rig: Rig) {
    for (id, progress) in ["a", "b", "c"].into_iter().zip([
        done(),
        Progress::Waiting { due: rig.now() },
        Progress::Held { verb: Verb::Create },
    ]) {
        let case = rig.case(id, id);
        rig.other.begin(rig.intent(&case).await).await.expect("begun");
        rig.clock.advance(lease());
        rig.begin(&case).await;
        rig.settle(rig.after_call(&case, progress)).await;
        let rejected = Progress::Done { ending: "rejected".into() };
        let told = rig.other.settle(rig.after_call(&case, rejected)).await;
        assert!(matches!(told, Err(StoreError::Fenced(_))), "{told:?}");
    }
    // Settled twice, because the first answer was lost.
    let case = rig.case("1", "k");
    rig.begin(&case).await;
    rig.settle(rig.after_call(&case, done())).await;
    rig.settle(rig.after_call(&case, done())).await;
}

pub async fn what_a_record_holds_is_known_until_the_next_call(rig: Rig) {
    let content: Content = [7; 16];
    let (first, second) = (rig.case("1", "k"), rig.case("2", "k"));
    let mut settlement = rig.settlement(&first, done());
    settlement.new_link = Some(Link { content: Some(content), ..linked("r", first.event.received) });
    rig.settle(settlement).await;
    let holds = async || rig.standing(&second).await.link.expect("the link").content;
    assert_eq!(holds().await, Some(content));
    rig.begin(&second).await;
    assert_eq!(holds().await, None);
    rig.settle(rig.after_call(&second, Progress::Done { ending: "rejected".into() })).await;
    assert_eq!(holds().await, None, "the refused call may have changed it");
}

pub async fn links_of_others_are_read_along(rig: Rig) {
    let case = rig.case("1", "k");
    let mut settlement = rig.settlement(&case, done());
    settlement.link.owner = "tasks".into();
    settlement.new_link = Some(linked("r-9", case.event.received));
    rig.settle(settlement).await;
    let owners = ["nobody", "tasks", "route"].map(|owner| LinkKey { owner: owner.into(), key: "k".into() });
    let question = dari::store::Question {
        delivery: case.key(),
        body_key: None,
        link: case.link_key(),
        others: owners.to_vec(),
        instead_of: Vec::new(),
        received: case.event.received,
        now: rig.now(),
    };
    let standing = rig.store.standing(question).await.expect("read");
    let ids: Vec<_> = standing.others.iter().map(|link| link.as_ref().and_then(|l| l.remote_id.as_deref())).collect();
    assert_eq!(ids, [None, Some("r-9"), None]);
    assert_eq!(standing.link, None);
}
