//! `dooray-calendar` against the sandbox.

use std::time::Duration;

use dari::connectors::sandbox::Fault;
use dari::connectors::{NoMemory, PollError};
use jiff::SignedDuration;
use serde_json::json;

use crate::dooray_world::Dooray;
use crate::vendor::{data, told};

const ALL: &str = "{ dooray-calendar: { account: dooray, start: all } }";

fn with(keys: &str) -> String {
    format!("{{ dooray-calendar: {{ account: dooray, {keys} }} }}")
}

const ONE: &str = "2026-11-23T10:30:00+09:00";

#[tokio::test]
async fn what_happens_to_an_event_is_told_in_turn() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    assert_eq!(told(&world.all(&*poller).await), [""; 0]);

    world.meeting("1", ONE).await;
    let made = world.all(&*poller).await;
    assert_eq!(told(&made), ["event.created 1"]);
    let event = data(&made[0]);
    assert_eq!((&event["title"], &event["start"]), (&json!("회의 1"), &json!(ONE)));
    assert_eq!((&event["calendar"]["name"], &event["category"]), (&json!("내 캘린더"), &json!("general")));
    assert_eq!(event["organizer"], json!({"kind": "member", "id": "101", "name": "김하나", "email": "hana@acme.kr"}));
    assert_eq!(event["body"], json!({"type": "text/html", "text": ""}), "from the detail");
    assert!(made[0].version.is_some() && event.get("location").is_none(), "null is absent");

    let before = world.calls();
    assert_eq!(told(&world.all(&*poller).await), [""; 0]);
    assert!(!world.asked(before).iter().any(|path| path.ends_with("/events/1")), "only what changed is read whole");

    world.advance(5);
    world.event(json!({"id": "1", "location": "4-5 회의실"})).await;
    assert_eq!(told(&world.all(&*poller).await), ["event.updated 1"]);

    world.advance(5);
    world
        .event(json!({"id": "1", "startedAt": "2026-11-24T10:30:00+09:00", "endedAt": "2026-11-24T11:30:00+09:00"}))
        .await;
    let moved = world.all(&*poller).await;
    assert_eq!(told(&moved), ["event.moved 1"]);
    assert_eq!(
        (&data(&moved[0])["before"]["start"], &data(&moved[0])["start"]),
        (&json!(ONE), &json!("2026-11-24T10:30:00+09:00"))
    );

    world.remove("events", "1").await;
    let deleted = world.all(&*poller).await;
    assert_eq!(told(&deleted), ["event.deleted 1"]);
    assert_eq!(
        (&data(&deleted[0])["location"], data(&deleted[0]).get("before")),
        (&json!("4-5 회의실"), None),
        "the last snapshot"
    );
    assert_eq!((told(&world.all(&*poller).await), world.known().await), (vec![], 0));
}

#[tokio::test]
async fn p9_a_page_that_is_repeated_has_the_same_ids_and_one_that_comes_back_has_others() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    world.meeting("1", ONE).await;
    world.meeting("2", ONE).await;
    let ids = |page: &dari::connectors::Page| page.events.iter().map(|e| e.id.clone().unwrap()).collect::<Vec<_>>();
    // The crash is between publish and commit.
    let first = world.look(&*poller).await;
    let second = world.turn(&*poller).await;
    assert_eq!((ids(&first), ids(&first).len()), (ids(&second), 2));

    // Taken back to the very same state, twice: each is an event of its own.
    let mut seen = ids(&second);
    for subject in ["x", "회의 1", "x", "회의 1"] {
        world.event(json!({"id": "1", "subject": subject, "updatedAt": "2026-11-20T00:00:00+09:00"})).await;
        seen.extend(ids(&world.turn(&*poller).await));
    }
    world.remove("events", "2").await;
    seen.extend(ids(&world.turn(&*poller).await));
    world.meeting("2", ONE).await;
    seen.extend(ids(&world.turn(&*poller).await));
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), count), (8, 8));
}

#[tokio::test]
async fn a_start_brings_nothing_all_or_what_changed_since() {
    let world = Dooray::new().await;
    world.event(json!({"id": "old", "subject": "a", "startedAt": ONE, "endedAt": ONE, "updatedAt": "2026-11-01T00:00:00+09:00"})).await;
    world.event(json!({"id": "new", "subject": "b", "startedAt": ONE, "endedAt": ONE, "updatedAt": "2026-11-20T00:00:00+09:00"})).await;
    for (keys, expected) in [("every: 5m", 0), ("start: all", 2), ("start: 2026-11-10", 1)] {
        let world_of_its_own = Dooray::new().await;
        let poller = world.poller(&with(keys));
        let events = world_of_its_own.all(&*poller).await;
        assert_eq!(events.len(), expected, "{keys}");
        assert_eq!(world_of_its_own.known().await, 2, "{keys}: all is learnt");
    }
    let note = world.turn(&*world.poller(&with("every: 5m"))).await.note.unwrap();
    assert_eq!(note, "starts now: what is in the calendars already is not sent");
    world.remove("events", "old").await;
    assert_eq!(told(&world.all(&*world.poller(&with("every: 5m"))).await), ["event.deleted old"]);
}

#[tokio::test]
async fn what_slides_out_of_the_window_is_not_deleted() {
    for overlapping in [true, false] {
        let world = Dooray::new().await;
        world.switch(json!({"overlapping": overlapping})).await;
        let poller = world.poller(&with("start: all, window: { past: 1d, ahead: 30d }"));
        world.meeting("short", "2026-11-21T08:00:00+09:00").await;
        world.event(json!({"id": "long", "subject": "출장", "startedAt": "2026-11-20T12:00:00+09:00", "endedAt": "2026-11-25T18:00:00+09:00"})).await;
        assert_eq!(world.all(&*poller).await.len(), 2);
        for _ in 0..12 {
            world.advance(12 * 60);
            assert_eq!(told(&world.all(&*poller).await), [""; 0], "overlapping {overlapping}");
        }
        assert_eq!(world.known().await, 0, "what is over is forgotten");
    }
}

#[tokio::test]
async fn an_event_that_began_before_the_window_is_still_missed_where_the_list_shows_it() {
    let world = Dooray::new().await;
    let poller = world.poller(&with("start: all, window: { past: 1d, ahead: 30d }"));
    world.event(json!({"id": "long", "subject": "출장", "startedAt": "2026-11-20T12:00:00+09:00", "endedAt": "2026-11-25T18:00:00+09:00"})).await;
    world.all(&*poller).await;
    world.advance(24 * 60);
    assert_eq!(told(&world.all(&*poller).await), [""; 0]);
    world.remove("events", "long").await;
    assert_eq!(told(&world.all(&*poller).await), ["event.deleted long"]);
}

#[tokio::test]
async fn an_event_put_far_ahead_is_moved_and_is_known_when_the_window_gets_there() {
    let world = Dooray::new().await;
    let poller = world.poller(&with("start: all, window: { past: 1d, ahead: 10d }"));
    world.meeting("1", ONE).await;
    world.all(&*poller).await;
    world.advance(5);
    world
        .event(json!({"id": "1", "startedAt": "2027-01-10T10:30:00+09:00", "endedAt": "2027-01-10T11:30:00+09:00"}))
        .await;
    let moved = world.all(&*poller).await;
    assert_eq!(
        (told(&moved), &data(&moved[0])["start"]),
        (vec!["event.moved 1".to_owned()], &json!("2027-01-10T10:30:00+09:00"))
    );
    let before = world.calls();
    for _ in 0..45 {
        world.advance(24 * 60);
        assert_eq!(told(&world.all(&*poller).await), [""; 0]);
    }
    let asked = world.asked(before).iter().filter(|path| path.ends_with("/events/1")).count();
    assert_eq!((asked, world.known().await), (0, 1), "not asked about meanwhile");

    // Into the past it goes out of sight with its last word.
    world
        .event(json!({"id": "1", "startedAt": "2026-01-10T10:30:00+09:00", "endedAt": "2026-01-10T11:30:00+09:00"}))
        .await;
    assert_eq!(told(&world.all(&*poller).await), ["event.moved 1"]);
    assert_eq!((told(&world.all(&*poller).await), world.known().await), (vec![], 0));
}

#[tokio::test]
async fn an_event_that_is_not_listed_but_there_is_asked_about_once() {
    let world = Dooray::new().await;
    let poller = world.poller(&with("start: all, category: general"));
    world.meeting("1", ONE).await;
    world.all(&*poller).await;
    // It is under way, and the list shows only what begins within the window.
    world.switch(json!({"overlapping": false})).await;
    let poller = world.poller(&with("start: all, window: { past: 0d, ahead: 90d }"));
    world.clock.advance(SignedDuration::from_mins(49 * 60 + 45));
    let asked = |since| world.asked(since).iter().filter(|path| path.ends_with("/events/1")).count();
    let before = world.calls();
    assert_eq!((told(&world.all(&*poller).await), asked(before)), (vec![], 1));
    let before = world.calls();
    assert_eq!(told(&world.all(&*poller).await), [""; 0]);
    assert_eq!(asked(before), 0);
    // Listed again as it was: nothing happened, and its deletion is noticed.
    world.switch(json!({"overlapping": true})).await;
    assert_eq!(told(&world.all(&*poller).await), [""; 0]);
    world.remove("events", "1").await;
    assert_eq!(told(&world.all(&*poller).await), ["event.deleted 1"]);
}

#[tokio::test]
async fn a_calendar_that_is_no_longer_shared_deletes_nothing() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    world.event(json!({"id": "1", "calendar": {"id": "2"}, "subject": "팀", "startedAt": ONE, "endedAt": ONE})).await;
    world.all(&*poller).await;
    world.remove("calendars", "2").await;
    let page = world.turn(&*poller).await;
    assert_eq!((told(&page.events), world.known().await), (vec![], 1));
    assert_eq!(page.note.as_deref(), Some("no longer visible, and not deleted for that: calendar 2"));
    // Named in the config it stops the source.
    let named = world.poller(&with("calendars: ['2', '1'], start: all"));
    let stopped = world.try_look(&*named).await.unwrap_err();
    insta::assert_snapshot!(stopped, @"dooray answered 404: resultCode -404: 존재하지 않는 리소스입니다.: the account sees no calendar 2; it sees 1 (내 캘린더)");
    assert!(matches!(stopped, PollError::Stop { .. }));
}

#[tokio::test]
async fn a_mass_deletion_tells_of_how_many() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    for n in 0..15 {
        world.meeting(&n.to_string(), ONE).await;
    }
    assert_eq!(world.all(&*poller).await.len(), 15);
    for n in 0..12 {
        world.remove("events", &n.to_string()).await;
    }
    let page = world.look(&*poller).await;
    assert_eq!((page.known, page.events.len()), (Some(15), 12));
}

#[tokio::test]
async fn the_window_is_asked_for_in_slices_that_dooray_takes() {
    let world = Dooray::new().await;
    let poller = world.poller(&with("start: all, window: { past: 5d, ahead: 360d }"));
    // One lies across the border of two slices, and counts once.
    world.event(json!({"id": "long", "subject": "x", "startedAt": "2026-12-01T09:00:00+09:00", "endedAt": "2027-01-31T09:00:00+09:00"})).await;
    world.meeting("last", "2027-11-15T09:00:00+09:00").await;
    assert_eq!(told(&world.all(&*poller).await), ["event.created last", "event.created long"]);
    let queries: Vec<_> = world.served.calls.all().into_iter().filter(|c| c.path.contains("/*/events")).collect();
    assert_eq!(queries.len(), 14, "365 days by 28");
    assert!(queries[0].path.contains("timeMin=2026-11-16T09%3A00%3A00%2B09%3A00"), "{}", queries[0].path);

    // By the page a year would do; Dooray was seen to refuse it.
    let year = world.poller(&with("start: all, span: 365d, window: { past: 5d, ahead: 360d }"));
    let refused = world.try_look(&*year).await.unwrap_err();
    assert!(
        matches!(&refused, PollError::Stop { why } if why.contains("USER_INVALID_EXCEED_MAXIMUM_PERIOD")),
        "{refused}"
    );
    world.switch(json!({"max_days": 365})).await;
    world.try_look(&*year).await.unwrap();
}

#[tokio::test]
async fn the_contradictions_of_the_pages_change_nothing() {
    for switches in [json!({"total_as_number": true}), json!({"flags_as_text": true}), json!({"overlapping": false})] {
        let world = Dooray::new().await;
        world.switch(switches.clone()).await;
        let poller = world.poller(ALL);
        world.event(json!({"id": "1", "subject": "연차", "wholeDayFlag": true, "startedAt": "2026-12-24+09:00", "endedAt": "2026-12-26+09:00"})).await;
        let made = world.all(&*poller).await;
        let event = data(&made[0]);
        assert_eq!(
            (&event["start"], &event["end"], &event["whole_day"]),
            (&json!("2026-12-24"), &json!("2026-12-25"), &json!(true)),
            "{switches}"
        );
    }
    // Quotes: taken only with, or only without.
    let world = Dooray::new().await;
    world.meeting("1", ONE).await;
    let quoted = world.poller(&with("start: all, quoted: true"));
    assert!(matches!(world.try_look(&*quoted).await, Err(PollError::Stop { .. })));
    world.switch(json!({"quoted": true})).await;
    assert_eq!(world.try_look(&*quoted).await.unwrap().events.len(), 1);
    // The other reading of the last day.
    let inclusive = world.poller(&with("start: all, quoted: true, whole_day_end: inclusive"));
    world.event(json!({"id": "2", "subject": "연차", "wholeDayFlag": true, "startedAt": "2026-12-24+09:00", "endedAt": "2026-12-25+09:00"})).await;
    let page = world.look(&*inclusive).await;
    assert_eq!(data(page.events.iter().find(|e| e.subject.as_deref() == Some("2")).unwrap())["end"], "2026-12-25");
}

#[tokio::test]
async fn recurrences_tasks_and_milestones_are_entries_of_their_own() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    for day in ["24", "25"] {
        let id = format!("7-202611{day}T003000Z");
        let start = format!("2026-11-{day}T09:30:00+09:00");
        world.event(json!({"id": id, "masterScheduleId": "7", "recurrenceId": format!("202611{day}T003000Z"), "recurrenceType": "unmodified",
            "recurrenceRule": {"frequency": "daily", "interval": 1, "byday": "MO,ST", "until": ""}, "subject": "주간회의", "startedAt": start, "endedAt": start})).await;
    }
    let post = json!({"id": "42", "uid": "42+post@dooray.com", "category": "post", "users": null, "project": {"id": "7", "name": "dev"}, "subject": "버그", "dueDate": ONE});
    world.event(post).await;
    world.event(json!({"id": "43", "uid": "43+milestone@dooray.com", "category": "post", "users": null, "subject": "단계 23", "startedAt": ONE, "endedAt": ONE})).await;
    world.task(json!({"id": "42", "subject": "버그"})).await;
    let made = world.all(&*poller).await;
    let mut subjects = told(&made);
    subjects.sort();
    assert_eq!(
        subjects,
        [
            "event.created 42+post",
            "event.created 43+milestone",
            "event.created 7-20261124T003000Z",
            "event.created 7-20261125T003000Z"
        ]
    );
    let weekly = made.iter().find(|e| e.subject.as_deref() == Some("7-20261124T003000Z")).unwrap();
    assert_eq!(data(weekly)["recurrence"]["rule"], json!({"frequency": "daily", "interval": 1, "byday": "MO,SA"}));

    // One of a series is deleted; a task is asked for at the project; a milestone without a project is never taken for deleted.
    for id in ["7-20261125T003000Z", "42", "43"] {
        world.remove("events", id).await;
    }
    assert_eq!(told(&world.all(&*poller).await), ["event.deleted 7-20261125T003000Z"]);
}

#[tokio::test]
async fn much_that_is_new_comes_in_turns() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    for n in 0..130 {
        world.meeting(&n.to_string(), ONE).await;
    }
    let first = world.turn(&*poller).await;
    assert_eq!((first.events.len(), first.more), (100, true));
    let second = world.turn(&*poller).await;
    assert_eq!((second.events.len(), second.more), (30, false));
}

#[tokio::test]
async fn p5_the_bucket_is_obeyed() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    world.served.faults.next(Fault::TooManyRequests { after: 30 }, 1);
    let limited = world.try_look(&*poller).await.unwrap_err();
    assert!(
        matches!(limited, PollError::Retry { after: Some(after), account: true, .. } if after == Duration::from_secs(30)),
        "{limited:?}"
    );
    for n in 0..10 {
        world.meeting(&n.to_string(), ONE).await;
    }
    // The vendor's own 429 names no time: it follows from the bucket.
    world.switch(json!({"burst": 9, "replenish": 0})).await;
    let page = world.turn(&*poller).await;
    assert!(page.more && page.events.len() < 10 && !page.events.is_empty(), "what came through is kept");
    let limited = world.try_look(&*poller).await.unwrap_err();
    assert!(matches!(limited, PollError::Retry { after: Some(_), account: true, .. }), "{limited:?}");
    world.switch(json!({"burst": 1000})).await;
    assert_eq!(page.events.len() + world.all(&*poller).await.len(), 10);
}

#[tokio::test]
async fn each_refusal_has_its_meaning() {
    let world = Dooray::new().await;
    let wrong = world.try_poller("{ dooray: { dooray: { token: other, url: 'URL' } } }", ALL).unwrap();
    let refused = world.try_look(&*wrong).await.unwrap_err();
    insta::assert_snapshot!(refused, @"dooray refused the account's token (dooray answered 401: resultCode -401: 인증되지 않은 요청입니다.); it is under 개인설정 > API > 개인 인증 토큰");
    assert!(matches!(refused, PollError::Suspend { .. }));
    let poller = world.poller(ALL);
    for fault in [Fault::ServerError, Fault::ResetBefore, Fault::Garbage] {
        world.served.faults.next(fault, 1);
        assert!(matches!(world.try_look(&*poller).await, Err(PollError::Retry { .. })), "{fault:?}");
    }
    assert_eq!(told(&world.all(&*poller).await), [""; 0]);
}

#[tokio::test]
async fn the_past_is_read_slice_by_slice() {
    let world = Dooray::new().await;
    let poller = world.poller(&with("window: { past: 1d, ahead: 30d }"));
    world.meeting("1", "2026-08-01T10:30:00+09:00").await;
    world.meeting("2", "2026-10-01T10:30:00+09:00").await;
    world.meeting("3", "2025-01-01T10:30:00+09:00").await;
    let mut cursor = poller.past(Some("2026-07-01T00:00:00+09:00".parse().unwrap())).unwrap();
    let mut events = Vec::new();
    for turn in 1.. {
        let page = poller.poll(Some(&cursor), &NoMemory).await.unwrap();
        events.extend(page.events);
        cursor = page.cursor;
        if !page.more {
            assert_eq!(turn, 7, "173 days by 28");
            break;
        }
    }
    assert_eq!(told(&events), ["event.created 1", "event.created 2"]);
    assert!(poller.past(None).is_some());
    let ended = poller.poll(Some(&cursor), &NoMemory).await.unwrap();
    assert_eq!((ended.events.len(), ended.more, ended.cursor), (0, false, cursor));
}

#[tokio::test]
async fn settings_are_checked() {
    let world = Dooray::new().await;
    let told: Vec<String> = ["window: { past: 100d, ahead: 300d }", "span: 12h", "start: soon", "every: 0s"]
        .into_iter()
        .map(|keys| {
            world.try_poller("{ dooray: { dooray: { token: t, cloud: fin } } }", &with(keys)).err().expect("a fault")
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @"
    dari.yaml:3:57: Dooray shows a year at most: expected `past` and `ahead` of 365d together, and more than 0
    dari.yaml:3:55: expected 1d to 365d
    dari.yaml:3:56: `start`: expected now, all, a date (2026-01-01) or an instant (2026-01-01T09:00:00+09:00)
    dari.yaml:3:56: a source cannot be polled every 0s; expected at least 1s
    ");
}
