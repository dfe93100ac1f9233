//! What polls, receives and reads anew, with what each needs to know.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::plans::Gates;
use super::{AppError, OWNER, Parts};
use crate::broker::inbox_of;
use crate::clock::Clock;
use crate::config::{Config, SourceConfig};
use crate::connectors::client::Client;
use crate::connectors::{Fetch, Hook, Poller, SourceRole, Stream};
use crate::deliver::gate::Gate;
use crate::deliver::patience;
use crate::fetch::FetchLoop;
use crate::poll::PollLoop;
use crate::poll::meter::AccountMeter;
use crate::stream::StreamLoop;

/// The sources of a config, built.
#[derive(Default)]
pub struct Sources {
    /// What receives webhooks, with the name of its source.
    pub hooks: Vec<(String, Box<dyn Hook>)>,
    pub pollers: Vec<Polled>,
    pub streams: Vec<StreamLoop>,
    pub fetching: Vec<Fetching>,
}

/// What sources are built with.
pub struct Bench<'a> {
    pub parts: &'a Parts,
    pub client: &'a Client,
    pub gates: &'a Gates,
    pub clock: &'a Clock,
    pub dry_run: bool,
}

impl Bench<'_> {
    /// Builds all sources that are switched on.
    pub fn sources(&self, config: &Config) -> Result<Sources, AppError> {
        let mut sources = Sources::default();
        for source in config.sources.iter().filter(|source| source.enabled) {
            self.source(config, source, &mut sources)?;
        }
        Ok(sources)
    }

    fn source(&self, config: &Config, source: &SourceConfig, all: &mut Sources) -> Result<(), AppError> {
        let gate = source.account.as_ref().and_then(|account| self.gates.get(account));
        let client =
            gate.map_or_else(|| self.client.clone(), |gate| self.client.metered(meter(gate, self.parts, self.clock)));
        let role = config
            .build_source(source, &client, self.clock)
            .map_err(|faults| AppError::Build { name: source.name.clone(), faults })?;
        let (name, account) = (source.name.clone(), source.account.clone());
        match role {
            SourceRole::Hook(hook) => {
                if hook.unverified() {
                    tracing::warn!(source = %name, "anybody who knows the address can send here: verify is none");
                }
                all.fetching.extend(Fetching::of(source, &*hook, gate));
                all.hooks.push((name, hook));
            }
            SourceRole::Poller(poller) => {
                let (poller, wake) = (Arc::from(poller), Arc::new(Notify::new()));
                all.pollers.push(Polled { source: name, account, poller, wake });
            }
            SourceRole::Stream(stream) => {
                all.streams.push(receiving((name, account), stream, self.parts, self.clock, self.dry_run));
            }
        }
        Ok(())
    }
}

/// Counts the calls of an account's sources.
fn meter(gate: &Arc<Gate>, parts: &Parts, clock: &Clock) -> Arc<AccountMeter> {
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
fn receiving(
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

/// What reads the subjects of a source's events anew.
pub struct Fetching {
    source: String,
    account: Option<String>,
    fetch: Arc<dyn Fetch>,
    at_once: usize,
}

impl Fetching {
    /// That of a webhook's source, if it reads anything anew.
    pub fn of(source: &SourceConfig, hook: &dyn Hook, gate: Option<&Arc<Gate>>) -> Option<Self> {
        let fetch = hook.fetch()?;
        let (source, account) = (source.name.clone(), source.account.clone());
        Some(Self { source, account, fetch, at_once: gate.map_or(1, |gate| gate.concurrency()) })
    }
}

/// Works off all inboxes until told to stop. What is left in that of a source that reads nothing anew any more goes on as
/// it came; that of a source that is switched off stays as it is.
pub fn inboxes(
    fetching: Vec<Fetching>,
    config: Arc<Config>,
    parts: &Parts,
    clock: &Clock,
    until: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let (broker, clock) = (Arc::clone(&parts.broker), clock.clone());
    let (journal, halts) = (parts.journal.clone(), Arc::clone(&parts.halts));
    async move {
        let one = |source: String, account, fetch, at_once| FetchLoop {
            source,
            account,
            fetch,
            at_once,
            broker: Arc::clone(&broker),
            journal: journal.clone(),
            halts: Arc::clone(&halts),
            clock: clock.clone(),
        };
        let mut pauses = patience();
        let depths = loop {
            match broker.depths().await {
                Ok(depths) => break depths,
                Err(error) => tracing::warn!(%error, "the inboxes cannot be looked at yet"),
            }
            let pause = tokio::time::sleep(pauses.next().unwrap_or_default());
            if until.run_until_cancelled(pause).await.is_none() {
                return;
            }
        };
        let kept = |name: &str| config.sources.iter().any(|s| s.name == name && (!s.enabled || s.fetches()));
        let left = depths.iter().filter(|depth| depth.messages > 0).filter_map(|depth| inbox_of(&depth.queue));
        let left = left.filter(|name| !kept(name)).map(|name| one(name.to_owned(), None, None, 1));
        let all = fetching.into_iter().map(|f| one(f.source, f.account, Some(f.fetch), f.at_once));
        join_all(all.chain(left).map(|one| one.run(until.clone()))).await;
        // A part that ends before it is told to is taken for broken.
        until.cancelled().await;
    }
}
