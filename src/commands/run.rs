//! `dari run`: the bridge.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::access::{self, Where};
use super::{CommandError, Result};
use crate::app::{self, Bridge, Options};
use crate::clock::Clock;
use crate::config::Config;

/// Runs the bridge.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The config file
    pub file: Option<PathBuf>,
    /// Real sources and rendered requests, but nothing is sent, and nothing of it is kept
    #[arg(long)]
    pub dry_run: bool,
    /// Vendors are played by sandboxes on this machine
    #[arg(long, conflicts_with = "dry_run")]
    pub sandbox: bool,
}

/// `dari run`.
///
/// # Errors
/// The config, or whatever keeps the bridge from starting.
pub async fn run(args: RunArgs, place: &Where) -> Result {
    let config = Arc::new(access::load(args.file.as_ref().unwrap_or(&place.config))?);
    let options = Options { dry_run: args.dry_run };
    let clock = Clock::system(app::process_number());
    let bridge = Bridge::build(Arc::clone(&config), clock, &options).await.map_err(CommandError::failed)?;
    announce(&config, &bridge);
    bridge.run(until_told()).await.map_err(CommandError::failed)
}

/// Says what runs where.
fn announce(config: &Config, bridge: &Bridge) {
    for warning in &config.warnings {
        tracing::warn!("{}", crate::config::faults::line(&config.file, warning));
    }
    if let Some(address) = bridge.admin_address() {
        tracing::info!(%address, "the admin API listens");
    }
    let (sources, routes) = (config.sources.len(), config.routes.len());
    tracing::info!(address = %bridge.hooks_address(), sources, routes, store = %config.store.display(), "the bridge is ready");
}

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once.
#[must_use]
pub fn until_told() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            tracing::error!("signals cannot be received: only SIGKILL will end this process");
            return;
        };
        for _ in 0..2 {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(1);
            }
            told.cancel();
        }
    });
    stop
}
