//! Looks objects of any kind up for a route's map.

use http::Method;
use serde_json::{Map, Value};

use super::door::Door;
use super::{answer, query};
use crate::clock::Clock;
use crate::connectors::{Answer, Build, Built, Call, Lookup, LookupKind};
use crate::outcome::Outcome;
use crate::settings::{Fault, Field, Kind, Need};

/// What can be looked up.
pub const KIND: LookupKind = LookupKind { fields: FIELDS, build };

const FIELDS: &[Field] = &[
    Field {
        name: "object",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The kind of object, as `task`, `proj`, `optask` or `user`.",
    },
    Field {
        name: "fields",
        kind: Kind::List(&Kind::Text),
        need: Need::Optional,
        doc: "Which of its fields are read, as `ID`, `name`, `owner:name`, `DE:Budget`; the vendor's usual ones if missing.",
    },
    Field {
        name: "query",
        kind: Kind::Text,
        need: Need::Default("search"),
        doc: "What is asked: `search`, `count`, `report`, or a named query, as `myWork`.",
    },
];

struct Objects {
    door: Door,
    object: String,
    query: String,
    fields: Option<String>,
    clock: Clock,
}

fn build(build: &Build<'_>) -> Built<Box<dyn Lookup>> {
    let settings = &build.settings;
    let fault = |key: &str, why: String| vec![Fault::new(settings.spot(key), format!("`{key}`: {why}"))];
    let object = query::object(settings.text("object").unwrap_or_default()).map_err(|why| fault("object", why))?;
    let asked = settings.text("query").unwrap_or("search");
    if !asked.chars().all(|c| c.is_ascii_alphanumeric()) || asked.is_empty() {
        return Err(fault("query", "expected a word, as search or myWork".to_owned()));
    }
    let wanted = settings.texts("fields");
    let fields = query::fields(&wanted, &[]).map_err(|why| fault("fields", why))?;
    let fields = Some(fields).filter(|fields| !fields.is_empty());
    let door = Door::of(build)?;
    Ok(Box::new(Objects { door, object, query: asked.to_owned(), fields, clock: build.clock.clone() }))
}

impl Lookup for Objects {
    fn prepare(&self, wanted: &Map<String, Value>) -> Result<Call, String> {
        let mut parameters = query::filters(wanted)?;
        if let Some(fields) = &self.fields {
            parameters.push(("fields".to_owned(), fields.clone()));
        }
        if !matches!(self.query.as_str(), "count" | "report") {
            // Two are enough to know that it is not one.
            parameters.push(("$$LIMIT".to_owned(), "2".to_owned()));
        }
        Ok(self.door.call(&Method::GET, &[&self.object, &self.query], parameters))
    }

    fn read(&self, answer: &Answer) -> Result<Vec<Value>, Outcome> {
        let rows = answer::found(answer, self.clock.now())?;
        Ok(rows.iter().map(super::times::normalised).collect())
    }

    fn probe(&self) -> Option<Call> {
        self.prepare(&Map::new()).ok()
    }
}
