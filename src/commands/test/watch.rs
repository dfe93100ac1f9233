//! `dari test --watch`: the tests again, whenever a file that they are made of changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{run_file, tell};
use crate::commands::run::until_told;
use crate::commands::{CommandError, Result, output};
use crate::config::named_files;

/// How often the files are looked at. A few of them cost nothing, and every file system says when a file was written.
const LOOK: Duration = Duration::from_millis(250);

/// How files stand: when each was written and how long it is; `None` where it is not there.
type Standing = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

/// Runs the tests, and again after each change, until told to stop. Faults of the config are told and waited out.
///
/// # Errors
/// Standard output cannot be written.
pub async fn watch(file: &Path) -> Result {
    let stop = until_told();
    let mut files = Files { config: file.to_owned(), named: Vec::new() };
    let mut before = files.standing();
    loop {
        match run_file(file) {
            Ok(report) => tell(&report)?,
            Err(CommandError::Config(faults)) => output::line(faults.trim_end())?,
            Err(error) => output::line(format!("error: {error}"))?,
        }
        output::line("waiting for a change; Ctrl-C ends it")?;
        // What has changed since `before` was read changed while the tests ran.
        let Some(after) = stop.run_until_cancelled(files.changed(&before)).await else { return Ok(()) };
        let changed = after.iter().filter(|(path, stands)| before.get(*path) != Some(stands));
        let names: Vec<_> = changed.map(|(path, _)| path.display().to_string()).collect();
        output::line(format!("\nchanged: {}", names.join(", ")))?;
        before = after;
    }
}

struct Files {
    config: PathBuf,
    /// What the config named when it could last be read.
    named: Vec<PathBuf>,
}

impl Files {
    fn standing(&mut self) -> Standing {
        if let Some(named) = named_files(&self.config) {
            self.named = named;
        }
        let all = std::iter::once(&self.config).chain(&self.named);
        all.map(|path| (path.clone(), stands(path))).collect()
    }

    /// Waits until the files stand otherwise than before, and have done so for two looks: an editor may be writing.
    async fn changed(&mut self, before: &Standing) -> Standing {
        let mut last = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.standing();
            if now != *before && last.as_ref() == Some(&now) {
                return now;
            }
            last = Some(now);
        }
    }
}

fn stands(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
