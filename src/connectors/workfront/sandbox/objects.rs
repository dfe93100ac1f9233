//! Objects: made, changed, read, deleted, acted upon.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::calls::{CONTROLS, Parameters, get, written};
use super::{No, Reply, Tenant, search, wrong};
use crate::connectors::workfront::times;

/// A kind of object.
pub(super) struct Kind {
    pub(super) code: &'static str,
    names: &'static [&'static str],
    label: &'static str,
    /// Beside those that all have.
    fields: &'static [&'static str],
    /// What a new one needs.
    needs: &'static [&'static str],
}

const COMMON: [&str; 18] = [
    "ID",
    "objCode",
    "name",
    "status",
    "description",
    "priority",
    "extRefID",
    "entryDate",
    "lastUpdateDate",
    "ownerID",
    "owner",
    "categoryID",
    "accessRules",
    "URL",
    "percentComplete",
    "plannedStartDate",
    "plannedCompletionDate",
    "parameterValues",
];

const READ_ONLY: [&str; 5] = ["ID", "objCode", "entryDate", "lastUpdateDate", "parameterValues"];

const KINDS: [Kind; 6] = [
    Kind {
        code: "PROJ",
        names: &["proj", "project"],
        label: "Project",
        fields: &["portfolioID", "templateID", "queueDef", "copySourceID", "tasks"],
        needs: &["name"],
    },
    Kind {
        code: "TASK",
        names: &["task"],
        label: "Task",
        fields: &[
            "copySourceID",
            "projectID",
            "project",
            "parentID",
            "parent",
            "assignedToID",
            "assignedTo",
            "assignments",
            "taskNumber",
        ],
        needs: &["name", "projectID"],
    },
    Kind {
        code: "OPTASK",
        names: &["optask", "issue"],
        label: "OpTask",
        fields: &["projectID", "project", "assignedToID", "assignedTo", "assignments"],
        needs: &["name", "projectID"],
    },
    Kind {
        code: "NOTE",
        names: &["note"],
        label: "Note",
        fields: &["noteText", "noteObjCode", "objID", "isPrivate", "tags"],
        needs: &["noteText", "noteObjCode", "objID"],
    },
    Kind {
        code: "DOCU",
        names: &["docu", "document"],
        label: "Document",
        fields: &["handle", "docObjCode", "objID", "currentVersion"],
        needs: &["name", "handle", "docObjCode", "objID"],
    },
    Kind {
        code: "USER",
        names: &["user"],
        label: "User",
        fields: &["username", "emailAddr", "firstName", "lastName", "title", "isActive"],
        needs: &["username"],
    },
];

/// Source: the page's list of actions.
const ACTIONS: [&str; 9] = [
    "approveApproval",
    "calculateFinance",
    "calculateTimeline",
    "calculateDataExtension",
    "recallApproval",
    "rejectApproval",
    "move",
    "share",
    "markViewed",
];

/// A kind by its code or name, in either case.
pub(super) fn kind(name: &str) -> Option<&'static Kind> {
    let name = name.to_ascii_lowercase();
    KINDS.iter().find(|kind| kind.names.contains(&name.as_str()))
}

impl Kind {
    /// Refuses a field that there is none of.
    pub(super) fn knows(&self, tenant: &Tenant, field: &str) -> Result<(), No> {
        let known = |name: &str| COMMON.contains(&name) || self.fields.contains(&name);
        if known(field) || tenant.custom.iter().any(|custom| custom == field) {
            return Ok(());
        }
        // What lies below a reference or a collection is not looked into.
        if field.split_once(':').is_some_and(|(first, _)| first != "DE" && known(first)) {
            return Ok(());
        }
        Err(wrong(format!("APIModel V15_0 does not support field {field} ({})", self.label)))
    }

    fn missing(&self, id: &str) -> No {
        let why = format!("{} with primary key value(s) \"{id}\" not found", self.label);
        No(StatusCode::NOT_FOUND, "com.attask.common.ObjectNotFoundException", why)
    }

    pub(super) fn is(&self, object: &Value) -> bool {
        object["objCode"] == self.code
    }

    fn find<'t>(&self, tenant: &'t mut Tenant, id: &str) -> Result<&'t mut Value, No> {
        let hidden = tenant.switches.hidden.iter().any(|hidden| hidden == id);
        let there = tenant.objects.iter_mut().find(|object| self.is(object) && object["ID"] == id);
        there.filter(|_| !hidden).ok_or_else(|| self.missing(id))
    }
}

/// One object, as the page shows it: within `data` or not.
fn shown(tenant: &Tenant, object: &Value, parameters: &Parameters) -> Reply {
    let one = search::shown(tenant, object, get(parameters, "fields"))?;
    Ok(if tenant.switches.unwrapped { one } else { json!({ "data": one }) })
}

pub(super) fn one(tenant: &mut Tenant, kind: &Kind, id: &str, parameters: &Parameters) -> Reply {
    let object = kind.find(tenant, id)?.clone();
    search::check_fields(tenant, kind, get(parameters, "fields"))?;
    shown(tenant, &object, parameters)
}

pub(super) fn several(tenant: &mut Tenant, kind: &Kind, parameters: &Parameters) -> Reply {
    search::check_fields(tenant, kind, get(parameters, "fields"))?;
    let mut rows = Vec::new();
    for id in get(parameters, "id").ok_or_else(|| wrong("ID is missing"))?.split(',') {
        let object = kind.find(tenant, id).map(|object| object.clone());
        match object {
            Ok(object) => rows.push(search::shown(tenant, &object, get(parameters, "fields"))?),
            Err(no) if tenant.switches.ids_all_or_none => return Err(no),
            Err(_) => {}
        }
    }
    Ok(json!({ "data": rows }))
}

/// Checks fields that are to be written.
fn check(tenant: &Tenant, kind: &Kind, fields: &Map<String, Value>) -> Result<(), No> {
    for (name, value) in fields {
        kind.knows(tenant, name)?;
        if READ_ONLY.contains(&name.as_str()) {
            return Err(wrong(format!("The field {name} is read only")));
        }
        // The harder reading: only as the REST API itself spells it.
        let text = value.as_str().unwrap_or_default();
        let is_time = name.ends_with("Date") || name == "DE:Deadline";
        let spelled = text.as_bytes().get(19) == Some(&b':') && times::instant(value).is_some();
        if is_time && !value.is_null() && !spelled {
            return Err(wrong(format!("Unparseable date: {text:?}")));
        }
        if name == "DE:CustomNumber" && !(value.is_number() || value.is_null()) {
            return Err(wrong("Invalid number in DE:CustomNumber"));
        }
        fits(tenant, kind, name, value)?;
    }
    Ok(())
}

/// Checks the type of a field's value, and that what it refers to is there.
fn fits(tenant: &Tenant, kind: &Kind, name: &str, value: &Value) -> Result<(), No> {
    if value.is_null() {
        return Ok(());
    }
    let refers = match name {
        "projectID" => Some("PROJ"),
        "ownerID" | "assignedToID" => Some("USER"),
        "parentID" => Some(kind.code),
        _ => None,
    };
    if let Some(code) = refers
        && !tenant.objects.iter().any(|object| object["objCode"] == code && object["ID"] == *value)
    {
        return Err(wrong(format!("{code} with primary key value(s) {value} not found")));
    }
    // In a form all is text: then the text says it.
    let text = value.as_str();
    let number = || value.as_f64().or_else(|| text?.parse().ok());
    let right = match name {
        "name" | "description" | "extRefID" | "noteText" | "status" | "handle" | "objID" => value.is_string(),
        "priority" => number().is_some_and(|number| number.fract() == 0.0),
        "percentComplete" => number().is_some_and(|number| (0.0..=100.0).contains(&number)),
        "isPrivate" | "isActive" => value.is_boolean() || matches!(text, Some("true" | "false")),
        "assignments" | "accessRules" | "tasks" | "tags" => value.is_array(),
        _ => true,
    };
    if right { Ok(()) } else { Err(wrong(format!("Invalid value {value} for field {name} ({})", kind.label))) }
}

fn make(tenant: &mut Tenant, kind: &Kind, fields: &Map<String, Value>) -> Result<Value, No> {
    check(tenant, kind, fields)?;
    let copied = match fields.get("copySourceID").and_then(Value::as_str) {
        Some(id) => kind.find(tenant, id)?.as_object().cloned().unwrap_or_default(),
        None => Map::new(),
    };
    for need in kind.needs {
        let there = fields.get(*need).or(copied.get(*need));
        if there.is_none_or(|value| value.is_null() || *value == "") {
            return Err(wrong(format!("{need} cannot be null")));
        }
    }
    if kind.code == "DOCU" && !tenant.files.iter().any(|file| Some(&file["handle"]) == fields.get("handle")) {
        return Err(wrong("The handle is not known"));
    }
    if let Some(of) = fields.get("objID")
        && !tenant.objects.iter().any(|object| object["ID"] == *of)
    {
        return Err(wrong(format!("The object {of} is not found")));
    }
    let now = tenant.now();
    let mut object = Map::from_iter([
        ("ID".to_owned(), Value::from(tenant.id())),
        ("objCode".to_owned(), Value::from(kind.code)),
        ("percentComplete".to_owned(), json!(0)),
        ("entryDate".to_owned(), now.clone()),
        ("lastUpdateDate".to_owned(), now),
    ]);
    object.extend(copied.into_iter().filter(|(name, _)| !READ_ONLY.contains(&name.as_str())));
    object.extend(fields.iter().filter(|(name, _)| *name != "copySourceID").map(|(k, v)| (k.clone(), stored(v))));
    tenant.objects.push(Value::Object(object.clone()));
    Ok(Value::Object(object))
}

/// Times are kept in one spelling.
fn stored(value: &Value) -> Value {
    times::instant(value).map_or_else(|| value.clone(), |at| Value::from(times::asked(at)))
}

fn set(tenant: &mut Tenant, kind: &Kind, id: &str, fields: &Map<String, Value>) -> Result<Value, No> {
    if tenant.switches.denied.iter().any(|denied| denied == id) {
        let why = format!("You do not have sufficient access to edit this {}", kind.label);
        return Err(No(StatusCode::FORBIDDEN, "com.attask.common.AccessDeniedException", why));
    }
    check(tenant, kind, fields)?;
    let now = tenant.now();
    let object = kind.find(tenant, id)?;
    if let Some(entries) = object.as_object_mut() {
        entries.extend(fields.iter().map(|(name, value)| (name.clone(), stored(value))));
        entries.insert("lastUpdateDate".to_owned(), now);
    }
    Ok(object.clone())
}

pub(super) fn create(tenant: &mut Tenant, kind: &Kind, parameters: &Parameters) -> Reply {
    match written(parameters)? {
        Value::Array(list) => {
            let fields = |item: &Value| item.as_object().cloned().ok_or_else(|| wrong("updates is a list of objects"));
            bulk(tenant, parameters, &list, |tenant, item| make(tenant, kind, &fields(item)?))
        }
        Value::Object(fields) => {
            let object = make(tenant, kind, &fields)?;
            shown(tenant, &object, parameters)
        }
        _ => Err(wrong("updates is an object or a list")),
    }
}

pub(super) fn change(tenant: &mut Tenant, kind: &Kind, id: Option<&str>, parameters: &Parameters) -> Reply {
    match (written(parameters)?, id) {
        (Value::Array(list), None) => bulk(tenant, parameters, &list, |tenant, item| {
            let mut fields = item.as_object().cloned().unwrap_or_default();
            let id = fields.shift_remove("ID").and_then(|id| id.as_str().map(str::to_owned));
            set(tenant, kind, &id.ok_or_else(|| wrong("ID is missing"))?, &fields)
        }),
        (Value::Object(fields), Some(id)) => {
            let object = set(tenant, kind, id, &fields)?;
            shown(tenant, &object, parameters)
        }
        _ => Err(wrong("ID is missing")),
    }
}

/// Several in one call: all or nothing where that is asked for, else one by one until one is refused.
fn bulk(
    tenant: &mut Tenant,
    parameters: &Parameters,
    list: &[Value],
    mut one: impl FnMut(&mut Tenant, &Value) -> Result<Value, No>,
) -> Reply {
    if list.len() > 100 {
        return Err(wrong("The maximum number of batch updates is 100"));
    }
    let atomic = get(parameters, "atomic") == Some("true") && !tenant.switches.ignores_atomic;
    let before = tenant.objects.clone();
    let mut rows = Vec::new();
    for item in list {
        match one(tenant, item) {
            Ok(object) => rows.push(search::shown(tenant, &object, get(parameters, "fields"))?),
            Err(no) => {
                if atomic {
                    tenant.objects = before;
                }
                return Err(no);
            }
        }
    }
    Ok(if atomic { json!({ "success": true }) } else { json!({ "data": rows }) })
}

pub(super) fn delete(tenant: &mut Tenant, kind: &Kind, id: &str, parameters: &Parameters) -> Reply {
    if tenant.switches.denied.iter().any(|denied| denied == id) {
        let why = format!("You do not have sufficient access to delete this {}", kind.label);
        return Err(No(StatusCode::FORBIDDEN, "com.attask.common.AccessDeniedException", why));
    }
    kind.find(tenant, id)?;
    let depends = |object: &Value| object["projectID"] == id || object["parentID"] == id;
    if get(parameters, "force") != Some("true") && tenant.objects.iter().any(depends) {
        return Err(wrong(format!(
            "This {} cannot be deleted since it is referenced by other objects. Please use force delete.",
            kind.label
        )));
    }
    tenant.objects.retain(|object| object["ID"] != id && !depends(object));
    Ok(json!({ "data": { "success": true } }))
}

pub(super) fn act(tenant: &mut Tenant, kind: &Kind, (id, action): (&str, &str), parameters: &Parameters) -> Reply {
    kind.find(tenant, id)?;
    if !ACTIONS.contains(&action) {
        return Err(wrong(format!("APIModel V15_0 does not support action {action} ({})", kind.label)));
    }
    let arguments: Map<String, Value> = parameters
        .iter()
        .filter(|(name, _)| !CONTROLS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), Value::from(value.clone())))
        .collect();
    match action {
        "move" => {
            let to = arguments.get("projectID").ok_or_else(|| wrong("projectID cannot be null"))?;
            set(tenant, kind, id, &Map::from_iter([("projectID".to_owned(), to.clone())]))?;
        }
        "share" => {
            let accessor = arguments.get("accessorID").and_then(Value::as_str).unwrap_or_default();
            if accessor.is_empty() || arguments.get("accessorObjCode").is_none() {
                return Err(wrong("accessorID and accessorObjCode cannot be null"));
            }
            let right = arguments.get("coreAction").and_then(Value::as_str);
            if right.is_some_and(|right| !["VIEW", "EDIT", "DELETE"].contains(&right)) {
                return Err(wrong("Invalid value for coreAction"));
            }
            let rule = Value::Object(arguments.clone());
            let object = kind.find(tenant, id)?;
            let mut rules = object["accessRules"].as_array().cloned().unwrap_or_default();
            rules.retain(|rule| rule["accessorID"] != accessor);
            rules.push(rule);
            object["accessRules"] = Value::Array(rules);
        }
        _ => {}
    }
    tenant.actions.push(json!({ "object": kind.code, "id": id, "action": action, "arguments": arguments }));
    Ok(json!({ "data": { "result": null } }))
}
