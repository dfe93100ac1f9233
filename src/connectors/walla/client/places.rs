//! Where a form is: its workspace, and what else the keys see where it is not there.

use serde_json::Value;

use super::{Api, Body, Got};
use crate::connectors::PollError;
use crate::connectors::walla::door::Target;
use crate::connectors::walla::response::{list, shape, text};

/// How many names a reason shows.
const SHOWN: usize = 10;

impl Api {
    /// The path below which everything about the form is.
    pub(super) async fn place(&self) -> Result<Vec<&str>, PollError> {
        Ok(match &self.target {
            Target::Project { workspace, project } => {
                let workspace = match workspace {
                    Some(workspace) => workspace,
                    None => self.workspace.get_or_try_init(|| self.workspace_of(project)).await?,
                };
                vec!["workspace", workspace, "project", project]
            }
            Target::Form { form } => vec!["forms", form],
        })
    }

    async fn workspace_of(&self, project: &str) -> Result<String, PollError> {
        let call = self.door.get(["workspace", "query", "projectKey"], &[("projectKey", project)]);
        let got = self.send(call).await?;
        let Body::Json(answer) = self.body(got).await? else {
            return Err(PollError::stop("a workspace's key is over 1 MiB long"));
        };
        let key = text(&answer, &["workspaceKey"]);
        key.ok_or_else(|| PollError::stop(format!("no workspaceKey in {}", shape(&answer))))
    }

    /// What to say of a form that is not there, with what is there instead: that costs one to three calls, once, as the
    /// source stops.
    pub(super) async fn unknown(&self, said: &str) -> PollError {
        let instead = self.instead().await.map(|there| format!("; {there}")).unwrap_or_default();
        PollError::stop(format!("walla knows no {} (404){said}{instead}", self.target.name()))
    }

    /// `None` if it cannot be told, or if the form is there after all.
    async fn instead(&self) -> Option<String> {
        match &self.target {
            Target::Form { form } => {
                if self.there(&["forms", form]).await {
                    return None;
                }
                let forms = self.listed(&["forms"], "form").await?;
                match self.listed(&["workspaces"], "workspace").await {
                    Some(workspaces) => Some(format!("the key sees the forms {forms}, in the workspaces {workspaces}")),
                    None => Some(format!("the key sees the forms {forms}")),
                }
            }
            Target::Project { workspace: Some(workspace), project } if self.there(&["workspace", workspace]).await => {
                if self.there(&["workspace", workspace, "project", project]).await {
                    return None;
                }
                let projects = self.listed(&["workspace", workspace, "project", "list"], "project").await?;
                Some(format!("that workspace has the projects {projects}"))
            }
            Target::Project { .. } => {
                let workspaces = self.listed(&["workspace", "list"], "workspace").await?;
                Some(format!("the keys see the workspaces {workspaces}"))
            }
        }
    }

    /// Whether there is something: anything but a clear no counts as a yes.
    async fn there(&self, path: &[&str]) -> bool {
        !matches!(self.send(self.door.get(path.iter().copied(), &[])).await, Ok(Got::Missing(_)))
    }

    /// The keys and names in a list, as `pj-7 (신청)`.
    async fn listed(&self, path: &[&str], what: &str) -> Option<String> {
        let Ok(Got::Body(Body::Json(answer))) = self.send(self.door.get(path.iter().copied(), &[])).await else {
            return None;
        };
        let items = list(answer).ok()?;
        let mut names: Vec<String> = items.iter().take(SHOWN).filter_map(|item| named(item, what)).collect();
        if items.len() > SHOWN {
            names.push("…".to_owned());
        }
        (!names.is_empty()).then(|| names.join(", "))
    }
}

fn named(item: &Value, what: &str) -> Option<String> {
    let [key, name] = ["Key", "Name"].map(|end| format!("{what}{end}"));
    let key = text(item, &[&key, "id", "key"])?;
    Some(match text(item, &[&name, "name", "title"]) {
        Some(name) => format!("{key} ({name})"),
        None => key,
    })
}
