//! Asks Dooray. All that is asked here can be asked again, but for [`Api::post`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use super::envelope::{self, Said};
use super::limits;
use crate::clock::Clock;
use crate::connectors::call::{base, below, secret_header};
use crate::connectors::client::{Addresses, Client, MAX_ANSWER};
use crate::connectors::{Account, Answer, Build, Call, PollError};

/// The most that a page has.
pub(super) const PAGE: u64 = 100;

/// The hosts by the account's `cloud`. Source: helpdesk.dooray.com, "End Point".
const CLOUDS: [(&str, &str); 4] = [
    ("public", "https://api.dooray.com"),
    ("gov", "https://api.gov-dooray.com"),
    ("gov-work", "https://api.gov-dooray.co.kr"),
    ("fin", "https://api.dooray.co.kr"),
];

/// Where an account's calls go, and what they show.
#[derive(Clone)]
pub(super) struct Door {
    base: Url,
    token: HeaderValue,
    addresses: Addresses,
}

impl Door {
    /// An account's.
    ///
    /// # Errors
    /// What is wrong with the account, as the rest of a sentence.
    pub(super) fn of(account: Account<'_>) -> Result<Self, String> {
        let cloud = account.settings.text("cloud").unwrap_or("public");
        let (url, addresses) = match (account.url, CLOUDS.iter().find(|(name, _)| *name == cloud)) {
            ("", Some((_, host))) => (*host, Addresses::Public),
            ("", None) => return Err(format!("there is no cloud {cloud:?}")),
            (url, _) => (url, Addresses::Any),
        };
        let token = account.settings.secret("token").unwrap_or_default();
        let token = secret_header(&format!("dooray-api {}", token.expose_secret()));
        let token = token.ok_or("the account's token holds characters that no HTTP header takes")?;
        Ok(Self { base: base(url)?, token, addresses })
    }

    /// A call to a path of these segments, each percent-encoded.
    pub(super) fn call(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Call {
        let mut url = below(&self.base, path.iter().copied());
        if !query.is_empty() {
            // `+` of a zone becomes `%2B`: unencoded it would arrive as a space.
            url.query_pairs_mut().extend_pairs(query);
        }
        Call::new(method, url)
            .header(AUTHORIZATION, self.token.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .addresses(self.addresses)
    }
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Reply {
    /// The vendor's answer.
    Yes(Said),
    /// 403 or 404: there is no such thing, or not for this account. In words.
    No(StatusCode, String),
    /// More than is read of an answer.
    Long,
}

/// One account, as pollers and registrars ask it.
pub(super) struct Api {
    door: Door,
    client: Client,
    clock: Clock,
    /// The bucket is empty until then.
    not_before: Mutex<Option<Timestamp>>,
}

impl Api {
    /// The account of a build.
    ///
    /// # Errors
    /// What is wrong with the account.
    pub(super) fn of(build: &Build<'_>) -> Result<Self, String> {
        let account = build.account.ok_or("needs an account")?;
        let (client, clock) = (build.client.clone(), build.clock.clone());
        Ok(Self { door: Door::of(account)?, client, clock, not_before: Mutex::default() })
    }

    /// Asks, and waits first if the bucket was empty.
    pub(super) async fn ask(&self, path: &[&str], query: &[(&str, String)]) -> Result<Reply, PollError> {
        self.send(&self.door.call(Method::GET, path, query)).await
    }

    /// Asks for what must be there.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Said, PollError> {
        must(self.ask(path, query).await?)
    }

    /// Makes something.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Said, PollError> {
        must(self.send(&self.door.call(Method::POST, path, &[]).json(body)).await?)
    }

    /// All pages of a list, by number from 0.
    pub(super) async fn all(&self, path: &[&str], query: &[(&str, String)]) -> Result<Vec<Value>, PollError> {
        let mut all = Vec::new();
        for page in 0_u64.. {
            let paged = [("page", page.to_string()), ("size", PAGE.to_string())];
            let said = self.get(path, &[query, &paged].concat()).await?;
            let items = list(said.result)?;
            let (count, total) = (items.len() as u64, said.total);
            all.extend(items);
            // Without a count a full page means that there may be more.
            let whole = total.map_or(count < PAGE, |total| all.len() as u64 >= total);
            if count == 0 || whole {
                break;
            }
        }
        Ok(all)
    }

    async fn send(&self, call: &Call) -> Result<Reply, PollError> {
        self.wait().await?;
        let answer = self.client.send(call).await?;
        let now = self.clock.now();
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner) =
            limits::before_next(&answer.headers).and_then(|wait| now.saturating_add(wait).ok());
        read(&answer, now)
    }

    /// Waits for a bucket that was empty. A long wait is left to the poll loop.
    async fn wait(&self) -> Result<(), PollError> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let until = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.map(|until| Duration::try_from(until.duration_since(self.clock.now())).unwrap_or_default());
        match left.filter(|left| !left.is_zero()) {
            None => {}
            Some(left) if left <= PATIENCE => tokio::time::sleep(left).await,
            Some(left) => {
                let why = "dooray's bucket of calls is empty".to_owned();
                return Err(PollError::Retry { after: Some(left), account: true, why });
            }
        }
        Ok(())
    }
}

fn must(reply: Reply) -> Result<Said, PollError> {
    match reply {
        Reply::Yes(said) => Ok(said),
        Reply::No(_, why) => Err(PollError::stop(why)),
        Reply::Long => Err(PollError::stop("dooray answered more than the 1 MiB that is read of an answer")),
    }
}

fn read(answer: &Answer, now: Timestamp) -> Result<Reply, PollError> {
    let why = format!("dooray answered {}", envelope::summary(answer));
    let status = answer.status;
    Err(match status {
        StatusCode::OK | StatusCode::CREATED if answer.body.len() >= MAX_ANSWER => return Ok(Reply::Long),
        StatusCode::OK | StatusCode::CREATED => match Said::read(answer) {
            Some(said) if said.is_yes(status) => return Ok(Reply::Yes(said)),
            Some(said) if said.success == Some(false) => PollError::stop(why),
            _ => PollError::retry(None, format!("{why}: is the account's url right?")),
        },
        StatusCode::UNAUTHORIZED => PollError::Suspend {
            why: format!("dooray refused the account's token ({why}); it is under 개인설정 > API > 개인 인증 토큰"),
        },
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => return Ok(Reply::No(status, why)),
        StatusCode::TOO_MANY_REQUESTS => {
            let after = Some(limits::after_429(answer, now));
            PollError::Retry { after, account: true, why: "dooray asks to slow down (429)".to_owned() }
        }
        StatusCode::REQUEST_TIMEOUT => PollError::retry(None, why),
        _ if status.is_server_error() => PollError::retry(answer.retry_after(now), why),
        _ => PollError::stop(why),
    })
}

/// A list under `result`; null is an empty one.
pub(super) fn list(result: Value) -> Result<Vec<Value>, PollError> {
    match result {
        Value::Array(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        _ => Err(PollError::stop("dooray's result is no list")),
    }
}
