//! Leases with fencing tokens, and the cursors that are written under them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::codec::{json, micros, parse};
use crate::connectors::{Change, Remembered};
use crate::store::Fence;

/// Takes or renews a lease; `None` while another has it.
pub fn take(db: &Connection, name: &str, owner: &str, ttl_ms: u64, now: Timestamp) -> rusqlite::Result<Option<Fence>> {
    let ttl = SignedDuration::from_millis(i64::try_from(ttl_ms).unwrap_or(i64::MAX));
    let expires = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
    // The token rises with every holder and never falls: the row outlives the lease.
    let sql = "INSERT INTO lease (name, owner, token, expires) VALUES (?1, ?2, 1, ?3)
               ON CONFLICT DO UPDATE SET token = token + (owner IS NOT excluded.owner), owner = excluded.owner,
                   expires = excluded.expires
               WHERE owner IS NULL OR owner = excluded.owner OR expires <= ?4
               RETURNING token";
    let token = db
        .prepare_cached(sql)?
        .query_row(params![name, owner, micros(expires), micros(now)], |row| row.get(0))
        .optional()?;
    Ok(token.map(|token| Fence { name: name.to_owned(), token }))
}

/// Gives a lease back, if it is still the own one.
pub fn release(db: &Connection, fence: &Fence) -> rusqlite::Result<()> {
    let sql = "UPDATE lease SET owner = NULL, expires = 0 WHERE name = ?1 AND token = ?2";
    db.prepare_cached(sql)?.execute(params![fence.name, fence.token]).map(drop)
}

/// A source's cursor.
pub fn cursor(db: &Connection, source: &str) -> rusqlite::Result<Option<Value>> {
    let sql = "SELECT value FROM cursor WHERE source = ?1";
    let text = db.prepare_cached(sql)?.query_row([source], |row| row.get::<_, String>(0)).optional()?;
    text.map(|text| parse(&text)).transpose()
}

/// False, and nothing written, if the lease is another's by now.
pub fn commit_cursor(
    db: &Connection,
    source: &str,
    fence: &Fence,
    cursor: &Value,
    changes: &[Change],
) -> rusqlite::Result<bool> {
    let sql = "INSERT OR REPLACE INTO cursor (source, value)
               SELECT ?1, ?2 FROM lease WHERE name = ?3 AND token = ?4 AND owner IS NOT NULL";
    let written = db.prepare_cached(sql)?.execute(params![source, json(cursor)?, fence.name, fence.token])?;
    if written == 1 {
        remember(db, source, changes)?;
    }
    Ok(written == 1)
}

fn remember(db: &Connection, source: &str, changes: &[Change]) -> rusqlite::Result<()> {
    let put = "INSERT OR REPLACE INTO snapshot (source, key, hash, value) VALUES (?1, ?2, ?3, ?4)";
    let remove = "DELETE FROM snapshot WHERE source = ?1 AND key = ?2";
    for Change { key, now } in changes {
        match now {
            Some(now) => db.prepare_cached(put)?.execute(params![source, key, now.hash, json(&now.value)?])?,
            None => db.prepare_cached(remove)?.execute(params![source, key])?,
        };
    }
    Ok(())
}

/// The hashes of a source's snapshot.
pub fn snapshot(db: &Connection, source: &str) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut select = db.prepare_cached("SELECT key, hash FROM snapshot WHERE source = ?1")?;
    select.query_map([source], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// One entry of it.
pub fn remembered(db: &Connection, source: &str, key: &str) -> rusqlite::Result<Option<Remembered>> {
    let sql = "SELECT hash, value FROM snapshot WHERE source = ?1 AND key = ?2";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let found = db.prepare_cached(sql)?.query_row([source, key], read).optional()?;
    found.map(|(hash, value)| Ok(Remembered { hash, value: parse(&value)? })).transpose()
}

/// Forgets a source's cursor and snapshot.
pub fn forget_cursor(db: &Connection, source: &str) -> rusqlite::Result<()> {
    db.execute("DELETE FROM snapshot WHERE source = ?1", [source])?;
    db.execute("DELETE FROM cursor WHERE source = ?1", [source]).map(drop)
}
