//! `dari backup`: a consistent copy of the bridge's files, while it runs or not.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::access::{self, Where};
use super::{CommandError, Result, output};
use crate::app;
use crate::broker::{embedded, spool};
use crate::clock::Clock;
use crate::config::Config;
use crate::outcome::Scope;
use crate::store::Suspension;
use crate::store::sqlite::{Copy, copy};

/// Copies the bridge's files.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The file to make, as `backups/monday.db`; the journal's copy is beside it
    pub file: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a copy holds: a word for each number, and the query for it.
type Counted = &'static [(&'static str, &'static str)];

const STORE: Counted = &[
    ("waiting", "SELECT coalesce(sum(messages), 0) FROM queue WHERE name <> 'dari.journal'"),
    ("links", "SELECT count(*) FROM link"),
    ("dead", "SELECT count(*) FROM dead"),
    ("cursors", "SELECT count(*) FROM cursor"),
];
const JOURNAL: Counted = &[("events", "SELECT count(*) FROM event"), ("steps", "SELECT count(*) FROM step")];
const SPOOL: Counted = &[("events", "SELECT count(*) FROM spooled")];

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    files: Vec<MadeFile>,
    /// The sinks that are suspended in it.
    suspended: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MadeFile {
    file: PathBuf,
    /// What it is a copy of.
    of: PathBuf,
    bytes: u64,
    holds: serde_json::Map<String, serde_json::Value>,
}

/// `dari backup`.
///
/// # Errors
/// The config, a file that is there already, no store, or a copy that fails: then nothing was made.
pub fn backup(args: &BackupArgs, place: &Where) -> Result {
    if place.admin.is_some() {
        let why = "a backup is made on the machine that has the files: leave `--admin` out, and give the config there";
        return Err(CommandError::Usage(why.into()));
    }
    let config = access::load(&place.config)?;
    if !config.store.exists() {
        let why = format!("{} does not exist: no bridge has run here yet (`dari run`)", config.store.display());
        return Err(CommandError::Failed(why));
    }
    let made = make(&config, &args.file)?;
    if args.json { output::json(&made) } else { output::line(told(&made)) }
}

fn make(config: &Config, into: &Path) -> Result<Made> {
    let stopped = stopped(config);
    let mut wanted = vec![
        // Before the journal: what is not in that one yet is in this one's queue then, and never in neither.
        (config.store.clone(), into.to_owned(), STORE, &stopped[..]),
        (embedded::journal_path(&config.store), embedded::journal_path(into), JOURNAL, &[]),
    ];
    if let Some(own) = &config.spool {
        wanted.push((own.path.join(spool::FILE), into.with_extension("spool.db"), SPOOL, &[]));
    }
    wanted.retain(|(of, ..)| of.exists());
    if let Some((_, there, ..)) = wanted.iter().find(|(_, into, ..)| into.exists()) {
        return Err(CommandError::Failed(format!("{} is there already: a backup never overwrites", there.display())));
    }
    let mut copies: Vec<Copy> = Vec::new();
    let mut files = Vec::new();
    for (of, file, counted, stopped) in wanted {
        let queries: Vec<&str> = counted.iter().map(|(_, sql)| *sql).collect();
        let copy = copy(&of, &file, stopped, &queries).map_err(CommandError::failed)?;
        let holds = counted.iter().zip(&copy.counts).map(|((word, _), count)| ((*word).to_owned(), (*count).into()));
        files.push(MadeFile { file, of, bytes: copy.bytes, holds: holds.collect() });
        copies.push(copy);
    }
    // Only now: a backup has all of its files or none.
    for copy in copies {
        copy.keep().map_err(CommandError::failed)?;
    }
    Ok(Made { files, suspended: stopped.into_iter().map(|one| one.name).collect() })
}

/// A bridge that starts from a copy does not know what was delivered since: a person is to look first.
fn stopped(config: &Config) -> Vec<Suspension> {
    let now = Clock::system(app::process_number()).now();
    let why = format!("restored from the backup of {}", output::time(now));
    let one = |name: &String| Suspension {
        scope: Scope::Sink,
        name: name.clone(),
        why: why.clone(),
        since: now,
        until: None,
        probe: None,
    };
    config.sinks.iter().map(|sink| one(&sink.name)).collect()
}

fn told(made: &Made) -> String {
    let mut text = String::new();
    for one in &made.files {
        let holds: Vec<_> = one.holds.iter().map(|(word, count)| format!(", {word} {count}")).collect();
        // Writing to a string does not fail.
        _ = writeln!(text, "{}: {} of {}{}", one.file.display(), size(one.bytes), one.of.display(), holds.concat());
    }
    text.push_str(
        "each copy was read through and is whole\nnot in it: the config, and the secrets that it names. In it: what events \
         carried, and tokens that vendors gave the bridge: keep it as private as the store\n",
    );
    if !made.suspended.is_empty() {
        _ = write!(
            text,
            "a bridge that starts from it sends nothing until `dari sinks resume NAME`: {}",
            made.suspended.join(", ")
        );
    }
    text.trim_end().to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn size(bytes: u64) -> String {
    let kib = bytes as f64 / 1024.0;
    if kib < 1024.0 { format!("{kib:.1} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        assert_eq!([size(512), size(86_016), size(3_670_016)], ["0.5 KiB", "84.0 KiB", "3.5 MiB"]);
    }
}
