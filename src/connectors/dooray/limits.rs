//! Dooray's token bucket: refilled each second, told in headers, without a `Retry-After` of its own.
//!
//! Source: helpdesk.dooray.com, API common part: `X-RateLimit-Remaining`, `-Requested-Tokens`, `-Burst-Capacity`,
//! `-Replenish-Rate`. Their values may change.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

use crate::connectors::Answer;

/// The wait after a 429 that says nothing.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// How long to wait before the next call, if the bucket has not enough for another one like the last.
pub(super) fn before_next(headers: &HeaderMap) -> Option<Duration> {
    let remaining = number(headers, "x-ratelimit-remaining")?;
    let requested = number(headers, "x-ratelimit-requested-tokens").unwrap_or(1).max(1);
    (remaining < requested).then(|| refill(requested - remaining, headers))
}

/// How long to wait after a 429.
pub(super) fn after_429(answer: &Answer, now: Timestamp) -> Duration {
    // It was refused, whatever the headers say remains.
    let told = number(&answer.headers, "x-ratelimit-remaining").map(|_| Duration::from_secs(1));
    let own = answer.retry_after(now);
    own.or_else(|| before_next(&answer.headers)).or(told).unwrap_or(COOL_DOWN)
}

fn refill(tokens: u64, headers: &HeaderMap) -> Duration {
    let rate = number(headers, "x-ratelimit-replenish-rate").unwrap_or(1).max(1);
    Duration::from_secs(tokens.div_ceil(rate))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, StatusCode};

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(pair).collect()
    }

    fn wait(all: &[(&'static str, &'static str)]) -> u64 {
        let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers: headers(all), body: Bytes::new() };
        after_429(&answer, Timestamp::UNIX_EPOCH).as_secs()
    }

    const ALL: [&str; 3] = ["x-ratelimit-remaining", "x-ratelimit-requested-tokens", "x-ratelimit-replenish-rate"];

    #[test]
    fn the_wait_is_the_shortfall_by_the_rate() {
        let next = |remaining, requested, rate| {
            before_next(&headers(&[(ALL[0], remaining), (ALL[1], requested), (ALL[2], rate)])).map(|d| d.as_secs())
        };
        assert_eq!(next("5", "1", "10"), None);
        assert_eq!(next("0", "1", "10"), Some(1));
        assert_eq!(next("0", "25", "10"), Some(3));
        assert_eq!(next("5", "25", "10"), Some(2));
        assert_eq!(next("0", "3", "0"), Some(3));
        assert_eq!(before_next(&HeaderMap::new()), None);
    }

    #[test]
    fn a_429_waits_by_its_headers_or_a_little() {
        assert_eq!(wait(&[]), 5);
        assert_eq!(wait(&[(ALL[0], "0"), (ALL[1], "30"), (ALL[2], "10")]), 3);
        assert_eq!(wait(&[(ALL[0], "9")]), 1);
        assert_eq!(wait(&[("retry-after", "60"), (ALL[0], "0")]), 60);
    }
}
