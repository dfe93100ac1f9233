//! What Walla's pages leave open: the sandbox takes one reading unless it is told otherwise.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{PROJECT, Question, Stored};

/// How the sandbox reads the pages; set by `PUT /_sandbox/state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switches {
    /// How the response API writes a response.
    pub shape: Shape,
    /// Whether `dateRange` takes whole days alone ("ISO 날짜 형식").
    pub dates_only: bool,
    /// Whether wrong keys are answered with 403, as in the specification of 2024.
    pub forbidden: bool,
    /// For how many seconds after its submission a response cannot be asked for by its key.
    pub lag: i64,
}

/// How a response is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Its answers by column, beside its key.
    #[default]
    Columns,
    /// A list of answers, each with its question: the specification of 2024.
    List,
}

impl Switches {
    /// Whether a response can be asked for by its key.
    pub(super) fn shows(&self, response: &Stored, now: Timestamp) -> bool {
        now.duration_since(response.submitted_at).as_secs() >= self.lag
    }

    /// A response of the response API.
    pub(super) fn written(&self, response: &Stored, questions: &[Question]) -> Value {
        let at = response.submitted_at.to_string();
        let mut item =
            json!({ "responseKey": response.id, "projectKey": PROJECT, "customerKey": response.customer_key });
        match self.shape {
            Shape::Columns => {
                item["submittedAt"] = Value::String(at);
                if let Some(object) = item.as_object_mut() {
                    object.extend(response.answers.clone());
                }
            }
            Shape::List => {
                let label = |column: &str| questions.iter().find(|q| q.column == column).map(|q| q.label.clone());
                let answer = |(column, answer): (&String, &Value)| json!({ "id": column, "label": label(column), "answer": answer });
                item["timestamp"] = Value::String(at);
                item["response"] = response.answers.iter().map(answer).collect();
            }
        }
        item
    }
}
