//! Reads what a webhook is about again, before any route sees it: `fetch: true`.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::answer::{PROJECT, TASK};
use super::client::{Api, Reply};
use super::item::About;
use super::task::Task;
use crate::connectors::{Fetch, Fetched, PollError, reading};
use crate::event::{Event, NewEvent, Payload};

/// Reads an event's task, comment or project again.
pub(super) struct Again {
    /// Asks.
    pub(super) api: Api,
}

#[async_trait]
impl Fetch for Again {
    async fn fetch(&self, event: &Event) -> Result<Fetched, PollError> {
        let item = event.data.value();
        let Some(about) = About::read(&item) else {
            return Ok(Fetched::Gone("it is no event of Worksection".to_owned()));
        };
        if event.is_deletion() {
            return Ok(Fetched::Gone("it was deleted".to_owned()));
        }
        let read = match about.what.as_str() {
            "task" => self.task(&about).await?,
            "comment" => self.comment(&about, &item).await?,
            "project" => self.project(&about).await?,
            other => Err(format!("Worksection has no call for a {other}")),
        };
        let mut data = match read {
            Ok(data) => data,
            Err(why) => return Ok(Fetched::Gone(why)),
        };
        let told = about.data(&item);
        for key in ["by", "new", "old"] {
            if !told[key].is_null() {
                data[key] = told[key].clone();
            }
        }
        data["hook"] = item;
        let mut new = NewEvent::new(event.kind.clone(), Payload::from_value(&data));
        new.id = Some(event.id.clone());
        new.subject.clone_from(&event.subject);
        new.time = Some(event.time);
        new.version = event.version;
        new.headers.clone_from(&event.headers);
        Ok(Fetched::Event(Box::new(new)))
    }
}

/// What was read, or why it cannot be.
type Found = Result<Value, String>;

impl Again {
    /// `data` of an answer; the vendor's word where there is no such thing.
    async fn one(&self, action: &str, params: &[(&str, String)]) -> Result<Found, PollError> {
        match self.api.ask(action, params).await? {
            Reply::Yes(mut body) => Ok(Ok(body["data"].take())),
            Reply::No(Some(TASK | PROJECT), why) => Ok(Err(why)),
            Reply::No(_, why) => Err(PollError::Stop { why: format!("{action}: {why}") }),
        }
    }

    async fn task(&self, about: &About) -> Result<Found, PollError> {
        let params = [("id_task", about.id.clone()), ("extra", "text".to_owned())];
        Ok(self.one("get_task", &params).await?.and_then(|raw| {
            let task = Task::read(raw, &self.api.zone).ok_or("there is no task in the answer")?;
            Ok(json!({ "task": task.data(&self.api.zone), "raw": task.raw() }))
        }))
    }

    async fn comment(&self, about: &About, item: &Value) -> Result<Found, PollError> {
        let Some(task) = about.task(item) else { return Ok(Err("it does not say which task it is in".to_owned())) };
        Ok(self.one("get_comments", &[("id_task", task)]).await?.and_then(|list| {
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            let comment = list.iter().find(|one| reading::id(&one["id"]).as_ref() == Some(&about.id));
            let comment = comment.ok_or_else(|| format!("the task has no comment {}", about.id))?;
            let mut data = about.data(item);
            data["comment"]["text"] = comment["text"].clone();
            data["raw"] = comment.clone();
            Ok(data)
        }))
    }

    async fn project(&self, about: &About) -> Result<Found, PollError> {
        Ok(self.one("get_project", &[("id_project", about.id.clone())]).await?.map(|raw| {
            let project = json!({ "id": about.id, "title": raw["name"], "page": raw["page"], "state": raw["status"] });
            json!({ "project": project, "raw": raw })
        }))
    }
}
