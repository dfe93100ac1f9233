//! `dari check`: every fault of a config at once.

use std::path::PathBuf;

use super::access::{self, Where};
use super::{Result, output};
use crate::config::{Config, faults};

/// Checks a config.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The config file
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `dari check`.
///
/// # Errors
/// Every fault, a line each.
pub fn check(args: &CheckArgs, place: &Where) -> Result {
    let config = access::load(args.file.as_ref().unwrap_or(&place.config))?;
    for warning in &config.warnings {
        output::line(format!("warning: {}", faults::line(&config.file, warning)))?;
    }
    output::line(summary(&config))
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
