//! What an API's answer means.

use http::StatusCode;
use jiff::Timestamp;

use crate::connectors::client::{MAX_ANSWER, SendError};
pub use crate::connectors::http::endpoint::context;
use crate::connectors::{Answer, PollError};
use crate::template::{Context, Expression, Verdict};

/// The answer, if it is a yes.
pub fn asked(sent: Result<Answer, SendError>, now: Timestamp) -> Result<Answer, PollError> {
    let answer = sent?;
    let why = answer.summary();
    match answer.status {
        status if status.is_success() => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(PollError::Suspend { why }),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            return Err(PollError::retry(answer.retry_after(now), why));
        }
        status if status.is_server_error() => return Err(PollError::retry(answer.retry_after(now), why)),
        status if status.is_redirection() => {
            let to = answer.location().map(|to| format!(" to {to}")).unwrap_or_default();
            return Err(PollError::stop(format!("redirected{to}, which is not followed: set `url` ({why})")));
        }
        _ => return Err(PollError::stop(why)),
    }
    if answer.body.len() >= MAX_ANSWER {
        return Err(PollError::stop("the answer has more than 1 MiB: ask for smaller pages with `paging` or `query`"));
    }
    Ok(answer)
}

/// The answer as templates see it, if `accept` agrees.
pub fn accepted(answer: &Answer, accept: Option<&Expression>) -> Result<Context, PollError> {
    if answer.json().is_none() {
        // As from a proxy in between, which will be gone.
        return Err(PollError::retry(None, format!("the answer is no JSON: {}", answer.summary())));
    }
    let seen = context(answer);
    match accept.map(|accept| accept.test(&seen)) {
        None | Some(Ok(Verdict::Yes)) => Ok(seen),
        Some(Ok(Verdict::No(no))) => Err(PollError::retry(None, format!("not accepted: {no}: {}", answer.summary()))),
        Some(Err(error)) => Err(PollError::stop(format!("`accept`: {error}: {}", answer.summary()))),
    }
}
