//! What Slack's answers mean: the Web API's `error`, the incoming webhook's text.
//!
//! Source: docs.slack.dev, the errors of chat.postMessage, chat.update and chat.delete, and of incoming webhooks.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use crate::connectors::{Answer, Call};
use crate::outcome::{Outcome, Scope};

/// The bot has lost its credentials or rights, or the workspace its room for messages.
pub const ACCOUNT: &[&str] = &[
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
    "missing_scope",
    "no_permission",
    "ekm_access_denied",
    "team_not_found",
    "team_access_not_granted",
    "access_denied",
    "accesslimited",
    "not_allowed_token_type",
    "org_login_required",
    "enterprise_is_restricted",
    "two_factor_setup_required",
    "message_limit_exceeded",
];

/// The channel takes no message from the bot. `restricted_action` and its variants belong here too.
const CHANNEL: &[&str] = &["channel_not_found", "not_in_channel", "is_archived"];

/// The bot may not touch this message: another's, as a rule. Where it is so with every message, its rights have changed.
const RECORD: &[&str] = &["cant_update_message", "cant_delete_message", "compliance_exports_prevent_deletion"];

/// Passing, and certainly nothing was done.
const PASSING: &[&str] = &["service_unavailable", "request_timeout", "team_added_to_org", "update_failed"];

/// "Some aspect of the operation succeeded": in doubt.
const DOUBTFUL: &[&str] = &["internal_error", "fatal_error"];

/// An incoming webhook that is no more, or may not post where it points to.
const WEBHOOK: &[&str] = &[
    "action_prohibited",
    "channel_not_found",
    "channel_is_archived",
    "posting_to_general_channel_denied",
    "invalid_token",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "team_disabled",
];

/// Reads an answer of the Web API. `channel` is the sink's.
pub fn web_api(call: &Call, answer: &Answer, channel: &str, now: Timestamp) -> Outcome {
    let said = answer.json();
    let said = said.as_ref().filter(|said| said["ok"].is_boolean());
    let Some(said) = said else { return by_status(call, answer, now) };
    if said["ok"] == true {
        // An answer in a thread leaves the link on the message that began it: threads know no other.
        let made =
            call.remote_id.clone().or_else(|| Some(format!("{}:{}", said["channel"].as_str()?, said["ts"].as_str()?)));
        return Outcome::Delivered { remote_id: made };
    }
    let error = said["error"].as_str().unwrap_or("no error named");
    let why = explained(error, said);
    let linked = call.remote_id.as_deref().and_then(|id| id.split_once(':')).map(|(channel, _)| channel);
    match error {
        "ratelimited" | "rate_limited" => Outcome::Retry { after: answer.retry_after(now), account: true, why },
        _ if PASSING.contains(&error) => Outcome::Retry { after: answer.retry_after(now), account: false, why },
        _ if DOUBTFUL.contains(&error) => in_doubt(call, why),
        _ if ACCOUNT.contains(&error) => Outcome::Suspend { what: Scope::Account, why, until: None },
        _ if CHANNEL.contains(&error) || error.starts_with("restricted_action") => match linked {
            // The message stands in a channel that the sink has left since: only this record suffers.
            Some(linked) if linked != channel => Outcome::refused(format!("{why} (channel {linked})")),
            _ => Outcome::Suspend { what: Scope::Sink, why: format!("{why} (channel {channel})"), until: None },
        },
        // What a repeated delete finds after the first took effect.
        "message_not_found" if call.url.path().ends_with("/chat.delete") => {
            Outcome::Delivered { remote_id: call.remote_id.clone() }
        }
        _ if RECORD.contains(&error) => Outcome::refused(why),
        _ => Outcome::reject(why),
    }
}

/// Reads an answer of an incoming webhook.
pub fn webhook(call: &Call, answer: &Answer, now: Timestamp) -> Outcome {
    let text = answer.text();
    match (answer.status, text.trim()) {
        (StatusCode::OK, "ok") => Outcome::Delivered { remote_id: None },
        (_, error) if WEBHOOK.contains(&error) => {
            Outcome::Suspend { what: Scope::Sink, why: answer.summary(), until: None }
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE, _) => {
            Outcome::Suspend { what: Scope::Sink, why: answer.summary(), until: None }
        }
        _ => by_status(call, answer, now),
    }
}

/// The answer bears no word of Slack's.
fn by_status(call: &Call, answer: &Answer, now: Timestamp) -> Outcome {
    let why = answer.summary();
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS => Outcome::Retry { after: answer.retry_after(now), account: true, why },
        // The gateway waited for Slack in vain: it may have acted.
        StatusCode::GATEWAY_TIMEOUT => in_doubt(call, why),
        StatusCode::REQUEST_TIMEOUT => Outcome::retry(why),
        status if status.is_server_error() => Outcome::Retry { after: answer.retry_after(now), account: false, why },
        status if status.is_success() => in_doubt(call, format!("the answer is not the vendor's: {why}")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            Outcome::Suspend { what: Scope::Account, why, until: None }
        }
        status if status.is_redirection() => Outcome::Suspend { what: Scope::Account, why, until: None },
        _ => Outcome::reject(why),
    }
}

fn in_doubt(call: &Call, why: String) -> Outcome {
    if call.idempotent { Outcome::retry(why) } else { Outcome::Unknown { why } }
}

/// The error, with the scope it wants or the places it names.
pub fn explained(error: &str, said: &Value) -> String {
    let mut why = error.to_owned();
    if let Some(needed) = said["needed"].as_str() {
        why = format!("{why}: needs {needed}");
    }
    let messages = said["response_metadata"]["messages"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for message in messages.take(5) {
        why = format!("{why}: {message}");
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method};
    use std::time::Duration;
    use url::Url;

    fn call(method: &str, linked: Option<&str>) -> Call {
        let url = Url::parse(&format!("https://slack.com/api/{method}")).expect("a URL");
        Call::new(Method::POST, url).idempotent(method != "chat.postMessage").remote_id(linked.map(str::to_owned))
    }

    fn answer(status: u16, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from(30));
        let status = StatusCode::from_u16(status).expect("a status");
        Answer { status, headers, body: Bytes::from(body.to_owned()) }
    }

    fn no(method: &str, linked: Option<&str>, error: &str) -> Outcome {
        let answer = answer(200, &format!(r#"{{"ok":false,"error":"{error}"}}"#));
        web_api(&call(method, linked), &answer, "C1", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn each_error_has_one_meaning() {
        let cases = [
            ("invalid_auth", "suspend"),
            ("token_revoked", "suspend"),
            ("missing_scope", "suspend"),
            ("message_limit_exceeded", "suspend"),
            ("channel_not_found", "suspend"),
            ("not_in_channel", "suspend"),
            ("is_archived", "suspend"),
            ("restricted_action_read_only_channel", "suspend"),
            ("no_text", "reject"),
            ("invalid_blocks", "reject"),
            ("invalid_blocks_format", "reject"),
            ("msg_blocks_too_long", "reject"),
            ("msg_too_long", "reject"),
            ("too_many_attachments", "reject"),
            ("metadata_too_large", "reject"),
            ("duplicate_message_not_found", "reject"),
            ("never_heard_of", "reject"),
            ("ratelimited", "retry"),
            ("rate_limited", "retry"),
            ("service_unavailable", "retry"),
            ("request_timeout", "retry"),
            ("team_added_to_org", "retry"),
            ("internal_error", "unknown"),
            ("fatal_error", "unknown"),
        ];
        for (error, name) in cases {
            assert_eq!(no("chat.postMessage", None, error).name(), name, "{error}");
        }
        for error in ["internal_error", "fatal_error", "update_failed"] {
            assert_eq!(no("chat.update", Some("C1:1.2"), error).name(), "retry", "{error}");
        }
        for error in ["message_not_found", "cant_update_message", "edit_window_closed", "block_mismatch", "is_inactive"]
        {
            assert_eq!(no("chat.update", Some("C1:1.2"), error).name(), "reject", "{error}");
        }
        assert_eq!(no("chat.delete", Some("C1:1.2"), "message_not_found").name(), "delivered");
    }

    #[test]
    fn a_channel_that_the_sink_has_left_does_not_stop_the_sink() {
        assert_eq!(no("chat.update", Some("C0:1.2"), "is_archived"), Outcome::refused("is_archived (channel C0)"));
        assert_eq!(
            no("chat.update", Some("C1:1.2"), "is_archived"),
            Outcome::Suspend { what: Scope::Sink, why: "is_archived (channel C1)".to_owned(), until: None }
        );
    }

    #[test]
    fn a_rate_limit_slows_the_account_down() {
        let slow =
            Outcome::Retry { after: Some(Duration::from_secs(30)), account: true, why: "ratelimited".to_owned() };
        assert_eq!(no("chat.postMessage", None, "ratelimited"), slow);
        let limited = answer(429, r#"{"ok":false,"error":"ratelimited"}"#);
        assert_eq!(web_api(&call("chat.postMessage", None), &limited, "C1", Timestamp::UNIX_EPOCH), slow);
    }

    #[test]
    fn statuses_without_a_word_of_slack() {
        let outcome = |method, status, body| {
            web_api(&call(method, None), &answer(status, body), "C1", Timestamp::UNIX_EPOCH).name()
        };
        assert_eq!(outcome("chat.postMessage", 200, "<html>"), "unknown");
        assert_eq!(outcome("chat.update", 200, "<html>"), "retry");
        assert_eq!(outcome("chat.postMessage", 503, ""), "retry");
        assert_eq!(outcome("chat.postMessage", 504, ""), "unknown");
        assert_eq!(outcome("chat.postMessage", 404, ""), "suspend");
        assert_eq!(outcome("chat.postMessage", 413, ""), "reject");
    }

    #[test]
    fn reasons_name_the_place_or_the_scope() {
        let said = answer(
            200,
            r#"{"ok":false,"error":"invalid_blocks","response_metadata":{"messages":["[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"]}}"#,
        );
        let outcome = web_api(&call("chat.postMessage", None), &said, "C1", Timestamp::UNIX_EPOCH);
        insta::assert_snapshot!(
            outcome.why().unwrap_or_default(),
            @"invalid_blocks: [ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"
        );
        let said = answer(200, r#"{"ok":false,"error":"missing_scope","needed":"chat:write","provided":"users:read"}"#);
        let outcome = web_api(&call("chat.postMessage", None), &said, "C1", Timestamp::UNIX_EPOCH);
        insta::assert_snapshot!(outcome.why().unwrap_or_default(), @"missing_scope: needs chat:write");
    }

    #[test]
    fn an_incoming_webhook_speaks_plain_text() {
        let cases = [
            (200, "ok", "delivered"),
            (200, "<html>", "unknown"),
            (400, "invalid_payload", "reject"),
            (400, "user_not_found", "reject"),
            (400, "no_text", "reject"),
            (400, "too_many_attachments", "reject"),
            (403, "action_prohibited", "suspend"),
            (403, "invalid_token", "suspend"),
            (404, "channel_not_found", "suspend"),
            (404, "no_active_hooks", "suspend"),
            (400, "team_disabled", "suspend"),
            (410, "channel_is_archived", "suspend"),
            (429, "", "retry"),
            (500, "rollup_error", "retry"),
        ];
        for (status, text, name) in cases {
            let outcome = webhook(&call("chat.postMessage", None), &answer(status, text), Timestamp::UNIX_EPOCH);
            assert_eq!(outcome.name(), name, "{status} {text}");
        }
    }
}
