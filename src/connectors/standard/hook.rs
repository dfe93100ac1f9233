//! Reads Standard Webhooks. Source: standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::connectors::signature::{TOLERANCE, standard};
use crate::connectors::verify::{both, secrets};
use crate::connectors::webhook::attributes::Attributes;
use crate::connectors::{Hook, HookRequest, Reading, Refusal, reading};
use crate::event::NewEvent;
use crate::settings::{Fault, Settings};

/// Reads Standard Webhooks.
#[derive(Debug)]
pub struct Standard {
    secrets: Vec<SecretString>,
    /// In seconds.
    tolerance: u64,
    attributes: Option<Attributes>,
}

impl Standard {
    /// Builds it; `zone` is for times that bear none.
    ///
    /// # Errors
    /// A secret that is no key, a template that does not compile.
    pub fn build(settings: &Settings<'_>, zone: &TimeZone) -> Result<Self, Vec<Fault>> {
        let tolerance = settings.duration("tolerance").map_or(TOLERANCE, |tolerance| tolerance.as_secs());
        let (secrets, attributes) = both(keys(settings), Attributes::build(settings, zone))?;
        Ok(Self { secrets, tolerance, attributes })
    }
}

fn keys(settings: &Settings<'_>) -> Result<Vec<SecretString>, Vec<Fault>> {
    let secrets = secrets(settings, "secrets")?;
    let nodes = settings.get("secrets").map(crate::settings::Node::items).unwrap_or_default();
    let wrong = |(secret, node): (&SecretString, &crate::settings::Node)| {
        standard::check_key(secret).err().map(|e| Fault::new(node.spot, e.to_string()))
    };
    let faults: Vec<Fault> = secrets.iter().zip(nodes).filter_map(wrong).collect();
    if faults.is_empty() { Ok(secrets) } else { Err(faults) }
}

impl Hook for Standard {
    fn verify(&self, request: &HookRequest<'_>, now: Timestamp) -> Result<(), Refusal> {
        standard::verify(&self.secrets, request.headers, request.body, now, self.tolerance)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        let [id, time, _] = standard::names(request.headers);
        let (data, body) = reading::payload(request)?;
        let kind = body["type"].as_str().or_else(|| body["event_type"].as_str()).unwrap_or("received");
        let mut event = NewEvent::new(kind, data);
        event.id = reading::text(request.headers, id).map(str::to_owned);
        event.time = reading::instant(&body["timestamp"], &TimeZone::UTC)
            .or_else(|| reading::text(request.headers, time).and_then(reading::epoch));
        if let Some(attributes) = &self.attributes {
            attributes.fill(&mut event, &reading::carried(request.headers, &[], request.path_secret), &body, None)?;
        }
        Ok(Reading::Events(vec![event]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use serde_json::json;

    fn build(secrets: &serde_json::Value) -> Result<Standard, Vec<Fault>> {
        let node = crate::settings::Node::from(&json!({ "secrets": secrets }));
        Standard::build(&Settings::new(&node, super::super::FIELDS), &TimeZone::UTC)
    }

    fn read(prefix: &str, body: &str) -> NewEvent {
        let pairs = [
            (format!("{prefix}-id"), "m-1"),
            (format!("{prefix}-timestamp"), "1767225600"),
            (format!("{prefix}-signature"), "v1,x"),
        ];
        let headers: HeaderMap = pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let (method, body) = (Method::POST, Bytes::copy_from_slice(body.as_bytes()));
        let request = HookRequest { method: &method, headers: &headers, query: "", path_secret: None, body: &body };
        match build(&json!("whsec_b2xk")).unwrap().read(&request).unwrap() {
            Reading::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn id_and_time_are_those_that_were_signed() {
        for prefix in ["webhook", "svix"] {
            let event = read(prefix, r#"{"data":{}}"#);
            assert_eq!((event.id.as_deref(), event.kind.as_str()), (Some("m-1"), "received"));
            assert_eq!(event.time.unwrap().to_string(), "2026-01-01T00:00:00Z");
            assert!(!event.body_repeats);
        }
        let typed = read("webhook", r#"{"type":"user.created","timestamp":"2025-01-01T00:00:00Z"}"#);
        assert_eq!(
            (typed.kind.as_str(), typed.time.unwrap().to_string().as_str()),
            ("user.created", "2025-01-01T00:00:00Z")
        );
        assert_eq!(read("webhook", r#"{"event_type":"ping"}"#).kind, "ping");
    }

    #[test]
    fn a_secret_that_is_no_key_stops_the_start() {
        let faults = build(&json!(["whsec_b2xk", "hunter 2"])).unwrap_err();
        insta::assert_snapshot!(faults[0].message, @"a Standard Webhooks secret is `whsec_` and base64, or base64 alone");
        assert!(build(&json!([])).is_err());
    }
}
