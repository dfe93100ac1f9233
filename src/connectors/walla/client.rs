//! Asks Walla's two APIs for the responses of one form. Reads only: every call can be repeated.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use http::StatusCode;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::cursor::Window;
use super::door::{Door, Target, said};
use super::questions::Questions;
use super::response;
use crate::clock::Clock;
use crate::connectors::client::{Client, MAX_ANSWER};
use crate::connectors::{Answer, Call, PollError};

mod places;

/// The wait after a 429 that names none. The Open API counts 6,000 requests over a rolling hour.
const COOL_DOWN: Duration = Duration::from_mins(1);
/// The most that the Open API gives in a page.
const PAGE: u64 = 100;
/// How many responses a window of the Open API may hold, unless it is the narrowest.
const MOST: u64 = 1_000;
/// How often a window is read again because it changed while its pages were read.
const PASSES: usize = 4;
/// How long the file of all responses may take.
const EXPORT: Duration = Duration::from_hours(1);
/// How many answers in a row may be no JSON.
const GARBAGE: u32 = 5;

/// What an API said about a window.
#[derive(Debug)]
pub(super) enum Found {
    /// The responses in it, and perhaps some around it.
    Items(Vec<Value>),
    /// More than can be read at once.
    TooMuch,
}

/// One form or project at one account.
pub(super) struct Api {
    client: Client,
    clock: Clock,
    door: Door,
    target: Target,
    /// The project's workspace, once it was asked for.
    workspace: OnceCell<String>,
    /// True once the response API has refused instants: it then gets dates.
    dates: AtomicBool,
    garbage: AtomicU32,
}

enum Body {
    Json(Value),
    /// Longer than what is read of an answer.
    Long,
}

/// What came of a call that was answered.
enum Got {
    Body(Body),
    /// 400, with the vendor's words.
    Refused(String),
    /// 404, with the vendor's words.
    Missing(String),
}

impl Api {
    pub(super) fn new((client, clock): (Client, Clock), door: Door, target: Target) -> Self {
        let (dates, garbage) = (AtomicBool::new(false), AtomicU32::new(0));
        Self { client, clock, door, target, workspace: OnceCell::new(), dates, garbage }
    }

    /// The questions of the form.
    pub(super) async fn questions(&self) -> Result<Questions, PollError> {
        let read = match &self.target {
            Target::Project { .. } => {
                let columns = self.whole(&["columns"]).await?;
                Questions::read(&columns, None)
            }
            Target::Form { .. } => {
                let fields = self.whole(&["fields"]).await?;
                let hidden = self.whole(&["hidden-fields"]).await?;
                Questions::read(&fields, Some(&hidden))
            }
        };
        read.map_err(PollError::stop)
    }

    /// One response; `None` if Walla has none with this key.
    pub(super) async fn one(&self, key: &str) -> Result<Option<Value>, PollError> {
        let path: &[&str] = match self.target {
            Target::Project { .. } => &["response", "get", "responseKey", key],
            Target::Form { .. } => &["responses", key],
        };
        match self.send(self.get(path, &[]).await?).await? {
            Got::Body(Body::Json(answer)) => response::one(answer).map_err(PollError::stop),
            Got::Body(Body::Long) => Err(PollError::stop("one response is over 1 MiB long")),
            Got::Missing(_) => Ok(None),
            Got::Refused(why) => Err(PollError::stop(why)),
        }
    }

    /// Writes all responses of a project into a file, as Parquet.
    pub(super) async fn export(&self, into: &mut tokio::fs::File) -> Result<(), PollError> {
        let call = self.get(&["response", "list"], &[]).await?.timeout(EXPORT);
        let answer = self.client.download(&call, into, super::export::LONGEST).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(self.unknown(&said(&answer)).await),
            _ => Err(self.failed(&answer)),
        }
    }

    /// True if all responses can be had in one file.
    pub(super) fn exports(&self) -> bool {
        matches!(self.target, Target::Project { .. })
    }

    /// The responses of a window.
    pub(super) async fn window(&self, window: Window) -> Result<Found, PollError> {
        match self.target {
            Target::Project { .. } => self.date_range(window).await,
            Target::Form { .. } => self.search(window).await,
        }
    }

    /// The narrowest window that is worth asking for.
    pub(super) fn narrowest(&self) -> SignedDuration {
        if self.dates.load(Ordering::Relaxed) { SignedDuration::from_hours(24) } else { SignedDuration::from_secs(1) }
    }

    /// How many responses were submitted before `to`; `None` if that cannot be told with one call.
    pub(super) async fn count(&self, to: Timestamp) -> Result<Option<u64>, PollError> {
        let all = Window { from: super::source::BEGINNING, to };
        if let Target::Form { .. } = self.target {
            let (_, total) =
                self.page(all, 1, 1).await?.ok_or_else(|| PollError::stop("one response is over 1 MiB long"))?;
            return Ok(Some(total));
        }
        Ok(match self.date_range(all).await? {
            Found::Items(items) => Some(items.len() as u64),
            Found::TooMuch => None,
        })
    }

    /// `response/query/dateRange`. Its page says neither whether an instant is taken ("ISO 날짜 형식"), nor in which
    /// zone a date is, nor whether the ends are within: so a little more is asked for than is needed.
    async fn date_range(&self, window: Window) -> Result<Found, PollError> {
        let ask = async |dates: bool| {
            let [from, to] = if dates { whole_days(window) } else { instants(window) };
            let path = ["response", "query", "dateRange"];
            self.send(self.get(&path, &[("startDate", &from), ("endDate", &to)]).await?).await
        };
        let dates = self.dates.load(Ordering::Relaxed);
        let mut got = ask(dates).await?;
        if !dates && matches!(got, Got::Refused(_)) {
            got = ask(true).await?;
            self.dates.store(matches!(got, Got::Body(_)), Ordering::Relaxed);
        }
        match self.body(got).await? {
            Body::Json(answer) => response::list(answer).map(Found::Items).map_err(PollError::stop),
            Body::Long => Ok(Found::TooMuch),
        }
    }

    /// `responses/search`, newest first, by page numbers that shift when a response comes in or goes away: the upper
    /// bound is fixed, and a window whose count changed between its pages is read again.
    async fn search(&self, window: Window) -> Result<Found, PollError> {
        let mut before: Option<Vec<String>> = None;
        for _ in 0..PASSES {
            let Some((items, steady)) = self.all_pages(window).await? else { return Ok(Found::TooMuch) };
            let ids: Vec<_> = items.keys().cloned().collect();
            // A count that is never right must not stop the source: two equal readings are as good.
            if steady || before.as_ref() == Some(&ids) {
                return Ok(Found::Items(items.into_values().collect()));
            }
            before = Some(ids);
        }
        Err(PollError::retry(None, "the responses changed each time while their pages were read"))
    }

    /// All pages of a window by id, and whether the vendor's count was right and the same on each of them.
    async fn all_pages(&self, window: Window) -> Result<Option<(BTreeMap<String, Value>, bool)>, PollError> {
        let mut items = BTreeMap::new();
        let (mut steady, mut count) = (true, None);
        for page in 1.. {
            let Some((list, total)) = self.page(window, page, PAGE).await? else { return Ok(None) };
            // As many at one time, from an import perhaps, cannot be told apart by it: they are read in one go.
            if total > MOST && window.span() > self.narrowest() {
                return Ok(None);
            }
            steady &= *count.get_or_insert(total) == total;
            let empty = list.is_empty();
            for item in list {
                items.insert(response::id(&item).map_err(PollError::stop)?, item);
            }
            if empty || page * PAGE >= total {
                break;
            }
        }
        let complete = count == Some(items.len() as u64);
        Ok(Some((items, steady && complete)))
    }

    /// One page, and how many responses the window has; `None` if the page is too long to be read.
    async fn page(&self, window: Window, page: u64, limit: u64) -> Result<Option<(Vec<Value>, u64)>, PollError> {
        let body = json!({
            "page": page,
            "limit": limit,
            "submittedFrom": window.from.to_string(),
            "submittedTo": window.to.to_string(),
        });
        let got = self.send(self.post(&["responses", "search"], &body).await?).await?;
        let answer = match self.body(got).await? {
            Body::Json(answer) => answer,
            Body::Long => return Ok(None),
        };
        let total = answer.pointer("/data/pagination/totalCount").and_then(Value::as_u64);
        let total = total
            .ok_or_else(|| PollError::stop(format!("no data.pagination.totalCount in {}", response::shape(&answer))))?;
        Ok(Some((response::list(answer).map_err(PollError::stop)?, total)))
    }

    // === Talking ===

    async fn whole(&self, path: &[&str]) -> Result<Value, PollError> {
        let got = self.send(self.get(path, &[]).await?).await?;
        match self.body(got).await? {
            Body::Json(value) => Ok(value),
            Body::Long => Err(PollError::stop("the form's questions take more than 1 MiB")),
        }
    }

    /// What was answered, where neither a 400 nor a 404 makes sense.
    async fn body(&self, got: Got) -> Result<Body, PollError> {
        match got {
            Got::Body(body) => Ok(body),
            Got::Refused(why) => Err(PollError::stop(why)),
            Got::Missing(said) => Err(self.unknown(&said).await),
        }
    }

    async fn send(&self, call: Call) -> Result<Got, PollError> {
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK if answer.body.len() >= MAX_ANSWER => return Ok(Got::Body(Body::Long)),
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST => {
                return Ok(Got::Refused(format!("walla refused the request{}", said(&answer))));
            }
            StatusCode::NOT_FOUND => return Ok(Got::Missing(said(&answer))),
            _ => return Err(self.failed(&answer)),
        }
        if let Ok(value) = serde_json::from_slice(&answer.body) {
            self.garbage.store(0, Ordering::Relaxed);
            return Ok(Got::Body(Body::Json(value)));
        }
        let times = self.garbage.fetch_add(1, Ordering::Relaxed) + 1;
        let why = format!("walla answered {} bytes that are not JSON", answer.body.len());
        if times < GARBAGE {
            return Err(PollError::retry(None, why));
        }
        self.garbage.store(0, Ordering::Relaxed);
        Err(PollError::stop(format!("{why}, {times} times in a row: is the account's url right?")))
    }

    /// What an answer means that is neither a yes, nor a 400, nor a 404.
    fn failed(&self, answer: &Answer) -> PollError {
        let (said, status) = (said(answer), answer.status);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => PollError::Suspend {
                why: format!(
                    "walla refused the account's keys ({status}){said}; they are under 팀 설정 > API in Walla"
                ),
            },
            StatusCode::TOO_MANY_REQUESTS => PollError::Retry {
                after: Some(answer.retry_after(self.clock.now()).unwrap_or(COOL_DOWN)),
                account: true,
                why: format!("walla asks to slow down (429){said}"),
            },
            StatusCode::REQUEST_TIMEOUT => PollError::retry(None, format!("walla answered {status}{said}")),
            _ if status.is_server_error() => {
                PollError::retry(answer.retry_after(self.clock.now()), format!("walla answered {status}{said}"))
            }
            _ => PollError::stop(format!("walla answered {status}{said}")),
        }
    }

    async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Call, PollError> {
        let place = self.place().await?;
        Ok(self.door.get(place.iter().chain(path).copied(), query))
    }

    async fn post(&self, path: &[&str], body: &Value) -> Result<Call, PollError> {
        let place = self.place().await?;
        Ok(self.door.post(place.iter().chain(path).copied(), body))
    }
}

fn instants(window: Window) -> [String; 2] {
    let margin = SignedDuration::from_secs(1);
    let from = window.from.saturating_sub(margin).unwrap_or(window.from);
    let to = window.to.saturating_add(margin).unwrap_or(window.to);
    [from.to_string(), to.to_string()]
}

/// Whole days that hold the window in every zone.
fn whole_days(window: Window) -> [String; 2] {
    let day = |at: Timestamp| -> Date { at.to_zoned(TimeZone::UTC).date() };
    let from = day(window.from).saturating_sub(1.day());
    let to = day(window.to).saturating_add(2.days());
    [from.to_string(), to.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_asked_for_with_room_on_both_sides() {
        let window =
            Window { from: "2026-01-01T00:00:00Z".parse().unwrap(), to: "2026-01-01T15:00:00.5Z".parse().unwrap() };
        assert_eq!(instants(window), ["2025-12-31T23:59:59Z", "2026-01-01T15:00:01.5Z"]);
        assert_eq!(whole_days(window), ["2025-12-31", "2026-01-03"]);
    }
}
