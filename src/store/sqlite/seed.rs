//! A store that starts where another one is, and leaves that one as it is: for dry runs.

use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{Connection, OpenFlags};

use super::{MIGRATIONS, open};
use crate::store::{Result, StoreError};

/// What a path may hold unescaped in SQLite's `file:` URIs.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// Makes a fresh store in the file `into` with the cursors, links and known names of the store in `from`, which is only
/// read; a bridge may be using it. What waits there, is suspended or was delivered is not taken over.
///
/// # Errors
/// [`StoreError::Failed`], also if the other version's schema is not this one's; `into` is then a store without anything
/// in it.
pub fn seed(from: &Path, into: &Path) -> Result<()> {
    drop(open(into)?);
    let fail =
        |why: String| StoreError::Failed { doing: "reading the store", why: format!("{}: {why}", from.display()) };
    match copy(from, into).map_err(|e| fail(e.to_string()))? {
        Copied::All => Ok(()),
        Copied::Nothing { schema } => {
            let known = MIGRATIONS.len();
            Err(fail(format!("it was written by another version of dari (schema {schema}, this one has {known})")))
        }
    }
}

enum Copied {
    All,
    Nothing { schema: i64 },
}

fn copy(from: &Path, into: &Path) -> rusqlite::Result<Copied> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(into, flags)?;
    db.execute("ATTACH DATABASE ?1 AS there", [uri(from)])?;
    let schema: i64 = db.query_row("PRAGMA there.user_version", [], |row| row.get(0))?;
    if usize::try_from(schema).ok() != Some(MIGRATIONS.len()) {
        return Ok(Copied::Nothing { schema });
    }
    db.execute_batch(
        "BEGIN;
         INSERT INTO cursor SELECT * FROM there.cursor;
         INSERT INTO snapshot SELECT * FROM there.snapshot;
         INSERT INTO owner SELECT * FROM there.owner;
         INSERT INTO link SELECT * FROM there.link;
         INSERT INTO fact SELECT * FROM there.fact;
         COMMIT;
         DETACH there;",
    )?;
    Ok(Copied::All)
}

/// Where no log is, nobody has the file open and all is in it: then not even SQLite's own companions are made beside it.
fn uri(path: &Path) -> String {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let mode = if Path::new(&log).exists() { "mode=ro" } else { "immutable=1" };
    format!("file:{}?{mode}", utf8_percent_encode(&path.to_string_lossy(), PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_schema_is_told_and_nothing_is_taken_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let [from, into] = ["a%20b?#.db", "into.db"].map(|name| dir.path().join(name));
        drop(open(&from).unwrap());
        let db = Connection::open(&from).unwrap();
        db.execute_batch("INSERT INTO cursor VALUES ('signup', '7'); INSERT INTO owner VALUES (3, 'r')").unwrap();
        drop(db);
        seed(&from, &into).unwrap();
        let count = |path: &Path| {
            let db = Connection::open(path).unwrap();
            db.query_row("SELECT count(*) FROM cursor, owner", [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(count(&into), 1);

        Connection::open(&from).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        let other = dir.path().join("other.db");
        let why = seed(&from, &other).unwrap_err().to_string();
        assert!(why.contains("it was written by another version of dari (schema 99, this one has"), "{why}");
        assert_eq!(count(&other), 0);
    }
}
