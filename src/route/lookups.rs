//! What a route reads from vendors before it makes a record, and what it asks them for.

use serde_json::{Map, Value};

use super::in_words;
use crate::config::{CaseConfig, LookupConfig, RouteConfig};
use crate::outcome::Verb;
use crate::template::mapping::Mapping;
use crate::template::{Context, Escape};

/// What a route's lookups found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looked {
    /// The records by the lookups' names.
    pub found: Map<String, Value>,
    /// The lookups that found nothing and may.
    pub omitted: Vec<String>,
}

impl Looked {
    /// Adds what a lookup found.
    pub fn add(&mut self, name: &str, record: Option<Value>) {
        match record {
            Some(record) => _ = self.found.insert(name.to_owned(), record),
            None => self.omitted.push(name.to_owned()),
        }
    }

    /// Lets templates see it.
    pub fn put(&self, context: &mut Context) {
        if !self.found.is_empty() || !self.omitted.is_empty() {
            context.set_lookups(&Value::Object(self.found.clone()), self.omitted.iter().cloned());
        }
    }
}

/// The lookups that a case needs for a verb, by their place in the route: a deletion needs only the link, and what its
/// request names.
#[must_use]
pub fn needed(route: &RouteConfig, case: &CaseConfig, verb: Verb) -> Vec<usize> {
    let of_request = case.request.get(verb.name()).map(|request| request.path.lookups()).unwrap_or_default();
    let maps = [Some(&case.map), route.matching.as_ref()];
    let mapped = maps.into_iter().flatten().filter(|_| verb != Verb::Delete).flat_map(Mapping::lookups);
    let names: Vec<&str> =
        of_request.iter().map(|(name, _)| name.as_str()).chain(mapped.map(|(name, _)| name.as_str())).collect();
    let wanted = |(_, lookup): &(usize, &LookupConfig)| names.contains(&lookup.name.as_str());
    route.lookups.iter().enumerate().filter(wanted).map(|(at, _)| at).collect()
}

/// The values that a vendor is asked for: of a lookup, or of a route's `match`.
///
/// # Errors
/// What of them cannot be rendered, each beginning with `what`; or that there are none.
pub fn values(what: &str, mapping: &Mapping, context: &Context) -> Result<Map<String, Value>, String> {
    let values = mapping.render(context, Escape::None).map_err(|errors| format!("{what}.{}", in_words(&errors)))?;
    if values.is_empty() { Err(format!("{what}: all of its values are left out")) } else { Ok(values) }
}

/// The record that a lookup means; `None` if there is none and none is needed.
///
/// # Errors
/// That nothing was found, or more than one.
pub fn chosen(lookup: &LookupConfig, mut records: Vec<Value>) -> Result<Option<Value>, String> {
    match records.len() {
        1 => Ok(records.pop()),
        _ if lookup.omit => Ok(None),
        0 => Err(format!("lookup.{}: nothing was found", lookup.name)),
        several => Err(format!("lookup.{}: {several} were found, which is no answer", lookup.name)),
    }
}
