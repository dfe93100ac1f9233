//! Worksection's sink against its sandbox: each verb, each refusal, each limit, what a lost answer leaves behind.

use std::time::Duration;

use dari::connectors::sandbox::Fault;
use dari::connectors::worksection::{MANIFEST, sandbox};
use dari::connectors::{Answer, Ask, OnDoubt, Sink};
use dari::outcome::{Outcome, Scope, Verb};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::world::{Op, Tried, World, in_doubt, leaked};

const ACCOUNT: &str =
    "{ ws: { worksection: { admin_key: 7776461cd931e7b1c8e9632ff8e979ce, url: 'URL', time_zone: Europe/Kyiv } } }";
const SINK: &str = "{ worksection: { account: ws, project: '26', author: kim@acme.kr } }";

async fn world() -> (World, Box<dyn Sink>) {
    World::with(&MANIFEST, ACCOUNT, SINK).await
}

/// A second after the last one, as the account's permits have it.
async fn tried(world: &World, sink: &dyn Sink, op: &Op) -> Tried {
    world.advance(Duration::from_secs(1));
    world.try_it(sink, op).await
}

async fn delivered(world: &World, sink: &dyn Sink, op: &Op) -> &'static str {
    match tried(world, sink, op).await {
        Tried::Came(Outcome::Delivered { remote_id }) => leaked(remote_id.expect("an id")),
        other => panic!("{other:?}"),
    }
}

async fn asked(world: &World, sink: &dyn Sink, op: &Op, since: Timestamp) -> Result<Vec<String>, Outcome> {
    world.advance(Duration::from_secs(1));
    world.asked(sink, op, since).await
}

fn new(title: &str) -> Op {
    Op::new(Verb::Create, json!({ "title": title }))
}

async fn why(world: &World, sink: &dyn Sink, op: &Op) -> String {
    match tried(world, sink, op).await {
        Tried::Refused(why) => format!("not sent: {why}"),
        Tried::Came(Outcome::Reject { why }) => format!("reject: {why}"),
        Tried::Came(Outcome::Suspend { what, why, .. }) => format!("suspend {what:?}: {why}"),
        Tried::Came(Outcome::Retry { after, account, why }) => format!("retry {after:?} account {account}: {why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_task_is_made_changed_tagged_commented_on_booked_completed_and_reopened() {
    let (world, sink) = world().await;
    let map = json!({ "title": "견적 & offer", "text": "a\nb", "dateend": "2026-12-24", "priority": 7, "tags": ["Urgent"], "todo": ["one", "two"], "email_user_to": "lee@acme.kr", "subscribe": ["lee@acme.kr"] });
    let id = delivered(&world, &*sink, &Op::new(Verb::Create, map)).await;
    let task = world.state("tasks").await[0].clone();
    assert_eq!((&task["id"], &task["name"]), (&json!(id), &json!("견적 & offer")));
    assert_eq!(
        (&task["date_end"], &task["priority"], &task["tags"]),
        (&json!("2026-12-24"), &json!("7"), &json!({"5": "Urgent"}))
    );
    assert_eq!((&task["user_to"]["id"], &task["user_from"]["id"]), (&json!("10"), &json!("9")));
    assert_eq!(task["text"], "a\nb\n\ndari:dlv_1\n[ ] one\n[ ] two");

    let update = Op::new(
        Verb::Update,
        json!({ "title": "견적 2", "text": "kept as it was", "dateend": null, "email_user_to": null }),
    );
    assert_eq!(delivered(&world, &*sink, &update.linked(id)).await, id);
    let task = world.state("tasks").await[0].clone();
    assert_eq!((&task["name"], &task["user_to"]["email"]), (&json!("견적 2"), &json!("NOONE")));
    assert!(task["date_end"].is_null() && task["text"].as_str().unwrap().starts_with("a\nb"));

    delivered(&world, &*sink, &Op::new(Verb::Tag, json!({ "plus": ["Sent"], "minus": ["5"] })).linked(id)).await;
    delivered(&world, &*sink, &Op::new(Verb::Comment, json!({ "text": "확인" })).linked(id)).await;
    let cost = json!({ "time": "0:30", "comment": "Call", "date": "2026-11-20" });
    assert_eq!(
        delivered(&world, &*sink, &Op::new(Verb::Cost, cost).linked(id)).await,
        id,
        "the link stays on the task"
    );
    for verb in [Verb::Complete, Verb::Complete, Verb::Reopen, Verb::Reopen] {
        // Again: it is as it is to be.
        delivered(&world, &*sink, &Op::new(verb, json!({})).linked(id)).await;
    }
    let all = world.served.state().await;
    assert_eq!((&all["tasks"][0]["tags"], &all["tasks"][0]["status"]), (&json!({"6": "Sent"}), &json!("active")));
    assert_eq!(all["comments"][0]["text"], "확인\n\ndari:dlv_1");
    let cost = &all["costs"][0];
    assert_eq!(
        (&cost["time"], &cost["date"], &cost["comment"]),
        (&json!("0:30"), &json!("2026-11-20"), &json!("Call dari:dlv_1"))
    );
    assert_eq!(cost["user_from"]["email"], "kim@acme.kr");
    let calls = world.served.calls.all();
    assert!(
        calls[0].path.starts_with("/api/admin/v2/?action=post_task&id_project=26&title=%EA%B2%AC%EC%A0%81+%26+offer&")
    );
    assert!(calls.iter().all(|call| call.method == "POST" && call.path.contains("&hash=")));
    let shown = format!("{:?}", world.call(&*sink, &new("x")).unwrap());
    assert!(!shown.contains("hash") && !shown.contains("7776461c"), "{shown}");
}

#[tokio::test]
async fn each_refusal_has_its_meaning() {
    let (world, sink) = world().await;
    let id = delivered(&world, &*sink, &new("Offer")).await;
    let child = delivered(&world, &*sink, &Op::new(Verb::Create, json!({ "title": "Part", "id_parent": id }))).await;
    let on = |verb, fields, id| Op::new(verb, fields).linked(id);
    let say = async |op: Op| why(&world, &*sink, &op).await;
    insta::assert_snapshot!(say(on(Verb::Update, json!({"title": "x"}), "999")).await, @"reject: 5: Task is invalid");
    insta::assert_snapshot!(say(on(Verb::Complete, json!({}), id)).await, @"reject: 13: Task has children");
    insta::assert_snapshot!(say(on(Verb::Tag, json!({"plus": "Nope"}), id)).await, @"reject: 16: Tag is invalid (Nope)");
    insta::assert_snapshot!(say(on(Verb::Update, json!({"email_user_to": "who@acme.kr"}), id)).await, @"reject: 11: Invalid email");
    for id in [child, id] {
        delivered(&world, &*sink, &on(Verb::Complete, json!({}), id)).await;
    }
    insta::assert_snapshot!(say(on(Verb::Reopen, json!({}), child)).await, @"reject: 14: Parent task is done");
    insta::assert_snapshot!(say(on(Verb::Cost, json!({"money": 5}), id)).await, @"reject: 8: Task is closed");
    let parented = Op::new(Verb::Create, json!({ "title": "Late", "id_parent": id }));
    insta::assert_snapshot!(say(parented).await, @"reject: 14: Parent task is done");

    // What would be refused is not sent.
    let calls = world.served.calls.count();
    insta::assert_snapshot!(say(Op::new(Verb::Create, json!({"text": "x"}))).await, @"not sent: title: a task needs one");
    insta::assert_snapshot!(say(on(Verb::Update, json!({"text": "x"}), id)).await, @"not sent: there is nothing in the map that an update can change");
    insta::assert_snapshot!(say(on(Verb::Comment, json!({"text": " "}), id)).await, @"not sent: text, todo: a comment says something");
    insta::assert_snapshot!(say(on(Verb::Cost, json!({"comment": "x"}), id)).await, @"not sent: time, money: one of them is needed");
    insta::assert_snapshot!(say(on(Verb::Tag, json!({}), id)).await, @"not sent: plus, minus: one of them is needed");
    insta::assert_snapshot!(say(Op::new(Verb::Complete, json!({}))).await, @"not sent: there is no linked task to complete");
    insta::assert_snapshot!(say(on(Verb::Complete, json!({}), "26/7")).await, @r#"not sent: the link's id "26/7" is no task of Worksection"#);
    let nobody = world.sink(ACCOUNT, "{ worksection: { account: ws, project: '26' } }");
    insta::assert_snapshot!(why(&world, &*nobody, &on(Verb::Cost, json!({"money": 5}), id)).await, @"not sent: email_user_from: with an admin key a cost needs a user, here or as the sink's `author`");
    assert_eq!(world.served.calls.count(), calls);
}

#[tokio::test]
async fn a_wrong_key_stops_the_account_and_a_wrong_project_the_sink() {
    let (world, _) = world().await;
    let elsewhere = world.sink(ACCOUNT, "{ worksection: { account: ws, project: '99' } }");
    insta::assert_snapshot!(why(&world, &*elsewhere, &new("x")).await, @"suspend Sink: 4: Project is invalid");
    let wrong = world.sink(&ACCOUNT.replace("7776", "8887"), SINK);
    insta::assert_snapshot!(why(&world, &*wrong, &new("x")).await, @"suspend Account: 2: Action hash is missed or invalid: is the `admin_key` right? If only some calls are refused so, try `hash: raw` on the account");
    let probe = async |sink: &dyn Sink| {
        world.advance(Duration::from_secs(1));
        let call = sink.probe().unwrap();
        sink.classify(&call, &world.send(&call).await.unwrap())
    };
    assert!(matches!(probe(&*wrong).await, Outcome::Suspend { what: Scope::Account, .. }));
    assert!(matches!(probe(&*elsewhere).await, Outcome::Suspend { what: Scope::Sink, .. }));
    assert!(matches!(probe(&*world.sink(ACCOUNT, SINK)).await, Outcome::Delivered { .. }));
}

#[tokio::test]
async fn the_hash_may_be_over_the_plain_text() {
    let (world, encoded) = world().await;
    let raw = world.sink(&ACCOUNT.replace("url:", "hash: raw, url:"), SINK);
    delivered(&world, &*encoded, &new("a & b")).await;
    assert!(why(&world, &*raw, &new("a & b")).await.starts_with("suspend Account: 2:"));
    world.switch(json!({ "raw_hash": true })).await;
    delivered(&world, &*raw, &new("a & b")).await;
    assert!(why(&world, &*encoded, &new("a & b")).await.starts_with("suspend Account: 2:"));
}

#[tokio::test]
async fn a_second_call_within_a_second_is_made_later() {
    let (world, sink) = world().await;
    for as_429 in [false, true] {
        world.switch(json!({ "too_many_as_429": as_429 })).await;
        delivered(&world, &*sink, &new("one")).await;
        let Tried::Came(Outcome::Retry { after, account, .. }) = world.try_it(&*sink, &new("two")).await else {
            panic!("too fast")
        };
        assert_eq!((after, account), (Some(Duration::from_secs(2)), true));
    }
    assert_eq!(world.state("tasks").await.as_array().unwrap().len(), 2);
    let limits = MANIFEST.account.as_ref().unwrap().limits;
    assert!(limits.rate.is_some_and(|rate| rate <= 1.0) && limits.concurrency == Some(1));
}

#[tokio::test]
async fn what_is_too_long_for_an_address_goes_in_a_body_and_what_would_be_cut_is_not_sent() {
    let (world, sink) = world().await;
    let long = "가".repeat(20_000);
    let id = delivered(&world, &*sink, &Op::new(Verb::Create, json!({ "title": "x", "text": long }))).await;
    let kept = world.state("tasks").await[0]["text"].as_str().unwrap().to_owned();
    assert_eq!(kept, format!("{long}\n\ndari:dlv_1"));
    assert!(!world.served.calls.all()[0].path.contains('?'));
    let comment = |length: usize| Op::new(Verb::Comment, json!({ "text": "a".repeat(length) })).linked(id);
    insta::assert_snapshot!(why(&world, &*sink, &comment(65_537)).await, @"not sent: text: longer than 65536 characters, of which Worksection would drop the rest");
    insta::assert_snapshot!(why(&world, &*sink, &comment(65_536)).await, @"not sent: text: longer than 65524 characters, which leaves no room for the line it is found by");
    delivered(&world, &*sink, &comment(65_524)).await;
    // Whether a body's hash is right no page says: where it is not, only what needs a body is lost.
    world.switch(json!({ "raw_hash": true })).await;
    let refused = why(&world, &*sink, &comment(9_000)).await;
    insta::assert_snapshot!(refused, @"reject: the hash of a call that is too long for an address was refused: shorten it (2: Action hash is missed or invalid)");
    let answer = Answer {
        status: ::http::StatusCode::URI_TOO_LONG,
        headers: ::http::HeaderMap::new(),
        body: "Request-URL Too Large".into(),
    };
    let call = world.call(&*sink, &new("x")).unwrap();
    assert!(matches!(sink.classify(&call, &answer), Outcome::Reject { .. }));
}

#[tokio::test]
async fn p6_what_is_in_doubt_is_found_by_its_mark() {
    let (world, sink) = world().await;
    let id = delivered(&world, &*sink, &new("Offer").webhook_id("msg_0")).await;
    let ops = [
        new("Offer").webhook_id("msg_1"),
        Op::new(Verb::Comment, json!({ "text": "확인" })).webhook_id("msg_2").linked(id),
        Op::new(Verb::Cost, json!({ "money": 5 })).webhook_id("msg_3").linked(id),
    ];
    for op in &ops {
        assert_eq!(sink.on_doubt(op.verb), OnDoubt::Find);
        let since = world.clock.now();
        for (fault, took_effect) in [(Fault::ResetBefore, false), (Fault::ResetAfter, true)] {
            world.served.faults.next(fault, 1);
            assert!(in_doubt(&tried(&world, &*sink, op).await), "{fault:?}");
            let found = asked(&world, &*sink, op, since).await.unwrap();
            assert_eq!(found.len(), usize::from(took_effect), "{:?} {fault:?}", op.verb);
            if op.verb == Verb::Create {
                assert!(found.iter().all(|found| found != id));
            } else {
                assert!(found.iter().all(|found| found == id), "the link stays on the task");
            }
        }
    }
    let question = world.question(&*sink, &ops[0], "2026-11-21T00:30:00Z".parse().unwrap()).unwrap().unwrap();
    assert_eq!(
        question.shown["body"]["filter"], "project=26 and dateadd>='20.11.2026'",
        "the day before, in the account's zone"
    );
    // A question that is not answered is put again.
    world.served.faults.next(Fault::Garbage, 1);
    assert!(matches!(asked(&world, &*sink, &ops[0], world.clock.now()).await, Err(Outcome::Retry { .. })));
    for verb in [Verb::Update, Verb::Complete, Verb::Reopen, Verb::Tag] {
        assert_eq!(sink.on_doubt(verb), OnDoubt::Retry);
    }

    let unmarked = world.sink(ACCOUNT, "{ worksection: { account: ws, project: '26', mark: false } }");
    assert_eq!(unmarked.on_doubt(Verb::Create), OnDoubt::Hold);
    assert!(world.question(&*unmarked, &ops[0], world.clock.now()).is_none());
    delivered(&world, &*unmarked, &Op::new(Verb::Create, json!({ "title": "x", "text": "as it is" }))).await;
    assert_eq!(world.state("tasks").await.as_array().unwrap().last().unwrap()["text"], "as it is");
}

#[tokio::test]
async fn a_task_is_matched_by_its_whole_title() {
    let (world, sink) = world().await;
    for numbers in [false, true] {
        world.switch(json!({ "ids_as_numbers": numbers })).await;
        let title = format!("Kim's \"offer\" {numbers}");
        let id = delivered(&world, &*sink, &new(&title)).await;
        delivered(&world, &*sink, &new(&format!("{title} 2"))).await;
        let matched = async |wanted: Value| {
            let wanted = wanted.as_object().unwrap().clone();
            let question = Ask::Match(&wanted);
            world.advance(Duration::from_secs(1));
            let answer = world.send(&sink.ask(&question).unwrap().unwrap()).await.unwrap();
            sink.answered(&question, &answer).unwrap()
        };
        assert_eq!(matched(json!({ "title": title })).await, [id]);
        assert_eq!(matched(json!({ "id": id })).await, [id]);
        assert_eq!(matched(json!({ "title": "offer" })).await, [""; 0]);
    }
    let no = json!({ "owner": "kim" });
    let asked = sink.ask(&Ask::Match(no.as_object().unwrap())).unwrap();
    insta::assert_snapshot!(asked.unwrap_err(), @"owner: tasks are found by title and id");
}

#[tokio::test]
async fn other_troubles_have_their_outcomes() {
    let (world, sink) = world().await;
    let trouble = async |fault: Fault, op: &Op| {
        world.served.faults.next(fault, 1);
        tried(&world, &*sink, op).await
    };
    assert!(matches!(trouble(Fault::ServerError, &new("x")).await, Tried::Came(Outcome::Retry { account: false, .. })));
    let slow = trouble(Fault::TooManyRequests { after: 7 }, &new("x")).await;
    assert!(
        matches!(slow, Tried::Came(Outcome::Retry { after: Some(after), account: true, .. }) if after.as_secs() == 7)
    );
    assert!(matches!(trouble(Fault::Garbage, &new("x")).await, Tried::Came(Outcome::Unknown { .. })));
    let id = delivered(&world, &*sink, &new("y")).await;
    let again = Op::new(Verb::Complete, json!({})).linked(id);
    assert!(matches!(trouble(Fault::Garbage, &again).await, Tried::Came(Outcome::Retry { .. })));
    assert!(in_doubt(&trouble(Fault::Timeout, &new("x")).await));
}

#[tokio::test]
async fn what_is_wrong_with_a_config_is_told_at_its_place() {
    let (world, _) = world().await;
    let told = |accounts: &str, sink: &str| world.try_sink(accounts, sink).err().unwrap_or_default();
    insta::assert_snapshot!(told(ACCOUNT, "{ worksection: { account: ws, project: Shop } }"), @"dari.yaml:3:45: expected the project's id, the number in the address of its page");
    insta::assert_snapshot!(told("{ ws: { worksection: { host: acme.worksection.com } } }", SINK), @"dari.yaml:3:32: needs an account with `admin_key`, or with `client_id` and what belongs to it");
    insta::assert_snapshot!(told("{ ws: { worksection: { admin_key: k } } }", SINK), @"dari.yaml:3:32: needs an account with a `host`: the name in its address, as acme.worksection.com");
    assert_eq!(sandbox::PROJECT, "26");
}
