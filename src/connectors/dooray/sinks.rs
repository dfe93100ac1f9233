//! What Dooray's sinks share.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use super::client::Door;
use super::envelope::Said;
use super::people;
use crate::connectors::client::{Client, SendError};
use crate::connectors::{Answer, Build, Call, reading};
use crate::outcome::Verb;
use crate::settings::Fault;

pub(super) mod calendar;
pub(super) mod message;
pub(super) mod task;

/// The account's door.
fn door(build: &Build<'_>) -> Result<Door, Vec<Fault>> {
    let fault = |why: &str| vec![Fault::new(build.settings.spot("account"), why)];
    let account = build.account.ok_or_else(|| fault("needs an account"))?;
    Door::of(account).map_err(|why| fault(&why))
}

/// A call that does something, with its verb for the reading of its answer.
fn doing(door: &Door, verb: Verb, method: Method, path: &[&str]) -> Call {
    door.call(method, path, &[]).part(super::answer::part(verb))
}

/// Sends a change with the fields that it leaves out, which the vendor may clear: they are read first.
async fn send_whole(client: &Client, call: &Call, completed: fn(&Call, &Value) -> Call) -> Result<Answer, SendError> {
    let read = Call { method: Method::GET, body: Bytes::new(), ..call.clone() };
    let answer = client.send(&read).await?;
    match Said::read(&answer).filter(|said| said.is_yes(answer.status)) {
        Some(said) => client.send(&completed(call, &said.result)).await,
        None => Ok(answer),
    }
}

/// The linked record's id, which is digits; a recurring event's has a time behind it.
fn linked(remote_id: Option<&str>, what: &str, verb: Verb) -> Result<String, String> {
    let id = remote_id.ok_or_else(|| format!("there is no linked {what} to {}", verb.name()))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if id.is_empty() || !id.chars().all(fits) {
        return Err(format!("the link's id {id:?} is no {what} of Dooray"));
    }
    Ok(id.to_owned())
}

/// The message of a field that does not fit.
fn wrong(name: &str, why: impl std::fmt::Display) -> String {
    format!("{name}: {why}")
}

/// Text; a number is taken as it is written.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("expected text".to_owned()),
    }
}

/// A body: `{ mimeType, content }`, `{ type, text }` as events have it, or text in the sink's own format.
fn body(value: &Value, plain: fn(&str) -> Value) -> Result<Value, String> {
    match value {
        Value::Object(body) => {
            let get = |a: &str, b: &str| body.get(a).or_else(|| body.get(b)).and_then(Value::as_str);
            match (get("mimeType", "type"), get("content", "text")) {
                (Some(kind @ ("text/html" | "text/x-markdown")), Some(content)) => {
                    Ok(json!({ "mimeType": kind, "content": content }))
                }
                _ => Err("expected text, or { mimeType: text/html or text/x-markdown, content }".to_owned()),
            }
        }
        other => text(other).map(|text| plain(&text)),
    }
}

/// Text as HTML, for what knows nothing else: it says what it says and is no markup.
fn as_html(text: &str) -> Value {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', "<br>");
    json!({ "mimeType": "text/html", "content": escaped })
}

fn as_markdown(text: &str) -> Value {
    json!({ "mimeType": "text/x-markdown", "content": text })
}

/// Puts `to` and `cc` where Dooray has them.
fn put_users(fields: &Map<String, Value>, written: &mut Map<String, Value>, told: &mut Vec<String>) {
    let mut users = Map::new();
    for key in ["to", "cc"] {
        match fields.get(key).filter(|value| !value.is_null()).map(people::written) {
            None => {}
            Some(Ok(list)) => _ = users.insert(key.to_owned(), list),
            Some(Err(why)) => told.push(wrong(key, why)),
        }
    }
    if !users.is_empty() {
        written.insert("users".to_owned(), Value::Object(users));
    }
}

/// Users as a detail shows them, as they are written: without status and workflow.
fn users_again(users: &Value) -> Value {
    let again = |list: &Value| -> Value {
        let people = list.as_array().into_iter().flatten();
        people
            .filter_map(|user| {
                let known = people::person(user)?;
                let id = || known["id"].as_str().map(str::to_owned);
                Some(match known["kind"].as_str()? {
                    "member" => json!({ "type": "member", "member": { "organizationMemberId": id()? } }),
                    "group" => json!({ "type": "group", "group": { "projectMemberGroupId": id()? } }),
                    "email" => {
                        let name = known["name"].as_str().unwrap_or_default();
                        json!({ "type": "emailUser", "emailUser": { "emailAddress": known["email"], "name": name } })
                    }
                    _ => return None,
                })
            })
            .collect()
    };
    json!({ "to": again(&users["to"]), "cc": again(&users["cc"]) })
}

/// The ids among `items` whose `fits` holds.
fn ids(items: &[Value], fits: impl Fn(&Value) -> bool) -> Vec<String> {
    items.iter().filter(|item| fits(item)).filter_map(|item| reading::id(&item["id"])).collect()
}
