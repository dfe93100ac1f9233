//! What a route's `lookup` reads from Walla: whether a customer answered, and what.

use http::StatusCode;
use serde_json::{Map, Value, json};

use jiff::tz::TimeZone;

use super::door::{Door, Target, said};
use super::questions::Questions;
use super::response::{self, Response};
use crate::clock::Clock;
use crate::connectors::client::MAX_ANSWER;
use crate::connectors::{Answer, Build, Built, Call, Lookup, LookupKind, reading};
use crate::outcome::{Outcome, Scope};
use crate::settings::{Fault, Field, Kind, Need};

/// What can be looked up.
pub const KIND: LookupKind = LookupKind { fields: FIELDS, build };

const OBJECTS: &[&str] = &["response", "customer", "customers", "project", "workspace"];

const FIELDS: &[Field] = &[
    Field {
        name: "object",
        kind: Kind::Choice(OBJECTS),
        need: Need::Default("response"),
        doc: "`response`: by `response_key` or `customer_key`; `customer`: whether one with a `customer_key` answered; `customers`: all customer keys; `project`: the form itself; `workspace`: the key of the workspace that has a `project_key`.",
    },
    Field {
        name: "workspace",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The workspace key of the response API; needed with `project`.",
    },
    Field { name: "project", kind: Kind::Text, need: Need::Optional, doc: "The project key of the response API." },
    Field { name: "form", kind: Kind::Text, need: Need::Optional, doc: "The form's id in the Open API." },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    Response,
    Customer,
    Customers,
    Project,
    Workspace,
}

impl Object {
    /// The names of `match` that it takes, one of which has to be there.
    fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Response => &["response_key", "customer_key"],
            Self::Customer => &["customer_key"],
            Self::Customers | Self::Project => &[],
            Self::Workspace => &["project_key"],
        }
    }
}

struct WallaLookup {
    door: Door,
    target: Option<Target>,
    object: Object,
    zone: TimeZone,
    clock: Clock,
}

fn build(build: &Build<'_>) -> Built<Box<dyn Lookup>> {
    let settings = &build.settings;
    let fault = |key: &str, message: &str| vec![Fault::new(settings.spot(key), message)];
    let Some(account) = build.account else { return Err(fault("account", "needs an account of walla")) };
    let door = Door::of(account).map_err(|why| fault("account", &why))?;
    let object = match settings.text("object").unwrap_or("response") {
        "customer" => Object::Customer,
        "customers" => Object::Customers,
        "project" => Object::Project,
        "workspace" => Object::Workspace,
        _ => Object::Response,
    };
    if door.open && matches!(object, Object::Customers | Object::Workspace) {
        return Err(fault("object", "the Open API has no such call: it needs an account with a client_id"));
    }
    let target = Target::read(settings, door.open)?;
    if object == Object::Workspace {
        if target.is_some() {
            return Err(fault("object", "a workspace is found by the `project_key` of `match`, and nothing else"));
        }
    } else if target.is_none() {
        return Err(Target::missing(settings, door.open));
    } else if matches!(target, Some(Target::Project { workspace: None, .. })) {
        return Err(fault("project", "a lookup is one call: it needs the `workspace` of the project"));
    }
    Ok(Box::new(WallaLookup { door, target, object, zone: build.zone.clone(), clock: build.clock.clone() }))
}

impl WallaLookup {
    /// The name and the value that are looked for.
    fn key(&self, wanted: &Map<String, Value>) -> Result<Option<(&'static str, String)>, String> {
        let takes = self.object.takes();
        if let Some(odd) = wanted.keys().find(|name| !takes.contains(&name.as_str())) {
            return Err(match takes {
                [] => format!("match: {odd}: it takes no values, as `match: {{}}`"),
                _ => format!("match: {odd}: expected {}", takes.join(" or ")),
            });
        }
        match (takes, wanted.len()) {
            ([], _) => return Ok(None),
            (_, 1) => {}
            _ => return Err(format!("match: expected one of {}", takes.join(" or "))),
        }
        let found = takes.iter().find_map(|name| Some((*name, wanted.get(*name)?)));
        let key = found.and_then(|(name, value)| Some((name, reading::id(value)?)));
        key.map(Some).ok_or_else(|| format!("match: {}: expected text that is not empty", takes.join(" or ")))
    }

    fn response(&self, place: &[&str], key: (&str, &str)) -> Call {
        let at = |path: &[&str], query: &[(&str, &str)]| self.door.get(place.iter().chain(path).copied(), query);
        match (self.door.open, key) {
            (false, ("response_key", key)) => at(&["response", "get", "responseKey", key], &[]),
            (false, (_, key)) => at(&["response", "get", "customerKey", key], &[]),
            (true, ("response_key", key)) => at(&["responses", key], &[]),
            // Two are enough to see that there is more than one.
            (true, (_, key)) => at(&["responses"], &[("customerKey", key), ("page", "1"), ("limit", "2")]),
        }
    }

    fn records(&self, answer: Value) -> Result<Vec<Value>, String> {
        let place = |key: &str| response::text(&answer, &[key]);
        Ok(match self.object {
            Object::Response => {
                let raw = match answer.pointer("/data/responses") {
                    Some(_) => response::list(answer)?,
                    None => response::one(answer)?.into_iter().collect(),
                };
                let each = raw.into_iter().map(|raw| Response::read(raw, &self.zone)?.data(&Questions::default()));
                each.collect::<Result<_, _>>()?
            }
            Object::Customer => {
                let counted = answer.pointer("/data/pagination/totalCount").and_then(Value::as_u64);
                let exists = answer["exists"].as_bool().or_else(|| counted.map(|count| count > 0));
                let exists = exists.ok_or_else(|| format!("no `exists` in {}", response::shape(&answer)))?;
                vec![json!({ "exists": exists })]
            }
            Object::Customers => {
                let keys = answer["customerKeys"].as_array();
                let keys = keys.ok_or_else(|| format!("no customerKeys in {}", response::shape(&answer)))?;
                vec![json!({ "customer_keys": keys })]
            }
            Object::Project => vec![answer.get("data").unwrap_or(&answer).clone()],
            Object::Workspace => {
                let key = place("workspaceKey");
                let key = key.ok_or_else(|| format!("no workspaceKey in {}", response::shape(&answer)))?;
                vec![json!({ "workspace_key": key })]
            }
        })
    }
}

impl Lookup for WallaLookup {
    fn prepare(&self, wanted: &Map<String, Value>) -> Result<Call, String> {
        let key = self.key(wanted)?;
        let place: Vec<&str> = match &self.target {
            Some(Target::Project { workspace, project }) => {
                vec!["workspace", workspace.as_deref().unwrap_or_default(), "project", project]
            }
            Some(Target::Form { form }) => vec!["forms", form],
            None => Vec::new(),
        };
        let at = |path: &[&str], query: &[(&str, &str)]| self.door.get(place.iter().chain(path).copied(), query);
        let key = key.as_ref().map(|(name, key)| (*name, key.as_str()));
        Ok(match (self.object, key) {
            (Object::Response, Some(key)) => self.response(&place, key),
            (Object::Customer, Some((_, key))) if self.door.open => {
                at(&["responses"], &[("customerKey", key), ("page", "1"), ("limit", "1")])
            }
            (Object::Customer, Some((_, key))) => at(&["response", "check", "customerKey", key], &[]),
            (Object::Customers, _) => at(&["response", "listCustomerKeys"], &[]),
            (Object::Workspace, Some((_, key))) => at(&["workspace", "query", "projectKey"], &[("projectKey", key)]),
            _ => at(&[], &[]),
        })
    }

    fn read(&self, answer: &Answer) -> Result<Vec<Value>, Outcome> {
        let why = format!("walla answered {}{}", answer.status, said(answer));
        let later = |account| Outcome::Retry { after: answer.retry_after(self.clock.now()), account, why: why.clone() };
        match answer.status {
            StatusCode::OK if answer.body.len() >= MAX_ANSWER => Err(Outcome::reject("walla answered more than 1 MiB")),
            StatusCode::OK => {
                let json = answer.json().ok_or_else(|| Outcome::retry("walla answered what is not JSON"))?;
                self.records(json).map_err(Outcome::reject)
            }
            StatusCode::NOT_FOUND => Ok(Vec::new()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Outcome::Suspend { what: Scope::Account, why, until: None })
            }
            StatusCode::TOO_MANY_REQUESTS => Err(later(true)),
            StatusCode::REQUEST_TIMEOUT => Err(later(false)),
            status if status.is_server_error() => Err(later(false)),
            _ => Err(Outcome::reject(why)),
        }
    }
}
