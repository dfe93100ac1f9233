//! Reads Shopify's webhooks. Source: shopify.dev/docs/api/webhooks.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::connectors::signature::keyed::Keyed;
use crate::connectors::{Hook, HookRequest, Reading, Refusal, reading};
use crate::event::{NewEvent, Version};

/// Reads the webhooks of Shopify.
#[derive(Debug)]
pub struct Shopify {
    keyed: Keyed,
}

impl Shopify {
    /// With the secrets of the app.
    #[must_use]
    pub fn new(secrets: Vec<SecretString>) -> Self {
        Self { keyed: Keyed::shopify(secrets) }
    }
}

impl Hook for Shopify {
    fn verify(&self, request: &HookRequest<'_>, now: Timestamp) -> Result<(), Refusal> {
        self.keyed.verify(request.headers, request.body, now)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        let header = |name| reading::text(request.headers, name);
        let Some(topic) = header("x-shopify-topic") else {
            return Err(Refusal::Malformed("the header x-shopify-topic is missing".to_owned()));
        };
        let (data, body) = reading::payload(request)?;
        let mut event = NewEvent::new(kind(topic), data);
        // Not x-shopify-event-id: two topics about one action of the merchant share it.
        event.id = header("x-shopify-webhook-id").map(str::to_owned);
        let resource = topic.split_once('/').map_or(topic, |(resource, _)| resource);
        event.subject = reading::id(&body["id"]).map(|id| format!("{resource}/{id}"));
        event.time = header("x-shopify-triggered-at").and_then(|text| text.parse().ok());
        if event.subject.is_some() {
            event.version = reading::instant(&body["updated_at"], &TimeZone::UTC).map(Version::Instant);
        }
        // Shopify signs the body alone: neither the id nor the time.
        event.body_repeats = true;
        Ok(Reading::Events(vec![event]))
    }
}

fn kind(topic: &str) -> String {
    match topic.strip_suffix("/delete") {
        Some(resource) => format!("{}.deleted", resource.replace('/', ".")),
        None => topic.replace('/', "."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    fn read(topic: &str, body: &str) -> NewEvent {
        let pairs = [
            ("x-shopify-topic", topic),
            ("x-shopify-webhook-id", "w-1"),
            ("x-shopify-event-id", "e-1"),
            ("x-shopify-triggered-at", "2026-01-01T00:00:01.5Z"),
        ];
        let headers: HeaderMap = pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let (method, body) = (Method::POST, Bytes::copy_from_slice(body.as_bytes()));
        let request = HookRequest { method: &method, headers: &headers, query: "", path_secret: None, body: &body };
        match Shopify::new(Vec::new()).read(&request).unwrap() {
            Reading::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_topic_is_the_type_and_the_resource_the_subject() {
        let order = read("orders/create", super::super::EVENTS[0].sample);
        assert_eq!(
            (order.kind.as_str(), order.subject.as_deref()),
            ("orders.create", Some("orders/820982911946154508"))
        );
        assert_eq!(order.version.unwrap().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(order.time.unwrap().to_string(), "2026-01-01T00:00:01.5Z");
        assert_eq!((order.id.as_deref(), order.body_repeats), (Some("w-1"), true));
        let gone = read("products/delete", super::super::EVENTS[2].sample);
        assert_eq!((gone.kind.as_str(), gone.version), ("products.deleted", None));
        let app = read("app/uninstalled", "{}");
        assert_eq!((app.kind.as_str(), app.subject), ("app.uninstalled", None));
    }

    #[test]
    fn the_topic_is_needed() {
        let (method, headers, body) = (Method::POST, HeaderMap::new(), Bytes::from_static(b"{}"));
        let request = HookRequest { method: &method, headers: &headers, query: "", path_secret: None, body: &body };
        let refused = Shopify::new(Vec::new()).read(&request).unwrap_err();
        insta::assert_snapshot!(refused, @"the header x-shopify-topic is missing");
    }
}
