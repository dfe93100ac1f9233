//! What a destination is: operation in, call out, answer in, outcome out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::{Addresses, Client, SendError};
use super::tokens::Tokens;
use crate::outcome::{Outcome, Verb};

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

    /// Makes the call. Only a sink that needs more than one request for it says something else here; whatever comes
    /// before the last of them must be harmless to repeat.
    ///
    /// # Errors
    /// Those of [`Client::send`], about the request that takes effect.
    async fn send(&self, client: &Client, call: &Call) -> Result<Answer, SendError> {
        client.send(call).await
    }

    /// The call that asks the vendor a question, harmless and without effect; `None` if it cannot be asked that. It is
    /// sent by [`Client::send`], within the account's limits and charged to its month like any other.
    ///
    /// [`Ask::Doubt`] is put for calls that are not [`Call::idempotent`], a second after the call at the earliest.
    ///
    /// # Errors
    /// Why these values cannot be asked for, naming the field: a call in doubt is then held for a person, a `match`
    /// becomes a dead letter.
    fn ask(&self, question: &Ask<'_>) -> Option<Result<Call, String>> {
        let _ = question;
        None
    }

    /// Puts a question of [`Sink::ask`].
    ///
    /// # Errors
    /// Those of [`Client::send`].
    async fn put(&self, client: &Client, question: &Call) -> Result<Answer, SendError> {
        client.send(question).await
    }

    /// Reads the answer to a question: the remote ids of the records that fit, none if there is none for certain. Two are
    /// enough to say that there are several.
    ///
    /// To [`Ask::Doubt`] one means that the call took effect and made or changed that record, which the link then leads
    /// to; none, that the call had no effect: it is made again.
    ///
    /// # Errors
    /// The outcome if the vendor did not say: [`Outcome::Retry`] to ask again later, [`Outcome::Suspend`] to stop what it
    /// names and ask again then, [`Outcome::Reject`] if it never will: a call in doubt is then held for a person (as
    /// where a scope is missing that only this question needs), a `match` becomes a dead letter.
    fn answered(&self, question: &Ask<'_>, answer: &Answer) -> Result<Vec<String>, Outcome> {
        let (_, _) = (question, answer);
        Ok(Vec::new())
    }

    /// True if it can be asked [`Ask::Match`]: only then may a route have a `match`.
    fn matches(&self) -> bool {
        false
    }

    /// A harmless call that shows whether credentials and permissions are good, read by [`Sink::classify`]; `None` where
    /// the vendor has none.
    fn probe(&self) -> Option<Call> {
        None
    }

    /// How many deliveries one call may carry; from 2 on [`Sink::merge`] and [`Sink::split`] are used.
    fn batch(&self) -> usize {
        1
    }

    /// One call that does what these do; `None` if they do not go together. At least two, at most [`Sink::batch`], all of
    /// which went together with the first one by one. It is one call of the account's, and charged once.
    fn merge(&self, calls: &[&Call]) -> Option<Call> {
        let _ = calls;
        None
    }

    /// The outcome of each of the merged calls, in their order; `None` if the answer does not tell them apart. Then
    /// [`Sink::classify`] says what the whole came to: [`Outcome::Reject`] that certainly nothing was done, so that each is
    /// sent alone; after [`Outcome::Delivered`] each is in doubt; anything else is what each came to.
    fn split(&self, merged: &Call, calls: &[&Call], answer: &Answer) -> Option<Vec<Outcome>> {
        let (_, _, _) = (merged, calls, answer);
        None
    }

    /// What becomes of a call whose effect is unknown, unless the route says otherwise. [`OnDoubt::Find`] for
    /// [`Verb::Create`] says that this sink can be asked [`Ask::Doubt`]: only then may a route say `on_doubt: find`.
    fn on_doubt(&self, verb: Verb) -> OnDoubt;
}

/// A question to a vendor.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Did an earlier attempt at this operation take effect? Its record is the answer.
    Doubt {
        /// The operation, prepared as then.
        operation: &'a Operation<'a>,
        /// When that attempt began: nothing older can be it.
        since: Timestamp,
    },
    /// Which records have these values? For an upsert's `match`.
    Match(&'a Map<String, Value>),
}

/// What becomes of a delivery of which it is unknown whether it took effect (promise P6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDoubt {
    /// The vendor is asked first ([`Ask::Doubt`]); where it did not take effect it is made again.
    Find,
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
    /// How many bytes of the answer's body are read at most.
    pub longest: usize,
    /// Whether the URL may lead to a private address.
    pub addresses: Addresses,
    /// The access token that it is sent with, put in by the client; the headers then hold none.
    pub tokens: Option<Arc<Tokens>>,
    /// What its sink must know of it again when it merges calls or makes them in several steps. Not shown to people.
    pub part: Value,
}

/// A vendor's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most [`Call::longest`] bytes of it.
    pub body: Bytes,
}
