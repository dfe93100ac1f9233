//! `dooray-task` against the sandbox.

use dari::connectors::PollError;
use dari::connectors::sandbox::Fault;
use serde_json::json;

use crate::dooray_world::Dooray;
use crate::vendor::{data, past, told};

const ALL: &str = "{ dooray-task: { account: dooray, project: '7', start: all } }";

fn with(keys: &str) -> String {
    format!("{{ dooray-task: {{ account: dooray, project: '7', {keys} }} }}")
}

#[tokio::test]
async fn what_happens_to_a_task_is_told_in_turn() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    assert_eq!(told(&world.all(&*poller).await), [""; 0]);
    world
        .task(json!({"id": "42", "subject": "버그 1", "body": {"mimeType": "text/x-markdown", "content": "재현"}}))
        .await;
    let made = world.all(&*poller).await;
    assert_eq!(told(&made), ["task.created task/42"]);
    let task = &data(&made[0])["task"];
    assert_eq!(
        (&task["title"], &task["body"]["text"], &task["state"]),
        (&json!("버그 1"), &json!("재현"), &json!("registered"))
    );
    assert_eq!(told(&world.all(&*poller).await), [""; 0], "the overlap shows it again");

    let change = async |change: serde_json::Value, expected: &str| {
        world.advance(1);
        world.task(change).await;
        let events = world.all(&*poller).await;
        assert_eq!(told(&events), [format!("{expected} task/42")]);
        data(&events[0])
    };
    change(json!({"id": "42", "priority": "high"}), "task.updated").await;
    // Only the body, which a list does not show.
    change(json!({"id": "42", "body": {"mimeType": "text/x-markdown", "content": "더"}}), "task.updated").await;
    let started = change(
        json!({"id": "42", "workflowClass": "working", "workflow": {"id": "3", "name": "진행"}}),
        "task.workflow",
    )
    .await;
    assert_eq!(started["before"], json!({"state": "registered", "workflow": {"id": "2", "name": "할 일"}}));
    change(
        json!({"id": "42", "workflowClass": "closed", "closed": true, "workflow": {"id": "4", "name": "완료"}}),
        "task.closed",
    )
    .await;
    change(
        json!({"id": "42", "workflowClass": "working", "closed": false, "workflow": {"id": "3", "name": "진행"}}),
        "task.reopened",
    )
    .await;
}

#[tokio::test]
async fn p9_a_page_that_is_repeated_has_the_same_ids() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    world.task(json!({"id": "1", "subject": "a"})).await;
    world
        .comment(json!({"id": "10", "post": {"id": "1"}, "body": {"mimeType": "text/x-markdown", "content": "네"}}))
        .await;
    let ids = |page: &dari::connectors::Page| page.events.iter().map(|e| e.id.clone().unwrap()).collect::<Vec<_>>();
    let (first, second) = (world.look(&*poller).await, world.turn(&*poller).await);
    assert_eq!((ids(&first), ids(&first).len()), (ids(&second), 2));
}

#[tokio::test]
async fn comments_are_found_whether_or_not_they_touch_their_task() {
    for touch in [true, false] {
        let world = Dooray::new().await;
        world.switch(json!({"comments_touch": touch})).await;
        let poller = world.poller(&with("every: 5m"));
        world.task(json!({"id": "42", "subject": "버그 1"})).await;
        world.comment(json!({"id": "70", "post": {"id": "42"}, "body": {"content": "옛"}})).await;
        world.advance(5);
        assert_eq!(told(&world.all(&*poller).await), [""; 0], "learnt");
        world.advance(5);
        world
            .comment(
                json!({"id": "77", "post": {"id": "42"}, "body": {"mimeType": "text/x-markdown", "content": "확인"}}),
            )
            .await;
        world
            .comment(json!({"id": "78", "post": {"id": "42"}, "type": "event", "body": {"content": "상태 변경"}}))
            .await;
        let mut events = told(&world.all(&*poller).await);
        events.retain(|event| event.starts_with("comment"));
        assert_eq!(events, ["comment.created comment/77"], "touch {touch}");
        world.advance(5);
        world
            .comment(
                json!({"id": "77", "post": {"id": "42"}, "body": {"mimeType": "text/x-markdown", "content": "확인!"}}),
            )
            .await;
        let mut events = world.all(&*poller).await;
        events.retain(|event| event.kind.starts_with("comment"));
        assert_eq!(told(&events), ["comment.updated comment/77"], "touch {touch}");
        assert_eq!(data(&events[0])["comment"]["body"]["text"], "확인!");
        assert_eq!(
            (&data(&events[0])["task"]["id"], &data(&events[0])["task"]["title"]),
            (&json!("42"), &json!("버그 1"))
        );
        assert_eq!(told(&world.all(&*poller).await), [""; 0]);
    }
}

#[tokio::test]
async fn comments_may_be_left_out_or_the_round_spared() {
    for (keys, expected) in [("comments: none", 0), ("comments: updated", 0), ("comments: all", 1)] {
        let world = Dooray::new().await;
        let poller = world.poller(&with(&format!("start: all, {keys}")));
        world.task(json!({"id": "42", "subject": "버그 1"})).await;
        world.all(&*poller).await;
        world.advance(5);
        world.comment(json!({"id": "77", "post": {"id": "42"}})).await;
        assert_eq!(world.all(&*poller).await.len(), expected, "{keys}");
    }
}

#[tokio::test]
async fn the_round_reaches_every_open_task() {
    let world = Dooray::new().await;
    let poller = world.poller(ALL);
    for n in 0..50 {
        world.task(json!({"id": format!("1{n:02}"), "subject": "x", "closed": n == 0, "workflowClass": if n == 0 { "closed" } else { "working" }})).await;
    }
    assert_eq!(world.all(&*poller).await.len(), 50);
    world.advance(30);
    for n in 0..50 {
        world.comment(json!({"id": format!("9{n:02}"), "post": {"id": format!("1{n:02}")}})).await;
    }
    let mut found = 0;
    for _ in 0..4 {
        found += world.all(&*poller).await.len();
    }
    assert_eq!(found, 49, "all but the closed one's");
}

#[tokio::test]
async fn more_than_a_page_is_read_though_tasks_change_meanwhile() {
    for ordered in [true, false] {
        let world = Dooray::new().await;
        world.switch(json!({"ordered": ordered})).await;
        let poller = world.poller(&with("start: all, comments: none"));
        for n in 0..250 {
            // 150 of them changed at one and the same time.
            let minute = if n < 150 { 0 } else { n - 149 };
            let at: jiff::Timestamp = "2026-11-10T09:00:00+09:00".parse().unwrap();
            let at = (at + jiff::SignedDuration::from_mins(minute)).to_string();
            world.task(json!({"id": (1000 + n).to_string(), "subject": "x", "updatedAt": at})).await;
        }
        let first = world.turn(&*poller).await;
        assert!(first.more);
        let mut seen: Vec<_> = first.events.iter().filter_map(|event| event.subject.clone()).collect();
        if ordered {
            // Two that were on the first page move to the end, and the others up.
            world.task(json!({"id": "1000", "priority": "high"})).await;
            world.task(json!({"id": "1001", "priority": "high"})).await;
        }
        seen.extend(world.all(&*poller).await.into_iter().filter_map(|event| event.subject));
        // What was shifted over the border of a page within one instant comes with the next pass.
        world.advance(1);
        seen.extend(world.all(&*poller).await.into_iter().filter_map(|event| event.subject));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 250, "ordered {ordered}");
    }
}

#[tokio::test]
async fn a_start_now_learns_what_is_there() {
    let world = Dooray::new().await;
    world.task(json!({"id": "1", "subject": "old", "updatedAt": "2026-01-10T09:00:00+09:00"})).await;
    world.advance(1);
    let poller = world.poller(&with("every: 5m"));
    let first = world.turn(&*poller).await;
    assert_eq!(
        (first.events.len(), first.note.as_deref()),
        (0, Some("starts now: what the project has already is learnt and not sent"))
    );
    world.advance(5);
    world.task(json!({"id": "1", "workflowClass": "closed", "closed": true})).await;
    world.task(json!({"id": "2", "subject": "new"})).await;
    let mut events = told(&world.all(&*poller).await);
    events.sort();
    assert_eq!(events, ["task.closed task/1", "task.created task/2"]);

    // From a date on: what was made before and is seen for the first time was changed.
    let world = Dooray::new().await;
    world.task(json!({"id": "1", "subject": "old", "createdAt": "2026-01-10T09:00:00+09:00", "updatedAt": "2026-11-15T09:00:00+09:00"})).await;
    world.task(json!({"id": "2", "subject": "older", "updatedAt": "2026-01-10T09:00:00+09:00"})).await;
    assert_eq!(told(&world.all(&*world.poller(&with("start: 2026-11-01"))).await), ["task.updated task/1"]);
}

#[tokio::test]
async fn the_past_comes_as_new() {
    let world = Dooray::new().await;
    let poller = world.poller(&with("every: 5m"));
    for n in 0..120 {
        world
            .task(json!({"id": (1000 + n).to_string(), "subject": "x", "updatedAt": "2026-11-10T09:00:00+09:00"}))
            .await;
    }
    assert_eq!(past(&*poller).await.len(), 120);
}

#[tokio::test]
async fn a_project_that_is_not_there_stops_the_source_and_trouble_passes() {
    let world = Dooray::new().await;
    let elsewhere = world.poller("{ dooray-task: { account: dooray, project: '8' } }");
    assert!(matches!(world.try_look(&*elsewhere).await, Err(PollError::Stop { .. })));
    let poller = world.poller(ALL);
    for n in 0..5 {
        world.task(json!({"id": n.to_string(), "subject": "x"})).await;
    }
    world.served.faults.order(
        serde_json::from_value(json!({"fault": "server-error", "path": "/project/v1/projects/7/posts/3"})).unwrap(),
    );
    let page = world.turn(&*poller).await;
    assert_eq!((page.events.len(), page.more), (3, true), "what was read is kept");
    assert_eq!(world.all(&*poller).await.len(), 2);
    world.served.faults.next(Fault::ResetBefore, 1);
    assert!(matches!(world.try_look(&*poller).await, Err(PollError::Retry { .. })));
}
