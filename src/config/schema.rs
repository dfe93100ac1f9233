//! A JSON Schema of the config, for completion and checks in editors; from the same lists of fields as the check.

use serde_json::{Map, Value, json};

use super::fields;
use crate::connectors::Manifest;
use crate::settings::{Field, Kind, Need};

/// The JSON Schema (draft 2020-12) of a config with these connectors.
///
/// It is no stricter than the check, except that it wants numbers and booleans unquoted; it cannot see what holds
/// between several parts.
#[must_use]
pub fn schema(manifests: &[&'static Manifest]) -> Value {
    let mut top = object(&[fields::TOP]);
    for (section, of) in
        [("accounts", "account"), ("sources", "source"), ("sinks", "sink"), ("tables", "table"), ("routes", "route")]
    {
        top["properties"][section]["type"] = json!(["object", "null"]);
        top["properties"][section]["propertyNames"] = json!({ "pattern": "^[a-z0-9-]{1,63}$" });
        top["properties"][section]["additionalProperties"] = json!({ "$ref": format!("#/$defs/{of}") });
    }
    let accounts = manifests.iter().filter_map(|manifest| {
        let account = manifest.account.as_ref()?;
        Some((manifest.name, described(object(&[account.fields, fields::ACCOUNT]), manifest.about)))
    });
    let sources = manifests.iter().flat_map(|manifest| {
        let source = |fields| described(object(&[fields, fields::SOURCE]), manifest.title);
        manifest.sources.iter().map(move |kind| (kind.name, source(kind.fields)))
    });
    let sinks = manifests.iter().flat_map(|manifest| {
        let own = if manifest.account.is_none() { fields::OWN_ACCOUNT } else { &[] };
        let sink = move |fields| described(object(&[fields, fields::SINK, own]), manifest.title);
        manifest.sinks.iter().map(move |kind| (kind.name, sink(kind.fields)))
    });
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dari.yaml",
        "$defs": {
            "account": one_of(accounts),
            "source": one_of(sources),
            "sink": one_of(sinks),
            "table": one_of(fields::TABLE.iter().map(property)),
            "route": object(&[fields::ROUTE]),
        },
    });
    if let (Some(schema), Value::Object(top)) = (schema.as_object_mut(), top) {
        schema.extend(top);
    }
    schema
}

fn described(mut schema: Value, text: &str) -> Value {
    schema["description"] = text.into();
    schema
}

/// A mapping with these keys; the first list that knows a key decides.
fn object(lists: &[&'static [Field]]) -> Value {
    let mut properties = Map::new();
    for field in lists.iter().copied().flatten() {
        let (name, schema) = property(field);
        properties.entry(name).or_insert(schema);
    }
    let required: Vec<&str> =
        lists.iter().copied().flatten().filter(|f| f.need == Need::Required).map(|f| f.name).collect();
    // Nothing at all is an empty mapping.
    let types = if required.is_empty() { json!(["object", "null"]) } else { json!("object") };
    json!({ "type": types, "properties": properties, "required": required, "additionalProperties": false })
}

/// A mapping with exactly one of these keys.
fn one_of(choices: impl Iterator<Item = (&'static str, Value)>) -> Value {
    let properties: Map<String, Value> = choices.map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({
        "type": "object", "properties": properties, "additionalProperties": false,
        "minProperties": 1, "maxProperties": 1,
    })
}

fn property(field: &Field) -> (&'static str, Value) {
    if let Need::NotYet(why) = field.need {
        return (field.name, json!({ "not": {}, "description": format!("Does not work yet: {why}.") }));
    }
    let mut schema = described(kind(&field.kind), field.doc);
    if let Need::Default(text) = field.need {
        let typed = matches!(field.kind, Kind::Boolean | Kind::Integer { .. } | Kind::Number { .. });
        let value = serde_json::from_str(text).ok().filter(|_| typed);
        schema["default"] = value.unwrap_or_else(|| text.into());
    }
    (field.name, schema)
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Text | Kind::Secret | Kind::Template => json!({ "type": ["string", "number"] }),
        Kind::Url | Kind::Path | Kind::Zone | Kind::Address | Kind::Account(_) => json!({ "type": "string" }),
        Kind::Expression => json!({ "type": ["string", "boolean"] }),
        Kind::Boolean => or_variable(&json!({ "type": "boolean" })),
        Kind::Integer { min, max } => or_variable(&json!({ "type": "integer", "minimum": min, "maximum": max })),
        Kind::Number { min, max } => or_variable(&json!({ "type": "number", "minimum": min, "maximum": max })),
        Kind::Duration => or_variable(&json!({ "type": "string", "pattern": "^[0-9]+ *(ms|s|m|h|d)$" })),
        Kind::Size => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 },
                or_variable(&json!({ "type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB)?$" }))] })
        }
        Kind::Choice(words) => or_variable(&json!({ "enum": words })),
        Kind::Mapping => json!({ "type": "object" }),
        Kind::List(of) => {
            let of = self::kind(of);
            json!({ "anyOf": [of, { "type": "array", "items": of, "minItems": 1 }] })
        }
        Kind::Map(of) => json!({ "type": "object", "additionalProperties": self::kind(of) }),
        Kind::Object(fields) => object(&[fields]),
        Kind::OneOf(fields) => {
            let words: Vec<&str> =
                fields.iter().filter(|f| matches!(f.kind, Kind::Object(_))).map(|f| f.name).collect();
            json!({ "anyOf": [one_of(fields.iter().map(property)), { "enum": words }] })
        }
        Kind::Either(kinds) => json!({ "anyOf": kinds.iter().map(self::kind).collect::<Vec<_>>() }),
        Kind::Any => json!({}),
    }
}

/// `${NAME}` may stand for any text, number or choice.
fn or_variable(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": "\\$\\{" }] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;
    use crate::connectors;
    use crate::settings::{Node, NodeValue};

    fn json_of(node: &Node) -> Value {
        match &node.value {
            NodeValue::Null => Value::Null,
            NodeValue::Boolean(b) => json!(b),
            NodeValue::Number(text) => serde_json::from_str(text).unwrap(),
            NodeValue::Text(text) => json!(text),
            NodeValue::List(items) => items.iter().map(json_of).collect(),
            NodeValue::Map(entries) => entries.iter().map(|(key, node)| (key.name.clone(), json_of(node))).collect(),
        }
    }

    fn type_of(value: &Value) -> &'static str {
        match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }

    /// As much of JSON Schema as [`schema`] uses, of patterns only the one of variables; the path of the first thing that does not fit.
    fn refused(root: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
        let here = || Some(path.to_owned());
        if let Some(name) = schema["$ref"].as_str() {
            return refused(root, &root["$defs"][name.trim_start_matches("#/$defs/")], value, path);
        }
        if schema.get("not").is_some() {
            return here();
        }
        if let Some(any) = schema["anyOf"].as_array()
            && any.iter().all(|schema| refused(root, schema, value, path).is_some())
        {
            return any.iter().filter_map(|schema| refused(root, schema, value, path)).max_by_key(String::len);
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            return here();
        }
        let types =
            schema["type"].as_array().cloned().unwrap_or_else(|| schema.get("type").cloned().into_iter().collect());
        let fits = |t: &Value| t == type_of(value) || (t == "integer" && value.is_number());
        if !types.is_empty() && !types.iter().any(fits) {
            return here();
        }
        if schema["pattern"] == "\\$\\{" && value.as_str().is_some_and(|text| !text.contains("${")) {
            return here();
        }
        if let Some(items) = value.as_array() {
            return items.iter().find_map(|item| refused(root, &schema["items"], item, &format!("{path}[]")));
        }
        let entries = value.as_object()?;
        let count = |key: &str| schema[key].as_u64().and_then(|n| usize::try_from(n).ok());
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        if required.iter().any(|key| !entries.contains_key(key.as_str().unwrap()))
            || count("minProperties").is_some_and(|min| entries.len() < min)
            || count("maxProperties").is_some_and(|max| entries.len() > max)
        {
            return here();
        }
        entries.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match (&schema["properties"][key], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => Some(path),
                (Value::Null, Value::Null) => None,
                (Value::Null, rest) => refused(root, rest, value, &path),
                (own, _) => refused(root, own, value, &path),
            }
        })
    }

    fn refuses(yaml: &str) -> Option<String> {
        let schema = schema(connectors::ALL);
        refused(&schema, &schema, &json_of(&parse(yaml).unwrap().root), "")
    }

    const SOUND: &str = r#"
store: { url: "sqlite://x.db" }
listen: { hooks: "0.0.0.0:1", admin: { address: "127.0.0.1:2" } }
time_zone: Asia/Seoul
min_free: 1GiB
redact: data.phone
accounts:
tables: { grade: { values: { a: 1, b: [x] } }, members: { csv: { file: a, key: b, value: c } } }
sinks: { erp: { http: { url: "https://erp.example", limits: { rate: "${RATE}", monthly: 5 }, enabled: false } } }
routes:
  r: { from: [a, "b*"], to: erp, do: upsert, when: true, map: { a: [{ b: "{{ c }}" }] },
       request: { create: { path: /x }, update: { method: PUT, path: /x } }, retry: { first: 1s, factor: 1.5 } }
  s: { from: a, to: erp, cases: [{ types: x, do: create, map: {}, request: { path: /x } }], on_doubt: hold }
tests: [{ name: x, event: a.json, expect: { r: skipped } }]
"#;

    #[test]
    fn takes_what_the_check_takes() {
        assert_eq!(refuses(SOUND), None);
        assert_eq!(refuses(""), None);
    }

    #[test]
    fn refuses_slips() {
        for (from, to, path) in [
            ("redact:", "redcat:", ".redcat"),
            ("hooks:", "hook:", ".listen.hook"),
            ("rate: \"${RATE}\"", "rate: { a: b }", ".sinks.erp.http.limits.rate"),
            ("{ http: {", "{ htpp: {", ".sinks.erp.htpp"),
            ("do: upsert", "do: upset", ".routes.r.do"),
            ("to: erp, cases", "cases", ".routes.s"),
            ("on_doubt: hold", "priority: x", ".routes.s.priority"),
            ("path: /x } }],", "paht: /x } }],", ".routes.s.cases[].request.paht"),
            ("time_zone: Asia/Seoul", "broker: x", ".broker"),
        ] {
            let broken = SOUND.replace(from, to);
            assert_ne!(broken, SOUND, "{from}");
            assert_eq!(refuses(&broken).as_deref(), Some(path));
        }
    }

    #[test]
    fn every_key_says_what_it_is_for() {
        fn undescribed(path: &str, schema: &Value, found: &mut Vec<String>) {
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{key}");
                if schema["description"].as_str().is_none_or(str::is_empty) {
                    found.push(path.clone());
                }
                undescribed(&path, schema, found);
            }
        }
        let schema = schema(connectors::ALL);
        let mut found = Vec::new();
        undescribed("", &schema, &mut found);
        for (name, schema) in schema["$defs"].as_object().unwrap() {
            undescribed(name, schema, &mut found);
        }
        assert_eq!(found, [""; 0]);
    }
}
