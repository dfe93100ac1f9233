//! One task of a project (업무, a "post"), and one comment of it (댓글, a "log").

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::{people, times};
use crate::connectors::{reading, snapshot};

/// A task as a list or a detail shows it.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: String,
    /// `backlog`, `registered`, `working` or `closed`.
    pub(super) class: String,
    /// The id of its workflow.
    pub(super) workflow: String,
    pub(super) created: Option<Timestamp>,
    pub(super) updated: Option<Timestamp>,
    raw: Value,
}

impl Task {
    /// Reads one.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn read(raw: Value, zone: &TimeZone) -> Result<Self, String> {
        let id = reading::id(&raw["id"]).ok_or("dooray showed a task without an id")?;
        let closed = super::envelope::flag(&raw["closed"]).unwrap_or(false);
        let class = raw["workflowClass"].as_str().filter(|class| !class.is_empty());
        Ok(Self {
            id,
            class: class.unwrap_or(if closed { "closed" } else { "registered" }).to_owned(),
            workflow: reading::id(&raw["workflow"]["id"]).unwrap_or_default(),
            created: times::instant(&raw["createdAt"], zone),
            updated: times::instant(&raw["updatedAt"], zone),
            raw,
        })
    }

    /// What its events are about.
    pub(super) fn subject(id: &str) -> String {
        format!("task/{id}")
    }

    pub(super) fn is_closed(&self) -> bool {
        self.class == "closed"
    }

    /// Changes when something that a list shows does; its body shows in `updatedAt` alone.
    pub(super) fn hash(&self) -> String {
        let raw = &self.raw;
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        snapshot::hash(&json!({
            "subject": raw["subject"], "class": self.class, "workflow": self.workflow, "updated": time(self.updated),
            "due": raw["dueDate"], "priority": raw["priority"], "milestone": raw["milestone"]["id"],
            "project": raw["project"]["id"], "parent": raw["parent"]["id"], "users": raw["users"],
            "tags": raw["tags"],
        }))
    }

    /// As events carry it. `detail` is the same task with its body, where it could be had.
    pub(super) fn data(&self, detail: Option<&Value>, zone: &TimeZone) -> Value {
        let raw = detail.unwrap_or(&self.raw);
        let mut task = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value.filter(|value| !value.is_null() && *value != json!([])) {
                task.insert(key.to_owned(), value);
            }
        };
        let text = |value: &Value| reading::id(value).map(Value::from);
        put("id", Some(Value::from(self.id.clone())));
        put("number", Some(raw["number"].clone()));
        put("name", text(&raw["taskNumber"]));
        put("title", text(&raw["subject"]));
        put("project", people::named_thing(&raw["project"]));
        put("state", Some(Value::from(self.class.clone())));
        put("workflow", people::named_thing(&raw["workflow"]));
        put("due", times::shown(&raw["dueDate"], zone));
        put("priority", text(&raw["priority"]).filter(|priority| priority != "none"));
        put("milestone", people::named_thing(&raw["milestone"]));
        put("parent", people::named_thing(&raw["parent"]));
        let tags = raw["tags"].as_array().into_iter().flatten();
        put("tags", Some(tags.filter_map(people::named_thing).collect()));
        put("author", people::person(&raw["users"]["from"]));
        put("assignees", Some(Value::from(people::people(&raw["users"]["to"]))));
        put("cc", Some(Value::from(people::people(&raw["users"]["cc"]))));
        put("body", people::body(&raw["body"]));
        put("created", times::shown(&raw["createdAt"], zone));
        put("updated", times::shown(&raw["updatedAt"], zone));
        Value::Object(task)
    }

    /// As Dooray wrote it.
    pub(super) fn raw(&self) -> &Value {
        &self.raw
    }
}

/// A comment.
#[derive(Clone, Debug)]
pub(super) struct Comment {
    pub(super) id: String,
    pub(super) created: Option<Timestamp>,
    pub(super) modified: Option<Timestamp>,
    raw: Value,
}

impl Comment {
    /// `None` if it is no comment but an entry of the task's history.
    pub(super) fn read(raw: Value, zone: &TimeZone) -> Option<Self> {
        let is_comment = raw["type"].as_str().is_none_or(|kind| kind.is_empty() || kind == "comment");
        let id = reading::id(&raw["id"]).filter(|_| is_comment)?;
        let (created, modified) = (times::instant(&raw["createdAt"], zone), times::instant(&raw["modifiedAt"], zone));
        Some(Self { id, created, modified, raw })
    }

    /// What its events are about.
    pub(super) fn subject(id: &str) -> String {
        format!("comment/{id}")
    }

    /// Changes when it was edited.
    pub(super) fn mark(&self) -> String {
        snapshot::hash(&json!({ "at": self.modified.map(|at| at.to_string()), "body": self.raw["body"]["content"] }))
    }

    /// As events carry it.
    pub(super) fn data(&self, zone: &TimeZone) -> Value {
        let raw = &self.raw;
        let mut comment = Map::from_iter([("id".to_owned(), Value::from(self.id.clone()))]);
        let subtype = raw["subtype"].as_str().filter(|subtype| !subtype.is_empty()).map(Value::from);
        let fields = [
            ("kind", subtype),
            ("author", people::person(&raw["creator"])),
            ("body", people::body(&raw["body"])),
            ("created", times::shown(&raw["createdAt"], zone)),
            ("modified", times::shown(&raw["modifiedAt"], zone)),
        ];
        comment.extend(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Value::Object(comment)
    }

    /// As Dooray wrote it.
    pub(super) fn raw(&self) -> &Value {
        &self.raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_told_without_what_is_absent() {
        let raw = json!({
            "id": "42", "subject": "버그 1", "project": {"id": "7", "code": "dev"}, "taskNumber": "dev/3", "number": 3,
            "closed": false, "createdAt": "2026-11-20T09:00:00+09:00", "updatedAt": "2026-11-21T09:00:00+09:00", "dueDate": null,
            "dueDateFlag": "true", "priority": "none", "parent": null, "workflowClass": "working", "workflow": {"id": "3", "name": "진행"},
            "milestone": null, "tags": [{"id": "1"}],
            "users": {"from": {"type": "member", "member": {"organizationmemberid": "101"}}, "to": [], "cc": []},
        });
        let zone = TimeZone::get("Asia/Seoul").unwrap();
        let task = Task::read(raw, &zone).unwrap();
        insta::assert_snapshot!(task.data(None, &zone).to_string(), @r#"{"id":"42","number":3,"name":"dev/3","title":"버그 1","project":{"id":"7","code":"dev"},"state":"working","workflow":{"id":"3","name":"진행"},"tags":[{"id":"1"}],"author":{"kind":"member","id":"101"},"created":"2026-11-20T09:00:00+09:00","updated":"2026-11-21T09:00:00+09:00"}"#);
        assert!(!task.is_closed() && Task::read(json!({"id": 1, "closed": "true"}), &zone).unwrap().is_closed());
    }

    #[test]
    fn only_comments_are_comments() {
        let zone = TimeZone::UTC;
        let comment = Comment::read(json!({"id": "1", "type": "comment", "subtype": "general", "createdAt": "2026-11-20T09:00:00+09:00",
            "creator": {"type": "member", "member": {"organizationMemberId": 1}}, "body": {"mimeType": "text/x-markdown", "content": "네"}}), &zone).unwrap();
        insta::assert_snapshot!(comment.data(&zone).to_string(), @r#"{"id":"1","kind":"general","author":{"kind":"member","id":"1"},"body":{"type":"text/x-markdown","text":"네"},"created":"2026-11-20T00:00:00+00:00"}"#);
        assert!(Comment::read(json!({"id": "2", "type": "event"}), &zone).is_none());
    }
}
