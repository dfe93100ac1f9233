//! Reads Walla's outgoing webhooks (자동화 > 웹훅, "automation").
//!
//! Walla signs nothing, and its default body has had two shapes; a body of one's own is the third and the best. Source:
//! Walla's help centre, its Apps Script sample of 2024, and bodies seen in public code.

use std::sync::Arc;

use http::{HeaderName, Method};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::again::Again;
use crate::connectors::verify::{SCHEMES, Verify};
use crate::connectors::{Build, EventDoc, Fetch, Hook, HookRequest, Reading, Refusal, SourceKind, SourceRole, reading};
use crate::event::NewEvent;
use crate::settings::{Fault, Field, Kind, Need, Settings};

/// The source.
pub const KIND: SourceKind = SourceKind { name: "walla-hook", fields: FIELDS, events: EVENTS, build, registrar: None };

const FIELDS: &[Field] = &[
    Field {
        name: "verify",
        kind: Kind::OneOf(SCHEMES),
        need: Need::Required,
        doc: "What you chose in Walla's webhook: `bearer` (Bearer), `basic` (Basic) or `header` (API key).",
    },
    Field {
        name: "fetch",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "Reads the response again with the account, by the body's `responseKey`, before any route sees it: `data` is then that of a poll.",
    },
    Field { name: "account", kind: Kind::Account("walla"), need: Need::Optional, doc: "The account, for `fetch`." },
    Field {
        name: "workspace",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "For `fetch` with the response API: the workspace key; it is asked for if missing.",
    },
    Field {
        name: "project",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "For `fetch` with the response API: the project key, unless the body has a `projectKey`.",
    },
    Field {
        name: "form",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "For `fetch` with the Open API: the form's id.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "response.created",
        about: "A form was submitted. The sample is the body that is best set in Walla: \
                `{\"responseKey\":\"{{responseKey}}\",\"projectKey\":\"{{projectKey}}\",\"timestamp\":\"{{timestamp}}\",…}` \
                with `{{res:<fieldId>}}` for answers.",
        sample: r#"{"responseKey":"r-1","projectKey":"pj-7","customerKey":"c-1","timestamp":"2026-01-01T09:00:00+09:00"}"#,
    },
    EventDoc {
        kind: "response.rejected",
        about: "A respondent was screened out. Walla's own body says so in `event_type`; a body of your own for that \
                trigger needs `\"event_type\": \"response_rejected\"` in it.",
        sample: r#"{"event_type":"response_rejected","answers":[{"field_id":"q1","value":"17"}]}"#,
    },
];

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let again = build.settings.flag("fetch").then(|| Again::of(build)).transpose();
    let hook = Walla::build(&build.settings, &build.zone);
    match (hook, again) {
        (Ok(hook), Ok(again)) => Ok(SourceRole::Hook(Box::new(Walla { again: again.map(Arc::new), ..hook }))),
        (hook, again) => Err([hook.err(), again.err()].into_iter().flatten().flatten().collect()),
    }
}

/// Reads the webhooks of Walla.
pub struct Walla {
    verify: Verify,
    zone: TimeZone,
    again: Option<Arc<Again>>,
}

impl Walla {
    /// Builds it; `zone` is for times that bear none.
    ///
    /// # Errors
    /// What the fields alone cannot say.
    pub fn build(settings: &Settings<'_>, zone: &TimeZone) -> Result<Self, Vec<Fault>> {
        let missing = || vec![Fault::new(settings.node().spot, "`verify` is missing")];
        let verify = Verify::build(settings.get("verify").ok_or_else(missing)?)?;
        Ok(Self { verify, zone: zone.clone(), again: None })
    }
}

impl Hook for Walla {
    fn methods(&self) -> &[Method] {
        const METHODS: &[Method] = &[Method::POST, Method::PUT, Method::GET];
        METHODS
    }

    fn secret_headers(&self) -> Vec<HeaderName> {
        self.verify.header().into_iter().collect()
    }

    fn verify(&self, request: &HookRequest<'_>, now: Timestamp) -> Result<(), Refusal> {
        self.verify.check(request, now)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        let (data, body) = reading::payload(request)?;
        if !body.is_object() {
            return Err(Refusal::Malformed("this is no webhook of Walla: the body is no object".to_owned()));
        }
        let mut event = NewEvent::new(kind(&body), data);
        // No id: Walla sends none, and a delivery that is sent again by hand has the same body.
        event.subject = response_key(&body);
        let times = [&body["timestamp"], &body["submittedAt"], &body["form_response"]["submitted_at"]];
        event.time = times.into_iter().find_map(|time| reading::instant(time, &self.zone));
        event.body_repeats = self.verify.body_repeats();
        Ok(Reading::Events(vec![event]))
    }

    fn fetch(&self) -> Option<Arc<dyn Fetch>> {
        self.again.clone().map(|again| again as Arc<dyn Fetch>)
    }
}

/// The response that a body is about, in whichever of its shapes.
pub(super) fn response_key(body: &Value) -> Option<String> {
    let places =
        [&body["responseKey"], &body["responseId"], &body["response_id"], &body["form_response"]["response_id"]];
    places.into_iter().find_map(reading::id)
}

/// The project that a body is about, if it says so.
pub(super) fn project_key(body: &Value) -> Option<String> {
    [&body["projectKey"], &body["project_key"]].into_iter().find_map(reading::id)
}

fn kind(body: &Value) -> String {
    match body["event_type"].as_str() {
        None | Some("response_submitted") => "response.created".to_owned(),
        // How Walla's body calls it when a respondent is screened out has not been seen.
        Some(other) if other.contains("reject") => "response.rejected".to_owned(),
        Some(other) => match other.strip_prefix("response_") {
            Some(what) => format!("response.{what}"),
            None => other.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Node;
    use bytes::Bytes;
    use http::HeaderMap;
    use serde_json::json;

    fn read(method: &Method, query: &str, body: &str) -> Result<Reading, Refusal> {
        let node = Node::from(&json!({"verify": {"bearer": {"tokens": "t"}}}));
        let hook = Walla::build(&Settings::new(&node, FIELDS), &TimeZone::get("Asia/Seoul").unwrap()).unwrap();
        let (headers, body) = (HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()));
        hook.read(&HookRequest { method, headers: &headers, query, path_secret: None, body: &body })
    }

    fn one(body: &str) -> NewEvent {
        match read(&Method::POST, "", body).unwrap() {
            Reading::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_three_bodies_are_read() {
        let custom = one(EVENTS[0].sample);
        assert_eq!((custom.kind.as_str(), custom.subject.as_deref()), ("response.created", Some("r-1")));
        assert_eq!(custom.time.unwrap().to_string(), "2026-01-01T00:00:00Z");
        let first = one(
            r#"{"form_response":{"submitted_at":"2026-01-01 09:00:00","response_id":"r-2"},"form_answers":[{"label":"이름","type":"TEXT","response":"김하나"}],"form_definition":{"title":"신청","id":"f-1"}}"#,
        );
        assert_eq!((first.kind.as_str(), first.subject.as_deref()), ("response.created", Some("r-2")));
        assert_eq!(first.time.unwrap().to_string(), "2026-01-01T00:00:00Z", "a time without a zone is ours");
        let second = one(r#"{"event_type":"response_submitted","answers":[{"field_id":"q1","value":"x"}]}"#);
        assert_eq!((second.kind.as_str(), second.subject), ("response.created", None));
        for word in ["response_rejected", "respondent_rejected", "rejected"] {
            assert_eq!(one(&EVENTS[1].sample.replace("response_rejected", word)).kind, EVENTS[1].kind);
        }
    }

    #[test]
    fn a_get_has_its_query() {
        let Reading::Events(events) = read(&Method::GET, "responseKey=r-1&name=%ED%95%98%EB%82%98", "").unwrap() else {
            panic!("events")
        };
        assert_eq!(events[0].subject.as_deref(), Some("r-1"));
        assert_eq!(events[0].data.value()["name"], "하나");
        assert!(read(&Method::GET, "", "").is_err());
        assert!(read(&Method::POST, "", "[]").is_err());
    }
}
