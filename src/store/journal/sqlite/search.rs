//! What people ask the journal.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::super::{Entry, EventFilter, Listed, Part, Polled, Refused, Step};
use crate::event::{Event, Payload};
use crate::store::sqlite::{key, micros, parse, time, unreadable};

/// Searches events.
pub fn events(db: &Connection, filter: &EventFilter) -> rusqlite::Result<Vec<Listed>> {
    let mut query = Query::default();
    query.equal("source", filter.source.as_ref());
    query.equal("type", filter.kind.as_ref());
    query.equal("subject", filter.subject.as_ref());
    query.equal("id", filter.id.as_ref());
    if let Some(text) = &filter.text {
        query.and("data LIKE ? ESCAPE '\\'", Sql::Text(format!("%{}%", escape(text))));
    }
    if let Some(from) = filter.from {
        query.and("event.at >= ?", Sql::Integer(micros(from)));
    }
    if let Some(to) = filter.to {
        query.and("event.at < ?", Sql::Integer(micros(to)));
    }
    if let Some(after) = filter.after {
        query.and("event.seq > ?", Sql::Integer(after));
    }
    if let Some(before) = filter.before {
        query.and("event.seq < ?", Sql::Integer(before));
    }
    let order = if filter.oldest_first { "ASC" } else { "DESC" };
    query.values.push(Sql::Integer(at_most(filter.limit, 50)));
    let sql = format!(
        "SELECT event.seq, event.key, head, form, data FROM event LEFT JOIN body ON body.seq = event.seq
         WHERE true{} ORDER BY event.seq {order} LIMIT ?",
        query.conditions
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(query.values), |row| read_event(db, row))?;
    rows.collect()
}

/// Conditions with their values; the conditions' text is ours alone.
#[derive(Default)]
struct Query {
    conditions: String,
    values: Vec<Sql>,
}

impl Query {
    fn and(&mut self, condition: &str, value: Sql) {
        self.conditions.push_str(" AND ");
        self.conditions.push_str(condition);
        self.values.push(value);
    }

    fn equal(&mut self, column: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.and(&format!("event.{column} = ?"), Sql::Text(value.clone()));
        }
    }
}

/// A text as itself in a LIKE pattern.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

fn at_most(limit: usize, default: i64) -> i64 {
    if limit == 0 { default } else { i64::try_from(limit).unwrap_or(i64::MAX) }
}

fn read_event(db: &Connection, row: &Row<'_>) -> rusqlite::Result<Listed> {
    let mut event: Event = parse(&row.get::<_, String>("head")?)?;
    let body: Option<String> = row.get("data")?;
    let stored = body.is_some();
    if let Some(text) = body {
        let form: bool = row.get("form")?;
        event.data = if form { Payload::Form(text) } else { Payload::json(text.as_bytes()).map_err(unreadable)? };
    }
    let endings = endings(db, &row.get::<_, Vec<u8>>("key")?)?;
    Ok(Listed { seq: row.get("seq")?, event: Arc::new(event), body: stored, endings })
}

/// How an event ended on each route: the last word counts, but for that of a repetition, which changed nothing.
fn endings(db: &Connection, key: &[u8]) -> rusqlite::Result<Vec<(String, String)>> {
    let sql = "SELECT route, ending FROM step WHERE key = ?1 AND ending IS NOT NULL AND route IS NOT NULL
               ORDER BY route, ending = 'duplicate', id DESC";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut all = rows.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    all.dedup_by(|later, first| later.0 == first.0);
    Ok(all)
}

/// The steps of an event, in order.
pub fn journey(db: &Connection, event: &str) -> rusqlite::Result<Vec<Entry>> {
    let sql = "SELECT at, route, step FROM step WHERE key = ?1 ORDER BY id";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([key(&[event])], |row| {
        // Through a value: numbers of arbitrary precision cannot be read straight into a tagged enum.
        let step: serde_json::Value = parse(&row.get::<_, String>("step")?)?;
        let step: Step = serde_json::from_value(step).map_err(unreadable)?;
        Ok(Entry { at: time(row, "at")?, event: event.to_owned(), route: row.get("route")?, step })
    })?;
    rows.collect()
}

/// How much happened in each part of a longer time. Both questions are answered by an index alone.
pub fn course(db: &Connection, from: Timestamp, length: Duration, parts: usize) -> rusqlite::Result<Vec<Part>> {
    let length = i64::try_from(length.as_micros()).unwrap_or(i64::MAX).max(1);
    let end = micros(from).saturating_add(length.saturating_mul(i64::try_from(parts).unwrap_or(i64::MAX)));
    let mut course = vec![Part::default(); parts];
    let place = |row: &Row<'_>| Ok::<_, rusqlite::Error>(usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX));
    let sql = "SELECT (at - ?1) / ?2, count(*) FROM event WHERE at >= ?1 AND at < ?3 GROUP BY 1";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([micros(from), length, end])?;
    while let Some(row) = rows.next()? {
        if let Some(part) = course.get_mut(place(row)?) {
            part.came = row.get::<_, i64>(1)?.cast_unsigned();
        }
    }
    let sql = "SELECT (at - ?1) / ?2, sum(ending = 'delivered'),
                   sum(ending IN ('rejected', 'exhausted', 'poison', 'held'))
               FROM step WHERE ending IS NOT NULL AND at >= ?1 AND at < ?3 GROUP BY 1";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([micros(from), length, end])?;
    while let Some(row) = rows.next()? {
        if let Some(part) = course.get_mut(place(row)?) {
            part.delivered = row.get::<_, i64>(1)?.cast_unsigned();
            part.failed = row.get::<_, i64>(2)?.cast_unsigned();
        }
    }
    Ok(course)
}

/// Refused requests, newest first.
pub fn refused(db: &Connection, source: Option<&str>, limit: usize) -> rusqlite::Result<Vec<Refused>> {
    let sql = "SELECT at, source, status, why, peer, bytes, body FROM refused
               WHERE ?1 IS NULL OR source = ?1 ORDER BY id DESC LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![source, at_most(limit, 50)], |row| {
        Ok(Refused {
            at: time(row, "at")?,
            source: row.get("source")?,
            status: row.get("status")?,
            why: row.get("why")?,
            peer: row.get("peer")?,
            bytes: row.get::<_, i64>("bytes")?.cast_unsigned(),
            body: row.get("body")?,
        })
    })?;
    rows.collect()
}

/// A source's polls, newest first.
pub fn polled(db: &Connection, source: &str, limit: usize) -> rusqlite::Result<Vec<Polled>> {
    let sql = "SELECT at, source, events, note, failed, took_ms FROM polled
               WHERE source = ?1 ORDER BY id DESC LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![source, at_most(limit, 50)], |row| {
        Ok(Polled {
            at: time(row, "at")?,
            source: row.get("source")?,
            events: row.get::<_, i64>("events")?.cast_unsigned(),
            note: row.get("note")?,
            failed: row.get("failed")?,
            took_ms: row.get::<_, i64>("took_ms")?.cast_unsigned(),
        })
    })?;
    rows.collect()
}
