//! Stripe's `Stripe-Signature: t=…,v1=…`. Source: docs.stripe.com/webhooks and the vendor's own libraries.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::{fresh, mismatch, needed, refused, seconds};
use crate::connectors::Refusal;

/// The header.
pub const HEADER: &str = "stripe-signature";

/// Checks the header over `{t}.{body}`. The secret is used as it is, `whsec_` included. `tolerance` in seconds.
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
    let header = needed(headers, HEADER)?;
    let Some(sent) = values(header, "t").next() else {
        return Err(refused(format!("the header {HEADER} has no t=")));
    };
    fresh(seconds(sent, HEADER)?, now, tolerance)?;
    // v0 is a decoy for tests; every scheme but v1 is to be ignored.
    let claims: Vec<Vec<u8>> = values(header, "v1").filter_map(|text| hex::decode(text).ok()).collect();
    if claims.is_empty() {
        return Err(refused(format!("the header {HEADER} has no v1 signature")));
    }
    let fits = |secret: &SecretString| {
        let key = secret.expose_secret();
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return false };
        let mac = mac.chain_update(sent).chain_update(".").chain_update(body);
        !key.is_empty() && claims.iter().any(|claim| mac.clone().verify_slice(claim).is_ok())
    };
    if secrets.iter().any(fits) { Ok(()) } else { Err(mismatch()) }
}

fn values<'a>(header: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    header.split(',').filter_map(move |pair| pair.trim().strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::super::TOLERANCE;
    use super::super::tests::{at, headers};
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "webhook_secret";
    const SENT: i64 = 1_533_204_620;
    const V1: &str = "2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7";
    const V0: &str = "63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef";
    const BODY: &str = r#"{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "cus_123",
      "object": "customer",
      "created": 123456789,
      "email": "test@stripe.com",
      "livemode": false,
      "metadata": {}
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "customer.created"
}
"#;

    fn check(secrets: &[&str], header: &str, body: &str, now: i64) -> Result<(), Refusal> {
        let secrets: Vec<SecretString> = secrets.iter().map(|s| SecretString::from(*s)).collect();
        verify(&secrets, &headers(&[(HEADER, header)]), body.as_bytes(), at(now), TOLERANCE)
    }

    #[test]
    fn the_vendors_own_fixture_is_accepted() {
        assert_eq!(BODY.len(), 484);
        let header = format!("t={SENT},v1={V1},v0={V0}");
        assert_eq!(check(&[SECRET], &header, BODY, SENT + 300), Ok(()));
        assert_eq!(check(&["old", SECRET], &header, BODY, SENT), Ok(()), "rotation of ours");
        assert_eq!(check(&[SECRET], &format!("t={SENT},v1=00,v1={V1}"), BODY, SENT), Ok(()), "rotation of theirs");
        assert_eq!(check(&[SECRET], &format!("v1={V1}, t={SENT}"), BODY, SENT), Ok(()), "in any order");
    }

    #[test]
    fn everything_else_is_refused() {
        let header = format!("t={SENT},v1={V1},v0={V0}");
        assert_eq!(check(&[SECRET], &header, BODY.trim_end(), SENT), Err(mismatch()), "the last newline");
        assert_eq!(check(&[SECRET], &header, &BODY.replace("cus", "cuz"), SENT), Err(mismatch()));
        assert_eq!(check(&["wrong"], &header, BODY, SENT), Err(mismatch()));
        assert_eq!(check(&[""], &header, BODY, SENT), Err(mismatch()));
        assert_eq!(check(&[], &header, BODY, SENT), Err(mismatch()));
        assert_eq!(check(&[SECRET], &format!("t={},v1={V1}", SENT + 1), BODY, SENT), Err(mismatch()), "time is signed");
        assert!(
            check(&[SECRET], &header, BODY, SENT + 301).unwrap_err().to_string().starts_with("the timestamp is 301 s")
        );
        insta::assert_snapshot!(check(&[SECRET], &format!("t={SENT},v0={V0}"), BODY, SENT).unwrap_err(), @"the header stripe-signature has no v1 signature");
        insta::assert_snapshot!(check(&[SECRET], &format!("v1={V1}"), BODY, SENT).unwrap_err(), @"the header stripe-signature has no t=");
        insta::assert_snapshot!(check(&[SECRET], &format!("t=soon,v1={V1}"), BODY, SENT).unwrap_err(), @"the timestamp in stripe-signature is no number of seconds since 1970");
        let nothing = verify(&[SECRET.into()], &HeaderMap::new(), BODY.as_bytes(), at(SENT), TOLERANCE).unwrap_err();
        insta::assert_snapshot!(nothing, @"the header stripe-signature is missing");
    }

    #[test]
    fn the_header_of_the_documentation_is_read() {
        let header = "t=1492774577,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd,v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39";
        assert_eq!(values(header, "t").collect::<Vec<_>>(), ["1492774577"]);
        assert_eq!(values(header, "v1").count(), 1);
    }

    proptest! {
        #[test]
        fn any_header_is_answered(header in "(t=[0-9-]*|v1=[0-9a-fA-F]*|,|=|\\PC)*", body in any::<Vec<u8>>()) {
            if let Ok(value) = http::HeaderValue::from_bytes(header.as_bytes()) {
                let mut headers = HeaderMap::new();
                headers.insert(HEADER, value);
                prop_assert!(verify(&[SECRET.into()], &headers, &body, at(0), TOLERANCE).is_err());
            }
        }
    }
}
