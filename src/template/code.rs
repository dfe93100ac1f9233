//! One compiled expression, and how it is asked.

use std::fmt;
use std::sync::Arc;

use minijinja::value::Value as EngineValue;
use serde_json::Value;

use super::context::LOOKUP;
use super::engine::{self, ENGINE};
use super::scan::{self, Path, Side, Step, Token};
use super::value::{self, Failure};
use super::{CompileError, Context, Escape, Other, RenderError, escape, escape_deep};

/// One compiled expression.
#[derive(Clone)]
pub(super) struct Code {
    source: String,
    compiled: Arc<minijinja::Expression<'static, 'static>>,
    // The plain paths in it; the only one is the whole expression if `plain`.
    paths: Arc<[Path]>,
    plain: bool,
    // All of them are true if the whole is.
    comparisons: Arc<[(Side, String, Side)]>,
    // The engine would write `none` for a `null` in them.
    concatenated: Arc<[Path]>,
    // With their places in the whole template, in characters.
    tables: Arc<[(String, usize)]>,
    others: Arc<[Other]>,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// The value of an expression.
pub(super) enum Found<'a> {
    /// Straight from the event, digit for digit.
    Plain(&'a Value),
    /// Made by the engine.
    Computed(EngineValue),
}

impl Code {
    /// Compiles the part of `whole` that starts at byte `base`.
    pub(super) fn compile(source: &str, whole: &str, base: usize) -> Result<Self, CompileError> {
        if source.trim().is_empty() {
            let message = "an expression is missing here".into();
            return Err(CompileError { message, at: engine::characters(whole, base) });
        }
        let compiled = ENGINE
            .compile_expression_owned(source.to_owned())
            .map_err(|error| engine::compile_error(&error, whole, base))?;
        let tokens = scan::tokens(source);
        engine::check_names(&tokens, whole, base)?;
        let (mut paths, plain) = scan::paths(source, &tokens);
        for path in &mut paths {
            path.at = engine::characters(whole, base + path.at);
        }
        Ok(Self {
            source: source.trim().to_owned(),
            compiled: Arc::new(compiled),
            plain,
            comparisons: scan::comparisons(source, &tokens).into(),
            concatenated: scan::concatenated(source, &tokens).into(),
            tables: tables(&tokens, whole, base).into(),
            others: others(&paths).into(),
            paths: paths.into(),
        })
    }

    /// The first name at the start of a path that is not known, and where in the whole template it stands, in characters.
    pub(super) fn unknown<'a>(&'a self, known: &[&str]) -> Option<(&'a str, usize)> {
        let path = self.paths.iter().find(|path| !known.contains(&path.root.as_str()))?;
        Some((&path.root, path.at))
    }

    /// The tables that it looks values up in, each with its place in the whole template, in characters.
    pub(super) fn tables(&self) -> &[(String, usize)] {
        &self.tables
    }

    /// The links of other routes that it names.
    pub(super) fn others(&self) -> &[Other] {
        &self.others
    }

    /// The lookups that it uses, each with its place in the whole template, in characters.
    pub(super) fn lookups(&self) -> Vec<(String, usize)> {
        lookups(&self.paths)
    }

    /// The expression, as written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates.
    pub(super) fn find<'a>(&self, context: &'a Context) -> Result<Found<'a>, Failure> {
        if let (true, [path]) = (self.plain, &*self.paths) {
            return context.find(path).map(Found::Plain).map_err(Failure::Missing);
        }
        if let Some(null) = self.concatenated.iter().find(|path| context.find(path).is_ok_and(Value::is_null)) {
            let name = null.written.last().unwrap_or(&null.root);
            return Err(Failure::Other(format!("{name}: {}", value::NULL_IN_TEXT)));
        }
        self.compiled.eval(context.engine_value()).map(Found::Computed).map_err(|error| engine::failure(&error))
    }

    /// A failure in words, with the name of what is missing where the engine did not know it.
    pub(super) fn words(&self, failure: Failure, context: &Context) -> String {
        words(failure, &self.paths, context)
    }

    /// A failure of this expression.
    pub(super) fn error(&self, failure: Failure, context: &Context) -> RenderError {
        RenderError { message: self.words(failure, context), expression: self.source.clone() }
    }

    /// Two sides that have no order between them, in an expression that is true: the engine orders them by their
    /// types, so that `'4' > 3` passes.
    pub(super) fn unlike(&self, context: &Context) -> Option<String> {
        let kind = |side: &Side| match side {
            Side::Number => Some("a number"),
            Side::Text => Some("text"),
            Side::Path(path) => match context.find(path).ok()? {
                Value::Number(_) => Some("a number"),
                Value::String(_) => Some("text"),
                _ => None,
            },
        };
        self.comparisons.iter().find_map(|(left, sign, right)| {
            let (left, right) = (kind(left)?, kind(right)?);
            (left != right).then(|| format!("`{sign}` compares {left} with {right}"))
        })
    }

    /// The value, its texts escaped; `None` for `omit`.
    pub(super) fn json(&self, context: &Context, escape_as: Escape) -> Result<Option<Value>, RenderError> {
        let escaped = |mut json| {
            if escape_as != Escape::None {
                escape_deep(&mut json, escape_as);
            }
            Some(json)
        };
        let json = self.find(context).and_then(|found| match found {
            Found::Plain(json) => Ok(escaped(json.clone())),
            Found::Computed(value) if value::is_omit(&value) => Ok(None),
            Found::Computed(value) if value.is_safe() && escape_as.trusts() => value::to_json(&value).map(Some),
            Found::Computed(value) => value::to_json(&value).map(escaped),
        });
        match json {
            // What was looked for is not there, and the user said to leave out what needs it.
            Err(Failure::Missing(_) | Failure::Undefined(_)) if self.paths.iter().any(|path| context.omits(path)) => {
                Ok(None)
            }
            json => json.map_err(|failure| self.error(failure, context)),
        }
    }

    /// The value within a longer text, escaped.
    pub(super) fn text(&self, context: &Context, escape_as: Escape) -> Result<String, RenderError> {
        let escaped = |text: String| escape(&text, escape_as).into_owned();
        let text = self.find(context).and_then(|found| match found {
            Found::Plain(json) => value::interpolate_json(json).map(escaped),
            Found::Computed(value) if value.is_safe() && escape_as.trusts() => value::interpolate(&value),
            Found::Computed(value) => value::interpolate(&value).map(escaped),
        });
        text.map_err(|failure| self.error(failure, context))
    }

    /// The expression with the values of the paths in it.
    pub(super) fn with_operands(&self, context: &Context) -> String {
        const MOST: usize = 4;
        let shown: Vec<String> = self
            .paths
            .iter()
            .take(MOST)
            .map(|path| match context.find(path) {
                Ok(value) => format!("{} is {}", path.written.last().unwrap_or(&path.root), value::show(value)),
                Err(missing) => format!("{missing} is missing"),
            })
            .collect();
        if shown.is_empty() { self.source.clone() } else { format!("{} ({})", self.source, shown.join(", ")) }
    }
}

/// The tables that the words of the part of `whole` at byte `base` name, each with its place in characters.
pub(super) fn tables(tokens: &[Token<'_>], whole: &str, base: usize) -> Vec<(String, usize)> {
    let name = |text: &str| text.trim_matches(['\'', '"']).to_owned();
    let found = scan::tables(tokens).into_iter();
    found.map(|token| (name(token.text), engine::characters(whole, base + token.at))).collect()
}

/// The links of other routes that these paths name, as `links['name'].id`.
pub(super) fn others(paths: &[Path]) -> Vec<Other> {
    let of = |path: &Path| match path.steps.first() {
        Some(Step::Key(name)) => Some(name.clone()),
        _ => None,
    };
    paths.iter().filter(|path| path.root == "links").map(|path| Other { name: of(path), at: path.at }).collect()
}

/// The names under `lookup` in these paths, each with its place; an empty name for `lookup` itself.
pub(super) fn lookups(paths: &[Path]) -> Vec<(String, usize)> {
    let name = |path: &Path| match path.steps.first() {
        Some(Step::Key(name)) => name.clone(),
        _ => String::new(),
    };
    paths.iter().filter(|path| path.root == LOOKUP).map(|path| (name(path), path.at)).collect()
}

/// A failure in words. `paths` are those of its expression.
pub(super) fn words(failure: Failure, paths: &[Path], context: &Context) -> String {
    match failure {
        Failure::Missing(path) => format!("{path} is missing"),
        Failure::Undefined(words) => {
            let missing = paths.iter().filter(|path| !path.guarded).find_map(|path| context.find(path).err());
            missing.map_or(words, |path| format!("{path} is missing"))
        }
        Failure::Other(words) => words,
    }
}
