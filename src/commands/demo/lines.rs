//! A line for all that happens, and the count of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::app::Seen;
use crate::commands::{Result, output};
use crate::event::Event;
use crate::store::journal::{Entry, Polled, Record, Refused, Step};

const GOOD: Style = AnsiColor::Green.on_default();
const LATER: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const NEW: Style = AnsiColor::Cyan.on_default();
const QUIET: Style = Style::new().dimmed();
const PLAIN: Style = Style::new();

/// What has been seen so far.
#[derive(Default)]
pub struct Progress(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// How many events of a subject, by source and subject.
    events: HashMap<(String, String), u32>,
    /// The sources that were polled.
    polled: Vec<String>,
    /// The last attempt at each delivery.
    attempts: HashMap<(String, String), Attempted>,
    routes: BTreeMap<String, Tally>,
}

struct Attempted {
    number: u32,
    status: Option<u16>,
    took_ms: u64,
}

/// What a route's deliveries came to.
#[derive(Clone, Copy, Default)]
struct Tally {
    delivered: u64,
    retried: u64,
    skipped: u64,
    repeated: u64,
    dead: u64,
    held: u64,
}

impl Progress {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many events of a subject have been seen.
    pub fn events(&self, source: &str, subject: &str) -> u32 {
        self.inner().events.get(&(source.to_owned(), subject.to_owned())).copied().unwrap_or(0)
    }

    /// The subjects of a source of which events have been seen.
    pub fn subjects(&self, source: &str) -> Vec<String> {
        let inner = self.inner();
        inner.events.keys().filter(|(of, _)| of == source).map(|(_, subject)| subject.clone()).collect()
    }

    /// True if a source has been polled.
    pub fn is_polled(&self, source: &str) -> bool {
        self.inner().polled.iter().any(|polled| polled == source)
    }

    /// Prints what each route's deliveries came to.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn table(&self) -> Result {
        let inner = self.inner();
        let rows = inner.routes.iter().map(|(route, tally)| {
            let Tally { delivered, retried, skipped, repeated, dead, held } = *tally;
            let [delivered, retried, skipped, repeated, dead, held] =
                [delivered, retried, skipped, repeated, dead, held].map(|n| n.to_string());
            [route.clone(), delivered, retried, skipped, repeated, dead, held]
        });
        let head = ["route", "delivered", "retried", "skipped", "repeated", "dead", "held"];
        let rows = rows.collect();
        output::table(head, rows, "no route had anything to do")
    }

    fn event(&self, event: &Event) -> String {
        let subject = event.subject.clone().unwrap_or_default();
        *self.inner().events.entry((event.source.clone(), subject.clone())).or_default() += 1;
        line(event.received.at(), (&event.source, &event.id), "", NEW, &format!("{} {subject}", event.kind))
    }

    fn step(&self, entry: &Entry) -> Option<String> {
        let route = entry.route.as_deref()?;
        let delivery = (entry.event.clone(), route.to_owned());
        let mut inner = self.inner();
        let (style, text) = match &entry.step {
            Step::Attempt { attempt, status, took_ms, outcome, message, .. } => {
                let made = Attempted { number: *attempt, status: *status, took_ms: *took_ms };
                inner.attempts.insert(delivery, made);
                // Of the others there is another step to come.
                let last = matches!(outcome.as_str(), "suspend" | "unknown");
                last.then(|| (BAD, format!("{outcome}: {message}")))?
            }
            Step::Waiting { attempt, until, why } => {
                let waits = until.duration_since(entry.at).as_secs_f64();
                if inner.attempts.get(&delivery).is_some_and(|last| last.number < *attempt) {
                    inner.routes.entry(delivery.1).or_default().retried += 1;
                    (LATER, format!("again in {waits:.1} s: {why}"))
                } else {
                    (QUIET, format!("waits: {why}"))
                }
            }
            Step::Ended { ending, detail } => {
                let last = inner.attempts.remove(&delivery);
                let tally = inner.routes.entry(delivery.1).or_default();
                tally.count(ending);
                ended(ending, detail, last.as_ref())
            }
            Step::Skipped { why } => {
                inner.routes.entry(delivery.1).or_default().skipped += 1;
                (QUIET, format!("skipped: {why}"))
            }
            Step::Asked { what, message, cached, .. } if !cached => (QUIET, format!("asked {what}: {message}")),
            Step::Asked { .. } | Step::Matched { .. } | Step::Operator { .. } => return None,
        };
        let (source, id) = entry.event.split_once('/')?;
        Some(line(entry.at, (source, id), route, style, &text))
    }

    fn text(&self, seen: &Seen) -> Option<String> {
        match seen {
            Seen::Event(event) => Some(self.event(event)),
            Seen::Record(Record::Entry(entry)) => self.step(entry),
            Seen::Record(Record::Refused(Refused { at, source, status, why, .. })) => {
                Some(line(*at, (source, ""), "", BAD, &format!("refused with {status}: {why}")))
            }
            Seen::Record(Record::Polled(Polled { at, source, note, failed, .. })) => {
                let mut inner = self.inner();
                if !failed && !inner.polled.contains(source) {
                    inner.polled.push(source.clone());
                }
                let style = if *failed { BAD } else { QUIET };
                note.as_ref().map(|note| line(*at, (source, ""), "", style, note))
            }
        }
    }
}

impl Tally {
    fn count(&mut self, ending: &str) {
        let which = match ending {
            "delivered" => &mut self.delivered,
            "rejected" | "exhausted" | "poison" => &mut self.dead,
            "held" => &mut self.held,
            "duplicate" => &mut self.repeated,
            _ => &mut self.skipped,
        };
        *which += 1;
    }
}

fn ended(ending: &str, detail: &str, last: Option<&Attempted>) -> (Style, String) {
    match (ending, last) {
        ("delivered", Some(Attempted { number, status, took_ms })) => {
            let status = status.map(|status| format!("{status} ")).unwrap_or_default();
            let again = if *number > 1 { format!(", attempt {number}") } else { String::new() };
            (GOOD, format!("delivered: {status}in {took_ms} ms{again}, record {detail}"))
        }
        ("rejected" | "exhausted" | "poison" | "held", _) => (BAD, format!("{ending}: {detail}")),
        _ => (PLAIN, format!("{ending}: {detail}")),
    }
}

/// Prints a line for all that happens until the bridge has gone.
///
/// # Errors
/// Standard output cannot be written.
pub async fn print(mut seen: Receiver<Seen>, progress: Arc<Progress>) -> Result {
    loop {
        match seen.recv().await {
            Ok(seen) => {
                if let Some(text) = progress.text(&seen) {
                    output::line(text)?;
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "more happens than can be printed"),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// A remark of the demo itself.
pub fn remark(text: &str) -> String {
    format!("{:<12}  {QUIET}-- {text}{QUIET:#}", "")
}

fn line(at: Timestamp, (source, id): (&str, &str), route: &str, style: Style, text: &str) -> String {
    let (id, text) = (output::short(id, 13), output::short(text, 110));
    format!("{}  {source:<7} {id:<14}  {route:<15}  {style}{text}{style:#}", output::clock(at))
}
