//! Daou Office Works by the newer OAuth: one token for all, renewed ahead of its end, one renewal at a time.

use std::time::Duration;

use dari::connectors::Sink;
use dari::connectors::client::SendError;
use dari::connectors::sandbox::Fault;
use dari::connectors::works::{MANIFEST, sandbox};
use dari::outcome::{Outcome, Scope, Verb};
use serde_json::{Value, json};

use crate::world::{Op, Tried, World};

const ACCOUNT: &str =
    "{ daou: { works: { client_id: sandbox, client_secret: sandbox-secret, auth: oauth, url: 'URL' } } }";
const SINK: &str = "{ works: { account: daou, token: sandbox-token, key: id, fields: { id: text } } }";

async fn world(state: Value) -> (World, Box<dyn Sink>) {
    let world = World::of(&MANIFEST).await;
    world.switch(state).await;
    let sink = world.sink(ACCOUNT, SINK);
    (world, sink)
}

async fn made(world: &World) -> Value {
    world.served.state().await["tokens"]["made"].clone()
}

fn create(id: &str) -> Op {
    Op::new(Verb::Create, json!({ "id": id }))
}

#[tokio::test]
async fn the_secret_is_shown_to_the_token_endpoint_alone() {
    let (world, sink) = world(json!({ "auth": "oauth" })).await;
    assert_eq!(world.delivered(&*sink, &create("1")).await.as_deref(), Some("1"));
    let call = world.call(&*sink, &create("1")).unwrap();
    let sent: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(sent, json!({ "clientId": "sandbox", "token": "sandbox-token", "params": { "id": "1" } }));
    let probe = sink.probe().unwrap();
    assert!(probe.headers["authorization"].is_sensitive());
    let seen = format!("{call:?} {probe:?}");
    assert!(!seen.contains(sandbox::CLIENT_SECRET) && !seen.contains(sandbox::TOKEN), "{seen}");
    let paths: Vec<String> = world.served.calls.all().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, ["/public/auth/v1/oauth2/token", "/public/v1/works"]);
}

#[tokio::test]
async fn where_works_wants_the_secret_beside_the_token_both_are_sent() {
    let (world, oauth) = world(json!({ "auth": "both" })).await;
    let refused = world.outcome(&*oauth, &create("1")).await;
    assert!(matches!(&refused, Outcome::Suspend { why, .. } if why.starts_with("code 902")), "{refused:?}");
    let both = world.sink(&ACCOUNT.replace("auth: oauth", "auth: both"), SINK);
    world.delivered(&*both, &create("1")).await;
    let body = world.sink(&ACCOUNT.replace("auth: oauth, ", ""), SINK);
    let refused = world.outcome(&*body, &create("2")).await;
    assert!(matches!(&refused, Outcome::Suspend { what: Scope::Account, .. }), "phased out: {refused:?}");
    assert!(body.probe().is_none(), "without a token there is no harmless call");
}

#[tokio::test]
async fn one_token_serves_until_a_minute_before_its_end() {
    let (world, sink) = world(json!({ "tokens": { "good_for": 3_600 } })).await;
    let other = world.sink(ACCOUNT, &SINK.replace("key: id", "key: no").replace("id: text", "no: text, id: text"));
    let (a, b) = (create("1"), create("2"));
    let both = tokio::join!(world.delivered(&*sink, &a), world.delivered(&*sink, &b));
    assert_eq!((both.0.as_deref(), both.1.as_deref()), (Some("1"), Some("2")));
    world.advance(Duration::from_secs(3_600 - 61));
    world.delivered(&*sink, &create("3")).await;
    let by_other = Op::new(Verb::Create, json!({ "no": "4", "id": "4" }));
    world.delivered(&*other, &by_other).await;
    assert_eq!(made(&world).await, 1, "two at once, and two sinks of the account, share it");
    world.advance(Duration::from_secs(2));
    world.delivered(&*sink, &create("5")).await;
    assert_eq!(made(&world).await, 2);
}

#[tokio::test]
async fn a_token_that_ended_early_is_replaced_once() {
    let (world, sink) = world(json!({})).await;
    world.delivered(&*sink, &create("1")).await;
    world.switch(json!({ "tokens": { "revoke": true } })).await;
    world.delivered(&*sink, &create("2")).await;
    assert_eq!(made(&world).await, 2);
    // One that is good for nothing: refused, renewed, refused.
    world.switch(json!({ "tokens": { "revoke": true, "good_for": -1 } })).await;
    let refused = world.outcome(&*sink, &create("3")).await;
    assert!(matches!(&refused, Outcome::Suspend { what: Scope::Account, until: None, .. }), "{refused:?}");
    assert_eq!(made(&world).await, 3);
}

#[tokio::test]
async fn refused_credentials_stop_the_account_and_a_failure_does_not() {
    let (world, sink) = world(json!({})).await;
    for (fault, passing) in
        [(Fault::ServerError, true), (Fault::TooManyRequests { after: 9 }, true), (Fault::Garbage, true)]
    {
        world.served.faults.next(fault, 1);
        let Tried::Unanswered(error) = world.try_it(&*sink, &create("1")).await else { panic!("answered") };
        assert_eq!(matches!(error, SendError::NotSent(_)), passing, "{error:?}");
    }
    assert_eq!(world.served.state().await["records"], json!([]), "nothing was sent without a token");

    for (key, account) in [
        ("901", ACCOUNT.replace("client_id: sandbox", "client_id: other")),
        ("902", ACCOUNT.replace("sandbox-secret", "hunter2")),
    ] {
        let world = World::of(&MANIFEST).await;
        let sink = world.sink(&account, SINK);
        let Tried::Unanswered(SendError::Refused(why)) = world.try_it(&*sink, &create("1")).await else {
            panic!("{key}")
        };
        assert!(why.contains(&format!("HTTP 401: code {key}")) && !why.contains("hunter2"), "{why}");
        let probe = sink.probe().unwrap();
        let outcome = sink.classify(&probe, &world.send(&probe).await.unwrap());
        assert!(matches!(&outcome, Outcome::Suspend { what: Scope::Account, .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn the_probe_is_a_call_for_a_token_and_touches_no_record() {
    let (world, sink) = world(json!({})).await;
    let probe = sink.probe().unwrap();
    let good = sink.classify(&probe, &world.send(&probe).await.unwrap());
    assert_eq!(good, Outcome::Delivered { remote_id: None });
    world.served.faults.next(Fault::ServerError, 1);
    let bad = sink.classify(&probe, &world.send(&probe).await.unwrap());
    assert_eq!(bad.name(), "retry");
    let state = world.served.state().await;
    assert_eq!((&state["records"], &state["quota"]["used"]), (&json!([]), &json!(0)));
}
