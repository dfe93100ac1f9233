//! Calendars and their events.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::super::envelope;
use super::super::times;
use super::{
    No, Reply, Shared, Tenant, Yes, are_users, bad, find, is_body, lock, none, object, page, parameter, parameters,
    seoul,
};

const FIELDS: [&str; 9] = [
    "users",
    "subject",
    "body",
    "startedAt",
    "endedAt",
    "wholeDayFlag",
    "location",
    "recurrenceRule",
    "personalSettings",
];

type Pairs = Query<Vec<(String, String)>>;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/calendars", get(list))
        .route("/calendars/{id}", get(one))
        .route("/calendars/{id}/events", get(events).post(create))
        .route("/calendars/{id}/events/{event}", get(event).put(update))
        .route("/calendars/{id}/events/{event}/delete", post(remove))
}

/// What an event has that is not given.
pub(super) fn fresh(calendar: &str, tenant: &Tenant) -> Value {
    let known = tenant.calendars.iter().find(|known| known["id"] == calendar);
    json!({
        "calendar": { "id": calendar, "name": known.map_or(&Value::Null, |known| &known["name"]) },
        "recurrenceId": null, "startedAt": null, "endedAt": null, "dueDate": null, "location": null, "subject": "",
        "category": "general", "wholeDayFlag": false, "tenant": { "id": "1" }, "recurrenceType": "none",
        "users": { "from": { "type": "member", "member": { "organizationMemberId": "101", "name": "김하나", "emailAddress": "hana@acme.kr" } }, "to": [], "cc": [] },
        "body": { "mimeType": "text/html", "content": "" }, "files": [],
        "me": { "type": "member", "member": { "organizationMemberId": "101" }, "status": "accepted", "userType": "from" },
    })
}

async fn list(State(shared): State<Shared>, Query(query): Pairs) -> Reply {
    let tenant = lock(&shared);
    parameters(&query, &["page", "size"])?;
    page(&tenant.calendars, &query, &tenant)
}

async fn one(State(shared): State<Shared>, Path(id): Path<String>) -> Reply {
    let tenant = lock(&shared);
    let mut found = tenant.calendars.iter().find(|known| known["id"] == id.as_str()).cloned().ok_or_else(none)?;
    // The page's flags are text in the list and booleans here.
    for flag in ["default", "listed", "checked"] {
        found["me"][flag] = json!(envelope::flag(&found["me"][flag]));
    }
    Ok(Yes(found, None))
}

async fn events(State(shared): State<Shared>, uri: Uri, Query(query): Pairs) -> Reply {
    let tenant = lock(&shared);
    if !uri.path().ends_with("/calendars/*/events") {
        return Err(bad("only * is taken there"));
    }
    parameters(&query, &["timeMin", "timeMax", "calendars", "postType", "category"])?;
    let [from, to] = ["timeMin", "timeMax"].map(|name| instant(parameter(&query, name), &tenant));
    let (from, to) = (from?, to?);
    let span = to.duration_since(from);
    if span.is_negative() || span > SignedDuration::from_hours(tenant.switches.max_days * 24) {
        return Err(bad("USER_INVALID_EXCEED_MAXIMUM_PERIOD"));
    }
    let post_type = parameter(&query, "postType");
    if post_type.is_some_and(|word| !["toMe", "toCcMe", "fromToCcMe"].contains(&word)) {
        return Err(bad("postType is toMe, toCcMe or fromToCcMe"));
    }
    if parameter(&query, "category").is_some_and(|word| !["general", "post", "milestone"].contains(&word)) {
        return Err(bad("category is general, post or milestone"));
    }
    let mine = |event: &Value| match (post_type, event["me"]["userType"].as_str()) {
        (None | Some("fromToCcMe"), _) | (Some(_), None) => true,
        (Some("toCcMe"), Some(me)) => matches!(me, "to" | "cc"),
        (Some(_), Some(me)) => me == "to",
    };
    let calendars: Vec<&str> = parameter(&query, "calendars").map(|ids| ids.split(',').collect()).unwrap_or_default();
    let visible = |event: &Value| tenant.calendars.iter().any(|known| known["id"] == event["calendar"]["id"]);
    let asked = |event: &Value| {
        calendars.is_empty() || event["calendar"]["id"].as_str().is_some_and(|id| calendars.contains(&id))
    };
    let fits = |event: &Value| parameter(&query, "category").is_none_or(|category| event["category"] == category);
    let within = |event: &Value| {
        let (start, end) = span_of(event);
        let touches = if tenant.switches.overlapping { end > from || start >= from } else { start >= from };
        touches && start < to
    };
    let shown = tenant.events.iter().filter(|event| visible(event) && asked(event) && mine(event));
    let shown = shown.filter(|event| fits(event) && within(event));
    Ok(Yes(shown.map(|event| listed(event, &tenant)).collect(), None))
}

fn instant(text: Option<&str>, tenant: &Tenant) -> Result<Timestamp, No> {
    let text = text.ok_or_else(|| bad("timeMin and timeMax are needed"))?;
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let text = match (inner, tenant.switches.quoted) {
        (Some(inner), true) => inner,
        (None, false) => text,
        _ => return Err(bad("the quotes are not as they should be")),
    };
    text.parse().map_err(|_| bad("no ISO8601 time with a zone"))
}

fn span_of(event: &Value) -> (Timestamp, Timestamp) {
    let at = |key: &str| times::instant(&event[key], &seoul());
    let start = at("startedAt").or_else(|| at("dueDate")).unwrap_or(Timestamp::UNIX_EPOCH);
    (start, at("endedAt").unwrap_or(start))
}

/// In a list without body, users and files.
fn listed(event: &Value, tenant: &Tenant) -> Value {
    let mut event = spelled(event, tenant);
    if let Some(event) = event.as_object_mut() {
        event.retain(|key, _| !matches!(key.as_str(), "body" | "files" | "recurrenceRule"));
        event.insert("users".to_owned(), json!({}));
    }
    event
}

fn spelled(event: &Value, tenant: &Tenant) -> Value {
    let mut event = event.clone();
    if tenant.switches.flags_as_text
        && let Some(flag) = event["wholeDayFlag"].as_bool()
    {
        event["wholeDayFlag"] = Value::from(flag.to_string());
    }
    event
}

fn readable<'a>(tenant: &'a mut Tenant, calendar: &str, id: &str) -> Result<&'a mut Value, No> {
    if !tenant.calendars.iter().any(|known| known["id"] == calendar) {
        return Err(none());
    }
    let event = find(&mut tenant.events, id).filter(|event| event["calendar"]["id"] == calendar);
    event.filter(|event| event["category"] == "general").ok_or_else(none)
}

fn writable(tenant: &Tenant, calendar: &str) -> Result<(), No> {
    let found = tenant.calendars.iter().find(|known| known["id"] == calendar).ok_or_else(none)?;
    if found["me"]["role"] == "owner" { Ok(()) } else { Err(No(StatusCode::FORBIDDEN, "권한이 없습니다.")) }
}

async fn event(State(shared): State<Shared>, Path((calendar, id)): Path<(String, String)>) -> Reply {
    let mut tenant = lock(&shared);
    let event = readable(&mut tenant, &calendar, &id)?.clone();
    Ok(Yes(spelled(&event, &tenant), None))
}

async fn create(State(shared): State<Shared>, Path(calendar): Path<String>, body: Bytes) -> Reply {
    let mut tenant = lock(&shared);
    writable(&tenant, &calendar)?;
    let given = object(&body, &FIELDS)?;
    check(&given)?;
    if ["subject", "startedAt", "endedAt"].iter().any(|key| given.get(*key).is_none_or(Value::is_null)) {
        return Err(bad("subject, startedAt and endedAt are needed"));
    }
    let (id, now) = (tenant.id(), tenant.now());
    let mut event = fresh(&calendar, &tenant);
    put(&mut event, given);
    event["id"] = Value::from(id.clone());
    event["masterScheduleId"] = Value::from(id.clone());
    event["uid"] = Value::from(format!("{id}@dooray.com"));
    event["createdAt"] = Value::from(now.clone());
    event["updatedAt"] = Value::from(now);
    tenant.events.push(event);
    Ok(Yes(json!({ "id": id }), None))
}

/// Only what is not empty is changed.
async fn update(State(shared): State<Shared>, Path((calendar, id)): Path<(String, String)>, body: Bytes) -> Reply {
    let mut tenant = lock(&shared);
    writable(&tenant, &calendar)?;
    let mut given = object(&body, &FIELDS)?;
    given.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    check(&given)?;
    let now = tenant.now();
    let event = readable(&mut tenant, &calendar, &id)?;
    put(event, given);
    event["updatedAt"] = Value::from(now);
    Ok(Yes(Value::Null, None))
}

async fn remove(State(shared): State<Shared>, Path((calendar, id)): Path<(String, String)>, body: Bytes) -> Reply {
    let mut tenant = lock(&shared);
    writable(&tenant, &calendar)?;
    let kind = if body.is_empty() { Value::Null } else { object(&body, &["deleteType"])?["deleteType"].clone() };
    if !matches!(kind.as_str(), None | Some("this" | "whole" | "wholeFromThis")) {
        return Err(bad("deleteType"));
    }
    readable(&mut tenant, &calendar, &id)?;
    tenant.events.retain(|event| event["id"] != id.as_str());
    Ok(Yes(Value::Null, None))
}

fn put(event: &mut Value, mut given: Map<String, Value>) {
    if let Some(Value::Object(users)) = given.remove("users") {
        for (key, list) in users {
            event["users"][key] = list;
        }
    }
    for (key, value) in given {
        event[key] = value;
    }
}

fn check(given: &Map<String, Value>) -> Result<(), No> {
    let get = |key: &str| given.get(key).filter(|value| !value.is_null());
    let whole = get("wholeDayFlag").is_some_and(|flag| flag == true);
    let is_time = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        if whole { text.len() == 16 && times::day(text, &seoul()).is_some() } else { text.parse::<Timestamp>().is_ok() }
    };
    if ["startedAt", "endedAt"].iter().any(|key| get(key).is_some_and(|value| !is_time(value))) {
        return Err(bad("startedAt and endedAt are times, or days with a zone for whole days"));
    }
    if get("startedAt").is_some() != get("endedAt").is_some() {
        return Err(bad("startedAt and endedAt go together"));
    }
    let (start, end) = (get("startedAt"), get("endedAt"));
    let at = |value: Option<&Value>| value.and_then(|value| times::instant(value, &seoul()));
    if at(end) < at(start) {
        return Err(bad("endedAt is before startedAt"));
    }
    if get("users").is_some_and(|users| !are_users(users)) || get("body").is_some_and(|body| !is_body(body)) {
        return Err(bad("users or body"));
    }
    if ["subject", "location"].iter().any(|key| get(key).is_some_and(|value| !value.is_string())) {
        return Err(bad("subject and location are text"));
    }
    if get("wholeDayFlag").is_some_and(|flag| !flag.is_boolean()) {
        return Err(bad("wholeDayFlag is a boolean"));
    }
    if get("personalSettings").is_some_and(|settings| !settings.is_object()) {
        return Err(bad("personalSettings is an object"));
    }
    if get("recurrenceRule").is_some_and(|rule| !is_rule(rule)) { Err(bad("recurrenceRule")) } else { Ok(()) }
}

/// True for a rule as the page shows it.
fn is_rule(rule: &Value) -> bool {
    const KEYS: [&str; 7] = ["frequency", "interval", "until", "byday", "bymonth", "bymonthday", "timezoneName"];
    let frequency = rule["frequency"].as_str().unwrap_or_default();
    let interval = rule.get("interval").is_none_or(|n| n.as_u64().is_some_and(|n| n > 0));
    let known = rule.as_object().is_some_and(|rule| rule.keys().all(|key| KEYS.contains(&key.as_str())));
    known && interval && ["daily", "weekly", "monthly", "yearly"].contains(&frequency)
}
