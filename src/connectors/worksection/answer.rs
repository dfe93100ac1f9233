//! What Worksection's answers mean: `{ "status": "ok", "data": … }`, and errors with HTTP 200 as
//! `{ "status": "error", "status_code": 10, "message": "Field is required", "message_details": "title" }`.
//!
//! The vendor publishes no table of its codes; those that are known are from public code.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::connectors::{Answer, Call, reading};
use crate::outcome::{Outcome, Scope, Verb};

/// The wait after "Too many requests", which says nothing: one a second is allowed.
const COOL_DOWN: Duration = Duration::from_secs(2);

/// "Action hash is missed or invalid".
const HASH: i64 = 2;
/// "Project is invalid".
pub(super) const PROJECT: i64 = 4;
/// "Task is invalid".
pub(super) const TASK: i64 = 5;
/// "… is already closed", "… is already active".
const ALREADY: i64 = 12;

/// What an answer means.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Yes: the whole body.
    Yes(Value),
    /// A certain no to this call.
    No { code: Option<i64>, why: String },
    /// Too fast.
    Slow(Duration, String),
    /// The account is not let in.
    Locked(String),
    /// It failed and did not act.
    Broken(Option<Duration>, String),
    /// Not the vendor's word: it may have acted.
    Lost(String),
}

/// Reads an answer.
pub(super) fn meaning(answer: &Answer, now: Timestamp) -> Meaning {
    let body = answer.json().filter(|body| body["status"].is_string());
    let why = body.as_ref().map_or_else(|| answer.summary(), |body| summary(answer.status, body));
    let after = answer.retry_after(now);
    let slow = |why| Meaning::Slow(after.unwrap_or(COOL_DOWN), why);
    let is_yes = |body: &Value| body["status"].as_str().is_some_and(|word| word.eq_ignore_ascii_case("ok"));
    match (answer.status, body) {
        (StatusCode::TOO_MANY_REQUESTS, _) => slow(why),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, _) => Meaning::Locked(why),
        (status, _) if status.is_redirection() => Meaning::Locked(why),
        // A gateway waited in vain.
        (StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT, _) => Meaning::Lost(why),
        (StatusCode::REQUEST_TIMEOUT, _) => Meaning::Broken(after, why),
        (status, _) if status.is_server_error() => Meaning::Broken(after, why),
        (status, Some(body)) if status.is_success() && is_yes(&body) => Meaning::Yes(body),
        (status, None) if status.is_success() => Meaning::Lost(why),
        (_, None) => Meaning::No { code: None, why },
        // With HTTP 200 as a rule.
        (_, Some(body)) => {
            let message = body["message"].as_str().unwrap_or_default().to_lowercase();
            match code(&body) {
                _ if message.contains("too many requests") => slow(why),
                Some(HASH) => Meaning::Locked(why),
                _ if message.contains("access token") => Meaning::Locked(why),
                code => Meaning::No { code, why },
            }
        }
    }
}

fn code(body: &Value) -> Option<i64> {
    reading::id(&body["status_code"])?.parse().ok()
}

/// `10: Field is required (title)`.
fn summary(status: StatusCode, body: &Value) -> String {
    let text = |key: &str| body[key].as_str().map(|text| text.chars().take(300).collect::<String>());
    let mut why = text("message").unwrap_or_else(|| "no reason given".to_owned());
    if let Some(code) = reading::id(&body["status_code"]) {
        why = format!("{code}: {why}");
    }
    if let Some(details) = text("message_details").filter(|details| !details.is_empty()) {
        why = format!("{why} ({details})");
    }
    if status == StatusCode::OK { why } else { format!("HTTP {}: {why}", status.as_u16()) }
}

/// What a call does, for [`outcome`].
pub(super) fn part(verb: Verb) -> Value {
    json!({ "verb": verb })
}

/// What an answer to a sink's call came to.
pub(super) fn outcome(call: &Call, answer: &Answer, now: Timestamp) -> Outcome {
    let verb: Option<Verb> = serde_json::from_value(call.part["verb"].clone()).ok();
    match meaning(answer, now) {
        Meaning::Yes(body) => Outcome::Delivered { remote_id: remote_id(call, verb, &body) },
        // It is as it is to be.
        Meaning::No { code: Some(ALREADY), .. } if matches!(verb, Some(Verb::Complete | Verb::Reopen)) => {
            Outcome::Delivered { remote_id: call.remote_id.clone() }
        }
        // Of the sink's own project: no task can be made there.
        Meaning::No { code: Some(PROJECT), why } if call.remote_id.is_none() => {
            Outcome::Suspend { what: Scope::Sink, why, until: None }
        }
        Meaning::No { why, .. } if is_about_permission(&why) => Outcome::refused(why),
        Meaning::No { why, .. } => Outcome::reject(why),
        Meaning::Slow(after, why) => Outcome::Retry { after: Some(after), account: true, why },
        // What the hash of a body is over no page says; all that fits into an address goes on.
        Meaning::Locked(why) if !call.body.is_empty() && call.tokens.is_none() && why.starts_with("2:") => {
            Outcome::reject(format!(
                "the hash of a call that is too long for an address was refused: shorten it ({why})"
            ))
        }
        Meaning::Locked(why) => Outcome::Suspend { what: Scope::Account, why: explained(why), until: None },
        Meaning::Broken(after, why) => Outcome::Retry { after, account: false, why },
        Meaning::Lost(why) if call.idempotent => Outcome::retry(why),
        Meaning::Lost(why) => Outcome::Unknown { why: format!("the answer is not the vendor's: {why}") },
    }
}

fn explained(why: String) -> String {
    if !why.starts_with("2:") {
        return why;
    }
    format!("{why}: is the `admin_key` right? If only some calls are refused so, try `hash: raw` on the account")
}

fn is_about_permission(why: &str) -> bool {
    let why = why.to_lowercase();
    ["permission", "access denied", "no access", "not allowed", "scope"].iter().any(|word| why.contains(word))
}

/// What is linked: the new task, and after anything else still the task.
fn remote_id(call: &Call, verb: Option<Verb>, body: &Value) -> Option<String> {
    let made = || reading::id(&body["data"]["id"]).or_else(|| reading::id(&body["id"]));
    call.remote_id.clone().or_else(|| made().filter(|_| verb == Some(Verb::Create)))
}

/// Reads the answer to a question: its `data`.
///
/// # Errors
/// The outcome if Worksection did not say.
pub(super) fn found(call: &Call, answer: &Answer, now: Timestamp) -> Result<Value, Outcome> {
    match meaning(answer, now) {
        Meaning::Yes(mut body) => Ok(body["data"].take()),
        _ => Err(match outcome(call, answer, now) {
            Outcome::Delivered { .. } | Outcome::Unknown { .. } => {
                Outcome::retry(format!("the answer is not the vendor's: {}", answer.summary()))
            }
            other => other,
        }),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use url::Url;

    use super::*;

    fn outcome_of(verb: Verb, status: u16, body: &str) -> Outcome {
        let linked = (verb != Verb::Create).then(|| "7".to_owned());
        let again = !matches!(verb, Verb::Create | Verb::Comment | Verb::Cost);
        let call = Call::new(Method::POST, Url::parse("https://acme.worksection.com/api/admin/v2/").unwrap());
        let call = call.idempotent(again).remote_id(linked).part(part(verb));
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) };
        outcome(&call, &answer, Timestamp::UNIX_EPOCH)
    }

    fn no(code: i64, message: &str) -> String {
        json!({ "status": "error", "status_code": code, "message": message }).to_string()
    }

    #[test]
    fn each_answer_has_one_meaning() {
        let yes = r#"{"status":"ok","data":{"id":9}}"#;
        let delivered = |id: &str| Outcome::Delivered { remote_id: Some(id.to_owned()) };
        assert_eq!(outcome_of(Verb::Create, 200, yes), delivered("9"));
        assert_eq!(outcome_of(Verb::Comment, 200, yes), delivered("7"), "the link stays on the task");
        let denied = outcome_of(Verb::Create, 200, &no(99, "You have no permission"));
        assert!(matches!(denied, Outcome::Refused { .. }), "several in a row stop the sink: {denied:?}");
        let (invalid, already) = (no(5, "Task is invalid"), no(12, "Task is already closed"));
        let hash = no(2, "Action hash is missed or invalid");
        let fast = r#"{"status":"error","message":"Too many requests"}"#;
        let cases: [(Verb, u16, &str, &str); 18] = [
            (Verb::Create, 200, &no(10, "Field is required"), "reject"),
            (Verb::Create, 200, &no(4, "Project is invalid"), "suspend"),
            (Verb::Update, 200, &no(4, "Project is invalid"), "reject"),
            (Verb::Update, 200, &invalid, "reject"),
            (Verb::Complete, 200, &already, "delivered"),
            (Verb::Comment, 200, &already, "reject"),
            (Verb::Create, 200, &no(99, "You have no permission"), "reject"),
            (Verb::Create, 200, &hash, "suspend"),
            (Verb::Create, 200, fast, "retry"),
            (Verb::Create, 429, "", "retry"),
            (Verb::Create, 401, r#"{"status":"error","message":"Access token is expired"}"#, "suspend"),
            (Verb::Create, 404, "<html>", "suspend"),
            (Verb::Create, 414, "Request-URL Too Large", "reject"),
            (Verb::Create, 200, "<html>", "unknown"),
            (Verb::Update, 200, "<html>", "retry"),
            (Verb::Create, 500, "", "retry"),
            (Verb::Create, 502, "", "unknown"),
            (Verb::Complete, 504, "", "retry"),
        ];
        for (verb, status, body, name) in cases {
            assert_eq!(outcome_of(verb, status, body).name(), name, "{verb:?} {status} {body}");
        }
    }

    #[test]
    fn reasons_show_the_code_and_the_words() {
        let body = r#"{"status":"error","status_code":10,"message":"Field is required","message_details":"title"}"#;
        let Outcome::Reject { why } = outcome_of(Verb::Create, 200, body) else { panic!("a no") };
        insta::assert_snapshot!(why, @"10: Field is required (title)");
        let Outcome::Suspend { why, .. } = outcome_of(Verb::Create, 200, &no(2, "Action hash is missed or invalid"))
        else {
            panic!("a stop")
        };
        insta::assert_snapshot!(why, @"2: Action hash is missed or invalid: is the `admin_key` right? If only some calls are refused so, try `hash: raw` on the account");
    }
}
