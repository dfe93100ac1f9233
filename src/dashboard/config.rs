//! The config as it was loaded, with what is secret masked.

use axum::extract::State;
use axum::response::Response;
use maud::html;

use super::Dashboard;
use super::page::Page;

/// `GET /config`.
pub(super) async fn page(page: Page, State(board): State<Dashboard>) -> Response {
    let operator = board.operator();
    let (config, loaded) = (&operator.config, operator.reloads.loaded());
    let body = html! {
        h1 { (page.say("Config")) }
        p {
            (page.say("As it was loaded from")) " " code { (config.file.display()) } ", " (page.at(loaded.at)) ". "
            span.quiet { (page.say("Secrets are masked; what comes from the environment or a file is shown by its name.")) }
        }
        @if let Some((at, why)) = &loaded.refused {
            section aria-labelledby="refused-title" {
                h2 #refused-title { (page.say("A newer one was refused")) }
                p { (page.ago(*at)) ". " (page.say("This one goes on. What is wrong with the newer:")) }
                (page.text(why))
            }
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
