//! `dari check --connect`: asks everything that a config talks to, by calls that have no effect there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::super::access::Where;
use super::super::{CommandError, Result, output};
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, LookupConfig, SinkConfig, SourceConfig};
use crate::connectors::client::{Admitted, Client, Meter, SendError};
use crate::connectors::tokens::SEALED;
use crate::connectors::{Limits, NoMemory, PollError, Poller, SourceRole};
use crate::deliver::gate::charge;
use crate::outcome::Outcome;
use crate::settings::Fault;
use crate::store::Charge;

mod count;

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
    NoCall(String),
}

impl Found {
    fn no_call(why: &str) -> Self {
        Self::NoCall(why.to_owned())
    }

    fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Passing(_))
    }
}

/// What all that is asked needs.
struct Asking<'a> {
    config: &'a Config,
    client: Client,
    clock: Clock,
    lines: Lines,
}

/// Asks all that is switched on and prints a line for each. Nothing is written at the vendors, and in the store only how many
/// calls were made.
///
/// # Errors
/// One of them does not answer as it should.
pub async fn connect(config: &Config, place: &Where) -> Result {
    let clock = Clock::system(app::process_number());
    let client = Client::new().map_err(CommandError::failed)?.sealing_tokens();
    let asking = Asking { config, client, clock, lines: Lines::of(config) };
    let sources = config.sources.iter().filter(|source| source.enabled).map(async |one| {
        let line = asking.lines.of_account(one.account.as_deref());
        (format!("source {}", one.name), twice(async || asking.source(one, Arc::clone(&line)).await).await)
    });
    let sinks = config.sinks.iter().filter(|sink| sink.enabled).map(async |one| {
        let line = asking.lines.of_account(Some(&one.account));
        (format!("sink {}", one.name), twice(async || asking.sink(one, Arc::clone(&line)).await).await)
    });
    let (mut found, sinks) = tokio::join!(join_all(sources), join_all(sinks));
    found.extend(sinks);
    let accounts = asking.accounts().into_iter().map(async |(name, ways)| {
        let line = asking.lines.of_account(Some(name));
        (format!("account {name}"), twice(async || asking.account(&ways, &line).await).await)
    });
    found.extend(join_all(accounts).await);
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
    if let Some(told) = count::count(config, place, asking.lines.made(config, &asking.clock)).await {
        output::line(told)?;
    }
    match found.iter().filter(|(_, found)| found.is_refused()).count() {
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

impl Asking<'_> {
    async fn sink(&self, sink: &SinkConfig, line: Arc<Line>) -> Found {
        let client = self.client.metered(Arc::new(Sparing::new(line)));
        let built = match self.config.build_sink(sink, &client, &self.clock) {
            Ok(built) => built,
            Err(faults) => return unbuilt(faults),
        };
        let Some(call) = built.probe() else { return Found::no_call("what it sends makes something there") };
        match tokio::time::timeout(LONGEST, built.send(&client, &call)).await {
            Ok(Ok(answer)) => judged(built.classify(&call, &answer)),
            Ok(Err(error)) => unsent(error),
            Err(_) => late(),
        }
    }

    async fn source(&self, source: &SourceConfig, line: Arc<Line>) -> Found {
        let meter = Arc::new(Sparing::new(line));
        match self.config.build_source(source, &self.client.metered(meter.clone()), &self.clock) {
            Ok(SourceRole::Poller(poller)) => polled(&*poller, &meter).await,
            Ok(SourceRole::Hook(_)) => Found::no_call("it is sent webhooks"),
            Ok(SourceRole::Stream(_)) => Found::no_call("to receive is to take away"),
            Err(faults) => unbuilt(faults),
        }
    }

    /// The accounts that no line of a poller or sink speaks for, each with whatever else uses it.
    fn accounts(&self) -> Vec<(&str, Vec<Way<'_>>)> {
        let config = self.config;
        let polled = config.sources.iter().filter(|source| source.enabled && !source.is_hook());
        let polled = polled.filter_map(|source| source.account.as_deref());
        let sent = config.sinks.iter().filter(|sink| sink.enabled).map(|sink| sink.account.as_str());
        let spoken_for: Vec<&str> = polled.chain(sent).collect();
        let ways = |name: &str| {
            let routes = config.routes.iter().filter(|route| route.enabled);
            let lookups = routes.flat_map(|route| &route.lookups).filter(|lookup| lookup.account == name);
            let hooks = config.sources.iter().filter(|source| source.enabled && source.is_hook());
            let hooks = hooks.filter(|source| source.account.as_deref() == Some(name));
            lookups.map(Way::Lookup).chain(hooks.map(Way::Hook)).collect::<Vec<_>>()
        };
        let names = config.accounts.keys().map(String::as_str).filter(|name| !spoken_for.contains(name));
        names.map(|name| (name, ways(name))).filter(|(_, ways)| !ways.is_empty()).collect()
    }

    /// Asks in the first of these ways that makes a call.
    async fn account(&self, ways: &[Way<'_>], line: &Arc<Line>) -> Found {
        let mut last = Found::no_call("nothing that uses it can be asked");
        for way in ways {
            let client = self.client.metered(Arc::new(Sparing::new(Arc::clone(line))));
            let found = match way {
                Way::Lookup(lookup) => self.look_up(lookup, &client).await,
                Way::Hook(source) => self.subscriptions(source, &client).await,
            };
            if !matches!(found, Found::NoCall(_)) {
                return found;
            }
            last = found;
        }
        last
    }

    async fn look_up(&self, lookup: &LookupConfig, client: &Client) -> Found {
        let built = match self.config.build_lookup(lookup, client, &self.clock) {
            Ok(built) => built,
            Err(faults) => return unbuilt(faults),
        };
        let Some(call) = built.probe() else { return Found::no_call("its lookups need a value to look for") };
        match tokio::time::timeout(LONGEST, client.send(&call)).await {
            // Whatever was found.
            Ok(Ok(answer)) => built.read(&answer).map_or_else(judged, |_| Found::Good),
            Ok(Err(error)) => unsent(error),
            Err(_) => late(),
        }
    }

    /// Lists the subscriptions of webhooks, where the vendor has a call for that.
    async fn subscriptions(&self, source: &SourceConfig, client: &Client) -> Found {
        // Without what only a subscription needs, as the object that it is of, there is none either.
        let Some(Ok(registrar)) = self.config.build_registrar(source, client, &self.clock) else {
            return Found::no_call("webhooks come by themselves");
        };
        match tokio::time::timeout(LONGEST, registrar.list()).await {
            Ok(Ok(_)) => Found::Good,
            Ok(Err(PollError::Retry { why, .. })) => unless_sealed(why),
            Ok(Err(PollError::Stop { why })) => Found::NoCall(why),
            Ok(Err(error)) => Found::Refused(error.to_string()),
            Err(_) => late(),
        }
    }
}

/// What an account is used by besides pollers and sinks.
enum Way<'a> {
    Lookup(&'a LookupConfig),
    Hook(&'a SourceConfig),
}

/// A poll only reads; its page is thrown away.
async fn polled(poller: &dyn Poller, meter: &Sparing) -> Found {
    let polled = tokio::time::timeout(LONGEST, poller.poll(None, &NoMemory)).await;
    match polled {
        // It would have gone on: what it had asked by then was answered.
        _ if meter.spent.load(Ordering::Relaxed) => Found::Good,
        Ok(Ok(_)) if meter.left.load(Ordering::Relaxed) == MOST => Found::no_call("its first poll asks nothing"),
        Ok(Ok(_)) => Found::Good,
        Ok(Err(PollError::Retry { why, .. })) => unless_sealed(why),
        Ok(Err(error)) => Found::Refused(error.to_string()),
        Err(_) => late(),
    }
}

fn judged(outcome: Outcome) -> Found {
    match outcome {
        Outcome::Delivered { .. } => Found::Good,
        Outcome::Retry { why, .. } => Found::Passing(why),
        outcome => refused(outcome.why().map(str::to_owned)),
    }
}

fn unsent(error: SendError) -> Found {
    match error {
        SendError::NotSent(why) | SendError::NoAnswer(why) => unless_sealed(why),
        SendError::Refused(why) => Found::Refused(why),
    }
}

fn unbuilt(faults: Vec<Fault>) -> Found {
    refused(faults.into_iter().map(|fault| fault.message))
}

fn refused(why: impl IntoIterator<Item = String>) -> Found {
    let why: Vec<_> = why.into_iter().collect();
    Found::Refused(if why.is_empty() { "the answer makes no sense".to_owned() } else { why.join("; ") })
}

fn unless_sealed(why: String) -> Found {
    if why.contains(SEALED) { Found::no_call(SEALED) } else { Found::Passing(why) }
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

    fn of_account(&self, name: Option<&str>) -> Arc<Line> {
        name.and_then(|name| self.0.get(name)).cloned().unwrap_or_default()
    }

    /// How many calls were made of each account, and to which month they belong.
    fn made(&self, config: &Config, clock: &Clock) -> Vec<(Charge, u32)> {
        let made = self.0.iter().map(|(name, line)| (name, line.made.load(Ordering::Relaxed)));
        let charged = made.filter(|(_, calls)| *calls > 0).map(|(name, calls)| {
            let account = config.accounts.get(name);
            let zone = account.map_or(&config.zone, |account| &account.zone);
            (charge(name, Limits::default(), zone, clock.now()), calls)
        });
        charged.collect()
    }
}

/// One account: a call at a time, no faster than its rate.
#[derive(Debug, Default)]
struct Line {
    pause: Duration,
    turn: Arc<Mutex<bool>>,
    /// Calls that were made.
    made: AtomicU32,
}

impl Line {
    fn new(limits: Limits) -> Self {
        let pause = limits.rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        Self { pause: pause.unwrap_or_default(), ..Self::default() }
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
        self.line.made.fetch_add(1, Ordering::Relaxed);
        Ok(Admitted { at: Clock::system(0).now(), permit: Box::new(another) })
    }

    async fn refund(&self, _: &Admitted) {
        self.line.made.fetch_sub(1, Ordering::Relaxed);
    }
}
