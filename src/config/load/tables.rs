//! Tables: values in the config, or two columns of a CSV file.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Loader;
use crate::config::fields;
use crate::settings::{Node, NodeValue, Settings};

type Table = BTreeMap<String, Value>;

impl Loader<'_> {
    pub(super) fn tables(&mut self, section: Option<Node>) -> BTreeMap<String, Table> {
        let mut tables = BTreeMap::new();
        for (key, mut node) in self.named(section, "tables") {
            let before = self.count();
            self.checker.object(&mut node, &[fields::TABLE], &format!("table `{}`", key.name));
            if self.count() > before {
                continue;
            }
            let table = match (node.get("values"), node.get("csv")) {
                (Some(values), None) => {
                    values.entries().iter().map(|(key, node)| (key.name.clone(), json(node))).collect()
                }
                (None, Some(csv)) => self.csv(csv),
                _ => {
                    self.checker.fault(&node, format!("table `{}`: expected either `values` or `csv`", key.name));
                    continue;
                }
            };
            tables.insert(key.name, table);
        }
        tables
    }

    fn csv(&mut self, node: &Node) -> Table {
        let csv = Settings::new(node, fields::CSV);
        let name = csv.text("file").unwrap_or_default();
        let spot = csv.node().get("file").unwrap_or(node);
        let bytes = match std::fs::read(self.dir.join(name)) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.checker.fault(spot, format!("cannot read `{name}`: {error}"));
                return Table::new();
            }
        };
        // Spreadsheets write a byte order mark.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
        let headings: Vec<String> = match reader.headers() {
            Ok(headings) => headings.iter().map(str::to_owned).collect(),
            Err(error) => {
                self.checker.fault(spot, format!("`{name}` is no CSV file: {error}"));
                return Table::new();
            }
        };
        let [Some(key), Some(value)] = ["key", "value"].map(|field| {
            let column = csv.text(field).unwrap_or_default();
            let at = headings.iter().position(|heading| heading == column);
            if at.is_none() {
                let known = headings.iter().map(String::as_str);
                let hint = crate::config::suggest::did_you_mean(column, known);
                let node = node.get(field).unwrap_or(node);
                self.checker.fault(node, format!("`{name}` has no column `{column}`{hint}"));
            }
            at
        }) else {
            return Table::new();
        };
        self.rows(spot, name, &mut reader, (key, value))
    }

    fn rows(
        &mut self,
        spot: &Node,
        name: &str,
        reader: &mut csv::Reader<&[u8]>,
        (key, value): (usize, usize),
    ) -> Table {
        let mut table = Table::new();
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    self.checker.fault(spot, format!("`{name}` is no CSV file: {error}"));
                    return table;
                }
            };
            let line = record.position().map_or(0, csv::Position::line);
            let (Some(key), Some(value)) = (record.get(key), record.get(value)) else { continue };
            if table.insert(key.to_owned(), Value::String(value.to_owned())).is_some() {
                self.checker.fault(spot, format!("`{name}` line {line}: the key `{key}` is there twice"));
            }
        }
        table
    }
}

/// A value of the file as templates see it; numbers keep their digits.
fn json(node: &Node) -> Value {
    match &node.value {
        NodeValue::Null => Value::Null,
        NodeValue::Boolean(value) => Value::Bool(*value),
        NodeValue::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
        NodeValue::Text(text) => Value::String(text.clone()),
        NodeValue::List(items) => items.iter().map(json).collect(),
        NodeValue::Map(entries) => entries.iter().map(|(key, node)| (key.name.clone(), json(node))).collect(),
    }
}
