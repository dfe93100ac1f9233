//! The source `walla`: polls one form for new and changed responses.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::client::{Api, Found, Keys, Target, stop};
use super::cursor::{Cursor, News, Window};
use super::questions::Questions;
use super::response::Response;
use crate::clock::Clock;
use crate::connectors::client::Addresses;
use crate::connectors::{Build, EventDoc, Memory, Page, PollError, Poller, SourceKind, SourceRole};
use crate::event::{NewEvent, Payload, Version};
use crate::settings::{Fault, Field, Kind, Need, Settings, parse_instant};

/// Before Walla: where `start: all` starts. 2015-01-01.
pub(super) const BEGINNING: Timestamp = Timestamp::constant(1_420_070_400, 0);
/// After how many polls the labels are read again.
const LABELS: u32 = 60;

/// The response API unless the account sets `url`.
const RESPONSE_API: &str = "https://walla-api.data-lab.workers.dev";
/// The Open API v1 unless the account sets `url`: the help centre's host, for the one of the developer docs
/// (`api.walla.my`) is reported not to resolve.
const OPEN_API: &str = "https://app.walla.my/open-api/v1";

/// The source.
pub const KIND: SourceKind = SourceKind { name: "walla", fields: FIELDS, events: EVENTS, build, registrar: None };

const FIELDS: &[Field] = &[
    Field {
        name: "account",
        kind: Kind::Account("walla"),
        need: Need::Required,
        doc: "The account whose keys are used: response API keys go with `workspace` and `project`, an Open API key with `form`.",
    },
    Field {
        name: "workspace",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "The workspace key (workspaceKey) of the response API; `GET /workspace/query/projectKey` tells it for a project.",
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
        doc: "The form's id in the Open API, in place of `workspace` and `project`.",
    },
    Field {
        name: "every",
        kind: Kind::Duration,
        need: Need::Default("1m"),
        doc: "How long to wait between two polls.",
    },
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

/// What the first poll brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Now,
    From(Timestamp),
}

struct Source {
    api: Api,
    every: Duration,
    overlap: SignedDuration,
    start: Start,
    zone: TimeZone,
    clock: Clock,
    labels: Mutex<Labels>,
}

/// The labels as they were last read.
#[derive(Default)]
struct Labels {
    questions: Option<Questions>,
    /// Polls since then.
    age: u32,
    /// Columns that have no label even so.
    unknown: BTreeSet<String>,
}

fn build(build: &Build<'_>) -> Result<SourceRole, Vec<Fault>> {
    let settings = &build.settings;
    let fault = |key: &str, message: &str| vec![Fault::new(settings.spot(key), message)];
    let Some(account) = build.account else { return Err(fault("account", "a walla source needs an account")) };
    let open_key = account.settings.text("open_api_key");
    let target = target(settings, open_key.is_some())?;
    let (keys, default) = if let Some(api_key) = open_key {
        (Keys::Open { api_key }, OPEN_API)
    } else {
        let text = |key| account.settings.text(key).unwrap_or_default();
        (Keys::Basic { client_id: text("client_id"), api_key: text("api_key") }, RESPONSE_API)
    };
    let (base, addresses) = match account.url {
        "" => (default, Addresses::Public),
        url => (url, Addresses::Any),
    };
    let base = Url::parse(base).ok().filter(|url| !url.cannot_be_a_base());
    let base = base.ok_or_else(|| fault("account", "the account's url is no http or https URL"))?;
    let every = settings.duration("every").filter(|every| !every.is_zero());
    let every = every.ok_or_else(|| fault("every", "a source cannot be polled every 0s; expected at least 1s"))?;
    let overlap = settings.duration("overlap").and_then(|length| SignedDuration::try_from(length).ok());
    let start = match settings.text("start").unwrap_or("now") {
        "now" => Start::Now,
        "all" => Start::From(BEGINNING),
        text => Start::From(parse_instant(text, &build.zone).ok_or_else(|| {
            fault("start", "expected now, all, a date (2026-01-01) or an instant (2026-01-01T09:00:00+09:00)")
        })?),
    };
    let api = Api::new((build.client.clone(), build.clock.clone()), base, &keys, target, addresses)
        .ok_or_else(|| fault("account", "the account's keys hold characters that no HTTP header takes"))?;
    Ok(SourceRole::Poller(Box::new(Source {
        api,
        every,
        overlap: overlap.unwrap_or_default(),
        start,
        zone: build.zone.clone(),
        clock: build.clock.clone(),
        labels: Mutex::default(),
    })))
}

/// Which form is polled: the keys have to fit the account's API.
fn target(settings: &Settings<'_>, open: bool) -> Result<Target, Vec<Fault>> {
    let [workspace, project, form] = ["workspace", "project", "form"].map(|key| settings.text(key));
    match (open, workspace, project, form) {
        (true, None, None, Some(form)) => Ok(Target::Form { form: form.to_owned() }),
        (false, Some(workspace), Some(project), None) => {
            Ok(Target::Project { workspace: workspace.to_owned(), project: project.to_owned() })
        }
        (true, ..) => Err(vec![Fault::new(
            settings.node().spot,
            "the account has an open_api_key: expected `form`, and neither `workspace` nor `project`",
        )]),
        (false, ..) => Err(vec![Fault::new(
            settings.node().spot,
            "the account has a client_id and an api_key: expected `workspace` and `project`, and no `form`",
        )]),
    }
}

#[async_trait]
impl Poller for Source {
    fn every(&self) -> Duration {
        self.every
    }

    async fn poll(&self, cursor: Option<&Value>, _: &dyn Memory) -> Result<Page, PollError> {
        let now = self.clock.now();
        let (mut cursor, mut note) = match cursor {
            Some(value) => (read_cursor(value)?, None),
            None => self.first(now).await?,
        };
        let mut labels = self.labels.lock().await;
        self.read_labels(&mut labels, false).await?;
        let (window, last, items) = self.read(&mut cursor, now).await?;
        let responses = items
            .into_iter()
            .map(|item| Response::read(item, &self.zone).map_err(stop))
            .collect::<Result<Vec<_>, _>>()?;
        let news = cursor.take(window, responses, last, self.overlap);
        let questions = self.questions_for(&mut labels, &news).await?;
        let events = news.iter().map(|news| event(news, questions)).collect::<Result<Vec<_>, _>>()?;
        if let Some(shortened) = cursor.shortened() {
            note.get_or_insert(shortened);
        }
        let cursor = serde_json::to_value(&cursor).map_err(|error| stop(format!("the cursor: {error}")))?;
        Ok(Page { events, cursor, more: !last, note, ..Page::default() })
    }

    fn past(&self, from: Option<Timestamp>) -> Option<Value> {
        serde_json::to_value(Cursor::from_start(from.unwrap_or(BEGINNING))).ok()
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
            Start::From(at) => {
                let note = (at != BEGINNING).then(|| format!("starts with what was submitted from {at} on"));
                Ok((Cursor::from_start(at), note))
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
                    return Err(stop(format!(
                        "the responses submitted from {from} to {to} take more than the 1 MiB that is read at once"
                    )));
                }
            }
        }
    }

    async fn read_labels(&self, labels: &mut Labels, at_once: bool) -> Result<(), PollError> {
        labels.age += 1;
        if labels.questions.is_none() || labels.age > LABELS || at_once {
            *labels = Labels { questions: Some(self.api.questions().await?), ..Labels::default() };
        }
        Ok(())
    }

    /// The questions, read anew if the news hold a column that is not among them and was not missed before.
    async fn questions_for<'a>(&self, labels: &'a mut Labels, news: &[News]) -> Result<&'a Questions, PollError> {
        let missed = |labels: &Labels| -> BTreeSet<String> {
            let known = labels.questions.as_ref();
            let unknown = |news: &News| -> Vec<String> {
                known.map(|q| news.response.unknown(q).map(str::to_owned).collect()).unwrap_or_default()
            };
            news.iter().flat_map(unknown).collect()
        };
        if !missed(labels).is_subset(&labels.unknown) {
            self.read_labels(labels, true).await?;
            labels.unknown = missed(labels);
        }
        Ok(labels.questions.get_or_insert_default())
    }
}

fn read_cursor(value: &Value) -> Result<Cursor, PollError> {
    serde_json::from_value(value.clone())
        .map_err(|error| stop(format!("the stored cursor cannot be read ({error}); forget it to start anew")))
}

fn event(news: &News, questions: &Questions) -> Result<NewEvent, PollError> {
    let News { response, edits, hash } = news;
    let data = response.data(questions).map_err(stop)?;
    let (kind, id) = match edits {
        0 => ("response.created", format!("{}:{hash}", response.id)),
        // With the count, or a change that is taken back would repeat the id of an earlier event.
        edits => ("response.updated", format!("{}:{hash}:{edits}", response.id)),
    };
    let mut event = NewEvent::new(kind, Payload::from_value(&data));
    event.id = Some(id);
    event.subject = Some(response.id.clone());
    event.time = Some(response.submitted);
    event.version = response.updated.map(Version::Instant);
    Ok(event)
}
