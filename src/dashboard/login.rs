//! Showing the admin token once, and leaving.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::Dashboard;
use super::deeds::{Deed, here};
use super::page::Page;
use crate::admin::doors::Doors;

/// How long a wrong token is answered with.
const PAUSE: Duration = Duration::from_secs(1);

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// `GET /login`.
pub(super) async fn page(page: Page, State(board): State<Dashboard>, Query(next): Query<Next>) -> Response {
    if !board.doors().are_locked() {
        return Redirect::to("/").into_response();
    }
    page.framed(page.say("Log in"), &form(&page, here(&next.next), false)).into_response()
}

fn form(page: &Page, next: &str, wrong: bool) -> Markup {
    html! {
        form.login method="post" action="/login" {
            h1 { (page.say("Log in")) }
            @if wrong {
                p.told.bad role="alert" { (page.say("This is not the admin token.")) }
            }
            input type="hidden" name="next" value=(next);
            label for="name" { (page.say("Your name, for the journal")) }
            input #name name="name" autocomplete="username" maxlength="60" required;
            label for="token" { (page.say("Admin token")) }
            input #token name="token" type="password" autocomplete="current-password" required;
            p.quiet { (page.say("The token is in the config under listen.admin.token.")) }
            button { (page.say("Log in")) }
        }
    }
}

/// `POST /login`.
pub(super) async fn enter(page: Page, State(board): State<Dashboard>, headers: HeaderMap, body: Bytes) -> Response {
    let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    if !board.doors().is_token(field("token")) {
        let _one_by_one = board.0.guess.lock().await;
        tokio::time::sleep(PAUSE).await;
        tracing::warn!("somebody showed a wrong token at the dashboard");
        let again = page.framed(page.say("Log in"), &form(&page, here(field("next")), true));
        return (StatusCode::UNAUTHORIZED, again).into_response();
    }
    let over_tls = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let cookie = board.doors().welcome(field("name"), over_tls);
    ([(header::SET_COOKIE, cookie)], Redirect::to(here(field("next")))).into_response()
}

/// `POST /logout`.
pub(super) async fn leave(_: Deed) -> Response {
    ([(header::SET_COOKIE, Doors::farewell())], Redirect::to("/login")).into_response()
}
