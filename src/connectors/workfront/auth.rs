//! Access tokens: by login, by a signed token of Workfront's OAuth 2 (JWT), by a credential of Adobe's IMS.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::answer;
use super::jwt::Key;
use crate::clock::Clock;
use crate::connectors::client::{Addresses, Client};
use crate::connectors::tokens::{Renew, Safe, Token, TokenError, ends};
use crate::connectors::{Answer, Call};

/// The header of a session.
pub(super) const SESSION: HeaderName = HeaderName::from_static("sessionid");

/// How long a signed token is good for. Source: "a very short lived token (a few minutes)".
const SIGNED: SignedDuration = SignedDuration::from_mins(3);

/// What a token is asked for with.
#[derive(Debug)]
pub(super) enum How {
    Login { username: String, password: SecretString },
    Jwt { client_id: String, secret: SecretString, customer: String, user: String, key: Box<Key>, bearer: bool },
    Ims { client_id: String, secret: SecretString, scope: String },
}

/// Asks for tokens.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) url: Url,
    pub(super) addresses: Addresses,
    pub(super) how: How,
}

#[async_trait]
impl Renew for Renewal {
    async fn renew(&self, _: &Safe) -> Result<Token, TokenError> {
        let now = self.clock.now();
        let call = self.call(now)?;
        let answer = self.client.send(&call).await?;
        let said = answer.json().unwrap_or_default();
        let text = match self.how {
            How::Login { .. } => said["data"]["sessionID"].as_str().or_else(|| said["sessionID"].as_str()),
            How::Jwt { .. } | How::Ims { .. } => said["access_token"].as_str(),
        };
        let text = text.filter(|text| !text.is_empty() && answer.status.is_success());
        let Some(text) = text else { return Err(refused(&answer, &said)) };
        let token = match &self.how {
            How::Login { .. } | How::Jwt { bearer: false, .. } => Token::header(SESSION, text, ends(&said, now)),
            How::Jwt { .. } | How::Ims { .. } => Token::bearer(text, ends(&said, now)),
        };
        token.ok_or_else(|| TokenError::Retry("it holds characters that no HTTP header takes".to_owned()))
    }

    /// A session that has ended is told in an `error` too, with a 401 or without.
    fn refuses(&self, answer: &Answer) -> bool {
        // An error is short: what is long is not read twice.
        let is_short = answer.body.len() < 64 << 10;
        answer.status == StatusCode::UNAUTHORIZED || (is_short && answer::refuses_credentials(answer))
    }
}

impl Renewal {
    fn call(&self, now: Timestamp) -> Result<Call, TokenError> {
        let pairs: Vec<(&str, String)> = match &self.how {
            How::Login { username, password } => {
                vec![("username", username.clone()), ("password", password.expose_secret().to_owned())]
            }
            How::Jwt { client_id, secret, customer, user, key, .. } => {
                let exp = now.saturating_add(SIGNED).unwrap_or(Timestamp::MAX).as_second();
                let token =
                    key.sign(&json!({ "iss": customer, "sub": user, "exp": exp })).map_err(TokenError::Retry)?;
                let secret = secret.expose_secret().to_owned();
                vec![("client_id", client_id.clone()), ("client_secret", secret), ("jwt_token", token)]
            }
            How::Ims { client_id, secret, scope } => vec![
                ("grant_type", "client_credentials".to_owned()),
                ("client_id", client_id.clone()),
                ("client_secret", secret.expose_secret().to_owned()),
                ("scope", scope.clone()),
            ],
        };
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(pairs);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut call = Call::new(Method::POST, self.url.clone()).header(CONTENT_TYPE, form).addresses(self.addresses);
        call.body = Bytes::from(body.finish());
        Ok(call)
    }
}

/// Whether the credentials are wrong or the vendor is in trouble. Nothing that was sent is in the reason.
fn refused(answer: &Answer, said: &Value) -> TokenError {
    let why = match (said["error"].as_str(), said["error_description"].as_str()) {
        (Some(error), Some(more)) => format!("HTTP {}: {error}: {more}", answer.status.as_u16()),
        _ => answer::summary(answer),
    };
    let denied = !said["error"].is_null() && answer.status.is_success();
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => TokenError::Retry(why),
        status if status.is_client_error() || status.is_redirection() || denied => TokenError::Refused(why),
        _ => TokenError::Retry(why),
    }
}
