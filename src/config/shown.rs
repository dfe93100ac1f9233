//! The config as people may see it: as it was loaded, before anything was put in for `${…}`, without comments, and with
//! what is secret masked where it stands in the file itself.

use std::collections::BTreeSet;

use crate::redact::MASK;
use crate::settings::{Node, NodeValue, Spot};

/// The whole file as YAML. What stands at the places of `secrets` is masked, as is a password within any URL.
pub(super) fn shown(root: &Node, secrets: &BTreeSet<Spot>) -> String {
    let mut out = String::new();
    value(root, secrets, 0, &mut out);
    out.trim_start_matches('\n').to_owned()
}

fn value(node: &Node, secrets: &BTreeSet<Spot>, depth: usize, out: &mut String) {
    match &node.value {
        NodeValue::Map(entries) if !entries.is_empty() => {
            for (key, node) in entries {
                line(depth, out);
                out.push_str(&plain(&key.name));
                out.push(':');
                value(node, secrets, depth + 1, out);
            }
        }
        NodeValue::List(items) if !items.is_empty() => {
            for item in items {
                line(depth, out);
                out.push('-');
                value(item, secrets, depth + 1, out);
            }
        }
        NodeValue::Map(_) => out.push_str(" {}"),
        NodeValue::List(_) => out.push_str(" []"),
        NodeValue::Null => out.push_str(" null"),
        NodeValue::Boolean(yes) => out.push_str(if *yes { " true" } else { " false" }),
        NodeValue::Number(text) | NodeValue::Text(text) => {
            let is_number = matches!(node.value, NodeValue::Number(_));
            out.push(' ');
            out.push_str(&match secrets.contains(&node.spot) {
                true => plain(&masked(text)),
                false if is_number => text.clone(),
                false => plain(&without_password(text)),
            });
        }
    }
}

fn line(depth: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// A secret's text: only which variables and files it comes from, without their defaults.
fn masked(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    let mask = |literal: &str, out: &mut String| {
        if !literal.is_empty() {
            out.push_str(MASK);
        }
    };
    while let Some((before, (inner, after))) =
        rest.split_once("${").and_then(|(before, from)| Some((before, from.split_once('}')?)))
    {
        if before.ends_with('$') {
            break;
        }
        mask(before, &mut out);
        let name = match inner.split_once(":-") {
            Some((name, default)) if !default.is_empty() => format!("{name}:-{MASK}"),
            _ => inner.to_owned(),
        };
        out.push_str("${");
        out.push_str(&name);
        out.push('}');
        rest = after;
    }
    mask(rest, &mut out);
    out
}

/// A URL's user and password, masked as secrets are.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).filter(|_| !rest.contains("${file:")).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, _)) => format!("{scheme}://{}{}", masked(user), &rest[user.len()..]),
        None => text.to_owned(),
    }
}

/// Quoted where YAML would read it otherwise.
fn plain(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || "_./+-•".contains(c);
    let words = ["true", "false", "null", "~", "-"];
    let is_plain = text.starts_with(|c: char| c.is_alphabetic() || "/.•_".contains(c))
        && text.chars().all(|c| is_word(c) || c == ' ' || c == ',')
        && !text.ends_with(' ')
        && !words.contains(&text);
    let is_unit = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric());
    if is_plain || is_unit { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    fn places(node: &Node, key: &str, found: &mut BTreeSet<Spot>) {
        for (name, inner) in node.entries() {
            if name.name == key {
                found.extend(inner.items().iter().map(|item| item.spot));
            }
            places(inner, key, found);
        }
    }

    #[test]
    fn secrets_are_masked_and_variables_are_named() {
        let yaml = r#"
listen: { hooks: "127.0.0.1:0", admin: { secret: hunter2 } }
broker: { url: "amqp://dari:${RABBIT}@rabbit/%2f", ca: /etc/ca.pem }
accounts:
  a: { x: { secret: "${A:-fallback}", every: 1m, n: 3, on: true } }
  b: { x: { secret: ["${NEW}", "old-${B}", hunter2] } }
  c: { url: "https://kim:hunter2@x.example/a@b?c=d", note: null }
map: { text: "{{ data.a }}: 1", 제목: "가 나", empty: {}, none: [] }
"#;
        let root = parse(yaml).expect("it is YAML").root;
        let mut secrets = BTreeSet::new();
        places(&root, "secret", &mut secrets);
        let text = shown(&root, &secrets);
        assert!(!text.contains("hunter2") && !text.contains("fallback") && !text.contains("old-"), "{text}");
        insta::assert_snapshot!(text, @r#"
        listen:
          hooks: "127.0.0.1:0"
          admin:
            secret: •••
        broker:
          url: "amqp://•••${RABBIT}@rabbit/%2f"
          ca: /etc/ca.pem
        accounts:
          a:
            x:
              secret: "${A:-•••}"
              every: 1m
              n: 3
              on: true
          b:
            x:
              secret:
                - "${NEW}"
                - "•••${B}"
                - •••
          c:
            url: "https://•••@x.example/a@b?c=d"
            note: null
        map:
          text: "{{ data.a }}: 1"
          제목: 가 나
          empty: {}
          none: []
        "#);
    }
}
