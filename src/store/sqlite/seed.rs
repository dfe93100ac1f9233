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
/// [`StoreError::Newer`] if the versions differ, or [`StoreError::Failed`]; `into` is then a store without anything in it.
pub fn seed(from: &Path, into: &Path) -> Result<()> {
    drop(open(into)?);
    let copied = copy(from, into);
    copied.map_err(|error| match error {
        Refused::Schema(found) => {
            let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
            StoreError::Newer { path: from.display().to_string(), found, known }
        }
        Refused::Database(error) => {
            StoreError::Failed { doing: "reading the store", why: format!("{}: {error}", from.display()) }
        }
    })
}

enum Refused {
    Schema(i64),
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

fn copy(from: &Path, into: &Path) -> std::result::Result<(), Refused> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(into, flags)?;
    db.execute("ATTACH DATABASE ?1 AS there", [uri(from)])?;
    let found: i64 = db.query_row("PRAGMA there.user_version", [], |row| row.get(0))?;
    if usize::try_from(found).ok() != Some(MIGRATIONS.len()) {
        return Err(Refused::Schema(found));
    }
    db.execute_batch(
        "BEGIN;
         INSERT INTO cursor SELECT * FROM there.cursor;
         INSERT INTO owner SELECT * FROM there.owner;
         INSERT INTO link SELECT * FROM there.link;
         INSERT INTO fact SELECT * FROM there.fact;
         COMMIT;
         DETACH there;",
    )?;
    Ok(())
}

/// Where no log is, nobody has the file open and all is in it: then not even SQLite's own companions are made beside it.
fn uri(path: &Path) -> String {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let mode = if Path::new(&log).exists() { "mode=ro" } else { "immutable=1" };
    format!("file:{}?{mode}", utf8_percent_encode(&path.to_string_lossy(), PATH))
}
