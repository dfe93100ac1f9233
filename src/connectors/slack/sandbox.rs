//! A stand-in for Slack: `chat.postMessage`, `chat.update`, `chat.delete`, `conversations.history`,
//! `conversations.replies`, `auth.test` and one incoming webhook.
//!
//! Credentials: bot token [`BOT_TOKEN`], and [`POSTING_TOKEN`] without the scope channels:history; signing secret [`SIGNING_SECRET`]; incoming webhook at the path [`WEBHOOK`]. The
//! bot is a member of [`CHANNEL`]; [`ARCHIVED`] is archived, in [`CLOSED`] it is no member, others do not exist. A channel
//! takes a burst of [`BURST`] messages and then one a second.
//!
//! Blocks are checked as Block Kit has them (`blocks`); events go to where `PUT /_sandbox/events` says (`events`).
//!
//! `POST /_sandbox/messages` with `{ "text" }` puts somebody else's message into [`CHANNEL`]; its answer is `{ "ts" }`.
//! State: `{ "messages": [ { "channel", "ts", "thread_ts", "text", "message" } ], "refused": <count> }`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::clock::Clock;

mod blocks;
mod events;

/// The bot token it takes.
pub const BOT_TOKEN: &str = "xoxb-sandbox";
/// A bot token that may post and not read.
pub const POSTING_TOKEN: &str = "xoxb-sandbox-posting";
/// The signing secret of its app.
pub const SIGNING_SECRET: &str = "sandbox-signing-secret";
/// The path of its incoming webhook.
pub const WEBHOOK: &str = "/services/T0SANDBOX/B0SANDBOX/sandbox";
/// The channel that the bot is a member of, and that the incoming webhook posts to.
pub const CHANNEL: &str = "C0123456789";
/// An archived channel.
pub const ARCHIVED: &str = "C0ARCHIVED";
/// A channel that the bot is no member of.
pub const CLOSED: &str = "C0CLOSED";
/// How many messages a channel takes at once.
pub const BURST: u32 = 10;
/// How many changes, and questions of a kind, the workspace takes at once. Source: Tier 3, "50+ a minute".
pub const OFTEN: u32 = 50;

struct Workspace {
    clock: Clock,
    messages: Vec<Value>,
    made: u64,
    refused: u64,
    buckets: BTreeMap<String, Bucket>,
    events: events::Subscription,
}

/// How many messages a channel still takes, and when that was true.
struct Bucket {
    left: u32,
    at: Timestamp,
}

type Shared = Arc<Mutex<Workspace>>;

/// A fresh workspace without messages.
pub fn router(clock: Clock) -> Router {
    let workspace = Workspace {
        clock,
        messages: Vec::new(),
        made: 0,
        refused: 0,
        buckets: BTreeMap::new(),
        events: events::Subscription::default(),
    };
    Router::new()
        .route("/api/{method}", post(web_api).get(web_api))
        .route("/services/{team}/{service}/{token}", post(webhook))
        .route("/_sandbox/messages", post(by_another))
        .route("/_sandbox/events", put(events::subscribe))
        .route("/_sandbox/state", get(state))
        .with_state(Arc::new(Mutex::new(workspace)))
}

fn lock(shared: &Shared) -> MutexGuard<'_, Workspace> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn state(State(shared): State<Shared>) -> Json<Value> {
    let workspace = lock(&shared);
    Json(json!({ "messages": workspace.messages, "refused": workspace.refused, "told": workspace.events.told }))
}

/// What somebody else wrote: the bot may answer it, and neither change nor delete it.
async fn by_another(State(shared): State<Shared>, Json(message): Json<Map<String, Value>>) -> Json<Value> {
    let (ts, kept) = {
        let mut workspace = lock(&shared);
        let ts = workspace.keep(CHANNEL, &message);
        let kept = workspace.messages.last_mut().map(|kept| {
            kept["user"] = Value::String("U0SANDBOX".to_owned());
            kept.clone()
        });
        (ts, kept)
    };
    if let Some(kept) = kept {
        events::tell(&shared, &kept);
    }
    Json(json!({ "ts": ts }))
}

enum Refused {
    Limited,
    Error(&'static str, Value),
}

fn error(name: &'static str) -> Refused {
    Refused::Error(name, Value::Null)
}

async fn web_api(
    State(shared): State<Shared>,
    Path(method): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (said, posted) = {
        let mut workspace = lock(&shared);
        let before = workspace.made;
        let said = workspace.call(&method, &headers, &query, &body);
        let posted = (workspace.made > before).then(|| workspace.messages.last().cloned()).flatten();
        (said, posted)
    };
    if let Some(posted) = posted {
        events::tell(&shared, &posted);
    }
    match said {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => {
            lock(&shared).refused += 1;
            match refused {
                Refused::Limited => {
                    let answer = Json(json!({ "ok": false, "error": "ratelimited" }));
                    (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")], answer).into_response()
                }
                Refused::Error(error, Value::Null) => Json(json!({ "ok": false, "error": error })).into_response(),
                Refused::Error(error, more) => {
                    Json(json!({ "ok": false, "error": error, "response_metadata": more })).into_response()
                }
            }
        }
    }
}

async fn webhook(
    State(shared): State<Shared>,
    Path((team, service, token)): Path<(String, String, String)>,
    body: Bytes,
) -> (StatusCode, &'static str) {
    match format!("/services/{team}/{service}/{token}") {
        path if path == WEBHOOK => {}
        path if path.starts_with("/services/T0SANDBOX/B0SANDBOX/") => return (StatusCode::FORBIDDEN, "invalid_token"),
        path if path.starts_with("/services/T0SANDBOX/") => return (StatusCode::NOT_FOUND, "no_service"),
        _ => return (StatusCode::NOT_FOUND, "no_team"),
    }
    let Ok(Value::Object(message)) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, "invalid_payload");
    };
    match check_content(&message) {
        Ok(()) => {}
        Err(Refused::Error("no_text", _)) => return (StatusCode::BAD_REQUEST, "no_text"),
        Err(Refused::Error("too_many_attachments", _)) => return (StatusCode::BAD_REQUEST, "too_many_attachments"),
        Err(_) => return (StatusCode::BAD_REQUEST, "invalid_blocks"),
    }
    let mut workspace = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if !workspace.admits(CHANNEL) {
        return (StatusCode::TOO_MANY_REQUESTS, "rate_limited");
    }
    workspace.keep(CHANNEL, &message);
    (StatusCode::OK, "ok")
}

impl Workspace {
    fn call(
        &mut self,
        method: &str,
        headers: &HeaderMap,
        query: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Result<Value, Refused> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = header(AUTHORIZATION.as_str()).strip_prefix("Bearer ").ok_or_else(|| error("not_authed"))?;
        if token != BOT_TOKEN && token != POSTING_TOKEN {
            return Err(error("invalid_auth"));
        }
        if method.starts_with("conversations.") {
            if token != BOT_TOKEN {
                return Err(error("missing_scope"));
            }
            return if self.admits_of(method, OFTEN) { self.read(method, query) } else { Err(Refused::Limited) };
        }
        if method == "auth.test" {
            return Ok(json!({ "ok": true, "team": "Sandbox", "team_id": "T0SANDBOX", "bot_id": "B0SANDBOX" }));
        }
        if !header(CONTENT_TYPE.as_str()).starts_with("application/json") {
            return Err(error("invalid_post_type"));
        }
        let Ok(Value::Object(message)) = serde_json::from_slice(body) else { return Err(error("invalid_json")) };
        let channel = message.get("channel").and_then(Value::as_str).unwrap_or_default().to_owned();
        match channel.as_str() {
            CHANNEL => {}
            ARCHIVED => return Err(error("is_archived")),
            CLOSED => return Err(error("not_in_channel")),
            _ => return Err(error("channel_not_found")),
        }
        check_metadata(&message)?;
        if method == "chat.update" && !self.admits_of(method, OFTEN) {
            return Err(Refused::Limited);
        }
        match method {
            "chat.postMessage" => self.post(&channel, message),
            "chat.update" => self.update(&channel, &message),
            "chat.delete" => self.delete(&channel, &message),
            _ => Err(error("unknown_method")),
        }
    }

    /// A channel's messages, or those of a thread, newest first.
    fn read(&self, method: &str, query: &BTreeMap<String, String>) -> Result<Value, Refused> {
        let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let number = |name: &str| text(name).parse::<f64>().ok();
        match text("channel") {
            CHANNEL | ARCHIVED => {}
            CLOSED => return Err(error("not_in_channel")),
            _ => return Err(error("channel_not_found")),
        }
        let limit = text("limit").parse::<usize>().unwrap_or(100);
        if limit == 0 || limit > 999 {
            return Err(error("invalid_limit"));
        }
        let thread = match method {
            "conversations.history" => None,
            "conversations.replies" if self.find(text("channel"), text("ts")).is_none() => {
                return Err(error("thread_not_found"));
            }
            "conversations.replies" => Some(text("ts")),
            _ => return Err(error("unknown_method")),
        };
        let (oldest, latest) = (number("oldest").unwrap_or(0.0), number("latest").unwrap_or(f64::MAX));
        let whole = text("include_all_metadata") == "true";
        let fits = |message: &&Value| {
            let at = message["ts"].as_str().and_then(|ts| ts.parse::<f64>().ok()).unwrap_or(0.0);
            let inside = match thread {
                None => message["thread_ts"].is_null() || message["message"]["reply_broadcast"] == true,
                Some(ts) => message["thread_ts"] == ts || message["ts"] == ts,
            };
            message["channel"] == text("channel") && inside && at > oldest && at < latest
        };
        let found: Vec<Value> = self.messages.iter().rev().filter(fits).map(|message| shown(message, whole)).collect();
        let has_more = found.len() > limit;
        Ok(json!({ "ok": true, "messages": found[..found.len().min(limit)], "has_more": has_more }))
    }

    fn post(&mut self, channel: &str, mut message: Map<String, Value>) -> Result<Value, Refused> {
        check_content(&message)?;
        if let Some(parent) = message.get("thread_ts").and_then(Value::as_str) {
            let known = self.find(channel, parent).ok_or_else(|| error("thread_not_found"))?;
            // A thread hangs on the message that began it, not on an answer.
            if !self.messages[known]["thread_ts"].is_null() {
                return Err(error("cannot_reply_to_message"));
            }
        }
        if !self.admits(channel) {
            return Err(Refused::Limited);
        }
        let text = message.get("text").and_then(Value::as_str).unwrap_or_default();
        let cut = text.char_indices().nth(40_000).map(|(end, _)| text[..end].to_owned());
        let warned = cut.is_some();
        if let Some(cut) = cut {
            message.insert("text".to_owned(), Value::String(cut));
        }
        let ts = self.keep(channel, &message);
        let mut answer = json!({ "ok": true, "channel": channel, "ts": ts });
        if warned {
            answer["response_metadata"] = json!({ "warnings": ["message_truncated"] });
        }
        Ok(answer)
    }

    fn update(&mut self, channel: &str, message: &Map<String, Value>) -> Result<Value, Refused> {
        check_content(message)?;
        if message.get("text").and_then(Value::as_str).is_some_and(|text| text.chars().count() > 4_000) {
            return Err(error("msg_too_long"));
        }
        let ts = message.get("ts").and_then(Value::as_str).unwrap_or_default();
        let at = self.find(channel, ts).ok_or_else(|| error("message_not_found"))?;
        if !self.messages[at]["user"].is_null() {
            return Err(error("cant_update_message"));
        }
        self.messages[at]["text"] = message.get("text").cloned().unwrap_or_default();
        self.messages[at]["message"] = Value::Object(message.clone());
        Ok(json!({ "ok": true, "channel": channel, "ts": ts, "text": self.messages[at]["text"] }))
    }

    fn delete(&mut self, channel: &str, message: &Map<String, Value>) -> Result<Value, Refused> {
        let ts = message.get("ts").and_then(Value::as_str).unwrap_or_default();
        let at = self.find(channel, ts).ok_or_else(|| error("message_not_found"))?;
        if !self.messages[at]["user"].is_null() {
            return Err(error("cant_delete_message"));
        }
        self.messages.remove(at);
        Ok(json!({ "ok": true, "channel": channel, "ts": ts }))
    }

    fn find(&self, channel: &str, ts: &str) -> Option<usize> {
        self.messages.iter().position(|message| message["channel"] == channel && message["ts"] == ts)
    }

    fn keep(&mut self, channel: &str, message: &Map<String, Value>) -> String {
        self.made += 1;
        let ts = format!("{}.{:06}", self.clock.now().as_second(), self.made);
        let (text, thread) = (message.get("text").cloned(), message.get("thread_ts").cloned());
        self.messages
            .push(json!({ "channel": channel, "ts": ts, "thread_ts": thread, "text": text, "message": message }));
        ts
    }

    fn admits(&mut self, channel: &str) -> bool {
        self.admits_of(channel, BURST)
    }

    /// One more of what is counted under a name: so many at once, and then one a second.
    fn admits_of(&mut self, name: &str, burst: u32) -> bool {
        let now = self.clock.now();
        let bucket = self.buckets.entry(name.to_owned()).or_insert(Bucket { left: burst, at: now });
        let gained = u32::try_from(now.duration_since(bucket.at).as_secs()).unwrap_or(0);
        if gained > 0 {
            *bucket = Bucket { left: bucket.left.saturating_add(gained).min(burst), at: now };
        }
        let admitted = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        admitted
    }
}

/// A message as the history shows it: what is in its metadata only for those who ask.
fn shown(message: &Value, whole: bool) -> Value {
    let mut shown = json!({ "type": "message", "ts": message["ts"], "text": message["text"], "bot_id": "B0SANDBOX" });
    let (thread, metadata) = (&message["thread_ts"], &message["message"]["metadata"]);
    if !thread.is_null() {
        shown["thread_ts"] = thread.clone();
    }
    if !metadata.is_null() {
        shown["metadata"] = if whole { metadata.clone() } else { json!({ "event_type": metadata["event_type"] }) };
    }
    shown
}

fn check_metadata(message: &Map<String, Value>) -> Result<(), Refused> {
    match message.get("metadata") {
        Some(metadata) if !metadata["event_type"].is_string() || !metadata["event_payload"].is_object() => {
            Err(error("invalid_metadata_format"))
        }
        _ => Ok(()),
    }
}

fn says_something(message: &Map<String, Value>) -> bool {
    let list = |name: &str| message.get(name).and_then(Value::as_array).is_some_and(|items| !items.is_empty());
    let text = |name: &str| message.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    text("text") || text("markdown_text") || list("blocks") || list("attachments")
}

/// What Slack says of a message wherever it is to go.
fn check_content(message: &Map<String, Value>) -> Result<(), Refused> {
    let length = |name: &str| message.get(name).and_then(Value::as_str).map_or(0, |text| text.chars().count());
    if length("markdown_text") > 12_000 {
        return Err(error("msg_too_long"));
    }
    if message.get("attachments").is_some_and(|items| !items.is_array()) {
        return Err(error("invalid_attachments"));
    }
    if message.get("attachments").and_then(Value::as_array).is_some_and(|items| items.len() > 100) {
        return Err(error("too_many_attachments"));
    }
    blocks::check(message)?;
    if says_something(message) { Ok(()) } else { Err(error("no_text")) }
}
