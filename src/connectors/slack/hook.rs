//! Reads what Slack sends: events, slash commands, interactions. Source: docs.slack.dev/apis/events-api.

use http::StatusCode;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::connectors::signature::keyed::Keyed;
use crate::connectors::{Build, EventDoc, Hook, HookAnswer, HookRequest, Reading, Refusal, SourceKind, SourceRole};
use crate::connectors::{reading, verify};
use crate::event::{NewEvent, Payload, Version};
use crate::settings::{Fault, Field, Kind, Need, Settings};

/// The source.
pub const KIND: SourceKind = SourceKind { name: "slack-hook", fields: FIELDS, events: EVENTS, build, registrar: None };

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("slack"),
        need: Need::Optional,
        doc: "The account whose `signing_secrets` are used, unless the source has its own.",
    },
    Field {
        name: "signing_secrets",
        kind: Kind::List(&Kind::Secret),
        need: Need::Optional,
        doc: "The app's signing secret, under Basic Information of the app. Any of several is accepted, so that one can be \
              rotated.",
    },
    Field {
        name: "app_id",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The id `A…` of another app whose messages are to be left out too. Those of the receiving app always are, or \
              a bridge that writes where it listens would answer itself for ever.",
    },
    Field {
        name: "bot_id",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The id `B…` of a bot whose messages are to be left out too.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "message.created",
        about: "Someone wrote in a channel the app is in. Other subtypes come as `message.` and the subtype, as \
                `message.channel_join`. Messages of bots without an app, and of this app, are left out.",
        sample: r#"{"type":"event_callback","team_id":"T1","api_app_id":"A1","event_id":"Ev1","event_time":1767225600,"event":{"type":"message","channel":"C1","user":"U1","text":"Hello","ts":"1767225600.000100","event_ts":"1767225600.000100"}}"#,
    },
    EventDoc {
        kind: "message.updated",
        about: "A message was changed: `event.message` is the new one.",
        sample: r#"{"type":"event_callback","team_id":"T1","api_app_id":"A1","event_id":"Ev2","event_time":1767225660,"event":{"type":"message","subtype":"message_changed","channel":"C1","message":{"user":"U1","text":"Hello!","ts":"1767225600.000100"},"ts":"1767225660.000200","event_ts":"1767225660.000200"}}"#,
    },
    EventDoc {
        kind: "message.deleted",
        about: "A message was deleted.",
        sample: r#"{"type":"event_callback","team_id":"T1","api_app_id":"A1","event_id":"Ev3","event_time":1767225720,"event":{"type":"message","subtype":"message_deleted","channel":"C1","deleted_ts":"1767225600.000100","ts":"1767225720.000300","event_ts":"1767225720.000300"}}"#,
    },
    EventDoc {
        kind: "app_mention",
        about: "Someone mentioned the app. Every other event of Slack likewise has its own type, as `reaction_added`.",
        sample: r#"{"type":"event_callback","team_id":"T1","api_app_id":"A1","event_id":"Ev4","event_time":1767225600,"event":{"type":"app_mention","channel":"C1","user":"U1","text":"<@U2> help","ts":"1767225600.000100","event_ts":"1767225600.000100"}}"#,
    },
    EventDoc {
        kind: "command",
        about: "Someone used a slash command: a form, of which `data.command` and `data.text` are the most needed fields.",
        sample: r#"{"command":"/order","text":"7 pens","user_id":"U1","channel_id":"C1","trigger_id":"1.2.a"}"#,
    },
    EventDoc {
        kind: "interaction.block_actions",
        about: "Someone pressed a button or the like; likewise `interaction.view_submission`, `interaction.shortcut`.",
        sample: r#"{"type":"block_actions","trigger_id":"1.2.b","user":{"id":"U1"},"container":{"type":"message","channel_id":"C1","message_ts":"1767225600.000100"},"actions":[{"action_id":"ok","value":"7"}]}"#,
    },
];

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let account = build.account.map(|account| account.settings);
    Slack::build(&build.settings, account.as_ref()).map(|hook| SourceRole::Hook(Box::new(hook)))
}

/// Reads what Slack sends.
#[derive(Debug)]
pub struct Slack {
    keyed: Keyed,
    app_id: Option<String>,
    bot_id: Option<String>,
}

impl Slack {
    /// Builds it from the source's keys and its account's.
    ///
    /// # Errors
    /// Neither has a signing secret, or one is empty.
    pub fn build(settings: &Settings<'_>, account: Option<&Settings<'_>>) -> Result<Self, Vec<Fault>> {
        const KEY: &str = "signing_secrets";
        let own = settings.get(KEY).map(|_| verify::secrets(settings, KEY));
        let shared =
            || account.filter(|account| account.get(KEY).is_some()).map(|account| verify::secrets(account, KEY));
        let Some(secrets) = own.or_else(shared) else {
            let why = "no signing secret: give `signing_secrets` to the source or to its account";
            return Err(vec![Fault::new(settings.node().spot, why)]);
        };
        let text = |key| settings.text(key).map(str::to_owned);
        Ok(Self { keyed: Keyed::slack(secrets?), app_id: text("app_id"), bot_id: text("bot_id") })
    }

    fn callback(&self, data: Payload, body: &Value) -> Result<Reading, Refusal> {
        let event = &body["event"];
        let (Some(id), Some(name)) = (reading::id(&body["event_id"]), event["type"].as_str()) else {
            return Err(Refusal::Malformed("this is no event of Slack: event_id or event.type is missing".to_owned()));
        };
        if self.is_own(event, &body["api_app_id"]) {
            return Ok(Reading::Answer(ok(), "a bot's own message"));
        }
        let mut new = NewEvent::new(kind(name, event), data);
        new.id = Some(id);
        new.subject = subject(event);
        new.time = reading::instant(&event["event_ts"], &TimeZone::UTC)
            .or_else(|| reading::instant(&body["event_time"], &TimeZone::UTC));
        // Failed deliveries come again for hours, so an old text can come after a newer one.
        new.version = reading::instant(&event["event_ts"], &TimeZone::UTC).map(Version::Instant);
        Ok(Reading::Events(vec![new]))
    }

    /// True for what a bridge would answer itself by: a bot without an app, the receiving app, the configured ones.
    fn is_own(&self, event: &Value, receiver: &Value) -> bool {
        // A change of a message holds the message one level down.
        let said = [event, &event["message"], &event["previous_message"]];
        said.iter().any(|message| {
            let apps = [&message["app_id"], &message["bot_profile"]["app_id"]];
            let of_app = |id: &Value| id.is_string() && (id == receiver || self.app_id.as_deref() == id.as_str());
            message["subtype"] == "bot_message"
                || apps.into_iter().any(of_app)
                || (message["bot_id"].is_string() && self.bot_id.as_deref() == message["bot_id"].as_str())
        })
    }
}

fn kind(name: &str, event: &Value) -> String {
    match (name, event["subtype"].as_str()) {
        ("message", None) => "message.created".to_owned(),
        ("message", Some("message_changed")) => "message.updated".to_owned(),
        ("message", Some("message_deleted")) => "message.deleted".to_owned(),
        ("message", Some(subtype)) => format!("message.{subtype}"),
        _ => name.to_owned(),
    }
}

/// The message that the event is about, as `channel:ts`.
fn subject(event: &Value) -> Option<String> {
    let item = &event["item"];
    let channel = event["channel"].as_str().or_else(|| item["channel"].as_str())?;
    let stamps = [&event["message"]["ts"], &event["deleted_ts"], &item["ts"], &event["ts"]];
    let ts = stamps.into_iter().find_map(Value::as_str)?;
    Some(format!("{channel}:{ts}"))
}

/// Slack shows a slash command's user whatever else it is answered.
fn ok() -> HookAnswer {
    HookAnswer { status: StatusCode::OK, content_type: "text/plain; charset=utf-8", body: String::new() }
}

impl Hook for Slack {
    fn verify(&self, request: &HookRequest<'_>, now: Timestamp) -> Result<(), Refusal> {
        self.keyed.verify(request.headers, request.body, now)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        match reading::payload(request)? {
            (data @ Payload::Form(_), fields) => read_form(data, &fields),
            (data @ Payload::Json(_), body) => match body["type"].as_str() {
                Some("event_callback") => self.callback(data, &body),
                Some("url_verification") => challenge(&body["challenge"]),
                Some("app_rate_limited") => {
                    Ok(Reading::Answer(ok(), "Slack left events out for a minute (app_rate_limited)"))
                }
                _ => Err(Refusal::Malformed("this is no event of Slack: its type is unknown".to_owned())),
            },
        }
    }

    fn accepted(&self) -> Option<HookAnswer> {
        Some(ok())
    }
}

fn challenge(challenge: &Value) -> Result<Reading, Refusal> {
    let body = challenge.as_str().ok_or_else(|| Refusal::Malformed("the challenge is missing".to_owned()))?;
    Ok(Reading::Answer(HookAnswer { body: body.to_owned(), ..ok() }, "Slack's challenge (url_verification)"))
}

/// An interaction is JSON in the field `payload`; anything else is a slash command.
fn read_form(form: Payload, fields: &Value) -> Result<Reading, Refusal> {
    if let Some(text) = fields["payload"].as_str() {
        let (data, body) = reading::json(text.as_bytes())?;
        let Some(name) = body["type"].as_str() else {
            return Err(Refusal::Malformed("this is no interaction of Slack: type is missing".to_owned()));
        };
        let mut event = NewEvent::new(format!("interaction.{name}"), data);
        // Made anew for each interaction.
        event.id = reading::id(&body["trigger_id"]);
        let place = &body["container"];
        if let (Some(channel), Some(ts)) = (place["channel_id"].as_str(), place["message_ts"].as_str()) {
            event.subject = Some(format!("{channel}:{ts}"));
        }
        return Ok(Reading::Events(vec![event]));
    }
    if fields["ssl_check"] == "1" {
        return Ok(Reading::Answer(ok(), "Slack's check of the certificate (ssl_check)"));
    }
    if !fields["command"].is_string() {
        return Err(Refusal::Malformed("this is no form of Slack: neither payload nor command is there".to_owned()));
    }
    let mut event = NewEvent::new("command", form);
    event.id = reading::id(&fields["trigger_id"]);
    Ok(Reading::Events(vec![event]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Node;
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use proptest::prelude::*;
    use serde_json::json;

    fn hook(keys: &Value) -> Result<Slack, Vec<Fault>> {
        let node = Node::from(keys);
        Slack::build(&Settings::new(&node, FIELDS), None)
    }

    fn read_as(media: &str, body: &str) -> Result<Reading, Refusal> {
        let headers: HeaderMap = [("content-type".parse().unwrap(), media.parse().unwrap())].into_iter().collect();
        let (method, body) = (Method::POST, Bytes::copy_from_slice(body.as_bytes()));
        let request = HookRequest { method: &method, headers: &headers, query: "", path_secret: None, body: &body };
        hook(&json!({"signing_secrets": "s", "app_id": "A9", "bot_id": "B9"})).unwrap().read(&request)
    }

    fn read(body: &str) -> Result<Reading, Refusal> {
        read_as("application/json", body)
    }

    fn one(reading: Result<Reading, Refusal>) -> NewEvent {
        match reading.unwrap() {
            Reading::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_samples_have_the_types_they_document() {
        for doc in EVENTS.iter().filter(|doc| doc.sample.contains("event_callback")) {
            let event = one(read(doc.sample));
            assert_eq!(event.kind, doc.kind);
            assert_eq!(event.subject.as_deref(), Some("C1:1767225600.000100"), "{}", doc.kind);
            assert_eq!(event.data.bytes(), doc.sample.as_bytes());
            assert!(event.id.unwrap().starts_with("Ev"));
        }
        let changed = one(read(EVENTS[1].sample));
        assert_eq!(changed.version.unwrap().to_string(), "2026-01-01T00:01:00.0002Z");
    }

    #[test]
    fn messages_of_bots_do_not_come_back() {
        let message = |extra: Value| {
            let mut event = json!({"type": "message", "channel": "C1", "ts": "1.1", "event_ts": "1.1", "text": "x"});
            event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"type": "event_callback", "api_app_id": "A1", "event_id": "Ev1", "event": event}).to_string()
        };
        let own = [
            json!({"subtype": "bot_message", "bot_id": "B1"}),
            json!({"bot_id": "B1", "app_id": "A1"}),
            json!({"bot_id": "B1", "bot_profile": {"app_id": "A1"}}),
            json!({"bot_id": "B9"}),
            json!({"app_id": "A9"}),
            json!({"subtype": "message_changed", "message": {"ts": "1.1", "app_id": "A1"}}),
            json!({"subtype": "message_deleted", "deleted_ts": "1.1", "previous_message": {"bot_profile": {"app_id": "A1"}}}),
        ];
        for extra in own {
            let reading = read(&message(extra.clone()));
            assert!(matches!(reading, Ok(Reading::Answer(answer, "a bot's own message")) if answer == ok()), "{extra}");
        }
        for extra in [json!({}), json!({"bot_id": "B2", "app_id": "A2"})] {
            assert_eq!(one(read(&message(extra))).kind, "message.created");
        }
    }

    #[test]
    fn what_is_no_event_is_answered() {
        let challenge = read(r#"{"type":"url_verification","token":"t","challenge":"3eZb"}"#).unwrap();
        assert!(matches!(challenge, Reading::Answer(answer, _) if answer.body == "3eZb" && answer.status == 200));
        let limited = read(r#"{"type":"app_rate_limited","team_id":"T1","minute_rate_limited":1,"api_app_id":"A1"}"#);
        assert!(matches!(limited, Ok(Reading::Answer(_, why)) if why.contains("app_rate_limited")));
        let form = "application/x-www-form-urlencoded";
        assert!(matches!(read_as(form, "ssl_check=1&token=x"), Ok(Reading::Answer(..))));
        for wrong in ["{}", "[]", r#"{"type":"url_verification"}"#, r#"{"type":"event_callback","event_id":"E"}"#] {
            assert!(matches!(read(wrong), Err(Refusal::Malformed(_))), "{wrong}");
        }
        assert!(matches!(read_as(form, "a=b"), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn commands_and_interactions_are_forms() {
        let form = "application/x-www-form-urlencoded";
        let body = "command=%2Forder&text=7+pens&trigger_id=1.2.a";
        let command = one(read_as(form, body));
        assert_eq!((command.kind.as_str(), command.id.as_deref()), ("command", Some("1.2.a")));
        assert_eq!(command.data.bytes(), body.as_bytes());
        assert_eq!(command.data.value()["text"], "7 pens");
        let sample = EVENTS[5].sample;
        let encoded: String = form_urlencoded::byte_serialize(sample.as_bytes()).collect();
        let pressed = one(read_as(form, &format!("payload={encoded}")));
        assert_eq!((pressed.kind.as_str(), pressed.id.as_deref()), (EVENTS[5].kind, Some("1.2.b")));
        assert_eq!(pressed.subject.as_deref(), Some("C1:1767225600.000100"));
        assert_eq!(pressed.data.bytes(), sample.as_bytes());
    }

    #[test]
    fn a_secret_is_needed() {
        insta::assert_snapshot!(hook(&json!({})).unwrap_err()[0].message, @"no signing secret: give `signing_secrets` to the source or to its account");
        assert!(hook(&json!({"signing_secrets": []})).is_err());
        let (own, shared) = (Node::from(&json!({})), Node::from(&json!({"signing_secrets": ["s"]})));
        assert!(Slack::build(&Settings::new(&own, FIELDS), Some(&Settings::new(&shared, FIELDS))).is_ok());
    }

    proptest! {
        #[test]
        fn any_form_is_answered(body in "(payload=|command=|&|%|\\{|\\}|\\PC)*") {
            let _ = read_as("application/x-www-form-urlencoded", &body);
        }
    }
}
