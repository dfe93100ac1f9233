//! Objects that are no longer listed: deleted, or no longer such as the source's filter wants.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Parameters, Source, data, parameters};
use crate::connectors::workfront::answer::Trouble;
use crate::connectors::workfront::times;
use crate::connectors::{Memory, Page, PollError, Remembered, snapshot};
use crate::event::{NewEvent, Payload};

/// The most that a search shows. Source: the page's limits.
const PAGE: usize = 2_000;
/// The most objects of a result. Source: the page's limits.
const MOST: usize = 50_000;
/// How many objects are asked for by their IDs at once.
const AT_ONCE: usize = 100;

impl Source {
    /// Tells what was deleted, and what changed so that the filter no longer shows it. `seen` were shown just now.
    pub(super) async fn tell_missing(
        &self,
        hashes: &BTreeMap<String, String>,
        seen: &BTreeSet<String>,
        (start, now): (Timestamp, Timestamp),
        memory: &dyn Memory,
        page: &mut Page,
    ) -> Result<(), PollError> {
        if hashes.is_empty() {
            return Ok(());
        }
        let listed = self.list().await?;
        let missing: Vec<&str> =
            hashes.keys().filter(|id| !listed.contains(*id) && !seen.contains(*id)).map(String::as_str).collect();
        // Kept apart until all is asked: half of the deletions would pass by the guard that asks about many.
        let mut found = Page::default();
        for ids in missing.chunks(AT_ONCE) {
            let there = self.asking.by_ids(ids).await?;
            let still: BTreeSet<String> = there.iter().map(|row| row.id.clone()).collect();
            for row in there {
                self.take(row, hashes, (start, now), memory, &mut found).await?;
            }
            for id in ids.iter().filter(|id| !still.contains(**id)) {
                if let Some(before) = memory.get(id).await? {
                    found.events.push(self.deleted(id, &before));
                    found.changes.push(snapshot::forget(*id));
                }
            }
        }
        page.events.append(&mut found.events);
        page.changes.append(&mut found.changes);
        Ok(())
    }

    fn deleted(&self, id: &str, before: &Remembered) -> NewEvent {
        let data = data(&before.value, &self.asking.object);
        let mut event = NewEvent::new("object.deleted", Payload::from_value(&data));
        let updated = before.hash.split('|').next().unwrap_or_default();
        event.id = Some(format!("{id}:deleted:{updated}"));
        event.subject = Some(id.to_owned());
        event
    }

    /// The IDs of all objects that the filter shows. One that is deleted meanwhile shifts the others: what is missing here
    /// is asked for by its ID before anything is said.
    ///
    /// Whether the most objects of a result are counted over all its pages the page does not say. So where pages end, at
    /// that number or at a refusal, the next result begins with what was made last.
    async fn list(&self) -> Result<BTreeSet<String>, PollError> {
        let mut all = BTreeSet::new();
        let (mut first, mut since, mut last) = (0, None, None);
        loop {
            let mut how = parameters([
                ("fields", "ID,entryDate".to_owned()),
                ("entryDate_Sort", "asc".to_owned()),
                ("ID_Sort", "asc".to_owned()),
                ("$$FIRST", first.to_string()),
                ("$$LIMIT", PAGE.to_string()),
            ]);
            how.extend(since.into_iter().flat_map(made_since));
            match self.asking.searched(how).await? {
                Ok(rows) => {
                    let rows = rows.ok_or_else(|| PollError::retry(None, "a list of IDs took more than 1 MiB"))?;
                    let count = rows.len();
                    last = rows.iter().rev().find_map(|row| row.created).or(last);
                    all.extend(rows.into_iter().map(|row| row.id));
                    if count < PAGE {
                        return Ok(all);
                    }
                    first += count;
                }
                Err((Trouble::Wrong, _)) if first > 0 && last > since => (first, since) = (0, last),
                Err((_, error)) => return Err(error),
            }
            if first + PAGE > MOST {
                if last <= since {
                    return Err(PollError::stop(
                        "more objects were made at one and the same time than workfront lists",
                    ));
                }
                (first, since) = (0, last);
            }
        }
    }
}

/// What was made then or later. How fine the vendor compares times is not said.
fn made_since(at: Timestamp) -> Parameters {
    let at = at.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(at);
    parameters([("entryDate", times::asked(at)), ("entryDate_Mod", "gte".to_owned())])
}
