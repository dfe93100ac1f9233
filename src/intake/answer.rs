//! Answers of the HTTP surfaces: problem documents, and what a sender hears about its events.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::connectors::{HookAnswer, Refusal};
use crate::problem::problem;

/// Why a request is not taken: becomes a problem document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// What is wrong, in a sentence for whoever sent the request.
    pub detail: String,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// The methods that would be taken, for a 405.
    pub allow: Option<String>,
}

impl Problem {
    /// A problem with a status.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None, allow: None }
    }

    /// The same with the word on when to come back.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        };
        Self::new(status, refusal.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = problem(self.status, &self.detail);
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // Rounded up: who comes back earlier is refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(allow) = self.allow.and_then(|methods| HeaderValue::from_str(&methods).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

/// The answer that a hook chose.
pub(super) fn chosen(answer: HookAnswer) -> Response {
    (answer.status, [(header::CONTENT_TYPE, answer.content_type)], answer.body).into_response()
}

/// `202 {"id":…}`, or `{"ids":[…]}` where one request was several events, or none.
pub(super) fn accepted(ids: &[&str]) -> Response {
    let body = match ids {
        [id] => json!({ "id": id }),
        ids => json!({ "ids": ids }),
    };
    (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
