//! One channel of the messenger, and an incoming hook.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post, put};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{CHANNEL, No, Reply, Shared, WEBHOOK, Yes, bad, find, is_json, lock, none, object};

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/channels", get(channels))
        .route("/channels/direct-send", post(direct))
        .route("/channels/{channel}/logs", post(say))
        .route("/channels/{channel}/logs/{log}", put(change).delete(remove))
        .route("/channels/{channel}/logs/{log}/reply", post(reply))
}

async fn channels() -> Reply {
    Ok(Yes(json!([{ "id": CHANNEL, "title": "dev", "type": "private" }]), None))
}

fn known(channel: &str) -> Result<(), No> {
    if channel == CHANNEL { Ok(()) } else { Err(No(StatusCode::FORBIDDEN, "권한이 없습니다.")) }
}

fn text(body: &[u8], fields: &[&str]) -> Result<Value, No> {
    let given = object(body, fields)?;
    let text = given.get("text").and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    text.map(|_| Value::Object(given.clone())).ok_or_else(|| bad("text"))
}

fn keep(shared: &Shared, mut message: Value) -> Yes {
    let mut tenant = lock(shared);
    let id = tenant.id();
    message["id"] = Value::from(id.clone());
    let channel = message["channelId"].clone();
    tenant.messages.push(message);
    Yes(json!({ "id": id, "channelId": channel }), None)
}

async fn say(State(shared): State<Shared>, Path(channel): Path<String>, body: Bytes) -> Reply {
    known(&channel)?;
    let given = text(&body, &["text"])?;
    Ok(keep(&shared, json!({ "channelId": channel, "text": given["text"] })))
}

async fn direct(State(shared): State<Shared>, body: Bytes) -> Reply {
    let given = text(&body, &["text", "organizationMemberId"])?;
    let member = given["organizationMemberId"].as_str().ok_or_else(|| bad("organizationMemberId"))?;
    Ok(keep(&shared, json!({ "channelId": format!("9{member}"), "text": given["text"] })))
}

async fn reply(State(shared): State<Shared>, Path((channel, log)): Path<(String, String)>, body: Bytes) -> Reply {
    known(&channel)?;
    let given = text(&body, &["text"])?;
    find(&mut lock(&shared).messages, &log).ok_or_else(none)?;
    Ok(keep(&shared, json!({ "channelId": channel, "text": given["text"], "replyTo": log })))
}

async fn change(State(shared): State<Shared>, Path((channel, log)): Path<(String, String)>, body: Bytes) -> Reply {
    known(&channel)?;
    let given = text(&body, &["text"])?;
    let mut tenant = lock(&shared);
    find(&mut tenant.messages, &log).ok_or_else(none)?["text"] = given["text"].clone();
    Ok(Yes(Value::Null, None))
}

async fn remove(State(shared): State<Shared>, Path((channel, log)): Path<(String, String)>) -> Reply {
    known(&channel)?;
    let mut tenant = lock(&shared);
    find(&mut tenant.messages, &log).ok_or_else(none)?;
    tenant.messages.retain(|message| message["id"] != log.as_str());
    Ok(Yes(Value::Null, None))
}

/// The incoming hook.
pub(super) async fn hook(
    State(shared): State<Shared>,
    Path((tenant, service, token)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    if format!("/services/{tenant}/{service}/{token}") != WEBHOOK {
        return Err(none());
    }
    if !is_json(&headers) {
        return Err(No(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type"));
    }
    let given = object(&body, &["botName", "botIconImage", "text", "attachments"])?;
    let says = given.get("text").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let shows = given.get("attachments").and_then(Value::as_array).is_some_and(|items| !items.is_empty());
    let is_text = |key: &str| given.get(key).is_none_or(Value::is_string);
    let attachments =
        given.get("attachments").is_none_or(|items| items.as_array().is_some_and(|i| i.iter().all(is_shown)));
    if !(is_text("text") && is_text("botIconImage") && attachments) {
        return Err(bad("INVALID_PAYLOAD"));
    }
    if !(says || shows) || !given.get("botName").is_some_and(Value::is_string) {
        return Err(bad("INVALID_PAYLOAD"));
    }
    lock(&shared).posted.push(Value::Object(given));
    Ok(Yes(Value::Null, None))
}

/// True for an attachment as it was seen.
fn is_shown(attachment: &Value) -> bool {
    let known = ["title", "titleLink", "text", "color", "imageUrl"];
    attachment
        .as_object()
        .is_some_and(|fields| fields.iter().all(|(name, value)| known.contains(&name.as_str()) && value.is_string()))
}
