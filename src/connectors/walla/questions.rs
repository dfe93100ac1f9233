//! What a form asks: the labels and types of its columns.

use std::collections::BTreeMap;

use serde_json::Value;

use super::response::{Unreadable, shape};

/// A question, or a hidden field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// What it asks; stable only until somebody rewords it.
    pub(super) label: String,
    /// Its type, as `TEXT` or `CHECKBOX`.
    pub(super) kind: String,
}

/// The questions of a form, by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Questions(BTreeMap<String, Question>);

impl Questions {
    /// Reads `/columns` of the response API, or `/fields` and `/hidden-fields` of the Open API, whose responses have a
    /// hidden field under `hidden-` and its id.
    ///
    /// # Errors
    /// No list of questions, or two questions with one label.
    pub(super) fn read(fields: &Value, hidden: Option<&Value>) -> Result<Self, Unreadable> {
        let mut questions = Self::default();
        let fields = unwrapped(fields);
        for key in ["field_columns", "hidden_field_columns", "fields"] {
            if let Some(list) = fields.get(key) {
                questions.add(list, "")?;
            }
        }
        if fields.is_array() {
            questions.add(fields, "")?;
        } else if ["field_columns", "fields"].iter().all(|key| fields.get(key).is_none()) {
            return Err(format!("no list of questions in {}", shape(fields)));
        }
        if let Some(hidden) = hidden.map(unwrapped) {
            let list = ["hiddenFields", "hidden_fields", "fields"].iter().find_map(|key| hidden.get(key));
            questions.add(list.unwrap_or(hidden), "hidden-")?;
        }
        questions.check()?;
        Ok(questions)
    }

    /// The question of a column.
    pub(super) fn get(&self, column: &str) -> Option<&Question> {
        self.0.get(column)
    }

    fn add(&mut self, list: &Value, prefix: &str) -> Result<(), Unreadable> {
        let Some(list) = list.as_array() else { return Err(format!("no list of questions but {}", shape(list))) };
        for item in list {
            let text = |keys: &[&str]| keys.iter().find_map(|key| item.get(key)?.as_str()).unwrap_or_default();
            let id = text(&["column_name", "id", "fieldId", "field_id"]);
            if id.is_empty() {
                return Err(format!("a question without an id: {}", shape(item)));
            }
            let column = if id.starts_with(prefix) { id.to_owned() } else { format!("{prefix}{id}") };
            let label = text(&["label", "title", "name"]).trim().to_owned();
            // A picture or a page break asks nothing and has no label.
            if !label.is_empty() {
                self.0.insert(column, Question { label, kind: text(&["type", "fieldType"]).to_owned() });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Unreadable> {
        let mut seen = BTreeMap::new();
        for (column, question) in &self.0 {
            if let Some(other) = seen.insert(&question.label, column) {
                return Err(same_label(&question.label, other, column));
            }
        }
        Ok(())
    }
}

/// What to say of two questions with one label.
pub(super) fn same_label(label: &str, one: &str, other: &str) -> Unreadable {
    format!(
        "two questions have the label {label:?} (columns {one} and {other}): answers are known by their labels, so \
         rename one in Walla and resume the source"
    )
}

/// What lies under `data` where the Open API wraps it.
fn unwrapped(value: &Value) -> &Value {
    value.get("data").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_open_api_wraps_and_prefixes() {
        let questions = Questions::read(
            &json!({"success": true, "data": [{"id": "q1", "label": " 이름 ", "type": "TEXT"}, {"id": "line"}]}),
            Some(&json!({"success": true, "data": {"hiddenFields": [{"id": "h1", "label": "유입경로"}]}})),
        )
        .unwrap();
        assert_eq!(questions.get("q1"), Some(&Question { label: "이름".into(), kind: "TEXT".into() }));
        assert_eq!(questions.get("hidden-h1").map(|q| q.label.as_str()), Some("유입경로"));
        assert_eq!(questions.get("line"), None);
    }

    #[test]
    fn equal_labels_name_both_columns() {
        let told = Questions::read(
            &json!({
                "field_columns": [{"column_name": "field_a", "label": "이름", "type": "TEXT"}],
                "hidden_field_columns": [{"column_name": "hf_1", "label": "이름", "type": "TEXT"}],
            }),
            None,
        )
        .unwrap_err();
        insta::assert_snapshot!(told, @r#"two questions have the label "이름" (columns field_a and hf_1): answers are known by their labels, so rename one in Walla and resume the source"#);
    }

    #[test]
    fn what_is_no_list_of_questions_is_told_by_its_keys() {
        let told = Questions::read(&json!({"error": "x"}), None).unwrap_err();
        insta::assert_snapshot!(told, @"no list of questions in an object with the keys error");
    }
}
