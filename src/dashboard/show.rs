//! How times, numbers, states and calls are shown.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use super::page::Page;
use crate::outcome::Scope;
use crate::store::{DeadClass, Suspension};

/// How much of a text is shown on a page, in bytes.
const MOST: usize = 64 * 1024;

impl Page {
    /// How long ago, or how long until; the exact time when it is pointed at.
    pub fn ago(&self, at: Timestamp) -> Markup {
        let since = self.now.duration_since(at);
        let words = if since.is_negative() {
            self.fill("in {0}", &[&self.span(since.abs())])
        } else if since < SignedDuration::from_secs(5) {
            self.say("just now").to_owned()
        } else {
            self.fill("{0} ago", &[&self.span(since)])
        };
        html! { time datetime=(at) title=(self.exact(at)) { (words) } }
    }

    /// The time itself, in the config's zone.
    pub fn at(&self, at: Timestamp) -> Markup {
        html! { time datetime=(at) title=(at) { (self.exact(at)) } }
    }

    /// As `2026-11-22 18:04:05`.
    pub fn exact(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// A length of time in its largest unit.
    pub fn span(&self, span: SignedDuration) -> String {
        let seconds = span.as_secs();
        match seconds {
            ..60 => self.fill("{0} s", &[&seconds]),
            60..3_600 => self.fill("{0} min", &[&(seconds / 60)]),
            3_600..172_800 => self.fill("{0} h", &[&(seconds / 3_600)]),
            _ => self.fill("{0} days", &[&(seconds / 86_400)]),
        }
    }

    /// A suspension in words: why, since when, until when.
    pub fn halted(&self, halt: &Suspension) -> Markup {
        html! {
            (badge("bad", self.say("suspended")))
            " " (halt.why)
            span.quiet {
                " · " (self.say("since")) " " (self.ago(halt.since))
                @match (halt.until, halt.probe) {
                    (Some(until), _) => { " · " (self.say("goes on by itself")) " " (self.ago(until)) }
                    (None, Some(probe)) => { " · " (self.say("tried again")) " " (self.ago(probe)) }
                    (None, None) => { " · " (self.say("until a person resumes it")) }
                }
            }
        }
    }

    /// What kind of thing it is.
    pub fn scope(&self, scope: Scope) -> &'static str {
        match scope {
            Scope::Account => self.say("account"),
            Scope::Sink => self.say("sink"),
            Scope::Route => self.say("route"),
            Scope::Source => self.say("source"),
        }
    }

    /// The class of a dead letter.
    pub fn class(&self, class: DeadClass) -> &'static str {
        match class {
            DeadClass::Payload => self.say("refused"),
            DeadClass::Exhausted => self.say("given up after retries"),
            DeadClass::Poison => self.say("failed here"),
            DeadClass::Held => self.say("held"),
            DeadClass::Retired => self.say("route retired"),
        }
    }

    /// How a delivery ended, with its colour.
    pub fn ending(&self, ending: &str) -> Markup {
        let (tone, words) = match ending {
            "delivered" => ("good", self.say("delivered")),
            "rejected" => ("bad", self.say("rejected")),
            "exhausted" => ("bad", self.say("given up")),
            "poison" => ("bad", self.say("failed here")),
            "held" => ("bad", self.say("held")),
            "skipped" => ("calm", self.say("skipped")),
            "stale" => ("calm", self.say("stale")),
            "superseded" => ("calm", self.say("superseded")),
            "unchanged" => ("calm", self.say("unchanged")),
            "duplicate" => ("calm", self.say("repeated")),
            "dropped" => ("calm", self.say("dropped")),
            "nothing-to-do" => ("calm", self.say("nothing to do")),
            other => return badge("calm", other),
        };
        badge(tone, words)
    }

    /// A text that may be long.
    pub fn text(&self, text: &str) -> Markup {
        let (shown, cut) = cut(text);
        html! {
            pre tabindex="0" { (shown) }
            @if cut { p.quiet { (self.fill("Only the first {0} KiB are shown.", &[&(MOST / 1024)])) } }
        }
    }

    /// A value as JSON.
    pub fn json(&self, value: &Value) -> Markup {
        self.text(&serde_json::to_string_pretty(value).unwrap_or_default())
    }

    /// A call to a vendor, as people may see it.
    pub fn call(&self, call: &Value) -> Markup {
        let text = |key: &str| call[key].as_str().unwrap_or_default();
        html! {
            p.call { strong { (text("method")) } " " code { (text("url")) } }
            @match &call["body"] {
                Value::Null => {}
                Value::String(body) => (self.text(body)),
                body => (self.json(body)),
            }
        }
    }
}

fn cut(text: &str) -> (&str, bool) {
    if text.len() <= MOST {
        return (text, false);
    }
    (&text[..text.floor_char_boundary(MOST)], true)
}

/// A word on a coloured ground.
pub(super) fn badge(tone: &'static str, words: &str) -> Markup {
    html! { span class={ "badge " (tone) } { (words) } }
}

/// A length of time as in the config: `1m`, `2h`.
pub(super) fn short(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate for the eye: one digit after the point below ten.
pub(super) fn rate(rate: f64) -> String {
    let text = if rate >= 10.0 { format!("{rate:.0}") } else { format!("{rate:.1}") };
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A text as it stands in a query.
pub(super) fn query(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.25, 9.96, 12.4].map(rate), ["0", "0.2", "10", "12"]);
        assert_eq!([60, 90, 7_200, 86_400].map(|s| short(Duration::from_secs(s))), ["1m", "90s", "2h", "1d"]);
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        let text = "가".repeat(MOST);
        let (shown, was_cut) = cut(&text);
        assert!(was_cut && shown.len() <= MOST && shown.chars().all(|c| c == '가'));
    }
}
