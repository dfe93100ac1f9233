//! Entries that are no longer listed: deleted, moved away, or out of sight.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::Value;

use super::super::client::Reply;
use super::super::entry::{Entry, Kind, Place};
use super::super::window::{Lies, Window};
use super::{Making, Memo, Source, changed_kind};
use crate::connectors::{PollError, Remembered, snapshot};

/// What Dooray says of an entry that it no longer lists.
enum Now {
    /// It does not know it any more.
    Gone,
    /// It is there, as this.
    There(Box<Entry>, Value),
    /// It is there or may be, and nothing more is told.
    Unknown,
}

impl Source {
    /// Tells what was deleted or moved out of the window. `visible` are the calendars that the account sees.
    pub(super) async fn tell_missing(
        &self,
        missing: Vec<(String, Remembered)>,
        (window, visible): (Window, &BTreeSet<String>),
        making: &mut Making,
    ) -> Result<(), PollError> {
        let mut hidden = BTreeSet::new();
        for (key, remembered) in missing {
            let memo = Memo::read(&remembered)?;
            match window.lies(&memo.place) {
                // It slid out: not looked at any more, which is not a deletion.
                Lies::Before => making.page.changes.push(snapshot::forget(key)),
                // It was put to a later time, and the window has not reached it yet.
                Lies::After => {}
                Lies::Within if memo.unlisted => {}
                Lies::Within if !visible.contains(&memo.place.calendar) => {
                    hidden.insert(memo.place.calendar.clone());
                }
                Lies::Within => match self.now(&memo).await? {
                    Now::Gone => {
                        making.tell("event.deleted", &memo.place, "deleted", (None, &memo.data));
                        making.page.changes.push(snapshot::forget(key));
                    }
                    Now::There(entry, detail) => {
                        self.tell_elsewhere(*entry, &detail, (&remembered.hash, memo), window, making);
                    }
                    Now::Unknown => making.remember(&remembered.hash, &Memo { unlisted: true, ..memo }),
                },
            }
        }
        if !hidden.is_empty() {
            let calendars = hidden.into_iter().collect::<Vec<_>>().join(", ");
            making.page.note = Some(format!("no longer visible, and not deleted for that: calendar {calendars}"));
        }
        Ok(())
    }

    /// An entry that is there but not listed: moved out of the window, or kept from the list for another reason.
    fn tell_elsewhere(
        &self,
        entry: Entry,
        detail: &Value,
        (hash, memo): (&str, Memo),
        window: Window,
        making: &mut Making,
    ) {
        let lies = window.lies(&entry.place);
        let now = entry.hash();
        if now == hash {
            // Its beginning slid out of the window, or it was declined: asked about once.
            return making.remember(hash, &Memo { unlisted: true, ..memo });
        }
        let mut data = entry.data(Some(detail), &self.reading);
        let kind = changed_kind(&entry.place, &memo, &mut data);
        making.tell(kind, &entry.place, &now, (entry.updated, &data));
        data.as_object_mut().map(|data| data.shift_remove("before"));
        match lies {
            Lies::Before => making.page.changes.push(snapshot::forget(entry.place.subject())),
            lies => {
                let unlisted = lies == Lies::Within;
                making.remember(&now, &Memo { place: entry.place, data, unlisted, opaque: false });
            }
        }
    }

    async fn now(&self, memo: &Memo) -> Result<Now, PollError> {
        let place = &memo.place;
        let Some(path) = path(place).filter(|_| !memo.opaque) else { return Ok(Now::Unknown) };
        Ok(match self.api.ask(&path.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await? {
            Reply::No(StatusCode::NOT_FOUND, _) => Now::Gone,
            Reply::Yes(said) if place.kind == Kind::General && said.result.is_object() => {
                let entry = Entry::read(said.result.clone(), &self.reading).map_err(PollError::stop)?;
                Now::There(Box::new(entry), said.result)
            }
            Reply::Yes(_) | Reply::No(..) | Reply::Long => Now::Unknown,
        })
    }
}

/// Where an entry is asked for; `None` if nowhere.
fn path(place: &Place) -> Option<Vec<String>> {
    let path: Vec<&str> = match (place.kind, &place.project) {
        (Kind::General, _) if place.calendar.is_empty() => return None,
        (Kind::General, _) => vec!["calendar", "v1", "calendars", &place.calendar, "events", &place.id],
        (Kind::Post, _) => vec!["project", "v1", "posts", &place.id],
        (Kind::Milestone, Some(project)) => vec!["project", "v1", "projects", project, "milestones", &place.id],
        (Kind::Milestone, None) => return None,
    };
    Some(path.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_end_lies_where_it_begins() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let window = Window { from: at(100), to: at(200) };
        let lies = |from: Option<i64>, to: Option<i64>| {
            let (from, to) = (from.map(at), to.map(at));
            let place =
                json!({"id": "1", "kind": "general", "calendar": "1", "from": from, "to": to, "whole_day": false});
            window.lies(&serde_json::from_value(place).unwrap())
        };
        assert_eq!(lies(Some(50), Some(100)), Lies::Before);
        assert_eq!(lies(Some(50), Some(101)), Lies::Within);
        assert_eq!(lies(Some(200), Some(300)), Lies::After);
        assert_eq!(lies(Some(199), Some(300)), Lies::Within);
        assert_eq!((lies(Some(99), Some(99)), lies(Some(100), Some(100))), (Lies::Before, Lies::Within));
        assert_eq!(lies(None, None), Lies::Within);
    }
}
