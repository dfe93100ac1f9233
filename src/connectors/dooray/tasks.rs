//! The source `dooray-task`: the tasks of a project by when they changed, their workflow, their comments.
//!
//! Pages are numbered, and a task that changes while they are read moves to the end and shifts the others. So each page is
//! asked for by the time that the last one ended with, and only within one and the same instant by number. What a page
//! shows again is known by the source's memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Api, PAGE, Reply, list};
use super::task::{Comment, Task};
use super::times;
use super::window::whole_second;
use crate::clock::Clock;
use crate::connectors::pollers::keys::Start;
use crate::connectors::pollers::read_cursor;
use crate::connectors::{Memory, Page, PollError, Poller, Remembered, snapshot};
use crate::event::{NewEvent, Payload, Version};

mod build;

pub use build::KIND;

/// Before Dooray. 2014-01-01.
const BEGINNING: Timestamp = Timestamp::constant(1_388_534_400, 0);
/// Of how many tasks that did not change the comments are read after each pass.
const SWEEP: usize = 20;

struct Source {
    api: Api,
    clock: Clock,
    zone: TimeZone,
    project: String,
    every: Duration,
    overlap: SignedDuration,
    start: Start,
    comments: Comments,
}

/// Whose comments are read. Whether a comment changes its task's `updatedAt` is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comments {
    /// Of tasks that changed, and of all open ones in turn.
    All,
    /// Of tasks that changed.
    Updated,
    /// Nobody's.
    None,
}

/// The stored cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The next page holds what changed from then on.
    from: Timestamp,
    /// Its number, where one instant takes several.
    #[serde(default)]
    page: u64,
    /// What changed before is learnt and not sent.
    start: Timestamp,
    /// The last task whose comments were read in turn.
    #[serde(default)]
    swept: String,
}

/// What is remembered of a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Memo {
    class: String,
    workflow: String,
    /// `data.task` of its last event, without the body.
    task: Value,
    /// Its comments by id, each with a mark of its content; `None`: never read.
    comments: Option<BTreeMap<String, String>>,
}

impl Memo {
    fn read(remembered: &Remembered) -> Result<Self, PollError> {
        serde_json::from_value(remembered.value.clone())
            .map_err(|error| PollError::stop(format!("what is remembered of a task cannot be read: {error}")))
    }
}

#[async_trait]
impl Poller for Source {
    fn every(&self) -> Duration {
        self.every
    }

    async fn poll(&self, cursor: Option<&Value>, memory: &dyn Memory) -> Result<Page, PollError> {
        let now = whole_second(self.clock.now());
        let (cursor, note) = match cursor {
            Some(value) => (read_cursor(value)?, None),
            None => self.first(now),
        };
        let tasks = self.read_page(&cursor, now).await?;
        let full = tasks.len() as u64 >= PAGE;
        let next = self.next(&cursor, &tasks, full, now);
        let mut page = Page { more: full, note, ..Page::default() };
        let hashes = memory.hashes().await?;
        let mut seen = BTreeSet::new();
        for task in tasks {
            let (key, hash) = (Task::subject(&task.id), hash(&task));
            if hashes.get(&key) == Some(&hash) || !seen.insert(key) {
                continue;
            }
            match self.take(task, &hash, cursor.start, memory, &mut page).await {
                Ok(()) => {}
                // What was read until now is kept. The same page is read again, and knows it.
                Err(PollError::Retry { .. }) if !page.changes.is_empty() => {
                    page.more = true;
                    page.cursor = written(&cursor);
                    return Ok(page);
                }
                Err(error) => return Err(error),
            }
        }
        let mut next = next;
        if !full && self.comments == Comments::All {
            let open = hashes.iter().filter(|(key, hash)| hash.starts_with('+') && !seen.contains(*key));
            next.swept = self.sweep(open.map(|(key, _)| key), &cursor, memory, &mut page).await?;
        }
        page.cursor = written(&next);
        Ok(page)
    }

    fn past(&self, from: Option<Timestamp>) -> Option<Value> {
        let from = whole_second(from.unwrap_or(BEGINNING));
        Some(written(&Cursor { from, page: 0, start: from, swept: String::new() }))
    }
}

fn written(cursor: &Cursor) -> Value {
    serde_json::to_value(cursor).unwrap_or_default()
}

/// Whether it is open shows in the hash, for the sweep to see without reading them all.
fn hash(task: &Task) -> String {
    format!("{}{}", if task.is_closed() { '-' } else { '+' }, task.hash())
}

impl Source {
    fn first(&self, now: Timestamp) -> (Cursor, Option<String>) {
        let (from, start, note) = match self.start {
            // All tasks are learnt, so that a change is told from a new one.
            Start::Now => {
                (BEGINNING, now, Some("starts now: what the project has already is learnt and not sent".to_owned()))
            }
            Start::All => (BEGINNING, BEGINNING, None),
            Start::From(at) => (at, at, Some(format!("starts with what was changed from {at} on"))),
        };
        (Cursor { from, page: 0, start, swept: String::new() }, note)
    }

    async fn read_page(&self, cursor: &Cursor, now: Timestamp) -> Result<Vec<Task>, PollError> {
        let second = SignedDuration::from_secs(1);
        // Whether the ends belong to it is not said; Dooray's clock may be ahead of ours.
        let from = cursor.from.saturating_sub(second).unwrap_or(cursor.from);
        let to = now.saturating_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX);
        let range = format!("{}~{}", times::rfc3339(from, &self.zone), times::rfc3339(to, &self.zone));
        // The filter is `updatedAt`; `postUpdatedAt` is the same thing's name as an order.
        let query = [
            ("updatedAt", range),
            ("order", "postUpdatedAt".to_owned()),
            ("page", cursor.page.to_string()),
            ("size", PAGE.to_string()),
        ];
        let said = self.api.get(&["project", "v1", "projects", &self.project, "posts"], &query).await?;
        let tasks = list(said.result)?;
        tasks.into_iter().map(|raw| Task::read(raw, &self.zone).map_err(PollError::stop)).collect()
    }

    /// Where to go on after a page.
    fn next(&self, cursor: &Cursor, tasks: &[Task], full: bool, now: Timestamp) -> Cursor {
        let cursor = cursor.clone();
        if !full {
            let from = now.saturating_sub(self.overlap).unwrap_or(BEGINNING);
            // Not before the beginning of the source's time, nor back to what lies long behind.
            return Cursor { from: from.max(cursor.start.min(now)).min(now), page: 0, ..cursor };
        }
        let sorted = tasks.is_sorted_by_key(|task| task.updated);
        match tasks.last().and_then(|task| task.updated) {
            Some(last) if sorted && last > cursor.from => Cursor { from: last, page: 0, ..cursor },
            _ => Cursor { page: cursor.page + 1, ..cursor },
        }
    }

    /// A task that is new or different: its event, and those of its comments.
    async fn take(
        &self,
        task: Task,
        hash: &str,
        start: Timestamp,
        memory: &dyn Memory,
        page: &mut Page,
    ) -> Result<(), PollError> {
        let key = Task::subject(&task.id);
        let before = memory.get(&key).await?.as_ref().map(Memo::read).transpose()?;
        let memo = |task: &Task, data, comments| Memo {
            class: task.class.clone(),
            workflow: task.workflow.clone(),
            task: data,
            comments,
        };
        let known = before.as_ref().and_then(|before| before.comments.clone());
        if task.updated.is_none_or(|at| at < start) {
            let memo = memo(&task, task.data(None, &self.zone), known);
            page.changes.push(snapshot::remember(key, hash, serde_json::to_value(memo).unwrap_or_default()));
            return Ok(());
        }
        let detail = match self.api.ask(&["project", "v1", "projects", &self.project, "posts", &task.id], &[]).await? {
            Reply::Yes(said) => Some(said.result).filter(Value::is_object),
            Reply::No(..) | Reply::Long => None,
        };
        let mut data = task.data(detail.as_ref(), &self.zone);
        let mut told = (Vec::new(), None);
        if self.comments != Comments::None {
            told = self.read_comments(&task.id, (known, start), &data).await?;
        }
        page.events.push(event(&task, before.as_ref(), hash, start, (&data, detail.as_ref())));
        page.events.extend(told.0);
        data.as_object_mut().map(|data| data.shift_remove("body"));
        let memo = memo(&task, data, told.1);
        page.changes.push(snapshot::remember(key, hash, serde_json::to_value(memo).unwrap_or_default()));
        Ok(())
    }

    /// The events of a task's comments, and what is to be remembered of them.
    async fn read_comments(
        &self,
        id: &str,
        (known, start): (Option<BTreeMap<String, String>>, Timestamp),
        task: &Value,
    ) -> Result<(Vec<NewEvent>, Option<BTreeMap<String, String>>), PollError> {
        let path = ["project", "v1", "projects", &self.project, "posts", id, "logs"];
        let logs = match self.api.ask(&path, &[("size", "1".to_owned())]).await? {
            Reply::No(..) => return Ok((Vec::new(), known)),
            Reply::Yes(said) if said.total == Some(0) => Vec::new(),
            Reply::Yes(_) | Reply::Long => self.api.all(&path, &[("order", "createdAt".to_owned())]).await?,
        };
        let (mut events, mut now) = (Vec::new(), known.clone().unwrap_or_default());
        for comment in logs.into_iter().filter_map(|raw| Comment::read(raw, &self.zone)) {
            let mark = comment.mark();
            let kind = match known.as_ref().map(|known| known.get(&comment.id)) {
                Some(Some(before)) if *before == mark => continue,
                Some(Some(_)) => "comment.updated",
                // Read for the first time: of an earlier time are those from before the source's.
                None if comment.created.is_none_or(|at| at < start) => "",
                Some(None) | None => "comment.created",
            };
            if !kind.is_empty() {
                events.push(comment_event(kind, &comment, &mark, task, &self.zone));
            }
            now.insert(comment.id, mark);
        }
        Ok((events, Some(now)))
    }

    /// Reads the comments of some open tasks that did not change; the last of them, or nothing at the end of the round.
    async fn sweep(
        &self,
        open: impl Iterator<Item = &String>,
        cursor: &Cursor,
        memory: &dyn Memory,
        page: &mut Page,
    ) -> Result<String, PollError> {
        let due: Vec<&String> = open.filter(|key| **key > cursor.swept).take(SWEEP).collect();
        let mut swept = String::new();
        for key in &due {
            let Some(remembered) = memory.get(key).await? else { continue };
            let memo = Memo::read(&remembered)?;
            let id = key.trim_start_matches("task/");
            let read = self.read_comments(id, (memo.comments.clone(), cursor.start), &memo.task).await;
            let (events, comments) = match read {
                Ok(read) => read,
                // The tasks that changed are more urgent than the round.
                Err(PollError::Retry { .. }) if !swept.is_empty() || !page.changes.is_empty() => return Ok(swept),
                Err(error) => return Err(error),
            };
            page.events.extend(events);
            if comments != memo.comments {
                let memo = serde_json::to_value(Memo { comments, ..memo }).unwrap_or_default();
                page.changes.push(snapshot::remember(*key, remembered.hash, memo));
            }
            swept.clone_from(key);
        }
        Ok(if due.len() < SWEEP { String::new() } else { swept })
    }
}

/// What became of a task.
fn event(
    task: &Task,
    before: Option<&Memo>,
    hash: &str,
    start: Timestamp,
    (data, detail): (&Value, Option<&Value>),
) -> NewEvent {
    let kind = match before {
        None if task.created.is_some_and(|at| at >= start) => "task.created",
        Some(before) if before.class != "closed" && task.is_closed() => "task.closed",
        Some(before) if before.class == "closed" && !task.is_closed() => "task.reopened",
        Some(before) if before.workflow != task.workflow || before.class != task.class => "task.workflow",
        None | Some(_) => "task.updated",
    };
    let mut whole = json!({ "task": data, "raw": detail.unwrap_or(task.raw()) });
    if let Some(before) = before {
        whole["before"] = json!({ "state": before.class, "workflow": before.task["workflow"] });
    }
    let mut event = NewEvent::new(kind, Payload::from_value(&whole));
    event.id = Some(format!("task-{}:{}", task.id, &hash[1..]));
    event.subject = Some(Task::subject(&task.id));
    event.time = task.updated;
    event.version = task.updated.map(Version::Instant);
    event
}

fn comment_event(kind: &str, comment: &Comment, mark: &str, task: &Value, zone: &TimeZone) -> NewEvent {
    let data = json!({ "comment": comment.data(zone), "task": task, "raw": comment.raw() });
    let mut event = NewEvent::new(kind, Payload::from_value(&data));
    event.id = Some(match kind {
        "comment.created" => format!("comment-{}", comment.id),
        _ => format!("comment-{}:{mark}", comment.id),
    });
    event.subject = Some(Comment::subject(&comment.id));
    event.time = comment.modified.or(comment.created);
    event.version = event.time.map(Version::Instant);
    event
}
