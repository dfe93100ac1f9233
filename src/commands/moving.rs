//! `dari move`: what is queued in the store's file goes to RabbitMQ.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::{CommandError, Result, access, output};
use crate::app;
use crate::app::moving::{Moving, Share};
use crate::clock::Clock;

/// How often it is told how far the move is: on a terminal, and in a log.
const EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Moves what is queued, with what waits for another attempt, from the queue in the store's file to RabbitMQ. The
/// bridge is to be stopped. Killed or failed, the same command goes on.
#[derive(Debug, clap::Args)]
pub struct MoveArgs {
    /// The config of before, without `broker`
    pub old: PathBuf,
    /// The config of from now on, with `broker`
    pub new: PathBuf,
    /// As JSON, at the end
    #[arg(long)]
    json: bool,
}

/// `dari move`.
///
/// # Errors
/// The configs, or that they do not go together; a bridge that holds the files; RabbitMQ.
pub async fn moving(args: &MoveArgs) -> Result {
    let (old, new) = (access::load(&args.old)?, access::load(&args.new)?);
    let moving =
        Moving::prepare(&old, &new, Clock::system(app::process_number())).await.map_err(CommandError::failed)?;
    if !args.json {
        tell(moving.shares(), "to move", |share| share.messages - share.moved)?;
        let spooled = moving.spooled();
        if spooled > 0 {
            output::line(format!("{spooled} events of the spool are published after them"))?;
        }
    }
    let mut teller = Teller::new();
    let moved = moving.run(|shares| teller.tell(shares)).await;
    teller.end();
    let moved = moved.map_err(|error| {
        CommandError::Failed(format!("{error}; nothing is lost, and the same command goes on where it ended"))
    })?;
    if args.json {
        return output::json(&moved);
    }
    tell(&moved.queues, "moved", |share| share.moved)?;
    if moved.unreadable > 0 {
        output::line(format!("{} of them cannot be read and are in the unreadable queue", moved.unreadable))?;
    }
    if moved.spooled > 0 {
        output::line(format!("{} events of the spool were published", moved.spooled))?;
    }
    output::line(format!("everything is in RabbitMQ: start the bridge with {}", args.new.display()))
}

fn tell(shares: &[Share], column: &str, count: impl Fn(&Share) -> u64) -> Result {
    let rows = shares.iter().map(|share| {
        let waiting = if share.waiting > 0 { format!("{} wait for their time", share.waiting) } else { String::new() };
        [share.queue.clone(), count(share).to_string(), waiting]
    });
    output::table(["queue", column, ""], rows.collect(), "there is no queue")
}

/// Says now and then how far it is.
struct Teller {
    terminal: bool,
    last: Instant,
}

impl Teller {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: Instant::now() }
    }

    fn tell(&mut self, shares: &[Share]) {
        if self.last.elapsed() < if self.terminal { EVERY.0 } else { EVERY.1 } {
            return;
        }
        self.last = Instant::now();
        let sum = |count: fn(&Share) -> u64| shares.iter().map(count).sum::<u64>();
        let (moved, messages) = (sum(|share| share.moved), sum(|share| share.messages));
        if self.terminal {
            // Progress that cannot be shown is no reason to stop.
            _ = write!(anstream::stderr(), "\r{moved} of {messages} messages moved");
        } else {
            tracing::info!(moved, messages, "moving");
        }
    }

    fn end(&self) {
        if self.terminal {
            _ = write!(anstream::stderr(), "\r\x1b[K");
        }
    }
}
