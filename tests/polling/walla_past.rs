//! A form's whole past from the file of all its responses, as a replay reads it.

use std::collections::BTreeSet;

use dari::connectors::{NoMemory, Page, PollError, Poller};
use dari::event::NewEvent;
use serde_json::{Value, json};

use crate::world::{Api, World};

async fn submit(world: &World, numbers: std::ops::Range<i64>) {
    for n in numbers {
        let answers = json!({ "이름": format!("사람 {n}"), "개인정보 동의": "예", "관심 분야": ["개발", "디자인"], "문의": "가".repeat(200) });
        world.submit(json!({ "id": format!("r{n}"), "submitted_at": world.at(-n * 60), "answers": answers })).await;
    }
}

async fn read(poller: &dyn Poller, cursor: &Value) -> Page {
    poller.poll(Some(cursor), &NoMemory).await.unwrap()
}

/// Everything from a cursor on.
async fn rest(poller: &dyn Poller, mut cursor: Value) -> (Vec<NewEvent>, Vec<String>) {
    let (mut events, mut notes) = (Vec::new(), Vec::new());
    loop {
        let page = read(poller, &cursor).await;
        assert!(page.events.len() <= 200, "a page is bounded");
        events.extend(page.events);
        notes.extend(page.note);
        if !page.more {
            return (events, notes);
        }
        cursor = page.cursor;
    }
}

fn subjects(events: &[NewEvent]) -> BTreeSet<String> {
    events.iter().map(|event| event.subject.clone().unwrap()).collect()
}

fn downloads(world: &World) -> usize {
    world.front.asked.lock().unwrap().iter().filter(|path| path.ends_with("/response/list")).count()
}

#[tokio::test]
async fn a_large_form_is_read_from_one_file_a_page_at_a_time() {
    let world = World::new().await;
    // Over 1 MiB, and in several groups of rows.
    submit(&world, 0..1_700).await;
    let poller = world.poller(Api::Response, &[]);
    let (events, notes) = rest(&*poller, poller.past(None).unwrap()).await;
    assert_eq!((events.len(), subjects(&events).len(), downloads(&world)), (1_700, 1_700, 1), "{notes:?}");
    let data = events[0].data.value();
    assert_eq!(events[0].kind, "response.created");
    assert_eq!(data["answers"]["개인정보 동의"], "예");
    assert_eq!(data["answers"]["관심 분야"], json!(["개발", "디자인"]));
    assert_eq!(data["submitted_at"], "2026-11-21T00:00:00Z");
    assert_eq!(data.get("customer_key"), None);
    let again = rest(&*poller, poller.past(None).unwrap()).await.0;
    let ids = |events: &[NewEvent]| events.iter().map(|event| event.id.clone()).collect::<Vec<_>>();
    assert_eq!((ids(&again), downloads(&world)), (ids(&events), 2), "the same rows have the same ids");
}

#[tokio::test]
async fn after_a_restart_it_goes_on_where_it_was() {
    let world = World::new().await;
    submit(&world, 0..450).await;
    let before = world.poller(Api::Response, &[]);
    let first = read(&*before, &before.past(None).unwrap()).await;
    assert_eq!((first.events.len(), first.more), (200, true));
    let after = world.poller(Api::Response, &[]);
    let (events, notes) = rest(&*after, first.cursor).await;
    assert_eq!((events.len(), notes.len(), downloads(&world)), (250, 0, 2));
    assert_eq!(subjects(&[first.events, events].concat()).len(), 450);
}

#[tokio::test]
async fn a_file_that_has_changed_since_is_read_from_its_beginning() {
    let world = World::new().await;
    submit(&world, 0..300).await;
    let before = world.poller(Api::Response, &[]);
    let first = read(&*before, &before.past(None).unwrap()).await;
    submit(&world, -1..0).await;
    let after = world.poller(Api::Response, &[]);
    let (events, notes) = rest(&*after, first.cursor).await;
    assert_eq!((events.len(), subjects(&events).len()), (301, 301));
    assert_eq!(notes, ["the file of all responses has changed: it is read from its beginning"]);
}

#[tokio::test]
async fn a_past_from_a_date_on_is_asked_for_in_windows() {
    let world = World::new().await;
    submit(&world, 0..30).await;
    world.advance(1);
    let poller = world.poller(Api::Response, &[]);
    let from = world.at(-601).parse().unwrap();
    let (events, _) = rest(&*poller, poller.past(Some(from)).unwrap()).await;
    assert_eq!((events.len(), downloads(&world)), (11, 0));
    let open = world.poller(Api::Open, &[]);
    let (events, _) = rest(&*open, open.past(None).unwrap()).await;
    assert_eq!((events.len(), downloads(&world)), (30, 0));
}

#[tokio::test]
async fn what_is_no_such_file_stops_with_a_reason() {
    let world = World::new().await;
    let poller = world.poller(Api::Response, &[]);
    let past = poller.past(None).unwrap();
    let told = async || match poller.poll(Some(&past), &NoMemory).await {
        Err(PollError::Stop { why }) => format!("stop: {why}"),
        Err(PollError::Retry { account, why, .. }) => format!("retry {account}: {why}"),
        Err(PollError::Suspend { why }) => format!("suspend: {why}"),
        Ok(page) => panic!("{} events", page.events.len()),
    };
    let mut all = Vec::new();
    let answers = [
        (200, "<html>"),
        (200, "PAR1 and nothing else PAR1"),
        (429, "{}"),
        (401, r#"{"message":"Unauthorized"}"#),
        (404, ""),
    ];
    for (status, body) in answers {
        world.answer_next(status, &[], body);
        all.push(told().await);
    }
    insta::assert_snapshot!(all.join("\n"), @r#"
    stop: the file of all responses cannot be read: EOF: Parquet file too small. Size is 6 but need 8
    stop: the file of all responses cannot be read: EOF: Parquet file too small. Size is 26 but need 543519604
    retry true: walla asks to slow down (429)
    suspend: walla refused the account's keys (401 Unauthorized): Unauthorized; they are under 팀 설정 > API in Walla
    stop: walla knows no project "pj-7" in a workspace "ws-1" (404)
    "#);
}

#[tokio::test]
async fn a_form_without_responses_has_an_empty_past() {
    let world = World::new().await;
    let poller = world.poller(Api::Response, &[]);
    assert_eq!(rest(&*poller, poller.past(None).unwrap()).await.0.len(), 0);
}
