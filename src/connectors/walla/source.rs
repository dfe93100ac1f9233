//! The source `walla`: polls one form for new and changed responses.

use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::Mutex;

use super::client::{Api, Found};
use super::cursor::{Cursor, News, Window};
use super::door::{Door, Target};
use super::labels::{self, Labels};
use super::past::{self, Past};
use super::questions::Questions;
use super::response::Response;
use crate::clock::Clock;
use crate::connectors::pollers::keys::{self, Start};
use crate::connectors::pollers::read_cursor;
use crate::connectors::{Build, EventDoc, Memory, Page, PollError, Poller, SourceKind, SourceRole};
use crate::event::NewEvent;
use crate::settings::{Fault, Field, Kind, Need};

/// Before Walla: where `start: all` starts. 2015-01-01.
pub(super) const BEGINNING: Timestamp = Timestamp::constant(1_420_070_400, 0);

/// The source.
pub const KIND: SourceKind = SourceKind { name: "walla", fields: FIELDS, events: EVENTS, build, registrar: None };

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("walla"),
        need: Need::Required,
        doc: "The account whose keys are used: response API keys go with `project`, an Open API key with `form`.",
    },
    Field {
        name: "workspace",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The workspace key (workspaceKey) of the response API; it is asked for if missing.",
    },
    Field {
        name: "project",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The project key (projectKey) of the response API: the last part of the form's shared address, https://walla.my/v/{projectKey}.",
    },
    Field {
        name: "form",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The form's id in the Open API, in place of `project`.",
    },
    keys::every_key("1m"),
    Field {
        name: "start",
        kind: Kind::Text,
        need: Need::Default("now"),
        doc: "What the first poll brings: nothing of what is there (`now`), everything (`all`), or what was submitted from a date or an instant on.",
    },
    Field {
        name: "overlap",
        kind: Kind::Duration,
        need: Need::Default("1h"),
        doc: "How far back each poll looks again: for so long after its submission a response that shows up late is found, and a changed one is noticed.",
    },
];

const EVENTS: &[EventDoc] = &[
    EventDoc {
        kind: "response.created",
        about: "A response was submitted.",
        sample: r#"{
  "response_id": "res-1001",
  "submitted_at": "2026-11-21T01:30:00Z",
  "answers": { "이름": "김하나", "연락처": "010-1234-5678", "개인정보 동의": "예", "관심 분야": ["개발", "디자인"], "유입경로": "blog" },
  "fields": { "field_name": "김하나", "field_phone": "010-1234-5678", "field_agree": "예", "field_topics": ["개발", "디자인"], "hf_from": "blog" },
  "raw": { "responseKey": "res-1001", "customerKey": "customer-001", "submittedAt": "2026-11-21T01:30:00Z", "field_name": "김하나", "field_phone": "010-1234-5678", "field_agree": ["예"], "field_topics": ["개발", "디자인"], "hf_from": "blog" },
  "customer_key": "customer-001"
}"#,
    },
    EventDoc {
        kind: "response.updated",
        about: "A response changed within `overlap` after its submission. Its time stays that of the submission.",
        sample: r#"{
  "response_id": "res-1001",
  "submitted_at": "2026-11-21T01:30:00Z",
  "answers": { "이름": "김하나", "연락처": "010-8765-4321", "개인정보 동의": "예", "관심 분야": ["개발"], "유입경로": "blog" },
  "fields": { "field_name": "김하나", "field_phone": "010-8765-4321", "field_agree": "예", "field_topics": ["개발"], "hf_from": "blog" },
  "raw": { "responseKey": "res-1001", "customerKey": "customer-001", "submittedAt": "2026-11-21T01:30:00Z", "field_name": "김하나", "field_phone": "010-8765-4321", "field_agree": ["예"], "field_topics": ["개발"], "hf_from": "blog" },
  "customer_key": "customer-001"
}"#,
    },
];

struct Source {
    api: Api,
    every: Duration,
    overlap: SignedDuration,
    start: Start,
    zone: TimeZone,
    clock: Clock,
    labels: Mutex<Labels>,
    past: Mutex<Past>,
}

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let settings = &build.settings;
    let fault = |key: &str, message: &str| vec![Fault::new(settings.spot(key), message)];
    let Some(account) = build.account else { return Err(fault("account", "a walla source needs an account")) };
    let door = Door::of(account).map_err(|why| fault("account", &why))?;
    let target = Target::read(settings, door.open)?.ok_or_else(|| Target::missing(settings, door.open))?;
    let overlap = settings.duration("overlap").and_then(|length| SignedDuration::try_from(length).ok());
    let api = Api::new((build.client.clone(), build.clock.clone()), door, target);
    Ok(SourceRole::Poller(Box::new(Source {
        api,
        every: keys::every(build)?,
        overlap: overlap.unwrap_or_default(),
        start: keys::start(build)?,
        zone: build.zone.clone(),
        clock: build.clock.clone(),
        labels: Mutex::default(),
        past: Mutex::default(),
    })))
}

#[async_trait]
impl Poller for Source {
    fn every(&self) -> Duration {
        self.every
    }

    async fn poll(&self, cursor: Option<&Value>, _: &dyn Memory) -> Result<Page, PollError> {
        if let Some(row) = cursor.and_then(past::row) {
            return self.past.lock().await.page(&self.api, &self.labels, row?, &self.zone).await;
        }
        let now = self.clock.now();
        let (mut cursor, mut note) = match cursor {
            Some(value) => (read_cursor(value)?, None),
            None => self.first(now).await?,
        };
        let mut labels = self.labels.lock().await;
        labels.refresh(&self.api).await?;
        let (window, last, items) = self.read(&mut cursor, now).await?;
        let responses = items
            .into_iter()
            .map(|item| Response::read(item, &self.zone).map_err(PollError::stop))
            .collect::<Result<Vec<_>, _>>()?;
        let news = cursor.take(window, responses, last, self.overlap);
        let questions = labels.of(&self.api, news.iter().map(|news| &news.response)).await?;
        let events = news.iter().map(|news| event(news, questions)).collect::<Result<Vec<_>, _>>()?;
        if let Some(shortened) = cursor.shortened() {
            note.get_or_insert(shortened);
        }
        let cursor = serde_json::to_value(&cursor).map_err(|error| PollError::stop(format!("the cursor: {error}")))?;
        Ok(Page { events, cursor, more: !last, note, ..Page::default() })
    }

    fn past(&self, from: Option<Timestamp>) -> Option<Value> {
        match from {
            None if self.api.exports() => serde_json::to_value(past::BEGINNING).ok(),
            from => serde_json::to_value(Cursor::from_start(from.unwrap_or(BEGINNING))).ok(),
        }
    }
}

impl Source {
    /// Where to start, and a word on what is left out.
    async fn first(&self, now: Timestamp) -> Result<(Cursor, Option<String>), PollError> {
        match self.start {
            Start::Now => {
                let note = match self.api.count(now).await? {
                    Some(0) => "starts now: there are no earlier responses".to_owned(),
                    Some(1) => "starts now: 1 earlier response is not sent".to_owned(),
                    Some(count) => format!("starts now: {count} earlier responses are not sent"),
                    None => "starts now: earlier responses, more than one answer holds, are not sent".to_owned(),
                };
                Ok((Cursor::from_now(now, self.overlap), Some(note)))
            }
            Start::All => Ok((Cursor::from_start(BEGINNING), None)),
            Start::From(at) => {
                let note = format!("starts with what was submitted from {at} on");
                Ok((Cursor::from_start(at), Some(note)))
            }
        }
    }

    /// Reads the next window, or as much of it as can be read at once.
    async fn read(&self, cursor: &mut Cursor, now: Timestamp) -> Result<(Window, bool, Vec<Value>), PollError> {
        loop {
            let (window, last) = cursor.window(now);
            match self.api.window(window).await? {
                Found::Items(items) => return Ok((window, last, items)),
                Found::TooMuch if window.span() > self.api.narrowest() => cursor.narrow(window),
                Found::TooMuch => {
                    let Window { from, to } = window;
                    return Err(PollError::stop(format!(
                        "the responses submitted from {from} to {to} take more than the 1 MiB that is read at once"
                    )));
                }
            }
        }
    }
}

fn event(news: &News, questions: &Questions) -> Result<NewEvent, PollError> {
    let News { response, edits, hash } = news;
    let (kind, id) = match edits {
        0 => ("response.created", format!("{}:{hash}", response.id)),
        // With the count, or a change that is taken back would repeat the id of an earlier event.
        edits => ("response.updated", format!("{}:{hash}:{edits}", response.id)),
    };
    labels::event(kind, id, response, questions)
}
