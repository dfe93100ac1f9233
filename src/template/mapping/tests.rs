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
    6:13: there is no `item` here; there are id, source, type, subject, time, version, data, headers, link, links, lookup
    8:25: there is no `itme` here; there are id, source, type, subject, time, version, data, headers, link, links, lookup, item
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
fn what_is_taken_literally_is_not_escaped() {
    let mut context = Context::new(Arc::new(Tables::default()));
    let data = json!({ "t": "a&b", "rows": [{ "u": "x?a&b" }], "whole": { "url": "c&d", "text": "c&d" } });
    context.set("data", &data);
    let map = json!({
        "text": "{{ data.t }}",
        "metadata": { "deep": ["{{ data.t }}"] },
        "blocks": { "$each": "data.rows", "$map": { "url": "https://{{ item.u }}", "text": "{{ item.u }}" } },
        "whole": "{{ data.whole }}",
    });
    let map = Mapping::compile(&node(&map, 1)).unwrap();
    let rendered = map.render(&context, Escape::Texts(&["url", "metadata"])).unwrap();
    assert_snapshot!(Value::Object(rendered), @r#"{"text":"a&amp;b","metadata":{"deep":["a&b"]},"blocks":[{"url":"https://x?a&b","text":"x?a&amp;b"}],"whole":{"url":"c&d","text":"c&amp;d"}}"#);
}

#[test]
fn names_are_those_at_the_top() {
    let map = Mapping::compile(&node(&json!({ "a": { "b": 1 }, "제목": "x" }), 1)).unwrap();
    assert_eq!(map.names(), ["a", "제목"]);
}
