//! One item of `get_events` and of a webhook's array: `{ action, object: { type, id, page }, date_added, user_from, new, old }`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::task::{named, on_page, person};
use super::times;
use crate::connectors::reading;

/// What an item is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// `task`, `comment`, `project`.
    pub(super) what: String,
    /// Its id.
    pub(super) id: String,
    /// The event's type: `task.created`.
    pub(super) kind: String,
}

impl About {
    /// Reads it; `None` if it is no item of Worksection.
    pub(super) fn read(item: &Value) -> Option<Self> {
        let object = &item["object"];
        let (action, what) = (item["action"].as_str()?, object["type"].as_str()?);
        let done = match action {
            "post" => "created",
            "update" => "updated",
            "close" => "closed",
            "reopen" => "reopened",
            "delete" => "deleted",
            other => other,
        };
        Some(Self { what: what.to_owned(), id: reading::id(&object["id"])?, kind: format!("{what}.{done}") })
    }

    /// The event's subject.
    pub(super) fn subject(&self) -> String {
        format!("{}/{}", self.what, self.id)
    }

    /// The task that it is about, or that its comment is in.
    pub(super) fn task(&self, item: &Value) -> Option<String> {
        match self.what.as_str() {
            "task" => Some(self.id.clone()),
            "comment" => {
                let page = &item["object"]["page"];
                let numbers = on_page(page);
                // `/project/26/` alone names no task; in `/task/1512/` the one number does.
                let least = if page.as_str().is_some_and(|page| page.contains("/project/")) { 2 } else { 1 };
                (numbers.len() >= least).then(|| numbers.last().cloned()).flatten()
            }
            _ => None,
        }
    }

    /// As events carry it: `{ comment: { id, … }, by, new, old, raw }`.
    pub(super) fn data(&self, item: &Value) -> Value {
        let mut thing = Map::from_iter([("id".to_owned(), Value::from(self.id.clone()))]);
        let page = &item["object"]["page"];
        if page.is_string() {
            thing.insert("page".to_owned(), page.clone());
        }
        let name = &item["new"]["title"];
        if let Some(name) = name.as_str().or_else(|| item["new"]["name"].as_str()).filter(|_| self.what != "comment") {
            thing.insert("title".to_owned(), Value::from(name));
        }
        if let Some(text) = item["new"]["text"].as_str().filter(|_| self.what == "comment") {
            thing.insert("text".to_owned(), Value::from(text));
        }
        let mut data = Map::from_iter([(self.what.clone(), Value::Object(thing))]);
        if let Some(task) = self.task(item).filter(|_| self.what == "comment") {
            data.insert("task".to_owned(), named(&task, &Value::Null));
        }
        if self.what != "project"
            && page.as_str().is_some_and(|page| page.starts_with("/project/"))
            && let Some(project) = on_page(page).first()
        {
            data.insert("project".to_owned(), json!({ "id": project }));
        }
        if let Some(by) = person(&item["user_from"]) {
            data.insert("by".to_owned(), by);
        }
        for key in ["new", "old"] {
            if item[key].as_object().is_some_and(|values| !values.is_empty()) {
                data.insert(key.to_owned(), item[key].clone());
            }
        }
        data.insert("raw".to_owned(), item.clone());
        Value::Object(data)
    }
}

/// When it happened, to the minute.
pub(super) fn time(item: &Value, zone: &TimeZone) -> Option<Timestamp> {
    times::instant(&item["date_added"], zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_knows_its_task_by_the_page() {
        let item = |page: &str| json!({"action": "post", "object": {"type": "comment", "id": 777, "page": page}, "new": {"text": "Sent"}, "user_from": {"id": 9}});
        let about = About::read(&item("/project/26/1512/#com777")).unwrap();
        assert_eq!((about.kind.as_str(), about.subject().as_str()), ("comment.created", "comment/777"));
        let task = |page: &str| about.task(&item(page));
        assert_eq!(task("/project/26/1512/#com777").as_deref(), Some("1512"));
        assert_eq!(task("/project/26/1512/1513/").as_deref(), Some("1513"));
        assert_eq!((task("/task/1512/").as_deref(), task("/project/26/"), task("")), (Some("1512"), None, None));
        let mut data = about.data(&item("/project/26/1512/#com777"));
        data.as_object_mut().unwrap().remove("raw");
        insta::assert_snapshot!(data.to_string(), @r#"{"comment":{"id":"777","page":"/project/26/1512/#com777","text":"Sent"},"task":{"id":"1512"},"project":{"id":"26"},"by":{"id":"9"},"new":{"text":"Sent"}}"#);
    }
}
