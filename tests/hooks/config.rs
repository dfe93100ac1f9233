//! The sources as they stand in a config, checked by the whole of the config's check.

use dari::clock::Clock;
use dari::config::load_with;
use dari::connectors::{self, client::Client};

/// What the check says about some sources: a line each, and nothing if all is well.
fn told(sources: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dari.yaml");
    let yaml = format!(
        "accounts:\n  ws: {{ worksection: {{ host: acme.worksection.com, time_zone: Europe/Kyiv }} }}\n  talk: {{ slack: {{ signing_secrets: [s] }} }}\nsources:\n{sources}"
    );
    std::fs::write(&file, yaml).unwrap();
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    match load_with(connectors::ALL, &file, &|_| None, &Client::new().unwrap(), &clock) {
        Ok(config) => {
            assert!(!config.sources.is_empty());
            String::new()
        }
        Err(faults) => {
            let text = faults.to_string();
            let lines = text.lines().filter_map(|line| Some(line.split_once("dari.yaml:")?.1.to_owned()));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn every_source_can_be_configured() {
    let sources = r#"
  a: { github-hook: { secrets: [s] } }
  b: { stripe-hook: { secrets: whsec_s, tolerance: 10m } }
  c: { shopify-hook: { secrets: [s, t] } }
  d: { standard-hook: { secrets: [whsec_aHVzaA==], event: { subject: "{{ body.data.id }}" } } }
  e: { worksection-hook: { account: ws, users: { dari: secret } } }
  f: { slack-hook: { account: talk } }
  g: { slack-hook: { signing_secrets: [s], app_id: A1 } }
  h: { walla-hook: { verify: { bearer: { tokens: [t] } } } }
  i: { webhook: { verify: none } }
  j: { webhook: { verify: { bearer: { tokens: t } }, items: "{{ body.orders }}" } }
  k:
    webhook:
      verify: { hmac: { header: X-Signature, algorithm: sha256, encoding: hex, secrets: [n, o] } }
      event: { id: "{{ headers['x-delivery-id'] }}", type: "{{ body.kind }}", subject: "{{ body.order.id }}", version: "{{ body.order.rev }}" }
  l: { webhook: { verify: { hmac: { header: X-S, prefix: "v1=", timestamp: { header: X-T, tolerance: 1m }, signed: "{{ timestamp }}.{{ body }}", secrets: [s] } } } }
  m: { webhook: { verify: { basic: { users: { a: b } } } } }
  n: { webhook: { verify: { header: { name: X-Key, values: [k] } } } }
  o: { webhook: { verify: { path: { secrets: [s] } } } }
"#;
    assert_eq!(told(sources), "");
}

#[test]
fn what_would_let_anybody_in_is_refused() {
    let sources = r#"
  a: { github-hook: { secrets: [] } }
  b: { webhook: {} }
  c: { webhook: { verify: nothing } }
  d: { webhook: { verify: { bearer: { tokens: [""] } } } }
  e: { webhook: { verify: { hmac: { header: X-S, timestamp: { header: X-T }, secrets: [s] } } } }
  f: { slack-hook: {} }
  g: { walla-hook: { verify: none } }
  h: { standard-hook: { secrets: [hunter2] } }
  i: { worksection-hook: { users: { dari: secret }, fetch: true } }
  j: { stripe-hook: { secret: s } }
"#;
    insta::assert_snapshot!(told(sources), @r"
    6:32: `secrets` is empty; expected at least one
    7:17: `verify` is missing in source `b`; expected a mapping with exactly one key, `hmac`, `bearer`, `basic`, `header` or `path`, or `none`
    8:27: `verify`: expected a mapping with exactly one key, `hmac`, `bearer`, `basic`, `header` or `path`, or `none`, found text
    9:48: `tokens`: expected a secret as text, found empty text
    10:61: the timestamp is not signed, so it protects nothing: put `{{ timestamp }}` into `signed`
    11:20: no signing secret: give `signing_secrets` to the source or to its account
    12:30: `verify`: expected a mapping with exactly one key, `hmac`, `bearer`, `basic`, `header` or `path`, found text
    13:35: a Standard Webhooks secret is `whsec_` and base64, or base64 alone
    14:60: to read what a webhook is about again the source needs an account
    15:21: `secrets` is missing in source `j`; expected a secret as text or a list of that
    15:23: unknown key `secret` in source `j`; did you mean `secrets`?
    ");
}
