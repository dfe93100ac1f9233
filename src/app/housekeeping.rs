//! What is done now and then: forgetting what has had its time, watching the disk.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::deliver::Services;
use crate::intake::Intake;

const EVERY: Duration = Duration::from_mins(1);
/// Rows forgotten in one transaction: others' commits are served in between.
const BATCH: usize = 500;
/// The part of `min_free` below which nothing more is received: what is left is for the acks.
const LAST_PART: u64 = 4;

/// Keeps house until told to stop.
pub async fn run(services: Arc<Services>, intake: Arc<Intake>, stop: CancellationToken) {
    loop {
        watch_disk(&services, &intake);
        if let Err(error) = forget(&services).await {
            tracing::warn!(%error, "old entries could not be forgotten; tried again in a minute");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn forget(services: &Services) -> Result<(), crate::store::StoreError> {
    let now = services.clock.now();
    while services.store.expire(now, BATCH).await? == BATCH {}
    let keep = before(now, services.config.journal_keep);
    let bodies = before(now, services.config.journal_bodies);
    while services.journal.forget(keep, bodies, BATCH).await? >= BATCH {}
    Ok(())
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    now.saturating_sub(age).unwrap_or(Timestamp::MIN)
}

fn watch_disk(services: &Services, intake: &Intake) {
    let least = services.config.min_free;
    let folder = services.config.store.parent().unwrap_or(std::path::Path::new("."));
    let free = match rustix::fs::statvfs(folder) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "the free disk space cannot be read");
            return;
        }
    };
    services.journal.store_bodies(free >= least);
    intake.set_full(free < least / LAST_PART);
    if free < least {
        let mib = free >> 20;
        tracing::error!(
            free_mib = mib,
            "little disk space: the journal keeps no bodies, below a quarter of min_free webhooks get 503"
        );
    }
}
