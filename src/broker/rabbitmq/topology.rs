//! The exchanges and queues, and how they are declared.
//!
//! Names bear a version: an argument of a queue that exists cannot be changed, so other arguments come with other names.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use serde::{Deserialize, Serialize};

use super::wire::short;
use crate::broker::lost::Span;
use crate::broker::{Binding, BrokerError, JOURNAL, inbox_of, origin};
use crate::event::Event;

/// Levels of the waiting ladder, of 2^0 to 2^16 seconds: 36 hours in all.
const LEVELS: u32 = 17;
/// The longest wait in one go, in seconds; a longer one goes round again.
pub const LONGEST: u64 = (1 << LEVELS) - 1;
/// How often a message may be redelivered because its consumer vanished, before it is put aside. RabbitMQ 3 has no limit
/// of its own, RabbitMQ 4 has 20.
const DELIVERIES: i32 = 20;
/// Where messages are put aside nothing may drop them.
const NEVER: i32 = 1_000_000_000;
/// The longest that declaring everything may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// A quorum queue younger than this loses everything in a crash of its broker.
const SETTLING: Duration = Duration::from_secs(2);

/// What a queue is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Keys of the events that it receives.
    pub events: BTreeSet<String>,
    /// Queue names under which messages may come back to it: its own, and its former ones.
    pub due: BTreeSet<String>,
    /// What came to it, and when.
    #[serde(default)]
    pub spans: Vec<Span>,
    /// It has been at the broker.
    #[serde(default)]
    pub made: bool,
    /// When it was noticed that it had gone; `None`: nothing is missing from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Timestamp>,
}

/// Every queue that there is, by the name of its route, orphans included.
pub type Plan = BTreeMap<String, Bound>;

/// The names of one bridge's exchanges and queues.
#[derive(Clone, Debug)]
pub struct Names(pub String);

impl Names {
    /// The exchange of all events. Other programs know it by this name, so it has no version.
    pub fn events(&self) -> String {
        format!("{}.events", self.0)
    }

    /// Exchange and queue of what nobody is bound to.
    pub fn unrouted(&self) -> String {
        format!("{}.unrouted.v1", self.0)
    }

    /// Exchange and queue of what was redelivered too often.
    pub fn poison(&self) -> String {
        format!("{}.poison.v1", self.0)
    }

    /// Exchange and queue of what is no event of a bridge.
    pub fn unreadable(&self) -> String {
        format!("{}.unreadable.v1", self.0)
    }

    /// The route of a queue, or its name where it is no route's.
    pub fn route_of<'a>(&self, queue: &'a str) -> Option<&'a str> {
        if queue == self.queue(JOURNAL) {
            return Some(JOURNAL);
        }
        let name = queue.strip_prefix(&self.0)?.strip_suffix(".v1")?;
        name.strip_prefix(".route.").or_else(|| name.strip_prefix('.').filter(|name| inbox_of(name).is_some()))
    }

    /// The exchange of what is to go into a route's queue now.
    pub fn due(&self) -> String {
        format!("{}.due.v1", self.0)
    }

    /// The queue of a route, of the journal, or a source's inbox.
    pub fn queue(&self, name: &str) -> String {
        match name {
            JOURNAL => format!("{}.journal.v1", self.0),
            inbox if inbox_of(inbox).is_some() => format!("{}.{inbox}.v1", self.0),
            route => format!("{}.route.{route}.v1", self.0),
        }
    }

    fn wait(&self, level: u32) -> String {
        format!("{}.wait.{level}.v1", self.0)
    }

    fn owner(&self) -> String {
        format!("{}.owner.v1", self.0)
    }

    /// Where to publish what is to be in a queue after so many seconds: exchange and key.
    pub fn after(&self, name: &str, seconds: u64) -> (String, String) {
        let seconds = seconds.min(LONGEST);
        let Some(highest) = seconds.checked_ilog2() else { return (self.due(), due_word(name).into_owned()) };
        let bits = (0..LEVELS).rev().map(|level| if seconds >> level & 1 == 1 { "1." } else { "0." });
        (self.wait(highest), bits.collect::<String>() + &due_word(name))
    }
}

/// A queue's name as a word of a key. No route's name has an underscore.
pub fn due_word(name: &str) -> Cow<'_, str> {
    match inbox_of(name) {
        Some(source) => Cow::Owned(format!("_inbox_{source}")),
        None if name == JOURNAL => Cow::Borrowed("_journal"),
        None => Cow::Borrowed(name),
    }
}

/// The key that an event is published with.
pub fn key_of(event: &Event) -> String {
    key(&origin(event), &event.kind)
}

/// The key of an event.
pub fn key(source: &str, kind: &str) -> String {
    format!("{source}.{kind}")
}

/// The keys that a binding asks for. A word with a star becomes "one or more words": exact for a star that is a whole
/// word, as in `order.*`, else more than was asked for, and the route leaves what it does not take.
pub fn keys(binding: &Binding) -> BTreeSet<String> {
    let any = || vec!["*".to_owned()];
    let sources = binding.sources.clone().unwrap_or_else(any);
    let types = binding.types.as_ref().map_or_else(
        || vec!["#".to_owned()],
        |types| types.iter().map(|pattern| pattern.split('.').map(word).collect::<Vec<_>>().join(".")).collect(),
    );
    sources.iter().flat_map(|source| types.iter().map(move |kind| key(source, kind))).collect()
}

fn word(word: &str) -> &str {
    if word.contains('*') { "*.#" } else { word }
}

/// Why something was not declared.
type Result<T> = std::result::Result<T, String>;

fn words(doing: &str) -> impl Fn(lapin::Error) -> String + '_ {
    move |e| format!("{doing}: {e}")
}

/// Declares everything, binds, and, if a queue is new, waits until it is safe.
pub async fn declare(connection: &Connection, names: &Names, plan: &Plan) -> Result<()> {
    let all = async {
        let channel = connection.create_channel().await.map_err(words("a channel"))?;
        exchanges(&channel, names).await?;
        let mut queues = Queues { connection, channel, new: false };
        queues.base(names).await?;
        for (name, bound) in plan {
            queues.route(names, name, bound).await?;
        }
        Ok::<_, String>(queues.new)
    };
    let new = tokio::time::timeout(PATIENCE, all).await.map_err(|_| "declaring took too long".to_owned())??;
    if new {
        tokio::time::sleep(SETTLING).await;
    }
    Ok(())
}

/// The queues that have been there and have gone. Where a queue has gone that messages of all routes wait in or are put
/// aside in, these are all of them.
pub async fn gone(connection: &Connection, names: &Names, plan: &Plan) -> Result<Vec<String>> {
    let look = async {
        let made: Vec<&String> = plan.iter().filter(|(_, bound)| bound.made).map(|(name, _)| name).collect();
        let mut queues = Queues::new(connection).await?;
        let shared = (0..LEVELS).map(|level| names.wait(level)).chain([names.unrouted(), names.poison()]);
        let mut all = false;
        for queue in shared.filter(|_| !made.is_empty()) {
            all |= queues.ready(&queue).await?.is_none();
        }
        let mut gone = Vec::new();
        for name in made {
            if queues.ready(&names.queue(name)).await?.is_none() || (all && name != JOURNAL) {
                gone.push(name.clone());
            }
        }
        _ = queues.channel.close(200, "".into()).await;
        Ok(gone)
    };
    tokio::time::timeout(PATIENCE, look).await.map_err(|_| "looking for the queues took too long".to_owned())?
}

/// Refuses to go on if these names are another store's: two bridges would take each other's messages. An exchange whose
/// arguments name the store: who declares it with others is refused by the broker.
pub async fn own(connection: &Connection, names: &Names, owner: &str) -> std::result::Result<(), BrokerError> {
    let claim = async {
        let channel = connection.create_channel().await?;
        let mark = table([("alternate-exchange", text(&format!("{}.{owner}", names.owner())))]);
        exchange(&channel, &names.owner(), ExchangeKind::Fanout, mark).await?;
        channel.close(200, "".into()).await
    };
    match tokio::time::timeout(PATIENCE, claim).await {
        Ok(Err(e)) if code(&e) == Some(406) => Err(BrokerError::Refused(format!(
            "the names `{}.…` belong to a bridge with another store; give this one another `prefix`",
            names.0
        ))),
        Ok(other) => other.map_err(|e| BrokerError::Unavailable(format!("an exchange: {e}"))),
        Err(_) => Err(BrokerError::Unavailable("it does not answer".to_owned())),
    }
}

async fn exchanges(channel: &Channel, names: &Names) -> Result<()> {
    let said = words("an exchange");
    let astray = || table([("alternate-exchange", text(&names.unrouted()))]);
    for name in [names.unrouted(), names.poison(), names.unreadable()] {
        exchange(channel, &name, ExchangeKind::Fanout, FieldTable::default()).await.map_err(&said)?;
    }
    exchange(channel, &names.events(), ExchangeKind::Topic, astray()).await.map_err(&said)?;
    // Without a way out one route that is gone would stop the waiting of all.
    exchange(channel, &names.due(), ExchangeKind::Topic, astray()).await.map_err(&said)?;
    for level in 0..LEVELS {
        exchange(channel, &names.wait(level), ExchangeKind::Topic, FieldTable::default()).await.map_err(&said)?;
    }
    for level in 0..LEVELS {
        let (from, to) = (short(&names.wait(level))?, short(&next(names, level))?);
        let key = short(&pattern(level, '0'))?;
        channel
            .exchange_bind(to, from, key, ExchangeBindOptions::default(), FieldTable::default())
            .await
            .map_err(words("a binding"))?;
    }
    Ok(())
}

/// Where a message goes after a level.
fn next(names: &Names, level: u32) -> String {
    level.checked_sub(1).map_or_else(|| names.due(), |lower| names.wait(lower))
}

/// The keys with this bit at a level.
fn pattern(level: u32, bit: char) -> String {
    format!("{}{bit}.#", "*.".repeat((LEVELS - 1 - level) as usize))
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind, arguments: FieldTable) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), kind, options, arguments).await
}

/// The queues on one connection.
pub struct Queues<'a> {
    pub connection: &'a Connection,
    pub channel: Channel,
    /// True once a queue was made that was not there.
    pub new: bool,
}

impl<'a> Queues<'a> {
    pub async fn new(connection: &'a Connection) -> Result<Self> {
        let channel = connection.create_channel().await.map_err(words("a channel"))?;
        Ok(Self { connection, channel, new: false })
    }

    /// How many messages are ready in a queue; `None`: there is none.
    pub async fn ready(&mut self, queue: &str) -> Result<Option<u64>> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        match self.channel.queue_declare(short(queue)?, options, FieldTable::default()).await {
            Ok(queue) => Ok(Some(u64::from(queue.message_count()))),
            Err(e) if code(&e) == Some(404) => {
                // The question has cost the channel.
                self.channel = self.connection.create_channel().await.map_err(words("a channel"))?;
                Ok(None)
            }
            Err(e) => Err(format!("the queue {queue}: {e}")),
        }
    }

    async fn base(&mut self, names: &Names) -> Result<()> {
        for name in [names.unrouted(), names.poison(), names.unreadable()] {
            self.declare(&name, table([("x-delivery-limit", AMQPValue::LongInt(NEVER))])).await?;
            self.bind(&name, &name, "").await?;
        }
        for level in 0..LEVELS {
            let (name, to) = (names.wait(level), next(names, level));
            let ttl = AMQPValue::LongInt(1000 << level);
            let arguments = [("x-message-ttl", ttl), ("x-delivery-limit", AMQPValue::LongInt(NEVER))];
            self.declare(&name, at_least_once(&to, arguments)).await?;
            self.bind(&name, &name, &pattern(level, '1')).await?;
        }
        Ok(())
    }

    /// A route's queue with its bindings.
    pub async fn route(&mut self, names: &Names, name: &str, bound: &Bound) -> Result<()> {
        let queue = names.queue(name);
        let limit = [("x-delivery-limit", AMQPValue::LongInt(DELIVERIES))];
        self.declare(&queue, at_least_once(&names.poison(), limit)).await?;
        for former in &bound.due {
            self.bind(&queue, &names.due(), &format!("#.{}", due_word(former))).await?;
        }
        for key in &bound.events {
            self.bind(&queue, &names.events(), key).await?;
        }
        Ok(())
    }

    async fn declare(&mut self, queue: &str, mut arguments: FieldTable) -> Result<()> {
        if self.ready(queue).await?.is_some() {
            return Ok(());
        }
        self.new = true;
        arguments.insert("x-queue-type".into(), text("quorum"));
        let options = QueueDeclareOptions::durable();
        self.channel
            .queue_declare(short(queue)?, options, arguments)
            .await
            .map_err(|e| format!("the queue {queue}: {e}"))?;
        Ok(())
    }

    async fn bind(&self, queue: &str, exchange: &str, key: &str) -> Result<()> {
        let (queue, exchange, key) = (short(queue)?, short(exchange)?, short(key)?);
        let bound = self.channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default());
        bound.await.map_err(words("a binding"))
    }

    /// Binds a queue to events.
    pub async fn bind_events(&self, names: &Names, name: &str, keys: impl Iterator<Item = &String>) -> Result<()> {
        for key in keys {
            self.bind(&names.queue(name), &names.events(), key).await?;
        }
        Ok(())
    }

    /// Takes bindings to events away.
    pub async fn unbind(&self, names: &Names, name: &str, keys: impl Iterator<Item = &String>) -> Result<()> {
        for key in keys {
            let (queue, exchange) = (short(&names.queue(name))?, short(&names.events())?);
            let gone = self.channel.queue_unbind(queue, exchange, short(key)?, FieldTable::default());
            gone.await.map_err(words("a binding"))?;
        }
        Ok(())
    }
}

/// Arguments of a queue whose dead letters must arrive. It refuses what it cannot take, never drops.
fn at_least_once<const N: usize>(to: &str, more: [(&str, AMQPValue); N]) -> FieldTable {
    let mut arguments = table(more);
    arguments.insert("x-dead-letter-exchange".into(), text(to));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// The reply code of a refusal by the broker.
pub fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(sources: Option<&[&str]>, types: Option<&[&str]>) -> Vec<String> {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        keys(&Binding { queue: "r".into(), sources: sources.map(list), types: types.map(list) }).into_iter().collect()
    }

    #[test]
    fn patterns_of_types_become_keys() {
        assert_eq!(binding(None, None), ["*.#"]);
        assert_eq!(binding(Some(&["a", "b"]), None), ["a.#", "b.#"]);
        assert_eq!(binding(Some(&["a"]), Some(&["x.y", "*"])), ["a.*.#", "a.x.y"]);
        assert_eq!(binding(Some(&["a"]), Some(&["order.*"])), ["a.order.*.#"]);
        assert_eq!(binding(Some(&["a"]), Some(&["*.deleted", "ord*.x"])), ["a.*.#.deleted", "a.*.#.x"]);
    }

    #[test]
    fn an_inbox_is_told_from_a_route_of_its_sources_name() {
        let names = Names("p".into());
        assert_eq!(names.queue("inbox.tasks"), "p.inbox.tasks.v1");
        assert_eq!(names.route_of("p.inbox.tasks.v1"), Some("inbox.tasks"));
        assert_eq!(names.route_of("p.route.tasks.v1"), Some("tasks"));
        assert_eq!(names.route_of("p.unrouted.v1"), None);
        assert_eq!(names.after("inbox.tasks", 0).1, "_inbox_tasks");
        let inbox = Binding::inbox("tasks");
        assert_eq!(keys(&inbox).into_iter().collect::<Vec<_>>(), ["_unfetched_tasks.#"]);
        assert!(!inbox.takes("tasks", "task.created") && inbox.takes("_unfetched_tasks", "task.created"));
    }

    #[test]
    fn a_wait_starts_at_its_highest_level() {
        let names = Names("p".into());
        assert_eq!(names.after("r", 0), ("p.due.v1".into(), "r".into()));
        assert_eq!(names.after("r", 5), ("p.wait.2.v1".into(), "0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.1.r".into()));
        let longest = ("p.wait.16.v1".to_owned(), "1.".repeat(17) + "r");
        assert_eq!(names.after("r", u64::MAX), longest);
        assert_eq!(pattern(16, '1'), "1.#");
        assert_eq!(pattern(14, '0'), "*.*.0.#");
    }
}
