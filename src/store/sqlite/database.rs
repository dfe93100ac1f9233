//! A SQLite file: one thread writes, a few connections read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::lock::Lock;
use super::schema::{self, Migrations, Role, connect};
use super::simulated::{Simulated, Weather};
use super::writer::{self, Command};
use crate::store::{Result, StoreError};

/// Commands that wait for the writer before a caller has to wait to get in.
const QUEUED: usize = 4_096;
/// Reads at the same time.
const READERS: usize = 4;

/// A handle on a SQLite file. Held exclusively by this process; closed by [`Database::close`] or the last drop.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    commands: Mutex<Option<mpsc::Sender<Box<dyn Command>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
    commits: Arc<AtomicU64>,
    /// In place of file and threads.
    simulated: Option<Simulated>,
}

impl Database {
    /// Opens or creates the file, takes its lock, and brings it to the newest schema.
    ///
    /// # Errors
    /// [`StoreError::Held`], [`StoreError::Newer`], or [`StoreError::Failed`] where the file is no database or cannot
    /// be written.
    pub fn open(path: &Path, migrations: Migrations) -> Result<Self> {
        Self::open_and(path, migrations, "")
    }

    /// As [`Database::open`], and runs `start` before anything else is done: what the last process to hold the file left
    /// behind is nobody's now.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_and(path: &Path, migrations: Migrations, start: &str) -> Result<Self> {
        let fail = |why: String| StoreError::Failed { doing: "opening", why: format!("{}: {why}", path.display()) };
        schema::create(path)?;
        let lock = Lock::take(path)?;
        let db = connect(path, Role::Writer).map_err(|e| fail(e.to_string()))?;
        schema::migrate(&db, path, migrations)?;
        db.execute_batch(start).map_err(|e| fail(e.to_string()))?;
        let (sender, receiver) = mpsc::channel(QUEUED);
        let file = path.to_owned();
        let commits = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&commits);
        let writer = std::thread::Builder::new()
            .name("dari-writer".into())
            .spawn(move || writer::run(db, &file, receiver, &counted, lock))
            .map_err(|e| fail(e.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            commands: Mutex::new(Some(sender)),
            writer: Mutex::new(Some(writer)),
            readers: Arc::new(Semaphore::new(READERS)),
            idle: Arc::default(),
            commits,
            simulated: None,
        })
    }

    /// A new database in memory, for a history in simulated time: see [`Weather`].
    ///
    /// # Errors
    /// [`StoreError::Failed`] where SQLite refuses a migration.
    pub fn simulated(migrations: Migrations, weather: Arc<dyn Weather>) -> Result<Self> {
        Simulated::new(migrations, weather).map(Self::over)
    }

    /// The same database in memory as another process sees it, in its own weather.
    #[must_use]
    pub fn beside(&self, weather: Arc<dyn Weather>) -> Option<Self> {
        self.simulated.as_ref().map(|simulated| Self::over(simulated.beside(weather)))
    }

    fn over(simulated: Simulated) -> Self {
        Self {
            path: PathBuf::new(),
            commands: Mutex::new(None),
            writer: Mutex::new(None),
            readers: Arc::new(Semaphore::new(READERS)),
            idle: Arc::default(),
            commits: Arc::default(),
            simulated: Some(simulated),
        }
    }

    /// How many transactions were written since the start.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes: durable when it returns. Many callers share one transaction; an error undoes this one's work alone. For
    /// that, `work` may be undone and run again.
    /// Once it waits for the writer it is done even if the caller stops waiting for the answer.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with `doing` in front, [`StoreError::Closed`].
    pub async fn write<T, W>(&self, doing: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.write_then(doing, work, |_| ()).await
    }

    /// Like [`Database::write`], and calls `then` on the writer's thread once the work is durable, whether or not the
    /// caller still waits for it.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub async fn write_then<T, W, N>(&self, doing: &'static str, work: W, then: N) -> Result<T>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        if let Some(simulated) = &self.simulated {
            return simulated.write(doing, work, then).await;
        }
        let commands = lock(&self.commands).clone().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let write = Write { work, then, done: None, reply };
        commands.send(Box::new(write)).await.map_err(|_| StoreError::Closed)?;
        drop(commands);
        answer.await.map_err(|_| StoreError::Closed)?.map_err(|why| StoreError::Failed { doing, why })
    }

    /// Like [`Database::write`] for a thread outside of the runtime.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub fn write_blocking<T, W>(&self, doing: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let commands = lock(&self.commands).clone().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let write = Write { work, then: |_: &T| (), done: None, reply };
        commands.blocking_send(Box::new(write)).map_err(|_| StoreError::Closed)?;
        drop(commands);
        answer.blocking_recv().map_err(|_| StoreError::Closed)?.map_err(|why| StoreError::Failed { doing, why })
    }

    /// Reads everything that was committed before the call, in one snapshot. Keep it short: a long read keeps the
    /// log from being emptied.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub async fn read<T, W>(&self, doing: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        if let Some(simulated) = &self.simulated {
            return simulated.read(doing, work).await;
        }
        let permit = Arc::clone(&self.readers).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (idle, path) = (Arc::clone(&self.idle), self.path.clone());
        let read = move || {
            let _permit = permit;
            pooled(&idle, &path, work)
        };
        let done = tokio::task::spawn_blocking(read).await.map_err(|_| StoreError::Closed)?;
        done.map_err(|e| StoreError::Failed { doing, why: e.to_string() })
    }

    /// Like [`Database::read`], on the caller's thread.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with `doing` in front.
    pub fn read_blocking<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        if let Some(simulated) = &self.simulated {
            return simulated.at_once(doing, work);
        }
        pooled(&self.idle, &self.path, work).map_err(|e| StoreError::Failed { doing, why: e.to_string() })
    }

    /// Refuses what comes from now on, finishes what waits, empties the log, and gives the lock back.
    pub async fn close(&self) {
        if let Some(writer) = self.shut() {
            // An error here is a panic of the writer, which has been printed.
            _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }

    fn shut(&self) -> Option<JoinHandle<()>> {
        self.readers.close();
        drop(lock(&self.commands).take());
        lock(&self.idle).clear();
        lock(&self.writer).take()
    }
}

impl Drop for Database {
    // Whoever opens the file next in this process is to find it unlocked.
    fn drop(&mut self) {
        if let Some(writer) = self.shut() {
            _ = writer.join();
        }
    }
}

/// Reads in one snapshot, on a connection that is left for the next.
fn pooled<T>(
    idle: &Mutex<Vec<Connection>>,
    path: &Path,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let left = lock(idle).pop();
    let db = left.map_or_else(|| connect(path, Role::Reader), Ok)?;
    // Prepared once: parsing these two costs as much as a small read.
    db.prepare_cached("BEGIN")?.execute([])?;
    let read = work(&db);
    // There is nothing to commit; this only lets the snapshot go.
    db.prepare_cached("ROLLBACK")?.execute([])?;
    lock(idle).push(db);
    read
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A write and who waits for it.
struct Write<T, W, N> {
    work: W,
    then: N,
    done: Option<rusqlite::Result<T>>,
    reply: oneshot::Sender<std::result::Result<T, String>>,
}

impl<T, W, N> Command for Write<T, W, N>
where
    T: Send,
    W: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    N: FnOnce(&T) + Send,
{
    fn run(&mut self, db: &Connection) -> bool {
        self.done = Some((self.work)(db));
        matches!(self.done, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: std::result::Result<(), &str>) {
        let this = *self;
        let outcome = match (this.done, committed) {
            (Some(Err(e)), _) => Err(e.to_string()),
            (_, Err(why)) => Err(why.to_owned()),
            (Some(Ok(done)), Ok(())) => {
                (this.then)(&done);
                Ok(done)
            }
            (None, Ok(())) => Err("it was not run".to_owned()),
        };
        // Nobody may be waiting any more.
        _ = this.reply.send(outcome);
    }
}
