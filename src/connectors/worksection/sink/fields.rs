//! The fields of a map as Worksection's parameters.
//!
//! Source: worksection.com, "API" (`post_task`, `update_task`, `post_comment`, `update_task_tags`, `add_costs`).

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::super::times;
use crate::outcome::Verb;

/// What a description, or a comment, may have: more of it is cut without a word.
pub(super) const LONGEST_TEXT: usize = 65_536;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    Text,
    Title,
    /// One user's address; true: `ANY` and `NOONE` too.
    Email(bool),
    Emails,
    /// Names or ids, separated by commas.
    Tags,
    /// 0 to 10.
    Priority,
    Day,
    /// Check boxes, one parameter each.
    Todo,
    /// Hours: `0.15`, `0:09`.
    Hours,
    Amount,
    Flag,
    Id,
}

/// A parameter: its name, how it is written, and for what.
struct Known(&'static str, As, &'static [Verb]);

/// Everything that only a new task takes is left out of an update, so that one map is good for an upsert.
const KNOWN: &[Known] = &[
    Known("title", As::Title, &[Verb::Create, Verb::Update]),
    Known("text", As::Text, &[Verb::Create, Verb::Comment]),
    Known("todo", As::Todo, &[Verb::Create, Verb::Comment]),
    Known("id_parent", As::Id, &[Verb::Create]),
    Known("email_user_from", As::Email(false), &[Verb::Create, Verb::Comment, Verb::Cost]),
    Known("email_user_to", As::Email(true), &[Verb::Create, Verb::Update]),
    Known("priority", As::Priority, &[Verb::Create, Verb::Update]),
    Known("datestart", As::Day, &[Verb::Create, Verb::Update]),
    Known("dateend", As::Day, &[Verb::Create, Verb::Update]),
    Known("dateclosed", As::Day, &[Verb::Update]),
    Known("subscribe", As::Emails, &[Verb::Create]),
    Known("hidden", As::Emails, &[Verb::Create, Verb::Comment]),
    Known("mention", As::Emails, &[Verb::Create, Verb::Comment]),
    Known("max_time", As::Amount, &[Verb::Create, Verb::Update]),
    Known("max_money", As::Amount, &[Verb::Create, Verb::Update]),
    Known("tags", As::Tags, &[Verb::Create, Verb::Update]),
    Known("plus", As::Tags, &[Verb::Tag]),
    Known("minus", As::Tags, &[Verb::Tag]),
    Known("time", As::Hours, &[Verb::Cost]),
    Known("money", As::Amount, &[Verb::Cost]),
    Known("is_rate", As::Flag, &[Verb::Cost]),
    Known("comment", As::Text, &[Verb::Cost]),
    Known("date", As::Day, &[Verb::Cost]),
];

/// The names that some verb takes.
pub(super) fn names() -> String {
    KNOWN.iter().map(|known| known.0).collect::<Vec<_>>().join(", ")
}

/// True if some verb takes it.
pub(super) fn takes(name: &str) -> bool {
    KNOWN.iter().any(|known| known.0 == name)
}

/// The parameters of a map for a verb, in the order of the vendor's page.
///
/// # Errors
/// Everything that is wrong, each with its field.
pub(super) fn written(
    fields: &Map<String, Value>,
    verb: Verb,
    zone: &TimeZone,
) -> Result<Vec<(&'static str, String)>, String> {
    let (mut params, mut told) = (Vec::new(), Vec::new());
    let taken = |known: &&Known| known.2.contains(&verb);
    // Of a task, the whole map of an upsert is good for both; anything else is a mistake.
    let passed_over = |name: &str| {
        let both = [Verb::Create, Verb::Update];
        both.contains(&verb) && KNOWN.iter().any(|known| known.0 == name && both.iter().any(|v| known.2.contains(v)))
    };
    for name in fields.keys() {
        let is_taken = KNOWN.iter().filter(taken).any(|known| known.0 == name);
        if !is_taken && !passed_over(name) {
            let names: Vec<&str> = KNOWN.iter().filter(taken).map(|known| known.0).collect();
            let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            told.push(format!("{name}: `{}` takes {names}", verb.name()));
        }
    }
    for Known(name, form, _) in KNOWN.iter().filter(taken) {
        let Some(value) = fields.get(*name) else { continue };
        match form.write(name, value, verb, zone) {
            Ok(written) => params.extend(written),
            Err(why) => told.push(format!("{name}: {why}")),
        }
    }
    if told.is_empty() { Ok(params) } else { Err(told.join("; ")) }
}

impl As {
    fn write(
        self,
        name: &'static str,
        value: &Value,
        verb: Verb,
        zone: &TimeZone,
    ) -> Result<Vec<(&'static str, String)>, String> {
        let one = |text: String| Ok(vec![(name, text)]);
        if value.is_null() {
            return match (self, verb) {
                (Self::Email(true), _) => one("NOONE".to_owned()),
                // Given and empty. That this clears it no page says.
                (Self::Day | Self::Tags, Verb::Update) => one(String::new()),
                (Self::Title, _) => Err("a task needs one".to_owned()),
                (_, Verb::Update) => Err("Worksection cannot clear it".to_owned()),
                _ => Ok(Vec::new()),
            };
        }
        match self {
            Self::Title => match text(value)? {
                title if title.trim().is_empty() => Err("a task needs one".to_owned()),
                title => one(title),
            },
            Self::Text => match text(value)? {
                long if long.chars().count() > LONGEST_TEXT => {
                    Err(format!("longer than {LONGEST_TEXT} characters, of which Worksection would drop the rest"))
                }
                text => one(text),
            },
            Self::Todo => {
                let items = list(value)?.into_iter().filter(|item| !item.trim().is_empty());
                Ok(items.map(|item| ("todo[]", item)).collect())
            }
            Self::Email(wide) => one(email(&text(value)?, wide)?),
            Self::Emails => {
                let all = list(value)?.iter().map(|one| email(one, false)).collect::<Result<Vec<_>, _>>()?;
                if all.is_empty() { Ok(Vec::new()) } else { one(all.join(",")) }
            }
            Self::Tags => {
                let all = list(value)?;
                match all.iter().find(|tag| value.is_array() && tag.contains(',')) {
                    Some(tag) => Err(format!("{tag:?} has a comma, which would make two of it: give its id")),
                    None if all.is_empty() && verb == Verb::Create => Ok(Vec::new()),
                    None => one(all.join(",")),
                }
            }
            Self::Priority => match text(value)?.parse::<u8>() {
                Ok(priority) if priority <= 10 => one(priority.to_string()),
                _ => Err("expected a whole number from 0 to 10".to_owned()),
            },
            Self::Day => one(times::written(value, zone)?),
            Self::Hours => one(hours(&text(value)?)?),
            Self::Amount => match text(value)? {
                amount if is_number(&amount) => one(amount),
                _ => Err("expected a number".to_owned()),
            },
            Self::Flag => match value {
                Value::Bool(true) => one("1".to_owned()),
                Value::Bool(false) => Ok(Vec::new()),
                _ => Err("expected true or false".to_owned()),
            },
            Self::Id => match text(value)? {
                id if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) => one(id),
                _ => Err("expected an id, which is digits".to_owned()),
            },
        }
    }
}

/// Text; a number is taken as it is written.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("expected text".to_owned()),
    }
}

/// A list of texts; text is the only item.
fn list(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        other => Ok(vec![text(other)?]),
    }
}

fn email(text: &str, wide: bool) -> Result<String, String> {
    let text = text.trim();
    let is_one = text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if (wide && matches!(text, "ANY" | "NOONE")) || (is_one && !text.contains([',', ' '])) {
        return Ok(text.to_owned());
    }
    let or = if wide { ", ANY or NOONE" } else { "" };
    Err(format!("expected an e-mail address{or}, found {text:?}"))
}

fn is_number(text: &str) -> bool {
    let mut parts = text.splitn(2, '.');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.next().is_some_and(digits) && parts.next().is_none_or(digits)
}

/// `0.15`, `0,15` or `0:09`.
fn hours(text: &str) -> Result<String, String> {
    let minutes = |text: &str| text.len() == 2 && text.parse::<u8>().is_ok_and(|minutes| minutes < 60);
    let fits = match text.split_once(':') {
        Some((hours, rest)) => is_number(hours) && !hours.contains('.') && minutes(rest),
        None => is_number(&text.replacen(',', ".", 1)),
    };
    if fits { Ok(text.to_owned()) } else { Err("expected hours as 0.15 or 0:09".to_owned()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn write(verb: Verb, fields: &Value) -> String {
        match written(fields.as_object().unwrap(), verb, &TimeZone::UTC) {
            Ok(params) => params.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" & "),
            Err(why) => format!("no: {why}"),
        }
    }

    #[test]
    fn a_map_is_written_as_the_page_has_it() {
        let task = json!({"dateend": "2026-12-24T10:00:00Z", "title": "Offer", "tags": ["Urgent", 7], "priority": 5, "text": "a\nb", "todo": ["x", "y"], "subscribe": ["a@b.kr", "c@d.kr"], "email_user_to": "ANY"});
        insta::assert_snapshot!(write(Verb::Create, &task), @r"
        title=Offer & text=a
        b & todo[]=x & todo[]=y & email_user_to=ANY & priority=5 & dateend=24.12.2026 & subscribe=a@b.kr,c@d.kr & tags=Urgent,7
        ");
        insta::assert_snapshot!(write(Verb::Update, &task), @"title=Offer & email_user_to=ANY & priority=5 & dateend=24.12.2026 & tags=Urgent,7");
        insta::assert_snapshot!(write(Verb::Update, &json!({"email_user_to": null, "dateend": null, "tags": []})), @"email_user_to=NOONE & dateend= & tags=");
        insta::assert_snapshot!(write(Verb::Cost, &json!({"time": "0:09", "money": 12.5, "is_rate": true, "date": "2026-12-24"})), @"time=0:09 & money=12.5 & is_rate=1 & date=24.12.2026");
        insta::assert_snapshot!(write(Verb::Tag, &json!({"plus": "Sent", "minus": ["Draft", "New"]})), @"plus=Sent & minus=Draft,New");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = json!({"title": " ", "priority": 11, "dateend": "soon", "email_user_to": "Kim", "tags": ["a,b"], "max_time": "x", "name": 1});
        insta::assert_snapshot!(write(Verb::Create, &wrong), @r#"no: name: `create` takes title, text, todo, id_parent, email_user_from, email_user_to, priority, datestart, dateend, subscribe, hidden, mention, max_time, max_money, tags; title: a task needs one; email_user_to: expected an e-mail address, ANY or NOONE, found "Kim"; priority: expected a whole number from 0 to 10; dateend: expected a date (2026-12-24) or an RFC 3339 time; max_time: expected a number; tags: "a,b" has a comma, which would make two of it: give its id"#);
        insta::assert_snapshot!(write(Verb::Cost, &json!({"time": "1:70", "title": "x"})), @"no: title: `cost` takes email_user_from, time, money, is_rate, comment, date; time: expected hours as 0.15 or 0:09");
        insta::assert_snapshot!(write(Verb::Complete, &json!({"title": "x"})), @"no: title: `complete` takes nothing");
        assert!(
            write(Verb::Comment, &json!({"text": "a".repeat(LONGEST_TEXT + 1)}))
                .starts_with("no: text: longer than 65536")
        );
    }

    proptest! {
        #[test]
        fn no_value_is_written_that_the_page_does_not_know(hours_ in "[0-9]{0,3}[.,:]?[0-9]{0,3}", priority in 0_u32..300) {
            if let Ok(text) = hours(&hours_) {
                let (whole, rest) = text.split_once([':', '.', ',']).unwrap_or((&text, "0"));
                prop_assert!(whole.parse::<u32>().is_ok() && rest.parse::<u32>().is_ok());
            }
            let fields = json!({"priority": priority});
            let is_written = written(fields.as_object().unwrap(), Verb::Update, &TimeZone::UTC).is_ok();
            prop_assert_eq!(is_written, priority <= 10);
        }
    }
}
