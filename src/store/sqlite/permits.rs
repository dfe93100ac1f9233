//! Shares of accounts' concurrency, and turns by their rate.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::codec::{self, micros};
use crate::store::permits::{FURTHEST, Holder, ShareAsk, TurnAsk, grant};

/// Takes, renews or gives back a share; how many calls at once it is.
pub fn share(db: &Connection, ask: &ShareAsk, now: Timestamp) -> rusqlite::Result<u32> {
    let sql = "DELETE FROM share WHERE account = ?1 AND expires <= ?2";
    db.prepare_cached(sql)?.execute(params![ask.account, micros(now)])?;
    let others = holders(db, ask)?;
    let has = grant(ask, &others, now.as_second());
    if ask.wants == 0 && has == 0 {
        let sql = "DELETE FROM share WHERE account = ?1 AND owner = ?2";
        db.prepare_cached(sql)?.execute([&ask.account, &ask.owner])?;
        return Ok(0);
    }
    let ttl = SignedDuration::try_from(ask.ttl).unwrap_or(SignedDuration::MAX);
    let expires = micros(now.saturating_add(ttl).unwrap_or(Timestamp::MAX));
    let sql = "INSERT OR REPLACE INTO share (account, owner, wants, has, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.prepare_cached(sql)?.execute(params![ask.account, ask.owner, ask.wants, has, expires])?;
    Ok(has)
}

fn holders(db: &Connection, ask: &ShareAsk) -> rusqlite::Result<Vec<Holder>> {
    let sql = "SELECT owner, wants, has FROM share WHERE account = ?1 AND owner <> ?2";
    let mut statement = db.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok(Holder { owner: row.get(0)?, wants: row.get(1)?, has: row.get(2)? });
    statement.query_map([&ask.account, &ask.owner], read)?.collect()
}

/// Reserves turns; the time of the first.
pub fn turns(db: &Connection, ask: &TurnAsk, now: Timestamp) -> rusqlite::Result<Timestamp> {
    let block = SignedDuration::try_from(ask.gap.saturating_mul(ask.count)).unwrap_or(SignedDuration::MAX);
    let sql = "SELECT next FROM turn WHERE account = ?1";
    let read = |row: &rusqlite::Row<'_>| codec::time(row, "next");
    let next = db.prepare_cached(sql)?.query_row([&ask.account], read).optional()?.unwrap_or(now);
    let furthest = now.saturating_add(block.saturating_mul(i32::try_from(FURTHEST).unwrap_or(i32::MAX)));
    let start = if next > furthest.unwrap_or(Timestamp::MAX) { now } else { next.max(now) };
    let end = start.saturating_add(block).unwrap_or(Timestamp::MAX);
    let sql = "INSERT OR REPLACE INTO turn (account, next) VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute(params![ask.account, micros(end)])?;
    Ok(start)
}
