//! `dari init`: a commented `dari.yaml` to start from.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

use super::access::Where;
use super::{CommandError, Result, output};
use crate::config;
use crate::connectors::{self, Manifest, SinkKind, SourceKind};

mod ask;
mod text;

pub(super) use text::BLANK;

/// The kinds that are written where nobody says.
const USUAL: (&str, &str) = ("webhook", "http");

/// Writes a starting config.
#[derive(Debug, Default, clap::Args)]
pub struct InitArgs {
    /// The kinds of sources, as `walla,github-hook`; `webhook` if missing
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    pub sources: Vec<String>,
    /// The kinds of sinks, as `works,slack`; `http` if missing
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    pub sinks: Vec<String>,
    /// Ask for both, even where standard input is no terminal
    #[arg(long, conflicts_with_all = ["sources", "sinks"])]
    pub ask: bool,
}

/// `dari init`: asks where a person sits at a terminal and named no kinds.
///
/// # Errors
/// There is no such kind; the file is there already, or cannot be written.
pub fn init(args: &InitArgs, place: &Where) -> Result {
    let file = &place.config;
    if file.symlink_metadata().is_ok() {
        return Err(there(file));
    }
    let named = !args.sources.is_empty() || !args.sinks.is_empty();
    let at_a_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let picked = if args.ask || (!named && at_a_terminal) {
        ask::ask(connectors::ALL, &mut io::stdin().lock(), &mut anstream::stdout()).map_err(CommandError::failed)?
    } else {
        picked(connectors::ALL, &args.sources, &args.sinks).map_err(CommandError::Usage)?
    };
    let text = picked.text();
    write(file, &text)?;
    output::line(format!("wrote {}", file.display()))?;
    for line in next(&text) {
        output::line(line)?;
    }
    Ok(())
}

fn there(file: &Path) -> CommandError {
    let file = file.display();
    CommandError::Failed(format!(
        "{file} is there already and stays as it is; `--config OTHER.yaml` writes another file"
    ))
}

fn write(file: &Path, text: &str) -> Result {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => there(file),
        _ => CommandError::Failed(format!("{}: {error}", file.display())),
    };
    let mut new = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)
}

/// What is left to do.
fn next(text: &str) -> Vec<String> {
    let settings = || text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut variables: Vec<&str> = Vec::new();
    for name in settings().flat_map(|line| line.split("${").skip(1)).filter_map(|rest| Some(rest.split_once('}')?.0)) {
        if !variables.contains(&name) {
            variables.push(name);
        }
    }
    let mut steps = Vec::new();
    if settings().any(|line| line.contains(BLANK)) {
        steps.push(format!("fill in what says {BLANK}"));
    }
    if !variables.is_empty() {
        steps.push(format!("set in the environment: {}", variables.join(", ")));
    }
    steps.push("`dari check` tells what is wrong, `dari run` starts".to_owned());
    steps.into_iter().map(|step| format!("  - {step}")).collect()
}

type Source = (&'static Manifest, &'static SourceKind);
type Sink = (&'static Manifest, &'static SinkKind);

fn sources(manifests: &[&'static Manifest]) -> Vec<Source> {
    manifests.iter().flat_map(|manifest| manifest.sources.iter().map(|kind| (*manifest, kind))).collect()
}

fn sinks(manifests: &[&'static Manifest]) -> Vec<Sink> {
    manifests.iter().flat_map(|manifest| manifest.sinks.iter().map(|kind| (*manifest, kind))).collect()
}

/// A source and a sink of each of these kinds; the usual one where none is named.
fn picked(
    manifests: &[&'static Manifest],
    from: &[String],
    to: &[String],
) -> std::result::Result<text::Picked, String> {
    let usual = |names: &[String], usual: &str| if names.is_empty() { vec![usual.to_owned()] } else { names.to_vec() };
    Ok(text::Picked {
        sources: named("source", &sources(manifests), |(_, kind)| kind.name, &usual(from, USUAL.0))?,
        sinks: named("sink", &sinks(manifests), |(_, kind)| kind.name, &usual(to, USUAL.1))?,
    })
}

/// Those of these names, each once.
fn named<T: Copy>(
    what: &str,
    all: &[T],
    name: impl Fn(&T) -> &'static str,
    names: &[String],
) -> std::result::Result<Vec<T>, String> {
    let mut found: Vec<T> = Vec::new();
    for wanted in names {
        let one = all.iter().find(|one| name(one) == wanted).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(&name).collect();
            let hint = match config::nearest(wanted, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known.join(", ")),
            };
            format!("there is no kind of {what} `{wanted}`; {hint}")
        })?;
        if !found.iter().any(|known| name(known) == wanted) {
            found.push(*one);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::connectors::client::Client;

    fn start(sources: &[&str], sinks: &[&str]) -> std::result::Result<String, String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Ok(picked(connectors::ALL, &owned(sources), &owned(sinks))?.text())
    }

    /// What a person would set.
    fn variable(name: &str) -> String {
        let value = if name.starts_with("STANDARD") {
            "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
        } else {
            "0123456789abcdef"
        };
        value.to_owned()
    }

    /// What the check says of a config: its faults and warnings.
    fn told(dir: &Path, text: &str) -> String {
        let file = dir.join("dari.yaml");
        std::fs::write(&file, text).unwrap();
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
        match config::load(&file, &|name| Some(variable(name)), &Client::new().unwrap(), &clock) {
            Ok(config) => config.warnings.iter().map(|warning| warning.message.as_str()).collect::<Vec<_>>().join("\n"),
            Err(faults) => faults.to_string(),
        }
    }

    #[test]
    fn every_pair_of_kinds_is_a_sound_config() {
        let dir = tempfile::tempdir().unwrap();
        let mut wrong = Vec::new();
        for (_, source) in sources(connectors::ALL) {
            for (_, sink) in sinks(connectors::ALL) {
                let text = start(&[source.name], &[sink.name]).unwrap();
                let told = told(dir.path(), &text);
                if !told.is_empty() {
                    wrong.push(format!("{} to {}:\n{told}", source.name, sink.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn so_is_one_with_all_kinds() {
        let all_sources: Vec<_> = sources(connectors::ALL).iter().map(|(_, kind)| kind.name).collect();
        let all_sinks: Vec<_> = sinks(connectors::ALL).iter().map(|(_, kind)| kind.name).collect();
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(told(dir.path(), &start(&all_sources, &all_sinks).unwrap()), "");
    }

    #[test]
    fn what_is_commented_out_is_sound_yaml_too() {
        let dir = tempfile::tempdir().unwrap();
        for (_, source) in sources(connectors::ALL) {
            let text = start(&[source.name], &["http"]).unwrap();
            let key = |line: &str| {
                line.trim_start().strip_prefix("# ").is_some_and(|rest| {
                    rest.split_once(": ")
                        .is_some_and(|(key, _)| key.chars().all(|c| c == '_' || c.is_ascii_lowercase()))
                })
            };
            let all: Vec<String> =
                text.lines().map(|line| if key(line) { line.replacen("# ", "", 1) } else { line.to_owned() }).collect();
            let told = told(dir.path(), &all.join("\n"));
            assert!(
                !told.contains("unknown") && !told.contains("not YAML"),
                "{}:\n{told}\n{}",
                source.name,
                all.join("\n")
            );
        }
    }

    #[test]
    fn a_file_that_is_there_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.yaml");
        let place = Where { config: file.clone(), admin: None };
        let args = InitArgs { sources: vec!["github-hook".into()], ..InitArgs::default() };
        init(&args, &place).unwrap();
        let before = std::fs::read_to_string(&file).unwrap();
        let again = InitArgs { sources: vec!["walla".into()], ..InitArgs::default() };
        assert!(matches!(init(&again, &place), Err(CommandError::Failed(why)) if why.contains("stays as it is")));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    }

    #[test]
    fn what_is_left_to_do_is_said() {
        insta::assert_snapshot!(next(&start(&["walla", "github-hook"], &["slack"]).unwrap()).join("\n"), @"
    - fill in what says FILL-IN
    - set in the environment: WALLA_CLIENT_ID, WALLA_API_KEY, SLACK_BOT_TOKEN, SLACK_SIGNING_SECRET, GITHUB_HOOK_SECRET
    - `dari check` tells what is wrong, `dari run` starts
    ");
    }

    #[test]
    fn an_unknown_kind_is_told() {
        assert_eq!(start(&["wala"], &[]).unwrap_err(), "there is no kind of source `wala`; did you mean `walla`?");
        assert!(start(&[], &["crm"]).unwrap_err().starts_with("there is no kind of sink `crm`; there are works, "));
    }
}
