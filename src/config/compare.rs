//! What is the same in two configs: what need not be disturbed when one takes the place of the other.
//!
//! A part is the same if what stands in the file is, with its `${…}` replaced, and all that it refers to. A file that a key
//! names by its path, as a certificate, is not looked into.

use std::collections::BTreeSet;

use super::model::{Config, RouteConfig};
use crate::connectors::Limits;
use crate::settings::{Node, NodeValue};

/// Two configs.
#[derive(Clone, Copy)]
pub struct Comparison<'a> {
    /// The one that runs.
    pub old: &'a Config,
    /// The one that is to.
    pub new: &'a Config,
}

impl Comparison<'_> {
    /// The keys that differ and that only a restart can change.
    #[must_use]
    pub fn fixed(&self) -> Vec<&'static str> {
        let (old, new) = (self.old, self.new);
        let admin = |config: &Config| config.listen.admin.as_ref().map(|admin| admin.address);
        let checks = [
            ("store", old.store == new.store),
            ("broker", self.written("broker")),
            ("spool", old.spool == new.spool),
            ("listen.hooks", old.listen.hooks == new.listen.hooks),
            ("listen.admin.address", admin(old) == admin(new)),
            ("listen.admin.token", self.key(&["listen", "admin", "token"])),
        ];
        checks.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }

    /// True if calls of the account are let through by the same limits.
    #[must_use]
    pub fn gate(&self, account: &str) -> bool {
        let limits = |config: &Config| match config.accounts.get(account) {
            Some(account) => Some((account.limits, account.zone.clone())),
            None => own_limits(config, account).map(|limits| (limits, config.zone.clone())),
        };
        let (old, new) = (limits(self.old), limits(self.new));
        old.is_some() && old == new
    }

    /// True if an account, or a sink that is its own, is the same: its address, its credentials.
    #[must_use]
    pub fn account(&self, name: &str) -> bool {
        let is_named = |config: &Config| config.accounts.contains_key(name);
        match (is_named(self.old), is_named(self.new)) {
            (true, true) => self.key(&["accounts", name]) && self.zone(),
            (false, false) => self.key(&["sinks", name]) && self.zone(),
            _ => false,
        }
    }

    /// True if a source is the same, with its account.
    #[must_use]
    pub fn source(&self, name: &str) -> bool {
        let find =
            |config: &Config| config.sources.iter().find(|source| source.name == name).map(|s| s.account.clone());
        let (Some(old), Some(new)) = (find(self.old), find(self.new)) else { return false };
        let account = new.as_ref().is_none_or(|account| self.account(account) && self.gate(account));
        old == new && account && self.key(&["sources", name]) && self.zone()
    }

    /// True if a sink is the same, with its account.
    #[must_use]
    pub fn sink(&self, name: &str) -> bool {
        let find = |config: &Config| config.sinks.iter().find(|sink| sink.name == name).map(|s| s.account.clone());
        let (Some(old), Some(new)) = (find(self.old), find(self.new)) else { return false };
        old == new && self.account(&new) && self.gate(&new) && self.key(&["sinks", name]) && self.zone()
    }

    /// True if a route is the same, with its sink, its sources, its lookups, and the routes whose links it reads.
    #[must_use]
    pub fn route(&self, name: &str) -> bool {
        let (Some(old), Some(new)) = (route(self.old, name), route(self.new, name)) else { return false };
        let (before, now) = (makers(self.old, old), makers(self.new, new));
        let lookups = new.lookups.iter().all(|lookup| self.account(&lookup.account) && self.gate(&lookup.account));
        let settings = self.old.dedupe == self.new.dedupe && self.old.redact == self.new.redact;
        let probed = is_polled(self.old, &new.to) == is_polled(self.new, &new.to);
        self.alone(name)
            && before == now
            && now.iter().all(|maker| self.alone(maker))
            && lookups
            && self.sink(&new.to)
            && settings
            && probed
    }

    /// True if a route takes the same and makes the same of it.
    fn alone(&self, name: &str) -> bool {
        let (Some(old), Some(new)) = (route(self.old, name), route(self.new, name)) else { return false };
        let is_alike = (&old.from, &old.from_former, &old.link, &old.reads)
            == (&new.from, &new.from_former, &new.link, &new.reads);
        let looks = at(&self.new.written, &["routes", name]).is_some_and(mentions_tables);
        let tables = !looks || self.old.tables == self.new.tables;
        is_alike && tables && self.key(&["routes", name]) && self.zone()
    }

    /// Keys of both mean the same only where times of no zone, and paths, do.
    fn zone(&self) -> bool {
        self.old.zone == self.new.zone && self.old.dir == self.new.dir
    }

    fn written(&self, key: &str) -> bool {
        self.key(&[key])
    }

    /// True if the same stands at a path of keys, or nothing in either.
    fn key(&self, path: &[&str]) -> bool {
        match (at(&self.old.written, path), at(&self.new.written, path)) {
            (Some(old), Some(new)) => old.same(new),
            (None, None) => true,
            _ => false,
        }
    }
}

fn at<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    path.iter().try_fold(node, |node, key| node.get(key))
}

fn route<'c>(config: &'c Config, name: &str) -> Option<&'c RouteConfig> {
    config.routes.iter().find(|route| route.name == name)
}

/// The routes that make what a route's templates read of others' links, and those that make what these read.
fn makers<'c>(config: &'c Config, of: &'c RouteConfig) -> BTreeSet<&'c str> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&RouteConfig> = vec![of];
    while let Some(route) = left.pop() {
        for read in &route.reads {
            let makers = config.routes.iter().filter(|maker| maker.link == read.owner);
            left.extend(makers.filter(|maker| found.insert(maker.name.as_str())));
        }
    }
    found
}

/// True if a source asks the account of a sink for news: that tells whether the account works.
fn is_polled(config: &Config, sink: &str) -> bool {
    let account = config.sinks.iter().find(|known| known.name == sink).map(|sink| &sink.account);
    config.sources.iter().any(|source| source.enabled && source.polls() && source.account.as_ref() == account)
}

/// The limits of a sink that is its own account.
fn own_limits(config: &Config, name: &str) -> Option<Limits> {
    config.sinks.iter().find(|sink| sink.account == name).map(|sink| sink.limits)
}

/// True if a template may look into a table.
fn mentions_tables(node: &Node) -> bool {
    match &node.value {
        NodeValue::Text(text) => text.contains("table"),
        NodeValue::List(items) => items.iter().any(mentions_tables),
        NodeValue::Map(entries) => entries.iter().any(|(_, node)| mentions_tables(node)),
        NodeValue::Null | NodeValue::Boolean(_) | NodeValue::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::load;
    use crate::connectors::client::Client;

    const BASE: &str = r#"
accounts:
  chat: { slack: { bot_token: "${TOKEN}" } }
tables:
  rooms: { values: { a: C0123456789 } }
sources:
  in: { webhook: { verify: none, event: { type: x } } }
  by: { webhook: { verify: none, event: { type: x } } }
sinks:
  say: { slack: { account: chat, channel: C0123456789 } }
  crm: { http: { url: "https://crm.example.com" } }
routes:
  all: { from: [in, by], to: crm, do: create, map: { n: "{{ data.n }}" } }
  told: { from: in, to: say, do: create, map: { text: "{{ data.room | table('rooms') }}" } }
  work: { from: in, to: crm, do: upsert, key: "{{ data.n }}", request: { path: "/w" }, map: { n: "{{ data.n }}" } }
  part: { from: in, to: crm, do: upsert, key: "{{ data.n }}", request: { path: "/p" }, map: { of: "{{ links['work'].id }}" } }
"#;

    fn config(text: &str, token: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.yaml");
        std::fs::write(&file, text).unwrap();
        let env = |name: &str| (name == "TOKEN").then(|| token.to_owned());
        let mut config =
            load(&file, &env, &Client::new().unwrap(), &Clock::system(0)).unwrap_or_else(|e| panic!("{e}"));
        // The folder is the test's.
        config.dir = "/".into();
        config.store = "/dari.db".into();
        config
    }

    /// What is other with this text in the place of that one.
    fn other(from: &str, to: &str, token: &str) -> String {
        assert!(BASE.contains(from), "{from}");
        let (old, new) = (config(BASE, "one"), config(&BASE.replacen(from, to, 1), token));
        let both = Comparison { old: &old, new: &new };
        let sources = new.sources.iter().filter(|s| !both.source(&s.name)).map(|s| format!("source {}", s.name));
        let sinks = new.sinks.iter().filter(|s| !both.sink(&s.name)).map(|s| format!("sink {}", s.name));
        let routes = new.routes.iter().filter(|r| !both.route(&r.name)).map(|r| format!("route {}", r.name));
        let fixed = both.fixed().into_iter().map(str::to_owned);
        fixed.chain(sources).chain(sinks).chain(routes).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_is_other_is_what_was_changed_and_what_refers_to_it() {
        for (from, to, token, told) in [
            ("accounts:", "# A word.\n\naccounts:", "one", ""),
            ("accounts:", "min_free: 1GiB\naccounts:", "one", ""),
            ("accounts:", "accounts:", "two", "sink say, route told"),
            ("a: C0123456789", "a: C0000000000", "one", "route told"),
            ("channel: C0123456789", "channel: C9123456789", "one", "sink say, route told"),
            ("bot_token: \"${TOKEN}\"", "bot_token: \"${TOKEN}\", limits: { rate: 1 }", "one", "sink say, route told"),
            (
                "in: { webhook: { verify: none, event: { type: x",
                "in: { webhook: { verify: none, event: { type: y",
                "one",
                "source in",
            ),
            ("n: \"{{ data.n }}\" } }\n  told", "n: \"{{ data.m }}\" } }\n  told", "one", "route all"),
            ("path: \"/w\"", "path: \"/v\"", "one", "route work, route part"),
            ("path: \"/p\"", "path: \"/q\"", "one", "route part"),
            ("accounts:", "dedupe: 1d\naccounts:", "one", "route all, route told, route work, route part"),
            ("accounts:", "listen: { hooks: \"127.0.0.1:1\" }\naccounts:", "one", "listen.hooks"),
            ("accounts:", "broker: { url: \"amqp://localhost\" }\naccounts:", "one", "broker, spool"),
        ] {
            assert_eq!(other(from, to, token), told, "{from} → {to}");
        }
    }

    #[test]
    fn limits_of_an_account_are_told_from_its_credentials() {
        let (old, new) = (config(BASE, "one"), config(BASE, "two"));
        let both = Comparison { old: &old, new: &new };
        assert!(both.gate("chat") && !both.account("chat"));
        assert!(both.gate("crm") && both.account("crm"));
        assert!(!both.gate("nobody"));
    }
}
