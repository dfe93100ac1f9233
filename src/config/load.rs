//! A config file → a whole [`Config`], or everything that is wrong with it.
//!
//! Each part is checked for its shape first; what depends on several parts is checked for those whose shape is sound,
//! so that one mistake is one fault and no mistake hides another.

mod broker;
mod connections;
mod links;
mod lookups;
mod routes;
mod tables;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::build::Workshop;
use super::check::Checker;
use super::faults::{Faults, sort};
use super::fields;
use super::interpolate::Surroundings;
use super::model::{AdminListen, Config, Listen, SinkConfig, TestConfig};
use super::names::is_name;
use super::parse::parse;
use super::shown;
use super::suggest::{did_you_mean, shown as excerpt};
use crate::clock::Clock;
use crate::connectors::client::Client;
use crate::connectors::notice::Notice;
use crate::connectors::{self, Manifest, Sink};
use crate::redact::Redactor;
use crate::settings::{Fault, Field, Key, Node, NodeValue, Settings};
use crate::template::Tables;

/// Loads and checks a config against all connectors. `env` reads a variable of the environment; `client` and `clock`
/// are what sources and sinks are built with, to see whether they can be: nothing is sent.
///
/// # Errors
/// All [`Faults`] of the file.
pub fn load(
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    client: &Client,
    clock: &Clock,
) -> Result<Config, Faults> {
    load_with(connectors::ALL, file, env, client, clock)
}

/// As [`load`], with a registry of connectors of one's own.
///
/// # Errors
/// All [`Faults`] of the file.
pub fn load_with(
    manifests: &[&'static Manifest],
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    client: &Client,
    clock: &Clock,
) -> Result<Config, Faults> {
    let source =
        std::fs::read_to_string(file).map_err(|error| Faults::whole(file, format!("cannot be read: {error}")))?;
    let document = parse(&source).map_err(|list| Faults::new(file, list))?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let vendors = connections::vendors(&document.root, manifests);
    let mut loader = Loader {
        manifests,
        file,
        dir,
        client,
        clock,
        zone: TimeZone::UTC,
        checker: Checker::new(Surroundings { env, dir }, &vendors),
        built: BTreeMap::new(),
        warnings: Vec::new(),
        linked: Vec::new(),
    };
    let mut config = loader.config(document.root.clone());
    let checker = loader.checker;
    let inside = checker.inside.iter().cloned().map(|fault| document.locate(fault));
    let mut faults: Vec<Fault> = checker.faults.iter().cloned().chain(inside).collect();
    for fault in &mut faults {
        checker.unfill(fault);
    }
    if !faults.is_empty() {
        return Err(Faults::new(file, faults));
    }
    config.warnings.extend(checker.warnings.iter().cloned().chain(document.cuts()));
    for warning in &mut config.warnings {
        checker.unfill(warning);
    }
    sort(&mut config.warnings);
    config.shown = shown::shown(&document.root, &checker.secrets);
    config.written = Surroundings { env, dir }.whole(document.root);
    Ok(config)
}

struct Loader<'a> {
    manifests: &'a [&'static Manifest],
    file: &'a Path,
    dir: &'a Path,
    client: &'a Client,
    clock: &'a Clock,
    zone: TimeZone,
    checker: Checker<'a>,
    /// The sinks that could be built, for what they say of a route's fields.
    built: BTreeMap<String, Box<dyn Sink>>,
    warnings: Vec<Fault>,
    /// What the routes do with linked records, for what only all of them together can tell.
    linked: Vec<links::Linked>,
}

impl Loader<'_> {
    /// Builds the config as far as it can be built; it is whole if no fault was found.
    fn config(&mut self, mut root: Node) -> Config {
        let [accounts, tables, sources, sinks, routes] =
            ["accounts", "tables", "sources", "sinks", "routes"].map(|name| take(&mut root, name));
        self.checker.object(&mut root, &[fields::TOP], "the file");
        let top = Settings::new(&root, fields::TOP);
        self.zone = top.text("time_zone").and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);

        let known =
            Known { tables: names(tables.as_ref()), ..self.known(sources.as_ref(), sinks.as_ref(), routes.as_ref()) };
        let tables = self.tables(tables);
        let accounts = self.accounts(accounts);
        let sources = self.sources(sources, &accounts);
        let sinks = self.sinks(sinks, &accounts);
        let routes = self.routes(routes, &known, lookups::Places { accounts: &accounts, sinks: &sinks });
        self.shared_links(&routes, &sinks);
        let tests = self.tests(root.get("tests"), &known);
        let alerts = self.alerts(&top, &sinks, &known);
        self.unused(&accounts, &sources, &routes);
        let (journal_keep, journal_bodies) = self.journal(&top);
        for path in top.get("redact").map(Node::items).unwrap_or_default() {
            if let Some(Err(why)) = path.text().map(|text| Redactor::new([text])) {
                self.checker.fault(path, format!("`redact`: {why}"));
            }
        }
        let store = self.store(&top);
        Config {
            file: self.file.to_owned(),
            dir: self.dir.to_owned(),
            broker: self.broker(&top),
            spool: self.spool(&top, &store),
            store,
            listen: self.listen(&top),
            zone: self.zone.clone(),
            alerts,
            journal_keep,
            journal_bodies,
            dedupe: top.duration("dedupe").unwrap_or_default(),
            min_free: top.size("min_free").unwrap_or_default(),
            redact: top.texts("redact").into_iter().map(str::to_owned).collect(),
            accounts,
            tables: Arc::new(Tables(tables)),
            sources,
            sinks,
            routes,
            tests,
            warnings: std::mem::take(&mut self.warnings),
            shown: String::new(),
            written: Node { spot: root.spot, value: NodeValue::Null },
        }
    }

    fn workshop(&self) -> Workshop<'_> {
        Workshop { zone: &self.zone, client: self.client, clock: self.clock }
    }

    /// How many faults there are: more afterwards than before means that something is wrong with what was checked.
    fn count(&self) -> usize {
        self.checker.faults.len() + self.checker.inside.len()
    }

    fn store(&mut self, top: &Settings<'_>) -> PathBuf {
        let Some(node) = top.node().get("store").and_then(|store| store.get("url")) else {
            return fields::store_file(self.dir, fields::DEFAULT_STORE).unwrap_or_default();
        };
        let url = node.text().unwrap_or_default();
        let file = fields::store_file(self.dir, url);
        if file.is_none() && url.starts_with("postgres") {
            self.checker.fault(node, "a PostgreSQL store does not work yet: use a file, as `sqlite://data/dari.db`");
        } else if file.is_none() {
            self.checker.fault(node, fields::NO_STORE_FILE);
        }
        file.unwrap_or_default()
    }

    /// The sink for alerts: one that takes a text alone.
    fn alerts(&mut self, top: &Settings<'_>, sinks: &[SinkConfig], known: &Known) -> Option<String> {
        let node = top.get("alerts")?;
        let name = node.text().unwrap_or_default().to_owned();
        self.must_be_known(node, &name, "sink", &known.sinks_names);
        let sink = sinks.iter().find(|sink| sink.name == name)?;
        if !sink.enabled {
            self.checker.fault(node, format!("`alerts`: the sink `{name}` is switched off"));
        }
        let built = self.built.get(&name)?;
        if let Err(why) = Notice::sample().call(sink.kind, &**built, self.clock.now()) {
            let message = format!(
                "`alerts`: the sink `{name}` cannot tell people ({why}); expected one that takes a `text`, as `slack` or `http`"
            );
            self.checker.fault(node, message);
        }
        Some(name)
    }

    fn journal(&mut self, top: &Settings<'_>) -> (Duration, Duration) {
        let empty = Node { spot: top.node().spot, value: NodeValue::Map(Vec::new()) };
        let journal = Settings::new(top.get("journal").unwrap_or(&empty), fields::JOURNAL);
        let keep = journal.duration("keep").unwrap_or_default();
        let bodies = journal.duration("bodies").unwrap_or_default();
        if journal.get("bodies").is_none() {
            return (keep, bodies.min(keep));
        }
        if bodies > keep {
            let message = "`bodies` is longer than `keep`; expected at most as long: a body goes with its event";
            self.checker.faults.push(Fault::new(journal.spot("bodies"), message));
        }
        (keep, bodies)
    }

    fn listen(&mut self, top: &Settings<'_>) -> Listen {
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        let empty = Node { spot: top.node().spot, value: NodeValue::Map(Vec::new()) };
        let listen = Settings::new(top.get("listen").unwrap_or(&empty), fields::LISTEN);
        let address =
            |settings: &Settings<'_>, key| settings.text(key).and_then(|text| text.parse().ok()).unwrap_or(unset);
        let hooks: SocketAddr = address(&listen, "hooks");
        let admin = listen.object("admin", fields::ADMIN).map(|admin| {
            let (own, token): (SocketAddr, _) = (address(&admin, "address"), admin.secret("token"));
            if token.is_none() && admin.node().get("token").is_none() && !own.ip().is_loopback() {
                let message = "an admin address off loopback needs a `token`, as \"${file:/run/secrets/admin}\"";
                self.checker.faults.push(Fault::new(admin.spot("address"), message));
            }
            if own == hooks && own.port() != 0 {
                let message = "`address` is the one of `hooks`; expected another port";
                self.checker.faults.push(Fault::new(admin.spot("address"), message));
            }
            AdminListen { address: own, token }
        });
        Listen { hooks, public: listen.text("public").map(|url| url.trim_end_matches('/').to_owned()), admin }
    }

    /// The entries of a section, their names checked.
    fn named(&mut self, section: Option<Node>, what: &str) -> Vec<(Key, Node)> {
        match section.map(|node| (node.spot, node.value)) {
            None | Some((_, NodeValue::Null)) => Vec::new(),
            Some((_, NodeValue::Map(entries))) => {
                for (key, _) in entries.iter().filter(|(key, _)| !is_name(&key.name)) {
                    let message =
                        format!("`{}` is no name; expected 1 to 63 of `a-z`, `0-9` and `-`", excerpt(&key.name));
                    self.checker.faults.push(Fault::new(key.spot, message));
                }
                entries
            }
            Some((spot, value)) => {
                let node = Node { spot, value };
                self.checker.fault(&node, format!("expected a mapping of {what} by name, found {}", node.kind()));
                Vec::new()
            }
        }
    }

    /// Former names must be names, no one's present name, and no two's former one.
    fn former<'b>(&mut self, names: &[&str], entries: impl Iterator<Item = (&'b str, &'b Node)>) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, was) in entries {
            let former = was.text().unwrap_or_default();
            if !is_name(former) {
                self.checker.fault(was, "`was`: expected a name, 1 to 63 of `a-z`, `0-9` and `-`");
            } else if names.contains(&former) {
                self.checker.fault(was, format!("`was`: `{former}` is still a name here; expected one that is gone"));
            } else if let Some(other) = seen.insert(former, name) {
                self.checker.fault(was, format!("`was`: `{former}` is already the former name of `{other}`"));
            }
        }
    }

    fn tests(&mut self, tests: Option<&Node>, known: &Known) -> Vec<TestConfig> {
        let mut all = Vec::new();
        for node in tests.map(Node::items).unwrap_or_default() {
            let test = Settings::new(node, fields::TEST);
            if test.get("event").is_some() == test.get("request").is_some() {
                self.checker.fault(node, "a test has either an `event` or a `request`");
            }
            if ["expect", "events", "answer"].iter().all(|key| test.get(key).is_none()) {
                self.checker
                    .fault(node, "a test says what it expects: `expect`, or of a `request` also `events`, `answer`");
            }
            for key in ["events", "answer"].into_iter().filter(|key| test.get(key).is_some()) {
                if test.get("request").is_none() {
                    let message = format!("`{key}` is what becomes of a `request`, and this test has none");
                    self.checker.faults.push(Fault::new(test.spot(key), message));
                }
            }
            let source = test.get("request").and_then(|request| request.get("source"));
            if let Some((node, name)) = source.and_then(|node| node.text().map(|name| (node, name))) {
                self.must_be_known(node, name, "source", &known.sources);
            }
            let linked: Vec<String> = known.owners.keys().cloned().collect();
            for (key, what, names) in [
                ("links", "route", &linked),
                ("expect", "route", &known.routes),
                ("respond", "sink or lookup", &known.answering),
            ] {
                for (key, _) in test.get(key).map(Node::entries).unwrap_or_default() {
                    let node = Node { spot: key.spot, value: NodeValue::Null };
                    self.must_be_known(&node, &key.name, what, names);
                }
            }
            all.push(TestConfig {
                name: test.text("name").unwrap_or_default().to_owned(),
                spot: node.spot,
                node: node.clone(),
            });
        }
        all
    }

    fn must_be_known(&mut self, node: &Node, name: &str, what: &str, names: &[String]) {
        if !names.iter().any(|known| known == name) {
            let hint = did_you_mean(name, names.iter().map(String::as_str));
            self.checker.fault(node, format!("there is no {what} `{name}`{hint}"));
        }
    }
}

/// The names that other parts may refer to, whether or not their own settings are sound.
struct Known {
    sources: Vec<String>,
    /// The former names of sources, each with its present one.
    former: BTreeMap<String, String>,
    sinks: BTreeMap<String, Option<&'static connectors::SinkKind>>,
    sinks_names: Vec<String>,
    /// What tests may answer for: sinks, lookups as `lookup.name`, and the `match` of routes as `match.sink`.
    answering: Vec<String>,
    routes: Vec<String>,
    /// Whose links a name stands for: that of each route, and those that routes share.
    owners: BTreeMap<String, String>,
    tables: Vec<String>,
}

impl Known {
    /// The former names of these sources.
    fn former_sources(&self, of: &[String]) -> BTreeMap<String, String> {
        self.former.iter().filter(|(_, now)| of.contains(now)).map(|(was, now)| (was.clone(), now.clone())).collect()
    }
}

fn names(section: Option<&Node>) -> Vec<String> {
    section.map(Node::entries).unwrap_or_default().iter().map(|(key, _)| key.name.clone()).collect()
}

/// Takes an entry out of a mapping.
fn take(node: &mut Node, key: &str) -> Option<Node> {
    let NodeValue::Map(entries) = &mut node.value else { return None };
    let at = entries.iter().position(|(k, _)| k.name == key)?;
    Some(entries.remove(at).1)
}

/// The mapping without the common keys, except those that are the connector's own.
fn without(mut node: Node, common: &[&'static [Field]], own: &[Field]) -> Node {
    if let NodeValue::Map(entries) = &mut node.value {
        let is = |fields: &[Field], name: &str| fields.iter().any(|f| f.name == name);
        entries.retain(|(key, _)| is(own, &key.name) || !common.iter().any(|fields| is(fields, &key.name)));
    }
    node
}
