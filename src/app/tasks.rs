//! What runs.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Parts;

/// How long what is under way may take to finish at a stop.
const GRACE: Duration = Duration::from_secs(25);

/// What runs, and how it is told to stop.
pub struct Tasks {
    pub set: JoinSet<&'static str>,
    /// Cancelled: nothing new is begun.
    pub until: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Self { set: JoinSet::new(), until: CancellationToken::new() }
    }

    /// Starts a part that works until it is told to stop.
    pub fn start(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            part.await;
            name
        });
    }

    /// Starts a part that needs the queues, once they are declared.
    pub fn later(&mut self, name: &'static str, parts: &Parts, part: impl Future<Output = ()> + Send + 'static) {
        let (settling, until) = (parts.settling.clone(), self.until.clone());
        self.start(name, async move {
            if until.run_until_cancelled(settling.over()).await.is_some() {
                part.await;
            }
        });
    }

    /// Tells all to stop and waits, but not for ever.
    pub async fn finish(mut self) {
        self.until.cancel();
        if tokio::time::timeout(GRACE, async { while self.set.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("not everything finished in time; what was under way is taken up at the next start");
            self.set.shutdown().await;
        }
    }
}
