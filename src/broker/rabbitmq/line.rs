//! The side of a queue that is in memory: what was received and not acked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use lapin::Acker;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::broker::{Consumer, Message, Result};

/// A message that this process has received and not acked.
pub struct Held {
    pub message: Message,
    pub acker: Acker,
}

#[derive(Default)]
struct Inside {
    held: BTreeMap<u64, Held>,
    /// True while the channel has a message unacked that is not in `held`.
    astray: bool,
    /// Of `held`: not given to the consumer yet.
    ready: VecDeque<u64>,
}

/// What the one who receives is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// How many messages at once.
    pub prefetch: u16,
    /// True while nobody takes them.
    pub parked: bool,
    /// To hand everything back and end.
    pub stop: bool,
}

/// What can be wrong with receiving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The broker does not let it begin.
    Refused,
    /// Nothing comes although something is there.
    Silent,
}

/// A queue.
pub struct Line {
    pub name: String,
    inside: Mutex<Inside>,
    wake: Notify,
    pub consumed: AtomicBool,
    /// True once it is over: its consumer ends.
    over: AtomicBool,
    pub want: watch::Sender<Want>,
    /// Who receives.
    pub pump: Mutex<Option<JoinHandle<()>>>,
    /// Tells the one who receives to begin anew.
    pub anew: Notify,
    /// Rises with every message.
    tags: AtomicU64,
    /// Why nothing comes, in words.
    troubles: Mutex<BTreeMap<Trouble, String>>,
}

impl Line {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            inside: Mutex::default(),
            wake: Notify::new(),
            consumed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            want: watch::Sender::new(Want::default()),
            pump: Mutex::default(),
            anew: Notify::new(),
            tags: AtomicU64::new(1),
            troubles: Mutex::default(),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tag that no other message of this queue has had.
    pub fn tag(&self) -> u64 {
        self.tags.fetch_add(1, Ordering::Relaxed)
    }

    /// How many messages it has had.
    pub fn count(&self) -> u64 {
        self.tags.load(Ordering::Relaxed)
    }

    /// Why nothing comes from it, in words.
    pub fn trouble(&self) -> Option<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).values().next().cloned()
    }

    /// Begins or ends a trouble.
    pub fn tell(&self, trouble: Trouble, why: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => _ = troubles.insert(trouble, why),
            None => _ = troubles.remove(&trouble),
        }
    }

    /// When the oldest that is received and not acked was received by the bridge.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.inside().held.values().map(|held| held.message.event.received.at()).min()
    }

    /// Takes in what was received.
    pub fn put(&self, held: Held) {
        let mut inside = self.inside();
        inside.ready.push_back(held.message.tag);
        inside.held.insert(held.message.tag, held);
        drop(inside);
        self.wake.notify_one();
    }

    /// Takes one out: it is about to be acked. `None`: its connection is gone, and it comes again.
    pub fn take(&self, tag: u64) -> Option<Held> {
        let held = self.inside().held.remove(&tag);
        self.wake.notify_one();
        held
    }

    /// Takes these out if nothing else was received before the last of them and is unacked, so that the broker may be
    /// told to end all up to that one; that one. `None`: nothing was taken.
    pub fn take_first(&self, tags: &[u64]) -> Option<Held> {
        let mut inside = self.inside();
        if inside.astray || tags.is_empty() || !inside.held.keys().take(tags.len()).eq(tags) {
            return None;
        }
        let mut last = None;
        for tag in tags {
            last = inside.held.remove(tag);
        }
        drop(inside);
        self.wake.notify_one();
        last
    }

    /// Notes that a message stays unacked until the channel ends, without being held.
    pub fn stray(&self) {
        self.inside().astray = true;
    }

    /// Takes all out, in the order of their receipt.
    pub fn take_all(&self) -> Vec<Held> {
        let mut inside = self.inside();
        inside.ready.clear();
        inside.astray = false;
        std::mem::take(&mut inside.held).into_values().collect()
    }

    /// How many are received and not acked.
    pub fn held(&self) -> u64 {
        self.inside().held.len() as u64
    }

    /// Ends the consumer, and whoever receives.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.want.send_modify(|want| want.stop = true);
        self.wake.notify_one();
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// What was given to the consumer and not acked is to be given out again, in its place.
    fn return_all(&self) {
        let mut inside = self.inside();
        inside.ready = inside.held.keys().copied().collect();
    }
}

/// The consumer of one queue. The messages stay this process's when it is dropped: whoever consumes next gets them
/// first, and in their order.
pub struct LineConsumer {
    line: Arc<Line>,
    prefetch: usize,
}

impl LineConsumer {
    /// There is to be one of a line at a time.
    pub fn new(line: Arc<Line>, prefetch: usize) -> Self {
        Self { line, prefetch }
    }

    fn pop(&self) -> Option<Message> {
        let mut inside = self.line.inside();
        if inside.held.len() - inside.ready.len() >= self.prefetch {
            return None;
        }
        let tag = inside.ready.pop_front()?;
        inside.held.get(&tag).map(|held| held.message.clone())
    }
}

#[async_trait]
impl Consumer for LineConsumer {
    async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if self.line.is_over() {
                return Ok(None);
            }
            if let Some(message) = self.pop() {
                return Ok(Some(message));
            }
            self.line.wake.notified().await;
        }
    }
}

impl Drop for LineConsumer {
    fn drop(&mut self) {
        self.line.return_all();
        self.line.consumed.store(false, Ordering::Release);
        self.line.want.send_modify(|want| want.parked = true);
    }
}
