//! What one client, or all of them together, may ask of the intake.

use std::num::NonZeroU32;
use std::time::Duration;

/// The limits of the intake.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest body, in bytes.
    pub body: usize,
    /// The longest head of a request, in bytes; at least 8 KiB.
    pub head: usize,
    /// How many headers a request may have.
    pub headers: usize,
    /// How long a client may take for the head of a request, and how long a connection may lie idle between two.
    pub head_time: Duration,
    /// How long a client may take for the body of a request.
    pub body_time: Duration,
    /// How old a connection may become: it ends with the request then under way. Bounds a client that never reads its
    /// answers.
    pub connection_time: Duration,
    /// How many connections there may be; further ones wait to be accepted.
    pub connections: usize,
    /// How many requests may be read and published at once; further ones are answered 503.
    pub requests: usize,
    /// How many verified requests a second each source may send, and at once; `None`: any number.
    pub rate: Option<NonZeroU32>,
    /// How long the broker may take: senders as Slack wait 3 s in all.
    pub publish: Duration,
    /// How long requests under way may take to finish once the server is to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 1 << 20,
            head: 32 << 10,
            headers: 100,
            head_time: Duration::from_secs(15),
            body_time: Duration::from_secs(20),
            connection_time: Duration::from_mins(10),
            connections: 1_024,
            requests: 256,
            rate: NonZeroU32::new(2_000),
            publish: Duration::from_secs(3),
            drain: Duration::from_secs(10),
        }
    }
}
