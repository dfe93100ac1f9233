//! The operator behind HTTP paths: JSON in, JSON out, problem documents for errors.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::replay::ReplayRequest;
use super::retire::Leftover;
use super::{Desk, OPEN_METRICS, Operator, OperatorError, who};
use crate::event::NewEvent;
use crate::outcome::Scope;
use crate::problem::problem;
use crate::store::DeadFilter;
use crate::store::journal::EventFilter;

/// What the API is, for programs and those who write them.
pub const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// The longest reason that is passed on, in bytes.
const LONGEST_REASON: usize = 64 * 1024;

/// Every path of the API. Each has its description in [`OPENAPI`].
pub fn router(desk: Desk) -> Router {
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
        .route("/api/accounts/{name}/calls", post(calls))
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
        .route("/api/reload", post(reload))
        .route("/api/needs", get(needs))
        .route("/api/actions", get(actions))
        .route("/api/dead/{id}/preview", get(preview))
        .route("/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], OPENAPI)))
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing here"))
        .layer(map_response(in_words))
        .layer(from_fn(who::named))
        .with_state(desk)
}

/// What a request that cannot be read is answered with (a number that is none, JSON that is none) becomes a problem
/// document like all others.
async fn in_words(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if status.is_success() || kind.contains("json") {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let said = to_bytes(body, LONGEST_REASON).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let reason = status.canonical_reason().unwrap_or("it was refused");
    let problem = problem(status, if said.is_empty() { reason } else { &said });
    // As `Allow` of a method that there is not.
    head.headers.remove(header::CONTENT_LENGTH);
    let (whole, body) = problem.into_parts();
    head.headers.extend(whole.headers);
    Response::from_parts(head, body)
}

/// What a request tells as a JSON object. A list is none, though its items might fit the fields in their order.
struct Told<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Told<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let text = Json::<Box<RawValue>>::from_request(request, state).await;
        let Json(text) = text.map_err(IntoResponse::into_response)?;
        let refuse = |why: &str| problem(StatusCode::UNPROCESSABLE_ENTITY, why);
        if !text.get().starts_with('{') {
            return Err(refuse("expected a JSON object"));
        }
        serde_json::from_str(text.get()).map(Self).map_err(|error| refuse(&error.to_string()))
    }
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
    pub event: Value,
    /// Only say what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

async fn send(State(op): Op, Path(source): Path<String>, Told(request): Told<SendRequest>) -> Answer {
    if !op.config.sources.iter().any(|s| s.name == source) {
        let known = op.config.sources.iter().map(|s| s.name.as_str());
        return Err(OperatorError::unknown("source", &source, known));
    }
    let new = NewEvent::from_fixture(&request.event).map_err(OperatorError::Refused)?;
    let event = new.stamp(&source, &op.clock).map_err(|e| OperatorError::Refused(e.to_string()))?;
    if request.dry_run {
        return json(op.preview(&event).await?);
    }
    let (id, key) = (event.id.clone(), event.key());
    op.broker.publish(vec![Arc::new(event)]).await?;
    op.tell_journey(key, "put in by hand");
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

async fn replay(State(op): Op, Told(request): Told<ReplayRequest>) -> Answer {
    json(op.replay(request).await?)
}

async fn replay_job(State(op): Op) -> Answer {
    json(op.unfinished_replay().await?)
}

async fn start_replay(State(op): Op, Told(request): Told<ReplayRequest>) -> Answer {
    json(op.start_replay(request).await?)
}

/// How far a replay is to be taken.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pace {
    /// At most so many events.
    pub most: usize,
}

async fn step_replay(State(op): Op, Told(pace): Told<Pace>) -> Answer {
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

async fn used(State(op): Op, Path(name): Path<String>, Told(body): Told<Used>) -> Answer {
    json(op.set_used(&name, body.used).await?)
}

/// Calls of an account that were made beside the bridge.
#[derive(Debug, Serialize, Deserialize)]
pub struct Calls {
    /// How many.
    pub calls: u32,
}

async fn calls(State(op): Op, Path(name): Path<String>, Told(body): Told<Calls>) -> Answer {
    json(op.add_calls(&name, body.calls).await?)
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

async fn subscribe(State(op): Op, Path(name): Path<String>, Told(body): Told<Subscribe>) -> Answer {
    json(op.subscribe(&name, body.again).await?)
}

/// Which subscription is ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// The vendor's id of it; `None`: those that send to this bridge.
    #[serde(default)]
    pub id: Option<String>,
}

async fn unsubscribe(State(op): Op, Path(name): Path<String>, Told(body): Told<Unsubscribe>) -> Answer {
    json(op.unsubscribe(&name, body.id.as_deref()).await?)
}

async fn reload(State(op): Op) -> Answer {
    json(op.reload().await?)
}

async fn needs(State(op): Op) -> Answer {
    json(op.needs().await?)
}

/// How many actions.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ActionFilter {
    /// At most so many; 0: 50.
    #[serde(default)]
    pub limit: usize,
}

async fn actions(State(op): Op, Query(filter): Query<ActionFilter>) -> Answer {
    json(op.actions(if filter.limit == 0 { 50 } else { filter.limit }).await?)
}

async fn preview(State(op): Op, Path(id): Path<i64>) -> Answer {
    json(op.preview_letter(id).await?)
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

async fn retire(State(op): Op, Path(name): Path<String>, Told(body): Told<Retire>) -> Answer {
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

async fn suspend(State(op): Op, Path((scope, name)): Path<(String, String)>, Told(body): Told<Why>) -> Answer {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{OPENAPI, Value};

    /// `GET /api/sinks`: what the router above has, as it is written.
    fn routed() -> BTreeSet<String> {
        let router = include_str!("api.rs").split("Router::new()").nth(1).expect("a router");
        let router = router.split(".fallback").next().expect("its routes");
        let routes = router.split(".route(\"").skip(1);
        let methods = routes.flat_map(|route| {
            let (path, handlers) = route.split_once('"').expect("a path");
            ["get(", "post("]
                .iter()
                .filter(|method| handlers.contains(**method))
                .map(move |method| format!("{} {path}", method.trim_end_matches('(').to_uppercase()))
        });
        methods.collect()
    }

    #[test]
    fn every_path_is_described_and_there_are_no_others() {
        let described: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let paths = described["paths"].as_object().expect("paths").iter();
        let described = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods");
            methods.keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        });
        assert_eq!(routed(), described.collect());
    }

    #[test]
    fn what_is_described_is_there() {
        let described: Value = serde_json::from_str(OPENAPI).expect("JSON");
        for part in OPENAPI.split("\"$ref\": \"#").skip(1) {
            let pointer = part.split('"').next().expect("it ends");
            assert!(described.pointer(pointer).is_some(), "{pointer}");
        }
        assert_eq!(described["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
