//! A receiver that takes everything, remembers by `webhook-id` what came, and counts repetitions.
//!
//! It answers any path with `{"result":"OK","no":"<number>"}`, where the number belongs to the `webhook-id`: a
//! repetition gets the number of the first. Its state: `{ "received": { "<webhook-id>": { "no", "times", "method",
//! "path", "body" } }, "repeats" }`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

use crate::clock::Clock;

#[derive(Default)]
struct Received {
    by_id: Map<String, Value>,
    repeats: u64,
}

type Shared = Arc<Mutex<Received>>;

/// A fresh receiver.
pub fn router(_: Clock) -> Router {
    Router::new().route("/_sandbox/state", get(state)).fallback(receive).with_state(Shared::default())
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
