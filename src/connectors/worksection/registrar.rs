//! Subscribes webhooks: `add_webhook`, `get_webhooks`, `delete_webhook`. Source: worksection.com, "Webhooks" and its SDK.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::client::{Api, Reply};
use crate::connectors::{Build, Built, PollError, Registered, Registrar, reading, verify};
use crate::settings::Fault;

/// What a webhook may tell of. `reopen_task` is named by public code alone.
pub(super) const EVENTS: &[&str] = &[
    "post_task",
    "post_comment",
    "post_project",
    "update_task",
    "update_comment",
    "update_project",
    "delete_task",
    "delete_comment",
    "close_task",
    "reopen_task",
];

/// Those that the page names.
const USUAL: usize = 9;

/// "WebHook not found".
const NONE: i64 = 10;

struct Hooks {
    api: Api,
    user: (String, SecretString),
    events: Vec<String>,
    projects: Vec<String>,
}

/// Builds it.
///
/// # Errors
/// No account with keys, nobody whom the webhooks are from.
pub(super) fn build(build: &Build<'_>) -> Built<Box<dyn Registrar>> {
    let settings = &build.settings;
    let api = Api::of(build)
        .map_err(|why| vec![Fault::new(settings.spot("account"), format!("to register a webhook the source {why}"))])?;
    let mut users = verify::users(settings)?;
    let wanted = settings.texts("events");
    let events = if wanted.is_empty() { EVENTS[..USUAL].to_vec() } else { wanted };
    Ok(Box::new(Hooks {
        api,
        user: users.swap_remove(0),
        events: events.into_iter().map(str::to_owned).collect(),
        projects: settings.texts("projects").into_iter().map(str::to_owned).collect(),
    }))
}

#[async_trait]
impl Registrar for Hooks {
    async fn list(&self) -> Result<Vec<Registered>, PollError> {
        let list = self.api.get("get_webhooks", &[]).await?;
        Ok(list.as_array().map(|all| all.iter().filter_map(registered).collect()).unwrap_or_default())
    }

    /// One that sends to the same URL is replaced once the new one is there: two would send everything twice.
    async fn register(&self, url: &Url) -> Result<Vec<Registered>, PollError> {
        let before = self.list().await?;
        let mut params = vec![("url", url.to_string()), ("events", self.events.join(","))];
        if !self.projects.is_empty() {
            params.push(("projects", self.projects.join(",")));
        }
        params.push(("http_user", self.user.0.clone()));
        params.push(("http_pass", self.user.1.expose_secret().to_owned()));
        let id = match self.api.act("add_webhook", &params).await? {
            Reply::Yes(body) => reading::id(&body["id"]).or_else(|| reading::id(&body["data"]["id"])),
            Reply::No(_, why) => {
                let why = format!(
                    "{why}: Worksection calls {url} before it takes it, so the bridge has to run and be reached there"
                );
                return Err(PollError::stop(why));
            }
        };
        let id = id.ok_or_else(|| PollError::stop("worksection told no id of the new webhook"))?;
        for old in before.iter().filter(|old| old.url == url.as_str() && old.id != id) {
            self.remove(&old.id).await?;
        }
        let all = self.list().await?;
        let made: Vec<Registered> = all.into_iter().filter(|hook| hook.id == id).collect();
        if made.is_empty() {
            return Ok(vec![Registered { id, url: url.to_string(), about: self.events.join(", "), active: true }]);
        }
        Ok(made)
    }

    async fn remove(&self, id: &str) -> Result<bool, PollError> {
        match self.api.act("delete_webhook", &[("id", id.to_owned())]).await? {
            Reply::Yes(_) => Ok(true),
            Reply::No(Some(NONE), why) if why.to_lowercase().contains("not found") => Ok(false),
            Reply::No(_, why) => Err(PollError::stop(format!("delete_webhook: {why}"))),
        }
    }
}

fn registered(hook: &Value) -> Option<Registered> {
    let words = |value: &Value| match value {
        Value::Array(words) => words.iter().filter_map(reading::id).collect::<Vec<_>>().join(", "),
        other => reading::id(other).unwrap_or_default().replace(',', ", "),
    };
    let mut about = words(&hook["events"]);
    let projects = words(&hook["projects"]);
    if !projects.is_empty() {
        about = format!("{about} of projects {projects}");
    }
    Some(Registered {
        id: reading::id(&hook["id"])?,
        // No secret is in it: the user and the password are apart.
        url: hook["url"].as_str().unwrap_or_default().to_owned(),
        about,
        active: hook["status"] == "active",
    })
}
