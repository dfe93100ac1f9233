//! What a dead letter would become if it were sent again now: the config of now, on the link of now. Nobody is asked
//! and nothing is sent.

use std::sync::Arc;

use serde_json::Value;

use super::views::Preview;
use super::{Operator, OperatorError, Result};
use crate::config::{Action, RouteConfig};
use crate::connectors::Operation;
use crate::event::Event;
use crate::outcome::Verb;
use crate::route::{self, Decision, Resolution};
use crate::store::{DeliveryKey, LinkKey, Question, Standing};
use crate::template::Context;

impl Operator {
    /// What would become of a dead letter; what is to be masked is masked.
    ///
    /// # Errors
    /// There is none with this number; the store.
    pub async fn preview(&self, id: i64) -> Result<Preview> {
        let letter = self.store.dead_letter(id).await?.ok_or_else(|| OperatorError::NotFound {
            what: "dead letter",
            name: id.to_string(),
            hint: String::new(),
        })?;
        let letter = letter.letter;
        let Some(route) = self.config.routes.iter().find(|route| route.name == letter.delivery.route) else {
            return Ok(nothing(format!("the config has no route {} any more", letter.delivery.route)));
        };
        let masked = self.redactor.values(&letter.event.data.value());
        let mut preview = self.foresee(route, &letter.event).await?;
        preview.why = masked.text(&preview.why);
        if let Some(call) = &mut preview.call {
            masked.value(call);
        }
        Ok(preview)
    }

    async fn foresee(&self, route: &RouteConfig, event: &Arc<Event>) -> Result<Preview> {
        if !route.enabled {
            return Ok(nothing(format!("route {} is switched off", route.name)));
        }
        let context = route::context(route, event, Arc::clone(&self.config.tables), None);
        let (case, action) = match route::decide(route, event, &context) {
            Decision::Take { case, action } => (case, action),
            Decision::Leave { case, .. } => (case, Action::Delete),
            Decision::Skip { why } => return Ok(nothing(why)),
            Decision::Error(error) => return Ok(fails(None, error.to_string())),
        };
        let key = match route::link_key(route, event, &context) {
            Ok(key) => key,
            Err(error) => return Ok(fails(None, error.to_string())),
        };
        let standing = self.standing_of(route, event, key).await?;
        let link = standing.link.as_ref();
        if route::is_stale(action, event, link) {
            return Ok(nothing("something newer was applied since".to_owned()));
        }
        let verb = match route::resolve(action, route.cases[case].without_link, event, link) {
            Resolution::Do(verb) => verb,
            Resolution::Nothing(why) => return Ok(nothing(why)),
        };
        let mut context = route::context(route, event, Arc::clone(&self.config.tables), link);
        let names = route.reads.iter().map(|other| other.name.as_str());
        route::set_links(&mut context, names.zip(standing.others.iter().map(Option::as_ref)));
        if !route::needed(route, &route.cases[case], verb).is_empty() {
            let why = "what is sent depends on a lookup, which is only made when it is sent".to_owned();
            return Ok(Preview { changes: true, verb: Some(verb.name().to_owned()), call: None, why });
        }
        Ok(self.rendered((route, case, verb), &context, &standing, event))
    }

    async fn standing_of(&self, route: &RouteConfig, event: &Arc<Event>, key: String) -> Result<Standing> {
        let link = |owner: &str| LinkKey { owner: owner.to_owned(), key: key.clone() };
        let question = Question {
            // Of a generation that there is none of yet: what is asked for is the link.
            delivery: DeliveryKey { route: route.name.clone(), event: event.key(), generation: u32::MAX },
            body_key: None,
            link: link(&route.link),
            others: route.reads.iter().map(|other| link(&other.owner)).collect(),
            instead_of: Vec::new(),
            received: event.received,
            now: self.clock.now(),
        };
        Ok(self.store.standing(question).await?)
    }

    fn rendered(
        &self,
        (route, case, verb): (&RouteConfig, usize, Verb),
        context: &Context,
        standing: &Standing,
        event: &Event,
    ) -> Preview {
        let Some(to) = self.sinks.get(&route.to) else {
            return fails(Some(verb), "only a running bridge can render it".to_owned());
        };
        let rendered = match route::render(&route.cases[case], verb, context, to.kind.escape) {
            Ok(rendered) => rendered,
            Err(errors) => return fails(Some(verb), route::in_words(&errors)),
        };
        let operation = Operation {
            verb,
            fields: &rendered.fields,
            remote_id: standing.link.as_ref().and_then(|link| link.remote_id.as_deref()),
            request: rendered.request.as_ref(),
            webhook_id: "msg_preview",
            traceparent: &event.traceparent(),
            now: self.clock.now(),
        };
        match to.sink.prepare(&operation) {
            Ok(call) => {
                let why = format!("it would {} at {}", verb.name(), route.to);
                Preview { changes: true, verb: Some(verb.name().to_owned()), call: Some(call.shown), why }
            }
            Err(why) => fails(Some(verb), why),
        }
    }
}

/// Nothing would be sent.
fn nothing(why: String) -> Preview {
    Preview { changes: false, verb: None, call: None::<Value>, why }
}

/// It would be given up again.
fn fails(verb: Option<Verb>, why: String) -> Preview {
    Preview { changes: false, verb: verb.map(|verb| verb.name().to_owned()), call: None, why }
}
