//! A tree of templates, as under `map`: `$each`/`$as`/`$map`, `omit`, `null`.
//!
//! Numbers, booleans, `null` and text without tags stand for themselves. `{ $each: list, $as: name, $map: … }` makes
//! an item for each of the list (`$as` is `item` unless said otherwise), with `$when` only for those that pass.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::value::{self, MAX_OUTPUT};
use super::{CompileError, Expression, RenderError, Rendered, Template, Verdict, template_spot};
use crate::settings::{Fault, Key, Node, NodeValue, Spot};
use crate::template::{Context, Escape};

/// A compiled `map`.
#[derive(Clone, Debug)]
pub struct Mapping {
    fields: Vec<(String, Tree)>,
    tables: Vec<(String, Spot)>,
    others: Vec<(Option<String>, Spot)>,
    lookups: Vec<(String, Spot)>,
}

#[derive(Clone, Debug)]
enum Tree {
    Literal(Value),
    Template(Template),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
    Each(Box<Each>),
}

#[derive(Clone, Debug)]
struct Each {
    list: Template,
    name: String,
    when: Option<Expression>,
    map: Tree,
}

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

impl FieldError {
    /// An error of a template at a field.
    #[must_use]
    pub fn new(field: impl Into<String>, error: RenderError) -> Self {
        Self { field: field.into(), message: error.message, expression: error.expression }
    }
}

impl Mapping {
    /// Compiles the tree under a `map`.
    ///
    /// # Errors
    /// Every fault in it, each with its place (see [`template_spot`]).
    pub fn compile(node: &Node) -> Result<Self, Vec<Fault>> {
        if !matches!(node.value, NodeValue::Map(_)) {
            return Err(vec![Fault::new(node.spot, format!("`map` is a mapping of fields, not {}", node.kind()))]);
        }
        let mut compiler = Compiler {
            names: NAMES.to_vec(),
            tables: Vec::new(),
            others: Vec::new(),
            lookups: Vec::new(),
            faults: Vec::new(),
        };
        let fields = compiler.entries(node.entries());
        let Compiler { tables, others, lookups, mut faults, .. } = compiler;
        if let Some((key, _)) = node.entries().iter().find(|(key, _)| WORDS.contains(&key.name.as_str())) {
            let message = format!("`{}` makes a list, so it stands under a field, not at the top of `map`", key.name);
            faults.push(Fault::new(key.spot, message));
        }
        if faults.is_empty() { Ok(Self { fields, tables, others, lookups }) } else { Err(faults) }
    }

    /// Renders the tree; omitted fields are not in it.
    ///
    /// # Errors
    /// Every [`FieldError`].
    pub fn render(&self, context: &Context, escape: Escape) -> Result<Map<String, Value>, Vec<FieldError>> {
        let (fields, errors) = self.render_what_can_be(context, escape);
        if errors.is_empty() { Ok(fields) } else { Err(errors) }
    }

    /// Renders the fields that can be rendered, and tells what is wrong with the others: a deletion needs only the link.
    #[must_use]
    pub fn render_what_can_be(&self, context: &Context, escape: Escape) -> (Map<String, Value>, Vec<FieldError>) {
        let mut rendering = Rendering { escape, left: MAX_OUTPUT, items: MAX_ITEMS, errors: Vec::new() };
        let mut path = String::new();
        let fields = rendering.entries(&self.fields, context, &mut path);
        (fields, rendering.errors)
    }

    /// The tables that it looks values up in, each with its place (see [`template_spot`]).
    #[must_use]
    pub fn tables(&self) -> &[(String, Spot)] {
        &self.tables
    }

    /// The links of other routes that it names (see [`Other`](super::Other)), each with its place.
    #[must_use]
    pub fn others(&self) -> &[(Option<String>, Spot)] {
        &self.others
    }

    /// The lookups that it uses, each with its place (see [`template_spot`]).
    #[must_use]
    pub fn lookups(&self) -> &[(String, Spot)] {
        &self.lookups
    }

    /// The names at the top of the tree, for a sink that knows which fields there are.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }
}

// === Compiling ===

const WORDS: &[&str] = &["$each", "$as", "$when", "$map"];

/// The names of what is known of an event before anything else is asked.
pub const OF_EVENT: &[&str] = &["id", "source", "type", "subject", "time", "version", "data", "headers"];

/// The names that the templates of a route can use, besides those of `$as`.
pub const NAMES: &[&str] =
    &["id", "source", "type", "subject", "time", "version", "data", "headers", "link", "links", "lookup"];

struct Compiler<'a> {
    // Those of the enclosing `$as` among them.
    names: Vec<&'a str>,
    tables: Vec<(String, Spot)>,
    others: Vec<(Option<String>, Spot)>,
    lookups: Vec<(String, Spot)>,
    faults: Vec<Fault>,
}

/// Everything here gives `None` if something is wrong, which is then among the faults.
impl<'a> Compiler<'a> {
    fn entries(&mut self, entries: &'a [(Key, Node)]) -> Vec<(String, Tree)> {
        entries.iter().filter_map(|(key, node)| Some((key.name.clone(), self.tree(node)?))).collect()
    }

    fn tree(&mut self, node: &'a Node) -> Option<Tree> {
        Some(match &node.value {
            NodeValue::Null => Tree::Literal(Value::Null),
            NodeValue::Boolean(yes) => Tree::Literal(Value::Bool(*yes)),
            NodeValue::Number(text) => {
                let Ok(number) = text.parse() else {
                    let message = format!("{text} is no number of JSON; put it in quotes if it is meant as text");
                    return self.fault(node.spot, message);
                };
                Tree::Literal(Value::Number(number))
            }
            NodeValue::Text(text) if !["{{", "{%", "{#"].iter().any(|tag| text.contains(tag)) => {
                Tree::Literal(Value::String(text.clone()))
            }
            NodeValue::Text(text) => Tree::Template(self.template(Template::compile(text), node)?),
            NodeValue::List(items) => Tree::List(items.iter().filter_map(|item| self.tree(item)).collect()),
            NodeValue::Map(entries) if entries.iter().any(|(key, _)| WORDS.contains(&key.name.as_str())) => {
                Tree::Each(Box::new(self.each(node)?))
            }
            NodeValue::Map(entries) => Tree::Map(self.entries(entries)),
        })
    }

    fn fault<T>(&mut self, spot: Spot, message: impl Into<String>) -> Option<T> {
        self.faults.push(Fault::new(spot, message));
        None
    }

    fn template(&mut self, template: Result<Template, CompileError>, node: &Node) -> Option<Template> {
        let template = template.and_then(|template| template.check_names(&self.names).map(|()| template));
        match template {
            Ok(template) => {
                let tables = template.tables().into_iter();
                self.tables.extend(tables.map(|(name, at)| (name, template_spot(node.spot, at))));
                let others = template.others().into_iter();
                self.others.extend(others.map(|other| (other.name, template_spot(node.spot, other.at))));
                let lookups = template.lookups().into_iter();
                self.lookups.extend(lookups.map(|(name, at)| (name, template_spot(node.spot, at))));
                Some(template)
            }
            Err(error) => self.fault(template_spot(node.spot, error.at), error.message),
        }
    }

    fn each(&mut self, node: &'a Node) -> Option<Each> {
        for (key, _) in node.entries().iter().filter(|(key, _)| !WORDS.contains(&key.name.as_str())) {
            let message = format!("`{}` cannot stand beside `$each`; there are {}", key.name, WORDS.join(", "));
            self.faults.push(Fault::new(key.spot, message));
        }
        let list = match node.get("$each") {
            None => self.fault(node.spot, "`$each` is missing: the list to go through, as `data.items`"),
            Some(at) => match at.text() {
                Some(text) => self.template(Template::compile_expression(text), at),
                None => self.fault(at.spot, format!("`$each` is an expression, not {}", at.kind())),
            },
        };
        let name = match node.get("$as") {
            None => Some("item"),
            Some(at) => self.name(at),
        };
        self.names.push(name.unwrap_or("item"));
        let when = node.get("$when").map(|at| {
            let expression = Expression::compile(at.text().unwrap_or_default());
            let expression = expression.and_then(|when| when.check_names(&self.names).map(|()| when));
            if let Ok(when) = &expression {
                let tables = when.tables().iter();
                self.tables.extend(tables.map(|(name, place)| (name.clone(), template_spot(at.spot, *place))));
                let others = when.others().iter();
                self.others.extend(others.map(|other| (other.name.clone(), template_spot(at.spot, other.at))));
                let lookups = when.lookups().into_iter();
                self.lookups.extend(lookups.map(|(name, place)| (name, template_spot(at.spot, place))));
            }
            expression.or_else(|error| self.fault(template_spot(at.spot, error.at), error.message).ok_or(()))
        });
        let map = match node.get("$map") {
            Some(map) => self.tree(map),
            None => self.fault(node.spot, "`$each` needs `$map`: what each item becomes"),
        };
        self.names.pop();
        Some(Each { list: list?, name: name?.to_owned(), when: when.transpose().ok()?, map: map? })
    }

    fn name(&mut self, node: &'a Node) -> Option<&'a str> {
        const TAKEN: &[&str] =
            &["lookup", "links", "null", "omit", "none", "true", "false", "not", "and", "or", "in", "is", "if", "else"];
        let name = node.text().unwrap_or_default();
        let mut letters = name.chars();
        let starts = letters.next().is_some_and(|c| c == '_' || c.is_alphabetic());
        let goes_on = letters.all(|c| c == '_' || c.is_alphanumeric());
        if !starts || !goes_on || TAKEN.contains(&name) || self.names.contains(&name) {
            let message = format!("`$as` is a name of letters and digits that is not taken, not {name:?}");
            return self.fault(node.spot, message);
        }
        Some(name)
    }
}

// === Rendering ===

/// How many items all `$each` of a mapping may go through: nested ones multiply.
const MAX_ITEMS: usize = 100_000;

struct Rendering {
    escape: Escape,
    // Bytes that the rest may still come to.
    left: usize,
    // How many items all `$each` together may still go through.
    items: usize,
    errors: Vec<FieldError>,
}

impl Rendering {
    fn entries(&mut self, entries: &[(String, Tree)], context: &Context, path: &mut String) -> Map<String, Value> {
        let mut fields = Map::new();
        for (name, tree) in entries {
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            let around = self.escape;
            self.escape = around.under(name);
            if self.charge(name.len(), path, name)
                && let Some(value) = self.tree(tree, context, path)
            {
                fields.insert(name.clone(), value);
            }
            self.escape = around;
            path.truncate(length);
        }
        fields
    }

    /// `None` if it is omitted or failed.
    fn tree(&mut self, tree: &Tree, context: &Context, path: &mut String) -> Option<Value> {
        match tree {
            Tree::Literal(literal) => {
                self.charge(value::size(literal), path, &value::show(literal)).then(|| literal.clone())
            }
            Tree::Template(template) => self.leaf(template, context, path),
            Tree::List(items) => Some(Value::Array(
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(at, item)| self.within(at, path, |this, path| this.tree(item, context, path)))
                    .collect(),
            )),
            Tree::Map(entries) => Some(Value::Object(self.entries(entries, context, path))),
            Tree::Each(each) => self.each(each, context, path),
        }
    }

    fn within<T>(&mut self, at: usize, path: &mut String, act: impl FnOnce(&mut Self, &mut String) -> T) -> T {
        let length = path.len();
        let _ = write!(path, "[{at}]");
        let result = act(self, path);
        path.truncate(length);
        result
    }

    fn leaf(&mut self, template: &Template, context: &Context, path: &str) -> Option<Value> {
        match template.render(context, self.escape) {
            Ok(Rendered::Omit) => None,
            Ok(Rendered::Value(value)) => self.charge(value::size(&value), path, template.source()).then_some(value),
            Err(error) => {
                self.errors.push(FieldError::new(path, error));
                None
            }
        }
    }

    /// False if the mapping came to more than it may.
    fn charge(&mut self, bytes: usize, path: &str, source: &str) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        if left.is_none() {
            self.fail(path, value::too_long(), source);
        }
        left.is_some()
    }

    fn fail(&mut self, path: &str, message: String, expression: &str) {
        self.errors.push(FieldError { field: path.to_owned(), message, expression: expression.to_owned() });
    }

    fn each(&mut self, each: &Each, context: &Context, path: &mut String) -> Option<Value> {
        // The list is no output yet: its items are escaped where they are interpolated.
        let items = match each.list.render(context, Escape::None) {
            Ok(Rendered::Omit) => return None,
            Ok(Rendered::Value(Value::Array(items))) => items,
            Ok(Rendered::Value(other)) => {
                let message = format!("`$each` needs a list, not {}", value::show(&other));
                self.fail(path, message, each.list.source());
                return None;
            }
            Err(error) => {
                self.errors.push(FieldError::new(path.as_str(), error));
                return None;
            }
        };
        let mut made = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let Some(left) = self.items.checked_sub(1) else {
                self.fail(path, format!("all `$each` go through more than {MAX_ITEMS} items"), each.list.source());
                return None;
            };
            self.items = left;
            let mut inner = context.clone();
            inner.set(&each.name, item);
            made.extend(self.within(at, path, |this, path| this.item(each, &inner, path)));
        }
        Some(Value::Array(made))
    }

    fn item(&mut self, each: &Each, context: &Context, path: &mut String) -> Option<Value> {
        match each.when.as_ref().map(|when| when.test(context)) {
            Some(Ok(Verdict::No(_))) => None,
            Some(Err(error)) => {
                self.errors.push(FieldError::new(path.as_str(), error));
                None
            }
            None | Some(Ok(Verdict::Yes)) => self.tree(&each.map, context, path),
        }
    }
}

#[cfg(test)]
mod tests;
