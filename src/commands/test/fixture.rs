//! What a test is made of: an event or a request, links, answers.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::Bench;
use super::expect::value_of;
use crate::clock::Clock;
use crate::config::Config;
use crate::connectors::client::SendError;
use crate::connectors::{Answer, Call, Hook, HookRequest, Reading, reading};
use crate::event::{Event, NewEvent, Received, Version};
use crate::intake::Problem;
use crate::outcome::{Outcome, Scope};
use crate::settings::{Node, NodeValue};
use crate::store::{Link, LinkState};

/// What a test begins with.
#[derive(Debug)]
pub(super) struct Arrived {
    /// The events.
    pub events: Vec<Event>,
    /// What the sender of a request hears, and why where that is no event.
    pub answer: Option<(StatusCode, String)>,
}

/// The events of a test: the one in its file, or those that the source reads from its request.
///
/// # Errors
/// Why there can be none, in words.
pub(super) fn arrived(bench: Bench<'_>, test: &Node, notes: &mut Vec<String>) -> Result<Arrived, String> {
    if let Some(request) = test.get("request") {
        return received(bench, test, request, notes);
    }
    let file = test.get("event").and_then(Node::text).ok_or("a test has an `event` or a `request`")?;
    let fixture: Value = serde_json::from_slice(&read(bench, file)?).map_err(|e| format!("{file} is not JSON: {e}"))?;
    let source = fixture.get("source").and_then(|source| source.as_str());
    let source = source.ok_or_else(|| format!("{file}: the event has no \"source\""))?;
    // One that was saved before its source got another name has the former one, as one that waited meanwhile.
    if !bench.config.sources.iter().any(|known| known.name == source || known.was.as_deref() == Some(source)) {
        return Err(format!("{file}: there is no source {source}"));
    }
    let event = NewEvent::from_fixture(&fixture).map_err(|why| format!("{file}: {why}"))?;
    let event = event.stamp(source, bench.clock).map_err(|e| format!("{file}: {e}"))?;
    Ok(Arrived { events: vec![event], answer: None })
}

fn read(bench: Bench<'_>, file: &str) -> Result<Vec<u8>, String> {
    std::fs::read(bench.config.dir.join(Path::new(file))).map_err(|e| format!("{file}: {e}"))
}

/// A request as intake takes it. A test that says which `answer` it expects is as strict as intake about who sent it; for
/// any other a wrong signature is noted.
fn received(bench: Bench<'_>, test: &Node, request: &Node, notes: &mut Vec<String>) -> Result<Arrived, String> {
    let text = |key: &str| request.get(key).and_then(Node::text);
    let needed = |key: &str| text(key).ok_or_else(|| format!("`request` needs `{key}`"));
    let source = needed("source")?;
    let hook = bench.hooks.get(source).ok_or_else(|| format!("{source} is no source that receives webhooks"))?;
    let body = Bytes::from(read(bench, needed("file")?)?);
    let headers = headers(request.get("headers"))?;
    let method = match text("method") {
        Some(method) => method.parse().map_err(|_| format!("{method:?} is no method"))?,
        None => hook.methods().first().cloned().unwrap_or(Method::POST),
    };
    let clock = match text("at") {
        Some(at) => {
            Clock::manual(at.parse().map_err(|_| format!("`at`: {at:?} is not a time, as 2026-01-31T09:00:00Z"))?)
        }
        None => bench.clock.clone(),
    };
    let query = text("query").unwrap_or_default();
    let arrived = HookRequest { method: &method, headers: &headers, query, path_secret: text("secret"), body: &body };
    if !hook.methods().contains(&method) {
        return Ok(refused(StatusCode::METHOD_NOT_ALLOWED, format!("{source} does not take {method}")));
    }
    if let Err(refusal) = hook.verify(&arrived, clock.now()) {
        if test.get("answer").is_some() {
            let problem = Problem::from(refusal);
            return Ok(refused(problem.status, problem.detail));
        }
        notes.push(format!("a real request like this would be refused: {refusal}"));
    }
    if hook.fetch().is_some() {
        notes.push(format!(
            "{source} reads what an event is about anew before any route sees it, which no test does: save what routes saw with \
             `dari sample {source} --save FILE`, and test it as `event`"
        ));
    }
    Ok(understood(&**hook, source, &arrived, &clock))
}

fn understood(hook: &dyn Hook, source: &str, request: &HookRequest<'_>, clock: &Clock) -> Arrived {
    let events = match hook.read(request) {
        Ok(Reading::Events(events)) => events,
        Ok(Reading::Answer(answer, note)) => return refused(answer.status, format!("it is no event: {note}")),
        Err(refusal) => {
            let problem = Problem::from(refusal);
            return refused(problem.status, problem.detail);
        }
    };
    let carried = reading::carried(request.headers, &hook.secret_headers(), request.path_secret);
    let stamp = |event: NewEvent| NewEvent { headers: carried.clone(), ..event }.stamp(source, clock);
    match events.into_iter().map(stamp).collect::<Result<Vec<_>, _>>() {
        Ok(events) => {
            let status = hook.accepted().map_or(StatusCode::ACCEPTED, |answer| answer.status);
            Arrived { events, answer: Some((status, String::new())) }
        }
        Err(malformed) => refused(StatusCode::BAD_REQUEST, malformed.to_string()),
    }
}

fn refused(status: StatusCode, why: String) -> Arrived {
    Arrived { events: Vec::new(), answer: Some((status, why)) }
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

/// What `links` says of the links of an owner: under its own name, or under that of a route that goes by it.
pub(super) fn linked<'a>(config: &Config, test: &'a Node, owner: &str) -> Option<&'a Node> {
    let goes_by = |name: &str| name == owner || config.routes.iter().any(|r| r.name == name && r.link == owner);
    let mut entries = test.get("links").map(Node::entries).unwrap_or_default().iter();
    entries.find(|(key, _)| goes_by(&key.name)).map(|(_, node)| node)
}

/// A link of `links`: the event was received after it.
///
/// # Errors
/// Its version cannot be one.
pub(super) fn link(node: &Node, event: &Event) -> Result<Link, String> {
    let text = |key: &str| node.get(key).and_then(Node::text);
    let state = match text("state") {
        Some("deleted") => LinkState::Deleted,
        Some("in_doubt") => LinkState::InDoubt,
        _ => LinkState::Linked,
    };
    let version = text("version").map(Version::parse).transpose().map_err(|e| format!("`links`: {e}"))?;
    let received = Received { clock: event.received.clock.saturating_sub(1), process: event.received.process };
    Ok(Link { remote_id: text("id").map(str::to_owned), version, received, state, content: None })
}

/// What came back from a vendor, by `respond`.
pub(super) fn answer(node: &Node) -> Result<Result<Answer, SendError>, String> {
    match node.text() {
        Some("not-sent") => return Ok(Err(SendError::NotSent("by this test".to_owned()))),
        Some(_) => return Ok(Err(SendError::NoAnswer("by this test".to_owned()))),
        None => {}
    }
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
    Ok(Ok(Answer { status, headers, body }))
}

/// What a call without an answer comes to.
pub(super) fn unanswered(call: &Call, error: SendError) -> Outcome {
    match error {
        SendError::NoAnswer(why) if !call.idempotent => Outcome::Unknown { why: format!("no answer: {why}") },
        SendError::Refused(why) => Outcome::Suspend { what: Scope::Account, why, until: None },
        error => Outcome::retry(error.to_string()),
    }
}
