//! Who may come in at the admin listener.
//!
//! # Two kinds of visitors
//! Programs show the token (`Authorization: Bearer`) with each request. People show it once, on the login page, and
//! then have a cookie that says who they are and until when, signed with the token: it ends when its time is over or
//! the token is changed, and the bridge remembers nothing. The cookie opens the dashboard, never the API.
//!
//! # Forged requests
//! The cookie is `SameSite=Strict`; a request that changes something is refused if the browser says that it comes from
//! another site (`Sec-Fetch-Site`, `Origin`); and a form of the dashboard holds a token of its own, bound to the cookie.
//! Where no admin token is set the listener is on loopback, and only requests to a loopback host name are answered.

use axum::http::{HeaderMap, Method, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::who;
use crate::clock::Clock;

/// The cookie of the dashboard.
const COOKIE: &str = "dari";
/// How long one need not log in again.
const LASTS: SignedDuration = SignedDuration::from_hours(12);

/// What is asked of a visitor.
#[derive(Debug)]
pub struct Doors {
    token: Option<SecretString>,
    /// Signs cookies and forms: the token, or something random that ends with the process.
    key: SecretString,
    clock: Clock,
}

/// A person at the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// Who it is, for the journal.
    pub who: String,
    /// What their forms are bound to.
    session: String,
}

impl Doors {
    /// Opens to whoever shows this token; without one, to this machine.
    #[must_use]
    pub fn new(token: Option<SecretString>, clock: Clock) -> Self {
        let key = token.clone().unwrap_or_else(|| hex::encode(rand::random::<[u8; 32]>()).into());
        Self { token, key, clock }
    }

    /// True if a token is asked for.
    #[must_use]
    pub fn are_locked(&self) -> bool {
        self.token.is_some()
    }

    /// True if a request shows the token.
    #[must_use]
    pub fn has_token(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        self.is_token(given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default())
    }

    /// True if this is the token.
    #[must_use]
    pub fn is_token(&self, given: &str) -> bool {
        let Some(token) = &self.token else { return false };
        given.as_bytes().ct_eq(token.expose_secret().as_bytes()).into()
    }

    /// Who comes to the dashboard; `None`: somebody who has to log in.
    #[must_use]
    pub fn visitor(&self, headers: &HeaderMap) -> Option<Visitor> {
        if !self.are_locked() {
            return Some(Visitor { who: "the dashboard on this machine".to_owned(), session: String::new() });
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find_map(|(name, value)| if name == COOKIE { self.read(value) } else { None })
    }

    /// The value of `Set-Cookie` for somebody who has shown the token.
    #[must_use]
    pub fn welcome(&self, name: &str, over_tls: bool) -> String {
        let until = self.clock.now().saturating_add(LASTS).unwrap_or(Timestamp::MAX).as_second();
        let claim = URL_SAFE_NO_PAD.encode(format!("{until} {}", who::tidy(name)));
        let cookie = format!("{claim}.{}", self.sign("session", &claim));
        let secure = if over_tls { "; Secure" } else { "" };
        format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", LASTS.as_secs())
    }

    /// The value of `Set-Cookie` for somebody who leaves.
    #[must_use]
    pub fn farewell() -> String {
        format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    /// What a visitor's forms hold.
    #[must_use]
    pub fn form(&self, visitor: &Visitor) -> String {
        self.sign("form", &visitor.session)
    }

    /// True if a form is of this visitor.
    #[must_use]
    pub fn is_form(&self, visitor: &Visitor, given: &str) -> bool {
        self.form(visitor).as_bytes().ct_eq(given.as_bytes()).into()
    }

    fn read(&self, cookie: &str) -> Option<Visitor> {
        let (claim, signature) = cookie.split_once('.')?;
        let good: bool = self.sign("session", claim).as_bytes().ct_eq(signature.as_bytes()).into();
        if !good {
            return None;
        }
        let claim_text = String::from_utf8(URL_SAFE_NO_PAD.decode(claim).ok()?).ok()?;
        let (until, name) = claim_text.split_once(' ')?;
        let over = until.parse::<i64>().ok()? <= self.clock.now().as_second();
        let who = if name.is_empty() { "the dashboard".to_owned() } else { format!("{name} (dashboard)") };
        (!over).then(|| Visitor { who, session: cookie.to_owned() })
    }

    fn sign(&self, what: &str, text: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key.expose_secret().as_bytes()) else {
            return String::new();
        };
        mac.update(what.as_bytes());
        mac.update(b"\n");
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
}

/// True if the request goes to this machine by a name of its own: a page in a browser cannot reach the listener under a
/// name that it has made lead here.
#[must_use]
pub fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|v| v.to_str().ok()) else { return false };
    let Ok(url) = url::Url::parse(&format!("http://{host}/")) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// True if a browser says that a page of another site sends this.
#[must_use]
pub fn is_of_another_site(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text("host").unwrap_or_default();
    let origin = text("origin").is_some_and(|origin| origin.split_once("://").is_none_or(|(_, of)| of != host));
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    let fetched = text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    origin || (changes && fetched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (header::HeaderName::from_static(name), value.parse().expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    fn doors(token: Option<&str>) -> (Doors, Clock) {
        let clock = Clock::manual("2026-11-22T09:00:00Z".parse().expect("a time"));
        (Doors::new(token.map(SecretString::from), clock.clone()), clock)
    }

    fn cookie(doors: &Doors, name: &str) -> String {
        doors.welcome(name, false).split_once(';').expect("attributes").0.to_owned()
    }

    #[test]
    fn only_loopback_hosts_are_local() {
        for host in ["localhost:8081", "127.0.0.1:8081", "[::1]:8081"] {
            assert!(host_is_local(&headers(&[("host", host)])), "{host}");
        }
        for host in ["evil.example:8081", "localhost.evil.example", "10.0.0.1", ""] {
            assert!(!host_is_local(&headers(&[("host", host)])), "{host}");
        }
    }

    #[test]
    fn another_sites_request_is_told_from_ours() {
        let host = ("host", "localhost:8081");
        let strange = |method: Method, more: (&'static str, &str)| is_of_another_site(&method, &headers(&[host, more]));
        assert!(!strange(Method::POST, ("origin", "http://localhost:8081")));
        assert!(!strange(Method::POST, ("sec-fetch-site", "same-origin")));
        assert!(!strange(Method::GET, ("sec-fetch-site", "cross-site")), "a link in a message leads here");
        for (name, value) in [
            ("origin", "http://localhost:9999"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(strange(Method::POST, (name, value)), "{name}: {value}");
        }
    }

    #[test]
    fn the_token_is_compared_whole() {
        let (doors, _) = doors(Some("sesame"));
        assert!(doors.has_token(&headers(&[("authorization", "Bearer sesame")])));
        for wrong in ["Bearer sesam", "Bearer sesame1", "Basic sesame", "sesame"] {
            assert!(!doors.has_token(&headers(&[("authorization", wrong)])), "{wrong}");
        }
    }

    #[test]
    fn without_a_token_there_is_none_to_guess() {
        let (doors, _) = doors(None);
        assert!(!doors.is_token(""));
        assert!(doors.visitor(&HeaderMap::new()).is_some());
    }

    #[test]
    fn a_cookie_says_who_until_its_time_is_over() {
        let (doors, clock) = doors(Some("sesame"));
        let shown = headers(&[("cookie", &format!("other=1; {}", cookie(&doors, "김하나")))]);
        assert_eq!(doors.visitor(&shown).expect("known").who, "김하나 (dashboard)");
        clock.advance(SignedDuration::from_hours(13));
        assert_eq!(doors.visitor(&shown), None);
    }

    #[test]
    fn a_cookie_that_was_changed_or_is_of_another_token_opens_nothing() {
        let (doors, clock) = doors(Some("sesame"));
        let good = cookie(&doors, "kim");
        let (claim, signature) = good.split_once('.').expect("signed");
        let later = URL_SAFE_NO_PAD.encode("99999999999 root");
        for bad in [claim.to_owned(), format!("dari={later}.{signature}"), format!("{claim}."), "dari=.".to_owned()] {
            assert_eq!(doors.visitor(&headers(&[("cookie", &bad)])), None, "{bad}");
        }
        let other = Doors::new(Some("abracadabra".into()), clock);
        assert_eq!(other.visitor(&headers(&[("cookie", &good)])), None);
    }

    #[test]
    fn a_form_is_of_one_visitor() {
        let (doors, _) = doors(Some("sesame"));
        let visitor = |name: &str| doors.visitor(&headers(&[("cookie", &cookie(&doors, name))])).expect("known");
        let form = doors.form(&visitor("kim"));
        assert!(doors.is_form(&visitor("kim"), &form));
        assert!(!doors.is_form(&visitor("lee"), &form));
        assert!(!doors.is_form(&visitor("kim"), ""));
    }
}
