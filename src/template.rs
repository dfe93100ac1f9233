//! Expressions and templates: one language, MiniJinja, with its traps closed.

use std::sync::Arc;

use serde_json::Value;

/// What templates can see: `id source type subject time version data headers body link links lookup`, and the tables.
#[derive(Clone)]
pub struct Context {
    // filled by the implementation
}

impl Context {
    /// An empty context over the config's tables.
    #[must_use]
    pub fn new(tables: Arc<Tables>) -> Self {
        let _ = tables;
        todo!()
    }

    /// Sets a name. Integers keep all their digits.
    pub fn set(&mut self, name: &'static str, value: &Value) {
        let _ = (name, value);
        todo!()
    }
}

/// The lookup tables of the config, by name: `table('grade')`.
#[derive(Debug, Default)]
pub struct Tables(pub std::collections::BTreeMap<String, std::collections::BTreeMap<String, Value>>);

/// How interpolated values (never the template's own text) are escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// As they are.
    #[default]
    None,
    /// `&`, `<` and `>` as entities: Slack's rule.
    Entities,
    /// Percent-encoded, as one path segment or query value.
    Url,
}

/// A compiled boolean expression, as under `when`.
#[derive(Clone, Debug)]
pub struct Expression {}

/// A compiled template: a leaf of a `map`.
#[derive(Clone, Debug)]
pub struct Template {}

/// What a template came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    /// A value; a template that is one `{{ … }}` keeps its JSON type, every other is text.
    Value(Value),
    /// The field is to be left out.
    Omit,
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
        let _ = source;
        todo!()
    }

    /// Asks whether `context` passes. A missing field does not pass.
    ///
    /// # Errors
    /// [`RenderError`] if the result is no boolean, or the limits were passed.
    pub fn test(&self, context: &Context) -> Result<Verdict, RenderError> {
        let _ = context;
        todo!()
    }
}

impl Template {
    /// Compiles.
    ///
    /// # Errors
    /// [`CompileError`] with the place within `source`.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        let _ = source;
        todo!()
    }

    /// Renders.
    ///
    /// # Errors
    /// [`RenderError`]: something undefined, `omit` within a longer text, a failed filter, the limits.
    pub fn render(&self, context: &Context, escape: Escape) -> Result<Rendered, RenderError> {
        let _ = (context, escape);
        todo!()
    }
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

pub mod mapping;
