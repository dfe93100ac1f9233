//! A database in memory without threads: for histories in simulated time, where a thread's work would be time that the
//! runtime's paused clock knows nothing of. What is written and read is the same SQL.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::Connection;

use super::schema::{Migrations, migrate};
use crate::store::{Result, StoreError};

/// What happens to a process around its work: pauses, failures, its end. Whoever ends here never comes back: it waits
/// for ever, until it is dropped.
#[async_trait]
pub trait Weather: Send + Sync + std::fmt::Debug {
    /// Before the work.
    ///
    /// # Errors
    /// Why the work fails: none of it is done.
    async fn before(&self, doing: &'static str) -> std::result::Result<(), String>;

    /// After the work, which is durable by then.
    ///
    /// # Errors
    /// Why its answer is lost.
    async fn after(&self, doing: &'static str) -> std::result::Result<(), String>;
}

/// Nothing ever happens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calm;

#[async_trait]
impl Weather for Calm {
    async fn before(&self, _doing: &'static str) -> std::result::Result<(), String> {
        Ok(())
    }

    async fn after(&self, _doing: &'static str) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// One process's handle on a database in memory.
#[derive(Debug)]
pub struct Simulated {
    db: Arc<Mutex<Connection>>,
    weather: Arc<dyn Weather>,
}

impl Simulated {
    pub fn new(migrations: Migrations, weather: Arc<dyn Weather>) -> Result<Self> {
        let fail = |e: rusqlite::Error| StoreError::Failed { doing: "opening", why: e.to_string() };
        let db = Connection::open_in_memory().map_err(fail)?;
        db.set_prepared_statement_cache_capacity(256);
        migrate(&db, Path::new(":memory:"), migrations)?;
        Ok(Self { db: Arc::new(Mutex::new(db)), weather })
    }

    pub fn beside(&self, weather: Arc<dyn Weather>) -> Self {
        Self { db: Arc::clone(&self.db), weather }
    }

    pub async fn write<T, W, N>(&self, doing: &'static str, work: W, then: N) -> Result<T>
    where
        T: Send,
        W: FnMut(&Connection) -> rusqlite::Result<T> + Send,
        N: FnOnce(&T) + Send,
    {
        let fail = |why: String| StoreError::Failed { doing, why };
        self.weather.before(doing).await.map_err(fail)?;
        let done = self.at_once(doing, work)?;
        then(&done);
        self.weather.after(doing).await.map_err(fail)?;
        Ok(done)
    }

    pub async fn read<T, W>(&self, doing: &'static str, work: W) -> Result<T>
    where
        T: Send,
        W: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    {
        let fail = |why: String| StoreError::Failed { doing, why };
        self.weather.before(doing).await.map_err(fail)?;
        let read = self.at_once(doing, work)?;
        self.weather.after(doing).await.map_err(fail)?;
        Ok(read)
    }

    /// One transaction, now.
    pub fn at_once<T>(&self, doing: &'static str, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let done = db.unchecked_transaction().and_then(|transaction| {
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        });
        done.map_err(|e| StoreError::Failed { doing, why: e.to_string() })
    }
}
