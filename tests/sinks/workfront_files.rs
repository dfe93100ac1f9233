//! Documents for Workfront: from which hosts, how long, and what becomes of them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use dari::connectors::client::SendError;
use dari::connectors::sandbox::Fault;
use dari::connectors::workfront::sandbox;
use dari::connectors::{Answer, Sink};
use dari::outcome::{Outcome, Verb};
use http::StatusCode;
use serde_json::{Value, json};

use crate::workfront::world;
use crate::world::{Op, World};

type Asked = Arc<Mutex<Vec<String>>>;

/// A host with files; its URL, and what it was asked for.
async fn files() -> (String, Asked) {
    let asked = Asked::default();
    let app = Router::new().route("/{name}", get(file)).with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, asked)
}

async fn file(State(asked): State<Asked>, Path(name): Path<String>) -> Response {
    asked.lock().unwrap().push(name.clone());
    match name.as_str() {
        "plan.pdf" => vec![b'x'; 2_000_000].into_response(),
        "moved.pdf" => Redirect::temporary("/plan.pdf").into_response(),
        "away.pdf" => Redirect::temporary("http://169.254.169.254/latest/meta-data").into_response(),
        "round.pdf" => Redirect::temporary("/round.pdf").into_response(),
        "busy.pdf" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn sink(world: &World, hosts: &str, more: &str) -> Box<dyn Sink> {
    let account =
        "{ wf: { workfront: { host: acme.my.workfront.com, auth: { api_key: sandboxkey0123456789 }, url: 'URL' } } }";
    world.sink(account, &format!("{{ workfront: {{ account: wf, object: proj, fetch_hosts: ['{hosts}']{more} }} }}"))
}

fn upload(url: &str) -> Op {
    Op::new(Verb::Upload, json!({ "url": url })).linked(sandbox::PROJECT)
}

async fn sent(world: &World, sink: &dyn Sink, op: &Op) -> Result<Outcome, SendError> {
    let call = world.call(sink, op).unwrap_or_else(|why| panic!("{why}"));
    let answer: Answer = sink
        .send(&world.client, &dari::connectors::Call { timeout: dari::connectors::call::TIMEOUT, ..call.clone() })
        .await?;
    Ok(sink.classify(&call, &answer))
}

async fn documents(world: &World) -> Vec<Value> {
    let objects = world.served.state().await["objects"].clone();
    objects.as_array().unwrap().iter().filter(|object| object["objCode"] == "DOCU").cloned().collect()
}

const PLAIN: &str = "{ workfront: { account: wf, object: proj } }";

#[tokio::test]
async fn a_file_becomes_a_document_of_the_object() {
    let (world, _) = world(PLAIN).await;
    let (url, _) = files().await;
    let sink = sink(&world, &url, ", allow_private: true");
    for (path, name) in [("/plan.pdf?token=hunter2", "plan.pdf"), ("/moved.pdf", "moved.pdf")] {
        let op = upload(&format!("{url}{path}"));
        assert!(!format!("{:?}", world.call(&*sink, &op).unwrap()).contains("hunter2"));
        let outcome = sent(&world, &*sink, &op).await.unwrap();
        assert_eq!(outcome, Outcome::Delivered { remote_id: Some(sandbox::PROJECT.to_owned()) }, "the link stays");
        let document = documents(&world).await.pop().unwrap();
        assert_eq!(
            (&document["name"], &document["docObjCode"], &document["objID"]),
            (&json!(name), &json!("PROJ"), &json!(sandbox::PROJECT))
        );
        assert_eq!(document["currentVersion"], json!({ "version": "v1.0", "fileName": name }));
        let file = world.served.state().await["files"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&file["handle"], &file["bytes"]), (&document["handle"], &json!(2_000_000)));
    }
    let named =
        Op::new(Verb::Upload, json!({ "url": format!("{url}/plan.pdf"), "name": "\"계획\".pdf", "description": "x" }))
            .linked(sandbox::PROJECT);
    sent(&world, &*sink, &named).await.unwrap();
    let document = documents(&world).await.pop().unwrap();
    assert_eq!((&document["name"], &document["description"]), (&json!("\"계획\".pdf"), &json!("x")));
}

#[tokio::test]
async fn only_named_hosts_are_asked_and_by_https_unless_told() {
    let (world, _) = world(PLAIN).await;
    let (url, asked) = files().await;
    let host = url.strip_prefix("http://").unwrap();
    let by_https = sink(&world, host, ", allow_private: true");
    let elsewhere = sink(&world, "files.acme.kr", ", allow_private: true");
    for (sink, op) in
        [(&by_https, upload(&format!("{url}/plan.pdf"))), (&elsewhere, upload(&format!("{url}/plan.pdf")))]
    {
        let why = world.call(&**sink, &op).unwrap_err();
        assert!(why.contains("is none of the sink's `fetch_hosts`"), "{why}");
    }
    for trick in [
        "https://files.acme.kr@evil.example/a",
        "https://x:y@files.acme.kr/a",
        "https://files.acme.kr.evil.example/a",
        "file:///etc/passwd",
        "//files.acme.kr/a",
    ] {
        assert!(world.call(&*elsewhere, &upload(trick)).is_err(), "{trick}");
    }
    let private = sink(&world, &url, "");
    let refused = sent(&world, &*private, &upload(&format!("{url}/plan.pdf"))).await;
    assert!(matches!(&refused, Err(SendError::NotSent(why)) if why.contains("not a public address")), "{refused:?}");
    assert!(asked.lock().unwrap().is_empty() && documents(&world).await.is_empty());
}

#[tokio::test]
async fn a_redirect_to_another_host_or_a_long_file_is_refused() {
    let (world, _) = world(PLAIN).await;
    let (url, _) = files().await;
    let wide = sink(&world, &url, ", allow_private: true");
    let narrow = sink(&world, &url, ", allow_private: true, fetch_limit: 1MiB");
    let cases = [
        (&wide, "away.pdf", "leads to another"),
        (&wide, "round.pdf", "redirects"),
        (&wide, "gone.pdf", "HTTP 404"),
        (&narrow, "plan.pdf", "1048576 bytes"),
    ];
    for (sink, name, expected) in cases {
        let outcome = sent(&world, &**sink, &upload(&format!("{url}/{name}"))).await.unwrap();
        assert!(matches!(&outcome, Outcome::Reject { why } if why.contains(expected)), "{name}: {outcome:?}");
    }
    assert!(documents(&world).await.is_empty());
}

#[tokio::test]
async fn what_fails_before_the_document_is_made_has_done_nothing() {
    let (world, _) = world(PLAIN).await;
    let (url, _) = files().await;
    let sink = sink(&world, &url, ", allow_private: true");
    let op = upload(&format!("{url}/plan.pdf"));
    let busy = sent(&world, &*sink, &upload(&format!("{url}/busy.pdf"))).await;
    assert!(matches!(busy, Err(SendError::NotSent(_))), "{busy:?}");
    for fault in [Fault::ResetAfter, Fault::ServerError, Fault::Garbage] {
        let order = json!({ "path": "/attask/api/v15.0/upload" });
        let mut order: dari::connectors::sandbox::Order =
            serde_json::from_value(json!({ "fault": "server-error", "path": order["path"] })).unwrap();
        order.fault = fault;
        world.served.faults.order(order);
        let failed = sent(&world, &*sink, &op).await;
        assert!(matches!(failed, Err(SendError::NotSent(_))), "{fault:?}: {failed:?}");
    }
    assert!(documents(&world).await.is_empty());
    // The document itself: it may be there.
    let order = json!({ "fault": "reset-after", "path": "/attask/api/v15.0/document" });
    world.served.faults.order(serde_json::from_value(order).unwrap());
    assert!(matches!(sent(&world, &*sink, &op).await, Err(SendError::NoAnswer(_))));
    assert_eq!(documents(&world).await.len(), 1);
}
