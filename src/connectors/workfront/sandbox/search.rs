//! Searches: filters with modifiers, sorting, pages, and what is shown of an object.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::calls::{Parameters, get};
use super::objects::Kind;
use super::{No, Reply, Tenant, wrong};
use crate::connectors::workfront::times;

/// What is shown where nothing is asked for.
const USUAL: [&str; 8] =
    ["ID", "name", "objCode", "status", "percentComplete", "priority", "plannedStartDate", "plannedCompletionDate"];
const DEPTH: usize = 4;
const MOST: usize = 2_000;
const ORDERS: [&str; 4] = ["asc", "desc", "ciasc", "cidesc"];
/// Parameters that are no filters.
const OTHERS: [&str; 8] = ["method", "apiKey", "sessionID", "fields", "map", "id", "username", "password"];

/// The modifiers that it plays.
const MODIFIERS: [&str; 14] = [
    "eq",
    "ne",
    "gt",
    "gte",
    "lt",
    "lte",
    "isnull",
    "isblank",
    "notnull",
    "notblank",
    "contains",
    "cicontains",
    "cieq",
    "between",
];

/// One comparison.
#[derive(Debug, Default)]
struct Filter {
    value: String,
    modifier: String,
    range: String,
}

/// Filters that hold together; several of them are alternatives.
type Group = BTreeMap<String, Filter>;

pub(super) fn check_fields(tenant: &Tenant, kind: &Kind, fields: Option<&str>) -> Result<(), No> {
    for field in fields.into_iter().flat_map(|fields| fields.split(',')) {
        if field.strip_prefix("DE:").unwrap_or(field).split(':').count() > DEPTH {
            return Err(wrong(format!("The maximum field depth is {DEPTH}: {field}")));
        }
        if field != "*" {
            kind.knows(tenant, field)?;
        }
    }
    Ok(())
}

fn groups(tenant: &Tenant, kind: &Kind, parameters: &Parameters) -> Result<Vec<Group>, No> {
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    for (name, value) in parameters {
        let other = OTHERS.contains(&name.as_str()) || name.starts_with("$$") || name.ends_with("_Sort");
        if other || name.ends_with("_GroupBy") || name.ends_with("_AggFunc") {
            continue;
        }
        if name == "filters" {
            let Ok(Value::Object(more)) = serde_json::from_str(value) else { return Err(wrong("filters is not JSON")) };
            for (name, value) in more {
                kind.knows(tenant, &name)?;
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                groups.entry(0).or_default().entry(name).or_default().value = value;
            }
            continue;
        }
        let (number, field) = match name.strip_prefix("OR:").and_then(|rest| rest.split_once(':')) {
            Some((number, field)) => (number.parse().map_err(|_| wrong(format!("Invalid filter {name}")))?, field),
            None => (0, name.as_str()),
        };
        let group = groups.entry(number).or_default();
        if let Some(field) = field.strip_suffix("_Mod") {
            kind.knows(tenant, field)?;
            if !MODIFIERS.contains(&value.as_str()) {
                return Err(wrong(format!("Invalid modifier {value}")));
            }
            group.entry(field.to_owned()).or_default().modifier.clone_from(value);
        } else if let Some(field) = field.strip_suffix("_Range") {
            kind.knows(tenant, field)?;
            group.entry(field.to_owned()).or_default().range.clone_from(value);
        } else {
            kind.knows(tenant, field)?;
            group.entry(field.to_owned()).or_default().value.clone_from(value);
        }
    }
    Ok(groups.into_values().collect())
}

fn compare(a: &Value, b: &str) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (times::instant(a), times::instant(&Value::from(b))) {
        return Some(a.cmp(&b));
    }
    match a {
        Value::Null => None,
        Value::Number(a) => a.as_f64()?.partial_cmp(&b.parse().ok()?),
        Value::String(a) => Some(a.as_str().cmp(b)),
        other => Some(other.to_string().as_str().cmp(b)),
    }
}

fn holds(filter: &Filter, value: &Value) -> bool {
    let order = compare(value, &filter.value);
    let text = value.as_str().unwrap_or_default();
    let lower = |text: &str| text.to_lowercase();
    let empty = value.is_null() || *value == "";
    match filter.modifier.as_str() {
        "" | "eq" => order == Some(Ordering::Equal),
        "ne" => order != Some(Ordering::Equal),
        "gt" => order == Some(Ordering::Greater),
        "gte" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        "lt" => order == Some(Ordering::Less),
        "lte" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "isnull" | "isblank" => empty,
        "notnull" | "notblank" => !empty,
        "contains" => text.contains(&filter.value),
        "cicontains" => lower(text).contains(&lower(&filter.value)),
        "cieq" => lower(text) == lower(&filter.value),
        "between" => {
            let end = compare(value, &filter.range);
            matches!(order, Some(Ordering::Greater | Ordering::Equal))
                && matches!(end, Some(Ordering::Less | Ordering::Equal))
        }
        // Others were refused when the filters were read.
        _ => false,
    }
}

/// What lies at a path of references and fields.
fn at(tenant: &Tenant, object: &Value, path: &str) -> Value {
    if path.starts_with("DE:") {
        return object[path].clone();
    }
    let Some((first, rest)) = path.split_once(':') else { return object[path].clone() };
    let id = &object[format!("{first}ID").as_str()];
    tenant.objects.iter().find(|other| other["ID"] == *id).map_or(Value::Null, |other| at(tenant, other, rest))
}

fn matching(tenant: &Tenant, kind: &Kind, parameters: &Parameters) -> Result<Vec<Value>, No> {
    let groups = groups(tenant, kind, parameters)?;
    let mut rows = Vec::new();
    let is_shown =
        |object: &&Value| kind.is(object) && !tenant.switches.hidden.iter().any(|id| object["ID"] == id.as_str());
    for object in tenant.objects.iter().filter(is_shown) {
        let mut fits = groups.is_empty();
        for group in &groups {
            let mut all = true;
            for (field, filter) in group {
                all &= holds(filter, &at(tenant, object, field));
            }
            fits |= all;
        }
        if fits {
            rows.push(object.clone());
        }
    }
    Ok(rows)
}

pub(super) fn search(tenant: &mut Tenant, kind: &Kind, parameters: &Parameters) -> Reply {
    check_fields(tenant, kind, get(parameters, "fields"))?;
    let number = |name: &str, default: usize| match get(parameters, name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| wrong(format!("{name} is no number"))),
    };
    let (first, limit) = (number("$$FIRST", 0)?, number("$$LIMIT", tenant.switches.default_limit)?);
    if limit > MOST {
        return Err(wrong(format!("The maximum $$LIMIT is {MOST}")));
    }
    if limit == 0 {
        return Err(wrong("$$LIMIT is at least 1"));
    }
    let mut rows = matching(tenant, kind, parameters)?;
    let sorts: Vec<(&str, &str)> =
        parameters.iter().filter_map(|(name, value)| Some((name.strip_suffix("_Sort")?, value.as_str()))).collect();
    if let Some((field, order)) = sorts.iter().find(|(_, order)| !ORDERS.contains(order)) {
        return Err(wrong(format!("Invalid sort order {order} of {field}")));
    }
    if sorts.is_empty() {
        // Source: without a sort, pages overlap and miss rows.
        tenant.searches += 1;
        let by = usize::try_from(tenant.searches).unwrap_or(0) % rows.len().max(1);
        rows.rotate_left(by);
    }
    for (field, down) in sorts.into_iter().rev() {
        kind.knows(tenant, field)?;
        rows.sort_by(|a, b| {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let order = text(&a[field]).cmp(&text(&b[field]));
            if down.ends_with("desc") { order.reverse() } else { order }
        });
    }
    // The harder reading: the pages before count too.
    let shown_rows = rows.len().saturating_sub(first).min(limit);
    let around = get(parameters, "fields").into_iter().flat_map(|fields| fields.split(','));
    let around = 1 + around.filter(|field| !field.starts_with("DE:") && field.contains(':')).count();
    if first + shown_rows * around > tenant.switches.most_objects {
        return Err(wrong(format!("A result set has at most {} objects", tenant.switches.most_objects)));
    }
    let page = rows.iter().skip(first).take(limit);
    let shown = page.map(|object| shown(tenant, object, get(parameters, "fields"))).collect::<Result<Vec<_>, _>>()?;
    if get(parameters, "map") == Some("true") {
        let by_id = shown.into_iter().filter_map(|row| Some((row["ID"].as_str()?.to_owned(), row)));
        return Ok(json!({ "data": by_id.collect::<Map<_, _>>() }));
    }
    Ok(json!({ "data": shown }))
}

pub(super) fn count(tenant: &mut Tenant, kind: &Kind, parameters: &Parameters) -> Reply {
    let count = matching(tenant, kind, parameters)?.len();
    Ok(if tenant.switches.unwrapped { json!({ "count": count }) } else { json!({ "data": { "count": count } }) })
}

/// How many there are by each value of the field to group by: enough of a report to ask for one.
pub(super) fn report(tenant: &mut Tenant, kind: &Kind, parameters: &Parameters) -> Reply {
    let by = parameters.iter().find_map(|(name, _)| name.strip_suffix("_1_GroupBy"));
    let by = by.ok_or_else(|| wrong("a report needs a GroupBy"))?;
    let mut groups: BTreeMap<String, u64> = BTreeMap::new();
    for row in matching(tenant, kind, parameters)? {
        *groups.entry(at(tenant, &row, by).as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    Ok(groups.into_iter().map(|(name, count)| (name, json!({ "dcount_ID": count }))).collect::<Map<_, _>>().into())
}

/// An object as it is shown.
pub(super) fn shown(tenant: &Tenant, object: &Value, fields: Option<&str>) -> Result<Value, No> {
    let mut row = Map::new();
    let wanted: Vec<&str> = match fields {
        None => USUAL.to_vec(),
        Some(fields) => ["ID", "name", "objCode"].into_iter().chain(fields.split(',')).collect(),
    };
    let entries = object.as_object().ok_or_else(|| wrong("no object"))?;
    for field in wanted {
        match field {
            "*" => row.extend(
                entries
                    .iter()
                    .filter(|(name, value)| !name.starts_with("DE:") && !value.is_object() && !value.is_array())
                    .map(|(name, value)| (name.clone(), spelled(tenant, value))),
            ),
            "parameterValues" => {
                let custom = entries.iter().filter(|(name, _)| name.starts_with("DE:"));
                let custom: Map<_, _> = custom.map(|(name, value)| (name.clone(), spelled(tenant, value))).collect();
                row.insert(field.to_owned(), Value::Object(custom));
            }
            _ if field.starts_with("DE:") || !field.contains(':') => {
                // Source: a nested object comes with its name and ID.
                let reference = object[format!("{field}ID").as_str()].as_str();
                let value = match reference.and_then(|id| tenant.objects.iter().find(|other| other["ID"] == id)) {
                    Some(other) => json!({ "ID": other["ID"], "name": other["name"] }),
                    None => object[field].clone(),
                };
                row.insert(field.to_owned(), spelled(tenant, &value));
            }
            _ => {
                let (first, rest) = field.split_once(':').unwrap_or((field, ""));
                let below = row.entry(first).or_insert_with(|| json!({}));
                if let Some(below) = below.as_object_mut() {
                    below.insert("ID".to_owned(), at(tenant, object, &format!("{first}:ID")));
                    below.insert(rest.to_owned(), spelled(tenant, &at(tenant, object, field)));
                }
            }
        }
    }
    Ok(Value::Object(row))
}

/// Times in the spelling that is switched on.
fn spelled(tenant: &Tenant, value: &Value) -> Value {
    as_spelled(&tenant.switches.dates, value)
}

/// Times in a spelling: `colon`, `dot` or `z`.
pub(super) fn as_spelled(spelling: &str, value: &Value) -> Value {
    let Some(at) = times::instant(value) else { return value.clone() };
    let colon = times::written(at, &TimeZone::get("America/Denver").unwrap_or(TimeZone::UTC));
    Value::from(match spelling {
        "z" => times::asked(at),
        "dot" => format!("{}.{}", &colon[..19], &colon[20..]),
        _ => colon,
    })
}
