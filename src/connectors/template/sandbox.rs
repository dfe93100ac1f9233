//! Notes as strict as its page: unknown tokens, notebooks and fields are refused, a page has two notes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::clock::Clock;

/// The token that it knows.
pub const TOKEN: &str = "sandbox-token";
/// The notebook that it has.
pub const NOTEBOOK: &str = "home";
/// Notes a page.
const PAGE: usize = 2;

struct Notebook {
    clock: Clock,
    /// In the order of their last change.
    notes: Vec<Value>,
    changes: u64,
}

type Shared = Arc<Mutex<Notebook>>;
type No = (StatusCode, Json<Value>);

/// A fresh one.
pub fn router(clock: Clock) -> Router {
    Router::new()
        .route("/notebooks/{book}/notes", get(list).post(create))
        .route("/notebooks/{book}/notes/{id}", put(update))
        .route("/_sandbox/state", get(state))
        .with_state(Arc::new(Mutex::new(Notebook { clock, notes: Vec::new(), changes: 0 })))
}

fn lock(shared: &Shared) -> MutexGuard<'_, Notebook> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no(status: StatusCode, why: &str) -> No {
    (status, Json(json!({ "error": why })))
}

fn admit(headers: &HeaderMap, book: &str) -> Result<(), No> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if token != Some(&format!("Bearer {TOKEN}")) {
        return Err(no(StatusCode::UNAUTHORIZED, "unknown token"));
    }
    if book == NOTEBOOK { Ok(()) } else { Err(no(StatusCode::NOT_FOUND, "no such notebook")) }
}

async fn list(
    State(shared): State<Shared>,
    Path(book): Path<String>,
    headers: HeaderMap,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, No> {
    admit(&headers, &book)?;
    let after: u64 = query
        .get("after")
        .and_then(|after| after.parse().ok())
        .ok_or_else(|| no(StatusCode::BAD_REQUEST, "after is a number"))?;
    let notebook = lock(&shared);
    let later: Vec<&Value> = notebook.notes.iter().filter(|note| note["seq"].as_u64() > Some(after)).collect();
    let shown: Vec<&Value> = later.iter().take(PAGE).copied().collect();
    Ok(Json(json!({ "notes": shown, "more": later.len() > PAGE })).into_response())
}

/// The text of a body that has nothing else.
fn text(body: &Map<String, Value>) -> Result<&str, No> {
    let text = body.get("text").and_then(Value::as_str).filter(|text| body.len() == 1 && text.chars().count() <= 1000);
    text.ok_or_else(|| {
        no(StatusCode::UNPROCESSABLE_ENTITY, "a note has a text of at most 1000 characters, and nothing else")
    })
}

impl Notebook {
    fn write(&mut self, id: u64, revision: u64, text: &str) -> Value {
        self.changes += 1;
        let changed = self.clock.now().as_second();
        let note = json!({ "id": id, "rev": revision, "seq": self.changes, "text": text, "changed": changed });
        self.notes.retain(|known| known["id"] != id);
        self.notes.push(note.clone());
        note
    }
}

async fn create(
    State(shared): State<Shared>,
    Path(book): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response, No> {
    admit(&headers, &book)?;
    let text = text(&body)?;
    let mut notebook = lock(&shared);
    let id = notebook.notes.iter().filter_map(|note| note["id"].as_u64()).max().unwrap_or(0) + 1;
    Ok((StatusCode::CREATED, Json(notebook.write(id, 1, text))).into_response())
}

async fn update(
    State(shared): State<Shared>,
    Path((book, id)): Path<(String, u64)>,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response, No> {
    admit(&headers, &book)?;
    let text = text(&body)?;
    let mut notebook = lock(&shared);
    let known = notebook.notes.iter().find(|note| note["id"] == id).and_then(|note| note["rev"].as_u64());
    let revision = known.ok_or_else(|| no(StatusCode::NOT_FOUND, "no such note"))?;
    Ok(Json(notebook.write(id, revision + 1, text)).into_response())
}

async fn state(State(shared): State<Shared>) -> Json<Value> {
    Json(json!({ "notes": lock(&shared).notes }))
}
