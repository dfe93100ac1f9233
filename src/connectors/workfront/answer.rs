//! What Workfront's answers mean.
//!
//! A yes has `data` (or, in examples of single objects, is the object itself); a no is an object `error` with a `message`, mostly
//! a `class`, under a status of its own (422, 401, …) or under 200. The vendor has no list of either, so both are read: the
//! status first, then the words. Source: the page "API basics"; what public code has seen.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use crate::connectors::{Answer, Call, PollError, reading};
use crate::outcome::{Outcome, Scope};

/// What the vendor said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// Yes; `data`, or the whole object where there is none.
    Yes(Value),
    /// No.
    No(Trouble, String),
}

/// Why the vendor said no, or who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Who we are is not believed.
    Credentials,
    /// It is not allowed.
    Permission,
    /// There is no such object.
    Missing,
    /// Too many calls at once.
    Busy,
    /// Not now; nothing was done.
    Passing,
    /// It makes no sense to the vendor.
    Wrong,
    /// Another host, or a page in front of the vendor's.
    Elsewhere,
    /// Who answered is not the vendor, or the vendor broke: it may have acted.
    Unclear,
}

/// Reads an answer.
pub(super) fn read(answer: &Answer) -> Said {
    let status = answer.status;
    let body = answer.json().filter(Value::is_object);
    match body {
        Some(body) if !body["error"].is_null() => Said::No(trouble(status, Some(&body["error"])), summary(answer)),
        Some(mut body) if status.is_success() => match body.get_mut("data").map(Value::take) {
            Some(data) => Said::Yes(data),
            None => Said::Yes(body),
        },
        _ => Said::No(trouble(status, None), summary(answer)),
    }
}

/// What an answer says, in one line.
pub(super) fn summary(answer: &Answer) -> String {
    let body = answer.json().unwrap_or_default();
    let error = &body["error"];
    let status = answer.status.as_u16();
    match (error["message"].as_str().or(error.as_str()), error["class"].as_str()) {
        (Some(message), Some(class)) => {
            let class = class.rsplit('.').next().unwrap_or(class);
            format!("HTTP {status}: {message} ({class})")
        }
        (Some(message), None) => format!("HTTP {status}: {message}"),
        (None, _) => answer.summary(),
    }
}

/// True for an answer that says that our credentials are no longer good.
pub(super) fn refuses_credentials(answer: &Answer) -> bool {
    matches!(read(answer), Said::No(Trouble::Credentials, _))
}

fn trouble(status: StatusCode, error: Option<&Value>) -> Trouble {
    let Some(error) = error else {
        return match status {
            StatusCode::UNAUTHORIZED => Trouble::Credentials,
            StatusCode::FORBIDDEN => Trouble::Permission,
            StatusCode::TOO_MANY_REQUESTS => Trouble::Busy,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => Trouble::Passing,
            StatusCode::NOT_FOUND => Trouble::Elsewhere,
            status if status.is_redirection() => Trouble::Elsewhere,
            status if status.is_client_error() => Trouble::Wrong,
            _ => Trouble::Unclear,
        };
    };
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_lowercase();
    let (class, message) = (text("class"), error.as_str().map_or_else(|| text("message"), str::to_lowercase));
    let says = |words: &[&str]| words.iter().any(|word| class.contains(word) || message.contains(word));
    let is = |wanted| status == wanted;
    if is(StatusCode::UNAUTHORIZED)
        || says(&[
            "authenticationexception",
            "loginexception",
            "invalid session",
            "session has expired",
            "not logged in",
        ])
        || says(&["invalid api key", "invalid apikey", "apikey is invalid"])
    {
        Trouble::Credentials
    } else if is(StatusCode::TOO_MANY_REQUESTS) || says(&["throttl", "too many", "concurrent api", "concurrent thread"])
    {
        Trouble::Busy
    } else if is(StatusCode::FORBIDDEN)
        || says(&[
            "accessdenied",
            "permission",
            "authorizationexception",
            "not authorized",
            "do not have",
            "does not have access",
        ])
    {
        Trouble::Permission
    } else if is(StatusCode::NOT_FOUND) || class.contains("notfound") || is_gone(&message) {
        Trouble::Missing
    } else if status.is_server_error() || says(&["optimisticlock", "deadlock", "timed out"]) {
        Trouble::Passing
    } else {
        Trouble::Wrong
    }
}

/// Source: seen in public code: `Task with primary key value(s) "…" not found`. What else is not found is no object.
fn is_gone(message: &str) -> bool {
    message.contains("primary key") && message.contains("not found")
}

/// The records of an answer: of a list, of a map by ID, or the one that it is.
pub(super) fn rows(data: Value) -> Vec<Value> {
    match data {
        Value::Array(rows) => rows,
        Value::Null => Vec::new(),
        Value::Object(entries) if entries.iter().any(|(key, value)| value["ID"] == key.as_str()) => {
            entries.into_iter().map(|(_, row)| row).collect()
        }
        one => vec![one],
    }
}

/// The ID of the only record.
pub(super) fn id(data: &Value) -> Option<String> {
    let one = match data {
        Value::Array(rows) if rows.len() == 1 => &rows[0],
        other => other,
    };
    reading::id(&one["ID"])
}

/// What a call came to for a sink. The call's part tells its verb.
pub(super) fn outcome(call: &Call, answer: &Answer, now: Timestamp) -> Outcome {
    let verb = call.part["verb"].as_str().unwrap_or_default();
    match read(answer) {
        Said::Yes(_) if call.remote_id.is_some() || verb.is_empty() => {
            Outcome::Delivered { remote_id: call.remote_id.clone() }
        }
        Said::Yes(data) => match id(&data) {
            Some(id) => Outcome::Delivered { remote_id: Some(id) },
            None => in_doubt(call, format!("the answer has no ID: {}", summary(answer))),
        },
        // What is already gone needs no deletion.
        Said::No(Trouble::Missing, _) if verb == "delete" => Outcome::Delivered { remote_id: call.remote_id.clone() },
        Said::No(Trouble::Unclear, why) => in_doubt(call, why),
        Said::No(trouble, why) => refused(trouble, why, answer, now),
    }
}

/// What a no means to a sink or a lookup; not for [`Trouble::Unclear`], which depends on the call.
pub(super) fn refused(trouble: Trouble, why: String, answer: &Answer, now: Timestamp) -> Outcome {
    match trouble {
        Trouble::Credentials | Trouble::Elsewhere => Outcome::Suspend { what: Scope::Account, why, until: None },
        Trouble::Permission => Outcome::refused(why),
        Trouble::Busy => Outcome::Retry { after: answer.retry_after(now), account: true, why },
        Trouble::Passing => Outcome::Retry { after: answer.retry_after(now), account: false, why },
        Trouble::Missing | Trouble::Wrong => Outcome::reject(why),
        Trouble::Unclear => Outcome::retry(why),
    }
}

/// The records that a question found.
///
/// # Errors
/// The outcome if the vendor did not say.
pub(super) fn found(answer: &Answer, now: Timestamp) -> Result<Vec<Value>, Outcome> {
    match read(answer) {
        Said::Yes(data) => Ok(rows(data)),
        Said::No(trouble, why) => Err(refused(trouble, why, answer, now)),
    }
}

/// What a no means to a poller.
pub(super) fn poll_error(trouble: Trouble, why: String, answer: &Answer, now: Timestamp) -> PollError {
    let retry = |account| PollError::Retry { after: answer.retry_after(now), account, why: why.clone() };
    match trouble {
        Trouble::Credentials | Trouble::Elsewhere => {
            PollError::Suspend { why: format!("workfront refused the account: {why}") }
        }
        Trouble::Busy => retry(true),
        Trouble::Passing | Trouble::Unclear => retry(false),
        Trouble::Permission | Trouble::Missing | Trouble::Wrong => PollError::Stop { why },
    }
}

/// Not understood: whether it took effect is unknown, which matters only where a second call would do more.
fn in_doubt(call: &Call, why: String) -> Outcome {
    if call.idempotent { Outcome::retry(why) } else { Outcome::Unknown { why } }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};
    use serde_json::json;
    use url::Url;

    use super::super::door::part;
    use super::*;
    use crate::outcome::Verb;

    fn answered(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) }
    }

    fn outcome_of(verb: Verb, status: u16, body: &str) -> Outcome {
        let url = Url::parse("https://acme.my.workfront.com/x").unwrap();
        let linked = (verb != Verb::Create).then(|| "7".to_owned());
        let again = !matches!(verb, Verb::Create | Verb::Comment);
        let call = Call::new(Method::POST, url).idempotent(again).remote_id(linked).part(part(verb));
        outcome(&call, &answered(status, body), Timestamp::UNIX_EPOCH)
    }

    fn no(class: &str, message: &str) -> String {
        json!({ "error": { "class": class, "message": message } }).to_string()
    }

    #[test]
    fn a_yes_is_wrapped_or_not() {
        let delivered = |id: &str| Outcome::Delivered { remote_id: Some(id.to_owned()) };
        for body in [r#"{"data":{"ID":"9"}}"#, r#"{"data":[{"ID":"9"}]}"#, r#"{"ID":"9","name":"a"}"#] {
            assert_eq!(outcome_of(Verb::Create, 200, body), delivered("9"), "{body}");
        }
        assert_eq!(outcome_of(Verb::Act, 200, r#"{"data":{"result":null}}"#), delivered("7"));
        assert_eq!(outcome_of(Verb::Comment, 200, r#"{"data":{"ID":"9"}}"#), delivered("7"), "the link stays");
        assert_eq!(outcome_of(Verb::Create, 200, r#"{"success":true}"#).name(), "unknown");
    }

    #[test]
    fn each_no_has_one_meaning() {
        let cases = [
            (
                Verb::Create,
                200,
                no("java.lang.IllegalArgumentException", "APIModel V15_0 does not support field x (Task)"),
                "reject",
            ),
            (Verb::Create, 422, r#"{"error":{"message":"Label is required"}}"#.to_owned(), "reject"),
            (Verb::Create, 401, no("com.attask.common.AuthenticationException", "x"), "suspend"),
            (Verb::Create, 200, no("com.attask.common.AuthenticationException", "x"), "suspend"),
            (Verb::Create, 200, r#"{"error":{"message":"Invalid session ID."}}"#.to_owned(), "suspend"),
            (Verb::Create, 302, String::new(), "suspend"),
            (Verb::Create, 404, "<html>".to_owned(), "suspend"),
            (Verb::Create, 414, "<html>".to_owned(), "reject"),
            (Verb::Create, 429, no("", "x"), "retry"),
            (Verb::Create, 200, no("", "Too many concurrent API threads"), "retry"),
            (Verb::Create, 500, no("", "x"), "retry"),
            (Verb::Create, 500, "<html>".to_owned(), "unknown"),
            (Verb::Create, 502, "<html>".to_owned(), "unknown"),
            (Verb::Create, 503, "<html>".to_owned(), "retry"),
            (Verb::Create, 200, "<html>".to_owned(), "unknown"),
            (Verb::Update, 502, "<html>".to_owned(), "retry"),
            (Verb::Update, 404, no("", "Task with primary key value(s) \"7\" not found"), "reject"),
            (Verb::Delete, 404, no("", "x"), "delivered"),
            (Verb::Delete, 422, no("", "Parameter \"DE:x\" not found"), "reject"),
            (Verb::Delete, 200, no("com.attask.ObjectNotFoundException", "x"), "delivered"),
        ];
        for (verb, status, body, name) in cases {
            assert_eq!(outcome_of(verb, status, &body).name(), name, "{verb:?} {status} {body}");
        }
        let denied = outcome_of(Verb::Update, 403, &no("com.attask.AccessDeniedException", "x"));
        assert!(matches!(denied, Outcome::Refused { .. }), "one record's: {denied:?}");
    }

    #[test]
    fn records_come_as_a_list_a_map_or_one() {
        assert_eq!(rows(json!([{ "ID": "1" }])).len(), 1);
        assert_eq!(rows(json!({ "1": { "ID": "1" }, "2": { "ID": "2" } })).len(), 2);
        assert_eq!(rows(json!({ "count": 3 })), [json!({ "count": 3 })]);
        assert_eq!(rows(json!({ "ID": "1", "name": "x" })).len(), 1);
    }
}
