//! Standard Webhooks, and Svix, which is the same under other header names: the check, and the signing for our own
//! `http` sink. Source: standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::{fresh, mismatch, needed, refused, seconds};
use crate::connectors::Refusal;

/// Base64 that pads what it writes and reads padded and unpadded text: senders do both.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret that cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Standard Webhooks secret is `whsec_` and base64, or base64 alone")]
pub struct KeyError;

/// Signs a message: the value of the header `webhook-signature`, as `v1,…`. `timestamp` is in seconds since 1970 and
/// goes into `webhook-timestamp`; `id` into `webhook-id`.
///
/// # Errors
/// [`KeyError`] if the secret is empty or not base64.
pub fn standard_signature(secret: &SecretString, id: &str, timestamp: i64, body: &[u8]) -> Result<String, KeyError> {
    let mac = keyed(secret, id, &timestamp.to_string(), body)?;
    Ok(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}

/// Says whether a secret can be used, so that a config with a wrong one is refused at once.
///
/// # Errors
/// [`KeyError`].
pub fn check_key(secret: &SecretString) -> Result<(), KeyError> {
    keyed(secret, "", "", b"").map(|_| ())
}

/// Checks `webhook-id`, `webhook-timestamp` and `webhook-signature`, or the same with `svix-`. `tolerance` in seconds.
///
/// # Errors
/// [`Refusal::Unauthorized`].
pub fn verify(
    secrets: &[SecretString],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    tolerance: u64,
) -> Result<(), Refusal> {
    let [id, time, signature] = names(headers);
    let (id, sent, signatures) = (needed(headers, id)?, needed(headers, time)?, needed(headers, signature)?);
    fresh(seconds(sent, time)?, now, tolerance)?;
    // Other versions than v1 (`v1a` is ed25519) are for other receivers and are passed over.
    let claims: Vec<Vec<u8>> = signatures
        .split_ascii_whitespace()
        .filter_map(|one| one.strip_prefix("v1,"))
        .filter_map(|text| BASE64.decode(text).ok())
        .collect();
    if claims.is_empty() {
        return Err(refused(format!("the header {signature} has no v1 signature")));
    }
    let fits = |secret: &SecretString| {
        keyed(secret, id, sent, body)
            .is_ok_and(|mac| claims.iter().any(|claim| mac.clone().verify_slice(claim).is_ok()))
    };
    if secrets.iter().any(fits) { Ok(()) } else { Err(mismatch()) }
}

/// The names of the headers with id, timestamp and signatures.
pub fn names(headers: &HeaderMap) -> [&'static str; 3] {
    if headers.contains_key("svix-signature") && !headers.contains_key("webhook-signature") {
        ["svix-id", "svix-timestamp", "svix-signature"]
    } else {
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
    }
}

fn keyed(secret: &SecretString, id: &str, timestamp: &str, body: &[u8]) -> Result<Hmac<Sha256>, KeyError> {
    let text = secret.expose_secret();
    let key = BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text)).map_err(|_| KeyError)?;
    if key.is_empty() {
        return Err(KeyError);
    }
    let mut mac = Hmac::new_from_slice(&key).map_err(|_| KeyError)?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::super::TOLERANCE;
    use super::super::tests::{at, headers};
    use super::*;
    use proptest::prelude::*;

    struct Vector {
        secret: &'static str,
        id: &'static str,
        timestamp: i64,
        body: &'static str,
        signature: &'static str,
    }

    const VECTORS: [Vector; 2] = [
        Vector {
            secret: "whsec_plJ3nmyCDGBKInavdOK15jsl",
            id: "msg_loFOjxBNrRLzqYUf",
            timestamp: 1_731_705_121,
            body: r#"{"event_type":"ping","data":{"success":true}}"#,
            signature: "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        },
        Vector {
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: 1_614_265_330,
            body: r#"{"test": 2432232314}"#,
            signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
    ];

    impl Vector {
        fn headers(&self) -> HeaderMap {
            headers(&[
                ("webhook-id", self.id),
                ("webhook-timestamp", &self.timestamp.to_string()),
                ("webhook-signature", self.signature),
            ])
        }
    }

    fn check(secrets: &[&str], headers: &HeaderMap, body: &str, now: i64) -> Result<(), Refusal> {
        let secrets: Vec<SecretString> = secrets.iter().map(|s| SecretString::from(*s)).collect();
        verify(&secrets, headers, body.as_bytes(), at(now), TOLERANCE)
    }

    #[test]
    fn the_published_messages_are_signed_and_checked() {
        for v in &VECTORS {
            let signed = standard_signature(&v.secret.into(), v.id, v.timestamp, v.body.as_bytes());
            assert_eq!(signed.as_deref(), Ok(v.signature));
            assert_eq!(check(&[v.secret], &v.headers(), v.body, v.timestamp + 300), Ok(()));
            assert_eq!(check(&["whsec_b2xk", v.secret], &v.headers(), v.body, v.timestamp), Ok(()), "rotation");
            let svix: HeaderMap = v
                .headers()
                .iter()
                .map(|(name, value)| (name.as_str().replace("webhook", "svix").parse().unwrap(), value.clone()))
                .collect();
            assert_eq!(check(&[v.secret], &svix, v.body, v.timestamp), Ok(()), "svix names");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for v in &VECTORS {
            let (now, good) = (v.timestamp, v.headers());
            assert_eq!(check(&[v.secret], &good, &v.body.replace('t', "T"), now), Err(mismatch()), "body");
            assert_eq!(check(&["whsec_b2xk"], &good, v.body, now), Err(mismatch()), "secret");
            assert_eq!(check(&["whsec_"], &good, v.body, now), Err(mismatch()), "empty secret");
            assert_eq!(check(&["not base64!"], &good, v.body, now), Err(mismatch()), "no key");
            assert_eq!(check(&[], &good, v.body, now), Err(mismatch()), "no secrets");
            for off in [-301, 301] {
                assert!(check(&[v.secret], &good, v.body, now + off).unwrap_err().to_string().contains("301 s"));
            }
            for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
                let mut headers = good.clone();
                headers.remove(name);
                let why = check(&[v.secret], &headers, v.body, now).unwrap_err();
                assert_eq!(why, refused(format!("the header {name} is missing")));
            }
            let mut moved = good.clone();
            moved.insert("webhook-timestamp", (v.timestamp + 1).into());
            assert_eq!(check(&[v.secret], &moved, v.body, now), Err(mismatch()), "time is signed");
            let mut other = good.clone();
            other.insert("webhook-id", "msg_other".parse().unwrap());
            assert_eq!(check(&[v.secret], &other, v.body, now), Err(mismatch()), "id is signed");
        }
    }

    #[test]
    fn one_of_several_signatures_is_enough_and_other_versions_are_passed_over() {
        let v = &VECTORS[1];
        let mut several = v.headers();
        several.insert("webhook-signature", format!("v1a,AAAA v1,AAAA {}", v.signature).parse().unwrap());
        assert_eq!(check(&[v.secret], &several, v.body, v.timestamp), Ok(()));
        several.insert("webhook-signature", v.signature.replace("v1,", "v2,").parse().unwrap());
        insta::assert_snapshot!(
            check(&[v.secret], &several, v.body, v.timestamp).unwrap_err(),
            @"the header webhook-signature has no v1 signature"
        );
    }

    #[test]
    fn a_secret_that_is_no_key_is_told() {
        assert_eq!(check_key(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()), Ok(()));
        assert_eq!(check_key(&"plJ3nmyCDGBKInavdOK15jsl".into()), Ok(()));
        for wrong in ["", "whsec_", "whsec_!", "hunter 2"] {
            assert_eq!(check_key(&wrong.into()), Err(KeyError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_headers_are_answered(id in ".*", time in "\\PC*", signature in "(v1,|v1a,|[A-Za-z0-9+/= ,]|\\PC)*", body in any::<Vec<u8>>()) {
            let mut headers = HeaderMap::new();
            for (name, value) in [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)] {
                if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
                    headers.insert(name, value);
                }
            }
            prop_assert!(verify(&["whsec_b2xk".into()], &headers, &body, at(0), TOLERANCE).is_err());
        }
    }
}
