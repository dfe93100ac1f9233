//! `${NAME}`, `${NAME:-default}` and `${file:/path}` in the config's string values.

use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::settings::{Node, NodeValue};

/// What may stand unescaped in the user part of a URL (RFC 3986, unreserved).
const USERINFO: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where variables and files come from.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The config's folder: relative files start here.
    pub dir: &'a Path,
}

/// A text with its `${…}` replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    /// The text.
    pub text: String,
    /// What was put in, with the `${…}` it stands for.
    pub pieces: Vec<(String, String)>,
}

impl Surroundings<'_> {
    /// Replaces every `${…}`; `$${` becomes `${`. `None` if there was nothing to replace. In a URL, what stands between
    /// `://` and `@` is percent-encoded.
    ///
    /// # Errors
    /// Every variable or file that is missing, in words. Never a value.
    pub fn fill(&self, text: &str, is_url: bool) -> Result<Option<Filled>, Vec<String>> {
        if !text.contains("${") {
            return Ok(None);
        }
        let (mut out, mut pieces, mut faults, mut rest) = (String::new(), Vec::new(), Vec::new(), text);
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = &from[2..];
                continue;
            }
            out.push_str(before);
            let Some((inner, after)) = from[2..].split_once('}') else {
                faults.push("`${` without a `}`; write `$${` for the text itself".to_owned());
                return Err(faults);
            };
            let consumed = &text[..text.len() - from.len()];
            match self.look_up(inner) {
                Ok(value) if is_url && in_userinfo(consumed, after) => {
                    let encoded = utf8_percent_encode(&value, USERINFO).to_string();
                    out.push_str(&encoded);
                    pieces.extend([(encoded, format!("${{{inner}}}")), (value, format!("${{{inner}}}"))]);
                }
                Ok(value) => {
                    out.push_str(&value);
                    pieces.push((value, format!("${{{inner}}}")));
                }
                Err(fault) => faults.push(fault),
            }
            rest = after;
        }
        out.push_str(rest);
        if faults.is_empty() { Ok(Some(Filled { text: out, pieces })) } else { Err(faults) }
    }

    /// Every text of a config that was found to be sound, replaced.
    pub fn whole(&self, mut node: Node) -> Node {
        match &mut node.value {
            NodeValue::Text(text) => {
                // What cannot be replaced here is nothing to replace: a template's own.
                if let Ok(Some(filled)) = self.fill(text, false) {
                    *text = filled.text;
                }
            }
            NodeValue::List(items) => *items = std::mem::take(items).into_iter().map(|item| self.whole(item)).collect(),
            NodeValue::Map(entries) => {
                let filled = std::mem::take(entries).into_iter().map(|(key, node)| (key, self.whole(node)));
                *entries = filled.collect();
            }
            NodeValue::Null | NodeValue::Boolean(_) | NodeValue::Number(_) => {}
        }
        node
    }

    fn look_up(&self, inner: &str) -> Result<String, String> {
        if let Some(path) = inner.strip_prefix("file:") {
            let text = std::fs::read_to_string(self.dir.join(path));
            return match text {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => Err(format!("cannot read the file `{path}` of `${{file:…}}`: {error}")),
            };
        }
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(
                "`${…}` takes a variable's name or `file:` and a path; write `$${` for the text itself".to_owned()
            );
        }
        let value = (self.env)(name).filter(|value| default.is_none() || !value.is_empty());
        value.or(default.map(str::to_owned)).ok_or_else(|| format!("the environment variable `{name}` is not set"))
    }
}

/// True between `://` and an `@` that ends the user part.
fn in_userinfo(before: &str, after: &str) -> bool {
    let begun = before.split_once("://").is_some_and(|(_, rest)| !rest.contains(['@', '?', '#']));
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    begun && after[..end].contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, is_url: bool) -> Result<Option<String>, Vec<String>> {
        let env = |name: &str| match name {
            "NAME" => Some("va/l@ue".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let filled = Surroundings { env: &env, dir: Path::new("/nowhere") }.fill(text, is_url)?;
        Ok(filled.map(|filled| filled.text))
    }

    #[test]
    fn variables_defaults_and_escapes() {
        for (text, filled) in [
            ("a ${NAME} b${NAME}", "a va/l@ue bva/l@ue"),
            ("${NOPE:-x y}", "x y"),
            ("${EMPTY:-x}", "x"),
            ("${NOPE:-}", ""),
            ("${EMPTY}", ""),
            ("$${NAME}", "${NAME}"),
            ("$${NAME} ${NAME}", "${NAME} va/l@ue"),
            ("$ ${NAME} {x} $x", "$ va/l@ue {x} $x"),
        ] {
            assert_eq!(fill(text, false), Ok(Some(filled.to_owned())), "{text}");
        }
        assert_eq!(fill("$NAME {NAME}", false), Ok(None));
    }

    #[test]
    fn what_is_missing_is_named_all_of_it() {
        let faults = fill("${A} ${B} ${1x} ${file:gone}", false).unwrap_err().join("\n");
        insta::assert_snapshot!(faults, @r"
        the environment variable `A` is not set
        the environment variable `B` is not set
        `${…}` takes a variable's name or `file:` and a path; write `$${` for the text itself
        cannot read the file `gone` of `${file:…}`: No such file or directory (os error 2)
        ");
        assert_eq!(fill("${A", false).unwrap_err(), ["`${` without a `}`; write `$${` for the text itself"]);
    }

    #[test]
    fn a_password_in_a_url_is_encoded_and_nothing_else() {
        for (text, filled) in [
            ("amqp://u:${NAME}@host/%2f", "amqp://u:va%2Fl%40ue@host/%2f"),
            ("https://${NAME}:${NAME}@host", "https://va%2Fl%40ue:va%2Fl%40ue@host"),
            ("https://host/${NAME}", "https://host/va/l@ue"),
            ("https://u@host/${NAME}@", "https://u@host/va/l@ue@"),
            ("${NAME}", "va/l@ue"),
        ] {
            assert_eq!(fill(text, true), Ok(Some(filled.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_file_loses_its_last_line_break() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
        let surroundings = Surroundings { env: &|_| None, dir: dir.path() };
        let fill = |text: &str| surroundings.fill(text, false).unwrap().unwrap().text;
        assert_eq!(fill("x${file:secret}"), "xhunter2");
        let absolute = format!("${{file:{}}}", dir.path().join("secret").display());
        assert_eq!(fill(&absolute), "hunter2");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_never_fills_what_was_filled(text in "([$\\{\\}:a-z가/@-]|NAME)*", is_url: bool) {
            let env = |_: &str| Some("${X}".to_owned());
            let filled = Surroundings { env: &env, dir: Path::new("/nowhere") }.fill(&text, is_url);
            if !text.contains("${") {
                proptest::prop_assert_eq!(filled, Ok(None));
            }
        }
    }
}
