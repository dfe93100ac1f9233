//! A stand-in for Works, as strict as its page.
//!
//! Credentials: clientId [`CLIENT_ID`], clientSecret [`CLIENT_SECRET`], token [`TOKEN`]. The app knows the parameters of
//! [`APP`]; a name it does not know is silently not applied. Where the page is silent the harder reading holds: a second
//! `POST` of one key makes a second record, `PUT` and `DELETE` of an unknown one are refused with 955, and every call
//! with a valid key counts. Where it contradicts itself, or the harder reading would hide a fault, there is a switch
//! ([`Switches`]).
//!
//! | request | does |
//! | --- | --- |
//! | `GET /_sandbox/state` | `{ "key", "fields", "records": [ … ], "quota": { "limit", "used", "month" }, "tokens", … }` and the switches |
//! | `PUT /_sandbox/state` | sets any of `key`, `fields` (name → type, replacing all), `quota: { limit }`, `tokens: { good_for, revoke }` and the switches |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::fields::FieldType;
use crate::clock::Clock;
use crate::connectors::sandbox;

mod login;
mod switches;

pub use switches::{Answers, Auth, Switches};

/// The clientId it takes.
pub const CLIENT_ID: &str = "sandbox";
/// The clientSecret it takes.
pub const CLIENT_SECRET: &str = "sandbox-secret";
/// The Works token it takes.
pub const TOKEN: &str = "sandbox-token";

/// The parameters of the app's 연동 항목관리 and their types: those of the page's example and of the sample config.
pub const APP: &[(&str, &str)] = &[
    ("id", "text"),
    ("Title", "text"),
    ("content", "multitext"),
    ("number", "number"),
    ("dropbox", "dropbox"),
    ("checkbox", "checkbox"),
    ("radio", "radio"),
    ("listbox", "listbox"),
    ("date", "date"),
    ("time", "time"),
    ("datetime", "datetime"),
    ("제목", "text"),
    ("문의", "multitext"),
    ("금액", "number"),
    ("등급", "listbox"),
    ("희망일", "date"),
    ("접수", "datetime"),
];

struct App {
    clock: Clock,
    key: String,
    fields: BTreeMap<String, FieldType>,
    names: Map<String, Value>,
    records: Vec<Map<String, Value>>,
    limit: u64,
    used: u64,
    month: String,
    tokens: login::Tokens,
    switches: Switches,
}

type Shared = Arc<Mutex<App>>;

/// A fresh app without records.
pub fn router(clock: Clock) -> Router {
    let mut app = App {
        clock,
        key: "id".to_owned(),
        fields: BTreeMap::new(),
        names: Map::new(),
        records: Vec::new(),
        limit: 1_500,
        used: 0,
        month: String::new(),
        tokens: login::Tokens::default(),
        switches: Switches::default(),
    };
    app.know(APP.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())));
    Router::new()
        .route(super::PATH, any(works))
        .route(super::door::TOKEN_PATH, post(login::login))
        .route("/_sandbox/state", get(state).put(set))
        .with_state(Arc::new(Mutex::new(app)))
}

fn lock(shared: &Shared) -> MutexGuard<'_, App> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn state(State(shared): State<Shared>) -> Json<Value> {
    let app = lock(&shared);
    let mut state = serde_json::to_value(&app.switches).unwrap_or_default();
    state["key"] = json!(app.key);
    state["fields"] = json!(app.names);
    state["records"] = json!(app.records);
    state["quota"] = json!({ "limit": app.limit, "used": app.used, "month": app.month });
    state["tokens"] = app.tokens.shown();
    Json(state)
}

async fn set(State(shared): State<Shared>, Json(new): Json<Value>) -> Response {
    let mut app = lock(&shared);
    match sandbox::changed(&app.switches, &new) {
        Ok(switches) => app.switches = switches,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    }
    app.tokens.change(&new["tokens"]);
    if let Some(key) = new["key"].as_str() {
        key.clone_into(&mut app.key);
    }
    if let Some(fields) = new["fields"].as_object() {
        let fields = fields.iter().filter_map(|(name, kind)| Some((name.clone(), kind.as_str()?.to_owned())));
        app.know(fields.collect::<Vec<_>>());
    }
    if let Some(limit) = new["quota"]["limit"].as_u64() {
        app.limit = limit;
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn works(State(shared): State<Shared>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    let bare = |status: StatusCode| (status, Json(json!({ "message": status.canonical_reason() }))).into_response();
    if ![Method::POST, Method::PUT, Method::DELETE].contains(&method) {
        return bare(StatusCode::METHOD_NOT_ALLOWED);
    }
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.to_ascii_lowercase().starts_with("application/json") {
        return bare(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return bare(StatusCode::BAD_REQUEST);
    };
    let mut app = lock(&shared);
    let bearer = app.tokens.check(&headers, app.clock.now());
    let needs_token = matches!(app.switches.auth, Auth::Oauth | Auth::Both);
    if bearer == Some(false) || (needs_token && bearer.is_none()) {
        return bare(StatusCode::UNAUTHORIZED);
    }
    match app.act(&method, &body, bearer.is_some()) {
        Ok(()) => app.switches.yes(),
        Err(refused) => app.switches.no(refused),
    }
}

type Refused = (&'static str, &'static str, String);

/// A no of the OpenAPI that the sandbox has no reason of its own for.
fn refusal(code: &str) -> Refused {
    let (code, message) = match code {
        "903" => ("903", "서비스 이용 제한"),
        "904" => ("904", "서비스 이용 기간 만료"),
        "927" => ("927", "발송 권한 없음"),
        "928" => ("928", "수신자 정보 없음"),
        _ => ("999", "알 수 없는 오류"),
    };
    (code, message, String::new())
}

impl App {
    fn know(&mut self, fields: impl IntoIterator<Item = (String, String)>) {
        self.fields.clear();
        self.names.clear();
        for (name, kind) in fields {
            if let Some(known) = FieldType::named(&kind) {
                self.fields.insert(name.clone(), known);
                self.names.insert(name, Value::String(kind));
            }
        }
    }

    fn act(&mut self, method: &Method, body: &Value, by_token: bool) -> Result<(), Refused> {
        let left_out = self.switches.without_client_id && body["clientId"].is_null();
        if body["clientId"] != CLIENT_ID && !left_out {
            return Err(("901", "유효하지 않은 client ID", "client ID를 확인하세요.".to_owned()));
        }
        let in_body = match self.switches.auth {
            Auth::Any => !by_token || !body["clientSecret"].is_null(),
            Auth::Body | Auth::Both => true,
            Auth::Oauth => false,
        };
        if in_body && body["clientSecret"] != CLIENT_SECRET {
            return Err(("902", "유효하지 않은 Client Secret", "client Secret을 확인하세요.".to_owned()));
        }
        self.count()?;
        if !self.switches.refuse.is_empty() {
            return Err(refusal(&self.switches.refuse));
        }
        if body["token"] != TOKEN {
            return Err(("926", "유효하지 않은 사용자 ID", "token을 확인하세요.".to_owned()));
        }
        let Some(params) = body["params"].as_object() else {
            return Err(("925", "잘못된 파라미터 형식", "params가 없습니다.".to_owned()));
        };
        let mut applied = Map::new();
        for (name, value) in params {
            let Some(kind) = self.fields.get(name) else { continue };
            if !kind.is_written(value) {
                return Err(("925", "잘못된 파라미터 형식", name.clone()));
            }
            applied.insert(name.clone(), value.clone());
        }
        let Some(id) = applied.get(&self.key).filter(|id| *id != "").cloned() else {
            return Err(("925", "잘못된 파라미터 형식", self.key.clone()));
        };
        self.apply(method, &id, applied)
    }

    fn apply(&mut self, method: &Method, id: &Value, applied: Map<String, Value>) -> Result<(), Refused> {
        let key = self.key.clone();
        let is_it = |record: &Map<String, Value>| record.get(&key) == Some(id);
        let known = self.records.iter().position(is_it);
        let Some(at) = known else {
            return match *method {
                Method::POST => {
                    self.records.push(applied);
                    Ok(())
                }
                _ if self.switches.lenient => Ok(()),
                _ => Err(("955", "도메인 코드 오류", format!("no record {id}"))),
            };
        };
        match *method {
            Method::POST if self.switches.unique => {
                return Err(("955", "도메인 코드 오류", format!("there is a record {id}")));
            }
            Method::POST => self.records.push(applied),
            Method::PUT if self.switches.whole => self.records[at] = applied,
            Method::PUT => self.records[at].extend(applied),
            _ => self.records.retain(|record| !is_it(record)),
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), Refused> {
        let zone = TimeZone::get("Asia/Seoul").unwrap_or(TimeZone::UTC);
        let month = self.clock.now().to_zoned(zone).strftime("%Y-%m").to_string();
        if month != self.month {
            self.month = month;
            self.used = 0;
        }
        if self.used >= self.limit {
            return Err(("905", "API 호출 한도 초과", format!("{} / {}", self.used, self.limit)));
        }
        self.used += 1;
        Ok(())
    }
}
