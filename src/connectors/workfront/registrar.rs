//! Subscribes to events. Source: the vendor's page on event subscriptions.

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use super::answer::{self, Trouble};
use super::door::Door;
use super::query;
use crate::clock::Clock;
use crate::connectors::call::HIDDEN;
use crate::connectors::client::Client;
use crate::connectors::{Answer, Build, Built, Call, PollError, Registered, Registrar, reading, verify};
use crate::settings::{Fault, Node};

/// What a subscription may tell of.
pub(super) const EVENTS: &[&str] = &["CREATE", "UPDATE", "DELETE"];

/// The most that a page of subscriptions has.
const PAGE: usize = 1_000;

struct Subscriptions {
    door: Door,
    client: Client,
    clock: Clock,
    object: String,
    events: Vec<String>,
    token: SecretString,
    filters: Vec<Value>,
    any: bool,
    base64: bool,
}

/// Builds it.
///
/// # Errors
/// No account, no object, no token.
pub(super) fn build(build: &Build<'_>) -> Built<Box<dyn Registrar>> {
    let settings = &build.settings;
    let fault = |key: &str, why: String| vec![Fault::new(settings.spot(key), why)];
    if build.account.is_none() {
        return Err(fault("account", "to register a subscription the source needs an account".to_owned()));
    }
    let object =
        settings.text("object").ok_or_else(|| fault("object", "needs the `object` to subscribe to".to_owned()))?;
    let object = query::object(object).map_err(|why| fault("object", format!("`object`: {why}")))?;
    let token = verify::secrets(settings, "tokens")?.into_iter().next();
    let wanted = settings.texts("events");
    let events = if wanted.is_empty() { EVENTS.to_vec() } else { wanted };
    let filters = settings.get("filters").map(Node::items).unwrap_or_default();
    Ok(Box::new(Subscriptions {
        door: Door::of(build)?,
        client: build.client.clone(),
        clock: build.clock.clone(),
        object: super::sink::code(&object),
        events: events.into_iter().map(str::to_owned).collect(),
        token: token.ok_or_else(|| fault("tokens", "needs a token to give to the vendor".to_owned()))?,
        filters: filters.iter().map(filter).collect(),
        any: settings.text("connector") == Some("OR"),
        base64: settings.flag("base64"),
    }))
}

fn filter(node: &Node) -> Value {
    let pair = |(key, node): &(crate::settings::Key, Node)| Some((key.name.clone(), Value::from(node.text()?)));
    let mut filter: Map<String, Value> = node.entries().iter().filter_map(pair).collect();
    filter.entry("comparison").or_insert_with(|| json!("eq"));
    Value::Object(filter)
}

#[async_trait]
impl Registrar for Subscriptions {
    async fn list(&self) -> Result<Vec<Registered>, PollError> {
        let mut all = Vec::new();
        for page in 1_usize.. {
            let query = [("page", page.to_string()), ("limit", PAGE.to_string())];
            let said = self.send(&self.door.subscriptions(Method::GET, &[], &query)).await?;
            let said = said.json().filter(|said| said["subscriptions"].is_array());
            let said = said.ok_or_else(|| PollError::retry(None, "workfront's answer is no list of subscriptions"))?;
            let items = said["subscriptions"].as_array().map(Vec::as_slice).unwrap_or_default();
            all.extend(items.iter().filter_map(registered));
            let last = said["meta"]["page_count"].as_u64().is_none_or(|pages| page as u64 >= pages);
            if items.is_empty() || last {
                break;
            }
        }
        Ok(all)
    }

    async fn register(&self, url: &Url) -> Result<Vec<Registered>, PollError> {
        let mut made = Vec::new();
        for event in &self.events {
            made.push(self.subscribe(url, event).await?);
        }
        Ok(made)
    }

    async fn remove(&self, id: &str) -> Result<bool, PollError> {
        let call = self.door.subscriptions(Method::DELETE, &[id], &[]).idempotent(true);
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.refused(&answer)),
        }
    }
}

impl Subscriptions {
    async fn subscribe(&self, url: &Url, event: &str) -> Result<Registered, PollError> {
        // Unknown fields are refused, so only what is set is sent.
        let mut body = json!({
            "objCode": self.object, "eventType": event, "url": url.as_str(), "authToken": self.token.expose_secret(),
        });
        if !self.filters.is_empty() {
            body["filters"] = json!(self.filters);
            body["filterConnector"] = json!(if self.any { "OR" } else { "AND" });
        }
        if self.base64 {
            body["base64Encoding"] = json!("true");
        }
        let mut shown = body.clone();
        shown["authToken"] = json!(HIDDEN);
        let call = self.door.subscriptions(Method::POST, &[], &[]).json(&body).shown_body(shown);
        let call = call_with_json(call);
        let answer = self.client.send(&call).await?;
        let about = format!("{} {event}", self.object);
        match answer.status {
            status if status.is_success() => {
                let place = answer.headers.get(LOCATION).and_then(|place| place.to_str().ok()).unwrap_or_default();
                let id = place.rsplit('/').next().filter(|id| !id.is_empty()).map(str::to_owned);
                let id = id.or_else(|| reading::id(&answer.json()?["id"])).unwrap_or_default();
                Ok(Registered { id, url: url.to_string(), about, active: true })
            }
            // It is there already: that was wanted.
            StatusCode::CONFLICT => {
                let there = self.list().await?.into_iter().find(|one| one.url == url.as_str() && one.about == about);
                there.ok_or_else(|| PollError::stop(answer::summary(&answer)))
            }
            _ => Err(self.refused(&answer)),
        }
    }

    async fn send(&self, call: &Call) -> Result<Answer, PollError> {
        let answer = self.client.send(call).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(self.refused(&answer)) }
    }

    fn refused(&self, answer: &Answer) -> PollError {
        let why = format!("workfront's event subscriptions: {}", answer::summary(answer));
        let trouble = match answer.status {
            StatusCode::UNAUTHORIZED => Trouble::Credentials,
            // Source: 403: the user is no System Administrator.
            StatusCode::FORBIDDEN => Trouble::Permission,
            StatusCode::TOO_MANY_REQUESTS => Trouble::Busy,
            status if status.is_server_error() => Trouble::Unclear,
            _ => Trouble::Wrong,
        };
        answer::poll_error(trouble, why, answer, self.clock.now())
    }
}

/// The media type without parameters, as the page has it.
fn call_with_json(mut call: Call) -> Call {
    call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    call
}

/// A subscription as the vendor lists it; its token stays there.
fn registered(said: &Value) -> Option<Registered> {
    let text = |a: &str, b: &str| said[a].as_str().or_else(|| said[b].as_str()).unwrap_or_default();
    let about = format!("{} {}", text("objCode", "obj_code"), text("eventType", "event_type"));
    let off = said["disabled"] == true || said["frozen"] == true;
    Some(Registered { id: reading::id(&said["id"])?, url: text("url", "URL").to_owned(), about, active: !off })
}
