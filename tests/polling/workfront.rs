//! `workfront` against the sandbox.

use std::ops::Deref;

use dari::connectors::sandbox::Fault;
use dari::connectors::workfront::{MANIFEST, sandbox};
use dari::connectors::{NoMemory, PollError, Poller};
use dari::event::NewEvent;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::vendor::{Vendor, data, past, told};

const ACCOUNT: &str =
    "{ wf: { workfront: { host: acme.my.workfront.com, url: 'URL', auth: { api_key: sandboxkey0123456789 } } } }";

struct Workfront(Vendor);

impl Deref for Workfront {
    type Target = Vendor;

    fn deref(&self) -> &Vendor {
        &self.0
    }
}

fn with(keys: &str) -> String {
    format!("{{ workfront: {{ account: wf, object: task, {keys} }} }}")
}

impl Workfront {
    async fn new() -> Self {
        Self(Vendor::of(&MANIFEST).await)
    }

    fn poller(&self, source: &str) -> Box<dyn Poller> {
        self.0.poller(ACCOUNT, source)
    }

    fn try_poller(&self, source: &str) -> Result<Box<dyn Poller>, String> {
        self.0.try_poller(ACCOUNT, source)
    }

    /// Makes a task, or changes the one with that ID.
    async fn task(&self, mut task: Value) -> String {
        task["objCode"] = json!("TASK");
        self.make("objects", task).await
    }
}

fn subjects(events: Vec<NewEvent>) -> Vec<String> {
    events.into_iter().filter_map(|event| event.subject).collect()
}

#[tokio::test]
async fn what_happens_to_an_object_is_told_once_in_every_spelling() {
    for dates in ["colon", "dot", "z"] {
        let world = Workfront::new().await;
        world.switch(json!({ "dates": dates })).await;
        let poller = world.poller(&with("start: all, fields: ['*', 'DE:CustomText', 'project:name']"));
        assert_eq!(told(&world.all(&*poller).await), [""; 0]);
        world
            .task(json!({ "ID": "42", "name": "a", "status": "NEW", "DE:CustomText": "x", "description": null,
                "projectID": sandbox::PROJECT, "plannedStartDate": "2026-11-30T16:00:00.000Z" }))
            .await;
        let made = world.all(&*poller).await;
        assert_eq!(told(&made), ["object.created 42"]);
        let told_of = data(&made[0]);
        assert_eq!(told_of["objCode"], "TASK");
        let object = &told_of["object"];
        assert_eq!(
            (&object["name"], &object["DE:CustomText"], &object["project"]["name"]),
            (&json!("a"), &json!("x"), &json!("새 프로젝트"))
        );
        assert!(object.get("description").is_none());
        let start: jiff::Timestamp = object["plannedStartDate"].as_str().unwrap().parse().unwrap();
        assert_eq!(start.to_string(), "2026-11-30T16:00:00Z", "{dates}");
        assert_eq!(made[0].version.unwrap().to_string(), "2026-11-21T00:00:00Z");
        assert_eq!(told(&world.all(&*poller).await), [""; 0], "the overlap shows it again");

        world.advance(1);
        world.task(json!({ "ID": "42", "status": "CPL" })).await;
        let changed = world.all(&*poller).await;
        assert_eq!(told(&changed), ["object.updated 42"]);
        let told_of = data(&changed[0]);
        assert_eq!((&told_of["object"]["status"], &told_of["before"]["status"]), (&json!("CPL"), &json!("NEW")));
        assert_eq!(told(&world.all(&*poller).await), [""; 0]);
        assert_ne!(made[0].id, changed[0].id);
    }
}

#[tokio::test]
async fn a_change_under_the_same_time_is_seen_while_the_time_is_young() {
    let world = Workfront::new().await;
    let poller = world.poller(&with("start: all"));
    let at = world.clock.now().to_string();
    world.task(json!({ "ID": "42", "name": "a", "lastUpdateDate": at })).await;
    assert_eq!(told(&world.all(&*poller).await), ["object.created 42"]);
    world.task(json!({ "ID": "42", "name": "b", "lastUpdateDate": at })).await;
    assert_eq!(told(&world.all(&*poller).await), ["object.updated 42"]);
    world.advance(1);
    assert_eq!(told(&world.all(&*poller).await), [""; 0]);
    // What computes itself changes without being changed.
    world.task(json!({ "ID": "42", "percentComplete": 7, "lastUpdateDate": at })).await;
    assert_eq!(told(&world.all(&*poller).await), [""; 0]);
}

#[tokio::test]
async fn more_than_a_page_is_read_though_objects_change_meanwhile() {
    let world = Workfront::new().await;
    let poller = world.poller(&with("start: all, page: 40"));
    for n in 0..250 {
        // 150 of them changed at one and the same time.
        let minute = if n < 150 { 0 } else { n - 149 };
        let at: jiff::Timestamp = "2026-11-10T00:00:00Z".parse().unwrap();
        let at = (at + SignedDuration::from_mins(minute)).to_string();
        world.task(json!({ "ID": format!("{}", 1000 + n), "name": "x", "lastUpdateDate": at })).await;
    }
    let mut seen = Vec::new();
    for n in 0..3 {
        let page = world.turn(&*poller).await;
        assert!(page.more);
        seen.extend(subjects(page.events));
        // One that was shown moves to the end, and the others up.
        world.advance(1);
        world.task(json!({ "ID": format!("{}", 1000 + n), "name": "y" })).await;
    }
    seen.extend(subjects(world.all(&*poller).await));
    assert_eq!(seen.len(), 253, "each once, and again what changed");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 250);
    let calls = world.served.calls.all();
    assert!(
        calls.iter().all(|call| call.body.contains("lastUpdateDate_Sort=asc") || call.body.contains("ID_Sort=asc"))
    );
}

#[tokio::test]
async fn a_page_that_is_too_long_is_asked_for_in_halves() {
    let world = Workfront::new().await;
    let poller = world.poller(&with("start: all, page: 32"));
    for n in 0..24 {
        world.task(json!({ "ID": format!("{}", 1000 + n), "name": "x", "description": "y".repeat(100_000) })).await;
    }
    let mut seen = subjects(world.all(&*poller).await);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 24);
    world.advance(1);
    world.task(json!({ "ID": "2000", "name": "x", "description": "y".repeat(1 << 20) })).await;
    let since = poller.past(Some(world.clock.now())).unwrap();
    let error = poller.poll(Some(&since), &NoMemory).await.unwrap_err();
    assert!(matches!(&error, PollError::Stop { why } if why.contains("1 MiB")), "{error}");
}

#[tokio::test]
async fn filters_and_limits_are_the_vendors() {
    let world = Workfront::new().await;
    for (id, percent, owner) in [("1", 10, "a"), ("2", 60, "a"), ("3", 70, "b")] {
        world
            .task(json!({ "ID": id, "name": format!("Plan {id}"), "percentComplete": percent, "ownerID": owner }))
            .await;
    }
    let read = async |filter: &str| {
        let poller = world.poller(&with(&format!("start: all, filter: {filter}")));
        let page = poller.poll(None, &NoMemory).await.unwrap();
        subjects(page.events)
    };
    assert_eq!(read("{ percentComplete: 50, percentComplete_Mod: gte }").await, ["2", "3"]);
    assert_eq!(read("{ percentComplete: 50, percentComplete_Mod: gte, ownerID: b }").await, ["3"]);
    assert_eq!(read("{ name: 'plan', name_Mod: cicontains, percentComplete: 20, percentComplete_Range: 65, percentComplete_Mod: between }").await, ["2"]);
    assert_eq!(read("{ description_Mod: notnull }").await, [""; 0]);
    for (wrong, expected) in [
        ("filter: { lastUpdateDate: '2026' }", "the source itself asks by lastUpdateDate"),
        ("filter: { name_Mod: like }", "expected one of eq"),
        ("page: 2001", "from 1 to 2000"),
        ("fields: ['a:b:c:d:e']", "at most 4 levels"),
        ("every: 0s", "every 0s"),
        ("start: yesterday", "expected now, all"),
    ] {
        let told = world.try_poller(&with(wrong)).err().unwrap();
        assert!(told.contains(expected), "{told}");
    }
    let error = world.try_look(&*world.poller(&with("start: all, filter: { colour: red }"))).await.unwrap_err();
    assert!(matches!(&error, PollError::Stop { why } if why.contains("does not support field colour")), "{error}");
}

#[tokio::test]
async fn a_start_now_learns_what_is_there() {
    let world = Workfront::new().await;
    world.task(json!({ "ID": "1", "name": "old", "entryDate": "2026-01-10T09:00:00Z", "lastUpdateDate": "2026-01-10T09:00:00Z" })).await;
    world.advance(1);
    let poller = world.poller(&with("every: 5m"));
    let first = world.turn(&*poller).await;
    assert_eq!(
        (first.events.len(), first.note.as_deref()),
        (0, Some("starts now: the objects that are there already are learnt and not sent"))
    );
    world.advance(5);
    world.task(json!({ "ID": "1", "status": "CPL" })).await;
    world.task(json!({ "ID": "2", "name": "new" })).await;
    let mut events = told(&world.all(&*poller).await);
    events.sort();
    assert_eq!(events, ["object.created 2", "object.updated 1"]);
    world.advance(70);
    world.remove("objects", "1").await;
    let deleted = world.all(&*poller).await;
    assert_eq!(told(&deleted), ["object.deleted 1"]);
    assert_eq!(data(&deleted[0])["object"]["status"], "CPL", "as it was last");
}

#[tokio::test]
async fn a_clock_that_is_behind_loses_nothing() {
    let world = Workfront::new().await;
    let poller = world.poller(&with("every: 1s"));
    world.task(json!({ "ID": "1", "name": "old", "lastUpdateDate": "2026-11-20T23:00:00Z" })).await;
    world.all(&*poller).await;
    // The vendor's clock is two minutes behind ours.
    world.task(json!({ "ID": "1", "name": "changed", "lastUpdateDate": "2026-11-20T23:58:00Z" })).await;
    world.task(json!({ "ID": "2", "name": "new", "lastUpdateDate": "2026-11-20T23:58:01Z" })).await;
    assert_eq!(told(&world.all(&*poller).await), ["object.updated 1", "object.created 2"]);
}

#[tokio::test]
async fn p9_what_is_gone_is_asked_for_before_it_is_called_deleted() {
    for all_or_none in [false, true] {
        let world = Workfront::new().await;
        world.switch(json!({ "ids_all_or_none": all_or_none })).await;
        let poller = world.poller(&with("start: all, filter: { status: NEW }, deletions: 1h"));
        for n in 0..8 {
            world.task(json!({ "ID": format!("{n}"), "name": "x", "status": "NEW" })).await;
        }
        assert_eq!(world.all(&*poller).await.len(), 8);
        world.advance(30);
        world.remove("objects", "1").await;
        assert_eq!(told(&world.all(&*poller).await), [""; 0], "not yet");
        world.advance(40);
        world.remove("objects", "2").await;
        // The filter no longer shows it, and it is there.
        world.task(json!({ "ID": "3", "status": "CPL" })).await;
        let page = world.turn(&*poller).await;
        let mut events = told(&page.events);
        events.sort();
        assert_eq!(events, ["object.deleted 1", "object.deleted 2", "object.updated 3"], "{all_or_none}");
        assert_eq!(page.known, Some(8));
        world.advance(70);
        assert_eq!(told(&world.all(&*poller).await), [""; 0], "once");
        world.remove("objects", "3").await;
        world.advance(70);
        assert_eq!(told(&world.all(&*poller).await), ["object.deleted 3"], "it is still known");
    }
}

#[tokio::test]
async fn p9_a_listing_that_fails_says_nothing_and_is_made_again() {
    let world = Workfront::new().await;
    let poller = world.poller(&with("start: all"));
    for n in 0..3 {
        world.task(json!({ "ID": format!("{n}"), "name": "x" })).await;
    }
    world.all(&*poller).await;
    world.advance(70);
    world.remove("objects", "1").await;
    world.task(json!({ "ID": "2", "name": "y" })).await;
    // The change is read, the list of IDs is not.
    // The first call is let through.
    world.served.faults.next(Fault::Slow { ms: 0 }, 1);
    world.served.faults.next(Fault::ServerError, 1);
    assert_eq!(told(&world.all(&*poller).await), ["object.updated 2"]);
    assert_eq!(told(&world.all(&*poller).await), ["object.deleted 1"], "at the next turn");
    world.advance(70);
    world.served.faults.next(Fault::ResetBefore, 1);
    assert!(matches!(world.try_look(&*poller).await, Err(PollError::Retry { .. })));
}

#[tokio::test]
async fn the_past_comes_as_new() {
    let world = Workfront::new().await;
    let poller = world.poller(&with("page: 50"));
    for n in 0..120 {
        world
            .task(json!({ "ID": format!("{}", 1000 + n), "name": "x", "lastUpdateDate": "2026-11-10T09:00:00Z" }))
            .await;
    }
    assert_eq!(past(&*poller).await.len(), 120);
    let later = poller.past(Some("2026-11-11T00:00:00Z".parse().unwrap())).unwrap();
    assert!(poller.poll(Some(&later), &NoMemory).await.unwrap().events.is_empty());
}

#[tokio::test]
async fn refused_credentials_stop_the_account() {
    let world = Workfront::new().await;
    let login = "login: { username: somebody@acme.com, password: wrong }";
    let account = ACCOUNT.replace("api_key: sandboxkey0123456789", login);
    let poller = world.0.poller(&account, &with("start: all"));
    let refused = world.try_look(&*poller).await.unwrap_err();
    assert!(matches!(&refused, PollError::Suspend { why } if !why.contains("wrong")), "{refused:?}");
}

#[tokio::test]
async fn what_workfront_refuses_stops_the_source_or_the_account() {
    for as_200 in [false, true] {
        let world = Workfront::new().await;
        world.switch(json!({ "errors_as_200": as_200, "platform": true })).await;
        let poller = world.poller(&with("start: all"));
        assert!(matches!(world.try_look(&*poller).await, Err(PollError::Suspend { .. })));
        world.switch(json!({ "platform": false, "threads": 0 })).await;
        assert!(matches!(world.try_look(&*poller).await, Err(PollError::Retry { account: true, .. })));
        world.switch(json!({ "threads": 10 })).await;
        let alien = world.poller("{ workfront: { account: wf, object: alien } }");
        assert!(matches!(world.try_look(&*alien).await, Err(PollError::Stop { .. })));
        world.served.faults.next(Fault::Garbage, 1);
        assert!(matches!(world.try_look(&*poller).await, Err(PollError::Retry { .. })));
    }
}
