//! English and Korean. The English phrase is the key; the table has its Korean.

use std::fmt::Display;

mod korean;

pub use korean::KOREAN;

/// The language of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// English.
    English,
    /// Korean.
    Korean,
}

impl Words {
    /// The one of the two that a browser prefers, by its `Accept-Language`; English if it names neither.
    #[must_use]
    pub fn of(accepted: &str) -> Self {
        let mut best = (0.0, Self::English);
        for part in accepted.split(',') {
            let (tag, rest) = part.split_once(';').unwrap_or((part, ""));
            let weight: f32 = rest.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
            let tag = tag.trim().to_ascii_lowercase();
            let language = match tag.split('-').next() {
                Some("ko") => Self::Korean,
                Some("en") => Self::English,
                _ => continue,
            };
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }

    /// Its name, for `lang`.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }

    /// A phrase.
    #[must_use]
    pub fn say(self, english: &'static str) -> &'static str {
        match self {
            Self::English => english,
            Self::Korean => KOREAN.iter().find(|(key, _)| *key == english).map_or(english, |(_, korean)| korean),
        }
    }

    /// A phrase with its `{0}`, `{1}` filled in.
    #[must_use]
    pub fn fill(self, english: &'static str, with: &[&dyn Display]) -> String {
        let mut text = String::new();
        let mut rest = self.say(english);
        while let Some((before, from)) = rest.split_once('{') {
            text.push_str(before);
            let (place, after) = from.split_once('}').unwrap_or((from, ""));
            if let Some(value) = place.parse::<usize>().ok().and_then(|at| with.get(at)) {
                text.push_str(&value.to_string());
            }
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every file of the dashboard that may say something.
    fn sources() -> Vec<String> {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard");
        let files = std::fs::read_dir(dir).expect("the folder is there");
        let paths = files.map(|file| file.expect("a file").path());
        let speaks = |p: &std::path::PathBuf| p.extension().is_some_and(|e| e == "rs") && !p.ends_with("words.rs");
        paths.filter(speaks).map(|p| std::fs::read_to_string(p).expect("text")).collect()
    }

    /// The phrases that the code says: the literals after `say(` and `fill(`.
    fn said() -> BTreeSet<String> {
        let mut said = BTreeSet::new();
        for text in sources() {
            for call in ["say(", "fill("] {
                for rest in text.split(call).skip(1) {
                    if let Some(literal) = rest.trim_start().strip_prefix('"') {
                        said.insert(literal.split('"').next().expect("it ends").to_owned());
                    }
                }
            }
        }
        said
    }

    fn places(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
    }

    #[test]
    fn what_is_said_in_one_language_is_said_in_the_other() {
        let known: BTreeSet<String> = KOREAN.iter().map(|(key, _)| (*key).to_owned()).collect();
        let said = said();
        let lacking: Vec<_> = said.difference(&known).collect();
        assert!(lacking.is_empty(), "without Korean: {lacking:#?}");
        let unsaid: Vec<_> = known.difference(&said).collect();
        assert!(unsaid.is_empty(), "nobody says: {unsaid:#?}");
        assert_eq!(known.len(), KOREAN.len(), "a phrase is there twice");
    }

    #[test]
    fn both_languages_fill_in_the_same() {
        for (english, korean) in KOREAN {
            assert!(!korean.trim().is_empty(), "{english}");
            assert_eq!(places(english), places(korean), "{english}");
        }
    }

    #[test]
    fn phrases_are_literals() {
        for text in sources() {
            for rest in text.split(".say(").skip(1).chain(text.split(".fill(").skip(1)) {
                let start = rest.trim_start();
                let is_passed_on = start.starts_with("english") || start.starts_with("Minute");
                assert!(start.starts_with('"') || is_passed_on, "{}", &start[..40.min(start.len())]);
            }
        }
    }

    #[test]
    fn the_browser_says_which() {
        for (accepted, words) in [
            ("ko-KR,ko;q=0.9,en-US;q=0.8", Words::Korean),
            ("en-US,en;q=0.9,ko;q=0.8", Words::English),
            ("de,ko;q=0.5,en;q=0.4", Words::Korean),
            ("de", Words::English),
            ("", Words::English),
            ("ko;q=0", Words::English),
            ("ko;q=x", Words::English),
        ] {
            assert_eq!(Words::of(accepted), words, "{accepted}");
        }
    }

    #[test]
    fn values_stand_where_the_language_wants_them() {
        assert_eq!(
            Words::English.fill("{0} of {1} are done, then: {2}", &[&1, &2, &"no"]),
            "1 of 2 are done, then: no"
        );
        assert!(Words::Korean.fill("{0} of {1} are done, then: {2}", &[&1, &2, &"no"]).starts_with("2건 중 1건 처리"));
    }
}
