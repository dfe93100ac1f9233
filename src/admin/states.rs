//! How accounts, sinks, sources and routes stand, and what a person can do about it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::views::{AccountView, BreakerView, Done, PermitsView, Readiness, RouteView, SinkView, SourceView};
use super::who::signed;
use super::{Operator, OperatorError, Result};
use crate::broker::{BrokerError, Depth, JOURNAL, Waiting, inbox, inbox_of};
use crate::connectors::Limits;
use crate::deliver::breaker::Breaker;
use crate::deliver::gate::{Gate, Usage, charge, forecast};
use crate::outcome::Scope;
use crate::poll::guard::{self, Asked};
use crate::store::journal::{Entry, Record, Step};
use crate::store::{Charge, DeadClass, DeadFilter, StoredDead};

/// What anybody is told where a person has to put something right before the broker can be used.
const REFUSED: &str = "broker: it is not to be used like this";

/// How many calls that were made beside the bridge are added at once: a check makes a few.
const MOST_BESIDE: u32 = 1_000;

impl Operator {
    /// Every account, and every sink that is its own.
    ///
    /// # Errors
    /// The store.
    pub async fn accounts(&self) -> Result<Vec<AccountView>> {
        let now = self.clock.now();
        let mut views = Vec::new();
        for (name, connector, url, limits, zone) in self.all_accounts() {
            let month = charge(name, limits, &zone, now).month;
            let used = self.store.used(name, &month).await?;
            let used_up = limits.monthly.and_then(|monthly| forecast::used_up(used, monthly, now, &zone));
            views.push(AccountView {
                name: name.to_owned(),
                connector: connector.to_owned(),
                url: url.to_owned(),
                forecast: used_up.map(|at| forecast::in_words(at, now, &zone)),
                used_up,
                month,
                used,
                monthly: limits.monthly,
                rate: limits.rate,
                concurrency: limits.concurrency,
                permits: self.gates.get(name).map(|gate| permits(gate)),
                suspension: self.halts.any(&[(Scope::Account, name)]),
            });
        }
        Ok(views)
    }

    fn all_accounts(&self) -> Vec<(&str, &str, &str, Limits, TimeZone)> {
        let accounts = self.config.accounts.values();
        let mut all: Vec<_> =
            accounts.map(|a| (a.name.as_str(), a.manifest.name, a.url.as_str(), a.limits, a.zone.clone())).collect();
        let own = self.config.sinks.iter().filter(|sink| !self.config.accounts.contains_key(&sink.account));
        all.extend(own.map(|s| (s.name.as_str(), s.manifest.name, "", s.limits, self.config.zone.clone())));
        all
    }

    /// Sets how many calls an account has made this month.
    ///
    /// # Errors
    /// No such account; the store.
    pub async fn set_used(&self, name: &str, used: u64) -> Result<Done> {
        self.check_name(Scope::Account, name)?;
        if i64::try_from(used).is_err() {
            return Err(OperatorError::Refused(format!("no account makes {used} calls a month")));
        }
        let Some((_, _, _, limits, zone)) = self.all_accounts().into_iter().find(|(n, ..)| *n == name) else {
            return Err(OperatorError::Refused(format!("{name} counts no calls")));
        };
        let month = charge(name, limits, &zone, self.clock.now()).month;
        self.store.set_used(name, &month, used).await?;
        Ok(self.did(format!("account {name}: {used} calls used in {month}")))
    }

    /// Adds calls that were made beside the bridge to an account's month.
    ///
    /// # Errors
    /// No such account; the store.
    pub async fn add_calls(&self, name: &str, calls: u32) -> Result<Done> {
        self.check_name(Scope::Account, name)?;
        let Some((_, _, _, limits, zone)) = self.all_accounts().into_iter().find(|(n, ..)| *n == name) else {
            return Err(OperatorError::Refused(format!("{name} counts no calls")));
        };
        if calls > MOST_BESIDE {
            return Err(OperatorError::Refused(format!("at most {MOST_BESIDE} calls are added at once")));
        }
        // They were made, whatever the month has left.
        let charge = Charge { limit: None, ..charge(name, limits, &zone, self.clock.now()) };
        for _ in 0..calls {
            self.store.charge(charge.clone()).await?;
        }
        Ok(self.did(format!("account {name}: {calls} calls more used in {}", charge.month)))
    }

    /// Every sink.
    ///
    /// # Errors
    /// The broker.
    pub async fn sinks(&self) -> Result<Vec<SinkView>> {
        let depths = self.broker.depths().await?;
        let now = self.clock.now();
        let views = self.config.sinks.iter().map(|sink| {
            let routes = self.config.routes.iter().filter(|route| route.to == sink.name);
            SinkView {
                name: sink.name.clone(),
                kind: sink.kind.name.to_owned(),
                account: sink.account.clone(),
                enabled: sink.enabled,
                queued: routes.filter_map(|route| depth(&depths, &route.name)).map(|d| d.messages).sum(),
                breaker: self.sinks.get(&sink.name).and_then(|sink| breaker(&sink.breaker, now)),
                suspension: self.halts.any(&[(Scope::Sink, &sink.name), (Scope::Account, &sink.account)]),
            }
        });
        Ok(views.collect())
    }

    /// Every source.
    ///
    /// # Errors
    /// The store.
    pub async fn sources(&self) -> Result<Vec<SourceView>> {
        let mut views = Vec::new();
        // A broker that is away is told elsewhere.
        let depths = self.broker.depths().await.unwrap_or_default();
        for source in &self.config.sources {
            let cursor = self.store.cursor(&source.name).await?;
            let last_poll = self.journal.polled(&source.name, 1).await?.into_iter().next();
            let account = source.account.as_deref().unwrap_or_default();
            views.push(SourceView {
                name: source.name.clone(),
                kind: source.kind.name.to_owned(),
                enabled: source.enabled,
                path: source.is_hook().then(|| format!("/hooks/{}", source.name)),
                unfetched: depth(&depths, &inbox(&source.name)).map_or(0, |depth| depth.messages),
                last_poll,
                cursor,
                asks: if source.polls() { guard::asked(&*self.store, &source.name).await? } else { None },
                suspension: self.halts.any(&[(Scope::Source, &source.name), (Scope::Account, account)]),
            });
        }
        Ok(views)
    }

    /// Every route, and every queue that a former one left.
    ///
    /// # Errors
    /// The store or the broker.
    pub async fn routes(&self) -> Result<Vec<RouteView>> {
        let depths = self.broker.depths().await?;
        let counts = self.store.dead_counts().await?;
        let count = |route: &str, held: bool| -> u64 {
            let of = counts.iter().filter(|(r, class, _)| r == route && (*class == DeadClass::Held) == held);
            of.map(|(.., n)| n).sum()
        };
        let mut views: Vec<_> = self
            .config
            .routes
            .iter()
            .map(|route| {
                let depth = depth(&depths, &route.name);
                let account = self.config.sinks.iter().find(|s| s.name == route.to).map_or("", |s| &s.account);
                let scopes = [(Scope::Route, route.name.as_str()), (Scope::Sink, &route.to), (Scope::Account, account)];
                RouteView {
                    name: route.name.clone(),
                    from: route.from.clone(),
                    to: Some(route.to.clone()),
                    does: route.cases.iter().map(|case| case.action.name().to_owned()).collect(),
                    enabled: route.enabled,
                    queued: depth.map_or(0, |d| d.messages),
                    waiting: depth.map_or(0, |d| d.waiting),
                    oldest: depth.and_then(|d| d.oldest),
                    dead: count(&route.name, false),
                    held: count(&route.name, true),
                    suspension: self.halts.any(&scopes),
                }
            })
            .collect();
        let left = depths
            .iter()
            .filter(|d| d.queue != JOURNAL && inbox_of(&d.queue).is_none() && !views.iter().any(|v| v.name == d.queue));
        let left: Vec<_> = left.filter(|d| d.messages > 0).map(|d| orphan(d, &count)).collect();
        views.extend(left);
        Ok(views)
    }

    /// Stops something until a person resumes it.
    ///
    /// # Errors
    /// No such thing; the store.
    pub async fn suspend(&self, scope: Scope, name: &str, why: Option<String>) -> Result<Done> {
        self.check_name(scope, name)?;
        let why = why.unwrap_or_else(|| "suspended by a person".to_owned());
        self.halts.stop(scope, name, why.clone()).await?;
        self.write_down(&format!("suspended {} {name} ({why})", scope.name()));
        Ok(Done { done: format!("{} {name} is suspended", scope.name()) })
    }

    /// Lets something go on.
    ///
    /// # Errors
    /// No such thing, or it was not stopped; the store.
    pub async fn resume(&self, scope: Scope, name: &str) -> Result<Done> {
        self.check_name(scope, name)?;
        if !self.halts.resume(scope, name).await? {
            return Err(OperatorError::Refused(format!("{} {name} is not suspended", scope.name())));
        }
        self.write_down(&format!("resumed {} {name}", scope.name()));
        Ok(Done { done: format!("{} {name} goes on", scope.name()) })
    }

    /// Polls a source now.
    ///
    /// # Errors
    /// No such source, it does not poll, or no bridge is running.
    pub fn poll(&self, name: &str) -> Result<Done> {
        self.check_name(Scope::Source, name)?;
        let Some(wake) = self.pollers.get(name) else {
            let why =
                format!("source {name} is not polled here: it is a webhook, switched off, or no bridge is running");
            return Err(OperatorError::Refused(why));
        };
        wake.notify_one();
        Ok(self.did(format!("source {name} is polled now")))
    }

    /// Lets a source delete what it stopped at, once, and polls it now.
    ///
    /// # Errors
    /// No such source, or it asks nothing; the store.
    pub async fn confirm(&self, name: &str) -> Result<Done> {
        self.check_name(Scope::Source, name)?;
        let Some(Asked { deleted, known }) = guard::confirm(&*self.store, name).await? else {
            return Err(OperatorError::Refused(format!("source {name} asks nothing")));
        };
        self.halts.resume(Scope::Source, name).await?;
        if let Some(wake) = self.pollers.get(name) {
            wake.notify_one();
        }
        Ok(self.did(format!("source {name} goes on: its next poll may delete {deleted} of {known}, or more, once")))
    }

    fn check_name(&self, scope: Scope, name: &str) -> Result<()> {
        let config = &self.config;
        let known: Vec<&str> = match scope {
            Scope::Account => self.all_accounts().into_iter().map(|(name, ..)| name).collect(),
            Scope::Sink => config.sinks.iter().map(|s| s.name.as_str()).collect(),
            Scope::Route => config.routes.iter().map(|r| r.name.as_str()).collect(),
            Scope::Source => config.sources.iter().map(|s| s.name.as_str()).collect(),
        };
        if known.contains(&name) {
            return Ok(());
        }
        Err(OperatorError::unknown(scope.name(), name, known.into_iter()))
    }

    // === Dead letters ===

    /// Lists dead letters; what is to be masked is masked.
    ///
    /// # Errors
    /// The store.
    pub async fn dead(&self, filter: DeadFilter) -> Result<Vec<StoredDead>> {
        let letters = self.store.dead(filter).await?;
        Ok(letters.into_iter().map(|dead| self.masked_letter(dead)).collect())
    }

    /// One dead letter.
    ///
    /// # Errors
    /// There is none with this number; the store.
    pub async fn dead_letter(&self, id: i64) -> Result<StoredDead> {
        let dead = self.store.dead_letter(id).await?.ok_or_else(|| no_letter(id))?;
        Ok(self.masked_letter(dead))
    }

    /// Drops a dead letter for good.
    ///
    /// # Errors
    /// There is none with this number; the store.
    pub async fn drop_dead(&self, id: i64) -> Result<Done> {
        let dead = self.store.dead_letter(id).await?.ok_or_else(|| no_letter(id))?;
        self.store.drop_dead(id).await?;
        self.tell_of(&dead, &format!("dropped dead letter {id}"));
        Ok(Done { done: format!("dead letter {id} is dropped") })
    }

    /// Marks a held delivery as delivered.
    ///
    /// # Errors
    /// There is none with this number, or it is not held; the store.
    pub async fn mark_delivered(&self, id: i64, remote_id: Option<String>) -> Result<Done> {
        let dead = self.held(id).await?;
        if !self.store.mark_delivered(id, remote_id, self.clock.now()).await? {
            return Err(OperatorError::Refused(format!(
                "delivery {id} is being tried again, or has ended: see its trace"
            )));
        }
        self.tell_of(&dead, &format!("marked held delivery {id} as delivered"));
        Ok(Done { done: format!("delivery {id} counts as delivered") })
    }

    /// Tries a held delivery again.
    ///
    /// # Errors
    /// There is none with this number, or it is not held; the store or the broker.
    pub async fn mark_again(&self, id: i64) -> Result<Done> {
        let dead = self.held(id).await?;
        if !self.store.retry_held(id, self.clock.now()).await? {
            return Err(OperatorError::Refused(format!("delivery {id} was tried again already: see its trace")));
        }
        self.broker.publish_to(&dead.letter.delivery.route, dead.letter.event.clone()).await?;
        self.store.forget_dead(id, dead.letter.at).await?;
        self.tell_of(&dead, &format!("sent held delivery {id} again"));
        Ok(Done { done: format!("delivery {id} is tried again") })
    }

    async fn held(&self, id: i64) -> Result<StoredDead> {
        let dead = self.store.dead_letter(id).await?.ok_or_else(|| no_letter(id))?;
        if dead.letter.class == DeadClass::Held {
            return Ok(dead);
        }
        Err(OperatorError::Refused(format!("dead letter {id} is not held: use `dari replay --dead {id}` or drop it")))
    }

    /// In the journey of the event and among what people did.
    fn tell_of(&self, dead: &StoredDead, what: &str) {
        self.note(dead, what);
        self.write_down(what);
    }

    pub(super) fn note(&self, dead: &StoredDead, what: &str) {
        let what = signed(what);
        tracing::info!(route = %dead.letter.delivery.route, event = %dead.letter.delivery.event, "{what}");
        self.journal.record(Record::Entry(Entry {
            at: self.clock.now(),
            event: dead.letter.delivery.event.clone(),
            route: Some(dead.letter.delivery.route.clone()),
            step: Step::Operator { what },
        }));
    }

    fn masked_letter(&self, mut dead: StoredDead) -> StoredDead {
        let masked = self.redactor.values(&dead.letter.event.data.value());
        if let Some(call) = &mut dead.letter.call {
            masked.value(call);
        }
        dead.letter.reason = masked.text(&dead.letter.reason);
        dead.letter.event = std::sync::Arc::new(self.masked_event(&dead.letter.event));
        dead
    }

    /// Whether the bridge can do its work, and what is suspended: that is no reason to be taken out of service.
    pub async fn readiness(&self) -> Readiness {
        let mut readiness = self.judged(true).await;
        let halts = self.halts.all();
        readiness.notes.extend(halts.iter().map(|s| format!("{} {} is suspended: {}", s.scope.name(), s.name, s.why)));
        readiness
    }

    /// Whether the bridge can do its work, in words for anybody.
    pub async fn ability(&self) -> Readiness {
        self.judged(false).await
    }

    /// Whether the bridge can do its work, in words for operators.
    pub(super) async fn ability_in_detail(&self) -> Readiness {
        self.judged(true).await
    }

    /// A broker that is away is no reason to be taken out of service while events can be spooled: out of service the
    /// bridge would not get them.
    async fn judged(&self, details: bool) -> Readiness {
        let (mut ready, mut notes) = (true, Vec::new());
        if let Err(error) = self.store.suspensions().await {
            ready = false;
            notes.push(format!("store: {error}"));
        } else if let Err(why) = self.pulse.take(&*self.store, self.clock.now()).await {
            ready = false;
            notes.push(format!("store: {why}"));
        }
        let spool = self.broker.spooled();
        if let Some(why) = self.settling.trouble() {
            // Not a matter of waiting. What comes is spooled all the same.
            ready = false;
            notes.push(if details { why } else { REFUSED.to_owned() });
        } else if let Err(error) = self.broker.check().await {
            let refused = matches!(error, BrokerError::Refused(_));
            ready &= !refused && spool.is_some_and(|waiting| !waiting.refusing);
            notes.push(match (details || spool.is_none(), refused) {
                (true, _) => format!("broker: {error}"),
                (false, true) => REFUSED.to_owned(),
                (false, false) => "broker: it does not answer".to_owned(),
            });
        }
        if let Some(Waiting { events, refusing }) = spool {
            if events > 0 {
                notes.push(format!("spool: {events} events wait until the broker takes them"));
            }
            if refusing {
                ready = false;
                notes.push("spool: it takes no more".to_owned());
            }
        }
        if details {
            notes.extend(self.broker.notes());
            let refused = self.reloads.loaded().refused;
            notes.extend(refused.map(|(at, why)| format!("config: it was not loaded anew at {at}: {why}")));
        }
        Readiness { ready, notes }
    }
}

fn no_letter(id: i64) -> OperatorError {
    OperatorError::NotFound { what: "dead letter", name: id.to_string(), hint: String::new() }
}

fn depth<'a>(depths: &'a [Depth], queue: &str) -> Option<&'a Depth> {
    depths.iter().find(|d| d.queue == queue)
}

fn orphan(depth: &Depth, count: &impl Fn(&str, bool) -> u64) -> RouteView {
    RouteView {
        name: depth.queue.clone(),
        from: Vec::new(),
        to: None,
        does: Vec::new(),
        enabled: false,
        queued: depth.messages,
        waiting: depth.waiting,
        oldest: depth.oldest,
        dead: count(&depth.queue, false),
        held: count(&depth.queue, true),
        suspension: None,
    }
}

fn permits(gate: &Gate) -> PermitsView {
    let Usage { in_use, waiting, share } = gate.usage();
    // A process that makes no calls has asked for none.
    let limit = if share == 0 { u32::try_from(gate.concurrency()).unwrap_or(u32::MAX) } else { share };
    PermitsView { in_use, waiting, limit }
}

fn breaker(breaker: &Breaker, now: Timestamp) -> Option<BreakerView> {
    let since = breaker.open_since()?;
    Some(BreakerView { since, next: breaker.closed_until(now).unwrap_or(now) })
}
