//! The config as it was loaded, with what is secret masked.

use axum::extract::State;
use axum::response::Response;
use maud::html;

use super::Dashboard;
use super::page::Page;

/// `GET /config`.
pub(super) async fn page(page: Page, State(board): State<Dashboard>) -> Response {
    let config = &board.operator().config;
    let body = html! {
        h1 { (page.say("Config")) }
        p {
            (page.say("As it was loaded from")) " " code { (config.file.display()) } ". "
            span.quiet { (page.say("Secrets are masked; what comes from the environment or a file is shown by its name.")) }
        }
        @if !config.warnings.is_empty() {
            section aria-labelledby="warnings-title" {
                h2 #warnings-title { (page.say("Worth a word")) }
                ul { @for warning in &config.warnings { li { (page.fill("line {0}", &[&warning.spot.line])) ": " (warning.message) } } }
            }
        }
        (page.text(&config.shown))
    };
    page.answer(page.say("Config"), Ok(body))
}
