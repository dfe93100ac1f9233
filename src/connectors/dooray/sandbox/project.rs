//! One project: its tasks, their comments, its hooks.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::registrar::EVENTS;
use super::super::times;
use super::{
    No, PROJECT, Reply, Shared, Tenant, Yes, are_users, bad, find, is_body, lock, none, object, page, parameter,
    parameters, seoul,
};

/// The workflows: id, name, class.
const WORKFLOWS: [(&str, &str, &str); 4] =
    [("1", "대기", "backlog"), ("2", "할 일", "registered"), ("3", "진행", "working"), ("4", "완료", "closed")];

const FIELDS: [&str; 10] = [
    "parentPostId",
    "users",
    "subject",
    "body",
    "version",
    "dueDate",
    "dueDateFlag",
    "milestoneId",
    "tagIds",
    "priority",
];

type Pairs = Query<Vec<(String, String)>>;

pub(super) fn router() -> Router<Shared> {
    let task = Router::new()
        .route("/", get(one).put(update))
        .route("/set-workflow", post(set_workflow))
        .route("/set-done", post(set_done))
        .route("/move", post(put_elsewhere))
        .route("/logs", get(comments).post(comment));
    let project = Router::new()
        .route("/", get(project))
        .route("/workflows", get(workflows))
        .route("/hooks", post(hook))
        .route("/posts", get(list).post(create))
        .nest("/posts/{post}", task);
    Router::new().nest("/projects/{project}", project).route("/posts/{post}", get(by_id))
}

/// What a task has that is not given.
pub(super) fn fresh(tenant: &Tenant) -> Value {
    let number = tenant.tasks.len() + 1;
    json!({
        "project": { "id": PROJECT, "code": "dev" }, "taskNumber": format!("dev/{number}"), "number": number, "subject": "",
        "closed": false, "dueDate": null, "dueDateFlag": true, "priority": "none", "parent": null,
        "workflowClass": "registered", "workflow": { "id": "2", "name": "할 일" }, "milestone": null, "tags": [], "version": 1,
        "users": { "from": { "type": "member", "member": { "organizationmemberid": "101" } }, "to": [], "cc": [] },
        "body": { "mimeType": "text/x-markdown", "content": "" }, "files": [],
    })
}

/// What a comment has that is not given.
pub(super) fn fresh_comment(post: &str, now: &Value) -> Value {
    json!({
        "post": { "id": post }, "type": "comment", "subtype": "general", "createdAt": now, "modifiedAt": now,
        "creator": { "type": "member", "member": { "organizationMemberId": 101 } },
        "body": { "mimeType": "text/x-markdown", "content": "" },
    })
}

fn known(project: &str) -> Result<(), No> {
    if project == PROJECT { Ok(()) } else { Err(none()) }
}

async fn project(Path(project): Path<String>) -> Reply {
    known(&project)?;
    Ok(Yes(json!({ "id": PROJECT, "code": "dev", "description": "", "scope": "private" }), None))
}

async fn workflows(State(shared): State<Shared>, Path(project): Path<String>) -> Reply {
    known(&project)?;
    let list = WORKFLOWS.iter().map(|(id, name, class)| json!({ "id": id, "name": name, "class": class }));
    Ok(Yes(list.collect(), Some(lock(&shared).total(WORKFLOWS.len()))))
}

async fn hook(State(shared): State<Shared>, Path(project): Path<String>, body: Bytes) -> Reply {
    known(&project)?;
    let mut given = object(&body, &["url", "type", "sendEvents", "option"])?;
    let events = given.get("sendEvents").and_then(Value::as_array).cloned().unwrap_or_default();
    let fits = |event: &Value| event.as_str().is_some_and(|event| EVENTS.contains(&event));
    let url = given.get("url").and_then(Value::as_str).unwrap_or_default();
    if !url.starts_with("https://") || events.is_empty() || !events.iter().all(fits) {
        return Err(bad("url, sendEvents"));
    }
    if !matches!(given.get("type").and_then(Value::as_str), Some("task" | "project")) {
        return Err(bad("type is task or project"));
    }
    let mut tenant = lock(&shared);
    let id = tenant.id();
    given.insert("id".to_owned(), Value::from(id.clone()));
    tenant.hooks.push(Value::Object(given));
    Ok(Yes(json!({ "id": id }), None))
}

async fn list(State(shared): State<Shared>, Path(project): Path<String>, Query(query): Pairs) -> Reply {
    known(&project)?;
    let names = ["page", "size", "subjects", "postNumber", "postWorkflowClasses", "createdAt", "updatedAt", "order"];
    parameters(&query, &names)?;
    let classes = parameter(&query, "postWorkflowClasses").into_iter().flat_map(|classes| classes.split(','));
    for class in classes {
        if !WORKFLOWS.iter().any(|(_, _, known)| *known == class) {
            return Err(bad("postWorkflowClasses"));
        }
    }
    let tenant = lock(&shared);
    let [created, updated] = ["createdAt", "updatedAt"].map(|name| range(parameter(&query, name)));
    let (created, updated) = (created?, updated?);
    let within = |task: &Value, key: &str, range: Option<(Timestamp, Timestamp)>| {
        let at = times::instant(&task[key], &seoul());
        range.is_none_or(|(from, to)| at.is_some_and(|at| from <= at && at <= to))
    };
    let has = |task: &Value, name: &str, key: &str| {
        parameter(&query, name).is_none_or(|wanted| match &task[key] {
            Value::String(text) if key == "subject" => text.contains(wanted),
            Value::String(text) => wanted.split(',').any(|class| class == text),
            Value::Number(number) => number.as_str() == wanted,
            _ => false,
        })
    };
    let mut found: Vec<Value> = tenant
        .tasks
        .iter()
        .filter(|task| within(task, "createdAt", created) && within(task, "updatedAt", updated))
        .filter(|task| has(task, "subjects", "subject") && has(task, "postNumber", "number"))
        .filter(|task| has(task, "postWorkflowClasses", "workflowClass"))
        .cloned()
        .collect();
    sort(&mut found, parameter(&query, "order"), tenant.switches.ordered)?;
    for task in found.iter_mut().filter_map(Value::as_object_mut) {
        task.retain(|key, _| !matches!(key.as_str(), "body" | "files" | "version"));
    }
    page(&found, &query, &tenant)
}

fn sort(tasks: &mut [Value], order: Option<&str>, ordered: bool) -> Result<(), No> {
    let Some(order) = order else { return Ok(()) };
    let key = match order.trim_start_matches('-') {
        "postDueAt" => "dueDate",
        "postUpdatedAt" => "updatedAt",
        "createdAt" => "createdAt",
        _ => return Err(bad("order")),
    };
    if ordered {
        tasks.sort_by_key(|task| times::instant(&task[key], &seoul()));
    }
    if order.starts_with('-') || !ordered {
        tasks.reverse();
    }
    Ok(())
}

/// `from~to`; the words for days are not taken here.
fn range(text: Option<&str>) -> Result<Option<(Timestamp, Timestamp)>, No> {
    let Some(text) = text else { return Ok(None) };
    let ends = text.split_once('~').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    ends.map(Some).ok_or_else(|| bad("a range is from~to, each ISO8601 with a zone"))
}

async fn one(State(shared): State<Shared>, Path((project, post)): Path<(String, String)>) -> Reply {
    known(&project)?;
    Ok(Yes(find(&mut lock(&shared).tasks, &post).cloned().ok_or_else(none)?, None))
}

async fn by_id(State(shared): State<Shared>, Path(post): Path<String>) -> Reply {
    Ok(Yes(find(&mut lock(&shared).tasks, &post).cloned().ok_or_else(none)?, None))
}

async fn create(State(shared): State<Shared>, Path(project): Path<String>, body: Bytes) -> Reply {
    known(&project)?;
    let given = object(&body, &FIELDS)?;
    check(&given)?;
    let mut tenant = lock(&shared);
    let (id, now) = (tenant.id(), tenant.now());
    let mut task = fresh(&tenant);
    put(&mut task, given);
    task["id"] = Value::from(id.clone());
    task["createdAt"] = Value::from(now.clone());
    task["updatedAt"] = Value::from(now);
    tenant.tasks.push(task);
    Ok(Yes(json!({ "id": id }), None))
}

async fn update(State(shared): State<Shared>, Path((project, post)): Path<(String, String)>, body: Bytes) -> Reply {
    known(&project)?;
    let given = object(&body, &FIELDS)?;
    check(&given)?;
    let mut tenant = lock(&shared);
    let (merges, now, empty) = (tenant.switches.put_merges, tenant.now(), fresh(&tenant));
    let task = find(&mut tenant.tasks, &post).ok_or_else(none)?;
    let version = task["version"].as_u64().unwrap_or(1);
    if given.get("version").and_then(Value::as_u64).is_some_and(|wanted| wanted != version) {
        return Err(No(StatusCode::CONFLICT, "version"));
    }
    if !merges {
        for key in ["body", "dueDate", "milestone", "tags", "priority"] {
            task[key] = empty[key].clone();
        }
        for key in ["to", "cc"] {
            task["users"][key] = json!([]);
        }
    }
    put(task, given);
    task["version"] = Value::from(version + 1);
    task["updatedAt"] = Value::from(now);
    Ok(Yes(Value::Null, None))
}

fn put(task: &mut Value, given: Map<String, Value>) {
    for (key, value) in given {
        match (key.as_str(), value) {
            ("version" | "dueDateFlag", _) => {}
            ("users", users) => {
                for key in ["to", "cc"] {
                    task["users"][key] = users[key].as_array().cloned().unwrap_or_default().into();
                }
            }
            ("milestoneId", Value::Null) => task["milestone"] = Value::Null,
            ("milestoneId", id) => task["milestone"] = json!({ "id": id, "name": "단계" }),
            ("parentPostId", id) => task["parent"] = json!({ "id": id }),
            ("tagIds", ids) => {
                let ids = ids.as_array().into_iter().flatten();
                task["tags"] = ids.map(|id| json!({ "id": id })).collect();
            }
            (key, value) => task[key] = value,
        }
    }
}

fn check(given: &Map<String, Value>) -> Result<(), No> {
    let get = |key: &str| given.get(key).filter(|value| !value.is_null());
    if get("subject").and_then(Value::as_str).is_none_or(|subject| subject.trim().is_empty()) {
        return Err(bad("subject is needed"));
    }
    if get("users").is_some_and(|users| !are_users(users)) || get("body").is_some_and(|body| !is_body(body)) {
        return Err(bad("users or body"));
    }
    let is_time = |value: &Value| value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok());
    if get("dueDate").is_some_and(|due| !is_time(due)) {
        return Err(bad("dueDate"));
    }
    let priorities = ["highest", "high", "normal", "low", "lowest", "none"];
    if get("priority").is_some_and(|value| value.as_str().is_none_or(|word| !priorities.contains(&word))) {
        return Err(bad("priority"));
    }
    let is_id =
        |value: &Value| value.as_str().is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
    if ["parentPostId", "milestoneId"].iter().any(|key| get(key).is_some_and(|id| !is_id(id))) {
        return Err(bad("ids are text of digits"));
    }
    if get("tagIds").is_some_and(|ids| ids.as_array().is_none_or(|ids| !ids.iter().all(is_id))) {
        return Err(bad("tagIds is a list of ids"));
    }
    if get("dueDateFlag").is_some_and(|flag| !flag.is_boolean()) || get("version").is_some_and(|n| !n.is_u64()) {
        return Err(bad("dueDateFlag or version"));
    }
    Ok(())
}

async fn set_workflow(
    State(shared): State<Shared>,
    Path((project, post)): Path<(String, String)>,
    body: Bytes,
) -> Reply {
    known(&project)?;
    let given = object(&body, &["workflowId"])?;
    let wanted = given.get("workflowId").and_then(Value::as_str).unwrap_or_default();
    set(&shared, &post, wanted)
}

async fn set_done(State(shared): State<Shared>, Path((project, post)): Path<(String, String)>) -> Reply {
    known(&project)?;
    set(&shared, &post, "4")
}

fn set(shared: &Shared, post: &str, workflow: &str) -> Reply {
    let found = WORKFLOWS.iter().find(|(id, ..)| *id == workflow);
    let (id, name, class) = found.ok_or_else(|| bad("workflowId"))?;
    let mut tenant = lock(shared);
    let now = tenant.now();
    let task = find(&mut tenant.tasks, post).ok_or_else(none)?;
    task["workflow"] = json!({ "id": id, "name": name });
    task["workflowClass"] = Value::from(*class);
    task["closed"] = Value::from(*class == "closed");
    task["updatedAt"] = Value::from(now);
    Ok(Yes(Value::Null, None))
}

async fn put_elsewhere(
    State(shared): State<Shared>,
    Path((project, post)): Path<(String, String)>,
    body: Bytes,
) -> Reply {
    known(&project)?;
    let given = object(&body, &["targetProjectId", "includeSubPosts"])?;
    let target =
        given.get("targetProjectId").and_then(Value::as_str).filter(|id| id.bytes().all(|b| b.is_ascii_digit()));
    let target = target.ok_or_else(|| bad("targetProjectId"))?;
    if given.get("includeSubPosts").is_some_and(|flag| !flag.is_boolean()) {
        return Err(bad("includeSubPosts"));
    }
    let mut tenant = lock(&shared);
    let task = find(&mut tenant.tasks, &post).ok_or_else(none)?;
    task["project"]["id"] = Value::from(target);
    Ok(Yes(json!({ "post": { "id": post }, "project": { "id": target } }), None))
}

async fn comments(
    State(shared): State<Shared>,
    Path((project, post)): Path<(String, String)>,
    Query(query): Pairs,
) -> Reply {
    known(&project)?;
    parameters(&query, &["page", "size", "order"])?;
    if parameter(&query, "order").is_some_and(|order| order.trim_start_matches('-') != "createdAt") {
        return Err(bad("order"));
    }
    let mut tenant = lock(&shared);
    find(&mut tenant.tasks, &post).ok_or_else(none)?;
    let mut found: Vec<_> =
        tenant.comments.iter().filter(|comment| comment["post"]["id"] == post.as_str()).cloned().collect();
    if parameter(&query, "order") == Some("-createdAt") {
        found.reverse();
    }
    page(&found, &query, &tenant)
}

async fn comment(State(shared): State<Shared>, Path((project, post)): Path<(String, String)>, body: Bytes) -> Reply {
    known(&project)?;
    let given = object(&body, &["body", "attachFileIds"])?;
    let body = given.get("body").filter(|body| is_body(body) && body["content"] != "").ok_or_else(|| bad("body"))?;
    let mut tenant = lock(&shared);
    find(&mut tenant.tasks, &post).ok_or_else(none)?;
    let (id, now) = (tenant.id(), Value::from(tenant.now()));
    let mut comment = fresh_comment(&post, &now);
    comment["id"] = Value::from(id.clone());
    comment["body"] = body.clone();
    tenant.comments.push(comment);
    if tenant.switches.comments_touch
        && let Some(task) = find(&mut tenant.tasks, &post)
    {
        task["updatedAt"] = now;
    }
    Ok(Yes(json!({ "id": id }), None))
}
