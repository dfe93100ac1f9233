//! Reads the response of a webhook anew: what a body says is then only a hint that something happened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use tokio::sync::Mutex;

use super::client::Api;
use super::door::{Door, Target};
use super::hook::{project_key, response_key};
use super::labels::{self, Labels};
use super::response::Response;
use crate::clock::Clock;
use crate::connectors::client::Client;
use crate::connectors::{Build, Fetch, Fetched, PollError};
use crate::event::Event;
use crate::settings::Fault;

/// For how long a response that Walla just told of may not be shown by its API yet.
const LAG: SignedDuration = SignedDuration::from_secs(60);
/// When to ask for it again.
const AGAIN: Duration = Duration::from_secs(5);
/// How many projects are remembered with their labels, where the bodies name them.
const MOST: usize = 100;

/// Reads responses anew.
pub(super) struct Again {
    client: Client,
    clock: Clock,
    zone: TimeZone,
    door: Door,
    /// Of the config; else each body names its project.
    target: Option<Target>,
    forms: Lock<HashMap<String, Arc<Form>>>,
}

struct Form {
    api: Api,
    labels: Mutex<Labels>,
}

impl Again {
    /// From a hook's settings.
    ///
    /// # Errors
    /// No account, keys of the other API, or an Open API without a `form`.
    pub(super) fn of(build: &Build<'_>) -> Result<Self, Vec<Fault>> {
        let settings = &build.settings;
        let fault = |key: &str, message: &str| vec![Fault::new(settings.spot(key), message)];
        let Some(account) = build.account else {
            return Err(fault("fetch", "to read a response again it needs an `account`"));
        };
        let door = Door::of(account).map_err(|why| fault("account", &why))?;
        let target = Target::read(settings, door.open)?;
        if door.open && target.is_none() {
            return Err(fault("fetch", "to read a response again with an open_api_key it needs the `form`"));
        }
        let (client, clock, zone) = (build.client.clone(), build.clock.clone(), build.zone.clone());
        Ok(Self { client, clock, zone, door, target, forms: Lock::default() })
    }

    /// The form of a body; `None` if neither the config nor the body names one.
    fn form(&self, project: Option<String>) -> Option<Arc<Form>> {
        let target = match (&self.target, project) {
            (Some(target), _) => target.clone(),
            (None, Some(project)) => Target::Project { workspace: None, project },
            (None, None) => return None,
        };
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        if forms.len() >= MOST {
            forms.clear();
        }
        let make = || {
            let api = Api::new((self.client.clone(), self.clock.clone()), self.door.clone(), target.clone());
            Arc::new(Form { api, labels: Mutex::default() })
        };
        Some(Arc::clone(forms.entry(target.name()).or_insert_with(make)))
    }
}

#[async_trait]
impl Fetch for Again {
    async fn fetch(&self, event: &Event) -> Result<Fetched, PollError> {
        let gone = |why: &str| Ok(Fetched::Gone(why.to_owned()));
        let body = event.data.value();
        let Some(key) = response_key(&body) else {
            return gone("its body has no responseKey: set a body of your own in Walla, with {{responseKey}} in it");
        };
        let Some(form) = self.form(project_key(&body)) else {
            return gone("its body has no projectKey, and the source no `project`");
        };
        let Some(raw) = form.api.one(&key).await? else {
            let age = self.clock.now().duration_since(event.received.at());
            // Of a rejected respondent nothing may be kept: there is nothing to wait for.
            if age < LAG && event.kind == "response.created" {
                return Err(PollError::retry(Some(AGAIN), "walla does not show the response yet"));
            }
            return gone("walla has no response with this key");
        };
        let response = Response::read(raw, &self.zone).map_err(PollError::stop)?;
        let mut labels = form.labels.lock().await;
        labels.refresh(&form.api).await?;
        let questions = labels.of(&form.api, std::iter::once(&response)).await?;
        let mut new = labels::event(&event.kind, event.id.clone(), &response, questions)?;
        new.headers.clone_from(&event.headers);
        Ok(Fetched::Event(Box::new(new)))
    }
}
