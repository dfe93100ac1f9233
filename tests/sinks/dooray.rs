//! Dooray's three sinks against its sandbox.

use std::time::Duration;

use dari::connectors::dooray::MANIFEST;
use dari::connectors::sandbox::Fault;
use dari::connectors::{Answer, Ask, Call, OnDoubt, Sink};
use dari::outcome::{Outcome, Scope, Verb};
use serde_json::{Value, json};

use crate::world::{Op, Tried, World, in_doubt};

const ACCOUNT: &str = "{ dooray: { dooray: { token: sandbox-token, url: 'URL' } } }";
const CHANNEL: &str = "{ dooray-message: { account: dooray, channel: '900' } }";
const HOOK: &str = "{ dooray-message: { webhook_url: 'URL/services/1000/2000/sandbox' } }";
const CALENDAR: &str = "{ dooray-calendar: { account: dooray, calendar: '1' } }";
const TASKS: &str = "{ dooray-task: { account: dooray, project: '7' } }";

async fn world(sink: &str) -> (World, Box<dyn Sink>) {
    World::with(&MANIFEST, ACCOUNT, sink).await
}

fn meeting() -> Value {
    json!({ "subject": "회의", "startedAt": "2026-11-23T10:30:00+09:00", "endedAt": "2026-11-23T02:30:00Z", "to": ["101", "jordan@nhn.com"], "body": "a < b\n둘째 줄" })
}

#[tokio::test]
async fn a_message_is_posted_changed_answered_and_taken_back() {
    let (world, sink) = world(CHANNEL).await;
    let id = world.id(&*sink, &Op::new(Verb::Create, json!({ "text": "안녕" }))).await;
    assert!(id.starts_with("900:"), "{id}");
    assert_eq!(world.id(&*sink, &Op::new(Verb::Update, json!({ "text": "안녕!" })).linked(id)).await, id);
    assert_eq!(world.id(&*sink, &Op::new(Verb::Reply, json!({ "text": "네" })).linked(id)).await, id);
    let messages = world.state("messages").await;
    assert_eq!((&messages[0]["text"], &messages[1]["text"]), (&json!("안녕!"), &json!("네")));
    assert_eq!(messages[1]["replyTo"], id.split_once(':').unwrap().1);
    let delete = Op::new(Verb::Delete, json!({})).linked(id);
    for _ in 0..2 {
        // Again: it is gone, which is what was wanted.
        assert_eq!(world.id(&*sink, &delete).await, id);
    }
    assert_eq!(world.state("messages").await.as_array().unwrap().len(), 1);
    let elsewhere = world.sink(ACCOUNT, "{ dooray-message: { account: dooray, channel: '901' } }");
    let refused = world.outcome(&*elsewhere, &Op::new(Verb::Create, json!({ "text": "x" }))).await;
    assert!(matches!(refused, Outcome::Suspend { what: Scope::Sink, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_member_is_written_to_directly() {
    let (world, sink) = world("{ dooray-message: { account: dooray, member: '102' } }").await;
    world.id(&*sink, &Op::new(Verb::Create, json!({ "text": "안녕" }))).await;
    assert_eq!(world.state("messages").await[0]["channelId"], "9102");
}

#[tokio::test]
async fn an_incoming_hook_posts_and_shows_no_secret() {
    let (world, sink) = world(HOOK).await;
    let op = Op::new(Verb::Create, json!({ "text": "배포", "attachments": [{ "title": "v1", "color": "#00ff00" }] }));
    assert_eq!(world.outcome(&*sink, &op).await, Outcome::Delivered { remote_id: None });
    assert_eq!(
        world.state("posted").await[0],
        json!({ "botName": "Dari", "text": "배포", "attachments": [{ "title": "v1", "color": "#00ff00" }] })
    );
    let call = world.call(&*sink, &op).unwrap();
    assert!(!format!("{call:?}").contains("/1000/"), "{call:?}");
    assert!(!call.idempotent && sink.probe().is_none());
    let gone = world.sink(ACCOUNT, "{ dooray-message: { webhook_url: 'URL/services/1000/2000/other' } }");
    assert!(matches!(world.outcome(&*gone, &op).await, Outcome::Suspend { what: Scope::Sink, .. }));
}

#[tokio::test]
async fn an_event_is_made_changed_and_deleted() {
    let (world, sink) = world(CALENDAR).await;
    let id = world.id(&*sink, &Op::new(Verb::Create, meeting())).await;
    let event = world.state("events").await[0].clone();
    assert_eq!(
        (&event["startedAt"], &event["endedAt"]),
        (&json!("2026-11-23T10:30:00+09:00"), &json!("2026-11-23T11:30:00+09:00"))
    );
    assert_eq!(event["body"], json!({ "mimeType": "text/html", "content": "a &lt; b<br>둘째 줄" }));
    assert_eq!(event["users"]["to"][0], json!({ "type": "member", "member": { "organizationMemberId": "101" } }));
    assert_eq!(event["users"]["to"][1]["emailUser"]["emailAddress"], "jordan@nhn.com");

    let update = Op::new(Verb::Update, json!({ "startedAt": "2026-12-24", "endedAt": "2026-12-25" })).linked(id);
    let calls = world.served.calls.count();
    assert_eq!(world.id(&*sink, &update).await, id);
    assert_eq!(world.served.calls.count(), calls + 1, "only the fields");
    let event = world.state("events").await[0].clone();
    assert_eq!(
        (&event["startedAt"], &event["endedAt"], &event["wholeDayFlag"]),
        (&json!("2026-12-24+09:00"), &json!("2026-12-26+09:00"), &json!(true))
    );
    assert_eq!(event["subject"], "회의");

    let whole = world.sink(
        ACCOUNT,
        "{ dooray-calendar: { account: dooray, calendar: '1', update: whole, whole_day_end: inclusive } }",
    );
    world.id(&*whole, &Op::new(Verb::Update, json!({ "location": "4-5" })).linked(id)).await;
    let sent: Value = serde_json::from_str(&world.served.calls.all().last().unwrap().body).unwrap();
    assert_eq!(
        (&sent["subject"], &sent["location"], &sent["wholeDayFlag"]),
        (&json!("회의"), &json!("4-5"), &json!(true))
    );
    assert_eq!(sent["users"]["to"].as_array().unwrap().len(), 2);
    let day = world
        .call(
            &*whole,
            &Op::new(Verb::Create, json!({ "subject": "x", "startedAt": "2026-12-24", "endedAt": "2026-12-25" })),
        )
        .unwrap();
    assert_eq!(day.shown["body"]["endedAt"], "2026-12-25+09:00");

    let delete = Op::new(Verb::Delete, json!({})).linked(id);
    for _ in 0..2 {
        assert_eq!(world.id(&*sink, &delete).await, id);
    }
    assert_eq!(world.state("events").await, json!([]));
    let gone = world.outcome(&*sink, &Op::new(Verb::Update, json!({ "location": "x" })).linked(id)).await;
    assert!(matches!(gone, Outcome::Reject { .. }), "{gone:?}");
}

#[tokio::test]
async fn a_task_is_made_changed_done_and_commented() {
    let (world, sink) = world("{ dooray-task: { account: dooray, project: '7', open: '3' } }").await;
    let create = Op::new(
        Verb::Create,
        json!({ "subject": "버그", "body": "# 재현", "to": "102", "dueDate": "2026-12-24", "tagIds": ["5"], "priority": "high" }),
    );
    let id = world.id(&*sink, &create).await;
    let task = world.state("tasks").await[0].clone();
    assert_eq!(
        (&task["dueDate"], &task["body"]["mimeType"]),
        (&json!("2026-12-24T23:59:59+09:00"), &json!("text/x-markdown"))
    );

    // The vendor clears what an update leaves out: so nothing is left out.
    let update = Op::new(Verb::Update, json!({ "subject": "버그 2", "dueDate": null })).linked(id);
    assert_eq!(world.id(&*sink, &update).await, id);
    let task = world.state("tasks").await[0].clone();
    assert_eq!(
        (&task["subject"], &task["dueDate"], &task["priority"]),
        (&json!("버그 2"), &Value::Null, &json!("high"))
    );
    assert_eq!((&task["body"]["content"], &task["tags"]), (&json!("# 재현"), &json!([{ "id": "5" }])));
    assert_eq!(task["users"]["to"][0]["member"]["organizationMemberId"], "102");

    let expect = async |op: Op, class: &str| {
        assert_eq!(world.id(&*sink, &op.linked(id)).await, id);
        assert_eq!(world.state("tasks").await[0]["workflowClass"], class);
    };
    expect(Op::new(Verb::Complete, json!({})), "closed").await;
    expect(Op::new(Verb::Reopen, json!({})), "working").await;
    expect(Op::new(Verb::Act, json!({ "workflowId": "1" })), "backlog").await;
    expect(Op::new(Verb::Comment, json!({ "body": "확인" })), "backlog").await;
    assert_eq!(world.state("comments").await[0]["body"]["content"], "확인");
    let by_workflow = world.sink(ACCOUNT, "{ dooray-task: { account: dooray, project: '7', done: '4' } }");
    world.id(&*by_workflow, &Op::new(Verb::Complete, json!({})).linked(id)).await;
    assert!(world.served.calls.all().last().unwrap().path.ends_with("/set-workflow"));
    world.id(&*sink, &Op::new(Verb::Move, json!({ "targetProjectId": "8" })).linked(id)).await;
    assert_eq!(world.state("tasks").await[0]["project"]["id"], "8");
}

/// Operations that make no sense to Dooray, each with its sink.
fn senseless() -> Vec<(&'static str, Op)> {
    vec![
        (CHANNEL, Op::new(Verb::Create, json!({ "text": " " }))),
        (CHANNEL, Op::new(Verb::Create, json!({ "text": "a", "botName": "b" }))),
        (CHANNEL, Op::new(Verb::Update, json!({ "text": "a" }))),
        (HOOK, Op::new(Verb::Update, json!({ "text": "a" })).linked("900:1")),
        (HOOK, Op::new(Verb::Create, json!({ "attachments": "x" }))),
        (
            CALENDAR,
            Op::new(
                Verb::Create,
                json!({ "startedAt": "tomorrow", "endedAt": "2026-12-25", "title": "x", "to": ["kim"] }),
            ),
        ),
        (CALENDAR, Op::new(Verb::Create, json!({ "subject": "x", "startedAt": "2026-12-25" }))),
        (
            CALENDAR,
            Op::new(Verb::Create, json!({ "subject": "x", "startedAt": "2026-12-25", "endedAt": "2026-12-24" })),
        ),
        (
            CALENDAR,
            Op::new(
                Verb::Create,
                json!({ "subject": "x", "startedAt": "2026-12-25", "endedAt": "2026-12-25T10:00:00Z" }),
            ),
        ),
        (CALENDAR, Op::new(Verb::Create, json!({ "startedAt": "2026-12-25", "endedAt": "2026-12-25" }))),
        (CALENDAR, Op::new(Verb::Update, json!({ "location": null })).linked("1")),
        (CALENDAR, Op::new(Verb::Update, json!({ "location": "x" })).linked("../1")),
        (
            TASKS,
            Op::new(Verb::Create, json!({ "subject": "", "priority": "urgent", "dueDate": "soon", "workflowId": "1" })),
        ),
        (TASKS, Op::new(Verb::Create, json!({ "body": "x" }))),
        (TASKS, Op::new(Verb::Reopen, json!({})).linked("1")),
        (TASKS, Op::new(Verb::Comment, json!({})).linked("1")),
        (TASKS, Op::new(Verb::Act, json!({ "subject": "x" })).linked("1")),
        (TASKS, Op::new(Verb::Update, json!({ "subject": "x" }))),
    ]
}

#[tokio::test]
async fn what_dooray_would_refuse_is_refused_before_a_call_is_spent() {
    let world = World::of(&MANIFEST).await;
    let mut told = Vec::new();
    for (sink, op) in senseless() {
        let sink = world.sink(ACCOUNT, sink);
        let Tried::Refused(why) = world.try_it(&*sink, &op).await else { panic!("{:?} {}", op.verb, op.fields) };
        told.push(why);
    }
    assert_eq!(world.served.calls.count(), 0);
    insta::assert_snapshot!(told.join("\n"), @r#"
    text: a message says something
    botName: expected one of text
    there is no linked message to update
    an incoming hook cannot update: use `account` and `channel`
    attachments: expected a list of { title, titleLink, text, color }
    title: expected one of subject, body, startedAt, endedAt, wholeDayFlag, location, to, cc, recurrenceRule, personalSettings; to: expected a member's id, an e-mail address, or a mapping with a `type`; startedAt: expected a date (2026-12-24) or an RFC 3339 time
    startedAt, endedAt: an event needs both
    endedAt: the last day is before the first
    startedAt, endedAt: expected two times, or two dates for whole days
    subject: an event needs one
    location: Dooray passes empty fields over, so an event's cannot be cleared: leave it out
    the link's id "../1" is no event of Dooray
    subject: a task needs one; priority: expected one of highest, high, normal, low, lowest, none; dueDate: expected a date (2026-12-24) or an RFC 3339 time; workflowId: expected one of subject, body, to, cc, dueDate, milestoneId, tagIds, priority, parentPostId
    subject: a task needs one
    to reopen a task the sink needs `open`, a workflow's id
    body: a comment says something
    subject: nothing but workflowId is taken here
    there is no linked task to update
    "#);
}

#[tokio::test]
async fn each_refusal_and_each_fault_has_its_outcome() {
    let (world, sink) = world(TASKS).await;
    let create = Op::new(Verb::Create, json!({ "subject": "버그" }));
    let wrong = world.sink("{ dooray: { dooray: { token: other, url: 'URL' } } }", TASKS);
    assert!(matches!(world.outcome(&*wrong, &create).await, Outcome::Suspend { what: Scope::Account, .. }));
    let elsewhere = world.sink(ACCOUNT, "{ dooray-task: { account: dooray, project: '8' } }");
    assert!(matches!(world.outcome(&*elsewhere, &create).await, Outcome::Suspend { what: Scope::Sink, .. }));
    let shared = world.sink(ACCOUNT, "{ dooray-calendar: { account: dooray, calendar: '2' } }");
    let refused = world.outcome(&*shared, &Op::new(Verb::Create, meeting())).await;
    assert!(
        matches!(&refused, Outcome::Suspend { what: Scope::Sink, why, .. } if why.starts_with("403: resultCode -403")),
        "{refused:?}"
    );
    let gone = world.outcome(&*sink, &Op::new(Verb::Update, json!({ "subject": "x" })).linked("9")).await;
    assert!(matches!(gone, Outcome::Reject { .. }), "{gone:?}");

    let fault = |fault| world.served.faults.next(fault, 1);
    fault(Fault::ServerError);
    assert_eq!(world.outcome(&*sink, &create).await.name(), "retry");
    fault(Fault::ResetBefore);
    assert!(in_doubt(&world.try_it(&*sink, &create).await));
    fault(Fault::Garbage);
    assert_eq!(world.outcome(&*sink, &create).await.name(), "unknown");
    let update = Op::new(Verb::Complete, json!({})).linked("9");
    fault(Fault::Garbage);
    assert_eq!(world.outcome(&*sink, &update).await.name(), "retry");
}

#[tokio::test]
async fn an_update_that_somebody_else_was_ahead_of_is_made_again() {
    let (world, sink) = world(TASKS).await;
    let id = world.id(&*sink, &Op::new(Verb::Create, json!({ "subject": "a" }))).await;
    let update = world.call(&*sink, &Op::new(Verb::Update, json!({ "subject": "b" })).linked(id)).unwrap();
    let stale = update.clone().json(&json!({ "subject": "b", "version": 7 }));
    let answer = world.send(&stale).await.unwrap();
    assert_eq!((answer.status.as_u16(), sink.classify(&stale, &answer).name()), (409, "retry"));
    let answer = sink.send(&world.client, &update).await.unwrap();
    assert_eq!(sink.classify(&update, &answer).name(), "delivered");
}

#[tokio::test]
async fn p5_the_bucket_tells_when_to_come_back() {
    let (world, sink) = world(TASKS).await;
    let create = Op::new(Verb::Create, json!({ "subject": "버그" }));
    world.switch(json!({ "burst": 2, "replenish": 1 })).await;
    for _ in 0..2 {
        world.id(&*sink, &create).await;
    }
    let limited = world.outcome(&*sink, &create).await;
    let Outcome::Retry { after: Some(after), account: true, .. } = limited else { panic!("{limited:?}") };
    assert_eq!(after, Duration::from_secs(1));
    world.advance(after);
    world.id(&*sink, &create).await;
}

#[tokio::test]
async fn p6_what_is_in_doubt_is_looked_for() {
    for (sink, fields) in [
        (CALENDAR, meeting()),
        (CALENDAR, json!({ "subject": "연차", "startedAt": "2026-12-24", "endedAt": "2026-12-25" })),
        (TASKS, json!({ "subject": "버그" })),
    ] {
        let (world, sink) = world(sink).await;
        assert_eq!(sink.on_doubt(Verb::Create), OnDoubt::Find);
        let op = Op::new(Verb::Create, fields);
        // One like it from long before, and one that is not it.
        world.id(&*sink, &op).await;
        world.advance(Duration::from_hours(1));
        let mut other = op.fields.clone();
        other["subject"] = json!(format!("{} 2", op.fields["subject"].as_str().unwrap()));
        world.id(&*sink, &Op::new(Verb::Create, other)).await;
        let since = world.clock.now();
        world.advance(Duration::from_secs(1));
        let question = world.question(&*sink, &op, since).unwrap().unwrap();
        assert_eq!(question.method, ::http::Method::GET);
        assert_eq!(world.asked(&*sink, &op, since).await.unwrap(), [""; 0]);
        world.served.faults.next(Fault::ResetAfter, 1);
        assert!(in_doubt(&world.try_it(&*sink, &op).await));
        let found = world.asked(&*sink, &op, since).await.unwrap();
        assert_eq!(found.len(), 1, "{}", op.fields);
    }
    let (_, comments) = world(TASKS).await;
    assert_eq!(comments.on_doubt(Verb::Comment), OnDoubt::Hold);
}

#[tokio::test]
async fn tasks_are_found_by_subject_and_number() {
    let (world, sink) = world(TASKS).await;
    let first = world.id(&*sink, &Op::new(Verb::Create, json!({ "subject": "버그" }))).await;
    world.id(&*sink, &Op::new(Verb::Create, json!({ "subject": "버그 2" }))).await;
    let find = async |wanted: Value| {
        let wanted = wanted.as_object().unwrap().clone();
        let question = Ask::Match(&wanted);
        let call = sink.ask(&question).unwrap()?;
        let answer: Answer = world.send(&call).await.unwrap();
        Ok::<_, String>(sink.answered(&question, &answer).unwrap())
    };
    assert_eq!(find(json!({ "subject": "버그" })).await, Ok(vec![first.to_owned()]));
    assert_eq!(find(json!({ "number": 1 })).await, Ok(vec![first.to_owned()]));
    assert_eq!(find(json!({ "number": 9 })).await, Ok(vec![]));
    assert_eq!(find(json!({ "body": "x" })).await, Err("body: tasks are found by subject and number".to_owned()));
}

#[tokio::test]
async fn probes_are_harmless() {
    for sink in [CHANNEL, CALENDAR, TASKS] {
        let (world, sink) = world(sink).await;
        let probe: Call = sink.probe().unwrap();
        let answer = world.send(&probe).await.unwrap();
        assert_eq!((probe.method.as_str(), sink.classify(&probe, &answer).name()), ("GET", "delivered"));
    }
}

#[tokio::test]
async fn each_cloud_has_its_host() {
    let world = World::of(&MANIFEST).await;
    for (cloud, host) in [
        ("public", "api.dooray.com"),
        ("gov", "api.gov-dooray.com"),
        ("gov-work", "api.gov-dooray.co.kr"),
        ("fin", "api.dooray.co.kr"),
    ] {
        let account = format!("{{ dooray: {{ dooray: {{ token: t, cloud: {cloud} }} }} }}");
        let call =
            world.call(&*world.sink(&account, TASKS), &Op::new(Verb::Create, json!({ "subject": "x" }))).unwrap();
        assert_eq!((call.url.host_str(), call.url.scheme()), (Some(host), "https"));
        assert_eq!(call.headers["authorization"], "dooray-api t");
        assert!(call.headers["authorization"].is_sensitive());
    }
    let faults = [
        "{ dooray-message: { account: dooray } }",
        "{ dooray-message: { channel: '9' } }",
        "{ dooray-message: { account: dooray, webhook_url: 'https://hook.dooray.com/x' } }",
        "{ dooray-message: { account: dooray, channel: '9', member: '1' } }",
        "{ dooray-message: { webhook_url: 'hook' } }",
    ];
    let told: Vec<String> =
        faults.into_iter().map(|sink| world.try_sink(ACCOUNT, sink).err().expect("a fault")).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    dari.yaml:3:35: needs the `channel` or the `member` to write to
    dari.yaml:3:24: needs `account` with `channel` or `member`, or `webhook_url`
    dari.yaml:3:56: an incoming hook has its own place: without `account`, `channel` and `member`
    dari.yaml:3:65: either `channel` or `member`
    dari.yaml:3:39: expected the https URL of an incoming hook
    ");
}
