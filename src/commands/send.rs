//! `dari send`, `dari sample`, `dari events save`: events by hand, and real ones as fixtures.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::access::{Access, Where, segment};
use super::{CommandError, Result, output};
use crate::admin::api::SendRequest;
use crate::admin::preview::Preview;
use crate::event::NewEvent;
use crate::store::journal::{EventFilter, Listed};

/// Puts an event in by hand.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    /// The source that it is to come from
    pub source: String,
    /// A JSON file with an event: `type` and `data` at the least; `-` reads standard input
    pub file: PathBuf,
    /// Only show what it would do on each route: nothing is sent or kept
    #[arg(long)]
    pub dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Saves the newest event of a source.
#[derive(Debug, clap::Args)]
pub struct SampleArgs {
    /// The source
    pub source: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub save: PathBuf,
}

/// `dari send`.
///
/// # Errors
/// The file is no event, there is no such source, or the bridge cannot take it.
pub async fn send(args: &SendArgs, place: &Where) -> Result {
    let text = if args.file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(CommandError::failed)?
    } else {
        std::fs::read_to_string(&args.file)
            .map_err(|e| CommandError::Failed(format!("{}: {e}", args.file.display())))?
    };
    let named = |why: String| CommandError::Failed(format!("{}: {why}", args.file.display()));
    let event: Value = serde_json::from_str(&text).map_err(|e| named(e.to_string()))?;
    NewEvent::from_fixture(&event).map_err(named)?;
    let access = if args.dry_run { Access::open_or_make(place).await? } else { Access::open(place).await? };
    let path = format!("/api/send/{}", segment(&args.source));
    let request = SendRequest { event, dry_run: args.dry_run };
    if args.dry_run {
        let previews: Vec<Preview> = access.post(&path, &request).await?;
        access.close().await?;
        return if args.json { output::json(&previews) } else { show(&args.source, &previews) };
    }
    let sent: Value = access.post(&path, &request).await?;
    access.close().await?;
    if args.json {
        return output::json(&sent);
    }
    let id = sent["id"].as_str().unwrap_or_default();
    output::line(format!("sent {id}; follow it with `dari trace {id}`"))
}

fn show(source: &str, previews: &[Preview]) -> Result {
    if previews.is_empty() {
        return output::line(format!("no route takes from {source}"));
    }
    for Preview { route, to, would, why, call } in previews {
        let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        match call {
            Some(call) => {
                let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
                output::line(format!("{route}  would {would} at {to}: {} {}{why}", text("method"), text("url")))?;
                if !call["body"].is_null() {
                    let body = serde_json::to_string_pretty(&call["body"]).map_err(CommandError::failed)?;
                    output::line(body.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"))?;
                }
            }
            None => output::line(format!("{route}  {would}{why}"))?,
        }
    }
    Ok(())
}

/// `dari sample`.
///
/// # Errors
/// The source has had no event, or the file cannot be written.
pub async fn sample(args: &SampleArgs, place: &Where) -> Result {
    let filter = EventFilter { source: Some(args.source.clone()), limit: 1, ..EventFilter::default() };
    let nothing = format!("the journal has no event of {} with its body", args.source);
    save(place, &filter, &nothing, &args.save).await
}

/// `dari events save`.
///
/// # Errors
/// There is no such event, or the file cannot be written.
pub async fn save_event(id: &str, file: &Path, place: &Where) -> Result {
    let filter = EventFilter { id: Some(id.to_owned()), limit: 1, ..EventFilter::default() };
    save(place, &filter, &format!("the journal has no event {id} with its body"), file).await
}

async fn save(place: &Where, filter: &EventFilter, nothing: &str, file: &Path) -> Result {
    let access = Access::open(place).await?;
    let found: Vec<Listed> = access.get("/api/events", filter).await?;
    let listed = found.into_iter().find(|l| l.body).ok_or_else(|| CommandError::Failed(nothing.to_owned()))?;
    let event = &listed.event;
    let fixture = json!({
        "source": event.source,
        "id": event.id,
        "type": event.kind,
        "subject": event.subject,
        "time": event.time,
        "version": event.version.map(|v| v.to_string()),
        "headers": event.headers,
        "data": event.data.value(),
    });
    let text = serde_json::to_string_pretty(&fixture).map_err(CommandError::failed)?;
    std::fs::write(file, text + "\n").map_err(|e| CommandError::Failed(format!("{}: {e}", file.display())))?;
    output::line(format!("wrote {} ({} of {})", file.display(), event.kind, event.source))
}
