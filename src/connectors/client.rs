//! The one HTTP client of all connectors.

use crate::connectors::{Answer, Call};

/// The longest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 1 << 20;

/// Which addresses a call may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// Only public ones: what the resolver says is checked before a connection is made.
    Public,
    /// Any: the operator named the host and allowed it.
    Any,
}

/// Sends [`Call`]s. No redirects are followed.
#[derive(Clone, Debug)]
pub struct Client {}

impl Client {
    /// Builds the client.
    ///
    /// # Errors
    /// [`ClientError`] with the fix, as when the machine has no CA certificates.
    pub fn new() -> Result<Self, ClientError> {
        todo!()
    }

    /// Sends a call and reads the answer.
    ///
    /// # Errors
    /// [`SendError`], which says whether anything can have reached the vendor.
    pub async fn send(&self, call: &Call) -> Result<Answer, SendError> {
        let _ = call;
        todo!()
    }
}

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The TLS part.
    #[error("no TLS: {0}; on Debian: apt-get install ca-certificates")]
    Tls(String),
}

/// No answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Certainly nothing reached the vendor: no connection, a refused address, a name that does not resolve.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have taken effect.
    #[error("no answer: {0}")]
    NoAnswer(String),
}
