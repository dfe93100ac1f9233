//! `dari replay`: counts, and then sends again, a page at a time. Interrupted or crashed it goes on with `--resume`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::access::{Access, Where};
use super::{CommandError, Result, output};
use crate::admin::api::Pace;
use crate::admin::replay::{Job, ReplayRequest};
use crate::admin::views::Replayed;

/// How many events are sent at a time.
const AT_ONCE: u32 = 100;

/// Sends events again, with the config of now.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct ReplayArgs {
    /// The events with this id
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Dead letters: the one with this number, or all
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "all")]
    dead: Option<String>,
    /// The events of this source, from the journal
    #[arg(long)]
    source: Option<String>,
    /// Read the source's own past instead: what it still has, of before the bridge's time too
    #[arg(long, requires = "source")]
    past: bool,
    /// On this route only
    #[arg(long)]
    route: Option<String>,
    /// Onto this route instead of the dead letters' own
    #[arg(long, value_name = "ROUTE", requires = "dead")]
    to: Option<String>,
    /// Received at or after (RFC 3339, or a date)
    #[arg(long, value_parser = super::look::instant)]
    from: Option<Timestamp>,
    /// Only say how many there would be
    #[arg(long)]
    dry_run: bool,
    /// At most so many events a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Apply what is older than what was applied, too
    #[arg(long)]
    force: bool,
    /// Go on with the one that was interrupted
    #[arg(long, conflicts_with_all = ["event", "dead", "source", "dry_run", "forget"])]
    resume: bool,
    /// Give up the one that was interrupted
    #[arg(long, conflicts_with_all = ["event", "dead", "source", "dry_run"])]
    forget: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// `dari replay`.
///
/// # Errors
/// There is nothing like that, another one is unfinished, or the bridge does not answer.
pub async fn replay(args: ReplayArgs, place: &Where) -> Result {
    let request = request(&args)?;
    let access = Access::open(place).await?;
    if args.forget {
        let job: Option<Job> = access.post("/api/replay/job/forget", &Value::Null).await?;
        return output::line(match job {
            Some(job) => format!("given up after {} deliveries", job.done.deliveries()),
            None => "no replay is unfinished".to_owned(),
        });
    }
    let mut of = None;
    if !args.resume {
        let counted: Replayed = access.post("/api/replay", &ReplayRequest { dry_run: true, ..request.clone() }).await?;
        if args.dry_run {
            access.close().await?;
            return if args.json { output::json(&counted) } else { show(&counted) };
        }
        if !args.json {
            show(&counted)?;
        }
        of = Some(counted.deliveries);
        let _: Job = access.post("/api/replay/job", &request).await?;
    }
    let job = drive(&access, args.rate, of).await?;
    access.close().await?;
    if args.json {
        return output::json(&job.done);
    }
    output::line(format!("{} events are sent again as {} deliveries", job.done.events, job.done.deliveries()))
}

fn request(args: &ReplayArgs) -> Result<ReplayRequest> {
    let number = match args.dead.as_deref() {
        None | Some("all") => None,
        Some(n) => Some(n.parse().map_err(|_| CommandError::Usage(format!("--dead takes a number, not {n:?}")))?),
    };
    Ok(ReplayRequest {
        all_dead: args.dead.is_some() && number.is_none(),
        dead: number,
        event: args.event.clone(),
        source: args.source.clone(),
        past: args.past,
        route: args.route.clone(),
        to: args.to.clone(),
        from: args.from,
        force: args.force,
        dry_run: false,
    })
}

/// Takes the replay to its end.
async fn drive(access: &Access, rate: Option<u32>, of: Option<u64>) -> Result<Job> {
    let pace = Pace { most: rate.unwrap_or(AT_ONCE).min(AT_ONCE) as usize };
    let mut before = 0;
    loop {
        let job: Job = access.post("/api/replay/job/step", &pace).await?;
        bar(job.done.deliveries(), of, job.finished);
        if job.finished {
            return Ok(job);
        }
        if let Some(rate) = rate {
            let events = u32::try_from(job.done.events - before).unwrap_or(u32::MAX);
            tokio::time::sleep(Duration::from_secs(1).saturating_mul(events) / rate).await;
        }
        before = job.done.events;
    }
}

/// Shows how far it is, where a person looks.
fn bar(done: u64, of: Option<u64>, finished: bool) {
    let mut out = std::io::stderr();
    if !out.is_terminal() {
        return;
    }
    // Nobody may be reading any more.
    _ = write!(out, "\r{}{}", drawn(done, of), if finished { "\n" } else { "" });
    _ = out.flush();
}

fn drawn(done: u64, of: Option<u64>) -> String {
    const WIDTH: u64 = 30;
    // More may come than was counted: what died meanwhile does not, but a source's past may have grown.
    match of.map(|of| of.max(done)).filter(|&of| of > 0) {
        Some(of) => {
            let full = usize::try_from(done * WIDTH / of).unwrap_or_default();
            let rest = usize::try_from(WIDTH).unwrap_or_default().saturating_sub(full);
            format!("[{}{}] {done} of {of}", "█".repeat(full), "·".repeat(rest))
        }
        None => format!("{done} deliveries"),
    }
}

fn show(counted: &Replayed) -> Result {
    let changes = counted.changes.unwrap_or_default();
    output::line(format!(
        "{} events are {} deliveries; {changes} of them would change something as things stand",
        counted.events, counted.deliveries
    ))?;
    for (route, count) in &counted.routes {
        output::line(format!("  {route}: {count}"))?;
    }
    if counted.without_body > 0 {
        let why = "cannot be replayed: the journal no longer keeps their bodies (journal.bodies)";
        output::line(format!("  {} more {why}", counted.without_body))?;
    }
    if counted.without_route > 0 {
        let why = "stay: the config no longer has their routes; say which one is to take them with --to, or drop them";
        output::line(format!("  {} dead letters {why}", counted.without_route))?;
    }
    for (account, left) in &counted.calls_left {
        output::line(format!("  account {account} has {left} calls left this month"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_with_what_is_done() {
        insta::assert_snapshot!(drawn(0, Some(9)), @"[······························] 0 of 9");
        insta::assert_snapshot!(drawn(3, Some(9)), @"[██████████····················] 3 of 9");
        insta::assert_snapshot!(drawn(9, Some(9)), @"[██████████████████████████████] 9 of 9");
        // More came than was counted; and after a crash nothing is counted anew.
        insta::assert_snapshot!(drawn(12, Some(9)), @"[██████████████████████████████] 12 of 12");
        insta::assert_snapshot!(drawn(12, None), @"12 deliveries");
    }
}
