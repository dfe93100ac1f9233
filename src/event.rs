//! The event: one thing that happened at a source, as it travels from intake to sink.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::clock::Clock;

pub mod trace;

/// The longest `id`, in bytes: what fits a message id and a routing key of AMQP.
pub const MAX_ID: usize = 255;
/// The longest `subject`, in bytes.
pub const MAX_SUBJECT: usize = 512;
/// The longest `type`, in bytes.
pub const MAX_TYPE: usize = 128;

/// The attributes of an event, as it is stored and as a fixture may have them.
const ATTRIBUTES: [&str; 13] = [
    "id",
    "source",
    "type",
    "subject",
    "time",
    "version",
    "received",
    "collapse",
    "generation",
    "forced",
    "unfetched",
    "headers",
    "data",
];

/// A CloudEvents 1.0 record with the two things that ordering needs: `version` and `received`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The sender's id, or one derived from the content; unique within `source`.
    pub id: String,
    /// The source's name in the config.
    pub source: String,
    /// What happened, as `response.created`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it happened to: stable across the events of one form response, task, order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, by the source's word; else when it was received.
    pub time: Timestamp,
    /// The ordering token of the subject, where the source has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The order of receipt.
    pub received: Received,
    /// By what else than its id a repetition of this event is known.
    #[serde(default)]
    pub collapse: Collapse,
    /// Which round of a replay this is; 0 is the first time. A higher round is not a repetition of a lower one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// True: a person wants it applied although something newer was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// True: its subject is still to be read anew at the vendor. It is in its source's inbox, and no route sees it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfetched: bool,
    /// Request headers by lower-case name, without credentials.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What the sender sent.
    pub data: Payload,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The order of receipt: a hybrid clock that never goes back, with the id of the process that read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Received {
    /// Milliseconds since 1970 in the upper 48 bits, a counter in the lower 16. Fits an `i64` until the year 6429.
    pub clock: u64,
    /// Tells apart equal readings of two processes.
    pub process: u16,
}

impl Received {
    /// Before every receipt: that of a link by which nothing was applied yet, so that no event is older.
    pub const BEFORE_ALL: Self = Self { clock: 0, process: 0 };

    /// How many of the lower bits of `clock` count events within a millisecond.
    pub const COUNTER_BITS: u32 = 16;

    /// The time of receipt, to the millisecond.
    #[must_use]
    pub fn at(self) -> Timestamp {
        let ms = i64::try_from(self.clock >> Self::COUNTER_BITS).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
    }
}

/// The ordering token of a subject. An integer and an instant have no order between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// A revision number.
    Integer(i64),
    /// A time of change.
    Instant(Timestamp),
}

impl Version {
    /// Reads a revision number or an RFC 3339 instant.
    ///
    /// # Errors
    /// [`Malformed::Version`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Integer(number));
        }
        text.parse().map(Self::Instant).map_err(|_| Malformed::Version(text.chars().take(64).collect()))
    }

    /// Which of two versions is newer; `None` if they cannot be compared, and then the order of receipt counts.
    #[must_use]
    pub fn order(self, other: Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            (Self::Instant(a), Self::Instant(b)) => Some(a.cmp(&b)),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Instant(at) => at.fmt(f),
        }
    }
}

/// By what else than its id a repetition of an event is known (promise P2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Collapse {
    /// Only by its id, for the whole `dedupe` window.
    #[default]
    Id,
    /// By its id or by its body: the sender's signature covers neither id nor time, so a captured request could come
    /// back under a new id.
    IdOrBody,
    /// Only by its body, for 24 hours: the sender gave neither id nor subject.
    BodyForADay,
}

/// What the sender sent, byte for byte.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// JSON text. `1.10` stays `1.10`, and an integer of 23 digits stays itself.
    Json(Box<RawValue>),
    /// `application/x-www-form-urlencoded` text.
    Form(String),
}

impl fmt::Debug for Payload {
    // Payloads hold people's data; logs print events with `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes().len())
    }
}

impl Payload {
    /// Reads JSON text, keeping it byte for byte.
    ///
    /// # Errors
    /// [`Malformed::Json`] with the place of the first error.
    pub fn json(text: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice::<Box<RawValue>>(text).map(Self::Json).map_err(|e| Malformed::Json(e.to_string()))
    }

    /// Writes a value that the connector itself made.
    #[must_use]
    pub fn from_value(value: &serde_json::Value) -> Self {
        match serde_json::value::to_raw_value(value) {
            Ok(raw) => Self::Json(raw),
            Err(_) => Self::Json(RawValue::NULL.to_owned()),
        }
    }

    /// The bytes as they were sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Json(raw) => raw.get().as_bytes(),
            Self::Form(text) => text.as_bytes(),
        }
    }

    /// The media type of [`Payload::bytes`].
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Form(_) => "application/x-www-form-urlencoded",
        }
    }

    /// The content as a value: a form becomes an object, a name that occurs more than once a list.
    #[must_use]
    pub fn value(&self) -> serde_json::Value {
        match self {
            Self::Json(raw) => serde_json::from_str(raw.get()).unwrap_or_default(),
            Self::Form(text) => form_value(text),
        }
    }

    fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.bytes()))
    }
}

fn form_value(text: &str) -> serde_json::Value {
    use serde_json::Value;
    let mut object = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let value = Value::String(value.into_owned());
        match object.get_mut(name.as_ref()) {
            None => {
                object.insert(name.into_owned(), value);
            }
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(object)
}

/// What a hook or a poller read, before it is checked, named and stamped.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The sender's id, if it gave one.
    pub id: Option<String>,
    /// The event's `type`.
    pub kind: String,
    /// The event's subject, if it has one.
    pub subject: Option<String>,
    /// When it happened; `None`: now.
    pub time: Option<Timestamp>,
    /// The ordering token.
    pub version: Option<Version>,
    /// True if the sender's signature covers neither id nor time.
    pub body_repeats: bool,
    /// Request headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// What was sent.
    pub data: Payload,
}

impl NewEvent {
    /// An event of a type with a payload and nothing else known.
    #[must_use]
    pub fn new(kind: impl Into<String>, data: Payload) -> Self {
        Self {
            id: None,
            kind: kind.into(),
            subject: None,
            time: None,
            version: None,
            body_repeats: false,
            headers: BTreeMap::new(),
            data,
        }
    }

    /// Reads an event written by hand: `type` and `data` at the least; `id`, `subject`, `time`, `version`, `headers`.
    ///
    /// # Errors
    /// What is missing or does not fit, in words.
    pub fn from_fixture(fixture: &serde_json::Value) -> Result<Self, String> {
        let object = fixture.as_object().ok_or("an event is an object with at least `type` and `data`")?;
        if let Some(odd) = object.keys().find(|key| !ATTRIBUTES.contains(&key.as_str())) {
            return Err(format!("an event has no {odd:?}; it has {}", ATTRIBUTES.join(", ")));
        }
        let text = |key: &str| match object.get(key) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(serde_json::Value::String(text)) => Ok(Some(text.clone())),
            Some(serde_json::Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(format!("{key:?} is to be text")),
        };
        let kind = text("type")?.ok_or("the event has no \"type\"")?;
        let data = object.get("data").ok_or("the event has no \"data\"")?;
        // As events are stored: `{"json": …}` or `{"form": "…"}`; else the payload itself.
        let data = match data.as_object().filter(|o| o.len() == 1).and_then(|o| o.iter().next()) {
            Some((key, inner)) if key == "json" => Payload::from_value(inner),
            Some((key, serde_json::Value::String(form))) if key == "form" => Payload::Form(form.clone()),
            _ => Payload::from_value(data),
        };
        let mut new = Self::new(kind, data);
        new.id = text("id")?;
        new.subject = text("subject")?;
        new.time = match text("time")? {
            Some(time) => Some(time.parse().map_err(|_| format!("\"time\": {time:?} is no RFC 3339 instant"))?),
            None => None,
        };
        new.version = match object.get("version") {
            Some(serde_json::Value::Object(_)) => {
                serde_json::from_value(object["version"].clone()).map_err(|e| format!("\"version\": {e}"))?
            }
            _ => text("version")?.map(|v| Version::parse(&v)).transpose().map_err(|e| e.to_string())?,
        };
        if let Some(headers) = object.get("headers").and_then(serde_json::Value::as_object) {
            let pairs = headers.iter().filter_map(|(k, v)| Some((k.to_lowercase(), v.as_str()?.to_owned())));
            new.headers = pairs.collect();
        }
        Ok(new)
    }

    /// Checks the attributes, derives the id where the sender gave none (promise P2), and stamps the receipt.
    ///
    /// # Errors
    /// [`Malformed`] names the attribute that no event may have.
    pub fn stamp(self, source: &str, clock: &Clock) -> Result<Event, Malformed> {
        check_type(&self.kind)?;
        check_text("id", self.id.as_deref(), MAX_ID)?;
        check_text("subject", self.subject.as_deref(), MAX_SUBJECT)?;
        let (id, collapse) = match (self.id, &self.subject) {
            (Some(id), _) if self.body_repeats => (id, Collapse::IdOrBody),
            (Some(id), _) => (id, Collapse::Id),
            (None, Some(subject)) => {
                let id = derived_id(&self.kind, subject, self.version, &self.data);
                // The type may come from a header that nobody signed, and an id left out is as good as a new one.
                (id, if self.body_repeats { Collapse::IdOrBody } else { Collapse::Id })
            }
            (None, None) => (format!("body-{}", self.data.hash()), Collapse::BodyForADay),
        };
        let received = clock.stamp();
        Ok(Event {
            id,
            source: source.to_owned(),
            kind: self.kind,
            subject: self.subject,
            time: self.time.unwrap_or_else(|| received.at()),
            version: self.version,
            received,
            collapse,
            generation: 0,
            forced: false,
            unfetched: false,
            headers: self.headers,
            data: self.data,
        })
    }
}

fn derived_id(kind: &str, subject: &str, version: Option<Version>, data: &Payload) -> String {
    let mut hash = Sha256::new();
    // Lengths keep ("a", "bc") and ("ab", "c") apart.
    for part in [kind, subject, &version.map(|v| v.to_string()).unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(data.bytes());
    format!("content-{}", hex::encode(hash.finalize()))
}

fn check_type(kind: &str) -> Result<(), Malformed> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if kind.is_empty() || kind.len() > MAX_TYPE || !kind.chars().all(fits) {
        return Err(Malformed::Type(kind.chars().take(64).collect()));
    }
    Ok(())
}

fn check_text(what: &'static str, text: Option<&str>, max: usize) -> Result<(), Malformed> {
    match text {
        Some("") => Err(Malformed::Empty(what)),
        Some(text) if text.len() > max => Err(Malformed::Long { what, bytes: text.len(), max }),
        Some(text) if text.chars().any(char::is_control) => Err(Malformed::Control(what)),
        _ => Ok(()),
    }
}

impl Event {
    /// The key by which a repetition of this event is known within a route.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.source, self.id)
    }

    /// A second key by which a repetition is known, where the id alone is not enough.
    #[must_use]
    pub fn body_key(&self) -> Option<String> {
        // One without id and subject is known by its body alone; it may repeat one that came with an id.
        (self.collapse != Collapse::Id).then(|| format!("{}/body-{}", self.source, self.data.hash()))
    }

    /// What state this event belongs to: its source and subject, or itself if it has no subject.
    #[must_use]
    pub fn subject_key(&self) -> String {
        self.subject_key_as(&self.source)
    }

    /// [`Event::subject_key`] where the event's source goes by this name now.
    #[must_use]
    pub fn subject_key_as(&self, source: &str) -> String {
        match &self.subject {
            Some(subject) => format!("{source}/{subject}"),
            None => format!("{source}//{}", self.id),
        }
    }

    /// True if this event says that its subject is no more.
    #[must_use]
    pub fn is_deletion(&self) -> bool {
        self.kind.ends_with(".deleted")
    }
}

/// Why something cannot be an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body is no JSON.
    #[error("the body is not JSON: {0}")]
    Json(String),
    /// The type does not fit.
    #[error("the type {0:?} does not fit [A-Za-z0-9._-]{{1,128}}")]
    Type(String),
    /// The version is neither an integer nor an instant.
    #[error("the version {0:?} is neither an integer nor an RFC 3339 instant with a zone")]
    Version(String),
    /// An attribute is there but empty.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// An attribute has a control character in it.
    #[error("the {0} contains a control character")]
    Control(&'static str),
    /// An attribute is too long.
    #[error("the {what} has {bytes} bytes, at most {max} are allowed")]
    Long {
        /// The attribute.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest that is allowed.
        max: usize,
    },
}

#[cfg(test)]
mod tests;
