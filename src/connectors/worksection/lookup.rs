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
}
