//! What operators were told, and what they still have to be. Pure: conditions and time come in.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::connectors::notice::Notice;

/// How long something must be over before that is told: what comes and goes is told once.
const CALM: SignedDuration = SignedDuration::from_mins(1);

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Since when.
    pub since: Timestamp,
    /// What, since when, why, and what to do.
    pub text: String,
    /// What to say when it is over; `None`: nothing.
    #[serde(default)]
    pub over: Option<String>,
    /// Once told it is not told again before this time, whether or not it ended meanwhile.
    #[serde(default)]
    pub once_until: Option<Timestamp>,
    /// True: only the log is told, for it is about the sink that operators are told through.
    #[serde(default)]
    pub log_only: bool,
}

/// What was told and is to be told. Survives restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book(BTreeMap<String, Line>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    condition: Condition,
    told: bool,
    /// Since when it is over.
    gone: Option<Timestamp>,
}

impl Book {
    /// Takes note of how things stand; true if that is news.
    pub fn update(&mut self, now: &BTreeMap<String, Condition>, at: Timestamp) -> bool {
        let before = self.clone();
        for (about, condition) in now {
            if let Some(line) = self.0.get_mut(about) {
                line.gone = None;
            } else {
                let line = Line { condition: condition.clone(), told: false, gone: None };
                self.0.insert(about.clone(), line);
            }
        }
        self.0.retain(|about, line| {
            if now.contains_key(about) || line.condition.once_until.is_some_and(|until| line.told && until > at) {
                return true;
            }
            line.gone.get_or_insert(at);
            // Nobody was told that it began: nobody needs to know that it is over.
            line.told && line.condition.over.is_some()
        });
        *self != before
    }

    /// What is to be told next, and whether to the log alone.
    pub fn next(&self, at: Timestamp) -> Option<(Notice, bool)> {
        let begun = self.0.iter().find(|(_, line)| !line.told).map(|(about, line)| (about, line, false));
        let over = || {
            let calm = |line: &Line| line.gone.is_some_and(|gone| at.duration_since(gone) >= CALM);
            self.0.iter().find(|(_, line)| line.told && calm(line)).map(|(about, line)| (about, line, true))
        };
        let (about, line, over) = begun.or_else(over)?;
        let Condition { since, text, over: end, log_only, .. } = line.condition.clone();
        let text = if over { end? } else { text };
        Some((Notice { about: about.clone(), over, since, text }, log_only))
    }

    /// It was told.
    pub fn told(&mut self, notice: &Notice) {
        if notice.over {
            self.0.remove(&notice.about);
        } else if let Some(line) = self.0.get_mut(&notice.about) {
            line.told = true;
        }
    }

    /// What is known of something.
    pub fn known(&self, about: &str) -> Option<&Condition> {
        self.0.get(about).map(|line| &line.condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
    }

    fn condition(over: bool) -> Condition {
        let over = over.then(|| "it is over".to_owned());
        Condition { since: at(0), text: "it began".into(), over, once_until: None, log_only: false }
    }

    fn standing(names: &[&str]) -> BTreeMap<String, Condition> {
        names.iter().map(|name| ((*name).to_owned(), condition(true))).collect()
    }

    /// Tells everything that is due; what was told.
    fn tell(book: &mut Book, now: Timestamp) -> Vec<String> {
        let mut told = Vec::new();
        while let Some((notice, _)) = book.next(now) {
            book.told(&notice);
            told.push(format!("{}: {}", notice.about, notice.text));
        }
        told
    }

    #[test]
    fn beginning_and_end_are_told_once() {
        let mut book = Book::default();
        assert!(book.update(&standing(&["a"]), at(0)));
        assert_eq!(tell(&mut book, at(0)), ["a: it began"]);
        assert!(!book.update(&standing(&["a"]), at(1)));
        assert_eq!(tell(&mut book, at(1)), [""; 0]);
        // It comes and goes.
        assert!(book.update(&standing(&[]), at(2)));
        assert!(book.update(&standing(&["a"]), at(30)));
        assert!(book.update(&standing(&[]), at(40)));
        assert_eq!(tell(&mut book, at(99)), [""; 0]);
        assert_eq!(tell(&mut book, at(100)), ["a: it is over"]);
        assert_eq!(book, Book::default());
    }

    #[test]
    fn what_was_over_before_anybody_heard_of_it_is_not_told() {
        let mut book = Book::default();
        book.update(&standing(&["a"]), at(0));
        book.update(&standing(&[]), at(1));
        assert_eq!(tell(&mut book, at(1_000)), [""; 0]);
    }

    #[test]
    fn a_month_is_told_of_once() {
        let mut book = Book::default();
        let once = Condition { once_until: Some(at(1_000)), ..condition(false) };
        let standing = BTreeMap::from([("quota".to_owned(), once)]);
        book.update(&standing, at(0));
        assert_eq!(tell(&mut book, at(0)), ["quota: it began"]);
        book.update(&BTreeMap::new(), at(10));
        book.update(&standing, at(20));
        assert_eq!(tell(&mut book, at(20)), [""; 0]);
        book.update(&BTreeMap::new(), at(1_000));
        assert_eq!(book, Book::default());
    }

    proptest! {
        /// Whatever comes and goes, with restarts in between: beginning and end take turns.
        #[test]
        fn an_end_is_told_after_a_beginning_alone(steps in proptest::collection::vec((any::<bool>(), 0i64..90, any::<bool>()), 1..60)) {
            let (mut book, mut now, mut last) = (Book::default(), 0, None);
            for (there, seconds, tells) in steps {
                now += seconds;
                book.update(&standing(if there { &["a"] } else { &[] }), at(now));
                book = serde_json::from_str(&serde_json::to_string(&book).expect("JSON")).expect("a book");
                for told in if tells { tell(&mut book, at(now)) } else { Vec::new() } {
                    let over = told.ends_with("over");
                    prop_assert_eq!(Some(over), last.map(|l: bool| !l).or(Some(false)));
                    last = Some(over);
                }
            }
        }
    }
}
