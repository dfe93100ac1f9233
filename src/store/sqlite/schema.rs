//! How a database file is opened: its settings and its migrations.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::lock;
use crate::store::{Result, StoreError};

/// How long a statement waits for a lock of another program, as a backup or a person's shell.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The migrations of a kind of database, oldest first: number n brings it to schema n.
pub type Migrations = &'static [&'static str];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that writes.
    Writer,
    /// One of those that read.
    Reader,
    /// The one that moves the log into the file.
    Checkpointer,
}

/// Opens a connection.
///
/// # Errors
/// The database's.
pub fn connect(path: &Path, role: Role) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(PATIENCE)?;
    db.set_prepared_statement_cache_capacity(128);
    db.pragma_update(None, "temp_store", "memory")?;
    match role {
        Role::Writer => {
            let mode: String = db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
            debug_assert_eq!(mode, "wal");
            db.pragma_update(None, "synchronous", "full")?;
            // Commits never wait for a checkpoint: see `writer`.
            db.pragma_update(None, "wal_autocheckpoint", 0)?;
            db.pragma_update(None, "cache_size", -8_192)?;
        }
        Role::Reader => db.pragma_update(None, "query_only", true)?,
        Role::Checkpointer => db.pragma_update(None, "synchronous", "full")?,
    }
    Ok(db)
}

/// Creates the file where it is missing, readable by its owner alone: SQLite gives the log the same mode.
///
/// # Errors
/// [`StoreError::Failed`] where that is impossible.
pub fn create(path: &Path) -> Result<()> {
    let fail = |e: std::io::Error| StoreError::Failed { doing: "creating", why: format!("{}: {e}", path.display()) };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    lock::private().append(true).create(true).open(path).map_err(fail)?;
    Ok(())
}

/// Brings the file to the newest schema. The caller holds the file's lock.
///
/// # Errors
/// [`StoreError::Newer`] for a file of a later version, [`StoreError::Failed`].
pub fn migrate(db: &Connection, path: &Path, migrations: Migrations) -> Result<()> {
    let fail = |e: rusqlite::Error| StoreError::Failed { doing: "migrating", why: format!("{}: {e}", path.display()) };
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { path: path.display().to_string(), found, known });
    }
    for (version, sql) in (1..).zip(migrations) {
        if version > found {
            let whole = format!("BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {version};\nCOMMIT;");
            db.execute_batch(&whole).map_err(fail)?;
        }
    }
    Ok(())
}
