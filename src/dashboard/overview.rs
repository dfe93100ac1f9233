//! The first page: whether all is well, what needs a person, and what goes on.

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::page::Page;
use super::show::{badge, number, query};
use super::spark::Chart;
use super::{Dashboard, map, week};
use crate::admin::needs::{Kind, Need, Press, Standings};
use crate::admin::views::AccountView;
use crate::admin::{Operator, Result};
use crate::metrics::pace::{Line, MINUTES, Minute};
use crate::outcome::Scope;
use crate::store::journal::{EventFilter, Step};

/// How many of the last deeds are shown.
const DEEDS: usize = 6;

/// `GET /`.
pub(super) async fn page(page: Page, State(board): State<Dashboard>) -> Response {
    page.answer(page.say("Overview"), body(&page, &board).await)
}

async fn body(page: &Page, board: &Dashboard) -> Result<Markup> {
    let op = board.operator();
    let newest = op.events(EventFilter { limit: 1, ..EventFilter::default() }).await?;
    let standings = op.standings().await?;
    let needs = op.needs_of(&standings).await?;
    let deeds = op.actions(DEEDS).await?;
    let came = hour(page, &op, Line::Source, standings.sources.iter().map(|source| source.name.as_str()));
    let went = hour(page, &op, Line::Route, standings.routes.iter().map(|route| route.name.as_str()));
    Ok(html! {
        div #well data-live { (headline(page, &needs)) (sentence(page, &standings, &came, &went))
            @if let Some(newest) = newest.first() {
                p.quiet { (page.say("The last event came")) " " (page.ago(newest.event.received.at())) "." }
            }
        }
        div #needs data-live { (list(page, &needs)) }
        section aria-labelledby="map-title" {
            h2 #map-title { (page.say("Map")) }
            div #map data-live { (map::draw(page, &op, &standings)) }
        }
        section aria-labelledby="hour-title" {
            h2 #hour-title { (page.say("The last hour")) }
            div.charts #hour data-live { (charts(page, &came, &went)) }
        }
        (week::section(page, board))
        (quotas(page, &standings.accounts))
        @if !deeds.is_empty() {
            section aria-labelledby="deeds-title" {
                h2 #deeds-title { (page.say("What people did")) }
                ul.deeds #deeds data-live {
                    @for entry in &deeds {
                        @if let Step::Operator { what } = &entry.step { li { (what) " " span.quiet { (page.ago(entry.at)) } } }
                    }
                }
            }
        }
    })
}

/// All lines together.
fn hour<'a>(page: &Page, op: &Operator, line: Line, names: impl Iterator<Item = &'a str>) -> [Minute; MINUTES] {
    let mut all = [Minute::default(); MINUTES];
    for name in names {
        for (sum, minute) in all.iter_mut().zip(op.metrics.pace.hour(line, name, page.now)) {
            *sum += minute;
        }
    }
    all
}

fn headline(page: &Page, needs: &[Need]) -> Markup {
    let (tone, words) = match (needs.first().map(|need| need.press), needs.len()) {
        (None, _) => ("good", page.say("All is well.").to_owned()),
        (Some(Press::Now), _) => ("bad", page.say("The bridge cannot do its work.").to_owned()),
        (Some(press), 1) => (tone(press), page.say("One thing needs a person.").to_owned()),
        (Some(press), count) => (tone(press), page.fill("{0} things need a person.", &[&count])),
    };
    html! { h1.headline.(tone) { (words) } }
}

fn tone(press: Press) -> &'static str {
    match press {
        Press::Now | Press::Soon => "bad",
        Press::Look => "warn",
    }
}

fn sentence(page: &Page, standings: &Standings, came: &[Minute], went: &[Minute]) -> Markup {
    let sum = |minutes: &[Minute], of: fn(&Minute) -> u64| number(minutes.iter().map(of).sum());
    let queued: u64 = standings.routes.iter().map(|route| route.queued).sum();
    html! {
        p.lead {
            (page.fill("In the last hour {0} events came, {1} deliveries were made and {2} failed.", &[
                &sum(came, |m| m.came), &sum(went, |m| m.delivered), &sum(went, |m| m.failed),
            ]))
            " "
            @if queued == 0 { (page.say("Nothing waits.")) } @else { (page.fill("{0} wait in queues.", &[&number(queued)])) }
        }
    }
}

fn list(page: &Page, needs: &[Need]) -> Markup {
    html! {
        @if !needs.is_empty() {
            ol.needs {
                @for need in needs {
                    li class=(tone(need.press)) {
                        div.what {
                            strong { (said(page, need)) }
                            @if has_reason(need) { p { (need.why) } }
                            @if let (Some(since), false) = (need.since, need.kind == Kind::Quota) {
                                p.quiet { (page.say("since")) " " (page.ago(since)) }
                            }
                        }
                        div.act { (help(page, need)) }
                    }
                }
            }
        }
    }
}

fn has_reason(need: &Need) -> bool {
    matches!(need.kind, Kind::Suspended | Kind::Poll) && !need.why.is_empty()
}

fn said(page: &Page, need: &Need) -> String {
    let (name, count) = (&need.name, number(need.count));
    match need.kind {
        Kind::Trouble => need.why.clone(),
        Kind::Suspended => {
            let scope = need.scope.map_or("", |scope| page.scope(scope));
            page.fill("The {0} {1} is suspended.", &[&scope, name])
        }
        Kind::Asks => page.fill("The source {0} asks: its next poll would delete {1}.", &[name, &need.why]),
        Kind::Held => page.fill("Held on {0}: {1}. Nobody knows whether these calls took effect.", &[name, &count]),
        Kind::Breaker => page.fill("The sink {0} fails time and again. It is tried by itself.", &[name]),
        Kind::Poll => page.fill("The last poll of {0} failed.", &[name]),
        Kind::Quota => match need.since.filter(|_| need.press == Press::Look) {
            Some(at) => page.fill("The calls of {0} will be used up on {1} ({2}).", &[name, &day(page, at), &need.why]),
            None => page.fill("The month's calls of {0} are used up ({1}).", &[name, &need.why]),
        },
        Kind::Dead => page.fill("Dead letters of {0}: {1} ({2}).", &[name, &count, &class(page, &need.why)]),
        Kind::Replay => page.say("A replay was begun and is not ended.").to_owned(),
        Kind::Leftover => {
            page.fill("{1} messages are left of the route {0}, which the config has no more.", &[name, &count])
        }
    }
}

fn class(page: &Page, word: &str) -> &'static str {
    serde_json::from_value(word.into()).map_or("", |class| page.class(class))
}

fn day(page: &Page, at: Timestamp) -> String {
    at.to_zoned(page.zone.clone()).strftime("%Y-%m-%d").to_string()
}

/// What can be done about it.
fn help(page: &Page, need: &Need) -> Markup {
    let name = query(&need.name);
    let link = |href: String, words: &str| html! { a.button href=(href) { (words) } };
    match (need.kind, need.scope) {
        (Kind::Suspended, Some(scope)) => {
            let there = if scope == Scope::Source { "sources" } else { "sinks" };
            html! {
                (page.deed(scope, &need.name, "resume", page.say("Resume")))
                (link(format!("/{there}#{}-{}", scope.name(), need.name), page.say("Look")))
            }
        }
        (Kind::Asks | Kind::Poll, _) => link(format!("/sources#source-{}", need.name), page.say("Look")),
        (Kind::Held, _) => link(format!("/dead?route={name}&class=held"), page.say("Decide")),
        (Kind::Dead, _) => link(format!("/dead?route={name}&class={}", need.why), page.say("Look")),
        (Kind::Breaker, _) => link(format!("/sinks#sink-{}", need.name), page.say("Look")),
        (Kind::Quota, _) => link(format!("/sinks#account-{}", need.name), page.say("Look")),
        (Kind::Replay, _) => html! {
            code { "dari replay --resume" }
            form method="post" action="/do/replay/forget" { (page.back()) button { (page.say("Give it up")) } }
        },
        (Kind::Leftover, _) => html! { code { "dari routes retire " (need.name) } },
        (Kind::Trouble | Kind::Suspended, _) => html! {},
    }
}

fn charts(page: &Page, came: &[Minute; MINUTES], went: &[Minute; MINUTES]) -> Markup {
    #[expect(clippy::cast_precision_loss, reason = "a chart")]
    let counts = |minutes: &[Minute], of: fn(&Minute) -> u64| minutes.iter().map(|m| of(m) as f64).collect::<Vec<_>>();
    #[expect(clippy::cast_precision_loss, reason = "a chart")]
    let latency = went.map(|m| if m.delivered == 0 { 0.0 } else { m.seconds / m.delivered as f64 });
    let slow = latency.iter().any(|seconds| *seconds >= 1.0);
    let (factor, unit) =
        if slow { (1.0, page.say("seconds on average")) } else { (1_000.0, page.say("ms on average")) };
    let latency: Vec<_> = latency.iter().map(|seconds| seconds * factor).collect();
    let (since, nothing) = (page.say("an hour ago"), page.say("nothing in the last hour"));
    let chart = |title, unit, bars| page.chart(&Chart { title, unit, since, nothing, bars });
    let a_minute = page.say("a minute");
    html! {
        (chart(page.say("Events"), a_minute, vec![("calm", counts(came, |m| m.came))]))
        (chart(page.say("Deliveries"), a_minute, vec![
            ("good", counts(went, |m| m.delivered)), ("bad", counts(went, |m| m.failed)),
        ]))
        (chart(page.say("From receipt to delivery"), unit, vec![("calm", latency)]))
    }
}

fn quotas(page: &Page, accounts: &[AccountView]) -> Markup {
    let limited: Vec<_> = accounts.iter().filter(|account| account.monthly.is_some()).collect();
    html! {
        @if !limited.is_empty() {
            section aria-labelledby="quota-title" {
                h2 #quota-title { (page.say("Calls of the month")) }
                div.quotas #quotas data-live { @for account in limited { (quota(page, account)) } }
            }
        }
    }
}

/// How much of a month's calls is used.
pub(super) fn quota(page: &Page, account: &AccountView) -> Markup {
    let Some(monthly) = account.monthly else {
        return html! { p { (page.fill("{0} calls this month", &[&number(account.used)])) } };
    };
    html! {
        div.quota {
            label for={ "quota-" (account.name) } {
                strong { (account.name) } " "
                (page.fill("{0} of {1} calls used", &[&number(account.used), &number(monthly)])) " "
                @match account.used_up {
                    _ if account.used >= monthly => (badge("bad", page.say("used up"))),
                    Some(at) => (badge("warn", &page.fill("used up on {0}", &[&day(page, at)]))),
                    None => span.quiet { (page.say("lasts the month")) },
                }
            }
            meter id={ "quota-" (account.name) } min="0" max=(monthly) low=(monthly * 3 / 5) high=(monthly * 4 / 5)
                optimum="0" value=(account.used.min(monthly)) {}
        }
    }
}
