//! The engine with its limits: no files, no clock, no loader, bounded steps and output.

use std::io;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};

use super::context::{TABLES, TablesObject};
use super::value::{self, Failure, MAX_OUTPUT, Omit};
use super::{CompileError, Escape, escape, filters};
use crate::template::scan::{self, Segment, Token, Use};

/// How many steps one template may take.
const FUEL: u64 = 50_000;
/// How many characters of the engine's own words are passed on: they may quote operands.
const MAX_WORDS: usize = 240;

/// The filters that templates can use.
pub(super) const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "dateformat",
    "datetimeformat",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pluralize",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "striptags",
    "sum",
    "table",
    "timeformat",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "zip",
];

/// The tests (`is …`) that templates can use.
const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// The functions that templates can call.
const FUNCTIONS: &[&str] = &["cycler", "dict", "joiner", "loop", "namespace", "range"];

/// The one environment.
pub(super) static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    // Without it an error knows neither its place nor which name was undefined. What it gathers is never shown.
    engine.set_debug(true);
    engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    engine.set_formatter(write_value);
    let mut syntax = SyntaxConfig::builder();
    syntax.keep_trailing_newline(true);
    if let Ok(syntax) = syntax.build() {
        engine.set_syntax(syntax);
    }
    minijinja_contrib::add_to_environment(&mut engine);
    // The one prints the whole event, the other reads the time.
    engine.remove_global("debug");
    engine.remove_global("now");
    engine.add_global("null", Value::from(()));
    engine.add_global("omit", Value::from_object(Omit));
    engine.add_filter("table", table);
    filters::add_to(&mut engine);
    engine
});

/// Looks a value, or each of a list, up in a table of the config.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the engine asks for")]
fn table(state: &State<'_, '_>, key: &Value, name: &str, rest: Rest<Value>) -> Result<Value, Error> {
    // A list, not an option: `null` is a fallback as well.
    let fallback = match rest.0.as_slice() {
        [] => None,
        [fallback] => Some(fallback.clone()),
        _ => return Err(Error::from(ErrorKind::TooManyArguments)),
    };
    if key.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if value::is_omit(key) {
        return Ok(key.clone());
    }
    let tables = state.lookup(TABLES);
    let tables = tables.as_ref().and_then(|value| value.downcast_object_ref::<TablesObject>());
    let Some(entries) = tables.and_then(|tables| tables.0.0.get(name)) else {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("there is no table {name:?}")));
    };
    let look_up = |key: &Value| {
        let found = if key.is_none() { None } else { entries.get(&value::interpolate(key).map_err(engine_error)?) };
        match (found, &fallback) {
            (Some(found), _) => Ok(value::from_json(found)),
            (None, Some(fallback)) => Ok(fallback.clone()),
            (None, None) => {
                let key = value::describe(key);
                Err(Error::new(ErrorKind::InvalidOperation, format!("the table {name:?} has no {key}")))
            }
        }
    };
    if matches!(key.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return key.try_iter()?.map(|item| look_up(&item)).collect::<Result<Vec<_>, _>>().map(Value::from);
    }
    look_up(key)
}

/// Writes an interpolated value of a template with blocks. The template's name says how it is escaped.
fn write_value(out: &mut minijinja::Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = value::interpolate(value).map_err(engine_error)?;
    let escape_as = escape_named(state.name());
    if value.is_safe() && escape_as.trusts() {
        return Ok(out.write_str(&text)?);
    }
    Ok(out.write_str(&escape(&text, escape_as))?)
}

fn engine_error(failure: Failure) -> Error {
    match failure {
        Failure::Undefined(message) => Error::new(ErrorKind::UndefinedError, message),
        Failure::Missing(message) | Failure::Other(message) => Error::new(ErrorKind::InvalidOperation, message),
    }
}

fn escape_named(name: &str) -> Escape {
    match name {
        "entities" => Escape::Entities,
        "url" => Escape::Url,
        _ => Escape::None,
    }
}

/// Checks a template with blocks: it is compiled anew at each rendering, as the engine lends what it compiles.
pub(super) fn check_blocks(source: &str) -> Result<(), Error> {
    let engine: &Environment<'_> = &ENGINE;
    engine.template_from_str(source).map(drop)
}

/// Renders a template with blocks.
pub(super) fn render_blocks(source: &str, context: Value, escape: Escape) -> Result<String, Error> {
    let name = match escape {
        Escape::None => "none",
        Escape::Entities | Escape::Texts(_) => "entities",
        Escape::Url => "url",
    };
    let engine: &Environment<'_> = &ENGINE;
    let mut out = Capped(Vec::new());
    engine.template_from_named_str(name, source)?.render_captured_to(context, &mut out)?;
    Ok(String::from_utf8(out.0).unwrap_or_default())
}

struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other(value::too_long()));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The engine's error in our words. Its own display would show the whole event.
pub(super) fn failure(error: &Error) -> Failure {
    let detail = error.detail().unwrap_or_default();
    let undefined = detail.rsplit_once("` is undefined").and_then(|(head, _)| head.rsplit_once('`'));
    if let Some((_, path)) = undefined {
        return Failure::Missing(path.to_owned());
    }
    match error.kind() {
        ErrorKind::UndefinedError => {
            Failure::Undefined(error.detail().unwrap_or("something in it is undefined").to_owned())
        }
        ErrorKind::OutOfFuel => Failure::Other(format!("it takes more than {FUEL} steps")),
        _ => Failure::Other(words(error)),
    }
}

fn words(error: &Error) -> String {
    let mut text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = match inner.downcast_ref::<Error>() {
            Some(error) => error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
            None => inner.to_string(),
        };
        text = format!("{text}: {inner_text}");
        source = inner.source();
    }
    text.chars().take(MAX_WORDS).collect()
}

/// The engine's syntax error in our words. `base` is where in the whole source (in bytes) the compiled part starts.
pub(super) fn compile_error(error: &Error, whole: &str, base: usize) -> CompileError {
    let at = base + error.range().map_or(0, |range| range.start);
    CompileError { message: words(error), at: characters(whole, at) }
}

/// How many characters come before a byte.
pub(super) fn characters(source: &str, byte: usize) -> usize {
    source.char_indices().take_while(|(at, _)| *at < byte).count()
}

/// Refuses filters, tests and functions that do not exist: the engine itself would only say so when an event comes.
pub(super) fn check_names(tokens: &[Token<'_>], whole: &str, base: usize) -> Result<(), CompileError> {
    for (kind, token) in scan::uses(tokens) {
        let (what, known) = match kind {
            Use::Filter => ("filter", FILTERS),
            Use::Test => ("test", TESTS),
            Use::Function => ("function", FUNCTIONS),
        };
        if known.contains(&token.text) {
            continue;
        }
        let near = known.iter().map(|name| (strsim::damerau_levenshtein(name, token.text), name)).min();
        let hint = match near {
            Some((distance, name)) if distance <= 2 => format!("; did you mean `{name}`?"),
            _ => format!("; there are {}", known.join(", ")),
        };
        let message = format!("there is no {what} `{}`{hint}", token.text);
        return Err(CompileError { message, at: characters(whole, base + token.at) });
    }
    Ok(())
}

/// [`check_names`] for every tag of a template with blocks.
pub(super) fn check_names_in(segments: &[Segment], source: &str) -> Result<(), CompileError> {
    for segment in segments {
        if let Some(range) = segment.clone().code() {
            check_names(&scan::tokens(&source[range.clone()]), source, range.start)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_lists_is_known_to_the_engine() {
        let mut state = ENGINE.empty_state();
        for name in FILTERS {
            let answer = state.apply_filter(name, &[]);
            assert!(!matches!(answer, Err(e) if e.kind() == ErrorKind::UnknownFilter), "{name}");
        }
        for name in TESTS {
            let answer = state.perform_test(name, &[]);
            assert!(!matches!(answer, Err(e) if e.kind() == ErrorKind::UnknownTest), "{name}");
        }
        let globals: Vec<&str> = ENGINE.globals().map(|(name, _)| name).collect();
        for name in FUNCTIONS.iter().filter(|name| **name != "loop") {
            assert!(globals.contains(name), "{name}");
        }
        assert!(!globals.contains(&"debug") && !globals.contains(&"now"));
    }
}
