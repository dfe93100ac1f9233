//! Links of other routes that the templates read: what they need may be on its way.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::SignedDuration;

use super::{Attempt, DeliveryKey, Early, Event, Progress, Standing, in_doubt};
use crate::config::{Config, RouteConfig};
use crate::route::{self, Decision};

/// How long after the receipt of an event another route may not have looked at it yet.
const UNSEEN: SignedDuration = SignedDuration::from_mins(1);

impl Attempt {
    /// Lets the routes whose links the templates read be done with this very event first, where no record is linked
    /// there yet: both received it at once, and one makes what the other refers to.
    pub(super) async fn await_others(&self, standing: &Standing) -> Early<()> {
        // A replay goes to one route alone, and in a dry run nothing ends.
        if in_doubt(standing).is_some() || self.services.dry_run || self.event().generation > 0 {
            return Ok(());
        }
        let reads = self.plan.route().reads.iter().zip(&standing.others);
        for (other, _) in reads.filter(|(_, link)| !link.as_ref().is_some_and(route::is_there)) {
            for maker in self.plan.config.routes.iter().filter(|route| route.link == other.owner) {
                if self.may_make(maker) && self.is_not_through(maker).await? {
                    let why = format!("route {} is not through with it, and its link is asked for", maker.name);
                    return self.step_aside(standing, None, why).await;
                }
            }
        }
        Ok(())
    }

    fn may_make(&self, maker: &RouteConfig) -> bool {
        let mine = self.plan.route();
        maker.enabled
            && maker.name != mine.name
            // Two that wait for each other would wait for ever.
            && !reads_from(&self.plan.config, maker, &mine.link)
            && takes(&self.plan.config, maker, self.event())
    }

    async fn is_not_through(&self, maker: &RouteConfig) -> Early<bool> {
        let event = self.event();
        let delivery = DeliveryKey { route: maker.name.clone(), event: event.key(), generation: event.generation };
        let entry = self.insist("standing", || self.services.store.entry(delivery.clone())).await?;
        Ok(match entry.map(|entry| entry.progress) {
            Some(Progress::Done { .. }) => false,
            Some(_) => true,
            // Or it was published before that route was there.
            None => self.services.clock.now().duration_since(event.received.at()) < UNSEEN,
        })
    }
}

fn takes(config: &Config, route: &RouteConfig, event: &Event) -> bool {
    let context = route::context(route, event, Arc::clone(&config.tables), None);
    matches!(route::decide(route, event, &context), Decision::Take { .. })
}

/// True if the templates of a route read these links, or those of a route that does.
fn reads_from(config: &Config, route: &RouteConfig, links: &str) -> bool {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut left: Vec<&str> = route.reads.iter().map(|other| other.owner.as_str()).collect();
    while let Some(owner) = left.pop() {
        if owner == links {
            return true;
        }
        if seen.insert(owner) {
            let routes = config.routes.iter().filter(|route| route.link == owner);
            left.extend(routes.flat_map(|route| &route.reads).map(|other| other.owner.as_str()));
        }
    }
    false
}
