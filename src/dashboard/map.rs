//! The map: each source, route and sink, what goes between them now, and what stands still.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::page::Page;
use super::show::{badge, query, rate};
use crate::admin::Operator;
use crate::admin::needs::Standings;
use crate::admin::views::{RouteView, SinkView, SourceView};
use crate::metrics::pace::{Line, a_minute};

/// The width of the whole, and of a box; where its three columns begin; and the heights.
const WIDTH: usize = 980;
const BOX: usize = 250;
const COLUMNS: [usize; 3] = [0, 365, 730];
const TALL: usize = 56;
const GAP: usize = 14;
/// How many characters of a name fit into a box.
const FITS: usize = 28;

/// One box.
struct Place<'a> {
    name: &'a str,
    tone: &'static str,
    words: String,
    href: String,
}

/// Draws it: a picture where there is room, a list where there is none.
pub(super) fn draw(page: &Page, op: &Operator, all: &Standings) -> Markup {
    let flows: BTreeMap<&str, Flow> =
        all.routes.iter().map(|route| (route.name.as_str(), flow(page, op, route))).collect();
    html! {
        div.map { (picture(page, op, all, &flows)) }
        ul.flows {
            @for route in &all.routes {
                li {
                    a href=(route_link(route)) { strong { (route.name) } } " " (flows[route.name.as_str()].state)
                    p.quiet { (route.from.join(", ")) " → " (route.to.as_deref().unwrap_or("—")) }
                    p { (flows[route.name.as_str()].words) }
                }
            }
        }
    }
}

/// What goes over a route.
struct Flow {
    tone: &'static str,
    words: String,
    state: Markup,
    moves: bool,
}

fn flow(page: &Page, op: &Operator, route: &RouteView) -> Flow {
    let hour = op.metrics.pace.hour(Line::Route, &route.name, page.now);
    let pace = a_minute(&hour, page.now, |minute| minute.delivered);
    let mut words = vec![page.fill("{0}/min", &[&rate(pace)])];
    let ready = route.queued.saturating_sub(route.waiting);
    for (count, text) in [
        (ready, page.say("queued")),
        (route.waiting, page.say("waiting")),
        (route.held, page.say("held")),
        (route.dead, page.say("dead")),
    ] {
        if count > 0 {
            words.push(format!("{count} {text}"));
        }
    }
    if route.suspension.is_some() {
        words.push(page.say("suspended").to_owned());
    }
    let (tone, state) = match (route.enabled, &route.suspension) {
        (true, Some(_)) => ("bad", badge("bad", page.say("suspended"))),
        (true, None) if route.held + route.dead > 0 => ("warn", html! {}),
        (true, None) => ("good", html! {}),
        (false, _) => ("calm", badge("calm", page.say("off"))),
    };
    Flow { tone, words: words.join(" · "), state, moves: pace > 0.0 }
}

fn route_link(route: &RouteView) -> String {
    if route.dead + route.held > 0 {
        format!("/dead?route={}", query(&route.name))
    } else {
        format!("/sinks#route-{}", route.name)
    }
}

fn picture(page: &Page, op: &Operator, all: &Standings, flows: &BTreeMap<&str, Flow>) -> Markup {
    let sources: Vec<_> = all.sources.iter().map(|source| of_source(page, op, source)).collect();
    let sinks: Vec<_> = all.sinks.iter().map(|sink| of_sink(page, sink)).collect();
    let routes: Vec<_> = all.routes.iter().map(|route| of_route(route, &flows[route.name.as_str()])).collect();
    let rows = sources.len().max(sinks.len()).max(routes.len());
    let height = rows * (TALL + GAP) + GAP;
    let top = |count: usize| GAP + (height - GAP - count * (TALL + GAP)) / 2;
    let middle = |count: usize, at: usize| top(count) + at * (TALL + GAP) + TALL / 2;
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (height) } role="group" aria-label=(page.say("From sources over routes to sinks")) {
            @for (at, route) in all.routes.iter().enumerate() {
                @let flow = &flows[route.name.as_str()];
                @let y = middle(routes.len(), at);
                @for (from, source) in all.sources.iter().enumerate() {
                    @if route.from.contains(&source.name) {
                        (edge(flow, (COLUMNS[0] + BOX, middle(sources.len(), from)), (COLUMNS[1], y)))
                    }
                }
                @if let Some(to) = all.sinks.iter().position(|sink| Some(&sink.name) == route.to.as_ref()) {
                    (edge(flow, (COLUMNS[1] + BOX, y), (COLUMNS[2], middle(sinks.len(), to))))
                }
            }
            @for (column, places) in COLUMNS.into_iter().zip([&sources, &routes, &sinks]) {
                @for (at, place) in places.iter().enumerate() {
                    (drawn(place, column, top(places.len()) + at * (TALL + GAP)))
                }
            }
        }
    }
}

fn edge(flow: &Flow, (x, y): (usize, usize), (to_x, to_y): (usize, usize)) -> Markup {
    let bend = usize::midpoint(x, to_x);
    html! {
        path.edge.(flow.tone).moves[flow.moves]
            d={ "M" (x) " " (y) " C" (bend) " " (y) " " (bend) " " (to_y) " " (to_x) " " (to_y) } {}
    }
}

fn drawn(place: &Place<'_>, x: usize, y: usize) -> Markup {
    let short = |text: &str, fits: usize| match text.char_indices().nth(fits) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    html! {
        a.place href=(place.href) {
            title { (place.name) ": " (place.words) }
            rect.box.(place.tone) x=(x + 1) y=(y) width=(BOX - 2) height=(TALL) rx="8" {}
            rect.mark.(place.tone) x=(x + 1) y=(y + 10) width="4" height=(TALL - 20) rx="2" {}
            text.name x=(x + 16) y=(y + 23) { (short(place.name, FITS)) }
            text.words x=(x + 16) y=(y + 43) { (short(&place.words, FITS + 10)) }
        }
    }
}

fn of_source<'a>(page: &Page, op: &Operator, source: &'a SourceView) -> Place<'a> {
    let hour = op.metrics.pace.hour(Line::Source, &source.name, page.now);
    let pace = page.fill("{0}/min", &[&rate(a_minute(&hour, page.now, |minute| minute.came))]);
    let failed = source.last_poll.as_ref().is_some_and(|poll| poll.failed);
    let (tone, state) = match (source.enabled, source.suspension.is_some(), failed) {
        (false, ..) => ("calm", Some(page.say("off"))),
        (_, true, _) => ("bad", Some(page.say("suspended"))),
        (.., true) => ("warn", Some(page.say("poll failed"))),
        _ => ("good", None),
    };
    let words = [Some(source.kind.as_str()), Some(&pace), state].into_iter().flatten().collect::<Vec<_>>().join(" · ");
    Place { name: &source.name, tone, words, href: format!("/sources#source-{}", source.name) }
}

fn of_route<'a>(route: &'a RouteView, flow: &Flow) -> Place<'a> {
    Place { name: &route.name, tone: flow.tone, words: flow.words.clone(), href: route_link(route) }
}

fn of_sink<'a>(page: &Page, sink: &'a SinkView) -> Place<'a> {
    let (tone, state) = match (sink.enabled, &sink.suspension, &sink.breaker) {
        (false, ..) => ("calm", Some(page.say("off"))),
        (_, Some(_), _) => ("bad", Some(page.say("suspended"))),
        (.., Some(_)) => ("warn", Some(page.say("fails"))),
        _ => ("good", None),
    };
    let words = [Some(sink.kind.as_str()), state].into_iter().flatten().collect::<Vec<_>>().join(" · ");
    Place { name: &sink.name, tone, words, href: format!("/sinks#sink-{}", sink.name) }
}
