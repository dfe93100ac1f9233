//! How commands print: tables and lines for people, JSON for programs.

use std::io::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{CommandError, Result};

/// Prints a line.
///
/// # Errors
/// Standard output cannot be written. Whoever closed it (as `head` does) wants no more: that is no failure.
pub fn line(text: impl std::fmt::Display) -> Result {
    match writeln!(anstream::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CommandError::failed(error)),
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
///
/// # Errors
/// Standard output cannot be written.
pub fn json(value: &impl Serialize) -> Result {
    line(serde_json::to_string_pretty(value).map_err(CommandError::failed)?)
}

/// Prints a table, or a sentence where there is nothing.
///
/// # Errors
/// Standard output cannot be written.
pub fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>, nothing: &str) -> Result {
    if rows.is_empty() {
        return line(nothing);
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head);
    table.add_rows(rows);
    let text = table.to_string();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    line(lines.join("\n"))
}

/// A time as people read it here: to the second, in the machine's zone.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time of day, to the millisecond, in the machine's zone.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

/// The start of a text, on one line.
#[must_use]
pub fn short(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
