//! How values stand in the columns.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::event::Received;

/// The first 16 bytes of a hash of these parts: what rows that live for weeks are found by.
pub fn key(parts: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths keep ("a", "bc") and ("ab", "c") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

/// A time as microseconds; finer digits are cut.
pub fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The time in a column of microseconds.
pub fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(unreadable)
}

/// The time in a column of microseconds, or null.
pub fn time_or_null(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(Timestamp::from_microsecond).transpose().map_err(unreadable)
}

/// The receipt in the columns `clock` and `process`.
pub fn received(row: &Row<'_>) -> rusqlite::Result<Received> {
    Ok(Received { clock: row.get::<_, i64>("clock")?.cast_unsigned(), process: row.get("process")? })
}

/// A value as JSON text.
pub fn json<T: Serialize + ?Sized>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

/// The value of JSON text.
pub fn parse<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(unreadable)
}

/// The word of an enum without fields.
pub fn word<T: Serialize>(value: T) -> rusqlite::Result<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Ok(word),
        Ok(other) => Err(rusqlite::Error::ToSqlConversionFailure(format!("{other} is no word").into())),
        Err(e) => Err(rusqlite::Error::ToSqlConversionFailure(e.into())),
    }
}

/// The enum of a word.
pub fn from_word<T: DeserializeOwned>(word: String) -> rusqlite::Result<T> {
    serde_json::from_value(Value::String(word)).map_err(unreadable)
}

/// What is in a column cannot be what was written there.
pub fn unreadable<E: std::error::Error + Send + Sync + 'static>(e: E) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e))
}

/// The number of a route, if it was ever seen.
pub fn owner(db: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM owner WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

/// The number of a route; a new one where it was never seen.
pub fn owner_or_new(db: &Connection, name: &str) -> rusqlite::Result<i64> {
    if let Some(id) = owner(db, name)? {
        return Ok(id);
    }
    db.prepare_cached("INSERT INTO owner (name) VALUES (?1)")?.execute([name])?;
    Ok(db.last_insert_rowid())
}
