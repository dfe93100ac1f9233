//! Accounts, sources and sinks.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::{Known, Loader, links, names, without};
use crate::config::fields;
use crate::config::model::{AccountConfig, RouteConfig, SinkConfig, SourceConfig};
use crate::config::suggest::{did_you_mean, shown};
use crate::connectors::{Limits, Manifest, SinkKind, SourceKind, SourceRole};
use crate::settings::{Fault, Field, Key, Kind, Node, NodeValue, Settings};

/// The vendor of each account, so that references can be checked before the accounts are; empty if it is unknown.
pub(super) fn vendors(root: &Node, manifests: &[&'static Manifest]) -> BTreeMap<String, &'static str> {
    let accounts = root.get("accounts").map(Node::entries).unwrap_or_default();
    let vendor = |node: &Node| {
        let name = node.entries().first().map(|(key, _)| key.name.as_str());
        manifests.iter().find(|m| m.account.is_some() && Some(m.name) == name).map_or("", |m| m.name)
    };
    accounts.iter().map(|(key, node)| (key.name.clone(), vendor(node))).collect()
}

type Accounts = BTreeMap<String, AccountConfig>;

impl Loader<'_> {
    /// What routes and tests may name.
    pub(super) fn known(&self, sources: Option<&Node>, sinks: Option<&Node>, routes: Option<&Node>) -> Known {
        let kind = |node: &Node| {
            let name = node.entries().first().map(|(key, _)| key.name.as_str());
            self.manifests.iter().flat_map(|m| m.sinks).find(|kind| Some(kind.name) == name)
        };
        let entries = sinks.map(Node::entries).unwrap_or_default();
        let all = sources.map(Node::entries).unwrap_or_default().iter();
        let was = |node: &Node| Some(node.entries().first()?.1.get("was")?.text()?.to_owned());
        let lookups = routes.map(Node::entries).unwrap_or_default().iter().flat_map(|(_, route)| {
            let lookups = route.get("lookup").map(Node::entries).unwrap_or_default();
            lookups.iter().map(|(key, _)| format!("lookup.{}", key.name))
        });
        let matching = routes.map(Node::entries).unwrap_or_default().iter().filter_map(|(_, route)| {
            let to = route.get("match").and_then(|_| route.get("to")?.text());
            to.map(|sink| format!("match.{sink}"))
        });
        let former = all.filter_map(|(key, node)| Some((was(node)?, key.name.clone())));
        Known {
            sources: names(sources),
            former: former.collect(),
            sinks: entries.iter().map(|(key, node)| (key.name.clone(), kind(node))).collect(),
            sinks_names: names(sinks),
            answering: names(sinks).into_iter().chain(lookups).chain(matching).collect(),
            routes: names(routes),
            owners: links::owners(routes),
            tables: Vec::new(),
        }
    }

    /// The one entry that says of which kind something is; a fault at the word if there is none such.
    fn chosen<T: Copy>(&mut self, key: &Key, node: Node, what: &str, kinds: &[(&'static str, T)]) -> Option<(T, Node)> {
        let mut entries = match node.value {
            NodeValue::Map(entries) if entries.len() == 1 => entries,
            _ => {
                let known: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
                let example = known.first().copied().unwrap_or("kind");
                let message =
                    format!("{what} `{}`: expected one key that says what it is, as `{example}: {{ … }}`", key.name);
                self.checker.faults.push(Fault::new(node.spot, message));
                return None;
            }
        };
        let (word, node) = entries.pop()?;
        let found = kinds.iter().find(|(name, _)| *name == word.name);
        if found.is_none() {
            let hint = did_you_mean(&word.name, kinds.iter().map(|(name, _)| *name));
            self.checker
                .faults
                .push(Fault::new(word.spot, format!("there is no kind of {what} `{}`{hint}", shown(&word.name))));
        }
        found.map(|(_, kind)| (*kind, node))
    }

    pub(super) fn accounts(&mut self, section: Option<Node>) -> Accounts {
        let kinds: Vec<_> = self.manifests.iter().filter(|m| m.account.is_some()).map(|m| (m.name, *m)).collect();
        let mut accounts = Accounts::new();
        for (key, node) in self.named(section, "accounts") {
            if let Some((manifest, node)) = self.chosen(&key, node, "account", &kinds)
                && let Some(account) = self.account(&key, manifest, node)
            {
                accounts.insert(key.name, account);
            }
        }
        accounts
    }

    fn account(&mut self, key: &Key, manifest: &'static Manifest, mut node: Node) -> Option<AccountConfig> {
        let kind = manifest.account.as_ref()?;
        let before = self.count();
        self.checker.object(&mut node, &[kind.fields, fields::ACCOUNT], &format!("account `{}`", key.name));
        if self.count() > before {
            return None;
        }
        let common = Settings::new(&node, fields::ACCOUNT);
        let url = common.text("url").or(kind.url).unwrap_or_default().trim_end_matches('/').to_owned();
        let limits = limits(common.get("limits"), kind.limits);
        let zone = common.text("time_zone").or(kind.zone).and_then(|name| TimeZone::get(name).ok());
        let zone = zone.unwrap_or_else(|| self.zone.clone());
        let node = without(node, &[fields::ACCOUNT], kind.fields);
        let faults = (kind.check)(&Settings::new(&node, kind.fields));
        if !faults.is_empty() {
            self.checker.faults.extend(faults);
            return None;
        }
        Some(AccountConfig { name: key.name.clone(), manifest, node, url, limits, zone })
    }

    pub(super) fn sources(&mut self, section: Option<Node>, accounts: &Accounts) -> Vec<SourceConfig> {
        let kinds: Vec<_> =
            self.manifests.iter().flat_map(|m| m.sources.iter().map(move |kind| (kind.name, (*m, kind)))).collect();
        let entries = self.named(section, "sources");
        self.check_former(&entries);
        let mut sources = Vec::new();
        for (key, node) in entries {
            if let Some((kind, node)) = self.chosen(&key, node, "source", &kinds) {
                sources.extend(self.source(&key, kind, node, accounts));
            }
        }
        sources
    }

    fn source(
        &mut self,
        key: &Key,
        (manifest, kind): (&'static Manifest, &'static SourceKind),
        mut node: Node,
        accounts: &Accounts,
    ) -> Option<SourceConfig> {
        let before = self.count();
        self.checker.object(&mut node, &[kind.fields, fields::SOURCE], &format!("source `{}`", key.name));
        if self.count() > before {
            return None;
        }
        let common = Settings::new(&node, fields::SOURCE);
        let (was, enabled) = (common.text("was").map(str::to_owned), common.flag("enabled"));
        let account = node.get("account").and_then(Node::text).map(str::to_owned);
        let node = self.placed(without(node, &[fields::SOURCE], kind.fields), kind.fields);
        let source =
            SourceConfig { name: key.name.clone(), spot: key.spot, kind, manifest, node, account, was, enabled };
        let account = source.account.as_deref().map(|name| accounts.get(name));
        // With a broken account there is nothing to build on.
        if !matches!(account, Some(None)) {
            match self.workshop().source(&source, account.flatten()) {
                Ok(SourceRole::Hook(hook)) if hook.unverified() => {
                    let message = format!("anybody can send to source `{}`: its webhooks are not verified", key.name);
                    self.warnings.push(Fault::new(key.spot, message));
                }
                Ok(_) => {}
                Err(faults) => self.checker.faults.extend(faults),
            }
        }
        Some(source)
    }

    /// The paths among the values start at the config's folder.
    fn placed(&self, mut node: Node, fields: &[Field]) -> Node {
        if let NodeValue::Map(entries) = &mut node.value {
            let is_path = |name: &str| fields.iter().any(|f| f.name == name && matches!(f.kind, Kind::Path));
            for (_, value) in entries.iter_mut().filter(|(key, _)| is_path(&key.name)) {
                if let NodeValue::Text(path) = &mut value.value {
                    *path = self.dir.join(&*path).display().to_string();
                }
            }
        }
        node
    }

    pub(super) fn sinks(&mut self, section: Option<Node>, accounts: &Accounts) -> Vec<SinkConfig> {
        let kinds: Vec<_> =
            self.manifests.iter().flat_map(|m| m.sinks.iter().map(move |kind| (kind.name, (*m, kind)))).collect();
        let entries = self.named(section, "sinks");
        self.check_former(&entries);
        let mut sinks = Vec::new();
        for (key, node) in entries {
            if let Some((kind, node)) = self.chosen(&key, node, "sink", &kinds) {
                sinks.extend(self.sink(&key, kind, node, accounts));
            }
        }
        sinks
    }

    fn sink(
        &mut self,
        key: &Key,
        (manifest, kind): (&'static Manifest, &'static SinkKind),
        mut node: Node,
        accounts: &Accounts,
    ) -> Option<SinkConfig> {
        let before = self.count();
        let own = if manifest.account.is_none() { fields::OWN_ACCOUNT } else { &[] };
        self.checker.object(&mut node, &[kind.fields, fields::SINK, own], &format!("sink `{}`", key.name));
        if self.count() > before {
            return None;
        }
        let common = Settings::new(&node, fields::SINK);
        let (was, enabled) = (common.text("was").map(str::to_owned), common.flag("enabled"));
        let vendor = manifest.account.as_ref().map(|account| account.limits).unwrap_or_default();
        let limits = limits(node.get("limits"), vendor);
        if manifest.account.is_none() && self.checker.accounts.contains_key(&key.name) {
            let message =
                format!("sink `{0}` is its own account, and there is another account `{0}`; rename one", key.name);
            self.checker.faults.push(Fault::new(key.spot, message));
            return None;
        }
        let node = without(node, &[fields::SINK, own], kind.fields);
        let account = node.get("account").and_then(Node::text).unwrap_or(&key.name).to_owned();
        let sink =
            SinkConfig { name: key.name.clone(), spot: key.spot, kind, manifest, node, account, limits, was, enabled };
        let account = sink.named_account().map(|name| accounts.get(name));
        if !matches!(account, Some(None)) {
            match self.workshop().sink(&sink, account.flatten()) {
                Ok(built) => {
                    self.built.insert(sink.name.clone(), built);
                }
                Err(faults) => self.checker.faults.extend(faults),
            }
        }
        Some(sink)
    }

    fn check_former(&mut self, entries: &[(Key, Node)]) {
        let names: Vec<&str> = entries.iter().map(|(key, _)| key.name.as_str()).collect();
        let former = entries.iter().filter_map(|(key, node)| {
            let was = node.entries().first().and_then(|(_, node)| node.get("was"))?;
            Some((key.name.as_str(), was))
        });
        self.former(&names, former);
    }

    /// Warns of what nothing refers to.
    pub(super) fn unused(&mut self, accounts: &Accounts, sources: &[SourceConfig], routes: &[RouteConfig]) {
        for account in accounts.values().filter(|account| !self.checker.used.contains(&account.name)) {
            let message = format!("nothing uses account `{}`", account.name);
            self.warnings.push(Fault::new(account.node.spot, message));
        }
        for source in sources.iter().filter(|source| source.enabled) {
            if !routes.iter().any(|route| route.from.contains(&source.name)) {
                let message = format!("no route takes events from source `{}`", source.name);
                self.warnings.push(Fault::new(source.spot, message));
            }
        }
    }
}

fn limits(node: Option<&Node>, vendor: Limits) -> Limits {
    let Some(own) = node.map(|node| Settings::new(node, fields::LIMITS)) else { return vendor };
    Limits {
        rate: own.number("rate").or(vendor.rate),
        concurrency: own.integer("concurrency").and_then(|n| u32::try_from(n).ok()).or(vendor.concurrency),
        monthly: own.integer("monthly").and_then(|n| u64::try_from(n).ok()).or(vendor.monthly),
    }
}
