//! Checks that a webhook comes from who it says: pure functions over raw bytes, in constant time.
//!
//! All of them fail closed: no secret, a missing header or an unreadable one is a [`Refusal`]. Several secrets are
//! tried, so that one can be rotated. A refusal tells the sender what is missing and nothing about the secret.

pub mod credentials;
pub mod keyed;
pub mod standard;
pub mod stripe;

pub use standard::{KeyError, standard_signature};

use http::HeaderMap;
use jiff::Timestamp;

use super::Refusal;

/// How far a sender's time may be from ours, in seconds, where the vendor's libraries allow five minutes.
pub const TOLERANCE: u64 = 300;

/// The text of a header that a verification needs.
///
/// # Errors
/// [`Refusal::Unauthorized`] if it is missing or no visible ASCII.
pub fn needed<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    let value = headers.get(name).ok_or_else(|| refused(format!("the header {name} is missing")))?;
    value.to_str().map_err(|_| refused(format!("the header {name} is not readable")))
}

/// Refuses a time that is further than `tolerance` seconds from now, in the past or in the future.
///
/// # Errors
/// [`Refusal::Unauthorized`] that says by how much.
pub fn fresh(sent: i64, now: Timestamp, tolerance: u64) -> Result<(), Refusal> {
    let apart = now.as_second().abs_diff(sent);
    if apart <= tolerance {
        return Ok(());
    }
    let side = if sent < now.as_second() { "old" } else { "ahead" };
    Err(refused(format!("the timestamp is {apart} s {side}, at most {tolerance} s are allowed")))
}

/// A timestamp of whole seconds since 1970, as Stripe, Slack and Standard Webhooks send it.
fn seconds(text: &str, header: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| refused(format!("the timestamp in {header} is no number of seconds since 1970")))
}

fn refused(why: impl Into<String>) -> Refusal {
    Refusal::Unauthorized(why.into())
}

fn mismatch() -> Refusal {
    refused("the signature does not match")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header map of pairs.
    pub(super) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// A moment by its seconds since 1970.
    pub(super) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_time_too_far_off_is_refused_on_both_sides() {
        assert_eq!(fresh(1_000, at(1_300), TOLERANCE), Ok(()));
        assert_eq!(fresh(1_300, at(1_000), TOLERANCE), Ok(()));
        insta::assert_snapshot!(fresh(1_000, at(1_301), TOLERANCE).unwrap_err(), @"the timestamp is 301 s old, at most 300 s are allowed");
        insta::assert_snapshot!(fresh(1_301, at(1_000), TOLERANCE).unwrap_err(), @"the timestamp is 301 s ahead, at most 300 s are allowed");
        assert!(fresh(i64::MIN, at(1), TOLERANCE).is_err(), "no overflow");
    }
}
