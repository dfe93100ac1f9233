//! One event: its journey from receipt to the end on each route.

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::Dashboard;
use super::page::Page;
use super::show::{badge, query};
use crate::admin::Result;
use crate::admin::views::{Journey, RouteJourney};
use crate::event::Event;
use crate::store::Progress;
use crate::store::journal::{Entry, Listed, Step};

/// Which event.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    source: String,
    id: String,
}

/// `GET /event`.
pub(super) async fn page(page: Page, State(board): State<Dashboard>, Query(which): Query<Which>) -> Response {
    let journey = board.operator().journey_of(&which.source, &which.id).await;
    let title = journey.as_ref().map_or(which.id, |journey| journey.event.event.kind.clone());
    page.answer(&title, body(&page, journey))
}

fn body(page: &Page, journey: Result<Journey>) -> Result<Markup> {
    let Journey { event: Listed { event, body, .. }, trace, routes, before } = journey?;
    let (concerned, others): (Vec<_>, Vec<_>) = routes.into_iter().partition(|route| route.not_bound.is_none());
    Ok(html! {
        h1 { (event.kind) @if let Some(subject) = &event.subject { " " span.subject { (subject) } } }
        (head(page, &event, &trace))
        section aria-labelledby="payload-title" {
            h2 #payload-title { (page.say("Payload")) }
            @if body { (page.json(&event.data.value())) } @else {
                p.quiet { (page.say("The journal no longer has the body, or did not keep it.")) }
            }
            @if !event.headers.is_empty() {
                details { summary { (page.say("Headers")) } (headers(&event)) }
            }
        }
        div #routes data-live {
            @if !before.is_empty() {
                section.journey aria-labelledby="before-title" {
                    h2 #before-title { (page.say("Before the routes")) }
                    ol.timeline { @for (at, entry) in before.iter().enumerate() { (step(page, "before", at, entry)) } }
                }
            }
            @for route in &concerned { (journeyed(page, route)) }
            @if !others.is_empty() {
                section aria-labelledby="others-title" {
                    h2 #others-title { (page.say("Routes that it does not concern")) }
                    ul.others {
                        @for route in &others {
                            li { strong { (route.route) } " " span.quiet { (route.not_bound.as_deref().unwrap_or_default()) } }
                        }
                    }
                }
            }
        }
    })
}

fn head(page: &Page, event: &Event, trace: &str) -> Markup {
    html! {
        dl.facts {
            dt { (page.say("Id")) } dd { code { (event.id) } }
            dt { (page.say("Source")) } dd { a href={ "/sources#source-" (event.source) } { (event.source) } }
            dt { (page.say("Received")) } dd { (page.at(event.received.at())) " " span.quiet { (page.ago(event.received.at())) } }
            dt { (page.say("Happened")) } dd { (page.at(event.time)) }
            @if let Some(subject) = &event.subject {
                dt { (page.say("Subject")) } dd { a href={ "/journal?what=" (query(subject)) } { (subject) } }
            }
            @if let Some(version) = &event.version { dt { (page.say("Version")) } dd { (version) } }
            dt { (page.say("Trace")) } dd { code { (trace) } }
            @if event.generation > 0 { dt { (page.say("Replay")) } dd { (event.generation) } }
        }
    }
}

fn headers(event: &Event) -> Markup {
    html! {
        dl.facts { @for (name, value) in &event.headers { dt { (name) } dd { code { (value) } } } }
    }
}

fn journeyed(page: &Page, route: &RouteJourney) -> Markup {
    html! {
        section.journey aria-labelledby={ "route-" (route.route) } {
            h2 id={ "route-" (route.route) } {
                (route.route) " "
                @match &route.to {
                    Some(to) => span.quiet { "→ " a href={ "/sinks#sink-" (to) } { (to) } },
                    None => (badge("calm", page.say("no longer in the config"))),
                }
            }
            p { (standing(page, route)) }
            ol.timeline { @for (at, entry) in route.steps.iter().enumerate() { (step(page, &route.route, at, entry)) } }
        }
    }
}

/// How far it is.
fn standing(page: &Page, route: &RouteJourney) -> Markup {
    // A repetition changed nothing; after a replay the last word is the replay's, which the ledger keeps elsewhere.
    let ended = route.steps.iter().rev().find_map(|entry| match &entry.step {
        Step::Ended { ending, .. } if ending != "duplicate" => Some(ending.as_str()),
        Step::Skipped { .. } => Some("skipped"),
        _ => None,
    });
    match route.ledger.as_ref().map(|entry| (&entry.progress, entry.attempt)) {
        Some((Progress::Done { ending }, _)) => page.ending(ended.unwrap_or(ending)),
        Some((Progress::Held { .. }, _)) => page.ending("held"),
        Some((Progress::Open { .. }, attempt)) => badge("warn", &page.fill("attempt {0} is under way", &[&attempt])),
        Some((_, attempt)) => badge("warn", &page.fill("waits for attempt {0}", &[&attempt])),
        None => ended.map_or_else(|| badge("calm", page.say("its turn has not come")), |ending| page.ending(ending)),
    }
}

fn step(page: &Page, route: &str, number: usize, entry: &Entry) -> Markup {
    let (tone, what) = told(page, &entry.step);
    html! {
        li class=(tone) {
            span.quiet.when { (page.at(entry.at)) }
            div { (what) (more(page, &format!("{route}-{number}"), &entry.step)) }
        }
    }
}

fn told(page: &Page, step: &Step) -> (&'static str, Markup) {
    match step {
        Step::Matched { verb } => ("calm", html! { (page.say("The route takes it:")) " " strong { (verb) } }),
        Step::Skipped { why } => ("calm", html! { (page.say("The route leaves it:")) " " (why) }),
        Step::Attempt { attempt, status, outcome, message, took_ms, .. } => {
            let (tone, came) = match outcome.as_str() {
                "delivered" => ("good", page.say("delivered")),
                "retry" => ("warn", page.say("again later")),
                "reject" | "refused" => ("bad", page.say("rejected")),
                "suspend" => ("bad", page.say("suspended")),
                "unknown" => ("bad", page.say("in doubt")),
                other => ("bad", other),
            };
            let status = status.map_or_else(|| page.say("no answer").to_owned(), |status| format!("HTTP {status}"));
            let told = html! {
                strong { (page.fill("Attempt {0}:", &[attempt])) } " " (badge(tone, came)) " " (status)
                " " span.quiet { (took_ms) " ms" }
                @if !message.is_empty() { p { (message) } }
            };
            (tone, told)
        }
        Step::Asked { what, status, message, cached, took_ms, .. } => {
            let known = if *cached { page.say("known from before").to_owned() } else { format!("{took_ms} ms") };
            let status = status.map(|status| format!("HTTP {status} ")).unwrap_or_default();
            let told = html! {
                (page.say("The vendor was asked:")) " " strong { (what) } " " (status) span.quiet { (known) }
                @if !message.is_empty() { p { (message) } }
            };
            ("calm", told)
        }
        Step::Waiting { attempt, until, why } => {
            let told = html! {
                (page.fill("Waits for attempt {0},", &[attempt])) " " (page.at(*until))
                @if !why.is_empty() { p { (why) } }
            };
            ("warn", told)
        }
        Step::Ended { ending, detail } => {
            let tone = match ending.as_str() {
                "delivered" => "good",
                "rejected" | "exhausted" | "poison" | "held" => "bad",
                _ => "calm",
            };
            (tone, html! { (page.ending(ending)) @if !detail.is_empty() { p { (detail) } } })
        }
        Step::Operator { what } => ("calm", html! { (page.say("A person:")) " " (what) }),
    }
}

/// The call of an attempt or a question.
fn more(page: &Page, id: &str, step: &Step) -> Markup {
    let (Step::Attempt { call, .. } | Step::Asked { call, .. }) = step else { return html! {} };
    html! {
        @if !call.is_null() {
            details id={ "call-" (id) } { summary { (page.say("The request")) } (page.call(call)) }
        }
    }
}
