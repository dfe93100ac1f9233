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
        doc: "`response`: by `response_key` or `customer_key`; `customer`: whether one with a `customer_key` answered; `customers`: all customer keys of the form with a `project_key`; `project`: that form itself (by `form` in the Open API); `workspace`: the key of its workspace.",
    },
    Field {
        name: "workspace",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The workspace key of the response API; needed for all but `workspace`.",
    },
    Field {
        name: "project",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The project key of the response API, for `response` and `customer`.",
    },
    Field {
        name: "form",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The form's id in the Open API, for `response` and `customer`.",
    },
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
    fn takes(self, open: bool) -> &'static [&'static str] {
        match self {
            Self::Response => &["response_key", "customer_key"],
            Self::Customer => &["customer_key"],
            Self::Project if open => &["form"],
            Self::Customers | Self::Project | Self::Workspace => &["project_key"],
        }
    }

    /// Whether the form is found by `match`, and not named beside it.
    fn finds_the_form(self) -> bool {
        matches!(self, Self::Customers | Self::Project | Self::Workspace)
    }
}

struct WallaLookup {
    door: Door,
    /// Of `response` and `customer`.
    target: Option<Target>,
    /// Of `customers` and `project`.
    workspace: Option<String>,
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
    let workspace = settings.text("workspace").map(str::to_owned);
    let needs_workspace = !door.open && object != Object::Workspace;
    let target = if object.finds_the_form() {
        for key in ["project", "form"] {
            if settings.get(key).is_some() {
                let name = object.takes(door.open).concat();
                return Err(fault(key, &format!("the form is found by the `{name}` of `match`: leave it out here")));
            }
        }
        None
    } else {
        let target = Target::read(settings, door.open)?;
        Some(target.ok_or_else(|| Target::missing(settings, door.open))?)
    };
    if needs_workspace && workspace.is_none() {
        return Err(fault("object", "a lookup is one call: it needs the `workspace` of the project"));
    }
    if !needs_workspace && workspace.is_some() {
        return Err(fault("workspace", "it needs none: leave it out"));
    }
    let (zone, clock) = (build.zone.clone(), build.clock.clone());
    Ok(Box::new(WallaLookup { door, target, workspace, object, zone, clock }))
}

impl WallaLookup {
    /// The name and the value that are looked for.
    fn key(&self, wanted: &Map<String, Value>) -> Result<(&'static str, String), String> {
        let takes = self.object.takes(self.door.open);
        if let Some(odd) = wanted.keys().find(|name| !takes.contains(&name.as_str())) {
            return Err(format!("match: {odd}: expected {}", takes.join(" or ")));
        }
        if wanted.len() != 1 {
            return Err(format!("match: expected one of {}", takes.join(" or ")));
        }
        let found = takes.iter().find_map(|name| Some((*name, wanted.get(*name)?)));
        let key = found.and_then(|(name, value)| Some((name, reading::id(value)?)));
        key.ok_or_else(|| format!("match: {}: expected text that is not empty", takes.join(" or ")))
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
        let (name, key) = self.key(wanted)?;
        let key = key.as_str();
        let workspace = self.workspace.as_deref().unwrap_or_default();
        let place: Vec<&str> = match (&self.target, self.object) {
            (Some(Target::Project { project, .. }), _) => vec!["workspace", workspace, "project", project],
            (Some(Target::Form { form }), _) => vec!["forms", form],
            (None, Object::Workspace) => vec!["workspace", "query", "projectKey"],
            (None, _) if self.door.open => vec!["forms", key],
            (None, _) => vec!["workspace", workspace, "project", key],
        };
        let at = |path: &[&str], query: &[(&str, &str)]| self.door.get(place.iter().chain(path).copied(), query);
        Ok(match self.object {
            Object::Response => self.response(&place, (name, key)),
            Object::Customer if self.door.open => {
                at(&["responses"], &[("customerKey", key), ("page", "1"), ("limit", "1")])
            }
            Object::Customer => at(&["response", "check", "customerKey", key], &[]),
            Object::Customers => at(&["response", "listCustomerKeys"], &[]),
            Object::Project => at(&[], &[]),
            Object::Workspace => at(&[], &[("projectKey", key)]),
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

    /// Asks for one that nobody has. Of a form that a `match` would name nobody can be asked.
    fn probe(&self) -> Option<Call> {
        let key = match self.object {
            Object::Response => "response_key",
            Object::Customer => "customer_key",
            Object::Customers | Object::Project | Object::Workspace => return None,
        };
        self.prepare(&Map::from_iter([(key.to_owned(), json!("dari-check"))])).ok()
    }
}
