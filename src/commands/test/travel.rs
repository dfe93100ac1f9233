//! The way of an event through one route, up to the call and the answer that the test gives to it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Bench;
use super::expect::value_of;
use super::fixture;
use crate::config::{Action, LookupConfig, OtherLink, RouteConfig};
use crate::connectors::{Ask, Call, Lookup, Operation, Sink};
use crate::event::Event;
use crate::outcome::{Outcome, Verb};
use crate::route::{self, Decision, Looked, RenderedOperation, Resolution};
use crate::settings::Node;
use crate::store::{Link, LinkState};
use crate::template::{Context, Escape};

/// What a route came to on an event.
#[derive(Debug)]
pub(super) enum Came {
    /// The route left it.
    Skipped(String),
    /// The route took it, and nothing is to be sent: `stale`, `unchanged` or `nothing-to-do`.
    Ended(&'static str, String),
    /// It took it, and could not make the call.
    Stopped {
        /// What it would have done, where that was known.
        verb: Option<Verb>,
        /// What became of it instead.
        outcome: Outcome,
    },
    /// It took it, and would make this call.
    Called(Box<Called>),
}

/// A call that would be made.
#[derive(Debug)]
pub(super) struct Called {
    pub verb: Verb,
    pub rendered: RenderedOperation,
    /// As people may see it.
    pub shown: Value,
    /// What the vendor's answer comes to, if the test has one.
    pub outcome: Option<Outcome>,
    /// The record that it tells.
    pub remote_id: Option<String>,
}

/// A test on its way: what does not change from event to event.
pub(super) struct Journey<'a> {
    pub bench: Bench<'a>,
    pub route: &'a RouteConfig,
    /// The test as the config has it.
    pub test: &'a Node,
    /// What a person should know.
    pub notes: &'a mut Vec<String>,
}

/// Why an event does not come to a call.
enum Stop {
    /// It ends so.
    Came(Came),
    /// The test cannot be run.
    Trouble(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Trouble(why)
    }
}

fn rejected<T>(verb: Option<Verb>, why: String) -> Result<T, Stop> {
    Err(Stop::Came(Came::Stopped { verb, outcome: Outcome::reject(why) }))
}

impl<'a> Journey<'a> {
    /// What the route came to on the events of one request: the first that it does not skip counts.
    ///
    /// # Errors
    /// The test cannot be run, in words.
    pub fn all(&mut self, events: &[Event]) -> Result<Came, String> {
        let mut last = Came::Skipped("the request became no event".into());
        for event in events {
            last = match self.one(event) {
                Ok(came) | Err(Stop::Came(came)) => came,
                Err(Stop::Trouble(why)) => return Err(why),
            };
            if !matches!(last, Came::Skipped(_)) {
                break;
            }
        }
        Ok(last)
    }

    fn one(&mut self, event: &Event) -> Result<Came, Stop> {
        let route = self.route;
        if !route.enabled {
            return Ok(Came::Skipped("the route is not enabled".into()));
        }
        let mut link = self.link(&route.link, event)?;
        let (case, action) = self.taken(event, link.as_ref())?;
        let mut verb = match route::resolve(action, route.cases[case].without_link, event, link.as_ref()) {
            Resolution::Do(verb) => verb,
            Resolution::Nothing(why) => return Ok(Came::Ended("nothing-to-do", why)),
        };
        let (sink, escape) = self.sink()?;
        let looked = self.look_up(event, link.as_ref(), (case, verb))?;
        if verb == Verb::Create && matches!(action, Action::Upsert | Action::Sync) {
            let context = self.context(event, link.as_ref(), &looked)?;
            if let Some(id) = self.matched(sink, &context)? {
                (verb, link) = (Verb::Update, Some(adopted(id)));
            }
        }
        let context = self.context(event, link.as_ref(), &looked)?;
        let rendered = match route::render(&route.cases[case], verb, &context, escape) {
            Ok(rendered) => rendered,
            Err(errors) => return rejected(Some(verb), route::in_words(&errors)),
        };
        let prepared = sink.prepare(&Operation {
            verb,
            fields: &rendered.fields,
            remote_id: link.as_ref().and_then(|link| link.remote_id.as_deref()),
            request: rendered.request.as_ref(),
            webhook_id: "msg_test",
            traceparent: &event.traceparent(),
            now: self.bench.clock.now(),
        });
        let call = prepared.or_else(|why| rejected(Some(verb), why))?;
        if action.is_state() && verb == Verb::Update && self.holds_already(link.as_ref(), &rendered) {
            return Ok(Came::Ended("unchanged", "the record holds that already".into()));
        }
        let (outcome, remote_id) = self.answered(sink, &call)?.unzip();
        let shown = shown(&call, &rendered);
        Ok(Came::Called(Box::new(Called { verb, rendered, shown, outcome, remote_id: remote_id.flatten() })))
    }

    fn link(&self, owner: &str, event: &Event) -> Result<Option<Link>, String> {
        let node = fixture::linked(self.bench.config, self.test, owner);
        node.map(|node| fixture::link(node, event)).transpose()
    }

    /// The case that takes the event and what it does, by types, filters, key and version.
    fn taken(&self, event: &Event, link: Option<&Link>) -> Result<(usize, Action), Stop> {
        let before = route::context(self.route, event, Arc::clone(&self.bench.config.tables), None);
        let taken = match route::decide(self.route, event, &before) {
            Decision::Take { case, action } => (case, action),
            Decision::Leave { case, .. } if link.is_some_and(route::is_there) => (case, Action::Delete),
            Decision::Skip { why } | Decision::Leave { why, .. } => return Err(Stop::Came(Came::Skipped(why))),
            Decision::Error(error) => return rejected(None, error.to_string()),
        };
        if let Err(error) = route::link_key(self.route, event, &before) {
            return rejected(None, format!("key: {error}"));
        }
        if route::is_stale(taken.1, event, link) {
            return Err(Stop::Came(Came::Ended("stale", "the link has a newer version".into())));
        }
        Ok(taken)
    }

    fn sink(&self) -> Result<(&'a dyn Sink, Escape), String> {
        let name = &self.route.to;
        let config = self.bench.config.sinks.iter().find(|sink| sink.name == *name);
        let found = self.bench.sinks.get(name).zip(config);
        found.map(|(sink, config)| (&**sink, config.kind.escape)).ok_or_else(|| format!("there is no sink {name}"))
    }

    fn context(&self, event: &Event, link: Option<&Link>, looked: &Looked) -> Result<Context, String> {
        let mut context = route::context(self.route, event, Arc::clone(&self.bench.config.tables), link);
        let of = |other: &OtherLink| self.link(&other.owner, event);
        let others = self.route.reads.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        let names = self.route.reads.iter().map(|other| other.name.as_str());
        route::set_links(&mut context, names.zip(others.iter().map(Option::as_ref)));
        looked.put(&mut context);
        Ok(context)
    }

    /// The answer of the test to a question or a call, if it has one.
    fn response(&self, what: &str) -> Option<&Node> {
        self.test.get("respond").and_then(|all| all.get(what))
    }

    // === What is asked before ===

    /// What the route's lookups find by the test's answers.
    fn look_up(&self, event: &Event, link: Option<&Link>, (case, verb): (usize, Verb)) -> Result<Looked, Stop> {
        let route = self.route;
        let parts = self.bench.lookups.get(&route.name).map(Vec::as_slice).unwrap_or_default();
        let needed = route::needed(route, &route.cases[case], verb);
        let context = self.context(event, link, &Looked::default())?;
        let mut looked = Looked::default();
        for (lookup, part) in needed.iter().filter_map(|at| Some((&route.lookups[*at], parts.get(*at)?))) {
            looked.add(&lookup.name, self.found(lookup, &**part, &context, verb)?);
        }
        Ok(looked)
    }

    fn found(
        &self,
        lookup: &LookupConfig,
        part: &dyn Lookup,
        context: &Context,
        verb: Verb,
    ) -> Result<Option<Value>, Stop> {
        let what = format!("lookup.{}", lookup.name);
        let wanted = route::values(&format!("{what}.match"), &lookup.wanted, context);
        let wanted = wanted.or_else(|why| rejected(Some(verb), why))?;
        if let Err(why) = part.prepare(&wanted) {
            return rejected(Some(verb), format!("{what}: {why}"));
        }
        let answer = self.response(&what);
        let answer = answer.ok_or_else(|| format!("the test has no `respond` for {what}"))?;
        let records = match fixture::answer(answer)? {
            Ok(answer) => part.pick(&wanted, &answer),
            Err(error) => Err(Outcome::retry(error.to_string())),
        };
        match records.map(|records| route::chosen(lookup, records)) {
            Ok(Ok(record)) => Ok(record),
            Ok(Err(why)) => rejected(Some(verb), why),
            Err(outcome) => Err(Stop::Came(Came::Stopped { verb: Some(verb), outcome })),
        }
    }

    /// The record that is there already by the route's `match`, and the test's answer to it.
    fn matched(&mut self, sink: &dyn Sink, context: &Context) -> Result<Option<String>, Stop> {
        let Some(matching) = &self.route.matching else { return Ok(None) };
        let create = Some(Verb::Create);
        let values = route::values("match", matching, context).or_else(|why| rejected(create, why))?;
        let question = Ask::Match(&values);
        if let Some(Err(why)) = sink.ask(&question) {
            return rejected(create, format!("match: {why}"));
        }
        let what = format!("match.{}", self.route.to);
        let Some(answer) = self.response(&what) else {
            self.notes.push(format!(
                "{}: taken as if nothing matched: the test has no `respond` for {what}",
                self.route.name
            ));
            return Ok(None);
        };
        let found = match fixture::answer(answer)? {
            Ok(answer) => sink.answered(&question, &answer),
            Err(error) => Err(Outcome::retry(error.to_string())),
        };
        match found {
            Ok(mut found) if found.len() < 2 => Ok(found.pop()),
            Ok(found) => rejected(create, format!("match: {} records have these values", found.len())),
            Err(outcome) => Err(Stop::Came(Came::Stopped { verb: create, outcome })),
        }
    }

    // === The call ===

    fn holds_already(&self, link: Option<&Link>, rendered: &RenderedOperation) -> bool {
        let node = fixture::linked(self.bench.config, self.test, &self.route.link);
        let holds = node.and_then(|node| node.get("holds")).map(value_of);
        let is_linked = link.is_some_and(|link| link.state == LinkState::Linked);
        is_linked && holds.is_some_and(|holds| holds == Value::Object(rendered.fields.clone()))
    }

    /// What the test's answer to the call comes to, and the record that it tells.
    fn answered(&self, sink: &dyn Sink, call: &Call) -> Result<Option<(Outcome, Option<String>)>, String> {
        let Some(answer) = self.response(&self.route.to) else { return Ok(None) };
        let outcome = match fixture::answer(answer)? {
            Ok(answer) => sink.classify(call, &answer),
            Err(error) => fixture::unanswered(call, error),
        };
        let id = match &outcome {
            Outcome::Delivered { remote_id } => remote_id.clone().or_else(|| call.remote_id.clone()),
            _ => None,
        };
        Ok(Some((outcome, id)))
    }
}

/// The link to a record that somebody else made.
fn adopted(id: String) -> Link {
    let received = crate::event::Received::BEFORE_ALL;
    Link { remote_id: Some(id), version: None, received, state: LinkState::Linked, content: None }
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
