//! How what came differs from what was expected, for people to read: only what differs, one above the other.

use std::fmt;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

/// How many equal characters are shown before and after what differs in a long text.
const AROUND: usize = 16;

/// What is wrong with a test's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A value is another than expected.
    Value {
        /// Where, from the route's name on: `to-crm.map.title`.
        path: String,
        /// What was expected, as it is shown.
        expected: String,
        /// What came, as it is shown.
        actual: String,
    },
    /// The test cannot be run, in words.
    Trouble(String),
}

/// The styles of a report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub good: Style,
    pub bad: Style,
    pub quiet: Style,
    strong: Style,
}

impl Paint {
    /// For a terminal.
    pub const COLOURS: Self = Self {
        good: AnsiColor::Green.on_default(),
        bad: AnsiColor::Red.on_default(),
        quiet: Style::new().dimmed(),
        strong: Style::new().underline(),
    };
    /// For everything else.
    pub const NONE: Self = Self { good: Style::new(), bad: Style::new(), quiet: Style::new(), strong: Style::new() };
}

/// A text in a style.
pub(super) fn painted(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

impl Difference {
    pub(super) fn new(path: impl Into<String>, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::Value { path: path.into(), expected: expected.into(), actual: actual.into() }
    }

    /// For programs: `{ path, expected, actual }`, or `{ trouble }`.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Value { path, expected, actual } => json!({ "path": path, "expected": expected, "actual": actual }),
            Self::Trouble(why) => json!({ "trouble": why }),
        }
    }

    /// The lines that tell it.
    pub(super) fn lines(&self, paint: &Paint) -> Vec<String> {
        match self {
            Self::Trouble(why) => why.lines().map(str::to_owned).collect(),
            Self::Value { path, expected, actual } if expected.contains('\n') || actual.contains('\n') => {
                of_lines(path, expected, actual, paint)
            }
            Self::Value { path, expected, actual } => {
                let same = Same::of(expected, actual);
                vec![
                    path.clone(),
                    format!("  expected  {}", same.around(expected, paint.good, paint)),
                    format!("  actual    {}", same.around(actual, paint.bad, paint)),
                ]
            }
        }
    }
}

/// Two texts of several lines: those that are equal at the beginning and the end are only counted.
fn of_lines(path: &str, expected: &str, actual: &str, paint: &Paint) -> Vec<String> {
    let (expected, actual): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let before = expected.iter().zip(&actual).take_while(|(a, b)| a == b).count();
    let (expected_end, actual_end) = (expected[before..].iter().rev(), actual[before..].iter().rev());
    let after = expected_end.zip(actual_end).take_while(|(a, b)| a == b).count();
    let mut lines = vec![format!("{path} (from its line {} on)", before + 1)];
    for (word, side, style) in [("expected", &expected, paint.good), ("actual", &actual, paint.bad)] {
        let differing = &side[before..side.len() - after];
        if differing.is_empty() {
            lines.push(format!("  {word:<8}  {}", painted(style, "nothing here")));
        }
        let words = std::iter::once(word).chain(std::iter::repeat(""));
        lines.extend(words.zip(differing).map(|(word, line)| format!("  {word:<8}  {}", painted(style, line))));
    }
    lines
}

/// What two texts have in common at both ends, in characters.
struct Same {
    before: usize,
    after: usize,
}

impl Same {
    fn of(expected: &str, actual: &str) -> Self {
        let before = expected.chars().zip(actual.chars()).take_while(|(a, b)| a == b).count();
        let most = expected.chars().count().min(actual.chars().count()) - before;
        let ends = expected.chars().rev().zip(actual.chars().rev());
        Self { before, after: ends.take(most).take_while(|(a, b)| a == b).count() }
    }

    /// One of the texts, what differs in it marked, and what is long and equal cut.
    fn around(&self, text: &str, style: Style, paint: &Paint) -> String {
        let chars: Vec<char> = text.chars().collect();
        let (start, end) = (self.before, chars.len() - self.after);
        let from = if start > 2 * AROUND { start - AROUND } else { 0 };
        let to = if self.after > 2 * AROUND { end + AROUND } else { chars.len() };
        let part = |from: usize, to: usize| chars[from..to].iter().collect::<String>();
        let cut = |is: bool| if is { "…" } else { "" };
        // Where nothing is in common all of it differs, and needs no mark.
        let strong = if start == 0 && self.after == 0 { Style::new() } else { paint.strong };
        format!(
            "{style}{}{}{style:#}{}{style}{}{}{style:#}",
            cut(from > 0),
            part(from, start),
            painted(joined(style, strong), part(start, end)),
            part(end, to),
            cut(to < chars.len()),
        )
    }
}

fn joined(style: Style, mark: Style) -> Style {
    style.effects(style.get_effects() | mark.get_effects())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(expected: &str, actual: &str) -> String {
        Difference::new("r.map.text", expected, actual).lines(&Paint::NONE).join("\n")
    }

    #[test]
    fn only_what_differs_is_shown() {
        let long = "the beginning of a rather long text that is the same in both of them";
        insta::assert_snapshot!(told(&format!("{long}, 가나 and {long}"), &format!("{long}, 가다 and {long}")), @"
        r.map.text
          expected  … both of them, 가나 and the beginni…
          actual    … both of them, 가다 and the beginni…
        ");
        insta::assert_snapshot!(told("a\nb\nc\nd", "a\nx\ny\nd"), @"
        r.map.text (from its line 2 on)
          expected  b
                    c
          actual    x
                    y
        ");
        insta::assert_snapshot!(told("a\nb", "a\nb\nc"), @"
        r.map.text (from its line 3 on)
          expected  nothing here
          actual    c
        ");
    }

    #[test]
    fn a_terminal_is_told_in_colours() {
        let lines = Difference::new("r.do", "create", "update").lines(&Paint::COLOURS);
        assert_eq!(lines[1], "  expected  \u{1b}[32m\u{1b}[0m\u{1b}[4m\u{1b}[32mcre\u{1b}[0m\u{1b}[32mate\u{1b}[0m");
    }

    proptest::proptest! {
        #[test]
        fn any_two_texts_can_be_told(expected in "[ab가\n]{0,60}", actual in "[ab가\n]{0,60}") {
            let lines = Difference::new("p", expected, actual).lines(&Paint::NONE);
            proptest::prop_assert!(lines.len() >= 2);
        }
    }
}
