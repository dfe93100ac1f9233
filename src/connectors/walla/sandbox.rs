//! A stand-in for Walla: both APIs over one form, as strict as their pages.
//!
//! The form is project [`PROJECT`] of workspace [`WORKSPACE`], and form [`FORM`] of the Open API, which is served at the
//! root and under `/open-api/v1`. The keys are [`CLIENT_ID`] with [`API_KEY`], and [`OPEN_API_KEY`].
//!
//! Respondents are played through more paths: `POST /_sandbox/responses` with
//! `{ "id"?, "customer_key"?, "submitted_at"?, "answers": { label or column: value } }` submits a response, or changes
//! the one with that id, and `DELETE /_sandbox/responses/{id}` removes it; `POST /_sandbox/questions` with `{ "column", "label", "type" }` adds or rewords a question;
//! `GET /_sandbox/state` shows everything, `PUT` of it sets any of the [`Switches`]. `PUT /_sandbox/webhook` sets up a webhook of
//! Walla's own, and `POST /_sandbox/rejections` has somebody screened out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use http::{HeaderMap, StatusCode, header};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::connectors::sandbox;
use crate::settings::parse_instant;

mod export;
mod open;
mod places;
mod switches;
mod webhook;

pub use switches::{Shape, Switches};

/// The client id of the response API.
pub const CLIENT_ID: &str = "walla-client";
/// The API key of the response API.
pub const API_KEY: &str = "walla-key";
/// The key of the Open API.
pub const OPEN_API_KEY: &str = "walla-open-key";
/// The workspace key.
pub const WORKSPACE: &str = "ws-1";
/// The project key.
pub const PROJECT: &str = "pj-7";
/// The form's id in the Open API.
pub const FORM: &str = "form-7";
/// Requests an hour and key (Open API, over a rolling hour; taken for the response API as well).
pub const LIMIT: usize = 6_000;

/// Makes a fresh one.
pub fn router(clock: Clock) -> Router {
    let shared = Shared { clock, state: Arc::new(Mutex::new(Form::new())) };
    let project = Router::new()
        .route("/", get(places::one_project))
        .route("/columns", get(columns))
        .route("/response/list", get(export::list))
        .route("/response/query/dateRange", get(date_range))
        .route("/response/get/responseKey/{key}", get(by_response_key))
        .route("/response/get/customerKey/{key}", get(by_customer_key))
        .route("/response/check/customerKey/{key}", get(check_customer_key))
        .route("/response/listCustomerKeys", get(list_customer_keys));
    let response_api = Router::new()
        .route("/workspace/list", get(places::workspaces))
        .route("/workspace/query/projectKey", get(places::workspace_of))
        .route(&format!("/workspace/{WORKSPACE}"), get(places::one_workspace))
        .route(&format!("/workspace/{WORKSPACE}/project/list"), get(places::projects))
        .nest(&format!("/workspace/{WORKSPACE}/project/{PROJECT}"), project)
        .route_layer(from_fn_with_state(shared.clone(), basic));
    Router::new()
        .merge(response_api)
        .merge(open::router(&shared))
        .nest("/open-api/v1", open::router(&shared))
        .route("/_sandbox/responses", post(submit))
        .route("/_sandbox/responses/{id}", delete(remove))
        .route("/_sandbox/questions", post(ask))
        .route("/_sandbox/state", get(state).put(set))
        .route("/_sandbox/webhook", put(webhook::set_up))
        .route("/_sandbox/webhook/resend", post(webhook::resend))
        .route("/_sandbox/rejections", post(webhook::reject))
        .fallback(async || (StatusCode::NOT_FOUND, Json(json!({"message": "Not Found"}))))
        .layer(from_fn_with_state(shared.clone(), webhook::tell))
        .with_state(shared)
}

#[derive(Clone)]
struct Shared {
    clock: Clock,
    state: Arc<Mutex<Form>>,
}

impl Shared {
    fn form(&self) -> MutexGuard<'_, Form> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request against the hourly limit; false if it is one too many.
    fn within_limit(&self) -> bool {
        let now = self.clock.now();
        let requests = &mut self.form().requests;
        while requests.front().is_some_and(|at| now.duration_since(*at) >= SignedDuration::from_hours(1)) {
            requests.pop_front();
        }
        let within = requests.len() < LIMIT;
        if within {
            requests.push_back(now);
        }
        within
    }
}

/// The form and what was answered.
#[derive(Serialize)]
struct Form {
    questions: Vec<Question>,
    responses: Vec<Stored>,
    #[serde(flatten)]
    switches: Switches,
    #[serde(flatten)]
    webhooks: webhook::Webhooks,
    #[serde(skip)]
    requests: VecDeque<Timestamp>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Question {
    /// `hf_…` for a hidden field.
    column: String,
    label: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Debug, Serialize)]
struct Stored {
    id: String,
    customer_key: Option<String>,
    submitted_at: Timestamp,
    answers: Map<String, Value>,
}

impl Form {
    fn new() -> Self {
        let question = |(column, label, kind): (&str, &str, &str)| Question {
            column: column.to_owned(),
            label: label.to_owned(),
            kind: kind.to_owned(),
        };
        let questions = [
            ("field_name", "이름", "TEXT"),
            ("field_phone", "연락처", "TEXT"),
            ("field_agree", "개인정보 동의", "RADIO"),
            ("field_grade", "등급", "SELECT"),
            ("field_topics", "관심 분야", "CHECKBOX"),
            ("field_date", "희망일", "DATE"),
            ("field_text", "문의", "TEXT"),
            ("hf_from", "유입경로", "TEXT"),
        ];
        Self {
            questions: questions.map(question).into(),
            responses: Vec::new(),
            switches: Switches::default(),
            webhooks: webhook::Webhooks::default(),
            requests: VecDeque::new(),
        }
    }

    fn split(&self) -> (Vec<&Question>, Vec<&Question>) {
        self.questions.iter().partition(|question| !question.column.starts_with("hf_"))
    }

    /// Newest first.
    fn newest(&self) -> Vec<&Stored> {
        let mut all: Vec<_> = self.responses.iter().collect();
        all.sort_by(|a, b| (b.submitted_at, &b.id).cmp(&(a.submitted_at, &a.id)));
        all
    }
}

impl Question {
    fn is_choice(&self) -> bool {
        matches!(self.kind.as_str(), "RADIO" | "SELECT" | "CHECKBOX" | "MULTI_SELECT")
    }
}

// === The response API ===

async fn basic(State(shared): State<Shared>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let token = base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT_ID}:{API_KEY}"));
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given != Some(format!("Basic {token}").as_str()) {
        if shared.form().switches.forbidden {
            return (StatusCode::FORBIDDEN, Json(json!({"message": "Forbidden"}))).into_response();
        }
        return (StatusCode::UNAUTHORIZED, Json(json!({"message": "Unauthorized"}))).into_response();
    }
    if !shared.within_limit() {
        return (StatusCode::TOO_MANY_REQUESTS, Json(json!({"message": "Too Many Requests"}))).into_response();
    }
    next.run(request).await
}

async fn columns(State(shared): State<Shared>) -> Json<Value> {
    let form = shared.form();
    let list = |questions: Vec<&Question>| -> Vec<Value> {
        questions.iter().map(|q| json!({"column_name": q.column, "label": q.label, "type": q.kind})).collect()
    };
    let (fields, hidden) = form.split();
    Json(json!({"field_columns": list(fields), "hidden_field_columns": list(hidden)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Range {
    start_date: Option<String>,
    end_date: Option<String>,
}

async fn date_range(State(shared): State<Shared>, Query(range): Query<Range>) -> Response {
    let instant = |text: Option<String>| parse_instant(&text?, &TimeZone::UTC);
    let form = shared.form();
    let whole_day = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() == 10);
    let refused = form.switches.dates_only && !(whole_day(&range.start_date) && whole_day(&range.end_date));
    let bad = || (StatusCode::BAD_REQUEST, Json(json!({"message": "Bad Request"}))).into_response();
    let (Some(from), Some(to), false) = (instant(range.start_date), instant(range.end_date), refused) else {
        return bad();
    };
    if to < from {
        return bad();
    }
    let within = form.newest().into_iter().filter(|r| from <= r.submitted_at && r.submitted_at <= to);
    let within: Vec<_> = within.map(|response| form.switches.written(response, &form.questions)).collect();
    Json(json!({ "responses": within })).into_response()
}

fn found(form: &Form, response: Option<&Stored>) -> Response {
    match response {
        Some(response) => Json(json!({ "response": form.switches.written(response, &form.questions) })).into_response(),
        None => not_found(),
    }
}

async fn by_response_key(State(shared): State<Shared>, Path(key): Path<String>) -> Response {
    let (now, form) = (shared.clock.now(), shared.form());
    found(&form, form.responses.iter().find(|r| r.id == key && form.switches.shows(r, now)))
}

async fn by_customer_key(State(shared): State<Shared>, Path(key): Path<String>) -> Response {
    let form = shared.form();
    found(&form, form.newest().into_iter().find(|r| r.customer_key.as_ref() == Some(&key)))
}

async fn check_customer_key(State(shared): State<Shared>, Path(key): Path<String>) -> Json<Value> {
    Json(json!({"exists": shared.form().responses.iter().any(|r| r.customer_key.as_ref() == Some(&key))}))
}

async fn list_customer_keys(State(shared): State<Shared>) -> Json<Value> {
    let form = shared.form();
    Json(json!({"customerKeys": form.responses.iter().filter_map(|r| r.customer_key.as_ref()).collect::<Vec<_>>()}))
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"message": "Not Found"}))).into_response()
}

// === Playing the respondents ===

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Submission {
    id: Option<String>,
    customer_key: Option<String>,
    submitted_at: Option<Timestamp>,
    answers: Map<String, Value>,
}

async fn submit(State(shared): State<Shared>, Json(submission): Json<Submission>) -> Response {
    let now = shared.clock.now();
    let mut form = shared.form();
    let mut answers = Map::new();
    for (name, value) in submission.answers {
        let Some(question) = form.questions.iter().find(|q| q.column == name || q.label == name) else {
            let why = format!("the form asks nothing called {name:?}");
            return (StatusCode::BAD_REQUEST, Json(json!({"message": why}))).into_response();
        };
        // Walla writes choices as arrays, one or many.
        let value = if question.is_choice() && value.is_string() { json!([value]) } else { value };
        answers.insert(question.column.clone(), value);
    }
    let id = submission.id.unwrap_or_else(|| format!("res-{}", 1001 + form.responses.len()));
    let submitted_at = if let Some(known) = form.responses.iter_mut().find(|r| r.id == id) {
        known.answers.extend(answers);
        known.customer_key = submission.customer_key.or(known.customer_key.take());
        known.submitted_at
    } else {
        let submitted_at = submission.submitted_at.unwrap_or(now);
        let customer_key = submission.customer_key;
        form.responses.push(Stored { id: id.clone(), customer_key, submitted_at, answers });
        submitted_at
    };
    Json(json!({"id": id, "submitted_at": submitted_at.to_string()})).into_response()
}

async fn remove(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let mut form = shared.form();
    match form.responses.iter().position(|response| response.id == id) {
        Some(at) => Json(json!({"removed": form.responses.remove(at).id})).into_response(),
        None => not_found(),
    }
}

async fn ask(State(shared): State<Shared>, Json(question): Json<Question>) -> Json<Value> {
    let mut form = shared.form();
    match form.questions.iter_mut().find(|known| known.column == question.column) {
        Some(known) => *known = question,
        None => form.questions.push(question),
    }
    Json(json!({"questions": form.questions}))
}

async fn set(State(shared): State<Shared>, Json(new): Json<Value>) -> Response {
    let mut form = shared.form();
    match sandbox::changed(&form.switches, &new) {
        Ok(switches) => {
            form.switches = switches;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

async fn state(State(shared): State<Shared>) -> Json<Value> {
    Json(serde_json::to_value(&*shared.form()).unwrap_or_default())
}
