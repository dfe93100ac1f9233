//! A signed JSON Web Token (RS256), as Workfront's OAuth 2 exchanges it for an access token.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

const EXPECTED: &str =
    "expected an RSA key as PEM, of 2048 bits or more, that begins with `-----BEGIN PRIVATE KEY-----`";

/// An RSA key.
pub(super) struct Key(RsaKeyPair);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Reads PEM: PKCS#8 (`BEGIN PRIVATE KEY`) or PKCS#1 (`BEGIN RSA PRIVATE KEY`). `\n` in two characters, as
    /// environments hold it, is a line's end.
    ///
    /// # Errors
    /// What was expected. Nothing of the key is in it.
    pub(super) fn read(pem: &str) -> Result<Self, String> {
        let pem = pem.replace("\\n", "\n");
        let mut lines = pem.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN "));
        let head = lines.next().ok_or(EXPECTED)?;
        let text: String = lines.take_while(|line| !line.starts_with("-----END ")).collect();
        let der = STANDARD.decode(text).map_err(|_| EXPECTED)?;
        let pair = match head {
            "-----BEGIN PRIVATE KEY-----" => RsaKeyPair::from_pkcs8(&der),
            "-----BEGIN RSA PRIVATE KEY-----" => RsaKeyPair::from_der(&der),
            _ => return Err(EXPECTED.to_owned()),
        };
        // The reason is a word of the library's for which part does not fit.
        pair.map(Self).map_err(|why| format!("{EXPECTED} ({why})"))
    }

    /// The token for some claims.
    ///
    /// # Errors
    /// The machine gives no randomness.
    pub(super) fn sign(&self, claims: &Value) -> Result<String, String> {
        let head = json!({ "alg": "RS256", "typ": "JWT" });
        let said = format!("{}.{}", encoded(head.to_string()), encoded(claims.to_string()));
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), said.as_bytes(), &mut signature)
            .map_err(|_| "the token cannot be signed".to_owned())?;
        Ok(format!("{said}.{}", encoded(signature)))
    }

    /// Its public half, for whoever checks what it signed.
    pub(super) fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The claims of a token that the key's other half signed; `None` if it did not.
pub(super) fn verified(token: &str, public: &[u8]) -> Option<Value> {
    let (said, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, public);
    key.verify(said.as_bytes(), &signature).ok()?;
    let (head, claims) = said.split_once('.')?;
    let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    read(head).filter(|head| head["alg"] == "RS256")?;
    read(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = include_str!("sandbox/jwt.pem");

    #[test]
    fn a_token_is_signed_and_nothing_of_it_can_be_changed() {
        let key = Key::read(PEM).unwrap();
        let token = key.sign(&json!({ "iss": "acme", "exp": 7 })).unwrap();
        assert_eq!(verified(&token, key.public()), Some(json!({ "iss": "acme", "exp": 7 })));
        let [head, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
        let other = format!("{head}.{}.{signature}", encoded(r#"{"iss":"other","exp":7}"#));
        assert_eq!(verified(&other, key.public()), None);
        assert_eq!(verified("a.b", key.public()), None);
    }

    #[test]
    fn a_key_is_read_from_a_file_or_a_variable() {
        assert!(Key::read(&PEM.replace('\n', "\\n")).is_ok());
        assert!(Key::read(&format!("Bag Attributes\n{}", PEM.replace('\n', "\r\n"))).is_ok());
        for wrong in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            let why = Key::read(wrong).unwrap_err();
            assert!(why.starts_with(EXPECTED) && !why.contains("hunter2"), "{why}");
        }
    }
}
