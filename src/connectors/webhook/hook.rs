//! Reads a webhook by what its config says.

use std::collections::BTreeMap;

use http::HeaderName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::attributes::{Attributes, compiled, context};
use crate::connectors::verify::{Verify, both};
use crate::connectors::{Hook, HookRequest, Reading, Refusal, reading};
use crate::event::{NewEvent, Payload};
use crate::settings::{Fault, Settings};
use crate::template::{Escape, Rendered, Template};

/// A webhook from anything.
#[derive(Debug)]
pub struct Webhook {
    verify: Verify,
    attributes: Option<Attributes>,
    items: Option<Items>,
}

/// Where the items are.
#[derive(Debug)]
enum Items {
    /// Under a path of keys: `{{ body.a.b }}`. Read without the template, so that each item keeps its bytes.
    Path(Vec<String>),
    /// What a template comes to.
    Template(Template),
}

impl Webhook {
    /// Builds it; `zone` is for times that bear none.
    ///
    /// # Errors
    /// What the fields alone cannot say.
    pub fn build(settings: &Settings<'_>, zone: &TimeZone) -> Result<Self, Vec<Fault>> {
        let verify = match settings.get("verify") {
            Some(node) => Verify::build(node),
            None => Err(vec![Fault::new(settings.node().spot, "`verify` is missing")]),
        };
        let items = match settings.text("items").and_then(path) {
            Some(path) => Ok(Some(Items::Path(path))),
            None => compiled(settings, "items").map(|t| t.map(Items::Template)).map_err(|fault| vec![fault]),
        };
        let attributes = Attributes::build(settings, zone);
        let (verify, (attributes, items)) = both(verify, both(attributes, items))?;
        Ok(Self { verify, attributes, items })
    }

    fn event(&self, data: Payload, item: Item<'_>) -> Result<NewEvent, Refusal> {
        let mut event = NewEvent::new("received", data);
        event.body_repeats = self.verify.body_repeats();
        if let Some(attributes) = &self.attributes {
            attributes.fill(&mut event, item.headers, item.body, item.index)?;
        }
        Ok(event)
    }

    /// The items of a request; `None` if it is itself the only one.
    fn items(&self, payload: &Payload, whole: Item<'_>) -> Result<Option<Vec<Payload>>, Refusal> {
        match &self.items {
            None => reading::items(payload),
            Some(Items::Path(path)) => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let items = reading::items_at(payload, &path)?;
                items.map(Some).ok_or_else(|| no_list(&format!("body.{}", path.join("."))))
            }
            Some(Items::Template(template)) => {
                match template.render(&context(whole.headers, whole.body), Escape::None) {
                    Ok(Rendered::Value(Value::Array(items))) => {
                        reading::within(items.len())?;
                        Ok(Some(items.iter().map(Payload::from_value).collect()))
                    }
                    Ok(_) => Err(no_list("what `items` says")),
                    Err(e) => Err(Refusal::Malformed(format!("items: {e}"))),
                }
            }
        }
    }
}

/// What the templates see of a request, or of one item of it.
#[derive(Clone, Copy)]
struct Item<'a> {
    headers: &'a BTreeMap<String, String>,
    body: &'a Value,
    index: Option<usize>,
}

impl Hook for Webhook {
    fn secret_headers(&self) -> Vec<HeaderName> {
        self.verify.header().into_iter().collect()
    }

    fn unverified(&self) -> bool {
        matches!(self.verify, Verify::None)
    }

    fn verify(&self, request: &HookRequest<'_>, now: Timestamp) -> Result<(), Refusal> {
        self.verify.check(request, now)
    }

    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal> {
        let (payload, body) = reading::payload(request)?;
        let headers = reading::carried(request.headers, &self.secret_headers(), request.path_secret);
        let whole = Item { headers: &headers, body: &body, index: None };
        let events = match self.items(&payload, whole)? {
            None => vec![self.event(payload, whole)?],
            Some(items) => {
                let numbered = items.into_iter().enumerate();
                let event = |(n, data): (usize, Payload)| {
                    let body = data.value();
                    self.event(data, Item { body: &body, index: Some(n), ..whole })
                };
                numbered.map(event).collect::<Result<_, _>>()?
            }
        };
        Ok(Reading::Events(events))
    }
}

fn no_list(place: &str) -> Refusal {
    Refusal::Malformed(format!("there is no list of items at {place}"))
}

/// The keys of `{{ body.a.b }}`; `None` for any other template.
fn path(template: &str) -> Option<Vec<String>> {
    let inner = template.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim().strip_prefix("body.")?;
    let fits = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_');
    inner.split('.').map(|key| fits(key).then(|| key.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::webhook::MANIFEST;
    use crate::event::Version;
    use crate::settings::Node;
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use serde_json::json;

    fn build(keys: &Value) -> Result<Webhook, Vec<Fault>> {
        let node = Node::from(keys);
        let seoul = TimeZone::get("Asia/Seoul").unwrap();
        Webhook::build(&Settings::new(&node, MANIFEST.sources[0].fields), &seoul)
    }

    fn read(keys: &Value, media: &str, body: &str) -> Result<Vec<NewEvent>, Refusal> {
        let pairs = [("content-type", media), ("x-delivery", "d-1"), ("x-secret", "s")];
        let headers: HeaderMap = pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let (method, body) = (Method::POST, Bytes::copy_from_slice(body.as_bytes()));
        let request = HookRequest { method: &method, headers: &headers, query: "", path_secret: None, body: &body };
        match build(keys).unwrap().read(&request)? {
            Reading::Events(events) => Ok(events),
            Reading::Answer(..) => panic!("an event"),
        }
    }

    fn ids(events: &[NewEvent]) -> Vec<&str> {
        events.iter().map(|event| event.id.as_deref().unwrap_or("none")).collect()
    }

    #[test]
    fn templates_say_where_the_attributes_are() {
        let keys = json!({"verify": "none", "event": {
            "id": "{{ headers['x-delivery'] }}", "type": "order.{{ body.kind }}", "subject": "{{ body.order.id }}",
            "version": "{{ body.order.rev }}", "time": "{{ body.at }}",
        }});
        let body = r#"{"kind":"paid","order":{"id":12345678901234567890123,"rev":3},"at":"2026-01-01 09:00"}"#;
        let event = read(&keys, "application/json", body).unwrap().remove(0);
        assert_eq!((event.id.as_deref(), event.kind.as_str()), (Some("d-1"), "order.paid"));
        assert_eq!(event.subject.as_deref(), Some("12345678901234567890123"), "every digit");
        assert_eq!(event.version, Some(Version::Integer(3)));
        assert_eq!(event.time.unwrap().to_string(), "2026-01-01T00:00:00Z", "in the config's zone");
        let form = read(&keys, "application/x-www-form-urlencoded", "kind=paid");
        insta::assert_snapshot!(form.unwrap_err(), @"event.subject: body.order is missing in `body.order.id`");
    }

    #[test]
    fn what_may_be_missing_says_so() {
        let keys = json!({"verify": "none", "event": { "subject": "{{ body.order | default(omit) }}" }});
        let event = read(&keys, "application/json", "{}").unwrap().remove(0);
        assert_eq!((event.kind.as_str(), event.subject), ("received", None));
        let refused = |event: Value, body| {
            read(&json!({"verify": "none", "event": event}), "application/json", body).unwrap_err().to_string()
        };
        insta::assert_snapshot!(refused(json!({"subject": "{{ body.order }}"}), "{}"), @"event.subject: body.order is missing in `body.order`");
        insta::assert_snapshot!(refused(json!({"subject": "{{ body.order }}"}), r#"{"order":{}}"#), @"event.subject: expected text or a number");
        insta::assert_snapshot!(refused(json!({"version": "{{ body.v }}"}), r#"{"v":"soon"}"#), @r#"the version "soon" is neither an integer nor an RFC 3339 instant with a zone"#);
        insta::assert_snapshot!(refused(json!({"time": "{{ body.t }}"}), r#"{"t":"soon"}"#), @r#"event.time: "soon" is no time"#);
    }

    #[test]
    fn credentials_are_not_there_for_templates() {
        let keys = json!({
            "verify": {"header": {"name": "X-Secret", "values": "s"}},
            "event": {"subject": "{{ headers['x-secret'] | default('gone') }}"},
        });
        assert_eq!(read(&keys, "application/json", "{}").unwrap()[0].subject.as_deref(), Some("gone"));
    }

    #[test]
    fn an_array_is_one_event_an_item() {
        let keys = |id: &str| json!({"verify": "none", "event": {"id": id, "subject": "{{ body.n }}"}});
        let body = r#" [ {"n": 1.10} , {"n":2} ] "#;
        let own = read(&keys("{{ body.n }}"), "application/json", body).unwrap();
        assert_eq!(ids(&own), ["1.10", "2"]);
        assert_eq!(own[0].data.bytes(), br#"{"n": 1.10}"#);
        let shared = read(&keys("{{ headers['x-delivery'] }}"), "application/json", body).unwrap();
        assert_eq!(ids(&shared), ["d-1/0", "d-1/1"], "the request's id is made an item's");
        assert_eq!(shared[1].subject.as_deref(), Some("2"));
        assert!(read(&keys("{{ body.n }}"), "application/json", "[]").unwrap().is_empty());
    }

    #[test]
    fn items_are_found_deeper_down() {
        let body = r#"{"orders": [ {"n": 1.10} , {"n":2} ]}"#;
        let keys = |items: &str| json!({"verify": "none", "items": items, "event": {"subject": "{{ body.n }}"}});
        let plain = read(&keys("{{ body.orders }}"), "application/json", body).unwrap();
        assert_eq!(plain[0].data.bytes(), br#"{"n": 1.10}"#, "byte for byte");
        let filtered = read(&keys("{{ body.orders | list }}"), "application/json", body).unwrap();
        assert_eq!(filtered.len(), 2);
        assert_eq!(filtered[1].subject.as_deref(), Some("2"));
        let missing = read(&keys("{{ body.order }}"), "application/json", body).unwrap_err();
        insta::assert_snapshot!(missing, @"there is no list of items at body.order");
    }

    #[test]
    fn a_signature_without_a_time_lets_the_body_repeat() {
        let hmac = json!({"verify": {"hmac": {"header": "X-Sig", "secrets": "s"}}});
        assert!(read(&hmac, "application/json", "{}").unwrap()[0].body_repeats);
        assert!(!read(&json!({"verify": "none"}), "application/json", "{}").unwrap()[0].body_repeats);
        assert!(build(&json!({"verify": "none"})).unwrap().unverified());
        assert!(!build(&hmac).unwrap().unverified());
    }

    #[test]
    fn faults_are_told_together() {
        let keys =
            json!({"verify": {"path": {"secrets": []}}, "event": {"id": "{{ body. }}", "type": "{{"}, "items": "{% x"});
        assert_eq!(build(&keys).unwrap_err().len(), 4);
        let keys = json!({"verify": "none", "event": {"id": "{{ bdy.id }}"}, "items": "{{ data.x | list }}"});
        let told: Vec<String> = build(&keys).unwrap_err().into_iter().map(|fault| fault.message).collect();
        assert_eq!(
            told,
            ["there is no `bdy` here; there are headers, body", "there is no `data` here; there are headers, body"]
        );
        let keys = json!({"verify": "none", "event": {"id": "{{ body.id | table('a') }}"}});
        assert!(build(&keys).unwrap_err()[0].message.starts_with("table `a`"));
    }

    #[test]
    fn a_plain_path_is_told_from_a_template() {
        assert_eq!(path("{{ body.a.주문 }}"), Some(vec!["a".to_owned(), "주문".to_owned()]));
        for other in [
            "{{ body }}",
            "{{ body.a | list }}",
            "{{ body.a['b'] }}",
            "{{ headers.a }}",
            "x{{ body.a }}",
            "{{ body..a }}",
        ] {
            assert_eq!(path(other), None, "{other}");
        }
    }
}
