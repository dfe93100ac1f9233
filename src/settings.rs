//! Located values of the config file, and how a part of the program says which it takes.
//!
//! A connector declares its keys as a list of [`Field`]s. The same list checks a config (every error at once, with
//! its place), makes the JSON Schema and feeds `dari describe`. After the check, [`Settings`] reads the values.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

/// A place in the config file: line and column, both from 1, columns counted in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// Something wrong at a place in the config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub spot: Spot,
    /// What is wrong and what was expected, as one sentence without a full stop. Never holds a secret.
    pub message: String,
}

impl Fault {
    /// A fault at a place.
    #[must_use]
    pub fn new(spot: Spot, message: impl Into<String>) -> Self {
        Self { spot, message: message.into() }
    }
}

/// A value of the config file with its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it starts.
    pub spot: Spot,
    /// What it is.
    pub value: NodeValue,
}

/// What a [`Node`] holds.
#[derive(Clone, PartialEq, Eq)]
pub enum NodeValue {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`, and nothing else: `yes` is text.
    Boolean(bool),
    /// A number as it was written.
    Number(String),
    /// Text, after interpolation where that applies.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Where it starts.
    pub spot: Spot,
}

impl fmt::Debug for Node {
    // Values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.kind(), self.spot.line, self.spot.column)
    }
}

impl Node {
    /// What it is, in words: `text`, `a mapping`, …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::Null => "nothing",
            NodeValue::Boolean(_) => "true or false",
            NodeValue::Number(_) => "a number",
            NodeValue::Text(_) => "text",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a mapping",
        }
    }

    /// The value under a key of a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.name == key).map(|(_, node)| node)
    }

    /// The entries of a mapping; none if it is no mapping.
    #[must_use]
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            NodeValue::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; a single value is a list of itself, nothing is empty.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        match &self.value {
            NodeValue::List(items) => items,
            NodeValue::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// True if both hold the same, wherever they stand.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (NodeValue::List(mine), NodeValue::List(others)) => {
                mine.len() == others.len() && mine.iter().zip(others).all(|(mine, other)| mine.same(other))
            }
            (NodeValue::Map(mine), NodeValue::Map(others)) => {
                let pairs = mine.iter().zip(others);
                mine.len() == others.len() && pairs.into_iter().all(|((a, x), (b, y))| a.name == b.name && x.same(y))
            }
            (mine, other) => mine == other,
        }
    }

    /// Text, or a number or boolean as it was written.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) | NodeValue::Number(text) => Some(text),
            NodeValue::Boolean(true) => Some("true"),
            NodeValue::Boolean(false) => Some("false"),
            _ => None,
        }
    }
}

impl From<&serde_json::Value> for Node {
    /// A value without a place: for what was never in a file, as in the tests of connectors.
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        let value = match value {
            Value::Null => NodeValue::Null,
            Value::Bool(yes) => NodeValue::Boolean(*yes),
            Value::Number(number) => NodeValue::Number(number.to_string()),
            Value::String(text) => NodeValue::Text(text.clone()),
            Value::Array(items) => NodeValue::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => {
                let key = |name: &String| Key { name: name.clone(), spot: Spot::default() };
                NodeValue::Map(entries.iter().map(|(name, value)| (key(name), Self::from(value))).collect())
            }
        };
        Self { spot: Spot::default(), value }
    }
}

/// A key that some part of the config takes.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
    /// What it does, in a sentence for the user's editor.
    pub doc: &'static str,
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// It may be missing, and then nothing is assumed.
    Optional,
    /// It may be missing, and then this is assumed (as it would be written in the file).
    Default(&'static str),
    /// It is known but does not work yet: its use is an error that says this.
    NotYet(&'static str),
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text; a number is taken as it was written.
    Text,
    /// Text that is never shown.
    Secret,
    /// `true` or `false`.
    Boolean,
    /// A whole number within bounds.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A number within bounds, with or without a fraction.
    Number {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// A length of time: `500ms`, `5s`, `1m`, `2h`, `35d`.
    Duration,
    /// A number of bytes: `512KiB`, `1MiB`, `1GiB`.
    Size,
    /// An absolute `http` or `https` URL.
    Url,
    /// A path; a relative one starts at the config's folder.
    Path,
    /// The name of a time zone, as `Asia/Seoul`.
    Zone,
    /// A socket address, as `127.0.0.1:8081`.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A template, compiled at check time; no interpolation.
    Template,
    /// An expression, compiled at check time; no interpolation.
    Expression,
    /// A tree of templates as under `map`; no interpolation.
    Mapping,
    /// The name of a configured account of this connector.
    Account(&'static str),
    /// A list of these; a single one may stand without brackets.
    List(&'static Kind),
    /// A mapping with free keys and values of this kind.
    Map(&'static Kind),
    /// A mapping with these keys.
    Object(&'static [Field]),
    /// A mapping with exactly one key, which says what its value is.
    OneOf(&'static [Field]),
    /// A value of the first of these kinds that fits.
    Either(&'static [Kind]),
    /// Anything.
    Any,
}

impl Kind {
    /// What a value may be, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Secret => "secret".into(),
            Self::Boolean => "true or false".into(),
            Self::Integer { min, max } => format!("whole number from {min} to {max}"),
            Self::Number { min, max } => format!("number from {min} to {max}"),
            Self::Duration => "duration".into(),
            Self::Size => "size".into(),
            Self::Url => "URL".into(),
            Self::Path => "path".into(),
            Self::Zone => "time zone".into(),
            Self::Address => "address".into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Template => "template".into(),
            Self::Expression => "expression".into(),
            Self::Mapping => "mapping of templates".into(),
            Self::Account(vendor) => format!("name of a {vendor} account"),
            Self::List(kind) => format!("list of {}", kind.words()),
            Self::Map(kind) => format!("mapping of {}", kind.words()),
            Self::Object(_) => "mapping".into(),
            Self::OneOf(_) => "one of these".into(),
            Self::Either(kinds) => kinds.iter().map(Self::words).collect::<Vec<_>>().join(" or "),
            Self::Any => "anything".into(),
        }
    }
}

/// Reads the values of a checked mapping. A getter gives `None` where the key is missing (or, which the check has
/// ruled out, does not fit).
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    node: &'a Node,
    fields: &'static [Field],
}

impl<'a> Settings<'a> {
    /// Reads `node`, which was checked against `fields`.
    #[must_use]
    pub fn new(node: &'a Node, fields: &'static [Field]) -> Self {
        Self { node, fields }
    }

    /// The mapping itself.
    #[must_use]
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        debug_assert!(self.fields.iter().any(|f| f.name == key), "{key} is read but not declared");
        self.node.get(key)
    }

    /// The place of a key's value, or of the mapping where the key is missing.
    #[must_use]
    pub fn spot(&self, key: &str) -> Spot {
        self.node.get(key).unwrap_or(self.node).spot
    }

    /// Text, or the declared default.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Node::text).or_else(|| self.default(key))
    }

    /// A secret.
    #[must_use]
    pub fn secret(&self, key: &str) -> Option<SecretString> {
        self.text(key).map(SecretString::from)
    }

    /// A list of secrets; a single one is a list of one.
    #[must_use]
    pub fn secrets(&self, key: &str) -> Vec<SecretString> {
        self.texts(key).into_iter().map(SecretString::from).collect()
    }

    /// A list of texts; a single one is a list of one, a missing key an empty list.
    #[must_use]
    pub fn texts(&self, key: &str) -> Vec<&'a str> {
        self.get(key).map(|node| node.items().iter().filter_map(Node::text).collect()).unwrap_or_default()
    }

    /// `true` or `false`; missing is the declared default or `false`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.text(key) == Some("true")
    }

    /// A whole number.
    #[must_use]
    pub fn integer(&self, key: &str) -> Option<i64> {
        self.text(key).and_then(|text| text.parse().ok())
    }

    /// A number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        self.text(key).and_then(|text| text.parse().ok())
    }

    /// A length of time.
    #[must_use]
    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.text(key).and_then(parse_duration)
    }

    /// A number of bytes.
    #[must_use]
    pub fn size(&self, key: &str) -> Option<u64> {
        self.text(key).and_then(parse_size)
    }

    /// A mapping under a key, with the fields it was checked against.
    #[must_use]
    pub fn object(&self, key: &str, fields: &'static [Field]) -> Option<Settings<'a>> {
        self.get(key).filter(|node| matches!(node.value, NodeValue::Map(_))).map(|node| Settings::new(node, fields))
    }

    fn default(&self, key: &str) -> Option<&'static str> {
        self.fields.iter().find(|f| f.name == key).and_then(|f| match f.need {
            Need::Default(text) => Some(text),
            _ => None,
        })
    }
}

/// Reads `500ms`, `5s`, `1m`, `2h`, `35d`: a whole number and one unit.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

/// Reads `100B`, `512KiB`, `1MiB`, `1GiB`, or a bare number of bytes.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    Some((number.parse().ok()?, unit.trim()))
}

/// Reads an RFC 3339 instant, or a date as its first moment in `zone`.
#[must_use]
pub fn parse_instant(text: &str, zone: &jiff::tz::TimeZone) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    text.parse::<jiff::civil::Date>().ok()?.to_zoned(zone.clone()).ok().map(|z| z.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_one_unit() {
        assert_eq!(parse_duration("35d"), Some(Duration::from_hours(35 * 24)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for wrong in ["", "5", "5 weeks", "-1s", "1h30m", "99999999999999999999d", "213503982335d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        assert_eq!(parse_size("1MiB"), Some(1_048_576));
        assert_eq!(parse_size("1MB"), None);
    }

    #[test]
    fn debug_shows_no_value() {
        let node = Node { spot: Spot { line: 1, column: 2 }, value: NodeValue::Text("hunter2".into()) };
        assert_eq!(format!("{node:?}"), "text at 1:2");
    }
}
