//! Finding a message again: each bears its delivery's webhook-id in its metadata, and the channel's history shows it.
//!
//! Source: docs.slack.dev: conversations.history and conversations.replies take `oldest`, `latest`, `limit` (999 at most) and
//! `include_all_metadata`, without which no `event_payload` comes; scopes channels:history and groups:history.

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use url::Url;

use super::answer::{ACCOUNT, explained};
use crate::connectors::{Answer, Call, Operation};
use crate::outcome::{Outcome, Scope, Verb};

/// The type of the metadata, unless the map has metadata of its own.
const EVENT_TYPE: &str = "dari_delivery";
/// The name of the webhook-id in its payload.
const MARK: &str = "dari";
/// How far Slack's clock and ours may be apart, with the time that a call may take.
const AROUND: SignedDuration = SignedDuration::from_mins(5);

/// What a bot may lack that only reads: it can still post, so nothing has to stop.
const UNREADABLE: &[&str] = &[
    "missing_scope",
    "no_permission",
    "access_denied",
    "not_allowed_token_type",
    "not_in_channel",
    "channel_not_found",
    "is_archived",
];

/// The message that was to be answered is gone, and every answer with it.
const GONE: &[&str] = &["thread_not_found", "message_not_found"];

/// Puts the webhook-id into a message.
pub fn mark(message: &mut Map<String, Value>, webhook_id: &str) {
    let metadata =
        message.entry("metadata").or_insert_with(|| json!({ "event_type": EVENT_TYPE, "event_payload": {} }));
    // Metadata of the map's own that is malformed goes as it is: Slack says what is wrong with it.
    if let Some(payload) = metadata.get_mut("event_payload").and_then(Value::as_object_mut) {
        payload.insert(MARK.to_owned(), Value::String(webhook_id.to_owned()));
    }
}

/// The call that lists the messages among which the one of an operation must be.
///
/// # Errors
/// There is no thread to look into.
pub fn call(base: &Url, channel: &str, operation: &Operation<'_>, since: Timestamp) -> Result<Call, String> {
    let thread = match operation.verb {
        Verb::Reply => Some(operation.remote_id.and_then(|id| id.split_once(':')).ok_or("there is no linked message")?),
        _ => None,
    };
    let method = if thread.is_some() { "conversations.replies" } else { "conversations.history" };
    let mut url = base.join(method).map_err(|e| e.to_string())?;
    let at = |by: SignedDuration| since.saturating_add(by).unwrap_or(since).as_second().to_string();
    url.query_pairs_mut()
        .append_pair("channel", thread.map_or(channel, |(channel, _)| channel))
        .append_pair("oldest", &at(-AROUND))
        .append_pair("latest", &at(AROUND))
        .append_pair("limit", "999")
        .append_pair("include_all_metadata", "true");
    if let Some((_, ts)) = thread {
        url.query_pairs_mut().append_pair("ts", ts);
    }
    Ok(Call::new(Method::GET, url))
}

/// The messages in the answer that bear the operation's webhook-id.
///
/// # Errors
/// What the answer came to if it does not say.
pub fn read(
    answer: &Answer,
    sink_channel: &str,
    operation: &Operation<'_>,
    now: Timestamp,
) -> Result<Vec<String>, Outcome> {
    let later = |why: String| Outcome::Retry { after: answer.retry_after(now), account: false, why };
    let said = answer.json().filter(|said| said["ok"].is_boolean());
    let Some(said) = said else {
        return Err(match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Outcome::Suspend { what: Scope::Account, why: answer.summary(), until: None }
            }
            _ => later(answer.summary()),
        });
    };
    if said["ok"] != true {
        let error = said["error"].as_str().unwrap_or("no error named");
        let why = explained(error, &said);
        return match error {
            _ if GONE.contains(&error) => Ok(Vec::new()),
            _ if UNREADABLE.contains(&error) => Err(Outcome::reject(format!(
                "the channel's history cannot be read ({why}): the bot needs the scope channels:history, or \
                 groups:history for a private channel, and must be a member"
            ))),
            _ if ACCOUNT.contains(&error) => Err(Outcome::Suspend { what: Scope::Account, why, until: None }),
            _ => Err(later(why)),
        };
    }
    let messages = said["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let channel = operation.remote_id.filter(|_| operation.verb == Verb::Reply).and_then(|id| id.split_once(':'));
    let channel = channel.map_or(sink_channel, |(channel, _)| channel);
    let mine = messages.iter().filter(|message| message["metadata"]["event_payload"][MARK] == operation.webhook_id);
    let found: Vec<String> =
        mine.filter_map(|message| Some(format!("{channel}:{}", message["ts"].as_str()?))).collect();
    if found.is_empty() && said["has_more"] == true {
        return Err(Outcome::reject("the channel has more messages of that time than Slack shows at once"));
    }
    Ok(found)
}
