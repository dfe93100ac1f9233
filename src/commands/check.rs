//! `dari check`: every fault of a config at once.

mod connect;

use std::path::PathBuf;

use super::access::{self, Where};
use super::{Result, init, output};
use crate::config::{Config, faults};

/// Checks a config.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The config file
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Then ask everything that it talks to, by calls that have no effect there
    #[arg(long)]
    pub connect: bool,
}

/// `dari check`.
///
/// # Errors
/// Every fault, a line each; with `--connect` also what does not answer as it should.
pub async fn check(args: &CheckArgs, place: &Where) -> Result {
    let place = Where { config: args.file.clone().unwrap_or_else(|| place.config.clone()), ..place.clone() };
    let config = access::load(&place.config)?;
    for warning in &config.warnings {
        output::line(format!("warning: {}", faults::line(&config.file, warning)))?;
    }
    match config.shown.matches(init::BLANK).count() {
        0 => {}
        1 => output::line(format!("warning: {}: 1 value still says {}", config.file.display(), init::BLANK))?,
        n => output::line(format!("warning: {}: {n} values still say {}", config.file.display(), init::BLANK))?,
    }
    output::line(summary(&config))?;
    if args.connect { connect::connect(&config, &place).await } else { Ok(()) }
}

fn summary(config: &Config) -> String {
    let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}: {}, {}, {}: all well",
        config.file.display(),
        count(config.sources.len(), "source"),
        count(config.sinks.len(), "sink"),
        count(config.routes.len(), "route"),
    )
}
