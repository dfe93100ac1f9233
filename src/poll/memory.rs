//! A source's memory, in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::connectors::{Memory, PollError, Remembered};
use crate::store::{Store, StoreError};

/// What the store remembers of a source's subjects.
pub struct StoredMemory {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The source's name.
    pub source: String,
}

#[async_trait]
impl Memory for StoredMemory {
    async fn hashes(&self) -> Result<BTreeMap<String, String>, PollError> {
        self.store.snapshot(&self.source).await.map_err(|error| passing(&error))
    }

    async fn get(&self, key: &str) -> Result<Option<Remembered>, PollError> {
        self.store.remembered(&self.source, key).await.map_err(|error| passing(&error))
    }
}

fn passing(error: &StoreError) -> PollError {
    PollError::Retry { after: None, account: false, why: error.to_string() }
}
