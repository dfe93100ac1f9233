//! The rows behind the queues: every function is one command of the database.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Line;
use crate::broker::{Binding, Depth};
use crate::event::{Event, Received};

/// A queue's row.
pub struct QueueRow {
    pub id: i64,
    pub bound: bool,
    pub binding: Binding,
}

/// What is found at start.
pub struct Found {
    pub queues: Vec<QueueRow>,
    /// The next message's number.
    pub next: i64,
    /// The newest receipt.
    pub newest: u64,
}

/// An event on its way into queues.
pub struct Parcel {
    pub body: Vec<u8>,
    pub entered: i64,
    pub received: Received,
    pub lines: Vec<Arc<Line>>,
}

/// A message on its way into wait.
pub struct Wait {
    pub queue: i64,
    pub tag: u64,
    pub event: Arc<Event>,
    pub attempt: u32,
    pub entered: i64,
    pub due: i64,
}

/// What a consumer finds.
pub struct Look {
    /// In the order in which they are to be handed out, with JSON bodies.
    pub ready: Vec<Ready>,
    /// The number up to which all fresh ones are taken.
    pub cursor: i64,
    /// When the next one that waits is due, in milliseconds.
    pub next_due: Option<i64>,
}

/// A message to hand out.
pub struct Ready {
    pub id: i64,
    pub attempt: u32,
    pub fresh: bool,
    pub body: Vec<u8>,
}

/// Reads the queues and where the numbers stand.
pub fn open(db: &Connection) -> rusqlite::Result<Found> {
    let queues = queues(db)?;
    let mut newest_id = db.query_row("SELECT max(id) FROM body", [], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(0);
    for queue in &queues {
        newest_id = newest_id.max(last(db, queue.id)?);
    }
    let newest = db.query_row("SELECT max(newest) FROM queue", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(Found { queues, next: newest_id + 1, newest: newest.unwrap_or(0).cast_unsigned() })
}

fn queues(db: &Connection) -> rusqlite::Result<Vec<QueueRow>> {
    let mut statement = db.prepare_cached("SELECT id, name, bound, sources, types FROM queue ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        let binding = Binding { queue: row.get("name")?, sources: names(row, "sources")?, types: names(row, "types")? };
        Ok(QueueRow { id: row.get("id")?, bound: row.get("bound")?, binding })
    })?;
    rows.collect()
}

fn names(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Vec<String>>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, e.into()))
}

/// Makes the bindings be exactly these; all queues afterwards.
pub fn declare(db: &Connection, bindings: &[Binding]) -> rusqlite::Result<Vec<QueueRow>> {
    let list = |names: &Option<Vec<String>>| names.as_ref().map(|names| serde_json::json!(names).to_string());
    db.execute("UPDATE queue SET bound = 0 WHERE bound = 1", [])?;
    let sql = "INSERT INTO queue (name, bound, sources, types) VALUES (?1, 1, ?2, ?3)
               ON CONFLICT (name) DO UPDATE SET bound = 1, sources = excluded.sources, types = excluded.types";
    for binding in bindings {
        db.prepare_cached(sql)?.execute(params![binding.queue, list(&binding.sources), list(&binding.types)])?;
    }
    queues(db)
}

/// Puts events into their queues, each body once.
pub fn publish(db: &Connection, next: &AtomicI64, parcels: &[Parcel]) -> rusqlite::Result<()> {
    let mut count =
        db.prepare_cached("UPDATE queue SET messages = messages + 1, newest = max(newest, ?2) WHERE id = ?1")?;
    let mut add_body = db.prepare_cached("INSERT INTO body (id, event) VALUES (?1, ?2)")?;
    let mut add = db.prepare_cached(
        "INSERT INTO message (queue, id, body, attempt, entered, due, received) VALUES (?1, ?2, ?2, 1, ?3, 0, ?4)",
    )?;
    for parcel in parcels {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let clock = parcel.received.clock.cast_signed();
        let received = parcel.received.at().as_millisecond();
        let mut copies = 0;
        for line in &parcel.lines {
            // A queue that was removed since the bindings were read takes nothing.
            if count.execute([line.id, clock])? == 1 {
                add.execute([line.id, id, parcel.entered, received])?;
                copies += 1;
            }
        }
        if copies > 0 {
            add_body.execute(params![id, parcel.body])?;
        }
    }
    Ok(())
}

/// Puts another attempt of a message in wait.
pub fn wait(db: &Connection, next: &AtomicI64, wait: &Wait) -> rusqlite::Result<()> {
    let id = next.fetch_add(1, Ordering::Relaxed);
    let body = body_of(db, wait, id)?;
    let received = wait.event.received.at().as_millisecond();
    let sql = "INSERT INTO message (queue, id, body, attempt, entered, due, received)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = params![wait.queue, id, body, wait.attempt, wait.entered, wait.due, received];
    db.prepare_cached(sql)?.execute(row)?;
    let sql = "UPDATE queue SET messages = messages + 1 WHERE id = ?1";
    db.prepare_cached(sql)?.execute([wait.queue])?;
    Ok(())
}

/// The body of the message that is put in wait; written again if it was acked before, against the contract: better
/// stored twice than lost.
fn body_of(db: &Connection, wait: &Wait, id: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT body FROM message WHERE queue = ?1 AND id = ?2";
    let body = db.prepare_cached(sql)?.query_row([wait.queue, wait.tag.cast_signed()], |row| row.get(0)).optional()?;
    if let Some(body) = body {
        return Ok(body);
    }
    let event = serde_json::to_vec(&wait.event).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    db.prepare_cached("INSERT INTO body (id, event) VALUES (?1, ?2)")?.execute(params![id, event])?;
    Ok(id)
}

/// Ends messages, each with its body if it was the last that had it.
pub fn ack(db: &Connection, queue: i64, tags: &[u64]) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM message WHERE queue = ?1 AND id = ?2 RETURNING body")?;
    let mut ended = 0;
    for tag in tags {
        let body = delete.query_row([queue, tag.cast_signed()], |row| row.get(0)).optional()?;
        // Else it was acked before, or its queue was removed.
        if let Some(body) = body {
            drop_body(db, body)?;
            ended += 1;
        }
    }
    if ended > 0 {
        let sql = "UPDATE queue SET messages = messages - ?2 WHERE id = ?1";
        db.prepare_cached(sql)?.execute([queue, ended])?;
    }
    Ok(())
}

fn drop_body(db: &Connection, body: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM body WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE body = ?1)";
    db.prepare_cached(sql)?.execute([body]).map(drop)
}

/// Finds at most `room` messages and about `bytes` bytes of bodies: fresh ones after `cursor`, and those whose time has
/// come, merged by the time they entered the queue or were due. None of `held`.
pub fn look(
    db: &Connection,
    queue: i64,
    cursor: i64,
    room: usize,
    bytes: usize,
    now: i64,
    held: &HashSet<u64>,
) -> rusqlite::Result<Look> {
    let mut heads = fresh(db, queue, cursor, room, held)?;
    let found = heads.len();
    heads.extend(due(db, queue, room, now, held)?);
    heads.sort_unstable_by_key(|head| (head.rank, head.id));
    heads.truncate(room);
    let mut body = db.prepare_cached("SELECT event FROM body WHERE id = ?1")?;
    let mut ready = Vec::with_capacity(heads.len());
    let mut size = 0;
    for head in heads {
        let event: Vec<u8> = body.query_row([head.body], |row| row.get(0))?;
        size += event.len();
        ready.push(Ready { id: head.id, attempt: head.attempt, fresh: head.fresh, body: event });
        if size >= bytes {
            break;
        }
    }
    let taken = ready.iter().filter(|message| message.fresh).count();
    let cursor = match ready.iter().rev().find(|message| message.fresh) {
        // Nothing fresh is left, so the next look need not pass again over those that wait.
        _ if taken == found && found < room => last(db, queue)?.max(cursor),
        Some(message) => message.id,
        None => cursor,
    };
    let sql = "SELECT min(due) FROM message INDEXED BY message_due WHERE queue = ?1 AND due > ?2 AND due > 0";
    let next_due = db.prepare_cached(sql)?.query_row([queue, now.max(0)], |row| row.get(0))?;
    Ok(Look { ready, cursor, next_due })
}

/// A message as it lies in a queue.
pub struct Lying {
    pub id: i64,
    pub attempt: u32,
    /// In milliseconds, if it was put in wait.
    pub due: Option<i64>,
    pub body: Vec<u8>,
}

/// The first messages of a queue, those that were put in wait before the fresh ones: at least one if there is any, and
/// about `bytes` bytes of bodies.
pub fn first(db: &Connection, queue: i64, most: usize, bytes: usize) -> rusqlite::Result<Vec<Lying>> {
    let waiting = "SELECT message.id, attempt, due, event FROM message INDEXED BY message_due
                   JOIN body ON body.id = message.body
                   WHERE queue = ?1 AND due > 0 ORDER BY due, message.id";
    let fresh = "SELECT message.id, attempt, NULL, event FROM message JOIN body ON body.id = message.body
                 WHERE queue = ?1 AND due = 0 ORDER BY message.id";
    let (mut found, mut size) = (Vec::new(), 0);
    for sql in [waiting, fresh] {
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query([queue])?;
        while let Some(row) = rows.next()? {
            if found.len() == most || size >= bytes {
                return Ok(found);
            }
            let lying = Lying { id: row.get(0)?, attempt: row.get(1)?, due: row.get(2)?, body: row.get(3)? };
            size += lying.body.len();
            found.push(lying);
        }
    }
    Ok(found)
}

/// The highest number in a queue.
fn last(db: &Connection, queue: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT max(id) FROM message WHERE queue = ?1";
    let id = db.prepare_cached(sql)?.query_row([queue], |row| row.get::<_, Option<i64>>(0))?;
    Ok(id.unwrap_or(0))
}

struct Head {
    id: i64,
    body: i64,
    attempt: u32,
    rank: i64,
    fresh: bool,
}

fn fresh(db: &Connection, queue: i64, cursor: i64, room: usize, held: &HashSet<u64>) -> rusqlite::Result<Vec<Head>> {
    let sql = "SELECT id, body, attempt, entered FROM message
               WHERE queue = ?1 AND id > ?2 AND due = 0 ORDER BY id";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([queue, cursor], |row| read_head(row, true))?;
    let mut heads = take_free(rows, room, held)?;
    // Times are read before numbers are given out, and clocks go back: ranked by them alone, a fresh one could fall
    // behind a higher number, and the cursor would pass over it.
    let mut latest = i64::MIN;
    for head in &mut heads {
        latest = latest.max(head.rank);
        head.rank = latest;
    }
    Ok(heads)
}

fn due(db: &Connection, queue: i64, room: usize, now: i64, held: &HashSet<u64>) -> rusqlite::Result<Vec<Head>> {
    let sql = "SELECT id, body, attempt, due FROM message INDEXED BY message_due
               WHERE queue = ?1 AND due > 0 AND due <= ?2 ORDER BY due, id";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([queue, now], |row| read_head(row, false))?;
    take_free(rows, room, held)
}

fn read_head(row: &Row<'_>, fresh: bool) -> rusqlite::Result<Head> {
    Ok(Head { id: row.get(0)?, body: row.get(1)?, attempt: row.get(2)?, rank: row.get(3)?, fresh })
}

fn take_free(
    rows: impl Iterator<Item = rusqlite::Result<Head>>,
    room: usize,
    held: &HashSet<u64>,
) -> rusqlite::Result<Vec<Head>> {
    rows.filter(|row| row.as_ref().map_or(true, |head| !held.contains(&head.id.cast_unsigned()))).take(room).collect()
}

/// How the queues stand.
pub fn depths(db: &Connection, now: i64) -> rusqlite::Result<Vec<Depth>> {
    let sql = "SELECT name, messages,
                   (SELECT count(*) FROM message INDEXED BY message_due
                    WHERE queue = queue.id AND due > ?1 AND due > 0) AS waiting,
                   (SELECT received FROM message WHERE queue = queue.id AND due = 0 ORDER BY id LIMIT 1) AS fresh,
                   (SELECT min(received) FROM message INDEXED BY message_due
                    WHERE queue = queue.id AND due > 0) AS waited
               FROM queue ORDER BY name";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([now.max(0)], |row| {
        let (fresh, waited): (Option<i64>, Option<i64>) = (row.get("fresh")?, row.get("waited")?);
        let oldest = fresh.into_iter().chain(waited).min();
        Ok(Depth {
            queue: row.get("name")?,
            messages: row.get::<_, i64>("messages")?.cast_unsigned(),
            waiting: row.get::<_, i64>("waiting")?.cast_unsigned(),
            oldest: oldest.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        })
    })?;
    rows.collect()
}

/// False if there are messages under the new name already. A queue that is not there needs no new name.
pub fn rename(db: &Connection, from: &str, to: &str) -> rusqlite::Result<bool> {
    let there = "SELECT EXISTS (SELECT 1 FROM queue WHERE name = ?1), EXISTS (SELECT 1 FROM queue WHERE name = ?2 AND messages > 0)";
    let (old, busy): (bool, bool) = db.query_row(there, [from, to], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if !old || busy {
        return Ok(!old);
    }
    db.execute("DELETE FROM queue WHERE name = ?1", [to])?;
    db.execute("UPDATE queue SET name = ?2, bound = 0 WHERE name = ?1", [from, to])?;
    Ok(true)
}

/// Lets nothing more into a queue.
pub fn unbind(db: &Connection, queue: i64) -> rusqlite::Result<()> {
    db.execute("UPDATE queue SET bound = 0 WHERE id = ?1", [queue]).map(drop)
}

/// Removes at most `limit` messages of a queue; how many.
pub fn remove_some(db: &Connection, queue: i64, limit: usize) -> rusqlite::Result<u64> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "DELETE FROM message WHERE queue = ?1 AND id IN (
                   SELECT id FROM message WHERE queue = ?1 ORDER BY id LIMIT ?2) RETURNING body";
    let bodies = db
        .prepare_cached(sql)?
        .query_map([queue, limit], |row| row.get::<_, i64>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for &body in &bodies {
        drop_body(db, body)?;
    }
    let removed = i64::try_from(bodies.len()).unwrap_or(i64::MAX);
    db.execute("UPDATE queue SET messages = messages - ?2 WHERE id = ?1", [queue, removed])?;
    Ok(bodies.len() as u64)
}

/// Takes the queue away with what may have come into it since.
pub fn drop_queue(db: &Connection, queue: i64) -> rusqlite::Result<()> {
    while remove_some(db, queue, 1_000)? > 0 {}
    db.execute("DELETE FROM queue WHERE id = ?1", [queue]).map(drop)
}
