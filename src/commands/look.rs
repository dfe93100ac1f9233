//! `dari events` and `dari trace`: what happened.

use std::path::PathBuf;

use jiff::Timestamp;

use super::access::{Access, Where};
use super::{CommandError, Result, output};
use crate::admin::api::{RefusedFilter, TraceRequest};
use crate::admin::views::{Journey, RouteJourney};
use crate::store::Progress;
use crate::store::journal::{EventFilter, Listed, Refused, Step};

/// Searches the journal.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EventsArgs {
    #[command(subcommand)]
    action: Option<EventsAction>,
    /// Requests that became no event
    #[arg(long, conflicts_with_all = ["kind", "subject", "text", "from", "to"])]
    refused: bool,
    /// Of this source
    #[arg(long)]
    source: Option<String>,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Of this subject
    #[arg(long)]
    subject: Option<String>,
    /// With this text in the body
    #[arg(long)]
    text: Option<String>,
    /// Received at or after (RFC 3339, or a date)
    #[arg(long, value_parser = instant)]
    from: Option<Timestamp>,
    /// Received before
    #[arg(long, value_parser = instant)]
    to: Option<Timestamp>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum EventsAction {
    /// Write an event as a fixture
    Save {
        /// The event's id
        id: String,
        /// The file to write
        file: PathBuf,
    },
}

/// Shows the journey of events.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["what", "last"])))]
pub struct TraceArgs {
    /// An event's id, or a subject
    what: Option<String>,
    /// The newest event of this source
    #[arg(long, value_name = "SOURCE")]
    last: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Reads an instant of the command line: RFC 3339, or a date in the machine's zone.
///
/// # Errors
/// In words.
pub fn instant(text: &str) -> std::result::Result<Timestamp, String> {
    crate::settings::parse_instant(text, &jiff::tz::TimeZone::system())
        .ok_or_else(|| "expected an instant like 2026-01-31T09:00:00+09:00, or a date".to_owned())
}

/// `dari events`.
///
/// # Errors
/// The bridge does not answer.
pub async fn events(args: EventsArgs, place: &Where) -> Result {
    if let Some(EventsAction::Save { id, file }) = &args.action {
        return super::send::save_event(id, file, place).await;
    }
    let access = Access::open(place).await?;
    if args.refused {
        let filter = RefusedFilter { source: args.source, limit: args.limit };
        let found: Vec<Refused> = access.get("/api/refused", &filter).await?;
        if args.json {
            return output::json(&found);
        }
        let rows = found
            .into_iter()
            .map(|r| [output::time(r.at), r.source, r.status.to_string(), r.peer, r.bytes.to_string(), r.why])
            .collect();
        return output::table(["received", "source", "status", "from", "bytes", "why"], rows, "no refused requests");
    }
    let filter = EventFilter {
        source: args.source,
        kind: args.kind,
        subject: args.subject,
        text: args.text,
        from: args.from,
        to: args.to,
        limit: args.limit,
        ..EventFilter::default()
    };
    let found: Vec<Listed> = access.get("/api/events", &filter).await?;
    if args.json {
        return output::json(&found);
    }
    let rows = found.iter().map(event_row).collect();
    output::table(["received", "source", "type", "subject", "id", "routes"], rows, "no events")
}

fn event_row(listed: &Listed) -> [String; 6] {
    let event = &listed.event;
    let mut endings: Vec<_> = listed.endings.iter().map(|(route, ending)| format!("{route}: {ending}")).collect();
    if event.unfetched {
        endings.push("still to be read anew".to_owned());
    }
    [
        output::time(event.received.at()),
        event.source.clone(),
        event.kind.clone(),
        output::short(event.subject.as_deref().unwrap_or("-"), 40),
        output::short(&event.id, 40),
        endings.join(", "),
    ]
}

/// `dari trace`.
///
/// # Errors
/// There is no such event, or the bridge does not answer.
pub async fn trace(args: TraceArgs, place: &Where) -> Result {
    let access = Access::open(place).await?;
    let request = TraceRequest { what: args.what.clone(), last: args.last.clone() };
    let journeys: Vec<Journey> = access.get("/api/trace", &request).await?;
    if journeys.is_empty() {
        let what = args.what.or(args.last).unwrap_or_default();
        let why = format!("the journal knows nothing of {what:?}; `dari events` lists what there is");
        return Err(CommandError::Failed(why));
    }
    if args.json {
        return output::json(&journeys);
    }
    for journey in &journeys {
        tell(journey)?;
    }
    Ok(())
}

fn tell(journey: &Journey) -> Result {
    let event = &journey.event.event;
    output::line(format!("event {}", event.id))?;
    output::line(format!("  {} of {}, received {}", event.kind, event.source, output::time(event.received.at())))?;
    if let Some(subject) = &event.subject {
        let version = event.version.map(|v| format!(", version {v}")).unwrap_or_default();
        output::line(format!("  subject {subject}{version}"))?;
    }
    output::line(format!("  trace {}", journey.trace))?;
    if journey.event.body {
        output::line(format!("  data {}", output::short(&event.data.value().to_string(), 300)))?;
    }
    for entry in &journey.before {
        output::line(format!("  {}  {}", output::clock(entry.at), step(&entry.step)))?;
    }
    for route in &journey.routes {
        output::line("")?;
        tell_route(route)?;
    }
    output::line("")
}

fn tell_route(route: &RouteJourney) -> Result {
    let to = route.to.as_deref().map_or_else(|| "no longer in the config".to_owned(), |to| format!("→ {to}"));
    output::line(format!("route {} {to}", route.route))?;
    if let Some(why) = &route.not_bound {
        return output::line(format!("  not for it: {why}"));
    }
    for entry in &route.steps {
        output::line(format!("  {}  {}", output::clock(entry.at), step(&entry.step)))?;
    }
    match route.ledger.as_ref().map(|entry| (&entry.progress, entry.attempt)) {
        Some((Progress::Waiting { due }, attempt)) => {
            output::line(format!("  attempt {attempt} is due {}", output::time(*due)))
        }
        Some((Progress::Open { .. }, attempt)) => output::line(format!("  attempt {attempt} is under way")),
        Some((Progress::Held { .. }, _)) => output::line("  held: see `dari dead list --held`, then `dari dead mark`"),
        None if route.steps.is_empty() => output::line("  waits in the route's queue"),
        _ => Ok(()),
    }
}

fn step(step: &Step) -> String {
    match step {
        Step::Matched { verb } => format!("matched    {verb}"),
        Step::Skipped { why } => format!("skipped    {why}"),
        Step::Attempt { attempt, status, outcome, message, took_ms, .. } => {
            let status = status.map(|s| format!(" {s}")).unwrap_or_default();
            format!("attempt {attempt} {outcome}{status} ({took_ms} ms) {message}")
        }
        Step::Asked { what, message, cached: true, .. } => format!("asked      {what} (known): {message}"),
        Step::Asked { what, status, message, took_ms, .. } => {
            let status = status.map(|s| format!(" {s}")).unwrap_or_default();
            format!("asked      {what}{status} ({took_ms} ms): {message}")
        }
        Step::Waiting { attempt, until, why } => {
            format!("waiting    attempt {attempt} at {}: {why}", output::clock(*until))
        }
        Step::Ended { ending, detail } if detail.is_empty() => format!("ended      {ending}"),
        Step::Ended { ending, detail } => format!("ended      {ending}: {detail}"),
        Step::Operator { what } => format!("operator   {what}"),
    }
}
