//! What templates can see.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Value as EngineValue};
use serde_json::Value;

use super::scan::{Path, Step};
use super::value;

/// What templates can see: `id source type subject time version data headers body link links lookup`, and the tables.
#[derive(Clone)]
pub struct Context(Arc<Root>);

#[derive(Clone)]
struct Root {
    names: BTreeMap<String, Entry>,
    /// Lookups that found nothing.
    omitted: BTreeSet<String>,
    tables: EngineValue,
}

#[derive(Clone)]
struct Entry {
    // With every digit, for plain paths.
    json: Arc<Value>,
    value: EngineValue,
}

/// The name of what was read from a vendor.
pub(super) const LOOKUP: &str = "lookup";

/// The name under which filters find the tables; no expression can name it.
pub(super) const TABLES: &str = "$tables";

/// The tables as filters find them.
#[derive(Debug)]
pub(super) struct TablesObject(pub(super) Arc<Tables>);

impl Object for TablesObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

impl fmt::Debug for Root {
    // It holds people's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names.keys()).finish()
    }
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &EngineValue) -> Option<EngineValue> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<EngineValue> {
        if key == TABLES {
            return Some(self.tables.clone());
        }
        self.names.get(key).map(|entry| entry.value.clone())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Context {
    /// An empty context over the config's tables.
    #[must_use]
    pub fn new(tables: Arc<Tables>) -> Self {
        let tables = EngineValue::from_object(TablesObject(tables));
        Self(Arc::new(Root { names: BTreeMap::new(), omitted: BTreeSet::new(), tables }))
    }

    /// Sets a name. Integers keep all their digits.
    pub fn set(&mut self, name: &str, value: &Value) {
        let entry = Entry { json: Arc::new(value.clone()), value: value::from_json(value) };
        Arc::make_mut(&mut self.0).names.insert(name.to_owned(), entry);
    }

    /// Sets what was read from vendors, by the lookup's name. Of `omitted` there is nothing: a field that needs one of
    /// them is left out.
    pub fn set_lookups(&mut self, found: &Value, omitted: impl IntoIterator<Item = String>) {
        self.set(LOOKUP, found);
        Arc::make_mut(&mut self.0).omitted.extend(omitted);
    }

    /// True for a path into a lookup that found nothing.
    pub(super) fn omits(&self, path: &Path) -> bool {
        let name = match path.steps.first() {
            Some(Step::Key(name)) if path.root == LOOKUP => name,
            _ => return false,
        };
        self.0.omitted.contains(name)
    }

    /// As the engine takes it.
    pub(super) fn engine_value(&self) -> EngineValue {
        EngineValue::from_dyn_object(Arc::clone(&self.0))
    }

    /// The value at a path.
    ///
    /// # Errors
    /// The path, as written, up to what is missing.
    pub(super) fn find<'a>(&'a self, path: &Path) -> Result<&'a Value, String> {
        let missing = |at: usize| path.written.get(at).cloned().unwrap_or_default();
        let mut value: &Value = &self.0.names.get(&path.root).ok_or_else(|| missing(0))?.json;
        for (at, step) in path.steps.iter().enumerate() {
            let next = match step {
                Step::Key(key) => value.get(key),
                Step::Index(index) => value.get(index),
            };
            value = next.ok_or_else(|| missing(at + 1))?;
        }
        Ok(value)
    }
}

/// The lookup tables of the config, by name: `table('grade')`.
#[derive(Debug, Default, PartialEq)]
pub struct Tables(pub BTreeMap<String, BTreeMap<String, Value>>);
