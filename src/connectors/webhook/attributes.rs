//! The `event:` key: templates over `headers` and `body` that say what an event's attributes are.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::connectors::{Refusal, reading};
use crate::event::{NewEvent, Version};
use crate::settings::{Fault, Field, Kind, Need, Settings};
use crate::template::{Context, Escape, Rendered, Tables, Template};

/// The `event` key of a source.
pub const EVENT: Field = Field {
    name: "event",
    kind: Kind::Object(FIELDS),
    need: Need::Optional,
    doc: "Where in the request the event's attributes are: templates over `headers` (lower-case names, without \
          credentials) and `body`. What may be missing needs `| default(omit)`.",
};

const FIELDS: &[Field] = &[
    template("id", "The sender's id of the event: what comes twice under one id is one event."),
    template("type", "What happened, as `order.paid`: letters, digits, `.`, `_` and `-`."),
    template("subject", "What it happened to, the same in all events of it: an order's number."),
    template("version", "A number or an RFC 3339 time that grows with each change of the subject."),
    template("time", "When it happened: RFC 3339, a time in the config's zone, or seconds since 1970."),
];

const fn template(name: &'static str, doc: &'static str) -> Field {
    Field { name, kind: Kind::Template, need: Need::Optional, doc }
}

/// The compiled `event` key.
#[derive(Debug)]
pub struct Attributes {
    id: Option<Template>,
    /// True if the id is the same for all items of a request: it does not look into the body.
    id_of_request: bool,
    kind: Option<Template>,
    subject: Option<Template>,
    version: Option<Template>,
    time: Option<Template>,
    zone: TimeZone,
}

impl Attributes {
    /// Compiles the `event` key of a source; `zone` is for times that bear none.
    ///
    /// # Errors
    /// A fault for each template that does not compile.
    pub fn build(source: &Settings<'_>, zone: &TimeZone) -> Result<Option<Self>, Vec<Fault>> {
        let Some(settings) = source.object(EVENT.name, FIELDS) else { return Ok(None) };
        let mut faults = Vec::new();
        let mut read = |key| {
            compiled(&settings, key).unwrap_or_else(|fault| {
                faults.push(fault);
                None
            })
        };
        let attributes = Self {
            id: read("id"),
            id_of_request: !looks_into_body(settings.text("id").unwrap_or_default()),
            kind: read("type"),
            subject: read("subject"),
            version: read("version"),
            time: read("time"),
            zone: zone.clone(),
        };
        if faults.is_empty() { Ok(Some(attributes)) } else { Err(faults) }
    }

    /// Fills in what the templates say about `event`; `body` is what they see under that name. `index` is the item's place where the request has several: an id
    /// that all of them share gets it as a suffix.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] that names the attribute.
    pub fn fill(
        &self,
        event: &mut NewEvent,
        headers: &BTreeMap<String, String>,
        body: &Value,
        index: Option<usize>,
    ) -> Result<(), Refusal> {
        let context = context(headers, body);
        if let Some(id) = text("id", self.id.as_ref(), &context)? {
            event.id = Some(match index {
                Some(index) if self.id_of_request => format!("{id}/{index}"),
                _ => id,
            });
        }
        if let Some(kind) = text("type", self.kind.as_ref(), &context)? {
            event.kind = kind;
        }
        if let Some(subject) = text("subject", self.subject.as_ref(), &context)? {
            event.subject = Some(subject);
        }
        if let Some(version) = text("version", self.version.as_ref(), &context)? {
            event.version = Some(Version::parse(&version).map_err(|e| Refusal::Malformed(e.to_string()))?);
        }
        if let Some(time) = text("time", self.time.as_ref(), &context)? {
            event.time = Some(self.instant(&time)?);
        }
        Ok(())
    }

    fn instant(&self, text: &str) -> Result<Timestamp, Refusal> {
        reading::instant(&Value::String(text.to_owned()), &self.zone).ok_or_else(|| {
            let start: String = text.chars().take(64).collect();
            Refusal::Malformed(format!("event.time: {start:?} is no time"))
        })
    }
}

/// True if a template names `body` outside of its quotes.
fn looks_into_body(template: &str) -> bool {
    template.split(['\'', '"']).step_by(2).any(|code| code.contains("body"))
}

/// What the templates of a request see.
#[must_use]
pub fn context(headers: &BTreeMap<String, String>, body: &Value) -> Context {
    let mut context = Context::new(Arc::new(Tables::default()));
    let headers = headers.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    context.set("headers", &Value::Object(headers));
    context.set("body", body);
    context
}

/// Compiles the template under a key.
///
/// # Errors
/// A fault at the template.
pub fn compiled(settings: &Settings<'_>, key: &str) -> Result<Option<Template>, Fault> {
    let Some(source) = settings.text(key) else { return Ok(None) };
    let template = Template::compile(source).and_then(|template| template.check_names(SEEN).map(|()| template));
    let template = template.map_err(|e| Fault::new(settings.spot(key), e.message))?;
    match template.tables().first() {
        Some((name, _)) => Err(Fault::new(
            settings.spot(key),
            format!("table `{name}`: tables serve routes, not the reading of requests"),
        )),
        None => Ok(Some(template)),
    }
}

/// The names in [`context`].
const SEEN: &[&str] = &["headers", "body"];

fn text(name: &str, template: Option<&Template>, context: &Context) -> Result<Option<String>, Refusal> {
    let Some(template) = template else { return Ok(None) };
    let rendered =
        template.render(context, Escape::None).map_err(|e| Refusal::Malformed(format!("event.{name}: {e}")))?;
    match rendered {
        Rendered::Omit | Rendered::Value(Value::Null) => Ok(None),
        Rendered::Value(Value::String(text)) => Ok(Some(text)),
        Rendered::Value(Value::Number(number)) => Ok(Some(number.to_string())),
        Rendered::Value(Value::Bool(yes)) => Ok(Some(yes.to_string())),
        Rendered::Value(_) => Err(Refusal::Malformed(format!("event.{name}: expected text or a number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_the_body_is_told_from_one_of_the_request() {
        assert!(looks_into_body("{{ body['id'] }}"));
        assert!(looks_into_body("{{ headers['x-id'] }}-{{ body.id }}"));
        assert!(!looks_into_body("{{ headers['x-body-id'] }}"));
        assert!(!looks_into_body(""));
    }
}
