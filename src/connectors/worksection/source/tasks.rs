//! Tasks, by comparison with the last poll.
//!
//! What is remembered of a task begins with a mark: `~` is out of sight (its project was archived, or the account may not see it
//! any more) and may come back, `-` was deleted and is kept so that a restored task is told anew.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::answer::TASK;
use super::super::client::Reply;
use super::super::task::Task;
use super::{Cursor, Source};
use crate::connectors::{Memory, Page, PollError, Remembered, snapshot};
use crate::event::{NewEvent, Payload};

const HIDDEN: char = '~';
const DELETED: char = '-';

impl Source {
    /// Puts what became of the tasks into the page; something for people to read.
    pub(super) async fn compare(
        &self,
        cursor: &Cursor,
        memory: &dyn Memory,
        page: &mut Page,
    ) -> Result<Option<String>, PollError> {
        let tasks = self.list().await?;
        let hashes = memory.hashes().await?;
        page.known = Some(hashes.values().filter(|hash| !hash.starts_with(DELETED)).count() as u64);
        let mut there = BTreeSet::new();
        for task in tasks {
            let (key, hash) = (Task::subject(&task.id), task.hash());
            let known = hashes.get(&key).map(String::as_str);
            if !there.insert(key.clone()) || known == Some(&hash) {
                continue;
            }
            // What comes back as it was is not news.
            let is_same = known.and_then(|known| known.strip_prefix(HIDDEN)) == Some(&hash);
            let before = match known.filter(|known| !known.starts_with(DELETED)) {
                Some(_) => memory.get(&key).await?,
                None => None,
            };
            let data = task.data(&self.api.zone);
            if !is_same && (before.is_some() || is_news(&task, cursor)) {
                page.events.push(changed(&task, &data, before.as_ref(), &hash, (cursor, known.is_some())));
            }
            page.changes.push(snapshot::remember(key, hash, without_text(data)));
        }
        let is_gone = |(key, hash): &(&String, &String)| !there.contains(*key) && !hash.starts_with([HIDDEN, DELETED]);
        let mut out_of_sight = 0;
        for (key, hash) in hashes.iter().filter(is_gone) {
            let Some(before) = memory.get(key).await? else { continue };
            if self.is_deleted(key.trim_start_matches("task/")).await? {
                page.events.push(deleted(key, &before, cursor));
                page.changes.push(snapshot::remember(key, DELETED.to_string(), Value::Null));
            } else {
                out_of_sight += 1;
                page.changes.push(snapshot::remember(key, format!("{HIDDEN}{hash}"), before.value));
            }
        }
        Ok((out_of_sight > 0)
            .then(|| format!("{out_of_sight} tasks are listed no more and not deleted: they stay as they were")))
    }

    async fn list(&self) -> Result<Vec<Task>, PollError> {
        let zone = &self.api.zone;
        if self.projects.is_empty() {
            let extra = [("extra", "text,subtasks,archive".to_owned())];
            return match self.api.ask("get_all_tasks", &extra).await? {
                Reply::Yes(mut body) => Ok(Task::all(body["data"].take(), zone)),
                Reply::No(_, why) => Err(PollError::stop(format!(
                    "get_all_tasks: {why}: if there are too many, name the `projects` that count"
                ))),
            };
        }
        let mut all = Vec::new();
        for project in &self.projects {
            let params = [("id_project", project.clone()), ("extra", "text,subtasks".to_owned())];
            match self.api.ask("get_tasks", &params).await? {
                Reply::Yes(mut body) => {
                    let mut list = body["data"].take();
                    for task in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                        task.entry("project").or_insert_with(|| json!({ "id": project }));
                    }
                    all.extend(Task::all(list, zone));
                }
                Reply::No(_, why) => return Err(PollError::stop(format!("get_tasks of project {project}: {why}"))),
            }
        }
        Ok(all)
    }

    /// Asks for a task that is listed no more.
    async fn is_deleted(&self, id: &str) -> Result<bool, PollError> {
        Ok(matches!(self.api.ask("get_task", &[("id_task", id.to_owned())]).await?, Reply::No(Some(TASK), _)))
    }
}

/// At the first poll only what was made since the start is news; later everything that was not there.
fn is_news(task: &Task, cursor: &Cursor) -> bool {
    cursor.turn > 0 || task.created.is_none_or(|at| at >= cursor.start)
}

/// `again`: a task of this id was there before, so that the id of its creation is taken.
fn changed(
    task: &Task,
    data: &Value,
    before: Option<&Remembered>,
    hash: &str,
    (cursor, again): (&Cursor, bool),
) -> NewEvent {
    let was_done = before.map(|before| before.value["state"] == "done");
    let kind = match was_done {
        None => "task.created",
        Some(false) if task.done => "task.closed",
        Some(true) if !task.done => "task.reopened",
        Some(_) => "task.updated",
    };
    let mut whole = json!({ "task": data, "raw": task.raw() });
    if let Some(before) = before {
        whole["before"].clone_from(&before.value);
    }
    let mut event = NewEvent::new(kind, Payload::from_value(&whole));
    event.id = Some(match before {
        None if !again => format!("task-{}", task.id),
        _ => format!("task-{}:{}:{hash}", task.id, cursor.turn),
    });
    event.subject = Some(Task::subject(&task.id));
    event.time = match kind {
        "task.created" => task.created,
        "task.closed" => task.closed,
        _ => None,
    };
    event
}

fn deleted(key: &str, before: &Remembered, cursor: &Cursor) -> NewEvent {
    let mut event = NewEvent::new("task.deleted", Payload::from_value(&json!({ "task": before.value })));
    event.id = Some(format!("{}:{}:deleted", key.replace('/', "-"), cursor.turn));
    event.subject = Some(key.to_owned());
    event
}

/// What is remembered: descriptions are long, and the hash knows them.
fn without_text(mut data: Value) -> Value {
    data.as_object_mut().map(|data| data.shift_remove("text"));
    data
}
