//! Reads GitHub's webhooks. Source: docs.github.com/webhooks/webhook-events-and-payloads.

use http::StatusCode;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::Value;

use crate::connectors::signature::keyed::Keyed;
use crate::connectors::{Hook, HookAnswer, HookRequest, Reading, Refusal, reading};
use crate::event::{NewEvent, Payload, Version};

/// Reads the webhooks of GitHub.
#[derive(Debug)]
pub struct GitHub {
    keyed: Keyed,
}

impl GitHub {
    /// With the secrets of the webhook.
    #[must_use]
    pub fn new(secrets: Vec<SecretString>) -> Self {
        Self { keyed: Keyed::github(secrets) }
    }
}

impl Hook for GitHub {
    fn verify(&self, request: &HookRequest<'_>, now: Timestamp) -> Result<(), Refusal> {
        self.keyed.verify(request.headers, request.body, now)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        let Some(name) = reading::text(request.headers, "x-github-event") else {
            return Err(Refusal::Malformed("the header x-github-event is missing".to_owned()));
        };
        if name == "ping" {
            // It comes once when the webhook is made and says nothing that a sink could want.
            let answer = HookAnswer {
                status: StatusCode::OK,
                content_type: "application/json",
                body: r#"{"pong":true}"#.to_owned(),
            };
            return Ok(Reading::Answer(answer, "a ping of GitHub"));
        }
        let (data, body) = document(request)?;
        let kind = match body["action"].as_str() {
            Some(action) => format!("{name}.{action}"),
            None => name.to_owned(),
        };
        let mut event = NewEvent::new(kind, data);
        event.id = reading::text(request.headers, "x-github-delivery").map(str::to_owned);
        event.subject = subject(name, &body);
        event.time = changed(name, &body);
        // Of one object, `updated_at` never goes back.
        event.version = event.time.map(Version::Instant);
        // GitHub signs the body alone: neither the delivery's id nor a time.
        event.body_repeats = true;
        Ok(Reading::Events(vec![event]))
    }
}

/// The JSON document: the body, or the field `payload` where the webhook is set to the content type of forms.
fn document(request: &HookRequest<'_>) -> Result<(Payload, Value), Refusal> {
    match reading::payload(request)? {
        (Payload::Form(_), fields) => match fields["payload"].as_str() {
            Some(text) => reading::json(text.as_bytes()),
            None => Err(Refusal::Malformed("the form has no field payload".to_owned())),
        },
        json => Ok(json),
    }
}

/// Events about a thing within a repository: the event's name, and the key of the thing in the body.
const THINGS: &[(&str, &str)] = &[
    ("commit_comment", "comment"),
    ("discussion", "discussion"),
    ("discussion_comment", "comment"),
    ("issue_comment", "comment"),
    ("issues", "issue"),
    ("label", "label"),
    ("milestone", "milestone"),
    ("pull_request", "pull_request"),
    ("pull_request_review", "review"),
    ("pull_request_review_comment", "comment"),
    ("release", "release"),
];

fn thing<'a>(name: &str, body: &'a Value) -> Option<(&'static str, &'a Value)> {
    let (_, key) = THINGS.iter().find(|(event, _)| *event == name)?;
    Some((key, &body[*key]))
}

fn subject(name: &str, body: &Value) -> Option<String> {
    let repository = reading::id(&body["repository"]["full_name"])?;
    let Some((key, thing)) = thing(name, body) else { return Some(repository) };
    match key {
        "issue" | "pull_request" | "discussion" => Some(format!("{repository}#{}", reading::id(&thing["number"])?)),
        _ => Some(format!("{repository}/{key}-{}", reading::id(&thing["id"])?)),
    }
}

fn changed(name: &str, body: &Value) -> Option<Timestamp> {
    let (_, thing) = thing(name, body)?;
    reading::instant(&thing["updated_at"], &TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    fn read(event: &str, media: &str, body: &str) -> Result<Reading, Refusal> {
        let pairs = [("x-github-event", event), ("x-github-delivery", "d-1"), ("content-type", media)];
        let headers: HeaderMap = pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let (method, body) = (Method::POST, Bytes::copy_from_slice(body.as_bytes()));
        let request = HookRequest { method: &method, headers: &headers, query: "", path_secret: None, body: &body };
        GitHub::new(vec!["s".into()]).read(&request)
    }

    fn one(event: &str, body: &str) -> NewEvent {
        match read(event, "application/json", body).unwrap() {
            Reading::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_samples_have_the_types_they_document() {
        for doc in super::super::EVENTS {
            let name = doc.kind.split('.').next().unwrap();
            assert_eq!(one(name, doc.sample).kind, doc.kind);
        }
    }

    #[test]
    fn type_subject_and_version_come_from_the_body() {
        let issue = one(
            "issues",
            r#"{"action":"opened","issue":{"number":7,"updated_at":"2026-01-01T00:00:00Z"},"repository":{"full_name":"a/b"}}"#,
        );
        assert_eq!((issue.kind.as_str(), issue.subject.as_deref()), ("issues.opened", Some("a/b#7")));
        assert_eq!(issue.version.map(|v| v.to_string()).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!((issue.id.as_deref(), issue.body_repeats), (Some("d-1"), true));
        let gone = one(
            "issue_comment",
            r#"{"action":"deleted","issue":{"number":7},"comment":{"id":9},"repository":{"full_name":"a/b"}}"#,
        );
        assert_eq!(gone.subject.as_deref(), Some("a/b/comment-9"), "not the issue, which is still there");
        let push = one("push", r#"{ "ref": "x" ,"repository":{"full_name":"a/b"}}"#);
        assert_eq!((push.kind.as_str(), push.subject.as_deref(), push.version), ("push", Some("a/b"), None));
        assert_eq!(push.data.bytes(), br#"{ "ref": "x" ,"repository":{"full_name":"a/b"}}"#);
        assert_eq!(one("membership", r#"{"action":"added"}"#).subject, None);
    }

    #[test]
    fn a_form_is_opened() {
        let Reading::Events(events) =
            read("push", "application/x-www-form-urlencoded", "payload=%7B%22ref%22%3A+%22x%22%7D").unwrap()
        else {
            panic!("events")
        };
        assert_eq!(events[0].data.bytes(), br#"{"ref": "x"}"#);
        assert!(read("push", "application/x-www-form-urlencoded", "a=b").is_err());
    }

    #[test]
    fn a_ping_is_answered() {
        assert!(matches!(read("ping", "application/json", "{}"), Ok(Reading::Answer(_, "a ping of GitHub"))));
    }
}
