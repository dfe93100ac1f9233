//! The source `http-poll`: asks any JSON API for its records, and tells which are new, different or gone.
//!
//! A pass reads the list from its first page to its last. What a record was like is remembered by its hash, so an API that
//! lists everything each time costs calls and no repetitions. With a `cursor` a pass asks only for what changed; with
//! `deletions` it reads everything, and what is missing was deleted.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use http::header::{ACCEPT, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;

use super::endpoint::{Endpoint, SEEN, compiled};
use super::{AUTH_KEY, HEADERS};
use crate::clock::Clock;
use crate::connectors::client::Client;
use crate::connectors::pollers::keys::{self, Start};
use crate::connectors::snapshot::{self, Updated};
use crate::connectors::{Build, EventDoc, Memory, Page, PollError, Poller, SourceKind, SourceRole};
use crate::event::{MAX_TYPE, NewEvent, Payload};
use crate::settings::{Fault, Field, Kind, Need, Node, Settings};
use crate::template::Expression;

mod answer;
mod paging;
mod place;
mod records;

use paging::Paging;
use place::Place;
use records::{Reader, Record};

/// How many records one pass may hold at once, where it has to know all of them.
const MOST: usize = 100_000;
/// How many pages a pass may have: more is a list without an end.
const MOST_PAGES: u32 = 10_000;
/// What is added to `type`: the longest of them.
const LONGEST_WORD: usize = ".updated".len();

/// The source.
pub const KIND: SourceKind = SourceKind { name: "http-poll", fields: FIELDS, events: EVENTS, build, registrar: None };

const FIELDS: &[Field] = &[
    Field { name: "url", kind: Kind::Url, need: Need::Required, doc: "The list: asked with GET, once a page." },
    Field {
        name: "query",
        kind: Kind::Map(&Kind::Secret),
        need: Need::Optional,
        doc: "Parameters of every request, besides those of the URL: `{ status: open }`.",
    },
    HEADERS,
    AUTH_KEY,
    Field {
        name: "items",
        kind: Kind::Template,
        need: Need::Optional,
        doc: "The records in the answer, over `status`, `headers` and `body`: `{{ body.orders }}`. Without it the body is the list.",
    },
    Field {
        name: "id",
        kind: Kind::Template,
        need: Need::Default("{{ item.id }}"),
        doc: "What a record is known by, over `item`: `{{ item.no }}`. It is the subject of its events.",
    },
    Field {
        name: "version",
        kind: Kind::Template,
        need: Need::Optional,
        doc: "A number or a time that grows with each change of a record, over `item`: `{{ item.updated_at }}`. A time without a zone is one of the config's.",
    },
    Field {
        name: "type",
        kind: Kind::Text,
        need: Need::Default("item"),
        doc: "What the records are: `order` makes the types `order.created`, `order.updated` and `order.deleted`.",
    },
    Field {
        name: "cursor",
        kind: Kind::Object(CURSOR),
        need: Need::Optional,
        doc: "How the API is asked only for what changed since the last time. Without it every pass reads the whole list.",
    },
    Field {
        name: "paging",
        kind: Kind::OneOf(paging::FIELDS),
        need: Need::Optional,
        doc: "How the next page is asked for. Without it there is one.",
    },
    Field {
        name: "deletions",
        kind: Kind::Boolean,
        need: Need::Default("false"),
        doc: "A record that a whole pass no longer shows was deleted. Not with `cursor`, which shows a part.",
    },
    super::ACCEPT,
    Field {
        name: "every",
        kind: Kind::Duration,
        need: Need::Default("1m"),
        doc: "How long to wait between two passes.",
    },
    Field {
        name: "start",
        kind: Kind::Text,
        need: Need::Default("now"),
        doc: "What the first pass brings: nothing (`now`: it only learns what is there), everything (`all`), or what has a version from a date or an instant on.",
    },
    super::ALLOW_PRIVATE,
    super::TIMEOUT,
];

const CURSOR: &[Field] = &[
    Field {
        name: "value",
        kind: Kind::Template,
        need: Need::Required,
        doc: "Where to go on: over `item` a number or a time, of which the greatest counts (`{{ item.updated_at }}`); or over `body` whatever the API says (`{{ body.sync_token }}`).",
    },
    Field {
        name: "param",
        kind: Kind::Text,
        need: Need::Required,
        doc: "The parameter that it is sent in: `updated_since`.",
    },
    Field {
        name: "overlap",
        kind: Kind::Duration,
        need: Need::Default("0s"),
        doc: "How much further back is asked, where it is a time: for APIs that list a record some time after its change. It is sent as RFC 3339 then, else as the API wrote it.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "item.created",
        about: "A record that was not known is there; `type` replaces `item`. `data` is the record as the API shows it.",
        sample: r#"{"no":"A-1001","customer":"김하나","total":1.10,"updated_at":"2026-11-21T09:00:00+09:00"}"#,
    },
    EventDoc {
        kind: "item.updated",
        about: "A known record is different.",
        sample: r#"{"no":"A-1001","customer":"김하나","total":2.20,"updated_at":"2026-11-21T10:00:00+09:00"}"#,
    },
    EventDoc {
        kind: "item.deleted",
        about: "A known record is no longer listed (`deletions: true`). `data` is as it was seen last.",
        sample: r#"{"no":"A-1001","customer":"김하나","total":2.20,"updated_at":"2026-11-21T10:00:00+09:00"}"#,
    },
];

struct Source {
    endpoint: Endpoint,
    query: Vec<(String, String)>,
    accept: Option<Expression>,
    reader: Reader,
    paging: Option<Paging>,
    /// The parameter that the cursor is sent in.
    param: Option<String>,
    kind: String,
    deletions: bool,
    start: Start,
    every: Duration,
    client: Client,
    clock: Clock,
}

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let settings = build.settings;
    let mut faults = Vec::new();
    let endpoint = Endpoint::new(settings, &mut faults);
    let accept = |source: &str| {
        let accept = Expression::compile(source)?;
        accept.check_names(SEEN).map(|()| (accept.tables().to_vec(), accept))
    };
    let accept = compiled(settings, "accept", accept, &mut faults);
    let reader = Reader::new(settings, build.zone.clone(), &mut faults);
    let paging = settings.get("paging").and_then(|node| Paging::new(node, &mut faults));
    let start = start(build, &mut faults);
    let kind = settings.text("type").unwrap_or_default().to_owned();
    check_type(&settings, &kind, &mut faults);
    let deletions = settings.flag("deletions");
    if deletions && settings.get("cursor").is_some() {
        let why =
            "with a `cursor` the API lists only what changed: what is missing was not deleted. Leave one of them out";
        faults.push(Fault::new(settings.spot("deletions"), why));
    }
    let (Some(endpoint), Some(reader), true) = (endpoint, reader, faults.is_empty()) else { return Err(faults) };
    let query = settings.get("query").map(Node::entries).unwrap_or_default().iter();
    Ok(SourceRole::Poller(Box::new(Source {
        endpoint,
        query: query.map(|(key, node)| (key.name.clone(), node.text().unwrap_or_default().to_owned())).collect(),
        accept,
        reader,
        paging,
        param: settings.object("cursor", CURSOR).and_then(|cursor| cursor.text("param")).map(str::to_owned),
        kind,
        deletions,
        start,
        every: keys::every(build)?,
        client: build.client.clone(),
        clock: build.clock.clone(),
    })))
}

fn start(build: &Build<'_>, faults: &mut Vec<Fault>) -> Start {
    let settings = &build.settings;
    let start = keys::start(build).unwrap_or_else(|wrong| {
        faults.extend(wrong);
        Start::Now
    });
    if matches!(start, Start::From(_)) && settings.get("version").is_none() && settings.get("cursor").is_none() {
        let why = "a date needs a `version` or a `cursor` that is a time: nothing else tells what is older";
        faults.push(Fault::new(settings.spot("start"), why));
    }
    start
}

fn check_type(settings: &Settings<'_>, kind: &str, faults: &mut Vec<Fault>) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if kind.is_empty() || kind.len() + LONGEST_WORD > MAX_TYPE || !kind.chars().all(fits) {
        let why = "`type`: expected letters, digits, `.`, `_` and `-`, as `order`".to_owned();
        faults.push(Fault::new(settings.spot("type"), why));
    }
}

#[async_trait]
impl Poller for Source {
    fn every(&self) -> Duration {
        self.every
    }

    async fn poll(&self, cursor: Option<&Value>, memory: &dyn Memory) -> Result<Page, PollError> {
        let place = match cursor {
            Some(cursor) => serde_json::from_value(cursor.clone()).map_err(|error| {
                PollError::stop(format!("what is remembered of the last poll cannot be read: {error}"))
            })?,
            None => Place::begin(self.start),
        };
        if self.deletions { self.whole(place, memory).await } else { self.page(place, memory).await }
    }

    fn past(&self, from: Option<Timestamp>) -> Option<Value> {
        let start = from.map_or(Start::All, Start::From);
        serde_json::to_value(Place::begin(start)).ok()
    }
}

/// A page of the list.
struct Got {
    records: Vec<Record>,
    next: Option<place::Next>,
    /// The cursor, where the API says it for the whole answer.
    said: Option<String>,
}

impl Source {
    /// Asks for the page at a place.
    async fn ask(&self, place: &Place) -> Result<Got, PollError> {
        let since = self.param.as_ref().zip(place.since.as_deref());
        let url = paging::url(&self.endpoint.target, &self.query, self.paging.as_ref(), place, since);
        let mut call = self.endpoint.call(Method::GET, url);
        call.headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        let answer = answer::asked(self.client.send(&call).await, self.clock.now())?;
        let seen = answer::accepted(&answer, self.accept.as_ref())?;
        let (records, said) = self.reader.read(&answer, &seen)?;
        let next = match &self.paging {
            Some(paging) => paging.next(&call.url, place, &answer, &seen, records.len()).map_err(PollError::stop)?,
            None => None,
        };
        let next = next.map(|next| next.without(&self.endpoint.target, &self.query));
        if next.is_some() && next == place.next {
            return Err(PollError::stop("the next page is the one that was just read: `paging` does not fit this API"));
        }
        if next.is_some() && place.pages >= MOST_PAGES {
            return Err(PollError::stop(format!(
                "the list has more than {MOST_PAGES} pages: `paging` does not fit this API"
            )));
        }
        Ok(Got { records, next, said })
    }

    /// One page: what of it is new or different.
    async fn page(&self, place: Place, memory: &dyn Memory) -> Result<Page, PollError> {
        let got = self.ask(&place).await?;
        let mut page = Page::default();
        let mut after = place.clone();
        let mut seen = std::collections::BTreeMap::new();
        for record in got.records {
            after.note(&record);
            let known = match seen.get(&record.key) {
                Some(hash) => Some(String::clone(hash)),
                None => memory.get(&record.key).await?.map(|known| known.hash),
            };
            if known.as_ref() == Some(&record.hash) {
                continue;
            }
            if !place.is_silent(&record) {
                let word = if known.is_none() { "created" } else { "updated" };
                page.events.push(self.event(&place, &record, word));
            }
            seen.insert(record.key.clone(), record.hash.clone());
            page.changes.push(snapshot::remember(&record.key, &record.hash, Value::Null));
        }
        after.told |= !page.events.is_empty();
        if let Some(said) = got.said {
            after.newest = Some(said);
        }
        page.more = got.next.is_some();
        let after = match got.next {
            Some(next) => after.on(next),
            None => after.over(&self.reader),
        };
        page.cursor = kept(&after)?;
        Ok(page)
    }

    /// All pages: what is new, different or gone.
    async fn whole(&self, place: Place, memory: &dyn Memory) -> Result<Page, PollError> {
        let (mut at, mut items) = (place.clone(), Vec::new());
        loop {
            let got = self.ask(&at).await?;
            items.extend(got.records.into_iter().map(Record::into_item));
            if items.len() > MOST {
                return Err(PollError::stop(format!(
                    "the list has more than {MOST} records, too many to tell what is gone: leave `deletions` out"
                )));
            }
            match got.next {
                Some(next) => at = at.on(next),
                None => break,
            }
        }
        let diff = snapshot::diff(items, memory).await?;
        let mut page = Page { known: Some(diff.known), ..Page::default() };
        let updated = diff.updated.into_iter().map(|Updated { item, .. }| (item, "updated"));
        for (item, word) in diff.created.into_iter().map(|item| (item, "created")).chain(updated) {
            let record = item.value;
            if !place.is_silent(&record) {
                page.events.push(self.event(&place, &record, word));
            }
            page.changes.push(snapshot::remember(item.key, item.hash, record.value));
        }
        for (key, before) in diff.missing {
            let record = Record { hash: before.hash, value: before.value, key: key.clone(), version: None, mark: None };
            page.events.push(self.event(&place, &record, "deleted"));
            page.changes.push(snapshot::forget(key));
        }
        let after = Place { told: !page.events.is_empty(), ..place };
        page.cursor = kept(&after.over(&self.reader))?;
        Ok(page)
    }

    /// The id is of the pass, so that what changes back to what it was is another event, and of the version where there is
    /// one; the hash keeps a page apart that is read again after a crash and has changed since.
    fn event(&self, place: &Place, record: &Record, word: &str) -> NewEvent {
        let mut event = NewEvent::new(format!("{}.{word}", self.kind), Payload::from_value(&record.value));
        let told = record.version.map_or_else(|| place.pass.to_string(), |version| version.to_string());
        let told = if word == "deleted" { format!("{}:gone", place.pass) } else { told };
        // A long key fits no id.
        let key = snapshot::hash(&Value::from(record.key.as_str()));
        event.id = Some(format!("{key}:{told}:{}", &record.hash[..16.min(record.hash.len())]));
        event.subject = Some(record.key.clone());
        event.version = record.version;
        event.time = record.at().filter(|_| word != "deleted");
        event
    }
}

fn kept(place: &Place) -> Result<Value, PollError> {
    serde_json::to_value(place).map_err(|error| PollError::stop(error.to_string()))
}
