//! Whether the store takes writes: a store that can only be read receives nothing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::store::Store;

/// Under which name the store keeps what is written to find out.
const FACT: &str = "pulse";
/// How long an answer holds.
const HOLDS: SignedDuration = SignedDuration::from_secs(5);
/// How long a write may take: senders of webhooks do not wait longer either.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tries a small write, and remembers for a while how it went.
#[derive(Debug, Default)]
pub struct Pulse {
    last: Mutex<Option<(Timestamp, Result<Duration, String>)>>,
}

impl Pulse {
    /// Whether the store took a write at most five seconds ago.
    ///
    /// # Errors
    /// Why it did not, in words.
    pub async fn take(&self, store: &dyn Store, now: Timestamp) -> Result<(), String> {
        self.beat(store, now).await.map(drop)
    }

    /// How long that write took.
    ///
    /// # Errors
    /// Why it came to nothing, in words.
    pub async fn beat(&self, store: &dyn Store, now: Timestamp) -> Result<Duration, String> {
        let mut last = self.last.lock().await;
        if let Some((at, went)) = &*last
            && now.duration_since(*at).abs() < HOLDS
        {
            return went.clone();
        }
        let started = Instant::now();
        let write = store.set_fact(FACT, serde_json::json!(now.to_string()));
        let went = match tokio::time::timeout(PATIENCE, write).await {
            Ok(written) => written.map(|()| started.elapsed()).map_err(|error| error.to_string()),
            Err(_) => Err(format!("a write takes longer than {} s", PATIENCE.as_secs())),
        };
        *last = Some((now, went.clone()));
        went
    }
}
