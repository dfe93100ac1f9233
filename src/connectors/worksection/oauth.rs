//! A user's token, by OAuth 2.0: lives a day, is renewed with another that lives a month and is replaced each time.
//!
//! Source: worksection.com, "OAuth 2.0": a renewal "will invalidate the old tokens". So the new pair is in the store before it
//! is used, the one before it stays beside it, and whoever is refused looks first whether another process has renewed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use url::Url;

use super::client::encoded;
use crate::clock::Clock;
use crate::connectors::client::{Addresses, Client};
use crate::connectors::tokens::{Renew, Safe, Token, TokenError, Tokens, ends};
use crate::connectors::{Account, Answer, Build, Call};

/// Where tokens are got unless the account has a `url`.
const HOST: &str = "https://worksection.com";
/// How long an access token lives if the vendor does not say: a day by the page.
const LIFE: SignedDuration = SignedDuration::from_hours(24);
/// A token that was kept is used if it lives so much longer.
const AHEAD: SignedDuration = SignedDuration::from_mins(2);

/// The tokens of an account.
///
/// # Errors
/// What is wrong with the account, as the rest of a sentence.
pub(super) fn tokens(build: &Build<'_>, account: Account<'_>) -> Result<Arc<Tokens>, String> {
    let (base, addresses) =
        if account.url.is_empty() { (HOST, Addresses::Public) } else { (account.url, Addresses::Any) };
    let url = |path: &str| Url::parse(&format!("{base}/oauth2/{path}")).map_err(|_| "the account's url is no URL");
    let secret = |key| account.settings.secret(key);
    let start = match (secret("refresh_token"), secret("code")) {
        (Some(token), _) => Start::Token(token),
        (None, Some(code)) => {
            Start::Code { code, redirect: account.settings.text("redirect_uri").unwrap_or_default().to_owned() }
        }
        (None, None) => return Err("needs an account with `refresh_token` or `code`".to_owned()),
    };
    let renewal = Renewal {
        client: build.client.bare(),
        clock: build.clock.clone(),
        token: url("token")?,
        refresh: url("refresh")?,
        addresses,
        client_id: account.settings.text("client_id").unwrap_or_default().to_owned(),
        client_secret: secret("client_secret").unwrap_or_default(),
        start,
        state: Mutex::default(),
    };
    Ok(build.client.tokens().of(account.name, &build.clock, || Box::new(renewal)))
}

/// What the config has.
enum Start {
    Token(SecretString),
    Code { code: SecretString, redirect: String },
}

impl Start {
    /// Tells whether what is kept began with this: a new one in the config is to be used instead.
    fn mark(&self) -> String {
        let (Self::Token(secret) | Self::Code { code: secret, .. }) = self;
        hex::encode(&Sha256::digest(secret.expose_secret())[..16])
    }
}

/// What is kept in the store.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// The mark of the [`Start`] that it came from.
    start: String,
    access_token: String,
    refresh_token: String,
    expires: Timestamp,
    /// The refresh token before this one: good if the vendor never gave the new one effect.
    #[serde(default)]
    before: Option<String>,
}

#[derive(Default)]
struct State {
    /// A pair that the store did not take yet: the only one that is good.
    unsaved: Option<Kept>,
    /// The access token that was given out last: if it is asked for again it was refused.
    given: String,
}

struct Renewal {
    client: Client,
    clock: Clock,
    token: Url,
    refresh: Url,
    addresses: Addresses,
    client_id: String,
    client_secret: SecretString,
    start: Start,
    state: Mutex<State>,
}

#[async_trait]
impl Renew for Renewal {
    async fn renew(&self, safe: &Safe) -> Result<Token, TokenError> {
        let mut state = self.state.lock().await;
        if let Some(pair) = state.unsaved.clone() {
            return self.keep(pair, safe, &mut state).await;
        }
        let kept = self.kept(safe).await?;
        let soon = self.clock.now().saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.expires > soon && kept.access_token != state.given) {
            return given(kept, &mut state);
        }
        let refused = match self.renewed(kept.as_ref()).await {
            Ok(pair) => return self.keep(pair, safe, &mut state).await,
            Err(TokenError::Refused(why)) => why,
            Err(passing) => return Err(passing),
        };
        // Another process may have been faster: its pair is the good one.
        match self.kept(safe).await? {
            Some(now) if kept.as_ref().is_none_or(|kept| kept.refresh_token != now.refresh_token) => {
                given(&now, &mut state)
            }
            _ => Err(TokenError::Refused(format!(
                "worksection refused to renew it ({refused}): make a new `code` or `refresh_token` for the account, as \
                 docs/vendors/worksection.md says"
            ))),
        }
    }
}

fn given(kept: &Kept, state: &mut State) -> Result<Token, TokenError> {
    state.given.clone_from(&kept.access_token);
    Token::bearer(&kept.access_token, Some(kept.expires))
        .ok_or_else(|| TokenError::Refused("worksection's token has characters that no HTTP header takes".to_owned()))
}

impl Renewal {
    /// What is in the store, if it came from what the config has.
    async fn kept(&self, safe: &Safe) -> Result<Option<Kept>, TokenError> {
        let kept = safe.open().await?.and_then(|value| serde_json::from_value::<Kept>(value).ok());
        Ok(kept.filter(|kept| kept.start == self.start.mark()))
    }

    /// Stores a new pair, and only then lets it be used.
    async fn keep(&self, pair: Kept, safe: &Safe, state: &mut State) -> Result<Token, TokenError> {
        state.unsaved = Some(pair.clone());
        let value = serde_json::to_value(&pair).map_err(|error| TokenError::Retry(error.to_string()))?;
        safe.keep(value).await?;
        state.unsaved = None;
        given(&pair, state)
    }

    /// A new pair from the vendor: by the newest token first, then by what may still be good.
    async fn renewed(&self, kept: Option<&Kept>) -> Result<Kept, TokenError> {
        let mut tokens: Vec<&str> = Vec::new();
        if let Some(kept) = kept {
            tokens.push(&kept.refresh_token);
            tokens.extend(kept.before.as_deref());
        }
        if let Start::Token(token) = &self.start {
            tokens.push(token.expose_secret());
        }
        let mut refused = None;
        for token in tokens {
            let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
            match self.asked(&self.refresh, &form, Some(token)).await {
                Err(TokenError::Refused(why)) => _ = refused.get_or_insert(why),
                other => return other,
            }
        }
        match &self.start {
            // A code is good once, and for ten minutes.
            Start::Code { code, redirect } if kept.is_none() => {
                let form = [
                    ("grant_type", "authorization_code"),
                    ("code", code.expose_secret()),
                    ("redirect_uri", redirect.as_str()),
                ];
                self.asked(&self.token, &form, None).await
            }
            _ => Err(TokenError::Refused(refused.unwrap_or_else(|| "there is no token".to_owned()))),
        }
    }

    async fn asked(&self, url: &Url, form: &[(&str, &str)], before: Option<&str>) -> Result<Kept, TokenError> {
        let secret = self.client_secret.expose_secret();
        let all = [("client_id", self.client_id.as_str()), ("client_secret", secret)].into_iter();
        let pairs: Vec<String> =
            all.chain(form.iter().copied()).map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mut call = Call::new(Method::POST, url.clone()).addresses(self.addresses).timeout(Duration::from_secs(20));
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        call.body = pairs.join("&").into();
        let answer = self.client.send(&call).await?;
        self.read(&answer, before)
    }

    fn read(&self, answer: &Answer, before: Option<&str>) -> Result<Kept, TokenError> {
        let body = answer.json().unwrap_or_default();
        let text = |key: &str| body[key].as_str().filter(|text| !text.is_empty());
        if let (Some(access), Some(refresh)) = (text("access_token"), text("refresh_token")) {
            let now = self.clock.now();
            let end = ends(&body, now).unwrap_or_else(|| now.saturating_add(LIFE).unwrap_or(Timestamp::MAX));
            return Ok(Kept {
                start: self.start.mark(),
                access_token: access.to_owned(),
                refresh_token: refresh.to_owned(),
                expires: end,
                before: before.map(str::to_owned),
            });
        }
        Err(refusal(answer.status, &body))
    }
}

/// Errors come with HTTP 200, too. Nothing of the body but its words is told: it may hold a token.
fn refusal(status: StatusCode, body: &Value) -> TokenError {
    let word =
        |keys: &[&str]| keys.iter().find_map(|key| body[*key].as_str()).map(|text| text.chars().take(200).collect());
    let error: Option<String> = word(&["error", "status"]);
    let about: Option<String> = word(&["errorDescription", "error_description", "message"]);
    let why = match (error, about) {
        (Some(error), Some(about)) => format!("{}: {error}: {about}", status.as_u16()),
        (Some(one), None) | (None, Some(one)) => format!("{}: {one}", status.as_u16()),
        (None, None) => format!("{}: no token in the answer", status.as_u16()),
    };
    let passing =
        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT;
    let said = body["error"].is_string() || body["message"].is_string() || status.is_client_error();
    let slow = why.to_lowercase().contains("too many requests");
    if !said || passing || slow { TokenError::Retry(why) } else { TokenError::Refused(why) }
}
