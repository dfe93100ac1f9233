//! What a config's names meant at the last start: a route that vanished or leads elsewhere stops the start until the
//! user says what is meant (design: links).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::AppError;
use crate::broker::{Broker, Depth, JOURNAL, inbox};
use crate::config::compare::Comparison;
use crate::config::{Config, RouteConfig};
use crate::store::Store;

const FACT: &str = "names";
/// How long ago the oldest of the messages that a route is just delivering was received.
const PASSING: SignedDuration = SignedDuration::from_secs(10);

/// How a route goes that the store knows much of.
const GOING: &str = "While the bridge runs, a route can go in two steps: loaded with `enabled: false` it stops, and `dari routes \
                     retire` forgets it; then it can be taken out";

/// The names of the last start.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Names {
    /// Routes and where they led.
    routes: BTreeMap<String, String>,
    /// Sources.
    sources: Vec<String>,
    /// The names of links, those of routes that share none among them.
    #[serde(default)]
    links: BTreeSet<String>,
}

impl Names {
    fn of(config: &Config) -> Self {
        Self {
            routes: config.routes.iter().map(|route| (route.name.clone(), route.to.clone())).collect(),
            sources: config.sources.iter().map(|source| source.name.clone()).collect(),
            links: config.routes.iter().map(|route| route.link.clone()).collect(),
        }
    }
}

/// Compares the config's names with those of the last start, moves what has a new name, and remembers them.
///
/// # Errors
/// [`AppError::Names`] with every route whose links or messages would be orphaned; then nothing was changed.
pub async fn settle(config: &Config, store: &dyn Store, broker: &dyn Broker) -> Result<(), AppError> {
    let known = known(store).await?;
    let faults = orphaned(config, store, broker, &known, |depth| depth.messages).await?;
    if !faults.is_empty() {
        return Err(AppError::Names(faults));
    }
    rename(config, store, broker).await?;
    remember(config, store).await
}

/// Compares the config's names with those of a bridge at work. What a removed route is just delivering it may deliver
/// to the end.
///
/// # Errors
/// [`AppError::Names`] as [`settle`], and with every new name for what runs under another: nothing is renamed under way.
pub async fn check(
    both: Comparison<'_>,
    store: &dyn Store,
    broker: &dyn Broker,
    now: Timestamp,
) -> Result<(), AppError> {
    let known = known(store).await?;
    let left = |depth: &Depth| {
        let passing = depth.oldest.is_some_and(|oldest| now.duration_since(oldest) < PASSING);
        if passing && depth.waiting == 0 { 0 } else { depth.messages }
    };
    let mut faults = orphaned(both.new, store, broker, &known, left).await?;
    if !faults.is_empty() {
        faults.push(GOING.to_owned());
    }
    faults.extend(renamings(both, &known));
    if faults.is_empty() { Ok(()) } else { Err(AppError::Names(faults)) }
}

/// What gets another name.
fn renamings(both: Comparison<'_>, known: &Names) -> Vec<String> {
    let new = both.new;
    let sources = new.sources.iter().filter_map(|s| Some(("source", s.was.as_deref()?, s.name.as_str())));
    let sources = sources.filter(|(_, was, _)| known.sources.iter().any(|source| source == was));
    let sinks = new.sinks.iter().filter_map(|s| Some(("sink", s.was.as_deref()?, s.name.as_str())));
    let sinks = sinks.filter(|(_, was, _)| both.old.sinks.iter().any(|sink| sink.name == *was));
    let routes = renamed(new, known).map(|(was, name)| ("route", was, name));
    let say =
        |(what, was, name)| format!("{what} {was} cannot become {name} while the bridge runs: restart it for that");
    sources.chain(sinks).chain(routes).map(say).collect()
}

/// Remembers the config's names for the next start.
///
/// # Errors
/// The store.
pub async fn remember(config: &Config, store: &dyn Store) -> Result<(), AppError> {
    Ok(store.set_fact(FACT, serde_json::to_value(Names::of(config)).unwrap_or_default()).await?)
}

/// What to say of routes whose links or messages nobody would have any more; `left` are the messages that count.
async fn orphaned(
    config: &Config,
    store: &dyn Store,
    broker: &dyn Broker,
    known: &Names,
    left: impl Fn(&Depth) -> u64,
) -> Result<Vec<String>, AppError> {
    let mut faults = led_elsewhere(config, store, known).await?;
    let depths = if vanished(config, known).next().is_some() { broker.depths().await? } else { Vec::new() };
    for name in vanished(config, known) {
        // Links that others share are theirs.
        let links = if goes_on(config, name) { 0 } else { store.link_count(name).await? };
        let queued = depths.iter().find(|d| &d.queue == name).map_or(0, &left);
        if links > 0 || queued > 0 {
            faults.push(format!(
                "route {name} is no longer in the config, but {queued} messages wait for it and {links} links belong \
                 to it. Say `was: {name}` at the route that takes its place, put it back with `enabled: false`, or \
                 forget it with `dari routes retire {name}` (with `--drain` its messages are kept)"
            ));
        }
    }
    Ok(faults)
}

/// The part of [`settle`] that needs no broker: sources and sinks are to be known by their names from the start on.
///
/// # Errors
/// [`AppError::Names`] with every route whose links would lead elsewhere; then nothing was changed.
pub async fn settle_store(config: &Config, store: &dyn Store) -> Result<(), AppError> {
    let known = known(store).await?;
    let faults = led_elsewhere(config, store, &known).await?;
    if !faults.is_empty() {
        return Err(AppError::Names(faults));
    }
    rename_in_store(config, store, &known).await
}

fn successor<'a>(config: &'a Config, name: &str) -> Option<&'a RouteConfig> {
    config.routes.iter().find(|route| route.name == name || route.was.as_deref() == Some(name))
}

/// Routes of the last start that have no successor.
fn vanished<'a>(config: &Config, known: &'a Names) -> impl Iterator<Item = &'a String> {
    known.routes.keys().filter(move |name| successor(config, name).is_none())
}

/// What to say of routes that go on, to another sink or by other links than before, and of shared links that nobody
/// goes by.
async fn led_elsewhere(config: &Config, store: &dyn Store, known: &Names) -> Result<Vec<String>, AppError> {
    let mut faults = Vec::new();
    for (name, to) in &known.routes {
        let Some(route) = successor(config, name) else { continue };
        let own = store.link_count(name).await?;
        // Of the links it goes by now, and of those that were its own.
        let links = own.max(store.link_count(&route.link).await?);
        if links > 0 && leads_elsewhere(config, to, &route.to) {
            faults.push(format!(
                "route {name} led to {to} and has {links} links to records there; now it leads to {}. Give the \
                 new route another name; or take it out of the config, forget the links with \
                 `dari routes retire {name}`, and put it back",
                route.to
            ));
        } else if own > 0 && !goes_on(config, name) {
            faults.push(format!(
                "route {name} has {own} links of its own, and now goes by the link {}. Say `link: {name}` at the routes \
                 that are to share them; or take it out of the config, forget the links with \
                 `dari routes retire {name}`, and put it back",
                route.link
            ));
        }
    }
    for name in known.links.iter().filter(|name| !known.routes.contains_key(*name) && !goes_on(config, name)) {
        let links = store.link_count(name).await?;
        if links > 0 {
            faults.push(format!(
                "no route goes by the link {name} any more, and {links} links belong to it. Say `link: {name}` at the \
                 routes that go by it, `was: {name}` at the one whose own links they become, or forget them with \
                 `dari routes retire {name}`"
            ));
        }
    }
    Ok(faults)
}

/// True if some route goes by these links, under this name or as those that were another's.
fn goes_on(config: &Config, links: &str) -> bool {
    let moves = |route: &RouteConfig| route.was.as_deref() == Some(links) && route.link == route.name;
    config.routes.iter().any(|route| route.link == links || moves(route))
}

fn leads_elsewhere(config: &Config, before: &str, now: &str) -> bool {
    let renamed = config.sinks.iter().any(|sink| sink.name == now && sink.was.as_deref() == Some(before));
    before != now && !renamed
}

async fn known(store: &dyn Store) -> Result<Names, AppError> {
    let fact = store.fact(FACT).await?;
    Ok(fact.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default())
}

/// Moves what has a new name. Doing it again does nothing.
///
/// # Errors
/// The store or the broker.
pub async fn rename(config: &Config, store: &dyn Store, broker: &dyn Broker) -> Result<(), AppError> {
    let known = known(store).await?;
    for (was, route) in renamed(config, &known) {
        broker.rename(was, route).await?;
    }
    for source in &config.sources {
        if let Some(was) = source.was.as_ref().filter(|was| known.sources.contains(was)) {
            broker.rename(&inbox(was), &inbox(&source.name)).await?;
        }
    }
    rename_in_store(config, store, &known).await
}

/// Former and present names of routes.
fn renamed<'a>(config: &'a Config, known: &'a Names) -> impl Iterator<Item = (&'a str, &'a str)> {
    let pairs = config.routes.iter().filter_map(|route| Some((route.was.as_deref()?, route.name.as_str())));
    let was_known = |was: &str| known.routes.contains_key(was) || known.links.contains(was);
    pairs.filter(move |(was, _)| was_known(was) && *was != JOURNAL)
}

async fn rename_in_store(config: &Config, store: &dyn Store, known: &Names) -> Result<(), AppError> {
    for (was, route) in renamed(config, known) {
        store.rename_route(was, route).await?;
        tracing::info!(from = %was, to = %route, "the route's links and messages go by its new name");
    }
    for source in &config.sources {
        if let Some(was) = source.was.as_ref().filter(|was| known.sources.contains(was)) {
            let by_subject = config.routes.iter().filter(|route| route.key.is_none());
            let owners: BTreeSet<String> = by_subject.map(|route| route.link.clone()).collect();
            store.rename_source(was, &source.name, &owners.into_iter().collect::<Vec<_>>()).await?;
            tracing::info!(from = %was, to = %source.name, "the source's cursor and links go by its new name");
        }
    }
    for sink in &config.sinks {
        if let Some(was) = &sink.was {
            store.rename_sink(was, &sink.name, sink.account == sink.name).await?;
        }
    }
    Ok(())
}
