//! Reads Worksection's webhooks: a JSON array of what `get_events` of its API shows. Source: worksection.com/en/faq/webhooks.html.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use super::client::Api;
use super::fetch::Again;
use super::item::{self, About};
use super::registrar;
use crate::connectors::signature::credentials;
use crate::connectors::{
    Build, EventDoc, Fetch, Hook, HookAnswer, HookRequest, Reading, Refusal, SourceKind, SourceRole, reading, verify,
};
use crate::event::{NewEvent, Payload};
use crate::settings::{Fault, Field, Kind, Need};

/// The source.
pub const KIND: SourceKind =
    SourceKind { name: "worksection-hook", fields: FIELDS, events: EVENTS, build, registrar: Some(registrar::build) };

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("worksection"),
        need: Need::Optional,
        doc: "The account the webhooks come from; its `time_zone` is that of their times. `fetch` and `dari hooks register` need its keys.",
    },
    verify::USERS,
    Field {
        name: "fetch",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "Reads the task, comment or project again with the account first: what a request says is then only a hint that something happened, and `data` is that of the source `worksection`. A call for each event, of one a second.",
    },
    Field {
        name: "events",
        kind: Kind::List(&Kind::Choice(registrar::EVENTS)),
        need: Need::Optional,
        doc: "What `dari hooks register` asks to be told of; all that Worksection's page names if missing.",
    },
    Field {
        name: "projects",
        kind: Kind::List(&Kind::Text),
        need: Need::Optional,
        doc: "For `dari hooks register`: ids of the projects that count; all if missing.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "task.created",
        about: "A task was posted.",
        sample: r#"{"action":"post","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:16","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"},"new":{"title":"Offer"}}"#,
    },
    EventDoc {
        kind: "task.updated",
        about: "A task was changed: `old` and `new` hold what differs.",
        sample: r#"{"action":"update","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:17","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"},"new":{"priority":"5"},"old":{"priority":"1"}}"#,
    },
    EventDoc {
        kind: "task.closed",
        about: "A task was completed.",
        sample: r#"{"action":"close","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:18","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"}}"#,
    },
    EventDoc {
        kind: "task.reopened",
        about: "A completed task was opened again.",
        sample: r#"{"action":"reopen","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:19","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"}}"#,
    },
    EventDoc {
        kind: "task.deleted",
        about: "A task was deleted.",
        sample: r#"{"action":"delete","object":{"type":"task","id":"1512","page":"/project/26/1512/"},"date_added":"2026-01-02 10:20","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"}}"#,
    },
    EventDoc {
        kind: "comment.created",
        about: "Someone commented; likewise `comment.updated` and `comment.deleted`.",
        sample: r#"{"action":"post","object":{"type":"comment","id":"777","page":"/project/26/1512/#com777"},"date_added":"2026-01-02 10:21","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"},"new":{"text":"Sent"}}"#,
    },
    EventDoc {
        kind: "project.created",
        about: "A project was made; likewise `project.updated`.",
        sample: r#"{"action":"post","object":{"type":"project","id":"26","page":"/project/26/"},"date_added":"2026-01-02 10:22","user_from":{"id":"9","email":"kim@acme.kr","name":"김하나"},"new":{"title":"Shop"}}"#,
    },
];

/// Reads the webhooks of Worksection.
struct Worksection {
    users: Vec<(String, SecretString)>,
    zone: TimeZone,
    fetch: Option<Arc<Again>>,
}

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let settings = &build.settings;
    let users = verify::users(settings)?;
    let api = settings.flag("fetch").then(|| Api::of(build)).transpose().map_err(|why| {
        vec![Fault::new(settings.spot("fetch"), format!("to read what a webhook is about again the source {why}"))]
    })?;
    let fetch = api.map(|api| Arc::new(Again { api }));
    Ok(SourceRole::Hook(Box::new(Worksection { users, zone: build.zone.clone(), fetch })))
}

impl Worksection {
    fn event(&self, item: Payload) -> Result<NewEvent, Refusal> {
        let body = item.value();
        let about = About::read(&body).ok_or_else(|| {
            Refusal::Malformed("this is no event of Worksection: action, object.type or object.id is missing".into())
        })?;
        let mut event = NewEvent::new(about.kind.clone(), item);
        // It sends no id: the whole item names the event.
        event.subject = Some(about.subject());
        // No version: a minute without a zone goes back when clocks do, and the order of receipt does not.
        event.time = item::time(&body, &self.zone);
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

    fn fetch(&self) -> Option<Arc<dyn Fetch>> {
        self.fetch.clone().map(|again| again as Arc<dyn Fetch>)
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
        let users = vec![("dari".into(), "secret".into())];
        Worksection { users, zone: TimeZone::get("Asia/Seoul").unwrap(), fetch: None }
    }

    fn read(body: &str) -> Result<Reading, Refusal> {
        let (method, headers, body) = (Method::POST, HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()));
        hook().read(&HookRequest { method: &method, headers: &headers, query: "", path_secret: None, body: &body })
    }

    #[test]
    fn the_samples_have_the_types_they_document() {
        for doc in EVENTS {
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
