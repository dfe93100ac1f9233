//! Reads a response as Walla writes it, of whichever API, and turns it into the `data` of an event.
//!
//! The response API's page gives no sample of a response, so the shapes of its predecessor, of its webhooks and of the
//! Open API are all read. What fits none of them is refused with the keys that were found, and never with a value.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::questions::Questions;

/// Where responses lie in an answer that is not a bare list.
const LISTS: &[&str] = &["responses", "response", "data", "workspaces", "projects", "forms"];
const IDS: &[&str] = &["responseKey", "responseId", "response_key", "response_id", "id"];
const CUSTOMERS: &[&str] = &["customerKey", "customer_key"];
const SUBMITTED: &[&str] = &["submittedAt", "submitted_at", "createdAt", "created_at", "timestamp"];
const UPDATED: &[&str] = &["updatedAt", "updated_at", "modifiedAt", "modified_at"];
/// Where answers lie in a response that has them apart.
const NESTED: &[&str] = &["response", "answers", "fields", "hiddenFields", "hidden_fields"];
/// What a response says of itself besides.
const OTHER: &[&str] = &["projectKey", "project_key", "workspaceKey", "workspace_key", "formId", "form_id"];

/// What cannot be read: in words, with the keys that were found.
pub(super) type Unreadable = String;

/// A response as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Response {
    /// The vendor's id of it.
    pub(super) id: String,
    /// Whom the form's owner says it is from.
    customer: Option<String>,
    /// When it was submitted.
    pub(super) submitted: Timestamp,
    /// When it was last changed, where the vendor says so.
    pub(super) updated: Option<Timestamp>,
    given: Vec<Given>,
    raw: Value,
}

/// One answer of a response.
#[derive(Clone, Debug, PartialEq)]
struct Given {
    column: String,
    /// What the response itself calls the question and its type; most name the column alone.
    label: Option<String>,
    kind: Option<String>,
    value: Value,
}

/// The responses within an answer of the API.
pub(super) fn list(answer: Value) -> Result<Vec<Value>, Unreadable> {
    match answer {
        Value::Array(items) => Ok(items),
        Value::Object(mut object) => match LISTS.iter().find(|key| object.contains_key(**key)) {
            Some(key) => list(object.remove(*key).unwrap_or_default()),
            None => Err(format!("no list of responses in {}", shape(&Value::Object(object)))),
        },
        other => Err(format!("no list of responses in {}", shape(&other))),
    }
}

/// The response in an answer that has one, bare or under `response` or `data`; `None` if there is nothing in it.
pub(super) fn one(answer: Value) -> Result<Option<Value>, Unreadable> {
    let mut at = answer;
    loop {
        match at {
            Value::Null => return Ok(None),
            Value::Object(ref object) if object.is_empty() => return Ok(None),
            Value::Array(mut items) if items.len() <= 1 => return Ok(items.pop()),
            Value::Object(_) if text(&at, IDS).is_some() => return Ok(Some(at)),
            Value::Object(ref mut object) => match LISTS.iter().find_map(|key| object.remove(*key)) {
                Some(inner) => at = inner,
                None => return Err(format!("no response in {}", shape(&at))),
            },
            other => return Err(format!("no response in {}", shape(&other))),
        }
    }
}

/// The id of a response.
pub(super) fn id(item: &Value) -> Result<String, Unreadable> {
    text(item, IDS).ok_or_else(|| format!("a response without any of {}: {}", IDS.join(", "), shape(item)))
}

impl Response {
    /// Reads a response. A time without a zone is one of `zone`.
    pub(super) fn read(item: Value, zone: &TimeZone) -> Result<Self, Unreadable> {
        let time = |keys: &[&str]| keys.iter().find_map(|key| instant(item.get(key)?, zone));
        let submitted = time(SUBMITTED).ok_or_else(|| {
            format!("a response without a readable time under any of {}: {}", SUBMITTED.join(", "), shape(&item))
        })?;
        Ok(Self {
            id: id(&item)?,
            customer: text(&item, CUSTOMERS),
            submitted,
            updated: time(UPDATED),
            given: given(&item)?,
            raw: item,
        })
    }

    /// A digest of all the vendor says of the response, whatever the order of its keys.
    pub(super) fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        digest(&self.raw, &mut hasher);
        hex::encode(&hasher.finalize()[..16])
    }

    /// The columns that `questions` does not know and the response gives no label for.
    pub(super) fn unknown<'a>(&'a self, questions: &Questions) -> impl Iterator<Item = &'a str> {
        let known = |given: &Given| given.label.is_some() || questions.get(&given.column).is_some();
        self.given.iter().filter(move |given| !known(given)).map(|given| given.column.as_str())
    }

    /// The `data` of an event.
    ///
    /// # Errors
    /// Two questions with one label, both named by their columns.
    pub(super) fn data(&self, questions: &Questions) -> Result<Value, Unreadable> {
        let mut fields = Map::new();
        let mut answers = Map::new();
        let mut labelled = std::collections::BTreeMap::<&str, &str>::new();
        for given in &self.given {
            let question = questions.get(&given.column);
            let kind = question.map(|q| q.kind.as_str()).or(given.kind.as_deref()).unwrap_or_default();
            let Some(value) = normalise(kind, &given.value) else { continue };
            if let Some(label) = question.map(|q| q.label.as_str()).or(given.label.as_deref()) {
                if let Some(other) = labelled.insert(label, &given.column) {
                    return Err(super::questions::same_label(label, other, &given.column));
                }
                answers.insert(label.to_owned(), value.clone());
            }
            fields.insert(given.column.clone(), value);
        }
        let mut data = json!({
            "response_id": self.id,
            "submitted_at": self.submitted.to_string(),
            "answers": answers,
            "fields": fields,
            "raw": self.raw,
        });
        if let (Some(customer), Some(object)) = (&self.customer, data.as_object_mut()) {
            object.insert("customer_key".to_owned(), Value::String(customer.clone()));
        }
        Ok(data)
    }
}

/// All answers of a response: those in an object or a list of their own, and those beside the id.
fn given(item: &Value) -> Result<Vec<Given>, Unreadable> {
    let Some(object) = item.as_object() else { return Err(format!("a response that is {}", shape(item))) };
    let mut all = Vec::new();
    for (key, value) in object {
        let about = [IDS, CUSTOMERS, SUBMITTED, UPDATED, OTHER].iter().any(|keys| keys.contains(&key.as_str()));
        match value {
            _ if about => {}
            Value::Object(nested) if NESTED.contains(&key.as_str()) => all.extend(nested.iter().map(by_column)),
            Value::Array(entries) if NESTED.contains(&key.as_str()) => {
                for entry in entries {
                    all.push(entry_of(entry)?);
                }
            }
            Value::Null if NESTED.contains(&key.as_str()) => {}
            _ => all.push(by_column((key, value))),
        }
    }
    Ok(all)
}

fn by_column((column, value): (&String, &Value)) -> Given {
    Given { column: column.clone(), label: None, kind: None, value: value.clone() }
}

/// An answer that says itself what was asked: `{id, label, answer}`, `{label, type, response}`, `{field_id, value}`.
fn entry_of(entry: &Value) -> Result<Given, Unreadable> {
    let label = text(entry, &["label"]).filter(|label| !label.is_empty());
    let column = text(entry, &["id", "field_id", "fieldId", "column_name"]).or_else(|| label.clone());
    let Some(column) = column else {
        return Err(format!("an answer without an id and a label: {}", shape(entry)));
    };
    let value = ["answer", "response", "value"].iter().find_map(|key| entry.get(key)).cloned().unwrap_or_default();
    Ok(Given { column, label, kind: text(entry, &["type"]), value })
}

/// An answer by the type of its question: text for a single choice, a list for a multiple one, `None` if unanswered.
/// Choices come as arrays even where one can be chosen (the Open API's page on responses).
fn normalise(kind: &str, value: &Value) -> Option<Value> {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(|item| item.is_null() || item == ""),
        Value::Object(object) => object.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    if empty {
        return None;
    }
    // In a file without lists a list is text.
    if let (true, Value::String(text)) = (is_choice(kind), value)
        && let Ok(list @ Value::Array(_)) = serde_json::from_str(text)
    {
        return normalise(kind, &list);
    }
    Some(match (choices(kind), value) {
        (Choices::Many, Value::Array(_)) | (Choices::Unknown, _) => value.clone(),
        (Choices::Many, one) => json!([one]),
        (Choices::One, Value::Array(items)) if items.len() == 1 => items[0].clone(),
        (Choices::One, other) => other.clone(),
    })
}

enum Choices {
    One,
    Many,
    /// Of a type whose answers are passed on as they come.
    Unknown,
}

fn is_choice(kind: &str) -> bool {
    let kind = kind.to_ascii_uppercase();
    ["CHECKBOX", "SELECT", "CHOICE", "RADIO", "DROPDOWN", "RANKING"].iter().any(|word| kind.contains(word))
}

/// `CHECKBOX`, `MULTI_SELECT` and `FILE_UPLOAD` are the types that the page on field output schemas calls arrays.
fn choices(kind: &str) -> Choices {
    let kind = kind.to_ascii_uppercase().replace(['-', ' '], "_");
    match kind.as_str() {
        "CHECKBOX" | "CHECKBOXES" | "MULTI_SELECT" | "MULTISELECT" | "MULTI_CHOICE" | "FILE_UPLOAD" | "RANKING" => {
            Choices::Many
        }
        "RADIO" | "SELECT" | "SINGLE_SELECT" | "SINGLE_CHOICE" | "DROPDOWN" | "YES_NO" => Choices::One,
        "TEXT" | "SHORT_TEXT" | "LONG_TEXT" | "EMAIL" | "PHONE" | "NUMBER" | "DATE" | "TIME" | "RATING" | "SCALE" => {
            Choices::One
        }
        _ => Choices::Unknown,
    }
}

/// Text (or a number as it was written) under the first of these keys that has some.
pub(super) fn text(item: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match item.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// RFC 3339, a date and time without a zone, or a time since 1970.
fn instant(value: &Value, zone: &TimeZone) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse::<Timestamp>().ok().or_else(|| {
            let local: DateTime = text.parse().ok()?;
            Some(local.to_zoned(zone.clone()).ok()?.timestamp())
        }),
        Value::Number(number) => since_1970(number.as_i64()?),
        _ => None,
    }
}

/// Milliseconds, or what files have: micro- and nanoseconds, of which no time since 2001 is as small as one of the former.
fn since_1970(number: i64) -> Option<Timestamp> {
    match number.unsigned_abs() {
        0..100_000_000_000_000 => Timestamp::from_millisecond(number).ok(),
        100_000_000_000_000..100_000_000_000_000_000 => Timestamp::from_microsecond(number).ok(),
        _ => Timestamp::from_nanosecond(i128::from(number)).ok(),
    }
}

/// Feeds a value to a digest, the keys of objects in order.
fn digest(value: &Value, hasher: &mut Sha256) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            hasher.update(format!("{{{}", entries.len()));
            for (key, value) in entries {
                hasher.update(json!(key).to_string());
                digest(value, hasher);
            }
        }
        Value::Array(items) => {
            hasher.update(format!("[{}", items.len()));
            for item in items {
                digest(item, hasher);
            }
        }
        // JSON text of a scalar, and a comma that no number contains.
        scalar => hasher.update(format!("{scalar},")),
    }
}

/// What a value is, in words that show none of its content but the keys.
pub(super) fn shape(value: &Value) -> String {
    const MOST: usize = 20;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(object) if object.is_empty() => "an empty object".to_owned(),
        Value::Object(object) => {
            let more = if object.len() > MOST { ", …" } else { "" };
            let keys: Vec<_> = object.keys().take(MOST).map(String::as_str).collect();
            format!("an object with the keys {}{more}", keys.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(item: Value) -> Response {
        Response::read(item, &TimeZone::get("Asia/Seoul").unwrap()).unwrap()
    }

    fn questions() -> Questions {
        Questions::read(
            &json!({
                "field_columns": [
                    {"column_name": "field_a", "label": "이름", "type": "TEXT"},
                    {"column_name": "field_b", "label": "동의", "type": "RADIO"},
                    {"column_name": "field_c", "label": "관심", "type": "CHECKBOX"},
                    {"column_name": "field_d", "label": "표", "type": "GRID"},
                ],
                "hidden_field_columns": [{"column_name": "hf_1", "label": "유입경로", "type": "TEXT"}],
            }),
            None,
        )
        .unwrap()
    }

    #[test]
    fn every_shape_of_a_response_comes_to_the_same() {
        let expected = json!({"이름": "김하나", "동의": "예", "관심": ["A"], "유입경로": "blog"});
        let shapes = [
            json!({"responseKey": "r1", "customerKey": "c", "submittedAt": "2026-01-02T03:04:05Z",
                "field_a": "김하나", "field_b": ["예"], "field_c": "A", "field_d": [], "hf_1": "blog"}),
            json!({"responseId": "r1", "customer_key": "c", "submitted_at": "2026-01-02T12:04:05+09:00",
                "answers": {"field_a": "김하나", "field_b": "예", "field_c": ["A"], "field_d": null},
                "hidden_fields": {"hf_1": "blog"}}),
            json!({"timestamp": "2026-01-02 12:04:05", "projectKey": "p", "responseKey": "r1", "customerKey": "c",
                "response": [
                    {"id": "field_a", "label": "이름", "answer": "김하나"}, {"id": "field_b", "answer": ["예"]},
                    {"id": "field_c", "label": "관심", "answer": ["A"]}, {"id": "hf_1", "answer": "blog"}]}),
            json!({"id": "r1", "customerKey": "c", "createdAt": 1_767_323_045_000_i64, "answers": [
                {"label": "이름", "type": "TEXT", "response": "김하나"},
                {"label": "동의", "type": "RADIO", "response": ["예"]},
                {"label": "관심", "type": "CHECKBOX", "response": "A"},
                {"label": "유입경로", "type": "TEXT", "response": "blog"},
                {"label": "빈 것", "type": "TEXT", "response": ""}]}),
        ];
        for item in shapes {
            let data = read(item.clone()).data(&questions()).unwrap();
            assert_eq!(data["answers"], expected, "{item}");
            assert_eq!(data["response_id"], "r1");
            assert_eq!(data["customer_key"], "c");
            assert_eq!(data["submitted_at"], "2026-01-02T03:04:05Z", "{item}");
            assert_eq!(data["raw"], item);
        }
    }

    #[test]
    fn columns_are_stable_and_a_column_without_a_label_is_there_by_its_name_alone() {
        let response = read(json!({"id": 7, "createdAt": "2026-01-02T03:04:05Z", "field_a": "a", "field_new": "b"}));
        assert_eq!(response.unknown(&questions()).collect::<Vec<_>>(), ["field_new"]);
        let data = response.data(&questions()).unwrap();
        assert_eq!(data["fields"], json!({"field_a": "a", "field_new": "b"}));
        assert_eq!(data["answers"], json!({"이름": "a"}));
        assert_eq!(data["response_id"], "7");
        assert_eq!(data.get("customer_key"), None);
    }

    #[test]
    fn integers_keep_their_digits_and_types_decide_over_counts() {
        let big: Value = serde_json::from_str("12345678901234567890123").unwrap();
        assert_eq!(normalise("NUMBER", &big), Some(big));
        assert_eq!(normalise("SELECT", &json!(["a", "b"])), Some(json!(["a", "b"])));
        assert_eq!(normalise("multi-select", &json!("a")), Some(json!(["a"])));
        assert_eq!(normalise("MATRIX", &json!(["a"])), Some(json!(["a"])));
        assert_eq!(normalise("CHECKBOX", &json!([""])), None);
        assert_eq!(normalise("RADIO", &json!("REDACTED")), Some(json!("REDACTED")));
        assert_eq!(normalise("RADIO", &json!("[\"예\"]")), Some(json!("예")));
        assert_eq!(normalise("CHECKBOX", &json!("[\"a\",\"b\"]")), Some(json!(["a", "b"])));
        assert_eq!(normalise("TEXT", &json!("[\"a\"]")), Some(json!("[\"a\"]")), "what somebody wrote stays");
    }

    #[test]
    fn the_digest_knows_content_and_not_the_order_of_keys() {
        let of = |item: Value| read(item).hash();
        let a = of(json!({"id": "r", "createdAt": "2026-01-02T03:04:05Z", "a": {"x": 1, "y": [2, 3]}}));
        assert_eq!(a, of(json!({"a": {"y": [2, 3], "x": 1}, "createdAt": "2026-01-02T03:04:05Z", "id": "r"})));
        for other in [json!({"x": 1, "y": [23]}), json!({"x": "1", "y": [2, 3]}), json!({"x": 1, "y": [3, 2]})] {
            assert_ne!(a, of(json!({"id": "r", "createdAt": "2026-01-02T03:04:05Z", "a": other})));
        }
    }

    #[test]
    fn lists_are_found_and_what_is_none_is_told_by_its_keys() {
        let one = vec![json!({"id": 1})];
        for answer in [json!(one), json!({"response": one}), json!({"success": true, "data": {"responses": one}})] {
            assert_eq!(list(answer).unwrap(), one);
        }
        for answer in [json!(one[0]), json!(one), json!({"response": one[0]}), json!({"success": true, "data": one[0]})]
        {
            assert_eq!(super::one(answer).unwrap(), Some(one[0].clone()));
        }
        for nothing in [json!(null), json!({}), json!([]), json!({"response": {}}), json!({"response": null})] {
            assert_eq!(super::one(nothing).unwrap(), None);
        }
        assert!(super::one(json!({"message": "x"})).is_err() && super::one(json!("x")).is_err());
        let told = list(json!({"message": "비밀", "code": 3})).unwrap_err();
        insta::assert_snapshot!(told, @"no list of responses in an object with the keys message, code");
        let told = Response::read(json!({"id": 1, "when": "비밀"}), &TimeZone::UTC).unwrap_err();
        insta::assert_snapshot!(told, @"a response without a readable time under any of submittedAt, submitted_at, createdAt, created_at, timestamp: an object with the keys id, when");
        let told = Response::read(json!({"createdAt": "2026-01-02T03:04:05Z"}), &TimeZone::UTC).unwrap_err();
        insta::assert_snapshot!(told, @"a response without any of responseKey, responseId, response_key, response_id, id: an object with the keys createdAt");
    }

    #[test]
    fn two_answers_with_one_label_are_refused() {
        let item = json!({"id": 1, "createdAt": "2026-01-02T03:04:05Z",
            "response": [{"id": "q1", "label": "이름", "answer": "a"}, {"id": "q2", "label": "이름", "answer": "b"}]});
        let told = read(item).data(&Questions::default()).unwrap_err();
        insta::assert_snapshot!(told, @r#"two questions have the label "이름" (columns q1 and q2): answers are known by their labels, so rename one in Walla and resume the source"#);
    }
}
