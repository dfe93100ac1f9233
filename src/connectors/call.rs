//! Making a [`Call`] and reading an [`Answer`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::client::{Addresses, MAX_ANSWER};
use super::tokens::Tokens;
use super::{Answer, Call};

/// How long to wait for a whole answer unless a connector says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that a vendor's `Retry-After` is believed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(7 * 24);

/// In place of a secret in what people see.
pub const HIDDEN: &str = "***";

/// The characters of an answer that a reason shows at most.
const START: usize = 300;

impl Call {
    /// A call without headers and body to a host that the operator named: any address may be reached, and doubt may
    /// arise unless `method` is GET. People see method and URL without user and password.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        let shown = json!({ "method": method.as_str(), "url": without_password(&url) });
        Self {
            idempotent: method == Method::GET,
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            shown,
            remote_id: None,
            timeout: TIMEOUT,
            longest: MAX_ANSWER,
            addresses: Addresses::Any,
            tokens: None,
            part: Value::Null,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets a JSON body, which people see whole unless [`Call::shown_body`] follows.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
        self.body = Bytes::from(body.to_string());
        self.shown_body(body.clone())
    }

    /// Sets what people see of the body.
    #[must_use]
    pub fn shown_body(mut self, body: Value) -> Self {
        self.shown["body"] = body;
        self
    }

    /// Sets what people see of the URL.
    #[must_use]
    pub fn shown_url(mut self, url: impl Into<String>) -> Self {
        self.shown["url"] = Value::String(url.into());
        self
    }

    /// Says whether sending it twice does no more than sending it once.
    #[must_use]
    pub fn idempotent(mut self, yes: bool) -> Self {
        self.idempotent = yes;
        self
    }

    /// Sets the remote id that a success means.
    #[must_use]
    pub fn remote_id(mut self, id: Option<String>) -> Self {
        self.remote_id = id;
        self
    }

    /// Sets how long to wait for the whole answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how much of an answer is read, in bytes: for vendors that answer with everything at once.
    #[must_use]
    pub fn longest(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// Sends it with an access token, which the client puts in.
    #[must_use]
    pub fn tokens(mut self, tokens: Arc<Tokens>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Sets what its sink must know of it again.
    #[must_use]
    pub fn part(mut self, part: Value) -> Self {
        self.part = part;
        self
    }

    /// Sets whether the URL may lead to a private address.
    #[must_use]
    pub fn addresses(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }
}

fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot have a user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

impl fmt::Debug for Call {
    // URL, headers and body may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.shown)
    }
}

/// A header value that is never shown; `None` if it has characters that no header may have.
#[must_use]
pub fn secret_header(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The value of `Authorization: Basic …` (RFC 7617), which holds the secret as good as open.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The URL of an account, below which paths can be put.
///
/// # Errors
/// It is none, as a sentence.
pub fn base(url: &str) -> Result<Url, String> {
    let url = Url::parse(url).ok().filter(|url| !url.cannot_be_a_base() && url.has_host());
    url.ok_or_else(|| "the account's `url` is no http or https URL".to_owned())
}

/// A path below it. Each part is a segment of its own, percent-encoded: an id with a slash leads nowhere else.
#[must_use]
pub fn below<'a>(base: &Url, path: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    // What `base` gives has segments.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

impl Answer {
    /// The body as JSON; `None` if it is none.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as text, as far as it is UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The start of the body in one line, for a reason that people read.
    #[must_use]
    pub fn start(&self) -> String {
        let text = self.text();
        let line: Vec<&str> = text.split_whitespace().collect();
        let line = line.join(" ");
        if line.is_empty() {
            return "an empty body".to_owned();
        }
        match line.char_indices().nth(START) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// The status and the start of the body: `HTTP 503: try later`.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("HTTP {}: {}", self.status.as_u16(), self.start())
    }

    /// How long `Retry-After` asks to wait: seconds or an HTTP date, at most [`MAX_RETRY_AFTER`].
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let wait = if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            // More digits than fit are a very long time.
            Duration::from_secs(text.parse().unwrap_or(u64::MAX))
        } else {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        };
        Some(wait.min(MAX_RETRY_AFTER))
    }

    /// Where a redirect points to, without query and fragment.
    #[must_use]
    pub fn location(&self) -> Option<String> {
        let text = self.headers.get(LOCATION)?.to_str().ok()?;
        text.split(['?', '#']).next().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    fn answer(retry_after: &str, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(retry_after).expect("a value"));
        Answer { status: StatusCode::SERVICE_UNAVAILABLE, headers, body: Bytes::from(body.to_owned()) }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "1994-11-06T08:49:07Z".parse().expect("a time");
        let wait = |text| answer(text, "").retry_after(now);
        assert_eq!(wait("121"), Some(Duration::from_secs(121)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("99999999999999999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-5"), None);
    }

    #[test]
    fn a_reason_shows_the_start_of_the_answer_in_one_line() {
        assert_eq!(answer("1", "<html>\n  <h1>Busy</h1>\n").summary(), "HTTP 503: <html> <h1>Busy</h1>");
        assert_eq!(answer("1", "").start(), "an empty body");
        assert_eq!(answer("1", &"가".repeat(400)).start().chars().count(), START + 1);
    }

    #[test]
    fn debug_shows_neither_headers_nor_password() {
        let url = Url::parse("https://me:hunter2@erp.acme.kr/x").expect("a URL");
        let call = Call::new(Method::POST, url)
            .header(http::header::AUTHORIZATION, secret_header("Bearer hunter2").expect("a value"))
            .json(&json!({ "token": "hunter2", "n": 1 }))
            .shown_body(json!({ "token": HIDDEN, "n": 1 }));
        insta::assert_snapshot!(
            format!("{call:?}"),
            @r#"Call({"method":"POST","url":"https://erp.acme.kr/x","body":{"token":"***","n":1}})"#
        );
    }
}
