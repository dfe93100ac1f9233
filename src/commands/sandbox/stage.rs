//! A whole config with sandboxes in place of the vendors: nothing of it reaches a real one.
//!
//! Each account, and each sink that is its own account, gets a sandbox of its own. Credentials and the vendor's names
//! (a token, a channel, a project) are replaced in the loaded config by those that the sandbox knows, so that the real
//! ones stay where they are; what a sandbox can be told (as the fields of a Works app) it is told.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value};

use super::{Result, start};
use crate::clock::Clock;
use crate::commands::CommandError;
use crate::config::{Config, SinkConfig};
use crate::connectors::Manifest;
use crate::connectors::sandbox::{LOOPBACK, Served};
use crate::settings::{Key, Node, NodeValue, Spot};

/// The sandboxes of a config, as long as this lives.
#[derive(Debug, Default)]
pub struct Stage {
    accounts: BTreeMap<String, Served>,
    sinks: BTreeMap<String, Served>,
}

impl Stage {
    /// Starts a sandbox for each account and each sink that is its own, and points the config at them.
    ///
    /// # Errors
    /// A sink whose vendor has no sandbox. Such a poller is switched off, and told.
    pub async fn set(config: &mut Config, clock: &Clock) -> Result<Self> {
        let mut stage = Self::default();
        for account in config.accounts.values_mut() {
            let Some(sandbox) = account.manifest.sandbox else { continue };
            let served = start(sandbox, clock, LOOPBACK).await?;
            account.url.clone_from(&served.url);
            replace(&mut account.node, account.manifest, &served.url);
            stage.accounts.insert(account.name.clone(), served);
        }
        for source in &mut config.sources {
            if let Some(served) = source.account.as_ref().and_then(|name| stage.accounts.get(name)) {
                replace(&mut source.node, source.manifest, &served.url);
            } else if !source.is_hook() && source.enabled {
                // What such an API answers, or who publishes to the queue, only its owner knows.
                let (name, of) = (&source.name, source.manifest.title);
                tracing::warn!(
                    "source {name}: nobody can play {of} here, so nothing comes of it but what `dari send {name} FILE` puts in"
                );
                source.enabled = false;
            }
        }
        for lookup in config.routes.iter_mut().flat_map(|route| &mut route.lookups) {
            let account = config.accounts.get(&lookup.account);
            if let Some((account, served)) = account.zip(stage.accounts.get(&lookup.account)) {
                replace(&mut lookup.node, account.manifest, &served.url);
            }
        }
        for sink in &mut config.sinks {
            stage.sink(sink, clock).await?;
        }
        stage.teach(config).await;
        Ok(stage)
    }

    async fn sink(&mut self, sink: &mut SinkConfig, clock: &Clock) -> Result {
        let account = sink.named_account().map(str::to_owned);
        let url = match (&account, sink.manifest.sandbox) {
            (Some(name), _) if self.accounts.contains_key(name) => self.accounts[name].url.clone(),
            (None, Some(sandbox)) => {
                let served = start(sandbox, clock, LOOPBACK).await?;
                let url = served.url.clone();
                self.sinks.insert(sink.name.clone(), served);
                url
            }
            _ if sink.enabled => return Err(none(&sink.name, sink.manifest)),
            _ => return Ok(()),
        };
        replace(&mut sink.node, sink.manifest, &url);
        if sink.kind.fields.iter().any(|field| field.name == "allow_private") {
            // Sandboxes are on this machine, which such a sink reaches only if it may.
            put(&mut sink.node, "allow_private", NodeValue::Boolean(true));
        }
        Ok(())
    }

    /// Tells each account's sandbox what the config's sinks take for granted there.
    async fn teach(&self, config: &Config) {
        for (account, served) in &self.accounts {
            let mut settings = Map::new();
            for sink in config.sinks.iter().filter(|sink| sink.named_account() == Some(account)) {
                for (key, node) in sink.node.entries() {
                    merge(settings.entry(key.name.clone()).or_insert(Value::Null), plain(node));
                }
            }
            // A sandbox that cannot be told anything answers so, and that is fine.
            served.play(Method::PUT, "/_sandbox/state", &Value::Object(settings)).await;
        }
    }

    /// The sandbox of an account.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<&Served> {
        self.accounts.get(name)
    }

    /// The sandbox of a sink that is its own account.
    #[must_use]
    pub fn sink_of_its_own(&self, name: &str) -> Option<&Served> {
        self.sinks.get(name)
    }

    /// Every sandbox with the name of its account or sink.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Served)> {
        self.accounts.iter().chain(&self.sinks).map(|(name, served)| (name.as_str(), served))
    }
}

/// A value that a sandbox knows, at its URL.
pub(super) fn known(value: &str, url: &str) -> String {
    if value.starts_with('/') { format!("{url}{}", value.trim_end_matches('/')) } else { value.to_owned() }
}

/// Puts what the sandbox knows in place of what is there.
fn replace(node: &mut Node, manifest: &Manifest, url: &str) {
    for (key, value) in manifest.sandbox.iter().flat_map(|sandbox| sandbox.knows) {
        let mut at = &mut *node;
        let mut path = key.split('.').peekable();
        while let Some(key) = path.next() {
            let NodeValue::Map(entries) = &mut at.value else { break };
            let Some((_, below)) = entries.iter_mut().find(|(known, _)| known.name == key) else { break };
            at = below;
            if path.peek().is_none() {
                at.value = NodeValue::Text(known(value, url));
            }
        }
    }
}

fn put(node: &mut Node, key: &str, value: NodeValue) {
    let NodeValue::Map(entries) = &mut node.value else { return };
    if let Some((_, known)) = entries.iter_mut().find(|(known, _)| known.name == key) {
        known.value = value;
    } else {
        let spot = Spot::default();
        entries.push((Key { name: key.to_owned(), spot }, Node { spot, value }));
    }
}

fn plain(node: &Node) -> Value {
    match &node.value {
        NodeValue::Map(entries) => entries.iter().map(|(key, node)| (key.name.clone(), plain(node))).collect(),
        _ => node.text().map(Value::from).unwrap_or_default(),
    }
}

fn merge(into: &mut Value, value: Value) {
    match (into, value) {
        (Value::Object(into), Value::Object(more)) => into.extend(more),
        (into, value) => *into = value,
    }
}

fn none(name: &str, manifest: &Manifest) -> CommandError {
    let title = manifest.title;
    CommandError::Failed(format!("sink {name}: there is no sandbox of {title}; say `enabled: false` to run without it"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connectors::workfront::{MANIFEST, sandbox};

    #[test]
    fn credentials_within_others_are_replaced_and_nothing_else_is() {
        let real = json!({ "host": "acme.my.workfront.com", "auth": { "ims": { "client_id": "a", "client_secret": "hunter2", "url": "https://ims.example" } } });
        let mut node = Node::from(&real);
        replace(&mut node, &MANIFEST, "http://127.0.0.1:9");
        let text = |key: &str| node.get("auth").unwrap().get("ims").unwrap().get(key).and_then(Node::text);
        assert_eq!(text("client_id"), Some(sandbox::CLIENT_ID));
        assert_eq!(text("client_secret"), Some(sandbox::CLIENT_SECRET));
        assert_eq!((text("url"), text("scope")), (Some("http://127.0.0.1:9"), None));
        assert_eq!(node.get("host").and_then(Node::text), Some("acme.my.workfront.com"));
    }
}
