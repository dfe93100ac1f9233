//! An API of orders, listed by every kind of paging, that refuses what it does not know.
//!
//! `GET /api/orders` (all in one list, or what is not older than `updated_since`), `/api/by-page` (`page`, `size`), `/api/by-offset`
//! (`offset`, `limit`), `/api/by-token` (`token`), `/api/by-link` (the header `Link`), `/api/by-next` (`next` in the body). Each wants
//! `Authorization: Bearer sandbox-key`. Orders are in the order of their last change. `PUT /_sandbox/orders/{no}` makes or changes
//! one, `DELETE` takes it away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::clock::Clock;

/// The key that it knows.
pub const KEY: &str = "sandbox-key";
/// How many orders a page has where nobody says.
const PAGE: usize = 2;

struct Orders {
    clock: Clock,
    all: Vec<Value>,
}

type Shared = Arc<Mutex<Orders>>;
type Pairs = Query<Vec<(String, String)>>;

/// A fresh one.
pub fn router(clock: Clock) -> Router {
    Router::new()
        .route("/api/orders", get(list))
        .route("/api/by-page", get(by_page))
        .route("/api/by-offset", get(by_offset))
        .route("/api/by-token", get(by_token))
        .route("/api/by-link", get(by_link))
        .route("/api/by-next", get(by_next))
        .route("/_sandbox/orders/{no}", put(change).delete(remove))
        .with_state(Arc::new(Mutex::new(Orders { clock, all: Vec::new() })))
}

fn lock(shared: &Shared) -> MutexGuard<'_, Orders> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A refusal.
struct No(StatusCode, String);

impl IntoResponse for No {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

fn bad(why: impl Into<String>) -> No {
    No(StatusCode::BAD_REQUEST, why.into())
}

/// Checks key and parameters.
fn admit(headers: &HeaderMap, pairs: &[(String, String)], known: &[&str]) -> Result<(), No> {
    let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if key != Some(&format!("Bearer {KEY}")) {
        return Err(No(StatusCode::UNAUTHORIZED, "unknown key".to_owned()));
    }
    match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => Err(bad(format!("unknown parameter {name}"))),
        None => Ok(()),
    }
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn number(pairs: &[(String, String)], name: &str, default: usize) -> Result<usize, No> {
    value(pairs, name).map_or(Ok(default), |text| text.parse().map_err(|_| bad(format!("{name} is a number"))))
}

/// Those that are not older than `updated_since`, where it is said.
fn chosen(shared: &Shared, pairs: &[(String, String)]) -> Result<Vec<Value>, No> {
    let since = value(pairs, "updated_since")
        .map(|text| text.parse::<Timestamp>().map_err(|_| bad("updated_since is RFC 3339")));
    let since = since.transpose()?;
    let at = |order: &Value| order["updated_at"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let fits = |order: &&Value| since.is_none_or(|since| at(order).is_some_and(|at| at >= since));
    Ok(lock(shared).all.iter().filter(fits).cloned().collect())
}

type Answer = Result<Response, No>;

async fn list(State(shared): State<Shared>, headers: HeaderMap, Query(pairs): Pairs) -> Answer {
    admit(&headers, &pairs, &["updated_since"])?;
    Ok(Json(json!({ "orders": chosen(&shared, &pairs)? })).into_response())
}

async fn by_page(State(shared): State<Shared>, headers: HeaderMap, Query(pairs): Pairs) -> Answer {
    admit(&headers, &pairs, &["page", "size", "updated_since"])?;
    let (page, size) = (number(&pairs, "page", 1)?, number(&pairs, "size", PAGE)?);
    if page == 0 || size == 0 || size > 100 {
        return Err(bad("page is from 1, size from 1 to 100"));
    }
    let orders: Vec<_> = chosen(&shared, &pairs)?.into_iter().skip((page - 1) * size).take(size).collect();
    Ok(Json(json!(orders)).into_response())
}

async fn by_offset(State(shared): State<Shared>, headers: HeaderMap, Query(pairs): Pairs) -> Answer {
    admit(&headers, &pairs, &["offset", "limit"])?;
    let (offset, limit) = (number(&pairs, "offset", 0)?, number(&pairs, "limit", PAGE)?);
    let orders: Vec<_> = chosen(&shared, &pairs)?.into_iter().skip(offset).take(limit).collect();
    Ok(Json(json!({ "orders": orders })).into_response())
}

async fn by_token(State(shared): State<Shared>, headers: HeaderMap, Query(pairs): Pairs) -> Answer {
    admit(&headers, &pairs, &["token"])?;
    let start = match value(&pairs, "token") {
        None => 0,
        Some(token) => token.strip_prefix("from-").and_then(|n| n.parse().ok()).ok_or_else(|| bad("unknown token"))?,
    };
    let all = chosen(&shared, &[])?;
    let next = (start + PAGE < all.len()).then(|| format!("from-{}", start + PAGE));
    let orders: Vec<_> = all.into_iter().skip(start).take(PAGE).collect();
    Ok(Json(json!({ "orders": orders, "next_token": next })).into_response())
}

/// A page by number, and the address of the next.
fn linked(shared: &Shared, pairs: &[(String, String)], path: &str) -> Result<(Vec<Value>, Option<String>), No> {
    let page = number(pairs, "page", 0)?;
    let all = chosen(shared, &[])?;
    let next = ((page + 1) * PAGE < all.len()).then(|| format!("{path}?page={}", page + 1));
    Ok((all.into_iter().skip(page * PAGE).take(PAGE).collect(), next))
}

async fn by_link(State(shared): State<Shared>, headers: HeaderMap, Query(pairs): Pairs) -> Answer {
    admit(&headers, &pairs, &["page"])?;
    let (orders, next) = linked(&shared, &pairs, "/api/by-link")?;
    let mut response = Json(json!(orders)).into_response();
    let links = next.map(|next| format!("</api/by-link>; rel=\"first\", <{next}>; rel=\"next\""));
    response.headers_mut().extend(links.and_then(|links| Some((header::LINK, links.parse().ok()?))));
    Ok(response)
}

async fn by_next(State(shared): State<Shared>, headers: HeaderMap, Query(pairs): Pairs) -> Answer {
    admit(&headers, &pairs, &["page"])?;
    let (orders, next) = linked(&shared, &pairs, "/api/by-next")?;
    Ok(Json(json!({ "orders": orders, "next": next })).into_response())
}

async fn change(
    State(shared): State<Shared>,
    Path(no): Path<String>,
    Json(given): Json<Map<String, Value>>,
) -> Json<Value> {
    let mut orders = lock(&shared);
    let mut order = Map::from_iter([
        ("no".to_owned(), json!(no)),
        ("updated_at".to_owned(), json!(orders.clock.now().to_string())),
    ]);
    order.extend(given);
    let order = Value::Object(order);
    orders.all.retain(|known| known["no"] != no.as_str());
    orders.all.push(order.clone());
    Json(order)
}

async fn remove(State(shared): State<Shared>, Path(no): Path<String>) -> Result<Json<Value>, No> {
    let mut orders = lock(&shared);
    let before = orders.all.len();
    orders.all.retain(|known| known["no"] != no.as_str());
    if orders.all.len() < before {
        Ok(Json(Value::Null))
    } else {
        Err(No(StatusCode::NOT_FOUND, "no such order".to_owned()))
    }
}
