//! What a queue missed that had gone from the broker.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long something was bound to a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// A topic key: words with dots between them, `*` for one word, `#` for any number of them.
    pub key: String,
    /// Since when.
    pub from: Timestamp,
    /// Until when; `None`: it is bound now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A queue that had gone from the broker with all that was in it, and is there again without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The queue.
    pub queue: String,
    /// When that was noticed.
    pub noticed: Timestamp,
    /// What came to it, and when.
    pub bound: Vec<Span>,
}

impl Lost {
    /// True if an event of this source and type that was received then was to come to the queue.
    #[must_use]
    pub fn had(&self, source: &str, kind: &str, received: Timestamp) -> bool {
        let key: Vec<&str> = std::iter::once(source).chain(kind.split('.')).collect();
        self.bound.iter().any(|span| {
            // What was received before the binding's end may have been published a little after it.
            let within = span.from <= received && span.until.is_none_or(|until| received < until);
            within && covers(&span.key.split('.').collect::<Vec<_>>(), &key)
        })
    }

    /// Before this nothing came to the queue.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        self.bound.iter().map(|span| span.from).min()
    }
}

/// True if a pattern of words stands for these words.
fn covers(pattern: &[&str], words: &[&str]) -> bool {
    match pattern.split_first() {
        None => words.is_empty(),
        Some((&"#", rest)) => (0..=words.len()).any(|skipped| covers(rest, &words[skipped..])),
        Some((first, rest)) => {
            words.split_first().is_some_and(|(word, left)| (*first == "*" || first == word) && covers(rest, left))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_known_by_key_and_time() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let span =
            |key: &str, from: &str, until: Option<&str>| Span { key: key.into(), from: at(from), until: until.map(at) };
        let lost = Lost {
            queue: "r".into(),
            noticed: at("2026-03-09T00:00:00Z"),
            bound: vec![
                span("shop.order.*.#", "2026-03-02T00:00:00Z", None),
                span("git.push", "2026-03-01T00:00:00Z", Some("2026-03-03T00:00:00Z")),
            ],
        };
        let had = |source: &str, kind: &str, received: &str| lost.had(source, kind, at(received));
        assert!(had("shop", "order.created", "2026-03-02T00:00:00Z"));
        assert!(had("shop", "order.line.added", "2026-03-08T00:00:00Z"));
        assert!(!had("shop", "order.created", "2026-03-01T23:59:59Z"), "it was not bound yet");
        assert!(!had("shop", "order", "2026-03-04T00:00:00Z"), "a star is one word at the least");
        assert!(!had("crm", "order.created", "2026-03-04T00:00:00Z"));
        assert!(had("git", "push", "2026-03-01T00:00:00Z"));
        assert!(!had("git", "push", "2026-03-03T00:00:00Z"), "it was bound no more");
        assert_eq!(lost.since(), Some(at("2026-03-01T00:00:00Z")));
    }
}
