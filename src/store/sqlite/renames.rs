//! What moves when a source or a sink gets another name. Doing it again does nothing.

use rusqlite::{Connection, params};

use super::codec::{owner, word};
use crate::outcome::Scope;

/// Moves a source's cursor and suspension, and the default keys of links and unfinished deliveries on these routes.
pub fn source(db: &Connection, from: &str, to: &str, routes: &[String]) -> rusqlite::Result<()> {
    db.execute("UPDATE OR REPLACE cursor SET source = ?2 WHERE source = ?1", [from, to])?;
    db.execute("UPDATE OR REPLACE snapshot SET source = ?2 WHERE source = ?1", [from, to])?;
    suspension(db, Scope::Source, from, to)?;
    for route in routes {
        if let Some(route) = owner(db, route)? {
            keys(db, route, from, to)?;
        }
    }
    Ok(())
}

/// Moves a sink's suspension; with its account, that one's suspension and used calls too.
pub fn sink(db: &Connection, from: &str, to: &str, its_own_account: bool) -> rusqlite::Result<()> {
    suspension(db, Scope::Sink, from, to)?;
    if its_own_account {
        suspension(db, Scope::Account, from, to)?;
        let sql = "INSERT INTO quota (account, month, used) SELECT ?2, month, used FROM quota WHERE account = ?1
                   ON CONFLICT DO UPDATE SET used = used + excluded.used";
        db.execute(sql, [from, to])?;
        db.execute("DELETE FROM quota WHERE account = ?1", [from])?;
        db.execute("UPDATE OR IGNORE turn SET account = ?2 WHERE account = ?1", [from, to])?;
    }
    Ok(())
}

fn suspension(db: &Connection, scope: Scope, from: &str, to: &str) -> rusqlite::Result<()> {
    let scope = word(scope)?;
    db.execute("UPDATE OR IGNORE suspension SET name = ?3 WHERE scope = ?1 AND name = ?2", params![scope, from, to])?;
    db.execute("DELETE FROM suspension WHERE scope = ?1 AND name = ?2", params![scope, from]).map(drop)
}

/// Replaces the source in keys of the form `source/subject`.
fn keys(db: &Connection, route: i64, from: &str, to: &str) -> rusqlite::Result<()> {
    // `0` follows `/`: the range is what begins with `from/`.
    let (first, end) = (format!("{from}/"), format!("{from}0"));
    let rest = i64::try_from(first.len()).unwrap_or(i64::MAX);
    let sql = "UPDATE OR IGNORE link SET key = ?1 || substr(key, ?2) WHERE owner = ?3 AND key >= ?4 AND key < ?5";
    db.execute(sql, params![to, rest, route, first, end])?;
    db.execute("DELETE FROM link WHERE owner = ?1 AND key >= ?2 AND key < ?3", params![route, first, end])?;
    let sql = "UPDATE ledger SET link_key = ?1 || substr(link_key, ?2)
               WHERE link_owner = ?3 AND link_key >= ?4 AND link_key < ?5 AND state < 3";
    db.execute(sql, params![to, rest, route, first, end]).map(drop)
}
