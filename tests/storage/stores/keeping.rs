//! Leases, cursors, suspensions, facts, names.

use std::time::Duration;

use dari::connectors::{Change, Remembered};
use dari::outcome::{Scope, Verb};
use dari::store::permits::{ShareAsk, TurnAsk};
use dari::store::{DeadClass, Progress, StoreError, Suspension};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Rig, linked};

pub async fn p9_one_owner_has_a_lease_at_a_time(rig: Rig) {
    let store = &rig.store;
    let first = store.lease("poll", "a", 1_000, rig.now()).await.expect("asked").expect("it is free");
    assert_eq!(store.lease("poll", "b", 1_000, rig.now()).await.expect("asked"), None);
    rig.clock.advance(SignedDuration::from_millis(999));
    let renewed = store.lease("poll", "a", 1_000, rig.now()).await.expect("asked").expect("it is its own");
    assert_eq!(renewed, first, "a renewal is the same holder");
    rig.clock.advance(SignedDuration::from_millis(1_000));
    let second = store.lease("poll", "b", 1_000, rig.now()).await.expect("asked").expect("it ran out");
    assert!(second.token > first.token);
    assert!(store.lease("else", "a", 1_000, rig.now()).await.expect("asked").is_some());
    store.release(first).await.expect("too late, and no matter");
    assert_eq!(store.lease("poll", "a", 1_000, rig.now()).await.expect("asked"), None, "it is still the other's");
    store.release(second.clone()).await.expect("released");
    let third = store.lease("poll", "a", 1_000, rig.now()).await.expect("asked").expect("it is free");
    assert!(third.token > second.token, "tokens rise for ever");
}

pub async fn p9_a_cursor_is_written_under_the_newest_lease_alone(rig: Rig) {
    let store = &rig.store;
    let old = store.lease("poll", "a", 1_000, rig.now()).await.expect("asked").expect("it is free");
    store.commit_cursor("signup", &old, json!({"at": 1}), Vec::new()).await.expect("committed");
    rig.clock.advance(SignedDuration::from_secs(2));
    store.commit_cursor("signup", &old, json!({"at": 2}), Vec::new()).await.expect("nobody has taken it over");
    let new = store.lease("poll", "b", 1_000, rig.now()).await.expect("asked").expect("it ran out");
    let fenced = store.commit_cursor("signup", &old, json!({"at": 3}), Vec::new()).await.expect_err("it is another's");
    assert!(matches!(fenced, StoreError::Fenced(name) if name == "poll"));
    assert_eq!(store.cursor("signup").await.expect("read"), Some(json!({"at": 2})));
    let digits: Value = serde_json::from_str(r#"{"at": 12345678901234567890123}"#).expect("JSON");
    store.commit_cursor("signup", &new, digits.clone(), Vec::new()).await.expect("committed");
    assert_eq!(store.cursor("signup").await.expect("read"), Some(digits));
    store.release(new.clone()).await.expect("released");
    store.commit_cursor("signup", &new, json!(4), Vec::new()).await.expect_err("it was given back");
}

pub async fn p9_a_snapshot_is_written_with_its_cursor_or_not_at_all(rig: Rig) {
    let store = &rig.store;
    let old = store.lease("poll", "a", 1_000, rig.now()).await.expect("asked").expect("it is free");
    let seen = |hash: &str, value: Value| Some(Remembered { hash: hash.into(), value });
    let change = |key: &str, now: Option<Remembered>| Change { key: key.into(), now };
    let digits: Value = serde_json::from_str(r#"{"n": 12345678901234567890123}"#).expect("JSON");
    let first = vec![change("a", seen("1", json!("x"))), change("b", seen("2", digits.clone()))];
    store.commit_cursor("cal", &old, json!(1), first).await.expect("committed");
    store.commit_cursor("other", &old, json!(1), vec![change("a", seen("9", json!(9)))]).await.expect("committed");
    let hashes = async |source: &str| store.snapshot(source).await.expect("read").into_iter().collect::<Vec<_>>();
    let pairs = |all: &[(&str, &str)]| all.iter().map(|(k, h)| ((*k).to_owned(), (*h).to_owned())).collect::<Vec<_>>();
    assert_eq!(hashes("cal").await, pairs(&[("a", "1"), ("b", "2")]));
    assert_eq!(hashes("none").await, []);
    assert_eq!(store.remembered("cal", "b").await.expect("read"), seen("2", digits), "with all their digits");
    assert_eq!(store.remembered("cal", "c").await.expect("read"), None);

    // In order: the last change of a key counts.
    let second = vec![change("a", None), change("c", seen("3", json!(3))), change("c", seen("4", json!(4)))];
    store.commit_cursor("cal", &old, json!(2), second).await.expect("committed");
    assert_eq!(hashes("cal").await, pairs(&[("b", "2"), ("c", "4")]));
    store.commit_cursor("cal", &old, json!(3), vec![change("never", None)]).await.expect("nothing to forget");

    rig.clock.advance(SignedDuration::from_secs(2));
    store.lease("poll", "b", 1_000, rig.now()).await.expect("asked").expect("it ran out");
    store.commit_cursor("cal", &old, json!(4), vec![change("b", None)]).await.expect_err("it is another's");
    assert_eq!(hashes("cal").await, pairs(&[("b", "2"), ("c", "4")]));
    store.forget_cursor("cal").await.expect("forgotten");
    assert_eq!((hashes("cal").await, store.cursor("cal").await.expect("read")), (Vec::new(), None));
    assert_eq!(hashes("other").await, pairs(&[("a", "9")]), "another source's is left alone");
}

pub async fn a_renamed_source_keeps_its_snapshot(rig: Rig) {
    let store = &rig.store;
    let fence = store.lease("poll", "a", 1_000, rig.now()).await.expect("asked").expect("it is free");
    let now = Some(Remembered { hash: "1".into(), value: json!(1) });
    let change = Change { key: "a".into(), now: now.clone() };
    store.commit_cursor("old", &fence, json!(1), vec![change]).await.expect("committed");
    for _ in 0..2 {
        store.rename_source("old", "new", &[]).await.expect("renamed");
    }
    assert_eq!(store.remembered("new", "a").await.expect("read"), now);
    assert_eq!(store.snapshot("old").await.expect("read").len(), 0);
}

pub async fn a_renamed_source_keeps_what_it_knows(rig: Rig) {
    let store = &rig.store;
    let fence = store.lease("poll", "a", 1_000, rig.now()).await.expect("asked").expect("it is free");
    store.commit_cursor("old", &fence, json!(1), Vec::new()).await.expect("committed");
    let suspension = |name: &str| Suspension {
        scope: Scope::Source,
        name: name.into(),
        why: "questions".into(),
        since: rig.now(),
        until: None,
        probe: None,
    };
    store.suspend(suspension("old")).await.expect("suspended");
    let linked_as = async |id: &str, link: &str| {
        let case = rig.case(id, link);
        let mut settlement = rig.settlement(&case, super::done());
        settlement.new_link = Some(linked(id, case.event.received));
        rig.settle(settlement).await;
    };
    // The last three look alike, but are another source's or a key of the route's own.
    for (id, link) in [("1", "old/7"), ("2", "old//e"), ("3", "older/7"), ("4", "x/old/7"), ("5", "old")] {
        linked_as(id, link).await;
    }
    let open = rig.case("6", "old/8");
    rig.begin(&open).await;

    for _ in 0..2 {
        store.rename_source("old", "brand-new", &["route".into(), "nobody".into()]).await.expect("renamed");
    }
    assert_eq!(store.cursor("old").await.expect("read"), None);
    assert_eq!(store.cursor("brand-new").await.expect("read"), Some(json!(1)));
    assert_eq!(store.suspensions().await.expect("listed"), [suspension("brand-new")]);
    for (id, link) in [("1", "brand-new/7"), ("2", "brand-new//e"), ("3", "older/7"), ("4", "x/old/7"), ("5", "old")] {
        let known = rig.standing(&rig.case("later", link)).await.link.expect(link);
        assert_eq!(known.remote_id.as_deref(), Some(id));
    }
    let ahead = rig.standing(&rig.case("later", "brand-new/8")).await.ahead.expect("it is still under way");
    assert_eq!(ahead.event, open.event.key());

    store.forget_cursor("brand-new").await.expect("forgotten");
    assert_eq!(store.cursor("brand-new").await.expect("read"), None);
}

pub async fn a_renamed_sink_stays_suspended(rig: Rig) {
    let store = &rig.store;
    let suspension = |scope: Scope, name: &str| Suspension {
        scope,
        name: name.into(),
        why: "credentials".into(),
        since: rig.now(),
        until: None,
        probe: None,
    };
    for (scope, name) in [(Scope::Account, "old"), (Scope::Sink, "old"), (Scope::Route, "old")] {
        store.suspend(suspension(scope, name)).await.expect("suspended");
    }
    store.set_used("old", "2026-11", 7).await.expect("set");
    store.rename_sink("old", "new", false).await.expect("renamed");
    let listed = store.suspensions().await.expect("listed");
    let of = |scope, name| listed.contains(&suspension(scope, name));
    assert!(of(Scope::Account, "old") && of(Scope::Sink, "new") && of(Scope::Route, "old") && listed.len() == 3);
    assert_eq!(store.used("old", "2026-11").await.expect("read"), 7, "the account is another's");

    for _ in 0..2 {
        store.rename_sink("old", "new", true).await.expect("renamed");
    }
    let listed = store.suspensions().await.expect("listed");
    assert!(listed.contains(&suspension(Scope::Account, "new")) && listed.len() == 3);
    assert_eq!(store.used("new", "2026-11").await.expect("read"), 7);
    assert_eq!(store.used("old", "2026-11").await.expect("read"), 0);
}

pub async fn people_are_told_once_of_a_suspension(rig: Rig) {
    let store = &rig.store;
    let suspension = |why: &str, hours: Option<i64>| Suspension {
        scope: Scope::Sink,
        name: "crm".into(),
        why: why.into(),
        since: rig.now(),
        until: hours.map(|hours| rig.now() + SignedDuration::from_hours(hours)),
        probe: None,
    };
    let listed = async || store.suspensions().await.expect("listed");
    assert!(store.suspend(suspension("quota", Some(2))).await.expect("suspended"));
    assert!(!store.suspend(suspension("earlier", Some(1))).await.expect("suspended"));
    assert_eq!(listed().await, [suspension("quota", Some(2))]);
    assert!(!store.suspend(suspension("later", Some(3))).await.expect("suspended"));
    assert_eq!(listed().await, [suspension("later", Some(3))]);
    assert!(!store.suspend(suspension("credentials", None)).await.expect("suspended"));
    assert!(!store.suspend(suspension("quota", Some(9))).await.expect("suspended"));
    assert_eq!(listed().await, [suspension("credentials", None)], "no time outlasts a person's word");
    assert!(!store.resume(Scope::Account, "crm").await.expect("asked"));
    assert!(store.resume(Scope::Sink, "crm").await.expect("resumed"));
    assert!(!store.resume(Scope::Sink, "crm").await.expect("asked"));
    assert!(listed().await.is_empty());
}

pub async fn p5_a_share_is_held_until_it_runs_out(rig: Rig) {
    let ask = async |owner: &str, wants: u32, busy: u32| {
        let (account, owner, ttl) = ("wf".to_owned(), owner.to_owned(), Duration::from_secs(30));
        rig.store.share(ShareAsk { account, owner, wants, busy, limit: 4, ttl }).await.expect("asked")
    };
    assert_eq!(ask("a", 1, 0).await, 4, "it is alone");
    assert_eq!(ask("b", 4, 0).await, 0);
    assert_eq!(ask("a", 4, 3).await, 3, "what is under way stays its own");
    assert_eq!(ask("b", 4, 0).await, 1);
    assert_eq!(ask("a", 4, 0).await, 2);
    assert_eq!(ask("b", 4, 1).await, 2);
    assert_eq!(ask("a", 0, 0).await, 0, "given back");
    assert_eq!(ask("b", 4, 1).await, 4);
    rig.clock.advance(SignedDuration::from_secs(30));
    assert_eq!(ask("c", 1, 0).await, 4, "b has ended without a word");
}

pub async fn p5_turns_are_given_once_and_not_saved_up(rig: Rig) {
    let ask = async |count: u32| {
        let ask = TurnAsk { account: "wf".into(), count, gap: Duration::from_millis(100) };
        rig.store.turns(ask).await.expect("reserved").as_millis()
    };
    assert_eq!([ask(1).await, ask(2).await, ask(1).await], [0, 100, 300]);
    rig.clock.advance(SignedDuration::from_millis(250));
    assert_eq!(ask(1).await, 150);
    rig.clock.advance(SignedDuration::from_hours(1));
    assert_eq!([ask(1).await, ask(1).await], [0, 100], "an hour without calls is no leave for more at once");
    // A clock that was set back does not stop the account for an hour.
    rig.clock.advance(SignedDuration::from_hours(-1));
    assert_eq!([ask(1).await, ask(1).await], [0, 100]);
}

pub async fn p5_what_is_lifted_is_what_was_seen(rig: Rig) {
    let store = &rig.store;
    let pause = |minutes: i64| Suspension {
        scope: Scope::Account,
        name: "crm".into(),
        why: "429".into(),
        since: rig.now(),
        until: Some(rig.now() + SignedDuration::from_mins(minutes)),
        probe: None,
    };
    let (short, long) = (pause(1), pause(2));
    store.suspend(short.clone()).await.expect("suspended");
    store.suspend(long.clone()).await.expect("suspended");
    assert!(!store.lift(short).await.expect("asked"), "it lasts longer by now");
    assert!(store.lift(long).await.expect("lifted"));
    let refused = Suspension { until: None, probe: Some(rig.now()), ..pause(0) };
    store.suspend(refused.clone()).await.expect("suspended");
    let next = rig.now() + SignedDuration::from_mins(1);
    assert!(store.claim_probe(refused.clone(), next).await.expect("asked"));
    assert!(!store.claim_probe(refused.clone(), next).await.expect("asked"), "one probes");
    assert_eq!(store.suspensions().await.expect("listed"), [Suspension { probe: Some(next), ..refused.clone() }]);
    assert!(store.lift(refused).await.expect("lifted"));
}

pub async fn facts_are_kept(rig: Rig) {
    let store = &rig.store;
    assert_eq!(store.fact("id").await.expect("read"), None);
    store.set_fact("id", json!("abc")).await.expect("kept");
    store.set_fact("id", json!({"n": [1, null]})).await.expect("kept");
    assert_eq!(store.fact("id").await.expect("read"), Some(json!({"n": [1, null]})));
}

pub async fn a_renamed_route_keeps_what_it_knows(rig: Rig) {
    let mut done = rig.case("1", "k");
    let mut settlement = rig.settlement(&done, super::done());
    settlement.new_link = Some(linked("r-1", done.event.received));
    rig.settle(settlement).await;
    let held = rig.case("2", "k");
    let id = rig.bury(&held, DeadClass::Held).await;
    rig.store.rename_route("route", "renamed").await.expect("renamed");

    assert_eq!(rig.standing(&done).await.entry, None);
    assert_eq!(rig.store.link_count("route").await.expect("counted"), 0);
    assert_eq!(rig.store.link_count("renamed").await.expect("counted"), 1);
    done.route = "renamed".into();
    let standing = rig.standing(&done).await;
    assert!(standing.entry.is_some());
    assert_eq!(standing.link, Some(linked("r-1", done.event.received)));
    let letter = rig.store.dead_letter(id).await.expect("read").expect("it is there").letter;
    assert_eq!(letter.delivery.route, "renamed");
    let mut later = rig.case("3", "k");
    later.route = "renamed".into();
    let ahead = rig.standing(&later).await.ahead.expect("what was held still is");
    assert_eq!(ahead.progress, Progress::Held { verb: Verb::Create });
}

pub async fn a_route_renamed_onto_a_used_name_keeps_the_newer_knowledge(rig: Rig) {
    let old = rig.case("1", "k");
    let mut settlement = rig.settlement(&old, super::done());
    settlement.new_link = Some(linked("old", old.event.received));
    rig.settle(settlement).await;
    let other = rig.case("2", "other");
    let mut settlement = rig.settlement(&other, super::done());
    settlement.new_link = Some(linked("other", other.event.received));
    rig.settle(settlement).await;
    let mut new = rig.case("3", "k");
    new.route = "renamed".into();
    let mut settlement = rig.settlement(&new, super::done());
    settlement.new_link = Some(linked("new", new.event.received));
    rig.settle(settlement).await;

    rig.store.rename_route("route", "renamed").await.expect("renamed");
    assert_eq!(rig.standing(&new).await.link, Some(linked("new", new.event.received)));
    assert_eq!(rig.store.link_count("renamed").await.expect("counted"), 2);
    let moved = super::Case { route: "renamed".into(), ..old };
    assert!(rig.standing(&moved).await.entry.is_some());
    rig.store.rename_route("nobody", "renamed").await.expect("nothing to rename is no error");
}

pub async fn a_forgotten_route_knows_nothing(rig: Rig) {
    let case = rig.case("1", "k");
    let mut settlement = rig.settlement(&case, super::done());
    settlement.new_link = Some(linked("r-1", case.event.received));
    rig.settle(settlement).await;
    assert_eq!(rig.store.forget_route("route", true).await.expect("forgotten"), 1);
    assert_eq!(rig.store.forget_route("unknown", true).await.expect("asked"), 0);
    let standing = rig.standing(&case).await;
    assert_eq!((standing.entry, standing.link), (None, None));
}
