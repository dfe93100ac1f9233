//! The history: who did what, by the minute.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::item::{self, About};
use super::super::task::on_page;
use super::{Cursor, Source, Tasks};
use crate::connectors::{PollError, snapshot};
use crate::event::{NewEvent, Payload};

/// How far back the history goes. Source: worksection.com, `get_events`: `1d..30d`.
const DAYS: i64 = 30;

impl Source {
    /// What was not told yet, and something for people to read. The next cursor knows all that was shown.
    pub(super) async fn history(
        &self,
        cursor: &Cursor,
        next: &mut Cursor,
        now: Timestamp,
    ) -> Result<(Vec<NewEvent>, Option<String>), PollError> {
        let from = cursor.since.unwrap_or(cursor.start).saturating_sub(self.overlap).unwrap_or(cursor.start);
        let span = now.duration_since(from);
        let mut params = vec![("period", period(span))];
        if let [project] = &self.projects[..] {
            params.push(("id_project", project.clone()));
        }
        let mut items = match self.api.get("get_events", &params).await? {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        let newest_first = is_newest_first(&items, cursor.newest_first);
        oldest_first(&mut items, newest_first);
        let seen: BTreeSet<&str> = cursor.seen.iter().map(String::as_str).collect();
        let (mut events, mut shown) = (Vec::new(), Vec::new());
        for (id, item) in named(items) {
            let at = item::time(&item, &self.api.zone);
            // At the first poll only what happened since the start is news.
            let is_old = cursor.since.is_none() && at.is_some_and(|at| at < cursor.start);
            if !is_old && !seen.contains(id.as_str()) {
                events.extend(self.event(&id, &item, at));
            }
            shown.push(id);
        }
        let short = span > SignedDuration::from_hours(24 * DAYS);
        let note = short.then(|| {
            format!("Worksection shows {DAYS} days of its history: what comments and projects had before is not told")
        });
        (next.since, next.seen, next.newest_first) = (Some(now), shown, newest_first);
        Ok((events, note))
    }

    /// Its event, if it is wanted.
    fn event(&self, id: &str, item: &Value, at: Option<Timestamp>) -> Option<NewEvent> {
        let about = About::read(item)?;
        let wanted = if about.what == "task" { self.tasks == Tasks::Events } else { self.history };
        if !wanted || !self.is_within(&about, item) {
            return None;
        }
        let mut event = NewEvent::new(about.kind.clone(), Payload::from_value(&about.data(item)));
        event.id = Some(id.to_owned());
        event.subject = Some(about.subject());
        event.time = at;
        Some(event)
    }

    /// True if it is of one of the projects that count; what does not say counts.
    fn is_within(&self, about: &About, item: &Value) -> bool {
        let page = &item["object"]["page"];
        let project = match about.what.as_str() {
            "project" => Some(about.id.clone()),
            _ if page.as_str().is_some_and(|page| page.starts_with("/project/")) => on_page(page).first().cloned(),
            _ => None,
        };
        self.projects.is_empty() || project.is_none_or(|project| self.projects.contains(&project))
    }
}

/// A period that covers a span, in the vendor's words: `1m..360m`, `1h..72h`, `1d..30d`.
fn period(span: SignedDuration) -> String {
    // One more: the vendor's minute and ours do not begin together.
    let minutes = span.as_secs().max(0).div_euclid(60) + 2;
    let (hours, days) = (minutes.div_euclid(60) + 1, minutes.div_euclid(24 * 60) + 1);
    match () {
        () if minutes <= 360 => format!("{minutes}m"),
        () if hours <= 72 => format!("{hours}h"),
        () => format!("{}d", days.min(DAYS)),
    }
}

/// Whether items come newest first, which no page says: by their times, else because something is changed before it is there;
/// `known` is how they came before.
fn is_newest_first(items: &[Value], known: Option<bool>) -> Option<bool> {
    let at = |item: &Value| item["date_added"].as_str().unwrap_or_default().to_owned();
    match (items.first().map(at), items.last().map(at)) {
        (Some(first), Some(last)) if first != last => return Some(first > last),
        _ => {}
    }
    let object = |item: &Value| item["object"].clone();
    let posted = |at: usize| items[at]["action"] == "post";
    let made: Vec<usize> = (0..items.len()).filter(|at| posted(*at)).collect();
    let told = made.into_iter().find_map(|at| {
        let other =
            items.iter().position(|item| item["action"] != "post" && object(item)["id"] == object(&items[at])["id"])?;
        Some(other < at)
    });
    told.or(known)
}

/// Puts items in order. Within a minute theirs is kept, turned round where they come newest first.
fn oldest_first(items: &mut [Value], newest_first: Option<bool>) {
    if newest_first == Some(true) {
        items.reverse();
    }
    items.sort_by_key(|item| item["date_added"].as_str().unwrap_or_default().to_owned());
}

/// Each item with its id: a hash of all of it, with a number where the same is there again.
fn named(items: Vec<Value>) -> Vec<(String, Value)> {
    let mut times = BTreeMap::<String, u32>::new();
    let name = |item: Value| {
        let hash = snapshot::hash(&item);
        let before = times.entry(hash.clone()).or_default();
        *before += 1;
        (if *before == 1 { hash } else { format!("{hash}:{before}") }, item)
    };
    items.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_period_has_one_of_three_units() {
        let of = |seconds| period(SignedDuration::from_secs(seconds));
        assert_eq!((of(0).as_str(), of(600).as_str(), of(358 * 60).as_str()), ("2m", "12m", "360m"));
        assert_eq!((of(359 * 60).as_str(), of(70 * 3_600).as_str()), ("7h", "71h"));
        assert_eq!((of(72 * 3_600).as_str(), of(400 * 86_400).as_str(), of(-5).as_str()), ("4d", "30d", "2m"));
    }

    proptest! {
        #[test]
        fn a_period_covers_its_span(seconds in 0_i64..29 * 86_400) {
            let text = period(SignedDuration::from_secs(seconds));
            let (number, unit) = text.split_at(text.len() - 1);
            let (length, most) = match unit { "m" => (60, 360), "h" => (3_600, 72), _ => (86_400, 30) };
            let number: i64 = number.parse().unwrap();
            prop_assert!((1..=most).contains(&number) && number * length >= seconds, "{text}");
        }
    }

    #[test]
    fn items_are_known_by_content_and_number() {
        let item = |action: &str, at: &str| json!({"action": action, "date_added": at, "object": {"id": 7}});
        let close = || item("close", "2026-01-02 10:16");
        let mut items = vec![item("post", "2026-01-02 10:17"), close(), item("reopen", "2026-01-02 10:16"), close()];
        let order = is_newest_first(&items, None);
        assert_eq!(order, Some(true));
        oldest_first(&mut items, order);
        let all = named(items);
        let actions: Vec<_> = all.iter().map(|(_, item)| item["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["close", "reopen", "close", "post"]);
        assert_eq!(all[2].0, format!("{}:2", all[0].0));
        assert_eq!(named(vec![close()])[0].0, all[0].0, "as before when the other has left the window");
    }

    #[test]
    fn the_order_is_seen_or_remembered() {
        let item = |action: &str, at: &str, id: u32| json!({"action": action, "date_added": at, "object": {"id": id}});
        let of = |all: &[Value]| is_newest_first(all, None);
        let at = "2026-01-02 10:16";
        assert_eq!(of(&[item("update", "2026-01-02 10:17", 1), item("post", at, 2)]), Some(true));
        assert_eq!(of(&[item("post", at, 2), item("update", "2026-01-02 10:17", 1)]), Some(false));
        assert_eq!(of(&[item("close", at, 1), item("post", at, 2), item("post", at, 1)]), Some(true));
        assert_eq!(of(&[item("post", at, 2), item("post", at, 1), item("close", at, 1)]), Some(false));
        assert_eq!((of(&[item("post", at, 1)]), of(&[])), (None, None));
        assert_eq!(is_newest_first(&[item("post", at, 1)], Some(true)), Some(true));
    }
}
