//! `dari spool`: what waits for the broker.

use std::path::PathBuf;

use super::access::{self, Where};
use super::{CommandError, Result, output};
use crate::app;
use crate::clock::Clock;

/// What to do with a spool.
#[derive(Debug, clap::Subcommand)]
pub enum SpoolAction {
    /// Publish what is in a spool that no bridge uses any more, and wait until the broker has taken it
    Forward {
        /// Its folder; the config's own if missing
        dir: Option<PathBuf>,
    },
}

/// `dari spool`. The bridge is to be stopped.
///
/// # Errors
/// The config, the files (a running bridge holds them), or no spool there.
pub async fn spool(action: SpoolAction, place: &Where) -> Result {
    let SpoolAction::Forward { dir } = action;
    let config = access::load(&place.config)?;
    let clock = Clock::system(app::process_number());
    let events = app::forward(&config, &clock, dir.as_deref()).await.map_err(CommandError::failed)?;
    output::line(format!("{events} events were published; the spool is empty"))
}
