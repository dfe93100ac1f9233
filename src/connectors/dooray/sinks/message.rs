//! The sink `dooray-message`: a messenger's channel, a member, or an incoming hook, which can only post.
//!
//! A message of a channel is known by its channel and log: the remote id is `channel:log`.

use async_trait::async_trait;
use http::Method;
use serde_json::{Map, Value, json};
use url::Url;

use super::super::answer;
use super::super::client::Door;
use super::{doing, text, wrong};
use crate::clock::Clock;
use crate::connectors::call::HIDDEN;
use crate::connectors::{Answer, Build, Built, Call, OnDoubt, Operation, Sink, SinkKind};
use crate::outcome::{Outcome, Verb};
use crate::settings::{Fault, Field, Kind, Need};
use crate::template::Escape;

/// The sink.
pub const KIND: SinkKind = SinkKind {
    name: "dooray-message",
    fields: FIELDS,
    verbs: &[Verb::Create, Verb::Update, Verb::Delete, Verb::Reply],
    escape: Escape::None,
    takes_request: false,
    advice: "use `create`, or `reply` to answer the message of the link",
    build,
};

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("dooray"),
        need: Need::Optional,
        doc: "The account, with `channel` or `member`; or else `webhook_url`.",
    },
    Field {
        name: "channel",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The id of a messenger's channel that the token's user is a member of.",
    },
    Field {
        name: "member",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The id of a member who is written to directly; in place of `channel`. Such messages are not changed afterwards.",
    },
    Field {
        name: "webhook_url",
        kind: Kind::Secret,
        need: Need::Optional,
        doc: "The URL of an incoming hook (https://hook.dooray.com/services/…), which can only post; in place of `account`.",
    },
    Field {
        name: "bot_name",
        kind: Kind::Text,
        need: Need::Default("Dari"),
        doc: "The name that an incoming hook posts under, unless the map sets `botName`.",
    },
];

/// What an incoming hook takes.
const HOOK: [&str; 4] = ["text", "attachments", "botName", "botIconImage"];

struct MessageSink {
    way: Way,
    clock: Clock,
}

/// How messages get in.
enum Way {
    Channel(Door, String),
    Member(Door, String),
    Hook { url: Url, bot_name: String },
}

fn build(build: &Build<'_>) -> Built<Box<dyn Sink>> {
    let settings = &build.settings;
    let fault = |key: &str, why: &str| vec![Fault::new(settings.spot(key), why)];
    let get = |key| settings.text(key).map(str::to_owned);
    let way = match (build.account.is_some(), get("channel"), get("member"), get("webhook_url")) {
        (true, Some(channel), None, None) => Way::Channel(super::door(build)?, channel),
        (true, None, Some(member), None) => Way::Member(super::door(build)?, member),
        (false, None, None, Some(url)) => match Url::parse(&url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                Way::Hook { url, bot_name: get("bot_name").unwrap_or_default() }
            }
            _ => return Err(fault("webhook_url", "expected the https URL of an incoming hook")),
        },
        (_, _, _, Some(_)) => {
            return Err(fault(
                "webhook_url",
                "an incoming hook has its own place: without `account`, `channel` and `member`",
            ));
        }
        (true, Some(_), Some(_), None) => return Err(fault("member", "either `channel` or `member`")),
        (true, None, None, None) => return Err(fault("account", "needs the `channel` or the `member` to write to")),
        (false, _, _, None) => {
            return Err(fault("account", "needs `account` with `channel` or `member`, or `webhook_url`"));
        }
    };
    Ok(Box::new(MessageSink { way, clock: build.clock.clone() }))
}

#[async_trait]
impl Sink for MessageSink {
    fn takes(&self, name: &str) -> Result<(), String> {
        let known: &[&str] = if matches!(self.way, Way::Hook { .. }) { &HOOK } else { &HOOK[..1] };
        if known.contains(&name) { Ok(()) } else { Err(format!("expected one of {}", known.join(", "))) }
    }

    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let verb = operation.verb;
        if verb != Verb::Delete {
            let odd = operation.fields.keys().find_map(|name| Some(wrong(name, self.takes(name).err()?)));
            odd.map_or(Ok(()), Err)?;
        }
        match &self.way {
            Way::Hook { .. } | Way::Member(..) if verb != Verb::Create => Err(format!(
                "{} cannot {}: use `account` and `channel`",
                if matches!(self.way, Way::Hook { .. }) { "an incoming hook" } else { "a direct message" },
                verb.name()
            )),
            Way::Hook { url, bot_name } => {
                let shown = format!("{}/services/{HIDDEN}", url.origin().ascii_serialization());
                let body = Value::Object(hooked(operation.fields, bot_name)?);
                Ok(Call::new(Method::POST, url.clone()).shown_url(shown).json(&body).part(answer::part(verb)))
            }
            Way::Member(door, member) => {
                let body = json!({ "text": said(operation.fields)?, "organizationMemberId": member });
                let path = ["messenger", "v1", "channels", "direct-send"];
                Ok(doing(door, verb, Method::POST, &path).json(&body))
            }
            Way::Channel(door, channel) => in_channel(door, channel, operation),
        }
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        match &self.way {
            Way::Hook { .. } => answer::hook(call, answer, self.clock.now()),
            Way::Channel(..) | Way::Member(..) => answer::api(call, answer, self.clock.now()),
        }
    }

    fn probe(&self) -> Option<Call> {
        match &self.way {
            Way::Channel(door, _) | Way::Member(door, _) => {
                Some(door.call(Method::GET, &["messenger", "v1", "channels"], &[]))
            }
            // All that a hook can be asked is to post.
            Way::Hook { .. } => None,
        }
    }

    fn on_doubt(&self, _: Verb) -> OnDoubt {
        // What was said cannot be looked up.
        OnDoubt::Hold
    }
}

fn in_channel(door: &Door, channel: &str, operation: &Operation<'_>) -> Result<Call, String> {
    let verb = operation.verb;
    let path = |channel: &str, more: &[&str]| -> Vec<String> {
        let base = ["messenger", "v1", "channels", channel, "logs"];
        base.iter().chain(more).map(|part| (*part).to_owned()).collect()
    };
    let call =
        |method, path: Vec<String>| doing(door, verb, method, &path.iter().map(String::as_str).collect::<Vec<_>>());
    if verb == Verb::Create {
        let mut call = call(Method::POST, path(channel, &[])).json(&json!({ "text": said(operation.fields)? }));
        call.part["channel"] = Value::from(channel);
        return Ok(call);
    }
    let id = operation.remote_id.ok_or_else(|| format!("there is no linked message to {}", verb.name()))?;
    let (channel, log) =
        id.split_once(':').ok_or_else(|| format!("the link's id {id:?} is no message: expected channel:log"))?;
    let linked = Some(id.to_owned());
    Ok(match verb {
        Verb::Delete => call(Method::DELETE, path(channel, &[log])).idempotent(true),
        Verb::Update => {
            let body = json!({ "text": said(operation.fields)? });
            call(Method::PUT, path(channel, &[log])).json(&body).idempotent(true)
        }
        Verb::Reply => {
            call(Method::POST, path(channel, &[log, "reply"])).json(&json!({ "text": said(operation.fields)? }))
        }
        other => return Err(format!("a message cannot {}", other.name())),
    }
    .remote_id(linked))
}

fn said(fields: &Map<String, Value>) -> Result<String, String> {
    let said = fields.get("text").filter(|value| !value.is_null()).map(text).transpose();
    let said = said.map_err(|why| wrong("text", why))?.unwrap_or_default();
    if said.trim().is_empty() { Err("text: a message says something".to_owned()) } else { Ok(said) }
}

fn hooked(fields: &Map<String, Value>, bot_name: &str) -> Result<Map<String, Value>, String> {
    let mut message = Map::from_iter([("botName".to_owned(), Value::from(bot_name))]);
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let value = match (name.as_str(), value) {
            ("attachments", Value::Array(items)) if items.iter().all(Value::is_object) => value.clone(),
            ("attachments", _) => return Err(wrong(name, "expected a list of { title, titleLink, text, color }")),
            _ => Value::from(text(value).map_err(|why| wrong(name, why))?),
        };
        message.insert(name.clone(), value);
    }
    let has_text = message.get("text").and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
    let has_more = message.get("attachments").and_then(Value::as_array).is_some_and(|items| !items.is_empty());
    if has_text || has_more { Ok(message) } else { Err("text: a message says something".to_owned()) }
}
