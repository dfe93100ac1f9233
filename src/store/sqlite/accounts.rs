//! Suspensions, quotas by hand, and facts.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::codec::{self, from_word, json, micros, parse, word};
use super::deliveries;
use crate::outcome::Scope;
use crate::store::{Begun, Charge, Suspension};

/// True if it was not suspended before. What lasts longer wins, and until a person says so lasts longest.
pub fn suspend(db: &Connection, new: &Suspension) -> rusqlite::Result<bool> {
    let scope = word(new.scope)?;
    let until = new.until.map(micros);
    let probe = new.probe.map(micros);
    let sql =
        "INSERT OR IGNORE INTO suspension (scope, name, why, since, until, probe) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    if db.prepare_cached(sql)?.execute(params![scope, new.name, new.why, micros(new.since), until, probe])? == 1 {
        return Ok(true);
    }
    let sql = "UPDATE suspension SET why = ?3, until = ?4, probe = ?5
               WHERE scope = ?1 AND name = ?2 AND until IS NOT NULL AND (?4 IS NULL OR ?4 > until)";
    db.prepare_cached(sql)?.execute(params![scope, new.name, new.why, until, probe])?;
    Ok(false)
}

/// True if it was suspended.
pub fn resume(db: &Connection, scope: Scope, name: &str) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM suspension WHERE scope = ?1 AND name = ?2";
    Ok(db.prepare_cached(sql)?.execute(params![word(scope)?, name])? == 1)
}

/// True if it was suspended since then, until then.
pub fn lift(db: &Connection, of: &Suspension) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM suspension WHERE scope = ?1 AND name = ?2 AND since = ?3 AND until IS ?4";
    let until = of.until.map(micros);
    Ok(db.prepare_cached(sql)?.execute(params![word(of.scope)?, of.name, micros(of.since), until])? == 1)
}

/// True for the first who moves the probe.
pub fn claim_probe(db: &Connection, of: &Suspension, next: Timestamp) -> rusqlite::Result<bool> {
    let sql = "UPDATE suspension SET probe = ?5
               WHERE scope = ?1 AND name = ?2 AND since = ?3 AND probe = ?4 AND until IS NULL";
    let (since, probe) = (micros(of.since), of.probe.map(micros));
    Ok(db.prepare_cached(sql)?.execute(params![word(of.scope)?, of.name, since, probe, micros(next)])? == 1)
}

/// Everything that is suspended, since when first.
pub fn suspensions(db: &Connection) -> rusqlite::Result<Vec<Suspension>> {
    let sql = "SELECT scope, name, why, since, until, probe FROM suspension ORDER BY since, scope, name";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(Suspension {
            scope: from_word(row.get("scope")?)?,
            name: row.get("name")?,
            why: row.get("why")?,
            since: codec::time(row, "since")?,
            until: codec::time_or_null(row, "until")?,
            probe: codec::time_or_null(row, "probe")?,
        })
    })?;
    rows.collect()
}

/// Charges a call, or writes nothing.
pub fn charge(db: &Connection, charge: &Charge) -> rusqlite::Result<Begun> {
    if let Some(used) = deliveries::used_up(db, charge)? {
        return Ok(Begun::UsedUp { used });
    }
    deliveries::add_calls(db, charge, 1)?;
    Ok(Begun::Go)
}

/// Sets the calls of a month.
pub fn set_used(db: &Connection, account: &str, month: &str, used: u64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO quota (account, month, used) VALUES (?1, ?2, ?3)";
    db.prepare_cached(sql)?.execute(params![account, month, i64::try_from(used).unwrap_or(i64::MAX)]).map(drop)
}

/// A value kept under a name.
pub fn fact(db: &Connection, name: &str) -> rusqlite::Result<Option<Value>> {
    let sql = "SELECT value FROM fact WHERE name = ?1";
    let text = db.prepare_cached(sql)?.query_row([name], |row| row.get::<_, String>(0)).optional()?;
    text.map(|text| parse(&text)).transpose()
}

/// Keeps a value under a name.
pub fn set_fact(db: &Connection, name: &str, value: &Value) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO fact (name, value) VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute(params![name, json(value)?]).map(drop)
}

/// The next replay generation.
pub fn next_generation(db: &Connection) -> rusqlite::Result<u32> {
    db.prepare_cached("UPDATE generation SET last = last + 1 RETURNING last")?.query_row([], |row| row.get(0))
}
