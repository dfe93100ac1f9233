//! Requests to Notes, and what its answers mean. One place for both: the source and the sink differ only in what they do about it.

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use url::Url;

use crate::connectors::call::{base, below, secret_header};
use crate::connectors::{Account, Answer, Build, Call};
use crate::outcome::{Outcome, Scope};
use crate::settings::Fault;

/// An account, ready to be called.
#[derive(Clone)]
pub(super) struct Door {
    base: Url,
    token: HeaderValue,
}

impl Door {
    /// That of a source or sink.
    ///
    /// # Errors
    /// What is wrong with the account, at its place.
    pub(super) fn of(build: &Build<'_>) -> Result<Self, Vec<Fault>> {
        let fault = |why: &str| vec![Fault::new(build.settings.spot("account"), why)];
        let Account { settings, url, .. } = build.account.ok_or_else(|| fault("needs an account"))?;
        let base = base(url).map_err(|why| fault(&why))?;
        let token = format!("Bearer {}", settings.text("token").unwrap_or_default());
        let token = secret_header(&token).ok_or_else(|| fault("the token has a character that no header may have"))?;
        Ok(Self { base, token })
    }

    /// A request to a path.
    pub(super) fn call(&self, method: Method, path: &[&str]) -> Call {
        Call::new(method, below(&self.base, path.iter().copied())).header(AUTHORIZATION, self.token.clone())
    }
}

/// What an answer means that is no yes; `None`: it is one.
pub(super) fn refusal(answer: &Answer, now: Timestamp) -> Option<Outcome> {
    let why = answer.summary();
    let later = |account| Outcome::Retry { after: answer.retry_after(now), account, why: why.clone() };
    match answer.status {
        // Notes answers 200 to what it does not do.
        status if status.is_success() => match answer.json() {
            Some(body) if body["error"].is_null() => None,
            Some(_) => Some(Outcome::reject(why)),
            // As from a proxy in between: whether Notes has seen it is unknown, and it can be asked again.
            None => Some(Outcome::Unknown { why }),
        },
        StatusCode::UNAUTHORIZED => Some(Outcome::Suspend { what: Scope::Account, why, until: None }),
        StatusCode::FORBIDDEN => Some(Outcome::refused(why)),
        StatusCode::TOO_MANY_REQUESTS => Some(later(true)),
        StatusCode::REQUEST_TIMEOUT => Some(later(false)),
        status if status.is_server_error() => Some(later(false)),
        _ => Some(Outcome::reject(why)),
    }
}
