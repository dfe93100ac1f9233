//! One entry of a calendar: an event, or a task or milestone that is shown as one.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::people;
use super::times::{self, DayEnd};
use crate::connectors::{reading, snapshot};

/// What an entry stands for. The page's own milestone says `category: post`; its `uid` tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    General,
    Post,
    Milestone,
}

impl Kind {
    fn of(raw: &Value) -> Self {
        let uid = raw["uid"].as_str().unwrap_or_default();
        match raw["category"].as_str() {
            _ if uid.contains("+milestone@") => Self::Milestone,
            _ if uid.contains("+post@") => Self::Post,
            Some("post") => Self::Post,
            Some("milestone") => Self::Milestone,
            _ => Self::General,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Post => "post",
            Self::Milestone => "milestone",
        }
    }
}

/// How times are read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) zone: TimeZone,
    pub(super) day_end: DayEnd,
}

/// An entry as a list or a detail shows it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// When it changed last.
    pub(super) updated: Option<Timestamp>,
    raw: Value,
}

/// Where an entry is: in which calendar, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) calendar: String,
    /// The project of a task or milestone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<String>,
    /// When it begins; `None`: it has no time.
    pub(super) from: Option<Timestamp>,
    /// When it is over.
    pub(super) to: Option<Timestamp>,
    whole_day: bool,
}

impl Place {
    /// Stable as long as the entry exists, through changes of calendar and time. Tasks and milestones number themselves.
    pub(super) fn subject(&self) -> String {
        match self.kind {
            Kind::General => self.id.clone(),
            kind => format!("{}+{}", self.id, kind.name()),
        }
    }

    /// True if it was put to another time or calendar.
    pub(super) fn moved(&self, before: &Self) -> bool {
        let at = |place: &Self| (place.calendar.clone(), place.from, place.to, place.whole_day);
        at(self) != at(before)
    }
}

impl Entry {
    /// Reads one.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn read(raw: Value, reading: &Reading) -> Result<Self, String> {
        let id = reading::id(&raw["id"]).ok_or("dooray showed an event without an id")?;
        let calendar = reading::id(&raw["calendar"]["id"]).unwrap_or_default();
        let zone = &reading.zone;
        let whole_day = super::envelope::flag(&raw["wholeDayFlag"]).unwrap_or(false);
        let due = times::instant(&raw["dueDate"], zone);
        let (from, to) = match days(&raw, whole_day, reading) {
            Some((first, last)) => {
                let at = |day: jiff::civil::Date| Some(day.to_zoned(zone.clone()).ok()?.timestamp());
                (at(first), at(last.saturating_add(1.day())))
            }
            None => (times::instant(&raw["startedAt"], zone), times::instant(&raw["endedAt"], zone)),
        };
        let from = from.or(due);
        let place = Place {
            kind: Kind::of(&raw),
            project: reading::id(&raw["project"]["id"]),
            to: to.or(from),
            id,
            calendar,
            from,
            whole_day,
        };
        Ok(Self { place, updated: times::instant(&raw["updatedAt"], zone), raw })
    }

    /// Changes when something that counts does: not by another spelling of a time, nor by a field that no page names.
    pub(super) fn hash(&self) -> String {
        let raw = &self.raw;
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let Place { kind, calendar, project, from, to, whole_day, .. } = &self.place;
        snapshot::hash(&json!({
            "kind": kind.name(), "calendar": calendar, "project": project, "from": time(*from), "to": time(*to),
            "whole_day": whole_day, "subject": raw["subject"], "location": raw["location"], "updated": time(self.updated),
            "recurrence": raw["recurrenceType"], "instance": raw["recurrenceId"], "status": raw["me"]["status"],
            "conference": raw["conferencing"]["url"],
        }))
    }

    /// As events carry it. `detail` is the same entry with its body and users, where it could be had.
    pub(super) fn data(&self, detail: Option<&Value>, reading: &Reading) -> Value {
        let raw = detail.unwrap_or(&self.raw);
        let zone = &reading.zone;
        let mut data = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value.filter(|value| !value.is_null() && *value != json!([])) {
                data.insert(key.to_owned(), value);
            }
        };
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(Value::from);
        put("id", Some(Value::from(self.place.id.clone())));
        put("title", text(&raw["subject"]));
        put("category", Some(Value::from(self.place.kind.name())));
        put("calendar", people::named_thing(&raw["calendar"]).or_else(|| people::named_thing(&self.raw["calendar"])));
        put("project", people::named_thing(&raw["project"]));
        let [start, end] = self.span(raw, reading);
        put("start", start);
        put("end", end);
        put("whole_day", Some(Value::from(self.place.whole_day)));
        put("due", times::shown(&raw["dueDate"], zone));
        put("location", text(&raw["location"]));
        put("organizer", people::person(&raw["users"]["from"]));
        put("attendees", Some(Value::from(people::people(&raw["users"]["to"]))));
        put("cc", Some(Value::from(people::people(&raw["users"]["cc"]))));
        put("body", people::body(&raw["body"]));
        put("files", raw["files"].as_array().map(|files| files.iter().filter_map(people::named_thing).collect()));
        put("recurrence", recurrence(raw, zone));
        put("conference", text(&raw["conferencing"]["url"]));
        put("status", text(&raw["me"]["status"]));
        put("created", times::shown(&raw["createdAt"], zone));
        put("updated", times::shown(&raw["updatedAt"], zone));
        data.insert("raw".to_owned(), raw.clone());
        Value::Object(data)
    }

    /// Start and end: times, or the first and the last day.
    fn span(&self, raw: &Value, reading: &Reading) -> [Option<Value>; 2] {
        match days(raw, self.place.whole_day, reading) {
            Some((first, last)) => [first, last].map(|day| Some(Value::from(day.to_string()))),
            None => [&raw["startedAt"], &raw["endedAt"]].map(|time| times::shown(time, &reading.zone)),
        }
    }
}

/// The first and the last day of an entry of whole days.
fn days(raw: &Value, whole_day: bool, reading: &Reading) -> Option<(jiff::civil::Date, jiff::civil::Date)> {
    let start = raw["startedAt"].as_str().filter(|_| whole_day)?;
    let first = times::day(start, &reading.zone)?;
    let last = raw["endedAt"].as_str().and_then(|end| reading.day_end.last(first, end, &reading.zone));
    Some((first, last.unwrap_or(first)))
}

/// `{ type, instance, master, rule }` of a recurring event.
fn recurrence(raw: &Value, zone: &TimeZone) -> Option<Value> {
    let kind = raw["recurrenceType"].as_str().filter(|kind| *kind != "none")?;
    let mut told = Map::from_iter([("type".to_owned(), Value::from(kind))]);
    let master = reading::id(&raw["masterScheduleId"]);
    for (key, value) in [("instance", reading::id(&raw["recurrenceId"])), ("master", master)] {
        if let Some(value) = value {
            told.insert(key.to_owned(), Value::from(value));
        }
    }
    if let Some(rule) = raw["recurrenceRule"].as_object() {
        let kept = rule.iter().filter_map(|(key, value)| {
            let value = match (key.as_str(), value) {
                (_, Value::String(text)) if text.is_empty() => return None,
                ("until", value) => times::shown(value, zone)?,
                // The pages write Saturday as `ST`, iCalendar as `SA`.
                ("byday", Value::String(days)) => Value::from(days.replace("ST", "SA")),
                (_, value) => value.clone(),
            };
            Some((key.clone(), value))
        });
        told.insert("rule".to_owned(), Value::Object(kept.collect()));
    }
    Some(Value::Object(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Reading {
        Reading { zone: TimeZone::get("Asia/Seoul").unwrap(), day_end: DayEnd::Exclusive }
    }

    fn entry(raw: Value) -> Entry {
        Entry::read(raw, &reading()).unwrap()
    }

    fn without_raw(raw: Value) -> Value {
        let mut data = entry(raw).data(None, &reading());
        data.as_object_mut().unwrap().shift_remove("raw");
        data
    }

    #[test]
    fn the_samples_of_the_page_are_read() {
        let meeting = json!({
            "id": "1", "masterScheduleId": "1", "calendar": {"id": "1", "name": "내 캘린더"}, "recurrenceId": null,
            "startedAt": "2015-09-08T10:30:00+09:00", "endedAt": "2015-09-08T11:30:00+09:00", "location": "4-5 회의실",
            "subject": "출시계획회의", "createdAt": "2014-10-18T09:30:00+09:00", "updatedAt": "2014-10-28T09:30:00+09:00",
            "category": "general", "wholeDayFlag": false, "tenant": {"id": ""}, "uid": "1@dooray.com",
            "recurrenceType": "none", "users": {}, "me": {"type": "member", "status": "accepted"},
        });
        insta::assert_snapshot!(without_raw(meeting).to_string(), @r#"{"id":"1","title":"출시계획회의","category":"general","calendar":{"id":"1","name":"내 캘린더"},"start":"2015-09-08T10:30:00+09:00","end":"2015-09-08T11:30:00+09:00","whole_day":false,"location":"4-5 회의실","status":"accepted","created":"2014-10-18T09:30:00+09:00","updated":"2014-10-28T09:30:00+09:00"}"#);
        let post = json!({
            "id": "3234234", "calendar": {"id": "3", "name": "개발프로젝트"}, "project": {"id": "3", "name": "개발프로젝트"},
            "startedAt": null, "endedAt": null, "dueDate": "2014-11-28T09:00:00+09:00", "location": null,
            "subject": "버그 1", "category": "post", "users": null, "uid": "3234234+post@dooray.com",
        });
        assert_eq!(entry(post.clone()).place.subject(), "3234234+post");
        assert_eq!(entry(post.clone()).place.from.unwrap().to_string(), "2014-11-28T00:00:00Z");
        insta::assert_snapshot!(without_raw(post).to_string(), @r#"{"id":"3234234","title":"버그 1","category":"post","calendar":{"id":"3","name":"개발프로젝트"},"project":{"id":"3","name":"개발프로젝트"},"whole_day":false,"due":"2014-11-28T09:00:00+09:00"}"#);
        let milestone = json!({"id": "12", "calendar": {"id": "3"}, "category": "post", "uid": "12+milestone@dooray.com",
            "startedAt": "2016-07-07T10:00:00+09:00", "endedAt": "2016-08-07T10:00:00+09:00"});
        assert_eq!(entry(milestone).place.subject(), "12+milestone", "its category says post");
    }

    #[test]
    fn whole_days_end_with_their_last_day() {
        let holiday = |start: &str, end: &str, flag: Value| {
            let data = without_raw(json!({"id": "1", "startedAt": start, "endedAt": end, "wholeDayFlag": flag}));
            (data["start"].as_str().unwrap().to_owned(), data["end"].as_str().unwrap().to_owned())
        };
        let days = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(holiday("2015-09-08+09:00", "2015-09-09+09:00", json!(true)), days("2015-09-08", "2015-09-08"));
        let told = holiday("2015-09-08T00:00:00+09:00", "2015-09-10T00:00:00+09:00", json!("true"));
        assert_eq!(told, days("2015-09-08", "2015-09-09"));
        let both = entry(
            json!({"id": "1", "startedAt": "2015-09-08+09:00", "endedAt": "2015-09-09+09:00", "wholeDayFlag": true}),
        );
        assert_eq!(both.place.to.unwrap().to_string(), "2015-09-08T15:00:00Z");
    }

    #[test]
    fn a_recurring_event_tells_its_rule() {
        let data = without_raw(json!({
            "id": "7-20240228T013000Z", "masterScheduleId": "7", "recurrenceId": "20240228T013000Z", "recurrenceType": "unmodified",
            "recurrenceRule": {"frequency": "weekly", "interval": 1, "until": "2024-12-31T15:00:00Z", "byday": "MO,ST", "bymonth": ""},
        }));
        insta::assert_snapshot!(data["recurrence"].to_string(), @r#"{"type":"unmodified","instance":"20240228T013000Z","master":"7","rule":{"frequency":"weekly","interval":1,"until":"2025-01-01T00:00:00+09:00","byday":"MO,SA"}}"#);
    }

    #[test]
    fn a_hash_is_of_what_counts() {
        let base = json!({"id": "1", "calendar": {"id": "1", "name": "a"}, "startedAt": "2015-09-08T10:30:00+09:00", "subject": "x"});
        let with = |key: &str, value: Value| {
            let mut raw = base.clone();
            raw[key] = value;
            entry(raw).hash()
        };
        let same = entry(base.clone()).hash();
        assert_eq!(with("startedAt", json!("2015-09-08T01:30:00Z")), same);
        assert_eq!(with("calendar", json!({"id": 1, "name": "renamed"})), same);
        assert_eq!(with("newField", json!(1)), same);
        for (key, value) in [
            ("subject", json!("y")),
            ("updatedAt", json!("2015-09-08T10:30:00+09:00")),
            ("endedAt", json!("2015-09-08T11:30:00+09:00")),
            ("me", json!({"status": "declined"})),
        ] {
            assert_ne!(with(key, value), same, "{key}");
        }
        assert!(Entry::read(json!({"subject": "no id"}), &reading()).is_err());
    }
}
