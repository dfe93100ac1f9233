//! YAML text → located values.
//!
//! On the parser's events rather than on a deserializer: only they tell how a scalar was written. So `1.10` and an
//! integer of 23 digits keep their digits, `"5"` is text, and a template's error finds its place in the string.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, options};

use super::place::Scalar;
use crate::settings::{Fault, Key, Node, NodeValue, Spot};

/// The most values a file may have, aliases counted each time: an alias of aliases grows without bound.
const MAX_NODES: usize = 100_000;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;

/// A parsed file.
#[derive(Debug)]
pub(super) struct Document {
    /// Its value.
    pub root: Node,
    source: String,
    scalars: Vec<Scalar>,
}

impl Document {
    /// Moves a fault in a template, whose column is the string's column plus the offset in its value, to where that
    /// stands in the file.
    pub fn locate(&self, mut fault: Fault) -> Fault {
        // A scalar's value is never longer than what stands for it in its line, so no other scalar can be meant.
        let index = self.scalars.partition_point(|scalar| scalar.spot <= fault.spot);
        let Some(scalar) = index.checked_sub(1).map(|index| &self.scalars[index]) else { return fault };
        if scalar.spot.line != fault.spot.line {
            return fault;
        }
        let at = (fault.spot.column - scalar.spot.column) as usize;
        if at > 0 {
            fault.spot = scalar.place(&self.source, at);
        }
        if self.comment(scalar).is_some() {
            fault.message += "; ` #` starts a comment and cut the value: quote it";
        }
        fault
    }

    /// Warnings of unquoted values that end at a comment with a template in it.
    pub fn cuts(&self) -> impl Iterator<Item = Fault> + '_ {
        let is_template = |comment: &str| comment.contains("{{") && comment.contains("}}");
        let cut = self.scalars.iter().filter(move |scalar| self.comment(scalar).is_some_and(is_template));
        cut.map(|scalar| Fault::new(scalar.spot, "` #` starts a comment: quote the value if the rest belongs to it"))
    }

    /// The comment that an unquoted scalar ends at.
    fn comment(&self, scalar: &Scalar) -> Option<&str> {
        let line = self.source.get(scalar.range.end..)?.lines().next()?.trim_start_matches([' ', '\t']);
        (scalar.style == ScalarStyle::Plain && line.starts_with('#')).then_some(line)
    }
}

/// Parses one YAML document.
///
/// # Errors
/// The faults found up to where YAML itself could not go on: broken syntax, duplicate keys, keys that are not text.
pub(super) fn parse(source: &str) -> Result<Document, Vec<Fault>> {
    // A byte order mark is no part of the text.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let limits = options! { flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH };
    let mut builder = Builder {
        source,
        parser: Parser::new_from_str_with_options(source, limits),
        anchors: HashMap::new(),
        nodes: 0,
        scalars: Vec::new(),
        faults: Vec::new(),
    };
    let root = match builder.document() {
        Ok(root) => root,
        Err(fault) => {
            builder.faults.push(fault);
            return Err(builder.faults);
        }
    };
    if !builder.faults.is_empty() {
        return Err(builder.faults);
    }
    builder.scalars.sort_by_key(|scalar| scalar.spot);
    Ok(Document { root, source: source.to_owned(), scalars: builder.scalars })
}

struct Builder<'a> {
    source: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    scalars: Vec<Scalar>,
    faults: Vec<Fault>,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Node, Fault> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Fault::new(spot(&span), "a second YAML document; expected one"));
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, &span)?);
                }
                Event::StreamEnd => {
                    let empty = Node { spot: Spot { line: 1, column: 1 }, value: NodeValue::Map(Vec::new()) };
                    return Ok(root.filter(|node| node.value != NodeValue::Null).unwrap_or(empty));
                }
                _ => return Err(Fault::new(spot(&span), "unexpected content after the document")),
            }
        }
    }

    /// The next event; comments are none.
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let marker = error.marker();
                let spot = to_spot(marker.line(), marker.col());
                let hint = hint(self.source, spot.line);
                Err(Fault::new(spot, format!("not YAML: {}{hint}", error.info())))
            }
            None => Err(Fault::new(Spot::default(), "not YAML: the file ends too early")),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span) -> Result<Node, Fault> {
        let at = spot(span);
        let before = self.nodes;
        self.count(1, at)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text =
                    style != ScalarStyle::Plain || tag.as_ref().is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                // What stands behind a `!` may be a password.
                if tag.is_some_and(|tag| !tag.is_yaml_core_schema_tag("str")) {
                    self.faults.push(Fault::new(
                        at,
                        "an unquoted `!` starts a YAML tag, which means nothing here; quote the value",
                    ));
                }
                if let (Some(start), Some(end)) = (span.start.byte_offset(), span.end.byte_offset()) {
                    self.scalars.push(Scalar { spot: at, style, range: start..end });
                }
                (if is_text { NodeValue::Text(text.into_owned()) } else { plain(&text) }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (NodeValue::List(self.list()?), anchor),
            Event::MappingStart(_, anchor, _) => (NodeValue::Map(self.map()?), anchor),
            Event::Alias(anchor) => return self.alias(anchor, at),
            _ => return Err(Fault::new(at, "not YAML: expected a value")),
        };
        let node = Node { spot: at, value };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, at: Spot) -> Result<Node, Fault> {
        let Some((node, count)) = self.anchors.get(&anchor) else {
            return Err(Fault::new(at, "an alias within what it stands for"));
        };
        let (node, count) = (node.clone(), *count);
        self.count(count, at)?;
        Ok(node)
    }

    fn count(&mut self, more: usize, at: Spot) -> Result<(), Fault> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(Fault::new(at, format!("more than {MAX_NODES} values; expected a config file")));
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, &span)?),
            }
        }
    }

    fn map(&mut self) -> Result<Vec<(Key, Node)>, Fault> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut places: HashMap<String, Spot> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, &span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, &span)?;
            let Some(name) = self.key(&key) else { continue };
            if name == "<<" {
                merged.push(value);
            } else if let Some(first) = places.get(&name) {
                let message = format!("duplicate key `{name}`; it is already at {}:{}", first.line, first.column);
                self.faults.push(Fault::new(key.spot, message));
            } else {
                places.insert(name.clone(), key.spot);
                entries.push((Key { name, spot: key.spot }, value));
            }
        }
        for (key, value) in merged.iter().flat_map(|node| node.items().iter().flat_map(Node::entries)) {
            if !places.contains_key(&key.name) {
                places.insert(key.name.clone(), key.spot);
                entries.push((key.clone(), value.clone()));
            }
        }
        Ok(entries)
    }

    fn key(&mut self, key: &Node) -> Option<String> {
        if let Some(text) = key.text() {
            return Some(text.to_owned());
        }
        let message = match key.value {
            NodeValue::Null => "an empty key; expected a name",
            NodeValue::List(_) => "a list as a key; expected a name",
            _ => "a mapping as a key; an unquoted `{{` is that to YAML: quote the template, as \"{{ … }}\"",
        };
        self.faults.push(Fault::new(key.spot, message));
        None
    }
}

fn spot(span: &Span) -> Spot {
    to_spot(span.start.line(), span.start.col())
}

/// The parser counts lines from 1 and columns from 0.
fn to_spot(line: usize, column: usize) -> Spot {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Spot { line: number(line), column: number(column.saturating_add(1)) }
}

/// What an unquoted scalar means: only what JSON would call a number, so that `01012345678` and `0x1F` stay text.
fn plain(text: &str) -> NodeValue {
    match text {
        "" | "~" | "null" => NodeValue::Null,
        "true" => NodeValue::Boolean(true),
        "false" => NodeValue::Boolean(false),
        _ if is_number(text) => NodeValue::Number(text.to_owned()),
        _ => NodeValue::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<serde_json::Number>(text).is_ok()
}

/// What is most often meant by a line that is not YAML.
fn hint(source: &str, line: u32) -> &'static str {
    let line = source.lines().nth((line as usize).saturating_sub(1)).unwrap_or_default();
    let unquoted = |what: &str| line.find(what).is_some_and(|at| !inside_quotes(&line[..at]));
    if unquoted("{{") {
        "; quote the template, as \"{{ … }}\": an unquoted `{` starts a mapping"
    } else if unquoted("${") {
        "; quote the value, as \"${NAME}\": within `{ }` and `[ ]` an unquoted `{` starts a mapping"
    } else if line.contains('\t') {
        "; indent with spaces, not tabs"
    } else {
        ""
    }
}

/// True if a quote opened in `before` is still open at its end.
fn inside_quotes(before: &str) -> bool {
    let mut open = None;
    for c in before.chars() {
        match open {
            None if c == '"' || c == '\'' => open = Some(c),
            Some(quote) if quote == c => open = None,
            _ => {}
        }
    }
    open.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn outline(node: &Node, depth: usize, out: &mut String) {
        let pad = "  ".repeat(depth);
        let Spot { line, column } = node.spot;
        match &node.value {
            NodeValue::Map(entries) => {
                writeln!(out, "{pad}map {line}:{column}").unwrap();
                for (key, value) in entries {
                    writeln!(out, "{pad}- {} {}:{}", key.name, key.spot.line, key.spot.column).unwrap();
                    outline(value, depth + 1, out);
                }
            }
            NodeValue::List(items) => {
                writeln!(out, "{pad}list {line}:{column}").unwrap();
                for item in items {
                    outline(item, depth + 1, out);
                }
            }
            NodeValue::Null => writeln!(out, "{pad}null {line}:{column}").unwrap(),
            NodeValue::Boolean(b) => writeln!(out, "{pad}{b} {line}:{column}").unwrap(),
            NodeValue::Number(n) => writeln!(out, "{pad}number {n} {line}:{column}").unwrap(),
            NodeValue::Text(t) => writeln!(out, "{pad}{t:?} {line}:{column}").unwrap(),
        }
    }

    fn shown(source: &str) -> String {
        match parse(source) {
            Ok(document) => {
                let mut out = String::new();
                outline(&document.root, 0, &mut out);
                out
            }
            Err(faults) => {
                let line = |f: &Fault| format!("{}:{}: {}\n", f.spot.line, f.spot.column, f.message);
                faults.iter().map(line).collect::<Vec<_>>().concat()
            }
        }
    }

    #[test]
    fn nested_values_know_their_places() {
        insta::assert_snapshot!(shown("a:\n  - b: 1.10\n    c: yes\n  - { d: \"5\", 이름: 12345678901234567890123 }\ne:\nf: |\n  x\n  y\ng: &x { h: true }\ni: *x\nj: { <<: *x, k: ~ }\n"), @r#"
        map 1:1
        - a 1:1
          list 2:3
            map 2:5
            - b 2:5
              number 1.10 2:8
            - c 3:5
              "yes" 3:8
            map 4:5
            - d 4:7
              "5" 4:10
            - 이름 4:15
              number 12345678901234567890123 4:19
        - e 5:1
          null 5:2
        - f 6:1
          "x\ny\n" 7:3
        - g 9:1
          map 9:7
          - h 9:9
            true 9:12
        - i 10:1
          map 9:7
          - h 9:9
            true 9:12
        - j 11:1
          map 11:4
          - k 11:14
            null 11:17
          - h 9:9
            true 9:12
        "#);
    }

    #[test]
    fn broken_yaml_says_what_to_do() {
        insta::assert_snapshot!(["a: {{ b }}", "a: {{ b }} c", "a: { b: ${C} }", "a: 1\nb: 2\na: 3", "a: [1, 2", "a:\n\t- b", "a: 'x", "--- 1\n--- 2", "a: *b", "&a [*a]", "? [a]\n: b", "a: !!int 5", "a: - b", "a: b: c"].map(|s| format!("{s:?}\n{}", shown(s))).concat(), @r#"
        "a: {{ b }}"
        1:5: a mapping as a key; an unquoted `{{` is that to YAML: quote the template, as "{{ … }}"
        "a: {{ b }} c"
        1:5: a mapping as a key; an unquoted `{{` is that to YAML: quote the template, as "{{ … }}"
        1:12: not YAML: while parsing a block mapping, did not find expected key; quote the template, as "{{ … }}": an unquoted `{` starts a mapping
        "a: { b: ${C} }"
        1:10: not YAML: while parsing a flow mapping, did not find expected ',' or '}'; quote the value, as "${NAME}": within `{ }` and `[ ]` an unquoted `{` starts a mapping
        "a: 1\nb: 2\na: 3"
        3:1: duplicate key `a`; it is already at 1:1
        "a: [1, 2"
        1:4: not YAML: unclosed bracket '['
        "a:\n\t- b"
        2:2: not YAML: tabs disallowed within this context (block indentation); indent with spaces, not tabs
        "a: 'x"
        1:4: not YAML: unclosed quote
        "--- 1\n--- 2"
        2:1: a second YAML document; expected one
        "a: *b"
        1:4: not YAML: while parsing node, found unknown anchor
        "&a [*a]"
        1:5: an alias within what it stands for
        "? [a]\n: b"
        1:3: a list as a key; expected a name
        "a: !!int 5"
        1:10: an unquoted `!` starts a YAML tag, which means nothing here; quote the value
        "a: - b"
        1:4: not YAML: block sequence entries are not allowed in this context
        "a: b: c"
        1:5: not YAML: mapping values are not allowed in this context
        "#);
    }

    #[test]
    fn aliases_cannot_blow_up() {
        let mut source = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            writeln!(source, "a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 9].join(", ")).unwrap();
        }
        assert!(shown(&source).contains("more than 100000 values"), "{}", shown(&source));
        assert!(shown(&"[".repeat(10_000)).contains("not YAML"));
    }

    fn located(source: &str, value: &Node, needle: &str) -> String {
        let document = parse(source).unwrap();
        let at = value.text().unwrap().chars().collect::<String>().split(needle).next().unwrap().chars().count();
        let column = value.spot.column + u32::try_from(at).unwrap();
        let spot = document.locate(Fault::new(Spot { column, ..value.spot }, "")).spot;
        let line = source.lines().nth(spot.line as usize - 1).unwrap();
        line.chars().skip(spot.column as usize - 1).collect()
    }

    #[test]
    fn an_offset_in_a_string_finds_its_place() {
        for source in [
            "a: 가나 HERE",
            "a: 'it''s HERE'",
            "a: \"\\u00e9 \\\" \\n HERE\"",
            "a: \"one\n   two\n\n   HERE\"",
            "a: one\n   two HERE",
            "a: |\n   one\n\n   two\n   HERE",
            "a: |-\n  HERE",
            "a: >\n  one\n  two\n\n  HERE",
            "a: \"one \\\n  HERE\"",
            "b: { x: 'é', a: 'é HERE' }",
        ] {
            let document = parse(source).unwrap();
            let root = document.root.get("b").unwrap_or(&document.root);
            let rest = located(source, root.get("a").unwrap(), "HERE");
            assert!(rest.starts_with("HERE"), "{source:?}: {rest:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_is_a_fault(text in "\\PC*|[-a{}\\[\\]:,#&*!|>'\"%@ \n$]*") {
            if let Ok(document) = parse(&text) {
                let _ = document.locate(Fault::new(Spot { line: 1, column: 40 }, ""));
            }
        }

        #[test]
        fn a_quoted_string_comes_back_with_the_place_of_every_character(text in "[ -~가-힣\n]{1,20}") {
            let quoted = serde_json::to_string(&text).unwrap();
            let source = format!("a: {quoted}");
            let document = parse(&source).unwrap();
            let node = document.root.get("a").unwrap();
            proptest::prop_assert_eq!(node.text(), Some(text.as_str()));
            for (at, c) in text.chars().enumerate().skip(1) {
                let column = node.spot.column + u32::try_from(at).unwrap();
                let spot = document.locate(Fault::new(Spot { line: 1, column }, "")).spot;
                let stands = source.chars().nth(spot.column as usize - 1).unwrap();
                let escaped = matches!(c, '"' | '\\' | '\n');
                proptest::prop_assert_eq!(stands, if escaped { '\\' } else { c });
            }
        }
    }
}
