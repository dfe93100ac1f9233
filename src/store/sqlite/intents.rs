//! Intents: who may make the call of a delivery, and whose turn it is among those of one link.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::codec::{self, micros, owner, owner_or_new};
use super::deliveries::{self, Line, delivery_key};
use crate::event::Received;
use crate::store::{
    Ahead, Basis, Begun, DeliveryKey, Doubt, Intent, LEASE, LedgerEntry, Link, LinkKey, Progress, Settlement,
};

/// Where a delivery stands in the row of those of its link.
pub struct Place<'a> {
    pub delivery: &'a DeliveryKey,
    pub link: &'a LinkKey,
    pub received: Received,
    /// Those of its route that it stands for: they need not go first, unless a call of theirs may have taken effect.
    pub instead_of: &'a [DeliveryKey],
}

/// As far as those that go before a delivery are counted.
const FAR: u32 = 1_000;

/// The first delivery of the link that has to end before this one. Of equal receipts (one event on two routes, a
/// replay) the order of the ledger's keys decides.
pub fn ahead(db: &Connection, place: &Place<'_>) -> rusqlite::Result<Option<Ahead>> {
    let Some(of) = owner(db, &place.link.owner)? else { return Ok(None) };
    let route = owner(db, &place.delivery.route)?;
    let instead_of: Vec<[u8; 16]> = place.instead_of.iter().map(delivery_key).collect();
    let key = delivery_key(place.delivery);
    let received = match route {
        Some(route) => deliveries::receipt(db, route, &key, place.received)?,
        None => place.received,
    };
    let sql = "SELECT event, state, due, verb, ending, since, route, key FROM ledger
               WHERE link_owner = :owner AND link_key = :link AND state < 3 AND NOT (route IS :route AND key = :key)
                 AND (state > 0 OR since IS NOT NULL
                      OR (clock, process, route, key) < (:clock, :process, ifnull(:route, 1 << 62), :key))
               ORDER BY clock, process, route, key";
    let asked = named_params! {
        ":owner": of,
        ":link": place.link.key,
        ":clock": received.clock.cast_signed(),
        ":process": received.process,
        ":route": route,
        ":key": key,
    };
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(asked)?;
    while let Some(row) = rows.next()? {
        let progress = deliveries::read_progress(row)?;
        let in_doubt = row.get::<_, Option<i64>>("since")?.is_some();
        let waits = matches!(progress, Progress::Waiting { .. }) && !in_doubt;
        let own = row.get::<_, Option<i64>>("route")? == route;
        if !(waits && own && instead_of.contains(&row.get("key")?)) {
            let event = row.get("event")?;
            let mut others = 0;
            while others < FAR && rows.next()?.is_some() {
                others += 1;
            }
            return Ok(Some(Ahead { event, progress, others }));
        }
    }
    Ok(None)
}

/// Until when another process has this very delivery under way.
pub fn taken(
    db: &Connection,
    delivery: &DeliveryKey,
    holder: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let Some(route) = owner(db, &delivery.route)? else { return Ok(None) };
    let sql = "SELECT until FROM ledger
               WHERE route = ?1 AND key = ?2 AND state = 1 AND until > ?3 AND holder IS NOT ?4";
    let asked = params![route, delivery_key(delivery), micros(now), holder];
    db.prepare_cached(sql)?.query_row(asked, |row| codec::time(row, "until")).optional()
}

/// Writes an intent and charges its call, or neither.
pub fn begin(db: &Connection, intent: &Intent, holder: &str, now: Timestamp) -> rusqlite::Result<Begun> {
    let route = owner_or_new(db, &intent.delivery.route)?;
    let key = delivery_key(&intent.delivery);
    let place = Place {
        delivery: &intent.delivery,
        link: &intent.link,
        received: intent.received,
        instead_of: &intent.instead_of,
    };
    // What is in doubt itself is cleared up whatever else is: else two in doubt would wait for each other.
    let open = "SELECT EXISTS (SELECT 1 FROM ledger WHERE route = ?1 AND key = ?2
                    AND (state = 1 OR state < 3 AND since IS NOT NULL))";
    let in_doubt = db.prepare_cached(open)?.query_row(params![route, key], |row| row.get(0))?;
    let behind = if in_doubt { under_way(db, &place, now)? } else { ahead(db, &place)?.is_some() };
    let beaten = behind || taken(db, &intent.delivery, holder, now)?.is_some();
    if beaten || is_past(db, (route, &key), intent.attempt, now)? || has_changed(db, intent)? {
        return Ok(Begun::Busy);
    }
    if let Some(used) = intent.charge.as_ref().map(|charge| deliveries::used_up(db, charge)).transpose()?.flatten() {
        return Ok(Begun::UsedUp { used });
    }
    if let Some(charge) = &intent.charge {
        deliveries::add_calls(db, charge, 1)?;
    }
    let line = Line {
        route,
        key,
        delivery: &intent.delivery,
        body_key: intent.body_key.as_deref(),
        link: &intent.link,
        received: deliveries::receipt(db, route, &key, intent.received)?,
        expires: intent.expires,
        holder,
        until: Some(lease_from(now)),
    };
    let open = Progress::Open { verb: intent.verb };
    let doubt = Some(Doubt { verb: intent.verb, since: intent.since });
    line.write(db, &LedgerEntry { attempt: intent.attempt, progress: open, first_retry: intent.first_retry, doubt })?;
    line.write_alias(db, now)?;
    let sql = "UPDATE link SET content = NULL WHERE owner = ?1 AND key = ?2 AND content IS NOT NULL";
    db.prepare_cached(sql)?.execute(params![owner_or_new(db, &intent.link.owner)?, intent.link.key])?;
    Ok(Begun::Go)
}

/// True if the delivery has ended, or this attempt of it, since it was decided what to do: another process had a copy of
/// its message.
fn is_past(db: &Connection, (route, key): (i64, &[u8; 16]), attempt: u32, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM ledger WHERE route = ?1 AND key = ?2
                    AND (state < 3 OR expires >= ?4) AND (state >= 2 OR attempt > ?3))";
    db.prepare_cached(sql)?.query_row(params![route, key, attempt, micros(now)], |row| row.get(0))
}

/// True if the link is another than the one by which it was decided what to do.
fn has_changed(db: &Connection, intent: &Intent) -> rusqlite::Result<bool> {
    // What is known of the content is forgotten by intents themselves.
    let bare = |link: &Link| Link { content: None, ..link.clone() };
    let there = deliveries::link(db, &intent.link)?;
    Ok(there.as_ref().map(bare) != intent.seen.as_ref().map(bare))
}

/// True if a call of another delivery of the link may be on its way this moment.
fn under_way(db: &Connection, place: &Place<'_>, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM ledger
               WHERE link_owner = (SELECT id FROM owner WHERE name = ?1) AND link_key = ?2 AND state = 1 AND state < 3
                 AND until > ?3 AND NOT (route = (SELECT id FROM owner WHERE name = ?4) AND key = ?5))";
    let asked =
        params![place.link.owner, place.link.key, micros(now), place.delivery.route, delivery_key(place.delivery)];
    db.prepare_cached(sql)?.query_row(asked, |row| row.get(0))
}

fn lease_from(now: Timestamp) -> Timestamp {
    let lease = SignedDuration::try_from(LEASE).unwrap_or(SignedDuration::MAX);
    now.saturating_add(lease).unwrap_or(Timestamp::MAX)
}

/// Keeps an open intent, if it is still the holder's.
pub fn renew(db: &Connection, delivery: &DeliveryKey, holder: &str, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE ledger SET until = ?4 WHERE key = ?2 AND route = (SELECT id FROM owner WHERE name = ?1)
               AND state = 1 AND holder = ?3";
    let until = micros(lease_from(now));
    db.prepare_cached(sql)?.execute(params![delivery.route, delivery_key(delivery), holder, until]).map(drop)
}

/// Whether a settlement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Yes,
    /// Another process has the delivery under way, or has taken it up since its intent.
    Fenced,
    /// What it was decided by is not so any more.
    Overtaken,
}

/// Whether a settlement counts.
pub fn may_settle(db: &Connection, settlement: &Settlement, holder: &str, now: Timestamp) -> rusqlite::Result<Settled> {
    if taken(db, &settlement.delivery, holder, now)?.is_some() {
        return Ok(Settled::Fenced);
    }
    let Some(route) = owner(db, &settlement.delivery.route)? else { return Ok(Settled::Yes) };
    let settled = match &settlement.basis {
        Basis::Delivery => Settled::Yes,
        Basis::Intent if is_own(db, route, settlement, holder)? => Settled::Yes,
        Basis::Intent => Settled::Fenced,
        Basis::Link { seen, instead_of } => {
            let place = Place {
                delivery: &settlement.delivery,
                link: &settlement.link,
                received: settlement.received,
                instead_of,
            };
            let as_seen = deliveries::link(db, &settlement.link)? == *seen && ahead(db, &place)?.is_none();
            if as_seen || has_ended(db, route, settlement)? { Settled::Yes } else { Settled::Overtaken }
        }
    };
    Ok(settled)
}

/// True if it was settled already, and the answer was lost.
fn has_ended(db: &Connection, route: i64, settlement: &Settlement) -> rusqlite::Result<bool> {
    let Progress::Done { ending } = &settlement.entry.progress else { return Ok(false) };
    let sql = "SELECT EXISTS (SELECT 1 FROM ledger WHERE route = ?1 AND key = ?2 AND state = 3 AND ending = ?3)";
    db.prepare_cached(sql)?.query_row(params![route, delivery_key(&settlement.delivery), ending], |row| row.get(0))
}

/// True if the delivery is still this process's since its intent.
fn is_own(db: &Connection, route: i64, settlement: &Settlement, holder: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT holder, ending FROM ledger WHERE route = ?1 AND key = ?2";
    let found = db
        .prepare_cached(sql)?
        .query_row(params![route, delivery_key(&settlement.delivery)], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?))
        })
        .optional()?;
    Ok(match (found, &settlement.entry.progress) {
        // Ended lines bear no holder. Settled twice, because the first answer was lost, it is the same ending.
        (Some((None, Some(ending))), Progress::Done { ending: mine }) => ending == *mine,
        (Some((by, _)), _) => by.as_deref() == Some(holder),
        (None, _) => true,
    })
}
