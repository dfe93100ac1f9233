//! What a config's names meant at the last start: a route that vanished or leads elsewhere stops the start until the
//! user says what is meant (design: links).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::AppError;
use crate::broker::{Broker, JOURNAL};
use crate::config::{Config, RouteConfig};
use crate::store::Store;

const FACT: &str = "names";

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
    let mut faults = Vec::new();
    for (name, to) in &known.routes {
        match config.routes.iter().find(|route| &route.name == name || route.was.as_ref() == Some(name)) {
            Some(route) => faults.extend(led_elsewhere(config, store, (name, to), route).await?),
            None => faults.extend(vanished(config, store, broker, name).await?),
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
    if !faults.is_empty() {
        return Err(AppError::Names(faults));
    }
    rename(config, store, broker).await?;
    store.set_fact(FACT, serde_json::to_value(Names::of(config)).unwrap_or_default()).await?;
    Ok(())
}

/// What to say of a route that goes on, to another sink or by other links than before.
async fn led_elsewhere(
    config: &Config,
    store: &dyn Store,
    (name, to): (&str, &str),
    route: &RouteConfig,
) -> Result<Option<String>, AppError> {
    if leads_elsewhere(config, to, &route.to) {
        // Of the links it goes by now, and of those that were its own.
        let links = store.link_count(&route.link).await?.max(store.link_count(name).await?);
        if links > 0 {
            return Ok(Some(format!(
                "route {name} led to {to} and has {links} links to records there; now it leads to {}. Give the \
                 new route another name; or take it out of the config, forget the links with \
                 `dari routes retire {name}`, and put it back",
                route.to
            )));
        }
    }
    if goes_on(config, name) {
        return Ok(None);
    }
    let links = store.link_count(name).await?;
    Ok((links > 0).then(|| {
        format!(
            "route {name} has {links} links of its own, and now goes by the link {}. Say `link: {name}` at the routes \
             that are to share them; or take it out of the config, forget the links with `dari routes retire {name}`, \
             and put it back",
            route.link
        )
    }))
}

/// What to say of a route that is gone with messages or links of its own.
async fn vanished(
    config: &Config,
    store: &dyn Store,
    broker: &dyn Broker,
    name: &str,
) -> Result<Option<String>, AppError> {
    // Links that others share are theirs.
    let links = if goes_on(config, name) { 0 } else { store.link_count(name).await? };
    let queued = broker.depths().await?.into_iter().find(|d| d.queue == name).map_or(0, |d| d.messages);
    Ok((links > 0 || queued > 0).then(|| {
        format!(
            "route {name} is no longer in the config, but {queued} messages wait for it and {links} links \
             belong to it. Say `was: {name}` at the route that takes its place, put it back with \
             `enabled: false`, or forget it with `dari routes retire {name}`"
        )
    }))
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
    for route in &config.routes {
        let was_known = |was: &&String| known.routes.contains_key(*was) || known.links.contains(*was);
        if let Some(was) = route.was.as_ref().filter(|was| was_known(was) && *was != JOURNAL) {
            store.rename_route(was, &route.name).await?;
            broker.rename(was, &route.name).await?;
            tracing::info!(from = %was, to = %route.name, "the route's links and messages go by its new name");
        }
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
