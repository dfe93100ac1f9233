//! A stand-in for Dooray: calendars, one project, one messenger's channel, one incoming hook, as strict as its pages.
//!
//! The token is [`TOKEN`]; the calendar [`CALENDAR`], the project [`PROJECT`], the channel [`CHANNEL`] are there, and another
//! calendar [`SHARED`]; the incoming hook is at the path [`WEBHOOK`]. Fields and parameters that no page names are refused.
//!
//! Others are played through more paths: `POST /_sandbox/events`, `/_sandbox/tasks`, `/_sandbox/comments` make what they are
//! given, or change what has its `id`; `DELETE /_sandbox/events/{id}` and `/_sandbox/calendars/{id}` remove, `DELETE /_sandbox/events` all
//! events at once.
//! `GET /_sandbox/state` shows everything, and `PUT` sets [`Switches`]: what the pages leave open or contradict. With
//! `deliver_to` the project's hooks are called.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::times;
use crate::clock::Clock;
use crate::connectors::sandbox;

mod calendar;
mod hooks;
mod messenger;
mod project;

/// The personal token.
pub const TOKEN: &str = "sandbox-token";
/// The user's own calendar.
pub const CALENDAR: &str = "1";
/// A calendar that another shares.
pub const SHARED: &str = "2";
/// The project.
pub const PROJECT: &str = "7";
/// The messenger's channel.
pub const CHANNEL: &str = "900";
/// The path of the incoming hook.
pub const WEBHOOK: &str = "/services/1000/2000/sandbox";

/// What Dooray's pages leave open or tell in two ways.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "switches are")]
pub struct Switches {
    /// How many days a question for events may span: a year by the page, 31 or 50 by measurement.
    max_days: i64,
    /// True if times are taken within double quotes only, as in the page's example; else they are taken without only.
    quoted: bool,
    /// True if `totalCount` is a number; else it is text.
    total_as_number: bool,
    /// True if `wholeDayFlag` is text.
    flags_as_text: bool,
    /// True if a window shows all events that touch it; else those that begin in it.
    overlapping: bool,
    /// True if tasks come in the order that is asked for.
    ordered: bool,
    /// True if a comment changes its task's `updatedAt`.
    comments_touch: bool,
    /// True if a task's update leaves what it does not name as it is; else it clears it.
    put_merges: bool,
    /// How many calls the bucket holds.
    burst: u64,
    /// How many are refilled each second.
    replenish: u64,
    /// Where hooks are called, in place of the host that they were made with; nowhere if empty.
    deliver_to: String,
    /// How hooks are spelled.
    hooks_as: hooks::Spelling,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            max_days: 31,
            quoted: false,
            total_as_number: false,
            flags_as_text: false,
            overlapping: true,
            ordered: true,
            comments_touch: false,
            put_merges: false,
            burst: 100_000,
            replenish: 1_000,
            deliver_to: String::new(),
            hooks_as: hooks::Spelling::Documented,
        }
    }
}

#[derive(Serialize)]
struct Tenant {
    switches: Switches,
    calendars: Vec<Value>,
    events: Vec<Value>,
    tasks: Vec<Value>,
    comments: Vec<Value>,
    hooks: Vec<Value>,
    messages: Vec<Value>,
    /// What came through the incoming hook.
    posted: Vec<Value>,
    #[serde(skip)]
    looks: hooks::Seen,
    #[serde(skip)]
    clock: Clock,
    #[serde(skip)]
    made: u64,
    /// Calls that are left, and when that was so.
    #[serde(skip)]
    bucket: (u64, Timestamp),
}

type Shared = Arc<Mutex<Tenant>>;

/// A fresh one.
pub fn router(clock: Clock) -> Router {
    let shared = Arc::new(Mutex::new(Tenant::new(clock)));
    let api = Router::new()
        .nest("/calendar/v1", calendar::router())
        .nest("/project/v1", project::router())
        .nest("/messenger/v1", messenger::router())
        .route_layer(from_fn_with_state(Arc::clone(&shared), door));
    Router::new()
        .merge(api)
        .route("/services/{tenant}/{service}/{token}", post(messenger::hook))
        .route("/_sandbox/events", post(play_event).delete(remove_events))
        .route("/_sandbox/events/{id}", delete(remove_event))
        .route("/_sandbox/calendars/{id}", delete(remove_calendar))
        .route("/_sandbox/tasks", post(play_task))
        .route("/_sandbox/comments", post(play_comment))
        .route("/_sandbox/state", get(state).put(switch))
        .fallback(async || No(StatusCode::NOT_FOUND, "there is nothing here"))
        .layer(from_fn_with_state(Arc::clone(&shared), hooks::tell))
        .with_state(shared)
}

// === Answers ===

/// A yes: the result, and how many there are in all.
struct Yes(Value, Option<Value>);

/// A no, in the vendor's envelope.
struct No(StatusCode, &'static str);

type Reply = Result<Yes, No>;

impl IntoResponse for Yes {
    fn into_response(self) -> Response {
        let header = json!({ "isSuccessful": true, "resultCode": 0, "resultMessage": "" });
        let mut body = json!({ "header": header, "result": self.0 });
        if let Some(total) = self.1 {
            body["totalCount"] = total;
        }
        Json(body).into_response()
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let code = -i64::from(self.0.as_u16());
        let header = json!({ "isSuccessful": false, "resultCode": code, "resultMessage": self.1 });
        (self.0, Json(json!({ "header": header, "result": null }))).into_response()
    }
}

fn bad(why: &'static str) -> No {
    No(StatusCode::BAD_REQUEST, why)
}

fn none() -> No {
    No(StatusCode::NOT_FOUND, "존재하지 않는 리소스입니다.")
}

// === The door ===

/// Token, bucket, media type.
async fn door(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let right = format!("dooray-api {TOKEN}");
    if headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) != Some(&right) {
        return No(StatusCode::UNAUTHORIZED, "인증되지 않은 요청입니다.").into_response();
    }
    let (admitted, told) = lock(&shared).admit();
    let mut response = if !admitted {
        No(StatusCode::TOO_MANY_REQUESTS, "너무 많은 요청입니다.").into_response()
    } else if has_body(&request) && !is_json(headers) {
        No(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type").into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().extend(told);
    response
}

fn has_body(request: &Request) -> bool {
    matches!(*request.method(), Method::POST | Method::PUT)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().is_some_and(|media| media.trim() == "application/json")
}

fn lock(shared: &Shared) -> MutexGuard<'_, Tenant> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that is an object with none but these fields.
fn object(bytes: &[u8], known: &[&str]) -> Result<Map<String, Value>, No> {
    let Ok(Value::Object(body)) = serde_json::from_slice(bytes) else { return Err(bad("no JSON object")) };
    if body.keys().all(|key| known.contains(&key.as_str())) { Ok(body) } else { Err(bad("an unknown field")) }
}

/// Parameters, none but these.
fn parameters(query: &[(String, String)], known: &[&str]) -> Result<(), No> {
    let fits = query.iter().all(|(key, _)| known.contains(&key.as_str()));
    if fits { Ok(()) } else { Err(bad("an unknown parameter")) }
}

fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// A page of a list by `page` and `size`.
fn page(items: &[Value], query: &[(String, String)], tenant: &Tenant) -> Reply {
    let number = |name, default: usize| match parameter(query, name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| bad("page and size are numbers")),
    };
    let (page, size) = (number("page", 0)?, number("size", 20)?);
    if size == 0 || size > 100 {
        return Err(bad("size is 1 to 100"));
    }
    let shown: Vec<_> = items.iter().skip(page.saturating_mul(size)).take(size).cloned().collect();
    Ok(Yes(Value::from(shown), Some(tenant.total(items.len()))))
}

/// True for users as the pages write them.
fn are_users(users: &Value) -> bool {
    let is_user = |user: &Value| match user["type"].as_str() {
        Some("member") => user["member"]["organizationMemberId"].is_string(),
        Some("emailUser") => user["emailUser"]["emailAddress"].is_string(),
        Some("group") => user["group"]["projectMemberGroupId"].is_string(),
        _ => false,
    };
    let is_list = |list: &Value| list.as_array().is_some_and(|users| users.iter().all(is_user));
    users
        .as_object()
        .is_some_and(|users| users.iter().all(|(key, list)| matches!(key.as_str(), "to" | "cc") && is_list(list)))
}

/// True for a body as the pages write it.
fn is_body(body: &Value) -> bool {
    matches!(body["mimeType"].as_str(), Some("text/html" | "text/x-markdown")) && body["content"].is_string()
}

fn seoul() -> TimeZone {
    TimeZone::get("Asia/Seoul").unwrap_or(TimeZone::UTC)
}

impl Tenant {
    fn new(clock: Clock) -> Self {
        let calendar = |id: &str, name: &str, role: &str| {
            json!({
                "id": id, "name": name, "type": "private", "createdAt": "2020-01-01T09:00:00+09:00",
                "ownerOrganizationMemberId": "101",
                "me": { "default": (id == CALENDAR).to_string(), "color": "#333333", "listed": "true", "checked": "true",
                        "role": role, "order": 1 },
            })
        };
        let switches = Switches::default();
        let bucket = (switches.burst, clock.now());
        Self {
            switches,
            calendars: vec![calendar(CALENDAR, "내 캘린더", "owner"), calendar(SHARED, "팀 캘린더", "view")],
            events: Vec::new(),
            tasks: Vec::new(),
            comments: Vec::new(),
            hooks: Vec::new(),
            messages: Vec::new(),
            posted: Vec::new(),
            looks: hooks::Seen::default(),
            clock,
            made: 0,
            bucket,
        }
    }

    fn id(&mut self) -> String {
        self.made += 1;
        (4_000_000_000_000_000_000_u64 + self.made).to_string()
    }

    fn now(&self) -> String {
        times::rfc3339(self.clock.now(), &seoul())
    }

    fn total(&self, count: usize) -> Value {
        if self.switches.total_as_number { Value::from(count) } else { Value::from(count.to_string()) }
    }

    /// Takes a call out of the bucket: whether there was one, and the headers that tell.
    fn admit(&mut self) -> (bool, HeaderMap) {
        let now = self.clock.now();
        let seconds = u64::try_from(now.duration_since(self.bucket.1).as_secs()).unwrap_or(0);
        let Switches { burst, replenish, .. } = self.switches;
        if seconds > 0 {
            self.bucket = (self.bucket.0.saturating_add(seconds.saturating_mul(replenish)).min(burst), now);
        }
        let admitted = self.bucket.0 > 0;
        self.bucket.0 = self.bucket.0.saturating_sub(1);
        let told = [
            ("x-ratelimit-remaining", self.bucket.0),
            ("x-ratelimit-requested-tokens", 1),
            ("x-ratelimit-burst-capacity", burst),
            ("x-ratelimit-replenish-rate", replenish),
        ];
        (admitted, told.map(|(name, n)| (HeaderName::from_static(name), HeaderValue::from(n))).into_iter().collect())
    }
}

fn find<'a>(items: &'a mut [Value], id: &str) -> Option<&'a mut Value> {
    items.iter_mut().find(|item| item["id"] == id)
}

// === Playing the others ===

async fn state(State(shared): State<Shared>) -> Json<Value> {
    Json(serde_json::to_value(&*lock(&shared)).unwrap_or_default())
}

/// Sets switches; what is none of them is passed over, for sinks tell of themselves here too.
async fn switch(State(shared): State<Shared>, Json(wanted): Json<Value>) -> Response {
    let mut tenant = lock(&shared);
    match sandbox::changed(&tenant.switches, &wanted) {
        Ok(switches) => {
            tenant.switches = switches;
            tenant.bucket = (tenant.switches.burst, tenant.clock.now());
            StatusCode::NO_CONTENT.into_response()
        }
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

/// Makes something, or changes what has its id.
fn play(tenant: &mut Tenant, items: fn(&mut Tenant) -> &mut Vec<Value>, given: Value, fresh: Value) -> Value {
    let id = given["id"].as_str().map_or_else(|| tenant.id(), str::to_owned);
    let now = tenant.now();
    let Value::Object(mut given) = given else { return Value::Null };
    given.entry("updatedAt").or_insert_with(|| Value::from(now.clone()));
    given.insert("id".to_owned(), Value::from(id.clone()));
    let items = items(tenant);
    if let Some(known) = find(items, &id).and_then(Value::as_object_mut) {
        known.extend(given);
    } else {
        let mut item = fresh;
        item["createdAt"] = Value::from(now);
        if let Some(item) = item.as_object_mut() {
            item.extend(given);
        }
        items.push(item);
    }
    json!({ "id": id })
}

async fn play_event(State(shared): State<Shared>, Json(given): Json<Value>) -> Json<Value> {
    let mut tenant = lock(&shared);
    let fresh = calendar::fresh(given["calendar"]["id"].as_str().unwrap_or(CALENDAR), &tenant);
    Json(play(&mut tenant, |tenant| &mut tenant.events, given, fresh))
}

async fn play_task(State(shared): State<Shared>, Json(given): Json<Value>) -> Json<Value> {
    let mut tenant = lock(&shared);
    let fresh = project::fresh(&tenant);
    Json(play(&mut tenant, |tenant| &mut tenant.tasks, given, fresh))
}

async fn play_comment(State(shared): State<Shared>, Json(given): Json<Value>) -> Json<Value> {
    let mut tenant = lock(&shared);
    let now = Value::from(tenant.now());
    let fresh = project::fresh_comment("", &now);
    let mut given = given;
    given["modifiedAt"] = now.clone();
    let post = given["post"]["id"].as_str().unwrap_or_default().to_owned();
    let made = play(&mut tenant, |tenant| &mut tenant.comments, given, fresh);
    if tenant.switches.comments_touch
        && let Some(task) = find(&mut tenant.tasks, &post)
    {
        task["updatedAt"] = now;
    }
    Json(made)
}

async fn remove_event(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    let mut tenant = lock(&shared);
    let before = tenant.events.len();
    tenant.events.retain(|event| event["id"] != id.as_str());
    if tenant.events.len() < before { Ok(Yes(Value::Null, None)) } else { Err(none()) }
}

async fn remove_events(State(shared): State<Shared>) -> Reply {
    lock(&shared).events.clear();
    Ok(Yes(Value::Null, None))
}

async fn remove_calendar(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    let mut tenant = lock(&shared);
    tenant.calendars.retain(|calendar| calendar["id"] != id.as_str());
    Ok(Yes(Value::Null, None))
}
