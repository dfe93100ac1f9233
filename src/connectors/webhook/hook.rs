//! Reads a webhook by what its config says.

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

    fn event(&self, data: Payload, request: &HookRequest<'_>, index: Option<usize>) -> Result<NewEvent, Refusal> {
        let mut event = NewEvent::new("received", data);
        event.body_repeats = self.verify.body_repeats();
        if let Some(attributes) = &self.attributes {
            attributes.fill(&mut event, &reading::carried(request.headers, &self.secret_headers()), index)?;
        }
        Ok(event)
    }

    fn items(&self, payload: &Payload, request: &HookRequest<'_>) -> Result<Option<Vec<Payload>>, Refusal> {
        match &self.items {
            None => reading::items(payload),
            Some(Items::Path(path)) => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let items = reading::items_at(payload, &path)?;
                items.map(Some).ok_or_else(|| no_list(&path.join(".")))
            }
            Some(Items::Template(template)) => {
                let context = context(&reading::carried(request.headers, &self.secret_headers()), payload);
                match template.render(&context, Escape::None) {
                    Ok(Rendered::Value(Value::Array(items))) => {
                        reading::within(items.len())?;
                        Ok(Some(items.iter().map(Payload::from_value).collect()))
                    }
                    Ok(_) => Err(no_list("items")),
                    Err(e) => Err(Refusal::Malformed(format!("items: {e}"))),
                }
            }
        }
    }
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
        let payload = reading::payload(request)?;
        let events = match self.items(&payload, request)? {
            None => vec![self.event(payload, request, None)?],
            Some(items) => {
                let numbered = items.into_iter().enumerate();
                numbered.map(|(n, item)| self.event(item, request, Some(n))).collect::<Result<_, _>>()?
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
