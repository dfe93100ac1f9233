//! `dari check --connect`: what a config talks to is asked, and nothing happens there.

use dari::clock::Clock;
use dari::connectors::Manifest;
use dari::connectors::sandbox::{LOOPBACK, Served, serve};
use dari::connectors::{slack, walla, works, worksection};
use serde_json::Value;

use crate::binary::{done, folder};
use crate::bridge::{PATIENCE, http};

async fn played(manifest: &Manifest) -> Served {
    let clock = Clock::system(3);
    serve((manifest.sandbox.unwrap().router)(clock.clone()), clock, LOOPBACK).await.unwrap()
}

/// What a sandbox was asked.
async fn calls(served: &Served) -> Vec<String> {
    let calls = http(PATIENCE).get(format!("{}/_sandbox/calls", served.url)).send().await.unwrap();
    let calls: Value = calls.json().await.unwrap();
    let shown = |call: &Value| format!("{} {}", call["method"].as_str().unwrap(), call["path"].as_str().unwrap());
    calls.as_array().unwrap().iter().map(shown).collect()
}

struct Vendors {
    slack: Served,
    walla: Served,
    works: Served,
    worksection: Served,
}

impl Vendors {
    async fn play() -> Self {
        let (slack, walla) = tokio::join!(played(&slack::MANIFEST), played(&walla::MANIFEST));
        let (works, worksection) = tokio::join!(played(&works::MANIFEST), played(&worksection::MANIFEST));
        Self { slack, walla, works, worksection }
    }

    fn config(&self, bot: &str, key: &str, admin: &str) -> String {
        let Self { slack, walla, works, worksection } = self;
        let [slack, walla, works, ws] = [slack, walla, works, worksection].map(|served| &served.url);
        format!(
            r#"{}
  signup: {{ walla: {{ account: form, project: pj-7, start: all }} }}
  board: {{ worksection: {{ account: ws, projects: "26" }} }}
  off: {{ walla: {{ account: form, project: nowhere, enabled: false }} }}
accounts:
  chat: {{ slack: {{ url: "{slack}", bot_token: {bot} }} }}
  form: {{ walla: {{ url: "{walla}", client_id: walla-client, api_key: {key} }} }}
  daou: {{ works: {{ url: "{works}", client_id: a, client_secret: b }} }}
  ws: {{ worksection: {{ url: "{ws}", admin_key: {admin}, time_zone: Europe/Kyiv }} }}
  user: {{ worksection: {{ url: "{ws}", client_id: sandbox-client, client_secret: sandbox-secret, refresh_token: sandbox-refresh, time_zone: Europe/Kyiv }} }}
sinks:
  news: {{ slack: {{ account: chat, channel: C0123456789 }} }}
  more: {{ slack: {{ account: chat, channel: C0123456789 }} }}
  crm: {{ works: {{ account: daou, token: t, key: no, fields: {{ no: text }} }} }}
  tasks: {{ worksection: {{ account: ws, project: "26", author: kim@acme.kr }} }}
  own: {{ worksection: {{ account: user, project: "26" }} }}
"#,
            crate::bridge::HEAD
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_asked_without_effect_and_who_refuses_is_told() {
    let vendors = Vendors::play().await;
    let dir = folder(&vendors.config("xoxb-sandbox", "walla-key", "7776461cd931e7b1c8e9632ff8e979ce"));
    let (code, text) = done(dir.path(), &["check", "--connect"]).await;
    insta::assert_snapshot!(text, @r"
    warning: dari.yaml:6:3: anybody can send to source `in`: its webhooks are not verified
    warning: dari.yaml:6:3: no route takes events from source `in`
    warning: dari.yaml:8:3: no route takes events from source `signup`
    warning: dari.yaml:9:3: no route takes events from source `board`
    dari.yaml: 4 sources, 5 sinks, 0 routes: all well
    source in: has no harmless call: it is sent webhooks
    source signup: ok
    source board: ok
    sink news: ok
    sink more: ok
    sink crm: has no harmless call: what it sends makes something there
    sink tasks: ok
    sink own: has no harmless call: its token is renewed by one that is good once, which is the bridge's
    8 calls were made, and counted in no month: there is no store yet
    ");
    assert_eq!(code, 0, "{text}");
    assert_eq!(calls(&vendors.slack).await, ["POST /api/auth.test", "POST /api/auth.test"]);
    assert!(calls(&vendors.walla).await.len() <= 3, "{:?}", calls(&vendors.walla).await);
    let asked = calls(&vendors.worksection).await;
    assert!(!asked.iter().any(|call| call.contains("oauth2")), "the bridge's refresh token is good for one: {asked:?}");
    assert!(calls(&vendors.works).await.is_empty());
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["dari.yaml"], "nothing is written");

    // Others: a vendor that has just been asked may want a second's rest.
    let vendors = Vendors::play().await;
    let wrong = vendors.config("xoxb-hunter2", "hunter2", "hunter2hunter2hunter2hunter2hunt");
    let broker = format!("broker: {{ url: \"amqp://me:hunter2@127.0.0.1:1\" }}\n{wrong}");
    std::fs::write(dir.path().join("dari.yaml"), broker).unwrap();
    let (code, text) = done(dir.path(), &["check", "--connect"]).await;
    insta::assert_snapshot!(text, @r"
    warning: dari.yaml:7:3: anybody can send to source `in`: its webhooks are not verified
    warning: dari.yaml:7:3: no route takes events from source `in`
    warning: dari.yaml:9:3: no route takes events from source `signup`
    warning: dari.yaml:10:3: no route takes events from source `board`
    dari.yaml: 4 sources, 5 sinks, 0 routes: all well
    source in: has no harmless call: it is sent webhooks
    source signup: refused: walla refused the account's keys (401 Unauthorized): Unauthorized; they are under 팀 설정 > API in Walla
    source board: refused: worksection refused the account: 2: Action hash is missed or invalid
    sink news: refused: invalid_auth
    sink more: refused: invalid_auth
    sink crm: has no harmless call: what it sends makes something there
    sink tasks: refused: 2: Action hash is missed or invalid: is the `admin_key` right? If only some calls are refused so, try `hash: raw` on the account
    sink own: has no harmless call: its token is renewed by one that is good once, which is the bridge's
    broker: refused: 127.0.0.1:1: IO error: Connection refused (os error 111)
    5 calls were made, and counted in no month: there is no store yet
    error: 6 of 9 refused
    ");
    assert_eq!(code, 1, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    std::fs::write(dir.path().join("dari.yaml"), wrong.replace("to: ", "too: ").replace("sinks:", "sinkz:")).unwrap();
    let before = calls(&vendors.slack).await.len();
    assert_eq!(done(dir.path(), &["check", "--connect"]).await.0, 78);
    assert_eq!(calls(&vendors.slack).await.len(), before, "a config with faults is not tried");
}

/// Accounts that no poller and no sink uses: `people`, `wrong`, and `subscribed`.
fn only_read(vendors: &Vendors, worksections: &[Served; 3]) -> String {
    let key = "7776461cd931e7b1c8e9632ff8e979ce";
    let config = vendors.config("xoxb-sandbox", "walla-key", key);
    let account = |name: &str, served: &Served, key: &str| {
        let url = &served.url;
        format!(r#"  {name}: {{ worksection: {{ url: "{url}", admin_key: {key}, time_zone: Europe/Kyiv }} }}"#)
    };
    let [people, wrong, subscribed] = worksections;
    let accounts = [
        "  told: { worksection-hook: { account: subscribed, users: { dari: 0123456789abcdef } } }".to_owned(),
        "accounts:".to_owned(),
        account("people", people, key),
        account("wrong", wrong, "hunter2hunter2hunter2hunter2hunt"),
        account("subscribed", subscribed, key),
    ];
    let config = config.replace("accounts:", &accounts.join("\n"));
    format!(
        r#"{config}
routes:
  news:
    from: in
    to: news
    do: create
    lookup:
      user: {{ account: people, object: user, match: {{ email: "{{{{ data.mail }}}}" }} }}
      other: {{ account: wrong, object: user, match: {{ email: "{{{{ data.mail }}}}" }} }}
    map: {{ text: "{{{{ lookup.user.name }}}} {{{{ lookup.other.name }}}}" }}
"#
    )
}

fn ends(text: &str, from: &str) -> String {
    text.lines().skip_while(|line| !line.starts_with(from)).collect::<Vec<_>>().join("\n")
}

async fn used(dir: &std::path::Path, account: &str) -> u64 {
    let (code, text) = done(dir, &["accounts", "--json"]).await;
    assert_eq!(code, 0, "{text}");
    let all: Value = serde_json::from_str(&text[text.find('[').unwrap()..]).unwrap();
    all.as_array().unwrap().iter().find(|one| one["name"] == account).unwrap()["used"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_only_lookups_or_webhooks_use_are_asked_too_and_all_calls_are_counted() {
    let vendors = Vendors::play().await;
    let (people, wrong) = tokio::join!(played(&worksection::MANIFEST), played(&worksection::MANIFEST));
    let worksections = [people, wrong, played(&worksection::MANIFEST).await];
    let dir = folder(&only_read(&vendors, &worksections));
    let (code, text) = done(dir.path(), &["check", "--connect"]).await;
    insta::assert_snapshot!(ends(&text, "account"), @"
    account people: ok
    account subscribed: ok
    account wrong: refused: 2: Action hash is missed or invalid: is the `admin_key` right? If only some calls are refused so, try `hash: raw` on the account
    11 calls were made, and counted in no month: there is no store yet
    error: 1 of 12 refused
    ");
    assert_eq!(code, 1, "{text}");
    assert!(!dir.path().join("dari.db").exists(), "nothing is written");

    // A bridge that has run before.
    dari::store::sqlite::open(&dir.path().join("dari.db")).unwrap().close().await;
    let counted = |text: &str| text.contains("calls were made, and counted in the month of each account");
    let (_, text) = done(dir.path(), &["check", "--connect"]).await;
    assert!(counted(&text), "{text}");
    let before = used(dir.path(), "people").await;
    assert_eq!((before, used(dir.path(), "chat").await), (1, 2));

    // One that runs: the check is one of its calls, wherever they come from.
    let bridge = crate::binary::Process::start(dir.path()).await;
    let (_, text) = done(dir.path(), &["check", "--connect"]).await;
    assert!(counted(&text), "{text}");
    assert_eq!(used(dir.path(), "people").await, before + 1);
    drop(bridge);
}
