//! Tests of the tests: real connectors, no network.

use serde_json::json;

use super::*;

/// A webhook that is signed, a poller, and sinks of three kinds.
const CONFIG: &str = r#"
accounts:
  daou: { works: { client_id: id, client_secret: secret } }
  slack: { slack: { bot_token: xoxb-1 } }
tables:
  grade: { values: { 초급: 1, 고급: 2 } }
sources:
  form:
    webhook:
      verify: { hmac: { header: X-Signature, algorithm: sha256, encoding: hex, secrets: [hush] } }
      event: { id: "{{ body.no }}", type: response.created, subject: "{{ body.subject }}", version: "{{ body.version }}" }
      was: old-form
  git: { github-hook: { secrets: [hush] } }
sinks:
  crm: { works: { account: daou, token: t, key: id, fields: { id: text, 제목: text, 등급: number } } }
  ops: { slack: { account: slack, channel: C0123456789 } }
  erp:
    http:
      url: "https://erp.acme.kr/api"
      id: "{{ body.no }}"
      find: { path: "/things?name={{ fields.name }}", items: "{{ body.items }}", id: "{{ item.no }}" }
routes:
  to-crm:
    from: form
    types: ["response.*"]
    when: data.agreed == true
    to: crm
    do: sync
    map: { id: "{{ subject }}", 제목: "{{ data.name }} 신청", 등급: "{{ data.grade | table('grade') }}" }
  to-erp:
    from: form
    to: erp
    do: upsert
    match: { name: "{{ data.name }}" }
    lookup: { person: { account: erp, path: "/people?name={{ match.name }}", match: { name: "{{ data.name }}" } } }
    request: { create: { path: /things }, update: { method: PUT, path: "/things/{{ link.id }}" } }
    map: { name: "{{ data.name }}", tags: "{{ data.tags }}", n: "{{ data.n }}", by: "{{ lookup.person.no }}" }
  news:
    from: form
    to: ops
    do: reply
    without_link: create
    map: { text: "{{ data.name }} {{ (links['to-erp'] | default({})).id | default('new') }} {{ headers['x-kind'] | default('') }}" }
  pushes: { from: git, to: ops, do: create, map: { text: ":memo: {{ data.ref }}" } }
tests:
"#;

const PERSON: &str = "lookup.person: { body: { no: p1 } }";

fn load(tests: &str) -> (tempfile::TempDir, Config, Clock) {
    let dir = tempfile::tempdir().unwrap();
    let kim = r#"{"source": "form", "type": "response.created", "subject": "7", "version": 3,
        "data": {"name": "<Kim>", "grade": "고급", "agreed": true, "tags": ["a", "b"], "n": 1.10}}"#;
    let files = [
        ("kim.json", kim.to_owned()),
        ("lee.json", kim.replace("<Kim>", "Lee").replace("true", "false")),
        ("old.json", kim.replace("\"form\"", "\"old-form\"")),
        ("gone.json", kim.replace("created", "deleted")),
        ("body.json", r#"{"no":"n-1","subject":"7","version":3,"name":"Kim","agreed":true,"grade":"고급"}"#.to_owned()),
        ("push.json", json!({ "ref": "refs/heads/a&b" }).to_string()),
    ];
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let file = dir.path().join("dari.yaml");
    std::fs::write(&file, format!("{CONFIG}{}", tests.replace("PERSON", PERSON))).unwrap();
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
    let client = Client::new().unwrap();
    let config = crate::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
    (dir, config, clock)
}

fn report(tests: &str) -> Report {
    let (_dir, config, clock) = load(tests);
    run_all(&config, &Client::new().unwrap(), &clock).unwrap()
}

#[test]
fn what_is_as_expected_passes() {
    let report = report(
        r#"
  - name: a new record
    event: kim.json
    respond: { PERSON }
    expect:
      to-crm: { do: create, map: { 제목: "<Kim> 신청", 등급: 2 } }
      to-erp: { do: create, map: { tags: [a, b], n: 1.1, by: p1 }, request: { method: POST, path: /things } }
      news: { do: create, map: { text: "&lt;Kim&gt; new " } }
      pushes: skipped
  - name: a known one, and the quota
    event: kim.json
    links: { to-crm: { id: "7" }, to-erp: { id: e9 }, news: { id: "C0123456789:1.2" } }
    respond: { crm: { body: { code: "905" } }, erp: { body: { no: e9 } }, PERSON }
    expect:
      to-crm: { do: update, outcome: suspend, why: "905" }
      to-erp: { do: update, outcome: delivered, id: e9, request: { path: /things/e9, url: "https://erp.acme.kr/…/things/e9" } }
      news: { do: reply, map: { text: "&lt;Kim&gt; e9 " } }
  - { name: an older one, event: kim.json, links: { to-crm: { version: 4 } }, expect: { to-crm: stale } }
  - name: the same again
    event: kim.json
    links: { to-crm: { id: "7", holds: { id: "7", 제목: "<Kim> 신청", 등급: 2 } } }
    expect: { to-crm: unchanged }
  - { name: saved under its former name, event: old.json, expect: { to-crm: { do: create } } }
  - { name: gone, event: gone.json, links: { to-crm: { id: "7" } }, expect: { to-crm: { do: delete } } }
  - { name: gone before, event: gone.json, links: { to-crm: { state: deleted } }, expect: { to-crm: nothing-to-do } }
  - name: somebody else made it
    event: kim.json
    respond: { match.erp: { body: { items: [{ no: e5 }] } }, PERSON }
    expect: { to-erp: { do: update, request: { method: PUT, path: /things/e5 } } }
"#,
    );
    insta::assert_snapshot!(report, @"
    ok    a new record
          note: to-erp: taken as if nothing matched: the test has no `respond` for match.erp
    ok    a known one, and the quota
    ok    an older one
    ok    the same again
    ok    saved under its former name
    ok    gone
    ok    gone before
    ok    somebody else made it
    8 passed, 0 failed
    ");
    assert_eq!(report.failed(), 0);
    assert_eq!(report.json()["passed"], 8);
}

#[test]
fn a_request_is_tested_from_the_bytes_on() {
    let report = report(
        r#"
  - name: signed
    request: { source: form, file: body.json, headers: { X-Signature: cea2fa08c23b778f8d8332b778afa0d7805b593417393832c035cbb77d37d85b, X-Kind: web }, at: "2026-01-31T09:00:00Z" }
    answer: 202
    events: { id: n-1, type: response.created, subject: 7, version: 3, time: "2026-01-31T09:00:00Z", data: { name: Kim } }
    expect: { to-crm: { do: create }, news: { map: { text: "Kim new web" } } }
  - name: not signed
    request: { source: form, file: body.json }
    expect: { to-crm: { do: create } }
  - { name: refused, request: { source: form, file: body.json }, answer: 401, expect: { to-crm: skipped } }
  - { name: a probe, request: { source: git, file: push.json, headers: { X-GitHub-Event: ping, X-Hub-Signature-256: sha256=51fdf6b2701fdfcc9323d134abcee267fefddf4a265396d380202944967064b6 } }, answer: 200 }
  - name: a push
    request: { source: git, file: push.json, headers: { X-GitHub-Event: push, X-GitHub-Delivery: d-1 } }
    respond: { ops: { body: { ok: false, error: channel_not_found } } }
    expect: { pushes: { do: create, map: { text: ":memo: refs/heads/a&amp;b" }, outcome: suspend } }
  - name: what differs
    request: { source: form, file: body.json, method: PUT }
    answer: 202
    events: [{ id: n-1 }]
"#,
    );
    insta::assert_snapshot!(report, @"
    ok    signed
          event: response.created, id n-1, subject 7, version 3; known again by its id or its body
    ok    not signed
          event: response.created, id n-1, subject 7, version 3; known again by its id or its body
          note: a real request like this would be refused: the header x-signature is missing
    ok    refused
    ok    a probe
    ok    a push
          event: push, id d-1; known again by its id or its body
          note: a real request like this would be refused: the header x-hub-signature-256 is missing
    FAIL  what differs (line 61)
          answer
            expected  202
            actual    405: form does not take PUT
          events
            expected  1
            actual    0
    5 passed, 1 failed
    ");
}

#[test]
fn how_the_sink_reads_an_answer() {
    let report = report(
        "
  - { name: said no, event: kim.json, respond: { PERSON, erp: { status: 422 } }, expect: { to-erp: { outcome: reject } } }
  - { name: too many, event: kim.json, respond: { PERSON, erp: { status: 429 } }, expect: { to-erp: { outcome: retry } } }
  - { name: said nothing, event: kim.json, respond: { PERSON, erp: no-answer }, expect: { to-erp: { outcome: unknown } } }
  - { name: away, event: kim.json, respond: { PERSON, erp: not-sent }, expect: { to-erp: { outcome: retry } } }
  - { name: nobody to look up, event: kim.json, respond: { lookup.person: { body: [] } }, expect: { to-erp: { outcome: reject, why: nothing was found } } }
  - { name: the lookup is away, event: kim.json, respond: { lookup.person: no-answer }, expect: { to-erp: { outcome: retry } } }
  - { name: two match, event: kim.json, respond: { PERSON, match.erp: { body: { items: [{ no: a }, { no: b }] } } }, expect: { to-erp: { outcome: reject } } }
",
    );
    assert_eq!(report.failed(), 0, "{report}");
}

/// Tests that fail, each in other ways.
const FAILING: &str = r#"
  - name: differs
    event: kim.json
    respond: { PERSON }
    expect:
      to-crm: { do: update, map: { 제목: "Kim 신청", 등급: 3, more: true }, outcome: delivered }
      to-erp: { map: { tags: [a, c, b], n: 1.1 }, request: { method: PUT } }
      pushes: { do: create }
  - { name: the other way, event: kim.json, respond: { PERSON, erp: { status: 500 } }, expect: { to-crm: skipped, to-erp: { outcome: delivered, id: e1, why: "429" } } }
  - { name: filtered, event: lee.json, expect: { to-crm: { do: create } } }
"#;

#[test]
fn what_differs_is_told_with_its_path() {
    let report = report(FAILING);
    insta::assert_snapshot!(report, @"
    FAIL  differs (line 47)
          to-crm.do
            expected  update
            actual    create
          to-crm.map.제목
            expected  'Kim 신청'
            actual    '<Kim> 신청'
          to-crm.map.등급
            expected  3
            actual    2
          to-crm.map.more
            expected  true
            actual    nothing
          to-crm.outcome
            expected  delivered
            actual    nothing: the test has no `respond` for its sink
          to-erp.map.tags[1]
            expected  'c'
            actual    'b'
          to-erp.map.tags[2]
            expected  'b'
            actual    nothing
          to-erp.request.method
            expected  'PUT'
            actual    'POST'
          pushes
            expected  create
            actual    skipped: source form is not among git
          note: to-erp: taken as if nothing matched: the test has no `respond` for match.erp
    FAIL  the other way (line 54)
          to-crm
            expected  skipped
            actual    create
          to-erp.outcome
            expected  delivered
            actual    retry: HTTP 500: an empty body
          to-erp.id
            expected  e1
            actual    none, but retry: HTTP 500: an empty body
          to-erp.why
            expected  429
            actual    retry: HTTP 500: an empty body
          note: to-erp: taken as if nothing matched: the test has no `respond` for match.erp
    FAIL  filtered (line 55)
          to-crm
            expected  create
            actual    skipped: data.agreed == true (data.agreed is false)
    0 passed, 3 failed
    ");
    assert_eq!(report.failed(), 3);
    assert_eq!(
        report.json()["tests"][0]["differences"][0],
        json!({ "path": "to-crm.do", "expected": "update", "actual": "create" })
    );
}

#[test]
fn a_test_that_cannot_be_run_fails_with_a_word_on_why() {
    let report = report(
        "
  - { name: no file, event: park.json, expect: { to-crm: skipped } }
  - { name: no answer, event: kim.json, expect: { to-erp: { do: create } } }
  - { name: refused, request: { source: git, file: push.json }, expect: { pushes: { do: create } } }
  - { name: no version, event: kim.json, links: { to-crm: { version: new } }, expect: { to-crm: stale } }
",
    );
    insta::assert_snapshot!(report, @r#"
    FAIL  no file (line 47)
          park.json: No such file or directory (os error 2)
    FAIL  no answer (line 48)
          to-erp: the test has no `respond` for lookup.person
    FAIL  refused (line 49)
          the request is answered 400: the header x-github-event is missing
          note: a real request like this would be refused: the header x-hub-signature-256 is missing
    FAIL  no version (line 50)
          to-crm: `links`: the version "new" is neither an integer nor an RFC 3339 instant with a zone
    0 passed, 4 failed
    "#);
}
