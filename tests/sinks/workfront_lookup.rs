//! What a map may ask Workfront for.

use dari::connectors::call::TIMEOUT;
use dari::connectors::workfront::{MANIFEST, sandbox};
use dari::connectors::{Account, Build, Lookup};
use dari::outcome::{Outcome, Scope};
use dari::settings::{Fault, Node, Settings};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::world::World;

fn try_lookup(world: &World, key: &str, settings: &Value) -> Result<Box<dyn Lookup>, Vec<Fault>> {
    let kind = MANIFEST.lookup.as_ref().unwrap();
    let account = Node::from(&json!({ "host": "acme.my.workfront.com", "auth": { "api_key": key } }));
    let settings = Node::from(settings);
    (kind.build)(&Build {
        name: "project",
        settings: Settings::new(&settings, kind.fields),
        account: Some(Account {
            name: "wf",
            settings: Settings::new(&account, MANIFEST.account.as_ref().unwrap().fields),
            url: &world.served.url,
        }),
        zone: TimeZone::UTC,
        client: world.client.clone(),
        clock: world.clock.clone(),
    })
}

async fn found(world: &World, settings: &Value, wanted: &Value) -> Result<Vec<Value>, Outcome> {
    let lookup = try_lookup(world, sandbox::API_KEY, settings).unwrap();
    let call = lookup.prepare(wanted.as_object().unwrap()).unwrap();
    assert!(call.idempotent && call.timeout == TIMEOUT && !call.shown.to_string().contains(sandbox::API_KEY));
    lookup.read(&world.client.send(&call).await.unwrap())
}

async fn play(world: &World, object: Value) {
    world.served.play(::http::Method::POST, "/_sandbox/objects", &object).await;
}

#[tokio::test]
async fn any_object_is_found_with_the_fields_that_are_wanted() {
    let world = World::of(&MANIFEST).await;
    play(&world, json!({ "objCode": "TASK", "ID": "1", "name": "a", "projectID": sandbox::PROJECT, "DE:CustomText": "x", "status": "NEW" })).await;
    play(&world, json!({ "objCode": "TASK", "ID": "2", "name": "a", "status": "CPL" })).await;
    let task = json!({ "object": "task", "fields": ["ID", "DE:CustomText", "project:name", "lastUpdateDate"] });
    let rows = found(&world, &task, &json!({ "name": "a", "status": "NEW" })).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["ID"], &rows[0]["DE:CustomText"], &rows[0]["project"]["name"]),
        (&json!("1"), &json!("x"), &json!("새 프로젝트"))
    );
    assert_eq!(rows[0]["lastUpdateDate"], "2026-11-20T20:04:05.000-07:00", "times are RFC 3339");
    assert_eq!(found(&world, &task, &json!({ "name": "a" })).await.unwrap().len(), 2, "which is no answer");
    assert_eq!(found(&world, &task, &json!({ "name": "b" })).await.unwrap(), [json!(null); 0]);
    let user = found(&world, &json!({ "object": "USER" }), &json!({ "ID": sandbox::USER })).await.unwrap();
    assert_eq!(user[0]["name"], "Bridge");
}

#[tokio::test]
async fn counts_reports_and_named_queries_can_be_asked() {
    for unwrapped in [false, true] {
        let world = World::of(&MANIFEST).await;
        world.served.play(::http::Method::PUT, "/_sandbox/state", &json!({ "unwrapped": unwrapped })).await;
        for n in 0..3 {
            play(&world, json!({ "objCode": "TASK", "ID": format!("{n}"), "name": "a", "status": "NEW" })).await;
        }
        let count =
            found(&world, &json!({ "object": "task", "query": "count" }), &json!({ "status": "NEW" })).await.unwrap();
        assert_eq!(count, [json!({ "count": 3 })]);
        let report = json!({ "object": "task", "query": "report" });
        let report =
            found(&world, &report, &json!({ "status_1_GroupBy": true, "ID_AggFunc": "dcount" })).await.unwrap();
        assert_eq!(report, [json!({ "NEW": { "dcount_ID": 3 } })]);
        let mine =
            found(&world, &json!({ "object": "task", "query": "myWork" }), &json!({ "name": "a" })).await.unwrap();
        assert_eq!(mine.len(), 2, "two are enough to say that it is not one");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_told() {
    let world = World::of(&MANIFEST).await;
    for wrong in [
        json!({ "object": "my task" }),
        json!({ "object": "task", "query": "../user" }),
        json!({ "object": "task", "fields": ["a:b:c:d:e"] }),
    ] {
        assert!(try_lookup(&world, sandbox::API_KEY, &wrong).is_err(), "{wrong}");
    }
    let unknown = found(&world, &json!({ "object": "task" }), &json!({ "colour": "red" })).await;
    assert!(matches!(&unknown, Err(Outcome::Reject { why }) if why.contains("colour")), "{unknown:?}");
    let stranger = try_lookup(&world, "hunter2", &json!({ "object": "task" })).unwrap();
    let call = stranger.prepare(json!({ "name": "a" }).as_object().unwrap()).unwrap();
    let refused = stranger.read(&world.client.send(&call).await.unwrap());
    assert!(matches!(refused, Err(Outcome::Suspend { what: Scope::Account, .. })), "{refused:?}");
}
