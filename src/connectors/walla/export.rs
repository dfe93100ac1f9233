//! All responses of a form in one Parquet file (`response/list`), for a replay of a past that is too long to be asked for
//! in windows. The file is kept on disk, and read a row at a time by a thread that waits until the row is wanted: never
//! more than a few rows are in memory.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};

use parquet::file::reader::SerializedFileReader;
use tokio::sync::mpsc;

use serde_json::Value;

use super::client::Api;
use crate::connectors::PollError;

mod rows;

/// How many rows wait to be read.
const AHEAD: usize = 64;
/// The longest file, in bytes.
pub(super) const LONGEST: u64 = 8 << 30;

/// A file that is being read.
pub(super) struct Export {
    rows: mpsc::Receiver<Row>,
    /// How many rows were read.
    pub(super) at: u64,
}

enum Row {
    One(Value),
    Unreadable(String),
    End,
}

impl Export {
    /// Asks for the file.
    pub(super) async fn open(api: &Api) -> Result<Self, PollError> {
        let unkept =
            |error: std::io::Error| PollError::stop(format!("the file of all responses cannot be kept: {error}"));
        let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(unkept)?);
        api.export(&mut file).await?;
        let file = file.into_std().await;
        let (send, rows) = mpsc::channel(AHEAD);
        let thread = std::thread::Builder::new().name("walla-export".to_owned());
        // It ends when the file does, or when nobody wants the rest.
        thread.spawn(move || read(file, &send)).map_err(unkept)?;
        Ok(Self { rows, at: 0 })
    }

    /// The next row; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, PollError> {
        match self.rows.recv().await {
            Some(Row::One(row)) => {
                self.at += 1;
                Ok(Some(row))
            }
            Some(Row::End) => Ok(None),
            Some(Row::Unreadable(why)) => {
                Err(PollError::stop(format!("the file of all responses cannot be read: {why}")))
            }
            // The reader of Parquet panics at what it does not know.
            None => Err(PollError::stop("the file of all responses has a type in it that cannot be read")),
        }
    }
}

fn read(mut file: File, send: &mpsc::Sender<Row>) {
    let unreadable = |error: &dyn std::fmt::Display| Row::Unreadable(error.to_string());
    let reader = match file.seek(SeekFrom::Start(0)).map(|_| SerializedFileReader::new(file)) {
        Ok(Ok(reader)) => reader,
        Ok(Err(error)) => return drop(send.blocking_send(unreadable(&error))),
        Err(error) => return drop(send.blocking_send(unreadable(&error))),
    };
    for row in reader {
        let row = row.map_or_else(|error| unreadable(&error), |row| Row::One(rows::object(row)));
        let last = matches!(row, Row::Unreadable(_));
        if send.blocking_send(row).is_err() || last {
            return;
        }
    }
    // Nobody may be waiting any more.
    let _ = send.blocking_send(Row::End);
}
