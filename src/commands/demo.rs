//! `dari demo`: the whole bridge on this machine with nothing else.
//!
//! The config that users start from, the vendors played by sandboxes, visitors who fill in the form and send webhooks,
//! now and then a failure; a line for all that happens. At the end what was made is compared with what the sandboxes
//! hold: nothing may be lost, nothing may be there twice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::run::until_told;
use super::sandbox::Stage;
use super::{CommandError, Result, output};
use crate::app::{self, AppError, Bridge, Options};
use crate::clock::Clock;
use crate::config::AdminListen;
use crate::connectors::sandbox::LOOPBACK;
use crate::settings::parse_duration;

mod balance;
mod folder;
mod lines;
mod visitors;

use balance::Balance;
use folder::Folder;
use lines::Progress;
use visitors::Visitors;

/// What is logged: deliveries and polls have lines of their own here.
pub const LOGS: &str = "warn,dari::deliver=error,dari::poll=error";
/// How long what was made may take to arrive once nothing more is made.
const ARRIVAL: Duration = Duration::from_secs(20);
/// The same for someone who waits at a terminal for it to end.
const ARRIVAL_IF_TOLD: Duration = Duration::from_secs(5);
/// How often the sandboxes are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Shows the bridge.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// End after this time, as `30s`, with exit code 1 if anything was lost or applied twice
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    pub length: Option<Duration>,
    /// Keep config, fixtures and store in this folder
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// The port of the webhooks; a free one if missing
    #[arg(long)]
    pub port: Option<u16>,
}

fn length(text: &str) -> std::result::Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a time as 500ms, 30s or 5m".to_owned())
}

/// `dari demo`: until its time is over or it is told to stop.
///
/// # Errors
/// It cannot start, or something was lost or applied twice.
pub async fn demo(args: DemoArgs) -> Result {
    let folder = Folder::make(args.keep.as_deref())?;
    let clock = Clock::system(app::process_number());
    let mut config = folder.load(&clock)?;
    config.listen.hooks.set_port(args.port.unwrap_or(0));
    config.listen.admin = Some(AdminListen { address: LOOPBACK, token: None });
    let stage = Stage::set(&mut config, &clock).await?;
    let bridge = Bridge::build(Arc::new(config), clock, &Options::default()).await.map_err(CommandError::failed)?;
    let hooks = format!("http://{}/hooks/orders", bridge.hooks_address());
    let dashboard = bridge.admin_address().map(|address| format!("http://{address}/")).unwrap_or_default();
    output::line(introduction(&folder, &stage, &hooks, &dashboard)?)?;

    let progress = Arc::new(Progress::default());
    let printer = tokio::spawn(lines::print(bridge.watch(), Arc::clone(&progress)));
    let stop = CancellationToken::new();
    let mut running = tokio::spawn(bridge.run(stop.clone()));
    let told = until_told();
    let over = told.child_token();
    if let Some(length) = args.length {
        let over = over.clone();
        tokio::spawn(async move {
            tokio::time::sleep(length).await;
            over.cancel();
        });
    }
    let mut visitors = Visitors::new(&stage, hooks, Arc::clone(&progress))?;
    let balance = tokio::select! {
        balance = played(&mut visitors, &told, &over) => balance?,
        ended = &mut running => return Err(ended_early(ended)),
    };
    stop.cancel();
    running.await.map_err(CommandError::failed)?.map_err(CommandError::failed)?;
    printer.await.map_err(CommandError::failed)??;
    conclude(&visitors, &progress, &balance)?;
    if folder.is_kept() {
        output::line(folder.afterwards())?;
    }
    verdict(&balance, told.is_cancelled())
}

fn ended_early(ended: std::result::Result<std::result::Result<(), AppError>, tokio::task::JoinError>) -> CommandError {
    match ended {
        Ok(Err(error)) => CommandError::failed(error),
        Ok(Ok(())) => CommandError::Failed("the bridge ended by itself".into()),
        Err(error) => CommandError::failed(error),
    }
}

/// Lets visitors come until it is over, and waits until all that they made has arrived.
async fn played(visitors: &mut Visitors<'_>, told: &CancellationToken, over: &CancellationToken) -> Result<Balance> {
    visitors.come(over).await?;
    output::line(lines::remark("nobody comes any more; what is under way arrives"))?;
    let since = Instant::now();
    loop {
        let balance = Balance::of(&visitors.made(), &visitors.states().await);
        let patience = if told.is_cancelled() { ARRIVAL_IF_TOLD } else { ARRIVAL };
        if balance.missing.is_empty() || since.elapsed() >= patience {
            return Ok(balance);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn introduction(folder: &Folder, stage: &Stage, hooks: &str, dashboard: &str) -> Result<String> {
    let config = folder.config().display().to_string();
    let curl = visitors::curl(hooks, folder::ORDER)?;
    let row = |name: &str, what: &str| format!("  {name:<9} {what}\n");
    let sandboxes: String =
        stage.all().map(|(name, served)| row(name, &format!("{}/_sandbox/state", served.url))).collect();
    Ok(format!(
        "A Walla form, Daou Office Works, Slack and an ERP are played on this machine.

{}{}{}{sandboxes}
Send an order of your own; the same one twice is one event:
  {curl}

Look into it from another terminal:
  dari trace --last signup --config {config}
  dari trace A-1000 --config {config}
  dari routes --config {config}
",
        row("dashboard", dashboard),
        row("config", &config),
        row("webhooks", hooks),
    ))
}

fn conclude(visitors: &Visitors<'_>, progress: &Progress, balance: &Balance) -> Result {
    output::line(format_args!("\n{}", visitors.made()))?;
    output::line("")?;
    progress.table()?;
    output::line("")?;
    output::line(balance)
}

/// Whoever ended it by hand may have left something under way; what is there twice is wrong in any case.
fn verdict(balance: &Balance, told: bool) -> Result {
    if balance.wrong.is_empty() && (balance.missing.is_empty() || told) {
        return Ok(());
    }
    Err(CommandError::Failed("what was made and what arrived differ".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_or_twice_is_a_failure() {
        let balance = |missing: &[&str], wrong: &[&str]| Balance {
            missing: missing.iter().map(|what| (*what).to_owned()).collect(),
            wrong: wrong.iter().map(|what| (*what).to_owned()).collect(),
            expected: 1,
        };
        assert!(verdict(&balance(&[], &[]), false).is_ok());
        assert!(verdict(&balance(&["an order"], &[]), false).is_err());
        assert!(verdict(&balance(&["an order"], &[]), true).is_ok());
        assert!(verdict(&balance(&[], &["an order"]), true).is_err());
    }
}
