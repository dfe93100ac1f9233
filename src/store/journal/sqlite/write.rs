//! What goes into the journal, and what leaves it.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::super::{Entry, Polled, Record, Refused, Step};
use crate::event::{Event, Payload};
use crate::store::sqlite::{json, key, micros};

/// Writes events that are not there yet. One whose subject has been read anew takes the place of what it came as.
pub fn events(db: &Connection, events: &[Arc<Event>], bodies: bool) -> rusqlite::Result<()> {
    let mut add = db.prepare_cached(
        "INSERT OR IGNORE INTO event (key, id, source, type, subject, at, head) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut is_unfetched =
        db.prepare_cached("SELECT seq FROM event WHERE key = ?1 AND json_extract(head, '$.unfetched') = 1")?;
    let mut change = db.prepare_cached("UPDATE event SET type = ?2, subject = ?3, head = ?4 WHERE seq = ?1")?;
    let mut forget_body = db.prepare_cached("DELETE FROM body WHERE seq = ?1")?;
    let mut add_body = db.prepare_cached("INSERT INTO body (seq, at, form, data) VALUES (?1, ?2, ?3, ?4)")?;
    for event in events {
        let at = micros(event.received.at());
        let row = params![key(&[&event.key()]), event.id, event.source, event.kind, event.subject, at, head(event)?];
        let seq = if add.execute(row)? == 1 {
            Some(db.last_insert_rowid())
        } else if event.unfetched {
            None
        } else {
            let known = is_unfetched.query_row([key(&[&event.key()])], |row| row.get(0)).optional()?;
            if let Some(seq) = known {
                change.execute(params![seq, event.kind, event.subject, head(event)?])?;
                forget_body.execute([seq])?;
            }
            known
        };
        if let Some(seq) = seq.filter(|_| bodies) {
            let (form, text) = match &event.data {
                Payload::Json(raw) => (false, raw.get()),
                Payload::Form(text) => (true, text.as_str()),
            };
            add_body.execute(params![seq, at, form, text])?;
        }
    }
    Ok(())
}

/// The event without its data.
fn head(event: &Event) -> rusqlite::Result<String> {
    json(&Event {
        id: event.id.clone(),
        source: event.source.clone(),
        kind: event.kind.clone(),
        subject: event.subject.clone(),
        time: event.time,
        version: event.version,
        received: event.received,
        collapse: event.collapse,
        generation: event.generation,
        forced: event.forced,
        unfetched: event.unfetched,
        headers: event.headers.clone(),
        data: Payload::from_value(&Value::Null),
    })
}

/// Writes a step, a refusal or a poll.
pub fn record(db: &Connection, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Entry(entry) => step(db, entry),
        Record::Refused(refused) => refuse(db, refused),
        Record::Polled(polled) => poll(db, polled),
    }
}

fn step(db: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let ending = match &entry.step {
        Step::Ended { ending, .. } => Some(ending),
        _ => None,
    };
    let sql = "INSERT INTO step (key, at, route, ending, step) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.prepare_cached(sql)?
        .execute(params![key(&[&entry.event]), micros(entry.at), entry.route, ending, json(&entry.step)?])
        .map(drop)
}

fn refuse(db: &Connection, refused: &Refused) -> rusqlite::Result<()> {
    let sql = "INSERT INTO refused (at, source, status, why, peer, bytes, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    db.prepare_cached(sql)?
        .execute(params![
            micros(refused.at),
            refused.source,
            refused.status,
            refused.why,
            refused.peer,
            refused.bytes.cast_signed(),
            refused.body
        ])
        .map(drop)
}

fn poll(db: &Connection, polled: &Polled) -> rusqlite::Result<()> {
    let sql = "INSERT INTO polled (at, source, events, note, failed, took_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    db.prepare_cached(sql)?
        .execute(params![
            micros(polled.at),
            polled.source,
            polled.events.cast_signed(),
            polled.note,
            polled.failed,
            polled.took_ms.cast_signed()
        ])
        .map(drop)
}

/// At most `limit` rows of each table: a batch is short, and others' are written in between.
pub fn forget(db: &Connection, keep: Timestamp, bodies: Timestamp, limit: usize) -> rusqlite::Result<usize> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut forgotten = 0;
    // A body never outlives its event.
    let oldest_body = bodies.max(keep);
    let tables = [("body", "seq", oldest_body), ("event", "seq", keep)];
    let lines = ["step", "refused", "polled"].map(|table| (table, "id", keep));
    for (table, id, before) in tables.into_iter().chain(lines) {
        let sql =
            format!("DELETE FROM {table} WHERE {id} IN (SELECT {id} FROM {table} WHERE at < ?1 ORDER BY at LIMIT ?2)");
        forgotten += db.prepare_cached(&sql)?.execute([micros(before), limit])?;
    }
    let sql = "UPDATE refused SET body = NULL
               WHERE id IN (SELECT id FROM refused WHERE at < ?1 AND body IS NOT NULL ORDER BY at LIMIT ?2)";
    forgotten += db.prepare_cached(sql)?.execute([micros(oldest_body), limit])?;
    Ok(forgotten)
}
