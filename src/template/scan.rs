//! Reads the source of templates: where the tags are, which names an expression asks for.
//!
//! The engine keeps its syntax tree to itself. What is needed here is little: the literal parts (so that escaping
//! never touches them), the filters (so that a misspelt one is found before an event comes), and the plain paths
//! (so that a value keeps its digits and a "no" can show its operands).

use std::ops::Range;

/// A part of a template's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Text that stays as it is.
    Literal(Range<usize>),
    /// The inside of `{{ … }}`.
    Value(Range<usize>),
    /// The inside of `{% … %}`.
    Block(Range<usize>),
    /// The inside of `{{- … }}` or `{{ … -}}`, without the marks: only the engine itself knows what they cut.
    Trimmed(Range<usize>),
    /// A comment.
    Comment,
}

impl Segment {
    /// Where the code is, if it has any.
    pub fn code(self) -> Option<Range<usize>> {
        match self {
            Self::Value(range) | Self::Block(range) | Self::Trimmed(range) => Some(range),
            Self::Literal(_) | Self::Comment => None,
        }
    }
}

/// Splits a template at its tags. `None` if a tag is not closed: the engine's own message is better then.
pub(super) fn segments(source: &str) -> Option<Vec<Segment>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = next_tag(source, at) {
        if start > at {
            found.push(Segment::Literal(at..start));
        }
        let inside = start + 2;
        let close = match &source[start..inside] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let end = if close == "#}" { source[inside..].find(close)? + inside } else { tag_end(source, inside, close)? };
        let text = &source[inside..end];
        let first = usize::from(text.starts_with(['-', '+']));
        let last = usize::from(text.len() > first && text.ends_with(['-', '+']));
        let code = inside + first..end - last;
        found.push(match close {
            "}}" if first + last > 0 => Segment::Trimmed(code),
            "}}" => Segment::Value(code),
            "%}" => Segment::Block(code),
            _ => Segment::Comment,
        });
        at = end + 2;
    }
    if at < source.len() {
        found.push(Segment::Literal(at..source.len()));
    }
    Some(found)
}

fn next_tag(source: &str, from: usize) -> Option<usize> {
    ["{{", "{%", "{#"].iter().filter_map(|tag| source[from..].find(tag)).min().map(|at| at + from)
}

/// Where a tag ends: strings and brackets within it may hold the closing mark.
fn tag_end(source: &str, from: usize, close: &str) -> Option<usize> {
    let mut depth = 0_i32;
    let mut at = from;
    while at < source.len() {
        let rest = &source[at..];
        if depth == 0 && rest.starts_with(close) {
            return Some(at);
        }
        let first = rest.chars().next()?;
        match first {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            '\'' | '"' => {
                at += text_length(rest, first)?;
                continue;
            }
            _ => {}
        }
        at += first.len_utf8();
    }
    None
}

/// The length in bytes of the quoted text that `rest` starts with, quotes included.
fn text_length(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

/// A word of an expression with its place in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// What kind of word.
    pub kind: Word,
    /// As written.
    pub text: &'a str,
    /// Where it starts.
    pub at: usize,
}

/// A kind of word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A name or keyword.
    Name,
    /// Quoted text.
    Text,
    /// A number.
    Number,
    /// An operator or bracket.
    Sign,
}

/// Splits an expression into its words.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let (kind, length) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first == '\'' || first == '"' {
            (Word::Text, text_length(rest, first).unwrap_or(rest.len()))
        } else if first.is_ascii_digit() {
            (Word::Number, number_length(rest))
        } else if first.is_alphabetic() || first == '_' {
            (Word::Name, run(rest, |c| c.is_alphanumeric() || c == '_' || is_mark(c)))
        } else if ["==", "!=", "<=", ">=", "//", "**"].iter().any(|sign| rest.starts_with(sign)) {
            (Word::Sign, 2)
        } else {
            (Word::Sign, first.len_utf8())
        };
        found.push(Token { kind, text: &rest[..length], at });
        at += length;
    }
    found
}

fn run(rest: &str, fits: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !fits(c)).unwrap_or(rest.len())
}

/// A decimal point belongs to a number only between digits: `list.0.name` is a path.
fn number_length(rest: &str) -> usize {
    let whole = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
    match rest[whole..].strip_prefix('.') {
        Some(decimals) if decimals.starts_with(|c: char| c.is_ascii_digit()) => {
            whole + 1 + run(decimals, |c| c.is_ascii_alphanumeric() || c == '_')
        }
        _ => whole,
    }
}

/// Combining marks: part of a name in decomposed writing, as Hangul from some systems.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1160}'..='\u{11ff}')
}

/// A name whose meaning is fixed in the engine, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// `… | name`
    Filter,
    /// `… is name`
    Test,
    /// `name(…)`
    Function,
}

/// The filters, tests and functions that an expression uses.
pub(super) fn uses<'a>(tokens: &[Token<'a>]) -> Vec<(Use, Token<'a>)> {
    let text = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |token| token.text);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.kind == Word::Name) {
        let before = text(at.checked_sub(1));
        let negated = before == "not" && text(at.checked_sub(2)) == "is";
        if before == "|" {
            found.push((Use::Filter, *token));
        } else if (before == "is" && token.text != "not") || negated {
            found.push((Use::Test, *token));
        } else if before != "." && text(Some(at + 1)) == "(" && !KEYWORDS.contains(&token.text) {
            found.push((Use::Function, *token));
        }
    }
    found
}

/// The tables that an expression looks values up in: `… | table('name')`, `… | map('table', 'name')`, and
/// `filter table('name')` in a block.
pub(super) fn tables<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let is = |at: usize, words: &[&str]| words.iter().enumerate().all(|(n, word)| text_at(tokens, at + n) == *word);
    let place = |at: usize| {
        let before = at.checked_sub(1).map_or("", |at| text_at(tokens, at));
        if matches!(before, "|" | "filter") && is(at, &["table", "("]) {
            return Some(at + 2);
        }
        let mapped = is(at, &["map", "(", "'table'", ","]) || is(at, &["map", "(", "\"table\"", ","]);
        (before == "|" && mapped).then_some(at + 4)
    };
    let found = (0..tokens.len()).filter_map(place).filter_map(|at| tokens.get(at));
    found.filter(|token| token.kind == Word::Text).copied().collect()
}

fn text_at<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

/// The plain paths that always become a part of a text by `~`, as they are.
pub(super) fn concatenated(source: &str, tokens: &[Token<'_>]) -> Vec<Path> {
    if tokens.iter().any(|token| matches!(token.text, "and" | "or" | "if")) {
        return Vec::new();
    }
    let paths = (0..tokens.len()).filter(|at| starts_path(tokens, *at)).map(|at| (at, path_at(source, tokens, at)));
    let within_text = |(start, (path, end)): (usize, (Path, usize))| {
        let before = start.checked_sub(1).map_or("", |at| text_at(tokens, at));
        let after = text_at(tokens, end);
        let changed = matches!(after, "|" | "." | "[" | "(" | "is");
        ((before == "~" || after == "~") && !changed).then_some(path)
    };
    paths.filter_map(within_text).collect()
}

/// A plain path within an expression, as `data.answers['이름'][0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The name at its start.
    pub root: String,
    /// The steps from there.
    pub steps: Vec<Step>,
    /// Its text up to the name and up to each step, as written.
    pub written: Vec<String>,
    /// Where it starts: in bytes of the expression, until the whole template is known, then in characters of that.
    pub at: usize,
    /// True if it may be missing: it is asked whether it is defined, or has a default.
    pub guarded: bool,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Into an object.
    Key(String),
    /// Into a list.
    Index(usize),
}

const KEYWORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "null",
    "omit",
    "for",
    "set",
    "recursive",
    "endfor",
    "endif",
    "with",
    "endwith",
    "filter",
    "loop",
];

/// The plain paths of an expression, in order, each once; and whether one of them is the whole expression.
pub(super) fn paths(source: &str, tokens: &[Token<'_>]) -> (Vec<Path>, bool) {
    let mut found: Vec<Path> = Vec::new();
    let mut whole = false;
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        at += 1;
        if !starts_path(tokens, start) {
            continue;
        }
        let (path, end) = path_at(source, tokens, start);
        at = end;
        whole = start == 0 && end == tokens.len();
        if !found.iter().any(|known| known.root == path.root && known.steps == path.steps) {
            found.push(path);
        }
    }
    (found, whole)
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// A plain path.
    Path(Path),
    /// A number.
    Number,
    /// Quoted text.
    Text,
}

/// The comparisons by order (`<`, `>=`, …) whose sides are plain paths or literals, where all of them have to be true
/// for the whole to be.
pub(super) fn comparisons(source: &str, tokens: &[Token<'_>]) -> Vec<(Side, String, Side)> {
    let mut found = Vec::new();
    if tokens.iter().any(|token| matches!(token.text, "or" | "not" | "if")) {
        return found;
    }
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |at| tokens[at].text);
        let left = side(source, tokens, at).filter(|_| matches!(before, "" | "and" | "("));
        let Some((left, middle)) = left else {
            at += 1;
            continue;
        };
        at = middle;
        let Some(sign) = tokens.get(middle).filter(|sign| matches!(sign.text, "<" | ">" | "<=" | ">=")) else {
            continue;
        };
        if let Some((right, end)) = side(source, tokens, middle + 1) {
            let after = tokens.get(end).map_or("", |token| token.text);
            if matches!(after, "" | "and" | ")") {
                found.push((left, sign.text.to_owned(), right));
            }
        }
    }
    found
}

fn side(source: &str, tokens: &[Token<'_>], at: usize) -> Option<(Side, usize)> {
    let token = tokens.get(at)?;
    match token.kind {
        Word::Number => Some((Side::Number, at + 1)),
        Word::Text => Some((Side::Text, at + 1)),
        Word::Name if starts_path(tokens, at) => {
            let (path, end) = path_at(source, tokens, at);
            Some((Side::Path(path), end))
        }
        _ => None,
    }
}

fn starts_path(tokens: &[Token<'_>], at: usize) -> bool {
    let token = tokens[at];
    let before = at.checked_sub(1).map_or("", |at| tokens[at].text);
    let after = tokens.get(at + 1).map_or("", |token| token.text);
    let after_not = before == "not" && at >= 2 && tokens[at - 2].text == "is";
    token.kind == Word::Name
        && !KEYWORDS.contains(&token.text)
        && !matches!(before, "." | "|" | "is")
        && !after_not
        && !matches!(after, "(" | "=")
}

fn path_at(source: &str, tokens: &[Token<'_>], start: usize) -> (Path, usize) {
    let first = tokens[start];
    let root = first.text.to_owned();
    let mut path = Path { written: vec![root.clone()], root, steps: Vec::new(), at: first.at, guarded: false };
    let mut at = start + 1;
    while let Some((step, length)) = step_at(tokens, at) {
        // A name before a bracket is a method, and no field.
        if tokens.get(at + length).is_some_and(|token| token.text == "(") {
            break;
        }
        at += length;
        let last = tokens[at - 1];
        path.steps.push(step);
        path.written.push(source[first.at..last.at + last.text.len()].to_owned());
    }
    let next = |ahead: usize| tokens.get(at + ahead).map_or("", |token| token.text);
    path.guarded = next(0) == "is" || (next(0) == "|" && matches!(next(1), "default" | "d"));
    (path, at)
}

/// The step at a token, and of how many tokens it is made.
fn step_at(tokens: &[Token<'_>], at: usize) -> Option<(Step, usize)> {
    let next = tokens.get(at + 1)?;
    match (tokens.get(at)?.text, next.kind) {
        (".", Word::Name) => Some((Step::Key(next.text.to_owned()), 2)),
        (".", Word::Number) => Some((Step::Index(next.text.parse().ok()?), 2)),
        ("[", Word::Text) if closes(tokens, at + 2) && !next.text.contains('\\') => {
            Some((Step::Key(next.text[1..next.text.len() - 1].to_owned()), 3))
        }
        ("[", Word::Number) if closes(tokens, at + 2) => Some((Step::Index(next.text.parse().ok()?), 3)),
        _ => None,
    }
}

fn closes(tokens: &[Token<'_>], at: usize) -> bool {
    tokens.get(at).is_some_and(|token| token.text == "]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(source: &str) -> Vec<String> {
        paths(source, &tokens(source)).0.into_iter().filter_map(|path| path.written.last().cloned()).collect()
    }

    #[test]
    fn a_tag_may_hold_its_own_end_in_text_and_in_brackets() {
        let source = "a {{ '}}' ~ {'b': {'c': 1}} }} z";
        let values: Vec<_> = segments(source).unwrap();
        assert_eq!(values, [Segment::Literal(0..2), Segment::Value(4..28), Segment::Literal(30..32)]);
        assert_eq!(segments("{{ 'open }}"), None);
    }

    #[test]
    fn paths_are_found_without_filters_tests_keywords_and_arguments() {
        assert_eq!(
            written("data.answers['이름'] | default(value=other.x) is string and not lines[0].b in [id]"),
            ["data.answers['이름']", "other.x", "lines[0].b", "id"]
        );
        assert_eq!(written("data.name.startswith('x')"), ["data.name"]);
        assert_eq!(written("true and 'data.x' == none"), Vec::<String>::new());
    }

    #[test]
    fn a_whole_path_is_known_as_such() {
        let whole = |source: &str| paths(source, &tokens(source)).1;
        assert!(whole(" data.a['b'][0] "));
        assert!(!whole("data.a | upper"));
        assert!(!whole("data.a[-1]"));
        assert!(!whole("(data.a)"));
    }

    #[test]
    fn filters_tests_and_functions_are_told_apart() {
        let source = "a | upper | default('x') is not startingwith('y') and range(3)";
        let found = uses(&tokens(source)).into_iter().map(|(kind, token)| (kind, token.text)).collect::<Vec<_>>();
        assert_eq!(
            found,
            [(Use::Filter, "upper"), (Use::Filter, "default"), (Use::Test, "startingwith"), (Use::Function, "range")]
        );
    }

    proptest! {
        #[test]
        fn segments_cover_any_text_in_order(source in "[a-z{}%#'\" 가\\\\]{0,40}") {
            let mut last = 0;
            for segment in segments(&source).unwrap_or_default() {
                if let Segment::Literal(range) | Segment::Value(range) | Segment::Block(range) = segment {
                    prop_assert!(range.start >= last && range.end <= source.len());
                    last = range.end;
                }
            }
            let _ = tokens(&source);
        }
    }
}
