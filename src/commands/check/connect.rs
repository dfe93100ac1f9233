//! `dari check --connect`: asks everything that a config talks to, by calls that have no effect there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::super::{CommandError, Result, output};
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, SinkConfig, SourceConfig};
use crate::connectors::client::{Admitted, Client, Meter, SendError};
use crate::connectors::tokens::SEALED;
use crate::connectors::{Limits, NoMemory, PollError, Poller, SourceRole};
use crate::outcome::Outcome;

/// How many calls a poll may make here: enough to see whether they are taken, and never a whole past.
const MOST: u32 = 3;
/// How long one may take in all.
const LONGEST: Duration = Duration::from_mins(1);
/// How long to wait before something that is passing is asked again: longer than the second that vendors count in.
const AGAIN: Duration = Duration::from_secs(2);

/// What came of asking one.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Good,
    Refused(String),
    /// As a 429: the bridge may be calling that account at the same time.
    Passing(String),
    NoCall(&'static str),
}

/// Asks all that is switched on and prints a line for each. Nothing is written: not at the vendors, not in the store.
///
/// # Errors
/// One of them does not answer as it should.
pub async fn connect(config: &Config) -> Result {
    let clock = Clock::system(app::process_number());
    let client = Client::new().map_err(CommandError::failed)?.sealing_tokens();
    let lines = Lines::of(config);
    let sources = config.sources.iter().filter(|source| source.enabled).map(async |one| {
        let line = one.account.as_ref().and_then(|account| lines.0.get(account)).cloned().unwrap_or_default();
        (
            format!("source {}", one.name),
            twice(async || source(config, one, &client, &clock, Arc::clone(&line)).await).await,
        )
    });
    let sinks = config.sinks.iter().filter(|sink| sink.enabled).map(async |one| {
        let line = lines.0.get(&one.account).cloned().unwrap_or_default();
        (
            format!("sink {}", one.name),
            twice(async || sink(config, one, &client, &clock, Arc::clone(&line)).await).await,
        )
    });
    let (mut found, sinks) = tokio::join!(join_all(sources), join_all(sinks));
    found.extend(sinks);
    if let Some(broker) = &config.broker {
        let greeted = app::greet(broker).await.map_or_else(Found::Refused, |()| Found::Good);
        found.push(("broker".to_owned(), greeted));
    }
    for (name, found) in &found {
        output::line(match found {
            Found::Good => format!("{name}: ok"),
            Found::Refused(why) | Found::Passing(why) => format!("{name}: refused: {why}"),
            Found::NoCall(why) => format!("{name}: has no harmless call: {why}"),
        })?;
    }
    match found.iter().filter(|(_, found)| matches!(found, Found::Refused(_) | Found::Passing(_))).count() {
        0 => Ok(()),
        refused => Err(CommandError::Failed(format!("{refused} of {} refused", found.len()))),
    }
}

/// Asks again what did not take the call for now.
async fn twice(ask: impl AsyncFn() -> Found) -> Found {
    let first = ask().await;
    if !matches!(first, Found::Passing(_)) {
        return first;
    }
    tokio::time::sleep(AGAIN).await;
    ask().await
}

async fn sink(config: &Config, sink: &SinkConfig, client: &Client, clock: &Clock, line: Arc<Line>) -> Found {
    let client = client.metered(Arc::new(Sparing::new(line)));
    let built = match config.build_sink(sink, &client, clock) {
        Ok(built) => built,
        Err(faults) => return refused(faults.into_iter().map(|fault| fault.message)),
    };
    let Some(call) = built.probe() else { return Found::NoCall("what it sends makes something there") };
    match tokio::time::timeout(LONGEST, built.send(&client, &call)).await {
        Ok(Ok(answer)) => match built.classify(&call, &answer) {
            Outcome::Delivered { .. } => Found::Good,
            Outcome::Retry { why, .. } => Found::Passing(why),
            outcome => refused(outcome.why().map(str::to_owned)),
        },
        Ok(Err(SendError::NotSent(why) | SendError::NoAnswer(why))) => unless_sealed(why),
        Ok(Err(SendError::Refused(why))) => Found::Refused(why),
        Err(_) => late(),
    }
}

async fn source(config: &Config, source: &SourceConfig, client: &Client, clock: &Clock, line: Arc<Line>) -> Found {
    let meter = Arc::new(Sparing::new(line));
    match config.build_source(source, &client.metered(meter.clone()), clock) {
        Ok(SourceRole::Poller(poller)) => polled(&*poller, &meter).await,
        Ok(SourceRole::Hook(_)) => Found::NoCall("it is sent webhooks"),
        Ok(SourceRole::Stream(_)) => Found::NoCall("to receive is to take away"),
        Err(faults) => refused(faults.into_iter().map(|fault| fault.message)),
    }
}

/// A poll only reads; its page is thrown away.
async fn polled(poller: &dyn Poller, meter: &Sparing) -> Found {
    let polled = tokio::time::timeout(LONGEST, poller.poll(None, &NoMemory)).await;
    match polled {
        // It would have gone on: what it had asked by then was answered.
        _ if meter.spent.load(Ordering::Relaxed) => Found::Good,
        Ok(Ok(_)) if meter.left.load(Ordering::Relaxed) == MOST => Found::NoCall("its first poll asks nothing"),
        Ok(Ok(_)) => Found::Good,
        Ok(Err(PollError::Retry { why, .. })) => unless_sealed(why),
        Ok(Err(error)) => Found::Refused(error.to_string()),
        Err(_) => late(),
    }
}

fn refused(why: impl IntoIterator<Item = String>) -> Found {
    let why: Vec<_> = why.into_iter().collect();
    Found::Refused(if why.is_empty() { "the answer makes no sense".to_owned() } else { why.join("; ") })
}

fn unless_sealed(why: String) -> Found {
    if why.contains(SEALED) { Found::NoCall(SEALED) } else { Found::Passing(why) }
}

fn late() -> Found {
    Found::Refused(format!("no answer within {} s", LONGEST.as_secs()))
}

/// The accounts, each with whoever waits for it.
struct Lines(HashMap<String, Arc<Line>>);

impl Lines {
    fn of(config: &Config) -> Self {
        let named = config.accounts.values().map(|account| (&account.name, account.limits));
        let own = config.sinks.iter().filter(|sink| !config.accounts.contains_key(&sink.account));
        let all = named.chain(own.map(|sink| (&sink.account, sink.limits)));
        Self(all.map(|(name, limits)| (name.clone(), Arc::new(Line::new(limits)))).collect())
    }
}

/// One account: a call at a time, no faster than its rate.
#[derive(Debug, Default)]
struct Line {
    pause: Duration,
    turn: Arc<Mutex<bool>>,
}

impl Line {
    fn new(limits: Limits) -> Self {
        let pause = limits.rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        Self { pause: pause.unwrap_or_default(), turn: Arc::default() }
    }
}

/// Lets a few calls through, in their account's line.
#[derive(Debug)]
struct Sparing {
    line: Arc<Line>,
    left: AtomicU32,
    /// A call was held back.
    spent: AtomicBool,
}

impl Sparing {
    fn new(line: Arc<Line>) -> Self {
        Self { line, left: AtomicU32::new(MOST), spent: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Meter for Sparing {
    async fn admit(&self) -> std::result::Result<Admitted, String> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if taken.is_err() {
            self.spent.store(true, Ordering::Relaxed);
            return Err("a check makes no more calls".to_owned());
        }
        let mut another = Arc::clone(&self.line.turn).lock_owned().await;
        if *another {
            tokio::time::sleep(self.line.pause).await;
        }
        *another = true;
        Ok(Admitted { at: Clock::system(0).now(), permit: Box::new(another) })
    }

    // It is in no month: see docs/operations.md.
    async fn refund(&self, _: &Admitted) {}
}
