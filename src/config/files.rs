//! The files that a config is made of, whether or not it is sound.

use std::path::{Path, PathBuf};

use super::parse::parse;
use crate::settings::{Node, NodeValue};

/// The files that the config in `file` names: tables, fixtures of its tests, and those of `${file:…}`. `None` if the file
/// cannot be read, or is not YAML.
#[must_use]
pub fn named_files(file: &Path) -> Option<Vec<PathBuf>> {
    let document = parse(&std::fs::read_to_string(file).ok()?).ok()?;
    let mut named = Vec::new();
    for (_, table) in entries(&document.root, "tables") {
        named.extend(table.get("csv").and_then(|csv| csv.get("file")?.text()));
    }
    for test in document.root.get("tests").map(Node::items).unwrap_or_default() {
        named.extend(test.get("event").and_then(Node::text));
        named.extend(test.get("request").and_then(|request| request.get("file")?.text()));
    }
    filled(&document.root, &mut named);
    let dir = file.parent().unwrap_or(Path::new(""));
    Some(named.into_iter().map(|name| dir.join(name)).collect())
}

fn entries<'a>(root: &'a Node, key: &str) -> &'a [(crate::settings::Key, Node)] {
    root.get(key).map(Node::entries).unwrap_or_default()
}

/// The files of `${file:…}` in all texts below a value.
fn filled<'a>(node: &'a Node, named: &mut Vec<&'a str>) {
    match &node.value {
        NodeValue::Text(text) => {
            named.extend(text.split("${file:").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)));
        }
        NodeValue::List(items) => items.iter().for_each(|item| filled(item, named)),
        NodeValue::Map(entries) => entries.iter().for_each(|(_, value)| filled(value, named)),
        NodeValue::Null | NodeValue::Boolean(_) | NodeValue::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_read_besides_the_config_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.yaml");
        let yaml = r#"
accounts: { slack: { slack: { bot_token: "${file:/run/secrets/bot}" } }, odd: { nothing: 1 } }
tables: { members: { csv: { file: members.csv, key: a, value: b } } }
tests:
  - { name: a, event: fixtures/a.json }
  - { name: b, request: { source: s, file: fixtures/b.json } }
"#;
        std::fs::write(&file, yaml).unwrap();
        let names: Vec<_> = ["members.csv", "fixtures/a.json", "fixtures/b.json", "/run/secrets/bot"].into();
        assert_eq!(named_files(&file).unwrap(), names.iter().map(|name| dir.path().join(name)).collect::<Vec<_>>());
        std::fs::write(&file, "a: [").unwrap();
        assert_eq!(named_files(&file), None);
    }
}
