//! Asks Worksection: an action is one URL with its parameters, signed or with a token.
//!
//! Sources: worksection.com, "API" (start, authorization, limits). The hash is over all parameters in the order they are
//! sent. Whether over their encoded bytes or over the plain text the page does not say, for its example needs no encoding:
//! encoded is what the old official SDK and most public code hash, plain what the official Postman collection does.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, header};
use jiff::tz::TimeZone;
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use super::answer::{self, LONGEST_ANSWER, Meaning};
use super::oauth;
use crate::clock::Clock;
use crate::connectors::call;
use crate::connectors::client::{Addresses, Client};
use crate::connectors::tokens::Tokens;
use crate::connectors::{Account, Build, Call, PollError};
use crate::settings::Settings;

/// The longest URL, in bytes: the page says 8 kB, above which the answer is 414. What is longer goes in a body.
const LONGEST_URL: usize = 8_000;

/// What stays as it is in a query: what PHP, which Worksection is written in, leaves as it is. So the same bytes result
/// if the vendor encodes the parameters again before it hashes them.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Parameters that no trace shows.
const HIDDEN: [&str; 1] = ["http_pass"];

/// Parameters in the order they are sent.
pub(super) type Params<'a> = &'a [(&'a str, String)];

/// Where an account's calls go, and what they show.
#[derive(Clone)]
pub(super) struct Door {
    base: Url,
    addresses: Addresses,
    auth: Auth,
}

#[derive(Clone)]
enum Auth {
    /// The admin API's key; true: hashed over the plain text.
    Admin(SecretString, bool),
    /// A user's token.
    Token(Arc<Tokens>),
}

impl Door {
    /// An account's.
    ///
    /// # Errors
    /// What is wrong with the account, as the rest of a sentence.
    pub(super) fn of(build: &Build<'_>) -> Result<Self, String> {
        let account = build.account.ok_or("needs an account")?;
        let settings = &account.settings;
        let (base, addresses) = base(account)?;
        let is_set = |key| settings.text(key).is_some_and(|text| !text.is_empty());
        let auth = if is_set("admin_key") {
            Auth::Admin(settings.secret("admin_key").unwrap_or_default(), settings.text("hash") == Some("raw"))
        } else if is_set("client_id") {
            Auth::Token(oauth::tokens(build, account)?)
        } else {
            return Err("needs an account with `admin_key`, or with `client_id` and what belongs to it".to_owned());
        };
        let path = if matches!(auth, Auth::Admin(..)) { "api/admin/v2/" } else { "api/oauth2" };
        let base = base.join(path).map_err(|_| "the account's `url` is no http or https URL")?;
        Ok(Self { base, addresses, auth })
    }

    /// True if calls are made as the account's owner: then no user is known to the vendor.
    pub(super) fn is_admin(&self) -> bool {
        matches!(self.auth, Auth::Admin(..))
    }

    /// A call that only reads.
    pub(super) fn read(&self, action: &str, params: Params<'_>) -> Call {
        self.call(Method::GET, action, params).idempotent(true).longest(LONGEST_ANSWER)
    }

    /// A call that does something.
    pub(super) fn write(&self, action: &str, params: Params<'_>) -> Call {
        self.call(Method::POST, action, params)
    }

    fn call(&self, method: Method, action: &str, params: Params<'_>) -> Call {
        let all =
            || std::iter::once(("action", action)).chain(params.iter().map(|(name, value)| (*name, value.as_str())));
        let sent = joined(all(), encoded);
        let signed = match &self.auth {
            Auth::Token(_) => sent,
            Auth::Admin(key, raw) => {
                let hash = if *raw { hashed(&joined(all(), str::to_owned), key) } else { hashed(&sent, key) };
                format!("{sent}&hash={hash}")
            }
        };
        let shown = params.iter().filter(|(name, _)| !HIDDEN.contains(name));
        let shown: Map<String, Value> = shown.map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let mut url = self.base.clone();
        let fits = url.as_str().len() + 1 + signed.len() <= LONGEST_URL;
        if fits {
            url.set_query(Some(&signed));
        }
        let mut call = Call::new(if fits { method } else { Method::POST }, url)
            .shown_url(format!("{}?action={action}", self.base))
            .shown_body(Value::Object(shown))
            .addresses(self.addresses);
        if !fits {
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            call.body = signed.into();
        }
        call.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        match &self.auth {
            Auth::Admin(..) => call,
            Auth::Token(tokens) => call.tokens(Arc::clone(tokens)),
        }
    }
}

/// The account's URL, and which addresses it may lead to.
fn base(account: Account<'_>) -> Result<(Url, Addresses), String> {
    let host = account.settings.text("host").unwrap_or_default();
    let (text, addresses) = match (account.url, host) {
        ("", "") => {
            return Err("needs an account with a `host`: the name in its address, as acme.worksection.com".to_owned());
        }
        ("", host) => (format!("https://{host}/"), Addresses::Public),
        (url, _) => (format!("{url}/"), Addresses::Any),
    };
    Ok((call::base(&text)?, addresses))
}

fn joined<'a>(params: impl Iterator<Item = (&'a str, &'a str)>, write: fn(&str) -> String) -> String {
    let pairs: Vec<String> = params.map(|(name, value)| format!("{}={}", write(name), write(value))).collect();
    pairs.join("&")
}

/// As PHP's `urlencode`: a space is `+`.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string().replace("%20", "+")
}

/// `md5(query . key)` in hexadecimal digits.
pub(super) fn hashed(query: &str, key: &SecretString) -> String {
    hex::encode(Md5::new().chain_update(query).chain_update(key.expose_secret()).finalize())
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Reply {
    /// The whole answer.
    Yes(Value),
    /// The vendor's no: there is no such thing, or a parameter does not fit. Its code, and in words.
    No(Option<i64>, String),
}

/// One account, as pollers and registrars ask it.
pub(super) struct Api {
    door: Door,
    client: Client,
    clock: Clock,
    /// Of the vendor's times.
    pub(super) zone: TimeZone,
}

impl Api {
    /// The account of a build.
    ///
    /// # Errors
    /// What is wrong with the account.
    pub(super) fn of(build: &Build<'_>) -> Result<Self, String> {
        let (client, clock) = (build.client.clone(), build.clock.clone());
        Ok(Self { door: Door::of(build)?, client, clock, zone: build.zone.clone() })
    }

    /// Asks.
    pub(super) async fn ask(&self, action: &str, params: Params<'_>) -> Result<Reply, PollError> {
        self.send(&self.door.read(action, params)).await
    }

    /// Asks for what must be there: `data` of the answer.
    pub(super) async fn get(&self, action: &str, params: Params<'_>) -> Result<Value, PollError> {
        match self.ask(action, params).await? {
            Reply::Yes(mut body) => Ok(body["data"].take()),
            Reply::No(_, why) => Err(PollError::stop(format!("{action}: {why}"))),
        }
    }

    /// Does something.
    pub(super) async fn act(&self, action: &str, params: Params<'_>) -> Result<Reply, PollError> {
        self.send(&self.door.write(action, params)).await
    }

    async fn send(&self, call: &Call) -> Result<Reply, PollError> {
        let retry = |after, account, why| Err(PollError::Retry { after, account, why });
        let answer = self.client.send(call).await?;
        match answer::meaning(&answer, self.clock.now()) {
            Meaning::Yes(body) => Ok(Reply::Yes(body)),
            Meaning::No { code, why } => Ok(Reply::No(code, why)),
            Meaning::Slow(after, why) => retry(Some(after), true, why),
            Meaning::Locked(why) => Err(PollError::Suspend { why: format!("worksection refused the account: {why}") }),
            Meaning::Broken(after, why) => retry(after, false, format!("worksection answered {why}")),
            Meaning::Lost(why) => {
                retry(None, false, format!("worksection answered {why}: is the account's host right?"))
            }
        }
    }
}

/// What is wrong with the keys of an account, in words. Whether there is a `host` or a `url` is seen where it is needed.
pub(super) fn wrong(settings: &Settings<'_>) -> Option<&'static str> {
    let has = |key| settings.get(key).is_some();
    let oauth = ["client_id", "client_secret", "refresh_token", "code", "redirect_uri"].into_iter().any(has);
    let host = settings.text("host").unwrap_or("acme.worksection.com");
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'));
    let sources_of_tokens = (has("refresh_token"), has("code"));
    Some(match (has("admin_key"), oauth) {
        _ if !is_host => "`host` is a name alone, as acme.worksection.com",
        (_, false) => return None,
        (true, true) => "two ways in: expected either `admin_key`, or `client_id` and what belongs to it",
        (false, true) if !has("client_id") => "`client_id` is missing",
        (false, true) if !has("client_secret") => "`client_secret` is missing beside `client_id`",
        (false, true) => match sources_of_tokens {
            (false, false) => "no token: expected `refresh_token`, or `code` and `redirect_uri`",
            (true, true) => "two tokens: expected either `refresh_token`, or `code` and `redirect_uri`",
            (false, true) if !has("redirect_uri") => "`redirect_uri` is missing beside `code`",
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(raw: bool) -> Door {
        let key = "7776461cd931e7b1c8e9632ff8e979ce".into();
        let base = Url::parse("https://youraccount.worksection.com/api/admin/v2/").unwrap();
        Door { base, addresses: Addresses::Public, auth: Auth::Admin(key, raw) }
    }

    #[test]
    fn the_hash_is_the_pages() {
        let call = door(false).read("get_tasks", &[("id_project", "26".to_owned())]);
        assert_eq!(
            call.url.as_str(),
            "https://youraccount.worksection.com/api/admin/v2/?action=get_tasks&id_project=26&hash=ec3ab2c28f21b4a07424f8ed688d6644"
        );
        insta::assert_snapshot!(format!("{call:?}"), @r#"Call({"method":"GET","url":"https://youraccount.worksection.com/api/admin/v2/?action=get_tasks","body":{"id_project":"26"}})"#);
    }

    #[test]
    fn the_bytes_that_are_sent_are_those_that_are_hashed() {
        let params = [("title", "견적 & 'offer' ~*".to_owned()), ("tags", "a,b".to_owned())];
        for raw in [false, true] {
            let call = door(raw).write("post_task", &params);
            let (sent, hash) = call.url.query().unwrap().rsplit_once("&hash=").unwrap();
            assert_eq!(sent, "action=post_task&title=%EA%B2%AC%EC%A0%81+%26+%27offer%27+%7E%2A&tags=a%2Cb");
            let over = if raw { "action=post_task&title=견적 & 'offer' ~*&tags=a,b" } else { sent };
            assert_eq!(hash, hashed(over, &"7776461cd931e7b1c8e9632ff8e979ce".into()));
        }
    }

    #[test]
    fn what_is_too_long_for_an_address_goes_in_a_body() {
        let call = door(false).write("post_task", &[("text", "가".repeat(1_000))]);
        assert_eq!((call.method.as_str(), call.url.query()), ("POST", None));
        let body = String::from_utf8(call.body.to_vec()).unwrap();
        let (sent, hash) = body.rsplit_once("&hash=").unwrap();
        assert_eq!(hash, hashed(sent, &"7776461cd931e7b1c8e9632ff8e979ce".into()));
        assert!(door(false).write("post_task", &[("text", "a".repeat(7_000))]).body.is_empty());
    }
}
