//! Several deliveries in one call: at a made-up vendor that takes lists of records.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use dari::connectors::call::TIMEOUT;
use dari::connectors::sandbox::{self, Fault, Served};
use dari::connectors::{Answer, Ask, Build, Built, Call, Manifest, OnDoubt, Operation, Sink, SinkKind, webhook};
use dari::outcome::{Outcome, Scope, Verb};
use dari::settings::{Fault as Wrong, Field, Kind, Need};
use dari::store::DeadClass;
use dari::template::Escape;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::bridge::{HEAD, Running, World};

// === The vendor ===

#[derive(Default)]
struct Vendor {
    records: Vec<Value>,
    /// How many records each call bore.
    sizes: Vec<usize>,
}

type Shared = Arc<Mutex<Vendor>>;

fn vendor(shared: Shared) -> Router {
    Router::new().route("/records", post(add)).route("/records", get(find)).with_state(shared)
}

/// Answers with a list: an id or an error for each. A list with a `poison` among several is refused as a whole.
async fn add(State(shared): State<Shared>, Json(records): Json<Vec<Value>>) -> Response {
    let mut vendor = shared.lock().unwrap();
    vendor.sizes.push(records.len());
    if records.iter().any(|record| record["kind"] == "poison") {
        return (StatusCode::BAD_REQUEST, "one of them is poison").into_response();
    }
    let mut answers = Vec::new();
    for record in records {
        if record["kind"] == "bad" {
            answers.push(json!({ "error": "bad record" }));
        } else {
            vendor.records.push(record);
            answers.push(json!({ "id": vendor.records.len() }));
        }
    }
    Json(answers).into_response()
}

#[derive(serde::Deserialize)]
struct Wanted {
    reference: String,
}

async fn find(State(shared): State<Shared>, Query(wanted): Query<Wanted>) -> Json<Value> {
    let vendor = shared.lock().unwrap();
    let fits = |(_, record): &(usize, &Value)| record["reference"] == wanted.reference.as_str();
    let ids: Vec<String> = vendor.records.iter().enumerate().filter(fits).map(|(at, _)| (at + 1).to_string()).collect();
    Json(json!(ids))
}

// === Its connector ===

static BULK: Manifest = Manifest {
    name: "bulk",
    title: "Bulk",
    about: "Takes lists.",
    account: None,
    sources: &[],
    sinks: &[SinkKind {
        name: "bulk",
        fields: &[Field { name: "url", kind: Kind::Url, need: Need::Required, doc: "Where it is." }],
        verbs: &[Verb::Create],
        escape: Escape::None,
        takes_request: false,
        advice: "",
        build: sink,
    }],
    lookup: None,
    sandbox: None,
    start: &[],
};

fn sink(build: &Build<'_>) -> Built<Box<dyn Sink>> {
    let fault = |error: url::ParseError| vec![Wrong::new(build.settings.spot("url"), error.to_string())];
    let url = build.settings.text("url").unwrap_or_default().parse().map_err(fault)?;
    Ok(Box::new(Bulk(url)))
}

struct Bulk(url::Url);

impl Bulk {
    fn call(&self, records: &Value) -> Call {
        Call::new(Method::POST, self.0.clone()).json(records).timeout(TIMEOUT)
    }
}

fn one(said: &Value) -> Outcome {
    match (&said["id"], said["error"].as_str()) {
        (Value::Number(id), _) => Outcome::Delivered { remote_id: Some(id.to_string()) },
        (_, Some(error)) => Outcome::reject(error),
        _ => Outcome::Unknown { why: "no word".into() },
    }
}

#[async_trait::async_trait]
impl Sink for Bulk {
    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let mut record = Value::Object(operation.fields.clone());
        record["reference"] = json!(operation.webhook_id);
        Ok(self.call(&json!([record])).part(record))
    }

    fn classify(&self, _: &Call, answer: &Answer) -> Outcome {
        match (answer.status, answer.json()) {
            (StatusCode::OK, Some(said)) if said.as_array().is_some_and(|said| said.len() == 1) => one(&said[0]),
            (StatusCode::OK, _) => Outcome::Unknown { why: "not the vendor's".into() },
            (StatusCode::TOO_MANY_REQUESTS, _) => Outcome::Retry { after: None, account: true, why: answer.summary() },
            (status, _) if status.is_server_error() => Outcome::retry(answer.summary()),
            _ => Outcome::reject(answer.summary()),
        }
    }

    fn ask(&self, question: &Ask<'_>) -> Option<Result<Call, String>> {
        let Ask::Doubt { operation, .. } = question else { return None };
        let mut url = self.0.clone();
        url.query_pairs_mut().append_pair("reference", operation.webhook_id);
        Some(Ok(Call::new(Method::GET, url)))
    }

    fn answered(&self, _: &Ask<'_>, answer: &Answer) -> Result<Vec<String>, Outcome> {
        let ids = answer.json().and_then(|said| serde_json::from_value(said).ok());
        ids.ok_or_else(|| Outcome::retry(answer.summary()))
    }

    fn batch(&self) -> usize {
        10
    }

    fn merge(&self, calls: &[&Call]) -> Option<Call> {
        let same = calls.iter().all(|call| call.part["lane"] == calls[0].part["lane"]);
        same.then(|| self.call(&calls.iter().map(|call| call.part.clone()).collect()))
    }

    fn split(&self, _: &Call, calls: &[&Call], answer: &Answer) -> Option<Vec<Outcome>> {
        let said = answer.json()?;
        let said = said.as_array().filter(|said| said.len() == calls.len())?;
        Some(said.iter().map(one).collect())
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        OnDoubt::Find
    }
}

// === The tests ===

struct Stage {
    world: World,
    served: Served,
    shared: Shared,
    bridge: Running,
}

impl Stage {
    /// A bridge whose first call is under way, so that what comes now gathers.
    async fn with_a_call_under_way(monthly: u64) -> Self {
        let world = World::new("");
        let shared = Shared::default();
        let served = sandbox::serve(vendor(Arc::clone(&shared)), world.clock.clone(), sandbox::LOOPBACK).await.unwrap();
        world.write(&format!(
            r#"{HEAD}
sinks: {{ out: {{ bulk: {{ url: "{}/records", limits: {{ concurrency: 1, monthly: {monthly} }} }} }} }}
routes:
  news: {{ from: in, to: out, do: create, map: {{ n: "{{{{ data.n }}}}", kind: "{{{{ data.kind | default('good') }}}}", lane: "{{{{ data.lane | default(1) }}}}" }}, retry: {{ first: 300ms, factor: 1, max: 300ms }} }}
"#,
            served.url
        ));
        served.faults.next(Fault::Slow { ms: 2_000 }, 1);
        let bridge = world.start_with(&[&BULK, &webhook::MANIFEST]).await;
        bridge.send(json!({"id": "first", "s": "first", "n": -1})).await;
        bridge.until("the first call", async |_| (served.calls.count() == 1).then_some(())).await;
        Self { world, served, shared, bridge }
    }

    async fn send(&self, n: i64, more: Value) {
        let mut body = json!({"id": format!("e{n}"), "s": n.to_string(), "n": n});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.bridge.send(body).await;
    }

    /// How many records each call bore, once nothing is left to do.
    async fn sizes(&self) -> Vec<usize> {
        self.bridge.drained("news").await;
        self.shared.lock().unwrap().sizes.clone()
    }

    fn numbers(&self) -> Vec<i64> {
        let mut numbers: Vec<i64> =
            self.shared.lock().unwrap().records.iter().map(|record| record["n"].as_i64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    async fn used(&self) -> u64 {
        self.bridge.operator().accounts().await.unwrap().into_iter().find(|a| a.name == "out").unwrap().used
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ready_while_a_call_is_under_way_goes_together() {
    let stage = Stage::with_a_call_under_way(100).await;
    for n in 0..19 {
        stage.send(n, json!({})).await;
    }
    let sizes = stage.sizes().await;
    assert_eq!(sizes, [1, 10, 9]);
    assert_eq!(stage.numbers(), (-1..19).collect::<Vec<_>>());
    assert_eq!(stage.used().await, 3, "a call is a call, whatever it bears");
    // Each has its own id.
    let mut ids = Vec::new();
    for n in 0..19 {
        ids.push(stage.bridge.ended(&format!("e{n}"), "news", "delivered").await.parse::<i64>().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (2..21).collect::<Vec<_>>());
    // Nothing waits for company.
    stage.send(99, json!({})).await;
    assert_eq!(stage.sizes().await, [1, 10, 9, 1]);
    stage.bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_takes_no_other_with_it() {
    let stage = Stage::with_a_call_under_way(100).await;
    for n in 0..8 {
        stage.send(n, if n == 3 { json!({"kind": "bad"}) } else { json!({}) }).await;
    }
    assert_eq!(stage.sizes().await, [1, 8]);
    assert_eq!(stage.numbers(), [-1, 0, 1, 2, 4, 5, 6, 7]);
    assert_eq!(stage.bridge.ended("e3", "news", "rejected").await, "bad record");
    assert_eq!(stage.bridge.dead().await.len(), 1);
    stage.bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_as_a_whole_falls_apart() {
    let stage = Stage::with_a_call_under_way(100).await;
    for n in 0..4 {
        stage.send(n, if n == 2 { json!({"kind": "poison"}) } else { json!({}) }).await;
    }
    assert_eq!(stage.sizes().await, [1, 4, 1, 1, 1, 1]);
    assert_eq!(stage.numbers(), [-1, 0, 1, 3]);
    let dead = stage.bridge.dead().await;
    assert_eq!(
        dead.iter().map(|d| (d.letter.class, d.letter.delivery.event.as_str())).collect::<Vec<_>>(),
        [(DeadClass::Payload, "in/e2")]
    );
    assert_eq!(stage.used().await, 6);
    stage.bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_go_together_goes_apart() {
    let stage = Stage::with_a_call_under_way(100).await;
    for n in 0..6 {
        stage.send(n, json!({"lane": n % 2})).await;
    }
    assert_eq!(stage.sizes().await, [1, 3, 3]);
    assert_eq!(stage.numbers(), (-1..6).collect::<Vec<_>>());
    stage.bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_batch_without_an_answer_leaves_each_in_doubt() {
    for (fault, made) in [(Fault::ResetAfter, true), (Fault::ResetBefore, false), (Fault::Garbage, true)] {
        let stage = Stage::with_a_call_under_way(100).await;
        stage.served.faults.next(fault, 1);
        for n in 0..5 {
            stage.send(n, json!({})).await;
        }
        let sizes = stage.sizes().await;
        assert_eq!(stage.numbers(), (-1..5).collect::<Vec<_>>(), "{fault:?}: each once");
        if made {
            assert_eq!(sizes, [1, 5], "{fault:?}");
        }
        let questions = stage.served.calls.all().iter().filter(|call| call.method == "GET").count();
        assert_eq!(questions, 5, "{fault:?}");
        assert_eq!(stage.used().await, stage.served.calls.count());
        stage.bridge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_batch_is_one_call_of_the_month() {
    let stage = Stage::with_a_call_under_way(3).await;
    for n in 0..19 {
        stage.send(n, json!({})).await;
    }
    assert_eq!(stage.sizes().await, [1, 10, 9]);
    assert_eq!(stage.used().await, 3);
    assert!(stage.bridge.suspended(Scope::Account, "out").is_none(), "nothing was asked of it beyond its month");
    stage.send(20, json!({})).await;
    stage.bridge.until("a suspension", async |_| stage.bridge.suspended(Scope::Account, "out")).await;
    assert_eq!(stage.served.calls.count(), 3);
    stage.world.advance(Duration::from_hours(24 * 32));
    assert_eq!(stage.sizes().await, [1, 10, 9, 1]);
    stage.bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_not_taken_now_is_tried_again_whole() {
    let stage = Stage::with_a_call_under_way(100).await;
    stage.served.faults.next(Fault::ServerError, 1);
    for n in 0..5 {
        stage.send(n, json!({})).await;
    }
    let sizes = stage.sizes().await;
    assert_eq!(sizes.iter().sum::<usize>(), 6);
    assert_eq!(stage.numbers(), (-1..5).collect::<Vec<_>>());
    assert_eq!(stage.used().await, stage.served.calls.count());
    stage.bridge.stop().await;
}
