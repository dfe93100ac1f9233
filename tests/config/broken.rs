//! Kinds of broken config: each is answered with all its faults.

mod routes;

use insta::assert_snapshot;

use crate::told;

/// A sound set of accounts, sources and sinks for routes to refer to.
const GROUND: &str = r#"
accounts:
  acme: { forms: { api_key: "${KEY}" } }
sources:
  signup: { forms: { account: acme, project: p-1 } }
  signup-old: { forms: { account: acme, project: p-0, enabled: false } }
  orders: { hook: { verify: { bearer: { tokens: ["${KEY}"] } } } }
sinks:
  crm: { records: { account: acme, token: "${KEY}" } }
  erp: { http: { url: "https://erp.example/api" } }
"#;

fn routes(yaml: &str) -> String {
    told(&format!("{GROUND}routes:\n{yaml}"))
}

#[test]
fn not_yaml() {
    assert_snapshot!(told("sources:\n  a: [1, 2\nroutes: {}\n"), @r"dari.yaml:3:7: not YAML: illegal placement of ':' indicator");
    assert_snapshot!(told("sources:\n\ta: 1\n"), @r"dari.yaml:2:2: not YAML: tabs disallowed within this context (block indentation); indent with spaces, not tabs");
    assert_snapshot!(told("- a\n- b\n"), @r"dari.yaml:1:1: the file: expected a mapping, found a list");
}

#[test]
fn an_unquoted_template() {
    assert_snapshot!(routes("  r:\n    from: signup\n    to: crm\n    do: create\n    map:\n      name: {{ data.name }}\n"), @r#"dari.yaml:17:14: a mapping as a key; an unquoted `{{` is that to YAML: quote the template, as "{{ … }}""#);
    assert_snapshot!(routes("  r:\n    from: signup\n    to: crm\n    do: create\n    map:\n      name: {{ data.name }} & co\n"), @r#"
    dari.yaml:17:14: a mapping as a key; an unquoted `{{` is that to YAML: quote the template, as "{{ … }}"
    dari.yaml:17:29: not YAML: while scanning an anchor or alias, did not find expected alphabetic or numeric character; quote the template, as "{{ … }}": an unquoted `{` starts a mapping
    "#);
    assert_snapshot!(told("accounts:\n  a: { forms: { api_key: ${KEY} } }\n"), @r#"dari.yaml:2:27: not YAML: while parsing a flow mapping, did not find expected ',' or '}'; quote the value, as "${NAME}": within `{ }` and `[ ]` an unquoted `{` starts a mapping"#);
}

#[test]
fn a_value_cut_by_a_comment() {
    assert_snapshot!(routes("  r:\n    from: signup\n    when: data.tag == 'a #1'\n    to: crm\n    do: create\n    map: { name: x }\n"), @r"dari.yaml:14:25: unexpected end of string; ` #` starts a comment and cut the value: quote it");
}

#[test]
fn names_that_no_event_and_no_file_has() {
    assert_snapshot!(told(&format!(r#"{GROUND}
tables:
  grades: {{ values: {{ a: 1 }} }}
routes:
  r:
    from: signup
    when: dta.x == 1 and link.id == 'x'
    to: erp
    key: "a-{{{{ dta.id }}}}"
    cases:
      - {{ when: "data.x | table('grade') == 1", do: create, map: {{ a: "It's {{{{ data.x | table('grads') }}}}" }}, request: {{ path: "/x/{{{{ dat.x }}}}" }} }}
      - {{ when: "data.x | table('grades') == 1 and dto.y", do: upsert, map: {{ a: 1 }}, request: {{ path: "/x/{{{{ data.x | table('no') }}}}/{{{{ link.id }}}}" }} }}
"#)), @r"
    dari.yaml:17:11: there is no `dta` here; there are id, source, type, subject, time, version, data, headers
    dari.yaml:19:16: there is no `dta` here; there are id, source, type, subject, time, version, data, headers
    dari.yaml:21:33: there is no table `grade`; did you mean `grades`?
    dari.yaml:21:95: there is no table `grads`; did you mean `grades`?
    dari.yaml:21:135: there is no `dat` here; there are id, source, type, subject, time, version, data, headers, link, links, lookup
    dari.yaml:22:52: there is no `dto` here; there are id, source, type, subject, time, version, data, headers
    dari.yaml:22:126: there is no table `no`; expected `grades`
    ");
}

#[test]
fn a_sink_that_is_its_own_account_with_the_name_of_another() {
    assert_snapshot!(told(&format!("{GROUND}  acme: {{ http: {{ url: \"https://x.example\" }} }}\n")), @"dari.yaml:11:3: sink `acme` is its own account, and there is another account `acme`; rename one");
}

#[test]
fn unknown_keys_and_kinds() {
    assert_snapshot!(told(r#"
acounts: {}
listen: { hook: "0.0.0.0:80" }
accounts:
  a: { form: { api_key: x } }
  b: { forms: { api_kee: x } }
sources:
  s: { from: { account: a } }
sinks:
  t: { recods: { account: b } }
routes:
  r: { form: s, to: t, do: creat, mapp: {} }
"#), @r"
    dari.yaml:2:1: unknown key `acounts` in the file; did you mean `accounts`?
    dari.yaml:3:11: unknown key `hook` in `listen`; did you mean `hooks`?
    dari.yaml:5:8: there is no kind of account `form`; did you mean `forms`?
    dari.yaml:6:17: unknown key `api_kee` in account `b`; did you mean `api_key`?
    dari.yaml:8:8: there is no kind of source `from`; did you mean `forms`?
    dari.yaml:10:8: there is no kind of sink `recods`; did you mean `records`?
    dari.yaml:12:6: `from` is missing in route `r`; expected text or a list of that
    dari.yaml:12:8: unknown key `form` in route `r`; did you mean `from`?
    dari.yaml:12:28: `do`: expected `create`, `update`, `delete`, `upsert`, `sync`, `reply`, `comment`, `complete`, `reopen`, `tag`, `cost`, `move`, `share`, `upload` or `act`, found `creat`; did you mean `create`?
    dari.yaml:12:35: unknown key `mapp` in route `r`; did you mean `map`?
    ");
}

#[test]
fn duplicates() {
    assert_snapshot!(told("sources:\n  a: { hook: { verify: none } }\n  b: { hook: { verify: none } }\n  a: { hook: { verify: none } }\nsinks: {}\nsinks: {}\n"), @r"
    dari.yaml:4:3: duplicate key `a`; it is already at 2:3
    dari.yaml:6:1: duplicate key `sinks`; it is already at 5:1
    ");
    assert_snapshot!(told("sources:\n  a: { hook: { verify: none, was: b } }\n  b: { hook: { verify: none, was: c } }\n  d: { hook: { verify: none, was: c } }\n  e: { hook: { verify: none, was: C! } }\n"), @r"
    dari.yaml:2:35: `was`: `b` is still a name here; expected one that is gone
    dari.yaml:4:35: `was`: `c` is already the former name of `b`
    dari.yaml:5:35: `was`: expected a name, 1 to 63 of `a-z`, `0-9` and `-`
    ");
}

#[test]
fn wrong_types_and_bounds() {
    assert_snapshot!(told(r#"
time_zone: Seoul
dedupe: 5 weeks
min_free: 1MB
journal: { keep: 1d, bodies: 2d }
listen: { hooks: 8080, admin: [] }
redact: {}
accounts:
  a: { forms: { api_key: [x], url: acme.example, limits: { rate: fast, concurrency: 0, monthly: 1.5 }, time_zone: 9 } }
sources:
  s: { forms: { account: a, project: true, every: "5", enabled: yes } }
  t: [hook]
sinks:
  http: { http: { url: "ftp://x", idempotent: on, timeout: ~ } }
"#), @r"
    dari.yaml:2:12: `time_zone`: expected a time zone, as `Asia/Seoul`, found `Seoul`
    dari.yaml:3:9: `dedupe`: expected a length of time, as `500ms`, `5s`, `1m`, `2h` or `35d`, found `5 weeks`
    dari.yaml:4:11: `min_free`: expected a size, as `512KiB`, `1MiB` or `1GiB`, found `1MB`
    dari.yaml:5:30: `bodies` is longer than `keep`; expected at most as long: a body goes with its event
    dari.yaml:6:18: `hooks`: expected an address with a port, as `127.0.0.1:8081`, found `8080`
    dari.yaml:6:31: `admin`: expected a mapping, found a list
    dari.yaml:7:9: `redact`: expected text, found a mapping
    dari.yaml:9:26: `api_key`: expected a secret as text, found a list
    dari.yaml:9:36: `url`: expected an http or https URL, found text
    dari.yaml:9:66: `rate`: expected a number from 0.001 to 100000, found `fast`
    dari.yaml:9:85: `concurrency`: expected a whole number from 1 to 10000, found `0`
    dari.yaml:9:97: `monthly`: expected a whole number from 1 to 1000000000, found `1.5`
    dari.yaml:9:115: `time_zone`: expected a time zone, as `Asia/Seoul`, found `9`
    dari.yaml:11:38: `project`: expected text, found true or false
    dari.yaml:11:51: `every`: expected a length of time, as `500ms`, `5s`, `1m`, `2h` or `35d`, found `5`
    dari.yaml:11:65: `enabled`: expected true or false, found `yes`
    dari.yaml:12:6: source `t`: expected one key that says what it is, as `forms: { … }`
    dari.yaml:14:24: `url`: expected an http or https URL, found text
    dari.yaml:14:47: `idempotent`: expected true or false, found `on`
    dari.yaml:14:60: `timeout`: expected a length of time, as `500ms`, `5s`, `1m`, `2h` or `35d`, found nothing
    ");
}

#[test]
fn missing_keys_and_names() {
    assert_snapshot!(told(r#"
accounts:
  Acme: { forms: { api_key: x } }
  none: { forms: }
sources:
  a: { forms: {} }
  b: { hook: {} }
  c: { hook: { verify: { bearer: {}, none: {} } } }
  d: { hook: { verify: { bearer: {} } } }
  e: { hook: { verify: { bearer: { tokens: [] } } } }
  f: { hook: { verify: nothing } }
sinks:
  g:
routes:
  r: {}
  s:
"#), @r"
    dari.yaml:3:3: `Acme` is no name; expected 1 to 63 of `a-z`, `0-9` and `-`
    dari.yaml:4:16: expected either `api_key` or `open_api_key`
    dari.yaml:6:15: `account` is missing in source `a`; expected the name of an account of `forms`
    dari.yaml:6:15: `project` is missing in source `a`; expected text
    dari.yaml:7:14: `verify` is missing in source `b`; expected a mapping with exactly one key, `bearer`, `path` or `none`
    dari.yaml:8:24: `verify`: expected a mapping with exactly one key, `bearer`, `path` or `none`, found a mapping
    dari.yaml:9:34: `tokens` is missing in `bearer`; expected a secret as text or a list of that
    dari.yaml:10:44: `tokens` is empty; expected at least one
    dari.yaml:11:24: `verify`: expected a mapping with exactly one key, `bearer`, `path` or `none`, found text
    dari.yaml:13:4: sink `g`: expected one key that says what it is, as `records: { … }`
    dari.yaml:15:3: route `r` needs `do`, or `cases` with a `do` each
    dari.yaml:15:6: `from` is missing in route `r`; expected text or a list of that
    dari.yaml:15:6: `to` is missing in route `r`; expected text
    dari.yaml:16:3: route `s` needs `do`, or `cases` with a `do` each
    dari.yaml:16:4: `from` is missing in route `s`; expected text or a list of that
    dari.yaml:16:4: `to` is missing in route `s`; expected text
    ");
}

#[test]
fn variables_and_files_that_are_not_there() {
    assert_snapshot!(told(r#"
accounts:
  a: { forms: { api_key: "${NOPE}" } }
  b: { forms: { open_api_key: "${file:/nowhere/key}" } }
  c: { forms: { api_key: "${EMPTY:-}" } }
  d: { forms: { api_key: "${1}" } }
sinks:
  e: { http: { url: "https://${KEY}:${NOPE}@x/${OTHER", timeout: "${KEY}" } }
"#), @r"
    dari.yaml:3:26: the environment variable `NOPE` is not set
    dari.yaml:4:31: cannot read the file `/nowhere/key` of `${file:…}`: No such file or directory (os error 2)
    dari.yaml:5:26: `api_key`: expected a secret as text, found empty text
    dari.yaml:6:26: `${…}` takes a variable's name or `file:` and a path; write `$${` for the text itself
    dari.yaml:8:21: `${` without a `}`; write `$${` for the text itself
    dari.yaml:8:21: the environment variable `NOPE` is not set
    dari.yaml:8:66: `timeout`: expected a length of time, as `500ms`, `5s`, `1m`, `2h` or `35d`, found `${KEY}`
    ");
}

#[test]
fn references_to_what_is_not_there() {
    assert_snapshot!(told(&format!(r#"{GROUND}
  wrong: {{ records: {{ account: acne, token: x }} }}
routes:
  r: {{ from: [signup, order, "x*"], to: cmr, do: create, map: {{ a: b }} }}
tests:
  - {{ name: t, event: x.json, expect: {{ rr: skipped }}, respond: {{ crmm: {{}} }}, links: {{ r: {{ id: "1" }} }} }}
  - {{ name: u, expect: {{ r: skipped }} }}
  - {{ name: v, request: {{ source: sinup, file: x }}, expect: {{}} }}
"#)), @r"
    dari.yaml:12:32: there is no account `acne` of `forms`; did you mean `acme`?
    dari.yaml:14:23: there is no source `order`; did you mean `orders`?
    dari.yaml:14:30: no source's name fits `x*`
    dari.yaml:14:41: there is no sink `cmr`; did you mean `crm`?
    dari.yaml:16:41: there is no route `rr`; did you mean `r`?
    dari.yaml:16:67: there is no sink or lookup `crmm`; did you mean `crm`?
    dari.yaml:17:5: a test has either an `event` or a `request`
    dari.yaml:18:35: there is no source `sinup`; did you mean `signup`?
    ");
}

#[test]
fn templates_that_do_not_compile() {
    assert_snapshot!(routes(r#"
  r:
    from: signup
    when: "data.a == "
    to: crm
    do: create
    key: '{{ it''s }}'
    map:
      plain: 가나 {{ data. }}
      quoted: "a \"b\" {{ data.x | uper }}"
      folded: >
        one
        two {{ nope( }}
      block: |
        one
        two {{ data.x | nofilter }}
      list: [x, "{{ }}"]
      each: { $each: "data.[", $map: "{{ item }}" }
"#), @r"
    dari.yaml:15:19: unexpected end of input, expected expression
    dari.yaml:18:22: unexpected end of string
    dari.yaml:20:24: unexpected end of input, expected identifier or integer
    dari.yaml:21:36: there is no filter `uper`; did you mean `upper`?
    dari.yaml:24:22: unexpected `}`
    dari.yaml:27:25: there is no filter `nofilter`; there are abs, attr, batch, bool, capitalize, chain, count, d, dateformat, datetimeformat, default, dictsort, e, escape, filesizeformat, first, float, format, groupby, indent, int, items, join, last, length, lines, list, lower, map, max, min, pluralize, pprint, reject, rejectattr, replace, reverse, round, safe, select, selectattr, slice, sort, split, string, striptags, sum, table, timeformat, title, tojson, trim, truncate, unique, upper, urlencode, zip
    dari.yaml:28:20: an expression is missing here
    dari.yaml:29:28: unexpected `[`, expected identifier or integer
    ");
}

#[test]
fn brokers() {
    let of = |broker: &str| told(&format!("{GROUND}\nbroker: {broker}\n"));
    assert_snapshot!(of("{}"), @"dari.yaml:12:9: `broker` needs a `url`, as `amqp://user:${PASSWORD}@host`");
    assert_snapshot!(of(r#"{ url: "http://x", urls: ["amqp://y"], prefix: "a b", client_key: k.pem }"#), @r"
    dari.yaml:12:9: `client_cert` and `client_key` go together
    dari.yaml:12:16: `url` beside `urls`; expected one of them
    dari.yaml:12:16: expected an AMQP URL, as `amqp://user:${PASSWORD}@host:5672/vhost`
    dari.yaml:12:56: `prefix`: expected 1 to 64 letters, digits, `-`, `_` or `.`
    ");
    assert_snapshot!(of(r#"{ urls: ["amqp://y", "secret"] }"#), @"dari.yaml:12:30: expected an AMQP URL, as `amqp://user:${PASSWORD}@host:5672/vhost`");
}

#[test]
fn spools() {
    let of = |text: &str| told(&format!("{GROUND}\n{text}\n"));
    assert_snapshot!(of("spool: { max: 1GiB }"), @"dari.yaml:12:8: `spool` serves a `broker` on another machine, and there is none: events are in the store's file at once");
    assert_snapshot!(of("broker: { url: \"amqp://y\" }\nspool: { max: much, folder: x }"), @r"
    dari.yaml:13:15: `max`: expected a size, as `512KiB`, `1MiB` or `1GiB`, found `much`
    dari.yaml:13:21: unknown key `folder` in `spool`; expected `path` or `max`
    ");
}

#[test]
fn what_does_not_work_yet() {
    assert_snapshot!(told(&format!(r#"{GROUND}
  new: {{ records: {{ account: acme, token: x, beta: 1, fetch_hosts: [x], find: {{}} }} }}
alerts: crm
store: {{ url: "postgres://x" }}
routes:
  r:
    from: signup
    to: crm
    cases: [{{ do: create, map: {{ a: b }} }}]
"#)), @r"
    dari.yaml:12:46: `beta` does not work yet: it is not out
    dari.yaml:12:55: `fetch_hosts` does not work yet: this sink uploads no files; a `workfront` one does
    dari.yaml:12:73: `find` does not work yet: this sink knows itself whether it can be asked; only an `http` one is told how
    dari.yaml:13:9: `alerts`: the sink `crm` cannot tell people (nothing to call); expected one that takes a `text`, as `slack` or `http`
    dari.yaml:14:15: a PostgreSQL store does not work yet: use a file, as `sqlite://data/dari.db`
    ");
}

#[test]
fn what_several_settings_do_not_agree_on() {
    assert_snapshot!(told(r#"
store: { url: data/dari.db }
redact: [data.a, "data.[", phone]
listen: { hooks: "0.0.0.0:80", admin: { address: "0.0.0.0:80" } }
accounts:
  a: { forms: { api_key: x, open_api_key: y } }
  b: { forms: { api_key: x } }
tables:
  both: { values: { a: 1 }, csv: { file: x.csv, key: a, value: b } }
  neither: {}
  gone: { csv: { file: gone.csv, key: a, value: b } }
sources:
  c: { forms: { account: b, project: x, start: then } }
sinks:
  d: { records: { account: b, token: x, limits: { rate: 1 } } }
routes:
  r: { from: c, to: d, do: create, map: { a: b }, retry: { first: 1h, max: 1m, factor: 0.5 } }
"#), @r#"
    dari.yaml:2:15: `url`: expected a file, as `sqlite://data/dari.db`
    dari.yaml:3:18: `redact`: "data.[" is no path like data.answers['name'] or data.items[0]
    dari.yaml:3:28: `redact`: "phone" is no path like data.answers['name'] or data.items[0]
    dari.yaml:4:50: `address` is the one of `hooks`; expected another port
    dari.yaml:4:50: an admin address off loopback needs a `token`, as "${file:/run/secrets/admin}"
    dari.yaml:6:15: expected either `api_key` or `open_api_key`
    dari.yaml:9:9: table `both`: expected either `values` or `csv`
    dari.yaml:10:12: table `neither`: expected either `values` or `csv`
    dari.yaml:11:24: cannot read `gone.csv`: No such file or directory (os error 2)
    dari.yaml:13:48: `start`: expected now or a date, found `then`
    dari.yaml:15:41: unknown key `limits` in sink `d`; expected `account`, `token`, `fields`, `was` or `enabled`
    dari.yaml:17:76: `max` is less than `first`; expected at least as much
    dari.yaml:17:88: `factor`: expected a number from 1 to 100, found `0.5`
    "#);
}

#[test]
fn a_secret_is_never_told() {
    let told = told(
        r#"
accounts:
  a: { forms: { api_key: ["${KEY}"], client_id: { x: "${KEY}" }, url: "${KEY}" } }
sources:
  b: { forms: { account: "${KEY}", project: x, every: "${KEY}" } }
  d: { forms: { account: a, project: x, every hunter2: 1m } }
sinks:
  c: { http: { url: "${PASSWORD}" } }
"#,
    );
    let tag = crate::told("accounts: { a: { forms: { api_key: !hunter2 } } }");
    assert!(!tag.contains("hunter2"), "{tag}");
    assert!(!told.contains("hunter2") && !told.contains("p@ss"), "{told}");
    assert_snapshot!(told, @r"
    dari.yaml:3:26: `api_key`: expected a secret as text, found a list
    dari.yaml:3:49: `client_id`: expected text, found a mapping
    dari.yaml:3:71: `url`: expected an http or https URL, found text
    dari.yaml:5:26: there is no account `${KEY}` of `forms`; expected `a`
    dari.yaml:5:55: `every`: expected a length of time, as `500ms`, `5s`, `1m`, `2h` or `35d`, found `${KEY}`
    dari.yaml:6:41: unknown key `every…` in source `d`; expected `account`, `project`, `every`, `start`, `was` or `enabled`
    dari.yaml:8:21: `url`: expected an http or https URL, found text
    ");
}
