//! The checked config: what the rest of the program works from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::broker::Binding;
use crate::connectors::{Limits, LookupKind, Manifest, OnDoubt, SinkKind, SourceKind};
use crate::outcome::Verb;
use crate::settings::{Node, Settings, Spot};
use crate::template::mapping::Mapping;
use crate::template::{Expression, Tables, Template};

/// A whole config, checked: every name in it resolves, every template compiles.
#[derive(Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// The file's folder: relative paths start here.
    pub dir: PathBuf,
    /// The SQLite file.
    pub store: PathBuf,
    /// The RabbitMQ that moves events; `None`: the queue in the store's file does.
    pub broker: Option<BrokerConfig>,
    /// Where events wait while that one does not take them; there if it is.
    pub spool: Option<SpoolConfig>,
    /// Where it listens.
    pub listen: Listen,
    /// The zone of times that bear none.
    pub zone: TimeZone,
    /// The sink that operators are told through.
    pub alerts: Option<String>,
    /// How long the journal keeps heads and steps.
    pub journal_keep: Duration,
    /// How long it keeps bodies.
    pub journal_bodies: Duration,
    /// How long a repetition is known.
    pub dedupe: Duration,
    /// Free disk space below which bodies are no longer kept, and then intake stops, in bytes.
    pub min_free: u64,
    /// Paths whose values are masked wherever they are shown.
    pub redact: Vec<String>,
    /// Accounts by name.
    pub accounts: BTreeMap<String, AccountConfig>,
    /// Tables of `table('name')`.
    pub tables: Arc<Tables>,
    /// Sources by name, in the order of the file.
    pub sources: Vec<SourceConfig>,
    /// Sinks, in the order of the file.
    pub sinks: Vec<SinkConfig>,
    /// Routes, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// The config's tests.
    pub tests: Vec<TestConfig>,
    /// What is no error but worth a word, as a webhook that anybody can send to.
    pub warnings: Vec<crate::settings::Fault>,
    /// The file as people may see it: with its `${…}`, and secrets masked.
    pub shown: String,
    /// The whole file with its `${…}` replaced, to tell what differs from another.
    pub written: Node,
}

/// A RabbitMQ.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Its URLs, at least one.
    pub urls: Vec<SecretString>,
    /// How the names of exchanges and queues begin.
    pub prefix: String,
    /// PEM of a root certificate.
    pub ca_file: Option<PathBuf>,
    /// PEM of a client certificate, and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Where events wait while the broker does not take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The folder.
    pub path: PathBuf,
    /// How much may wait, in bytes of events.
    pub max: u64,
}

/// Where it listens.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Of the public listener.
    pub hooks: SocketAddr,
    /// The base URL that others see, without a trailing slash.
    pub public: Option<String>,
    /// Of the admin listener; `None`: only the socket beside the store.
    pub admin: Option<AdminListen>,
}

/// The admin listener.
#[derive(Clone, Debug)]
pub struct AdminListen {
    /// Its address.
    pub address: SocketAddr,
    /// Its token; required off loopback.
    pub token: Option<SecretString>,
}

/// An account.
#[derive(Debug)]
pub struct AccountConfig {
    /// Its name.
    pub name: String,
    /// Its connector.
    pub manifest: &'static Manifest,
    /// Its keys (without `url`, `limits`, `time_zone`).
    pub node: Node,
    /// Its base URL without a trailing slash; empty where there is none.
    pub url: String,
    /// Its limits: the vendor's, or the user's where set.
    pub limits: Limits,
    /// Its zone.
    pub zone: TimeZone,
}

/// A source.
#[derive(Debug)]
pub struct SourceConfig {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub spot: Spot,
    /// What it is.
    pub kind: &'static SourceKind,
    /// The connector it belongs to.
    pub manifest: &'static Manifest,
    /// Its keys (without `was` and `enabled`).
    pub node: Node,
    /// The account it names.
    pub account: Option<String>,
    /// Its former name.
    pub was: Option<String>,
    /// False: it neither listens nor polls.
    pub enabled: bool,
}

impl SourceConfig {
    /// True if it asks for news: it says how often.
    #[must_use]
    pub fn polls(&self) -> bool {
        self.has("every")
    }

    /// True if it is handed messages: it says how many ahead.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.has("prefetch")
    }

    /// True if it receives webhooks.
    #[must_use]
    pub fn is_hook(&self) -> bool {
        !self.polls() && !self.streams()
    }

    /// True if it reads the subject of each event anew before any route sees it.
    #[must_use]
    pub fn fetches(&self) -> bool {
        self.has("fetch") && Settings::new(&self.node, self.kind.fields).flag("fetch")
    }

    fn has(&self, field: &str) -> bool {
        self.kind.fields.iter().any(|known| known.name == field)
    }
}

/// A sink.
#[derive(Debug)]
pub struct SinkConfig {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub spot: Spot,
    /// What it is.
    pub kind: &'static SinkKind,
    /// The connector it belongs to.
    pub manifest: &'static Manifest,
    /// Its keys (without `was`, `enabled` and, for a sink that is its own account, `limits`).
    pub node: Node,
    /// The account whose limits hold; its own name for a sink that is its own account.
    pub account: String,
    /// The limits of a sink that is its own account.
    pub limits: Limits,
    /// Its former name.
    pub was: Option<String>,
    /// False: it is as if suspended by a person.
    pub enabled: bool,
}

/// A route.
#[derive(Debug)]
pub struct RouteConfig {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub spot: Spot,
    /// The sources it takes from, globs resolved.
    pub from: Vec<String>,
    /// The former names of these sources, each with its present one: events of before the renaming may still wait.
    pub from_former: BTreeMap<String, String>,
    /// The types it takes, `*` allowed; `None`: all. With `cases` the union of theirs.
    pub types: Option<Vec<String>>,
    /// Its filter.
    pub when: Option<Expression>,
    /// Its sink.
    pub to: String,
    /// The link's key; `None`: source and subject.
    pub key: Option<Template>,
    /// Whose links it goes by: its own name, or that of the links it shares with other routes.
    pub link: String,
    /// The links of other routes that its templates name.
    pub reads: Vec<OtherLink>,
    /// What becomes of a linked subject that its filters no longer let pass.
    pub leaves: Leaves,
    /// What it does: one for a plain route, one for each of `cases`.
    pub cases: Vec<CaseConfig>,
    /// What the records at the sink are matched by before one is created.
    pub matching: Option<Mapping>,
    /// What is read from vendors before the record is made.
    pub lookups: Vec<LookupConfig>,
    /// What becomes of a call in doubt; `None`: the sink's own answer.
    pub on_doubt: Option<OnDoubt>,
    /// The schedule of retries.
    pub retry: RetryConfig,
    /// Whose calls go first where several routes wait for one account.
    pub priority: Priority,
    /// Its former name.
    pub was: Option<String>,
    /// False: it takes nothing; what waits in its queue stays.
    pub enabled: bool,
}

impl RouteConfig {
    /// What its queue is to receive.
    #[must_use]
    pub fn binding(&self) -> Binding {
        Binding { queue: self.name.clone(), sources: Some(self.from.clone()), types: self.types.clone() }
    }

    /// What the source of an event is called now, if it was renamed since.
    #[must_use]
    pub fn source_now<'a>(&'a self, source: &'a str) -> &'a str {
        self.from_former.get(source).map_or(source, String::as_str)
    }

    /// True if it takes from a source, under its present name or its former one.
    #[must_use]
    pub fn takes_from(&self, source: &str) -> bool {
        let now = self.source_now(source);
        self.from.iter().any(|from| from == now)
    }
}

/// A link of the same key that is another route's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherLink {
    /// The name in `links['name']`: a route's, or that of shared links.
    pub name: String,
    /// Whose links that are (see [`RouteConfig::link`]).
    pub owner: String,
}

/// What becomes of a linked subject that no longer passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaves {
    /// Its record stays as it is.
    #[default]
    Keep,
    /// Its record is deleted.
    Delete,
}

/// What an action comes to that needs a record where none is linked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutLink {
    /// Nothing.
    #[default]
    Skip,
    /// A record is made.
    Create,
}

/// Something that a route reads from a vendor.
#[derive(Clone, Debug)]
pub struct LookupConfig {
    /// What templates call it: `lookup.name`.
    pub name: String,
    /// The account that is asked; a sink that is its own account goes by its name.
    pub account: String,
    /// What it is.
    pub kind: &'static LookupKind,
    /// The connector's keys.
    pub node: Node,
    /// What the record is found by.
    pub wanted: Mapping,
    /// How long what was found is known.
    pub cache: Duration,
    /// True: if nothing or more than one is found, fields that need it are left out. False: a dead letter.
    pub omit: bool,
}

/// Whose calls go first where several wait for one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Before the others: four of five calls, where others wait as well.
    High,
    /// In order of coming.
    #[default]
    Normal,
}

/// One case of a route: first match.
#[derive(Clone, Debug)]
pub struct CaseConfig {
    /// The types it takes; `None`: all of the route's.
    pub types: Option<Vec<String>>,
    /// Its filter.
    pub when: Option<Expression>,
    /// What it does.
    pub action: Action,
    /// What it does if that needs a record and none is linked.
    pub without_link: WithoutLink,
    /// How the record is made.
    pub map: Mapping,
    /// How an `http` sink is called, by verb.
    pub request: BTreeMap<&'static str, RequestConfig>,
}

/// What a route does, before the link is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Every event makes a record.
    Create,
    /// The linked record follows.
    Update,
    /// The linked record goes.
    Delete,
    /// Creates or updates by the link.
    Upsert,
    /// Upsert, and delete on `*.deleted`.
    Sync,
    /// Every event does this with the linked record: one of [`Verb::ON_A_RECORD`].
    Each(Verb),
}

impl Action {
    /// The word of the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Upsert => "upsert",
            Self::Sync => "sync",
            Self::Each(verb) => verb.name(),
        }
    }

    /// True if only the newest event of a subject counts (promise P3).
    #[must_use]
    pub fn is_state(self) -> bool {
        matches!(self, Self::Update | Self::Delete | Self::Upsert | Self::Sync)
    }
}

/// How an `http` sink is called.
#[derive(Clone, Debug)]
pub struct RequestConfig {
    /// The method.
    pub method: Method,
    /// The path template: interpolated values are percent-encoded.
    pub path: Template,
}

/// The schedule of retries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryConfig {
    /// The first delay.
    pub first: Duration,
    /// The factor from one to the next.
    pub factor: f32,
    /// The longest delay.
    pub max: Duration,
    /// When to stop, counted from the first retry.
    pub give_up_after: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            factor: 2.0,
            max: Duration::from_hours(1),
            give_up_after: Duration::from_hours(3 * 24),
        }
    }
}

/// A test of the config.
#[derive(Debug)]
pub struct TestConfig {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub spot: Spot,
    /// All of it (`event`, `request`, `links`, `respond`, `expect`), checked for shape.
    pub node: Node,
}
