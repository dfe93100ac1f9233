//! The reference of all keys of the config, for people; from the same lists of fields as the check.

use std::fmt::Write as _;

use super::fields;
use crate::connectors::Manifest;
use crate::settings::{Field, Kind, Need};

const HEAD: &str = "\
# Every key of `dari.yaml`

`dari schema --reference` writes this page, from the lists of keys by which `dari check` reads the file. How the parts work together is told
in [the config](config.md). A dot leads into a mapping: `listen.hooks` is `listen: { hooks: … }`; `[]` stands for each item of a list, and `*` for each
name that you choose.
";

/// The reference of a config with these connectors, as Markdown.
#[must_use]
pub fn reference(manifests: &[&'static Manifest]) -> String {
    let mut out = HEAD.to_owned();
    section(&mut out, 2, "Top level", "", &[fields::TOP]);
    section(&mut out, 2, "Every account", "Besides the keys of its vendor.", &[fields::ACCOUNT]);
    section(&mut out, 2, "Every source", "Besides the keys of its kind.", &[fields::SOURCE]);
    section(&mut out, 2, "Every sink", "Besides the keys of its kind.", &[fields::SINK]);
    section(&mut out, 2, "A sink without an account", "It is an account of its own.", &[fields::OWN_ACCOUNT]);
    section(&mut out, 2, "A route", "", &[fields::ROUTE]);
    section(&mut out, 2, "Every lookup of a route", "Besides the keys of its vendor.", &[fields::LOOKUP]);
    section(&mut out, 2, "A table", "One of these.", &[fields::TABLE]);
    for manifest in manifests {
        let _ = write!(out, "\n## {}\n\n{}\n", manifest.title, manifest.about);
        if let Some(account) = &manifest.account {
            section(&mut out, 3, &format!("account `{}`", manifest.name), "", &[account.fields]);
        }
        for source in manifest.sources {
            section(&mut out, 3, &format!("source `{}`", source.name), "", &[source.fields]);
        }
        for sink in manifest.sinks {
            section(&mut out, 3, &format!("sink `{}`", sink.name), sink.advice, &[sink.fields]);
        }
        if let Some(lookup) = &manifest.lookup {
            section(&mut out, 3, "lookup", "", &[lookup.fields]);
        }
    }
    out
}

fn section(out: &mut String, level: usize, heading: &str, about: &str, lists: &[&[Field]]) {
    let mut rows = String::new();
    for field in lists.iter().copied().flatten() {
        row(&mut rows, "", field);
    }
    let _ = write!(out, "\n{} {heading}\n", "#".repeat(level));
    if !about.is_empty() {
        let _ = write!(out, "\n{about}\n");
    }
    if rows.is_empty() {
        out.push_str("\nNo keys.\n");
    } else {
        let _ = write!(out, "\n| key | takes | if missing | meaning |\n| --- | --- | --- | --- |\n{rows}");
    }
}

/// A key, and the keys within it.
fn row(out: &mut String, path: &str, field: &Field) {
    let missing = match field.need {
        Need::Required => "an error".to_owned(),
        Need::Optional => String::new(),
        Need::Default(text) => format!("`{text}`"),
        Need::NotYet(_) => return,
    };
    let path = format!("{path}{}", field.name);
    let (takes, doc) = (cell(&field.kind.words()), cell(field.doc));
    let _ = writeln!(out, "| `{path}` | {takes} | {missing} | {doc} |");
    for (path, inner) in within(&path, &field.kind) {
        for field in inner {
            row(out, &path, field);
        }
    }
}

/// The mappings within a value, with what their keys begin with.
fn within(path: &str, kind: &Kind) -> Vec<(String, &'static [Field])> {
    match kind {
        Kind::Object(fields) | Kind::OneOf(fields) => vec![(format!("{path}."), fields)],
        Kind::List(of) => within(&format!("{path}[]"), of),
        Kind::Map(of) => within(&format!("{path}.*"), of),
        Kind::Either(kinds) => kinds.iter().flat_map(|kind| within(path, kind)).collect(),
        _ => Vec::new(),
    }
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors;

    #[test]
    fn the_page_in_the_documentation_is_what_is_written() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference.md")).unwrap();
        let differs = page.lines().zip(reference(connectors::ALL).lines()).position(|(there, here)| there != here);
        assert_eq!(differs, None, "write it anew: `dari schema --reference > docs/reference.md`");
        assert_eq!(page.lines().count(), reference(connectors::ALL).lines().count());
    }

    #[test]
    fn keys_within_keys_have_their_path() {
        let mut out = String::new();
        section(&mut out, 2, "Tests", "", &[fields::TOP]);
        for key in ["| `listen.admin.token` | secret |", "| `tests[].name` | text | an error |"] {
            assert!(out.contains(key), "{key} in\n{out}");
        }
    }
}
