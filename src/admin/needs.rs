//! What needs a person, the most pressing first.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::views::{AccountView, RouteView, SinkView, SourceView};
use super::{Operator, Result};
use crate::outcome::Scope;
use crate::store::DeadClass;

/// How much it presses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Press {
    /// Events are not taken, or nothing is delivered.
    Now,
    /// Something stands still until a person acts.
    Soon,
    /// It goes on, but somebody should look.
    Look,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Store, broker or spool do not do their work.
    Trouble,
    /// Something is suspended until a person, or a probe, resumes it.
    Suspended,
    /// A poll would delete much, and asks.
    Asks,
    /// Deliveries are held: nobody knows whether they took effect.
    Held,
    /// A sink fails time and again.
    Breaker,
    /// A source cannot be polled.
    Poll,
    /// The month's calls are used up, or will be.
    Quota,
    /// Deliveries were given up.
    Dead,
    /// A replay was begun and not ended.
    Replay,
    /// Messages wait for a route that the config has no more.
    Leftover,
}

/// One thing that needs a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// How much it presses.
    pub press: Press,
    /// What it is.
    pub kind: Kind,
    /// What kind of thing it is about, as `sink`, where it is about one.
    pub scope: Option<Scope>,
    /// The name of what it is about; empty where it is about the bridge.
    pub name: String,
    /// How many, where they can be counted.
    pub count: u64,
    /// Why, or what, in words.
    pub why: String,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
}

/// How everything stands: what the needs follow from.
#[derive(Clone, Debug)]
pub struct Standings {
    /// The accounts.
    pub accounts: Vec<AccountView>,
    /// The sinks.
    pub sinks: Vec<SinkView>,
    /// The sources.
    pub sources: Vec<SourceView>,
    /// The routes.
    pub routes: Vec<RouteView>,
    /// Dead letters by route and class.
    pub dead: Vec<(String, DeadClass, u64)>,
}

impl Operator {
    /// What needs a person, the most pressing first.
    ///
    /// # Errors
    /// The store or the broker.
    pub async fn needs(&self) -> Result<Vec<Need>> {
        let standings = self.standings().await?;
        self.needs_of(&standings).await
    }

    /// How everything stands.
    ///
    /// # Errors
    /// The store or the broker.
    pub async fn standings(&self) -> Result<Standings> {
        Ok(Standings {
            accounts: self.accounts().await?,
            sinks: self.sinks().await?,
            sources: self.sources().await?,
            routes: self.routes().await?,
            dead: self.store.dead_counts().await?,
        })
    }

    /// What needs a person, by how everything stands.
    ///
    /// # Errors
    /// The store.
    pub async fn needs_of(&self, standings: &Standings) -> Result<Vec<Need>> {
        let mut needs = self.troubles().await;
        let stopped = self.halts.all().into_iter().filter(|halt| halt.until.is_none());
        // What asks is suspended as well, and is one thing.
        let asks = |name: &str| standings.sources.iter().any(|s| s.name == name && s.asks.is_some());
        needs.extend(stopped.filter(|halt| !(halt.scope == Scope::Source && asks(&halt.name))).map(|halt| Need {
            since: Some(halt.since),
            ..need(Press::Soon, Kind::Suspended, Some(halt.scope), &halt.name, halt.why)
        }));
        standings.sources.iter().for_each(|source| of_source(source, &mut needs));
        standings.sinks.iter().for_each(|sink| of_sink(sink, &mut needs));
        standings.accounts.iter().for_each(|account| of_account(account, &mut needs));
        needs.extend(standings.dead.iter().map(|(route, class, count)| {
            let held = *class == DeadClass::Held;
            let (press, kind) = if held { (Press::Soon, Kind::Held) } else { (Press::Look, Kind::Dead) };
            let class = format!("{class:?}").to_lowercase();
            Need { count: *count, ..need(press, kind, Some(Scope::Route), route, class) }
        }));
        if self.unfinished_replay().await?.is_some() {
            needs.push(need(Press::Look, Kind::Replay, None, "", String::new()));
        }
        let left = standings.routes.iter().filter(|route| route.to.is_none());
        needs.extend(left.map(|route| Need {
            count: route.queued,
            ..need(Press::Look, Kind::Leftover, Some(Scope::Route), &route.name, String::new())
        }));
        needs.sort_by(|a, b| (a.press, a.kind, &a.name, &a.why).cmp(&(b.press, b.kind, &b.name, &b.why)));
        Ok(needs)
    }

    async fn troubles(&self) -> Vec<Need> {
        let able = self.ability_in_detail().await;
        let press = if able.ready { Press::Look } else { Press::Now };
        able.notes.into_iter().map(|note| need(press, Kind::Trouble, None, "", note)).collect()
    }
}

fn need(press: Press, kind: Kind, scope: Option<Scope>, name: &str, why: String) -> Need {
    Need { press, kind, scope, name: name.to_owned(), count: 1, why, since: None }
}

fn of_source(source: &SourceView, needs: &mut Vec<Need>) {
    let scope = Some(Scope::Source);
    if let Some(asked) = &source.asks {
        let why = format!("{} of {}", asked.deleted, asked.known);
        let since = source.suspension.as_ref().map(|halt| halt.since);
        needs.push(Need { since, ..need(Press::Soon, Kind::Asks, scope, &source.name, why) });
    }
    if let Some(poll) = source.last_poll.as_ref().filter(|poll| poll.failed && source.suspension.is_none()) {
        let why = poll.note.clone().unwrap_or_default();
        needs.push(Need { since: Some(poll.at), ..need(Press::Look, Kind::Poll, scope, &source.name, why) });
    }
}

fn of_sink(sink: &SinkView, needs: &mut Vec<Need>) {
    if let Some(breaker) = &sink.breaker {
        let since = Some(breaker.since);
        needs.push(Need { since, ..need(Press::Look, Kind::Breaker, Some(Scope::Sink), &sink.name, String::new()) });
    }
}

fn of_account(account: &AccountView, needs: &mut Vec<Need>) {
    let Some(monthly) = account.monthly else { return };
    if account.used >= monthly || account.used_up.is_some() {
        let press = if account.used >= monthly { Press::Soon } else { Press::Look };
        let why = format!("{} of {monthly}", account.used);
        needs.push(Need {
            since: account.used_up,
            ..need(press, Kind::Quota, Some(Scope::Account), &account.name, why)
        });
    }
}
