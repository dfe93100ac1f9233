//! The journeys of events (promise P7).

use super::views::{Journey, RouteJourney};
use super::{Operator, OperatorError, Result};
use crate::config::RouteConfig;
use crate::event::Event;
use crate::store::DeliveryKey;
use crate::store::journal::{Entry, EventFilter, Listed};

/// How many journeys are told at once.
const MOST: usize = 20;

impl Operator {
    /// Searches events; what is to be masked is masked.
    ///
    /// # Errors
    /// The store.
    pub async fn events(&self, filter: EventFilter) -> Result<Vec<Listed>> {
        let found = self.journal.events(filter).await?;
        Ok(found.into_iter().map(|listed| self.masked(listed)).collect())
    }

    /// The journeys of the newest events with this id, else of those with this subject.
    ///
    /// # Errors
    /// The store.
    pub async fn trace(&self, what: &str) -> Result<Vec<Journey>> {
        let by_id = EventFilter { id: Some(what.to_owned()), limit: MOST, ..EventFilter::default() };
        let mut found = self.journal.events(by_id).await?;
        if found.is_empty() {
            let by_subject = EventFilter { subject: Some(what.to_owned()), limit: MOST, ..EventFilter::default() };
            found = self.journal.events(by_subject).await?;
        }
        self.journeys(found).await
    }

    /// The journey of a source's newest event.
    ///
    /// # Errors
    /// The store.
    pub async fn trace_last(&self, source: &str) -> Result<Vec<Journey>> {
        let newest = EventFilter { source: Some(source.to_owned()), limit: 1, ..EventFilter::default() };
        let found = self.journal.events(newest).await?;
        self.journeys(found).await
    }

    /// The journey of one event.
    ///
    /// # Errors
    /// The journal has none with this id of this source; the store.
    pub async fn journey_of(&self, source: &str, id: &str) -> Result<Journey> {
        let filter = EventFilter {
            source: Some(source.to_owned()),
            id: Some(id.to_owned()),
            limit: 1,
            ..EventFilter::default()
        };
        let Some(listed) = self.journal.events(filter).await?.into_iter().next() else {
            return Err(OperatorError::NotFound {
                what: "event in the journal with the id",
                name: id.to_owned(),
                hint: format!(" of source {source}"),
            });
        };
        self.journey(listed).await
    }

    async fn journeys(&self, found: Vec<Listed>) -> Result<Vec<Journey>> {
        let mut journeys = Vec::with_capacity(found.len());
        for listed in found {
            journeys.push(self.journey(listed).await?);
        }
        Ok(journeys)
    }

    async fn journey(&self, listed: Listed) -> Result<Journey> {
        let event = std::sync::Arc::clone(&listed.event);
        let masked = self.redactor.values(&event.data.value());
        let mut steps = self.journal.journey(&event.key()).await?;
        for entry in &mut steps {
            masked.step(&mut entry.step);
        }
        let mut routes = Vec::new();
        for route in &self.config.routes {
            let steps = take_route(&mut steps, &route.name);
            let delivery = DeliveryKey { route: route.name.clone(), event: event.key(), generation: event.generation };
            routes.push(RouteJourney {
                route: route.name.clone(),
                to: Some(route.to.clone()),
                not_bound: if steps.is_empty() { not_bound(route, &event) } else { None },
                ledger: self.store.entry(delivery).await?,
                steps,
            });
        }
        while let Some(former) = steps.iter().find_map(|entry| entry.route.clone()) {
            let steps = take_route(&mut steps, &former);
            routes.push(RouteJourney { route: former, to: None, not_bound: None, ledger: None, steps });
        }
        Ok(Journey { trace: event.trace_id(), event: self.masked(listed), before: steps, routes })
    }

    pub(super) fn masked(&self, mut listed: Listed) -> Listed {
        listed.event = std::sync::Arc::new(self.masked_event(&listed.event));
        listed
    }

    pub(super) fn masked_event(&self, event: &Event) -> Event {
        let mut event = event.clone();
        if !self.redactor.is_empty() {
            let mut data = event.data.value();
            let masked = self.redactor.values(&data);
            masked.value(&mut data);
            for header in event.headers.values_mut() {
                *header = masked.text(header);
            }
            event.data = crate::event::Payload::from_value(&data);
        }
        event
    }
}

fn take_route(steps: &mut Vec<Entry>, route: &str) -> Vec<Entry> {
    let (mine, others) = std::mem::take(steps).into_iter().partition(|e| e.route.as_deref() == Some(route));
    *steps = others;
    mine
}

/// Why an event never came into a route's queue: its source and type say so.
fn not_bound(route: &RouteConfig, event: &Event) -> Option<String> {
    if !route.enabled {
        return Some("the route is switched off".to_owned());
    }
    if event.unfetched {
        return Some("its subject is still to be read anew".to_owned());
    }
    if !route.takes_from(&event.source) {
        return Some(format!("it takes from {}, not from {}", route.from.join(", "), event.source));
    }
    let types = route.types.as_ref()?;
    let fits = types.iter().any(|pattern| crate::broker::matches(pattern, &event.kind));
    (!fits).then(|| format!("it takes {}, not {}", types.join(", "), event.kind))
}
