//! `/metrics`: what was counted, and how everything stands at this moment.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Operator, Result};
use crate::metrics::{Labels, of, two};
use crate::outcome::Scope;

/// What `/metrics` is served as.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// Gauges that are filled and read once.
struct Sheet(Registry);

impl Sheet {
    fn new() -> Self {
        Self(Registry::with_prefix("dari"))
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }

    fn gauges(&mut self, name: &str, help: &str, unit: Option<Unit>) -> Gauges {
        let gauges = Gauges::default();
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, gauges.clone()),
            None => self.0.register(name, help, gauges.clone()),
        }
        gauges
    }
}

impl Operator {
    /// Everything there is to measure, in the text format of `OpenMetrics`.
    ///
    /// # Errors
    /// The store. A broker that cannot be asked is `dari_broker_up 0`, and nothing is said of its queues.
    pub async fn scrape(&self) -> Result<String> {
        let mut sheet = Sheet::new();
        self.ask_store(&mut sheet).await;
        self.ask_broker(&mut sheet).await?;
        self.ask_accounts(&mut sheet).await?;
        self.ask_sources(&mut sheet).await?;
        let help = "When the config that runs was loaded, in Unix time";
        let loaded = sheet.gauges("config_loaded_timestamp", help, Some(Unit::Seconds));
        loaded.get_or_create(&Labels::new()).set(self.reloads.loaded().at.as_duration().as_secs_f64());
        let mut text = String::new();
        // Writing into text does not fail.
        let _ = self.metrics.encode(&mut text);
        let _ = encode_registry(&mut text, &sheet.0);
        let _ = encode_eof(&mut text);
        Ok(text)
    }

    async fn ask_store(&self, sheet: &mut Sheet) {
        let took = self.pulse.beat(&*self.store, self.clock.now()).await;
        sheet.gauge("store_up", "1 if the store takes writes", flag(took.is_ok()));
        if let Ok(took) = took {
            sheet.gauge("store_write_seconds", "How long the last small write took", took.as_secs_f64());
        }
    }

    async fn ask_broker(&self, sheet: &mut Sheet) -> Result<()> {
        let depths = self.broker.depths().await;
        sheet.gauge("broker_up", "1 if the broker answers", flag(depths.is_ok()));
        if let Some(spool) = self.broker.spooled() {
            sheet.gauge("spool_events", "Events that wait on this machine for the broker", count(spool.events));
            sheet.gauge("spool_refusing", "1 if the spool takes no more", flag(spool.refusing));
        }
        let messages = sheet.gauges("queue_messages", "Messages in a route's queue, those that wait included", None);
        let waiting = sheet.gauges("queue_waiting", "How many of them wait for their time", None);
        let help = "How long ago the oldest of them was received";
        let oldest = sheet.gauges("queue_oldest", help, Some(Unit::Seconds));
        let now = self.clock.now();
        for depth in depths.iter().flatten() {
            let labels = of("queue", &depth.queue);
            messages.get_or_create(&labels).set(count(depth.messages));
            waiting.get_or_create(&labels).set(count(depth.waiting));
            if let Some(at) = depth.oldest {
                oldest.get_or_create(&labels).set(now.duration_since(at).as_secs_f64().max(0.0));
            }
        }
        let dead = sheet.gauges("dead_letters", "Deliveries that were given up or are held, by route and class", None);
        for (route, class, letters) in self.store.dead_counts().await? {
            let class = format!("{class:?}").to_lowercase();
            dead.get_or_create(&two(("route", &route), ("class", &class))).set(count(letters));
        }
        Ok(())
    }

    async fn ask_accounts(&self, sheet: &mut Sheet) -> Result<()> {
        let used = sheet.gauges("quota_used", "Calls made this month, by account", None);
        let left = sheet.gauges("quota_remaining", "Calls left this month, by account with a monthly limit", None);
        let suspended = sheet.gauges("suspended", "1 if it is stopped, by scope and name", None);
        for account in self.accounts().await? {
            let labels = of("account", &account.name);
            used.get_or_create(&labels).set(count(account.used));
            if let Some(monthly) = account.monthly {
                left.get_or_create(&labels).set(count(monthly.saturating_sub(account.used)));
            }
            self.tell_stopped(&suspended, Scope::Account, &account.name);
        }
        let config = &self.config;
        config.sinks.iter().for_each(|sink| self.tell_stopped(&suspended, Scope::Sink, &sink.name));
        config.routes.iter().for_each(|route| self.tell_stopped(&suspended, Scope::Route, &route.name));
        config.sources.iter().for_each(|source| self.tell_stopped(&suspended, Scope::Source, &source.name));
        Ok(())
    }

    fn tell_stopped(&self, gauges: &Gauges, scope: Scope, name: &str) {
        let stopped = self.halts.any(&[(scope, name)]).is_some();
        gauges.get_or_create(&two(("scope", scope.name()), ("name", name))).set(flag(stopped));
    }

    async fn ask_sources(&self, sheet: &mut Sheet) -> Result<()> {
        let help = "How long ago a source was polled, well or not";
        let lag = sheet.gauges("poll_age", help, Some(Unit::Seconds));
        let now = self.clock.now();
        for source in self.config.sources.iter().filter(|source| source.enabled && source.polls()) {
            let last = self.journal.polled(&source.name, 1).await?;
            if let Some(poll) = last.first() {
                lag.get_or_create(&of("source", &source.name)).set(now.duration_since(poll.at).as_secs_f64().max(0.0));
            }
        }
        Ok(())
    }
}

fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
fn count(number: u64) -> f64 {
    number as f64
}
