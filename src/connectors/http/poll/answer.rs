//! What an API's answer means.

use http::StatusCode;
use jiff::Timestamp;

use super::stop;
use crate::connectors::client::{MAX_ANSWER, SendError};
pub use crate::connectors::http::endpoint::context;
use crate::connectors::{Answer, PollError};
use crate::template::{Context, Expression, Verdict};

/// The answer, if it is a yes.
pub fn asked(sent: Result<Answer, SendError>, now: Timestamp) -> Result<Answer, PollError> {
    let retry = |after, why| PollError::Retry { after, account: false, why };
    let answer = match sent {
        Ok(answer) => answer,
        Err(SendError::Refused(why)) => return Err(PollError::Suspend { why }),
        Err(error) => return Err(retry(None, error.to_string())),
    };
    let why = answer.summary();
    match answer.status {
        status if status.is_success() => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(PollError::Suspend { why }),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            return Err(retry(answer.retry_after(now), why));
        }
        status if status.is_server_error() => return Err(retry(answer.retry_after(now), why)),
        status if status.is_redirection() => {
            let to = answer.location().map(|to| format!(" to {to}")).unwrap_or_default();
            return Err(stop(format!("redirected{to}, which is not followed: set `url` ({why})")));
        }
        _ => return Err(stop(why)),
    }
    if answer.body.len() >= MAX_ANSWER {
        return Err(stop("the answer has more than 1 MiB: ask for smaller pages with `paging` or `query`"));
    }
    Ok(answer)
}

/// The answer as templates see it, if `accept` agrees.
pub fn accepted(answer: &Answer, accept: Option<&Expression>) -> Result<Context, PollError> {
    let retry = |why| PollError::Retry { after: None, account: false, why };
    if answer.json().is_none() {
        // As from a proxy in between, which will be gone.
        return Err(retry(format!("the answer is no JSON: {}", answer.summary())));
    }
    let seen = context(answer);
    match accept.map(|accept| accept.test(&seen)) {
        None | Some(Ok(Verdict::Yes)) => Ok(seen),
        Some(Ok(Verdict::No(no))) => Err(retry(format!("not accepted: {no}: {}", answer.summary()))),
        Some(Err(error)) => Err(stop(format!("`accept`: {error}: {}", answer.summary()))),
    }
}
