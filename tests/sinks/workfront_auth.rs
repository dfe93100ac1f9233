//! How an account of Workfront's proves who it is.

use std::sync::Arc;
use std::time::Duration;

use dari::connectors::Sink;
use dari::connectors::workfront::{MANIFEST, sandbox};
use dari::outcome::{Outcome, Scope, Verb};
use serde_json::json;

use crate::world::{Op, Tried, World};

const SINK: &str = "{ workfront: { account: wf, object: task } }";

fn account(auth: &str) -> String {
    format!("{{ wf: {{ workfront: {{ host: acme.my.workfront.com, url: 'URL', auth: {auth} }} }} }}")
}

fn jwt(more: &str) -> String {
    let key = sandbox::PRIVATE_KEY.replace('\n', "\\n");
    account(&format!(
        "{{ jwt: {{ client_id: {}, client_secret: {}, customer_id: {}, user_id: {}, private_key: '{key}'{more} }} }}",
        sandbox::CLIENT_ID,
        sandbox::CLIENT_SECRET,
        sandbox::CUSTOMER,
        sandbox::USER
    ))
}

fn ims(secret: &str) -> String {
    account(&format!(
        "{{ ims: {{ client_id: {}, client_secret: {secret}, org_id: {}, scope: '{}' }} }}",
        sandbox::CLIENT_ID,
        sandbox::ORG,
        sandbox::SCOPE
    ))
}

fn login(password: &str) -> String {
    account(&format!("{{ login: {{ username: '{}', password: {password} }} }}", sandbox::USERNAME))
}

fn task() -> Op {
    Op::new(Verb::Create, json!({ "name": "a", "projectID": sandbox::PROJECT }))
}

async fn renewals(world: &World) -> u64 {
    world.served.state().await["renewals"].as_u64().unwrap()
}

async fn is_delivered(world: &World, sink: &dyn Sink) {
    let outcome = world.outcome(sink, &task()).await;
    assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
}

#[tokio::test]
async fn each_way_leads_in() {
    let session = account(&format!("{{ session: {} }}", sandbox::SESSION));
    let ways = [session, login(sandbox::PASSWORD), jwt(""), ims(sandbox::CLIENT_SECRET)];
    for way in ways {
        let world = World::of(&MANIFEST).await;
        let sink = world.sink(&way, SINK);
        is_delivered(&world, &*sink).await;
        let call = world.served.calls.all().pop().unwrap();
        assert!(!call.path.contains('?') && !call.body.contains("sandbox-token"), "{call:?}");
    }
    let world = World::of(&MANIFEST).await;
    world.switch(json!({ "jwt_bearer": true })).await;
    is_delivered(&world, &*world.sink(&jwt(", header: bearer"), SINK)).await;
}

#[tokio::test]
async fn a_token_is_shared_renewed_ahead_of_its_end_and_by_one() {
    for way in [login(sandbox::PASSWORD), jwt(""), ims(sandbox::CLIENT_SECRET)] {
        let world = World::of(&MANIFEST).await;
        let sinks: Vec<Arc<dyn Sink>> = (0..8).map(|_| Arc::from(world.sink(&way, SINK))).collect();
        let op = Op::new(Verb::Delete, json!({})).linked("7");
        let calls = sinks.iter().map(|sink| world.outcome(&**sink, &op));
        for outcome in futures_util::future::join_all(calls).await {
            assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
        }
        assert_eq!(renewals(&world).await, 1, "one renewal for all");
        if way.contains("login") {
            continue;
        }
        // A minute before its end.
        world.advance(Duration::from_secs(3_600 - 59));
        is_delivered(&world, &*sinks[0]).await;
        is_delivered(&world, &*sinks[1]).await;
        assert_eq!(renewals(&world).await, 2);
    }
}

#[tokio::test]
async fn a_token_that_ended_early_is_renewed_and_the_call_made_again() {
    for as_200 in [false, true] {
        for way in [login(sandbox::PASSWORD), jwt(""), ims(sandbox::CLIENT_SECRET)] {
            let world = World::of(&MANIFEST).await;
            world.switch(json!({ "errors_as_200": as_200 })).await;
            let sink = world.sink(&way, SINK);
            is_delivered(&world, &*sink).await;
            world.switch(json!({ "revoke": true })).await;
            is_delivered(&world, &*sink).await;
            assert_eq!(renewals(&world).await, 2, "{way}");
        }
    }
}

#[tokio::test]
async fn refused_credentials_stop_the_account_and_show_no_secret() {
    let wrong = [
        account("{ api_key: hunter2 }"),
        account("{ session: hunter2 }"),
        login("hunter2"),
        jwt("").replace(sandbox::CLIENT_SECRET, "hunter2"),
        jwt("").replace(sandbox::CUSTOMER, "other"),
        ims("hunter2"),
    ];
    for way in wrong {
        let world = World::of(&MANIFEST).await;
        let sink = world.sink(&way, SINK);
        let why = match world.try_it(&*sink, &task()).await {
            Tried::Came(Outcome::Suspend { what: Scope::Account, why, .. })
            | Tried::Unanswered(dari::connectors::client::SendError::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(!why.contains("hunter2"), "{why}");
        assert!(!format!("{:?}", world.call(&*sink, &task()).unwrap()).contains("hunter2"));
        assert_eq!(world.served.state().await["objects"].as_array().unwrap().len(), 2, "nothing was made");
    }
}

#[tokio::test]
async fn trouble_where_tokens_come_from_passes() {
    use dari::connectors::client::SendError;
    use dari::connectors::sandbox::Fault;
    for fault in [Fault::ServerError, Fault::TooManyRequests { after: 1 }, Fault::ResetBefore, Fault::Garbage] {
        let world = World::of(&MANIFEST).await;
        let sink = world.sink(&ims(sandbox::CLIENT_SECRET), SINK);
        world.served.faults.next(fault, 1);
        let tried = world.try_it(&*sink, &task()).await;
        assert!(matches!(tried, Tried::Unanswered(SendError::NotSent(_))), "{fault:?}: {tried:?}");
        is_delivered(&world, &*sink).await;
    }
}

#[tokio::test]
async fn an_organisation_on_the_platform_takes_neither_login_nor_key() {
    let world = World::of(&MANIFEST).await;
    world.switch(json!({ "platform": true })).await;
    for way in [login(sandbox::PASSWORD), account(&format!("{{ api_key: {} }}", sandbox::API_KEY))] {
        let tried = world.try_it(&*world.sink(&way, SINK), &task()).await;
        let stopped = matches!(
            tried,
            Tried::Came(Outcome::Suspend { what: Scope::Account, .. })
                | Tried::Unanswered(dari::connectors::client::SendError::Refused(_))
        );
        assert!(stopped, "{tried:?}");
    }
    let renewed =
        World { clock: world.clock.clone(), client: dari::connectors::client::Client::new().unwrap(), ..world };
    is_delivered(&renewed, &*renewed.sink(&ims(sandbox::CLIENT_SECRET), SINK)).await;
}
