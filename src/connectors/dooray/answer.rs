//! What Dooray's answers mean to a sink: the HTTP status first, then `header.isSuccessful`.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::envelope::{self, Said};
use super::limits;
use crate::connectors::{Answer, Call, reading};
use crate::outcome::{Outcome, Scope, Verb};

/// Reads an answer of the API. The call's part tells its verb.
pub(super) fn api(call: &Call, answer: &Answer, now: Timestamp) -> Outcome {
    let why = envelope::summary(answer);
    let verb = verb(call);
    match answer.status {
        status if status.is_success() => match Said::read(answer) {
            Some(said) if said.is_yes(status) => Outcome::Delivered { remote_id: remote_id(call, &said.result) },
            Some(said) if said.success == Some(false) => Outcome::reject(why),
            _ => in_doubt(call, format!("the answer is not the vendor's: {why}")),
        },
        // The gateway waited for Dooray in vain: it may have acted.
        StatusCode::GATEWAY_TIMEOUT => in_doubt(call, why),
        StatusCode::TOO_MANY_REQUESTS => {
            Outcome::Retry { after: Some(limits::after_429(answer, now)), account: true, why }
        }
        StatusCode::REQUEST_TIMEOUT => Outcome::retry(why),
        status if status.is_server_error() => Outcome::Retry { after: answer.retry_after(now), account: false, why },
        // The token is gone, or the host is another's.
        StatusCode::UNAUTHORIZED => Outcome::Suspend { what: Scope::Account, why, until: None },
        status if status.is_redirection() => Outcome::Suspend { what: Scope::Account, why, until: None },
        // What is already gone needs no deletion.
        StatusCode::NOT_FOUND if verb == Some(Verb::Delete) => Outcome::Delivered { remote_id: call.remote_id.clone() },
        // Of one record only. Dooray says 404 of some things that it does not show, too.
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND if call.remote_id.is_some() => Outcome::reject(why),
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Outcome::Suspend { what: Scope::Sink, why, until: None },
        // Changed by somebody else since it was read: read again.
        StatusCode::CONFLICT if verb == Some(Verb::Update) => Outcome::retry(why),
        _ => Outcome::reject(why),
    }
}

/// Reads an answer of an incoming hook, whose page says least: `header.isSuccessful` where there is one.
pub(super) fn hook(call: &Call, answer: &Answer, now: Timestamp) -> Outcome {
    let why = envelope::summary(answer);
    match answer.status {
        status if status.is_success() => {
            let said = Said::read(answer);
            let plain = said.as_ref().and_then(|said| said.success).or_else(|| {
                let body = answer.json()?;
                envelope::flag(&body["success"])
            });
            match (plain, answer.body.is_empty()) {
                (Some(true), _) | (None, true) => Outcome::Delivered { remote_id: None },
                (Some(false), _) => Outcome::reject(why),
                (None, false) => in_doubt(call, format!("the answer is not the vendor's: {why}")),
            }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
            Outcome::Suspend { what: Scope::Sink, why, until: None }
        }
        status if status.is_redirection() => Outcome::Suspend { what: Scope::Sink, why, until: None },
        _ => api(call, answer, now),
    }
}

/// Reads the answer to a question: the list under `result`.
///
/// # Errors
/// The outcome if Dooray did not say.
pub(super) fn found(call: &Call, answer: &Answer, now: Timestamp) -> Result<Vec<Value>, Outcome> {
    match Said::read(answer) {
        Some(Said { result: Value::Array(items), success: Some(true), .. }) if answer.status.is_success() => Ok(items),
        Some(Said { result: Value::Null, success: Some(true), .. }) if answer.status.is_success() => Ok(Vec::new()),
        _ => Err(match api(call, answer, now) {
            Outcome::Delivered { .. } | Outcome::Unknown { .. } => {
                Outcome::retry(format!("the answer is no list: {}", envelope::summary(answer)))
            }
            other => other,
        }),
    }
}

/// What a call does, for [`api`].
pub(super) fn part(verb: Verb) -> Value {
    serde_json::json!({ "verb": verb })
}

fn verb(call: &Call) -> Option<Verb> {
    serde_json::from_value(call.part["verb"].clone()).ok()
}

fn remote_id(call: &Call, result: &Value) -> Option<String> {
    let made = || {
        let id = reading::id(&result["id"])?;
        // A message is known by its channel and its log.
        match reading::id(&result["channelId"]).or_else(|| reading::id(&call.part["channel"])) {
            Some(channel) => Some(format!("{channel}:{id}")),
            None => Some(id),
        }
    };
    call.remote_id.clone().or_else(made)
}

/// Not understood: whether it took effect is unknown, which matters only where a second call would do more.
fn in_doubt(call: &Call, why: String) -> Outcome {
    if call.idempotent { Outcome::retry(why) } else { Outcome::Unknown { why } }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use url::Url;

    use super::*;

    fn outcome(verb: Verb, status: u16, body: &str) -> Outcome {
        let url = Url::parse("https://api.dooray.com/x").unwrap();
        let linked = (verb != Verb::Create).then(|| "7".to_owned());
        let again = !matches!(verb, Verb::Create | Verb::Comment);
        let call = Call::new(Method::POST, url).idempotent(again).remote_id(linked).part(part(verb));
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) };
        api(&call, &answer, Timestamp::UNIX_EPOCH)
    }

    const NO: &str = r#"{"header":{"isSuccessful":false,"resultCode":-1,"resultMessage":"no"}}"#;

    #[test]
    fn each_answer_has_one_meaning() {
        let yes = r#"{"header":{"isSuccessful":true,"resultCode":0},"result":{"id":"9"}}"#;
        let delivered = |id: &str| Outcome::Delivered { remote_id: Some(id.to_owned()) };
        assert_eq!(outcome(Verb::Create, 200, yes), delivered("9"));
        assert_eq!(outcome(Verb::Comment, 200, yes), delivered("7"), "the link stays on the task");
        let cases = [
            (Verb::Create, 200, NO, "reject"),
            (Verb::Create, 200, "<html>", "unknown"),
            (Verb::Create, 200, "{}", "unknown"),
            (Verb::Update, 200, "<html>", "retry"),
            (Verb::Create, 400, NO, "reject"),
            (Verb::Create, 401, NO, "suspend"),
            (Verb::Create, 302, "", "suspend"),
            (Verb::Create, 403, NO, "suspend"),
            (Verb::Create, 404, NO, "suspend"),
            (Verb::Update, 403, NO, "reject"),
            (Verb::Update, 404, NO, "reject"),
            (Verb::Delete, 404, NO, "delivered"),
            (Verb::Create, 409, NO, "reject"),
            (Verb::Update, 409, NO, "retry"),
            (Verb::Create, 415, NO, "reject"),
            (Verb::Create, 429, NO, "retry"),
            (Verb::Create, 500, NO, "retry"),
            (Verb::Create, 504, "", "unknown"),
            (Verb::Complete, 504, "", "retry"),
        ];
        for (verb, status, body, name) in cases {
            assert_eq!(outcome(verb, status, body).name(), name, "{verb:?} {status} {body}");
        }
    }

    #[test]
    fn an_incoming_hook_is_read_in_both_tellings() {
        let url = Url::parse("https://hook.dooray.com/services/x").unwrap();
        let call = Call::new(Method::POST, url).idempotent(false);
        let name = |status: u16, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) };
            hook(&call, &answer, Timestamp::UNIX_EPOCH).name()
        };
        assert_eq!(name(200, r#"{"header":{"isSuccessful":true,"resultCode":"0"}}"#), "delivered");
        assert_eq!(name(200, r#"{"success":true}"#), "delivered");
        assert_eq!(name(200, ""), "delivered");
        assert_eq!(name(200, r#"{"header":{"isSuccessful":false,"resultCode":"INVALID_PAYLOAD"}}"#), "reject");
        assert_eq!((name(200, "<html>"), name(404, NO), name(410, "")), ("unknown", "suspend", "suspend"));
        assert_eq!((name(429, ""), name(400, NO), name(503, "")), ("retry", "reject", "retry"));
    }
}
