//! Counts the subjects that a sink refuses in a row for want of a permission (promise P5).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// So many subjects in a row are no coincidence.
pub const SEVERAL: usize = 5;

/// The subjects that a sink has refused since its last success.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashSet<String>>);

impl Refusals {
    /// One more; how many different ones there are now.
    pub fn add(&self, subject: &str) -> usize {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !refused.contains(subject) {
            refused.insert(subject.to_owned());
        }
        refused.len()
    }

    /// The sink took something, or stopped.
    pub fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subject_counts_once_and_a_success_starts_anew() {
        let refusals = Refusals::default();
        assert_eq!([refusals.add("a"), refusals.add("a"), refusals.add("b")], [1, 1, 2]);
        refusals.end();
        assert_eq!(refusals.add("b"), 1);
    }
}
