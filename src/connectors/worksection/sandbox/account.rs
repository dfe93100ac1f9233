//! Projects, users, tags, the history; and what others do.

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::super::times;
use super::{Given, No, PROJECT, Reply, Tenant, USER, find, no};

/// A project as it is shown.
pub(super) fn project(id: &str, name: &str) -> Value {
    json!({ "id": id, "name": name, "page": format!("/project/{id}/"), "status": "active" })
}

impl Tenant {
    pub(super) fn get_project(&mut self, given: &Given) -> Reply {
        given.only(&["id_project", "extra"])?;
        let id = given.needs("id_project")?;
        let project = find(&mut self.projects, id).ok_or_else(|| no(4, "Project is invalid"))?;
        Ok(json!({ "status": "ok", "data": project }))
    }

    pub(super) fn get_projects(&self, given: &Given) -> Reply {
        given.only(&["filter", "extra"])?;
        let words = given.get("filter").into_iter().flat_map(|words| words.split(','));
        for word in words {
            if !["active", "pending", "archived"].contains(&word) {
                return Err(No(10, "Field is invalid", "filter".to_owned()));
            }
        }
        Ok(json!({ "status": "ok", "data": self.projects }))
    }

    pub(super) fn get_users(&self, given: &Given) -> Reply {
        given.only(&[])?;
        Ok(json!({ "status": "ok", "data": self.users }))
    }

    pub(super) fn get_task_tags(&self, given: &Given) -> Reply {
        given.only(&["group", "type", "access"])?;
        Ok(json!({ "status": "ok", "data": self.tags }))
    }

    pub(super) fn get_events(&self, given: &Given) -> Reply {
        given.only(&["period", "id_project"])?;
        let period = given.needs("period")?;
        let wrong = || No(10, "Field is invalid", "period".to_owned());
        let (number, unit) = period.split_at(period.len().saturating_sub(1));
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let (length, most) = match unit {
            "m" => (SignedDuration::from_mins(1), 360),
            "h" => (SignedDuration::from_hours(1), 72),
            "d" => (SignedDuration::from_hours(24), 30),
            _ => return Err(wrong()),
        };
        if !(1..=most).contains(&number) {
            return Err(wrong());
        }
        if given.get("id_project").is_some_and(|id| !self.projects.iter().any(|project| project["id"] == id)) {
            return Err(no(4, "Project is invalid"));
        }
        let span = SignedDuration::from_secs(length.as_secs() * number);
        let from = self.clock.now().saturating_sub(span).unwrap_or_default();
        let prefix = given.get("id_project").map(|id| format!("/project/{id}/"));
        let within = |event: &&Value| {
            let at = times::instant(&event["date_added"], &Self::zone());
            let page = event["object"]["page"].as_str().unwrap_or_default();
            at.is_some_and(|at| at >= from) && prefix.as_ref().is_none_or(|prefix| page.starts_with(prefix))
        };
        let mut events: Vec<&Value> = self.events.iter().filter(within).collect();
        if self.switches.newest_first {
            events.reverse();
        }
        Ok(json!({ "status": "ok", "data": events }))
    }

    /// The user with this address.
    pub(super) fn user(&self, email: &str) -> Result<Value, No> {
        let known = self.users.iter().find(|user| user["email"] == email);
        let user = known.ok_or_else(|| no(11, "Invalid email"))?;
        Ok(json!({ "id": user["id"], "email": email, "name": user["name"] }))
    }

    /// Users as `a@b,c@d`.
    pub(super) fn users_named(&self, list: Option<&str>) -> Result<(), No> {
        list.unwrap_or_default()
            .split(',')
            .filter(|email| !email.is_empty())
            .try_for_each(|email| self.user(email).map(|_| ()))
    }

    /// Tags by name or id, as a task has them.
    pub(super) fn tags_named(&self, list: &str) -> Result<Map<String, Value>, No> {
        let mut tags = Map::new();
        for word in list.split(',').filter(|word| !word.is_empty()) {
            let known = self.tags.iter().find(|tag| tag["title"] == word || tag["id"] == word);
            let tag = known.ok_or_else(|| No(16, "Tag is invalid", word.to_owned()))?;
            tags.insert(tag["id"].as_str().unwrap_or_default().to_owned(), tag["title"].clone());
        }
        Ok(tags)
    }

    // === What others do ===

    /// Makes a task, or changes the one with that id, as somebody in Worksection's own pages.
    pub(super) fn play_task(&mut self, given: &Value) -> Value {
        let id = given["id"].as_str().map_or_else(|| self.id(), str::to_owned);
        let now = self.now();
        let Some(given) = given.as_object() else { return Value::Null };
        if let Some(task) = find(&mut self.tasks, &id).and_then(Value::as_object_mut) {
            let old: Map<String, Value> =
                given.iter().filter_map(|(key, _)| Some((key.clone(), task.get(key)?.clone()))).collect();
            let was = task.get("status").cloned();
            task.extend(given.clone());
            let status = task.get("status").cloned();
            if status.as_ref().is_some_and(|status| status == "done") && was != status {
                task.entry("date_closed").or_insert_with(|| Value::from(now));
            }
            let page = task.get("page").and_then(Value::as_str).unwrap_or_default().to_owned();
            let action = match status.as_ref().and_then(Value::as_str) {
                Some("done") if was != status => "close",
                Some("active") if was != status => "reopen",
                _ => "update",
            };
            self.told(action, ("task", &id, &page), json!(given), json!(old));
            return json!({ "id": id });
        }
        let project = given.get("project").and_then(|project| project["id"].as_str()).unwrap_or(PROJECT).to_owned();
        let mut task = self.fresh_task(&id, &project, given.get("name").and_then(Value::as_str).unwrap_or("Task"));
        if let Some(task) = task.as_object_mut() {
            task.extend(given.clone());
        }
        let page = task["page"].as_str().unwrap_or_default().to_owned();
        let title = task["name"].clone();
        self.tasks.push(task);
        self.told("post", ("task", &id, &page), json!({ "title": title }), Value::Null);
        json!({ "id": id })
    }

    pub(super) fn play_comment(&mut self, given: &Value) -> Value {
        let task = given["task"].as_str().unwrap_or_default().to_owned();
        let text = given["text"].clone();
        if let Some(id) = given["id"].as_str()
            && let Some(comment) = find(&mut self.comments, id)
        {
            let old = std::mem::replace(&mut comment["text"], text.clone());
            let page = comment["page"].as_str().unwrap_or_default().to_owned();
            self.told("update", ("comment", id, &page), json!({ "text": text }), json!({ "text": old }));
            return json!({ "id": id });
        }
        let from = self.user(USER).unwrap_or_default();
        let id = given["id"].as_str().map_or_else(|| self.id(), str::to_owned);
        self.comment(&id, &task, text.as_str().unwrap_or_default(), &from);
        json!({ "id": id })
    }

    pub(super) fn play_project(&mut self, given: &Value) -> Value {
        let id = given["id"].as_str().map_or_else(|| self.id(), str::to_owned);
        let page = format!("/project/{id}/");
        if let (Some(known), Some(given)) =
            (find(&mut self.projects, &id).and_then(Value::as_object_mut), given.as_object())
        {
            known.extend(given.clone());
            self.told("update", ("project", &id, &page), json!(given), Value::Null);
        } else {
            let name = given["name"].as_str().unwrap_or("Project");
            self.projects.push(project(&id, name));
            self.told("post", ("project", &id, &page), json!({ "title": name }), Value::Null);
        }
        json!({ "id": id })
    }

    pub(super) fn is_archived(&self, project: &str) -> bool {
        self.projects.iter().any(|known| known["id"] == project && known["status"] == "archive")
    }
}
