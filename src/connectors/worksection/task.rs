//! One task, as lists and details show it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::times;
use crate::connectors::{reading, snapshot};

/// "Any employee", and nobody, in place of a user's id. Source: public code; the page names `ANY` and `NOONE`.
const ANYONE: &str = "2";
const NOBODY: &str = "1";

/// A task.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) done: bool,
    pub(super) created: Option<Timestamp>,
    pub(super) closed: Option<Timestamp>,
    raw: Value,
}

impl Task {
    /// Reads one; `None` if it has no id.
    pub(super) fn read(raw: Value, zone: &TimeZone) -> Option<Self> {
        Some(Self {
            id: reading::id(&raw["id"])?,
            done: raw["status"] == "done",
            created: times::instant(&raw["date_added"], zone),
            closed: times::instant(&raw["date_closed"], zone),
            raw,
        })
    }

    /// Reads a list, with the subtasks that are within (`child`), each as a task of its own that knows its parent.
    pub(super) fn all(list: Value, zone: &TimeZone) -> Vec<Self> {
        let mut tasks = Vec::new();
        let mut rest: Vec<Value> = match list {
            Value::Array(list) => list,
            _ => Vec::new(),
        };
        rest.reverse();
        while let Some(mut raw) = rest.pop() {
            let about = json!({ "id": raw["id"], "name": raw["name"] });
            let project = raw["project"].clone();
            if let Some(Value::Array(children)) = raw.as_object_mut().and_then(|raw| raw.shift_remove("child")) {
                rest.extend(children.into_iter().rev().map(|mut child| {
                    if let Some(child) = child.as_object_mut() {
                        child.entry("parent").or_insert(about.clone());
                        if !project.is_null() {
                            child.entry("project").or_insert(project.clone());
                        }
                    }
                    child
                }));
            }
            tasks.extend(Self::read(raw, zone));
        }
        tasks
    }

    /// What its events are about.
    pub(super) fn subject(id: &str) -> String {
        format!("task/{id}")
    }

    /// The project it is in.
    pub(super) fn project(&self) -> Option<String> {
        reading::id(&self.raw["project"]["id"]).or_else(|| on_page(&self.raw["page"]).first().cloned())
    }

    /// Changes when something of its own does; not when a user or the project is renamed.
    pub(super) fn hash(&self) -> String {
        let raw = &self.raw;
        let text = |key: &str| reading::id(&raw[key]).unwrap_or_default();
        let tags: Vec<&String> = raw["tags"].as_object().into_iter().flat_map(Map::keys).collect();
        let user = |key: &str| reading::id(&raw[key]["id"]).or_else(|| reading::id(&raw[key]["email"]));
        snapshot::hash(&json!({
            "name": text("name"), "status": text("status"), "priority": text("priority"), "text": text("text"),
            "start": text("date_start"), "end": text("date_end"), "time": text("time_end"), "closed": text("date_closed"),
            "max_time": text("max_time"), "max_money": text("max_money"), "to": user("user_to"), "tags": tags,
            "project": self.project(), "parent": reading::id(&raw["parent"]["id"]),
        }))
    }

    /// As events carry it; what is absent is left out.
    pub(super) fn data(&self, zone: &TimeZone) -> Value {
        let raw = &self.raw;
        let text = |value: &Value| reading::id(value).filter(|text| !text.trim().is_empty()).map(Value::from);
        let number = |value: &Value| {
            let text = reading::id(value)?;
            Some(text.parse::<serde_json::Number>().map_or(Value::from(text), Value::Number))
        };
        let tags: Vec<Value> = match &raw["tags"] {
            Value::Object(tags) => tags.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect(),
            _ => Vec::new(),
        };
        let mut task = Map::new();
        let fields = [
            ("id", Some(Value::from(self.id.clone()))),
            ("title", text(&raw["name"])),
            ("project", self.project().map(|id| named(&id, &raw["project"]["name"]))),
            ("parent", reading::id(&raw["parent"]["id"]).map(|id| named(&id, &raw["parent"]["name"]))),
            ("page", text(&raw["page"])),
            ("state", Some(Value::from(if self.done { "done" } else { "active" }))),
            ("priority", number(&raw["priority"])),
            ("author", person(&raw["user_from"])),
            ("assignee", person(&raw["user_to"])),
            ("text", text(&raw["text"])),
            ("tags", Some(Value::from(tags)).filter(|tags| *tags != json!([]))),
            ("start", times::day(&raw["date_start"])),
            ("end", times::day(&raw["date_end"])),
            ("end_time", text(&raw["time_end"])),
            ("max_time", number(&raw["max_time"])),
            ("max_money", number(&raw["max_money"])),
            ("created", times::shown(&raw["date_added"], zone)),
            ("closed", times::shown(&raw["date_closed"], zone).filter(|_| self.done)),
        ];
        task.extend(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Value::Object(task)
    }

    /// As Worksection wrote it.
    pub(super) fn raw(&self) -> &Value {
        &self.raw
    }
}

/// `{ id, name }`, without the name where there is none.
pub(super) fn named(id: &str, name: &Value) -> Value {
    match name.as_str().filter(|name| !name.is_empty()) {
        Some(name) => json!({ "id": id, "name": name }),
        None => json!({ "id": id }),
    }
}

/// A user: `{ id, name, email }`; `{ anyone: true }` for any employee, `None` for nobody.
pub(super) fn person(user: &Value) -> Option<Value> {
    let id = reading::id(&user["id"]);
    let email = user["email"].as_str().filter(|email| !email.is_empty());
    if id.as_deref() == Some(NOBODY) || email == Some("NOONE") {
        return None;
    }
    if id.as_deref() == Some(ANYONE) || email == Some("ANY") {
        return Some(json!({ "anyone": true }));
    }
    let mut person = Map::new();
    let name = user["name"].as_str().filter(|name| !name.is_empty());
    for (key, value) in [("id", id.as_deref()), ("name", name), ("email", email)] {
        if let Some(value) = value {
            person.insert(key.to_owned(), Value::from(value));
        }
    }
    (!person.is_empty()).then_some(Value::Object(person))
}

/// The numbers in a page's address: project, task, subtask of `/project/26/1512/1513/#com7`; the task alone of `/task/1512/`.
pub(super) fn on_page(page: &Value) -> Vec<String> {
    let path = page.as_str().unwrap_or_default().split(['#', '?']).next().unwrap_or_default();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    path.split('/').filter(is_number).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_told_without_what_is_absent() {
        let raw = json!({
            "id": "1512", "name": "Offer", "page": "/project/26/1512/", "status": "active", "priority": "7",
            "user_from": {"id": "9", "email": "kim@acme.kr", "name": "김하나"}, "user_to": {"id": "1", "email": "NOONE", "name": ""},
            "project": {"id": 26, "name": "Shop", "page": "/project/26/"}, "date_added": "2026-01-02 10:16", "date_end": "2026-01-09",
            "max_time": 40, "tags": {"5": "Urgent"}, "text": "",
        });
        let zone = TimeZone::get("Asia/Seoul").unwrap();
        let task = Task::read(raw, &zone).unwrap();
        insta::assert_snapshot!(task.data(&zone).to_string(), @r#"{"id":"1512","title":"Offer","project":{"id":"26","name":"Shop"},"page":"/project/26/1512/","state":"active","priority":7,"author":{"id":"9","name":"김하나","email":"kim@acme.kr"},"tags":[{"id":"5","name":"Urgent"}],"end":"2026-01-09","max_time":40,"created":"2026-01-02T10:16:00+09:00"}"#);
        assert_eq!(person(&json!({"id": 2})), Some(json!({"anyone": true})));
    }

    #[test]
    fn subtasks_are_tasks_that_know_their_parent() {
        let list = json!([
            {"id": 1, "name": "a", "page": "/project/26/1/", "child": [{"id": 2, "name": "b", "page": "/project/26/1/2/", "child": [{"id": 3, "name": "c"}]}]},
            {"id": 4, "name": "d", "project": {"id": 26}},
        ]);
        let tasks = Task::all(list, &TimeZone::UTC);
        let told: Vec<_> = tasks.iter().map(|t| (t.id.as_str(), t.raw()["parent"]["id"].to_string())).collect();
        assert_eq!(told, [("1", "null".into()), ("2", "1".into()), ("3", "2".into()), ("4", "null".into())]);
        assert_eq!((tasks[1].project().as_deref(), on_page(&json!("/task/7/"))), (Some("26"), vec!["7".to_owned()]));
    }

    #[test]
    fn renaming_a_user_or_a_project_changes_no_task() {
        let hash = |raw: Value| Task::read(raw, &TimeZone::UTC).unwrap().hash();
        let task = |name: &str, who: &str, project: &str, tag: &str| json!({"id": "1", "name": name, "user_to": {"id": "9", "name": who}, "project": {"id": "26", "name": project}, "tags": {tag: "x"}});
        assert_eq!(hash(task("a", "Kim", "Shop", "5")), hash(task("a", "Lee", "Store", "5")));
        assert_ne!(hash(task("a", "Kim", "Shop", "5")), hash(task("b", "Kim", "Shop", "5")));
        assert_ne!(hash(task("a", "Kim", "Shop", "5")), hash(task("a", "Kim", "Shop", "6")));
    }
}
