//! The sink: operation → call, answer → outcome.

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use secrecy::SecretString;
use serde_json::Value;

use super::endpoint::{Endpoint, SEEN, compiled, context, template};
use super::find::Find;
use crate::clock::Clock;
use crate::connectors::signature::standard::{check_key, standard_signature};
use crate::connectors::{Answer, Ask, Build, Call, OnDoubt, Operation, Sink};
use crate::event::trace::TRACEPARENT;
use crate::outcome::{Outcome, Scope, Verb};
use crate::settings::{Fault, Node};
use crate::template::{Escape, Expression, Rendered, Template, Verdict};

struct HttpSink {
    endpoint: Endpoint,
    secrets: Vec<SecretString>,
    accept: Option<Expression>,
    id: Option<Template>,
    find: Option<Find>,
    idempotent: bool,
    clock: Clock,
}

/// Builds the sink.
///
/// # Errors
/// Everything that is wrong with URL, headers, auth, secrets, `accept`, `id` and `find`.
pub fn build(build: &Build<'_>) -> Result<Box<dyn Sink>, Vec<Fault>> {
    let settings = build.settings;
    let mut faults = Vec::new();
    let endpoint = Endpoint::new(settings, &mut faults);
    let secrets = settings.secrets("secret");
    let spots = settings.get("secret").map(Node::items).unwrap_or_default();
    for (secret, node) in secrets.iter().zip(spots) {
        faults.extend(check_key(secret).err().map(|error| Fault::new(node.spot, error.to_string())));
    }
    let accept = |source: &str| {
        let accept = Expression::compile(source)?;
        accept.check_names(SEEN).map(|()| (accept.tables().to_vec(), accept))
    };
    let accept = compiled(settings, "accept", accept, &mut faults);
    let id = template(settings, "id", SEEN, &mut faults);
    let find = settings.object("find", super::FIND).map(|find| Find::new(find, &mut faults));
    let Some(endpoint) = endpoint.filter(|_| faults.is_empty()) else { return Err(faults) };
    Ok(Box::new(HttpSink {
        endpoint,
        secrets,
        accept,
        id,
        find: find.flatten(),
        idempotent: settings.flag("idempotent"),
        clock: build.clock.clone(),
    }))
}

#[async_trait]
impl Sink for HttpSink {
    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let (method, url) = match operation.request {
            Some(request) => (request.method.clone(), self.endpoint.target.join(&request.path)?),
            None => (default_method(operation.verb)?, self.endpoint.target.url().clone()),
        };
        let idempotent = self.idempotent || matches!(method, Method::PUT | Method::DELETE | Method::GET);
        let bodiless = method == Method::GET || method == Method::HEAD;
        if bodiless && !operation.fields.is_empty() {
            return Err(format!("a {method} request has no body: the route's `map` must be empty"));
        }
        let mut call =
            self.endpoint.call(method, url).idempotent(idempotent).remote_id(operation.remote_id.map(str::to_owned));
        let bodiless = bodiless || (operation.verb == Verb::Delete && operation.fields.is_empty());
        if !bodiless {
            call = call.json(&Value::Object(operation.fields.clone()));
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            // The user's own may say it otherwise.
            self.endpoint.put_headers(&mut call);
        }
        if let Ok(traceparent) = HeaderValue::from_str(operation.traceparent)
            && !call.headers.contains_key(TRACEPARENT)
        {
            call.headers.insert(TRACEPARENT, traceparent);
        }
        self.identify(&mut call, operation)?;
        Ok(call)
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        let status = answer.status;
        let why = answer.summary();
        let itself = call.url == *self.endpoint.target.url();
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

    fn ask(&self, question: &Ask<'_>) -> Option<Result<Call, String>> {
        let find = self.find.as_ref().filter(|find| find.can_be_asked(question))?;
        Some(find.ask(&self.endpoint, question))
    }

    fn answered(&self, _: &Ask<'_>, answer: &Answer) -> Result<Vec<String>, Outcome> {
        match &self.find {
            Some(find) => find.answered(answer, self.clock.now()),
            None => Ok(Vec::new()),
        }
    }

    fn matches(&self) -> bool {
        self.find.as_ref().is_some_and(Find::matches)
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        if self.find.is_some() { OnDoubt::Find } else { OnDoubt::Retry }
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
