//! Everything about one vendor is one folder here: its manifest, its sources and sinks, its sandbox.
//!
//! # Layout
//! A connector declares itself in a [`Manifest`]. Small traits are what it can do: a [`Hook`] reads webhooks, a [`Poller`]
//! asks for news, a [`Stream`] is handed messages, a [`Sink`] turns an [`Operation`] into a [`Call`] and the vendor's [`Answer`] into an
//! [`Outcome`](crate::outcome::Outcome), a [`Lookup`] reads what a mapping needs to know, a [`Registrar`] subscribes our
//! URL. All of a sink that decides is pure; the [`client`] does the talking.

use jiff::tz::TimeZone;

use crate::clock::Clock;
use crate::outcome::Verb;
use crate::settings::{Fault, Field, Settings};
use crate::template::Escape;

pub use hooks::{Fetch, Fetched, Hook, HookAnswer, HookRequest, Reading, Refusal};
pub use lookups::{Lookup, LookupKind};
pub use pollers::{Change, Memory, NoMemory, Page, PollError, Poller, Remembered};
pub use registrar::{Registered, Registrar, RegistrarKind};
pub use sinks::{Answer, Ask, Call, OnDoubt, Operation, Request, Sink};
pub use streams::{Came, Flow, Stream};

/// Every connector, in the order of the documentation.
pub static ALL: &[&Manifest] = &[
    &walla::MANIFEST,
    &works::MANIFEST,
    &slack::MANIFEST,
    &worksection::MANIFEST,
    &dooray::MANIFEST,
    &workfront::MANIFEST,
    &github::MANIFEST,
    &stripe::MANIFEST,
    &shopify::MANIFEST,
    &standard::MANIFEST,
    &webhook::MANIFEST,
    &amqp::MANIFEST,
    &http::MANIFEST,
];

/// What a connector is and can do. Feeds the config check, the JSON Schema, `dari describe` and the docs.
#[derive(Debug)]
pub struct Manifest {
    /// The vendor's key in `accounts`, as `works`.
    pub name: &'static str,
    /// The vendor's name for people.
    pub title: &'static str,
    /// What a user should know, in a few sentences.
    pub about: &'static str,
    /// The keys of its account; `None` if its sinks are their own accounts. `url`, `limits` and `time_zone` are added
    /// to every account and not listed here.
    pub account: Option<AccountKind>,
    /// The sources it offers.
    pub sources: &'static [SourceKind],
    /// The sinks it offers.
    pub sinks: &'static [SinkKind],
    /// What a route's `lookup` may read with its account.
    pub lookup: Option<LookupKind>,
    /// A stand-in for the vendor.
    pub sandbox: Option<Sandbox>,
    /// What a starting config says for keys whose value does not follow from their kind, or that may be missing but are needed
    /// to begin with: `account.KEY`, or `KIND.KEY` of a source or sink, and the value as YAML. `KIND.map` is the record of a
    /// sink's route.
    pub start: &'static [(&'static str, &'static str)],
}

/// A stand-in for a vendor, as strict as the vendor. [`sandbox`] serves it with faults and a record of the calls.
#[derive(Clone, Copy)]
pub struct Sandbox {
    /// A fresh one with its own state, which can be looked at under `GET /_sandbox/state`.
    pub router: fn(Clock) -> axum::Router,
    /// The credentials and names that it knows, by the keys of the connector's accounts, sources and sinks; `auth.key` is
    /// `key` within `auth`. A value that
    /// begins with `/` is a path below its URL.
    pub knows: &'static [(&'static str, &'static str)],
}

impl std::fmt::Debug for Sandbox {
    // Only sandboxes take these secrets, but a reader of a log cannot tell.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.knows.iter().map(|(key, _)| key)).finish()
    }
}

/// The account of a connector.
#[derive(Debug)]
pub struct AccountKind {
    /// Its keys.
    pub fields: &'static [Field],
    /// Checks what no single field can say (as "either this or that").
    pub check: fn(&Settings<'_>) -> Vec<Fault>,
    /// The base URL unless the account sets `url`; `None` if it follows from other keys.
    pub url: Option<&'static str>,
    /// The vendor's own limits.
    pub limits: Limits,
    /// The zone in which the vendor's months turn and its times are meant, unless the account sets `time_zone`; `None`:
    /// the config's.
    pub zone: Option<&'static str>,
}

/// How much an account may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Calls a second.
    pub rate: Option<f64>,
    /// Calls at once.
    pub concurrency: Option<u32>,
    /// Calls a month, by the account's zone.
    pub monthly: Option<u64>,
}

/// A kind of source: a webhook preset or a poller.
#[derive(Debug)]
pub struct SourceKind {
    /// Its key in `sources`, as `walla` or `github-hook`.
    pub name: &'static str,
    /// Its keys. `was` and `enabled` are added to every source and not listed here.
    pub fields: &'static [Field],
    /// Which event types it emits, with a sample each.
    pub events: &'static [EventDoc],
    /// Builds it. Only called with settings that passed the check against `fields`.
    pub build: fn(&Build<'_>) -> Result<SourceRole, Vec<Fault>>,
    /// Subscribes a webhook's URL at the vendor, where that can be done by a call.
    pub registrar: Option<RegistrarKind>,
}

/// One type of event that a source emits.
#[derive(Debug)]
pub struct EventDoc {
    /// The type.
    pub kind: &'static str,
    /// When it comes, in a sentence.
    pub about: &'static str,
    /// `data` of a typical event, as JSON text.
    pub sample: &'static str,
}

/// What a source turned out to be.
pub enum SourceRole {
    /// Receives webhooks.
    Hook(Box<dyn Hook>),
    /// Asks for news.
    Poller(Box<dyn Poller>),
    /// Is handed messages.
    Stream(Box<dyn Stream>),
}

/// A kind of sink.
#[derive(Debug)]
pub struct SinkKind {
    /// Its key in `sinks`, as `works`.
    pub name: &'static str,
    /// Its keys. `account` is to be listed if it needs one.
    pub fields: &'static [Field],
    /// What it can do.
    pub verbs: &'static [Verb],
    /// How values are escaped within its mapping.
    pub escape: Escape,
    /// True if a route to it takes `request: { method, path }`.
    pub takes_request: bool,
    /// What to say to someone who wants a verb it lacks, as "use `cases` with `do: complete`".
    pub advice: &'static str,
    /// Builds it. Only called with settings that passed the check against `fields`.
    pub build: fn(&Build<'_>) -> Built<Box<dyn Sink>>,
}

/// What building gives: the thing, or everything that is wrong with its settings.
pub type Built<T> = Result<T, Vec<Fault>>;

/// What a source or sink is built from.
pub struct Build<'a> {
    /// Its name in the config.
    pub name: &'a str,
    /// Its own keys.
    pub settings: Settings<'a>,
    /// Its account, where it names one.
    pub account: Option<Account<'a>>,
    /// The config's time zone, or the account's.
    pub zone: TimeZone,
    /// Talks HTTP.
    pub client: client::Client,
    /// Tells the time.
    pub clock: Clock,
}

/// A configured account, as a source or sink sees it.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// Its name in the config.
    pub name: &'a str,
    /// Its keys.
    pub settings: Settings<'a>,
    /// Its base URL without a trailing slash; empty where the connector has none and the user set none.
    pub url: &'a str,
}

// What the connectors share.
pub mod call;
pub mod client;
mod hooks;
mod lookups;
pub mod notice;
mod pollers;
pub mod reading;
mod registrar;
pub mod sandbox;
pub mod signature;
mod sinks;
pub mod snapshot;
mod streams;
pub mod tokens;
pub mod verify;

// The connectors.
pub mod amqp;
pub mod dooray;
pub mod github;
pub mod http;
pub mod shopify;
pub mod slack;
pub mod standard;
pub mod stripe;
pub mod template;
pub mod walla;
pub mod webhook;
pub mod workfront;
pub mod works;
pub mod worksection;
