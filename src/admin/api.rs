//! The operator behind HTTP paths: JSON in, JSON out, problem documents for errors.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::replay::ReplayRequest;
use super::retire::Leftover;
use super::{OPEN_METRICS, Operator, OperatorError};
use crate::event::NewEvent;
use crate::outcome::Scope;
use crate::problem::problem;
use crate::store::DeadFilter;
use crate::store::journal::EventFilter;

/// Every path of the API.
pub fn router(operator: Arc<Operator>) -> Router {
    Router::new()
        .route("/api/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/events", get(events))
        .route("/api/refused", get(refused))
        .route("/api/trace", get(trace))
        .route("/api/send/{source}", post(send))
        .route("/api/dead", get(dead))
        .route("/api/dead/{id}", get(dead_letter))
        .route("/api/dead/{id}/drop", post(drop_dead))
        .route("/api/dead/{id}/mark", post(mark))
        .route("/api/replay", post(replay))
        .route("/api/replay/job", get(replay_job).post(start_replay))
        .route("/api/replay/job/step", post(step_replay))
        .route("/api/replay/job/forget", post(forget_replay))
        .route("/api/accounts", get(accounts))
        .route("/api/accounts/{name}/used", post(used))
        .route("/api/sinks", get(sinks))
        .route("/api/sources", get(sources))
        .route("/api/sources/{name}/poll", post(poll))
        .route("/api/sources/{name}/confirm", post(confirm))
        .route("/api/sources/{name}/hooks", get(subscriptions))
        .route("/api/sources/{name}/hooks/register", post(subscribe))
        .route("/api/sources/{name}/hooks/remove", post(unsubscribe))
        .route("/api/routes", get(routes))
        .route("/api/routes/{name}/retire", post(retire))
        .route("/api/{scope}/{name}/suspend", post(suspend))
        .route("/api/{scope}/{name}/resume", post(resume))
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing here"))
        .with_state(operator)
}

type Op = State<Arc<Operator>>;
type Answer = Result<Response, OperatorError>;

#[expect(clippy::unnecessary_wraps, reason = "the last line of every handler")]
fn json(value: impl Serialize) -> Answer {
    Ok(Json(value).into_response())
}

impl IntoResponse for OperatorError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::Store(_) | Self::Broker(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        problem(status, &self.to_string())
    }
}

async fn ready(State(op): Op) -> Response {
    let readiness = op.readiness().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(op): Op) -> Answer {
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], op.scrape().await?).into_response())
}

async fn events(State(op): Op, Query(filter): Query<EventFilter>) -> Answer {
    json(op.events(filter).await?)
}

/// Which refused requests.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RefusedFilter {
    /// Of this source.
    pub source: Option<String>,
    /// At most so many; 0: 50.
    #[serde(default)]
    pub limit: usize,
}

async fn refused(State(op): Op, Query(filter): Query<RefusedFilter>) -> Answer {
    let limit = if filter.limit == 0 { 50 } else { filter.limit };
    let mut found = op.journal.refused(filter.source.as_deref(), limit).await?;
    for refused in &mut found {
        op.redactor.refused(refused);
    }
    json(found)
}

/// Whose journey.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TraceRequest {
    /// An id or a subject.
    pub what: Option<String>,
    /// The newest event of this source.
    pub last: Option<String>,
}

async fn trace(State(op): Op, Query(request): Query<TraceRequest>) -> Answer {
    match (request.what, request.last) {
        (Some(what), None) => json(op.trace(&what).await?),
        (None, Some(source)) => json(op.trace_last(&source).await?),
        _ => Err(OperatorError::Refused("say either an id or subject, or the source of the newest event".into())),
    }
}

/// An event put in by hand.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendRequest {
    /// A whole event as JSON: `type` and `data` at the least.
    pub event: serde_json::Value,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

async fn send(State(op): Op, Path(source): Path<String>, Json(request): Json<SendRequest>) -> Answer {
    if !op.config.sources.iter().any(|s| s.name == source) {
        let known = op.config.sources.iter().map(|s| s.name.as_str());
        return Err(OperatorError::unknown("source", &source, known));
    }
    let new = NewEvent::from_fixture(&request.event).map_err(OperatorError::Refused)?;
    let event = new.stamp(&source, &op.clock).map_err(|e| OperatorError::Refused(e.to_string()))?;
    if request.dry_run {
        return json(op.preview(&event).await?);
    }
    let id = event.id.clone();
    op.broker.publish(vec![Arc::new(event)]).await?;
    json(serde_json::json!({ "id": id }))
}

async fn dead(State(op): Op, Query(filter): Query<DeadFilter>) -> Answer {
    json(op.dead(filter).await?)
}

async fn dead_letter(State(op): Op, Path(id): Path<i64>) -> Answer {
    json(op.dead_letter(id).await?)
}

async fn drop_dead(State(op): Op, Path(id): Path<i64>) -> Answer {
    json(op.drop_dead(id).await?)
}

/// How a held delivery goes on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// It took effect.
    Delivered {
        /// The record it made.
        id: Option<String>,
    },
    /// It did not: again.
    Again,
}

async fn mark(State(op): Op, Path(id): Path<i64>, Json(mark): Json<Mark>) -> Answer {
    json(match mark {
        Mark::Delivered { id: remote_id } => op.mark_delivered(id, remote_id).await?,
        Mark::Again => op.mark_again(id).await?,
    })
}

async fn replay(State(op): Op, Json(request): Json<ReplayRequest>) -> Answer {
    json(op.replay(request).await?)
}

async fn replay_job(State(op): Op) -> Answer {
    json(op.unfinished_replay().await?)
}

async fn start_replay(State(op): Op, Json(request): Json<ReplayRequest>) -> Answer {
    json(op.start_replay(request).await?)
}

/// How far a replay is to be taken.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pace {
    /// At most so many events.
    pub most: usize,
}

async fn step_replay(State(op): Op, Json(pace): Json<Pace>) -> Answer {
    json(op.step(pace.most).await?)
}

async fn forget_replay(State(op): Op) -> Answer {
    json(op.forget_replay().await?)
}

async fn accounts(State(op): Op) -> Answer {
    json(op.accounts().await?)
}

/// How many calls an account has made.
#[derive(Debug, Serialize, Deserialize)]
pub struct Used {
    /// Calls this month.
    pub used: u64,
}

async fn used(State(op): Op, Path(name): Path<String>, Json(body): Json<Used>) -> Answer {
    json(op.set_used(&name, body.used).await?)
}

async fn sinks(State(op): Op) -> Answer {
    json(op.sinks().await?)
}

async fn sources(State(op): Op) -> Answer {
    json(op.sources().await?)
}

async fn poll(State(op): Op, Path(name): Path<String>) -> Answer {
    json(op.poll(&name)?)
}

async fn confirm(State(op): Op, Path(name): Path<String>) -> Answer {
    json(op.confirm(&name).await?)
}

async fn subscriptions(State(op): Op, Path(name): Path<String>) -> Answer {
    json(op.subscriptions(&name).await?)
}

/// How a webhook is subscribed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Subscribe {
    /// Even if one that sends to this URL is known.
    #[serde(default)]
    pub again: bool,
}

async fn subscribe(State(op): Op, Path(name): Path<String>, Json(body): Json<Subscribe>) -> Answer {
    json(op.subscribe(&name, body.again).await?)
}

/// Which subscription is ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// The vendor's id of it; `None`: those that send to this bridge.
    #[serde(default)]
    pub id: Option<String>,
}

async fn unsubscribe(State(op): Op, Path(name): Path<String>, Json(body): Json<Unsubscribe>) -> Answer {
    json(op.unsubscribe(&name, body.id.as_deref()).await?)
}

async fn routes(State(op): Op) -> Answer {
    json(op.routes().await?)
}

/// How a route is forgotten.
#[derive(Debug, Serialize, Deserialize)]
pub struct Retire {
    /// Drop what waits in its queue.
    #[serde(default)]
    pub drop: bool,
    /// Keep what waits in its queue as dead letters.
    #[serde(default)]
    pub drain: bool,
    /// Give it to this route instead.
    #[serde(default)]
    pub to: Option<String>,
}

async fn retire(State(op): Op, Path(name): Path<String>, Json(body): Json<Retire>) -> Answer {
    let leftover = match (body.drop, body.drain, body.to) {
        (false, true, Some(to)) => Leftover::To(to),
        (false, true, None) => Leftover::Keep,
        (true, false, None) => Leftover::Drop,
        (false, false, None) => Leftover::None,
        _ => {
            let why = "say one of: drop what waits, or drain it, and to which route";
            return Err(OperatorError::Refused(why.into()));
        }
    };
    json(op.retire(&name, leftover).await?)
}

/// Why something is stopped.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Why {
    /// In words.
    pub why: Option<String>,
}

async fn suspend(State(op): Op, Path((scope, name)): Path<(String, String)>, Json(body): Json<Why>) -> Answer {
    json(op.suspend(scope_of(&scope)?, &name, body.why).await?)
}

async fn resume(State(op): Op, Path((scope, name)): Path<(String, String)>) -> Answer {
    json(op.resume(scope_of(&scope)?, &name).await?)
}

fn scope_of(path: &str) -> Result<Scope, OperatorError> {
    match path {
        "accounts" => Ok(Scope::Account),
        "sinks" => Ok(Scope::Sink),
        "routes" => Ok(Scope::Route),
        "sources" => Ok(Scope::Source),
        other => Err(OperatorError::unknown("path", other, ["accounts", "sinks", "routes", "sources"].into_iter())),
    }
}
