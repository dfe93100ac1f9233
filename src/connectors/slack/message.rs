//! What a message may hold, checked before it is sent.
//!
//! Source: docs.slack.dev: text 40,000 characters (more is cut off), 4,000 when a message is changed; 50 blocks; a section
//! 3,000 characters and 10 fields of 2,000; a header 150; markdown 12,000; 100 attachments.

use serde_json::{Map, Value};

use crate::outcome::Verb;

/// What a field's value is.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Text, or a number, which is sent as text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A list.
    List,
    /// A mapping.
    Object,
}

const FIELDS: &[(&str, Shape)] = &[
    ("text", Shape::Text),
    ("markdown_text", Shape::Text),
    ("blocks", Shape::List),
    ("attachments", Shape::List),
    ("metadata", Shape::Object),
    ("unfurl_links", Shape::Flag),
    ("unfurl_media", Shape::Flag),
    ("reply_broadcast", Shape::Flag),
    ("link_names", Shape::Flag),
    ("mrkdwn", Shape::Flag),
    ("username", Shape::Text),
    ("icon_emoji", Shape::Text),
    ("icon_url", Shape::Text),
    ("parse", Shape::Text),
];

const CONTENT: [&str; 4] = ["text", "blocks", "attachments", "markdown_text"];

/// Checks the rendered fields and gives back what is sent of them. `null` empties a list of a message that is changed,
/// and elsewhere leaves the field out.
///
/// # Errors
/// Every field that Slack would refuse, and why.
pub fn check(fields: &Map<String, Value>, verb: Verb) -> Result<Map<String, Value>, String> {
    let mut message = Map::new();
    let mut wrong = Vec::new();
    for (name, value) in fields {
        match field(name, value, verb) {
            Ok(Some(value)) => _ = message.insert(name.clone(), value),
            Ok(None) => {}
            Err(why) => wrong.push(why),
        }
    }
    sizes(&message, verb, &mut wrong);
    if wrong.is_empty() && !CONTENT.iter().any(|name| message.get(*name).is_some_and(is_something)) {
        wrong.push("a message needs `text`, `blocks`, `attachments` or `markdown_text`".to_owned());
    }
    if wrong.is_empty() { Ok(message) } else { Err(wrong.join("; ")) }
}

/// What the value of a field is.
///
/// # Errors
/// Why there is no such field.
pub fn shape(name: &str) -> Result<Shape, String> {
    if matches!(name, "channel" | "ts" | "thread_ts") {
        return Err("it follows from the sink and the link".to_owned());
    }
    let known = FIELDS.iter().find(|(known, _)| *known == name);
    known.map(|(_, shape)| *shape).ok_or_else(|| {
        let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        format!("expected one of {}", known.join(", "))
    })
}

fn field(name: &str, value: &Value, verb: Verb) -> Result<Option<Value>, String> {
    match (shape(name).map_err(|why| format!("{name}: {why}"))?, value) {
        (Shape::List, Value::Null) if verb == Verb::Update => Ok(Some(Value::Array(Vec::new()))),
        (_, Value::Null) => Ok(None),
        (Shape::Text, Value::Number(number)) => Ok(Some(Value::String(number.to_string()))),
        (Shape::Text, Value::String(_))
        | (Shape::Flag, Value::Bool(_))
        | (Shape::List, Value::Array(_))
        | (Shape::Object, Value::Object(_)) => Ok(Some(value.clone())),
        (Shape::Text, _) => Err(format!("{name}: expected text")),
        (Shape::Flag, _) => Err(format!("{name}: expected true or false")),
        (Shape::List, _) => Err(format!("{name}: expected a list")),
        (Shape::Object, _) => Err(format!("{name}: expected a mapping")),
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn sizes(message: &Map<String, Value>, verb: Verb, wrong: &mut Vec<String>) {
    let most_text = if verb == Verb::Update { 4_000 } else { 40_000 };
    length("text", message.get("text"), most_text, wrong);
    length("markdown_text", message.get("markdown_text"), 12_000, wrong);
    count("attachments", message.get("attachments"), 100, wrong);
    count("blocks", message.get("blocks"), 50, wrong);
    for (at, block) in message.get("blocks").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = format!("blocks[{at}]");
        match block["type"].as_str() {
            Some("section") => {
                length(&format!("{path}.text.text"), block["text"].get("text"), 3_000, wrong);
                count(&format!("{path}.fields"), block.get("fields"), 10, wrong);
                for (at, field) in block["fields"].as_array().into_iter().flatten().enumerate() {
                    length(&format!("{path}.fields[{at}].text"), field.get("text"), 2_000, wrong);
                }
            }
            Some("header") => length(&format!("{path}.text.text"), block["text"].get("text"), 150, wrong),
            Some(_) => {}
            None => wrong.push(format!("{path}.type: a block needs a type")),
        }
    }
}

fn length(path: &str, value: Option<&Value>, most: usize, wrong: &mut Vec<String>) {
    let length = value.and_then(Value::as_str).map_or(0, |text| text.chars().count());
    if length > most {
        wrong.push(format!("{path}: {length} characters, Slack takes {most}"));
    }
}

fn count(path: &str, value: Option<&Value>, most: usize, wrong: &mut Vec<String>) {
    let count = value.and_then(Value::as_array).map_or(0, Vec::len);
    if count > most {
        wrong.push(format!("{path}: {count} items, Slack takes {most}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(fields: &Value, verb: Verb) -> Result<Map<String, Value>, String> {
        check(fields.as_object().expect("a mapping"), verb)
    }

    #[test]
    fn what_slack_would_refuse_is_told_at_once() {
        let section = |text: &str, fields: Vec<Value>| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text }, "fields": fields });
        let told = checked(
            &json!({
                "txet": "a",
                "channel": "C1",
                "text": "x".repeat(40_001),
                "unfurl_links": "no",
                "blocks": [
                    section(&"가".repeat(3_001), vec![json!({ "text": "y".repeat(2_001) }); 11]),
                    { "type": "header", "text": { "type": "plain_text", "text": "z".repeat(151) } },
                    {},
                ],
            }),
            Verb::Create,
        )
        .expect_err("much is wrong");
        let told: Vec<&str> = told.split("; ").filter(|line| !line.starts_with("blocks[0].fields[")).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        txet: expected one of text, markdown_text, blocks, attachments, metadata, unfurl_links, unfurl_media, reply_broadcast, link_names, mrkdwn, username, icon_emoji, icon_url, parse
        channel: it follows from the sink and the link
        unfurl_links: expected true or false
        text: 40001 characters, Slack takes 40000
        blocks[0].text.text: 3001 characters, Slack takes 3000
        blocks[0].fields: 11 items, Slack takes 10
        blocks[1].text.text: 151 characters, Slack takes 150
        blocks[2].type: a block needs a type
        ");
    }

    #[test]
    fn bounds_are_inclusive_and_counted_in_characters() {
        assert!(checked(&json!({ "text": "가".repeat(40_000) }), Verb::Create).is_ok());
        assert!(checked(&json!({ "text": "가".repeat(4_000) }), Verb::Update).is_ok());
        assert!(checked(&json!({ "text": "가".repeat(4_001) }), Verb::Update).is_err());
        assert!(checked(&json!({ "blocks": vec![json!({ "type": "divider" }); 50] }), Verb::Create).is_ok());
        assert!(checked(&json!({ "blocks": vec![json!({ "type": "divider" }); 51] }), Verb::Create).is_err());
    }

    #[test]
    fn a_message_says_something() {
        for fields in [json!({}), json!({ "text": "" }), json!({ "text": null }), json!({ "username": "Dari" })] {
            assert!(checked(&fields, Verb::Create).is_err(), "{fields}");
        }
        let kept = checked(&json!({ "text": 7, "blocks": null }), Verb::Create).expect("a message");
        assert_eq!(Value::Object(kept), json!({ "text": "7" }));
        let kept = checked(&json!({ "text": "a", "blocks": null }), Verb::Update).expect("a message");
        assert_eq!(Value::Object(kept), json!({ "text": "a", "blocks": [] }));
    }
}
