//! The sink: operation → call, answer → outcome.

use async_trait::async_trait;
use http::Method;
use http::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::{answer, find, message};
use crate::clock::Clock;
use crate::connectors::call::{HIDDEN, secret_header};
use crate::connectors::{Answer, Ask, Build, Call, OnDoubt, Operation, Sink};
use crate::outcome::{Outcome, Verb};
use crate::settings::Fault;

struct SlackSink {
    door: Door,
    clock: Clock,
}

/// How messages get in.
enum Door {
    Bot { base: Url, authorization: HeaderValue, channel: String },
    Webhook(Url),
}

/// Builds the sink.
///
/// # Errors
/// Neither or both of a bot's channel and an incoming webhook, an account without a bot token, a `webhook_url` that is
/// no URL (which is not shown).
pub fn build(build: &Build<'_>) -> Result<Box<dyn Sink>, Vec<Fault>> {
    let settings = build.settings;
    let fault = |key, message: &str| vec![Fault::new(settings.spot(key), message)];
    let door = match (build.account, settings.text("channel"), settings.text("webhook_url")) {
        (None, None, Some(url)) => match Url::parse(url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Door::Webhook(url),
            _ => return Err(fault("webhook_url", "expected the https URL of an incoming webhook")),
        },
        (_, _, Some(_)) => {
            return Err(fault(
                "webhook_url",
                "an incoming webhook has its own channel: without `account` and `channel`",
            ));
        }
        (Some(account), Some(channel), None) => {
            let token = account.settings.text("bot_token").unwrap_or_default();
            let authorization = secret_header(&format!("Bearer {token}")).filter(|_| !token.is_empty());
            let Some(authorization) = authorization else {
                return Err(fault("account", "the account has no usable `bot_token`"));
            };
            let Ok(base) = Url::parse(&format!("{}/api/", account.url)) else {
                return Err(fault("account", "the account's `url` is no URL"));
            };
            Door::Bot { base, authorization, channel: channel.to_owned() }
        }
        (Some(_), None, None) => return Err(fault("channel", "needs the `channel` to post to")),
        (None, _, None) => return Err(fault("account", "needs `account` and `channel`, or `webhook_url`")),
    };
    Ok(Box::new(SlackSink { door, clock: build.clock.clone() }))
}

#[async_trait]
impl Sink for SlackSink {
    fn takes(&self, name: &str) -> Result<(), String> {
        message::shape(name).map(|_| ())
    }

    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let verb = operation.verb;
        let message = if verb == Verb::Delete { Map::new() } else { message::check(operation.fields, verb)? };
        match &self.door {
            Door::Webhook(_) if verb != Verb::Create => {
                Err(format!("an incoming webhook cannot {}: use a bot's `account` and `channel`", verb.name()))
            }
            Door::Webhook(url) => {
                let shown = format!("{}/services/{HIDDEN}", url.origin().ascii_serialization());
                Ok(Call::new(Method::POST, url.clone()).shown_url(shown).json(&Value::Object(message)))
            }
            Door::Bot { base, authorization, channel } => {
                let (method, mut message) = addressed(operation, message, channel)?;
                if matches!(verb, Verb::Create | Verb::Reply) {
                    find::mark(&mut message, operation.webhook_id);
                }
                let url = base.join(method).map_err(|e| e.to_string())?;
                Ok(Call::new(Method::POST, url)
                    .header(AUTHORIZATION, authorization.clone())
                    .json(&Value::Object(message))
                    .idempotent(matches!(verb, Verb::Update | Verb::Delete))
                    .remote_id(operation.remote_id.filter(|_| verb != Verb::Create).map(str::to_owned)))
            }
        }
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        let now = self.clock.now();
        match &self.door {
            Door::Bot { channel, .. } => answer::web_api(call, answer, channel, now),
            Door::Webhook(_) => answer::webhook(call, answer, now),
        }
    }

    fn ask(&self, question: &Ask<'_>) -> Option<Result<Call, String>> {
        let (Door::Bot { base, authorization, channel }, Ask::Doubt { operation, since }) = (&self.door, question)
        else {
            return None;
        };
        let call = find::call(base, channel, operation, *since);
        Some(call.map(|call| call.header(AUTHORIZATION, authorization.clone())))
    }

    fn answered(&self, question: &Ask<'_>, answer: &Answer) -> Result<Vec<String>, Outcome> {
        match (&self.door, question) {
            (Door::Bot { channel, .. }, Ask::Doubt { operation, .. }) => {
                find::read(answer, channel, operation, self.clock.now())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Source: docs.slack.dev, `auth.test`: needs no scope, changes nothing.
    fn probe(&self) -> Option<Call> {
        let Door::Bot { base, authorization, .. } = &self.door else { return None };
        let url = base.join("auth.test").ok()?;
        Some(Call::new(Method::POST, url).header(AUTHORIZATION, authorization.clone()).idempotent(true))
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        match self.door {
            Door::Bot { .. } => OnDoubt::Find,
            Door::Webhook(_) => OnDoubt::Hold,
        }
    }
}

/// The method, and the message with where it goes to.
fn addressed(
    operation: &Operation<'_>,
    mut message: Map<String, Value>,
    channel: &str,
) -> Result<(&'static str, Map<String, Value>), String> {
    let mut put = |name: &str, value: &str| _ = message.insert(name.to_owned(), Value::String(value.to_owned()));
    if operation.verb == Verb::Create {
        put("channel", channel);
        return Ok(("chat.postMessage", message));
    }
    let id = operation.remote_id.ok_or_else(|| format!("there is no linked message to {}", operation.verb.name()))?;
    let Some((channel, ts)) = id.split_once(':') else {
        return Err(format!("the link's id {id:?} is no message: expected channel:ts"));
    };
    put("channel", channel);
    let (method, place) = match operation.verb {
        Verb::Reply => ("chat.postMessage", "thread_ts"),
        Verb::Delete => ("chat.delete", "ts"),
        _ => ("chat.update", "ts"),
    };
    put(place, ts);
    Ok((method, message))
}
