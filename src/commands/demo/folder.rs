//! The folder that the demo runs in: the example config with its fixtures and its environment.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::clock::Clock;
use crate::commands::{CommandError, Result};
use crate::config::{self, Config};
use crate::connectors::client::Client;

/// The body of an order, as in the example's fixtures.
pub const ORDER: &str = include_str!("../../../examples/fixtures/order.json");

const CONFIG: &str = "dari.yaml";
const ENVIRONMENT: &str = include_str!("../../../examples/demo.env");

const FILES: &[(&str, &str)] = &[
    (CONFIG, include_str!("../../../examples/dari.yaml")),
    (".env", ENVIRONMENT),
    ("fixtures/created.json", include_str!("../../../examples/fixtures/created.json")),
    ("fixtures/updated.json", include_str!("../../../examples/fixtures/updated.json")),
    ("fixtures/order.json", ORDER),
];

/// A folder with the example in it.
pub struct Folder {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Folder {
    /// Writes the example into a folder that is to be kept, or into one that goes when this is dropped.
    ///
    /// # Errors
    /// There is a config in it already, which stays as it is; or the folder cannot be written.
    pub fn make(keep: Option<&Path>) -> Result<Self> {
        let failed = |path: &Path, error: std::io::Error| CommandError::Failed(format!("{}: {error}", path.display()));
        let folder = if let Some(path) = keep {
            Self { path: std::path::absolute(path).map_err(|e| failed(path, e))?, temporary: None }
        } else {
            let folder = tempfile::Builder::new().prefix("dari-demo-").tempdir().map_err(CommandError::failed)?;
            Self { path: folder.path().to_owned(), temporary: Some(folder) }
        };
        if folder.config().exists() {
            let config = folder.config().display().to_string();
            return Err(CommandError::Failed(format!("{config} is there already; name a folder without it")));
        }
        for (name, text) in FILES {
            let file = folder.path.join(name);
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent).map_err(|e| failed(parent, e))?;
            }
            std::fs::write(&file, text).map_err(|e| failed(&file, e))?;
        }
        Ok(folder)
    }

    /// The config.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// True if it stays.
    pub fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Loads the config with the environment of the demo.
    ///
    /// # Errors
    /// Every fault, a line each.
    pub fn load(&self, clock: &Clock) -> Result<Config> {
        let client = Client::new().map_err(CommandError::failed)?;
        let loaded = config::load(&self.config(), &|name| variable(name).map(str::to_owned), &client, clock);
        loaded.map_err(|faults| CommandError::Config(faults.to_string()))
    }

    /// What can be done with a kept folder.
    pub fn afterwards(&self) -> String {
        format!(
            "\nAll of it is in {0}. There, after `set -a; . ./.env; set +a`:
  dari test               the tests of the config
  dari trace --last signup
  dari run --sandbox      the bridge, all vendors played on this machine",
            self.path.display()
        )
    }
}

/// A variable of the demo's environment.
pub fn variable(name: &str) -> Option<&'static str> {
    let lines = ENVIRONMENT.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::test::run_all;

    #[test]
    fn the_example_is_sound_and_its_tests_pass() {
        let folder = Folder::make(None).unwrap();
        let clock = Clock::system(0);
        let config = folder.load(&clock).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        let report = run_all(&config, &Client::new().unwrap(), &clock).unwrap();
        assert_eq!(report.failed(), 0, "{report}");
        assert!(report.tests.len() >= 5);
    }

    #[test]
    fn the_example_takes_only_secrets_from_the_environment() {
        let folder = Folder::make(None).unwrap();
        let rest = ["HOOKS", "POLL_EVERY", "RETRY_FIRST", "ERP_URL"];
        let secrets = |name: &str| (!rest.contains(&name)).then(|| "x".to_owned());
        let client = Client::new().unwrap();
        let config = config::load(&folder.config(), &secrets, &client, &Clock::system(0));
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(config.routes[0].retry.first, std::time::Duration::from_secs(5));
    }

    #[test]
    fn a_config_that_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG), "mine").unwrap();
        assert!(Folder::make(Some(dir.path())).is_err());
        assert_eq!(std::fs::read_to_string(dir.path().join(CONFIG)).unwrap(), "mine");
    }
}
