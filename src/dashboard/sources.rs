//! Sources: where events come from, and whether they come.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::Dashboard;
use super::events::{link, refusals};
use super::page::Page;
use super::show::{badge, short};
use super::sinks::stop_or_go;
use crate::admin::views::SourceView;
use crate::admin::{Operator, Result};
use crate::config::SourceConfig;
use crate::outcome::Scope;
use crate::settings::parse_duration;
use crate::store::journal::{EventFilter, Listed, Polled, Refused};

/// Polls and refused requests that are shown.
const LAST: usize = 10;

/// What is known of a source besides its view.
struct Known {
    newest: Option<Listed>,
    polls: Vec<Polled>,
    refused: Vec<Refused>,
    every: Option<Duration>,
}

impl Known {
    /// True if the last poll is longer ago than it should be, by what a poll itself may take.
    fn is_overdue(&self, now: Timestamp) -> bool {
        let age = self.polls.first().and_then(|poll| Duration::try_from(now.duration_since(poll.at)).ok());
        age.zip(self.every).is_some_and(|(age, every)| age > every * 2 + Duration::from_mins(1))
    }
}

/// `GET /sources`.
pub(super) async fn page(page: Page, State(board): State<Dashboard>) -> Response {
    page.answer(page.say("Sources"), body(&page, &board.operator()).await)
}

async fn body(page: &Page, op: &Operator) -> Result<Markup> {
    let mut all = Vec::new();
    for (view, config) in op.sources().await?.into_iter().zip(&op.config.sources) {
        let known = known(op, config).await?;
        all.push((view, known));
    }
    Ok(html! {
        h1 { (page.say("Sources")) }
        div.things { @for (view, known) in &all { (of_source(page, op, view, known)) } }
    })
}

async fn known(op: &Operator, source: &SourceConfig) -> Result<Known> {
    let newest = EventFilter { source: Some(source.name.clone()), limit: 1, ..EventFilter::default() };
    let mut refused = op.journal.refused(Some(&source.name), LAST).await?;
    for refused in &mut refused {
        op.redactor.refused(refused);
    }
    Ok(Known {
        newest: op.events(newest).await?.into_iter().next(),
        polls: if source.is_hook() { Vec::new() } else { op.journal.polled(&source.name, LAST).await? },
        refused,
        every: every(source),
    })
}

/// How often it is polled, as in the config.
fn every(source: &SourceConfig) -> Option<Duration> {
    let set = source.node.get("every").and_then(|node| node.text());
    let default = source.kind.fields.iter().find(|field| field.name == "every").and_then(|field| match field.need {
        crate::settings::Need::Default(text) => Some(text),
        _ => None,
    });
    set.or(default).and_then(parse_duration)
}

fn of_source(page: &Page, op: &Operator, source: &SourceView, known: &Known) -> Markup {
    html! {
        article.thing.wide id={ "source-" (source.name) } {
            h3 { (source.name) " " span.quiet { (source.kind) } }
            div id={ "source-" (source.name) "-now" } data-live {
                p {
                    @match (source.enabled, &source.suspension) {
                        (false, _) => (badge("calm", page.say("switched off in the config"))),
                        (true, Some(halt)) => (page.halted(halt)),
                        (true, None) if known.polls.first().is_some_and(|poll| poll.failed) => (badge("warn", page.say("poll failed"))),
                        (true, None) if known.is_overdue(page.now) => (badge("warn", page.say("overdue"))),
                        (true, None) => (badge("good", page.say("works"))),
                    }
                }
                dl.facts {
                    @if let Some(path) = &source.path {
                        dt { (page.say("Listens at")) } dd { code { (op.config.listen.public.as_deref().unwrap_or_default()) (path) } }
                    }
                    @if let Some(every) = known.every { dt { (page.say("Polled every")) } dd { (short(every)) } }
                    @if let Some(poll) = known.polls.first() { dt { (page.say("Last poll")) } dd { (polled(page, poll)) } }
                    dt { (page.say("Last event")) }
                    dd {
                        @match &known.newest {
                            Some(Listed { event, .. }) => {
                                a href=(link(&event.source, &event.id)) { (event.kind) } " " (page.ago(event.received.at()))
                            }
                            None => (page.say("none in the journal")),
                        }
                    }
                    @if let Some(cursor) = &source.cursor { dt { (page.say("Cursor")) } dd { (page.json(cursor)) } }
                }
                @if let Some(asked) = &source.asks {
                    p.told.bad { (page.fill("Its next poll would delete {0} of {1} subjects. Look at the vendor first.", &[&asked.deleted, &asked.known])) }
                    (page.deed(Scope::Source, &source.name, "confirm", page.say("Let it delete them, once")))
                }
                @if known.every.is_some() && op.pollers.contains_key(&source.name) {
                    (page.deed(Scope::Source, &source.name, "poll", page.say("Poll now")))
                }
                (stop_or_go(page, (Scope::Source, &source.name), source.suspension.as_ref()))
                (history(page, source, known))
            }
        }
    }
}

fn polled(page: &Page, poll: &Polled) -> Markup {
    html! {
        (page.ago(poll.at)) " · "
        @if poll.failed { (badge("bad", page.say("failed"))) } @else { (page.fill("{0} events", &[&poll.events])) }
        " " span.quiet { (poll.took_ms) " ms" }
        @if let Some(note) = &poll.note { br; (note) }
    }
}

fn history(page: &Page, source: &SourceView, known: &Known) -> Markup {
    html! {
        @if known.polls.len() > 1 {
            details id={ "polls-" (source.name) } {
                summary { (page.say("Earlier polls")) }
                ul { @for poll in &known.polls[1..] { li { (polled(page, poll)) } } }
            }
        }
        @if !known.refused.is_empty() {
            details id={ "refused-" (source.name) } {
                summary { (page.say("Refused requests")) }
                (refusals(page, &known.refused))
            }
        }
    }
}
