//! `dari init`: a commented `dari.yaml` to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use super::access::Where;
use super::{CommandError, Result, output};
use crate::connectors::{self, Manifest};

mod text;

/// Writes a starting config.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The kinds of sources, as `webhook,walla`
    #[arg(long, value_delimiter = ',', default_value = "webhook", value_name = "KIND,…")]
    pub sources: Vec<String>,
    /// The kinds of sinks, as `works,slack`
    #[arg(long, value_delimiter = ',', default_value = "http", value_name = "KIND,…")]
    pub sinks: Vec<String>,
}

/// `dari init`.
///
/// # Errors
/// There is no such kind; the file is there already, or cannot be written.
pub fn init(args: &InitArgs, place: &Where) -> Result {
    let text = starting(connectors::ALL, &args.sources, &args.sinks).map_err(CommandError::Usage)?;
    let file = &place.config;
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            CommandError::Failed(format!("{} is there already; it stays as it is", file.display()))
        }
        _ => CommandError::Failed(format!("{}: {error}", file.display())),
    };
    let mut new = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)?;
    output::line(format!("wrote {}; fill in what is marked, then `dari check`", file.display()))
}

/// The text of a starting config with a source and a sink of each kind.
///
/// # Errors
/// A kind that no connector has, with those that there are.
pub fn starting(
    manifests: &[&'static Manifest],
    sources: &[String],
    sinks: &[String],
) -> std::result::Result<String, String> {
    let mut picked = text::Picked::default();
    for name in sources {
        let all = manifests.iter().flat_map(|manifest| manifest.sources.iter().map(|kind| (*manifest, kind)));
        let known = all.clone().map(|(_, kind)| kind.name);
        picked
            .sources
            .push(all.clone().find(|(_, kind)| kind.name == name).ok_or_else(|| no_kind("source", name, known))?);
    }
    for name in sinks {
        let all = manifests.iter().flat_map(|manifest| manifest.sinks.iter().map(|kind| (*manifest, kind)));
        let known = all.clone().map(|(_, kind)| kind.name);
        picked.sinks.push(all.clone().find(|(_, kind)| kind.name == name).ok_or_else(|| no_kind("sink", name, known))?);
    }
    Ok(picked.text())
}

fn no_kind(what: &str, name: &str, known: impl Iterator<Item = &'static str>) -> String {
    format!("there is no kind of {what} `{name}`; there are {}", known.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config;
    use crate::connectors::client::Client;

    fn picked(sources: &[&str], sinks: &[&str]) -> std::result::Result<String, String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        starting(connectors::ALL, &owned(sources), &owned(sinks))
    }

    #[test]
    fn every_kind_starts_as_yaml_with_nothing_unknown() {
        let sources: Vec<_> = connectors::ALL.iter().flat_map(|m| m.sources).map(|kind| kind.name).collect();
        let sinks: Vec<_> = connectors::ALL.iter().flat_map(|m| m.sinks).map(|kind| kind.name).collect();
        let text = picked(&sources, &sinks).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.yaml");
        std::fs::write(&file, &text).unwrap();
        let env = |_: &str| Some("value".to_owned());
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
        // What a person has to fill in may be told, but no key may be unknown and no template broken.
        if let Err(faults) = config::load(&file, &env, &Client::new().unwrap(), &clock) {
            let told = faults.to_string();
            assert!(
                !told.contains("unknown") && !told.contains("not YAML") && !told.contains("there is no"),
                "{told}\n{text}"
            );
        }
    }

    #[test]
    fn the_usual_start_is_sound_but_for_its_blanks() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.yaml");
        let place = Where { config: file.clone(), admin: None };
        let args = InitArgs { sources: vec!["github-hook".into()], sinks: vec!["http".into()] };
        init(&args, &place).unwrap();
        let env = |_: &str| Some("value".to_owned());
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
        let config = config::load(&file, &env, &Client::new().unwrap(), &clock).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((config.sources.len(), config.sinks.len(), config.routes.len()), (1, 1, 1));
        assert!(matches!(init(&args, &place), Err(CommandError::Failed(why)) if why.contains("is there already")));
    }

    #[test]
    fn an_unknown_kind_is_told() {
        assert!(picked(&["wala"], &[]).unwrap_err().starts_with("there is no kind of source `wala`; there are "));
        assert!(picked(&[], &["wroks"]).unwrap_err().starts_with("there is no kind of sink `wroks`; there are "));
    }
}
