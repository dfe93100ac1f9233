//! `dari test`: the config's own tests, without a network.
//!
//! A fixture goes the way an event goes: read, decided on, resolved against the link, rendered, prepared by the sink;
//! and what the test says the vendor answers is classified by the sink. Then it is compared with what was expected.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::access::Where;
use super::{CommandError, access, output};
use crate::clock::Clock;
use crate::config::faults::Faults;
use crate::config::{Action, Config, OtherLink, RouteConfig, TestConfig};
use crate::connectors::client::Client;
use crate::connectors::{Call, Hook, Lookup, Operation, Sink, SourceRole};
use crate::event::Event;
use crate::outcome::{Outcome, Verb};
use crate::route::{self, Decision, Looked, RenderedOperation, Resolution};
use crate::settings::{Fault, Node, Spot};
use crate::template::Context;

mod expect;
mod fixture;

use expect::Expected;

/// Runs the config's tests.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// The config file
    pub file: Option<PathBuf>,
    /// JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `dari test`.
///
/// # Errors
/// The config has faults, or a test failed.
pub fn test(args: &TestArgs, place: &Where) -> super::Result {
    let config = access::load(args.file.as_ref().unwrap_or(&place.config))?;
    let client = Client::new().map_err(CommandError::failed)?;
    let clock = Clock::system(0);
    let report = run_all(&config, &client, &clock)
        .map_err(|faults| CommandError::Config(Faults::new(&config.file, faults).to_string()))?;
    if args.json {
        output::json(&report.json())?;
    } else {
        output::line(&report)?;
    }
    match report.failed() {
        0 => Ok(()),
        failed => Err(CommandError::Failed(format!("{failed} of {} tests failed", report.tests.len()))),
    }
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
    Ok(run(Bench { config, sinks: &sinks, hooks: &hooks, lookups: &lookups, clock }))
}

/// What the tests run against.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// The config.
    pub config: &'a Config,
    /// Its sinks by name.
    pub sinks: &'a BTreeMap<String, Arc<dyn Sink>>,
    /// Its webhook sources by name.
    pub hooks: &'a BTreeMap<String, Arc<dyn Hook>>,
    /// The lookups of its routes by the route's name, in the order of the route.
    pub lookups: &'a BTreeMap<String, Vec<Box<dyn Lookup>>>,
    /// The time, for what is stamped or signed.
    pub clock: &'a Clock,
}

/// How the tests went. Displays as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The tests, in the order of the file.
    pub tests: Vec<TestReport>,
}

/// How one test went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestReport {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub spot: Spot,
    /// What differs from what was expected, a line each; none: it passed.
    pub differences: Vec<String>,
    /// What a person should know though it passed, as that a signature was not checked.
    pub notes: Vec<String>,
}

impl Report {
    /// How many tests failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.tests.iter().filter(|test| !test.differences.is_empty()).count()
    }

    /// The same for programs: `{ tests: [{ name, line, passed, differences, notes }], passed, failed }`.
    #[must_use]
    pub fn json(&self) -> Value {
        let tests: Vec<Value> = self
            .tests
            .iter()
            .map(|test| {
                json!({
                    "name": test.name,
                    "line": test.spot.line,
                    "passed": test.differences.is_empty(),
                    "differences": test.differences,
                    "notes": test.notes,
                })
            })
            .collect();
        json!({ "passed": tests.len() - self.failed(), "failed": self.failed(), "tests": tests })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for test in &self.tests {
            if test.differences.is_empty() {
                writeln!(f, "ok    {}", test.name)?;
            } else {
                writeln!(f, "FAIL  {} (line {})", test.name, test.spot.line)?;
            }
            for line in &test.differences {
                writeln!(f, "      {line}")?;
            }
            for line in &test.notes {
                writeln!(f, "      note: {line}")?;
            }
        }
        write!(f, "{} passed, {} failed", self.tests.len() - self.failed(), self.failed())
    }
}

/// Runs all tests of the config.
#[must_use]
pub fn run(bench: Bench<'_>) -> Report {
    Report { tests: bench.config.tests.iter().map(|test| run_one(bench, test)).collect() }
}

fn run_one(bench: Bench<'_>, test: &TestConfig) -> TestReport {
    let mut report =
        TestReport { name: test.name.clone(), spot: test.spot, differences: Vec::new(), notes: Vec::new() };
    let events = match fixture::events(bench, &test.node, &mut report.notes) {
        Ok(events) => events,
        Err(why) => {
            report.differences.push(why);
            return report;
        }
    };
    for (key, node) in test.node.get("expect").map(Node::entries).unwrap_or_default() {
        let result = Expected::read(node).and_then(|expected| {
            let route = bench.config.routes.iter().find(|route| route.name == key.name);
            let route = route.ok_or_else(|| format!("there is no route {}", key.name))?;
            Ok(expected.differences(&key.name, &travel_all(bench, route, &events, &test.node)?))
        });
        match result {
            Ok(differences) => report.differences.extend(differences),
            Err(why) => report.differences.push(format!("{}: {why}", key.name)),
        }
    }
    report
}

/// What a route came to on an event.
#[derive(Debug)]
enum Came {
    /// The route left it.
    Skipped(String),
    /// The route took it, and nothing is to be sent: `stale` or `nothing-to-do`.
    Ended(&'static str, String),
    /// It took it, and no vendor would take the record.
    Rejected { verb: Option<Verb>, why: String },
    /// It took it, and would make this call.
    Called(Box<Called>),
}

/// A call that would be made.
#[derive(Debug)]
struct Called {
    verb: Verb,
    rendered: RenderedOperation,
    // As people may see it.
    shown: Value,
    // What the vendor's answer comes to, if the test has one.
    outcome: Option<Outcome>,
}

/// What a route came to on the events of one request: the first that it does not skip counts.
fn travel_all(bench: Bench<'_>, route: &RouteConfig, events: &[Event], test: &Node) -> Result<Came, String> {
    let mut last = Came::Skipped("the request became no event".into());
    for event in events {
        last = travel(bench, route, event, test)?;
        if !matches!(last, Came::Skipped(_)) {
            break;
        }
    }
    Ok(last)
}

fn travel(bench: Bench<'_>, route: &RouteConfig, event: &Event, test: &Node) -> Result<Came, String> {
    if !route.enabled {
        return Ok(Came::Skipped("the route is not enabled".into()));
    }
    let link = fixture::link_of(bench.config, test, &route.link, event)?;
    let tables = || Arc::clone(&bench.config.tables);
    let before = route::context(route, event, tables(), None);
    let (case, action) = match route::decide(route, event, &before) {
        Decision::Take { case, action } => (case, action),
        Decision::Leave { case, .. } if link.as_ref().is_some_and(route::is_there) => (case, Action::Delete),
        Decision::Skip { why } | Decision::Leave { why, .. } => return Ok(Came::Skipped(why)),
        Decision::Error(error) => return Ok(Came::Rejected { verb: None, why: error.to_string() }),
    };
    if let Err(error) = route::link_key(route, event, &before) {
        return Ok(Came::Rejected { verb: None, why: format!("key: {error}") });
    }
    if route::is_stale(action, event, link.as_ref()) {
        return Ok(Came::Ended("stale", "the link has a newer version".into()));
    }
    let verb = match route::resolve(action, route.cases[case].without_link, event, link.as_ref()) {
        Resolution::Do(verb) => verb,
        Resolution::Nothing(why) => return Ok(Came::Ended("nothing-to-do", why)),
    };
    let sink_config = bench.config.sinks.iter().find(|sink| sink.name == route.to);
    let sink = bench.sinks.get(&route.to).zip(sink_config);
    let (sink, sink_config) = sink.ok_or_else(|| format!("there is no sink {}", route.to))?;
    let mut context = route::context(route, event, tables(), link.as_ref());
    let of = |other: &OtherLink| fixture::link_of(bench.config, test, &other.owner, event);
    let others = route.reads.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let names = route.reads.iter().map(|other| other.name.as_str());
    route::set_links(&mut context, names.zip(others.iter().map(Option::as_ref)));
    let rendered = match look_up(bench, route, &context, test, &route::needed(route, &route.cases[case], verb))? {
        Ok(looked) => {
            looked.put(&mut context);
            route::render(&route.cases[case], verb, &context, sink_config.kind.escape)
                .map_err(|errors| route::in_words(&errors))
        }
        Err(why) => Err(why),
    };
    let rendered = match rendered {
        Ok(rendered) => rendered,
        Err(why) => return Ok(Came::Rejected { verb: Some(verb), why }),
    };
    let prepared = sink.prepare(&Operation {
        verb,
        fields: &rendered.fields,
        remote_id: link.as_ref().and_then(|link| link.remote_id.as_deref()),
        request: rendered.request.as_ref(),
        webhook_id: "msg_test",
        traceparent: &event.traceparent(),
        now: bench.clock.now(),
    });
    let call = match prepared {
        Ok(call) => call,
        Err(why) => return Ok(Came::Rejected { verb: Some(verb), why }),
    };
    let answer = test.get("respond").and_then(|all| all.get(&route.to)).map(fixture::answer).transpose()?;
    let outcome = answer.map(|answer| sink.classify(&call, &answer));
    Ok(Came::Called(Box::new(Called { verb, shown: shown(&call, &rendered), rendered, outcome })))
}

/// What a route's lookups find by the test's answers; the inner error is why the record is refused.
fn look_up(
    bench: Bench<'_>,
    route: &RouteConfig,
    context: &Context,
    test: &Node,
    needed: &[usize],
) -> Result<Result<Looked, String>, String> {
    let parts = bench.lookups.get(&route.name).map(Vec::as_slice).unwrap_or_default();
    let mut looked = Looked::default();
    for (lookup, part) in needed.iter().filter_map(|at| Some((&route.lookups[*at], parts.get(*at)?))) {
        let what = format!("lookup.{}", lookup.name);
        let prepared = route::values(&format!("{what}.match"), &lookup.wanted, context)
            .and_then(|wanted| part.prepare(&wanted).map_err(|why| format!("{what}: {why}")));
        if let Err(why) = prepared {
            return Ok(Err(why));
        }
        let answer = test.get("respond").and_then(|all| all.get(&what));
        let answer = answer.ok_or_else(|| format!("the test has no `respond` for {what}"))?;
        let records = part.read(&fixture::answer(answer)?);
        let records = records.map_err(|outcome| format!("{what} is answered with a {}", outcome.name()))?;
        match route::chosen(lookup, records) {
            Ok(record) => looked.add(&lookup.name, record),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(looked))
}

/// What `request` of an expectation is compared with: `method`, `url`, `body` as people may see them, and `path`.
fn shown(call: &Call, rendered: &RenderedOperation) -> Value {
    let mut shown = call.shown.as_object().cloned().unwrap_or_else(Map::new);
    shown.insert("method".into(), json!(call.method.as_str()));
    if let Some(request) = &rendered.request {
        shown.insert("path".into(), json!(request.path));
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests;
