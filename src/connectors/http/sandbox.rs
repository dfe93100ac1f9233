//! An API of orders to poll ([`api`]), and a receiver that takes everything, remembers by `webhook-id` what came, and counts repetitions.
//!
//! The receiver answers any other path with `{"result":"OK","no":"<number>"}`, where the number belongs to the `webhook-id`: a
//! repetition gets the number of the first. `GET /received/<webhook-id>` answers with `{"no"}` of what came under that id,
//! else 404; `GET /received?<name>=<value>` with `{"items": [{"no"}]}` of what has that value in its body. Its state: `{ "received": { "<webhook-id>": { "no", "times", "method",
//! "path", "body" } }, "repeats" }`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

use crate::clock::Clock;

pub mod api;

#[derive(Default)]
struct Received {
    by_id: Map<String, Value>,
    repeats: u64,
}

type Shared = Arc<Mutex<Received>>;

/// A fresh receiver.
pub fn router(clock: Clock) -> Router {
    api::router(clock).merge(receiver())
}

fn receiver() -> Router {
    Router::new()
        .route("/_sandbox/state", get(state))
        .route("/received", get(search))
        .route("/received/{id}", get(one))
        .fallback(receive)
        .with_state(Shared::default())
}

async fn one(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let received = shared.lock().unwrap_or_else(PoisonError::into_inner);
    match received.by_id.get(&id) {
        Some(entry) => Json(json!({ "no": entry["no"] })).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "error": "nothing came under that id" }))).into_response(),
    }
}

async fn search(State(shared): State<Shared>, Query(wanted): Query<BTreeMap<String, String>>) -> Json<Value> {
    let received = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let has = |entry: &&Value| wanted.iter().all(|(name, value)| entry["body"][name].as_str() == Some(value));
    let items: Vec<Value> = received.by_id.values().filter(has).map(|entry| json!({ "no": entry["no"] })).collect();
    Json(json!({ "items": items }))
}

async fn state(State(shared): State<Shared>) -> Json<Value> {
    let received = shared.lock().unwrap_or_else(PoisonError::into_inner);
    Json(json!({ "received": received.by_id, "repeats": received.repeats }))
}

async fn receive(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let refuse = |status: StatusCode, why: &str| (status, Json(json!({ "error": why }))).into_response();
    let Some(id) = headers.get("webhook-id").and_then(|id| id.to_str().ok()) else {
        return refuse(StatusCode::BAD_REQUEST, "no webhook-id");
    };
    let Ok(body) = (if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) }) else {
        return refuse(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let mut received = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let next = received.by_id.len() + 1;
    let known = received.by_id.contains_key(id);
    let entry = received.by_id.entry(id).or_insert_with(|| {
        json!({ "no": next.to_string(), "times": 0, "method": method.as_str(), "path": uri.to_string(), "body": body })
    });
    entry["times"] = json!(entry["times"].as_u64().unwrap_or(0) + 1);
    let no = entry["no"].clone();
    received.repeats += u64::from(known);
    Json(json!({ "result": "OK", "no": no })).into_response()
}
