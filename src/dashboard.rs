//! The dashboard: pages for people who look once a week, behind the same listener as the admin API.
//!
//! # Layout
//! `page` is what all pages share: the frame, the language, the visitor. A file for each page reads what the
//! [`Operator`] knows and writes HTML; `deeds` are what can be done, each by a form. [`words`] are the two languages.
//! `live` tells an open page that there is news; it then fetches itself and takes over the parts marked `data-live`.
//!
//! Nothing is built and nothing is fetched from elsewhere: styles and script are in the binary, and the pages work
//! without the script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

use crate::admin::doors::{Doors, Visitor};
use crate::admin::who;
use crate::admin::{Desk, Operator};

mod config;
mod dead;
mod deeds;
mod events;
mod journey;
mod live;
mod login;
mod map;
mod overview;
mod page;
mod show;
mod sinks;
mod sources;
mod spark;
mod week;
pub mod words;

/// What pages may load and send: only what is ours.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How many messages wait to be shown at the most.
const TOLD: usize = 64;

/// What every page needs.
#[derive(Clone)]
pub struct Dashboard(Arc<Parts>);

struct Parts {
    desk: Desk,
    doors: Arc<Doors>,
    stop: CancellationToken,
    /// What deeds came to, until the next page shows it.
    told: Mutex<VecDeque<(u64, Told)>>,
    week: Mutex<week::Week>,
    /// Held while a wrong token is answered: guesses come one after the other.
    guess: tokio::sync::Mutex<()>,
}

/// What a deed came to.
#[derive(Clone, Debug)]
struct Told {
    good: bool,
    text: String,
}

impl Dashboard {
    fn operator(&self) -> Arc<Operator> {
        self.0.desk.now()
    }

    fn doors(&self) -> &Doors {
        &self.0.doors
    }

    /// Keeps a message for the next page; under which number.
    fn tell(&self, told: Told) -> u64 {
        let number = rand::random();
        let mut all = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == TOLD {
            all.pop_front();
        }
        all.push_back((number, told));
        number
    }

    fn told(&self, number: u64) -> Option<Told> {
        let all = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(known, _)| *known == number).map(|(_, told)| told.clone())
    }
}

/// All pages. They are for a listener that lets in only those who may come.
pub fn router(desk: Desk, doors: Arc<Doors>, stop: CancellationToken) -> Router {
    let (told, week, guess) = (Mutex::default(), Mutex::default(), tokio::sync::Mutex::default());
    Router::new()
        .route("/", get(overview::page))
        .route("/journal", get(events::page))
        .route("/event", get(journey::page))
        .route("/dead", get(dead::list).post(deeds::dead))
        .route("/dead/{id}", get(dead::one))
        .route("/sinks", get(sinks::page))
        .route("/sources", get(sources::page))
        .route("/config", get(config::page))
        .route("/do/{scope}/{name}/{deed}", post(deeds::act))
        .route("/do/replay/forget", post(deeds::forget_replay))
        .route("/events", get(live::events))
        .route("/login", get(login::page).post(login::enter))
        .route("/logout", post(login::leave))
        .route(
            "/assets/dari.css",
            get(async || asset("text/css; charset=utf-8", include_str!("dashboard/assets/dari.css"))),
        )
        .route(
            "/assets/dari.js",
            get(async || asset("text/javascript; charset=utf-8", include_str!("dashboard/assets/dari.js"))),
        )
        .route("/assets/dari.svg", get(async || asset("image/svg+xml", include_str!("dashboard/assets/dari.svg"))))
        .layer(from_fn(named))
        .layer(from_fn(guarded))
        .with_state(Dashboard(Arc::new(Parts { desk, doors, stop, told, week, guess })))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

/// What is done is done in the visitor's name.
async fn named(request: Request, next: Next) -> Response {
    let visitor = request.extensions().get::<Visitor>().map(|visitor| visitor.who.clone());
    match visitor {
        Some(who) => who::acting(who, next.run(request)).await,
        None => next.run(request).await,
    }
}

/// What a browser is told about every page.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Forms are sent with their origin, which `no-referrer` would hide.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
