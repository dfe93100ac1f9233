//! Webhooks: called before they are taken, told what happens, switched off after ten answers that are not what the page asks for.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{AUTHORIZATION, HeaderValue};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use super::super::registrar::EVENTS;
use super::{Given, No, Reply, Stand, Tenant, no, required};
use crate::connectors::Call;
use crate::connectors::sandbox::telling;

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After how many errors a webhook is switched off.
const ERRORS: u32 = 10;

#[derive(Clone, Serialize)]
pub(super) struct Webhook {
    id: u64,
    url: String,
    events: String,
    status: &'static str,
    projects: String,
    errors: u32,
    #[serde(skip)]
    user: Option<String>,
}

impl Webhook {
    /// True if the receiver said what it must.
    async fn sent(&self, body: &Value, deliver_to: &str) -> bool {
        let url =
            if deliver_to.is_empty() { Url::parse(&self.url).ok() } else { telling::place(&self.url, deliver_to) };
        let Some(url) = url else { return false };
        let mut call = Call::new(Method::POST, url).timeout(PATIENCE);
        if !body.is_null() {
            call = call.json(body);
        }
        if let Some(user) = self.user.as_ref().and_then(|user| HeaderValue::from_str(user).ok()) {
            call = call.header(AUTHORIZATION, user);
        }
        let Some(answer) = telling::ask(&call).await else { return false };
        answer.status == http::StatusCode::OK && answer.json().is_some_and(|body| body["status"] == "OK")
    }
}

/// Takes a new one, once it has answered.
pub(super) async fn add(stand: Stand, given: Given) -> Response {
    let hook = match wanted(&given) {
        Ok(hook) => hook,
        Err(no) => return no.into_response(),
    };
    let (probes, deliver_to) = {
        let tenant = stand.lock();
        (tenant.switches.probes, tenant.switches.deliver_to.clone())
    };
    if probes && !hook.sent(&Value::Null, &deliver_to).await {
        return no(11, "Url should respond 200 HTTP_CODE and JSON {status:OK}").into_response();
    }
    let mut tenant = stand.lock();
    tenant.hooked += 1;
    let id = 129 + tenant.hooked;
    let status = if tenant.switches.webhooks_begin_paused { "paused" } else { "active" };
    tenant.webhooks.push(Webhook { id, status, ..hook });
    Json(json!({ "status": "ok", "id": id })).into_response()
}

fn wanted(given: &Given) -> Result<Webhook, No> {
    given.only(&["url", "events", "projects", "http_user", "http_pass"])?;
    let (url, events) = (given.needs("url")?, given.needs("events")?);
    if events.split(',').any(|event| !EVENTS.contains(&event)) {
        return Err(No(10, "Field is invalid", "events".to_owned()));
    }
    let user = given.get("http_user").zip(given.get("http_pass"));
    let user = user.map(|(name, password)| format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))));
    Ok(Webhook {
        id: 0,
        url: url.to_owned(),
        events: events.to_owned(),
        status: "active",
        projects: given.get("projects").unwrap_or_default().to_owned(),
        errors: 0,
        user,
    })
}

impl Tenant {
    pub(super) fn get_webhooks(&self, given: &Given) -> Reply {
        given.only(&[])?;
        let shown = |hook: &Webhook| {
            let words: Vec<&str> = hook.events.split(',').collect();
            json!({ "id": hook.id, "url": hook.url, "events": words.join(","), "status": hook.status, "projects": hook.projects })
        };
        Ok(json!({ "status": "ok", "data": self.webhooks.iter().map(shown).collect::<Vec<_>>() }))
    }

    pub(super) fn delete_webhook(&mut self, given: &Given) -> Reply {
        given.only(&["id"])?;
        let id = given.get("id").ok_or_else(|| required("id"))?;
        let before = self.webhooks.len();
        self.webhooks.retain(|hook| hook.id.to_string() != id);
        if self.webhooks.len() < before { Ok(json!({ "status": "ok" })) } else { Err(no(10, "WebHook not found")) }
    }
}

/// Sends what happened to those who want it: an array, as captured bodies are.
pub(super) fn tell(stand: &Stand, news: Vec<Value>) {
    for item in news {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = format!("{}_{}", text(&item["action"]), text(&item["object"]["type"]));
        let (hooks, deliver_to) = {
            let tenant = stand.lock();
            (tenant.webhooks.clone(), tenant.switches.deliver_to.clone())
        };
        let wants = |hook: &Webhook| hook.status == "active" && hook.events.split(',').any(|known| known == event);
        for hook in hooks.into_iter().filter(wants) {
            let (stand, body, deliver_to) = (stand.clone(), json!([item]), deliver_to.clone());
            tokio::spawn(async move {
                let is_good = hook.sent(&body, &deliver_to).await;
                let mut tenant = stand.lock();
                let Some(known) = tenant.webhooks.iter_mut().find(|known| known.id == hook.id) else { return };
                known.errors += u32::from(!is_good);
                if known.errors >= ERRORS {
                    known.status = "paused";
                }
            });
        }
    }
}
