//! What operators should know of, as it stands now.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::book::{Book, Condition};
use super::{Alerts, Watched};
use crate::deliver::gate::forecast;
use crate::outcome::Scope;
use crate::store::{DeadClass, StoreError, Suspension};

/// A pause that is shorter is nobody's business: a vendor asked to slow down.
const SHORT: SignedDuration = SignedDuration::from_mins(15);
/// How long a breaker must be open.
const LONG_OPEN: SignedDuration = SignedDuration::from_mins(5);
/// How long the broker must be away.
const LONG_AWAY: SignedDuration = SignedDuration::from_mins(1);
/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Alerts {
    /// Everything that operators should know of.
    ///
    /// # Errors
    /// The store.
    pub(super) async fn conditions(
        &self,
        book: &Book,
        watched: &mut Watched,
    ) -> Result<BTreeMap<String, Condition>, StoreError> {
        let now = self.services.clock.now();
        let mut all = BTreeMap::new();
        for halt in self.services.halts.all() {
            if halt.until.is_none_or(|until| until.duration_since(halt.since) >= SHORT) {
                all.insert(format!("{}/{}", halt.scope.name(), halt.name), self.suspended(&halt));
            }
        }
        self.breakers(book, now, &mut all);
        self.quotas(now, &mut all).await?;
        for (route, class, count) in self.services.store.dead_counts().await? {
            if class == DeadClass::Held && count > 0 {
                let about = format!("held/{route}");
                let since = book.known(&about).map_or(now, |known| known.since);
                all.insert(about, self.held(&route, count, since));
            }
        }
        self.broker(now, watched, &mut all).await;
        Ok(all)
    }

    fn suspended(&self, halt: &Suspension) -> Condition {
        let (scope, name) = (halt.scope.name(), &halt.name);
        let todo = match (halt.until, halt.probe) {
            (Some(until), _) => format!("It goes on by itself at {}.", self.time(until)),
            (None, Some(_)) => format!(
                "It is tried again now and then, and goes on when that succeeds; or put it right, then \
                 `dari {scope}s resume {name}`."
            ),
            (None, None) => format!("Put it right, then `dari {scope}s resume {name}`. What comes for it waits."),
        };
        let since = self.time(halt.since);
        Condition {
            since: halt.since,
            text: format!("{scope} {name} is suspended since {since}: {}. {todo}", halt.why.trim_end_matches('.')),
            over: Some(format!("{scope} {name} goes on. It was suspended since {since}.")),
            once_until: None,
            log_only: self.is_own(halt.scope, name),
        }
    }

    fn breakers(&self, book: &Book, now: Timestamp, all: &mut BTreeMap<String, Condition>) {
        for sink in &self.sinks {
            let (about, name) = (format!("breaker/{}", sink.name), &sink.name);
            if let Some(since) = sink.breaker.open_since()
                && now.duration_since(since) >= LONG_OPEN
            {
                let (log_only, at) = (self.is_own(Scope::Sink, name), self.time(since));
                let text = format!(
                    "sink {name} fails since {at}: it is tried again by itself, at the latest every minute. What comes \
                     for it waits; `dari dead` and `dari trace` show what it says."
                );
                let over = Some(format!("sink {name} works again. It had failed since {at}."));
                all.insert(about, Condition { since, text, over, once_until: None, log_only });
            } else if let Some(known) = book.known(&about).filter(|_| !sink.breaker.has_worked()) {
                // After a restart nobody knows yet.
                all.insert(about, known.clone());
            }
        }
    }

    async fn quotas(&self, now: Timestamp, all: &mut BTreeMap<String, Condition>) -> Result<(), StoreError> {
        for gate in &self.gates {
            let Some(monthly) = gate.limits.monthly else { continue };
            let month = gate.charge(now).month;
            let used = self.services.store.used(&gate.account, &month).await?;
            if used.saturating_mul(5) < monthly.saturating_mul(4) {
                continue;
            }
            let account = &gate.account;
            let pace = forecast::used_up(used, monthly, now, gate.zone());
            let pace = pace.map(|at| format!("; at this pace {}", forecast::in_words(at, now, gate.zone())));
            let text = format!(
                "account {account} has used {used} of the {monthly} calls of {month}{}. When none is left it waits for \
                 the next month. See `dari accounts`.",
                pace.unwrap_or_default()
            );
            let once_until = Some(gate.month_turns(now));
            let log_only = self.is_own(Scope::Account, account);
            all.insert(
                format!("quota/{account}/{month}"),
                Condition { since: now, text, over: None, once_until, log_only },
            );
        }
        Ok(())
    }

    fn held(&self, route: &str, count: u64, since: Timestamp) -> Condition {
        let (are, at) = (if count == 1 { "delivery is" } else { "deliveries are" }, self.time(since));
        let text = format!(
            "{count} {are} held on route {route} since {at}: nobody knows whether they took effect, and later events of \
             the same subjects wait. Look at the destination, then `dari dead list --held` and `dari dead mark`."
        );
        let over = Some(format!("nothing is held on route {route} any more."));
        Condition { since, text, over, once_until: None, log_only: false }
    }

    async fn broker(&self, now: Timestamp, watched: &mut Watched, all: &mut BTreeMap<String, Condition>) {
        let broker = &self.services.broker;
        let depths = tokio::time::timeout(PATIENCE, broker.depths()).await;
        let away = match depths {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it does not answer".to_owned()),
        };
        let since = away.as_ref().map(|_| watched.broker_away.unwrap_or(now));
        watched.broker_away = since;
        if let (Some(why), Some(since)) = (away, since)
            && now.duration_since(since) >= LONG_AWAY
        {
            let at = self.time(since);
            let text = format!("the broker is away since {at}: {why}. Nothing is delivered meanwhile.");
            let over = Some(format!("the broker is back. It was away since {at}."));
            all.insert("broker".to_owned(), Condition { since, text, over, once_until: None, log_only: false });
        }
        let refusing = broker.spooled().filter(|spool| spool.refusing);
        let since = refusing.map(|_| watched.spool_refusing.unwrap_or(now));
        watched.spool_refusing = since;
        if let (Some(spool), Some(since)) = (refusing, since) {
            let text = format!(
                "the spool takes no more since {}: {} events wait in it, and webhooks are answered 503. Bring the broker \
                 back, or give the spool room (spool.max).",
                self.time(since),
                spool.events
            );
            let over = Some("the spool takes events again.".to_owned());
            all.insert("spool".to_owned(), Condition { since, text, over, once_until: None, log_only: false });
        }
    }

    /// True if it is about the sink that operators are told through: telling of it would need that very sink.
    fn is_own(&self, scope: Scope, name: &str) -> bool {
        self.to.as_ref().is_some_and(|to| match scope {
            Scope::Account => to.gate.account == name,
            Scope::Sink => to.name == name,
            Scope::Route | Scope::Source => false,
        })
    }

    fn time(&self, at: Timestamp) -> String {
        at.to_zoned(self.services.config.zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
    }
}
