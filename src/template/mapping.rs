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
        let mut compiler = Compiler { names: NAMES.to_vec(), tables: Vec::new(), faults: Vec::new() };
        let fields = compiler.entries(node.entries());
        let Compiler { tables, mut faults, .. } = compiler;
        if let Some((key, _)) = node.entries().iter().find(|(key, _)| WORDS.contains(&key.name.as_str())) {
            let message = format!("`{}` makes a list, so it stands under a field, not at the top of `map`", key.name);
            faults.push(Fault::new(key.spot, message));
        }
        if faults.is_empty() { Ok(Self { fields, tables }) } else { Err(faults) }
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

    /// The names at the top of the tree, for a sink that knows which fields there are.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }
}

// === Compiling ===

const WORDS: &[&str] = &["$each", "$as", "$when", "$map"];

/// The names that the templates of a route can use, besides those of `$as`.
pub const NAMES: &[&str] = &["id", "source", "type", "subject", "time", "version", "data", "headers", "link"];

struct Compiler<'a> {
    // Those of the enclosing `$as` among them.
    names: Vec<&'a str>,
    tables: Vec<(String, Spot)>,
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
            if self.charge(name.len(), path, name)
                && let Some(value) = self.tree(tree, context, path)
            {
                fields.insert(name.clone(), value);
            }
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
mod tests {
    use std::sync::Arc;

    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::template::Tables;

    /// A node from JSON: an object's entries are on a line each, its values at column 10.
    fn node(json: &Value, line: u32) -> Node {
        let value = match json {
            Value::Null => NodeValue::Null,
            Value::Bool(yes) => NodeValue::Boolean(*yes),
            Value::Number(number) => NodeValue::Number(number.to_string()),
            Value::String(text) => NodeValue::Text(text.clone()),
            Value::Array(items) => NodeValue::List(items.iter().map(|item| node(item, line)).collect()),
            Value::Object(entries) => NodeValue::Map(
                entries
                    .iter()
                    .zip(line..)
                    .map(|((name, value), line)| {
                        (Key { name: name.clone(), spot: Spot { line, column: 3 } }, node(value, line))
                    })
                    .collect(),
            ),
        };
        Node { spot: Spot { line, column: 10 }, value }
    }

    fn rendered(map: &Value, data: &Value) -> String {
        let mut context = Context::new(Arc::new(Tables::default()));
        context.set("data", data);
        match Mapping::compile(&node(map, 1)).unwrap().render(&context, Escape::Entities) {
            Ok(fields) => Value::Object(fields).to_string(),
            Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    fn faults(map: &Value) -> String {
        let faults = Mapping::compile(&node(map, 1)).unwrap_err();
        let line = |fault: &Fault| format!("{}:{}: {}", fault.spot.line, fault.spot.column, fault.message);
        faults.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn literals_stand_for_themselves_and_leaves_may_be_left_out() {
        let map = json!({
            "a": "{{ data.n }}", "b": 1.10, "c": true, "d": null, "e": "<b>", "f": "{{ data.x | default(omit) }}",
            "g": { "h": ["{{ data.x | default(omit) }}", "{{ data.t }}"] }
        });
        assert_snapshot!(
            rendered(&map, &json!({"n": 3, "t": "<i>"})),
            @r#"{"a":3,"b":1.1,"c":true,"d":null,"e":"<b>","g":{"h":["&lt;i&gt;"]}}"#);
    }

    #[test]
    fn each_item_of_a_list_is_mapped() {
        let map = json!({ "commits": { "$each": "data.commits", "$as": "c", "$when": "c.ok", "$map": {
            "sha": "{{ c.id }}", "price": "{{ c.price }}", "files": { "$each": "c.files", "$map": "{{ item }}" }
        } } });
        let data = serde_json::from_str(
            r#"{"commits": [
                {"id": "a<", "ok": true, "price": 1.10, "files": ["x", "y"]},
                {"id": "b", "ok": false},
                {"id": "c", "ok": true, "price": 2, "files": []}]}"#,
        );
        assert_snapshot!(rendered(&map, &data.unwrap()), @r#"{"commits":[{"sha":"a&lt;","price":1.10,"files":["x","y"]},{"sha":"c","price":2,"files":[]}]}"#);
        assert_snapshot!(rendered(&map, &json!({"commits": "none"})), @"commits: `$each` needs a list, not 'none' in `data.commits`");
        assert_snapshot!(rendered(&map, &json!({"commits": [{"ok": "yes"}]})), @"commits[0]: the result is 'yes', not true or false in `c.ok`");
        let optional = json!({ "tags": { "$each": "data.tags | default(omit)", "$map": "{{ item }}" } });
        assert_snapshot!(rendered(&optional, &json!({})), @"{}");
    }

    #[test]
    fn every_field_that_fails_is_told_with_its_path() {
        let map = json!({
            "title": "{{ data.title }}",
            "blocks": [{ "text": "{{ data.text }}" }, { "$each": "data.list", "$map": { "x": "{{ item.x }}" } }],
            "fine": "{{ data.n }}"
        });
        assert_snapshot!(rendered(&map, &json!({"n": 1, "list": [{"x": 1}, {}]})), @"
        title: data.title is missing in `data.title`
        blocks[0].text: data.text is missing in `data.text`
        blocks[1][1].x: item.x is missing in `item.x`
        ");
    }

    #[test]
    fn a_deletion_gets_the_fields_that_can_be_had() {
        let map = node(&json!({ "id": "{{ data.id }}", "title": "{{ data.title }}" }), 1);
        let mut context = Context::new(Arc::new(Tables::default()));
        context.set("data", &json!({"id": 7}));
        let (fields, errors) = Mapping::compile(&map).unwrap().render_what_can_be(&context, Escape::None);
        assert_eq!(Value::Object(fields), json!({"id": 7}));
        assert_eq!(errors.len(), 1);
    }

    #[test]
    fn a_mapping_has_a_limit_as_a_whole() {
        let map = json!({ "all": { "$each": "data.list", "$map": "{{ data.long }}" } });
        let data = json!({ "list": [1, 2, 3], "long": "x".repeat(400_000) });
        assert_snapshot!(rendered(&map, &data), @"all[2]: the result is longer than 1048576 bytes in `{{ data.long }}`");
    }

    #[test]
    fn lists_within_lists_and_literals_have_a_limit_together() {
        let inner = json!({ "$each": "data.list", "$as": "b", "$when": "b > 1", "$map": "x" });
        let map = json!({ "all": { "$each": "data.list", "$as": "a", "$map": inner } });
        let data = json!({ "list": vec![0; 400] });
        assert_snapshot!(rendered(&map, &data), @"
        all[249]: all `$each` go through more than 100000 items in `data.list`
        all: all `$each` go through more than 100000 items in `data.list`
        ");
        let long = json!({ "all": { "$each": "data.list", "$map": { "a": "x".repeat(9_000) } } });
        let told = rendered(&long, &data);
        assert!(told.starts_with("all[116].a: the result is longer than 1048576 bytes"), "{}", &told[..80]);
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let map = json!({
            "a": "안녕 {{ data.a | uper }}",
            "b": { "$each": "data.list", "$az": "c" },
            "c": { "$each": "data.[", "$as": "data", "$when": "x ==", "$map": "{{ item." },
            "d": { "$map": "{{ item }}" },
            "e": ["{{ }}"],
            "f": "{{ item.x }} {{ dta.x }}",
            "g": { "$each": "data.x", "$map": "{{ item.a }}{{ itme.b }}" },
            "h": "{{ lookup.x }}"
        });
        assert_snapshot!(faults(&map), @r#"
        1:25: there is no filter `uper`; did you mean `upper`?
        3:3: `$az` cannot stand beside `$each`; there are $each, $as, $when, $map
        2:10: `$each` needs `$map`: what each item becomes
        3:15: unexpected `[`, expected identifier or integer
        4:10: `$as` is a name of letters and digits that is not taken, not "data"
        5:12: unexpected end of input, expected expression
        6:17: unexpected end of input, expected identifier or integer
        4:10: `$each` is missing: the list to go through, as `data.items`
        5:12: an expression is missing here
        6:13: there is no `item` here; there are id, source, type, subject, time, version, data, headers, link
        8:25: there is no `itme` here; there are id, source, type, subject, time, version, data, headers, link, item
        8:13: `lookup` does not work yet
        "#);
        assert_snapshot!(faults(&json!("text")), @"1:10: `map` is a mapping of fields, not text");
        assert_snapshot!(faults(&json!({ "$each": "data.x", "$map": {} })), @"1:3: `$each` makes a list, so it stands under a field, not at the top of `map`");
    }

    #[test]
    fn the_tables_are_known_with_their_places() {
        let map = json!({ "a": "가 {{ data.a | table('grade') }}", "b": [{ "$each": "data.l | table('all')", "$when": "item | table(\"w\")", "$map": 1 }],
            "c": "It's {{ data.a | table('t') }}", "d": "{% if data.a %}It's {{- data.l | map('table', 'm') }}{% endif %}" });
        let map = Mapping::compile(&node(&map, 1)).unwrap();
        let tables: Vec<_> = map.tables().iter().map(|(name, spot)| (name.as_str(), spot.line, spot.column)).collect();
        assert_eq!(tables, [("grade", 1, 30), ("all", 2, 25), ("w", 3, 23), ("t", 3, 33), ("m", 4, 56)]);
    }

    #[test]
    fn names_are_those_at_the_top() {
        let map = Mapping::compile(&node(&json!({ "a": { "b": 1 }, "제목": "x" }), 1)).unwrap();
        assert_eq!(map.names(), ["a", "제목"]);
    }
}
