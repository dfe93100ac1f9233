//! Accounts, sinks and routes: how they stand, and stopping and resuming them.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::Dashboard;
use super::overview::quota;
use super::page::Page;
use super::show::{badge, number, query};
use crate::admin::views::{AccountView, RouteView, SinkView};
use crate::admin::{Operator, Result};
use crate::outcome::Scope;
use crate::store::Suspension;

/// `GET /sinks`.
pub(super) async fn page(page: Page, State(board): State<Dashboard>) -> Response {
    page.answer(page.say("Sinks"), body(&page, &board.operator()).await)
}

async fn body(page: &Page, op: &Operator) -> Result<Markup> {
    let (accounts, sinks, routes) = (op.accounts().await?, op.sinks().await?, op.routes().await?);
    Ok(html! {
        h1 { (page.say("Sinks, accounts and routes")) }
        section aria-labelledby="sinks-title" {
            h2 #sinks-title { (page.say("Sinks")) }
            div.things { @for sink in &sinks { (of_sink(page, sink)) } }
        }
        section aria-labelledby="accounts-title" {
            h2 #accounts-title { (page.say("Accounts")) }
            p.quiet { (page.say("One set of credentials at one vendor. What stops an account stops all its sources and sinks.")) }
            div.things { @for account in &accounts { (of_account(page, account)) } }
        }
        section aria-labelledby="routes-title" {
            h2 #routes-title { (page.say("Routes")) }
            div.things { @for route in &routes { (of_route(page, route)) } }
        }
    })
}

fn of_sink(page: &Page, sink: &SinkView) -> Markup {
    html! {
        article.thing id={ "sink-" (sink.name) } {
            h3 { (sink.name) " " span.quiet { (sink.kind) } }
            div id={ "sink-" (sink.name) "-now" } data-live {
                p { (state(page, sink.enabled, sink.suspension.as_ref())) }
                @if let Some(breaker) = &sink.breaker {
                    p {
                        (badge("warn", page.say("fails"))) " " (page.say("since")) " " (page.ago(breaker.since)) " · "
                        (page.say("tried again")) " " (page.ago(breaker.next))
                    }
                }
                p.quiet {
                    (page.say("account")) " " a href={ "#account-" (sink.account) } { (sink.account) }
                    " · " (page.fill("{0} queued", &[&number(sink.queued)]))
                }
                (stop_or_go(page, (Scope::Sink, &sink.name), sink.suspension.as_ref()))
            }
        }
    }
}

fn state(page: &Page, enabled: bool, suspension: Option<&Suspension>) -> Markup {
    match (enabled, suspension) {
        (false, _) => badge("calm", page.say("switched off in the config")),
        (true, Some(halt)) => page.halted(halt),
        (true, None) => badge("good", page.say("works")),
    }
}

/// Resume where it is stopped itself; else a way to stop it.
pub(super) fn stop_or_go(page: &Page, (scope, name): (Scope, &str), suspension: Option<&Suspension>) -> Markup {
    match suspension {
        Some(halt) if halt.scope == scope && halt.name == name => page.deed(scope, name, "resume", page.say("Resume")),
        Some(halt) => html! {
            p { (page.fill("It stands because the {0} {1} is suspended.", &[&page.scope(halt.scope), &halt.name])) }
        },
        None => {
            let id = format!("why-{}-{name}", scope.name());
            html! {
                details id={ "suspend-" (scope.name()) "-" (name) } {
                    summary { (page.say("Suspend…")) }
                    form method="post" action={ "/do/" (scope.name()) "/" (query(name)) "/suspend" } {
                        (page.back())
                        label for=(id) { (page.say("Why, for the others")) }
                        input id=(id) name="why" maxlength="200";
                        button aria-label={ (page.say("Suspend")) ": " (name) } { (page.say("Suspend")) }
                    }
                }
            }
        }
    }
}

fn of_account(page: &Page, account: &AccountView) -> Markup {
    let used = format!("used-{}", account.name);
    html! {
        article.thing id={ "account-" (account.name) } {
            h3 { (account.name) " " span.quiet { (account.connector) } }
            div id={ "account-" (account.name) "-now" } data-live {
                p { (state(page, true, account.suspension.as_ref())) }
                (quota(page, account))
                p.quiet {
                    @if !account.url.is_empty() { (account.url) " · " }
                    @if let Some(permits) = &account.permits {
                        (page.fill("{0} calls under way of {1}, {2} wait", &[&permits.in_use, &permits.limit, &permits.waiting]))
                    }
                    @if let Some(rate) = account.rate { " · " (page.fill("{0} calls a second at most", &[&rate])) }
                }
                (stop_or_go(page, (Scope::Account, &account.name), account.suspension.as_ref()))
                @if account.monthly.is_some() {
                    details id={ "set-" (account.name) } {
                        summary { (page.say("Set the calls of this month…")) }
                        form method="post" action={ "/do/account/" (query(&account.name)) "/used" } {
                            (page.back())
                            label for=(used) { (page.say("Calls used, with those made elsewhere")) }
                            input id=(used) name="used" type="number" min="0" value=(account.used) required;
                            button { (page.say("Set")) }
                        }
                    }
                }
            }
        }
    }
}

fn of_route(page: &Page, route: &RouteView) -> Markup {
    let dead = format!("/dead?route={}", query(&route.name));
    html! {
        article.thing id={ "route-" (route.name) } {
            h3 { (route.name) }
            div id={ "route-" (route.name) "-now" } data-live {
                @if route.to.is_some() {
                    p { (state(page, route.enabled, route.suspension.as_ref())) }
                    p.quiet { (route.from.join(", ")) " → " strong { (route.does.join(", ")) } " → " (route.to.as_deref().unwrap_or_default()) }
                } @else {
                    p { (badge("warn", page.say("no longer in the config"))) }
                }
                p {
                    (page.fill("{0} queued", &[&number(route.queued)])) " · " (page.fill("{0} wait", &[&number(route.waiting)]))
                    @if let Some(oldest) = route.oldest { " · " (page.say("the oldest")) " " (page.ago(oldest)) }
                    @if route.dead + route.held > 0 {
                        " · " a href=(dead) { (page.fill("{0} dead, {1} held", &[&number(route.dead), &number(route.held)])) }
                    }
                }
                @if route.to.is_some() { (stop_or_go(page, (Scope::Route, &route.name), route.suspension.as_ref())) }
            }
        }
    }
}
