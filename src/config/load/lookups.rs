//! The `lookup` of a route: what it reads from vendors.

use std::collections::BTreeMap;

use super::{Known, Loader, without};
use crate::config::build::asked;
use crate::config::fields;
use crate::config::model::{AccountConfig, LookupConfig, SinkConfig};
use crate::config::suggest::{did_you_mean, shown};
use crate::connectors::LookupKind;
use crate::settings::{Fault, Key, Node, NodeValue, Settings};
use crate::template::mapping::Mapping;

/// What a lookup may ask.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub accounts: &'a BTreeMap<String, AccountConfig>,
    pub sinks: &'a [SinkConfig],
}

impl Loader<'_> {
    /// The lookups of a route, in the order of the file.
    pub(super) fn lookups(&mut self, node: Node, known: &Known, places: Places<'_>) -> Vec<LookupConfig> {
        if !matches!(node.value, NodeValue::Map(_) | NodeValue::Null) {
            self.checker.fault(&node, format!("`lookup`: expected a mapping by name, found {}", node.kind()));
        }
        let NodeValue::Map(entries) = node.value else { return Vec::new() };
        entries.into_iter().filter_map(|(key, node)| self.lookup(&key, node, known, places)).collect()
    }

    fn lookup(&mut self, key: &Key, mut node: Node, known: &Known, places: Places<'_>) -> Option<LookupConfig> {
        let before = self.count();
        if !is_word(&key.name) {
            let message = format!("`{}` is no name of a lookup; expected letters, digits and `_`", shown(&key.name));
            self.checker.faults.push(Fault::new(key.spot, message));
        }
        let what = format!("lookup `{}`", key.name);
        let Some(named) = node.get("account") else {
            self.checker.object(&mut node, &[fields::LOOKUP], &what);
            return None;
        };
        let (named, account) = (named.clone(), named.text().unwrap_or_default().to_owned());
        let kind = self.lookup_kind(&named, &account, places)?;
        self.checker.object(&mut node, &[fields::LOOKUP, kind.fields], &what);
        let common = Settings::new(&node, fields::LOOKUP);
        let wanted = common.get("match").and_then(|node| Mapping::compile(node).ok());
        if let Some(wanted) = &wanted {
            // They are read beside each other.
            self.mapped(wanted, known, &[]);
        }
        let (cache, omit) = (common.duration("cache"), common.text("missing") == Some("omit"));
        if self.count() > before {
            return None;
        }
        let node = without(node, &[fields::LOOKUP], kind.fields);
        let name = key.name.clone();
        let lookup = LookupConfig { name, account, kind, node, wanted: wanted?, cache: cache?, omit };
        // Where its account is broken there is nothing to build on.
        if let Some((account, zone)) = asked(&lookup.account, places.accounts, places.sinks, &self.zone)
            && let Err(faults) = self.workshop().lookup(&lookup, account, zone)
        {
            self.checker.faults.extend(faults);
        }
        Some(lookup)
    }

    /// What can be asked by this name; a fault there if nothing can.
    fn lookup_kind(&mut self, node: &Node, name: &str, places: Places<'_>) -> Option<&'static LookupKind> {
        let vendor = self.checker.accounts.get(name).copied();
        let sink = places.sinks.iter().find(|sink| sink.name == name && sink.manifest.account.is_none());
        let manifest = match (vendor, sink) {
            (Some(vendor), _) => self.manifests.iter().find(|manifest| manifest.name == vendor).copied()?,
            (None, Some(sink)) => sink.manifest,
            (None, None) => {
                let own = places.sinks.iter().filter(|sink| sink.manifest.account.is_none()).map(|sink| &sink.name);
                let names: Vec<String> = self.checker.accounts.keys().chain(own).cloned().collect();
                let hint = did_you_mean(name, names.iter().map(String::as_str));
                self.checker.fault(node, format!("there is no account `{name}`{hint}"));
                return None;
            }
        };
        self.checker.used.insert(name.to_owned());
        if manifest.lookup.is_none() {
            self.checker.fault(node, format!("`{}` has nothing that can be looked up", manifest.name));
        }
        manifest.lookup.as_ref()
    }
}

/// True for what can stand after `lookup.` in a template.
fn is_word(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c == '_' || c.is_alphabetic()) && letters.all(|c| c == '_' || c.is_alphanumeric())
}
