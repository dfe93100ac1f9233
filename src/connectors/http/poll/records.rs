//! The records in an answer, and what the config's templates say of them.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::CURSOR;
use crate::connectors::http::endpoint::{SEEN, template};
use crate::connectors::snapshot::{self, Item};
use crate::connectors::{Answer, PollError, reading};
use crate::event::Version;
use crate::settings::{Fault, Settings};
use crate::template::{Context, Escape, Rendered, Tables, Template};

/// The name that templates over a record see.
const OVER_ITEM: &[&str] = &["item"];
/// The names that a cursor may be over: of a record, or of the whole answer.
const OVER_EITHER: &[&str] = &["item", "status", "headers", "body"];

/// A record.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it is known by.
    pub key: String,
    /// Of all that it shows.
    pub hash: String,
    /// As the API shows it.
    pub value: Value,
    /// Its version.
    pub version: Option<Version>,
    /// Its cursor.
    pub mark: Option<Mark>,
}

impl Record {
    /// When it changed, as far as it says.
    pub fn at(&self) -> Option<Timestamp> {
        let of_version = match self.version {
            Some(Version::Instant(at)) => Some(at),
            _ => None,
        };
        of_version.or_else(|| match self.mark.as_ref()?.version {
            Version::Instant(at) => Some(at),
            Version::Integer(_) => None,
        })
    }

    /// For a comparison with what is remembered.
    pub fn into_item(self) -> Item<Self> {
        Item { key: self.key.clone(), hash: self.hash.clone(), value: self }
    }
}

/// A cursor as a record has it.
#[derive(Clone, Debug)]
pub struct Mark {
    /// As the API wrote it.
    pub text: String,
    /// What it means.
    pub version: Version,
    /// The zone of times that bear none.
    pub zone: TimeZone,
}

impl Mark {
    /// Reads a number or a time.
    pub fn read(text: &str, zone: &TimeZone) -> Option<Self> {
        let version = version(text, zone)?;
        Some(Self { text: text.to_owned(), version, zone: zone.clone() })
    }

    /// True if it is greater.
    pub fn is_after(&self, other: &Self) -> bool {
        self.version.order(other.version) == Some(Ordering::Greater)
    }
}

/// A whole number stays one; a time without a zone is in `zone`.
fn version(text: &str, zone: &TimeZone) -> Option<Version> {
    if let Ok(number) = text.parse() {
        return Some(Version::Integer(number));
    }
    reading::instant(&Value::from(text), zone).map(Version::Instant)
}

/// What reads the records.
pub struct Reader {
    items: Option<Template>,
    id: Template,
    version: Option<Template>,
    /// Over each record.
    mark: Option<Template>,
    /// Over the whole answer.
    said: Option<Template>,
    overlap: SignedDuration,
    zone: TimeZone,
}

impl Reader {
    /// Compiles it; `None` if something is wrong, which is among the faults then.
    pub fn new(settings: Settings<'_>, zone: TimeZone, faults: &mut Vec<Fault>) -> Option<Self> {
        let items = template(settings, "items", SEEN, faults);
        let id = template(settings, "id", OVER_ITEM, faults);
        let version = template(settings, "version", OVER_ITEM, faults);
        let cursor = settings.object("cursor", CURSOR);
        let value = cursor.and_then(|cursor| template(cursor, "value", OVER_EITHER, faults));
        let over = |names| value.as_ref().is_none_or(|value: &Template| value.check_names(names).is_ok());
        if !over(SEEN) && !over(OVER_ITEM) {
            let why = "it is either over `item`, or over `body`, `headers` and `status`";
            faults.push(Fault::new(cursor.unwrap_or(settings).spot("value"), why));
        }
        let (said, mark): (Vec<_>, Vec<_>) = value.into_iter().partition(|value| value.check_names(SEEN).is_ok());
        let overlap = cursor.and_then(|cursor| cursor.duration("overlap")).unwrap_or_default();
        Some(Self {
            items,
            id: id?,
            version,
            mark: mark.into_iter().next(),
            said: said.into_iter().next(),
            overlap: SignedDuration::try_from(overlap).unwrap_or(SignedDuration::MAX),
            zone,
        })
    }

    /// The records of an answer, and the cursor that it says for all of them. `seen` is the answer as templates see it.
    pub fn read(&self, answer: &Answer, seen: &Context) -> Result<(Vec<Record>, Option<String>), PollError> {
        let records = self.list(answer, seen)?;
        let records = records.into_iter().enumerate().map(|(index, value)| {
            self.record(value).map_err(|why| PollError::stop(format!("record {}: {why}", index + 1)))
        });
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let said =
            self.said.as_ref().map(|said| text("cursor.value", said, seen)).transpose().map_err(PollError::stop)?;
        Ok((records, said.flatten()))
    }

    fn list(&self, answer: &Answer, seen: &Context) -> Result<Vec<Value>, PollError> {
        let found = match &self.items {
            None => answer.json().unwrap_or_default(),
            Some(items) => match items.render(seen, Escape::None) {
                Ok(Rendered::Value(found)) => found,
                Ok(Rendered::Omit) => Value::Null,
                Err(error) => {
                    return Err(PollError::stop(format!("`items`: {error}; the answer: {}", answer.summary())));
                }
            },
        };
        match found {
            Value::Array(items) => Ok(items),
            Value::Null if self.items.is_some() => Ok(Vec::new()),
            _ => {
                let hint = if self.items.is_some() { "" } else { ": say with `items` where in the body it is" };
                Err(PollError::stop(format!("`items`: expected a list{hint}; the answer: {}", answer.summary())))
            }
        }
    }

    fn record(&self, value: Value) -> Result<Record, String> {
        let mut context = Context::new(Arc::new(Tables::default()));
        context.set("item", &value);
        let key = text("id", &self.id, &context)?.filter(|key| !key.is_empty()).ok_or("`id` came out empty")?;
        let as_version = |name: &str, text: String| {
            version(&text, &self.zone).ok_or_else(|| {
                let start: String = text.chars().take(64).collect();
                format!("`{name}`: expected a whole number or a time, found {start:?}")
            })
        };
        let version =
            match self.version.as_ref().map(|version| text("version", version, &context)).transpose()?.flatten() {
                Some(text) => Some(as_version("version", text)?),
                None => None,
            };
        let mark = match self.mark.as_ref().map(|mark| text("cursor.value", mark, &context)).transpose()?.flatten() {
            Some(text) => {
                let version = as_version("cursor.value", text.clone())?;
                Some(Mark { text, version, zone: self.zone.clone() })
            }
            None => None,
        };
        Ok(Record { key, hash: snapshot::hash(&value), value, version, mark })
    }

    /// What the next pass asks with, after this cursor.
    pub fn from(&self, newest: String) -> String {
        match version(&newest, &self.zone) {
            Some(Version::Instant(at)) if self.mark.is_some() && !self.overlap.is_zero() => {
                at.saturating_sub(self.overlap).map_or(newest, |at| at.to_string())
            }
            _ => newest,
        }
    }
}

/// What a template comes to as text; `None` for nothing.
pub fn text(name: &str, template: &Template, context: &Context) -> Result<Option<String>, String> {
    match template.render(context, Escape::None) {
        Ok(Rendered::Omit | Rendered::Value(Value::Null)) => Ok(None),
        Ok(Rendered::Value(Value::String(text))) => Ok(Some(text)),
        Ok(Rendered::Value(Value::Number(number))) => Ok(Some(number.to_string())),
        Ok(Rendered::Value(_)) => Err(format!("`{name}`: expected text or a number")),
        Err(error) => Err(format!("`{name}`: {error}")),
    }
}
