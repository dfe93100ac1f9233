//! Daou Office Works where its page contradicts itself or says nothing: each reading is a switch of the sandbox.

use dari::connectors::works::{MANIFEST, sandbox};
use dari::connectors::{Call, Sink};
use dari::outcome::{Outcome, Scope, Verb};
use http::Method;
use serde_json::{Value, json};

use crate::world::{Op, World};

const ACCOUNT: &str = "{ daou: { works: { client_id: sandbox, client_secret: sandbox-secret, url: 'URL' } } }";
const SINK: &str = "{ works: { account: daou, token: sandbox-token, key: id, fields: { id: text, Title: text, \
                    content: multitext, number: number, dropbox: dropbox, checkbox: checkbox, radio: radio, \
                    listbox: listbox, date: date, time: time, datetime: datetime } } }";

async fn world(switches: Value) -> (World, Box<dyn Sink>) {
    let world = World::of(&MANIFEST).await;
    world.switch(switches).await;
    let sink = world.sink(ACCOUNT, SINK);
    (world, sink)
}

fn create(id: &str) -> Op {
    Op::new(Verb::Create, json!({ "id": id, "Title": "x" }))
}

async fn records(world: &World) -> Value {
    world.served.state().await["records"].clone()
}

#[tokio::test]
async fn a_yes_and_a_no_are_understood_however_they_are_written() {
    for answers in ["flat", "wrapped", "number", "page"] {
        for statuses in [false, true] {
            let (world, sink) =
                world(json!({ "answers": answers, "statuses": statuses, "quota": { "limit": 2 } })).await;
            assert_eq!(world.delivered(&*sink, &create("1")).await.as_deref(), Some("1"), "{answers}");
            let gone = world.outcome(&*sink, &Op::new(Verb::Delete, json!({})).linked("2")).await;
            assert!(matches!(&gone, Outcome::Reject { why } if why.starts_with("code 955: ")), "{answers}: {gone:?}");
            let over = world.outcome(&*sink, &create("3")).await;
            let Outcome::Suspend { what: Scope::Account, until: Some(_), why } = over else { panic!("{answers}") };
            assert!(why.starts_with("code 905: "), "{why}");
        }
    }
}

#[tokio::test]
async fn every_component_arrives_as_the_page_writes_it() {
    let (world, sink) = world(json!({})).await;
    let fields = json!({
        "id": 1, "Title": "제목 생성", "content": "가\n나", "number": "12.50", "dropbox": "드롭2", "checkbox": ["체크1", "체크2"],
        "radio": "옵션1", "listbox": [1, "2", 3], "date": "2024-11-04", "time": "13:00:00", "datetime": "2024-11-04T04:00:00Z",
    });
    world.delivered(&*sink, &Op::new(Verb::Create, fields)).await;
    insta::assert_snapshot!(
        records(&world).await[0],
        @r#"{"id":"1","Title":"제목 생성","content":"가\n나","number":12.50,"dropbox":["드롭2"],"checkbox":["체크1","체크2"],"radio":"옵션1","listbox":[1,2,3],"date":"2024-11-04","time":"13:00","datetime":"2024-11-04 13:00"}"#
    );
    let cleared = json!({ "Title": null, "checkbox": null, "date": null });
    world.delivered(&*sink, &Op::new(Verb::Update, cleared).linked("1")).await;
    let record = &records(&world).await[0];
    assert_eq!((&record["Title"], &record["checkbox"], &record["date"]), (&json!(""), &json!([]), &json!("")));
}

#[tokio::test]
async fn the_client_id_is_always_sent() {
    for without_client_id in [true, false] {
        let (world, sink) = world(json!({ "without_client_id": without_client_id })).await;
        for op in
            [create("1"), Op::new(Verb::Update, json!({})).linked("1"), Op::new(Verb::Delete, json!({})).linked("1")]
        {
            let sent: Value = serde_json::from_slice(&world.call(&*sink, &op).unwrap().body).unwrap();
            assert_eq!(sent["clientId"], sandbox::CLIENT_ID);
            world.delivered(&*sink, &op).await;
        }
    }
    // The page's examples, sent as they are.
    let body = json!({ "clientSecret": sandbox::CLIENT_SECRET, "token": sandbox::TOKEN, "params": { "id": "1" } });
    for (without_client_id, code) in [(true, "200"), (false, "901")] {
        let (world, _) = world(json!({ "without_client_id": without_client_id })).await;
        let url = format!("{}/public/v1/works", world.served.url).parse().unwrap();
        let answer = world.send(&Call::new(Method::POST, url).json(&body)).await.unwrap();
        assert_eq!(answer.json().unwrap()["code"], code);
    }
}

#[tokio::test]
async fn a_key_that_is_there_makes_a_second_record_or_is_refused() {
    let (open, sink) = world(json!({})).await;
    for _ in 0..2 {
        open.delivered(&*sink, &create("1")).await;
    }
    assert_eq!(records(&open).await.as_array().unwrap().len(), 2);

    let (strict, sink) = world(json!({ "unique": true })).await;
    strict.delivered(&*sink, &create("1")).await;
    assert_eq!(strict.outcome(&*sink, &create("1")).await.name(), "reject");
}

#[tokio::test]
async fn a_key_that_is_not_there_is_refused_or_nothing_happens() {
    for (lenient, name) in [(false, "reject"), (true, "delivered")] {
        let (world, sink) = world(json!({ "lenient": lenient })).await;
        for op in [Op::new(Verb::Update, json!({ "Title": "x" })), Op::new(Verb::Delete, json!({}))] {
            assert_eq!(world.outcome(&*sink, &op.linked("9")).await.name(), name);
        }
        assert_eq!(records(&world).await, json!([]));
    }
}

#[tokio::test]
async fn a_change_names_the_key_and_what_is_mapped_whether_works_merges_or_replaces() {
    for (whole, left) in
        [(false, json!({ "id": "1", "Title": "y", "content": "c" })), (true, json!({ "id": "1", "Title": "y" }))]
    {
        let (world, sink) = world(json!({ "whole": whole })).await;
        world.delivered(&*sink, &Op::new(Verb::Create, json!({ "id": "1", "Title": "x", "content": "c" }))).await;
        world.delivered(&*sink, &Op::new(Verb::Update, json!({ "Title": "y" })).linked("1")).await;
        assert_eq!(records(&world).await, json!([left]));
    }
}

#[tokio::test]
async fn each_code_stops_what_it_names() {
    for (code, name) in
        [("903", "suspend"), ("904", "suspend"), ("927", "reject"), ("928", "reject"), ("999", "reject")]
    {
        let (world, sink) = world(json!({ "refuse": code })).await;
        let outcome = world.outcome(&*sink, &create("1")).await;
        assert_eq!(outcome.name(), name, "{code}");
        assert!(outcome.why().unwrap_or_default().starts_with(&format!("code {code}: ")), "{outcome:?}");
    }
}

#[tokio::test]
async fn the_stand_in_takes_only_what_the_page_shows() {
    let (world, sink) = world(json!({})).await;
    let cases = [
        (json!({ "id": "1", "listbox": ["a"] }), "925", "listbox"),
        (json!({ "id": "1", "checkbox": "a" }), "925", "checkbox"),
        (json!({ "id": "1", "date": "04.11.2024" }), "925", "date"),
        (json!({ "id": "1", "time": "1300" }), "925", "time"),
        (json!({ "id": "1", "datetime": "2024-11-04T13:00" }), "925", "datetime"),
        (json!({ "id": "1", "number": "12" }), "925", "number"),
        (json!({ "Title": "no key" }), "925", "id"),
    ];
    for (params, code, field) in cases {
        let mut call = world.call(&*sink, &create("1")).unwrap();
        let mut body: Value = serde_json::from_slice(&call.body).unwrap();
        body["params"] = params;
        call.body = body.to_string().into();
        let said = world.send(&call).await.unwrap().json().unwrap();
        assert_eq!((said["code"].as_str(), said["messageDetail"].as_str()), (Some(code), Some(field)));
    }
    let mut call = world.call(&*sink, &create("1")).unwrap();
    call.headers.insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(world.send(&call).await.unwrap().status.as_u16(), 415);
    call.method = Method::GET;
    assert_eq!(world.send(&call).await.unwrap().status.as_u16(), 405, "nothing can be read back");
    assert_eq!(records(&world).await, json!([]));
}
