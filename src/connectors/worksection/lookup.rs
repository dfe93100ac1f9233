//! What a route's `lookup` reads: projects, tasks, users, tags.

use serde_json::{Map, Value};

use super::answer;
use super::client::Door;
use super::task::Task;
use crate::clock::Clock;
use crate::connectors::{Answer, Build, Built, Call, Lookup, LookupKind, reading};
use crate::outcome::Outcome;
use crate::settings::{Fault, Field, Kind, Need};

/// The lookup.
pub const KIND: LookupKind = LookupKind { fields: FIELDS, build };

const FIELDS: &[Field] = &[
    Field {
        name: "object",
        kind: Kind::Choice(&["project", "task", "user", "tag"]),
        need: Need::Required,
        doc: "What is looked up. All of them are read in one call, and those whose fields have the values of `match` are found.",
    },
    Field {
        name: "project",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "For tasks: the id of the project they are in.",
    },
];

struct Records {
    door: Door,
    object: &'static str,
    project: String,
    clock: Clock,
    zone: jiff::tz::TimeZone,
}

fn build(build: &Build<'_>) -> Built<Box<dyn Lookup>> {
    let settings = &build.settings;
    let fault = |key: &str, why: String| vec![Fault::new(settings.spot(key), why)];
    let object = match settings.text("object") {
        Some("task") => "get_tasks",
        Some("user") => "get_users",
        Some("tag") => "get_task_tags",
        _ => "get_projects",
    };
    let project = settings.text("project").unwrap_or_default().to_owned();
    if (object == "get_tasks") == project.is_empty() {
        let why = "`project` belongs to tasks, and tasks need it";
        return Err(fault("object", why.to_owned()));
    }
    let door = Door::of(build).map_err(|why| fault("account", why))?;
    Ok(Box::new(Records { door, object, project, clock: build.clock.clone(), zone: build.zone.clone() }))
}

impl Lookup for Records {
    fn prepare(&self, wanted: &Map<String, Value>) -> Result<Call, String> {
        if let Some((name, _)) = wanted.iter().find(|(_, value)| reading::id(value).is_none()) {
            return Err(format!("{name}: expected text"));
        }
        let params: &[(&str, String)] = match self.object {
            "get_tasks" => &[("id_project", self.project.clone()), ("extra", "subtasks".to_owned())],
            _ => &[],
        };
        Ok(self.door.read(self.object, params))
    }

    fn read(&self, answer: &Answer) -> Result<Vec<Value>, Outcome> {
        let call = self.door.read(self.object, &[]);
        let data = answer::found(&call, answer, self.clock.now())?;
        if self.object == "get_tasks" {
            return Ok(Task::all(data, &self.zone).iter().map(|task| task.raw().clone()).collect());
        }
        Ok(match data {
            Value::Array(all) => all,
            _ => Vec::new(),
        })
    }

    fn pick(&self, wanted: &Map<String, Value>, answer: &Answer) -> Result<Vec<Value>, Outcome> {
        let fits = |record: &Value| wanted.iter().all(|(name, value)| reading::id(&record[name]) == reading::id(value));
        Ok(self.read(answer)?.into_iter().filter(fits).collect())
    }

    fn probe(&self) -> Option<Call> {
        self.prepare(&Map::new()).ok()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use serde_json::json;

    use super::*;
    use crate::connectors::Account;
    use crate::connectors::client::Client;
    use crate::settings::{Node, Settings};

    fn built(settings: &Value) -> Built<Box<dyn Lookup>> {
        let (account, node) = (Node::from(&json!({ "admin_key": "k" })), Node::from(settings));
        let fields = super::super::ACCOUNT;
        build(&Build {
            name: "l",
            settings: Settings::new(&node, FIELDS),
            account: Some(Account { name: "ws", settings: Settings::new(&account, fields), url: "http://127.0.0.1:1" }),
            zone: jiff::tz::TimeZone::UTC,
            client: Client::new().unwrap(),
            clock: Clock::manual(jiff::Timestamp::UNIX_EPOCH),
        })
    }

    #[test]
    fn of_all_records_those_that_fit_are_found() {
        let wanted = |value: Value| value.as_object().unwrap().clone();
        let answer = |body: Value| Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
        };
        let users = built(&json!({ "object": "user" })).ok().unwrap();
        let all =
            answer(json!({ "status": "ok", "data": [{ "id": 9, "name": "Kim" }, { "id": "10", "name": "Lee" }] }));
        assert_eq!(users.pick(&wanted(json!({ "id": "9" })), &all).unwrap(), [json!({ "id": 9, "name": "Kim" })]);
        assert_eq!(users.pick(&wanted(json!({ "id": "9", "name": "Lee" })), &all).unwrap(), [] as [Value; 0]);
        assert!(users.prepare(&wanted(json!({ "id": [] }))).is_err());
        let no = answer(json!({ "status": "error", "status_code": 2, "message": "Action hash is missed or invalid" }));
        assert!(matches!(users.pick(&wanted(json!({ "id": "9" })), &no), Err(Outcome::Suspend { .. })));

        let tasks = built(&json!({ "object": "task", "project": "26" })).ok().unwrap();
        let call = tasks.prepare(&wanted(json!({ "name": "b" }))).unwrap();
        assert_eq!(call.shown["body"], json!({ "id_project": "26", "extra": "subtasks" }));
        let all =
            answer(json!({ "status": "ok", "data": [{ "id": 1, "name": "a", "child": [{ "id": 2, "name": "b" }] }] }));
        assert_eq!(tasks.pick(&wanted(json!({ "name": "b" })), &all).unwrap()[0]["id"], 2);
        for odd in [json!({ "object": "task" }), json!({ "object": "user", "project": "26" })] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(built(&odd).err().unwrap()[0].message, @"`project` belongs to tasks, and tasks need it");
            }
        }
    }
}
