//! HMAC in a header: the shape that most vendors share, GitHub, Slack and Shopify among them.

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::standard::BASE64;
use super::{TOLERANCE, fresh, mismatch, needed, refused};
use crate::connectors::Refusal;

/// Which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-1, which some old senders have.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How the signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, of either case.
    Hex,
    /// Base64, padded or not.
    Base64,
}

/// Where the sender's time is, and how old it may be.
#[derive(Clone, Debug)]
pub struct Window {
    /// The header: seconds or milliseconds since 1970, or RFC 3339.
    pub header: HeaderName,
    /// In seconds.
    pub tolerance: u64,
}

/// What is signed: text around the raw body and the timestamp, as `v0:{{ timestamp }}:{{ body }}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Timestamp,
    Body,
}

impl Signed {
    /// The body alone.
    #[must_use]
    pub fn body() -> Self {
        Self(vec![Piece::Body])
    }

    /// Reads a `signed` template.
    ///
    /// # Errors
    /// In words, for a config: an unknown name, an open bracket, a body that is not signed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or("`{{` without `}}`")?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(match name.trim() {
                "timestamp" => Piece::Timestamp,
                "body" => Piece::Body,
                other => return Err(format!("`{other}` is unknown here, only `timestamp` and `body` can be signed")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        if !pieces.contains(&Piece::Body) {
            return Err("the body is not signed: `{{ body }}` is missing".to_owned());
        }
        Ok(Self(pieces))
    }

    /// True if the sender's time is signed.
    #[must_use]
    pub fn has_timestamp(&self) -> bool {
        self.0.contains(&Piece::Timestamp)
    }
}

/// A keyed hash in a header.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// The header with the signature.
    pub header: HeaderName,
    /// The hash.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// What stands before it, as `sha256=`.
    pub prefix: String,
    /// The sender's time, if it is signed.
    pub window: Option<Window>,
    /// What is signed.
    pub signed: Signed,
    /// The keys, as UTF-8.
    pub secrets: Vec<SecretString>,
}

impl Keyed {
    /// GitHub's. Source: docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.
    #[must_use]
    pub fn github(secrets: Vec<SecretString>) -> Self {
        Self {
            header: HeaderName::from_static("x-hub-signature-256"),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: "sha256=".to_owned(),
            window: None,
            signed: Signed::body(),
            secrets,
        }
    }

    /// Shopify's. Source: shopify.dev/docs/apps/build/webhooks/subscribe/https.
    #[must_use]
    pub fn shopify(secrets: Vec<SecretString>) -> Self {
        Self {
            header: HeaderName::from_static("x-shopify-hmac-sha256"),
            encoding: Encoding::Base64,
            prefix: String::new(),
            ..Self::github(secrets)
        }
    }

    /// Slack's. Source: docs.slack.dev/authentication/verifying-requests-from-slack.
    #[must_use]
    pub fn slack(secrets: Vec<SecretString>) -> Self {
        Self {
            header: HeaderName::from_static("x-slack-signature"),
            prefix: "v0=".to_owned(),
            window: Some(Window { header: HeaderName::from_static("x-slack-request-timestamp"), tolerance: TOLERANCE }),
            signed: Signed(vec![
                Piece::Text("v0:".to_owned()),
                Piece::Timestamp,
                Piece::Text(":".to_owned()),
                Piece::Body,
            ]),
            ..Self::github(secrets)
        }
    }

    /// Checks a request.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`].
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let name = self.header.as_str();
        let text = needed(headers, name)?.trim();
        let Some(text) = text.strip_prefix(&self.prefix) else {
            return Err(refused(format!("the header {name} does not start with {}", self.prefix)));
        };
        let claim = match self.encoding {
            Encoding::Hex => hex::decode(text).map_err(|_| refused(format!("the header {name} is not hexadecimal")))?,
            Encoding::Base64 => BASE64.decode(text).map_err(|_| refused(format!("the header {name} is not base64")))?,
        };
        let sent = match &self.window {
            None => "",
            Some(window) => {
                let sent = needed(headers, window.header.as_str())?;
                fresh(instant(sent, &window.header)?, now, window.tolerance)?;
                sent
            }
        };
        let fits = |secret: &SecretString| {
            let key = secret.expose_secret().as_bytes();
            match self.algorithm {
                Algorithm::Sha1 => self.fits::<Hmac<Sha1>>(key, sent, body, &claim),
                Algorithm::Sha256 => self.fits::<Hmac<Sha256>>(key, sent, body, &claim),
                Algorithm::Sha512 => self.fits::<Hmac<Sha512>>(key, sent, body, &claim),
            }
        };
        if self.secrets.iter().any(fits) { Ok(()) } else { Err(mismatch()) }
    }

    fn fits<M: Mac + KeyInit>(&self, key: &[u8], sent: &str, body: &[u8], claim: &[u8]) -> bool {
        let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return false };
        for piece in &self.signed.0 {
            match piece {
                Piece::Text(text) => mac.update(text.as_bytes()),
                Piece::Timestamp => mac.update(sent.as_bytes()),
                Piece::Body => mac.update(body),
            }
        }
        // An empty key is a secret that everybody knows.
        !key.is_empty() && mac.verify_slice(claim).is_ok()
    }
}

/// Seconds since 1970 of seconds, of milliseconds (what no clock of this century shows as seconds), or of RFC 3339.
fn instant(text: &str, header: &HeaderName) -> Result<i64, Refusal> {
    const LAST_SECOND: i64 = 100_000_000_000;
    let unreadable = || refused(format!("the timestamp in {header} is neither seconds since 1970 nor RFC 3339"));
    match text.parse::<i64>() {
        Ok(number) if number >= LAST_SECOND => Ok(number / 1_000),
        Ok(number) => Ok(number),
        Err(_) => text.parse::<Timestamp>().map(Timestamp::as_second).map_err(|_| unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, headers};
    use super::*;
    use proptest::prelude::*;

    fn secrets(all: &[&str]) -> Vec<SecretString> {
        all.iter().map(|s| SecretString::from(*s)).collect()
    }

    fn signed_by(
        make: fn(Vec<SecretString>) -> Keyed,
        all: &[&str],
        signature: &str,
        body: &str,
    ) -> Result<(), Refusal> {
        let keyed = make(secrets(all));
        let name = keyed.header.as_str().to_owned();
        let headers: HeaderMap = [(name.parse().unwrap(), signature.parse().unwrap())].into_iter().collect();
        keyed.verify(&headers, body.as_bytes(), at(0))
    }

    #[test]
    fn github_signs_the_body() {
        let (secret, body) = ("It's a Secret to Everybody", "Hello, World!");
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let check = |all: &[&str], signature: &str, body: &str| signed_by(Keyed::github, all, signature, body);
        assert_eq!(check(&[secret], good, body), Ok(()));
        assert_eq!(check(&["old", secret], good, body), Ok(()), "rotation");
        assert_eq!(check(&[secret], good, "Hello, World?"), Err(mismatch()));
        assert_eq!(check(&["It's a secret to everybody"], good, body), Err(mismatch()));
        assert_eq!(check(&[], good, body), Err(mismatch()));
        assert_eq!(check(&[secret], &good[..good.len() - 2], body), Err(mismatch()), "a part of it");
        insta::assert_snapshot!(check(&[secret], &good[7..], body).unwrap_err(), @"the header x-hub-signature-256 does not start with sha256=");
        insta::assert_snapshot!(check(&[secret], "sha256=xyz", body).unwrap_err(), @"the header x-hub-signature-256 is not hexadecimal");
        let none = Keyed::github(secrets(&[secret])).verify(&HeaderMap::new(), body.as_bytes(), at(0)).unwrap_err();
        insta::assert_snapshot!(none, @"the header x-hub-signature-256 is missing");
        // HMAC-SHA256 with an empty key over an empty body: anybody can compute it.
        let known = "sha256=b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
        assert_eq!(check(&[""], known, ""), Err(mismatch()), "an empty secret is none");
    }

    #[test]
    fn shopify_signs_the_body_in_base64() {
        let check = |all: &[&str], signature: &str, body: &str| signed_by(Keyed::shopify, all, signature, body);
        let first = "6ufKn53YDwFjg+2HbePaB4Yy4MIOwKA30/gtUW5JHTE=";
        assert_eq!(check(&["hush"], first, "Info"), Ok(()));
        assert_eq!(check(&["secret"], "dzJZAsrKgS3CWXM6rNBGtzgXNyx3e42VtAJkdHRRbhM=", "{}"), Ok(()));
        assert_eq!(check(&["hush"], first, "info"), Err(mismatch()));
        assert_eq!(check(&["husH"], first, "Info"), Err(mismatch()));
        assert_eq!(check(&[], first, "Info"), Err(mismatch()));
        insta::assert_snapshot!(check(&["hush"], "*", "Info").unwrap_err(), @"the header x-shopify-hmac-sha256 is not base64");
    }

    const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const SLACK_SENT: i64 = 1_531_420_618;
    const SLACK_SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const SLACK_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

    fn slack(all: &[&str], sent: &str, body: &str, now: i64) -> Result<(), Refusal> {
        let headers = headers(&[("x-slack-signature", SLACK_SIGNATURE), ("x-slack-request-timestamp", sent)]);
        Keyed::slack(secrets(all)).verify(&headers, body.as_bytes(), at(now))
    }

    #[test]
    fn slack_signs_time_and_body() {
        let sent = SLACK_SENT.to_string();
        assert_eq!(slack(&[SLACK_SECRET], &sent, SLACK_BODY, SLACK_SENT + 300), Ok(()));
        assert_eq!(slack(&["old", SLACK_SECRET], &sent, SLACK_BODY, SLACK_SENT - 300), Ok(()));
        assert_eq!(slack(&[SLACK_SECRET], &sent, &SLACK_BODY.replace("foobar", "foobaz"), SLACK_SENT), Err(mismatch()));
        assert_eq!(slack(&["wrong"], &sent, SLACK_BODY, SLACK_SENT), Err(mismatch()));
        assert_eq!(slack(&[], &sent, SLACK_BODY, SLACK_SENT), Err(mismatch()));
        let later = (SLACK_SENT + 1).to_string();
        assert_eq!(slack(&[SLACK_SECRET], &later, SLACK_BODY, SLACK_SENT), Err(mismatch()), "time is signed");
        assert!(
            slack(&[SLACK_SECRET], &sent, SLACK_BODY, SLACK_SENT + 301).unwrap_err().to_string().contains("301 s old")
        );
        let timeless = headers(&[("x-slack-signature", SLACK_SIGNATURE)]);
        let why = Keyed::slack(secrets(&[SLACK_SECRET])).verify(&timeless, SLACK_BODY.as_bytes(), at(SLACK_SENT));
        insta::assert_snapshot!(why.unwrap_err(), @"the header x-slack-request-timestamp is missing");
    }

    #[test]
    fn every_algorithm_reads_its_own_length() {
        // RFC 2202 and RFC 4231, test case 2: key "Jefe".
        let body = b"what do ya want for nothing?";
        let cases = [
            (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Algorithm::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Algorithm::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (algorithm, signature) in cases {
            let keyed = Keyed { algorithm, prefix: String::new(), ..Keyed::github(secrets(&["Jefe"])) };
            let good = headers(&[("x-hub-signature-256", signature)]);
            assert_eq!(keyed.verify(&good, body, at(0)), Ok(()), "{algorithm:?}");
            let upper = headers(&[("x-hub-signature-256", &signature.to_uppercase())]);
            assert_eq!(keyed.verify(&upper, body, at(0)), Ok(()), "{algorithm:?}");
            assert_eq!(keyed.verify(&good, &body[1..], at(0)), Err(mismatch()), "{algorithm:?}");
        }
    }

    #[test]
    fn any_header_and_encoding_can_be_named() {
        // Shopify's old documentation of its redirects: not a webhook, but a published message in hexadecimal.
        let body = b"code=0907a61c0c8d55e99db179b68161bc00&shop=some-shop.myshopify.com&state=0.6784241404160823&timestamp=1337178173";
        let signature = "700e2dadb827fcc8609e9d5ce208b2e9cdaab9df07390d2cbca10d7c328fc4bf";
        let header = HeaderName::from_static("x-own");
        let keyed = Keyed { header, prefix: String::new(), ..Keyed::github(secrets(&["hush"])) };
        let sent = headers(&[("x-own", signature)]);
        assert_eq!(keyed.verify(&sent, body, at(0)), Ok(()));
        assert_eq!(keyed.verify(&sent, &body[1..], at(0)), Err(mismatch()));
    }

    #[test]
    fn what_is_signed_is_read_from_a_template() {
        assert_eq!(Signed::parse("{{ body }}"), Ok(Signed::body()));
        assert_eq!(Signed::parse("v0:{{ timestamp }}:{{ body }}"), Ok(Keyed::slack(Vec::new()).signed));
        assert!(Signed::parse("{{timestamp}}.{{body}}").unwrap().has_timestamp());
        insta::assert_snapshot!(Signed::parse("{{ timestamp }}").unwrap_err(), @"the body is not signed: `{{ body }}` is missing");
        insta::assert_snapshot!(Signed::parse("{{ url }}{{ body }}").unwrap_err(), @"`url` is unknown here, only `timestamp` and `body` can be signed");
        insta::assert_snapshot!(Signed::parse("{{ body").unwrap_err(), @"`{{` without `}}`");
    }

    #[test]
    fn times_are_read_in_three_ways() {
        let name = HeaderName::from_static("x-time");
        assert_eq!(instant("1531420618", &name), Ok(SLACK_SENT));
        assert_eq!(instant("1531420618123", &name), Ok(SLACK_SENT));
        assert_eq!(instant("2018-07-12T18:36:58Z", &name), Ok(SLACK_SENT));
        assert!(instant("noon", &name).is_err());
    }

    proptest! {
        #[test]
        fn any_header_is_answered(signature in any::<Vec<u8>>(), sent in any::<Vec<u8>>(), body in any::<Vec<u8>>()) {
            for keyed in [Keyed::slack(secrets(&["s"])), Keyed::github(secrets(&["s"])), Keyed::shopify(secrets(&["s"]))] {
                let mut headers = HeaderMap::new();
                if let Ok(value) = http::HeaderValue::from_bytes(&signature) {
                    headers.insert(keyed.header.clone(), value);
                }
                if let Ok(value) = http::HeaderValue::from_bytes(&sent) {
                    headers.insert("x-slack-request-timestamp", value);
                }
                prop_assert!(keyed.verify(&headers, &body, at(0)).is_err());
            }
        }

        #[test]
        fn any_template_is_answered(text in "(\\{\\{|\\}\\}| |body|timestamp|\\PC)*") {
            let _ = Signed::parse(&text);
        }
    }
}
