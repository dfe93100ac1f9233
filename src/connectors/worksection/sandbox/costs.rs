//! Comments and costs.

use serde_json::{Value, json};

use super::actions::{date, invalid};
use super::{Given, Reply, Tenant, USER, no, required};

impl Tenant {
    pub(super) fn get_comments(&self, given: &Given) -> Reply {
        given.only(&["id_task", "extra"])?;
        let task = self.task(given)?;
        let mine = |comment: &&Value| comment["task"] == task["id"];
        let comments = self.comments.iter().filter(mine).cloned().map(|mut comment| {
            comment.as_object_mut().map(|comment| comment.shift_remove("task"));
            comment
        });
        Ok(json!({ "status": "ok", "data": comments.collect::<Vec<_>>() }))
    }

    pub(super) fn post_comment(&mut self, given: &Given) -> Reply {
        given.only(&["id_task", "text", "todo[]", "email_user_from", "hidden", "mention"])?;
        let task = self.task(given)?;
        let boxes: Vec<&str> =
            given.params.iter().filter(|(name, _)| name == "todo[]").map(|(_, text)| text.as_str()).collect();
        let text = [given.get("text").unwrap_or_default(), &boxes.join("\n")].join("\n").trim().to_owned();
        if text.is_empty() {
            return Err(no(10, "At least one of fields required"));
        }
        for name in ["hidden", "mention"] {
            self.users_named(given.get(name))?;
        }
        let from = self.user(given.get("email_user_from").unwrap_or(USER))?;
        let id = self.id();
        let comment = self.comment(&id, task["id"].as_str().unwrap_or_default(), &text, &from);
        Ok(json!({ "status": "ok", "data": comment }))
    }

    /// Writes a comment.
    pub(super) fn comment(&mut self, id: &str, task: &str, text: &str, from: &Value) -> Value {
        let page = self
            .tasks
            .iter()
            .find(|known| known["id"] == task)
            .map_or("", |task| task["page"].as_str().unwrap_or_default());
        let page = format!("{page}#com{id}");
        let comment = json!({
            "id": id, "page": page, "text": text, "date_added": self.now(), "user_from": from, "task": task,
        });
        self.comments.push(comment.clone());
        self.told("post", ("comment", id, &page), json!({ "text": text }), Value::Null);
        comment
    }

    pub(super) fn get_costs(&self, given: &Given) -> Reply {
        given.only(&["id_project", "id_task", "datestart", "dateend", "is_timer", "filter"])?;
        let mine = |cost: &&Value| given.get("id_task").is_none_or(|id| cost["task"]["id"] == id);
        let costs: Vec<&Value> = self.costs.iter().filter(mine).collect();
        Ok(json!({ "status": "ok", "data": costs, "total": { "time": "0:00", "money": "0.00" } }))
    }

    pub(super) fn add_costs(&mut self, given: &Given, is_admin: bool) -> Reply {
        given.only(&["id_task", "time", "money", "email_user_from", "is_rate", "comment", "date"])?;
        let task = self.task(given)?;
        let (time, money) = (given.get("time"), given.get("money"));
        if time.is_none() && money.is_none() {
            return Err(no(10, "At least one of fields required"));
        }
        let is_number = |text: &str| text.replace([',', ':'], ".").parse::<f64>().is_ok();
        if time.is_some_and(|time| !is_number(time)) {
            return Err(invalid("time"));
        }
        if money.is_some_and(|money| money.parse::<f64>().is_err()) {
            return Err(invalid("money"));
        }
        if given.get("is_rate").is_some_and(|rate| rate != "1") {
            return Err(invalid("is_rate"));
        }
        let from = match given.get("email_user_from") {
            Some(email) => self.user(email)?,
            None if is_admin => return Err(required("email_user_from")),
            None => self.user(USER)?,
        };
        if task["status"] == "done" {
            return Err(no(8, "Task is closed"));
        }
        let day = match given.get("date") {
            Some(text) => date(text).ok_or_else(|| invalid("date"))?.to_string(),
            None => self.now()[..10].to_owned(),
        };
        let id = self.id();
        self.costs.push(json!({
            "id": id, "comment": given.get("comment").unwrap_or_default(), "time": time, "money": money, "date": day,
            "is_timer": false, "user_from": from, "task": { "id": task["id"], "name": task["name"], "page": task["page"] },
        }));
        Ok(json!({ "status": "ok", "id": id }))
    }
}
