//! What a test is made of: an event or a request, links, answers.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Bench;
use super::expect::value_of;
use crate::config::Config;
use crate::connectors::{Answer, HookRequest, Reading};
use crate::event::{Event, NewEvent, Received, Version};
use crate::settings::{Node, NodeValue};
use crate::store::{Link, LinkState};

/// The events of a test: the one in its file, or those that the source reads from its request.
///
/// # Errors
/// Why there are none, in words.
pub(super) fn events(bench: Bench<'_>, test: &Node, notes: &mut Vec<String>) -> Result<Vec<Event>, String> {
    if let Some(request) = test.get("request") {
        return received(bench, request, notes);
    }
    let file = test.get("event").and_then(Node::text).ok_or("a test has an `event` or a `request`")?;
    let fixture: serde_json::Value =
        serde_json::from_slice(&read(bench, file)?).map_err(|e| format!("{file} is no JSON: {e}"))?;
    let source = fixture.get("source").and_then(|source| source.as_str());
    let source = source.ok_or_else(|| format!("{file}: the event has no \"source\""))?;
    if !bench.config.sources.iter().any(|known| known.name == source) {
        return Err(format!("{file}: there is no source {source}"));
    }
    let event = NewEvent::from_fixture(&fixture).map_err(|why| format!("{file}: {why}"))?;
    Ok(vec![event.stamp(source, bench.clock).map_err(|e| format!("{file}: {e}"))?])
}

fn read(bench: Bench<'_>, file: &str) -> Result<Vec<u8>, String> {
    std::fs::read(bench.config.dir.join(Path::new(file))).map_err(|e| format!("{file}: {e}"))
}

fn received(bench: Bench<'_>, request: &Node, notes: &mut Vec<String>) -> Result<Vec<Event>, String> {
    let text = |key: &str| request.get(key).and_then(Node::text).ok_or_else(|| format!("`request` needs `{key}`"));
    let source = text("source")?;
    let hook = bench.hooks.get(source).ok_or_else(|| format!("there is no webhook source {source}"))?;
    let body = Bytes::from(read(bench, text("file")?)?);
    let headers = headers(request.get("headers"))?;
    let method = hook.methods().first().ok_or_else(|| format!("{source} takes no method"))?;
    let request = HookRequest { method, headers: &headers, query: "", path_secret: None, body: &body };
    if let Err(refusal) = hook.verify(&request, bench.clock.now()) {
        notes.push(format!("a real request like this would be refused: {refusal}"));
    }
    if hook.fetch().is_some() {
        notes.push(format!(
            "{source} reads what an event is about anew before any route sees it, which no test does: save what routes saw with \
             `dari sample {source} --save FILE`, and test it as `event`"
        ));
    }
    match hook.read(&request).map_err(|refusal| format!("the request is refused: {refusal}"))? {
        Reading::Answer(_, note) => Err(format!("the request is no event: {note}")),
        Reading::Events(events) => events
            .into_iter()
            .map(|event| event.stamp(source, bench.clock).map_err(|e| format!("the request is refused: {e}")))
            .collect(),
    }
}

fn headers(node: Option<&Node>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (key, value) in node.map(Node::entries).unwrap_or_default() {
        let name: HeaderName = key.name.parse().map_err(|_| format!("{:?} is no header name", key.name))?;
        let value: HeaderValue =
            value.text().unwrap_or_default().parse().map_err(|_| format!("{name}: not a header value"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// The link of an owner: under its own name in `links`, or under that of a route that goes by it.
///
/// # Errors
/// What it cannot be, in words.
pub(super) fn link_of(config: &Config, test: &Node, owner: &str, event: &Event) -> Result<Option<Link>, String> {
    let goes_by = |name: &str| name == owner || config.routes.iter().any(|r| r.name == name && r.link == owner);
    let mut entries = test.get("links").map(Node::entries).unwrap_or_default().iter();
    entries.find(|(key, _)| goes_by(&key.name)).map(|(_, node)| link(node, event)).transpose()
}

/// The link under a route's name in `links`: `id`, `version`, `state` (`linked` unless it says `deleted`). The event
/// was received after it.
///
/// # Errors
/// What it cannot be, in words.
fn link(node: &Node, event: &Event) -> Result<Link, String> {
    known(node, "links", &["id", "version", "state"])?;
    let text = |key: &str| node.get(key).and_then(Node::text);
    let state = match text("state") {
        None | Some("linked") => LinkState::Linked,
        Some("deleted") => LinkState::Deleted,
        Some("in_doubt") => LinkState::InDoubt,
        Some(other) => return Err(format!("a link's `state` is linked, deleted or in_doubt, not {other:?}")),
    };
    let version = text("version").map(Version::parse).transpose().map_err(|e| e.to_string())?;
    let received = Received { clock: event.received.clock.saturating_sub(1), process: event.received.process };
    Ok(Link { remote_id: text("id").map(str::to_owned), version, received, state, content: None })
}

/// The answer under a sink's name in `respond`: `status` (200 unless said otherwise), `headers`, `body`.
///
/// # Errors
/// What it cannot be, in words.
pub(super) fn answer(node: &Node) -> Result<Answer, String> {
    known(node, "respond", &["status", "headers", "body"])?;
    let status = node.get("status").and_then(Node::text).unwrap_or("200");
    let status: StatusCode = status.parse().map_err(|_| format!("{status:?} is no HTTP status"))?;
    let mut headers = headers(node.get("headers"))?;
    let body = match node.get("body").map(|body| &body.value) {
        None => Bytes::new(),
        Some(NodeValue::Text(text)) => Bytes::from(text.clone()),
        Some(_) => {
            headers.entry(http::header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            Bytes::from(node.get("body").map(value_of).unwrap_or_default().to_string())
        }
    };
    Ok(Answer { status, headers, body })
}

fn known(node: &Node, what: &str, keys: &[&str]) -> Result<(), String> {
    match node.entries().iter().find(|(key, _)| !keys.contains(&key.name.as_str())) {
        Some((key, _)) => Err(format!("`{what}` has no `{}`; there are {}", key.name, keys.join(", "))),
        None if matches!(node.value, NodeValue::Map(_)) => Ok(()),
        None => Err(format!("`{what}` takes a mapping with {}", keys.join(", "))),
    }
}
