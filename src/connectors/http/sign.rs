//! The signature of Standard Webhooks, version 1: HMAC-SHA256 over `{id}.{timestamp}.{body}`, in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// Reads a secret as it is handed out: base64, with or without `whsec_` before it.
pub fn key(secret: &str) -> Option<SecretSlice<u8>> {
    let text = secret.strip_prefix("whsec_").unwrap_or(secret);
    let bytes = STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())?;
    Some(SecretSlice::from(bytes))
}

/// The value of `webhook-signature`: one signature for each key, separated by spaces.
pub fn signature(keys: &[SecretSlice<u8>], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signatures: Vec<String> =
        keys.iter().filter_map(|key| sign(key.expose_secret(), id, timestamp, body)).collect();
    signatures.join(" ")
}

fn sign(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    // HMAC takes a key of any length, so there always is a signature.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_hold() {
        let sign = |secret, id, timestamp, body: &str| {
            signature(&[key(secret).expect("a key")], id, timestamp, body.as_bytes())
        };
        assert_eq!(
            sign(
                "whsec_plJ3nmyCDGBKInavdOK15jsl",
                "msg_loFOjxBNrRLzqYUf",
                1_731_705_121,
                r#"{"event_type":"ping","data":{"success":true}}"#
            ),
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
        );
        assert_eq!(
            sign(
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn several_keys_sign_side_by_side_and_no_key_is_empty() {
        let keys = [key("whsec_AAAA").expect("a key"), key("BBBB").expect("a key")];
        assert_eq!(signature(&keys, "i", 1, b"").split(' ').count(), 2);
        assert!(key("whsec_").is_none());
        assert!(key("not base64!").is_none());
    }
}
