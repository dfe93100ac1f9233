//! `dari run --dry-run`: real sources, rendered requests, nothing sent, nothing kept.

use std::path::Path;

use ::http::Method;
use dari::clock::Clock;
use dari::connectors::sandbox::{LOOPBACK, Served, serve};
use dari::connectors::{http, walla};
use serde_json::{Value, json};

use crate::process::{Process, eventually};

fn config(form: &Served, erp: &Served) -> String {
    format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
redact: ["data.answers['연락처']"]
accounts:
  walla: {{ walla: {{ url: "{}", client_id: walla-client, api_key: walla-key }} }}
sources:
  signup: {{ walla: {{ account: walla, workspace: ws-1, project: pj-7, every: 200ms, start: all }} }}
sinks:
  erp: {{ http: {{ url: "{}", allow_private: true, auth: {{ bearer: hunter2 }} }} }}
routes:
  to-erp:
    from: signup
    to: erp
    do: upsert
    request: {{ create: {{ method: POST, path: "/r" }}, update: {{ method: PUT, path: "/r/{{{{ subject }}}}" }} }}
    map: {{ who: "{{{{ data.answers['이름'] }}}}", phone: "{{{{ data.answers['연락처'] }}}}" }}
"#,
        form.url, erp.url
    )
}

async fn submit(form: &Served, id: &str, name: &str) {
    let answers = json!({ "이름": name, "연락처": "010-1234-5678" });
    form.play(Method::POST, "/_sandbox/responses", &json!({ "id": id, "answers": answers })).await;
}

async fn received(erp: &Served) -> usize {
    erp.state().await["received"].as_object().map_or(0, serde_json::Map::len)
}

/// Every file below a folder with its bytes.
fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_what_is_new_and_leaves_everything_as_it_is() {
    let clock = Clock::system(0);
    let form = serve(walla::sandbox::router(clock.clone()), clock.clone(), LOOPBACK).await.unwrap();
    let erp = serve(http::sandbox::router(clock.clone()), clock, LOOPBACK).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dari.yaml"), config(&form, &erp)).unwrap();
    submit(&form, "r-1", "김하나").await;

    let mut real = Process::start(&["run"], dir.path(), &[]);
    eventually("the first response at the ERP", async || (received(&erp).await == 1).then_some(())).await;
    real.interrupt();
    assert!(real.end().success(), "{}", real.seen);
    let before = files(dir.path());
    let calls = erp.calls.count();

    submit(&form, "r-1", "김둘").await;
    submit(&form, "r-2", "이도윤").await;
    let mut dry = Process::start(&["run", "--dry-run"], dir.path(), &[]);
    dry.until("sources go on");
    dry.until("would ");
    dry.until("would ");
    dry.until("}");
    dry.interrupt();
    assert!(dry.end().success(), "{}", dry.seen);

    // The first is known and linked, the second is new; neither secret nor redacted value is shown.
    assert!(dry.seen.contains("would update at erp: PUT"), "{}", dry.seen);
    assert!(dry.seen.contains("would create at erp: POST"), "{}", dry.seen);
    assert!(dry.seen.contains(r#""who": "김둘""#) && dry.seen.contains(r#""phone": "•••""#), "{}", dry.seen);
    assert!(!dry.seen.contains("010-1234-5678") && !dry.seen.contains("hunter2"), "{}", dry.seen);
    assert_eq!(erp.calls.count(), calls, "nothing was sent");
    let after = files(dir.path());
    let names =
        |files: &[(std::path::PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "no file came or went");
    assert!(before == after, "no file changed");

    // The real bridge goes on from where it was: with both.
    let mut real = Process::start(&["run"], dir.path(), &[]);
    let first_and_changed = async || {
        let state: Value = erp.state().await;
        let bodies: Vec<_> = state["received"].as_object()?.values().map(|call| call["body"]["who"].clone()).collect();
        (bodies.contains(&json!("김둘")) && bodies.contains(&json!("이도윤"))).then_some(())
    };
    eventually("what the dry run showed", first_and_changed).await;
    real.interrupt();
    assert!(real.end().success(), "{}", real.seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_without_a_store_starts_as_the_config_says() {
    let clock = Clock::system(0);
    let form = serve(walla::sandbox::router(clock.clone()), clock.clone(), LOOPBACK).await.unwrap();
    let erp = serve(http::sandbox::router(clock.clone()), clock, LOOPBACK).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dari.yaml"), config(&form, &erp)).unwrap();
    submit(&form, "r-1", "김하나").await;
    let mut dry = Process::start(&["run", "--dry-run"], dir.path(), &[]);
    dry.until("there is no store yet");
    dry.until("would create at erp");
    dry.interrupt();
    assert!(dry.end().success(), "{}", dry.seen);
    assert!(!dir.path().join("data").exists());
    assert_eq!(erp.calls.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_beside_the_running_bridge_goes_on_from_its_store() {
    let clock = Clock::system(0);
    let form = serve(walla::sandbox::router(clock.clone()), clock.clone(), LOOPBACK).await.unwrap();
    let erp = serve(http::sandbox::router(clock.clone()), clock, LOOPBACK).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = config(&form, &erp);
    std::fs::write(dir.path().join("dari.yaml"), &config).unwrap();
    submit(&form, "r-1", "김하나").await;
    let mut real = Process::start(&["run", "--log-format", "json"], dir.path(), &[]);
    let line: Value = serde_json::from_str(&real.until("the bridge is ready")).unwrap();
    let taken = config.replace("127.0.0.1:0", line["address"].as_str().unwrap());
    std::fs::write(dir.path().join("dari.yaml"), taken).unwrap();
    eventually("the first response at the ERP", async || (received(&erp).await == 1).then_some(())).await;
    // Told once the cursor is where it belongs.
    real.until("polled");

    let mut dry = Process::start(&["run", "--dry-run"], dir.path(), &[]);
    dry.until("the address is in use");
    dry.until("sources go on");
    dry.until("the bridge is ready");
    submit(&form, "r-2", "이도윤").await;
    dry.until("would create at erp");
    dry.until("이도윤");
    dry.interrupt();
    assert!(dry.end().success(), "{}", dry.seen);
    assert!(!dry.seen.contains("김하나"), "what the bridge has read is not read again: {}", dry.seen);
    eventually("the second response at the ERP", async || (received(&erp).await == 2).then_some(())).await;
    real.interrupt();
    assert!(real.end().success(), "{}", real.seen);
}
