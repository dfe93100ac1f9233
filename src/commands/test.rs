//! `dari test`: the config's own tests, without a network.
//!
//! A fixture goes the way an event goes: read, decided on, resolved against the link, rendered, prepared by the sink;
//! and what the test says the vendor answers is classified by the sink. Then it is compared with what was expected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::access::Where;
use super::{CommandError, access, output};
use crate::clock::Clock;
use crate::config::faults::Faults;
use crate::config::{Config, TestConfig};
use crate::connectors::client::Client;
use crate::connectors::{Hook, Lookup, Sink, SourceRole};
use crate::settings::{Fault, Node};

mod difference;
mod expect;
mod fixture;
mod report;
mod travel;
mod watch;

pub use difference::Difference;
use expect::Expected;
pub use report::{Report, TestReport};

/// Runs the config's tests.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// The config file
    pub file: Option<PathBuf>,
    /// JSON for programs
    #[arg(long, conflicts_with = "watch")]
    pub json: bool,
    /// Run them again whenever the config or a file that it names changes, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// `dari test`.
///
/// # Errors
/// The config has faults, or a test failed; with `watch` neither ends it.
pub async fn test(args: &TestArgs, place: &Where) -> super::Result {
    let file = args.file.as_ref().unwrap_or(&place.config);
    if args.watch {
        return watch::watch(file).await;
    }
    let report = run_file(file)?;
    if args.json {
        output::json(&report.json())?;
    } else {
        tell(&report)?;
    }
    match report.failed() {
        0 => Ok(()),
        failed => Err(CommandError::Failed(format!("{failed} of {} tests failed", report.tests.len()))),
    }
}

/// Where standard output is no terminal, its colours are taken out on the way.
fn tell(report: &Report) -> super::Result {
    if report.tests.is_empty() {
        return output::line("there are no `tests` in the config");
    }
    output::line(report.in_colours())
}

fn run_file(file: &Path) -> super::Result<Report> {
    let config = access::load(file)?;
    let client = Client::new().map_err(CommandError::failed)?;
    let run = run_all(&config, &client, &Clock::system(0));
    run.map_err(|faults| CommandError::Config(Faults::new(&config.file, faults).to_string()))
}

/// Builds the config's sinks and webhooks, and runs its tests against them.
///
/// # Errors
/// A source or sink cannot be built.
pub fn run_all(config: &Config, client: &Client, clock: &Clock) -> Result<Report, Vec<Fault>> {
    let mut sinks = BTreeMap::new();
    for sink in &config.sinks {
        let part: Arc<dyn Sink> = Arc::from(config.build_sink(sink, client, clock)?);
        sinks.insert(sink.name.clone(), part);
    }
    let mut hooks = BTreeMap::new();
    for source in &config.sources {
        if let SourceRole::Hook(hook) = config.build_source(source, client, clock)? {
            hooks.insert(source.name.clone(), Arc::from(hook));
        }
    }
    let mut lookups = BTreeMap::new();
    for route in &config.routes {
        let build = |lookup| config.build_lookup(lookup, client, clock);
        lookups.insert(route.name.clone(), route.lookups.iter().map(build).collect::<Result<_, _>>()?);
    }
    let bench = Bench { config, sinks: &sinks, hooks: &hooks, lookups: &lookups, clock };
    Ok(Report { tests: config.tests.iter().map(|test| run_one(bench, test)).collect() })
}

/// What the tests run against.
#[derive(Clone, Copy)]
struct Bench<'a> {
    config: &'a Config,
    /// Its sinks by name.
    sinks: &'a BTreeMap<String, Arc<dyn Sink>>,
    /// Its webhook sources by name.
    hooks: &'a BTreeMap<String, Arc<dyn Hook>>,
    /// The lookups of its routes by the route's name, in the order of the route.
    lookups: &'a BTreeMap<String, Vec<Box<dyn Lookup>>>,
    /// The time, for what is stamped or signed.
    clock: &'a Clock,
}

fn run_one(bench: Bench<'_>, test: &TestConfig) -> TestReport {
    let (mut notes, mut differences) = (Vec::new(), Vec::new());
    let (name, spot) = (test.name.clone(), test.spot);
    let arrived = match fixture::arrived(bench, &test.node, &mut notes) {
        Ok(arrived) => arrived,
        Err(why) => {
            differences.push(Difference::Trouble(why));
            return TestReport { name, spot, events: Vec::new(), differences, notes };
        }
    };
    let expected = |key: &str| test.node.get(key);
    if let Some((status, why)) = &arrived.answer {
        let (status, wanted) = (status.as_u16().to_string(), expected("answer").and_then(Node::text));
        let told = if why.is_empty() { status.clone() } else { format!("{status}: {why}") };
        match wanted {
            Some(wanted) if wanted != status => differences.push(Difference::new("answer", wanted, told)),
            None if arrived.events.is_empty() && !why.is_empty() => {
                differences.push(Difference::Trouble(format!("the request is answered {told}")));
                return TestReport { name, spot, events: Vec::new(), differences, notes };
            }
            _ => {}
        }
    }
    if let Some(wanted) = expected("events") {
        differences.extend(expect::events_differ(wanted.items(), &arrived.events));
    }
    for (key, node) in expected("expect").map(Node::entries).unwrap_or_default() {
        let Some(route) = bench.config.routes.iter().find(|route| route.name == key.name) else { continue };
        let mut journey = travel::Journey { bench, route, test: &test.node, notes: &mut notes };
        match journey.all(&arrived.events) {
            Ok(came) => differences.extend(Expected::read(node).differences(&key.name, &came)),
            Err(why) => differences.push(Difference::Trouble(format!("{}: {why}", key.name))),
        }
    }
    let events = if arrived.answer.is_some() { arrived.events } else { Vec::new() };
    TestReport { name, spot, events, differences, notes }
}

#[cfg(test)]
mod tests;
