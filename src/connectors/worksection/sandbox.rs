//! A stand-in for Worksection: one account with a project, users, tags, webhooks and its OAuth 2.0 server, as strict as its pages.
//!
//! The admin key is [`ADMIN_KEY`]; the application [`CLIENT_ID`] with [`CLIENT_SECRET`] has the [`CODE`] and the [`REFRESH_TOKEN`]. The
//! project is [`PROJECT`], the user [`USER`], the account's zone [`ZONE`]. Parameters that no page names are refused.
//!
//! Others are played through more paths: `POST /_sandbox/tasks`, `/_sandbox/comments`, `/_sandbox/projects` make what they are given, or
//! change what has its `id`; `DELETE /_sandbox/tasks/{id}` removes. What is done, by whomever, is in the history and goes to the
//! webhooks. `GET /_sandbox/state` shows everything, and `PUT` sets [`Switches`]: what the pages leave open or contradict.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use axum::{Json, Router};
use http::{Method, StatusCode, header};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::hashed;
use crate::clock::Clock;
use crate::connectors::sandbox;

mod account;
mod actions;
mod costs;
mod search;
mod tokens;
mod webhooks;

/// The admin API's key.
pub const ADMIN_KEY: &str = "7776461cd931e7b1c8e9632ff8e979ce";
/// The application's id.
pub const CLIENT_ID: &str = "sandbox-client";
/// The application's secret.
pub const CLIENT_SECRET: &str = "sandbox-secret";
/// The first refresh token.
pub const REFRESH_TOKEN: &str = "sandbox-refresh";
/// An authorization code.
pub const CODE: &str = "sandbox-code";
/// The application's redirect URI.
pub const REDIRECT_URI: &str = "https://bridge.acme.kr/oauth";
/// The project.
pub const PROJECT: &str = "26";
/// A user, who owns the account.
pub const USER: &str = "kim@acme.kr";
/// The account's zone.
pub const ZONE: &str = "Europe/Kyiv";

/// What a GET may have, in bytes.
const LONGEST_URL: usize = 8_192;

/// What Worksection's pages leave open or tell in two ways.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "switches are")]
pub struct Switches {
    /// Requests a second.
    rate: f64,
    /// True if too many of them are answered with 429; else with 200.
    too_many_as_429: bool,
    /// True if the hash is over the plain text; else over the bytes that were sent.
    raw_hash: bool,
    /// True if ids are numbers; else they are text.
    ids_as_numbers: bool,
    /// True if the history comes newest first.
    newest_first: bool,
    /// True if closing a task has `new` and `old` in the history.
    close_has_fields: bool,
    /// True if an empty parameter of an update clears its field; else it is passed over.
    empty_clears: bool,
    /// True if a new webhook is called before it is taken.
    probes: bool,
    /// Where webhooks are called, in place of their own hosts; at those if empty.
    deliver_to: String,
    /// True if a new webhook has to be switched on by hand, as one that is made in the account's pages.
    webhooks_begin_paused: bool,
    /// How many tasks an answer may have.
    most_tasks: usize,
    /// How long an access token lives, in seconds.
    token_life: i64,
    /// How long a refresh token lives, in seconds: a month.
    refresh_life: i64,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            rate: 1.0,
            too_many_as_429: false,
            raw_hash: false,
            ids_as_numbers: false,
            newest_first: true,
            close_has_fields: false,
            empty_clears: true,
            probes: true,
            deliver_to: String::new(),
            webhooks_begin_paused: false,
            most_tasks: 10_000,
            token_life: 86_400,
            refresh_life: 30 * 86_400,
        }
    }
}

#[derive(Serialize)]
struct Tenant {
    switches: Switches,
    projects: Vec<Value>,
    users: Vec<Value>,
    tags: Vec<Value>,
    tasks: Vec<Value>,
    comments: Vec<Value>,
    costs: Vec<Value>,
    events: Vec<Value>,
    webhooks: Vec<webhooks::Webhook>,
    #[serde(skip)]
    tokens: tokens::Tokens,
    #[serde(skip)]
    clock: Clock,
    #[serde(skip)]
    made: u64,
    #[serde(skip)]
    hooked: u64,
    #[serde(skip)]
    last: Option<Timestamp>,
}

/// Shared by the handlers.
#[derive(Clone)]
struct Stand {
    tenant: Arc<Mutex<Tenant>>,
}

impl Stand {
    fn lock(&self) -> MutexGuard<'_, Tenant> {
        self.tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fresh one.
pub fn router(clock: Clock) -> Router {
    let stand = Stand { tenant: Arc::new(Mutex::new(Tenant::new(clock))) };
    Router::new()
        .route("/api/admin/v2", any(admin))
        .route("/api/admin/v2/", any(admin))
        .route("/api/oauth2", any(by_token))
        .route("/api/oauth2/", any(by_token))
        .route("/oauth2/token", post(tokens::token))
        .route("/oauth2/refresh", post(tokens::refresh))
        .route("/_sandbox/tasks", post(play_task))
        .route("/_sandbox/tasks/{id}", delete(remove_task))
        .route("/_sandbox/comments", post(play_comment))
        .route("/_sandbox/projects", post(play_project))
        .route("/_sandbox/tokens/expire", post(tokens::expire))
        .route("/_sandbox/state", get(state).put(switch))
        .with_state(stand)
}

// === Answers ===

/// A no in the vendor's shape, with HTTP 200.
#[derive(Clone, Debug)]
struct No(i64, &'static str, String);

type Reply = Result<Value, No>;

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let mut body = json!({ "status": "error", "status_code": self.0, "message": self.1 });
        if !self.2.is_empty() {
            body["message_details"] = Value::from(self.2);
        }
        Json(body).into_response()
    }
}

fn no(code: i64, message: &'static str) -> No {
    No(code, message, String::new())
}

fn required(name: &str) -> No {
    No(10, "Field is required", name.to_owned())
}

// === The door ===

/// What was asked for.
struct Given {
    action: String,
    params: Vec<(String, String)>,
}

impl Given {
    /// A parameter that is there and not empty.
    fn get(&self, name: &str) -> Option<&str> {
        self.there(name).filter(|value| !value.is_empty())
    }

    /// A parameter that is there, even if it is empty.
    fn there(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn needs(&self, name: &str) -> Result<&str, No> {
        self.get(name).ok_or_else(|| required(name))
    }

    /// Refuses what is none of these.
    fn only(&self, names: &[&str]) -> Result<(), No> {
        match self.params.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            Some((name, _)) => Err(No(10, "Field is unknown", name.clone())),
            None => Ok(()),
        }
    }
}

async fn admin(State(stand): State<Stand>, request: Request) -> Response {
    let sent = match sent(request).await {
        Ok((sent, _)) => sent,
        Err(answer) => return answer,
    };
    let raw = stand.lock().switches.raw_hash;
    // All but the hash, in the order and as the bytes that came.
    let kept: Vec<&str> = sent.split('&').filter(|pair| !pair.starts_with("hash=")).collect();
    let hash = sent.split('&').find_map(|pair| pair.strip_prefix("hash=")).unwrap_or_default();
    let pairs = read(&kept.join("&"));
    let over = if raw {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    } else {
        kept.join("&")
    };
    let is_right = hash == hashed(&over, &ADMIN_KEY.into());
    let refused = (!is_right).then(|| no(2, "Action hash is missed or invalid").into_response());
    answered(&stand, pairs, true, refused).await
}

async fn by_token(State(stand): State<Stand>, request: Request) -> Response {
    let (sent, bearer) = match sent(request).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let mut pairs = read(&sent);
    let token =
        bearer.or_else(|| pairs.iter().find(|(name, _)| name == "access_token").map(|(_, token)| token.clone()));
    pairs.retain(|(name, _)| name != "access_token");
    let refused = stand.lock().refuses(&token.unwrap_or_default());
    answered(&stand, pairs, false, refused).await
}

/// The parameters as they came, from the address or a body, and the token of the header.
async fn sent(request: Request) -> Result<(String, Option<String>), Response> {
    let (head, body) = request.into_parts();
    if head.uri.path_and_query().is_some_and(|path| path.as_str().len() > LONGEST_URL) {
        return Err((StatusCode::URI_TOO_LONG, "Request-URL Too Large").into_response());
    }
    if !matches!(head.method, Method::GET | Method::POST) {
        return Err(StatusCode::METHOD_NOT_ALLOWED.into_response());
    }
    let text =
        |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or_default();
    let is_form = text(header::CONTENT_TYPE).starts_with("application/x-www-form-urlencoded");
    let bearer = text(header::AUTHORIZATION).strip_prefix("Bearer ").map(str::to_owned);
    let body = to_bytes(body, 4 << 20).await.unwrap_or_default();
    let body = if is_form { String::from_utf8_lossy(&body).into_owned() } else { String::new() };
    let query = head.uri.query().unwrap_or_default();
    let both: Vec<&str> = [query, &body].into_iter().filter(|text| !text.is_empty()).collect();
    Ok((both.join("&"), bearer))
}

fn read(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

async fn answered(
    stand: &Stand,
    mut pairs: Vec<(String, String)>,
    is_admin: bool,
    refused: Option<Response>,
) -> Response {
    if !stand.lock().admits() {
        let body = json!({ "status": "error", "message": "Too many requests" });
        let as_429 = stand.lock().switches.too_many_as_429;
        return (if as_429 { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK }, Json(body)).into_response();
    }
    if let Some(refused) = refused {
        return refused;
    }
    let at = pairs.iter().position(|(name, _)| name == "action");
    let action = at.map(|at| pairs.remove(at).1).unwrap_or_default();
    let given = Given { action, params: pairs };
    if given.action == "add_webhook" {
        return webhooks::add(stand.clone(), given).await;
    }
    let (answer, news) = {
        let mut tenant = stand.lock();
        let before = tenant.events.len();
        let answer = tenant.act(&given, is_admin);
        (answer, tenant.events[before..].to_vec())
    };
    webhooks::tell(stand, news);
    match answer {
        Ok(body) => Json(stand.lock().spelt(body)).into_response(),
        Err(no) => no.into_response(),
    }
}

impl Tenant {
    fn new(clock: Clock) -> Self {
        let user =
            |id: &str, email: &str, name: &str| json!({ "id": id, "email": email, "name": name, "role": "user" });
        let tag = |id: &str, title: &str| json!({ "id": id, "title": title, "group": { "id": 3, "title": "Status", "type": "status", "access": "public" } });
        Self {
            switches: Switches::default(),
            projects: vec![account::project(PROJECT, "Shop"), account::project("27", "Yard")],
            users: vec![user("9", USER, "김하나"), user("10", "lee@acme.kr", "이둘")],
            tags: vec![tag("5", "Urgent"), tag("6", "Sent")],
            tasks: Vec::new(),
            comments: Vec::new(),
            costs: Vec::new(),
            events: Vec::new(),
            webhooks: Vec::new(),
            tokens: tokens::Tokens::default(),
            clock,
            made: 1_511,
            hooked: 0,
            last: None,
        }
    }

    fn id(&mut self) -> String {
        self.made += 1;
        self.made.to_string()
    }

    fn zone() -> TimeZone {
        TimeZone::get(ZONE).unwrap_or(TimeZone::UTC)
    }

    /// `2021-01-02 10:16`.
    fn now(&self) -> String {
        self.clock.now().to_zoned(Self::zone()).strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// One in so many seconds.
    fn admits(&mut self) -> bool {
        let now = self.clock.now();
        let apart = SignedDuration::try_from_secs_f64(1.0 / self.switches.rate).unwrap_or_default();
        let admits = self.last.is_none_or(|last| now.duration_since(last) >= apart);
        if admits {
            self.last = Some(now);
        }
        admits
    }

    /// Ids as the switch has them.
    fn spelt(&self, mut body: Value) -> Value {
        if self.switches.ids_as_numbers {
            spell(&mut body);
        }
        body
    }

    /// Writes into the history.
    fn told(&mut self, action: &str, (what, id, page): (&str, &str, &str), new: Value, old: Value) {
        let mut event = json!({
            "action": action, "object": { "type": what, "id": id, "page": page }, "date_added": self.now(),
            "user_from": { "id": "9", "email": USER, "name": "김하나" },
        });
        let bare = matches!(action, "close" | "reopen" | "delete") && !self.switches.close_has_fields;
        for (key, value) in [("new", new), ("old", old)] {
            if !bare && !value.is_null() {
                event[key] = value;
            }
        }
        self.events.push(event);
    }
}

fn spell(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(spell),
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "id" => {
                        if let Ok(id) = text.parse::<u64>() {
                            *value = Value::from(id);
                        }
                    }
                    other => spell(other),
                }
            }
        }
        _ => {}
    }
}

fn find<'a>(items: &'a mut [Value], id: &str) -> Option<&'a mut Value> {
    items.iter_mut().find(|item| item["id"] == id)
}

// === Playing the others ===

async fn state(State(stand): State<Stand>) -> Json<Value> {
    Json(serde_json::to_value(&*stand.lock()).unwrap_or_default())
}

/// Sets switches; what is none of them is passed over, for sinks tell of themselves here too.
async fn switch(State(stand): State<Stand>, Json(wanted): Json<Value>) -> Response {
    let mut tenant = stand.lock();
    match sandbox::changed(&tenant.switches, &wanted) {
        Ok(switches) => {
            tenant.switches = switches;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

/// Does something in the account, and tells the webhooks of it.
fn play(stand: &Stand, done: impl FnOnce(&mut Tenant) -> Value) -> Json<Value> {
    let (made, news) = {
        let mut tenant = stand.lock();
        let before = tenant.events.len();
        let made = done(&mut tenant);
        (made, tenant.events[before..].to_vec())
    };
    webhooks::tell(stand, news);
    Json(made)
}

async fn play_task(State(stand): State<Stand>, Json(given): Json<Value>) -> Json<Value> {
    play(&stand, |tenant| tenant.play_task(&given))
}

async fn play_comment(State(stand): State<Stand>, Json(given): Json<Value>) -> Json<Value> {
    play(&stand, |tenant| tenant.play_comment(&given))
}

async fn play_project(State(stand): State<Stand>, Json(given): Json<Value>) -> Json<Value> {
    play(&stand, |tenant| tenant.play_project(&given))
}

async fn remove_task(State(stand): State<Stand>, Path(id): Path<String>) -> Json<Value> {
    play(&stand, |tenant| {
        let page = find(&mut tenant.tasks, &id).map(|task| task["page"].as_str().unwrap_or_default().to_owned());
        if let Some(page) = page {
            tenant.tasks.retain(|task| task["id"] != id.as_str());
            tenant.told("delete", ("task", &id, &page), Value::Null, Value::Null);
        }
        json!({ "id": id })
    })
}
