//! The Open API v1 over the sandbox's form.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FORM, OPEN_API_KEY, Question, Shared, Stored, WORKSPACE, places};

/// The longest page.
const MOST: u64 = 100;

pub(super) fn router(shared: &Shared) -> Router<Shared> {
    let form = Router::new()
        .route("/", get(places::one_form))
        .route("/fields", get(fields))
        .route("/hidden-fields", get(hidden_fields))
        .route("/responses", get(list))
        .route("/responses/search", post(search))
        .route("/responses/{id}", get(one));
    Router::new()
        .route("/workspaces", get(places::open_workspaces))
        .route("/forms", get(places::forms))
        .route(&format!("/workspaces/{WORKSPACE}/forms"), get(places::forms))
        .nest(&format!("/forms/{FORM}"), form)
        .route_layer(from_fn_with_state(shared.clone(), key))
}

async fn key(State(shared): State<Shared>, headers: HeaderMap, request: Request, next: Next) -> Response {
    if headers.get("x-walla-api-key").map(HeaderValue::as_bytes) != Some(OPEN_API_KEY.as_bytes()) {
        let realm = [(header::WWW_AUTHENTICATE, "ApiKey realm=\"walla-open-api\"")];
        return (StatusCode::UNAUTHORIZED, realm, Json(json!({"error": "Invalid API key"}))).into_response();
    }
    if !shared.within_limit() {
        return error(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded");
    }
    next.run(request).await
}

async fn fields(State(shared): State<Shared>) -> Json<Value> {
    let form = shared.form();
    let list: Vec<_> =
        form.split().0.into_iter().map(|q| json!({"id": q.column, "label": q.label, "type": q.kind})).collect();
    Json(json!({"success": true, "data": list}))
}

async fn hidden_fields(State(shared): State<Shared>) -> Json<Value> {
    let form = shared.form();
    let list: Vec<_> = form.split().1.into_iter().map(|q| json!({"id": hidden_id(q), "label": q.label})).collect();
    Json(json!({"success": true, "data": list}))
}

fn hidden_id(question: &Question) -> &str {
    question.column.trim_start_matches("hf_")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListQuery {
    page: Option<u64>,
    limit: Option<u64>,
    customer_key: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Search {
    page: Option<u64>,
    limit: Option<u64>,
    #[serde(default)]
    customer_keys: Vec<String>,
    submitted_from: Option<Timestamp>,
    submitted_to: Option<Timestamp>,
}

async fn list(State(shared): State<Shared>, query: Result<Query<ListQuery>, QueryRejection>) -> Response {
    let Ok(Query(ListQuery { page, limit, customer_key })) = query else {
        return error(StatusCode::BAD_REQUEST, "Invalid request");
    };
    page_of(&shared, &Search { page, limit, customer_keys: customer_key.into_iter().collect(), ..Search::default() })
}

async fn search(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.starts_with("application/json") {
        return error(StatusCode::BAD_REQUEST, "Invalid request");
    }
    match serde_json::from_slice(&body) {
        Ok(search) => page_of(&shared, &search),
        Err(why) => {
            let body = json!({"error": "Invalid request", "detailsType": "validation", "details": why.to_string()});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

fn page_of(shared: &Shared, search: &Search) -> Response {
    let (page, limit) = (search.page.unwrap_or(1), search.limit.unwrap_or(20));
    if page == 0 || limit == 0 || limit > MOST {
        return error(StatusCode::BAD_REQUEST, "limit must be between 1 and 100, page at least 1");
    }
    let form = shared.form();
    let fits = |response: &&Stored| {
        let keys = &search.customer_keys;
        search.submitted_from.is_none_or(|from| from <= response.submitted_at)
            && search.submitted_to.is_none_or(|to| response.submitted_at <= to)
            && (keys.is_empty() || response.customer_key.as_ref().is_some_and(|key| keys.contains(key)))
    };
    let all: Vec<_> = form.newest().into_iter().filter(fits).collect();
    let total = all.len() as u64;
    let skip = usize::try_from((page - 1).saturating_mul(limit)).unwrap_or(usize::MAX);
    let take = usize::try_from(limit).unwrap_or(usize::MAX);
    let responses: Vec<_> = all.into_iter().skip(skip).take(take).map(written).collect();
    let pagination = json!({"page": page, "limit": limit, "totalCount": total, "totalPages": total.div_ceil(limit)});
    Json(json!({"success": true, "data": {"responses": responses, "pagination": pagination}})).into_response()
}

async fn one(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let (now, form) = (shared.clock.now(), shared.form());
    match form.responses.iter().find(|r| r.id == id && form.switches.shows(r, now)) {
        Some(response) => Json(json!({"success": true, "data": written(response)})).into_response(),
        None => error(StatusCode::NOT_FOUND, "Response not found"),
    }
}

/// Hidden fields are under `hidden-` and their id.
fn written(response: &Stored) -> Value {
    let mut item = json!({
        "responseId": response.id,
        "customerKey": response.customer_key,
        "submittedAt": response.submitted_at.to_string(),
    });
    if let Some(object) = item.as_object_mut() {
        for (column, value) in &response.answers {
            let key = column.strip_prefix("hf_").map_or_else(|| column.clone(), |id| format!("hidden-{id}"));
            object.insert(key, value.clone());
        }
    }
    item
}

fn error(status: StatusCode, words: &str) -> Response {
    (status, Json(json!({"error": words}))).into_response()
}
