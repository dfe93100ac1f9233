//! `worksection` against the sandbox.

use std::collections::BTreeSet;

use dari::connectors::sandbox::Fault;
use dari::connectors::{NoMemory, PollError};
use serde_json::json;

use crate::vendor::told;
use crate::worksection_world::{Worksection, ids};

#[tokio::test]
async fn what_happens_to_a_task_is_told_in_turn() {
    let world = Worksection::new().await;
    let poller = world.poller("start: all, history: false");
    assert_eq!(world.told(&*poller).await, [""; 0]);
    world.task(json!({"id": "42", "name": "Offer", "text": "Three pages."})).await;
    let made = world.turn(&*poller).await.events;
    assert_eq!(told(&made), ["task.created task/42"]);
    let data = made[0].data.value();
    assert_eq!((&data["task"]["title"], &data["task"]["text"]), (&json!("Offer"), &json!("Three pages.")));
    assert_eq!(data["task"]["created"], "2026-11-21T02:00:00+02:00");
    assert_eq!(made[0].time.unwrap().to_string(), "2026-11-21T00:00:00Z");
    assert!(data["raw"]["name"] == "Offer" && data["task"]["assignee"].is_null());
    assert_eq!(world.told(&*poller).await, [""; 0]);

    let changes = [
        (json!({"id": "42", "priority": "5"}), "task.updated"),
        // What fires no webhook.
        (json!({"id": "42", "tags": {"5": "Urgent"}}), "task.updated"),
        (json!({"id": "42", "text": "Four pages."}), "task.updated"),
        (json!({"id": "42", "status": "done"}), "task.closed"),
        (json!({"id": "42", "status": "active"}), "task.reopened"),
    ];
    for (change, kind) in changes {
        world.advance(1);
        world.task(change.clone()).await;
        let events = world.turn(&*poller).await.events;
        assert_eq!(told(&events), [format!("{kind} task/42")], "{change}");
        assert_eq!(events[0].data.value()["before"]["id"], "42");
        assert!(events[0].version.is_none(), "nothing tells when it changed: the order of receipt counts");
    }
    world.remove("tasks", "42").await;
    let gone = world.turn(&*poller).await;
    assert_eq!((told(&gone.events), gone.known), (vec!["task.deleted task/42".to_owned()], Some(1)));
    assert_eq!(gone.events[0].data.value()["task"]["title"], "Offer");
    assert_eq!(world.turn(&*poller).await.known, Some(0), "it is known no more");
    // Restored.
    world.task(json!({"id": "42", "name": "Offer"})).await;
    let back = world.turn(&*poller).await;
    assert_eq!(told(&back.events), ["task.created task/42"]);
    assert_ne!(back.events[0].id, made[0].id, "it is no repetition of the first time");
}

#[tokio::test]
async fn a_change_made_again_is_told_again_and_a_poll_made_again_is_not() {
    let world = Worksection::new().await;
    let poller = world.poller("start: all");
    world.task(json!({"id": "42", "name": "Offer"})).await;
    world.make("comments", json!({"task": "42", "text": "Sent"})).await;
    let (first, again) = (world.look(&*poller).await, world.turn(&*poller).await);
    assert_eq!((ids(&first), ids(&first).len()), (ids(&again), 2), "a crash before the cursor was kept");
    let mut all = BTreeSet::new();
    for priority in ["5", "1", "5", "1"] {
        world.task(json!({"id": "42", "priority": priority})).await;
        let page = world.turn(&*poller).await;
        assert_eq!(told(&page.events), ["task.updated task/42"]);
        all.extend(ids(&page));
    }
    assert_eq!(all.len(), 4);
}

#[tokio::test]
async fn subtasks_are_tasks_and_so_are_those_of_archived_projects() {
    let world = Worksection::new().await;
    let poller = world.poller("start: all, history: false");
    world.task(json!({"id": "1", "name": "Offer"})).await;
    world.task(json!({"id": "2", "name": "Part", "parent": "1"})).await;
    let made = world.turn(&*poller).await.events;
    assert_eq!(told(&made), ["task.created task/1", "task.created task/2"]);
    assert_eq!(made[1].data.value()["task"]["parent"], json!({"id": "1", "name": "Offer"}));
    world.make("projects", json!({"id": "26", "status": "archive"})).await;
    assert_eq!(world.told(&*poller).await, [""; 0]);
}

#[tokio::test]
async fn p9_what_is_out_of_sight_is_not_deleted() {
    let world = Worksection::new().await;
    let poller = world.poller("projects: ['26'], start: all, history: false");
    world.task(json!({"id": "1", "name": "Offer"})).await;
    world.turn(&*poller).await;
    // The list of one project does not show those of an archived one.
    world.make("projects", json!({"id": "26", "status": "archive"})).await;
    let hidden = world.turn(&*poller).await;
    assert_eq!(told(&hidden.events), [""; 0]);
    assert_eq!(hidden.note.unwrap(), "1 tasks are listed no more and not deleted: they stay as they were");
    let calls = world.served.calls.all().len();
    assert!(world.turn(&*poller).await.note.is_none());
    assert_eq!(world.asked(calls), ["get_tasks"], "it is not asked for again");
    world.make("projects", json!({"id": "26", "status": "active"})).await;
    assert_eq!(world.told(&*poller).await, [""; 0], "it came back as it was");
    world.remove("tasks", "1").await;
    assert_eq!(world.told(&*poller).await, ["task.deleted task/1"]);
}

#[tokio::test]
async fn what_was_there_before_the_start_is_learnt() {
    let world = Worksection::new().await;
    world.task(json!({"id": "1", "name": "Old", "date_added": "2026-10-01 10:00"})).await;
    world.make("comments", json!({"task": "1", "text": "Old"})).await;
    world.advance(2);
    let now = world.poller("start: now");
    let first = world.turn(&*now).await;
    assert_eq!((told(&first.events), first.changes.len()), (vec![], 1));
    insta::assert_snapshot!(first.note.unwrap(), @"starts now: what is there already is learnt and not sent");
    world.task(json!({"id": "1", "name": "Old 2"})).await;
    world.task(json!({"id": "2", "name": "New"})).await;
    world.make("comments", json!({"task": "2", "text": "New"})).await;
    let mut events = world.told(&*now).await;
    events.retain(|event| !event.starts_with("comment"));
    assert_eq!(events, ["task.updated task/1", "task.created task/2"]);
    // From a date on.
    let dated = world.poller("start: 2026-11-01, history: false");
    let page = dated.poll(None, &NoMemory).await.unwrap();
    assert_eq!(told(&page.events), ["task.created task/2"]);
    // The past of it.
    let past = dated.past(None).unwrap();
    let all = dated.poll(Some(&past), &NoMemory).await.unwrap();
    assert_eq!(told(&all.events), ["task.created task/1", "task.created task/2"]);
    assert_eq!(all.events[1].id, page.events[0].id, "a creation has one id");
}

#[tokio::test]
async fn the_history_is_told_once_whatever_its_order_and_however_often_it_shows_it() {
    for newest_first in [true, false] {
        let world = Worksection::new().await;
        let switches = json!({"newest_first": newest_first, "ids_as_numbers": true, "close_has_fields": newest_first});
        world.switch(switches).await;
        let poller = world.poller("tasks: none");
        world.task(json!({"id": "42", "name": "Offer"})).await;
        world.turn(&*poller).await;
        world.make("comments", json!({"id": "77", "task": "42", "text": "Sent"})).await;
        world.make("comments", json!({"id": "77", "text": "Sent!"})).await;
        world.make("projects", json!({"id": "30", "name": "Yard"})).await;
        let page = world.turn(&*poller).await;
        assert_eq!(
            told(&page.events),
            ["comment.created comment/77", "comment.updated comment/77", "project.created project/30"]
        );
        let data = page.events[1].data.value();
        assert_eq!((&data["comment"]["text"], &data["task"]["id"]), (&json!("Sent!"), &json!("42")));
        assert_eq!((&data["old"]["text"], &data["by"]["email"]), (&json!("Sent"), &json!("kim@acme.kr")));
        for _ in 0..3 {
            world.advance(1);
            assert_eq!(world.told(&*poller).await, [""; 0], "the overlap shows it again");
        }
        // The same in the same minute, twice more: nothing but their number tells them apart.
        world.make("projects", json!({"id": "30", "name": "A"})).await;
        world.make("projects", json!({"id": "30", "name": "A"})).await;
        assert_eq!(world.told(&*poller).await.len(), 2);
        // A night without a poll.
        world.make("comments", json!({"id": "78", "task": "42", "text": "Late"})).await;
        world.advance(14 * 60);
        assert_eq!(world.told(&*poller).await, ["comment.created comment/78"]);
        let last = world.served.calls.all().pop().unwrap().path;
        assert!(last.contains("period=15h"), "{last}");
    }
}

#[tokio::test]
async fn tasks_may_be_told_by_the_history_alone() {
    let world = Worksection::new().await;
    let poller = world.poller("tasks: events, start: all, projects: ['26', '27']");
    world.task(json!({"id": "1", "name": "Offer"})).await;
    world.task(json!({"id": "2", "name": "Yard", "project": {"id": "27"}, "page": "/project/27/2/"})).await;
    world.task(json!({"id": "3", "name": "Else", "project": {"id": "30"}, "page": "/project/30/3/"})).await;
    world.task(json!({"id": "1", "status": "done"})).await;
    let page = world.turn(&*poller).await;
    assert_eq!(told(&page.events), ["task.created task/1", "task.created task/2", "task.closed task/1"]);
    assert_eq!(page.events[0].data.value()["task"]["title"], "Offer");
    assert!(page.known.is_none() && page.changes.is_empty());
    assert_eq!(
        page.note.unwrap(),
        "Worksection shows 30 days of its history: what comments and projects had before is not told"
    );
    assert_eq!(world.asked(0), ["get_events"]);
}

#[tokio::test]
async fn troubles_stop_what_they_are_about() {
    let world = Worksection::new().await;
    let poller = world.poller("start: all");
    for id in 0..3 {
        world.task(json!({"id": id.to_string(), "name": "x"})).await;
    }
    world.switch(json!({"most_tasks": 2})).await;
    let Err(PollError::Stop { why }) = world.try_look(&*poller).await else { panic!("too many") };
    insta::assert_snapshot!(why, @"get_all_tasks: 3: Too many tasks (10000 max): if there are too many, name the `projects` that count");
    world.switch(json!({"most_tasks": 10_000})).await;
    for (fault, account) in
        [(Fault::ServerError, false), (Fault::Garbage, false), (Fault::TooManyRequests { after: 9 }, true)]
    {
        world.served.faults.next(fault, 1);
        let Err(PollError::Retry { account: told, .. }) = world.try_look(&*poller).await else { panic!("{fault:?}") };
        assert_eq!(told, account, "{fault:?}");
    }
    let nowhere = world.poller("start: all, projects: '99'");
    let Err(PollError::Stop { why }) = world.try_look(&*nowhere).await else { panic!("no project") };
    insta::assert_snapshot!(why, @"get_tasks of project 99: 4: Project is invalid");
    let wrong = poller.poll(Some(&json!("soon")), &NoMemory).await;
    assert!(matches!(wrong, Err(PollError::Stop { .. })));
    assert_eq!(world.turn(&*poller).await.events.len(), 3, "and then it goes on");
}

#[tokio::test]
async fn a_second_request_within_a_second_is_for_later() {
    let world = Worksection::strict().await;
    let poller = world.poller("start: all");
    let Err(PollError::Retry { after, account, why }) = world.try_look(&*poller).await else { panic!("too fast") };
    assert_eq!((after.unwrap().as_secs(), account, why.as_str()), (2, true, "Too many requests"));
}

#[tokio::test]
async fn more_than_a_megabyte_is_read() {
    let world = Worksection::new().await;
    let poller = world.poller("start: all, history: false");
    for id in 0..40 {
        world.task(json!({"id": id.to_string(), "name": "x", "text": "가".repeat(20_000)})).await;
    }
    assert_eq!(world.turn(&*poller).await.events.len(), 40);
    for id in 0..13 {
        world.remove("tasks", &id.to_string()).await;
    }
    let page = world.look(&*poller).await;
    assert_eq!((page.events.len(), page.known), (13, Some(40)), "which the guard asks about");
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_told_at_its_place() {
    let world = Worksection::new().await;
    let told = |source: &str| world.try_poller(source).err().unwrap_or_default();
    insta::assert_snapshot!(told("{ worksection: { account: ws, start: soon } }"), @"dari.yaml:3:48: `start`: expected now, all, a date (2026-01-01) or an instant (2026-01-01T09:00:00+09:00)");
    insta::assert_snapshot!(told("{ worksection: { account: ws, projects: [Shop] } }"), @r#"dari.yaml:3:51: a project's id is the number in the address of its page, found "Shop""#);
    insta::assert_snapshot!(told("{ worksection: { account: ws, tasks: none, history: false } }"), @"dari.yaml:3:63: neither tasks nor history: there is nothing to tell");
}
