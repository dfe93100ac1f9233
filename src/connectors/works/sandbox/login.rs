//! The tokens that the sandbox gave.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{CLIENT_ID, CLIENT_SECRET, Shared, lock};

/// For how long a token is good, in seconds: a day.
const GOOD_FOR: i64 = 86_400;

/// The tokens, with the end of each.
#[derive(Debug)]
pub struct Tokens {
    good_for: i64,
    made: u64,
    good: Vec<(String, Timestamp)>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { good_for: GOOD_FOR, made: 0, good: Vec::new() }
    }
}

impl Tokens {
    /// For people.
    pub fn shown(&self) -> Value {
        json!({ "made": self.made, "good_for": self.good_for })
    }

    /// Changes for how long the next ones are good, or ends all with `"revoke": true`.
    pub fn change(&mut self, new: &Value) {
        self.good_for = new["good_for"].as_i64().unwrap_or(self.good_for);
        if new["revoke"] == true {
            self.good.clear();
        }
    }

    /// Whether a call bears one that is good; `None` if it bears none.
    pub fn check(&self, headers: &HeaderMap, now: Timestamp) -> Option<bool> {
        let bearer = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        Some(self.good.iter().any(|(token, end)| token == bearer && *end > now))
    }

    fn make(&mut self, now: Timestamp) -> Value {
        self.made += 1;
        let token = format!("sandbox-access-{}", self.made);
        let end = now.saturating_add(SignedDuration::from_secs(self.good_for)).unwrap_or(Timestamp::MAX);
        self.good.push((token.clone(), end));
        json!({ "token_type": "bearer", "expires_in": self.good_for, "access_token": token })
    }
}

/// `POST` of the token's URL.
pub async fn login(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let no = |status: StatusCode, code: &str, message: &str| {
        (status, axum::Json(json!({ "code": code, "message": message, "messageDetail": "" }))).into_response()
    };
    let pair = header(AUTHORIZATION).strip_prefix("Basic ").unwrap_or_default();
    let pair = base64::engine::general_purpose::STANDARD.decode(pair).unwrap_or_default();
    let pair = String::from_utf8(pair).unwrap_or_default();
    match pair.split_once(':') {
        Some((CLIENT_ID, CLIENT_SECRET)) => {}
        Some((CLIENT_ID, _)) => return no(StatusCode::UNAUTHORIZED, "902", "유효하지 않은 Client Secret"),
        _ => return no(StatusCode::UNAUTHORIZED, "901", "유효하지 않은 client ID"),
    }
    if !header(CONTENT_TYPE).starts_with("application/x-www-form-urlencoded") {
        return no(StatusCode::UNSUPPORTED_MEDIA_TYPE, "925", "잘못된 파라미터 형식");
    }
    if !form_urlencoded::parse(&body).any(|(name, value)| name == "grant_type" && value == "client_credentials") {
        return no(StatusCode::BAD_REQUEST, "925", "잘못된 파라미터 형식");
    }
    let mut app = lock(&shared);
    let now = app.clock.now();
    axum::Json(app.tokens.make(now)).into_response()
}
