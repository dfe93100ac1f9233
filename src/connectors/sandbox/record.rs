//! What a sandbox was asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::Fault;
use crate::clock::Clock;
use crate::connectors::call::HIDDEN;

/// How many calls are remembered.
pub const MAX_CALLS: usize = 1_000;

/// One call.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    /// Its number, from 0.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Method.
    pub method: String,
    /// Path, with the query.
    pub path: String,
    /// Headers by lower-case name; `authorization` is not shown.
    pub headers: BTreeMap<String, String>,
    /// Body as text.
    pub body: String,
    /// Which fault it had.
    pub fault: Option<&'static str>,
    /// The answer's status; `None`: not answered, or not yet.
    pub status: Option<u16>,
}

/// The calls of one sandbox. Clones share them.
#[derive(Clone, Debug)]
pub struct Calls {
    clock: Clock,
    calls: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    next: u64,
    last: VecDeque<Recorded>,
}

impl Calls {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, calls: Arc::default() }
    }

    /// The last [`MAX_CALLS`] calls, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Recorded> {
        self.log().last.iter().cloned().collect()
    }

    /// How many calls there were in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.log().next
    }

    pub(super) fn begin(&self, head: &http::request::Parts, body: &Bytes, fault: Option<Fault>) -> u64 {
        let shown = |name: &http::HeaderName, value: &http::HeaderValue| match name.as_str() {
            "authorization" => HIDDEN.to_owned(),
            _ => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), shown(name, value))).collect();
        let at = self.clock.now();
        let mut log = self.log();
        let number = log.next;
        log.next += 1;
        if log.last.len() == MAX_CALLS {
            log.last.pop_front();
        }
        log.last.push_back(Recorded {
            number,
            at,
            method: head.method.to_string(),
            path: head.uri.to_string(),
            headers,
            body: String::from_utf8_lossy(body).into_owned(),
            fault: fault.map(Fault::name),
            status: None,
        });
        number
    }

    pub(super) fn end(&self, number: u64, status: StatusCode) {
        if let Some(call) = self.log().last.iter_mut().find(|call| call.number == number) {
            call.status = Some(status.as_u16());
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
