//! What a webhook is: verified bytes in, events out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use jiff::Timestamp;
use secrecy::SecretString;

use super::pollers::PollError;
use crate::event::{Event, NewEvent};

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

    /// What reads an event's subject anew before any route sees it, if the source is to (`fetch: true`).
    fn fetch(&self) -> Option<Arc<dyn Fetch>> {
        None
    }

    /// The secret that its URL has to end in, where the sender can prove itself by nothing else; the first of several.
    fn path_secret(&self) -> Option<&SecretString> {
        None
    }

    /// What the sender wants to hear once its events are durable; `None`: `202 {"id": …}`.
    fn accepted(&self) -> Option<HookAnswer> {
        None
    }
}

/// A request to a hook.
#[derive(Clone, Copy)]
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

impl fmt::Debug for HookRequest<'_> {
    // Path, query, headers and body may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookRequest({}, {} bytes)", self.method, self.body.len())
    }
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

/// Reads the subject of a webhook's event anew at the vendor, after the event is durable and before any route sees it.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The event as the routes are to see it.
    ///
    /// # Errors
    /// [`PollError`]; the event waits.
    async fn fetch(&self, event: &Event) -> Result<Fetched, PollError>;
}

/// What reading anew came to.
#[derive(Debug)]
pub enum Fetched {
    /// This goes on instead. Its id is kept, so that repetitions collapse.
    Event(Box<NewEvent>),
    /// The vendor no longer has it: the event goes on as it came, and this is said of it.
    Gone(String),
}
