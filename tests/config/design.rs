//! A config as users write it, with the real connectors.

use dari::clock::Clock;
use dari::config::load;
use dari::connectors::client::Client;

const BRIDGE: &str = r#"
store:  { url: "sqlite://data/dari.db" }
listen: { hooks: "0.0.0.0:8080", public: "https://bridge.acme.kr", admin: { address: "127.0.0.1:8081", token: "${X}" } }
time_zone: Asia/Seoul
journal: { keep: 30d, bodies: 7d }
redact: ["data.answers['연락처']"]

accounts:
  walla:  { walla: { client_id: "${X}", api_key: "${X}" } }
  daou:   { works: { client_id: "${X}", client_secret: "${X}", limits: { monthly: 1500 } } }
  ws:     { worksection: { host: acme.worksection.com } }
  slack:  { slack: { bot_token: "xoxb-1", signing_secrets: ["${X}"] } }

tables:
  grade:   { values: { 초급: 1, 고급: 2 } }

sources:
  signup:   { walla: { account: walla, workspace: ws-1, project: pj-7, every: 1m, start: now } }
  tasks:    { worksection-hook: { account: ws, users: { dari: "${X}" } } }
  git:      { github-hook: { secrets: ["${X}"] } }
  orders:
    webhook:
      verify: { hmac: { header: X-Signature, algorithm: sha256, encoding: hex, secrets: ["${X}", "${X}"] } }
      event: { id: "{{ headers['x-delivery-id'] }}", type: "{{ body.kind }}", subject: "{{ body.order.id }}", version: "{{ body.order.rev }}" }

sinks:
  crm:  { works: { account: daou, token: "${X}", key: id, fields: { id: text, 제목: text, 문의: multitext, 금액: number, 등급: listbox, 희망일: date, 접수: datetime } } }
  ops:  { slack: { account: slack, channel: C0123456789 } }
  erp:  { http: { url: "https://erp.acme.kr/api", accept: "body.result == 'OK'", id: "{{ body.no }}" } }

routes:
  signup-to-works:
    from: signup
    types: [response.created, response.updated]
    when: data.answers['개인정보 동의'] == '예'
    to: crm
    do: upsert
    map:
      id: "{{ subject }}"
      제목: "{{ data.answers['이름'] }} 신청"
      문의: "{{ data.answers['문의'] | default(omit) }}"
      등급: "{{ data.answers['등급'] | table('grade') }}"
      접수: "{{ time }}"
    retry: { first: 5s, factor: 2, max: 1h, give_up_after: 3d }
  task-news:
    from: tasks
    to: ops
    key: "{{ data.task.id }}"
    cases:
      - { types: [task.created], do: create, map: { text: ":memo: {{ data.task.title }}" } }
      - { types: [task.closed], do: reply, map: { text: "완료 {{ data.task.title }}" } }
  push-to-erp:
    from: [git, orders]
    types: [push]
    to: erp
    do: create
    request: { method: POST, path: "/repos/{{ data.repository.id }}/pushes" }
    map: { commits: { $each: data.commits, $as: c, $map: { sha: "{{ c.id }}", by: "{{ c.author.email }}" } } }

tests:
  - name: consenting respondents become Works records
    event: fixtures/kim.json
    expect: { signup-to-works: { do: create, map: { 제목: "김하나 신청" } }, push-to-erp: skipped }
"#;

fn told(yaml: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("dari.yaml");
    std::fs::write(&file, yaml).expect("the folder can be written");
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
    match load(&file, &|_| Some("c2VjcmV0".to_owned()), &Client::new().expect("a client"), &clock) {
        Ok(config) => config.warnings.iter().map(|warning| warning.message.clone()).collect::<Vec<_>>().join("\n"),
        Err(faults) => faults.to_string().replace(&dir.path().join("").display().to_string(), ""),
    }
}

#[test]
fn loads_without_a_word() {
    assert_eq!(told(BRIDGE), "");
}

#[test]
fn connectors_tell_their_own_faults_with_all_others() {
    let broken = BRIDGE
        .replace("client_id: \"${X}\", api_key", "api_key")
        .replace("key: id, fields", "key: no, fields")
        .replace("algorithm: sha256", "algorithm: md6")
        .replace("do: reply", "do: delte")
        .replace("channel: C0123456789", "channel: general");
    insta::assert_snapshot!(told(&broken), @r#"
    dari.yaml:9:20: `client_id` is missing beside `api_key`
    dari.yaml:23:57: `algorithm`: expected `sha256`, `sha512` or `sha1`, found `md6`
    dari.yaml:27:55: the key "no" is not among `fields`
    dari.yaml:51:37: `do`: expected `create`, `update`, `delete`, `upsert`, `sync`, `reply`, `comment`, `complete`, `reopen`, `tag`, `cost`, `move`, `share`, `upload` or `act`, found `delte`; did you mean `delete`?
    "#);
}

#[test]
fn fields_that_a_sink_does_not_know_are_told_before_the_first_event() {
    let broken =
        BRIDGE.replace("제목: \"{{ data", "제곡: \"{{ data").replace("map: { text: \"완료", "map: { txt: \"완료");
    insta::assert_snapshot!(told(&broken), @r"
    dari.yaml:40:7: `제곡`: not among the sink's `fields` (id, 제목, 문의, 금액, 등급, 희망일, 접수)
    dari.yaml:51:51: `txt`: expected one of text, markdown_text, blocks, attachments, metadata, unfurl_links, unfurl_media, reply_broadcast, link_names, mrkdwn, username, icon_emoji, icon_url, parse
    ");
}
