//! The spool before a broker on another machine, and what becomes of one that was left.

use std::path::Path;
use std::sync::Arc;

use super::{AppError, For, open};
use crate::broker::Broker;
use crate::broker::spool::{self, Spool};
use crate::clock::Clock;
use crate::config::Config;

/// The broker that events are published through: with a spool before it, if the config has one.
///
/// # Errors
/// The spool's file, or [`AppError::Spooled`]: what was spooled for a broker that is no longer named is not forgotten.
pub fn before(broker: Arc<dyn Broker>, config: &Config, clock: &Clock) -> Result<Arc<dyn Broker>, AppError> {
    if let Some(own) = &config.spool {
        return Ok(Spool::open(&own.path, own.max, broker, clock)?);
    }
    let folder = spool::beside(&config.store);
    match Spool::left(&folder)? {
        0 => Ok(broker),
        left => Err(AppError::Spooled { left, folder: folder.display().to_string() }),
    }
}

/// Publishes what is in a spool that no bridge uses any more, the one in `dir` or the config's own, to the config's
/// broker, which has to be there; how many events there were. The bridge of the config is to be stopped.
///
/// # Errors
/// The files, a config without a broker, or a folder without a spool.
pub async fn forward(config: &Config, clock: &Clock, dir: Option<&Path>) -> Result<u64, AppError> {
    let Some(own) = &config.spool else { return Err(AppError::NoSpool("the config has no `broker`".to_owned())) };
    let dir = dir.unwrap_or(&own.path);
    let file = dir.join(spool::FILE);
    if !file.exists() {
        return Err(AppError::NoSpool(format!("there is no {}", file.display())));
    }
    let parts = open(config, clock, For::Operator).await?;
    let spool = Spool::open(dir, own.max, Arc::clone(&parts.broker), clock)?;
    let events = spool.events();
    spool.emptied().await;
    spool.finish().await;
    parts.embedded.close().await;
    Ok(events)
}
