//! What the queues receive, at a start and when the config changes under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::pump::within;
use super::topology::{self, Plan};
use super::{CHANGE, RabbitBroker, timely};
use crate::broker::{Binding, Result};

impl RabbitBroker {
    /// Makes the queues that are not there yet, bound to no events.
    pub(super) async fn make(&self, bindings: &[Binding]) -> Result<()> {
        let connection = self.shared.publishing.up(CHANGE).await?;
        let _alone = self.changing.lock().await;
        let register = &self.shared.register;
        let plan = register.plan();
        if bindings.iter().all(|binding| plan.get(&binding.queue).is_some_and(|bound| bound.made)) {
            return Ok(());
        }
        register
            .amend(|plan| {
                for Binding { queue, .. } in bindings {
                    plan.entry(queue.clone()).or_default().due.insert(queue.clone());
                }
            })
            .await?;
        register.make(&connection).await?;
        for Binding { queue, .. } in bindings {
            self.shared.add_line(queue);
        }
        Ok(())
    }

    /// Binds the queues to these events and no others.
    pub(super) async fn turn(&self, bindings: &[Binding]) -> Result<()> {
        let connection = self.shared.publishing.up(CHANGE).await?;
        let _alone = self.changing.lock().await;
        // Whoever publishes meanwhile waits: an event goes where the one set of bindings says, or the other, never to a
        // mixture of both.
        let _still = self.turning.write().await;
        let register = &self.shared.register;
        let is_open = self.shared.open.load(Ordering::Acquire);
        let before = register.plan();
        let keys: BTreeMap<_, _> = bindings.iter().map(|b| (b.queue.clone(), topology::keys(b))).collect();
        // Nothing of this process went by bindings that it had not declared.
        let from = if is_open { register.clock.now() } else { register.begun };
        // Known before it is bound, forgotten after it is unbound.
        register
            .amend(|plan| {
                for (queue, keys) in &keys {
                    let bound = plan.entry(queue.clone()).or_default();
                    bound.bind(keys, from);
                    bound.due.insert(queue.clone());
                }
            })
            .await?;
        let are_made = keys.keys().all(|queue| before.get(queue).is_some_and(|bound| bound.made));
        if !(is_open && are_made) {
            register.make(&connection).await?;
        }
        let queues = self.queues(&connection).await?;
        let none = BTreeSet::new();
        for (queue, keys) in keys.iter().filter(|_| is_open && are_made) {
            let new = keys.difference(before.get(queue).map_or(&none, |bound| &bound.events));
            timely(queues.bind_events(self.shared.names(), queue, new)).await?;
        }
        for (name, bound) in &*before {
            let gone = bound.events.difference(keys.get(name).unwrap_or(&none));
            timely(queues.unbind(self.shared.names(), name, gone)).await?;
        }
        let now = register.clock.now();
        let keep = |plan: &mut Plan| plan.iter_mut().for_each(|(name, b)| b.keep(keys.get(name).unwrap_or(&none), now));
        for name in register.amend(keep).await?.keys() {
            self.shared.add_line(name);
        }
        _ = within(queues.channel.close(200, "".into())).await;
        self.shared.open.store(true, Ordering::Release);
        Ok(())
    }
}
