//! The keys that most pollers take: how often they look (`every`), and what the first look brings (`start`).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::connectors::{Build, Built};
use crate::settings::{Fault, Field, Kind, Need, parse_instant};

/// What the first poll brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Nothing of what is there.
    Now,
    /// Everything.
    All,
    /// What is no older than this.
    From(Timestamp),
}

/// Reads `start`.
///
/// # Errors
/// What was expected.
pub fn start(build: &Build<'_>) -> Built<Start> {
    match build.settings.text("start").unwrap_or("now") {
        "now" => Ok(Start::Now),
        "all" => Ok(Start::All),
        text => parse_instant(text, &build.zone).map(Start::From).ok_or_else(|| {
            let why = "`start`: expected now, all, a date (2026-01-01) or an instant (2026-01-01T09:00:00+09:00)";
            vec![Fault::new(build.settings.spot("start"), why)]
        }),
    }
}

/// The key `every`.
pub const fn every_key(default: &'static str) -> Field {
    Field {
        name: "every",
        kind: Kind::Duration,
        need: Need::Default(default),
        doc: "How long to wait between two polls.",
    }
}

/// Reads `every`, which has a default.
///
/// # Errors
/// Without a pause between two polls.
pub fn every(build: &Build<'_>) -> Built<Duration> {
    let every = build.settings.duration("every").filter(|every| !every.is_zero());
    every.ok_or_else(|| {
        let why = "a source cannot be polled every 0s; expected at least 1s";
        vec![Fault::new(build.settings.spot("every"), why)]
    })
}
