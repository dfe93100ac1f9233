//! Building the sources and sinks of a config.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::model::{AccountConfig, Config, LookupConfig, SinkConfig, SourceConfig};
use crate::clock::Clock;
use crate::connectors::client::Client;
use crate::connectors::{Account, Build, Lookup, Registrar, Sink, SourceRole};
use crate::settings::{Fault, Settings};

/// What all sources and sinks are built with.
#[derive(Clone, Copy)]
pub(super) struct Workshop<'a> {
    /// The config's zone.
    pub zone: &'a TimeZone,
    /// Talks HTTP.
    pub client: &'a Client,
    /// Tells the time.
    pub clock: &'a Clock,
}

impl Workshop<'_> {
    /// Builds a source. `account` is the one it names.
    pub fn source(&self, source: &SourceConfig, account: Option<&AccountConfig>) -> Result<SourceRole, Vec<Fault>> {
        let settings = Settings::new(&source.node, source.kind.fields);
        (source.kind.build)(&self.build(&source.name, settings, account))
    }

    /// Builds a sink. `account` is the one it names.
    pub fn sink(&self, sink: &SinkConfig, account: Option<&AccountConfig>) -> Result<Box<dyn Sink>, Vec<Fault>> {
        let settings = Settings::new(&sink.node, sink.kind.fields);
        (sink.kind.build)(&self.build(&sink.name, settings, account))
    }

    /// Builds a lookup at an account.
    pub fn lookup(
        &self,
        lookup: &LookupConfig,
        account: Account<'_>,
        zone: &TimeZone,
    ) -> Result<Box<dyn Lookup>, Vec<Fault>> {
        (lookup.kind.build)(&Build {
            name: &lookup.name,
            settings: Settings::new(&lookup.node, lookup.kind.fields),
            account: Some(account),
            zone: zone.clone(),
            client: self.client.clone(),
            clock: self.clock.clone(),
        })
    }

    fn build<'b>(&self, name: &'b str, settings: Settings<'b>, account: Option<&'b AccountConfig>) -> Build<'b> {
        Build {
            name,
            settings,
            account: account.map(AccountConfig::account),
            zone: account.map_or(self.zone, |account| &account.zone).clone(),
            client: self.client.clone(),
            clock: self.clock.clone(),
        }
    }
}

impl AccountConfig {
    /// The account as its sources and sinks see it.
    pub fn account(&self) -> Account<'_> {
        let fields = self.manifest.account.as_ref().map_or(&[][..], |kind| kind.fields);
        Account { name: &self.name, settings: Settings::new(&self.node, fields), url: &self.url }
    }
}

impl Config {
    /// Builds one of this config's sources.
    ///
    /// # Errors
    /// Those of the connector; none for a config that was loaded, which has built each of them once.
    pub fn build_source(
        &self,
        source: &SourceConfig,
        client: &Client,
        clock: &Clock,
    ) -> Result<SourceRole, Vec<Fault>> {
        let account = source.account.as_deref().and_then(|name| self.accounts.get(name));
        Workshop { zone: &self.zone, client, clock }.source(source, account)
    }

    /// Builds what subscribes one of this config's webhooks at its vendor; `None` where that is not done by a call.
    ///
    /// # Errors
    /// Those of the connector, as where the source names no account to ask with.
    pub fn build_registrar(
        &self,
        source: &SourceConfig,
        client: &Client,
        clock: &Clock,
    ) -> Option<Result<Box<dyn Registrar>, Vec<Fault>>> {
        let account = source.account.as_deref().and_then(|name| self.accounts.get(name));
        let settings = Settings::new(&source.node, source.kind.fields);
        let workshop = Workshop { zone: &self.zone, client, clock };
        source.kind.registrar.map(|build| build(&workshop.build(&source.name, settings, account)))
    }

    /// Builds a lookup of one of this config's routes.
    ///
    /// # Errors
    /// Those of the connector; none for a config that was loaded, which has built each of them once.
    pub fn build_lookup(
        &self,
        lookup: &LookupConfig,
        client: &Client,
        clock: &Clock,
    ) -> Result<Box<dyn Lookup>, Vec<Fault>> {
        let asked = asked(&lookup.account, &self.accounts, &self.sinks, &self.zone);
        let (account, zone) = asked.ok_or_else(Vec::new)?;
        Workshop { zone: &self.zone, client, clock }.lookup(lookup, account, zone)
    }

    /// Builds one of this config's sinks.
    ///
    /// # Errors
    /// Those of the connector; none for a config that was loaded, which has built each of them once.
    pub fn build_sink(&self, sink: &SinkConfig, client: &Client, clock: &Clock) -> Result<Box<dyn Sink>, Vec<Fault>> {
        let account = sink.named_account().and_then(|name| self.accounts.get(name));
        Workshop { zone: &self.zone, client, clock }.sink(sink, account)
    }
}

/// The account of this name as a lookup sees it, with its zone: a configured one, or a sink that is its own.
pub(super) fn asked<'a>(
    name: &str,
    accounts: &'a BTreeMap<String, AccountConfig>,
    sinks: &'a [SinkConfig],
    zone: &'a TimeZone,
) -> Option<(Account<'a>, &'a TimeZone)> {
    if let Some(account) = accounts.get(name) {
        return Some((account.account(), &account.zone));
    }
    let sink = sinks.iter().find(|sink| sink.name == name && sink.manifest.account.is_none())?;
    let settings = Settings::new(&sink.node, sink.kind.fields);
    let url = sink.node.get("url").and_then(crate::settings::Node::text).unwrap_or_default();
    Some((Account { name: &sink.name, settings, url }, zone))
}

impl SinkConfig {
    /// The configured account it names; `None` if it is its own.
    pub fn named_account(&self) -> Option<&str> {
        self.node.get("account").and_then(crate::settings::Node::text)
    }
}
