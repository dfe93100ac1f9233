//! Routes that contradict themselves, their sink or each other.

use insta::assert_snapshot;

use super::{GROUND, routes};
use crate::told;

#[test]
fn what_a_sink_cannot_do() {
    assert_snapshot!(routes(r#"
  sync: { from: signup, to: crm, do: sync, map: { a: b } }
  reply: { from: signup, to: crm, do: reply, map: { a: b } }
  delete: { from: signup, to: erp, do: delete, request: { method: DELETE, path: "/x" } }
  request: { from: signup, to: crm, do: create, map: { a: b }, request: { path: /x } }
  no-request: { from: signup, to: erp, do: upsert, map: { a: b } }
  half: { from: signup, to: erp, do: upsert, map: { a: b }, request: { create: { path: x }, updat: { path: /x } } }
  one: { from: signup, to: erp, do: sync, map: { a: b }, request: { path: "/x?{{ data.k }}=1", method: post } }
  no-map: { from: signup, to: crm, do: create }
"#), @r"
    dari.yaml:13:38: `do: sync`: `records` cannot delete: use `cases` with a field that says it is gone
    dari.yaml:14:39: `do: reply` is for a record that this route never creates; expected `upsert`, `sync`, or a case with `create`
    dari.yaml:14:39: `do: reply`: `records` cannot reply: use `cases` with a field that says it is gone
    dari.yaml:15:40: `do: delete` is for a record that this route never creates; expected `upsert`, `sync`, or a case with `create`
    dari.yaml:16:73: `request`: `records` knows its own calls; leave it out
    dari.yaml:17:44: `do: upsert` at `http` needs a `request`: { method, path } for each of create, update, delete it makes
    dari.yaml:18:70: `request` lacks `update`, which `do: upsert` makes
    dari.yaml:18:88: a path starts with one `/`: the host is the sink's, and never data
    dari.yaml:18:93: unknown key `updat` in `request`; did you mean `update`?
    dari.yaml:19:67: `do: sync` needs a `request` for each of `create`, `update` and `delete`
    dari.yaml:19:81: the name of a query parameter cannot be data, only its value
    dari.yaml:19:104: `method`: expected `GET`, `POST`, `PUT`, `PATCH` or `DELETE`, found `post`; did you mean `POST`?
    dari.yaml:20:40: `do: create` needs a `map`: the record's fields
    ");
}

#[test]
fn cases_that_make_no_sense() {
    assert_snapshot!(routes(r#"
  both: { from: signup, to: crm, do: create, map: { a: b }, cases: [{ do: create, map: { a: b } }] }
  none: { from: signup, to: crm }
  empty: { from: signup, to: crm, cases: [] }
  never-created: { from: signup, to: crm, cases: [{ types: [a], do: update, map: { a: b } }, { do: update, map: { a: b } }] }
  inner: { from: signup, to: crm, cases: [{ type: a, when: "x =", do: craete }, { types: ["a b"], do: create }] }
"#), @r"
    dari.yaml:13:34: `do` beside `cases`; expected it in each case
    dari.yaml:13:46: `map` beside `cases`; expected it in each case
    dari.yaml:14:3: route `none` needs `do`, or `cases` with a `do` each
    dari.yaml:15:42: `cases` is empty; expected at least one
    dari.yaml:16:69: `do: update` is for a record that no case of this route creates; expected `upsert`, `sync`, or a case with `create`
    dari.yaml:16:100: `do: update` is for a record that no case of this route creates; expected `upsert`, `sync`, or a case with `create`
    dari.yaml:17:45: unknown key `type` in `cases`; did you mean `types`?
    dari.yaml:17:63: unexpected input after expression
    dari.yaml:17:71: `do`: expected `create`, `update`, `delete`, `upsert`, `sync`, `reply`, `comment`, `complete`, `reopen`, `tag`, `cost`, `move`, `share`, `upload` or `act`, found `craete`; did you mean `create`?
    dari.yaml:17:91: `types`: expected letters, digits, `.`, `_`, `-`, or `*` for any of them
    dari.yaml:17:103: `do: create` needs a `map`: the record's fields
    ");
}

#[test]
fn lookups_and_matches() {
    let of = |route: &str| {
        told(&format!(
            r#"{GROUND}
routes:
  r: {{ from: signup, to: erp, {route} }}
"#
        ))
    };
    assert_snapshot!(of(r#"do: create, map: { a: "{{ lookup.person.id }}" }, when: lookup.person.id == 1,
    lookup: { persona: { account: acme, by: mail, match: { mail: "{{ data.nam }} {{ lookup.x }}" }, missing: omitt },
              b-2: { account: erp, match: { a: b } }, c: { account: nobody, match: { a: b } }, d: { match: 1 },
              e: { account: acme, by: phone, match: { mail: x }, cache: soon } }"#), @r"
    dari.yaml:13:57: there is no lookup `person` on this route; did you mean `persona`?
    dari.yaml:13:87: `lookup` is not known yet here; there are id, source, type, subject, time, version, data, headers
    dari.yaml:14:85: there is no lookup `x` on this route
    dari.yaml:14:110: `missing`: expected `reject` or `omit`, found `omitt`; did you mean `omit`?
    dari.yaml:15:15: `b-2` is no name of a lookup; expected letters, digits and `_`
    dari.yaml:15:31: `anyone` has nothing that can be looked up
    dari.yaml:15:69: there is no account `nobody`; expected `acme` or `erp`
    dari.yaml:15:99: `account` is missing in lookup `d`; expected text
    dari.yaml:15:108: `match`: expected a mapping of templates, found a number
    dari.yaml:16:39: `by`: expected `mail` or `name`, found `phone`
    dari.yaml:16:73: `cache`: expected a length of time, as `500ms`, `5s`, `1m`, `2h` or `35d`, found `soon`
    ");
    assert_snapshot!(of(r#"do: create, map: { a: b }, match: { a: "{{ date.x }}" }"#), @r"
    dari.yaml:13:65: `match` is for `do: upsert` and `do: sync`, which create only what is not there
    dari.yaml:13:65: `match`: `erp` cannot be asked which records have some values
    dari.yaml:13:74: there is no `date` here; there are id, source, type, subject, time, version, data, headers, link, links, lookup
    ");
    assert_snapshot!(of("do: upsert, map: { a: b }, match: { a: b }, on_doubt: find, request: { path: /x }"), @r"
    dari.yaml:13:65: `match`: `erp` cannot be asked which records have some values
    dari.yaml:13:85: `on_doubt: find`: `erp` cannot be asked; expected `hold` or `retry`
    ");
}

#[test]
fn links_that_no_route_can_have() {
    assert_snapshot!(routes(r#"  made:
    from: signup
    to: erp
    do: create
    map: { a: "{{ links['tsak'].id }}{{ links[data.x].id }}{{ links.answer }}" }
    request: { path: "/x/{{ links['made'].id }}/{{ links.mede.id }}" }
  answer:
    from: signup
    when: links['made'].id == 'x'
    to: erp
    link: task
    do: update
    map: { a: b }
    request: { path: /x }
  again: { from: signup, to: erp, link: answer, do: create, map: { a: b } }
  sole: { from: signup, to: erp, link: "Task A", do: create, map: { a: b } }
"#), @r"
    dari.yaml:16:19: there is no route `tsak`, and no `link` of that name; did you mean `task`?
    dari.yaml:16:41: `links` takes the name of a route in quotes, as `links['tasks'].id`
    dari.yaml:17:52: there is no route `mede`, and no `link` of that name; did you mean `made`?
    dari.yaml:20:11: `links` is not known yet here; there are id, source, type, subject, time, version, data, headers
    dari.yaml:23:9: `do: update` is for a record that this route never creates; expected `upsert`, `sync`, or a case with `create`
    dari.yaml:26:41: `link`: route `answer` shares `task` itself; expected that
    dari.yaml:27:40: `link`: expected a name, 1 to 63 of `a-z`, `0-9` and `-`
    ");
    assert_snapshot!(routes(r#"  one: { from: signup, to: erp, link: both, do: create, map: { a: b } }
  two: { from: signup, to: crm, link: both, do: create, map: { name: b } }
  renamed: { from: signup, to: erp, was: former, do: create, map: { a: b } }
  other: { from: signup, to: erp, link: former, do: create, map: { a: b } }
"#), @r"
    dari.yaml:13:3: route `two` shares the link `both` with route `one`, which leads to another account than `acme`; expected the same account
    dari.yaml:15:3: `link`: `former` is called `renamed` now; expected that
    ");
}

#[test]
fn what_leaves_and_what_has_no_record() {
    assert_snapshot!(routes(r#"  all: { from: signup, to: crm, leaves: delete, do: upsert, map: { name: b } }
  every: { from: signup, to: crm, when: data.x == 1, leaves: delete, do: create, map: { name: b } }
  cannot: { from: signup, to: crm, when: data.x == 1, leaves: delete, do: upsert, map: { name: b } }
  lacks: { from: signup, to: erp, when: data.x == 1, leaves: delete, do: upsert, map: { a: b }, request: { create: { path: /x }, update: { path: /x } } }
  one: { from: signup, to: erp, when: data.x == 1, leaves: delete, do: upsert, map: { a: b }, request: { path: /x } }
  always: { from: signup, to: erp, do: upsert, without_link: create, map: { a: b }, request: { path: /x } }
  gone: { from: signup, to: erp, do: delete, without_link: create, request: { path: /x } }
  part: { from: signup, to: erp, do: update, without_link: create, map: { a: b }, request: { update: { path: /x } } }
"#), @r"
    dari.yaml:12:41: `leaves: delete` is for a route with a `when`: every subject passes this one
    dari.yaml:13:62: `leaves: delete` is for `update`, `upsert` and `sync`: what is made for every event stays
    dari.yaml:14:63: `leaves: delete`: `records` cannot delete
    dari.yaml:15:106: `request` lacks `delete`, which `leaves: delete` makes
    dari.yaml:16:104: `leaves: delete` needs a `request` for each of `create`, `update` and `delete`
    dari.yaml:17:62: `without_link: create` is not for `do: upsert`
    dari.yaml:18:38: `do: delete` is for a record that this route never creates; expected `upsert`, `sync`, or a case with `create`
    dari.yaml:18:60: `without_link: create` is not for `do: delete`
    dari.yaml:19:92: `request` lacks `create`, which `do: update` makes
    ");
}
