//! The one HTTP client of all connectors.
//!
//! It is exact about one thing above all: whether a call that got no answer can have reached the vendor
//! ([`SendError`]). Redirects are never followed, for they would carry a body and its secrets to a host that nobody
//! named.

use std::any::Any;
use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use crate::connectors::tokens::{Registry, TokenError};
use crate::connectors::{Answer, Call};
use crate::store::Store;

pub mod addresses;
mod download;

/// The longest answer that is read, in bytes, unless [`Call::longest`] says otherwise. What comes after is left unread.
pub const MAX_ANSWER: usize = 1 << 20;

/// How long to wait for a connection: name, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

// Shorter than the keep-alive of the servers in use (5 s at the least): a connection that the server closes while a
// call is on its way leaves that call in doubt.
const IDLE: Duration = Duration::from_secs(4);

/// Which addresses a call may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// Only public ones: what the resolver says is checked before a connection is made. Proxies from the environment
    /// are not used, for they would resolve the name themselves.
    Public,
    /// Any: the operator named the host and allowed it.
    Any,
}

/// Sends [`Call`]s. No redirects are followed. Clones share their connections; calls to [`Addresses::Public`] and
/// [`Addresses::Any`] never do.
#[derive(Clone, Debug)]
pub struct Client {
    connections: Arc<Inner>,
    tokens: Arc<Registry>,
    meter: Option<Arc<dyn Meter>>,
}

/// Counts an account's calls and holds them back. A source's poller sends through it; a delivery's call is counted
/// with its intent and needs none.
#[async_trait]
pub trait Meter: Send + Sync + std::fmt::Debug {
    /// Waits until the account takes a call, and counts it.
    ///
    /// # Errors
    /// Why it must not be sent now, in words.
    async fn admit(&self) -> Result<Admitted, String>;

    /// Gives a call back that was counted and certainly not sent.
    async fn refund(&self, admitted: &Admitted);
}

/// A call that a [`Meter`] let through. Kept until the call has its answer.
pub struct Admitted {
    /// When it was counted: it is given back to the month of that time.
    pub at: Timestamp,
    /// What frees the account for the next call when it is dropped.
    pub permit: Box<dyn Any + Send + Sync>,
}

#[derive(Debug)]
struct Inner {
    public: reqwest::Client,
    any: reqwest::Client,
    /// For this machine: what a proxy calls loopback is the proxy's own.
    here: reqwest::Client,
    /// Why `https` does not work on this machine, if so.
    no_tls: Option<String>,
}

impl Client {
    /// Builds the client, and installs the process's TLS provider if there is none yet.
    ///
    /// A machine without CA certificates is no error here: only calls to `https` fail there, with the fix.
    ///
    /// # Errors
    /// [`ClientError`] if the HTTP library refuses for another reason.
    pub fn new() -> Result<Self, ClientError> {
        // An error only says that a provider was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (any, public) = (builder(), builder().no_proxy().dns_resolver(addresses::PublicOnly));
        match (any.build(), public.build(), builder().no_proxy().build()) {
            (Ok(any), Ok(public), Ok(here)) => Ok(Self::over(Inner { public, any, here, no_tls: None })),
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => Self::without_tls(&error),
        }
    }

    fn without_tls(why: &reqwest::Error) -> Result<Self, ClientError> {
        let build = |builder: reqwest::ClientBuilder| {
            builder.tls_certs_only([]).build().map_err(|e| ClientError::Tls(innermost(&e)))
        };
        Ok(Self::over(Inner {
            public: build(builder().no_proxy().dns_resolver(addresses::PublicOnly))?,
            any: build(builder())?,
            here: build(builder().no_proxy())?,
            no_tls: Some(ClientError::Tls(innermost(why)).to_string()),
        }))
    }

    fn over(connections: Inner) -> Self {
        Self { connections: Arc::new(connections), tokens: Arc::default(), meter: None }
    }

    /// The same client, with tokens that outlive the process in a store.
    #[must_use]
    pub fn keeping_tokens(&self, store: Arc<dyn Store>) -> Self {
        Self { tokens: Arc::new(Registry::keeping(store)), ..self.clone() }
    }

    /// The same client, for a process beside the bridge: see [`Registry::sealed`].
    #[must_use]
    pub fn sealing_tokens(&self) -> Self {
        Self { tokens: Arc::new(Registry::sealed()), ..self.clone() }
    }

    /// The same client, where the credentials of these accounts are others now.
    #[must_use]
    pub fn renewing(&self, changed: &BTreeSet<String>) -> Self {
        Self { tokens: Arc::new(self.tokens.without(changed)), ..self.clone() }
    }

    /// The same connections with no tokens and no meter: for whatever renews a token. It is not to hold all the others, and a
    /// call that was admitted would wait for itself there.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { connections: Arc::clone(&self.connections), tokens: Arc::default(), meter: None }
    }

    /// The access tokens of the accounts, shared by all clones.
    #[must_use]
    pub fn tokens(&self) -> &Registry {
        &self.tokens
    }

    /// The same client, each of whose calls is admitted by a meter first.
    #[must_use]
    pub fn metered(&self, meter: Arc<dyn Meter>) -> Self {
        Self { meter: Some(meter), ..self.clone() }
    }

    /// Sends a call and reads the answer, at most [`Call::longest`] bytes of its body.
    ///
    /// # Errors
    /// [`SendError`], which says whether anything can have reached the vendor. Its text holds neither the URL's path
    /// nor its query.
    pub async fn send(&self, call: &Call) -> Result<Answer, SendError> {
        let Some(meter) = &self.meter else { return self.with_token(call).await };
        let admitted = meter.admit().await.map_err(SendError::NotSent)?;
        let sent = self.with_token(call).await;
        if matches!(sent, Err(SendError::NotSent(_) | SendError::Refused(_))) {
            meter.refund(&admitted).await;
        }
        sent
    }

    async fn with_token(&self, call: &Call) -> Result<Answer, SendError> {
        let Some(tokens) = &call.tokens else { return self.exchange(call).await };
        let mut call = call.clone();
        tokens.put(&mut call.headers).await?;
        let answer = self.exchange(&call).await?;
        if !tokens.refuses(&answer) {
            return Ok(answer);
        }
        // It may have ended early; a call that was not let in did nothing, so it can be made again with a new one.
        tokens.refused(&call.headers).await;
        tokens.put(&mut call.headers).await?;
        self.exchange(&call).await
    }

    fn request(&self, call: &Call) -> Result<reqwest::RequestBuilder, SendError> {
        let inner = &*self.connections;
        if let Some(why) = inner.no_tls.as_ref().filter(|_| call.url.scheme() == "https") {
            return Err(SendError::NotSent(why.clone()));
        }
        let client = match call.addresses {
            Addresses::Any if is_here(&call.url) => &inner.here,
            Addresses::Any => &inner.any,
            Addresses::Public => {
                // The resolver is not asked about a host that is an address already.
                addresses::check_literal(&call.url).map_err(SendError::NotSent)?;
                &inner.public
            }
        };
        Ok(client
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone())
            .body(call.body.clone())
            .timeout(call.timeout))
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, SendError> {
        let request = self.request(call)?;
        let response = request.send().await.map_err(|error| failed(call, &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response, call.longest).await.map_err(|error| failed(call, &error))?;
        Ok(Answer { status, headers, body })
    }
}

fn is_here(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("dari/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE)
}

async fn read(mut response: reqwest::Response, longest: usize) -> Result<Bytes, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        let room = longest - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == longest {
            break;
        }
    }
    Ok(body.freeze())
}

fn failed(call: &Call, error: &reqwest::Error) -> SendError {
    let host = call.url.host_str().unwrap_or("no host");
    // `is_connect` covers name, address, TCP, a proxy's tunnel and the TLS handshake: no byte of the call has left.
    if error.is_connect() || error.is_builder() {
        let why =
            if error.is_timeout() { format!("no connection within {CONNECT_TIMEOUT:?}") } else { innermost(error) };
        return SendError::NotSent(format!("{host}: {why}"));
    }
    let why = if error.is_timeout() { format!("nothing within {:?}", call.timeout) } else { innermost(error) };
    SendError::NoAnswer(format!("{host}: {why}"))
}

/// The cause at the bottom: what is above it says only "error sending request" and the like, or shows the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    cause.map_or_else(|| "the request cannot be built".to_owned(), ToString::to_string)
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
    /// Certainly nothing reached the vendor: it refuses the credentials that the access token is got with.
    #[error("{0}")]
    Refused(String),
    /// It may have taken effect.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

impl From<TokenError> for SendError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Retry(_) => Self::NotSent(error.to_string()),
            TokenError::Refused(_) => Self::Refused(error.to_string()),
        }
    }
}
