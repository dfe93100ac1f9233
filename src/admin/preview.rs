//! What an event would do on each route if it came now: rendered and checked, and nothing is sent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Operator, OperatorError, Result};
use crate::config::{Action, Config, RouteConfig};
use crate::connectors::{Operation, Sink};
use crate::deliver::webhook_id;
use crate::event::Event;
use crate::outcome::Verb;
use crate::route::{self, Decision, Resolution};
use crate::store::{DeliveryKey, LinkKey, Question, Standing};

/// What an event would do on one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The route.
    pub route: String,
    /// Its sink.
    pub to: String,
    /// A verb, or how it would end without a call: `skipped`, `stale`, `nothing-to-do`, `unchanged`, `rejected`.
    pub would: String,
    /// Why, or what a person should know.
    pub why: Option<String>,
    /// The call, as people may see it.
    pub call: Option<Value>,
}

/// Endings without a call.
const WITHOUT_CALL: [&str; 5] = ["skipped", "stale", "nothing-to-do", "unchanged", "rejected"];

impl Preview {
    /// True if something would be sent.
    #[must_use]
    pub fn changes(&self) -> bool {
        !WITHOUT_CALL.contains(&self.would.as_str())
    }
}

/// How it would end, and why.
type Ending = (String, Option<String>, Option<Value>);

fn ends(how: &str, why: impl Into<String>) -> Ending {
    (how.to_owned(), Some(why.into()), None)
}

impl Operator {
    /// What an event would do on every route that takes from its source, as things stand.
    ///
    /// # Errors
    /// The store.
    pub async fn preview(&self, event: &Event) -> Result<Vec<Preview>> {
        let mut previews = Vec::new();
        for route in self.config.routes.iter().filter(|route| route.takes_from(&event.source)) {
            previews.push(self.preview_on(route, event).await?);
        }
        Ok(previews)
    }

    /// What would become of a dead letter if it were sent again now: by the config and the link of now.
    ///
    /// # Errors
    /// There is none with this number; the store.
    pub async fn preview_letter(&self, id: i64) -> Result<Preview> {
        let letter = self.store.dead_letter(id).await?.ok_or_else(|| OperatorError::NotFound {
            what: "dead letter",
            name: id.to_string(),
            hint: String::new(),
        })?;
        let (name, event) = (&letter.letter.delivery.route, &letter.letter.event);
        if let Some(route) = self.config.routes.iter().find(|route| route.name == *name) {
            return self.preview_on(route, event).await;
        }
        let (would, why, call) = ends("skipped", format!("the config has no route {name} any more"));
        Ok(Preview { route: name.clone(), to: letter.letter.sink.clone(), would, why, call })
    }

    async fn preview_on(&self, route: &RouteConfig, event: &Event) -> Result<Preview> {
        let masked = self.redactor.values(&event.data.value());
        let (would, why, mut call) = self.would(route, event).await?;
        if let Some(call) = &mut call {
            masked.value(call);
        }
        let why = why.map(|why| masked.text(&why));
        Ok(Preview { route: route.name.clone(), to: route.to.clone(), would, why, call })
    }

    async fn would(&self, route: &RouteConfig, event: &Event) -> Result<Ending> {
        if !route.enabled {
            return Ok(ends("skipped", "the route is switched off"));
        }
        let context = route::context(route, event, Arc::clone(&self.config.tables), None);
        let (case, action, left) = match route::decide(route, event, &context) {
            Decision::Take { case, action } => (case, action, None),
            Decision::Leave { case, why } => (case, Action::Delete, Some(why)),
            Decision::Skip { why } => return Ok(ends("skipped", why)),
            Decision::Error(error) => return Ok(ends("rejected", error.to_string())),
        };
        let key = match route::link_key(route, event, &context) {
            Ok(key) => key,
            Err(error) => return Ok(ends("rejected", format!("key: {error}"))),
        };
        let standing = self.stands(route, event, key).await?;
        let link = standing.link.as_ref();
        if let Some(why) = left.filter(|_| !link.is_some_and(route::is_there)) {
            return Ok(ends("skipped", why));
        }
        if route::is_stale(action, event, link) {
            return Ok(ends("stale", "something newer was applied"));
        }
        let verb = match route::resolve(action, route.cases[case].without_link, event, link) {
            Resolution::Do(verb) => verb,
            Resolution::Nothing(why) => return Ok(ends("nothing-to-do", why)),
        };
        Ok(self.call(route, event, case, verb, &standing))
    }

    async fn stands(&self, route: &RouteConfig, event: &Event, key: String) -> Result<Standing> {
        let owned = |owner: &String| LinkKey { owner: owner.clone(), key: key.clone() };
        let question = Question {
            delivery: DeliveryKey { route: route.name.clone(), event: event.key(), generation: event.generation },
            body_key: event.body_key(),
            link: owned(&route.link),
            others: route.reads.iter().map(|other| owned(&other.owner)).collect(),
            instead_of: Vec::new(),
            received: event.received,
            now: self.clock.now(),
        };
        Ok(self.store.standing(question).await?)
    }

    fn call(&self, route: &RouteConfig, event: &Event, case: usize, verb: Verb, standing: &Standing) -> Ending {
        let case = &route.cases[case];
        let needed = route::needed(route, case, verb);
        if !needed.is_empty() {
            let names: Vec<_> = needed.iter().map(|at| format!("lookup.{}", route.lookups[*at].name)).collect();
            let why = format!("the record needs {}, which is read when it is sent", names.join(", "));
            return (verb.name().to_owned(), Some(why), None);
        }
        let link = standing.link.as_ref();
        let mut context = route::context(route, event, Arc::clone(&self.config.tables), link);
        let names = route.reads.iter().map(|other| other.name.as_str());
        route::set_links(&mut context, names.zip(standing.others.iter().map(Option::as_ref)));
        let Some(sink) = self.config.sinks.iter().find(|sink| sink.name == route.to) else {
            return ends("skipped", "its sink is not in the config");
        };
        let rendered = match route::render(case, verb, &context, sink.kind.escape) {
            Ok(rendered) => rendered,
            Err(errors) => return ends("rejected", route::in_words(&errors)),
        };
        let content = Some(rendered.content());
        if matches!(verb, Verb::Update) && link.is_some_and(|link| route::is_there(link) && link.content == content) {
            return ends("unchanged", "the record holds this already");
        }
        let operation = Operation {
            verb,
            fields: &rendered.fields,
            remote_id: link.and_then(|link| link.remote_id.as_deref()),
            request: rendered.request.as_ref(),
            webhook_id: &webhook_id(&route.name, event),
            traceparent: &event.traceparent(),
            now: self.clock.now(),
        };
        match built(self, &self.config, &route.to).and_then(|sink| sink.prepare(&operation)) {
            Ok(call) => (verb.name().to_owned(), None, Some(call.shown.clone())),
            Err(why) => ends("rejected", why),
        }
    }
}

fn built(operator: &Operator, config: &Config, name: &str) -> std::result::Result<Box<dyn Sink>, String> {
    let sink = config.sinks.iter().find(|sink| sink.name == name).ok_or("its sink is not in the config")?;
    config
        .build_sink(sink, &operator.client, &operator.clock)
        .map_err(|faults| faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; "))
}
