//! Whether an event would do anything on a route if it came again now.

use std::sync::Arc;

use super::ReplayRequest;
use crate::admin::{Operator, Result};
use crate::config::Action;
use crate::event::Event;
use crate::route::{self, Decision, Resolution};
use crate::store::{DeliveryKey, LinkKey, Question};

impl Operator {
    /// False where the route leaves it, where it is older than what was applied, or where nothing is there to be done.
    pub(super) async fn would_change(&self, request: &ReplayRequest, name: &str, event: &Arc<Event>) -> Result<bool> {
        let Some(route) = self.config.routes.iter().find(|r| r.name == name) else { return Ok(false) };
        let context = route::context(route, event, Arc::clone(&self.config.tables), None);
        let (case, action) = match route::decide(route, event, &context) {
            Decision::Take { case, action } => (case, action),
            // What no longer passes its filter is deleted, where it is there.
            Decision::Leave { case, .. } => (case, Action::Delete),
            Decision::Skip { .. } | Decision::Error(_) => return Ok(false),
        };
        let Ok(key) = route::link_key(route, event, &context) else { return Ok(false) };
        let question = Question {
            // Of a generation that there is none of yet: what is asked for is the link.
            delivery: DeliveryKey { route: name.to_owned(), event: event.key(), generation: u32::MAX },
            body_key: None,
            link: LinkKey { owner: route.link.clone(), key },
            others: Vec::new(),
            instead_of: Vec::new(),
            received: event.received,
            now: self.clock.now(),
        };
        let link = self.store.standing(question).await?.link;
        if !request.force && route::is_stale(action, event, link.as_ref()) {
            return Ok(false);
        }
        Ok(matches!(route::resolve(action, route.cases[case].without_link, event, link.as_ref()), Resolution::Do(_)))
    }
}
