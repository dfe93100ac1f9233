//! The actions, and those on tasks.

use jiff::civil::Date;
use serde_json::{Value, json};

use super::search::Filter;
use super::{Given, No, Reply, Tenant, USER, find, no, required};

/// What a new task may have.
const NEW: &[&str] = &[
    "id_project",
    "title",
    "id_parent",
    "email_user_from",
    "email_user_to",
    "priority",
    "text",
    "todo[]",
    "datestart",
    "dateend",
    "subscribe",
    "hidden",
    "mention",
    "max_time",
    "max_money",
    "tags",
];
/// What of a task may be changed.
const CHANGES: &[&str] = &[
    "id_task",
    "email_user_to",
    "priority",
    "title",
    "datestart",
    "dateend",
    "dateclosed",
    "max_time",
    "max_money",
    "tags",
];
/// What a text may have: the rest is cut without a word.
const LONGEST_TEXT: usize = 65_536;

impl Tenant {
    /// Does what an action says.
    pub(super) fn act(&mut self, given: &Given, is_admin: bool) -> Reply {
        match given.action.as_str() {
            "get_project" => self.get_project(given),
            "get_projects" => self.get_projects(given),
            "get_users" => self.get_users(given),
            "get_task_tags" => self.get_task_tags(given),
            "get_events" => self.get_events(given),
            "get_all_tasks" => self.get_all_tasks(given),
            "get_tasks" => self.get_tasks(given),
            "get_task" => self.get_task(given),
            "search_tasks" => self.search_tasks(given),
            "post_task" => self.post_task(given),
            "update_task" => self.update_task(given),
            "complete_task" => self.complete_task(given),
            "reopen_task" => self.reopen_task(given),
            "update_task_tags" => self.update_task_tags(given),
            "get_comments" => self.get_comments(given),
            "post_comment" => self.post_comment(given),
            "get_costs" => self.get_costs(given),
            "add_costs" => self.add_costs(given, is_admin),
            "get_webhooks" => self.get_webhooks(given),
            "delete_webhook" => self.delete_webhook(given),
            "" => Err(required("action")),
            _ => Err(no(1, "Action is invalid")),
        }
    }

    /// A task without anything that is optional.
    pub(super) fn fresh_task(&self, id: &str, project: &str, name: &str) -> Value {
        let title = self.projects.iter().find(|known| known["id"] == project).map(|known| known["name"].clone());
        json!({
            "id": id, "name": name, "page": format!("/project/{project}/{id}/"), "status": "active", "priority": "1",
            "user_from": self.user(USER).unwrap_or_default(), "user_to": { "id": "1", "email": "NOONE", "name": "Noone" },
            "project": { "id": project, "name": title, "page": format!("/project/{project}/") }, "text": "", "date_added": self.now(),
        })
    }

    /// A task as a list shows it.
    fn shown(&self, task: &Value, extra: &[&str]) -> Value {
        let mut shown = task.clone();
        let Some(object) = shown.as_object_mut() else { return shown };
        let parent = object.shift_remove("parent");
        if !extra.contains(&"text") && !extra.contains(&"html") {
            object.shift_remove("text");
        }
        if extra.contains(&"subtasks") {
            let children = self.tasks.iter().filter(|child| child["parent"] == task["id"]);
            let children: Vec<Value> = children.map(|child| self.shown(child, extra)).collect();
            if !children.is_empty() {
                object.insert("child".to_owned(), Value::from(children));
            }
        }
        if let Some(parent) = parent.and_then(|id| self.tasks.iter().find(|task| task["id"] == id))
            && extra.contains(&"parent")
        {
            object.insert(
                "parent".to_owned(),
                json!({ "id": parent["id"], "name": parent["name"], "page": parent["page"] }),
            );
        }
        shown
    }

    fn listed(&self, tasks: impl Iterator<Item = Value>) -> Reply {
        let tasks: Vec<Value> = tasks.collect();
        if tasks.len() > self.switches.most_tasks {
            return Err(no(3, "Too many tasks (10000 max)"));
        }
        Ok(json!({ "status": "ok", "data": tasks }))
    }

    fn get_all_tasks(&self, given: &Given) -> Reply {
        given.only(&["extra", "filter"])?;
        only_active(given)?;
        let extra = extra(given);
        let in_sight = |task: &&Value| {
            let archived = self.is_archived(task["project"]["id"].as_str().unwrap_or_default());
            task["parent"].is_null() && (extra.contains(&"archive") || !archived)
        };
        self.listed(self.tasks.iter().filter(in_sight).map(|task| self.shown(task, &extra)))
    }

    fn get_tasks(&self, given: &Given) -> Reply {
        given.only(&["id_project", "extra", "filter"])?;
        only_active(given)?;
        let id = given.needs("id_project")?;
        if !self.projects.iter().any(|project| project["id"] == id) {
            return Err(no(4, "Project is invalid"));
        }
        let extra = extra(given);
        let here = |task: &&Value| task["parent"].is_null() && task["project"]["id"] == id && !self.is_archived(id);
        self.listed(self.tasks.iter().filter(here).map(|task| {
            let mut shown = self.shown(task, &extra);
            without_project(&mut shown);
            shown
        }))
    }

    fn get_task(&self, given: &Given) -> Reply {
        given.only(&["id_task", "extra", "filter"])?;
        let id = given.needs("id_task")?;
        let task = self.tasks.iter().find(|task| task["id"] == id).ok_or_else(|| no(5, "Task is invalid"))?;
        let extra: Vec<&str> = extra(given).into_iter().chain(["parent"]).collect();
        Ok(json!({ "status": "ok", "data": self.shown(task, &extra) }))
    }

    fn search_tasks(&self, given: &Given) -> Reply {
        given.only(&["id_project", "id_task", "email_user_from", "email_user_to", "filter", "status", "extra"])?;
        let wanted = ["id_project", "id_task", "email_user_from", "email_user_to", "filter"];
        if wanted.iter().all(|name| given.get(name).is_none()) {
            return Err(no(10, "At least one of fields required"));
        }
        if given.get("id_project").is_some_and(|id| !self.projects.iter().any(|project| project["id"] == id)) {
            return Err(no(4, "Project is invalid"));
        }
        let filter = given.get("filter").map(Filter::read).transpose();
        let filter = filter.map_err(|()| No(10, "Field is invalid", "filter".to_owned()))?;
        let is = |name: &str, value: &Value| given.get(name).is_none_or(|wanted| value == wanted);
        let fits = |task: &&Value| {
            is("id_project", &task["project"]["id"])
                && is("id_task", &task["id"])
                && is("email_user_from", &task["user_from"]["email"])
                && is("email_user_to", &task["user_to"]["email"])
                && is("status", &task["status"])
                && filter.as_ref().is_none_or(|filter| filter.fits(task))
        };
        let extra = extra(given);
        self.listed(self.tasks.iter().filter(fits).map(|task| self.shown(task, &extra)))
    }

    fn post_task(&mut self, given: &Given) -> Reply {
        given.only(NEW)?;
        let project = given.needs("id_project")?.to_owned();
        if !self.projects.iter().any(|known| known["id"] == project.as_str()) || self.is_archived(&project) {
            return Err(no(4, "Project is invalid"));
        }
        let title = given.needs("title")?.to_owned();
        let mut task = self.fresh_task("", &project, &title);
        self.set(&mut task, given)?;
        if let Some(email) = given.get("email_user_from") {
            task["user_from"] = self.user(email)?;
        }
        if let Some(parent) = given.get("id_parent") {
            let known = self.tasks.iter().find(|task| task["id"] == parent).ok_or_else(|| no(5, "Task is invalid"))?;
            if known["status"] == "done" {
                return Err(no(14, "Parent task is done"));
            }
            task["parent"] = Value::from(parent);
        }
        for name in ["subscribe", "hidden", "mention"] {
            self.users_named(given.get(name))?;
        }
        let boxes: Vec<&str> =
            given.params.iter().filter(|(name, _)| name == "todo[]").map(|(_, text)| text.as_str()).collect();
        let text: String = given.get("text").unwrap_or_default().chars().take(LONGEST_TEXT).collect();
        task["text"] =
            Value::from(if boxes.is_empty() { text } else { format!("{text}\n[ ] {}", boxes.join("\n[ ] ")) });
        let id = self.id();
        task["id"] = Value::from(id.clone());
        let page = format!("/project/{project}/{id}/");
        task["page"] = Value::from(page.clone());
        self.tasks.push(task.clone());
        self.told("post", ("task", &id, &page), json!({ "title": title }), Value::Null);
        Ok(json!({ "status": "ok", "data": task }))
    }

    fn update_task(&mut self, given: &Given) -> Reply {
        given.only(CHANGES)?;
        let mut task = self.task(given)?;
        self.set(&mut task, given)?;
        if let Some(title) = given.get("title") {
            task["name"] = Value::from(title);
        }
        self.put(task.clone(), "update");
        Ok(json!({ "status": "ok", "data": task }))
    }

    fn complete_task(&mut self, given: &Given) -> Reply {
        given.only(&["id_task"])?;
        let mut task = self.task(given)?;
        if task["status"] == "done" {
            return Err(no(12, "Task is already closed"));
        }
        if self.tasks.iter().any(|child| child["parent"] == task["id"] && child["status"] == "active") {
            return Err(no(13, "Task has children"));
        }
        task["status"] = Value::from("done");
        task["date_closed"] = Value::from(self.now());
        self.put(task, "close");
        Ok(json!({ "status": "ok" }))
    }

    fn reopen_task(&mut self, given: &Given) -> Reply {
        given.only(&["id_task"])?;
        let mut task = self.task(given)?;
        if task["status"] == "active" {
            return Err(no(12, "Task is already active"));
        }
        if self.tasks.iter().any(|parent| parent["id"] == task["parent"] && parent["status"] == "done") {
            return Err(no(14, "Parent task is done"));
        }
        task["status"] = Value::from("active");
        task.as_object_mut().map(|task| task.shift_remove("date_closed"));
        self.put(task, "reopen");
        Ok(json!({ "status": "ok" }))
    }

    fn update_task_tags(&mut self, given: &Given) -> Reply {
        given.only(&["id_task", "plus", "minus"])?;
        let mut task = self.task(given)?;
        let plus = self.tags_named(given.get("plus").unwrap_or_default())?;
        let minus = self.tags_named(given.get("minus").unwrap_or_default())?;
        let mut tags = task["tags"].as_object().cloned().unwrap_or_default();
        tags.extend(plus);
        tags.retain(|id, _| !minus.contains_key(id));
        task["tags"] = Value::Object(tags);
        // Without an event: changes of status tags are not told.
        if let Some(known) = find(&mut self.tasks, task["id"].as_str().unwrap_or_default()) {
            *known = task;
        }
        Ok(json!({ "status": "ok" }))
    }

    /// The task that is meant.
    pub(super) fn task(&self, given: &Given) -> Result<Value, No> {
        let id = given.needs("id_task")?;
        self.tasks.iter().find(|task| task["id"] == id).cloned().ok_or_else(|| no(5, "Task is invalid"))
    }

    /// Puts a task in the place of the one with its id.
    fn put(&mut self, task: Value, action: &str) {
        let (id, page) =
            (task["id"].as_str().unwrap_or_default().to_owned(), task["page"].as_str().unwrap_or_default().to_owned());
        if let Some(known) = find(&mut self.tasks, &id) {
            *known = task;
        }
        self.told(action, ("task", &id, &page), json!({}), json!({}));
    }

    /// What a new task and a change have in common.
    fn set(&self, task: &mut Value, given: &Given) -> Result<(), No> {
        match given.there("email_user_to") {
            None => {}
            Some("" | "NOONE") => task["user_to"] = json!({ "id": "1", "email": "NOONE", "name": "Noone" }),
            Some("ANY") => task["user_to"] = json!({ "id": "2", "email": "ANY", "name": "Anyone" }),
            Some(email) => task["user_to"] = self.user(email)?,
        }
        if let Some(priority) = given.get("priority") {
            let fits = priority.parse::<u8>().is_ok_and(|priority| priority <= 10);
            task["priority"] = Value::from(if fits { priority } else { return Err(invalid("priority")) });
        }
        for (name, key) in [("datestart", "date_start"), ("dateend", "date_end"), ("dateclosed", "date_closed")] {
            match given.there(name) {
                Some("") if self.switches.empty_clears => _ = task.as_object_mut().map(|task| task.shift_remove(key)),
                None | Some("") => {}
                Some(text) => task[key] = Value::from(date(text).ok_or_else(|| invalid(name))?.to_string()),
            }
        }
        for name in ["max_time", "max_money"] {
            if let Some(amount) = given.get(name) {
                let fits = amount.parse::<f64>().is_ok();
                task[name] = Value::from(if fits { amount } else { return Err(invalid(name)) });
            }
        }
        match given.there("tags") {
            None => {}
            Some("") if !self.switches.empty_clears => {}
            Some(tags) => task["tags"] = Value::Object(self.tags_named(tags)?),
        }
        Ok(())
    }
}

/// The one filter that lists know.
fn only_active(given: &Given) -> Result<(), No> {
    if given.get("filter").is_some_and(|filter| filter != "active") { Err(invalid("filter")) } else { Ok(()) }
}

fn extra(given: &Given) -> Vec<&str> {
    given.get("extra").map(|extra| extra.split(',').collect()).unwrap_or_default()
}

/// The list of one project does not name it.
fn without_project(task: &mut Value) {
    let Some(task) = task.as_object_mut() else { return };
    task.shift_remove("project");
    if let Some(Value::Array(children)) = task.get_mut("child") {
        children.iter_mut().for_each(without_project);
    }
}

pub(super) fn invalid(name: &str) -> No {
    No(10, "Field is invalid", name.to_owned())
}

/// `24.12.2026` and nothing else.
pub(super) fn date(text: &str) -> Option<Date> {
    Date::strptime("%d.%m.%Y", text).ok().filter(|_| text.len() == 10)
}
