//! One request, from its head to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use governor::clock::{Clock as _, DefaultClock};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::answer::{Problem, accepted, chosen};
use super::{Intake, Peer, Source};
use crate::connectors::{HookRequest, Reading, reading};
use crate::event::{Event, Malformed, NewEvent};
use crate::store::journal::{Record, Refused};

/// The longest name of a source that is written down.
const MAX_NAME: usize = 63;
/// When to come back after a passing trouble of ours.
const SOON: Duration = Duration::from_secs(5);

/// The parts of the path: the source's name and, where there is one, the secret.
#[derive(serde::Deserialize)]
pub(super) struct Target {
    source: String,
    secret: Option<String>,
}

/// What became of a request that was not refused.
enum Taken {
    /// Its events are durable.
    Events(Vec<Arc<Event>>, Response),
    /// It was no event; why.
    Answer(&'static str, Response),
}

/// A refusal, with how much of the body had been read.
struct Refusing {
    problem: Problem,
    bytes: usize,
}

impl From<Problem> for Refusing {
    fn from(problem: Problem) -> Self {
        Self { problem, bytes: 0 }
    }
}

/// Handles `/hooks/{source}` and `/hooks/{source}/{secret}`.
pub(super) async fn receive(
    State(intake): State<Arc<Intake>>,
    target: Result<Path<Target>, PathRejection>,
    request: Request,
) -> Response {
    let Ok(Path(target)) = target else {
        return Problem::new(StatusCode::NOT_FOUND, "the path is not UTF-8").into_response();
    };
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default();
    match intake.take(&target, request).await {
        Ok(Taken::Events(events, response)) => {
            let first = events.first().map_or("", |event| event.id.as_str());
            intake.metrics.received(&target.source, events.len() as u64);
            tracing::info!(source = target.source, event.id = first, events = events.len(), "received");
            response
        }
        Ok(Taken::Answer(why, response)) => {
            intake.refused(&target.source, response.status(), why, peer, 0);
            response
        }
        Err(Refusing { problem, bytes }) => {
            intake.refused(&target.source, problem.status, &problem.detail, peer, bytes);
            problem.into_response()
        }
    }
}

impl Intake {
    async fn take(&self, target: &Target, request: Request) -> Result<Taken, Refusing> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(ours("this server is about to stop").into());
        }
        if self.full.load(Ordering::Relaxed) {
            return Err(ours("this server's disk is nearly full").into());
        }
        let source = self.sources.read().await.get(&target.source).map(Arc::clone).ok_or_else(unknown)?;
        let _permit = self.under_way.try_acquire().map_err(|_| ours("too many requests are under way"))?;
        let (head, body) = request.into_parts();
        check_head(&source, &head.method, &head.headers, self.limits.body)?;
        let body = self.read(body).await?;
        // Another config may have come meanwhile. From here to the end of publishing there is one.
        let sources = self.sources.read().await;
        let source = sources.get(&target.source).ok_or_else(unknown)?;
        check_head(source, &head.method, &head.headers, self.limits.body)?;
        let hook_request = HookRequest {
            method: &head.method,
            headers: &head.headers,
            query: head.uri.query().unwrap_or_default(),
            path_secret: target.secret.as_deref(),
            body: &body,
        };
        self.accept(&target.source, source, &hook_request)
            .await
            .map_err(|problem| Refusing { problem, bytes: body.len() })
    }

    /// Reads the body, and not a byte further than the limit needs.
    async fn read(&self, body: Body) -> Result<Bytes, Refusing> {
        let limit = self.limits.body;
        match tokio::time::timeout(self.limits.body_time, Limited::new(body, limit).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(e)) if e.is::<LengthLimitError>() => Err(Refusing { problem: too_long(limit), bytes: limit }),
            Ok(Err(_)) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "the body ended too early or is not well-formed").into())
            }
            Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long").into()),
        }
    }

    /// Verifies, reads, stamps and publishes.
    async fn accept(&self, name: &str, source: &Source, request: &HookRequest<'_>) -> Result<Taken, Problem> {
        source.hook.verify(request, self.clock.now())?;
        let news = match source.hook.read(request)? {
            Reading::Answer(answer, why) => return Ok(Taken::Answer(why, chosen(answer))),
            Reading::Events(news) => news,
        };
        // After the verification and for events alone, so that a stranger cannot use up the sender's share: some probes
        // come without a proof of who sent them.
        source.charge()?;
        let headers = reading::carried(request.headers, &source.secret_headers, request.path_secret);
        let stamp = |event: NewEvent| {
            let event = NewEvent { headers: headers.clone(), ..event }.stamp(name, &self.clock)?;
            Ok::<_, Malformed>(Arc::new(Event { unfetched: source.fetches, ..event }))
        };
        let events = news
            .into_iter()
            .map(stamp)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.to_string()))?;
        self.publish(&events).await?;
        let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
        let response = source.hook.accepted().map_or_else(|| accepted(&ids), chosen);
        Ok(Taken::Events(events, response))
    }

    /// Makes all of them durable, or says that it is our trouble.
    async fn publish(&self, events: &[Arc<Event>]) -> Result<(), Problem> {
        if events.is_empty() {
            return Ok(());
        }
        match tokio::time::timeout(self.limits.publish, self.broker.publish(events.to_vec())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => {
                tracing::error!(error = %e, "the broker refused events");
                Err(ours("the event could not be made durable"))
            }
            Err(_) => {
                tracing::error!("the broker took too long");
                Err(ours("the event could not be made durable in time"))
            }
        }
    }

    /// Writes down a request that became no event.
    fn refused(&self, source: &str, status: StatusCode, why: &str, peer: String, bytes: usize) {
        if self.refused.check().is_err() {
            return;
        }
        let source: String = source.chars().take(MAX_NAME).collect();
        tracing::info!(source, status = status.as_u16(), why, peer, "no event");
        self.journal.record(Record::Refused(Refused {
            at: self.clock.now(),
            source,
            status: status.as_u16(),
            why: why.to_owned(),
            peer,
            bytes: bytes as u64,
            body: None,
        }));
    }
}

impl Source {
    fn charge(&self) -> Result<(), Problem> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests for this source").after(wait)
        })
    }
}

/// Refuses what the head alone gives away, before the body is read.
fn check_head(source: &Source, method: &Method, headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    if !source.hook.methods().contains(method) {
        let allow: Vec<&str> = source.hook.methods().iter().map(Method::as_str).collect();
        let allow = Some(allow.join(", "));
        let detail = "this source does not take this method";
        return Err(Problem { allow, ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail) });
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        let detail = "a content encoding is not supported: send the body as it is";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(too_long(limit));
    }
    Ok(())
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such source")
}

fn too_long(limit: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes"))
}

/// Our own trouble: never a 4xx.
fn ours(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).after(SOON)
}
