//! How a call shows whom it is from: by the secret in its body, as the page has it, or by a token of the newer OAuth.
//!
//! Source: the vendor's page on the OpenAPI's OAuth 2.0 (`/public/auth/v1/oauth2/token`, client credentials, a token for a
//! day), which says that the secret in the body is to be given up. Whether the Works API wants the secret beside a token
//! is told nowhere: `both` sends it.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use super::answer::said;
use crate::clock::Clock;
use crate::connectors::call::{self, HIDDEN, secret_header};
use crate::connectors::client::Client;
use crate::connectors::tokens::{Renew, Safe, Token, TokenError, Tokens, ends};
use crate::connectors::{Account, Answer, Build, Call};
use crate::outcome::{Outcome, Scope};

/// The words of the account's `auth`.
pub const AUTH: &[&str] = &["body", "oauth", "both"];

/// The path of the token's URL, below the account's.
pub const TOKEN_PATH: &str = "/public/auth/v1/oauth2/token";

/// What marks the call for a token.
const LOGIN: &str = "login";

/// An account's way in.
pub struct Door {
    url: Url,
    client_id: String,
    client_secret: SecretString,
    in_body: bool,
    oauth: Option<(Login, Arc<Tokens>)>,
}

impl Door {
    /// An account's.
    ///
    /// # Errors
    /// What is wrong with the account.
    pub fn of(build: &Build<'_>, account: Account<'_>) -> Result<Self, String> {
        let url = |path: &str| {
            Url::parse(&format!("{}{path}", account.url))
                .map_err(|_| format!("the `url` of the account {:?} is no URL", account.name))
        };
        let client_id = account.settings.text("client_id").unwrap_or_default().to_owned();
        let client_secret = account.settings.secret("client_secret").unwrap_or_default();
        let auth = account.settings.text("auth").unwrap_or("body");
        let oauth = if auth == "body" {
            None
        } else {
            let (client, clock) = (build.client.bare(), build.clock.clone());
            let basic = basic(&client_id, &client_secret);
            let login = Login { client, clock, url: url(TOKEN_PATH)?, basic };
            let renew = || Box::new(login.clone()) as Box<dyn Renew>;
            let tokens = build.client.tokens().of(account.name, &build.clock, renew);
            Some((login, tokens))
        };
        Ok(Self { url: url(super::PATH)?, client_id, client_secret, in_body: auth != "oauth", oauth })
    }

    /// A call with an app's token and parameters.
    pub fn call(&self, method: Method, token: &SecretString, params: &Map<String, Value>) -> Call {
        let body = |secret: &str, token: &str| {
            // The page's table demands the id, its examples leave it out: it is always there.
            let mut body = json!({ "clientId": self.client_id });
            if self.in_body {
                body["clientSecret"] = Value::String(secret.to_owned());
            }
            body["token"] = Value::String(token.to_owned());
            body["params"] = Value::Object(params.clone());
            body
        };
        let call = Call::new(method, self.url.clone())
            .json(&body(self.client_secret.expose_secret(), token.expose_secret()))
            .shown_body(body(HIDDEN, HIDDEN));
        match &self.oauth {
            Some((_, tokens)) => call.tokens(Arc::clone(tokens)),
            None => call,
        }
    }

    /// The call for a new token, which is used for nothing: it shows that the credentials are good. There is no such
    /// call where the secret goes in the body.
    pub fn probe(&self) -> Option<Call> {
        self.oauth.as_ref().map(|(login, _)| login.call())
    }

    /// Reads the answer to [`Door::probe`]; `None` if it is one to another call.
    pub fn probed(&self, call: &Call, answer: &Answer) -> Option<Outcome> {
        let (login, _) = self.oauth.as_ref().filter(|_| call.part == LOGIN)?;
        Some(match read(answer, login.clock.now()) {
            Ok(_) => Outcome::Delivered { remote_id: None },
            Err(error @ TokenError::Refused(_)) => {
                Outcome::Suspend { what: Scope::Account, why: error.to_string(), until: None }
            }
            Err(error @ TokenError::Retry(_)) => Outcome::retry(error.to_string()),
        })
    }
}

/// `None` if id and secret cannot be in a header, which base64 always can.
fn basic(client_id: &str, client_secret: &SecretString) -> Option<HeaderValue> {
    secret_header(&call::basic(client_id, client_secret.expose_secret()))
}

/// Gets a token for the client's credentials.
#[derive(Clone)]
struct Login {
    client: Client,
    clock: Clock,
    url: Url,
    basic: Option<HeaderValue>,
}

impl Login {
    fn call(&self) -> Call {
        const FORM: &str = "grant_type=client_credentials";
        let mut call = Call::new(Method::POST, self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .shown_body(json!(FORM))
            .idempotent(true)
            .part(json!(LOGIN));
        call.body = FORM.into();
        call.headers.extend(self.basic.clone().map(|basic| (AUTHORIZATION, basic)));
        call
    }
}

#[async_trait]
impl Renew for Login {
    async fn renew(&self, _: &Safe) -> Result<Token, TokenError> {
        let answer = self.client.send(&self.call()).await?;
        read(&answer, self.clock.now())
    }
}

/// `{"token_type": "bearer", "expires_in": 86400, "access_token": …}`, or `{code, message, messageDetail}`. What an answer
/// holds is not repeated where it may be a token.
fn read(answer: &Answer, now: Timestamp) -> Result<Token, TokenError> {
    let json = answer.json().unwrap_or_default();
    if let Some(token) = json["access_token"].as_str().filter(|_| answer.status.is_success()) {
        return Token::bearer(token, ends(&json, now))
            .ok_or_else(|| TokenError::Retry("Works gave one that no header takes".to_owned()));
    }
    let status = answer.status;
    let why = match said(answer) {
        Some((Some(code), message)) => format!("HTTP {}: code {code}: {message}", status.as_u16()),
        _ => format!("HTTP {}", status.as_u16()),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(TokenError::Retry(why)),
        _ if status.is_server_error() => Err(TokenError::Retry(why)),
        // A yes without a token and without a code is not the vendor's.
        _ if status.is_success() && said(answer).is_none_or(|(code, _)| code.is_none()) => Err(TokenError::Retry(why)),
        _ => Err(TokenError::Refused(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    fn answered(status: u16, body: &str) -> Result<Option<Timestamp>, TokenError> {
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) };
        read(&answer, Timestamp::UNIX_EPOCH).map(|token| token.expires)
    }

    #[test]
    fn a_token_ends_when_its_answer_says() {
        let day = Some("1970-01-02T00:00:00Z".parse().expect("a time"));
        assert_eq!(answered(200, r#"{"token_type":"bearer","expires_in":86400,"access_token":"t"}"#), Ok(day));
        assert_eq!(answered(200, r#"{"expires_in":"86400","access_token":"t"}"#), Ok(day));
        assert_eq!(answered(200, r#"{"access_token":"t"}"#), Ok(None));
    }

    #[test]
    fn a_refusal_and_a_failure_are_told_apart_and_no_token_is_repeated() {
        let told: Vec<String> = [
            (401, r#"{"code":"902","message":"유효하지 않은 Client Secret"}"#),
            (200, r#"{"code":"901","message":"유효하지 않은 client ID"}"#),
            (403, ""),
            (429, ""),
            (503, ""),
            (200, "<html>"),
            (200, r#"{"access_token":"hunter\u00002"}"#),
        ]
        .into_iter()
        .map(|(status, body)| format!("{:?}", answered(status, body).expect_err("no token")))
        .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        Refused("HTTP 401: code 902: 유효하지 않은 Client Secret")
        Refused("HTTP 200: code 901: 유효하지 않은 client ID")
        Refused("HTTP 403")
        Retry("HTTP 429")
        Retry("HTTP 503")
        Retry("HTTP 200")
        Retry("Works gave one that no header takes")
        "#);
    }
}
