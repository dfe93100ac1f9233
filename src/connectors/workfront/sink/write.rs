//! From an operation to its call.

use http::Method;
use serde_json::{Map, Value, json};

use super::Objects;
use crate::connectors::workfront::door::{self, Parameters, parameters, part, plain};
use crate::connectors::{Call, Operation};
use crate::outcome::Verb;

/// Actions that do no more when they are done twice. Source: the page's list of actions.
const HARMLESS: [&str; 4] = ["calculateTimeline", "calculateFinance", "calculateDataExtension", "markViewed"];

/// Whom an object is shared with. Source: the page's examples (USER, TEAMOB) and the vendor's access rules.
const ACCESSORS: [&str; 5] = ["USER", "TEAMOB", "ROLE", "GROUP", "CMPY"];

/// Parameters that say how a call is made, not what is done.
const CONTROLS: [&str; 9] =
    ["method", "apiKey", "sessionID", "username", "password", "updates", "fields", "action", "filters"];

impl Objects {
    /// The call of an operation.
    pub(super) fn written(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let (verb, fields) = (operation.verb, operation.fields);
        if verb == Verb::Create {
            return self.create(operation);
        }
        let id = linked(operation.remote_id, verb)?;
        let call = match verb {
            Verb::Update => {
                let record = self.fields(fields, verb)?;
                if record.is_empty() {
                    return Err("there is nothing to update".to_owned());
                }
                let mut record_part = part(verb);
                record_part["record"] = Value::Object(record.clone());
                record_part["record"]["ID"] = Value::from(id.clone());
                let updates = parameters([("updates", door::json(&Value::Object(record)))]);
                self.door.call(&Method::PUT, &[&self.object, &id], updates).part(record_part).idempotent(true)
            }
            Verb::Delete => {
                let force = if self.force { parameters([("force", "true".to_owned())]) } else { Vec::new() };
                self.door.call(&Method::DELETE, &[&self.object, &id], force).part(part(verb)).idempotent(true)
            }
            Verb::Comment => self.comment(&id, fields)?,
            Verb::Upload => self.document(&id, fields)?,
            Verb::Act => {
                let action = text(fields, "action")?;
                if !action.chars().all(|c| c.is_ascii_alphanumeric()) {
                    return Err(format!("action: {action:?} is no action; expected its name, as calculateTimeline"));
                }
                let rest = arguments(fields.iter().filter(|(name, _)| *name != "action"))?;
                self.named(&id, &action, verb, rest).idempotent(HARMLESS.contains(&action.as_str()))
            }
            Verb::Move => {
                if fields.is_empty() {
                    return Err("there is nowhere to move it: expected where to, as projectID".to_owned());
                }
                self.named(&id, "move", verb, arguments(fields.iter())?).idempotent(true)
            }
            Verb::Share => {
                text(fields, "accessorID")?;
                let kind = text(fields, "accessorObjCode")?;
                if !ACCESSORS.contains(&kind.as_str()) {
                    return Err(format!("accessorObjCode: expected one of {}", ACCESSORS.join(", ")));
                }
                self.named(&id, "share", verb, arguments(fields.iter())?).idempotent(true)
            }
            other => return Err(format!("an object of Workfront cannot {}", other.name())),
        };
        Ok(call.remote_id(Some(id)))
    }

    fn create(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let mut record = self.fields(operation.fields, Verb::Create)?;
        if record.is_empty() {
            return Err("there is nothing to create it with".to_owned());
        }
        if let Some(reference) = &self.reference {
            record.insert(reference.clone(), Value::from(operation.webhook_id));
        }
        // Source: "copySourceID" goes with plain parameters in the page's example, and those not with `updates`.
        if record.contains_key("copySourceID") {
            let copy = arguments(record.iter())?;
            return Ok(self.door.call(&Method::POST, &[&self.object], copy).part(part(Verb::Create)));
        }
        let mut record_part = part(Verb::Create);
        record_part["record"] = Value::Object(record.clone());
        let updates = parameters([("updates", door::json(&Value::Object(record)))]);
        Ok(self.door.call(&Method::POST, &[&self.object], updates).part(record_part))
    }

    fn named(&self, id: &str, action: &str, verb: Verb, arguments: Parameters) -> Call {
        self.door.call(&Method::PUT, &[&self.object, id, action], arguments).part(part(verb))
    }

    /// Source: seen in public code: an update of the stream is an object NOTE.
    fn comment(&self, id: &str, fields: &Map<String, Value>) -> Result<Call, String> {
        if text(fields, "noteText")?.trim().is_empty() {
            return Err("noteText: a comment says something".to_owned());
        }
        let mut note = self.fields(fields, Verb::Create)?;
        note.insert("noteObjCode".to_owned(), Value::from(code(&self.object)));
        note.insert("objID".to_owned(), Value::from(id));
        let updates = parameters([("updates", door::json(&Value::Object(note)))]);
        Ok(self.door.call(&Method::POST, &["note"], updates).part(part(Verb::Comment)))
    }

    /// The document of a file that is yet to be uploaded; its handle is put in then.
    fn document(&self, id: &str, fields: &Map<String, Value>) -> Result<Call, String> {
        let url = self.files.allowed(&text(fields, "url")?).map_err(|why| format!("url: {why}"))?;
        let last = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
        let named = fields.get("name").filter(|name| !name.is_null());
        let name = named.map_or_else(|| last.to_owned(), plain);
        if name.trim().is_empty() {
            return Err("name: the file needs one".to_owned());
        }
        let mut rest = fields.clone();
        rest.retain(|key, _| !matches!(key.as_str(), "url" | "name"));
        let mut document = self.fields(&rest, Verb::Create)?;
        document.insert("name".to_owned(), Value::from(name.clone()));
        document.insert("docObjCode".to_owned(), Value::from(code(&self.object)));
        document.insert("objID".to_owned(), Value::from(id));
        let version = document.entry("currentVersion").or_insert_with(|| json!({ "version": "v1.0" }));
        if let Some(version) = version.as_object_mut() {
            version.entry("fileName").or_insert_with(|| Value::from(name.clone()));
        }
        let mut call = self.with_handle(&document, "(of the uploaded file)");
        // The query of a file's URL may be what lets one in.
        let mut bare = url.clone();
        bare.set_query(None);
        call.shown["file"] = Value::from(bare.as_str());
        call.part["file"] = json!({ "url": url.as_str(), "name": name, "document": document });
        Ok(call)
    }

    /// The call that makes a document of an uploaded file.
    pub(super) fn with_handle(&self, document: &Map<String, Value>, handle: &str) -> Call {
        let mut document = document.clone();
        document.insert("handle".to_owned(), Value::from(handle));
        let updates = parameters([("updates", door::json(&Value::Object(document)))]);
        self.door.call(&Method::POST, &["document"], updates).part(part(Verb::Upload))
    }
}

/// Plain parameters of what a map gives.
fn arguments<'a>(fields: impl Iterator<Item = (&'a String, &'a Value)>) -> Result<Parameters, String> {
    let pair = |(name, value): (&String, &Value)| {
        if CONTROLS.contains(&name.as_str()) || name.starts_with("$$") {
            return Err(format!("{name}: this says how a call is made, and cannot be set"));
        }
        Ok((name.clone(), plain(value)))
    };
    fields.map(pair).collect()
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    match fields.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(_) => Err(format!("{name}: expected text")),
        None => Err(format!("{name}: it is missing")),
    }
}

fn linked(remote_id: Option<&str>, verb: Verb) -> Result<String, String> {
    let id = remote_id.ok_or_else(|| format!("there is no linked object to {}", verb.name()))?;
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("the link's id {id:?} is no ID of Workfront"));
    }
    Ok(id.to_owned())
}

/// The code of a kind of object as other objects name it. Source: the page: a path takes codes and names alike.
pub(in crate::connectors::workfront) fn code(object: &str) -> String {
    match object {
        "project" => "PROJ",
        "issue" => "OPTASK",
        "portfolio" => "PORT",
        "program" => "PRGM",
        "template" => "TMPL",
        "document" => "DOCU",
        "company" => "CMPY",
        "expense" => "EXPNS",
        "team" => "TEAMOB",
        other => return other.to_ascii_uppercase(),
    }
    .to_owned()
}
