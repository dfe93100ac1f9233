//! Ends a route that the config no longer has.
//!
//! What is left in its queue can no longer be delivered as the route said: neither its sink nor its map are known any
//! more. So a drain hands it to another route, which decides and maps as for any event; or keeps it as dead letters, for
//! a person to replay onto a route or to drop.

use std::sync::Arc;
use std::time::Duration;

use super::views::Done;
use super::{Operator, OperatorError, Result};
use crate::broker::{Consumer, Depth, JOURNAL, Message, inbox_of};
use crate::event::Event;
use crate::store::journal::{Entry, Record, Step};
use crate::store::{Basis, DeadClass, DeadLetter, DeliveryKey, LedgerEntry, LinkKey, Progress, Settlement};

/// How many messages are held at once.
const PREFETCH: usize = 64;
/// How long the queue may give nothing before its depth is looked at.
const QUIET: Duration = Duration::from_millis(500);
/// How often it may give nothing although something is there.
const GLANCES: u32 = 40;

/// What becomes of the messages of a route that is retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// There must be none.
    None,
    /// They are lost.
    Drop,
    /// They become dead letters.
    Keep,
    /// They go to this route.
    To(String),
}

impl Operator {
    /// Forgets a route that the config no longer has, or has switched off: its links, its ledger, and its queue. Dead letters
    /// stay.
    ///
    /// # Errors
    /// It is switched on, messages wait for it and nothing was said of them, or there is no route to take them; the
    /// store or the broker.
    pub async fn retire(&self, name: &str, leftover: Leftover) -> Result<Done> {
        if self.config.routes.iter().any(|route| route.name == name && route.enabled) {
            let why =
                format!("route {name} is in the config: take it out, or switch it off with `enabled: false`, first");
            return Err(OperatorError::Refused(why));
        }
        if let Leftover::To(to) = &leftover {
            self.check_target(to)?;
        }
        let Some(depth) = self.orphan(name).await? else {
            let links = self.store.forget_route(name, !self.shares(name)).await?;
            return Ok(Done { done: format!("route {name} is forgotten: {links} links, no messages") });
        };
        let fate = match &leftover {
            _ if depth.messages == 0 => "no messages".to_owned(),
            Leftover::None => {
                let why = format!(
                    "{} messages wait for route {name}: put it back to let it work them off, say --drain to keep them as \
                     dead letters, --drain --to ROUTE to give them to another route, or --drop to lose them",
                    depth.messages
                );
                return Err(OperatorError::Refused(why));
            }
            Leftover::Drop => String::new(),
            Leftover::Keep => format!("{} messages are dead letters now", self.drain(name, None).await?),
            Leftover::To(to) => format!("{} messages went to route {to}", self.drain(name, Some(to)).await?),
        };
        if leftover != Leftover::Drop
            && let Some(rest) = self.orphan(name).await?.filter(|rest| rest.messages > 0)
        {
            let why = format!(
                "{fate}; {} more wait for their next attempt: say the same again when they are due, and route {name} is \
                 kept until then; or --drop to lose them",
                rest.messages
            );
            return Err(OperatorError::Refused(why));
        }
        let removed = self.broker.remove(name).await?;
        let links = self.store.forget_route(name, !self.shares(name)).await?;
        let fate = if fate.is_empty() { format!("{} messages are dropped", removed.max(depth.messages)) } else { fate };
        Ok(self.did(format!("route {name} is forgotten: {links} links, {fate}")))
    }

    /// True if other routes go by the links of this name: they stay.
    fn shares(&self, name: &str) -> bool {
        self.config.routes.iter().any(|route| route.link == name && route.name != name)
    }

    async fn orphan(&self, name: &str) -> Result<Option<Depth>> {
        let depths = self.broker.depths().await?;
        Ok(depths.into_iter().find(|depth| depth.queue == name && name != JOURNAL && inbox_of(name).is_none()))
    }

    /// Takes what is in the queue and not in wait; how many messages. Each is acked when it is safe elsewhere: a crash
    /// leaves one in both places, never in none.
    async fn drain(&self, name: &str, to: Option<&str>) -> Result<u64> {
        let mut consumer = self.broker.consume(name, PREFETCH).await?;
        let (mut moved, mut quiet) = (0, 0);
        loop {
            match tokio::time::timeout(QUIET, Consumer::next(&mut *consumer)).await {
                Ok(Ok(Some(message))) => {
                    moved += u64::from(self.hand_over(name, to, &message).await?);
                    self.broker.ack(name, &message).await?;
                    quiet = 0;
                }
                Ok(Ok(None)) => return Ok(moved),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    quiet += 1;
                    let there = self.orphan(name).await?.map_or(0, |depth| depth.messages - depth.waiting);
                    if there == 0 {
                        return Ok(moved);
                    }
                    if quiet == GLANCES {
                        let why = format!("{moved} messages were moved; {there} more are there and do not come");
                        return Err(OperatorError::Refused(why));
                    }
                }
            }
        }
    }

    /// Keeps one message elsewhere; false if it had ended, or a person decides on it already.
    async fn hand_over(&self, name: &str, to: Option<&str>, message: &Message) -> Result<bool> {
        let event = &message.event;
        let delivery = DeliveryKey { route: name.to_owned(), event: event.key(), generation: event.generation };
        let entry = self.store.entry(delivery.clone()).await?;
        let over = entry.as_ref().is_some_and(|entry| {
            entry.attempt > message.attempt || matches!(entry.progress, Progress::Done { .. } | Progress::Held { .. })
        });
        if over {
            return Ok(false);
        }
        let what = if let Some(to) = to {
            // As it is: what that route has had of it already collapses.
            self.broker.publish_to(to, Arc::clone(event)).await?;
            format!("given to route {to}, since route {name} is retired")
        } else {
            self.store.settle(self.retired(delivery, event, message.attempt)).await?;
            format!("kept as a dead letter, since route {name} is retired")
        };
        let (at, route) = (self.clock.now(), Some(name.to_owned()));
        self.journal.record(Record::Entry(Entry { at, event: event.key(), route, step: Step::Operator { what } }));
        Ok(true)
    }

    fn retired(&self, delivery: DeliveryKey, event: &Arc<Event>, attempt: u32) -> Settlement {
        let now = self.clock.now();
        let letter = DeadLetter {
            delivery: delivery.clone(),
            event: Arc::clone(event),
            sink: String::new(),
            class: DeadClass::Retired,
            reason: format!("route {} was retired before it was delivered", delivery.route),
            attempts: attempt.saturating_sub(1),
            call: None,
            at: now,
        };
        let ending = "retired".to_owned();
        Settlement {
            link: LinkKey { owner: delivery.route.clone(), key: event.subject_key() },
            delivery,
            body_key: None,
            received: event.received,
            version: event.version,
            entry: LedgerEntry { attempt, progress: Progress::Done { ending }, first_retry: None, doubt: None },
            expires: now,
            new_link: None,
            refund: None,
            dead: Some(letter),
            basis: Basis::Delivery,
        }
    }
}
