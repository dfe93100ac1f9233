//! The OAuth 2.0 server. Errors come with HTTP 200, as `{ "error", "errorDescription" }`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{CLIENT_ID, CLIENT_SECRET, CODE, REDIRECT_URI, REFRESH_TOKEN, Stand, Tenant, read};

/// The pair that is good; every other is not.
pub(super) struct Tokens {
    access: Option<(String, Timestamp)>,
    refresh: String,
    /// When the refresh token ends.
    refreshable: Timestamp,
    code: bool,
    made: u32,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { access: None, refresh: REFRESH_TOKEN.to_owned(), refreshable: Timestamp::MAX, code: true, made: 0 }
    }
}

impl Tenant {
    /// The answer to who has no good access token.
    pub(super) fn refuses(&self, token: &str) -> Option<Response> {
        let now = self.clock.now();
        let why = match &self.tokens.access {
            Some((good, end)) if good == token && *end > now => return None,
            Some((good, _)) if good == token => "Access token is expired",
            _ => "Access token is invalid",
        };
        Some((StatusCode::UNAUTHORIZED, Json(json!({ "status": "error", "message": why }))).into_response())
    }

    fn pair(&mut self) -> Value {
        self.tokens.made += 1;
        let n = self.tokens.made;
        let life = self.switches.token_life;
        let end = self.clock.now().saturating_add(SignedDuration::from_secs(life)).unwrap_or(Timestamp::MAX);
        self.tokens.access = Some((format!("access-{n}"), end));
        self.tokens.refresh = format!("refresh-{n}");
        let month = SignedDuration::from_secs(self.switches.refresh_life);
        self.tokens.refreshable = self.clock.now().saturating_add(month).unwrap_or(Timestamp::MAX);
        json!({
            "token_type": "Bearer", "expires_in": life, "access_token": format!("access-{n}"),
            "refresh_token": self.tokens.refresh, "account_url": "https://acme.worksection.com",
        })
    }
}

fn refused(why: &str) -> Json<Value> {
    Json(json!({ "error": "invalid_request", "errorDescription": why }))
}

/// What the application says it is, or what is wrong with it.
fn form(headers: &HeaderMap, body: &str, grant: &str) -> Result<Vec<(String, String)>, Json<Value>> {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.starts_with("application/x-www-form-urlencoded") {
        return Err(refused("The request is no form"));
    }
    let pairs = read(body);
    let is = |name: &str, value: &str| pairs.iter().any(|(known, given)| known == name && given == value);
    if !is("client_id", CLIENT_ID) || !is("client_secret", CLIENT_SECRET) {
        return Err(refused("Client authentication failed"));
    }
    if !is("grant_type", grant) {
        return Err(refused("The grant type is invalid"));
    }
    Ok(pairs)
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
}

pub(super) async fn token(State(stand): State<Stand>, headers: HeaderMap, body: String) -> Json<Value> {
    let pairs = match form(&headers, &body, "authorization_code") {
        Ok(pairs) => pairs,
        Err(answer) => return answer,
    };
    let mut tenant = stand.lock();
    if value(&pairs, "redirect_uri") != REDIRECT_URI {
        return refused("The redirect URI is invalid");
    }
    if value(&pairs, "code") != CODE || !tenant.tokens.code {
        return refused("Authorization code has been revoked");
    }
    tenant.tokens.code = false;
    Json(tenant.pair())
}

pub(super) async fn refresh(State(stand): State<Stand>, headers: HeaderMap, body: String) -> Json<Value> {
    let pairs = match form(&headers, &body, "refresh_token") {
        Ok(pairs) => pairs,
        Err(answer) => return answer,
    };
    let mut tenant = stand.lock();
    let over = tenant.tokens.refreshable <= tenant.clock.now();
    if over || value(&pairs, "refresh_token") != tenant.tokens.refresh {
        return refused("The refresh token is invalid");
    }
    Json(tenant.pair())
}

/// The access token ends now.
pub(super) async fn expire(State(stand): State<Stand>) -> Json<Value> {
    let mut tenant = stand.lock();
    let now = tenant.clock.now();
    if let Some((_, end)) = &mut tenant.tokens.access {
        *end = now;
    }
    Json(Value::Null)
}
