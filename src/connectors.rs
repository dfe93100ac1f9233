//! Everything about one vendor is one folder here: its manifest, its sources and sinks, its sandbox.
//!
//! # Layout
//! A connector declares itself in a [`Manifest`]. Three small traits are what it can do: a [`Hook`] reads webhooks, a
//! [`Poller`] asks for news, a [`Sink`] turns an [`Operation`] into a [`Call`] and the vendor's [`Answer`] into an
//! [`Outcome`]. All of a sink that decides is pure; the [`client`] does the talking.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, Method, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::event::NewEvent;
use crate::outcome::{Outcome, Verb};
use crate::settings::{Fault, Field, Settings};
use crate::template::Escape;

/// Every connector, in the order of the documentation.
pub static ALL: &[&Manifest] = &[
    &walla::MANIFEST,
    &works::MANIFEST,
    &slack::MANIFEST,
    &worksection::MANIFEST,
    &github::MANIFEST,
    &stripe::MANIFEST,
    &shopify::MANIFEST,
    &standard::MANIFEST,
    &webhook::MANIFEST,
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
    /// A stand-in for the vendor.
    pub sandbox: Option<Sandbox>,
}

/// A stand-in for a vendor, as strict as the vendor. [`sandbox`] serves it with faults and a record of the calls.
#[derive(Clone, Copy)]
pub struct Sandbox {
    /// A fresh one with its own state, which can be looked at under `GET /_sandbox/state`.
    pub router: fn(Clock) -> axum::Router,
    /// The credentials and names that it knows, by the keys of the connector's accounts, sources and sinks. A value that
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

// === Sinks ===

/// What a route wants done: already decided, mapped and resolved against the link.
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    /// What to do.
    pub verb: Verb,
    /// The rendered `map`.
    pub fields: &'a Map<String, Value>,
    /// The vendor's id of the linked record, if there is one.
    pub remote_id: Option<&'a str>,
    /// The rendered `request` of the route, for a sink that takes one.
    pub request: Option<&'a Request>,
    /// Stable across the attempts of one delivery, unique among deliveries.
    pub webhook_id: &'a str,
    /// A W3C `traceparent` of this attempt within the event's trace.
    pub traceparent: &'a str,
    /// The time of this attempt.
    pub now: Timestamp,
}

/// The rendered `request` of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The method.
    #[serde(skip)]
    pub method: Method,
    /// The path below the sink's URL, already percent-encoded, with or without a query.
    pub path: String,
}

/// A destination.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Whether a `map` may set this top-level field, so that a config is refused before its first event is.
    ///
    /// # Errors
    /// What was expected, as the rest of a sentence that begins with the field's name.
    fn takes(&self, name: &str) -> Result<(), String> {
        let _ = name;
        Ok(())
    }

    /// Turns an operation into the call that performs it, checked against everything the vendor is known to refuse.
    ///
    /// # Errors
    /// The reason why no vendor would take this record, naming the field.
    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String>;

    /// Reads the vendor's answer to a call.
    fn classify(&self, call: &Call, answer: &Answer) -> Outcome;

    /// What becomes of a call whose effect is unknown, unless the route says otherwise.
    fn on_doubt(&self, verb: Verb) -> OnDoubt;
}

/// What becomes of a delivery of which it is unknown whether it took effect (promise P6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDoubt {
    /// A person decides.
    Hold,
    /// Again, with the same `webhook-id`: the receiver is to know it.
    Retry,
}

/// A call to a vendor, ready to be sent.
#[derive(Clone)]
pub struct Call {
    /// Method.
    pub method: Method,
    /// Whole URL. May hold secrets (Slack's incoming webhooks): show `shown` instead.
    pub url: url::Url,
    /// Headers; those with secrets are marked sensitive.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// What people may see of it in traces and dry runs: `{ "method", "url", "body" }` with secrets left out.
    pub shown: Value,
    /// True if sending it twice does no more than sending it once: no doubt can arise from it.
    pub idempotent: bool,
    /// The remote id that a success means, where the vendor gives none back.
    pub remote_id: Option<String>,
    /// How long to wait for the whole answer.
    pub timeout: Duration,
    /// Whether the URL may lead to a private address.
    pub addresses: client::Addresses,
}

/// A vendor's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most [`client::MAX_ANSWER`] bytes of it.
    pub body: Bytes,
}

// === Hooks ===

/// Reads the webhooks of one source.
pub trait Hook: Send + Sync {
    /// Which methods it takes.
    fn methods(&self) -> &[Method] {
        const POST: &[Method] = &[Method::POST];
        POST
    }

    /// Headers that prove who the sender is beyond those that every hook drops: they do not travel with the event.
    fn secret_headers(&self) -> Vec<HeaderName> {
        Vec::new()
    }

    /// True if anybody can send here: told at every start.
    fn unverified(&self) -> bool {
        false
    }

    /// Checks that the request comes from who it says, over the raw bytes, in constant time.
    ///
    /// # Errors
    /// [`Refusal`] with a reason that tells the sender what is missing, and an attacker nothing.
    fn verify(&self, request: &HookRequest<'_>, now: Timestamp) -> Result<(), Refusal>;

    /// Reads the events of a verified request.
    ///
    /// # Errors
    /// [`Refusal`] if the request makes no sense.
    fn read(&self, request: &HookRequest<'_>) -> Result<Reading, Refusal>;

    /// What the sender wants to hear once its events are durable; `None`: `202 {"id": …}`.
    fn accepted(&self) -> Option<HookAnswer> {
        None
    }
}

/// A request to a hook.
#[derive(Clone, Copy, Debug)]
pub struct HookRequest<'a> {
    /// Method.
    pub method: &'a Method,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Query string without the `?`.
    pub query: &'a str,
    /// The path's last segment in `/hooks/{source}/{secret}`.
    pub path_secret: Option<&'a str>,
    /// Raw body.
    pub body: &'a Bytes,
}

/// What a hook read.
#[derive(Debug)]
pub enum Reading {
    /// Events, in order; none is fine. All are made durable, or none is answered for.
    Events(Vec<NewEvent>),
    /// Nothing happened; the sender only wants this answer (a probe, a challenge). The text goes to the journal.
    Answer(HookAnswer, &'static str),
}

/// An answer to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookAnswer {
    /// Status.
    pub status: StatusCode,
    /// Media type.
    pub content_type: &'static str,
    /// Body.
    pub body: String,
}

/// Why a webhook was refused. The display text goes to the sender and to `dari events --refused`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 401: the signature, the credentials or the time are wrong.
    #[error("{0}")]
    Unauthorized(String),
    /// 400: it makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// 415: neither JSON nor a form, or a content encoding.
    #[error("{0}")]
    Unsupported(String),
}

// === Pollers ===

/// Asks a vendor for news.
#[async_trait]
pub trait Poller: Send + Sync {
    /// How long to wait between two polls.
    fn every(&self) -> Duration;

    /// Reads what happened since `cursor` (`None` at the first poll). The events of one page become durable before its
    /// cursor is stored, so a crash in between repeats a page and never skips one.
    ///
    /// # Errors
    /// [`PollError`]; the cursor stays where it was.
    async fn poll(&self, cursor: Option<&Value>) -> Result<Page, PollError>;
}

/// What one poll brought.
#[derive(Debug)]
pub struct Page {
    /// News, oldest first.
    pub events: Vec<NewEvent>,
    /// Where to go on.
    pub cursor: Value,
    /// True if there is more right now.
    pub more: bool,
    /// Something a person should read in the log and the journal, as how much the start date leaves out.
    pub note: Option<String>,
}

/// Why a poll failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// Passing: again at the next turn, or after `after`.
    #[error("{why}")]
    Retry {
        /// The vendor's word on when to come back.
        after: Option<Duration>,
        /// True if that word is for the whole account (429), false if only for this source.
        account: bool,
        /// In words.
        why: String,
    },
    /// Credentials or permissions: the account is suspended until a person resumes it.
    #[error("{why}")]
    Suspend {
        /// In words.
        why: String,
    },
    /// What came makes no sense or would do harm: this source stops and asks a person.
    #[error("{why}")]
    Stop {
        /// In words.
        why: String,
    },
}

// What the connectors share.
pub mod call;
pub mod client;
pub mod reading;
pub mod sandbox;
pub mod signature;
pub mod verify;

// The connectors.
pub mod github;
pub mod http;
pub mod shopify;
pub mod slack;
pub mod standard;
pub mod stripe;
pub mod walla;
pub mod webhook;
pub mod works;
pub mod worksection;
