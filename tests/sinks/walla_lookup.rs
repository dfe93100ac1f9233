//! What a route can look up at Walla, against its sandbox.

use dari::connectors::client::Client;
use dari::connectors::sandbox::Fault;
use dari::connectors::walla::{MANIFEST, lookup::KIND};
use dari::connectors::{Account, Build, Lookup};
use dari::outcome::{Outcome, Scope};
use dari::settings::{Node, Settings};
use http::Method;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::world::World;

const RESPONSE: &str = r#"{"client_id":"walla-client","api_key":"walla-key"}"#;
const OPEN: &str = r#"{"open_api_key":"walla-open-key"}"#;

async fn world() -> World {
    let world = World::of(&MANIFEST).await;
    for (id, customer, name) in [("r1", "c/1", "김하나"), ("r2", "c2", "김둘"), ("r3", "c2", "김셋")] {
        let submission = json!({ "id": id, "customer_key": customer, "answers": { "이름": name, "유입경로": "blog" } });
        world.served.play(Method::POST, "/_sandbox/responses", &submission).await;
    }
    world
}

fn try_lookup(world: &World, account: &str, keys: &Value) -> Result<Box<dyn Lookup>, String> {
    let (account, keys) = (Node::from(&serde_json::from_str::<Value>(account).unwrap()), Node::from(keys));
    let account = Settings::new(&account, MANIFEST.account.as_ref().unwrap().fields);
    let build = Build {
        name: "person",
        settings: Settings::new(&keys, KIND.fields),
        account: Some(Account { name: "walla", settings: account, url: &world.served.url }),
        zone: TimeZone::UTC,
        client: Client::new().unwrap(),
        clock: world.clock.clone(),
    };
    (KIND.build)(&build).map_err(|faults| faults.into_iter().map(|f| f.message).collect::<Vec<_>>().join("; "))
}

/// The place of the form, with what is looked up.
fn place(account: &str, object: &str) -> Value {
    if account.contains("open_api_key") {
        return json!({ "object": object, "form": "form-7" });
    }
    json!({ "object": object, "workspace": "ws-1", "project": "pj-7" })
}

async fn found(world: &World, lookup: &dyn Lookup, wanted: &Value) -> Result<Vec<Value>, Outcome> {
    let call = lookup.prepare(wanted.as_object().unwrap()).unwrap();
    lookup.read(&world.send(&call).await.unwrap())
}

#[tokio::test]
async fn a_response_is_found_by_its_key_or_its_customers() {
    let world = world().await;
    for (account, hidden) in [(RESPONSE, "hf_from"), (OPEN, "hidden-from")] {
        let lookup = try_lookup(&world, account, &place(account, "response")).unwrap_or_else(|why| panic!("{why}"));
        for wanted in [json!({ "response_key": "r1" }), json!({ "customer_key": "c/1" })] {
            let records = found(&world, &*lookup, &wanted).await.unwrap();
            assert_eq!(records.len(), 1, "{account} {wanted}");
            assert_eq!((&records[0]["response_id"], &records[0]["customer_key"]), (&json!("r1"), &json!("c/1")));
            assert_eq!(records[0]["fields"], json!({ "field_name": "김하나", hidden: "blog" }));
        }
        for wanted in [json!({ "response_key": "r9" }), json!({ "customer_key": "c9" })] {
            assert_eq!(found(&world, &*lookup, &wanted).await, Ok(vec![]));
        }
    }
    let open = try_lookup(&world, OPEN, &place(OPEN, "response")).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(
        found(&world, &*open, &json!({ "customer_key": "c2" })).await.unwrap().len(),
        2,
        "more than one is told"
    );
}

#[tokio::test]
async fn customers_projects_and_workspaces_are_found() {
    let world = world().await;
    let lookup = |account, keys: Value| try_lookup(&world, account, &keys).unwrap_or_else(|why| panic!("{why}"));
    for account in [RESPONSE, OPEN] {
        let customer = lookup(account, place(account, "customer"));
        for (key, exists) in [("c/1", true), ("c9", false)] {
            let records = found(&world, &*customer, &json!({ "customer_key": key })).await.unwrap();
            assert_eq!(records, [json!({ "exists": exists })], "{account}");
        }
    }
    let customers = lookup(RESPONSE, place(RESPONSE, "customers"));
    let records = found(&world, &*customers, &json!({})).await.unwrap();
    assert_eq!(records, [json!({ "customer_keys": ["c/1", "c2", "c2"] })]);
    let project = found(&world, &*lookup(RESPONSE, place(RESPONSE, "project")), &json!({})).await.unwrap();
    assert_eq!(project[0]["projectName"], "신청");
    let form = found(&world, &*lookup(OPEN, place(OPEN, "project")), &json!({})).await.unwrap();
    assert_eq!(form[0]["title"], "신청");
    let workspace = lookup(RESPONSE, json!({ "object": "workspace" }));
    assert_eq!(
        found(&world, &*workspace, &json!({ "project_key": "pj-7" })).await.unwrap(),
        [json!({ "workspace_key": "ws-1" })]
    );
    assert_eq!(found(&world, &*workspace, &json!({ "project_key": "pj-8" })).await, Ok(vec![]));
}

#[tokio::test]
async fn each_no_has_its_outcome() {
    let world = world().await;
    let lookup =
        |account: &str| try_lookup(&world, account, &place(account, "customer")).unwrap_or_else(|e| panic!("{e}"));
    let wanted = || json!({ "customer_key": "c2" });
    let wrong = found(&world, &*lookup(&RESPONSE.replace("walla-key", "other")), &wanted()).await.unwrap_err();
    assert!(matches!(&wrong, Outcome::Suspend { what: Scope::Account, .. }), "{wrong:?}");
    let wrong = found(&world, &*lookup(&OPEN.replace("walla-open-key", "other")), &wanted()).await.unwrap_err();
    assert!(matches!(&wrong, Outcome::Suspend { what: Scope::Account, .. }), "{wrong:?}");
    let good = lookup(RESPONSE);
    world.served.faults.next(Fault::TooManyRequests { after: 30 }, 1);
    let limited = found(&world, &*good, &wanted()).await.unwrap_err();
    assert!(matches!(&limited, Outcome::Retry { account: true, after: Some(after), .. } if after.as_secs() == 30));
    world.served.faults.next(Fault::ServerError, 1);
    assert_eq!(found(&world, &*good, &wanted()).await.unwrap_err().name(), "retry");
    world.served.faults.next(Fault::Garbage, 1);
    assert_eq!(found(&world, &*good, &wanted()).await.unwrap_err().name(), "retry");
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_told() {
    let world = world().await;
    let lookup = try_lookup(&world, RESPONSE, &place(RESPONSE, "response")).unwrap_or_else(|why| panic!("{why}"));
    let all = try_lookup(&world, RESPONSE, &place(RESPONSE, "customers")).unwrap_or_else(|why| panic!("{why}"));
    let refused = |lookup: &dyn Lookup, wanted: Value| lookup.prepare(wanted.as_object().unwrap()).unwrap_err();
    let told = [
        refused(&*lookup, json!({ "mail": "a@b" })),
        refused(&*lookup, json!({})),
        refused(&*lookup, json!({ "response_key": "r", "customer_key": "c" })),
        refused(&*lookup, json!({ "customer_key": "" })),
        refused(&*all, json!({ "customer_key": "c" })),
    ];
    insta::assert_snapshot!(told.join("\n"), @"
    match: mail: expected response_key or customer_key
    match: expected one of response_key or customer_key
    match: expected one of response_key or customer_key
    match: response_key or customer_key: expected text that is not empty
    match: customer_key: it takes no values, as `match: {}`
    ");
    let fault = |account, keys: Value| try_lookup(&world, account, &keys).err().expect("a fault");
    let told = [
        fault(RESPONSE, json!({})),
        fault(RESPONSE, json!({ "project": "pj-7" })),
        fault(RESPONSE, json!({ "object": "workspace", "project": "pj-7" })),
        fault(OPEN, json!({ "object": "customers", "form": "f" })),
        fault(OPEN, json!({ "workspace": "ws-1", "project": "pj-7" })),
    ];
    insta::assert_snapshot!(told.join("\n"), @"
    which form? expected `project`
    a lookup is one call: it needs the `workspace` of the project
    a workspace is found by the `project_key` of `match`, and nothing else
    the Open API has no such call: it needs an account with a client_id
    the account has an open_api_key: expected `form`, and neither `workspace` nor `project`
    ");
}
