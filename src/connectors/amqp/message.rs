//! A message as events: CloudEvents in both modes, and what the config says of anything else.
//!
//! Source: CloudEvents 1.0.2, `cloudevents/bindings/amqp-protocol-binding.md` (the attributes' prefix is `cloudEvents:` or
//! `cloudEvents_`) and `cloudevents/formats/json-format.md`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, ShortString};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::connectors::webhook::attributes::Attributes;
use crate::connectors::{Refusal, reading};
use crate::event::{NewEvent, Payload};

/// The longest body, in bytes: that of a webhook.
const MAX_BODY: usize = 1 << 20;
/// The longest id that an event may have, in bytes.
const MAX_ID: usize = 255;
/// What the names of a cloud event's attributes begin with among the headers, in lower case.
const PREFIXES: [&str; 2] = ["cloudevents:", "cloudevents_"];

/// Headers and properties by lower-case name.
type Headers = BTreeMap<String, String>;

/// Reads the events of a message.
///
/// # Errors
/// Why it is none, in words.
pub fn read(delivery: &Delivery, attributes: Option<&Attributes>) -> Result<Vec<NewEvent>, String> {
    let (body, properties) = (&delivery.data, &delivery.properties);
    if body.len() > MAX_BODY {
        return Err(format!("the body has {} bytes, at most {MAX_BODY} are allowed", body.len()));
    }
    let encoding = properties.content_encoding().as_ref().map_or("", ShortString::as_str).to_ascii_lowercase();
    if !matches!(encoding.as_str(), "" | "utf-8" | "utf8" | "identity") {
        return Err(format!("the content encoding {encoding:?} is not supported: publish the body as it is"));
    }
    let headers = headers(delivery);
    let media = properties.content_type().as_ref().map_or("", ShortString::as_str);
    let kind = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let found = match kind.as_str() {
        "application/cloudevents-batch+json" => batch(body)?,
        "application/cloudevents" | "application/cloudevents+json" => vec![structured(body)?],
        other if other.starts_with("application/cloudevents") => {
            return Err(format!("CloudEvents as {other:?} are not supported: publish them as JSON"));
        }
        _ => match attribute(&headers, "specversion") {
            Some(version) => vec![binary(version, &headers, media, body)?],
            None => vec![plain(&headers, media, body)?],
        },
    };
    let several = found.len() > 1;
    let filled = |(index, mut found): (usize, Found)| {
        let mut headers = headers.clone();
        headers.append(&mut found.extensions);
        if let Some(attributes) = attributes {
            let index = several.then_some(index);
            attributes.fill(&mut found.event, &headers, &found.body, index).map_err(|e| e.to_string())?;
        }
        found.event.headers = reading::carry(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Ok(found.event)
    };
    found.into_iter().enumerate().map(filled).collect()
}

/// An event, and what templates see as its `body`.
struct Found {
    event: NewEvent,
    body: Value,
    /// Attributes that are not among the message's headers.
    extensions: Headers,
}

/// A message that is no cloud event.
fn plain(headers: &Headers, media: &str, body: &[u8]) -> Result<Found, String> {
    let (data, body) = payload(media, body)?;
    let text = |name: &str| headers.get(name).filter(|text| !text.is_empty());
    let mut event = NewEvent::new(text("type").map_or("received", String::as_str), data);
    event.id = text("message-id").cloned();
    event.time = text("timestamp").and_then(|text| reading::epoch(text));
    Ok(Found { event, body, extensions: Headers::new() })
}

/// A cloud event whose attributes are headers.
fn binary(version: &str, headers: &Headers, media: &str, body: &[u8]) -> Result<Found, String> {
    check_version(version)?;
    let (data, body) = if body.is_empty() { nothing() } else { payload(media, body)? };
    let needed = |name| attribute(headers, name).ok_or_else(|| format!("the CloudEvent has no `{name}`"));
    let mut event = NewEvent::new(needed("type")?, data);
    event.id = Some(id(needed("source")?, needed("id")?));
    event.subject = attribute(headers, "subject").map(str::to_owned);
    event.time = attribute(headers, "time").map(time).transpose()?;
    Ok(Found { event, body, extensions: Headers::new() })
}

/// A cloud event that is the body.
#[derive(Deserialize)]
struct Structured<'a> {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

fn structured(body: &[u8]) -> Result<Found, String> {
    let said = |e: serde_json::Error| format!("the body is no CloudEvent: {e}");
    let read: Structured<'_> = serde_json::from_slice(body).map_err(said)?;
    check_version(&read.specversion)?;
    let (data, value) = match (read.data, &read.data_base64) {
        (Some(data), _) => reading::json(data.get().as_bytes()).map_err(words)?,
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text).map_err(|_| "its `data_base64` is not base64".to_owned())?;
            payload(read.datacontenttype.as_deref().unwrap_or_default(), &bytes)?
        }
        (None, None) => nothing(),
    };
    let mut event = NewEvent::new(read.kind, data);
    event.id = Some(id(&read.source, &read.id));
    event.subject = read.subject.filter(|subject| !subject.is_empty());
    event.time = read.time.as_deref().map(time).transpose()?;
    let whole: serde_json::Map<String, Value> = serde_json::from_slice(body).map_err(said)?;
    let attributes = whole.iter().filter(|(name, _)| !name.starts_with("data"));
    let extensions = attributes.filter_map(|(name, value)| Some((format!("{}{name}", PREFIXES[0]), scalar(value)?)));
    Ok(Found { event, body: value, extensions: extensions.collect() })
}

fn batch(body: &[u8]) -> Result<Vec<Found>, String> {
    let items: Vec<&RawValue> =
        serde_json::from_slice(body).map_err(|e| format!("the body is no list of CloudEvents: {e}"))?;
    reading::within(items.len()).map_err(words)?;
    items.into_iter().map(|item| structured(item.get().as_bytes())).collect()
}

fn check_version(version: &str) -> Result<(), String> {
    if version.starts_with("1.") {
        return Ok(());
    }
    Err(format!("CloudEvents of the version {version:?} are not understood, only 1.0"))
}

/// What tells an event from all others is its source *and* its id, and several sources may publish to one queue.
fn id(source: &str, id: &str) -> String {
    let whole = format!("{source}#{id}");
    if whole.len() <= MAX_ID { whole } else { format!("ce-{}", hex::encode(Sha256::digest(whole))) }
}

fn time(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| format!("the CloudEvent's time {text:?} is no RFC 3339 instant"))
}

fn attribute<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = PREFIXES.iter().find_map(|prefix| headers.get(&format!("{prefix}{name}")));
    found.map(String::as_str).filter(|text| !text.is_empty())
}

fn nothing() -> (Payload, Value) {
    (Payload::from_value(&Value::Null), Value::Null)
}

/// The body by its media type. What clients say who set none is taken as JSON.
fn payload(media: &str, body: &[u8]) -> Result<(Payload, Value), String> {
    let kind = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let media = if matches!(kind.as_str(), "text/plain" | "application/octet-stream") { "" } else { media };
    reading::payload_as(media, body).map_err(words)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn words(refusal: Refusal) -> String {
    refusal.to_string()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

/// Headers and properties as templates see them. A property goes before a header of its name; what is no text and no
/// number is left out.
fn headers(delivery: &Delivery) -> Headers {
    let mut all = Headers::new();
    if let Some(table) = delivery.properties.headers() {
        for (name, value) in table.inner() {
            if let Some(text) = value_text(value) {
                all.insert(name.as_str().to_lowercase(), text);
            }
        }
    }
    for (name, value) in properties(&delivery.properties) {
        all.insert(name.to_owned(), value);
    }
    all.insert("exchange".to_owned(), delivery.exchange.to_string());
    all.insert("routing-key".to_owned(), delivery.routing_key.to_string());
    all
}

fn properties(properties: &BasicProperties) -> impl Iterator<Item = (&'static str, String)> {
    let texts = [
        ("content-type", properties.content_type()),
        ("message-id", properties.message_id()),
        ("correlation-id", properties.correlation_id()),
        ("type", properties.kind()),
        ("app-id", properties.app_id()),
    ];
    let texts = texts.map(|(name, value)| (name, value.as_ref().map(ToString::to_string)));
    let time = ("timestamp", properties.timestamp().map(|seconds| seconds.to_string()));
    texts.into_iter().chain([time]).filter_map(|(name, value)| Some((name, value?)))
}

fn value_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(yes) => Some(yes.to_string()),
        AMQPValue::ShortShortInt(n) => Some(n.to_string()),
        AMQPValue::ShortShortUInt(n) => Some(n.to_string()),
        AMQPValue::ShortInt(n) => Some(n.to_string()),
        AMQPValue::ShortUInt(n) => Some(n.to_string()),
        AMQPValue::LongInt(n) => Some(n.to_string()),
        AMQPValue::LongUInt(n) => Some(n.to_string()),
        AMQPValue::LongLongInt(n) => Some(n.to_string()),
        AMQPValue::Float(n) => Some(n.to_string()),
        AMQPValue::Double(n) => Some(n.to_string()),
        AMQPValue::Timestamp(seconds) => {
            // As CloudEvents write times.
            Some(i64::try_from(*seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok())?.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
