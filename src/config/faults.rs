//! What is wrong with a config file, as people read it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::settings::{Fault, Spot};

/// Every fault of one config file, in the order of the file.
///
/// Displays as `file:line:column: what, and what was expected`, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The config file.
    pub file: PathBuf,
    /// The faults, sorted by place, without repetitions.
    pub list: Vec<Fault>,
}

impl Faults {
    /// Sorts faults and drops repetitions.
    #[must_use]
    pub fn new(file: &Path, mut list: Vec<Fault>) -> Self {
        sort(&mut list);
        Self { file: file.to_owned(), list }
    }

    /// A fault of the file as a whole.
    #[must_use]
    pub fn whole(file: &Path, message: impl Into<String>) -> Self {
        Self::new(file, vec![Fault::new(Spot::default(), message)])
    }
}

/// Sorts faults by place and drops repetitions.
pub(super) fn sort(list: &mut Vec<Fault>) {
    list.sort_by(|a, b| (a.spot, &a.message).cmp(&(b.spot, &b.message)));
    list.dedup();
}

/// One fault as a line: `file:line:column: what`; without a place where it concerns the file as a whole.
pub fn line(file: &Path, fault: &Fault) -> String {
    let file = file.display();
    match fault.spot {
        Spot { line: 0, .. } => format!("{file}: {}", fault.message),
        Spot { line, column } => format!("{file}:{line}:{column}: {}", fault.message),
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.list.iter().enumerate() {
            let end = if index + 1 < self.list.len() { "\n" } else { "" };
            write!(f, "{}{end}", line(&self.file, fault))?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
