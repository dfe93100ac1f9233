//! A value of the config against the fields a part of the program declares: every fault at once, and `${…}` replaced
//! where that applies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::interpolate::Surroundings;
use super::suggest::{did_you_mean, nearest, shown, words};
use crate::settings::{Fault, Field, Key, Kind, Need, Node, NodeValue, Spot, parse_duration, parse_size};
use crate::template::mapping::Mapping;
use crate::template::{CompileError, Expression, Template, template_spot};

/// Checks values and collects what is wrong with them.
#[derive(Clone)]
pub(super) struct Checker<'a> {
    /// Where `${…}` comes from.
    pub surroundings: Surroundings<'a>,
    /// The vendor of each account.
    pub accounts: &'a BTreeMap<String, &'static str>,
    /// Accounts that something names.
    pub used: BTreeSet<String>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is worth a word.
    pub warnings: Vec<Fault>,
    /// The values that `${…}` was replaced in, by place: what stood there, and what was put in.
    filled: BTreeMap<Spot, Vec<(String, String)>>,
    /// Where the values stand that are never shown.
    pub secrets: BTreeSet<Spot>,
    /// What is wrong inside templates: the column is the string's plus the offset in its value.
    pub inside: Vec<Fault>,
}

impl<'a> Checker<'a> {
    /// Checks nothing yet.
    pub fn new(surroundings: Surroundings<'a>, accounts: &'a BTreeMap<String, &'static str>) -> Self {
        Self {
            surroundings,
            accounts,
            used: BTreeSet::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
            filled: BTreeMap::new(),
            secrets: BTreeSet::new(),
            inside: Vec::new(),
        }
    }

    /// Puts `${…}` back into a fault's words: what it stands for may be a secret.
    pub fn unfill(&self, fault: &mut Fault) {
        for (value, shown) in self.filled.get(&fault.spot).into_iter().flatten().filter(|(value, _)| value.len() > 2) {
            fault.message = fault.message.replace(value, shown);
        }
    }

    /// A fault at a value.
    pub fn fault(&mut self, node: &Node, message: impl Into<String>) {
        self.faults.push(Fault::new(node.spot, message));
    }

    /// Checks a mapping against lists of fields; the first that knows a key decides. `what` names the mapping in words
    /// if it has a name. `null` is an empty mapping.
    pub fn object(&mut self, node: &mut Node, lists: &[&'static [Field]], what: &str) {
        if node.value == NodeValue::Null {
            node.value = NodeValue::Map(Vec::new());
        }
        let fields: Vec<&'static Field> = lists.iter().copied().flatten().collect();
        if !matches!(node.value, NodeValue::Map(_)) {
            let message = format!("{what}: expected a mapping, found {}", node.kind());
            return self.fault(node, message);
        }
        self.entries(node, &fields, what);
        for field in fields.iter().filter(|field| field.need == Need::Required && node.get(field.name).is_none()) {
            let message = format!("`{}` is missing in {what}; expected {}", field.name, expected(&field.kind));
            self.faults.push(Fault::new(node.spot, message));
        }
    }

    fn entries(&mut self, node: &mut Node, fields: &[&'static Field], what: &str) {
        let NodeValue::Map(entries) = &mut node.value else { return };
        for (key, value) in entries {
            match fields.iter().find(|field| field.name == key.name) {
                Some(Field { need: Need::NotYet(why), .. }) => {
                    self.faults.push(Fault::new(key.spot, format!("`{}` does not work yet: {why}", key.name)));
                }
                Some(field) => self.value(value, &field.kind, field.name),
                None => {
                    let known = fields.iter().filter(|f| !matches!(f.need, Need::NotYet(_))).map(|f| f.name);
                    let hint = did_you_mean(&key.name, known);
                    self.faults
                        .push(Fault::new(key.spot, format!("unknown key `{}` in {what}{hint}", shown(&key.name))));
                }
            }
        }
    }

    /// Checks one value under a key.
    pub fn value(&mut self, node: &mut Node, kind: &Kind, key: &str) {
        if matches!(kind, Kind::Template | Kind::Expression | Kind::Mapping) {
            self.warn_of_variables(node);
        }
        match kind {
            Kind::Any => self.any(node),
            Kind::Template => self.template(node, key),
            Kind::Expression => self.expression(node, key),
            Kind::Mapping => {
                if matches!(node.value, NodeValue::Map(_)) {
                    self.inside.extend(Mapping::compile(node).err().unwrap_or_default());
                } else {
                    self.unfit(node, kind, key);
                }
            }
            Kind::List(kind) => self.list(node, kind, key),
            Kind::Map(kind) => match &mut node.value {
                NodeValue::Map(entries) => entries.iter_mut().for_each(|(k, value)| self.value(value, kind, &k.name)),
                _ => self.unfit(node, &Kind::Map(kind), key),
            },
            Kind::Object(fields) => self.object(node, &[fields], &format!("`{key}`")),
            Kind::OneOf(fields) => self.one_of(node, fields, key),
            Kind::Either(kinds) => self.either(node, kinds, key),
            Kind::Account(vendor) => self.account(node, vendor, key),
            _ => self.scalar(node, kind, key),
        }
    }

    fn any(&mut self, node: &mut Node) {
        match &mut node.value {
            NodeValue::List(items) => items.iter_mut().for_each(|item| self.any(item)),
            NodeValue::Map(entries) => entries.iter_mut().for_each(|(_, value)| self.any(value)),
            _ => {
                self.fill(node, false);
            }
        }
    }

    /// `${…}` in a template is text, which may not be what was meant.
    fn warn_of_variables(&mut self, node: &Node) {
        match &node.value {
            NodeValue::List(items) => items.iter().for_each(|item| self.warn_of_variables(item)),
            NodeValue::Map(entries) => entries.iter().for_each(|(_, value)| self.warn_of_variables(value)),
            NodeValue::Text(text) if text.contains("${") => {
                let message = "`${…}` is not replaced in templates and expressions: it stays as it is";
                self.warnings.push(Fault::new(node.spot, message));
            }
            _ => {}
        }
    }

    fn template(&mut self, node: &Node, key: &str) {
        match node.text().map(Template::compile) {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.inside(node, &error),
            None => self.unfit(node, &Kind::Template, key),
        }
    }

    fn expression(&mut self, node: &Node, key: &str) {
        match node.text().map(Expression::compile) {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.inside(node, &error),
            None => self.unfit(node, &Kind::Expression, key),
        }
    }

    /// A fault within a template, once: one template can be for several things.
    pub fn inside(&mut self, node: &Node, error: &CompileError) {
        let fault = Fault::new(template_spot(node.spot, error.at), error.message.clone());
        if !self.inside.contains(&fault) {
            self.inside.push(fault);
        }
    }

    fn list(&mut self, node: &mut Node, kind: &'static Kind, key: &str) {
        match &mut node.value {
            NodeValue::List(items) if items.is_empty() => {
                self.fault(node, format!("`{key}` is empty; expected at least one"));
            }
            NodeValue::List(items) => items.iter_mut().for_each(|item| self.value(item, kind, key)),
            NodeValue::Null => self.unfit(node, &Kind::List(kind), key),
            _ => self.value(node, kind, key),
        }
    }

    fn one_of(&mut self, node: &mut Node, fields: &'static [Field], key: &str) {
        // `none` for `none: {}`: the word says it all.
        if let NodeValue::Text(word) = &node.value
            && fields.iter().any(|f| f.name == word && matches!(f.kind, Kind::Object(_)))
        {
            let empty = Node { spot: node.spot, value: NodeValue::Map(Vec::new()) };
            let name = Key { name: word.clone(), spot: node.spot };
            node.value = NodeValue::Map(vec![(name, empty)]);
        }
        if node.entries().len() != 1 {
            return self.unfit(node, &Kind::OneOf(fields), key);
        }
        let choices: Vec<&'static Field> = fields.iter().collect();
        self.entries(node, &choices, &format!("`{key}`"));
    }

    fn either(&mut self, node: &mut Node, kinds: &'static [Kind], key: &str) {
        let mut attempts = Vec::new();
        for kind in kinds {
            let mut copy = node.clone();
            let mut attempt = Checker::new(self.surroundings, self.accounts);
            attempt.value(&mut copy, kind, key);
            if attempt.faults.is_empty() && attempt.inside.is_empty() {
                *node = copy;
                self.used.append(&mut attempt.used);
                self.filled.append(&mut attempt.filled);
                self.secrets.append(&mut attempt.secrets);
                self.warnings.append(&mut attempt.warnings);
                return;
            }
            attempts.push((kind, attempt));
        }
        // Of two mappings the one that was nearly written.
        let shaped = attempts.into_iter().filter(|(kind, _)| has_shape(node, kind));
        let nearest = shaped.min_by_key(|(_, attempt)| attempt.faults.len() + attempt.inside.len());
        match nearest {
            Some((_, attempt)) if matches!(node.value, NodeValue::Map(_) | NodeValue::List(_)) => {
                self.faults.extend(attempt.faults);
                self.inside.extend(attempt.inside);
                self.filled.extend(attempt.filled);
            }
            _ => self.unfit(node, &Kind::Either(kinds), key),
        }
    }

    fn account(&mut self, node: &mut Node, vendor: &'static str, key: &str) {
        self.scalar(node, &Kind::Text, key);
        let Some(name) = node.text() else { return };
        match self.accounts.get(name) {
            // Of an unknown vendor: that is a fault of its own.
            Some(of) if *of == vendor || of.is_empty() => {
                self.used.insert(name.to_owned());
            }
            Some(of) => {
                let message = format!("account `{name}` is of `{of}`; expected one of `{vendor}`");
                self.used.insert(name.to_owned());
                self.fault(node, message);
            }
            None => {
                let fitting = self.accounts.iter().filter(|(_, of)| **of == vendor).map(|(name, _)| name.as_str());
                let hint = did_you_mean(name, fitting);
                self.fault(node, format!("there is no account `{name}` of `{vendor}`{hint}"));
            }
        }
    }

    /// Replaces `${…}`; false if that cannot be done.
    fn fill(&mut self, node: &mut Node, is_url: bool) -> bool {
        let NodeValue::Text(text) = &mut node.value else { return true };
        match self.surroundings.fill(text, is_url) {
            Ok(None) => {}
            Ok(Some(filled)) => {
                let whole = (filled.text.clone(), std::mem::replace(text, filled.text));
                self.filled.insert(node.spot, [vec![whole], filled.pieces].concat());
            }
            Err(faults) => {
                self.faults.extend(faults.into_iter().map(|message| Fault::new(node.spot, message)));
                return false;
            }
        }
        true
    }

    fn scalar(&mut self, node: &mut Node, kind: &Kind, key: &str) {
        if matches!(kind, Kind::Secret) {
            self.secrets.insert(node.spot);
        }
        // A broker's URL is a secret; what is filled into its user and password is escaped as in any URL.
        let is_broker = node.text().is_some_and(|text| text.starts_with("amqp://") || text.starts_with("amqps://"));
        if !self.fill(node, is_broker || matches!(kind, Kind::Url)) {
            return;
        }
        let fits = match (kind, &node.value) {
            // A number where text is wanted is taken as written; `true` is most often a slip.
            (Kind::Boolean, NodeValue::Boolean(_)) => true,
            (Kind::Boolean, NodeValue::Text(text)) => {
                self.filled.contains_key(&node.spot) && matches!(text.as_str(), "true" | "false")
            }
            (_, NodeValue::Text(text) | NodeValue::Number(text)) => fits(kind, text),
            _ => false,
        };
        if fits {
            return;
        }
        let may_show = !matches!(kind, Kind::Secret | Kind::Url | Kind::Text);
        let found = match &node.value {
            NodeValue::Text(text) if text.is_empty() => "empty text".to_owned(),
            NodeValue::Text(text) | NodeValue::Number(text) if may_show => format!("`{text}`"),
            _ => node.kind().to_owned(),
        };
        let hint = match kind {
            Kind::Choice(words) => nearest(node.text().unwrap_or_default(), words.iter().copied()),
            _ => None,
        };
        let hint = hint.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
        self.fault(node, format!("`{key}`: expected {}, found {found}{hint}", expected(kind)));
    }

    fn unfit(&mut self, node: &Node, kind: &Kind, key: &str) {
        self.fault(node, format!("`{key}`: expected {}, found {}", expected(kind), node.kind()));
    }
}

fn fits(kind: &Kind, text: &str) -> bool {
    match kind {
        Kind::Secret | Kind::Path => !text.is_empty(),
        Kind::Integer { min, max } => text.parse::<i64>().is_ok_and(|n| n >= *min && n <= *max),
        Kind::Number { min, max } => text.parse::<f64>().is_ok_and(|n| n >= *min && n <= *max),
        Kind::Duration => parse_duration(text).is_some(),
        Kind::Size => parse_size(text).is_some(),
        Kind::Url => url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()),
        Kind::Zone => jiff::tz::TimeZone::get(text).is_ok(),
        Kind::Address => text.parse::<SocketAddr>().is_ok(),
        Kind::Choice(words) => words.contains(&text),
        _ => true,
    }
}

/// True if a value could be of this kind by its shape alone.
fn has_shape(node: &Node, kind: &Kind) -> bool {
    match (kind, &node.value) {
        (Kind::Any, _) | (Kind::List(_), NodeValue::List(_)) => true,
        (Kind::Object(_) | Kind::OneOf(_) | Kind::Map(_) | Kind::Mapping, value) => matches!(value, NodeValue::Map(_)),
        (Kind::List(kind), _) => has_shape(node, kind),
        (Kind::Either(kinds), _) => kinds.iter().any(|kind| has_shape(node, kind)),
        (_, value) => !matches!(value, NodeValue::Map(_) | NodeValue::List(_) | NodeValue::Null),
    }
}

/// What a value may be, in words.
pub(super) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Secret => "a secret as text".to_owned(),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Integer { min, max } if *max == i64::MAX => format!("a whole number from {min}"),
        Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Number { min, max } => format!("a number from {min} to {max}"),
        Kind::Duration => "a length of time, as `500ms`, `5s`, `1m`, `2h` or `35d`".to_owned(),
        Kind::Size => "a size, as `512KiB`, `1MiB` or `1GiB`".to_owned(),
        Kind::Url => "an http or https URL".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Zone => "a time zone, as `Asia/Seoul`".to_owned(),
        Kind::Address => "an address with a port, as `127.0.0.1:8081`".to_owned(),
        Kind::Choice(choices) => words(choices),
        Kind::Template => "a template as text".to_owned(),
        Kind::Expression => "an expression as text".to_owned(),
        Kind::Mapping => "a mapping of templates".to_owned(),
        Kind::Account(vendor) => format!("the name of an account of `{vendor}`"),
        Kind::List(kind) => format!("{} or a list of that", expected(kind)),
        Kind::Map(kind) => format!("a mapping with {} under each key", expected(kind)),
        Kind::Object(_) => "a mapping".to_owned(),
        Kind::OneOf(fields) => {
            let names: Vec<&str> = fields.iter().map(|f| f.name).collect();
            format!("a mapping with exactly one key, {}", words(&names))
        }
        Kind::Either(kinds) => kinds.iter().map(expected).collect::<Vec<_>>().join(", or "),
        Kind::Any => "anything".to_owned(),
    }
}
