//! What all pages share: the frame, the language, the visitor.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use super::show::query;
use super::words::Words;
use super::{Dashboard, Told};
use crate::admin::doors::Visitor;
use crate::admin::{OperatorError, Result};
use crate::outcome::Scope;

/// A page for one visitor.
pub(super) struct Page {
    pub words: Words,
    pub zone: TimeZone,
    pub now: Timestamp,
    /// The path below which it stands in the menu.
    path: String,
    /// Where it is, with its query, for forms that lead back to it.
    pub here: String,
    visitor: Option<Visitor>,
    /// What its forms hold.
    form: String,
    told: Option<Told>,
    locked: bool,
}

#[derive(Deserialize)]
struct Shown {
    told: Option<u64>,
}

impl FromRequestParts<Dashboard> for Page {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, board: &Dashboard) -> std::result::Result<Self, Self::Rejection> {
        let language = parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let told = Query::<Shown>::try_from_uri(&parts.uri).ok().and_then(|shown| board.told(shown.told?));
        let visitor = parts.extensions.get::<Visitor>().cloned();
        let operator = board.operator();
        Ok(Self {
            words: Words::of(language.unwrap_or_default()),
            zone: operator.config.zone.clone(),
            now: operator.clock.now(),
            path: parts.uri.path().to_owned(),
            here: without_told(parts.uri.path(), parts.uri.query().unwrap_or_default()),
            form: visitor.as_ref().map(|visitor| board.doors().form(visitor)).unwrap_or_default(),
            visitor,
            told,
            locked: board.doors().are_locked(),
        })
    }
}

/// The path of a page without the number of what was told on it.
fn without_told(path: &str, query: &str) -> String {
    let rest: Vec<_> = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("told=")).collect();
    if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) }
}

impl Page {
    /// A phrase in the visitor's language.
    pub fn say(&self, english: &'static str) -> &'static str {
        self.words.say(english)
    }

    /// A phrase with its `{0}`, `{1}` filled in.
    pub fn fill(&self, english: &'static str, with: &[&dyn std::fmt::Display]) -> String {
        self.words.fill(english, with)
    }

    /// The page, or why there is none.
    pub fn answer(&self, title: &str, body: Result<Markup>) -> Response {
        match body {
            Ok(body) => self.framed(title, &body).into_response(),
            Err(error) => {
                let status = match error {
                    OperatorError::NotFound { .. } => StatusCode::NOT_FOUND,
                    OperatorError::Refused(_) => StatusCode::CONFLICT,
                    OperatorError::Store(_) | OperatorError::Broker(_) => StatusCode::SERVICE_UNAVAILABLE,
                };
                let body = html! {
                    h1 { (title) }
                    p.told.bad role="alert" { (error) }
                };
                (status, self.framed(title, &body)).into_response()
            }
        }
    }

    /// A whole document.
    pub fn framed(&self, title: &str, body: &Markup) -> Html<String> {
        let document = html! {
            (DOCTYPE)
            html lang=(self.words.tag()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · Dari" }
                    link rel="stylesheet" href="/assets/dari.css";
                    link rel="icon" href="/assets/dari.svg" type="image/svg+xml";
                    script src="/assets/dari.js" defer {}
                }
                body {
                    a.skip href="#main" { (self.say("Skip to the content")) }
                    (self.header())
                    main #main tabindex="-1" {
                        @if let Some(told) = &self.told {
                            p.told.bad[!told.good].good[told.good] role="status" { (told.text) }
                        }
                        (body)
                    }
                }
            }
        };
        Html(document.into_string())
    }

    fn header(&self) -> Markup {
        let places = [
            ("/", self.say("Overview")),
            ("/journal", self.say("Events")),
            ("/dead", self.say("Dead letters")),
            ("/sources", self.say("Sources")),
            ("/sinks", self.say("Sinks")),
            ("/config", self.say("Config")),
        ];
        let is_here = |path: &str| match path {
            "/" => self.path == "/",
            "/journal" => self.path == "/journal" || self.path == "/event",
            path => self.path.starts_with(path),
        };
        html! {
            header.top {
                a.brand href="/" { img src="/assets/dari.svg" alt="" width="24" height="24"; "Dari" }
                @if let Some(visitor) = &self.visitor {
                    nav aria-label=(self.say("Pages")) {
                        @for (path, name) in places {
                            a href=(path) aria-current=[is_here(path).then_some("page")] { (name) }
                        }
                    }
                    div.visitor {
                        span.live #live data-on=(self.say("live")) data-off=(self.say("not live")) {}
                        @if self.locked {
                            span.who { (visitor.who.trim_end_matches(" (dashboard)")) }
                            form method="post" action="/logout" { (self.token()) button.plain { (self.say("Log out")) } }
                        }
                    }
                }
            }
        }
    }

    /// A button that does something with an account, sink, route or source.
    pub fn deed(&self, scope: Scope, name: &str, deed: &str, words: &str) -> Markup {
        html! {
            form method="post" action={ "/do/" (scope.name()) "/" (query(name)) "/" (deed) } {
                (self.back())
                button aria-label={ (words) ": " (name) } { (words) }
            }
        }
    }

    /// What every form holds.
    pub fn token(&self) -> Markup {
        html! { input type="hidden" name="form" value=(self.form); }
    }

    /// What a form holds that leads back to this page.
    pub fn back(&self) -> Markup {
        html! { (self.token()) input type="hidden" name="back" value=(self.here); }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_told_once() {
        assert_eq!(without_told("/dead", "told=7"), "/dead");
        assert_eq!(without_told("/dead", "route=a&told=7&class=held"), "/dead?route=a&class=held");
        assert_eq!(without_told("/", ""), "/");
    }
}
