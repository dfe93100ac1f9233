//! The project's hooks, called for what is done to its tasks. Nothing is said of deletions, and there is no signature.
//!
//! Its two spellings contradict each other: the page's `hookEventType` and `hookVersion`, and the `webhookType` and `version` of
//! captured bodies, which have a comment under `log`, null for what is absent and ids as numbers.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{PROJECT, Shared, Tenant, lock};
use crate::connectors::Call;
use crate::connectors::sandbox::telling::{self, Change, Looks};

/// How hooks are spelled.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spelling {
    /// As on the vendor's page.
    Documented,
    /// As in bodies that were captured.
    Captured,
}

/// What hooks were told of.
#[derive(Debug, Default)]
pub(super) struct Seen {
    tasks: Looks,
    comments: Looks,
}

/// After each request: what it changed.
pub(super) async fn tell(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    telling::tell(lock(&shared).news(), |_| ());
    response
}

impl Tenant {
    fn news(&mut self) -> Vec<Call> {
        if self.switches.deliver_to.is_empty() || self.hooks.is_empty() {
            self.looks = Seen::default();
            return Vec::new();
        }
        let mut told = Vec::new();
        for change in self.looks.tasks.changes(&self.tasks, "id") {
            told.extend(words(&change).into_iter().map(|word| (word, self.spelled(word, &change.after, None))));
        }
        for change in self.looks.comments.changes(&self.comments, "id").into_iter().filter(|c| !c.after.is_null()) {
            let word = if change.before.is_null() { "postCommentCreated" } else { "postCommentUpdated" };
            let task = self.tasks.iter().find(|task| task["id"] == change.after["post"]["id"]);
            let task = task.cloned().unwrap_or_default();
            told.push((word, self.spelled(word, &task, Some(&change.after))));
        }
        let wants =
            |hook: &Value, word: &str| hook["sendEvents"].as_array().is_some_and(|e| e.iter().any(|e| e == word));
        let mut calls = Vec::new();
        for (word, body) in &told {
            for hook in self.hooks.iter().filter(|hook| wants(hook, word)) {
                let url = telling::place(hook["url"].as_str().unwrap_or_default(), &self.switches.deliver_to);
                calls.extend(url.map(|url| Call::new(Method::POST, url).json(body)));
            }
        }
        calls
    }

    /// A body about a task. Of a change it has no more than which task it is.
    fn spelled(&self, word: &str, task: &Value, comment: Option<&Value>) -> Value {
        let whole = matches!(word, "postCreated" | "postBodyChanged");
        let mut post = json!({ "id": task["id"], "subject": task["subject"], "number": task["number"] });
        let keys: &[&str] = if whole { &["createdAt", "updatedAt", "body", "users"] } else { &[] };
        for key in keys {
            post[*key] = task[*key].clone();
        }
        let mut body = match self.switches.hooks_as {
            Spelling::Documented => json!({ "hookEventType": word, "hookVersion": 2 }),
            Spelling::Captured => {
                post["id"] = task["id"].as_str().and_then(|id| id.parse::<u64>().ok()).map_or(Value::Null, Value::from);
                post["dueDate"] = Value::Null;
                post["parent"] = json!({ "id": null });
                json!({ "webhookType": word, "version": 2 })
            }
        };
        match (comment, self.switches.hooks_as) {
            (Some(comment), Spelling::Documented) => body["comment"] = comment.clone(),
            (Some(comment), Spelling::Captured) => body["log"] = comment.clone(),
            (None, _) => {}
        }
        if word == "postWorkflowChanged" {
            body["workflow"] = task["workflow"].clone();
        }
        body["post"] = post;
        body["project"] = json!({ "id": PROJECT, "code": "dev" });
        body["tenant"] = json!({ "id": "1" });
        body["source"] = json!({ "type": "member", "member": { "id": "101", "name": "김하나" } });
        body
    }
}

/// What is told of a change to a task.
fn words(Change { before, after }: &Change) -> Vec<&'static str> {
    const CHANGES: [(&str, &str); 9] = [
        ("subject", "postSubjectChanged"),
        ("body", "postBodyChanged"),
        ("users", "postUserChanged"),
        ("dueDate", "postDueDateChanged"),
        ("milestone", "postMilestoneChanged"),
        ("parent", "postParentChanged"),
        ("tags", "postTagChanged"),
        ("workflow", "postWorkflowChanged"),
        ("project", "postMoved"),
    ];
    match (before, after) {
        (_, Value::Null) => Vec::new(),
        (Value::Null, _) => vec!["postCreated"],
        _ => CHANGES.iter().filter(|(key, _)| before[*key] != after[*key]).map(|(_, word)| *word).collect(),
    }
}
