//! A consistent copy of a database file that may be in use.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use tempfile::NamedTempFile;

use super::accounts;
use super::schema::PATIENCE;
use crate::store::{Result, StoreError, Suspension};

/// A copy that is whole and checked, under a name of its own until [`Copy::keep`].
#[derive(Debug)]
pub struct Copy {
    part: NamedTempFile,
    into: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// What was counted in it, in the order asked for.
    pub counts: Vec<u64>,
}

/// Copies the database in `from`, as it is at one moment, for the file `into`, which is not made yet. A bridge may be
/// using it, and is not held up. What is in `stopped` is suspended in the copy; each of `counted` is a query for one
/// number in it.
///
/// # Errors
/// [`StoreError::Failed`]: `from` is no database or is damaged, there is no room, or the folder of `into` cannot be
/// written.
pub fn copy(from: &Path, into: &Path, stopped: &[Suspension], counted: &[&str]) -> Result<Copy> {
    let fail = |why: String| failed(from, &why);
    let part = NamedTempFile::new_in(folder(into)).map_err(|e| failed(into, &e.to_string()))?;
    let counts = fill(from, part.path(), stopped, counted).map_err(|e| fail(e.to_string()))?;
    let counts = counts.map_err(|damage| fail(format!("the copy is damaged: {damage}")))?;
    // SQLite does not promise that this is on disk.
    let bytes =
        part.as_file().sync_all().and_then(|()| part.as_file().metadata()).map_err(|e| fail(e.to_string()))?.len();
    Ok(Copy { part, into: into.to_owned(), bytes, counts })
}

impl Copy {
    /// Gives it its name, durably.
    ///
    /// # Errors
    /// [`StoreError::Failed`], also where something has that name already: that stays as it is.
    pub fn keep(self) -> Result<()> {
        let fail = |e: std::io::Error| failed(&self.into, &e.to_string());
        self.part.persist_noclobber(&self.into).map_err(|e| fail(e.error))?;
        File::open(folder(&self.into)).and_then(|folder| folder.sync_all()).map_err(fail)
    }
}

fn failed(file: &Path, why: &str) -> StoreError {
    StoreError::Failed { doing: "copying", why: format!("{}: {why}", file.display()) }
}

fn folder(of: &Path) -> &Path {
    of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// The counts, or what is damaged.
fn fill(
    from: &Path,
    part: &Path,
    stopped: &[Suspension],
    counted: &[&str],
) -> rusqlite::Result<std::result::Result<Vec<u64>, String>> {
    // Not read-only: after a kill the log is to be read first, which SQLite does only where it may write.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(from, flags)?;
    db.busy_timeout(PATIENCE)?;
    let name = part.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(part.to_owned()))?;
    db.execute("VACUUM INTO ?1", [name])?;
    drop(db);
    let db = Connection::open_with_flags(part, flags)?;
    for suspension in stopped {
        accounts::suspend(&db, suspension)?;
    }
    let found: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Ok(Err(found));
    }
    let count = |sql: &&str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    counted.iter().map(count).collect::<rusqlite::Result<_>>().map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::open;

    #[test]
    fn what_is_there_stays_and_a_damaged_file_is_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let [from, into] = ["from.db", "into.db"].map(|name| dir.path().join(name));
        let held = open(&from).unwrap();
        let made = copy(&from, &into, &[], &["SELECT count(*) FROM link"]).unwrap();
        assert_eq!(made.counts, [0]);
        assert!(made.bytes > 0 && !into.exists());
        std::fs::write(&into, "mine").unwrap();
        let why = made.keep().unwrap_err().to_string();
        assert!(why.contains("into.db") && why.contains("exists"), "{why}");
        assert_eq!(std::fs::read(&into).unwrap(), b"mine");
        drop(held);
        // A page in the middle is another one's.
        let mut bytes = std::fs::read(&from).unwrap();
        let half = bytes.len() / 2 / 4096 * 4096;
        bytes[half..half + 4096].fill(0x5a);
        std::fs::write(&from, bytes).unwrap();
        assert!(copy(&from, &dir.path().join("other.db"), &[], &[]).is_err());
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tmp")), "{left:?}");
    }
}
