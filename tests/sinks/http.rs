//! The http sink against its sandbox and against receivers that say no.

use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dari::clock::Clock;
use dari::connectors::http::MANIFEST;
use dari::connectors::sandbox::Fault;
use dari::connectors::{Ask, OnDoubt, Sink};
use dari::outcome::{Outcome, Verb};
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{Op, Tried, World, in_doubt};

async fn world(keys: &str) -> (World, Box<dyn Sink>) {
    let world = World::of(&MANIFEST).await;
    let sink = world.sink("{}", &format!("{{ http: {{ url: 'URL/api', allow_private: true{keys} }} }}"));
    (world, sink)
}

/// A receiver that gives one answer, whatever comes.
async fn answering(status: u16, headers: &'static [(&'static str, &'static str)], body: &'static str) -> World {
    let answer = move || async move {
        let mut response: Response = (StatusCode::from_u16(status).unwrap(), body).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    };
    World::serving(Router::new().fallback(answer), Clock::manual("2026-11-21T03:04:05Z".parse().unwrap())).await
}

fn create(fields: Value) -> Op {
    Op::new(Verb::Create, fields)
}

#[tokio::test]
async fn each_verb_has_its_method_and_a_request_has_its_own() {
    let (world, sink) = world(", accept: \"body.result == 'OK'\", id: '{{ body.no }}'").await;
    assert_eq!(world.delivered(&*sink, &create(json!({ "a": 1 }))).await.as_deref(), Some("1"));
    world.delivered(&*sink, &Op::new(Verb::Update, json!({ "a": 2 })).linked("1").webhook_id("dlv_2")).await;
    world.delivered(&*sink, &Op::new(Verb::Delete, json!({})).linked("1").webhook_id("dlv_3")).await;
    let patch = Op::new(Verb::Update, json!({ "a": 3 })).linked("1").webhook_id("dlv_4");
    world.delivered(&*sink, &patch.request(Method::PATCH, "/rows/1?dry=no")).await;
    let calls = world.served.calls.all();
    let seen: Vec<String> = calls.iter().map(|c| format!("{} {} {}", c.method, c.path, c.body)).collect();
    insta::assert_snapshot!(seen.join("\n"), @r#"
    POST /api {"a":1}
    PUT /api {"a":2}
    DELETE /api 
    PATCH /api/rows/1?dry=no {"a":3}
    "#);
}

#[tokio::test]
async fn a_repetition_bears_the_same_webhook_id() {
    let (world, sink) = world(", id: '{{ body.no }}'").await;
    world.served.faults.next(Fault::ResetAfter, 1);
    assert!(in_doubt(&world.try_it(&*sink, &create(json!({ "a": 1 }))).await));
    assert_eq!(sink.on_doubt(Verb::Create), OnDoubt::Retry);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.delivered(&*sink, &create(json!({ "a": 1 }))).await.as_deref(), Some("1"));
    let state = world.served.state().await;
    assert_eq!((&state["repeats"], &state["received"]["dlv_1"]["times"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn the_signature_is_that_of_standard_webhooks() {
    let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let (world, sink) = world(&format!(", secret: [whsec_{secret}, AAAA]")).await;
    let call = world.call(&*sink, &create(json!({ "이름": "김하나" }))).unwrap();
    let header = |name: &str| call.headers[name].to_str().unwrap().to_owned();
    assert_eq!((header("webhook-id"), header("webhook-timestamp")), ("dlv_1".into(), "1795230245".into()));
    let signed = [b"dlv_1.1795230245.".as_slice(), &call.body].concat();
    let signature = |key: &str| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&STANDARD.decode(key).unwrap()).unwrap();
        mac.update(&signed);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    assert_eq!(header("webhook-signature"), format!("{} {}", signature(secret), signature("AAAA")));
    assert!(!format!("{call:?}").contains(secret));
}

#[tokio::test]
async fn credentials_and_headers_are_sent_and_not_seen() {
    for (auth, name, value) in [
        ("{ bearer: hunter2 }", "authorization", "Bearer hunter2"),
        ("{ basic: { user: me, password: hunter2 } }", "authorization", "Basic bWU6aHVudGVyMg=="),
        ("{ header: { name: X-Api-Key, value: hunter2 } }", "x-api-key", "hunter2"),
    ] {
        let (world, sink) = world(&format!(", auth: {auth}, headers: {{ X-Tenant: acme }}")).await;
        let call = world.call(&*sink, &create(json!({ "a": 1 }))).unwrap();
        assert_eq!((call.headers[name].to_str().unwrap(), call.headers[name].is_sensitive()), (value, true));
        assert_eq!(call.headers["x-tenant"], "acme");
        assert!(!format!("{call:?}{:?}{}", call.headers, call.shown).contains("hunter2"));
    }
}

#[tokio::test]
async fn a_private_address_is_refused_unless_allowed() {
    let world = World::of(&MANIFEST).await;
    let sink = world.sink("{}", "{ http: { url: 'URL/api' } }");
    let Tried::Unanswered(error) = world.try_it(&*sink, &create(json!({}))).await else { panic!("sent") };
    insta::assert_snapshot!(
        error,
        @"not sent: 127.0.0.1 is not a public address; if it is meant, set `allow_private: true`"
    );
    assert_eq!(world.served.calls.count(), 0);
}

#[tokio::test]
async fn statuses_mean_what_they_say() {
    let (itself, below) = (None, Some((Method::POST, "/x")));
    let cases = [
        (204, itself.clone(), "delivered"),
        (301, itself.clone(), "reject"),
        (400, itself.clone(), "reject"),
        (401, itself.clone(), "suspend account"),
        (403, below.clone(), "reject"),
        (404, itself.clone(), "suspend sink"),
        (404, below.clone(), "reject"),
        (405, itself.clone(), "suspend sink"),
        (408, itself.clone(), "retry"),
        (409, itself.clone(), "reject"),
        (410, itself.clone(), "suspend sink"),
        (410, below.clone(), "reject"),
        (404, Some((Method::DELETE, "/x")), "delivered"),
        (410, Some((Method::DELETE, "/x")), "delivered"),
        (413, itself.clone(), "reject"),
        (422, itself.clone(), "reject"),
        (425, itself.clone(), "retry"),
        (429, itself.clone(), "retry account"),
        (500, itself.clone(), "retry"),
        (502, itself.clone(), "retry"),
        (504, itself, "retry"),
    ];
    for (status, request, expected) in cases {
        let world = answering(status, &[], "").await;
        let sink = world.sink("{}", "{ http: { url: 'URL/api', allow_private: true } }");
        let mut op = create(json!({ "a": 1 }));
        if let Some((method, path)) = &request {
            op = op.request(method.clone(), path);
        }
        let outcome = world.outcome(&*sink, &op).await;
        let found = match &outcome {
            Outcome::Suspend { what, .. } => format!("suspend {}", what.name()),
            Outcome::Retry { account: true, .. } => "retry account".to_owned(),
            other => other.name().to_owned(),
        };
        assert_eq!(found, expected, "{status} {request:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let world = answering(302, &[("location", "https://erp.acme.kr/login?state=hunter2")], "").await;
    let sink = world.sink("{}", "{ http: { url: 'URL/api', allow_private: true } }");
    let outcome = world.outcome(&*sink, &create(json!({}))).await;
    insta::assert_snapshot!(
        outcome.why().unwrap(),
        @"HTTP 302: redirected to https://erp.acme.kr/login, which is not followed: set the sink's `url`"
    );
    assert_eq!(world.served.calls.count(), 1);
}

#[tokio::test]
async fn retry_after_is_heard_in_both_forms() {
    for (header, seconds) in [("120", 120), ("Sat, 21 Nov 2026 03:05:05 GMT", 60)] {
        let headers: &'static [(&str, &str)] = Box::leak(Box::new([("retry-after", header)]));
        let world = answering(503, headers, "").await;
        let sink = world.sink("{}", "{ http: { url: 'URL/api', allow_private: true } }");
        let outcome = world.outcome(&*sink, &create(json!({}))).await;
        let Outcome::Retry { after: Some(after), account: false, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(after.as_secs(), seconds, "{header}");
    }
}

#[tokio::test]
async fn a_yes_is_what_accept_says() {
    let world = answering(200, &[], r#"{"result":"FULL","no":7}"#).await;
    let outcome = async |keys: &str| {
        let sink = world.sink("{}", &format!("{{ http: {{ url: 'URL', allow_private: true, {keys} }} }}"));
        world.outcome(&*sink, &create(json!({}))).await
    };
    let told = Mutex::new(Vec::new());
    for keys in ["accept: \"body.result == 'OK'\"", "accept: body.ok", "accept: body.result", "id: '{{ body.id }}'"] {
        let outcome = outcome(keys).await;
        told.lock().unwrap().push(format!("{}: {}", outcome.name(), outcome.why().unwrap_or_default()));
    }
    insta::assert_snapshot!(told.into_inner().unwrap().join("\n"), @r#"
    reject: not accepted: body.result == 'OK' (body.result is 'FULL'): HTTP 200: {"result":"FULL","no":7}
    reject: not accepted: body.ok is missing: HTTP 200: {"result":"FULL","no":7}
    reject: `accept`: the result is 'FULL', not true or false in `body.result`: HTTP 200: {"result":"FULL","no":7}
    reject: the receiver accepted it, but `id` found nothing in its answer (body.id is missing in `body.id`): HTTP 200: {"result":"FULL","no":7}
    "# );
    assert_eq!(
        outcome("accept: status == 200 and body.result == 'FULL', id: 'no-{{ body.no }}'").await,
        Outcome::Delivered { remote_id: Some("no-7".to_owned()) }
    );
}

#[tokio::test]
async fn faults_leave_what_they_leave() {
    let (world, sink) = world("").await;
    let fault = |fault| world.served.faults.next(fault, 1);
    let op = create(json!({ "a": 1 }));
    fault(Fault::TooManyRequests { after: 7 });
    let limited = world.outcome(&*sink, &op).await;
    assert!(matches!(limited, Outcome::Retry { after: Some(after), account: true, .. } if after.as_secs() == 7));
    fault(Fault::ServerError);
    assert_eq!(world.outcome(&*sink, &op).await.name(), "retry");
    for doubtful in [Fault::ResetBefore, Fault::ResetAfter, Fault::Timeout] {
        fault(doubtful);
        assert!(in_doubt(&world.try_it(&*sink, &op).await), "{doubtful:?}");
    }
    assert!(!world.call(&*sink, &op).unwrap().idempotent);
    for method in [Method::PUT, Method::DELETE] {
        assert!(world.call(&*sink, &create(json!({ "a": 1 })).request(method, "/x")).unwrap().idempotent);
    }
    let told = world.sink("{}", "{ http: { url: 'URL', idempotent: true, timeout: 5s } }");
    assert!(world.call(&*told, &op).unwrap().idempotent);
}

#[tokio::test]
async fn a_config_that_cannot_work_is_told() {
    let world = World::of(&MANIFEST).await;
    let told: Vec<String> = [
        "{ http: { url: 'https://me:hunter2@erp.acme.kr' } }",
        "{ http: { url: 'https://erp.acme.kr/#top' } }",
        "{ http: { url: 'https://erp.acme.kr', secret: 'not base64!' } }",
        "{ http: { url: 'https://erp.acme.kr', headers: { 'bad name': x, webhook-id: y, Host: z } } }",
        "{ http: { url: 'https://erp.acme.kr', auth: { bearer: x, basic: y } } }",
        "{ http: { url: 'https://erp.acme.kr', accept: 'body.a ==' } }",
        "{ http: { url: 'https://erp.acme.kr', find: { path: 'x/{{ webhook_id }}', id: '{{ itme.no }}' } } }",
        "{ http: { url: 'https://erp.acme.kr', find: { path: '/{{ match.x }}', items: '{{ item }}' } } }",
    ]
    .into_iter()
    .map(|sink| world.try_sink("{}", sink).err().expect("a fault"))
    .collect();
    let told = told.join("\n");
    assert!(!told.contains("hunter2"), "{told}");
    insta::assert_snapshot!(told, @r#"
    dari.yaml:3:21: user and password do not belong into the URL: put them under `auth: { basic: … }`
    dari.yaml:3:21: a URL with a `#` part leads nowhere else than without it: leave it out
    dari.yaml:3:52: a Standard Webhooks secret is `whsec_` and base64, or base64 alone
    dari.yaml:3:55: "bad name" is no name of a header
    dari.yaml:3:70: the header `webhook-id` is set by Dari
    dari.yaml:3:85: the header `host` is set by Dari
    dari.yaml:3:50: `auth`: expected a mapping with exactly one key, `bearer`, `basic` or `header`, found a mapping
    dari.yaml:3:60: unexpected end of input, expected expression
    dari.yaml:3:58: a path starts with one `/`: the host is the sink's, and never data
    dari.yaml:3:84: there is no `itme` here; there are item
    dari.yaml:3:50: `id` is missing in `find`; expected a template as text
    "#);
}

#[tokio::test]
async fn what_the_receiver_has_is_found() {
    let world = World::of(&MANIFEST).await;
    let sink = |find: &str| world.sink("{}", &format!("{{ http: {{ url: URL, allow_private: true, find: {find} }} }}"));
    let one = sink("{ path: '/received/{{ webhook_id }}', id: '{{ item.no }}' }");
    let list = sink("{ path: '/received?s={{ fields.s }}', items: '{{ body.items }}', id: '{{ item.no }}' }");
    let now = world.clock.now();
    let op = create(json!({ "s": "a b" })).webhook_id("msg_1");
    for sink in [&one, &list] {
        assert_eq!(sink.on_doubt(Verb::Create), OnDoubt::Find);
        assert_eq!(world.asked(&**sink, &op, now).await, Ok(vec![]));
    }
    world.delivered(&*one, &op).await;
    for sink in [&one, &list] {
        assert_eq!(world.asked(&**sink, &op, now).await, Ok(vec!["1".to_owned()]));
    }
    world.delivered(&*one, &op.webhook_id("msg_2")).await;
    let op = create(json!({ "s": "a b" })).webhook_id("msg_2");
    assert_eq!(world.asked(&*list, &op, now).await, Ok(vec!["1".to_owned(), "2".to_owned()]));
    // Only what goes by the record's own values finds what others made.
    assert_eq!((one.matches(), list.matches()), (false, true));
    let values = json!({ "s": "a b" });
    let question = Ask::Match(values.as_object().unwrap());
    assert!(one.ask(&question).is_none());
    let answer = world.send(&list.ask(&question).unwrap().unwrap()).await.unwrap();
    assert_eq!(list.answered(&question, &answer).unwrap().len(), 2);
    for (fields, why) in [(json!({ "s": "" }), "a value in it is empty"), (json!({}), "fields.s is missing")] {
        let refused = world.question(&*list, &create(fields), now).unwrap().expect_err("refused");
        assert!(refused.contains(why), "{refused}");
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_say_is_not_taken_for_a_no() {
    let world = World::of(&MANIFEST).await;
    let sink = |find: &str| world.sink("{}", &format!("{{ http: {{ url: URL, allow_private: true, find: {find} }} }}"));
    let one = sink("{ path: '/received/{{ webhook_id }}', id: '{{ item.no }}' }");
    let list = sink("{ path: '/received?s={{ fields.s }}', items: '{{ body.items }}', id: '{{ item.no }}' }");
    let wrong = sink("{ path: '/receiveds/{{ fields.s }}', items: '{{ body.items }}', id: '{{ item.no }}' }");
    let noless = sink("{ path: '/received?s={{ fields.s }}', items: '{{ body.items }}', id: '{{ item.nummer }}' }");
    let op = create(json!({ "s": "a" }));
    world.delivered(&*one, &op).await;
    let mut told = Vec::new();
    for (sink, fault) in [
        (&one, Some(Fault::ServerError)),
        (&one, Some(Fault::TooManyRequests { after: 3 })),
        (&one, Some(Fault::Garbage)),
        (&list, Some(Fault::Garbage)),
        (&wrong, None),
        (&noless, None),
    ] {
        if let Some(fault) = fault {
            world.served.faults.next(fault, 1);
        }
        let outcome = world.asked(&**sink, &op, world.clock.now()).await.unwrap_err();
        told.push(format!("{}: {}", outcome.name(), outcome.why().unwrap_or_default()));
    }
    insta::assert_snapshot!(told.join("\n").replace('\u{fffd}', "?"), @r#"
    retry: HTTP 500: internal server error
    retry: HTTP 429: too many requests
    retry: the answer is neither a record nor a list of them: HTTP 200: <html><body>? proxy status: fine
    retry: `items`: body.items is missing in `body.items`: HTTP 200: <html><body>? proxy status: fine
    reject: HTTP 400: {"error":"no webhook-id"}
    reject: `find.id`: item.nummer is missing in `item.nummer`: HTTP 200: {"items":[{"no":"1"}]}
    "#);
}

#[tokio::test]
async fn no_data_changes_the_host() {
    let (world, sink) = world("").await;
    let below = format!("{}/api", world.served.url);
    let paths = "\\PC{0,30}|[./%2eE\\\\?#:@ a-z]{0,20}|(//|/\\\\|@|\\\\\\\\)[a-z.]{1,8}/.*";
    proptest!(|(path in paths)| {
        if let Ok(call) = world.call(&*sink, &create(json!({})).request(Method::POST, &path)) {
            let rest = call.url.as_str().strip_prefix(&below);
            prop_assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?'])), "{}", call.url);
        }
    });
}
