//! Another config in the place of the one that runs, while it runs.
//!
//! # Order
//! The new one is read and checked, compared with what the store remembers, and built, beside the old one; the queues that it
//! needs are made. Until then nothing has changed, and whatever is wrong ends it. Then webhooks wait for a moment, in which
//! the queues are bound anew and the hooks are swapped: each event goes where the old config says, or the new one. What is
//! the same in both runs on as it does. A part that is another stops taking anything up; its successor begins when what it
//! had under way has ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::scene::{Before, Fresh, Scene};
use super::tasks::{Name, Tasks, Work};
use super::{AppError, Load, Parts, bindings, names};
use crate::admin::reload::{Ask, Reloaded};
use crate::admin::{Desk, Reloads};
use crate::broker::Broker;
use crate::config::Config;
use crate::config::compare::Comparison;
use crate::connectors::Hook;
use crate::deliver::patience;
use crate::intake::Intake;

/// How long webhooks may be made to wait: their senders do not wait much longer.
const HOLD: Duration = Duration::from_secs(2);
/// How often is looked whether a former route has delivered what it had.
const LOOK: Duration = Duration::from_millis(300);
/// How often in a row it must have nothing: an event may be on its way into its queue.
const EMPTY: usize = 3;
/// Gives the queues back what the config that runs binds to them.
const RESTORE: Name = Name::Common("bindings");

/// A bridge at work.
pub struct Stage {
    pub parts: Parts,
    pub scene: Scene,
    pub tasks: Tasks,
    pub intake: Arc<Intake>,
    pub desk: Desk,
    pub reloads: Arc<Reloads>,
    pub load: Option<Load>,
}

impl Stage {
    /// Works until told to stop, or until a part ends that should not: its name.
    pub async fn work(&mut self, mut asks: mpsc::Receiver<Ask>, stop: &CancellationToken) -> Option<String> {
        loop {
            let ask = tokio::select! {
                () = stop.cancelled() => return None,
                name = self.tasks.broken() => return Some(name),
                Some(ask) = asks.recv() => ask,
            };
            let went = tokio::select! {
                () = stop.cancelled() => return None,
                went = self.reload() => went,
            };
            // Whoever asked may have gone.
            _ = ask.send(went);
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, String> {
        let went = self.try_reload().await;
        let now = self.parts.clock.now();
        self.parts.metrics.reloaded(went.is_ok());
        match &went {
            Ok(_) => self.reloads.done(now),
            Err(why) => self.reloads.refused(now, why.clone()),
        }
        went
    }

    async fn try_reload(&mut self) -> Result<Reloaded, String> {
        let config = Arc::new(self.read().await?);
        let comparison = Comparison { old: &self.scene.config, new: &config };
        let fixed = comparison.fixed();
        if !fixed.is_empty() {
            let line = |key: &&str| format!("`{key}` cannot be changed while the bridge runs: restart it for that");
            return Err(fixed.iter().map(line).collect::<Vec<_>>().join("\n"));
        }
        if !self.parts.settling.is_over() {
            return Err("the broker is away, and the start is not over before it is there".to_owned());
        }
        let (store, broker) = (&*self.parts.store, &*self.parts.broker);
        let words = |error: AppError| error.to_string();
        names::check(comparison, store, broker, self.parts.clock.now()).await.map_err(words)?;
        let reloaded = told(comparison);
        let before = Before::of(&self.scene, &config);
        let (scene, mut fresh) = Scene::build(Arc::clone(&config), &self.parts, false, &before).map_err(words)?;
        fresh.work.extend(scene.common(&self.intake));
        let hooks = std::mem::take(&mut fresh.hooks);
        self.tasks.end(&RESTORE).await;
        if let Err(error) = self.turn(&config, hooks).await {
            self.restore();
            return Err(error.to_string());
        }
        self.change(scene, fresh);
        Ok(reloaded)
    }

    async fn read(&self) -> Result<Config, String> {
        let Some(load) = self.load else {
            let why = "a dry run, and one with --sandbox, does not load its config anew: start it again";
            return Err(why.to_owned());
        };
        let file = self.scene.config.file.clone();
        tokio::task::spawn_blocking(move || load(&file)).await.map_err(|error| error.to_string())?
    }

    /// Binds the queues as another config says, remembers its names, and swaps the hooks, in one moment for webhooks.
    async fn turn(&self, config: &Config, hooks: Vec<(String, Box<dyn Hook>)>) -> Result<(), AppError> {
        let (broker, new) = (&self.parts.broker, bindings(config));
        broker.prepare(&new).await?;
        let slow = || AppError::Held("the broker takes too long: try it again when it answers quickly");
        let held = tokio::time::timeout(HOLD, self.intake.hold()).await.map_err(|_| slow())?;
        let turned = tokio::time::timeout(HOLD, async {
            broker.declare(new).await?;
            names::remember(config, &*self.parts.store).await
        });
        if let Err(error) = turned.await.unwrap_or_else(|_| Err(slow())) {
            // At once if that can be: what comes now would go to queues that nobody reads.
            let old = broker.declare(bindings(&self.scene.config));
            _ = tokio::time::timeout(HOLD, old).await;
            return Err(error);
        }
        let before = Before::of(&self.scene, config);
        held.replace(|name| before.source(name), hooks);
        Ok(())
    }

    /// Binds the queues as the config says that goes on, and remembers its names, however long that takes.
    fn restore(&mut self) {
        let (broker, store) = (Arc::clone(&self.parts.broker), Arc::clone(&self.parts.store));
        let config = Arc::clone(&self.scene.config);
        let work = Work::new(RESTORE, BTreeSet::new(), |until| async move {
            let mut pauses = patience();
            loop {
                let restored: Result<(), AppError> = async {
                    broker.declare(bindings(&config)).await?;
                    names::remember(&config, &*store).await
                }
                .await;
                let Err(error) = restored else { break };
                tracing::warn!(%error, "the queues are not yet bound again as the config says that goes on");
                let pause = tokio::time::sleep(pauses.next().unwrap_or(HOLD));
                if until.run_until_cancelled(pause).await.is_none() {
                    break;
                }
            }
            until.cancelled().await;
        });
        self.tasks.begin(work, &[], &BTreeSet::new());
    }

    /// Lets what is the same go on, and starts and stops the rest.
    fn change(&mut self, scene: Scene, fresh: Fresh) {
        let Fresh { work, limits, .. } = fresh;
        for name in self.tasks.names() {
            if let Name::Route(route) = &name
                && !scene.config.routes.iter().any(|known| known.name == *route)
            {
                let emptied = emptied(Arc::clone(&self.parts.broker), route.clone());
                self.tasks.dismiss(&name, emptied);
            }
        }
        let before = Before::of(&self.scene, &scene.config);
        let leaving = self.tasks.stop(&work, |name| before.keeps(name));
        for work in work {
            self.tasks.begin(work, &leaving, &limits);
        }
        self.parts.spans.know(&scene.config);
        self.parts.metrics.know(scene.config.sources.iter().map(|source| source.name.clone()).collect());
        self.desk.change(scene.operator(&self.parts, &self.reloads));
        self.scene = scene;
    }
}

/// Waits until a queue that nothing comes into any more has nothing.
async fn emptied(broker: Arc<dyn Broker>, queue: String) {
    let mut empty = 0;
    while empty < EMPTY {
        tokio::time::sleep(LOOK).await;
        let depths = broker.depths().await;
        let is_empty = depths.is_ok_and(|all| !all.iter().any(|depth| depth.queue == queue && depth.messages > 0));
        empty = if is_empty { empty + 1 } else { 0 };
    }
    tracing::info!(route = queue, "the route has delivered what it had, and is gone");
}

/// What there is new, other and no more.
fn told(both: Comparison<'_>) -> Reloaded {
    let mut told = Reloaded::default();
    let sources =
        |config: &Config| -> Vec<String> { config.sources.iter().map(|source| source.name.clone()).collect() };
    let sinks = |config: &Config| -> Vec<String> { config.sinks.iter().map(|sink| sink.name.clone()).collect() };
    let routes = |config: &Config| -> Vec<String> { config.routes.iter().map(|route| route.name.clone()).collect() };
    told.add("source", &sources(both.old), &sources(both.new), |name| both.source(name));
    told.add("sink", &sinks(both.old), &sinks(both.new), |name| both.sink(name));
    told.add("route", &routes(both.old), &routes(both.new), |name| both.route(name));
    let parts = [("new", &told.started), ("changed", &told.changed), ("gone", &told.stopped)];
    let some = parts.iter().filter(|(_, names)| !names.is_empty());
    let words: Vec<String> = some.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
    let words = if words.is_empty() { "no source, sink or route differs".to_owned() } else { words.join("; ") };
    told.done = format!("the config is loaded anew; {words}");
    told
}

impl Reloaded {
    fn add(&mut self, what: &str, old: &[String], new: &[String], same: impl Fn(&str) -> bool) {
        let title = |name: &String| format!("{what} {name}");
        self.stopped.extend(old.iter().filter(|name| !new.contains(name)).map(title));
        let (both, only): (Vec<_>, Vec<_>) = new.iter().partition(|name| old.contains(name));
        self.started.extend(only.into_iter().map(title));
        self.changed.extend(both.into_iter().filter(|name| !same(name)).map(title));
    }
}
