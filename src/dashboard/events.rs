//! The journal: searching events.

use axum::extract::{Query, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::Dashboard;
use super::page::Page;
use super::show::{badge, query};
use crate::admin::{Operator, Result};
use crate::store::journal::{EventFilter, Listed, Refused};

/// Events on a page.
const AT_ONCE: usize = 50;
/// Through how many events a text is looked for at once: bodies are not indexed.
const WINDOW: i64 = 5_000;
/// Refused requests that are shown.
const REFUSED: usize = 20;

/// What is looked for; an empty field is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Search {
    /// An id or a subject.
    what: String,
    text: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    from: String,
    to: String,
    before: Option<i64>,
    refused: Option<String>,
}

/// What was found.
struct Found {
    events: Vec<Listed>,
    /// Where to look on, further back.
    before: Option<i64>,
    /// True if there may be more there, but this far not all of it is found.
    is_looking: bool,
}

/// `GET /journal`.
pub(super) async fn page(page: Page, State(board): State<Dashboard>, Query(search): Query<Search>) -> Response {
    let body = if search.refused.is_some() {
        refused(&page, &board.operator(), &search).await
    } else {
        body(&page, &board.operator(), &search).await
    };
    page.answer(page.say("Events"), body)
}

async fn body(page: &Page, op: &Operator, search: &Search) -> Result<Markup> {
    let found = find(page, op, search).await?;
    Ok(html! {
        h1 { (page.say("Events")) }
        (form(page, op, search))
        div #found data-live[search.before.is_none()] {
            @if found.events.is_empty() && !found.is_looking { p { (page.say("Nothing is found.")) } }
            @if !found.events.is_empty() { (table(page, &found.events)) }
            @if let Some(before) = found.before {
                @if found.is_looking {
                    p.quiet { (page.fill("A text is looked for in {0} events at a time.", &[&WINDOW])) }
                }
                p { a.button href=(search.further(before)) { (page.say("Further back")) } }
            }
        }
        p { a href="/journal?refused=" { (page.say("Requests that were refused")) } }
    })
}

async fn find(page: &Page, op: &Operator, search: &Search) -> Result<Found> {
    let mut filter = search.filter(page);
    if !search.what.trim().is_empty() {
        // An id is one event, a subject has many.
        let by_id = EventFilter { id: Some(search.what.trim().to_owned()), ..filter.clone() };
        let events = op.events(by_id).await?;
        if !events.is_empty() {
            return Ok(cut(events));
        }
        filter.subject = Some(search.what.trim().to_owned());
    }
    if filter.text.is_none() {
        return Ok(cut(op.events(filter).await?));
    }
    let newest = match filter.before {
        Some(before) => before,
        None => op.events(EventFilter { limit: 1, ..EventFilter::default() }).await?.first().map_or(0, |e| e.seq + 1),
    };
    filter.before = Some(newest);
    filter.after = Some((newest - 1 - WINDOW).max(0));
    let edge = newest - WINDOW;
    let mut found = cut(op.events(filter).await?);
    if found.before.is_none() && edge > 1 {
        (found.before, found.is_looking) = (Some(edge), true);
    }
    Ok(found)
}

fn cut(mut events: Vec<Listed>) -> Found {
    let more = events.len() > AT_ONCE;
    events.truncate(AT_ONCE);
    let before = events.last().map(|last| last.seq).filter(|_| more);
    Found { events, before, is_looking: false }
}

impl Search {
    fn filter(&self, page: &Page) -> EventFilter {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        EventFilter {
            source: some(&self.source),
            kind: some(&self.kind),
            text: some(&self.text),
            from: self.time(page, &self.from),
            to: self.time(page, &self.to),
            before: self.before,
            limit: AT_ONCE + 1,
            ..EventFilter::default()
        }
    }

    /// A time of the config's zone, as a browser sends it.
    #[expect(clippy::unused_self, reason = "it reads one of its fields")]
    fn time(&self, page: &Page, text: &str) -> Option<Timestamp> {
        let at: jiff::civil::DateTime = text.parse().ok()?;
        at.to_zoned(page.zone.clone()).ok().map(|at| at.timestamp())
    }

    fn further(&self, before: i64) -> String {
        let mut link = format!("/journal?before={before}");
        for (name, value) in [
            ("what", &self.what),
            ("text", &self.text),
            ("source", &self.source),
            ("type", &self.kind),
            ("from", &self.from),
            ("to", &self.to),
        ] {
            if !value.is_empty() {
                link.extend(["&", name, "=", &query(value)]);
            }
        }
        link
    }

    fn is_narrow(&self) -> bool {
        [&self.source, &self.kind, &self.from, &self.to].iter().any(|field| !field.is_empty())
    }
}

fn form(page: &Page, op: &Operator, search: &Search) -> Markup {
    html! {
        form.search method="get" action="/journal" role="search" {
            div { label for="what" { (page.say("Id or subject")) } input #what name="what" value=(search.what) type="search"; }
            div { label for="text" { (page.say("Text in the body")) } input #text name="text" value=(search.text) type="search"; }
            details open[search.is_narrow()] {
                summary { (page.say("More")) }
                div {
                    label for="source" { (page.say("Source")) }
                    select #source name="source" {
                        option value="" { (page.say("all")) }
                        @for source in &op.config.sources {
                            option value=(source.name) selected[source.name == search.source] { (source.name) }
                        }
                    }
                }
                div { label for="type" { (page.say("Type")) } input #type name="type" value=(search.kind); }
                div { label for="from" { (page.say("From")) } input #from name="from" type="datetime-local" value=(search.from); }
                div { label for="to" { (page.say("To")) } input #to name="to" type="datetime-local" value=(search.to); }
            }
            button { (page.say("Search")) }
        }
    }
}

/// Where an event is read.
pub(super) fn link(source: &str, id: &str) -> String {
    format!("/event?source={}&id={}", query(source), query(id))
}

fn table(page: &Page, events: &[Listed]) -> Markup {
    html! {
        table.cards {
            thead { tr {
                th { (page.say("Received")) } th { (page.say("Event")) } th { (page.say("Source")) } th { (page.say("What became of it")) }
            } }
            tbody {
                @for Listed { event, endings, .. } in events {
                    tr {
                        td.quiet { (page.ago(event.received.at())) }
                        td {
                            a href=(link(&event.source, &event.id)) { (event.kind) }
                            " " @if let Some(subject) = &event.subject { span { (subject) } }
                            br; code.id { (event.id) }
                        }
                        td { (event.source) }
                        td.endings {
                            @for (route, ending) in endings { span.pair { span.quiet { (route) } " " (page.ending(ending)) } " " }
                            @if endings.is_empty() { (badge("calm", page.say("no route ended yet"))) }
                        }
                    }
                }
            }
        }
    }
}

async fn refused(page: &Page, op: &Operator, search: &Search) -> Result<Markup> {
    let source = Some(search.source.as_str()).filter(|source| !source.is_empty());
    let mut all = op.journal.refused(source, REFUSED).await?;
    for refused in &mut all {
        op.redactor.refused(refused);
    }
    Ok(html! {
        h1 { (page.say("Requests that were refused")) }
        p.quiet { (page.say("They became no event; their senders were told why.")) }
        @if all.is_empty() { p { (page.say("Nothing is found.")) } }
        div #refused data-live { (refusals(page, &all)) }
        p { a href="/journal" { (page.say("Events")) } }
    })
}

/// Refused requests.
pub(super) fn refusals(page: &Page, all: &[Refused]) -> Markup {
    html! {
        @if !all.is_empty() {
            table.cards {
                thead { tr {
                    th { (page.say("When")) } th { (page.say("Source")) } th { (page.say("Answer")) } th { (page.say("From")) }
                } }
                tbody {
                    @for refused in all {
                        tr {
                            td.quiet { (page.ago(refused.at)) }
                            td { (refused.source) }
                            td { (badge("bad", &refused.status.to_string())) " " (refused.why) }
                            td.quiet { (refused.peer) }
                        }
                    }
                }
            }
        }
    }
}
