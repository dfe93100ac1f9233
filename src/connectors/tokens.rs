//! Access tokens: renewed ahead of their end, one renewal at a time, shared by all that use an account.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Answer;
use super::call::secret_header;
use super::client::SendError;
use crate::clock::Clock;
use crate::store::Store;

/// How long before its end a token is renewed: calls under way and clocks that differ fit into it.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// Why a sealed [`Registry`] has no token of a kind that outlives the process.
pub const SEALED: &str = "its token is renewed by one that is good once, which is the bridge's";

/// An access token as it is put into a call.
#[derive(Clone)]
pub struct Token {
    name: HeaderName,
    value: HeaderValue,
    /// When the vendor stops taking it; `None`: when it says so.
    pub expires: Option<Timestamp>,
}

impl Token {
    /// `Authorization: Bearer …`; `None` if the vendor's token cannot be in a header.
    #[must_use]
    pub fn bearer(token: &str, expires: Option<Timestamp>) -> Option<Self> {
        Some(Self { name: AUTHORIZATION, value: secret_header(&format!("Bearer {token}"))?, expires })
    }

    /// A header of the vendor's own; `None` if the token cannot be in one.
    #[must_use]
    pub fn header(name: HeaderName, token: &str, expires: Option<Timestamp>) -> Option<Self> {
        Some(Self { name, value: secret_header(token)?, expires })
    }
}

/// When the token of an answer ends, by its `expires_in`: seconds, which some vendors write as text.
#[must_use]
pub fn ends(said: &Value, now: Timestamp) -> Option<Timestamp> {
    let seconds = said["expires_in"].as_i64().or_else(|| said["expires_in"].as_str()?.parse().ok())?;
    now.checked_add(SignedDuration::from_secs(seconds)).ok()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Passing: the vendor could not be reached or failed.
    #[error("no access token: {0}")]
    Retry(String),
    /// The credentials that it is renewed with are refused.
    #[error("no access token: {0}")]
    Refused(String),
}

impl From<SendError> for TokenError {
    /// The call for a token bears none itself: that it was not sent says nothing about its credentials.
    fn from(error: SendError) -> Self {
        Self::Retry(error.to_string())
    }
}

/// Gets a new token from the vendor.
#[async_trait]
pub trait Renew: Send + Sync {
    /// A new token. What must outlive the process (a refresh token that the vendor replaces each time) is kept in `safe`
    /// before the token is used.
    ///
    /// # Errors
    /// [`TokenError`].
    async fn renew(&self, safe: &Safe) -> Result<Token, TokenError>;

    /// True for an answer that says that the token is no longer good, and that nothing was done.
    fn refuses(&self, answer: &Answer) -> bool {
        answer.status == StatusCode::UNAUTHORIZED
    }
}

/// The token of one account.
pub struct Tokens {
    renew: Box<dyn Renew>,
    safe: Safe,
    clock: Clock,
    current: tokio::sync::Mutex<Option<Token>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("account", &self.safe.name).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Puts the token into a call's headers, renewed first where it is about to end.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn put(&self, headers: &mut HeaderMap) -> Result<(), TokenError> {
        // Held while it is renewed: everybody else waits for that one renewal.
        let mut current = self.current.lock().await;
        let soon = self.clock.now().saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        let good = current.as_ref().is_some_and(|token| token.expires.is_none_or(|end| end > soon));
        if !good {
            *current = Some(self.renew.renew(&self.safe).await?);
        }
        if let Some(token) = &*current {
            headers.insert(token.name.clone(), token.value.clone());
        }
        Ok(())
    }

    /// True for an answer that says that the token is no longer good ([`Renew::refuses`]).
    pub fn refuses(&self, answer: &Answer) -> bool {
        self.renew.refuses(answer)
    }

    /// Forgets the token that a call with these headers was refused with; false if it was another's by now or is gone.
    pub async fn refused(&self, headers: &HeaderMap) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|token| headers.get(&token.name) == Some(&token.value)) {
            *current = None;
        }
    }
}

/// Keeps what an account's tokens are renewed with, in the store: a crash must not lose the only one that is good.
#[derive(Clone)]
pub struct Safe {
    name: String,
    store: Option<Arc<dyn Store>>,
    sealed: bool,
}

impl Safe {
    /// What was kept last.
    ///
    /// # Errors
    /// [`TokenError::Retry`] while the store cannot be read, or for whoever must not renew at all ([`SEALED`]).
    pub async fn open(&self) -> Result<Option<Value>, TokenError> {
        if self.sealed {
            return Err(TokenError::Retry(SEALED.to_owned()));
        }
        let Some(store) = &self.store else { return Ok(None) };
        store.fact(&self.fact()).await.map_err(|e| TokenError::Retry(e.to_string()))
    }

    /// Keeps this in its place, durably.
    ///
    /// # Errors
    /// [`TokenError::Retry`] while the store cannot be written.
    pub async fn keep(&self, value: Value) -> Result<(), TokenError> {
        let Some(store) = &self.store else { return Ok(()) };
        store.set_fact(&self.fact(), value).await.map_err(|e| TokenError::Retry(e.to_string()))
    }

    fn fact(&self) -> String {
        format!("tokens:{}", self.name)
    }
}

/// The tokens of all accounts, so that sources and sinks of one account share one.
#[derive(Default)]
pub struct Registry {
    store: Option<Arc<dyn Store>>,
    sealed: bool,
    accounts: Mutex<HashMap<String, Arc<Tokens>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// One that keeps what must outlive the process in a store.
    #[must_use]
    pub fn keeping(store: Arc<dyn Store>) -> Self {
        Self { store: Some(store), ..Self::default() }
    }

    /// One for a process beside the bridge: it renews no token that would have to be kept, for that ends the bridge's own.
    #[must_use]
    pub fn sealed() -> Self {
        Self { sealed: true, ..Self::default() }
    }

    /// The same without the tokens of these accounts, whose credentials are others now.
    #[must_use]
    pub fn without(&self, changed: &BTreeSet<String>) -> Self {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        accounts.retain(|account, _| !changed.contains(account));
        Self { store: self.store.clone(), sealed: self.sealed, accounts: Mutex::new(accounts) }
    }

    /// The tokens of an account; made at the first call.
    pub fn of(&self, account: &str, clock: &Clock, renew: impl FnOnce() -> Box<dyn Renew>) -> Arc<Tokens> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let safe = Safe { name: account.to_owned(), store: self.store.clone(), sealed: self.sealed };
            Arc::new(Tokens { renew: renew(), safe, clock: clock.clone(), current: tokio::sync::Mutex::default() })
        };
        Arc::clone(accounts.entry(account.to_owned()).or_insert_with(make))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Counting(Arc<AtomicU32>, Clock);

    #[async_trait]
    impl Renew for Counting {
        async fn renew(&self, _: &Safe) -> Result<Token, TokenError> {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            let expires = self.1.now().saturating_add(SignedDuration::from_mins(10)).ok();
            Ok(Token::bearer(&format!("t{n}"), expires).expect("a header"))
        }
    }

    #[tokio::test]
    async fn a_token_is_shared_renewed_once_and_again_when_it_is_refused() {
        let (renewed, clock) = (Arc::<AtomicU32>::default(), Clock::system(1));
        let registry = Registry::default();
        let make = || Box::new(Counting(Arc::clone(&renewed), clock.clone())) as Box<dyn Renew>;
        let (a, b) = (registry.of("wf", &clock, make), registry.of("wf", &clock, make));
        let (mut first, mut second) = (HeaderMap::new(), HeaderMap::new());
        let (one, two) = tokio::join!(a.put(&mut first), b.put(&mut second));
        assert_eq!((one, two), (Ok(()), Ok(())));
        assert_eq!((renewed.load(Ordering::Relaxed), &first), (1, &second));
        assert!(!format!("{a:?} {registry:?} {first:?}").contains("t0"));

        a.refused(&first).await;
        b.put(&mut second).await.expect("a token");
        a.refused(&first).await;
        b.put(&mut first).await.expect("a token");
        assert_eq!((renewed.load(Ordering::Relaxed), first), (2, second));
    }
    #[tokio::test]
    async fn other_credentials_have_another_token_and_the_same_keep_theirs() {
        let (renewed, clock) = (Arc::<AtomicU32>::default(), Clock::system(1));
        let registry = Registry::default();
        let make = || Box::new(Counting(Arc::clone(&renewed), clock.clone())) as Box<dyn Renew>;
        let (kept, changed) = (registry.of("kept", &clock, make), registry.of("changed", &clock, make));
        let next = registry.without(&BTreeSet::from(["changed".to_owned()]));
        assert!(Arc::ptr_eq(&kept, &next.of("kept", &clock, make)));
        assert!(!Arc::ptr_eq(&changed, &next.of("changed", &clock, make)));
        // What is still under way goes on with what it has.
        assert!(Arc::ptr_eq(&changed, &registry.of("changed", &clock, make)));
    }
}
