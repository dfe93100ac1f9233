//! Several objects of Workfront's in one call.

use dari::connectors::sandbox::Fault;
use dari::connectors::workfront::sandbox;
use dari::connectors::{Answer, Call, Sink};
use dari::outcome::{Outcome, Verb};
use serde_json::{Value, json};

use crate::workfront::world;
use crate::world::{Op, World, leaked};

const TASKS: &str = "{ workfront: { account: wf, object: task, reference: 'DE:Dari' } }";

fn create(n: usize) -> Op {
    let fields = json!({ "name": format!("task {n}"), "projectID": sandbox::PROJECT });
    Op::new(Verb::Create, fields).webhook_id(leaked(format!("dlv_{n}")))
}

/// As the worker does: merged, sent, split; the outcome of the whole where that does not tell.
async fn together(world: &World, sink: &dyn Sink, ops: &[Op]) -> Result<Vec<Outcome>, Outcome> {
    let calls: Vec<Call> = ops.iter().map(|op| world.call(sink, op).unwrap()).collect();
    let calls: Vec<&Call> = calls.iter().collect();
    let merged = sink.merge(&calls).expect("they go together");
    let answer: Answer =
        sink.send(&world.client, &merged).await.map_err(|why| Outcome::Unknown { why: why.to_string() })?;
    sink.split(&merged, &calls, &answer).ok_or_else(|| sink.classify(&merged, &answer))
}

async fn tasks(world: &World) -> Vec<Value> {
    let objects = world.served.state().await["objects"].clone();
    objects.as_array().unwrap().iter().filter(|object| object["objCode"] == "TASK").cloned().collect()
}

fn ids(outcomes: &[Outcome]) -> Vec<String> {
    let id = |outcome: &Outcome| match outcome {
        Outcome::Delivered { remote_id: Some(id) } => id.clone(),
        other => panic!("{other:?}"),
    };
    outcomes.iter().map(id).collect()
}

#[tokio::test]
async fn a_hundred_are_made_in_one_call_and_told_apart() {
    let (world, sink) = world(TASKS).await;
    assert_eq!(sink.batch(), 100);
    let ops: Vec<Op> = (0..100).map(create).collect();
    let made = ids(&together(&world, &*sink, &ops).await.unwrap());
    for (n, id) in made.iter().enumerate() {
        let there = tasks(&world).await;
        let task = there.iter().find(|task| task["ID"] == id.as_str()).unwrap();
        assert_eq!(task["name"], format!("task {n}"));
        if n > 3 {
            break;
        }
    }
    assert_eq!(tasks(&world).await.len(), 100);
    // An atomic call names no IDs: one question for all of them.
    assert_eq!(world.served.calls.count(), 2);

    let updates: Vec<Op> =
        made.iter().map(|id| Op::new(Verb::Update, json!({ "status": "CPL" })).linked(leaked(id.clone()))).collect();
    assert_eq!(ids(&together(&world, &*sink, &updates).await.unwrap()), made);
    assert!(tasks(&world).await.iter().all(|task| task["status"] == "CPL"));
    assert_eq!(world.served.calls.count(), 3);
}

#[tokio::test]
async fn more_than_a_hundred_are_refused() {
    let (world, sink) = world(TASKS).await;
    let ops: Vec<Op> = (0..101).map(create).collect();
    let refused = together(&world, &*sink, &ops).await.unwrap_err();
    assert!(matches!(&refused, Outcome::Reject { why } if why.contains("100")), "{refused:?}");
    assert_eq!(tasks(&world).await.len(), 0);
}

#[tokio::test]
async fn one_that_is_refused_takes_no_other_with_it() {
    let (world, sink) = world(TASKS).await;
    let mut ops: Vec<Op> = (0..3).map(create).collect();
    ops[1].fields["colour"] = json!("red");
    let whole = together(&world, &*sink, &ops).await.unwrap_err();
    assert!(matches!(whole, Outcome::Reject { .. }), "each is then sent alone: {whole:?}");
    assert_eq!(tasks(&world).await.len(), 0, "all or nothing");

    // A vendor that does not know `atomic`: what was made is found, and not made again.
    world.switch(json!({ "ignores_atomic": true })).await;
    let each = together(&world, &*sink, &ops).await.unwrap();
    assert!(matches!(each[0], Outcome::Delivered { .. }), "{each:?}");
    assert!(matches!(&each[1], Outcome::Retry { .. }) && matches!(&each[2], Outcome::Retry { .. }), "{each:?}");
    assert_eq!(tasks(&world).await.len(), 1);
}

#[tokio::test]
async fn a_permission_that_one_lacks_is_not_the_others() {
    let (world, sink) = world(TASKS).await;
    let made = ids(&together(&world, &*sink, &[create(0), create(1)]).await.unwrap());
    world.switch(json!({ "denied": [made[0]] })).await;
    let update = |id: &String| Op::new(Verb::Update, json!({ "name": "x" })).linked(leaked(id.clone()));
    let whole = together(&world, &*sink, &[update(&made[0]), update(&made[1])]).await.unwrap_err();
    assert!(matches!(whole, Outcome::Reject { .. }), "each is then sent alone: {whole:?}");
}

#[tokio::test]
async fn what_became_of_them_is_asked_where_the_answer_is_lost() {
    let (world, sink) = world(TASKS).await;
    world.served.faults.next(Fault::Garbage, 1);
    let each = together(&world, &*sink, &[create(0), create(1)]).await.unwrap();
    assert_eq!(ids(&each).len(), 2, "the vendor acted: {each:?}");
    world.served.faults.next(Fault::ResetAfter, 1);
    let lost = together(&world, &*sink, &[create(2), create(3)]).await.unwrap_err();
    assert!(matches!(lost, Outcome::Unknown { .. }), "{lost:?}");
    // A page of somebody else's, and nothing was done: the one question says so.
    world.served.faults.next(Fault::ServerError, 1);
    let failed = together(&world, &*sink, &[create(4), create(5)]).await.unwrap_err();
    assert!(matches!(failed, Outcome::Unknown { .. }), "{failed:?}");
    assert_eq!(tasks(&world).await.len(), 4);
}

#[tokio::test]
async fn only_what_can_be_told_apart_goes_together() {
    let (world, sink) = world(TASKS).await;
    let call = |op: Op| world.call(&*sink, &op).unwrap();
    let (a, b) = (call(create(0)), call(create(1)));
    let update = call(Op::new(Verb::Update, json!({ "name": "x" })).linked("7"));
    let same = call(Op::new(Verb::Update, json!({ "name": "y" })).linked("7"));
    let delete = call(Op::new(Verb::Delete, json!({})).linked("7"));
    assert!(sink.merge(&[&a, &b]).is_some());
    for pair in [[&a, &update], [&update, &same], [&delete, &delete]] {
        assert!(sink.merge(&pair).is_none(), "{pair:?}");
    }
    let (world, plain) = crate::workfront::world("{ workfront: { account: wf, object: task } }").await;
    let call = |op: Op| world.call(&*plain, &op).unwrap();
    assert!(plain.merge(&[&call(create(0)), &call(create(1))]).is_none(), "nothing tells them apart");
}
