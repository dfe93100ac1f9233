//! What subscribers are told of. Source: the vendor's pages on event subscriptions: the token as a bearer's, states plain or in
//! base64, times with a dot before the milliseconds.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Map, Value, json};

use super::{Shared, Tenant, lock, search};
use crate::connectors::Call;
use crate::connectors::sandbox::telling::{self, Change};

/// After each request: what it changed.
pub(super) async fn tell(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    telling::tell(lock(&shared).news(), |_| ());
    response
}

impl Tenant {
    fn news(&mut self) -> Vec<Call> {
        if self.switches.deliver_to.is_empty() || self.subscriptions.is_empty() {
            self.looks.forget();
            return Vec::new();
        }
        let mut calls = Vec::new();
        for change in self.looks.changes(&self.objects, "ID") {
            for subscription in self.subscriptions.iter().filter(|subscription| wants(subscription, &change)) {
                let times = if self.switches.told_twice { 2 } else { 1 };
                calls.extend((1..=times).filter_map(|version| self.call(subscription, &change, version)));
            }
        }
        calls
    }

    fn call(&self, subscription: &Value, change: &Change, version: u8) -> Option<Call> {
        let at = self.clock.now();
        let state = |object: &Value| {
            let fields = object.as_object().into_iter().flatten();
            let state: Map<_, _> =
                fields.map(|(name, value)| (name.clone(), search::as_spelled("dot", value))).collect();
            match subscription["base64Encoding"].as_str() {
                Some("true") => Value::from(STANDARD.encode(Value::Object(state).to_string())),
                _ => Value::Object(state),
            }
        };
        let body = json!({
            "eventType": kind(change), "subscriptionId": subscription["id"], "subscriptionVersion": format!("v{version}"),
            "eventTime": { "epochSecond": at.as_second(), "nano": at.subsec_nanosecond() },
            "newState": state(&change.after), "oldState": state(&change.before),
        });
        let token = format!("Bearer {}", subscription["authToken"].as_str().unwrap_or_default());
        let url = telling::place(subscription["url"].as_str()?, &self.switches.deliver_to)?;
        Some(Call::new(Method::POST, url).json(&body).header(AUTHORIZATION, HeaderValue::from_str(&token).ok()?))
    }
}

fn kind(change: &Change) -> &'static str {
    match (&change.before, &change.after) {
        (Value::Null, _) => "CREATE",
        (_, Value::Null) => "DELETE",
        _ => "UPDATE",
    }
}

fn wants(subscription: &Value, change: &Change) -> bool {
    let object = if change.after.is_null() { &change.before } else { &change.after };
    let is_it = subscription["objId"].as_str().is_none_or(|id| object["ID"] == id);
    let filters = subscription["filters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fits = |filter: &Value| fits(filter, change);
    let all = if subscription["filterConnector"] == "OR" && !filters.is_empty() {
        filters.iter().any(fits)
    } else {
        filters.iter().all(fits)
    };
    subscription["objCode"] == object["objCode"] && subscription["eventType"] == kind(change) && is_it && all
}

fn fits(filter: &Value, change: &Change) -> bool {
    let state = if filter["state"] == "oldState" { &change.before } else { &change.after };
    let field = filter["fieldName"].as_str().unwrap_or_default();
    let (now, wanted) = (&state[field], filter["fieldValue"].as_str().unwrap_or_default());
    let text = now.as_str().map_or_else(|| now.to_string(), str::to_owned);
    match filter["comparison"].as_str().unwrap_or("eq") {
        "eq" | "containsOnly" => text == wanted,
        "ne" => text != wanted,
        "gt" => text.as_str() > wanted,
        "gte" => text.as_str() >= wanted,
        "lt" => text.as_str() < wanted,
        "lte" => text.as_str() <= wanted,
        "contains" => text.contains(wanted),
        "notContains" => !text.contains(wanted),
        _ => change.before[field] != change.after[field],
    }
}
