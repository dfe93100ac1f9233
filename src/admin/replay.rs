//! Again: dead letters and the journal's past, with the config of now.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::views::Replayed;
use super::{Operator, OperatorError, Result};
use crate::config::RouteConfig;
use crate::event::Event;
use crate::outcome::Scope;
use crate::store::journal::EventFilter;
use crate::store::{DeadClass, DeadFilter, StoredDead};

/// How many events are read from the journal at once.
const PAGE: usize = 200;

/// What to replay.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReplayRequest {
    /// The events with this id.
    #[serde(default)]
    pub event: Option<String>,
    /// The events of this source.
    #[serde(default)]
    pub source: Option<String>,
    /// The dead letter with this number.
    #[serde(default)]
    pub dead: Option<i64>,
    /// All dead letters that are not held.
    #[serde(default)]
    pub all_dead: bool,
    /// On this route only.
    #[serde(default)]
    pub route: Option<String>,
    /// Dead letters: onto this route instead of their own.
    #[serde(default)]
    pub to: Option<String>,
    /// Received at or after.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// A replay's count as it goes.
#[derive(Default)]
struct Tally {
    events: u64,
    without_body: u64,
    routes: BTreeMap<String, u64>,
}

impl Operator {
    /// Sends events again through the routes of now. A replay is a new generation: the ledger does not take it for a
    /// repetition, but a state event that is older than what was applied stays `stale`.
    ///
    /// # Errors
    /// The request makes no sense; there is nothing like that; store, journal or broker.
    pub async fn replay(&self, request: ReplayRequest) -> Result<Replayed> {
        // A letter's own route may be gone by now: it only chooses which letters.
        let of_letters = request.to.is_some();
        for name in request.route.iter().filter(|_| !of_letters).chain(&request.to) {
            self.check_target(name)?;
        }
        let mut tally = Tally::default();
        match (&request.event, &request.source, request.dead, request.all_dead) {
            (None, None, Some(id), false) => {
                let letter = self.store.dead_letter(id).await?;
                let letter = letter.ok_or_else(|| OperatorError::NotFound {
                    what: "dead letter",
                    name: id.to_string(),
                    hint: String::new(),
                })?;
                if letter.letter.class == DeadClass::Held {
                    let why = format!("delivery {id} is held: use `dari dead mark {id} --delivered` or `--again`");
                    return Err(OperatorError::Refused(why));
                }
                self.replay_letter(&letter, &request, &mut tally).await?;
            }
            (None, None, None, true) => self.replay_dead(&request, &mut tally).await?,
            (Some(_), None, None, false) | (None, Some(_), None, false) if !of_letters => {
                self.replay_past(&request, &mut tally).await?;
            }
            _ => {
                let why = "say one of: an event, a source, a dead letter, or all dead letters";
                return Err(OperatorError::Refused(why.to_owned()));
            }
        }
        self.report(tally, request.dry_run).await
    }

    /// Refuses a route that cannot be sent to.
    pub(super) fn check_target(&self, name: &str) -> Result<()> {
        match self.config.routes.iter().find(|r| r.name == name) {
            Some(route) if route.enabled => Ok(()),
            Some(_) => Err(OperatorError::Refused(format!("route {name} is switched off"))),
            None => {
                let known = self.config.routes.iter().map(|r| r.name.as_str());
                Err(OperatorError::unknown(Scope::Route.name(), name, known))
            }
        }
    }

    async fn replay_dead(&self, request: &ReplayRequest, tally: &mut Tally) -> Result<()> {
        let mut filter = DeadFilter { route: request.route.clone(), limit: PAGE, ..DeadFilter::default() };
        // What dies again meanwhile is a letter of its own, for the next replay.
        let began = self.clock.now();
        loop {
            let page = self.store.dead(filter.clone()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            filter.after = Some(last.id);
            if page.iter().all(|l| l.letter.at > began) {
                return Ok(());
            }
            let before = |l: &&StoredDead| l.letter.class != DeadClass::Held && l.letter.at <= began;
            for letter in page.iter().filter(before) {
                self.replay_letter(letter, request, tally).await?;
            }
        }
    }

    async fn replay_letter(&self, dead: &StoredDead, request: &ReplayRequest, tally: &mut Tally) -> Result<()> {
        let route = request.to.as_ref().unwrap_or(&dead.letter.delivery.route);
        if !self.config.routes.iter().any(|r| &r.name == route) {
            let why = format!(
                "dead letter {}: the config has no route {route} any more; say which one is to take it with --to, or drop it",
                dead.id
            );
            return Err(OperatorError::Refused(why));
        }
        tally.events += 1;
        *tally.routes.entry(route.clone()).or_default() += 1;
        if request.dry_run {
            return Ok(());
        }
        self.publish_again(route, &dead.letter.event).await?;
        // After the publish: between the two a crash leaves a letter too many, never one too few.
        self.store.forget_dead(dead.id, dead.letter.at).await?;
        self.note(dead, format!("replayed dead letter {}", dead.id));
        Ok(())
    }

    async fn replay_past(&self, request: &ReplayRequest, tally: &mut Tally) -> Result<()> {
        let mut filter = EventFilter {
            id: request.event.clone(),
            source: request.source.clone(),
            from: request.from,
            oldest_first: true,
            limit: PAGE,
            ..EventFilter::default()
        };
        // What is received meanwhile is delivered as it comes, and is not to be sent again.
        let newest = EventFilter { oldest_first: false, limit: 1, ..filter.clone() };
        filter.before = self.journal.events(newest).await?.first().map(|listed| listed.seq.saturating_add(1));
        loop {
            let page = self.journal.events(filter.clone()).await?;
            let Some(last) = page.last() else { break };
            filter.after = Some(last.seq);
            for listed in &page {
                if !listed.body {
                    tally.without_body += 1;
                    continue;
                }
                tally.events += 1;
                for route in self.routes_of(&listed.event, request.route.as_deref()) {
                    *tally.routes.entry(route.name.clone()).or_default() += 1;
                    if !request.dry_run {
                        self.publish_again(&route.name, &listed.event).await?;
                    }
                }
            }
        }
        if tally.events == 0 && tally.without_body == 0 {
            let name = request.event.clone().or_else(|| request.source.clone()).unwrap_or_default();
            let hint = "; the journal lists what there is: `dari events`".to_owned();
            return Err(OperatorError::NotFound { what: "event in the journal for", name, hint });
        }
        Ok(())
    }

    fn routes_of<'a>(&'a self, event: &'a Event, only: Option<&'a str>) -> impl Iterator<Item = &'a RouteConfig> {
        // A route that is switched off receives nothing: it need not even have a queue.
        let routes = self.config.routes.iter().filter(move |r| r.enabled && only.is_none_or(|name| r.name == name));
        routes.filter(|route| route.binding().takes(route.source_now(&event.source), &event.kind))
    }

    async fn publish_again(&self, route: &str, event: &Arc<Event>) -> Result<()> {
        let generation = self.store.next_generation().await?;
        let again = Event { generation, ..Event::clone(event) };
        self.broker.publish_to(route, Arc::new(again)).await?;
        Ok(())
    }

    async fn report(&self, tally: Tally, dry_run: bool) -> Result<Replayed> {
        let accounts = self.accounts().await?;
        let concerned = |account: &str| {
            let sinks = self.config.sinks.iter().filter(|sink| sink.account == account);
            let mut routes = sinks.flat_map(|s| self.config.routes.iter().filter(move |r| r.to == s.name));
            routes.any(|route| tally.routes.contains_key(&route.name))
        };
        let limited = accounts.iter().filter(|a| concerned(&a.name));
        let calls_left = limited.filter_map(|a| Some((a.name.clone(), a.monthly?.saturating_sub(a.used)))).collect();
        Ok(Replayed {
            events: tally.events,
            deliveries: tally.routes.values().sum(),
            routes: tally.routes.into_iter().collect(),
            calls_left,
            without_body: tally.without_body,
            dry_run,
        })
    }
}
