//! The sink `dooray-calendar`: events of one calendar.

use async_trait::async_trait;
use http::Method;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::super::client::Door;
use super::super::envelope;
use super::super::times::{self, DayEnd};
use super::super::window::Window;
use super::super::{answer, sinks};
use super::{doing, send_whole, text, wrong};
use crate::clock::Clock;
use crate::connectors::client::{Client, SendError};
use crate::connectors::{Answer, Ask, Build, Built, Call, OnDoubt, Operation, Sink, SinkKind, reading};
use crate::outcome::{Outcome, Verb};
use crate::settings::{Field, Kind, Need};
use crate::template::Escape;

/// The sink.
pub const KIND: SinkKind = SinkKind {
    name: "dooray-calendar",
    fields: FIELDS,
    verbs: &[Verb::Create, Verb::Update, Verb::Delete],
    escape: Escape::None,
    takes_request: false,
    advice: "use `create`, `upsert` or `sync`: a calendar has events and no replies",
    build,
};

const FIELDS: &[Field] = &[
    Field { name: "account", kind: Kind::Account("dooray"), need: Need::Required, doc: "The account." },
    Field {
        name: "calendar",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The calendar's id, one that the token's user may write to.",
    },
    Field {
        name: "update",
        kind: Kind::Choice(&["fields", "whole"]),
        need: Need::Default("fields"),
        doc: "How an event is changed: only the fields of the map are sent, as Dooray's page says that is enough (`fields`), or the event is read first and sent whole (`whole`).",
    },
    Field {
        name: "delete",
        kind: Kind::Choice(&["whole", "this", "wholeFromThis"]),
        need: Need::Default("whole"),
        doc: "What of a recurring event is deleted: all of it, this one, or it and those after it.",
    },
    Field {
        name: "whole_day_end",
        kind: Kind::Choice(DayEnd::NAMES),
        need: Need::Default("exclusive"),
        doc: "How the last day of whole days is sent: as the day after it (`exclusive`) or itself (`inclusive`). In the map, `endedAt` is always the last day.",
    },
];

const TAKES: [&str; 10] = [
    "subject",
    "body",
    "startedAt",
    "endedAt",
    "wholeDayFlag",
    "location",
    "to",
    "cc",
    "recurrenceRule",
    "personalSettings",
];

struct CalendarSink {
    door: Door,
    calendar: String,
    whole: bool,
    delete: String,
    day_end: DayEnd,
    zone: TimeZone,
    clock: Clock,
}

fn build(build: &Build<'_>) -> Built<Box<dyn Sink>> {
    let settings = &build.settings;
    let get = |key| settings.text(key).unwrap_or_default().to_owned();
    Ok(Box::new(CalendarSink {
        door: sinks::door(build)?,
        calendar: get("calendar"),
        whole: get("update") == "whole",
        delete: get("delete"),
        day_end: DayEnd::named(settings.text("whole_day_end")),
        zone: build.zone.clone(),
        clock: build.clock.clone(),
    }))
}

#[async_trait]
impl Sink for CalendarSink {
    fn takes(&self, name: &str) -> Result<(), String> {
        if TAKES.contains(&name) { Ok(()) } else { Err(format!("expected one of {}", TAKES.join(", "))) }
    }

    fn prepare(&self, operation: &Operation<'_>) -> Result<Call, String> {
        let verb = operation.verb;
        let events = ["calendar", "v1", "calendars", &self.calendar, "events"];
        if verb == Verb::Create {
            let event = self.written(operation.fields, verb)?;
            return Ok(doing(&self.door, verb, Method::POST, &events).json(&Value::Object(event)));
        }
        let id = super::linked(operation.remote_id, "event", verb)?;
        let call = match verb {
            Verb::Update => {
                let event = self.written(operation.fields, verb)?;
                doing(&self.door, verb, Method::PUT, &[&events[..], &[&id]].concat()).json(&Value::Object(event))
            }
            Verb::Delete => {
                let path = [&events[..], &[&id, "delete"]].concat();
                doing(&self.door, verb, Method::POST, &path).json(&json!({ "deleteType": self.delete }))
            }
            other => return Err(format!("an event cannot {}", other.name())),
        };
        Ok(call.idempotent(true).remote_id(Some(id)))
    }

    fn classify(&self, call: &Call, answer: &Answer) -> Outcome {
        answer::api(call, answer, self.clock.now())
    }

    async fn send(&self, client: &Client, call: &Call) -> Result<Answer, SendError> {
        if !(self.whole && call.method == Method::PUT) {
            return client.send(call).await;
        }
        send_whole(client, call, completed).await
    }

    fn ask(&self, question: &Ask<'_>) -> Option<Result<Call, String>> {
        let Ask::Doubt { operation, .. } = question else { return None };
        (operation.verb == Verb::Create).then(|| {
            let event = self.written(operation.fields, Verb::Create)?;
            let (from, to) = self.span(&event).ok_or("the event has no time to look for it at")?;
            let room = SignedDuration::from_secs(1);
            let window = Window { from, to: to.max(from).saturating_add(room).unwrap_or(to) };
            let mut query = window.query(&self.zone, false).to_vec();
            query.push(("calendars", self.calendar.clone()));
            Ok(self.door.call(Method::GET, &["calendar", "v1", "calendars", "*", "events"], &query))
        })
    }

    fn answered(&self, question: &Ask<'_>, answer: &Answer) -> Result<Vec<String>, Outcome> {
        /// By how much Dooray's clock may be behind ours.
        const SKEW: SignedDuration = SignedDuration::from_mins(2);
        let Ask::Doubt { operation, since } = question else { return Ok(Vec::new()) };
        let call = self.ask(question).and_then(Result::ok).ok_or_else(|| Outcome::reject("it cannot be asked for"))?;
        let items = answer::found(&call, answer, self.clock.now())?;
        let event = self.written(operation.fields, Verb::Create).map_err(Outcome::reject)?;
        let since = since.saturating_sub(SKEW).unwrap_or(*since);
        let (title, span) = (event["subject"].as_str().unwrap_or_default().trim(), self.span(&event));
        Ok(super::ids(&items, |item| {
            let made = times::instant(&item["createdAt"], &self.zone);
            item["subject"].as_str().unwrap_or_default().trim() == title
                && reading::id(&item["calendar"]["id"]).as_ref() == Some(&self.calendar)
                && item.as_object().and_then(|item| self.span(item)) == span
                && made.is_none_or(|made| made >= since)
        }))
    }

    fn probe(&self) -> Option<Call> {
        Some(self.door.call(Method::GET, &["calendar", "v1", "calendars", &self.calendar], &[]))
    }

    fn on_doubt(&self, verb: Verb) -> OnDoubt {
        if verb == Verb::Create { OnDoubt::Find } else { OnDoubt::Retry }
    }
}

impl CalendarSink {
    /// The event as Dooray takes it; all that is wrong at once.
    fn written(&self, fields: &Map<String, Value>, verb: Verb) -> Result<Map<String, Value>, String> {
        let (mut event, mut told) = (Map::new(), Vec::new());
        for (name, value) in fields {
            if let Err(why) = self.takes(name) {
                told.push(wrong(name, why));
                continue;
            }
            let is_empty = value.is_null() || value.as_str() == Some("");
            if is_empty && verb == Verb::Update {
                told.push(wrong(
                    name,
                    "Dooray passes empty fields over, so an event's cannot be cleared: leave it out",
                ));
            }
            if is_empty {
                continue;
            }
            let written = match name.as_str() {
                "subject" | "location" => text(value).map(Value::from),
                "body" => super::body(value, super::as_html),
                "recurrenceRule" | "personalSettings" if value.is_object() => Ok(value.clone()),
                "recurrenceRule" | "personalSettings" => Err("expected a mapping".to_owned()),
                _ => continue,
            };
            match written {
                Ok(written) => _ = event.insert(name.clone(), written),
                Err(why) => told.push(wrong(name, why)),
            }
        }
        super::put_users(fields, &mut event, &mut told);
        match self.when(fields, verb) {
            Ok(when) => event.extend(when),
            Err(why) => told.push(why),
        }
        if verb == Verb::Create && !event.contains_key("subject") && told.is_empty() {
            told.push("subject: an event needs one".to_owned());
        }
        if verb == Verb::Create && event.contains_key("subject") {
            // The page's own sample sends both, and its SDK always.
            event.entry("users").or_insert_with(|| json!({ "to": [], "cc": [] }));
            event.entry("body").or_insert_with(|| super::as_html(""));
        }
        if told.is_empty() { Ok(event) } else { Err(told.join("; ")) }
    }

    /// Start and end, and whether they are whole days: both or neither.
    fn when(&self, fields: &Map<String, Value>, verb: Verb) -> Result<Map<String, Value>, String> {
        let get = |name: &str| fields.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""));
        let flag = match get("wholeDayFlag") {
            None => None,
            Some(value) => Some(envelope::flag(value).ok_or("wholeDayFlag: expected true or false")?),
        };
        let (start, end) = match (get("startedAt"), get("endedAt")) {
            (Some(start), Some(end)) => (start, end),
            (None, None) if verb == Verb::Update && flag.is_none() => return Ok(Map::new()),
            _ => return Err("startedAt, endedAt: an event needs both".to_owned()),
        };
        let [start, end] = [("startedAt", start), ("endedAt", end)].map(|(name, value)| {
            When::read(value, &self.zone).ok_or_else(|| wrong(name, "expected a date (2026-12-24) or an RFC 3339 time"))
        });
        let (start, end) = (start?, end?);
        let whole = flag.unwrap_or(matches!((&start, &end), (When::Day(_), When::Day(_))));
        let [first, last] = if whole {
            let (first, last) = (start.day(&self.zone), end.day(&self.zone));
            if last < first {
                return Err("endedAt: the last day is before the first".to_owned());
            }
            [times::whole_day(first, &self.zone), self.day_end.written(last, &self.zone)]
        } else {
            let (When::Time(start), When::Time(end)) = (start, end) else {
                return Err("startedAt, endedAt: expected two times, or two dates for whole days".to_owned());
            };
            if end < start {
                return Err("endedAt: it is before startedAt".to_owned());
            }
            [start, end].map(|at| Some(times::rfc3339(at, &self.zone)))
        };
        let (Some(first), Some(last)) = (first, last) else {
            return Err("startedAt, endedAt: out of the calendar".to_owned());
        };
        let when = json!({ "startedAt": first, "endedAt": last, "wholeDayFlag": whole });
        Ok(when.as_object().cloned().unwrap_or_default())
    }

    /// From when to when an event is, as Dooray writes it.
    fn span(&self, event: &Map<String, Value>) -> Option<(Timestamp, Timestamp)> {
        let at = |key: &str| times::instant(event.get(key)?, &self.zone);
        Some((at("startedAt")?, at("endedAt")?))
    }
}

/// A date or a time of a map.
enum When {
    Day(Date),
    Time(Timestamp),
}

impl When {
    fn read(value: &Value, zone: &TimeZone) -> Option<Self> {
        let text = value.as_str()?.trim();
        if text.len() == 10 {
            return text.parse().ok().map(Self::Day);
        }
        times::instant(value, zone).filter(|_| text.contains('T')).map(Self::Time)
    }

    fn day(&self, zone: &TimeZone) -> Date {
        match self {
            Self::Day(day) => *day,
            Self::Time(at) => at.to_zoned(zone.clone()).date(),
        }
    }
}

/// An update with all that it does not change, as the event has it now.
fn completed(call: &Call, now: &Value) -> Call {
    let mut event: Map<String, Value> = serde_json::from_slice(&call.body).unwrap_or_default();
    for key in ["subject", "startedAt", "endedAt", "wholeDayFlag", "location", "body"] {
        if !event.contains_key(key) && !now[key].is_null() {
            event.insert(key.to_owned(), now[key].clone());
        }
    }
    let mut users = super::users_again(&now["users"]);
    for key in ["to", "cc"] {
        if let Some(set) = event.get("users").and_then(|users| users.get(key)) {
            users[key] = set.clone();
        }
    }
    event.insert("users".to_owned(), users);
    call.clone().json(&Value::Object(event))
}
