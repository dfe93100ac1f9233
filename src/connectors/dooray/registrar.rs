//! Subscribes a project hook. Dooray documents no list of them, and no way to end one but its pages.

use async_trait::async_trait;
use serde_json::json;
use url::Url;

use super::client::Api;
use crate::connectors::call::HIDDEN;
use crate::connectors::{Build, Built, PollError, Registered, Registrar, reading};
use crate::settings::Fault;

/// What a hook of type `task` may tell of.
pub(super) const EVENTS: &[&str] = &[
    "postCreated",
    "postTagChanged",
    "postWorkflowChanged",
    "postDueDateChanged",
    "postCommentCreated",
    "postCommentUpdated",
    "postSubjectChanged",
    "postBodyChanged",
    "postUserChanged",
    "postMilestoneChanged",
    "postParentChanged",
    "postMoved",
];

struct Hooks {
    api: Api,
    project: String,
    events: Vec<String>,
}

/// Builds it.
///
/// # Errors
/// No account or no project.
pub(super) fn build(build: &Build<'_>) -> Built<Box<dyn Registrar>> {
    let settings = &build.settings;
    let fault = |key: &str, why: String| vec![Fault::new(settings.spot(key), why)];
    let api = Api::of(build).map_err(|why| fault("account", format!("to register a hook the source {why}")))?;
    let project =
        settings.text("project").ok_or_else(|| fault("project", "needs the `project` to register at".to_owned()))?;
    let wanted = settings.texts("events");
    let events = if wanted.is_empty() { EVENTS.to_vec() } else { wanted };
    Ok(Box::new(Hooks { api, project: project.to_owned(), events: events.into_iter().map(str::to_owned).collect() }))
}

#[async_trait]
impl Registrar for Hooks {
    async fn list(&self) -> Result<Vec<Registered>, PollError> {
        Err(PollError::stop("Dooray has no call that lists hooks: see 프로젝트 설정 > 서비스 연동 of the project"))
    }

    async fn register(&self, url: &Url) -> Result<Vec<Registered>, PollError> {
        let body = json!({
            "url": url.as_str(),
            "type": "task",
            "sendEvents": self.events,
            "option": { "body": { "include": true, "embedInlineImage": false } },
        });
        let said = self.api.post(&["project", "v1", "projects", &self.project, "hooks"], &body).await?;
        let id = reading::id(&said.result["id"]).unwrap_or_default();
        Ok(vec![Registered { id, url: masked(url), about: self.events.join(", "), active: true }])
    }

    async fn remove(&self, _: &str) -> Result<bool, PollError> {
        Err(PollError::stop(
            "Dooray has no call that ends a hook: take it out under 프로젝트 설정 > 서비스 연동 of the project",
        ))
    }
}

/// The secret is the last part of the path.
fn masked(url: &Url) -> String {
    let mut url = url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop().push(HIDDEN);
    }
    url.into()
}
