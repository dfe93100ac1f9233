//! Reads Stripe's webhooks. Source: docs.stripe.com/api/events and docs.stripe.com/api/v2/core/events.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::connectors::signature::{TOLERANCE, stripe};
use crate::connectors::{Hook, HookRequest, Reading, Refusal, reading, verify};
use crate::event::{NewEvent, Version};
use crate::settings::{Fault, Settings};

/// Reads the webhooks of Stripe.
#[derive(Debug)]
pub struct Stripe {
    secrets: Vec<SecretString>,
    /// In seconds.
    tolerance: u64,
}

impl Stripe {
    /// Builds it.
    ///
    /// # Errors
    /// No secret, or an empty one.
    pub fn build(settings: &Settings<'_>) -> Result<Self, Vec<Fault>> {
        let tolerance = settings.duration("tolerance").map_or(TOLERANCE, |tolerance| tolerance.as_secs());
        Ok(Self { secrets: verify::secrets(settings, "secrets")?, tolerance })
    }
}

impl Hook for Stripe {
    fn verify(&self, request: &HookRequest<'_>, now: Timestamp) -> Result<(), Refusal> {
        stripe::verify(&self.secrets, request.headers, request.body, now, self.tolerance)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        let (data, body) = reading::payload(request)?;
        let (Some(id), Some(kind)) = (reading::id(&body["id"]), body["type"].as_str()) else {
            return Err(Refusal::Malformed("this is no event of Stripe: id or type is missing".to_owned()));
        };
        let mut event = NewEvent::new(kind, data);
        event.id = Some(id);
        // A snapshot holds the object, a thin event only names it; some objects, as a balance, have no id.
        event.subject =
            reading::id(&body["data"]["object"]["id"]).or_else(|| reading::id(&body["related_object"]["id"]));
        event.time = reading::instant(&body["created"], &TimeZone::UTC);
        // Stripe promises no order of delivery, and a snapshot shows its object as of `created`.
        event.version = event.time.map(Version::Instant);
        Ok(Reading::Events(vec![event]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    fn read(body: &str) -> Result<Reading, Refusal> {
        let (method, headers, body) = (Method::POST, HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()));
        let request = HookRequest { method: &method, headers: &headers, query: "", path_secret: None, body: &body };
        Stripe { secrets: Vec::new(), tolerance: TOLERANCE }.read(&request)
    }

    fn one(body: &str) -> NewEvent {
        match read(body).unwrap() {
            Reading::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_samples_are_events_of_their_objects() {
        for doc in super::super::EVENTS {
            let event = one(doc.sample);
            assert_eq!(event.kind, doc.kind);
            assert!(event.id.unwrap().starts_with("evt_"));
            assert!(event.subject.is_some());
            assert_eq!(event.version.unwrap().to_string(), "2026-01-01T00:00:00Z");
            assert!(!event.body_repeats, "id and time are signed");
        }
    }

    #[test]
    fn a_thin_event_names_its_object() {
        let event = one(
            r#"{"id":"evt_9","object":"v2.core.event","type":"v2.core.account.updated","created":"2026-01-01T00:00:00.5Z","related_object":{"id":"acct_1","type":"v2.core.account"}}"#,
        );
        assert_eq!(event.subject.as_deref(), Some("acct_1"));
        assert_eq!(event.time.unwrap().to_string(), "2026-01-01T00:00:00.5Z");
    }

    #[test]
    fn what_is_no_event_is_refused() {
        insta::assert_snapshot!(read(r#"{"id":7}"#).unwrap_err(), @"this is no event of Stripe: id or type is missing");
        assert!(read("[]").is_err());
    }
}
