//! How tests went, for people and for programs.

use std::fmt;

use serde_json::{Value, json};

use super::difference::{Difference, Paint, painted};
use super::expect::shown_event;
use crate::event::{Collapse, Event};
use crate::settings::Spot;

/// How the tests went. Displays as people read it, without colours.
#[derive(Clone, Debug)]
pub struct Report {
    /// The tests, in the order of the file.
    pub tests: Vec<TestReport>,
}

/// How one test went.
#[derive(Clone, Debug)]
pub struct TestReport {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub spot: Spot,
    /// The events that its request was read as; none for a test of an event.
    pub events: Vec<Event>,
    /// What differs from what was expected; none: it passed.
    pub differences: Vec<Difference>,
    /// What a person should know though it passed, as that a signature was not checked.
    pub notes: Vec<String>,
}

impl Report {
    /// How many tests failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.tests.iter().filter(|test| !test.differences.is_empty()).count()
    }

    /// The same for programs: `{ tests: [{ name, line, passed, events, differences, notes }], passed, failed }`; a
    /// difference is `{ path, expected, actual }` or, where the test cannot be run, `{ trouble }`.
    #[must_use]
    pub fn json(&self) -> Value {
        let tests: Vec<Value> = self
            .tests
            .iter()
            .map(|test| {
                json!({
                    "name": test.name,
                    "line": test.spot.line,
                    "passed": test.differences.is_empty(),
                    "events": test.events.iter().map(shown_event).collect::<Vec<_>>(),
                    "differences": test.differences.iter().map(Difference::json).collect::<Vec<_>>(),
                    "notes": test.notes,
                })
            })
            .collect();
        json!({ "passed": tests.len() - self.failed(), "failed": self.failed(), "tests": tests })
    }

    /// As people read it on a terminal.
    pub(super) fn in_colours(&self) -> String {
        self.told(&Paint::COLOURS)
    }

    fn told(&self, paint: &Paint) -> String {
        let mut lines: Vec<String> = self.tests.iter().flat_map(|test| test.lines(paint)).collect();
        let failed = self.failed();
        let passed = format!("{} passed", self.tests.len() - failed);
        let counted = format!("{failed} failed");
        let style = if failed > 0 { paint.bad } else { paint.good };
        lines.push(format!("{passed}, {}", painted(style, counted)));
        lines.join("\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(&Paint::NONE))
    }
}

impl TestReport {
    fn lines(&self, paint: &Paint) -> Vec<String> {
        let head = if self.differences.is_empty() {
            format!("{}    {}", painted(paint.good, "ok"), self.name)
        } else {
            format!("{}  {} (line {})", painted(paint.bad, "FAIL"), self.name, self.spot.line)
        };
        let differences = self.differences.iter().flat_map(|difference| difference.lines(paint));
        let events = self.events.iter().map(|event| painted(paint.quiet, format!("event: {}", known(event))));
        let notes = self.notes.iter().map(|note| painted(paint.quiet, format!("note: {note}")));
        let below = differences.chain(events).chain(notes).map(|line| format!("      {line}"));
        std::iter::once(head).chain(below).collect()
    }
}

/// What an event is known by, now and when it comes again.
fn known(event: &Event) -> String {
    let subject = event.subject.as_ref().map(|subject| format!(", subject {subject}")).unwrap_or_default();
    let version = event.version.map(|version| format!(", version {version}")).unwrap_or_default();
    let again = match event.collapse {
        Collapse::Id => "its id",
        Collapse::IdOrBody => "its id or its body",
        Collapse::BodyForADay => "its body, for a day",
    };
    format!("{}, id {}{subject}{version}; known again by {again}", event.kind, event.id)
}
