//! What moves events: one queue for each route, one for the journal.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::event::Event;
use lost::Lost;

/// The queue in the SQLite file of the store.
pub mod embedded;
/// Queues that had gone.
pub mod lost;
/// RabbitMQ.
pub mod rabbitmq;
/// Where events wait on this machine while the broker does not take them.
pub mod spool;

/// The name of the queue that the journal is written from. No route can have it (names have no dot).
pub const JOURNAL: &str = "dari.journal";

/// How the names of inboxes begin. No route can have such a name (names have no dot).
const INBOX: &str = "inbox.";

/// The name of the queue in which a source's events wait until their subjects are read anew (`fetch`).
#[must_use]
pub fn inbox(source: &str) -> String {
    format!("{INBOX}{source}")
}

/// The source whose inbox a queue is.
#[must_use]
pub fn inbox_of(queue: &str) -> Option<&str> {
    queue.strip_prefix(INBOX)
}

/// The name by which bindings know where an event comes from: its source's, or for one that is unfetched one that no
/// source can have, so that it goes into its source's inbox and the journal's queue alone.
#[must_use]
pub fn origin(event: &Event) -> Cow<'_, str> {
    if event.unfetched { Cow::Owned(unfetched(&event.source)) } else { Cow::Borrowed(&event.source) }
}

fn unfetched(source: &str) -> String {
    format!("_unfetched_{source}")
}

/// A broker that cannot do what it is asked now. What was not confirmed may or may not have happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// It is full or failing; the publisher is to come back.
    #[error("the broker cannot take events now: {0}")]
    Unavailable(String),
    /// It does not serve this bridge, and will not until a person changes something.
    #[error("the broker is not for this bridge: {0}")]
    Refused(String),
    /// It was closed.
    #[error("the broker is closed")]
    Closed,
}

/// The result of a broker's operation.
pub type Result<T> = std::result::Result<T, BrokerError>;

/// A queue and what it is to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The route's name, [`JOURNAL`], or an [`inbox`].
    pub queue: String,
    /// The sources, as [`origin`] calls them; `None`: all.
    pub sources: Option<Vec<String>>,
    /// The types; `None`: all. A pattern may end in `*`.
    pub types: Option<Vec<String>>,
}

impl Binding {
    /// The inbox of a source.
    #[must_use]
    pub fn inbox(source: &str) -> Self {
        Self { queue: inbox(source), sources: Some(vec![unfetched(source)]), types: None }
    }

    /// True if an event of this source and type belongs into the queue.
    #[must_use]
    pub fn takes(&self, source: &str, kind: &str) -> bool {
        let source_fits = self.sources.as_ref().is_none_or(|all| all.iter().any(|s| s == source));
        source_fits && self.types.as_ref().is_none_or(|all| all.iter().any(|pattern| matches(pattern, kind)))
    }
}

/// True if `text` is `pattern`, where a `*` in the pattern stands for any run of characters.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).any(|at| matches(tail, &rest[at..]))
        }),
    }
}

/// A message as a consumer holds it. It stays the broker's until it is acked.
#[derive(Clone, Debug)]
pub struct Message {
    /// The event.
    pub event: Arc<Event>,
    /// The number of the attempt that this message stands for, from 1.
    pub attempt: u32,
    /// The broker's own handle, valid with the consumer's queue.
    pub tag: u64,
    /// How often the broker has put it aside because those who had received it vanished again and again.
    pub rounds: u32,
}

/// How a queue stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The queue.
    pub queue: String,
    /// Messages in it, those handed to a consumer and those that wait for their time included.
    pub messages: u64,
    /// How many of them wait for their time.
    pub waiting: u64,
    /// When the oldest was received.
    pub oldest: Option<Timestamp>,
}

/// What waits on this machine because the broker does not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many events.
    pub events: u64,
    /// True if the last one was not taken here either: no room is left, or the disk fails.
    pub refusing: bool,
}

/// Moves events. Everything is durable when a method returns.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Makes the queues and bindings be exactly these: called before anything else, and whenever the config changes.
    /// A queue that is no longer named keeps its messages and receives no more.
    async fn declare(&self, bindings: Vec<Binding>) -> Result<()>;

    /// Makes those of these queues that are not there yet, and binds nothing to them: so that [`Broker::declare`], which
    /// publishing waits for, is quick.
    async fn prepare(&self, _bindings: &[Binding]) -> Result<()> {
        Ok(())
    }

    /// Publishes events to every queue bound to them: all of them, or none. Each goes where the bindings of one
    /// [`Broker::declare`] say, though another may come meanwhile.
    async fn publish(&self, events: Vec<Arc<Event>>) -> Result<()>;

    /// Puts one event into one queue alone, as attempt 1: a replay.
    async fn publish_to(&self, queue: &str, event: Arc<Event>) -> Result<()>;

    /// Starts to receive from a queue, at most `prefetch` messages unacked. In order of publishing, and of due time
    /// for those that waited. One consumer a queue and process.
    async fn consume(&self, queue: &str, prefetch: usize) -> Result<Box<dyn Consumer>>;

    /// Puts attempt `attempt` of a message in wait until `due`. The message itself is to be acked afterwards.
    async fn wait(&self, queue: &str, message: &Message, attempt: u32, due: Timestamp) -> Result<()>;

    /// Ends a message.
    async fn ack(&self, queue: &str, message: &Message) -> Result<()>;

    /// Ends several messages of one queue: in one step where that costs less than one after the other. After an error
    /// some may be ended.
    async fn ack_all(&self, queue: &str, messages: &[Message]) -> Result<()> {
        let acks = messages.iter().map(|message| self.ack(queue, message));
        futures_util::future::try_join_all(acks).await.map(drop)
    }

    /// How the queues stand, orphaned ones included.
    async fn depths(&self) -> Result<Vec<Depth>>;

    /// Whether it can be used now.
    async fn check(&self) -> Result<()> {
        self.depths().await.map(drop)
    }

    /// What people should know of it although it works, in words: a queue that nothing comes from, one that is being
    /// filled again.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Waits for a queue that had gone from the broker with all that was in it. Nothing is received from it until
    /// [`Broker::refilled`] was said; it is known as lost until then, over any restart.
    async fn lost(&self) -> Lost {
        std::future::pending().await
    }

    /// A queue that was lost has again what it missed.
    async fn refilled(&self, _lost: &Lost) -> Result<()> {
        Ok(())
    }

    /// Gives a queue another name, with all its messages: before its bindings are declared. Fails if there are messages
    /// under the new name already; a queue that is not there needs no new name.
    async fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a queue that no config names any more, with its messages; how many there were.
    async fn remove(&self, queue: &str) -> Result<u64>;

    /// What waits on this machine for the broker; `None` for a broker that has no such place.
    fn spooled(&self) -> Option<Waiting> {
        None
    }

    /// Ends it in order: consumers end, and what was received and not acked is handed back. Called when nothing is
    /// under way any more.
    async fn finish(&self) {}
}

/// Receives from one queue. Dropped: what was received and not acked goes back, at once and in its place.
#[async_trait]
pub trait Consumer: Send {
    /// The next message; waits for one. `None` when the broker was closed or the queue removed. May be dropped while it
    /// waits: no message is lost by that.
    async fn next(&mut self) -> Result<Option<Message>>;
}
