//! Senders that sign nothing and only name a secret: bearer tokens, Basic users, a header's value, a part of the path.

use base64::Engine;
use http::{HeaderMap, HeaderName, header};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::standard::BASE64;
use super::{needed, refused};
use crate::connectors::Refusal;

/// Checks `Authorization: Bearer …`.
///
/// # Errors
/// [`Refusal::Unauthorized`].
pub fn bearer(tokens: &[SecretString], headers: &HeaderMap) -> Result<(), Refusal> {
    let token = scheme(headers, "bearer")?;
    known(tokens.iter().map(ExposeSecret::expose_secret), token)
        .then_some(())
        .ok_or_else(|| refused("the token is wrong"))
}

/// Checks `Authorization: Basic …` against names with their passwords.
///
/// # Errors
/// [`Refusal::Unauthorized`].
pub fn basic(users: &[(String, SecretString)], headers: &HeaderMap) -> Result<(), Refusal> {
    let text = scheme(headers, "basic")?;
    let pair = BASE64.decode(text).map_err(|_| refused("the header authorization is not base64"))?;
    let usable = users.iter().filter(|(_, password)| !password.expose_secret().is_empty());
    let pairs = usable.map(|(name, password)| format!("{name}:{}", password.expose_secret()));
    known_bytes(pairs, &pair).then_some(()).ok_or_else(|| refused("the user or the password is wrong"))
}

/// Checks that a header has one of the values.
///
/// # Errors
/// [`Refusal::Unauthorized`].
pub fn header(name: &HeaderName, values: &[SecretString], headers: &HeaderMap) -> Result<(), Refusal> {
    let value = needed(headers, name.as_str())?;
    let right = known(values.iter().map(ExposeSecret::expose_secret), value);
    right.then_some(()).ok_or_else(|| refused(format!("the value of the header {name} is wrong")))
}

/// Checks the last segment of `/hooks/{source}/{secret}`.
///
/// # Errors
/// [`Refusal::Unauthorized`].
pub fn path(secrets: &[SecretString], segment: Option<&str>) -> Result<(), Refusal> {
    let segment = segment.ok_or_else(|| refused("the secret is missing from the path"))?;
    let right = known(secrets.iter().map(ExposeSecret::expose_secret), segment);
    right.then_some(()).ok_or_else(|| refused("the secret in the path is wrong"))
}

fn scheme<'a>(headers: &'a HeaderMap, wanted: &str) -> Result<&'a str, Refusal> {
    let value = needed(headers, header::AUTHORIZATION.as_str())?;
    match value.split_once(' ') {
        Some((name, rest)) if name.eq_ignore_ascii_case(wanted) => Ok(rest.trim()),
        _ => Err(refused(format!("the header authorization is not of the scheme {wanted}"))),
    }
}

fn known<'a>(all: impl Iterator<Item = &'a str>, said: &str) -> bool {
    known_bytes(all.filter(|secret| !secret.is_empty()), said.as_bytes())
}

/// Compares with all of them, by hash: neither the length nor the place of the first difference shows in the time.
fn known_bytes(all: impl Iterator<Item = impl AsRef<[u8]>>, said: &[u8]) -> bool {
    let said = Sha256::digest(said);
    all.fold(false, |found, one| found | bool::from(Sha256::digest(one.as_ref())[..].ct_eq(&said[..])))
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;
    use proptest::prelude::*;

    fn secrets(all: &[&str]) -> Vec<SecretString> {
        all.iter().map(|s| SecretString::from(*s)).collect()
    }

    #[test]
    fn a_bearer_token_is_one_of_several() {
        let sent = |value: &str| headers(&[("authorization", value)]);
        assert_eq!(bearer(&secrets(&["new", "old"]), &sent("Bearer old")), Ok(()));
        assert_eq!(bearer(&secrets(&["new"]), &sent("bearer new")), Ok(()));
        assert_eq!(bearer(&secrets(&["new"]), &sent("Bearer neW")), Err(refused("the token is wrong")));
        assert_eq!(bearer(&secrets(&[]), &sent("Bearer new")), Err(refused("the token is wrong")));
        assert!(bearer(&secrets(&[""]), &sent("Bearer  ")).is_err());
        insta::assert_snapshot!(bearer(&secrets(&["new"]), &sent("Basic bmV3")).unwrap_err(), @"the header authorization is not of the scheme bearer");
        insta::assert_snapshot!(bearer(&secrets(&["new"]), &HeaderMap::new()).unwrap_err(), @"the header authorization is missing");
    }

    #[test]
    fn a_basic_user_needs_its_own_password() {
        let users = [("a".to_owned(), "one".into()), ("b".to_owned(), "two".into()), ("c".to_owned(), "".into())];
        let sent = |pair: &str| headers(&[("authorization", &format!("Basic {}", BASE64.encode(pair)))]);
        assert_eq!(basic(&users, &sent("a:one")), Ok(()));
        assert_eq!(basic(&users, &sent("b:two")), Ok(()));
        for wrong in ["a:two", "a:One", "a", "", ":", "c:", "d:one"] {
            assert!(basic(&users, &sent(wrong)).is_err(), "{wrong}");
        }
        assert!(basic(&[], &sent("a:one")).is_err());
        assert!(basic(&users, &headers(&[("authorization", "Basic !")])).is_err());
    }

    #[test]
    fn a_header_or_a_path_is_the_secret() {
        let name = HeaderName::from_static("x-api-key");
        assert_eq!(header(&name, &secrets(&["k1", "k2"]), &headers(&[("x-api-key", "k2")])), Ok(()));
        assert!(header(&name, &secrets(&["k1"]), &headers(&[("x-api-key", "k")])).is_err());
        assert!(header(&name, &secrets(&[""]), &headers(&[("x-api-key", "")])).is_err());
        assert!(header(&name, &secrets(&["k1"]), &HeaderMap::new()).is_err());
        assert_eq!(path(&secrets(&["p1", "p2"]), Some("p1")), Ok(()));
        assert!(path(&secrets(&["p1"]), Some("p2")).is_err());
        assert!(path(&secrets(&["p1"]), None).is_err());
        assert!(path(&secrets(&[]), Some("")).is_err());
    }

    proptest! {
        #[test]
        fn any_authorization_is_answered(value in any::<Vec<u8>>(), scheme in "(Basic |Bearer )?") {
            let mut headers = HeaderMap::new();
            let bytes = [scheme.as_bytes(), &value].concat();
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                headers.insert("authorization", value);
            }
            let users = [("a".to_owned(), "a long password".into())];
            prop_assert!(basic(&users, &headers).is_err());
            prop_assert!(bearer(&secrets(&["a long token"]), &headers).is_err());
        }
    }
}
