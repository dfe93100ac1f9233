//! Dooray's users, in every spelling of its pages.

use serde_json::{Map, Value, json};

use crate::connectors::reading;

/// The ways that the pages spell a member's id.
const IDS: [&str; 5] =
    ["organizationMemberId", "organiztaionMemberId", "organizationmemberid", "organiationMemberId", "id"];

/// One user: `{ kind, id, name, email, status, workflow }`, what is absent left out; `None` for null.
pub(super) fn person(user: &Value) -> Option<Value> {
    let user = user.as_object()?;
    let named = user.get("type").and_then(Value::as_str);
    let found = ["member", "emailUser", "emailuser", "group", "distributionList"];
    let (kind, inner) = match found.iter().find_map(|kind| Some((*kind, user.get(*kind)?.as_object()?))) {
        Some((kind, inner)) => (named.unwrap_or(kind), inner),
        None => (named?, user),
    };
    let mut person = Map::new();
    let kind = match kind {
        "emailUser" | "emailuser" => "email",
        "distributionList" => "list",
        other => other,
    };
    person.insert("kind".to_owned(), Value::from(kind));
    let id = IDS.iter().chain(&["projectMemberGroupId"]).find_map(|key| reading::id(inner.get(*key)?));
    let text = |key: &str| reading::id(inner.get(key)?);
    for (key, value) in [("id", id), ("name", text("name")), ("email", text("emailAddress"))] {
        if let Some(value) = value {
            person.insert(key.to_owned(), Value::from(value));
        }
    }
    if let Some(status) = user.get("status").and_then(Value::as_str).filter(|status| !status.is_empty()) {
        person.insert("status".to_owned(), Value::from(status));
    }
    if let Some(workflow) = user.get("workflow").and_then(named_thing) {
        person.insert("workflow".to_owned(), workflow);
    }
    let members = inner.get("members").and_then(Value::as_array);
    if let Some(members) = members.filter(|members| !members.is_empty()) {
        let ids = members.iter().filter_map(|member| IDS.iter().find_map(|key| reading::id(&member[*key])));
        person.insert("members".to_owned(), ids.map(Value::from).collect());
    }
    Some(Value::Object(person))
}

/// A list of users; null and what is no list is none.
pub(super) fn people(users: &Value) -> Vec<Value> {
    users.as_array().map(|users| users.iter().filter_map(person).collect()).unwrap_or_default()
}

/// `{ id, name }` of a calendar, a project, a workflow; what is absent left out.
pub(super) fn named_thing(thing: &Value) -> Option<Value> {
    let mut kept = Map::new();
    for key in ["id", "name", "code", "number", "subject"] {
        if let Some(value) = thing.get(key).and_then(reading::id) {
            kept.insert(key.to_owned(), Value::from(value));
        }
    }
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// `{ type, text }` of a body.
pub(super) fn body(body: &Value) -> Option<Value> {
    let text = body.get("content").and_then(Value::as_str)?;
    let kind = body.get("mimeType").and_then(Value::as_str).filter(|kind| !kind.is_empty());
    Some(match kind {
        Some(kind) => json!({ "type": kind, "text": text }),
        None => json!({ "text": text }),
    })
}

/// Users as they are written: member ids, e-mail addresses, or whole users as they are.
///
/// # Errors
/// Why an entry is none.
pub(super) fn written(value: &Value) -> Result<Value, String> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    items.iter().map(one_written).collect()
}

fn one_written(value: &Value) -> Result<Value, String> {
    const EXPECTED: &str = "expected a member's id, an e-mail address, or a mapping with a `type`";
    match value {
        Value::Object(user) if user.contains_key("type") => Ok(value.clone()),
        Value::Object(user) => {
            let text = |key: &str| user.get(key).and_then(reading::id);
            match (text("id"), text("email")) {
                (Some(id), _) => Ok(member(&id)),
                (None, Some(email)) => Ok(email_user(&email, &text("name").unwrap_or_default())),
                (None, None) => Err(EXPECTED.to_owned()),
            }
        }
        _ => match reading::id(value) {
            Some(email) if email.contains('@') => Ok(email_user(&email, "")),
            Some(id) if id.bytes().all(|byte| byte.is_ascii_digit()) => Ok(member(&id)),
            _ => Err(EXPECTED.to_owned()),
        },
    }
}

fn member(id: &str) -> Value {
    json!({ "type": "member", "member": { "organizationMemberId": id } })
}

fn email_user(email: &str, name: &str) -> Value {
    json!({ "type": "emailUser", "emailUser": { "emailAddress": email, "name": name } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_user_is_read() {
        let cases = [
            (
                json!({"type":"member","member":{"organizationMemberId":"1","name":"김하나"},"status":"accepted"}),
                r#"{"kind":"member","id":"1","name":"김하나","status":"accepted"}"#,
            ),
            (
                json!({"type":"member","member":{"organiztaionMemberId":"1","name":""},"status":""}),
                r#"{"kind":"member","id":"1"}"#,
            ),
            (json!({"type":"member","member":{"organizationmemberid":7}}), r#"{"kind":"member","id":"7"}"#),
            (
                json!({"type":"emailUser","emailUser":{"emailAddress":"a@b.kr","name":"A"}}),
                r#"{"kind":"email","name":"A","email":"a@b.kr"}"#,
            ),
            (
                json!({"type":"group","group":{"projectMemberGroupId":"9","members":[{"organizationMemberId":"1"}]}}),
                r#"{"kind":"group","id":"9","members":["1"]}"#,
            ),
            (
                json!({"type":"member","member":{"id":"3","name":"x","emailAddress":"x@y.kr"}}),
                r#"{"kind":"member","id":"3","name":"x","email":"x@y.kr"}"#,
            ),
        ];
        for (user, read) in cases {
            assert_eq!(person(&user).unwrap().to_string(), read);
        }
        assert_eq!((person(&Value::Null), people(&Value::Null)), (None, Vec::new()));
    }

    #[test]
    fn users_are_written_from_ids_and_addresses() {
        let users = written(&json!(["1", 2, "a@b.kr", {"id": "3"}, {"email": "c@d.kr", "name": "C"}])).unwrap();
        assert_eq!(users[1]["member"]["organizationMemberId"], "2");
        assert_eq!(users[2]["emailUser"]["emailAddress"], "a@b.kr");
        assert_eq!(users[4]["emailUser"], json!({"emailAddress": "c@d.kr", "name": "C"}));
        assert!(written(&json!("kim")).is_err() && written(&json!([{}])).is_err());
    }
}
