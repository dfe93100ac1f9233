//! Event subscriptions. Source: the vendor's page on them.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{API_KEY, SESSION, Shared, Tenant, lock};

const KNOWN: [&str; 9] =
    ["objId", "objCode", "eventType", "url", "authToken", "filters", "filterConnector", "base64Encoding", "version"];
const OBJECTS: [&str; 16] = [
    "ASSGN", "CMPY", "PTLTAB", "DOCU", "EXPNS", "HOUR", "OPTASK", "NOTE", "PORT", "PRGM", "PROJ", "PTLSEC", "TASK",
    "TMPL", "TSHET", "USER",
];
const COMPARISONS: [&str; 10] =
    ["eq", "ne", "gt", "gte", "lt", "lte", "contains", "changed", "containsOnly", "notContains"];

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/", get(list).post(create)).route("/{id}", delete(remove).get(one))
}

fn enter(tenant: &Tenant, headers: &HeaderMap) -> Result<(), StatusCode> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let session = header("sessionid").is_some_and(|token| token == SESSION || tenant.is_good(token, false));
    let key = header("authorization") == Some(API_KEY);
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let bearer = bearer.is_some_and(|token| tenant.is_good(token, true));
    if session || key || bearer { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

async fn create(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut tenant = lock(&shared);
    if let Err(status) = enter(&tenant, &headers) {
        return status.into_response();
    }
    let Ok(body) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        return (StatusCode::BAD_REQUEST, "the subscription is no JSON object").into_response();
    };
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
    let known = body.keys().all(|key| KNOWN.contains(&key.as_str()));
    let is_kind = OBJECTS.contains(&text("objCode")) && matches!(text("eventType"), "CREATE" | "UPDATE" | "DELETE");
    let is_url = url::Url::parse(text("url")).is_ok_and(|url| url.scheme() == "https");
    let filters = body.get("filters").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let fits = |filter: &Value| {
        filter["fieldName"].is_string() && COMPARISONS.contains(&filter["comparison"].as_str().unwrap_or("eq"))
    };
    let encoding = matches!(body.get("base64Encoding").map(Value::as_str), None | Some(Some("true" | "false")));
    if !(known && is_kind && is_url && encoding && filters.iter().all(fits)) || text("authToken").is_empty() {
        return (StatusCode::BAD_REQUEST, "the subscription is not valid").into_response();
    }
    let same = |there: &Value| KNOWN.iter().all(|key| there[*key] == body.get(*key).cloned().unwrap_or_default());
    if tenant.subscriptions.iter().any(same) {
        return StatusCode::CONFLICT.into_response();
    }
    let id = tenant.id();
    let mut made = body.clone();
    made.insert("id".to_owned(), Value::from(id.clone()));
    tenant.subscriptions.push(Value::Object(made));
    let location = format!("https://sandbox/attask/eventsubscription/api/v1/subscriptions/{id}");
    (StatusCode::CREATED, [("location", location)]).into_response()
}

#[derive(serde::Deserialize)]
struct Pages {
    page: Option<usize>,
    limit: Option<usize>,
}

async fn list(State(shared): State<Shared>, headers: HeaderMap, Query(pages): Query<Pages>) -> Response {
    let tenant = lock(&shared);
    if let Err(status) = enter(&tenant, &headers) {
        return status.into_response();
    }
    let (page, limit) = (pages.page.unwrap_or(1), pages.limit.unwrap_or(100));
    if page == 0 || limit == 0 || limit > 1_000 {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let shown: Vec<_> = tenant.subscriptions.iter().skip((page - 1) * limit).take(limit).collect();
    let total = tenant.subscriptions.len();
    let meta = json!({ "page": page, "page_count": total.div_ceil(limit), "limit": limit, "total_count": total });
    Json(json!({ "subscriptions": shown, "meta": meta })).into_response()
}

async fn one(State(shared): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let tenant = lock(&shared);
    if let Err(status) = enter(&tenant, &headers) {
        return status.into_response();
    }
    match tenant.subscriptions.iter().find(|there| there["id"] == id.as_str()) {
        Some(there) => Json(there.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn remove(State(shared): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> StatusCode {
    let mut tenant = lock(&shared);
    if let Err(status) = enter(&tenant, &headers) {
        return status;
    }
    let before = tenant.subscriptions.len();
    tenant.subscriptions.retain(|there| there["id"] != id.as_str());
    if tenant.subscriptions.len() < before { StatusCode::OK } else { StatusCode::NOT_FOUND }
}
