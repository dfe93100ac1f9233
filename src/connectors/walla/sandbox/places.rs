//! Workspaces, projects and forms: what the keys see.

use axum::Json;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FORM, PROJECT, WORKSPACE, not_found};

fn workspace() -> Value {
    json!({
        "workspaceName": "마케팅팀 워크스페이스", "workspaceKey": WORKSPACE, "createdAt": "2025-07-03T10:00:00Z",
        "creator": "user-uid-abcde", "storage": { "used": 102_400 },
    })
}

fn project() -> Value {
    json!({ "projectName": "신청", "projectKey": PROJECT, "createdAt": "2025-07-03T10:00:00Z" })
}

fn form() -> Value {
    json!({ "id": FORM, "title": "신청", "workspaceId": WORKSPACE })
}

// === The response API ===

pub(super) async fn workspaces() -> Json<Value> {
    Json(json!([workspace()]))
}

pub(super) async fn one_workspace() -> Json<Value> {
    Json(workspace())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProjectQuery {
    project_key: String,
}

pub(super) async fn workspace_of(Query(query): Query<ProjectQuery>) -> Response {
    if query.project_key == PROJECT { Json(json!({ "workspaceKey": WORKSPACE })).into_response() } else { not_found() }
}

pub(super) async fn projects() -> Json<Value> {
    Json(json!([project()]))
}

pub(super) async fn one_project() -> Json<Value> {
    Json(project())
}

// === The Open API ===

pub(super) async fn open_workspaces() -> Json<Value> {
    Json(json!({ "success": true, "data": [{ "id": WORKSPACE, "name": "마케팅팀 워크스페이스" }] }))
}

pub(super) async fn forms() -> Json<Value> {
    Json(json!({ "success": true, "data": [form()] }))
}

pub(super) async fn one_form() -> Json<Value> {
    Json(json!({ "success": true, "data": form() }))
}
