//! The whole past of a form from the file of all its responses, a page at a time, for a replay.
//!
//! The place in the file is kept with what the last row was: after a restart the file is asked for again, and where it has
//! other rows by then it is read from its beginning. Rows that come twice have the ids that they had.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use super::client::Api;
use super::export::Export;
use super::labels::{self, Labels};
use super::response::Response;
use crate::connectors::{Page, PollError};

/// How many rows a page has.
const ROWS: usize = 200;

/// A place in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    export: After,
}

/// The rows that are done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct After {
    rows: u64,
    /// The digest of the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

/// Before the first row.
pub(super) const BEGINNING: Place = Place { export: After { rows: 0, last: None } };

/// The place that a cursor means; `None` if it is one of a poll.
pub(super) fn row(cursor: &Value) -> Option<Result<After, PollError>> {
    cursor.get("export")?;
    let place = serde_json::from_value::<Place>(cursor.clone());
    Some(place.map(|place| place.export).map_err(|error| PollError::stop(format!("the place in the file: {error}"))))
}

/// The file that is being read, and the digest of its last row.
#[derive(Default)]
pub(super) struct Past(Option<(Export, Option<String>)>);

impl Past {
    /// The rows after a place.
    pub(super) async fn page(
        &mut self,
        api: &Api,
        labels: &Mutex<Labels>,
        after: After,
        zone: &TimeZone,
    ) -> Result<Page, PollError> {
        let held = self.0.take().filter(|(export, last)| (export.at, last) == (after.rows, &after.last));
        let (mut export, mut last, mut note) = match held.filter(|_| after.rows > 0) {
            Some((export, last)) => (export, last, None),
            None => opened(api, &after, zone).await?,
        };
        let mut responses = Vec::new();
        let mut more = true;
        while more && responses.len() < ROWS {
            match export.next().await? {
                Some(row) => {
                    let response = Response::read(row, zone).map_err(PollError::stop)?;
                    last = Some(response.hash());
                    responses.push(response);
                }
                None => more = false,
            }
        }
        let mut labels = labels.lock().await;
        labels.refresh(api).await?;
        let questions = labels.of(api, responses.iter()).await?;
        let mut events = Vec::new();
        for response in &responses {
            let id = format!("{}:{}", response.id, response.hash());
            events.push(labels::event("response.created", id, response, questions)?);
        }
        let place = Place { export: After { rows: export.at, last: last.clone() } };
        let cursor =
            serde_json::to_value(place).map_err(|error| PollError::stop(format!("the place in the file: {error}")))?;
        if more {
            self.0 = Some((export, last));
        }
        Ok(Page { events, cursor, more, note: note.take(), ..Page::default() })
    }
}

/// The file, at the place where it is to be read on.
async fn opened(
    api: &Api,
    after: &After,
    zone: &TimeZone,
) -> Result<(Export, Option<String>, Option<String>), PollError> {
    let mut export = Export::open(api).await?;
    let mut last = None;
    while export.at < after.rows {
        let row = export.next().await?;
        let Some(row) = row else { break };
        if export.at == after.rows {
            last = Some(Response::read(row, zone).map_err(PollError::stop)?.hash());
        }
    }
    if last == after.last {
        return Ok((export, last, None));
    }
    let note = "the file of all responses has changed: it is read from its beginning".to_owned();
    Ok((Export::open(api).await?, None, Some(note)))
}
