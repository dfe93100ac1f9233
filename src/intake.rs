//! The hooks endpoint: limits, verification, identification, publish, answer.
//!
//! [`Intake`] holds the hooks, [`router`] is their HTTP surface, [`serve`] keeps slow and silent clients from holding
//! the listener. A request is answered 2xx only after its events are durable (promise P1).

mod answer;
mod limits;
mod receive;
mod serve;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{HeaderName, StatusCode};
use tokio::sync::{RwLock, RwLockWriteGuard, Semaphore};
use tower_http::catch_panic::CatchPanicLayer;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::connectors::Hook;
use crate::metrics::Metrics;
use crate::store::journal::Journal;

pub use answer::Problem;
pub use limits::Limits;
pub use serve::{Peer, serve};

/// How many refused requests a second are written down, after a burst of ten times as many: nobody may fill the journal
/// and the log by knocking.
const REFUSED_A_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
/// The burst of the same.
const REFUSED_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).expect("a hundred is not zero");

/// Receives webhooks.
pub struct Intake {
    /// Read by whoever publishes a request's events.
    sources: RwLock<HashMap<String, Arc<Source>>>,
    broker: Arc<dyn Broker>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    metrics: Arc<Metrics>,
    limits: Limits,
    under_way: Semaphore,
    refused: DefaultDirectRateLimiter,
    stopping: AtomicBool,
    full: AtomicBool,
}

/// A source that receives webhooks.
struct Source {
    hook: Box<dyn Hook>,
    /// True: its events go into its inbox first.
    fetches: bool,
    secret_headers: Vec<HeaderName>,
    rate: Option<DefaultDirectRateLimiter>,
}

impl Source {
    fn new(hook: Box<dyn Hook>, limits: &Limits) -> Self {
        Self {
            fetches: hook.fetch().is_some(),
            secret_headers: hook.secret_headers(),
            hook,
            rate: limits.rate.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
        }
    }
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// An intake that takes nothing as long as this lives: requests wait.
pub struct Held<'a> {
    sources: RwLockWriteGuard<'a, HashMap<String, Arc<Source>>>,
    limits: &'a Limits,
}

impl Held<'_> {
    /// Goes on with those of its sources that are kept, and with others.
    pub fn replace(mut self, keep: impl Fn(&str) -> bool, new: Vec<(String, Box<dyn Hook>)>) {
        self.sources.retain(|name, _| keep(name));
        let limits = self.limits;
        self.sources.extend(new.into_iter().map(|(name, hook)| (name, Arc::new(Source::new(hook, limits)))));
    }
}

impl Intake {
    /// Makes an intake of hooks, each with the name of its source.
    ///
    /// A source with `enabled: false` is not to be among them, and is answered 404 as one that was never there: a 503
    /// would make its sender try for hours and count failures against the hook, for events that nobody wants.
    #[must_use]
    pub fn new(
        hooks: Vec<(String, Box<dyn Hook>)>,
        broker: Arc<dyn Broker>,
        journal: Arc<dyn Journal>,
        clock: Clock,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let source = |(name, hook)| (name, Arc::new(Source::new(hook, &limits)));
        Self {
            sources: RwLock::new(hooks.into_iter().map(source).collect()),
            broker,
            journal,
            clock,
            under_way: Semaphore::new(limits.requests),
            refused: RateLimiter::direct(Quota::per_second(REFUSED_A_SECOND).allow_burst(REFUSED_AT_ONCE)),
            stopping: AtomicBool::new(false),
            full: AtomicBool::new(false),
            limits,
            metrics,
        }
    }

    /// Waits until what is being published is, and lets requests wait from then on.
    pub async fn hold(&self) -> Held<'_> {
        Held { sources: self.sources.write().await, limits: &self.limits }
    }

    /// Answers 503 with `Retry-After` while the disk is nearly full.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// From now on answers 503 with `Retry-After`: called before the broker is closed.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// The public paths: `/hooks/{source}`, `/hooks/{source}/{secret}` and `/healthz`.
pub fn router(intake: Arc<Intake>) -> Router {
    Router::new()
        .route("/hooks/{source}", any(receive::receive))
        .route("/hooks/{source}/{secret}", any(receive::receive))
        .with_state(intake)
        .route("/healthz", get(async || "ok\n"))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        // `Limits::body` is checked where the body is read.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(|_| -> Response {
            // The panic hook has logged what happened; what it says may hold data of the request.
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this is our fault and was logged; send it again")
                .into_response()
        }))
}
