//! Dead letters and held deliveries: what was given up and why, and what can be done about it.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::Dashboard;
use super::events::link;
use super::page::Page;
use super::show::{badge, number, query};
use crate::admin::preview::Preview;
use crate::admin::{Operator, Result};
use crate::store::{DeadClass, DeadFilter, StoredDead};

/// Letters on a page.
const AT_ONCE: usize = 100;

/// Which letters; an empty field is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Which {
    route: String,
    class: String,
    after: Option<i64>,
}

impl Which {
    fn class(&self) -> Option<DeadClass> {
        serde_json::from_value(self.class.as_str().into()).ok()
    }

    fn is_all(&self) -> bool {
        self.route.is_empty() && self.class.is_empty()
    }
}

/// `GET /dead`.
pub(super) async fn list(page: Page, State(board): State<Dashboard>, Query(which): Query<Which>) -> Response {
    page.answer(page.say("Dead letters"), listed(&page, &board.operator(), &which).await)
}

async fn listed(page: &Page, op: &Operator, which: &Which) -> Result<Markup> {
    let counts = op.store.dead_counts().await?;
    let route = Some(which.route.clone()).filter(|route| !route.is_empty());
    let filter = DeadFilter { route, class: which.class(), after: which.after, limit: AT_ONCE + 1 };
    let mut letters = op.dead(filter).await?;
    let more = letters.len() > AT_ONCE;
    letters.truncate(AT_ONCE);
    let last = letters.last().map(|letter| letter.id).filter(|_| more);
    Ok(html! {
        h1 { (page.say("Dead letters")) }
        p.quiet { (page.say("Deliveries that were given up, and those that wait for a person's word. Nothing of them is lost.")) }
        (kinds(page, which, &counts))
        @if letters.is_empty() {
            p { (page.say("There are none.")) }
        } @else {
            form.letters method="post" action="/dead" {
                (page.back())
                @for ((route, class, reason), letters) in groups(&letters) { (group(page, (route, class, reason), &letters)) }
                div.tools { button name="do" value="preview" { (page.say("Preview")) } (choices(page, &letters)) }
            }
        }
        @if let Some(last) = last {
            p { a.button href={ "/dead?route=" (query(&which.route)) "&class=" (which.class) "&after=" (last) } { (page.say("Newer ones")) } }
        }
    })
}

/// How many there are of each kind, to choose from.
fn kinds(page: &Page, which: &Which, counts: &[(String, DeadClass, u64)]) -> Markup {
    let all: u64 = counts.iter().map(|(.., count)| count).sum();
    html! {
        @if !counts.is_empty() {
            nav.kinds aria-label=(page.say("Which dead letters")) {
                a href="/dead" aria-current=[which.is_all().then_some("true")] { (page.say("all")) " " (badge("calm", &number(all))) }
                @for (route, class, count) in counts {
                    @let is_it = *route == which.route && which.class() == Some(*class);
                    a href={ "/dead?route=" (query(route)) "&class=" (word(*class)) } aria-current=[is_it.then_some("true")] {
                        (route) " · " (page.class(*class)) " " (badge(tone(*class), &number(*count)))
                    }
                }
            }
        }
    }
}

fn word(class: DeadClass) -> String {
    format!("{class:?}").to_lowercase()
}

fn tone(class: DeadClass) -> &'static str {
    if class == DeadClass::Held { "bad" } else { "warn" }
}

type Group<'a> = (&'a str, DeadClass, &'a str);

/// Letters that came to the same end, in the order of their first.
fn groups(letters: &[StoredDead]) -> Vec<(Group<'_>, Vec<&StoredDead>)> {
    let mut at = BTreeMap::new();
    let mut groups: Vec<(Group<'_>, Vec<&StoredDead>)> = Vec::new();
    for dead in letters {
        let group = (dead.letter.delivery.route.as_str(), dead.letter.class, dead.letter.reason.as_str());
        let place = *at.entry((group.0, word(group.1), group.2)).or_insert_with(|| {
            groups.push((group, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(dead);
    }
    groups
}

fn group(page: &Page, (route, class, reason): Group<'_>, letters: &[&StoredDead]) -> Markup {
    html! {
        fieldset.group {
            legend { strong { (route) } " " (badge(tone(class), page.class(class))) }
            p.reason { (reason) }
            @if letters.len() > 1 {
                p { button.plain type="button" data-select-all hidden { (page.fill("Select all {0}", &[&letters.len()])) } }
            }
            ul {
                @for dead in letters {
                    li {
                        input type="checkbox" name="id" value=(dead.id) id={ "dead-" (dead.id) };
                        label for={ "dead-" (dead.id) } {
                            (dead.letter.event.kind) " " (dead.letter.event.subject.as_deref().unwrap_or(&dead.letter.event.id))
                        }
                        span.quiet { (page.ago(dead.letter.at)) }
                        a href={ "/dead/" (dead.id) } { (page.fill("Letter {0}", &[&dead.id])) }
                    }
                }
            }
        }
    }
}

/// What can be done with what is selected.
fn tools(page: &Page, letters: &[StoredDead]) -> Markup {
    html! { div.tools { (choices(page, letters)) } }
}

fn choices(page: &Page, letters: &[StoredDead]) -> Markup {
    let held = letters.iter().any(|dead| dead.letter.class == DeadClass::Held);
    let given_up = letters.iter().any(|dead| dead.letter.class != DeadClass::Held);
    html! {
        @if given_up { button name="do" value="replay" { (page.say("Send again")) } }
        @if held {
            button name="do" value="delivered" { (page.say("It took effect")) }
            button name="do" value="again" { (page.say("It did not: send again")) }
        }
        button.danger name="do" value="drop" { (page.say("Drop…")) }
    }
}

/// `GET /dead/{id}`.
pub(super) async fn one(page: Page, State(board): State<Dashboard>, Path(id): Path<i64>) -> Response {
    let title = page.fill("Letter {0}", &[&id]);
    page.answer(&title, letter(&page, &board.operator(), id).await)
}

async fn letter(page: &Page, op: &Operator, id: i64) -> Result<Markup> {
    let dead = op.dead_letter(id).await?;
    let preview = op.preview_letter(id).await?;
    let letter = &dead.letter;
    Ok(html! {
        h1 { (page.fill("Letter {0}", &[&id])) " " (badge(tone(letter.class), page.class(letter.class))) }
        p.reason { (letter.reason) }
        dl.facts {
            dt { (page.say("Event")) }
            dd {
                a href=(link(&letter.event.source, &letter.event.id)) { (letter.event.kind) }
                " " (letter.event.subject.as_deref().unwrap_or(&letter.event.id))
            }
            dt { (page.say("Route")) } dd { (letter.delivery.route) " → " (letter.sink) }
            dt { (page.say("When")) } dd { (page.at(letter.at)) " " span.quiet { (page.ago(letter.at)) } }
            dt { (page.say("Attempts")) } dd { (letter.attempts) }
        }
        section aria-labelledby="now-title" {
            h2 #now-title { (page.say("If it were sent again now")) }
            (foreseen(page, &preview))
        }
        @if let Some(call) = &letter.call {
            section aria-labelledby="then-title" { h2 #then-title { (page.say("What was sent")) } (page.call(call)) }
        }
        section aria-labelledby="payload-title" {
            h2 #payload-title { (page.say("Payload")) } (page.json(&letter.event.data.value()))
        }
        form.letters method="post" action="/dead" {
            (page.token())
            input type="hidden" name="back" value="/dead";
            input type="hidden" name="id" value=(id);
            @if letter.class == DeadClass::Held {
                div { label for="remote_id" { (page.say("The record's id there, if it took effect")) } input #remote_id name="remote_id"; }
            }
            (tools(page, std::slice::from_ref(&dead)))
        }
    })
}

fn foreseen(page: &Page, preview: &Preview) -> Markup {
    html! {
        p {
            @if preview.changes() { (badge("good", page.say("would be sent"))) } @else { (badge("warn", page.say("would not be sent"))) }
            " "
            @if preview.changes() { strong { (preview.would) } " " }
            @if let Some(why) = &preview.why { (why) }
        }
        @if let Some(call) = &preview.call { (page.call(call)) }
    }
}

/// What would become of the selected letters with the config of now.
pub(super) async fn previews(page: &Page, op: &Operator, ids: &[i64], back: &str) -> Response {
    page.answer(page.say("Preview"), foretold(page, op, ids, back).await)
}

async fn foretold(page: &Page, op: &Operator, ids: &[i64], back: &str) -> Result<Markup> {
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        all.push((op.dead_letter(*id).await?, op.preview_letter(*id).await?));
    }
    let changes = all.iter().filter(|(_, preview)| preview.changes()).count();
    let letters: Vec<_> = all.iter().map(|(dead, _)| dead.clone()).collect();
    Ok(html! {
        h1 { (page.say("Preview")) }
        p.lead { (page.fill("With the config of now {0} of {1} would be sent.", &[&changes, &all.len()])) }
        @for (dead, preview) in &all {
            section.foreseen {
                h2 { a href={ "/dead/" (dead.id) } { (page.fill("Letter {0}", &[&dead.id])) } " " span.quiet { (dead.letter.delivery.route) } }
                (foreseen(page, preview))
            }
        }
        form.letters method="post" action="/dead" {
            (selected(page, ids, back))
            (tools(page, &letters))
        }
    })
}

fn selected(page: &Page, ids: &[i64], back: &str) -> Markup {
    html! {
        (page.token())
        input type="hidden" name="back" value=(back);
        @for id in ids { input type="hidden" name="id" value=(id); }
    }
}

/// Asks once more before something is gone for good.
pub(super) async fn really_drop(page: &Page, op: &Operator, ids: &[i64], back: &str) -> Response {
    let mut letters = Vec::with_capacity(ids.len());
    for id in ids {
        match op.dead_letter(*id).await {
            Ok(dead) => letters.push(dead),
            Err(error) => return page.answer(page.say("Drop"), Err(error)),
        }
    }
    let body = html! {
        h1 { (page.fill("Drop {0} for good?", &[&ids.len()])) }
        p { (page.say("What they were to do is never done. The events stay in the journal for its time.")) }
        ul { @for dead in &letters { li { (dead.letter.delivery.route) ": " (dead.letter.event.kind) " " (dead.letter.event.id) } } }
        form.letters method="post" action="/dead" {
            (selected(page, ids, back))
            div.tools {
                button.danger name="do" value="drop-for-good" { (page.say("Drop for good")) }
                a.button href=(super::deeds::here(back)) { (page.say("Keep")) }
            }
        }
    };
    page.answer(page.say("Drop"), Ok(body))
}
