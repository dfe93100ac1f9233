//! The ledger, the links, and the quota as far as an attempt charges it.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{self, from_word, micros, owner, owner_or_new, word};
use super::dead;
use super::intents::{self, Settled};
use crate::event::{Received, Version};
use crate::store::{Charge, DeliveryKey, Doubt, LedgerEntry, Link, LinkKey, Progress, Question, Settlement, Standing};

/// The ledger's key of a delivery within its route.
pub fn delivery_key(delivery: &DeliveryKey) -> [u8; 16] {
    codec::key(&[&delivery.event, &delivery.generation.to_string()])
}

/// The number of `state` for an ended delivery; lower ones are unfinished.
const DONE: i64 = 3;
/// The number of `state` for an intent without an outcome.
const OPEN: i64 = 1;

/// All that is known before an attempt.
pub fn standing(db: &Connection, question: &Question, holder: &str, now: Timestamp) -> rusqlite::Result<Standing> {
    let route = owner(db, &question.delivery.route)?;
    let entry = match route {
        Some(route) => live_entry(db, route, &delivery_key(&question.delivery), question.now)?,
        None => None,
    };
    let repeats = match (route, &question.body_key) {
        (Some(route), Some(body)) => repeated(db, route, body, &question.delivery, question.now)?,
        _ => None,
    };
    let received = match route {
        Some(route) => known_receipt(db, route, &delivery_key(&question.delivery))?,
        None => None,
    };
    let own = link(db, &question.link)?;
    let others = question.others.iter().map(|key| link(db, key)).collect::<rusqlite::Result<_>>()?;
    let place = intents::Place {
        delivery: &question.delivery,
        link: &question.link,
        received: question.received,
        instead_of: &question.instead_of,
    };
    let ahead = intents::ahead(db, &place)?;
    let busy = intents::taken(db, &question.delivery, holder, now)?;
    Ok(Standing { entry, repeats, received, link: own, others, ahead, busy })
}

/// The ledger's line of a delivery.
pub fn entry(db: &Connection, delivery: &DeliveryKey, now: Timestamp) -> rusqlite::Result<Option<LedgerEntry>> {
    match owner(db, &delivery.route)? {
        Some(route) => live_entry(db, route, &delivery_key(delivery), now),
        None => Ok(None),
    }
}

fn live_entry(db: &Connection, route: i64, key: &[u8; 16], now: Timestamp) -> rusqlite::Result<Option<LedgerEntry>> {
    let sql = "SELECT state, attempt, first_retry, ending, due, verb, since, clock, process FROM ledger
               WHERE route = ?1 AND key = ?2 AND (state < 3 OR expires >= ?3)";
    db.prepare_cached(sql)?.query_row(params![route, key, micros(now)], read_entry).optional()
}

/// The receipt that a delivery counts by. The same event received again stands in the place of the first, or it would
/// wait behind those that wait behind itself.
pub(super) fn receipt(db: &Connection, route: i64, key: &[u8; 16], received: Received) -> rusqlite::Result<Received> {
    Ok(known_receipt(db, route, key)?.map_or(received, |first| first.min(received)))
}

fn known_receipt(db: &Connection, route: i64, key: &[u8; 16]) -> rusqlite::Result<Option<Received>> {
    let sql = "SELECT clock, process FROM ledger WHERE route = ?1 AND key = ?2 AND state < 3";
    db.prepare_cached(sql)?.query_row(params![route, key], codec::received).optional()
}

pub(super) fn read_entry(row: &Row<'_>) -> rusqlite::Result<LedgerEntry> {
    Ok(LedgerEntry {
        attempt: row.get("attempt")?,
        progress: read_progress(row)?,
        first_retry: codec::time_or_null(row, "first_retry")?,
        doubt: read_doubt(row)?,
    })
}

fn read_doubt(row: &Row<'_>) -> rusqlite::Result<Option<Doubt>> {
    let since = match (row.get("state")?, codec::time_or_null(row, "since")?) {
        (0 | OPEN, Some(since)) => since,
        // An intent of a version that did not write when: not before the event was there.
        (OPEN, None) => codec::received(row)?.at(),
        _ => return Ok(None),
    };
    Ok(Some(Doubt { verb: from_word(row.get("verb")?)?, since }))
}

pub(super) fn read_progress(row: &Row<'_>) -> rusqlite::Result<Progress> {
    Ok(match row.get("state")? {
        0 => Progress::Waiting { due: codec::time(row, "due")? },
        OPEN => Progress::Open { verb: from_word(row.get("verb")?)? },
        2 => Progress::Held { verb: from_word(row.get("verb")?)? },
        DONE => Progress::Done { ending: row.get("ending")? },
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(0, other)),
    })
}

fn repeated(
    db: &Connection,
    route: i64,
    body: &str,
    delivery: &DeliveryKey,
    now: Timestamp,
) -> rusqlite::Result<Option<String>> {
    Ok(alias(db, route, &body_hash(body, delivery), now)?.filter(|event| *event != delivery.event))
}

fn body_hash(body: &str, delivery: &DeliveryKey) -> [u8; 16] {
    codec::key(&[body, &delivery.generation.to_string()])
}

/// The event that first came with a body, unless that was long ago and has ended.
fn alias(db: &Connection, route: i64, body: &[u8; 16], now: Timestamp) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT event FROM alias WHERE route = ?1 AND body = ?2 AND (expires >= ?3 OR EXISTS (
                   SELECT 1 FROM ledger WHERE ledger.route = alias.route AND key = delivery AND state < 3))";
    db.prepare_cached(sql)?.query_row(params![route, body, micros(now)], |row| row.get(0)).optional()
}

pub(super) fn link(db: &Connection, key: &LinkKey) -> rusqlite::Result<Option<Link>> {
    let Some(of) = owner(db, &key.owner)? else { return Ok(None) };
    let sql = "SELECT remote_id, version, clock, process, state, content FROM link WHERE owner = ?1 AND key = ?2";
    db.prepare_cached(sql)?
        .query_row(params![of, key.key], |row| {
            let version = row.get::<_, Option<String>>("version")?;
            Ok(Link {
                remote_id: row.get("remote_id")?,
                version: version.map(|text| Version::parse(&text)).transpose().map_err(codec::unreadable)?,
                received: codec::received(row)?,
                state: from_word(row.get("state")?)?,
                content: row.get("content")?,
            })
        })
        .optional()
}

pub(super) fn used_up(db: &Connection, charge: &Charge) -> rusqlite::Result<Option<u64>> {
    let Some(limit) = charge.limit else { return Ok(None) };
    let used = used(db, &charge.account, &charge.month)?;
    Ok((used >= limit).then_some(used))
}

/// The calls an account has made in a month.
pub fn used(db: &Connection, account: &str, month: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT used FROM quota WHERE account = ?1 AND month = ?2";
    let used = db.prepare_cached(sql)?.query_row([account, month], |row| row.get::<_, i64>(0)).optional()?;
    Ok(used.unwrap_or(0).cast_unsigned())
}

pub(super) fn add_calls(db: &Connection, charge: &Charge, calls: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO quota (account, month, used) VALUES (?1, ?2, max(?3, 0))
               ON CONFLICT DO UPDATE SET used = max(used + ?3, 0)";
    db.prepare_cached(sql)?.execute(params![charge.account, charge.month, calls]).map(drop)
}

/// Writes how a delivery goes on, with link, refund and dead letter; or nothing, if it does not count.
pub fn settle(db: &Connection, settlement: &Settlement, holder: &str, now: Timestamp) -> rusqlite::Result<Settled> {
    let settled = intents::may_settle(db, settlement, holder, now)?;
    if settled != Settled::Yes {
        return Ok(settled);
    }
    let route = owner_or_new(db, &settlement.delivery.route)?;
    let key = delivery_key(&settlement.delivery);
    if let Some(charge) = &settlement.refund
        // Settled twice, because the first answer was lost, it is refunded once.
        && live_entry(db, route, &key, now)?.is_some_and(|e| matches!(e.progress, Progress::Open { .. }))
    {
        add_calls(db, charge, -1)?;
    }
    let line = Line {
        route,
        key,
        delivery: &settlement.delivery,
        body_key: settlement.body_key.as_deref(),
        link: &settlement.link,
        received: receipt(db, route, &key, settlement.received)?,
        expires: settlement.expires,
        holder,
        until: None,
    };
    line.write(db, &settlement.entry)?;
    line.write_alias(db, now)?;
    if let Some(link) = &settlement.new_link {
        let received = if link.received == settlement.received { line.received } else { link.received };
        write_link(db, &settlement.link, &Link { received, ..link.clone() })?;
    }
    if let Some(letter) = &settlement.dead {
        dead::write(db, route, &key, letter)?;
    }
    Ok(Settled::Yes)
}

/// Writes the first line of a delivery; false if it has one.
pub fn enlist(db: &Connection, settlement: &Settlement, holder: &str, now: Timestamp) -> rusqlite::Result<bool> {
    if entry(db, &settlement.delivery, now)?.is_some() {
        return Ok(false);
    }
    Ok(settle(db, settlement, holder, now)? == Settled::Yes)
}

/// What the ledger needs to know of a delivery besides how far it is.
pub(super) struct Line<'a> {
    pub route: i64,
    pub key: [u8; 16],
    pub delivery: &'a DeliveryKey,
    pub body_key: Option<&'a str>,
    pub link: &'a LinkKey,
    pub received: Received,
    pub expires: Timestamp,
    pub holder: &'a str,
    /// When an intent is no longer the holder's alone.
    pub until: Option<Timestamp>,
}

impl Line<'_> {
    pub fn write(&self, db: &Connection, entry: &LedgerEntry) -> rusqlite::Result<()> {
        if let Progress::Done { ending } = &entry.progress {
            return self.write_done(db, entry, ending);
        }
        let (state, due, verb) = match &entry.progress {
            Progress::Waiting { due } => {
                (0, Some(micros(*due)), entry.doubt.map(|doubt| word(doubt.verb)).transpose()?)
            }
            Progress::Open { verb } => (OPEN, None, Some(word(verb)?)),
            Progress::Held { verb } => (2, None, Some(word(verb)?)),
            Progress::Done { .. } => (DONE, None, None),
        };
        let link_owner = owner_or_new(db, &self.link.owner)?;
        let sql = "INSERT OR REPLACE INTO ledger (route, key, state, attempt, first_retry, expires, event, due, verb,
                       link_owner, link_key, clock, process, generation, since, holder, until)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
        db.prepare_cached(sql)?.execute(params![
            self.route,
            self.key,
            state,
            entry.attempt,
            entry.first_retry.map(micros),
            micros(self.expires),
            self.delivery.event,
            due,
            verb,
            link_owner,
            self.link.key,
            self.received.clock.cast_signed(),
            self.received.process,
            self.delivery.generation,
            entry.doubt.map(|doubt| micros(doubt.since)),
            self.holder,
            self.until.map(micros),
        ])?;
        Ok(())
    }

    fn write_done(&self, db: &Connection, entry: &LedgerEntry, ending: &str) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO ledger (route, key, state, attempt, first_retry, expires, ending)
                   VALUES (?1, ?2, 3, ?3, ?4, ?5, ?6)";
        let first_retry = entry.first_retry.map(micros);
        db.prepare_cached(sql)?
            .execute(params![self.route, self.key, entry.attempt, first_retry, micros(self.expires), ending])
            .map(drop)
    }

    /// Remembers whose body it is. The first one keeps it: if a repetition took it over, a retry of the first would
    /// look like a repetition itself, and neither would be delivered.
    pub fn write_alias(&self, db: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let Some(body) = self.body_key else { return Ok(()) };
        let body = body_hash(body, self.delivery);
        if alias(db, self.route, &body, now)?.is_some_and(|event| event != self.delivery.event) {
            return Ok(());
        }
        let sql = "INSERT OR REPLACE INTO alias (route, body, event, delivery, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
        db.prepare_cached(sql)?
            .execute(params![self.route, body, self.delivery.event, self.key, micros(self.expires)])
            .map(drop)
    }
}

/// Writes a link.
pub fn write_link(db: &Connection, key: &LinkKey, link: &Link) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO link (owner, key, remote_id, version, clock, process, state, content)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    db.prepare_cached(sql)?.execute(params![
        owner_or_new(db, &key.owner)?,
        key.key,
        link.remote_id,
        link.version.map(|version| version.to_string()),
        link.received.clock.cast_signed(),
        link.received.process,
        word(link.state)?,
        link.content,
    ])?;
    Ok(())
}

/// The link of an unfinished delivery with its key, and what its call was to do.
pub fn held_link(db: &Connection, route: i64, key: &[u8]) -> rusqlite::Result<Option<(LinkKey, String, Option<Link>)>> {
    let sql = "SELECT owner.name, link_key, verb FROM ledger JOIN owner ON owner.id = link_owner
               WHERE route = ?1 AND key = ?2 AND state = 2";
    let found = db
        .prepare_cached(sql)?
        .query_row(params![route, key], |row| {
            let of = LinkKey { owner: row.get(0)?, key: row.get(1)? };
            Ok((of, row.get::<_, String>(2)?))
        })
        .optional()?;
    let Some((of, verb)) = found else { return Ok(None) };
    let link = link(db, &of)?;
    Ok(Some((of, verb, link)))
}

/// True if a delivery has not ended.
pub fn is_unfinished(db: &Connection, route: i64, key: &[u8]) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM ledger WHERE route = ?1 AND key = ?2 AND state < 3";
    db.prepare_cached(sql)?.query_row(params![route, key], |row| row.get(0))
}

/// Sets the ledger's attempt.
pub fn advance(db: &Connection, delivery: &DeliveryKey, attempt: u32) -> rusqlite::Result<()> {
    let sql = "UPDATE ledger SET attempt = ?3 WHERE key = ?2 AND route = (SELECT id FROM owner WHERE name = ?1)";
    db.prepare_cached(sql)?.execute(params![delivery.route, delivery_key(delivery), attempt]).map(drop)
}

/// Ends a held delivery, also one that was to be tried again and never came into its queue.
pub fn end_held(db: &Connection, route: i64, key: &[u8], ending: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE ledger SET state = 3, ending = ?3, event = NULL, due = NULL, verb = NULL, link_owner = NULL,
                   link_key = NULL, clock = NULL, process = NULL, since = NULL, holder = NULL, until = NULL
               WHERE route = ?1 AND key = ?2 AND state IN (0, 2)";
    db.prepare_cached(sql)?.execute(params![route, key, ending]).map(drop)
}

/// Makes a held delivery ready to be tried from its first attempt on: it waits, and keeps later events of its subject
/// waiting. False if it is neither held nor made ready already.
pub fn reopen(db: &Connection, route: i64, key: &[u8], now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "UPDATE ledger SET state = 0, attempt = 1, first_retry = NULL, due = ?3, verb = NULL, since = NULL
               WHERE route = ?1 AND key = ?2 AND (state = 2 OR state = 0 AND attempt = 1)";
    Ok(db.prepare_cached(sql)?.execute(params![route, key, micros(now)])? > 0)
}

/// Ends an unfinished delivery that its route takes no more.
pub fn leave(db: &Connection, delivery: &DeliveryKey) -> rusqlite::Result<()> {
    let sql = "UPDATE ledger SET state = 3, ending = 'skipped', event = NULL, due = NULL, verb = NULL,
                   link_owner = NULL, link_key = NULL, clock = NULL, process = NULL, since = NULL, holder = NULL,
                   until = NULL
               WHERE key = ?2 AND route = (SELECT id FROM owner WHERE name = ?1) AND state < 2";
    db.prepare_cached(sql)?.execute(params![delivery.route, delivery_key(delivery)]).map(drop)
}

/// Forgets ended deliveries, and the bodies of deliveries that are forgotten.
pub fn expire(db: &Connection, now: Timestamp, limit: usize) -> rusqlite::Result<usize> {
    let (now, limit) = (micros(now), i64::try_from(limit).unwrap_or(i64::MAX));
    let sql = "DELETE FROM ledger WHERE (route, key) IN (
                   SELECT route, key FROM ledger WHERE state = 3 AND expires < ?1 ORDER BY expires LIMIT ?2)";
    let forgotten = db.prepare_cached(sql)?.execute([now, limit])?;
    let sql = "DELETE FROM alias WHERE (route, body) IN (
                   SELECT route, body FROM alias WHERE expires < ?1 AND NOT EXISTS (
                       SELECT 1 FROM ledger WHERE ledger.route = alias.route AND key = delivery AND state < 3)
                   ORDER BY expires LIMIT ?2)";
    db.prepare_cached(sql)?.execute([now, limit])?;
    Ok(forgotten)
}

/// How many records a route's links point to.
pub fn link_count(db: &Connection, of: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM link WHERE state <> 'deleted' AND owner = (SELECT id FROM owner WHERE name = ?1)";
    db.prepare_cached(sql)?.query_row([of], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// Forgets a route's ledger, and its links unless others go by them; how many links there were.
pub fn forget_route(db: &Connection, name: &str, links: bool) -> rusqlite::Result<u64> {
    let Some(id) = owner(db, name)? else { return Ok(0) };
    db.execute("DELETE FROM ledger WHERE route = ?1", [id])?;
    db.execute("DELETE FROM alias WHERE route = ?1", [id])?;
    if !links {
        return Ok(0);
    }
    db.execute("DELETE FROM link WHERE owner = ?1", [id]).map(|links| links as u64)
}

/// Gives all that is known of a route to another name.
pub fn rename_route(db: &Connection, from: &str, to: &str) -> rusqlite::Result<()> {
    let Some(old) = owner(db, from)? else { return Ok(()) };
    db.execute("UPDATE OR IGNORE suspension SET name = ?2 WHERE scope = 'route' AND name = ?1", [from, to])?;
    db.execute("DELETE FROM suspension WHERE scope = 'route' AND name = ?1", [from])?;
    let Some(new) = owner(db, to)? else {
        return db.execute("UPDATE owner SET name = ?2 WHERE name = ?1", [from, to]).map(drop);
    };
    // Both names were in use: what the new name already knows is the newer knowledge.
    for table in ["ledger", "alias", "dead"] {
        db.execute(&format!("UPDATE OR IGNORE {table} SET route = ?2 WHERE route = ?1"), [old, new])?;
        db.execute(&format!("DELETE FROM {table} WHERE route = ?1"), [old])?;
    }
    db.execute("UPDATE ledger SET link_owner = ?2 WHERE link_owner = ?1", [old, new])?;
    db.execute("UPDATE OR IGNORE link SET owner = ?2 WHERE owner = ?1", [old, new])?;
    db.execute("DELETE FROM link WHERE owner = ?1", [old])?;
    db.execute("DELETE FROM owner WHERE id = ?1", [old]).map(drop)
}
