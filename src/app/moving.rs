//! From the queue in the store's file to RabbitMQ, while the bridge is stopped.
//!
//! # Safe at every moment
//! Messages go in chunks: published, confirmed, and only then taken out of the old queue, in one commit. A move that was
//! killed goes on with the first message that is still there. What was confirmed and not yet taken out is published
//! again; it is the same event, which is applied once (promise P2). Until the move is over no bridge starts: with the
//! old config because a move has begun, with the new one because messages are left behind. So nothing can overtake, and
//! what there was at the beginning is what has been moved at the end.
//!
//! # Order
//! Fresh messages keep theirs. What waits for its time goes before them, into RabbitMQ's waiting, with its attempt and
//! its due time; that it comes before later events of its subject is known to the ledger, which stays where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connect::rabbitmq;
use super::{AppError, bindings};
use crate::broker::embedded::{Embedded, Stored};
use crate::broker::rabbitmq::RabbitBroker;
use crate::broker::spool::{self, Spool};
use crate::broker::{Binding, Broker, BrokerError, JOURNAL, inbox_of};
use crate::clock::Clock;
use crate::config::{BrokerConfig, Config};
use crate::store::Store;

/// The name under which the store remembers a move that is not over.
const FACT: &str = "move";
/// How many messages are moved at once.
const CHUNK: usize = 500;

/// A move that has begun.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Begun {
    /// The prefix of the names in RabbitMQ.
    prefix: String,
    /// How many messages each queue had at the very beginning.
    queues: BTreeMap<String, u64>,
}

/// One queue of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The route's name, or [`JOURNAL`].
    pub queue: String,
    /// How many messages it had when the move was begun for the first time.
    pub messages: u64,
    /// How many of those that were there when this run began waited for their time.
    pub waiting: u64,
    /// How many of `messages` have been moved, by earlier runs too.
    pub moved: u64,
}

/// A move, checked and ready.
pub struct Moving {
    clock: Clock,
    embedded: Embedded,
    rabbit: Arc<RabbitBroker>,
    shares: Vec<Share>,
    spools: Vec<Left>,
}

/// A spool with events in it.
struct Left {
    dir: PathBuf,
    events: u64,
    max: u64,
}

/// What a move did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The queues.
    pub queues: Vec<Share>,
    /// How many events were published from a spool.
    pub spooled: u64,
    /// How many bodies could not be read; they are in RabbitMQ's queue of what is unreadable. A count of this run.
    pub unreadable: u64,
}

/// Makes sure that no message stays behind in the one queue while a bridge works on the other.
///
/// # Errors
/// [`AppError::LeftBehind`], [`AppError::HalfMoved`], or the store's.
pub async fn settled(embedded: &Embedded, config: &Config) -> Result<(), AppError> {
    let file = || config.store.display().to_string();
    let has_begun = embedded.store.fact(FACT).await?.is_some_and(|fact| !fact.is_null());
    if config.broker.is_none() {
        return if has_begun { Err(AppError::HalfMoved { file: file() }) } else { Ok(()) };
    }
    let left = embedded.broker.depths().await?.iter().map(|depth| depth.messages).sum();
    if left > 0 {
        return Err(AppError::LeftBehind { left, file: file() });
    }
    if has_begun {
        // It was killed at its very end.
        embedded.store.set_fact(FACT, Value::Null).await?;
    }
    Ok(())
}

impl Moving {
    /// Checks that what `old` queues can go where `new` says, and makes the queues there. Nothing is moved yet.
    ///
    /// # Errors
    /// [`AppError::Move`] where the configs do not go together; a bridge that holds the store; RabbitMQ.
    pub async fn prepare(old: &Config, new: &Config, clock: Clock) -> Result<Self, AppError> {
        let target = fitting(old, new)?;
        if !old.store.exists() {
            let store = old.store.display();
            return Err(AppError::Move(format!("{store} does not exist: there is nothing to move")));
        }
        let embedded = Embedded::open(&old.store, clock.clone())?;
        let (shares, begun) = shares(&embedded, new, target).await?;
        let store: Arc<dyn Store> = embedded.store.clone();
        let rabbit = Arc::new(rabbitmq(target, &store, &clock).await?);
        rabbit.declare(targets(new, &shares)).await?;
        store.set_fact(FACT, serde_json::to_value(begun).unwrap_or_default()).await?;
        let spools = spools(new)?;
        Ok(Self { clock, embedded, rabbit, shares, spools })
    }

    /// The queues and how they stand.
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// How many events wait in a spool of an earlier time.
    #[must_use]
    pub fn spooled(&self) -> u64 {
        self.spools.iter().map(|left| left.events).sum()
    }

    /// Moves everything, and tells `progress` after each step how the queues stand.
    ///
    /// # Errors
    /// RabbitMQ, or the files. What was moved is moved: the next move goes on there.
    pub async fn run(mut self, mut progress: impl FnMut(&[Share])) -> Result<Moved, AppError> {
        let mut unreadable = 0;
        for at in 0..self.shares.len() {
            loop {
                let queue = &self.shares[at].queue;
                let chunk = self.embedded.broker.first(queue, CHUNK).await?;
                if chunk.is_empty() {
                    break;
                }
                let tags: Vec<u64> = chunk.iter().map(|stored| stored.tag).collect();
                let count = tags.len() as u64;
                unreadable += hand_over(&self.rabbit, queue, chunk).await?;
                self.embedded.broker.take_out(queue, tags).await?;
                self.shares[at].moved += count;
                progress(&self.shares);
            }
        }
        let spooled = self.spooled();
        for left in &self.spools {
            let spool = Spool::open(&left.dir, left.max, self.rabbit.clone(), &self.clock)?;
            spool.emptied().await;
            // The broker behind it is ended with it; another spool needs that.
            spool.close().await;
        }
        self.embedded.store.set_fact(FACT, Value::Null).await?;
        self.rabbit.finish().await;
        self.embedded.close().await;
        Ok(Moved { queues: self.shares, spooled, unreadable })
    }
}

/// The broker to move to, if the configs go together.
fn fitting<'a>(old: &Config, new: &'a Config) -> Result<&'a BrokerConfig, AppError> {
    let no = |why: String| Err(AppError::Move(why));
    let (from, to) = (old.file.display(), new.file.display());
    let target = match (&old.broker, &new.broker) {
        (None, Some(target)) => target,
        (None, None) => return no(format!("{to} has no `broker`: there is nowhere to move to")),
        (Some(_), Some(_)) => {
            return no(format!(
                "{from} has a `broker` already: messages are moved to RabbitMQ, not from one to another"
            ));
        }
        (Some(_), None) => {
            return no(format!(
                "messages cannot be moved back from RabbitMQ: run with {from} until `dari routes` shows nothing queued \
                 and nothing waits for another attempt, then take `broker` out"
            ));
        }
    };
    if place(&old.store) != place(&new.store) {
        let (old, new) = (old.store.display(), new.store.display());
        return no(format!("{from} has the store {old}, {to} has {new}: a move is within one store"));
    }
    let names = |config: &Config| config.routes.iter().map(|route| route.name.clone()).collect::<BTreeSet<_>>();
    let (before, after) = (names(old), names(new));
    if before != after {
        let only = |of: &BTreeSet<String>, not: &BTreeSet<String>| {
            let names: Vec<_> = of.difference(not).cloned().collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        return no(format!(
            "the routes are not the same: only in {from}: {}; only in {to}: {}. Move first, with the routes of {from}, \
             and change them afterwards",
            only(&before, &after),
            only(&after, &before)
        ));
    }
    Ok(target)
}

/// A path that is the same for the same file.
fn place(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Counts the queues, and compares with what an earlier run counted.
async fn shares(embedded: &Embedded, new: &Config, target: &BrokerConfig) -> Result<(Vec<Share>, Begun), AppError> {
    let depths = embedded.broker.depths().await?;
    let known =
        |name: &str| name == JOURNAL || inbox_of(name).is_some() || new.routes.iter().any(|route| route.name == name);
    if let Some(orphan) = depths.iter().find(|depth| depth.messages > 0 && !known(&depth.queue)) {
        return Err(AppError::Move(format!(
            "{} messages wait for the route {}, which is in no config: put it back into both, or drop them with \
             `dari routes retire {} --drop`",
            orphan.messages, orphan.queue, orphan.queue
        )));
    }
    let fact = embedded.store.fact(FACT).await?.filter(|fact| !fact.is_null());
    let earlier: Option<Begun> = fact.and_then(|fact| serde_json::from_value(fact).ok());
    let left: BTreeMap<String, u64> =
        depths.iter().filter(|depth| known(&depth.queue)).map(|d| (d.queue.clone(), d.messages)).collect();
    let begun = match earlier {
        Some(earlier) if earlier.prefix == target.prefix => earlier,
        Some(earlier) if earlier.queues != left => {
            return Err(AppError::Move(format!(
                "a move to the names `{}.…` was begun, and part of the messages is there: end it with that `prefix`",
                earlier.prefix
            )));
        }
        _ => Begun { prefix: target.prefix.clone(), queues: left },
    };
    let shares = depths.into_iter().filter(|depth| known(&depth.queue)).map(|depth| {
        let messages = begun.queues.get(&depth.queue).copied().unwrap_or_default().max(depth.messages);
        Share { messages, waiting: depth.waiting, moved: messages - depth.messages, queue: depth.queue }
    });
    Ok((shares.collect(), begun))
}

/// The queues to make: those of the config, and those of routes that are switched off and have messages, bound to nothing.
fn targets(new: &Config, shares: &[Share]) -> Vec<Binding> {
    let mut targets = bindings(new);
    for share in shares {
        if !targets.iter().any(|binding| binding.queue == share.queue) {
            targets.push(Binding { queue: share.queue.clone(), sources: Some(Vec::new()), types: None });
        }
    }
    targets
}

/// Publishes messages into a queue, in their order; how many of them could not be read.
async fn hand_over(rabbit: &RabbitBroker, queue: &str, chunk: Vec<Stored>) -> Result<u64, BrokerError> {
    let (mut readable, mut unreadable) = (Vec::with_capacity(chunk.len()), 0);
    for Stored { event, attempt, due, tag } in chunk {
        match event {
            Ok(event) => readable.push((event, attempt, due)),
            Err(body) => {
                tracing::error!(
                    queue,
                    tag,
                    "a message cannot be read: it goes where RabbitMQ keeps what is unreadable"
                );
                rabbit.take_unreadable(body).await?;
                unreadable += 1;
            }
        }
    }
    rabbit.take_over(queue, &readable).await?;
    Ok(unreadable)
}

/// The spools that have events: the new config's own, and the one beside the store.
fn spools(new: &Config) -> Result<Vec<Left>, AppError> {
    let Some(own) = &new.spool else { return Ok(Vec::new()) };
    let dirs = BTreeSet::from([own.path.clone(), spool::beside(&new.store)]);
    let mut spools = Vec::new();
    for dir in dirs {
        let events = Spool::left(&dir)?;
        if events > 0 {
            spools.push(Left { dir, events, max: own.max });
        }
    }
    Ok(spools)
}
