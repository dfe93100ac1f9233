//! Reads Worksection's webhooks: a JSON array of what `get_events` of its API shows. Source: worksection.com/en/faq/webhooks.html.

use http::{Method, StatusCode, header};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::connectors::signature::credentials;
use crate::connectors::{Hook, HookAnswer, HookRequest, Reading, Refusal, reading};
use crate::event::{NewEvent, Payload};

/// Reads the webhooks of Worksection.
#[derive(Debug)]
pub struct Worksection {
    users: Vec<(String, SecretString)>,
    zone: TimeZone,
}

impl Worksection {
    /// With the users it may send as, and the zone of its times.
    #[must_use]
    pub fn new(users: Vec<(String, SecretString)>, zone: TimeZone) -> Self {
        Self { users, zone }
    }

    fn event(&self, item: Payload) -> Result<NewEvent, Refusal> {
        let body = item.value();
        let object = &body["object"];
        let (Some(action), Some(what), Some(id)) =
            (body["action"].as_str(), object["type"].as_str(), reading::id(&object["id"]))
        else {
            return Err(Refusal::Malformed(
                "this is no event of Worksection: action, object.type or object.id is missing".into(),
            ));
        };
        let done = match action {
            "post" => "created",
            "update" => "updated",
            "close" => "closed",
            "reopen" => "reopened",
            "delete" => "deleted",
            other => other,
        };
        let mut event = NewEvent::new(format!("{what}.{done}"), item);
        // It sends no id: the whole item names the event.
        event.subject = Some(format!("{what}/{id}"));
        // No version: a minute without a zone goes back when clocks do, and the order of receipt does not.
        event.time = reading::instant(&body["date_added"], &self.zone);
        Ok(event)
    }
}

/// What Worksection must hear: after ten other answers it switches the webhook off.
fn ok() -> HookAnswer {
    HookAnswer { status: StatusCode::OK, content_type: "application/json", body: r#"{"status":"OK"}"#.to_owned() }
}

impl Hook for Worksection {
    fn methods(&self) -> &[Method] {
        const METHODS: &[Method] = &[Method::POST, Method::GET];
        METHODS
    }

    fn verify(&self, request: &HookRequest<'_>, _now: Timestamp) -> Result<(), Refusal> {
        // The documentation does not say whether the probe bears the user; without a body there is nothing to believe.
        if request.body.is_empty() && !request.headers.contains_key(header::AUTHORIZATION) {
            return Ok(());
        }
        credentials::basic(&self.users, request.headers)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        const PROBE: &str = "a probe of Worksection";
        if request.body.is_empty() {
            return Ok(Reading::Answer(ok(), PROBE));
        }
        // Its media type is not documented, and a refusal counts against the webhook.
        let (payload, value) = reading::json(request.body)?;
        let items = match reading::items(&payload)? {
            Some(items) => items,
            None if value["action"].is_null() => Vec::new(),
            None => vec![payload],
        };
        if items.is_empty() {
            return Ok(Reading::Answer(ok(), PROBE));
        }
        items.into_iter().map(|item| self.event(item)).collect::<Result<_, _>>().map(Reading::Events)
    }

    fn accepted(&self) -> Option<HookAnswer> {
        Some(ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    fn hook() -> Worksection {
        Worksection::new(vec![("dari".into(), "secret".into())], TimeZone::get("Asia/Seoul").unwrap())
    }

    fn read(body: &str) -> Result<Reading, Refusal> {
        let (method, headers, body) = (Method::POST, HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()));
        hook().read(&HookRequest { method: &method, headers: &headers, query: "", path_secret: None, body: &body })
    }

    #[test]
    fn the_samples_have_the_types_they_document() {
        for doc in super::super::EVENTS {
            let Reading::Events(events) = read(&format!("[ {} ]", doc.sample)).unwrap() else { panic!("events") };
            assert_eq!((events.len(), events[0].kind.as_str()), (1, doc.kind));
            assert_eq!(events[0].data.bytes(), doc.sample.as_bytes());
        }
    }

    #[test]
    fn each_item_is_an_event_with_its_time_in_the_zone() {
        let body = r#"[{"action":"post","object":{"type":"task","id":7},"date_added":"2021-01-02 10:16"},
                       {"action":"close","object":{"type":"task","id":"7"},"date_added":"2021-01-02 10:16"}]"#;
        let Reading::Events(events) = read(body).unwrap() else { panic!("events") };
        let seen: Vec<_> =
            events.iter().map(|e| (e.kind.as_str(), e.subject.as_deref(), e.time.unwrap().to_string())).collect();
        assert_eq!(
            seen,
            [
                ("task.created", Some("task/7"), "2021-01-02T01:16:00Z".to_owned()),
                ("task.closed", Some("task/7"), "2021-01-02T01:16:00Z".to_owned()),
            ]
        );
        assert!(events.iter().all(|e| e.id.is_none() && e.version.is_none()));
    }

    #[test]
    fn a_probe_is_answered_and_is_no_event() {
        for probe in ["", "[]", "{}", r#"{"test":1}"#] {
            assert!(matches!(read(probe), Ok(Reading::Answer(answer, _)) if answer == ok()), "{probe}");
        }
        assert!(matches!(read("nonsense"), Err(Refusal::Malformed(_))));
        assert!(matches!(read(r#"[{"action":"post"}]"#), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn whatever_could_become_an_event_needs_the_user() {
        let (method, mut headers) = (Method::POST, HeaderMap::new());
        let check = |headers: &HeaderMap, body: &'static str| {
            let body = Bytes::from_static(body.as_bytes());
            let request = HookRequest { method: &method, headers, query: "", path_secret: None, body: &body };
            hook().verify(&request, Timestamp::UNIX_EPOCH)
        };
        assert_eq!(check(&headers, ""), Ok(()));
        assert!(check(&headers, "[]").is_err());
        headers.insert("authorization", "Basic ZGFyaTpzZWNyZXQ=".parse().unwrap());
        assert_eq!(check(&headers, "[]"), Ok(()));
        headers.insert("authorization", "Basic ZGFyaTpzZWNyZXR=".parse().unwrap());
        assert!(check(&headers, "").is_err(), "a wrong user is wrong even without a body");
    }
}
