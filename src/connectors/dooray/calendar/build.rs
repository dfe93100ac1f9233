//! The keys of `dooray-calendar`.

use jiff::SignedDuration;

use super::super::client::Api;
use super::super::entry::Reading;
use super::super::times::DayEnd;
use super::Source;
use crate::connectors::pollers::keys;
use crate::connectors::{Build, EventDoc, SourceKind, SourceRole};
use crate::settings::{Fault, Field, Kind, Need, Settings};

/// The source.
pub const KIND: SourceKind =
    SourceKind { name: "dooray-calendar", fields: FIELDS, events: EVENTS, build, registrar: None };

const WINDOW: &[Field] = &[
    Field {
        name: "past",
        kind: Kind::Duration,
        need: Need::Default("7d"),
        doc: "How far back it looks: a change of an event that was over before is not seen.",
    },
    Field { name: "ahead", kind: Kind::Duration, need: Need::Default("90d"), doc: "How far ahead it looks." },
];

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("dooray"),
        need: Need::Required,
        doc: "The account whose calendars are looked at: those that the token's user sees.",
    },
    Field {
        name: "calendars",
        kind: Kind::List(&Kind::Text),
        need: Need::Optional,
        doc: "The ids of the calendars; all that the account sees if missing. Subscribed calendars (구독 캘린더) are never shown by Dooray.",
    },
    Field {
        name: "window",
        kind: Kind::Object(WINDOW),
        need: Need::Optional,
        doc: "What is looked at, around now; a year at most. An event that leaves it is not deleted.",
    },
    keys::every_key("5m"),
    Field {
        name: "start",
        kind: Kind::Text,
        need: Need::Default("now"),
        doc: "What the first poll brings: nothing of what is there (`now`), everything in the window (`all`), or what was changed from a date or an instant on.",
    },
    Field {
        name: "category",
        kind: Kind::Choice(&["general", "post", "milestone"]),
        need: Need::Optional,
        doc: "Only events (`general`), tasks (`post`) or milestones (`milestone`) that the calendars show.",
    },
    Field {
        name: "post_type",
        kind: Kind::Choice(&["toMe", "toCcMe", "fromToCcMe"]),
        need: Need::Optional,
        doc: "Only tasks of which the token's user is in charge (`toMe`), or is told of.",
    },
    Field {
        name: "span",
        kind: Kind::Duration,
        need: Need::Default("28d"),
        doc: "How much of the window is asked for at once. Dooray's page allows a year; it was seen to refuse more than a month.",
    },
    Field {
        name: "quoted",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "Sends times within double quotes, as in the example of Dooray's page.",
    },
    Field {
        name: "whole_day_end",
        kind: Kind::Choice(DayEnd::NAMES),
        need: Need::Default("exclusive"),
        doc: "What Dooray means by the end of whole days: the day after the last (`exclusive`) or the last (`inclusive`). `data.end` is always the last.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc { kind: "event.created", about: "An event is new, or came into the window.", sample: CREATED },
    EventDoc {
        kind: "event.updated",
        about: "An event changed, but neither its time nor its calendar.",
        sample: UPDATED,
    },
    EventDoc {
        kind: "event.moved",
        about: "An event was put to another time or calendar; where it was is in `data.before`.",
        sample: MOVED,
    },
    EventDoc {
        kind: "event.deleted",
        about: "An event is no more: Dooray was asked. The data is as it was seen last.",
        sample: CREATED,
    },
];

const CREATED: &str = r#"{
  "id": "3748560866668749754",
  "title": "출시계획회의",
  "category": "general",
  "calendar": { "id": "1", "name": "내 캘린더" },
  "start": "2026-11-23T10:30:00+09:00",
  "end": "2026-11-23T11:30:00+09:00",
  "whole_day": false,
  "location": "4-5 회의실",
  "organizer": { "kind": "member", "id": "101", "name": "김하나", "email": "hana@acme.kr" },
  "attendees": [{ "kind": "member", "id": "102", "name": "이두리", "status": "accepted" }, { "kind": "email", "email": "jordan@nhn.com", "status": "tentative" }],
  "body": { "type": "text/html", "text": "<p>안건</p>" },
  "status": "accepted",
  "created": "2026-11-21T09:30:00+09:00",
  "updated": "2026-11-21T09:30:00+09:00",
  "raw": { "id": "3748560866668749754", "calendar": { "id": "1", "name": "내 캘린더" }, "subject": "출시계획회의", "startedAt": "2026-11-23T10:30:00+09:00", "endedAt": "2026-11-23T11:30:00+09:00", "category": "general", "wholeDayFlag": false, "recurrenceType": "none", "uid": "3748560866668749754@dooray.com" }
}"#;

const UPDATED: &str = r#"{
  "id": "3748560866668749754-20261124T003000Z",
  "title": "주간회의",
  "category": "general",
  "calendar": { "id": "1", "name": "내 캘린더" },
  "start": "2026-11-24T09:30:00+09:00",
  "end": "2026-11-24T10:00:00+09:00",
  "whole_day": false,
  "recurrence": { "type": "modified", "instance": "20261124T003000Z", "master": "3748560866668749754", "rule": { "frequency": "weekly", "interval": 1, "byday": "TU" } },
  "updated": "2026-11-21T09:45:00+09:00",
  "raw": { "id": "3748560866668749754-20261124T003000Z", "masterScheduleId": "3748560866668749754", "subject": "주간회의", "recurrenceType": "modified" }
}"#;

const MOVED: &str = r#"{
  "id": "3748560866668749755",
  "title": "연차",
  "category": "general",
  "calendar": { "id": "1", "name": "내 캘린더" },
  "start": "2026-12-24",
  "end": "2026-12-25",
  "whole_day": true,
  "updated": "2026-11-21T10:00:00+09:00",
  "before": { "start": "2026-12-23", "end": "2026-12-24", "due": null, "calendar": { "id": "1", "name": "내 캘린더" } },
  "raw": { "id": "3748560866668749755", "subject": "연차", "startedAt": "2026-12-24+09:00", "endedAt": "2026-12-26+09:00", "wholeDayFlag": true }
}"#;

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let settings = &build.settings;
    let fault = |key: &str, message: &str| vec![Fault::new(settings.spot(key), message)];
    let api = Api::of(build).map_err(|why| fault("account", &why))?;
    let [past, ahead] = window(settings)?;
    let filter = |key: &str, name: &'static str| settings.text(key).map(|value| (name, value.to_owned()));
    Ok(SourceRole::Poller(Box::new(Source {
        api,
        clock: build.clock.clone(),
        reading: Reading { zone: build.zone.clone(), day_end: DayEnd::named(settings.text("whole_day_end")) },
        every: keys::every(build)?,
        start: keys::start(build)?,
        calendars: settings.texts("calendars").into_iter().map(str::to_owned).collect(),
        filters: [filter("category", "category"), filter("post_type", "postType")].into_iter().flatten().collect(),
        past,
        ahead,
        span: span(settings)?,
        quoted: settings.flag("quoted"),
    })))
}

/// The longest window, and the longest slice: a year.
const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

fn window(settings: &Settings<'_>) -> Result<[SignedDuration; 2], Vec<Fault>> {
    let inner = settings.object("window", WINDOW);
    let length = |key: &str, default: i64| {
        let set = inner.and_then(|inner| inner.duration(key));
        set.map_or(SignedDuration::from_hours(default * 24), |set| set.try_into().unwrap_or(SignedDuration::MAX))
    };
    let [past, ahead] = [length("past", 7), length("ahead", 90)];
    let whole = past.checked_add(ahead).unwrap_or(SignedDuration::MAX);
    if whole > YEAR || whole.is_zero() {
        let message = "Dooray shows a year at most: expected `past` and `ahead` of 365d together, and more than 0";
        return Err(vec![Fault::new(settings.spot("window"), message)]);
    }
    Ok([past, ahead])
}

fn span(settings: &Settings<'_>) -> Result<SignedDuration, Vec<Fault>> {
    let span = settings.duration("span").and_then(|span| SignedDuration::try_from(span).ok());
    let fits = span.filter(|span| (super::NARROWEST..=YEAR).contains(span));
    fits.ok_or_else(|| vec![Fault::new(settings.spot("span"), "expected 1d to 365d")])
}
