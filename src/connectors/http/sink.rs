//! The sink: operation → call, answer → outcome.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::target::Target;
use crate::clock::Clock;
use crate::connectors::call::{TIMEOUT, secret_header};
use crate::connectors::client::Addresses;
use crate::connectors::signature::standard::{check_key, standard_signature};
use crate::connectors::{Answer, Build, Call, OnDoubt, Operation, Sink};
use crate::event::trace::TRACEPARENT;
use crate::outcome::{Outcome, Scope, Verb};
use crate::settings::{Fault, Node, Settings, Spot};
use crate::template::{CompileError, Context, Escape, Expression, Rendered, Tables, Template, Verdict};

struct HttpSink {
    target: Target,
    headers: HeaderMap,
    secrets: Vec<SecretString>,
    accept: Option<Expression>,
    id: Option<Template>,
    idempotent: bool,
    addresses: Addresses,
    timeout: Duration,
    clock: Clock,
}

/// Builds the sink.
///
/// # Errors
/// Everything that is wrong with URL, headers, auth, secrets, `accept` and `id`.
pub fn build(build: &Build<'_>) -> Result<Box<dyn Sink>, Vec<Fault>> {
    let settings = build.settings;
    let mut faults = Vec::new();
    let target = Target::new(settings.text("url").unwrap_or_default())
        .map_err(|why| faults.push(Fault::new(settings.spot("url"), why)))
        .ok();
    let headers = headers(settings, &mut faults);
    let secrets = settings.secrets("secret");
    let spots = settings.get("secret").map(Node::items).unwrap_or_default();
    for (secret, node) in secrets.iter().zip(spots) {
        faults.extend(check_key(secret).err().map(|error| Fault::new(node.spot, error.to_string())));
    }
    let accept = |source: &str| {
        let accept = Expression::compile(source)?;
        accept.check_names(SEEN).map(|()| (accept.tables().to_vec(), accept))
    };
    let id = |source: &str| {
        let id = Template::compile(source)?;
        id.check_names(SEEN).map(|()| (id.tables(), id))
    };
    let accept = compiled(settings, "accept", accept, &mut faults);
    let id = compiled(settings, "id", id, &mut faults);
    let Some(target) = target.filter(|_| faults.is_empty()) else { return Err(faults) };
    Ok(Box::new(HttpSink {
        target,
        headers,
        secrets,
        accept,
        id,
        idempotent: settings.flag("idempotent"),
        addresses: if settings.flag("allow_private") { Addresses::Any } else { Addresses::Public },
        timeout: settings.duration("timeout").unwrap_or(TIMEOUT),
        clock: build.clock.clone(),
    }))
}

/// What is compiled, with the tables that it looks values up in: there are none for an answer.
fn compiled<T>(
    settings: Settings<'_>,
    key: &str,
    compile: impl Fn(&str) -> Result<(Vec<(String, usize)>, T), CompileError>,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let source = settings.text(key)?;
    let compiled = compile(source).map_err(|error| error.message).and_then(|(tables, compiled)| {
        let none = |(name, _): &(String, usize)| {
            Err(format!("table `{name}`: tables serve routes, not the reading of answers"))
        };
        tables.first().map_or(Ok(compiled), none)
    });
    compiled.map_err(|why| faults.push(Fault::new(settings.spot(key), why))).ok()
}

fn headers(settings: Settings<'_>, faults: &mut Vec<Fault>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (key, node) in settings.get("headers").map(Node::entries).unwrap_or_default() {
        add_header(&mut headers, (&key.name, key.spot), (node.text().unwrap_or_default(), node.spot), faults);
    }
    let Some((kind, auth)) = settings.get("auth").and_then(|node| node.entries().first()) else { return headers };
    let text = |key| auth.get(key).and_then(Node::text).unwrap_or_default();
    let spot = |key| auth.get(key).unwrap_or(auth).spot;
    let (name, value) = match kind.name.as_str() {
        "bearer" => (AUTHORIZATION.as_str(), format!("Bearer {}", auth.text().unwrap_or_default())),
        "basic" => {
            let pair = format!("{}:{}", text("user"), text("password"));
            (AUTHORIZATION.as_str(), format!("Basic {}", STANDARD.encode(pair)))
        }
        _ => (text("name"), text("value").to_owned()),
    };
    add_header(&mut headers, (name, spot("name")), (&value, spot("value")), faults);
    headers
}

fn add_header(headers: &mut HeaderMap, name: (&str, Spot), value: (&str, Spot), faults: &mut Vec<Fault>) {
    let Ok(header) = name.0.parse::<HeaderName>() else {
        faults.push(Fault::new(name.1, format!("{:?} is no name of a header", name.0)));
        return;
    };
    if header.as_str().starts_with("webhook-") || [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&header) {
        faults.push(Fault::new(name.1, format!("the header `{header}` is set by Dari")));
        return;
    }
    if let Some(secret) = secret_header(value.0) {
        headers.insert(header, secret);
    } else {
        let message = format!("the value of `{header}` has a character that no header may have");
        faults.push(Fault::new(value.1, message));
    }
}

#[async_trait]
impl Sink for HttpSink {
    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let (method, url) = match operation.request {
            Some(request) => (request.method.clone(), self.target.join(&request.path)?),
            None => (default_method(operation.verb)?, self.target.url().clone()),
        };
        let shown = self.target.shown(&url);
        let idempotent = self.idempotent || matches!(method, Method::PUT | Method::DELETE | Method::GET);
        let bodiless = method == Method::GET || method == Method::HEAD;
        if bodiless && !operation.fields.is_empty() {
            return Err(format!("a {method} request has no body: the route's `map` must be empty"));
        }
        let mut call = Call::new(method, url)
            .shown_url(shown)
            .idempotent(idempotent)
            .remote_id(operation.remote_id.map(str::to_owned))
            .timeout(self.timeout)
            .addresses(self.addresses);
        let bodiless = bodiless || (operation.verb == Verb::Delete && operation.fields.is_empty());
        if !bodiless {
            call = call.json(&Value::Object(operation.fields.clone()));
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Ok(traceparent) = HeaderValue::from_str(operation.traceparent) {
            call.headers.insert(TRACEPARENT, traceparent);
        }
        for (name, value) in &self.headers {
            call.headers.insert(name, value.clone());
        }
        self.identify(&mut call, operation)?;
        Ok(call)
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        let status = answer.status;
        let why = answer.summary();
        let itself = call.url == *self.target.url();
        match status {
            _ if status.is_success() => self.judge(call, answer),
            _ if status.is_redirection() => Outcome::reject(match answer.location() {
                Some(to) => {
                    format!("HTTP {}: redirected to {to}, which is not followed: set the sink's `url`", status.as_u16())
                }
                None => why,
            }),
            StatusCode::TOO_MANY_REQUESTS => self.later(answer, true, why),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => self.later(answer, false, why),
            _ if status.is_server_error() => self.later(answer, false, why),
            StatusCode::UNAUTHORIZED => Outcome::Suspend { what: Scope::Account, why, until: None },
            // About this record, or about all of them: that shows with the next ones.
            StatusCode::FORBIDDEN => Outcome::refused(why),
            // What a repeated delete finds after the first took effect.
            StatusCode::NOT_FOUND | StatusCode::GONE if call.method == Method::DELETE && !itself => {
                Outcome::Delivered { remote_id: call.remote_id.clone() }
            }
            // Every record would come back: the URL is wrong, or the receiver has ended (410, as Standard Webhooks say).
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE if itself => {
                Outcome::Suspend { what: Scope::Sink, why, until: None }
            }
            _ => Outcome::reject(why),
        }
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        OnDoubt::Retry
    }
}

impl HttpSink {
    fn identify(&self, call: &mut Call, operation: &Operation<'_>) -> Result<(), String> {
        let timestamp = operation.now.as_second();
        let id = HeaderValue::from_str(operation.webhook_id).map_err(|_| "the webhook-id fits no header".to_owned())?;
        call.headers.insert("webhook-id", id);
        call.headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        if self.secrets.is_empty() {
            return Ok(());
        }
        let sign = |secret| standard_signature(secret, operation.webhook_id, timestamp, &call.body);
        let signatures: Vec<String> =
            self.secrets.iter().map(sign).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let signatures = HeaderValue::from_str(&signatures.join(" ")).map_err(|error| error.to_string())?;
        call.headers.insert("webhook-signature", signatures);
        Ok(())
    }

    fn later(&self, answer: &Answer, account: bool, why: String) -> Outcome {
        Outcome::Retry { after: answer.retry_after(self.clock.now()), account, why }
    }

    /// Reads a 2xx: whether `accept` agrees, and which `id` it gave.
    fn judge(&self, call: &Call, answer: &Answer) -> Outcome {
        if self.accept.is_none() && self.id.is_none() {
            return Outcome::Delivered { remote_id: call.remote_id.clone() };
        }
        let context = context(answer);
        match self.accept.as_ref().map(|accept| accept.test(&context)) {
            None | Some(Ok(Verdict::Yes)) => {}
            Some(Ok(Verdict::No(no))) => {
                return Outcome::reject(format!("not accepted: {no}: {}", answer.summary()));
            }
            Some(Err(error)) => return Outcome::reject(format!("`accept`: {error}: {}", answer.summary())),
        }
        let Some(id) = &self.id else { return Outcome::Delivered { remote_id: call.remote_id.clone() } };
        let found = match id.render(&context, Escape::None) {
            Ok(Rendered::Value(Value::String(text))) if !text.is_empty() => Ok(text),
            Ok(Rendered::Value(Value::Number(number))) => Ok(number.to_string()),
            Ok(_) => Err("it came out empty".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match (found, &call.remote_id) {
            (Ok(id), _) => Outcome::Delivered { remote_id: Some(id) },
            (Err(_), Some(known)) => Outcome::Delivered { remote_id: Some(known.clone()) },
            // Without the id nothing later would find the record again: better told at once.
            (Err(why), None) => Outcome::reject(format!(
                "the receiver accepted it, but `id` found nothing in its answer ({why}): {}",
                answer.summary()
            )),
        }
    }
}

fn default_method(verb: Verb) -> Result<Method, String> {
    match verb {
        Verb::Create => Ok(Method::POST),
        Verb::Update => Ok(Method::PUT),
        Verb::Delete => Ok(Method::DELETE),
        other => Err(format!("an http sink cannot {}", other.name())),
    }
}

/// The names in [`context`].
const SEEN: &[&str] = &["status", "headers", "body"];

/// `status`, `headers` by lower-case name, and `body`: JSON, or else text.
fn context(answer: &Answer) -> Context {
    let mut headers = Map::new();
    for name in answer.headers.keys() {
        let values: Vec<_> =
            answer.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.as_str().to_owned(), Value::String(values.join(", ")));
    }
    let mut context = Context::new(Arc::new(Tables::default()));
    context.set("status", &Value::from(answer.status.as_u16()));
    context.set("headers", &Value::Object(headers));
    context.set("body", &answer.json().unwrap_or_else(|| Value::String(answer.text())));
    context
}
