//! A tree of templates, as under `map`: `$each`/`$as`/`$map`, `omit`, `null`.

use serde_json::{Map, Value};

use crate::settings::{Fault, Node};
use crate::template::{Context, Escape};

/// A compiled `map`.
#[derive(Clone, Debug)]
pub struct Mapping {}

/// A field that failed on this event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message} in `{expression}`")]
pub struct FieldError {
    /// The field's path, as `blocks[0].text`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// The template, as written.
    pub expression: String,
}

impl Mapping {
    /// Compiles the tree under a `map`.
    ///
    /// # Errors
    /// Every fault in it, each with its place in the file (the template's error mapped into the YAML string).
    pub fn compile(node: &Node) -> Result<Self, Vec<Fault>> {
        let _ = node;
        todo!()
    }

    /// Renders the tree; omitted fields are not in it.
    ///
    /// # Errors
    /// Every [`FieldError`].
    pub fn render(&self, context: &Context, escape: Escape) -> Result<Map<String, Value>, Vec<FieldError>> {
        let _ = (context, escape);
        todo!()
    }

    /// The names at the top of the tree, for a sink that knows which fields there are.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        todo!()
    }
}
