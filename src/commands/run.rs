//! `dari run`: the bridge.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::access::{self, Where};
use super::sandbox::Stage;
use super::{CommandError, Result};
use crate::admin::{Desk, who};
use crate::app::{self, Bridge, Options};
use crate::clock::Clock;
use crate::config::{AdminListen, Config};
use crate::connectors::sandbox::LOOPBACK;
use crate::spans;

mod dry;

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
    let mut config = access::load(args.file.as_ref().unwrap_or(&place.config))?;
    let clock = Clock::system(app::process_number());
    // Both live as long as the bridge: a folder that goes with this process, and the vendors of `--sandbox`.
    let _folder = if args.dry_run || args.sandbox { Some(elsewhere(&mut config, args.dry_run)?) } else { None };
    let _stage = if args.sandbox { Some(staged(&mut config, &clock).await?) } else { None };
    let config = Arc::new(config);
    let traces = spans::Settings::from_env(&access::environment).map_err(CommandError::failed)?;
    // What plays a part in the others is made for this process alone, and in no file.
    let options = Options { dry_run: args.dry_run, load: (!args.dry_run && !args.sandbox).then_some(load), traces };
    let bridge = Bridge::build(Arc::clone(&config), clock, &options).await.map_err(CommandError::failed)?;
    let told = until_told();
    let _reloading = AbortOnDropHandle::new(tokio::spawn(reload_when_told(bridge.desk())?));
    announce(&config, &bridge);
    let printer = args.dry_run.then(|| tokio::spawn(dry::print(bridge.watch())));
    let ended = bridge.run(told).await.map_err(CommandError::failed);
    if let Some(printer) = printer {
        // The bridge has gone, so it ends when all that was seen is printed.
        if let Ok(printed) = tokio::time::timeout(Duration::from_secs(2), printer).await {
            printed.map_err(CommandError::failed)??;
        }
    }
    ended
}

/// Lets the bridge remember things in a folder that is removed at the end, and listen for commands on a port of its own:
/// they would look for it beside the store of the config.
fn elsewhere(config: &mut Config, dry_run: bool) -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("dari-").tempdir().map_err(CommandError::failed)?;
    let store = folder.path().join("dari.db");
    let real = std::mem::replace(&mut config.store, store);
    // A queue of its own: what it takes from the bridge's broker would be gone from there.
    (config.broker, config.spool) = (None, None);
    let admin = config.listen.admin.get_or_insert(AdminListen { address: LOOPBACK, token: None });
    free("admin", &mut admin.address);
    free("hooks", &mut config.listen.hooks);
    if !dry_run {
        tracing::info!("sandboxes start empty, and so does the store: nothing of this run is kept");
        return Ok(folder);
    }
    tracing::warn!("dry run: nothing is sent and nothing is kept, webhooks that come in neither");
    if !real.exists() {
        tracing::info!("there is no store yet: sources start as the config says");
    } else if let Err(error) = crate::store::sqlite::seed(&real, &config.store) {
        tracing::warn!(%error, "sources start as the config says");
    } else {
        tracing::info!(store = %real.display(), "sources go on, and records are linked, as in the store");
    }
    Ok(folder)
}

/// Takes another port where the bridge itself may be running.
fn free(what: &str, address: &mut SocketAddr) {
    if std::net::TcpListener::bind(*address).is_err() {
        tracing::warn!(%address, "{what}: the address is in use, a free one of this machine is taken");
        *address = LOOPBACK;
    }
}

async fn staged(config: &mut Config, clock: &Clock) -> Result<Stage> {
    let stage = Stage::set(config, clock).await?;
    for (name, served) in stage.all() {
        tracing::info!(name, url = %served.url, "played by a sandbox");
    }
    Ok(stage)
}

/// Says what runs where.
fn announce(config: &Config, bridge: &Bridge) {
    for warning in &config.warnings {
        tracing::warn!("{}", crate::config::faults::line(&config.file, warning));
    }
    if let Some(address) = bridge.admin_address() {
        tracing::info!(%address, "the admin API listens: the dashboard is at http://{address}/, commands reach it with `--admin http://{address}`");
    }
    let public = config.listen.public.clone().unwrap_or_else(|| format!("http://{}", bridge.hooks_address()));
    for source in config.sources.iter().filter(|source| source.enabled && source.is_hook()) {
        // Where the path ends with a secret, that is not for the log.
        tracing::info!(source = source.name, url = format!("{public}/hooks/{}", source.name), "webhooks come here");
    }
    let (sources, routes) = (config.sources.len(), config.routes.len());
    tracing::info!(address = %bridge.hooks_address(), sources, routes, store = %config.store.display(), "the bridge is ready");
}

fn load(file: &Path) -> std::result::Result<Config, String> {
    access::load(file).map_err(|error| error.to_string())
}

/// Loads the config anew at each SIGHUP.
fn reload_when_told(desk: Desk) -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    // Before anybody is told that the bridge is ready: without it the signal ends the process.
    let mut hangups = signal(SignalKind::hangup()).map_err(CommandError::failed)?;
    Ok(async move {
        while hangups.recv().await.is_some() {
            if let Err(error) = who::acting("SIGHUP".to_owned(), desk.now().reload()).await {
                tracing::error!(%error, "the config was not loaded anew: the one that runs stays");
            }
        }
    })
}

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once.
#[must_use]
pub fn until_told() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let told = stop.clone();
    // Before anybody is told that the bridge is ready: from then on a signal stops it in order.
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals cannot be received: only SIGKILL will end this process");
        return stop;
    };
    tokio::spawn(async move {
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
