//! What a dry run shows: every delivery as it would be sent, and why others would not be.

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::app::Seen;
use crate::commands::{Result, output};
use crate::store::journal::{Entry, Polled, Record, Step};

/// Prints until the bridge has gone.
///
/// # Errors
/// Standard output cannot be written.
pub async fn print(mut seen: Receiver<Seen>) -> Result {
    loop {
        match seen.recv().await {
            Ok(seen) => {
                if let Some(text) = text(&seen) {
                    output::line(text)?;
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "more happens than can be printed"),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

fn text(seen: &Seen) -> Option<String> {
    match seen {
        Seen::Record(Record::Entry(entry)) => step(entry),
        Seen::Record(Record::Polled(Polled { at, source, note: Some(note), .. })) => {
            Some(head(*at, source, "polled", note))
        }
        _ => None,
    }
}

fn step(entry: &Entry) -> Option<String> {
    let route = entry.route.as_deref().unwrap_or_default();
    let (what, detail) = match &entry.step {
        Step::Ended { ending, detail } if ending == "dry-run" => return Some(call(entry, route, detail)),
        Step::Ended { ending, detail } => (ending.as_str(), detail),
        Step::Skipped { why } => ("skipped", why),
        _ => return None,
    };
    Some(head(entry.at, &entry.event, route, &format!("{what}: {detail}")))
}

/// A call as it would be made. What is to be masked in it was masked where it was made.
fn call(entry: &Entry, route: &str, detail: &str) -> String {
    let shown: Value = serde_json::from_str(detail).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (verb, sink) = (text(&shown["verb"]), text(&shown["sink"]));
    let (method, url) = (text(&shown["call"]["method"]), text(&shown["call"]["url"]));
    let mut told = head(entry.at, &entry.event, route, &format!("would {verb} at {sink}: {method} {url}"));
    let body = &shown["call"]["body"];
    if !body.is_null() {
        let body = serde_json::to_string_pretty(body).unwrap_or_else(|_| body.to_string());
        for line in body.lines() {
            told.push_str("\n    ");
            told.push_str(line);
        }
    }
    told
}

fn head(at: Timestamp, what: &str, route: &str, detail: &str) -> String {
    format!("{}  {what}  {route}  {detail}", output::clock(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_shown_with_its_body() {
        let detail = r#"{"verb":"create","sink":"crm","call":{"method":"POST","url":"http://x/y","body":{"token":"***","params":{"id":"7"}}}}"#;
        let step = Step::Ended { ending: "dry-run".into(), detail: detail.into() };
        let at = "2026-11-21T01:30:00Z".parse().unwrap();
        let entry = Entry { at, event: "signup/7".into(), route: Some("to-crm".into()), step };
        let told = text(&Seen::Record(Record::Entry(entry))).unwrap();
        let (_, told) = told.split_once("  ").unwrap();
        insta::assert_snapshot!(told, @r#"
        signup/7  to-crm  would create at crm: POST http://x/y
            {
              "token": "***",
              "params": {
                "id": "7"
              }
            }
        "#);
    }
}
