//! Expressions and templates: one language, MiniJinja, with its traps closed.
//!
//! A template without `{% … %}` is split at its tags and each expression compiled once; a plain path as
//! `data.order.total` never passes through the engine at all, so `1.10` stays `1.10`.

mod code;
mod context;
mod engine;
mod filters;
pub mod mapping;
mod scan;
mod value;

use std::borrow::Cow;
use std::sync::Arc;

use minijinja::value::ValueKind;
use serde_json::Value;

use crate::settings::Spot;
use code::{Code, Found};
pub use context::{Context, Tables};
use scan::{Path, Segment};
use value::Failure;

/// How interpolated values (never the template's own text) are escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// As they are.
    #[default]
    None,
    /// `&`, `<` and `>` as entities: Slack's rule. What went through the filter `safe` stays as it is.
    Entities,
    /// As [`Escape::Entities`], but nothing below these names: addresses and ids, which a vendor takes literally.
    Texts(&'static [&'static str]),
    /// Percent-encoded, as one path segment or query value.
    Url,
}

impl Escape {
    /// How values below this name are escaped.
    fn under(self, name: &str) -> Self {
        match self {
            Self::Texts(plain) if plain.contains(&name) => Self::None,
            other => other,
        }
    }

    /// Whether the filter `safe` is heeded: what leads within a URL is always encoded.
    fn trusts(self) -> bool {
        self != Self::Url
    }
}

/// Text as it stands where it is put.
pub(crate) fn escape(text: &str, escape: Escape) -> Cow<'_, str> {
    /// Everything but what RFC 3986 calls unreserved.
    const RESERVED: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    const AND_DOTS: &percent_encoding::AsciiSet = &RESERVED.add(b'.');
    match escape {
        Escape::None => Cow::Borrowed(text),
        Escape::Entities | Escape::Texts(_) if !text.contains(['&', '<', '>']) => Cow::Borrowed(text),
        Escape::Entities | Escape::Texts(_) => {
            Cow::Owned(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
        }
        // A lone dot or two would be a step within the path.
        Escape::Url if text == "." || text.contains("..") => {
            percent_encoding::utf8_percent_encode(text, AND_DOTS).into()
        }
        Escape::Url => percent_encoding::utf8_percent_encode(text, RESERVED).into(),
    }
}

fn escape_deep(value: &mut Value, escape_as: Escape) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(escaped) = escape(text, escape_as) {
                *text = escaped;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| escape_deep(item, escape_as)),
        Value::Object(entries) => {
            entries.iter_mut().for_each(|(name, value)| escape_deep(value, escape_as.under(name)));
        }
        _ => {}
    }
}

/// A compiled boolean expression, as under `when`.
#[derive(Clone, Debug)]
pub struct Expression(Code);

/// A compiled template: a leaf of a `map`.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    // One `{{ … }}` and nothing else.
    Single(Code),
    Parts(Vec<Part>),
    // With `{% … %}` or whitespace control.
    Blocks(Arc<[Path]>),
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Value(Code),
}

/// What a template came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    /// A value; a template that is one `{{ … }}` keeps its JSON type, every other is text.
    Value(Value),
    /// The field is to be left out.
    Omit,
}

/// A link of another route that a template names, as `links['tasks'].id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// The route, or the shared link; `None` where that is not written as plain text.
    pub name: Option<String>,
    /// Where it stands in the template, in characters.
    pub at: usize,
}

/// What an expression said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Yes,
    /// It does not, and why in words: the expression with its operands, or the missing field.
    No(String),
}

impl Expression {
    /// Compiles.
    ///
    /// # Errors
    /// [`CompileError`] with the place within `source`.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        if let Some(at) = source.find("{{") {
            let message = "an expression stands without `{{ }}` here".into();
            return Err(CompileError { message, at: engine::characters(source, at) });
        }
        Code::compile(source, source, 0).map(Self)
    }

    /// The expression, as written.
    #[must_use]
    pub fn source(&self) -> &str {
        self.0.source()
    }

    /// Refuses names that the context will never have: as a missing field they would pass as an answer.
    ///
    /// # Errors
    /// [`CompileError`] with the place of the first.
    pub fn check_names(&self, known: &[&str]) -> Result<(), CompileError> {
        self.0.unknown(known).map_or(Ok(()), |(name, at)| Err(unknown_name(name, at, known)))
    }

    /// The tables that it looks values up in, each with its place in characters.
    #[must_use]
    pub fn tables(&self) -> &[(String, usize)] {
        self.0.tables()
    }

    /// The links of other routes that it names.
    #[must_use]
    pub fn others(&self) -> &[Other] {
        self.0.others()
    }

    /// The lookups that it uses, each with its place in characters.
    #[must_use]
    pub fn lookups(&self) -> Vec<(String, usize)> {
        self.0.lookups()
    }

    /// Asks whether `context` passes. A missing field does not pass.
    ///
    /// # Errors
    /// [`RenderError`] if the result is no boolean, it passes by comparing a number with text, or the limits were passed.
    pub fn test(&self, context: &Context) -> Result<Verdict, RenderError> {
        let answer = match self.0.find(context) {
            Ok(Found::Plain(json)) => json.as_bool().ok_or_else(|| value::show(json)),
            Ok(Found::Computed(value)) if value.kind() == ValueKind::Bool => Ok(value.is_true()),
            Ok(Found::Computed(value)) if value.is_undefined() => {
                let failure = Failure::Undefined("the result is undefined".into());
                return Ok(Verdict::No(self.0.words(failure, context)));
            }
            Ok(Found::Computed(value)) => Err(value::describe(&value)),
            Err(failure @ (Failure::Missing(_) | Failure::Undefined(_))) => {
                return Ok(Verdict::No(self.0.words(failure, context)));
            }
            Err(failure) => return Err(self.0.error(failure, context)),
        };
        match answer {
            Ok(true) => match self.0.unlike(context) {
                Some(why) => Err(RenderError { message: why, expression: self.0.with_operands(context) }),
                None => Ok(Verdict::Yes),
            },
            Ok(false) => Ok(Verdict::No(self.0.with_operands(context))),
            Err(shown) => {
                Err(self.0.error(Failure::Other(format!("the result is {shown}, not true or false")), context))
            }
        }
    }
}

impl Template {
    /// Compiles.
    ///
    /// # Errors
    /// [`CompileError`] with the place within `source`.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        let segments = match scan::segments(source) {
            Some(found) if found.iter().all(|s| matches!(s, Segment::Literal(_) | Segment::Value(_))) => found,
            other => return Self::compile_blocks(source, &other.unwrap_or_default()),
        };
        let mut parts = Vec::new();
        for segment in segments {
            match segment {
                Segment::Value(range) => {
                    parts.push(Part::Value(Code::compile(&source[range.clone()], source, range.start)?));
                }
                Segment::Literal(range) => parts.push(Part::Literal(source[range].to_owned())),
                Segment::Block(_) | Segment::Trimmed(_) | Segment::Comment => {}
            }
        }
        let body = match parts.as_slice() {
            [Part::Value(code)] => Body::Single(code.clone()),
            // The line break at the end of a YAML block is no text.
            [Part::Value(code), Part::Literal(end)] if end == "\n" => Body::Single(code.clone()),
            _ => Body::Parts(parts),
        };
        Ok(Self { source: source.to_owned(), body })
    }

    fn compile_blocks(source: &str, segments: &[Segment]) -> Result<Self, CompileError> {
        engine::check_blocks(source).map_err(|error| engine::compile_error(&error, source, 0))?;
        engine::check_names_in(segments, source)?;
        let mut paths = Vec::new();
        for segment in segments {
            if let Some(range) = segment.clone().code() {
                let inside = &source[range.clone()];
                for path in scan::paths(inside, &scan::tokens(inside)).0 {
                    paths.push(Path { at: engine::characters(source, range.start + path.at), ..path });
                }
            }
        }
        Ok(Self { source: source.to_owned(), body: Body::Blocks(paths.into()) })
    }

    /// Compiles an expression whose value, of any type, is the result: `{{ source }}` without the braces.
    ///
    /// # Errors
    /// [`CompileError`] with the place within `source`.
    pub fn compile_expression(source: &str) -> Result<Self, CompileError> {
        Expression::compile(source).map(|e| Self { source: source.to_owned(), body: Body::Single(e.0) })
    }

    /// Compiles the path of a request, as `/repos/{{ data.id }}?page={{ data.page }}`: data can only be (a part of)
    /// a path segment or of a query value, so it can neither name the host nor leave the path.
    ///
    /// # Errors
    /// [`CompileError`] with the place within `source`.
    pub fn compile_path(source: &str) -> Result<Self, CompileError> {
        let template = Self::compile(source)?;
        match refused_path(source) {
            Some((message, at)) => Err(CompileError { message: message.into(), at: engine::characters(source, at) }),
            None => Ok(template),
        }
    }

    /// Refuses names that the context will never have. Those of a template with blocks are not looked at: it can make
    /// its own.
    ///
    /// # Errors
    /// [`CompileError`] with the place of the first.
    pub fn check_names(&self, known: &[&str]) -> Result<(), CompileError> {
        let unknown = match &self.body {
            Body::Single(code) => code.unknown(known),
            Body::Parts(parts) => parts.iter().find_map(|part| match part {
                Part::Value(code) => code.unknown(known),
                Part::Literal(_) => None,
            }),
            Body::Blocks(_) => None,
        };
        let Some((name, at)) = unknown else { return Ok(()) };
        Err(unknown_name(name, at, known))
    }

    /// The tables that it looks values up in, each with its place in characters.
    #[must_use]
    pub fn tables(&self) -> Vec<(String, usize)> {
        match &self.body {
            Body::Single(code) => code.tables().to_vec(),
            Body::Parts(parts) => parts
                .iter()
                .flat_map(|part| match part {
                    Part::Value(code) => code.tables(),
                    Part::Literal(_) => &[],
                })
                .cloned()
                .collect(),
            // Tag by tag: the quotes of the text between them are no quotes.
            Body::Blocks(_) => scan::segments(&self.source)
                .unwrap_or_default()
                .into_iter()
                .filter_map(Segment::code)
                .flat_map(|range| code::tables(&scan::tokens(&self.source[range.clone()]), &self.source, range.start))
                .collect(),
        }
    }

    /// The links of other routes that it names.
    #[must_use]
    pub fn others(&self) -> Vec<Other> {
        match &self.body {
            Body::Single(code) => code.others().to_vec(),
            Body::Parts(parts) => parts
                .iter()
                .flat_map(|part| match part {
                    Part::Value(code) => code.others(),
                    Part::Literal(_) => &[],
                })
                .cloned()
                .collect(),
            Body::Blocks(paths) => code::others(paths),
        }
    }

    /// The lookups that it uses, each with its place in characters.
    #[must_use]
    pub fn lookups(&self) -> Vec<(String, usize)> {
        match &self.body {
            Body::Single(code) => code.lookups(),
            Body::Parts(parts) => parts
                .iter()
                .flat_map(|part| match part {
                    Part::Value(code) => code.lookups(),
                    Part::Literal(_) => Vec::new(),
                })
                .collect(),
            Body::Blocks(paths) => code::lookups(paths),
        }
    }

    /// The template, as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders.
    ///
    /// # Errors
    /// [`RenderError`]: something undefined, `omit` within a longer text, a failed filter, the limits.
    pub fn render(&self, context: &Context, escape_as: Escape) -> Result<Rendered, RenderError> {
        match &self.body {
            Body::Single(code) if escape_as == Escape::Url => {
                code.text(context, escape_as).map(|text| Rendered::Value(text.into()))
            }
            Body::Single(code) => Ok(code.json(context, escape_as)?.map_or(Rendered::Omit, Rendered::Value)),
            Body::Parts(parts) => self.join(parts, context, escape_as),
            Body::Blocks(paths) => self.render_blocks(paths, context, escape_as),
        }
    }

    fn join(&self, parts: &[Part], context: &Context, escape_as: Escape) -> Result<Rendered, RenderError> {
        let mut whole = String::new();
        for part in parts {
            match part {
                Part::Literal(text) => whole.push_str(text),
                Part::Value(code) => whole.push_str(&code.text(context, escape_as)?),
            }
            if whole.len() > value::MAX_OUTPUT {
                return Err(self.error(value::too_long()));
            }
        }
        Ok(Rendered::Value(whole.into()))
    }

    fn render_blocks(&self, paths: &[Path], context: &Context, escape_as: Escape) -> Result<Rendered, RenderError> {
        engine::render_blocks(&self.source, context.engine_value(), escape_as)
            .map(|text| Rendered::Value(text.into()))
            .map_err(|error| self.error(code::words(engine::failure(&error), paths, context)))
    }

    fn error(&self, message: String) -> RenderError {
        RenderError { message, expression: self.source.clone() }
    }
}

fn unknown_name(name: &str, at: usize, known: &[&str]) -> CompileError {
    let message = match name {
        "link" | "links" | "lookup" => format!("`{name}` is not known yet here; there are {}", known.join(", ")),
        _ => format!("there is no `{name}` here; there are {}", known.join(", ")),
    };
    CompileError { message, at }
}

/// What is wrong with the source of a request path, and at which byte.
fn refused_path(source: &str) -> Option<(&'static str, usize)> {
    if !source.starts_with('/') || source.starts_with("//") {
        return Some(("a path starts with one `/`: the host is the sink's, and never data", 0));
    }
    let mut query_name = false;
    for segment in scan::segments(source).unwrap_or_default() {
        match segment {
            Segment::Literal(range) => {
                for (at, c) in source[range.clone()].char_indices().map(|(at, c)| (range.start + at, c)) {
                    match c {
                        '#' => return Some(("a request has no `#` part", at)),
                        '?' | '&' => query_name = true,
                        '=' => query_name = false,
                        _ => {}
                    }
                }
            }
            Segment::Value(range) if query_name => {
                return Some(("the name of a query parameter cannot be data, only its value", range.start));
            }
            Segment::Value(_) => {}
            Segment::Block(_) | Segment::Trimmed(_) | Segment::Comment => {
                return Some(("a path takes `{{ }}` only, without blocks, comments and `-`", 0));
            }
        }
    }
    None
}

/// The place of a template's error as the config wants it: the template's place, with the offset in its text added to
/// the column. The config knows how the text was written and moves it to where that character stands in the file.
#[must_use]
pub fn template_spot(spot: Spot, at: usize) -> Spot {
    Spot { column: spot.column.saturating_add(u32::try_from(at).unwrap_or(u32::MAX)), ..spot }
}

/// A template or expression that does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// What is wrong, in words.
    pub message: String,
    /// Where in the source, in characters from its start.
    pub at: usize,
}

/// A template or expression that failed on this event. Never shows the event's data beyond the operands concerned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} in `{expression}`")]
pub struct RenderError {
    /// What is wrong, in words.
    pub message: String,
    /// The expression or template, as written.
    pub expression: String,
}

#[cfg(test)]
mod tests;
