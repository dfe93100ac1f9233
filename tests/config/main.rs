//! The config as a whole: what a good one comes to, and every fault of a bad one with its place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    clippy::unnecessary_wraps,
    clippy::needless_raw_string_hashes,
    reason = "tests"
)]

mod any;
mod broken;
mod conform;
mod design;
mod registry;
mod whole;

use std::sync::LazyLock;

use dari::clock::Clock;
use dari::config::{Config, Faults, load_with};
use dari::connectors::client::Client;

/// One for all: each reads the machine's CA certificates.
static CLIENT: LazyLock<Client> = LazyLock::new(|| Client::new().expect("a client"));

fn load_in(dir: &std::path::Path, yaml: &str) -> Result<Config, Faults> {
    let file = dir.join("dari.yaml");
    std::fs::write(&file, yaml).expect("the folder can be written");
    let env = |name: &str| match name {
        "KEY" => Some("hunter2".to_owned()),
        "PASSWORD" => Some("p@ss/word".to_owned()),
        _ => None,
    };
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
    load_with(registry::ALL, &file, &env, &CLIENT, &clock)
}

/// Loads a config from a folder of its own.
fn load(yaml: &str) -> Result<Config, Faults> {
    load_in(tempfile::tempdir().expect("a folder").path(), yaml)
}

/// All that is wrong with a config, or its warnings, a line each.
fn told(yaml: &str) -> String {
    let lines = match load(yaml) {
        Ok(config) => config.warnings.iter().map(|fault| dari::config::faults::line(&config.file, fault)).collect(),
        Err(faults) => faults.to_string().lines().map(str::to_owned).collect::<Vec<_>>(),
    };
    let short =
        |line: String| line.split_once("dari.yaml").map_or(line.clone(), |(_, rest)| format!("dari.yaml{rest}"));
    lines.into_iter().map(short).collect::<Vec<_>>().join("\n")
}
