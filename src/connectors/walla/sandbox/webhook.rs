//! Walla's outgoing webhook (자동화 > 웹훅), as a person sets it up in the form's pages.
//!
//! `PUT /_sandbox/webhook` with `{ "url", "method"?, "headers"?, "body"?, "on"?, "deliver_to" }` sets one up: `method` is POST, PUT
//! or GET; `body` is `form` (Walla's own body of 2024), `event` (the one that was seen since) or a body of one's own with
//! `{{responseKey}}`, `{{projectKey}}`, `{{customerKey}}`, `{{timestamp}}`, `{{res:…}}`, `{{hidden:…}}` in it; `on` is `submitted`
//! or `rejected`. Addresses of one's own network are refused; `deliver_to` takes the place of the host for a bridge that has
//! no other. `POST /_sandbox/rejections` with `{ "answers" }` is a respondent who is screened out: nothing of it is kept.
//! `POST /_sandbox/webhook/resend` sends the last one again, as a person can. State: `webhook_log`.

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Form, PROJECT, Shared, Stored};
use crate::connectors::Call;
use crate::connectors::client::addresses::is_public;
use crate::connectors::sandbox::telling::{self, Looks};

/// A webhook that is set up.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    url: String,
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default = "event")]
    body: Value,
    #[serde(default)]
    on: Trigger,
    deliver_to: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Trigger {
    #[default]
    Submitted,
    Rejected,
}

fn post() -> String {
    "POST".to_owned()
}

fn event() -> Value {
    json!("event")
}

/// Of webhooks, what a form remembers.
#[derive(Debug, Default, Serialize)]
pub(super) struct Webhooks {
    #[serde(rename = "webhooks")]
    set_up: Vec<Webhook>,
    #[serde(rename = "webhook_log")]
    log: Vec<String>,
    #[serde(skip)]
    looks: Looks,
    #[serde(skip)]
    last: Option<Call>,
}

/// Whoever answered, or was screened out.
struct Respondent {
    stored: Stored,
    rejected: bool,
}

pub(super) async fn set_up(State(shared): State<Shared>, Json(webhook): Json<Webhook>) -> Response {
    let no = |why: &'static str| (StatusCode::BAD_REQUEST, Json(json!({ "message": why }))).into_response();
    let Ok(url) = Url::parse(&webhook.url) else { return no("the URL is not valid") };
    let host_is_own = match url.host() {
        Some(url::Host::Ipv4(address)) => !is_public(address.into()),
        Some(url::Host::Ipv6(address)) => !is_public(address.into()),
        Some(url::Host::Domain(name)) => name == "localhost" || !name.contains('.'),
        None => true,
    };
    if host_is_own || !matches!(url.scheme(), "http" | "https") {
        return no("private and loopback hosts are not allowed");
    }
    if !matches!(webhook.method.as_str(), "POST" | "PUT" | "GET") {
        return no("the method is POST, PUT or GET");
    }
    shared.form().webhooks.set_up.push(webhook);
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rejection {
    answers: Map<String, Value>,
}

pub(super) async fn reject(State(shared): State<Shared>, Json(rejection): Json<Rejection>) -> StatusCode {
    let submitted_at = shared.clock.now();
    let stored = Stored { id: String::new(), customer_key: None, submitted_at, answers: rejection.answers };
    let calls = shared.form().calls(&[Respondent { stored, rejected: true }]);
    send(&shared, calls);
    StatusCode::NO_CONTENT
}

pub(super) async fn resend(State(shared): State<Shared>) -> StatusCode {
    let last = shared.form().webhooks.last.clone();
    let status = if last.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
    send(&shared, last.into_iter().collect());
    status
}

/// After each request: the responses that are new.
pub(super) async fn tell(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let calls = {
        let mut form = shared.form();
        let new = form.new_responses();
        form.calls(&new)
    };
    send(&shared, calls);
    response
}

fn send(shared: &Shared, calls: Vec<Call>) {
    let heard = shared.clone();
    telling::tell(calls, move |status| {
        let line = match status {
            Some(status) if status.is_success() => format!("Webhook delivered with status: {}", status.as_u16()),
            Some(status) => format!("Webhook failed with status: {}", status.as_u16()),
            None => "Webhook failed".to_owned(),
        };
        heard.form().webhooks.log.push(line);
    });
}

impl Form {
    fn new_responses(&mut self) -> Vec<Respondent> {
        if self.webhooks.set_up.is_empty() {
            return Vec::new();
        }
        let all: Vec<Value> = self.responses.iter().map(|r| json!({ "id": r.id })).collect();
        let new = self.webhooks.looks.changes(&all, "id");
        let is_new = |stored: &&Stored| new.iter().any(|change| change.after["id"] == stored.id.as_str());
        self.responses
            .iter()
            .filter(is_new)
            .map(|stored| Respondent { stored: stored.clone(), rejected: false })
            .collect()
    }

    fn calls(&mut self, who: &[Respondent]) -> Vec<Call> {
        let mut calls = Vec::new();
        for respondent in who {
            let trigger = if respondent.rejected { Trigger::Rejected } else { Trigger::Submitted };
            let webhooks = self.webhooks.set_up.iter().filter(|webhook| webhook.on == trigger);
            calls.extend(webhooks.filter_map(|webhook| self.call(webhook, respondent)));
        }
        if let Some(last) = calls.last() {
            self.webhooks.last = Some(last.clone());
        }
        calls
    }

    fn call(&self, webhook: &Webhook, who: &Respondent) -> Option<Call> {
        let mut url = telling::place(&webhook.url, &webhook.deliver_to)?;
        let body = match webhook.body.as_str() {
            Some("form") => self.of_2024(who),
            Some("event") => of_now(who),
            Some(_) => return None,
            None => self.filled(&webhook.body, who),
        };
        let mut call = if webhook.method == "GET" {
            let fields = body.as_object()?.iter();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().extend_pairs(fields.map(|(name, value)| (name, text(value))));
            Call::new(Method::GET, url)
        } else {
            Call::new(webhook.method.parse().ok()?, url).json(&body)
        };
        for (name, value) in &webhook.headers {
            let (name, value) = (name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value.as_str()?).ok()?);
            if name == CONTENT_TYPE {
                call.headers.insert(name, value);
            } else {
                call = call.header(name, value);
            }
        }
        Some(call)
    }

    /// Source: Walla's Apps Script sample. Of a rejection it says nothing of its own.
    fn of_2024(&self, who: &Respondent) -> Value {
        let answers = who.stored.answers.iter().map(|(column, value)| {
            let question = self.questions.iter().find(|question| question.column == *column);
            json!({
                "label": question.map(|question| &question.label), "type": question.map(|question| &question.kind),
                "response": value,
            })
        });
        json!({
            "form_response": { "submitted_at": at(&who.stored), "response_id": who.stored.id },
            "form_answers": answers.collect::<Vec<_>>(), "form_definition": { "title": "신청", "id": PROJECT },
        })
    }

    /// A body of one's own.
    fn filled(&self, body: &Value, who: &Respondent) -> Value {
        match body {
            Value::String(text) => Value::String(self.replaced(text, who)),
            Value::Array(items) => items.iter().map(|item| self.filled(item, who)).collect(),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(name, value)| (name.clone(), self.filled(value, who)));
                Value::Object(filled.collect())
            }
            other => other.clone(),
        }
    }

    fn replaced(&self, text: &str, who: &Respondent) -> String {
        let stored = &who.stored;
        let mut text = text
            .replace("{{responseKey}}", &stored.id)
            .replace("{{projectKey}}", PROJECT)
            .replace("{{customerKey}}", stored.customer_key.as_deref().unwrap_or_default())
            .replace("{{timestamp}}", &at(stored));
        for question in &self.questions {
            let value = stored.answers.get(&question.column);
            let value = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let hidden = question.column.strip_prefix("hf_");
            let name = hidden.map_or_else(|| format!("res:{}", question.column), |id| format!("hidden:{id}"));
            text = text.replace(&format!("{{{{{name}}}}}"), &value.unwrap_or_default());
        }
        text
    }
}

/// Source: seen in public code.
fn of_now(who: &Respondent) -> Value {
    let word = if who.rejected { "response_rejected" } else { "response_submitted" };
    let answer = |(column, value): (&String, &Value)| json!({ "field_id": column, "value": value });
    json!({ "event_type": word, "answers": who.stored.answers.iter().map(answer).collect::<Vec<_>>() })
}

fn at(stored: &Stored) -> String {
    let at: Timestamp = stored.submitted_at;
    at.to_string()
}
