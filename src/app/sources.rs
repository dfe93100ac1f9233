//! What polls and receives, with what each needs to know.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{OWNER, Parts};
use crate::clock::Clock;
use crate::connectors::{Poller, Stream};
use crate::deliver::gate::Gate;
use crate::poll::PollLoop;
use crate::poll::meter::AccountMeter;
use crate::stream::StreamLoop;

/// Counts the calls of an account's sources.
pub fn meter(gate: &Arc<Gate>, parts: &Parts, clock: &Clock) -> Arc<AccountMeter> {
    let (store, halts) = (Arc::clone(&parts.store), Arc::clone(&parts.halts));
    Arc::new(AccountMeter { gate: Arc::clone(gate), store, halts, clock: clock.clone() })
}

/// A poller with what its loop needs to know of it.
pub struct Polled {
    pub source: String,
    pub account: Option<String>,
    pub poller: Arc<dyn Poller>,
    pub wake: Arc<Notify>,
}

impl Polled {
    /// What polls it.
    pub fn into_loop(self, parts: &Parts, clock: Clock) -> PollLoop {
        PollLoop {
            owner: OWNER.to_owned(),
            source: self.source,
            account: self.account,
            poller: self.poller,
            store: Arc::clone(&parts.store),
            broker: Arc::clone(&parts.broker),
            journal: parts.journal.clone(),
            halts: Arc::clone(&parts.halts),
            clock,
            wake: self.wake,
        }
    }
}

/// What receives from a source that sends by itself.
pub fn receiving(
    (source, account): (String, Option<String>),
    stream: Box<dyn Stream>,
    parts: &Parts,
    clock: &Clock,
    dry_run: bool,
) -> StreamLoop {
    StreamLoop {
        source,
        account,
        stream,
        broker: Arc::clone(&parts.broker),
        journal: parts.journal.clone(),
        halts: Arc::clone(&parts.halts),
        clock: clock.clone(),
        dry_run,
    }
}
