//! The source `workfront-hook`: event subscriptions. Source: the vendor's pages on them.
//!
//! The vendor signs nothing: it sends the token that the subscription was made with, as `Authorization: Bearer …`. It names no
//! event, repeats for 48 hours what is not answered, sends an event twice while a subscription changes its version, and
//! keeps no order: what happened when is in `eventTime`.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::source::{self, Asking, KIND as POLLER};
use super::{query, registrar, times};
use crate::connectors::signature::credentials;
use crate::connectors::{
    Build, Fetch, Fetched, Hook, HookRequest, PollError, Reading, Refusal, SourceKind, SourceRole, reading, snapshot,
    verify,
};
use crate::event::{Event, NewEvent, Payload, Version};
use crate::settings::{Fault, Field, Kind, Need};

/// The source.
pub const KIND: SourceKind = SourceKind {
    name: "workfront-hook",
    fields: FIELDS,
    events: POLLER.events,
    build,
    registrar: Some(registrar::build),
};

const FILTER: &[Field] = &[
    Field { name: "fieldName", kind: Kind::Text, need: Need::Required, doc: "The field." },
    Field { name: "fieldValue", kind: Kind::Text, need: Need::Optional, doc: "What it is compared with." },
    Field {
        name: "comparison",
        kind: Kind::Choice(&[
            "eq",
            "ne",
            "gt",
            "gte",
            "lt",
            "lte",
            "contains",
            "changed",
            "containsOnly",
            "notContains",
        ]),
        need: Need::Default("eq"),
        doc: "How they are compared.",
    },
    Field {
        name: "state",
        kind: Kind::Choice(&["newState", "oldState"]),
        need: Need::Optional,
        doc: "Of which state; the new one if missing.",
    },
];

const FIELDS: &[Field] = &[
    Field {
        name: "tokens",
        kind: Kind::List(&Kind::Secret),
        need: Need::Required,
        doc: "The subscriptions' tokens (`authToken`), any of which is accepted; `dari hooks register` gives the first. At least 16 characters each.",
    },
    Field {
        name: "account",
        kind: Kind::Account("workfront"),
        need: Need::Optional,
        doc: "The account, for `dari hooks`. Its user must be a System Administrator.",
    },
    Field {
        name: "object",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The kind of object that `dari hooks register` subscribes to, as `task`, `proj` or `optask`.",
    },
    Field {
        name: "events",
        kind: Kind::List(&Kind::Choice(registrar::EVENTS)),
        need: Need::Optional,
        doc: "What `dari hooks register` subscribes to; all of them if missing. Each is a subscription of its own.",
    },
    Field {
        name: "filters",
        kind: Kind::List(&Kind::Object(FILTER)),
        need: Need::Optional,
        doc: "Which objects the subscriptions of `dari hooks register` are for.",
    },
    Field {
        name: "connector",
        kind: Kind::Choice(&["AND", "OR"]),
        need: Need::Default("AND"),
        doc: "Whether all `filters` must hold or one of them.",
    },
    Field {
        name: "fetch",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "Reads the object again with the account first, with all of its own and its custom fields: what a message says is then only a hint that something happened.",
    },
    Field {
        name: "base64",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "Subscribes with states in base64, for senders' firewalls that refuse some texts. Either is read.",
    },
];

struct Events {
    tokens: Vec<SecretString>,
    object: Option<String>,
    fetch: Option<Arc<Again>>,
}

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    const LEAST: usize = 16;
    let settings = &build.settings;
    let tokens = verify::secrets(settings, "tokens")?;
    if settings.texts("tokens").iter().any(|token| token.len() < LEAST) {
        let why = format!(
            "a token is all that keeps others out: expected at least {LEAST} characters, as from `openssl rand -hex 16`"
        );
        return Err(vec![Fault::new(settings.spot("tokens"), why)]);
    }
    let object = settings.text("object").map(str::to_owned);
    let fetch = settings.flag("fetch").then(|| again(build, object.as_deref())).transpose()?.map(Arc::new);
    Ok(SourceRole::Hook(Box::new(Events { tokens, object, fetch })))
}

impl Hook for Events {
    fn verify(&self, request: &HookRequest<'_>, _: Timestamp) -> Result<(), Refusal> {
        credentials::bearer(&self.tokens, request.headers)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        let (_, mut body) = reading::payload(request)?;
        let malformed = |why: &str| Refusal::Malformed(why.to_owned());
        let kind = match body["eventType"].as_str() {
            Some("CREATE") => "object.created",
            Some("UPDATE") => "object.updated",
            Some("DELETE") => "object.deleted",
            Some(_) => return Err(malformed("this eventType is none that is known: CREATE, UPDATE, DELETE")),
            None => return Err(malformed("this is no event of Workfront: there is no eventType")),
        };
        for key in ["newState", "oldState"] {
            body[key] = state(&body[key]).ok_or_else(|| malformed("a state is neither an object nor base64 of one"))?;
        }
        let (new, old) = (&body["newState"], &body["oldState"]);
        // What a deletion bears is not shown on the page.
        let now = if reading::id(&new["ID"]).is_some() { new } else { old };
        let id = reading::id(&now["ID"]).ok_or_else(|| malformed("neither state has an ID"))?;
        let mut data = source::data(now, self.object.as_deref().unwrap_or_default());
        if kind == "object.updated" && old.as_object().is_some_and(|old| !old.is_empty()) {
            data["before"] = times::normalised(old);
        }
        data["raw"] = body.clone();
        let time = time(&body["eventTime"]);
        let mut event = NewEvent::new(kind, Payload::from_value(&data));
        // Two changes within one moment are two: their states tell.
        let mark = snapshot::hash(&json!([new, if kind == "object.deleted" { &Value::Null } else { old }]));
        event.id = Some(match time {
            Some(time) => format!("{kind}:{id}:{time}:{mark}"),
            None => format!("{kind}:{id}:{mark}"),
        });
        event.subject = Some(id);
        event.time = time;
        event.version = time.map(Version::Instant);
        Ok(Reading::Events(vec![event]))
    }

    fn fetch(&self) -> Option<Arc<dyn Fetch>> {
        self.fetch.clone().map(|again| again as Arc<dyn Fetch>)
    }
}

/// What reads objects again.
fn again(build: &Build<'_>, object: Option<&str>) -> Result<Again, Vec<Fault>> {
    let fault = |key: &str, why: String| vec![Fault::new(build.settings.spot(key), why)];
    if build.account.is_none() {
        return Err(fault("fetch", "to read an object again the source needs an account".to_owned()));
    }
    let object =
        object.ok_or_else(|| fault("object", "to read an object again the source needs its `object`".to_owned()))?;
    let object = query::object(object).map_err(|why| fault("object", format!("`object`: {why}")))?;
    let asking = Asking::of(build, object.clone(), &["*", "parameterValues"], Vec::new())?;
    Ok(Again { asking, object })
}

/// Reads the object of an event again.
struct Again {
    asking: Asking,
    object: String,
}

#[async_trait]
impl Fetch for Again {
    async fn fetch(&self, event: &Event) -> Result<Fetched, PollError> {
        let Some(id) = event.subject.as_deref().filter(|_| !event.is_deletion()) else {
            return Ok(Fetched::Gone("it is deleted".to_owned()));
        };
        let Some(row) = self.asking.by_ids(&[id]).await?.pop() else {
            return Ok(Fetched::Gone(format!("workfront shows no object {id}")));
        };
        let said = event.data.value();
        let mut data = source::data(&row.raw, &self.object);
        if let Some(before) = said.get("before") {
            data["before"] = before.clone();
        }
        data["hook"] = said["raw"].clone();
        let mut new = NewEvent::new(event.kind.clone(), Payload::from_value(&data));
        new.id = Some(event.id.clone());
        new.subject.clone_from(&event.subject);
        new.time = Some(event.time);
        new.version = row.updated.map(Version::Instant);
        new.headers.clone_from(&event.headers);
        Ok(Fetched::Event(Box::new(new)))
    }
}

/// A state: an object, base64 of one, or nothing.
fn state(value: &Value) -> Option<Value> {
    match value {
        Value::Null => Some(json!({})),
        Value::Object(_) => Some(value.clone()),
        Value::String(text) if text.is_empty() => Some(json!({})),
        Value::String(text) => {
            let bytes = STANDARD.decode(text.trim()).ok()?;
            serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
        }
        _ => None,
    }
}

/// When it happened: seconds and the nanoseconds beyond them.
fn time(value: &Value) -> Option<Timestamp> {
    let nano = value["nano"].as_i64().unwrap_or(0);
    Timestamp::new(value["epochSecond"].as_i64()?, i32::try_from(nano).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;

    fn read(body: &Value) -> Result<NewEvent, Refusal> {
        let hook = Events { tokens: vec!["0123456789abcdef".into()], object: Some("task".to_owned()), fetch: None };
        let (headers, body) = (HeaderMap::new(), Bytes::from(body.to_string()));
        let request =
            HookRequest { method: &Method::POST, headers: &headers, query: "", path_secret: None, body: &body };
        match hook.read(&request)? {
            Reading::Events(mut events) if events.len() == 1 => Ok(events.remove(0)),
            other => panic!("{other:?}"),
        }
    }

    fn update() -> Value {
        json!({
            "eventType": "UPDATE", "subscriptionId": "s1", "eventTime": { "nano": 998_000_000, "epochSecond": 1_507_319_336 },
            "newState": { "ID": "7", "name": "b", "lastUpdateDate": "2017-10-06T13:48:56.980-0600", "description": null },
            "oldState": { "ID": "7", "name": "a" },
        })
    }

    #[test]
    fn an_event_is_told_as_the_poller_tells_it() {
        let event = read(&update()).unwrap();
        let data = event.data.value();
        assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("object.updated", Some("7")));
        assert_eq!(event.version.unwrap().to_string(), "2017-10-06T19:48:56.998Z");
        assert_eq!(data["objCode"], "TASK");
        assert_eq!(
            data["object"],
            json!({ "ID": "7", "name": "b", "lastUpdateDate": "2017-10-06T13:48:56.980-06:00" })
        );
        assert_eq!((&data["before"]["name"], &data["raw"]["subscriptionId"]), (&json!("a"), &json!("s1")));
    }

    #[test]
    fn states_come_as_they_are_or_in_base64() {
        let mut encoded = update();
        for key in ["newState", "oldState"] {
            encoded[key] = Value::from(STANDARD.encode(encoded[key].to_string()));
        }
        let (plain, encoded) = (read(&update()).unwrap(), read(&encoded).unwrap());
        assert_eq!((plain.id, plain.data.value()), (encoded.id, encoded.data.value()));
        let mut broken = update();
        broken["newState"] = json!("not base64");
        assert!(matches!(read(&broken), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn a_repetition_is_known_and_another_change_of_the_moment_is_none() {
        let again = {
            let mut again = update();
            again["subscriptionId"] = json!("s2");
            again
        };
        let other = {
            let mut other = update();
            other["newState"]["name"] = json!("c");
            other
        };
        let id = |body: &Value| read(body).unwrap().id.unwrap();
        assert_eq!(id(&update()), id(&again), "another version of the subscription tells the same");
        assert_ne!(id(&update()), id(&other));
    }

    #[test]
    fn a_deletion_bears_what_there_was() {
        for (new, old) in
            [(json!({}), json!({ "ID": "7", "name": "a" })), (json!({ "ID": "7", "name": "a" }), Value::Null)]
        {
            let body =
                json!({ "eventType": "DELETE", "eventTime": { "epochSecond": 1 }, "newState": new, "oldState": old });
            let event = read(&body).unwrap();
            assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("object.deleted", Some("7")));
            assert_eq!(event.data.value()["object"]["name"], "a");
        }
        assert!(read(&json!({ "eventType": "SHARE", "newState": { "ID": "7" } })).is_err());
        assert!(read(&json!({ "newState": { "ID": "7" } })).is_err());
        assert!(read(&json!({ "eventType": "CREATE", "newState": {} })).is_err());
    }
}
