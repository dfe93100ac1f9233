//! The sink: tasks of one project, their tags, comments and costs.

use async_trait::async_trait;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::client::Door;
use super::task::Task;
use super::{answer, times};
use crate::clock::Clock;
use crate::connectors::{Answer, Ask, Build, Built, Call, OnDoubt, Operation, Sink, SinkKind, reading};
use crate::outcome::{Outcome, Verb};
use crate::settings::{Fault, Field, Kind, Need};
use crate::template::Escape;

mod fields;

/// The sink.
pub const KIND: SinkKind = SinkKind {
    name: "worksection",
    fields: FIELDS,
    verbs: &[Verb::Create, Verb::Update, Verb::Complete, Verb::Reopen, Verb::Tag, Verb::Comment, Verb::Cost],
    escape: Escape::None,
    takes_request: false,
    advice: "Worksection's API deletes no tasks: use `cases` with `do: complete`",
    build,
};

const FIELDS: &[Field] = &[
    Field { name: "account", kind: Kind::Account("worksection"), need: Need::Required, doc: "The account." },
    Field {
        name: "project",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The project's id, the number in the address of its page (/project/26/).",
    },
    Field {
        name: "author",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The e-mail address of the user whom new tasks, comments and costs are from, unless the map says. With an admin key costs need one.",
    },
    Field {
        name: "mark",
        kind: Kind::Boolean,
        need: Need::Default("true"),
        doc: "Whether new tasks, comments and costs end with a line that names the delivery, by which they are found again if Worksection's answer is lost. Without it such a delivery waits for a person.",
    },
];

/// What an address may have in front of the line that finds it.
const MARK: &str = "dari:";

struct Tasks {
    door: Door,
    project: String,
    author: Option<String>,
    mark: bool,
    zone: TimeZone,
    clock: Clock,
}

fn build(build: &Build<'_>) -> Built<Box<dyn Sink>> {
    let settings = &build.settings;
    let fault = |key: &str, why: String| vec![Fault::new(settings.spot(key), why)];
    let project = settings.text("project").unwrap_or_default();
    if project.is_empty() || !project.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fault("project", "expected the project's id, the number in the address of its page".to_owned()));
    }
    let author = settings.text("author").map(str::to_owned);
    if author.as_ref().is_some_and(|author| !author.contains('@')) {
        return Err(fault("author", "expected an e-mail address".to_owned()));
    }
    Ok(Box::new(Tasks {
        door: Door::of(build).map_err(|why| fault("account", why))?,
        project: project.to_owned(),
        author,
        mark: settings.flag("mark"),
        zone: build.zone.clone(),
        clock: build.clock.clone(),
    }))
}

#[async_trait]
impl Sink for Tasks {
    fn takes(&self, name: &str) -> Result<(), String> {
        if fields::takes(name) { Ok(()) } else { Err(format!("expected one of {}", fields::names())) }
    }

    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let verb = operation.verb;
        let mut params = fields::written(operation.fields, verb, &self.zone)?;
        let (action, id) = match verb {
            Verb::Create => ("post_task", None),
            Verb::Update => ("update_task", Some(linked(operation)?)),
            Verb::Complete => ("complete_task", Some(linked(operation)?)),
            Verb::Reopen => ("reopen_task", Some(linked(operation)?)),
            Verb::Tag => ("update_task_tags", Some(linked(operation)?)),
            Verb::Comment => ("post_comment", Some(linked(operation)?)),
            Verb::Cost => ("add_costs", Some(linked(operation)?)),
            other => return Err(format!("a task cannot {}", other.name())),
        };
        self.check(verb, &params)?;
        self.complete(verb, &mut params, operation.webhook_id)?;
        params.insert(0, id.clone().map_or_else(|| ("id_project", self.project.clone()), |id| ("id_task", id)));
        let idempotent = matches!(verb, Verb::Update | Verb::Complete | Verb::Reopen | Verb::Tag);
        Ok(self.door.write(action, &params).idempotent(idempotent).remote_id(id).part(answer::part(verb)))
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        answer::outcome(call, answer, self.clock.now())
    }

    fn ask(&self, question: &Ask<'_>) -> Option<Result<Call, String>> {
        match question {
            Ask::Doubt { operation, since } => {
                let action = looked_for(operation.verb).filter(|_| self.mark)?;
                if operation.verb == Verb::Create {
                    return Some(Ok(self.door.read(action, &self.made_since(*since))));
                }
                Some(linked(operation).map(|id| self.door.read(action, &[("id_task", id)])))
            }
            Ask::Match(wanted) => Some(self.matching(wanted)),
        }
    }

    fn answered(&self, question: &Ask<'_>, answer: &Answer) -> Result<Vec<String>, Outcome> {
        let Some(Ok(call)) = self.ask(question) else { return Ok(Vec::new()) };
        let data = answer::found(&call, answer, self.clock.now())?;
        let list = || data.as_array().map(Vec::as_slice).unwrap_or_default();
        let tasks = |fits: &dyn Fn(&Value) -> bool| -> Vec<String> {
            let all = Task::all(data.clone(), &self.zone).into_iter();
            all.filter(|task| fits(task.raw())).map(|task| task.id).collect()
        };
        Ok(match question {
            Ask::Doubt { operation, .. } => {
                let mark = marker(operation.webhook_id);
                let bears = |key: &str, item: &Value| item[key].as_str().is_some_and(|text| text.contains(&mark));
                match operation.verb {
                    Verb::Create => tasks(&|task| bears("text", task)),
                    // Of the task it is: two would be no doubt about where the link leads.
                    verb => {
                        let key = if verb == Verb::Cost { "comment" } else { "text" };
                        let is_there = list().iter().any(|item| bears(key, item));
                        operation.remote_id.filter(|_| is_there).map(str::to_owned).into_iter().collect()
                    }
                }
            }
            Ask::Match(wanted) => tasks(&|task| fits(task, wanted)),
        })
    }

    fn matches(&self) -> bool {
        true
    }

    fn probe(&self) -> Option<Call> {
        Some(self.door.read("get_project", &[("id_project", self.project.clone())]))
    }

    fn on_doubt(&self, verb: Verb) -> OnDoubt {
        match looked_for(verb) {
            None => OnDoubt::Retry,
            Some(_) if self.mark => OnDoubt::Find,
            Some(_) => OnDoubt::Hold,
        }
    }
}

/// What shows whether something new is there; `None` for what may be done twice.
fn looked_for(verb: Verb) -> Option<&'static str> {
    match verb {
        Verb::Create => Some("search_tasks"),
        Verb::Comment => Some("get_comments"),
        Verb::Cost => Some("get_costs"),
        _ => None,
    }
}

/// By what a delivery's task, comment or cost is found again.
fn marker(webhook_id: &str) -> String {
    format!("{MARK}{webhook_id}")
}

fn linked(operation: &Operation<'_>) -> Result<String, String> {
    let id = operation.remote_id.ok_or_else(|| format!("there is no linked task to {}", operation.verb.name()))?;
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("the link's id {id:?} is no task of Worksection"));
    }
    Ok(id.to_owned())
}

impl Tasks {
    /// What no single field can say.
    fn check(&self, verb: Verb, params: &[(&str, String)]) -> Result<(), String> {
        let has = |name: &str| params.iter().any(|(known, value)| *known == name && !value.trim().is_empty());
        let missing = match verb {
            Verb::Create if !has("title") => "title: a task needs one",
            Verb::Update if params.is_empty() => "there is nothing in the map that an update can change",
            Verb::Tag if params.is_empty() => "plus, minus: one of them is needed",
            Verb::Comment if !has("text") && !has("todo[]") => "text, todo: a comment says something",
            Verb::Cost if !has("time") && !has("money") => "time, money: one of them is needed",
            Verb::Cost if self.door.is_admin() && self.author.is_none() && !has("email_user_from") => {
                "email_user_from: with an admin key a cost needs a user, here or as the sink's `author`"
            }
            _ => return Ok(()),
        };
        Err(missing.to_owned())
    }

    /// Adds the author, and the line that it is found by.
    fn complete(&self, verb: Verb, params: &mut Vec<(&'static str, String)>, id: &str) -> Result<(), String> {
        let Some(_) = looked_for(verb) else { return Ok(()) };
        let is_from = params.iter().any(|(name, _)| *name == "email_user_from");
        if let Some(author) = self.author.as_ref().filter(|_| !is_from) {
            params.push(("email_user_from", author.clone()));
        }
        if !self.mark {
            return Ok(());
        }
        let name = if verb == Verb::Cost { "comment" } else { "text" };
        let mark = marker(id);
        let Some((_, text)) = params.iter_mut().find(|(known, _)| *known == name) else {
            params.push((name, mark));
            return Ok(());
        };
        if !text.is_empty() {
            text.push_str(if verb == Verb::Cost { " " } else { "\n\n" });
        }
        text.push_str(&mark);
        if text.chars().count() > fields::LONGEST_TEXT {
            let longest = fields::LONGEST_TEXT - mark.len() - 2;
            return Err(format!(
                "{name}: longer than {longest} characters, which leaves no room for the line it is found by"
            ));
        }
        Ok(())
    }

    /// The project's tasks from the day before on: neither the zone nor the clock of Worksection is known for certain.
    fn made_since(&self, since: Timestamp) -> [(&'static str, String); 2] {
        let day = since.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(since);
        let day = times::as_written(day.to_zoned(self.zone.clone()).date());
        [("filter", format!("project={} and dateadd>='{day}'", self.project)), ("extra", "text".to_owned())]
    }

    fn matching(&self, wanted: &Map<String, Value>) -> Result<Call, String> {
        let mut filter = vec![format!("project={}", self.project)];
        for (name, value) in wanted {
            let text = reading::id(value).ok_or_else(|| format!("{name}: expected text"))?;
            filter.push(match name.as_str() {
                "id" if text.bytes().all(|b| b.is_ascii_digit()) => format!("id={text}"),
                "id" => return Err("id: expected digits".to_owned()),
                "title" => {
                    // How a quote is written within quotes no page says: a part without one is enough to ask for.
                    let part = text.split(['\'', '"', '\\']).max_by_key(|part| part.trim().len()).unwrap_or_default();
                    if part.trim().is_empty() {
                        return Err("title: there is nothing in it to look for".to_owned());
                    }
                    format!("name has '{}'", part.trim())
                }
                _ => return Err(format!("{name}: tasks are found by title and id")),
            });
        }
        Ok(self.door.read("search_tasks", &[("filter", filter.join(" and "))]))
    }
}

fn fits(task: &Value, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(name, value)| {
        let key = if name == "title" { "name" } else { name.as_str() };
        let known = reading::id(&task[key]).unwrap_or_default();
        reading::id(value).is_some_and(|wanted| wanted.trim() == known.trim())
    })
}
