//! The Events API: `PUT /_sandbox/events` with `{ "request_url" }` is what a person sets under Event Subscriptions. It is taken if
//! it answers the challenge; from then on every message of the channel is told of, signed, the bot's own too.
//!
//! What is not answered with 2xx within three seconds comes up to three times more, here without the minutes between, unless
//! the answer has `x-slack-no-retry: 1`. `{ "signed_ago": s }` makes signatures `s` seconds older. State: `told`, a list of
//! `{ "event_id", "retry", "status" }`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

use super::{SIGNING_SECRET, Shared, Workspace, lock};
use crate::connectors::sandbox::telling;
use crate::connectors::{Answer, Call};

/// The app that the bot belongs to.
pub const APP: &str = "A0SANDBOX";
/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often an event comes again.
const RETRIES: u8 = 3;

/// Where events go.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscription {
    url: Option<Url>,
    signed_ago: i64,
    pub(super) told: Vec<Value>,
    made: u64,
}

pub(super) async fn subscribe(State(shared): State<Shared>, Json(new): Json<Value>) -> Response {
    if let Some(seconds) = new["signed_ago"].as_i64() {
        lock(&shared).events.signed_ago = seconds;
    }
    let Some(url) = new["request_url"].as_str() else { return StatusCode::NO_CONTENT.into_response() };
    let Ok(url) = Url::parse(url) else { return (StatusCode::BAD_REQUEST, "no URL").into_response() };
    let challenge = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P";
    let body = json!({ "type": "url_verification", "token": "sandbox", "challenge": challenge });
    let call = lock(&shared).signed(&url, &body, None);
    let answer = telling::ask(&call).await;
    let echoes = |answer: &Answer| {
        answer.text().trim() == challenge || answer.json().is_some_and(|body| body["challenge"] == challenge)
    };
    if answer.is_some_and(|answer| answer.status == StatusCode::OK && echoes(&answer)) {
        lock(&shared).events.url = Some(url);
        return StatusCode::NO_CONTENT.into_response();
    }
    let why = "Your URL didn't respond with the value of the `challenge` parameter.";
    (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response()
}

/// Tells of a message that is in the channel now.
pub(super) fn tell(shared: &Shared, message: &Value) {
    let (url, body, id) = {
        let mut workspace = lock(shared);
        let Some(url) = workspace.events.url.clone() else { return };
        workspace.events.made += 1;
        let id = format!("Ev{:08}", workspace.events.made);
        let body = callback(message, &id, workspace.clock.now().as_second());
        (url, body, id)
    };
    let shared = shared.clone();
    tokio::spawn(async move {
        for retry in 0..=RETRIES {
            let again = (retry > 0).then_some(retry);
            let call = lock(&shared).signed(&url, &body, again);
            let answer = telling::ask(&call).await;
            let status = answer.as_ref().map(|answer| answer.status.as_u16());
            lock(&shared).events.told.push(json!({ "event_id": id, "retry": retry, "status": status }));
            let heard = answer.is_some_and(|answer| {
                answer.status.is_success() || answer.headers.get("x-slack-no-retry").is_some_and(|no| no == "1")
            });
            if heard {
                return;
            }
        }
    });
}

fn callback(message: &Value, id: &str, now: i64) -> Value {
    let ts = &message["ts"];
    let mut event = json!({
        "type": "message", "channel": message["channel"], "channel_type": "channel", "ts": ts, "event_ts": ts,
        "text": message["text"], "team": "T0SANDBOX",
    });
    if !message["thread_ts"].is_null() {
        event["thread_ts"] = message["thread_ts"].clone();
    }
    if message["user"].is_null() {
        event["bot_id"] = json!("B0SANDBOX");
        event["app_id"] = json!(APP);
    } else {
        event["user"] = message["user"].clone();
    }
    json!({
        "type": "event_callback", "token": "sandbox", "team_id": "T0SANDBOX", "api_app_id": APP, "event": event,
        "event_id": id, "event_time": now, "authorizations": [{ "team_id": "T0SANDBOX", "is_bot": true }],
    })
}

impl Workspace {
    fn signed(&self, url: &Url, body: &Value, retry: Option<u8>) -> Call {
        let time = (self.clock.now().as_second() - self.events.signed_ago).to_string();
        let mut call = Call::new(Method::POST, url.clone()).json(body).timeout(PATIENCE);
        let mut signature = String::new();
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes()) {
            for part in [b"v0:", time.as_bytes(), b":", &call.body] {
                mac.update(part);
            }
            signature = format!("v0={}", hex::encode(mac.finalize().into_bytes()));
        }
        let more = retry.map(|n| ("x-slack-retry-num", n.to_string()));
        let reason = retry.map(|_| ("x-slack-retry-reason", "http_error".to_owned()));
        let signed = [("x-slack-request-timestamp", time), ("x-slack-signature", signature)];
        for (name, value) in signed.into_iter().chain(more).chain(reason) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                call = call.header(HeaderName::from_static(name), value);
            }
        }
        call
    }
}
