//! What is to be at the broker, as the store remembers it, and making it be there.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lapin::Connection;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard, watch};

use super::failed;
use super::topology::{self, Bound, Names, Plan};
use crate::broker::lost::{Lost, Span};
use crate::broker::{JOURNAL, Result};
use crate::clock::Clock;
use crate::store::Store;

/// How long it is remembered what was bound to a queue: longer than any journal is of use.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What the store remembers of the broker.
#[derive(Default, Serialize, Deserialize)]
struct Fact {
    owner: String,
    queues: Plan,
}

/// The queues of one bridge.
pub struct Register {
    pub names: Names,
    pub owner: String,
    pub clock: Clock,
    /// When this process began: nothing that it publishes was received by it before.
    pub begun: Timestamp,
    store: Arc<dyn Store>,
    plan: watch::Sender<Arc<Plan>>,
    /// One change of the plan at a time.
    changing: Mutex<()>,
    /// One declaring at a time: each is to see what the other has made.
    making: Mutex<()>,
}

impl Register {
    /// Reads what the store remembers, or begins to remember.
    pub async fn recall(names: Names, store: Arc<dyn Store>, clock: Clock) -> Result<Self> {
        let fact = match store.fact(&fact_name(&names)).await.map_err(failed)? {
            Some(fact) => serde_json::from_value(fact).map_err(failed)?,
            None => Fact { owner: uuid::Uuid::now_v7().to_string(), queues: Plan::new() },
        };
        let register = Self {
            names,
            owner: fact.owner,
            begun: clock.now(),
            clock,
            store,
            plan: watch::Sender::new(Arc::new(fact.queues)),
            changing: Mutex::default(),
            making: Mutex::default(),
        };
        register.amend(|_| {}).await?;
        Ok(register)
    }

    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.borrow())
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    /// Changes the plan, in the store first: what was ever bound must be known to be unbound.
    pub async fn amend(&self, change: impl FnOnce(&mut Plan)) -> Result<Arc<Plan>> {
        let _alone = self.changing.lock().await;
        let mut plan = (*self.plan()).clone();
        change(&mut plan);
        let fact = Fact { owner: self.owner.clone(), queues: plan.clone() };
        let fact = serde_json::to_value(fact).map_err(failed)?;
        self.store.set_fact(&fact_name(&self.names), fact).await.map_err(failed)?;
        let plan = Arc::new(plan);
        self.plan.send_replace(Arc::clone(&plan));
        Ok(plan)
    }

    /// Forgets a queue in memory at once, so that nobody makes it anew; the store follows with the next change.
    pub fn forget(&self, queue: &str) {
        self.plan.send_modify(|plan| _ = Arc::make_mut(plan).remove(queue));
    }

    /// Keeps others from declaring anything by an older plan.
    pub async fn still(&self) -> MutexGuard<'_, ()> {
        self.making.lock().await
    }

    /// Makes everything that is planned be there. What had been there and is not any more is written down first: it
    /// has to be filled again.
    pub async fn make(&self, connection: &Connection) -> Result<()> {
        let _alone = self.making.lock().await;
        topology::own(connection, &self.names, &self.owner).await?;
        let gone = topology::gone(connection, &self.names, &self.plan()).await.map_err(failed)?;
        if !gone.is_empty() {
            self.miss(&gone).await?;
        }
        let plan = self.plan();
        topology::declare(connection, &self.names, &plan).await.map_err(failed)?;
        if plan.values().any(|bound| !bound.made) {
            let made: BTreeSet<String> = plan.keys().cloned().collect();
            let mark = |(name, bound): (&String, &mut Bound)| bound.made |= made.contains(name);
            self.amend(|plan| plan.iter_mut().for_each(mark)).await?;
        }
        Ok(())
    }

    /// Writes down that queues had gone.
    pub async fn miss(&self, queues: &[String]) -> Result<()> {
        for queue in queues {
            tracing::error!(queue, "the queue had gone from the broker, with all that was in it: it is made anew");
        }
        let now = self.clock.now();
        self.amend(|plan| {
            for (_, bound) in plan.iter_mut().filter(|(name, _)| queues.contains(name)) {
                bound.lost = Some(now);
                bound.made = false;
            }
        })
        .await
        .map(drop)
    }

    /// A queue that is there again and is to be filled.
    pub fn lost(&self) -> Option<Lost> {
        let plan = self.plan();
        let made = plan.iter().filter(|(_, bound)| bound.made);
        let mut lost = made.filter_map(|(queue, bound)| Some((queue, bound, bound.lost?)));
        lost.next().map(|(queue, bound, noticed)| Lost { queue: queue.clone(), noticed, bound: bound.spans.clone() })
    }

    /// True if nothing may be received from a queue: what it missed would come behind what is newer.
    pub fn is_held(plan: &Plan, queue: &str) -> bool {
        queue != JOURNAL && plan.get(queue).is_some_and(|bound| bound.lost.is_some())
    }

    /// A queue has what it had missed, unless it has gone once more meanwhile.
    pub async fn refilled(&self, lost: &Lost) -> Result<()> {
        self.amend(|plan| {
            if let Some(bound) = plan.get_mut(&lost.queue).filter(|bound| bound.lost == Some(lost.noticed)) {
                bound.lost = None;
            }
        })
        .await
        .map(drop)
    }
}

impl Bound {
    /// Receives events of these keys besides those it receives already.
    pub fn bind(&mut self, keys: &BTreeSet<String>, from: Timestamp) {
        for key in keys {
            let open = self.spans.iter().any(|span| span.until.is_none() && &span.key == key);
            if !open {
                self.spans.push(Span { key: key.clone(), from, until: None });
            }
            self.events.insert(key.clone());
        }
    }

    /// Receives events of these keys and no others any more.
    pub fn keep(&mut self, keys: &BTreeSet<String>, now: Timestamp) {
        self.events.retain(|key| keys.contains(key));
        for span in self.spans.iter_mut().filter(|span| span.until.is_none() && !keys.contains(&span.key)) {
            span.until = Some(now);
        }
        let oldest = now.saturating_sub(REMEMBERED).unwrap_or(Timestamp::MIN);
        self.spans.retain(|span| span.until.is_none_or(|until| until > oldest));
    }
}

fn fact_name(names: &Names) -> String {
    format!("rabbitmq:{}", names.0)
}
