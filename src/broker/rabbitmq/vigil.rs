//! Looks now and then whether the queues are there, and whether what is in them comes.
//!
//! A queue that nobody receives from, because its route is paused, may be deleted without a word: what is published
//! after that reaches the others and is confirmed. And a consumer may get nothing although its connection lives, as
//! after a lost `basic.cancel`: it is told from one that has nothing to get by the messages that are ready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::line::{Line, Trouble};
use super::pump::within;
use super::topology::{self, Queues};
use super::{Shared, failed, timely};
use crate::broker::Result;

/// How often.
const EVERY: Duration = Duration::from_secs(5);
/// How long a consumer may get nothing while messages are ready for it.
const SILENCE: Duration = Duration::from_secs(15);
/// How often a consumer is built anew before its connection is.
const CONSUMERS: u32 = 2;

/// A consumer that has got nothing.
struct Silence {
    since: Instant,
    /// [`Line::count`] then.
    count: u64,
    /// How often it was built anew meanwhile.
    rebuilt: u32,
}

/// Looks until the broker is closed.
pub async fn run(shared: Arc<Shared>) {
    let mut silences = BTreeMap::new();
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        // What is wrong with a connection is told by its keeper.
        if shared.publishing.now().is_err() || shared.consuming.now().is_err() {
            silences.clear();
            continue;
        }
        if let Err(error) = look(&shared, &mut silences).await {
            tracing::warn!(%error, "the queues could not be looked at");
        }
    }
}

async fn look(shared: &Shared, silences: &mut BTreeMap<String, Silence>) -> Result<()> {
    // Over the connection that is never refused.
    let connection = shared.consuming.now()?;
    let mut queues = timely(Queues::new(&connection)).await?;
    let lines: Vec<Arc<Line>> = shared.lines().values().cloned().collect();
    for line in lines {
        if let Some(ready) = timely(queues.ready(&shared.names().queue(&line.name))).await? {
            listen(shared, &line, ready, silences);
        }
    }
    within(queues.channel.close(200, "".into())).await.map_err(failed)?;
    let gone = timely(topology::gone(&connection, shared.names(), &shared.plan())).await?;
    let takes = !shared.publishing.now()?.status().blocked();
    if gone.is_empty() || !takes { Ok(()) } else { shared.redeclare().await }
}

fn listen(shared: &Shared, line: &Line, ready: u64, silences: &mut BTreeMap<String, Silence>) {
    let want = *line.want.borrow();
    let free = want.prefetch > 0 && !want.parked && !want.stop && line.held() < u64::from(want.prefetch);
    let held_back = super::Register::is_held(&shared.plan(), &line.name);
    if ready == 0 || !free || held_back {
        silences.remove(&line.name);
        line.tell(Trouble::Silent, None);
        return;
    }
    let now = Instant::now();
    let silence = silences.entry(line.name.clone()).or_insert(Silence { since: now, count: line.count(), rebuilt: 0 });
    if silence.count != line.count() {
        if silence.rebuilt > 0 {
            tracing::info!(queue = line.name, "messages come again");
            line.tell(Trouble::Silent, None);
        }
        *silence = Silence { since: now, count: line.count(), rebuilt: 0 };
        return;
    }
    if now.duration_since(silence.since) < SILENCE {
        return;
    }
    silence.since = now;
    silence.rebuilt += 1;
    let seconds = SILENCE.as_secs() * u64::from(silence.rebuilt);
    tracing::error!(queue = line.name, ready, seconds, "messages are ready and none comes: its consumer is built anew");
    let why = format!("{ready} messages are ready and none has come for {seconds} s: its consumer is built anew");
    line.tell(Trouble::Silent, Some(why));
    if silence.rebuilt.is_multiple_of(CONSUMERS + 1) {
        shared.consuming.renew();
    } else {
        line.anew.notify_one();
    }
}
