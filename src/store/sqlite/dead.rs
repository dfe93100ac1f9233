//! Dead letters.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{self, from_word, json, micros, word};
use super::deliveries;
use crate::store::{DeadClass, DeadFilter, DeadLetter, DeliveryKey, Link, LinkState, StoredDead};

const COLUMNS: &str = "SELECT dead.id, owner.name AS route, route AS number, key, event_key, generation, event, sink,
                           class, reason, attempts, call, at
                       FROM dead JOIN owner ON owner.id = route";

/// Writes the letter of a delivery; one delivery has one letter, however often it is written.
pub fn write(db: &Connection, route: i64, key: &[u8; 16], letter: &DeadLetter) -> rusqlite::Result<()> {
    let sql = "INSERT INTO dead (route, key, event_key, generation, event, sink, class, reason, attempts, call, at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
               ON CONFLICT (route, key) DO UPDATE SET sink = excluded.sink, class = excluded.class,
                   reason = excluded.reason, attempts = excluded.attempts, call = excluded.call, at = excluded.at";
    db.prepare_cached(sql)?.execute(params![
        route,
        key,
        letter.delivery.event,
        letter.delivery.generation,
        json(&letter.event)?,
        letter.sink,
        word(letter.class)?,
        letter.reason,
        letter.attempts,
        letter.call.as_ref().map(json).transpose()?,
        micros(letter.at),
    ])?;
    Ok(())
}

/// A letter with its place in the ledger.
struct Found {
    route: i64,
    key: Vec<u8>,
    stored: StoredDead,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Found> {
    let call: Option<String> = row.get("call")?;
    let letter = DeadLetter {
        delivery: DeliveryKey {
            route: row.get("route")?,
            event: row.get("event_key")?,
            generation: row.get("generation")?,
        },
        event: codec::parse(&row.get::<_, String>("event")?)?,
        sink: row.get("sink")?,
        class: from_word(row.get("class")?)?,
        reason: row.get("reason")?,
        attempts: row.get("attempts")?,
        call: call.map(|text| codec::parse(&text)).transpose()?,
        at: codec::time(row, "at")?,
    };
    Ok(Found { route: row.get("number")?, key: row.get("key")?, stored: StoredDead { id: row.get("id")?, letter } })
}

/// Lists letters, oldest first.
pub fn list(db: &Connection, filter: &DeadFilter) -> rusqlite::Result<Vec<StoredDead>> {
    let sql = format!(
        "{COLUMNS} WHERE dead.id > ?1 AND (?2 IS NULL OR owner.name = ?2) AND (?3 IS NULL OR class = ?3)
         ORDER BY dead.id LIMIT ?4"
    );
    let limit = if filter.limit == 0 { 100 } else { i64::try_from(filter.limit).unwrap_or(i64::MAX) };
    let class = filter.class.map(word).transpose()?;
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params![filter.after.unwrap_or(0), filter.route, class, limit], read)?;
    rows.map(|row| row.map(|found| found.stored)).collect()
}

fn find(db: &Connection, id: i64) -> rusqlite::Result<Option<Found>> {
    db.prepare_cached(&format!("{COLUMNS} WHERE dead.id = ?1"))?.query_row([id], read).optional()
}

/// One letter.
pub fn get(db: &Connection, id: i64) -> rusqlite::Result<Option<StoredDead>> {
    Ok(find(db, id)?.map(|found| found.stored))
}

/// How many letters there are, by route and class.
pub fn counts(db: &Connection) -> rusqlite::Result<Vec<(String, DeadClass, u64)>> {
    let sql = "SELECT owner.name, class, count(*) FROM dead JOIN owner ON owner.id = route
               GROUP BY owner.name, class ORDER BY owner.name, class";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, from_word(row.get(1)?)?, row.get::<_, i64>(2)?.cast_unsigned())))?;
    rows.collect()
}

fn remove(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM dead WHERE id = ?1")?.execute([id]).map(drop)
}

/// Drops a letter and ends its delivery if it was held. False if there is none.
pub fn drop_letter(db: &Connection, id: i64) -> rusqlite::Result<bool> {
    let Some(found) = find(db, id)? else { return Ok(false) };
    out_of_doubt(db, &found)?;
    deliveries::end_held(db, found.route, &found.key, "dropped")?;
    remove(db, id)?;
    Ok(true)
}

/// Ends a held delivery as if its call had worked. False if it is not held.
pub fn mark_delivered(db: &Connection, id: i64, remote_id: Option<&str>) -> rusqlite::Result<bool> {
    let Some(found) = find(db, id)? else { return Ok(false) };
    let Some((key, verb, before)) = deliveries::held_link(db, found.route, &found.key)? else {
        // It was tried again and has ended, and the process before it could take the letter away.
        let held = found.stored.letter.class == DeadClass::Held;
        if held && !deliveries::is_unfinished(db, found.route, &found.key)? {
            remove(db, id)?;
        }
        return Ok(false);
    };
    let event = &found.stored.letter.event;
    let link = Link {
        remote_id: remote_id.map(str::to_owned).or_else(|| before.and_then(|link| link.remote_id)),
        version: event.version,
        received: event.received,
        state: if verb == "delete" { LinkState::Deleted } else { LinkState::Linked },
        content: None,
    };
    deliveries::write_link(db, &key, &link)?;
    deliveries::end_held(db, found.route, &found.key, "delivered")?;
    remove(db, id)?;
    Ok(true)
}

/// Makes a held delivery ready to be tried again; its letter stays.
pub fn retry_held(db: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<bool> {
    let Some(found) = find(db, id)?.filter(|found| found.stored.letter.class == DeadClass::Held) else {
        return Ok(false);
    };
    out_of_doubt(db, &found)?;
    if deliveries::reopen(db, found.route, &found.key, now)? {
        return Ok(true);
    }
    remove(db, id)?;
    Ok(false)
}

/// A person said that the call in doubt had no effect: the record is as it was before it.
fn out_of_doubt(db: &Connection, found: &Found) -> rusqlite::Result<()> {
    let Some((key, verb, Some(link))) = deliveries::held_link(db, found.route, &found.key)? else { return Ok(()) };
    if link.state != LinkState::InDoubt {
        return Ok(());
    }
    let state = if verb == "create" { LinkState::Deleted } else { LinkState::Linked };
    deliveries::write_link(db, &key, &Link { state, ..link })
}

/// Removes a letter and nothing else, unless it was written anew.
pub fn forget(db: &Connection, id: i64, at: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM dead WHERE id = ?1 AND at = ?2")?.execute(params![id, micros(at)]).map(drop)
}
