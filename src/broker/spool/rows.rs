//! The rows of a spool: every function is one command of the database.

use rusqlite::{Connection, params};

/// An event on its way into the spool.
pub struct Entry {
    /// JSON.
    pub event: Vec<u8>,
    /// The clock of its receipt.
    pub received: u64,
}

/// An event in the spool.
pub struct Spooled {
    pub id: i64,
    /// JSON.
    pub event: Vec<u8>,
}

/// How many events, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub events: u64,
    pub bytes: u64,
}

/// What waits, and the newest receipt among it.
pub fn found(db: &Connection) -> rusqlite::Result<(Load, u64)> {
    let newest = db.query_row("SELECT max(received) FROM spooled", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok((load(db, i64::MAX)?, newest.unwrap_or(0).cast_unsigned()))
}

fn load(db: &Connection, last: i64) -> rusqlite::Result<Load> {
    let sql = "SELECT count(*), coalesce(sum(length(event)), 0) FROM spooled WHERE id <= ?1 AND aside = 0";
    db.prepare_cached(sql)?.query_row([last], |row| {
        let (events, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Load { events: events.cast_unsigned(), bytes: bytes.cast_unsigned() })
    })
}

/// Adds events behind all others.
pub fn append(db: &Connection, entries: &[Entry]) -> rusqlite::Result<()> {
    // The numbers rise although SQLite may use one again: the highest is removed only after all lower ones.
    let mut add = db.prepare_cached("INSERT INTO spooled (event, received) VALUES (?1, ?2)")?;
    for entry in entries {
        add.execute(params![entry.event, entry.received.cast_signed()])?;
    }
    Ok(())
}

/// The first events: at least one if there is any, and not more bytes than `most` beyond it.
pub fn first(db: &Connection, count: usize, most: usize) -> rusqlite::Result<Vec<Spooled>> {
    let mut statement = db.prepare_cached("SELECT id, event FROM spooled WHERE aside = 0 ORDER BY id LIMIT ?1")?;
    let mut rows = statement.query([count.cast_signed()])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let spooled = Spooled { id: row.get(0)?, event: row.get(1)? };
        bytes += spooled.event.len();
        if bytes > most && !found.is_empty() {
            break;
        }
        found.push(spooled);
    }
    Ok(found)
}

/// Removes the events up to a number; what was removed.
pub fn remove(db: &Connection, last: i64) -> rusqlite::Result<Load> {
    let removed = load(db, last)?;
    db.prepare_cached("DELETE FROM spooled WHERE id <= ?1 AND aside = 0")?.execute([last])?;
    Ok(removed)
}

/// Takes an event out of the line and keeps it.
pub fn put_aside(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE spooled SET aside = 1 WHERE id = ?1")?.execute([id]).map(drop)
}
