//! Where tokens come from.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::calls::{Parameters, get};
use super::{CLIENT_ID, CLIENT_SECRET, CUSTOMER, PRIVATE_KEY, SCOPE, Shared, USER, lock};
use crate::connectors::workfront::jwt::{Key, verified};

fn refused(error: &str, why: &str) -> Response {
    let body = json!({ "error": error, "error_description": why });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn form(body: &Bytes) -> Parameters {
    form_urlencoded::parse(body).into_owned().collect()
}

fn is_client(form: &Parameters) -> bool {
    get(form, "client_id") == Some(CLIENT_ID) && get(form, "client_secret") == Some(CLIENT_SECRET)
}

/// Source: the page "JWT flow": `iss` is the Customer ID, `sub` the User ID, `exp` in the future.
pub(super) async fn jwt(State(shared): State<Shared>, body: Bytes) -> Response {
    let form = form(&body);
    if !is_client(&form) {
        return refused("invalid_client", "the client is not known");
    }
    let mut tenant = lock(&shared);
    let now = tenant.clock.now().as_second();
    let claims = Key::read(PRIVATE_KEY).ok().and_then(|key| verified(get(&form, "jwt_token")?, key.public()));
    let fits = claims.is_some_and(|claims| {
        claims["iss"] == CUSTOMER && claims["sub"] == USER && claims["exp"].as_i64().is_some_and(|exp| exp > now)
    });
    if !fits {
        return refused("invalid_grant", "the JWT cannot be verified");
    }
    let bearer = tenant.switches.jwt_bearer;
    let (token, lives) = tenant.token(bearer);
    Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": lives })).into_response()
}

/// Source: Adobe's page on OAuth server-to-server credentials.
pub(super) async fn ims(State(shared): State<Shared>, body: Bytes) -> Response {
    let form = form(&body);
    if get(&form, "grant_type") != Some("client_credentials") {
        return refused("unsupported_grant_type", "expected client_credentials");
    }
    if !is_client(&form) {
        return refused("invalid_client", "invalid client_secret parameter");
    }
    if get(&form, "scope") != Some(SCOPE) {
        return refused("invalid_scope", "a scope is not of this credential");
    }
    let (token, lives) = lock(&shared).token(true);
    Json(json!({ "access_token": token, "token_type": "bearer", "expires_in": lives })).into_response()
}
