//! What Block Kit refuses. Source: docs.slack.dev, reference of blocks and block elements.

use serde_json::{Map, Value, json};

use super::{Refused, error};

/// The kinds of blocks that a message may have.
const KINDS: [&str; 11] =
    ["actions", "context", "divider", "file", "header", "image", "input", "markdown", "rich_text", "section", "video"];
/// The most characters of all Markdown blocks together.
const MARKDOWN: usize = 12_000;

/// What is wrong, and where.
struct Wrong(String, String);

type Checked = Result<(), Wrong>;

/// Checks a message's `blocks`.
pub(super) fn check(message: &Map<String, Value>) -> Result<(), Refused> {
    let Some(blocks) = message.get("blocks").filter(|blocks| !blocks.is_null()) else { return Ok(()) };
    let Some(blocks) = blocks.as_array() else { return Err(error("invalid_blocks_format")) };
    let refused = |Wrong(what, at): Wrong| {
        let told = format!("[ERROR] {what} [json-pointer:/blocks{at}]");
        Refused::Error("invalid_blocks", json!({ "messages": [told] }))
    };
    if blocks.len() > 50 {
        return Err(refused(Wrong("no more than 50 items allowed".to_owned(), String::new())));
    }
    let mut markdown = 0;
    for (at, one) in blocks.iter().enumerate() {
        block(one, &format!("/{at}")).map_err(refused)?;
        markdown += if one["type"] == "markdown" { length(&one["text"]) } else { 0 };
    }
    if markdown > MARKDOWN { Err(error("msg_blocks_too_long")) } else { Ok(()) }
}

fn block(block: &Value, at: &str) -> Checked {
    let kind = block["type"].as_str().ok_or_else(|| missing("type", at))?;
    if !KINDS.contains(&kind) {
        return Err(Wrong(format!("unsupported type: {kind}"), format!("{at}/type")));
    }
    at_most(&block["block_id"], 255, &format!("{at}/block_id"))?;
    let (text, fields) = (&block["text"], &block["fields"]);
    match kind {
        "section" => {
            if text.is_null() && fields.is_null() {
                return Err(missing("text", at));
            }
            object(text, &["plain_text", "mrkdwn"], 3_000, &format!("{at}/text"))?;
            many(fields, 10, &format!("{at}/fields"))?;
            for (n, field) in items(fields).iter().enumerate() {
                object(field, &["plain_text", "mrkdwn"], 2_000, &format!("{at}/fields/{n}"))?;
            }
            Ok(())
        }
        "header" => {
            if text.is_null() {
                return Err(missing("text", at));
            }
            object(text, &["plain_text"], 150, &format!("{at}/text"))
        }
        "context" | "actions" => {
            let elements = &block["elements"];
            if items(elements).is_empty() {
                return Err(missing("elements", at));
            }
            many(elements, if kind == "context" { 10 } else { 25 }, &format!("{at}/elements"))?;
            items(elements).iter().enumerate().try_for_each(|(n, one)| element(one, &format!("{at}/elements/{n}")))
        }
        "image" if block["alt_text"].is_null() => Err(missing("alt_text", at)),
        "image" if block["image_url"].is_null() && block["slack_file"].is_null() => Err(missing("image_url", at)),
        "image" => at_most(&block["image_url"], 3_000, &format!("{at}/image_url")),
        "markdown" if !text.is_string() => Err(missing("text", at)),
        _ => Ok(()),
    }
}

/// A button, and what else there is.
fn element(element: &Value, at: &str) -> Checked {
    let kind = element["type"].as_str().ok_or_else(|| missing("type", at))?;
    at_most(&element["action_id"], 255, &format!("{at}/action_id"))?;
    at_most(&element["url"], 3_000, &format!("{at}/url"))?;
    at_most(&element["value"], 2_000, &format!("{at}/value"))?;
    if kind != "button" {
        return Ok(());
    }
    if element["text"].is_null() {
        return Err(missing("text", at));
    }
    object(&element["text"], &["plain_text"], 75, &format!("{at}/text"))
}

/// A text object, if it is there.
fn object(text: &Value, kinds: &[&str], most: usize, at: &str) -> Checked {
    if text.is_null() {
        return Ok(());
    }
    if !text["type"].as_str().is_some_and(|kind| kinds.contains(&kind)) {
        return Err(Wrong(format!("must be one of: {}", kinds.join(", ")), format!("{at}/type")));
    }
    match text["text"].as_str() {
        None => Err(missing("text", at)),
        Some("") => Err(Wrong("must be more than 0 characters".to_owned(), format!("{at}/text"))),
        Some(_) => at_most(&text["text"], most, &format!("{at}/text")),
    }
}

fn at_most(text: &Value, most: usize, at: &str) -> Checked {
    if length(text) > most {
        return Err(Wrong(format!("must be less than {} characters", most + 1), at.to_owned()));
    }
    Ok(())
}

fn many(list: &Value, most: usize, at: &str) -> Checked {
    if items(list).len() > most {
        return Err(Wrong(format!("no more than {most} items allowed"), at.to_owned()));
    }
    Ok(())
}

fn missing(field: &str, at: &str) -> Wrong {
    Wrong(format!("missing required field: {field}"), at.to_owned())
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn length(text: &Value) -> usize {
    text.as_str().map_or(0, |text| text.chars().count())
}
