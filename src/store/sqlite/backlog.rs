//! What is begun and not ended, by route.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::codec::{self, micros};
use super::deliveries::{delivery_key, read_entry};
use crate::event::Received;
use crate::store::{Backlog, DeliveryKey, Unfinished};

/// The unfinished deliveries of a route, those that are held left out.
pub fn unfinished(db: &Connection, route: &str) -> rusqlite::Result<Vec<Unfinished>> {
    let Some(id) = codec::owner(db, route)? else { return Ok(Vec::new()) };
    let sql = "SELECT key, event, generation, state, attempt, first_retry, ending, due, verb, since
               FROM ledger INDEXED BY ledger_unfinished
               WHERE state < 3 AND state < 2 AND route = ?1 ORDER BY clock, process";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([id], |row| {
        let key: Vec<u8> = row.get("key")?;
        let generation: Option<u32> = row.get("generation")?;
        let delivery =
            DeliveryKey { route: route.to_owned(), event: row.get("event")?, generation: generation.unwrap_or(0) };
        let known = delivery_key(&delivery)[..] == key[..];
        let entry = read_entry(row)?;
        Ok(known.then_some(Unfinished { event: delivery.event, generation: delivery.generation, entry }))
    })?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// What waits, by route.
pub fn backlog(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Backlog>> {
    let sql = "SELECT name,
                   (SELECT count(*) FROM ledger INDEXED BY ledger_waiting
                    WHERE route = owner.id AND state = 0 AND due > ?1) AS waiting,
                   (SELECT min(clock) FROM ledger INDEXED BY ledger_waiting
                    WHERE route = owner.id AND state = 0) AS oldest
               FROM owner";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![micros(now)], |row| {
        let oldest: Option<i64> = row.get("oldest")?;
        let at = |clock: i64| Received { clock: clock.cast_unsigned(), process: 0 }.at();
        Ok(Backlog {
            route: row.get("name")?,
            waiting: row.get::<_, i64>("waiting")?.cast_unsigned(),
            oldest: oldest.map(at),
        })
    })?;
    rows.collect()
}
