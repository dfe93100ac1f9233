//! The thread that owns the write connection.
//!
//! Batches form by themselves: while one is being synced to disk, the commands of the next queue up. A linger timer
//! would only add delay.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::lock::Lock;
use super::schema::{Role, connect};

/// Commands that share one commit at most.
pub const BATCH: usize = 512;
/// The size of the write-ahead log above which the writer itself empties it, in bytes.
const LONG_LOG: u64 = 64 << 20;
/// Changed rows after which the log is moved into the file beside the writer.
const CHANGES: u64 = 2_000;
/// How long the writer waits for readers before it leaves a long log for later.
const READERS: Duration = Duration::from_millis(100);

/// Something to do on the write connection.
///
/// A closure in a box rather than one enum of all commands: the store and the broker share this queue and its
/// commits, and neither is to know the other's commands.
pub trait Command: Send {
    /// Does it, and again if the first time was undone because another command of the batch failed. False: it failed,
    /// and what it did is to be undone. It keeps the reason itself.
    fn run(&mut self, db: &Connection) -> bool;

    /// Answers: after the commit, or with what made the whole batch fail.
    fn answer(self: Box<Self>, committed: Result<(), &str>);
}

/// Runs commands until every sender is gone, then leaves the file with an empty log.
///
/// The lock goes last: whoever gets it next finds the file closed.
pub fn run(
    db: Connection,
    path: &Path,
    mut commands: mpsc::Receiver<Box<dyn Command>>,
    commits: &AtomicU64,
    lock: Lock,
) {
    let mut log = Log::new(path);
    let mut batch = Vec::with_capacity(BATCH);
    while commands.blocking_recv_many(&mut batch, BATCH) > 0 {
        let committed = commit(&db, &mut batch);
        commits.fetch_add(1, Ordering::Relaxed);
        let committed = committed.as_ref().map(|&()| ()).map_err(String::as_str);
        for command in batch.drain(..) {
            command.answer(committed);
        }
        log.tend(&db);
    }
    log.finish(&db);
    drop(db);
    drop(lock);
}

/// Why a transaction came to nothing.
enum Undone {
    /// A command failed, and there was no savepoint to go back to.
    Command,
    /// The database said no, in its words.
    Database(String),
}

impl From<rusqlite::Error> for Undone {
    fn from(e: rusqlite::Error) -> Self {
        Self::Database(e.to_string())
    }
}

/// A savepoint for each command makes SQLite copy every page that the command touches, which costs more than the
/// command. Commands seldom fail, so they are run without, and all of them again with savepoints if one did fail.
fn commit(db: &Connection, batch: &mut [Box<dyn Command>]) -> Result<(), String> {
    let done = match transact(db, batch, false) {
        Err(Undone::Command) => transact(db, batch, true),
        done => done,
    };
    done.map_err(|undone| match undone {
        Undone::Database(why) => why,
        Undone::Command => "undone because a command beside this one failed on the disk".into(),
    })
}

fn transact(db: &Connection, batch: &mut [Box<dyn Command>], savepoints: bool) -> Result<(), Undone> {
    let done = run_all(db, batch, savepoints);
    if done.is_err()
        && !db.is_autocommit()
        && let Err(e) = execute(db, "ROLLBACK")
    {
        tracing::error!(error = %e, "a failed transaction could not be rolled back");
    }
    done
}

fn run_all(db: &Connection, batch: &mut [Box<dyn Command>], savepoints: bool) -> Result<(), Undone> {
    execute(db, "BEGIN IMMEDIATE")?;
    for command in batch {
        if savepoints {
            execute(db, "SAVEPOINT command")?;
        }
        if !command.run(db) {
            // A full or failing disk makes SQLite undo the whole transaction by itself.
            if !savepoints || db.is_autocommit() {
                return Err(Undone::Command);
            }
            execute(db, "ROLLBACK TO command")?;
        }
        if savepoints {
            execute(db, "RELEASE command")?;
        }
    }
    Ok(execute(db, "COMMIT")?)
}

fn execute(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute([]).map(drop)
}

/// Keeps the write-ahead log short.
///
/// Moving the log into the file takes many writes and two syncs, so a thread beside the writer does it. It never
/// quite catches up with a busy writer, and then the log grows: above [`LONG_LOG`] the writer empties it itself, which
/// is short because little is left to move.
struct Log {
    file: PathBuf,
    /// The size above which it is emptied; higher after an attempt that readers were in the way of.
    limit: u64,
    changes: u64,
    helper: Option<SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Log {
    fn new(database: &Path) -> Self {
        let mut file = database.as_os_str().to_owned();
        file.push("-wal");
        let (helper, wake) = sync_channel(1);
        let path = database.to_owned();
        let thread = std::thread::Builder::new().name("dari-checkpoint".into()).spawn(move || help(&path, &wake));
        Self { file: file.into(), limit: LONG_LOG, changes: 0, helper: Some(helper), thread: thread.ok() }
    }

    fn tend(&mut self, db: &Connection) {
        let changes = db.total_changes();
        if changes.saturating_sub(self.changes) < CHANGES {
            return;
        }
        self.changes = changes;
        let length = std::fs::metadata(&self.file).map_or(0, |file| file.len());
        if length > self.limit {
            self.empty(db, length);
        } else if let Some(helper) = &self.helper {
            // Full: it has been told already.
            _ = helper.try_send(());
        }
    }

    fn empty(&mut self, db: &Connection, length: u64) {
        self.limit = match truncate(db) {
            Ok(true) => LONG_LOG,
            Ok(false) => length + LONG_LOG / 4,
            Err(e) => {
                tracing::warn!(error = %e, "the write-ahead log could not be moved into the database");
                length + LONG_LOG / 4
            }
        };
    }

    fn finish(mut self, db: &Connection) {
        drop(self.helper.take());
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
        if let Err(e) = truncate(db) {
            tracing::warn!(error = %e, "the write-ahead log stays beside the database: the next start reads it");
        }
    }
}

/// Moves all of the log into the file and empties it; false if readers were in the way.
fn truncate(db: &Connection) -> rusqlite::Result<bool> {
    db.busy_timeout(READERS)?;
    let busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    db.busy_timeout(super::schema::PATIENCE)?;
    Ok(busy? == 0)
}

fn help(path: &Path, wake: &Receiver<()>) {
    let db = match connect(path, Role::Checkpointer) {
        Ok(db) => db,
        Err(e) => return tracing::warn!(error = %e, "no thread for checkpoints: the writer does all of them"),
    };
    while wake.recv().is_ok() {
        if let Err(e) = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(error = %e, "the write-ahead log could not be moved into the database");
        }
    }
}
