//! Where a config's store is, for commands that only look into a running bridge: they need none of its secrets.

use std::path::{Path, PathBuf};

use super::faults::Faults;
use super::fields;
use super::interpolate::Surroundings;
use super::parse::parse;
use crate::settings::Fault;

/// The SQLite file of a config that may be otherwise unsound.
///
/// # Errors
/// The file cannot be read, is no YAML, or its `store` names no file.
pub fn store_path(file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, Faults> {
    let source =
        std::fs::read_to_string(file).map_err(|error| Faults::whole(file, format!("cannot be read: {error}")))?;
    let document = parse(&source).map_err(|list| Faults::new(file, list))?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(node) = document.root.get("store").and_then(|store| store.get("url")) else {
        return Ok(fields::store_file(dir, fields::DEFAULT_STORE).unwrap_or_default());
    };
    let text = node.text().unwrap_or_default();
    let faults = |list: Vec<String>| Faults::new(file, list.into_iter().map(|m| Fault::new(node.spot, m)).collect());
    let filled = Surroundings { env, dir }.fill(text, true).map_err(faults)?;
    fields::store_file(dir, filled.as_ref().map_or(text, |filled| &filled.text))
        .ok_or_else(|| faults(vec![fields::NO_STORE_FILE.to_owned()]))
}
