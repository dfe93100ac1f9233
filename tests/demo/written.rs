//! Writing a config: `dari init` asks, `dari test --watch` looks, pages for `man`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::process::{Process, eventually};
use crate::sandboxed::{field, get};

fn dari(dir: &Path, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dari"));
    command.args(args).current_dir(dir).env_remove("DARI_CONFIG").env_remove("RUST_LOG");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input has closed it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn init_asks_over_a_pipe_too_and_never_writes_over_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dari.yaml");
    let asked = dari(dir.path(), &["init", "--ask"], "github-hook\nslack\n");
    assert!(asked.status.success(), "{}", said(&asked));
    assert!(said(&asked).contains("sources [webhook]: "), "{}", said(&asked));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("my-github-hook:") && written.contains("my-slack:"), "{written}");

    assert!(written.contains("channel: C0123456789 # FILL-IN: an example\n"), "{written}");
    let secrets = [("GITHUB_HOOK_SECRET", "s"), ("SLACK_BOT_TOKEN", "b"), ("SLACK_SIGNING_SECRET", "s")];
    let mut check = Process::start(&["check"], dir.path(), &secrets);
    check.until("all well");
    assert!(check.end().success() && !check.seen.contains("FILL-IN"), "{}", check.seen);

    let again = dari(dir.path(), &["init", "--ask"], "webhook\nhttp\n");
    assert_eq!(again.status.code(), Some(1));
    let told = said(&again);
    assert_eq!(
        told.trim_end(),
        "error: dari.yaml is there already and stays as it is; `--config OTHER.yaml` writes another file"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);

    // Without a terminal and without the word nothing is asked.
    let other = dari(dir.path(), &["init", "--config", "other.yaml"], "");
    assert!(other.status.success() && !said(&other).contains("sources ["), "{}", said(&other));
    assert_eq!(dari(dir.path(), &["init", "--ask", "--sinks", "http"], "").status.code(), Some(2));
    let mut check = Process::start(&["check", "other.yaml"], dir.path(), &[("WEBHOOK_SECRET", "s")]);
    check.until("warning: other.yaml: 1 value still says FILL-IN");
    assert!(check.end().success(), "{}", check.seen);
}

const TESTED: &str = r#"
sources: { open: { webhook: { verify: none, event: { type: order } } } }
sinks: { erp: { http: { url: "https://erp.example.com" } } }
routes: { to-erp: { from: open, to: erp, do: create, map: { who: "{{ data.who }}" } } }
tests:
  - { name: sent on, event: order.json, expect: { to-erp: { do: create, map: { who: Kim } } } }
"#;

fn order(dir: &Path, who: &str) {
    let event = json!({ "source": "open", "type": "order", "data": { "who": who } });
    std::fs::write(dir.join("order.json"), event.to_string()).unwrap();
}

#[test]
fn tests_end_with_a_code_that_says_how_they_went() {
    let dir = tempfile::tempdir().unwrap();
    let code = |args: &[&str]| dari(dir.path(), args, "").status.code();
    std::fs::write(dir.path().join("dari.yaml"), TESTED).unwrap();
    order(dir.path(), "Kim");
    assert_eq!(code(&["test"]), Some(0));
    order(dir.path(), "Lee");
    let failed = dari(dir.path(), &["test"], "");
    assert_eq!(failed.status.code(), Some(1));
    insta::assert_snapshot!(said(&failed), @"
    FAIL  sent on (line 6)
          to-erp.map.who
            expected  'Kim'
            actual    'Lee'
    0 passed, 1 failed
    error: 1 of 1 tests failed
    ");
    let told: Value = serde_json::from_slice(&dari(dir.path(), &["test", "--json"], "").stdout).unwrap();
    let difference = json!({ "path": "to-erp.map.who", "expected": "'Kim'", "actual": "'Lee'" });
    assert_eq!((&told["failed"], &told["tests"][0]["differences"][0]), (&json!(1), &difference));
    assert_eq!(code(&["test", "--json", "--watch"]), Some(2));
    std::fs::write(
        dir.path().join("dari.yaml"),
        TESTED.replace("do: create, map: { who: \"", "do: craete, map: { who: \""),
    )
    .unwrap();
    assert_eq!(code(&["test"]), Some(78));
}

#[test]
fn tests_run_again_whenever_something_changes() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("dari.yaml");
    std::fs::write(&config, TESTED).unwrap();
    order(dir.path(), "Kim");
    let mut watch = Process::start(&["test", "--watch"], dir.path(), &[]);
    watch.until("1 passed, 0 failed");
    watch.until("waiting for a change");
    order(dir.path(), "Someone else");
    watch.until("changed: order.json");
    watch.until("FAIL  sent on");
    watch.until("waiting for a change");
    // A config that is broken is told, and so is one that is no YAML and names no files any more.
    std::fs::write(&config, TESTED.replace("to: erp", "to: ep")).unwrap();
    watch.until("there is no sink `ep`");
    watch.until("waiting for a change");
    std::fs::write(&config, "routes: [").unwrap();
    watch.until("dari.yaml:1:");
    watch.until("waiting for a change");
    order(dir.path(), "Kim");
    std::fs::write(&config, TESTED).unwrap();
    watch.until("1 passed, 0 failed");
    watch.until("waiting for a change");
    watch.interrupt();
    assert!(watch.end().success(), "{}", watch.seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_that_nobody_can_play_is_left_out_of_a_sandboxed_run() {
    let dir = tempfile::tempdir().unwrap();
    let config = r#"
listen: { hooks: "127.0.0.1:0" }
sources: { api: { http-poll: { url: "https://api.example.com/orders" } } }
sinks: { erp: { http: { url: "https://erp.example.com" } } }
routes: { to-erp: { from: api, to: erp, do: create, map: { who: "{{ data.who }}" } } }
"#;
    std::fs::write(dir.path().join("dari.yaml"), config).unwrap();
    order(dir.path(), "Kim");
    let mut run = Process::start(&["run", "--sandbox", "--log-format", "json"], dir.path(), &[]);
    run.until("source api: nobody can play HTTP here");
    let erp = field(&run.until("played by a sandbox"), "url");
    let admin = format!("http://{}", field(&run.until("the admin API listens"), "address"));
    run.until("the bridge is ready");
    let sent = dari(dir.path(), &["send", "api", "order.json", "--admin", &admin], "");
    assert!(sent.status.success(), "{}", said(&sent));
    eventually("the order at the ERP", async || {
        let state = get(&format!("{erp}/_sandbox/state")).await;
        (state["received"].as_object()?.values().next()?["body"]["who"] == "Kim").then_some(())
    })
    .await;
    run.interrupt();
    assert!(run.end().success(), "{}", run.seen);
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    assert!(dari(dir.path(), &["man", "--dir", "man"], "").status.success());
    let page = |name: &str| std::fs::read_to_string(dir.path().join("man").join(name)).unwrap();
    assert!(page("dari.1").contains("dari\\-run(1)"), "{}", page("dari.1"));
    assert!(page("dari-test.1").contains("Ctrl\\-C"), "{}", page("dari-test.1"));
    page("dari-hooks-register.1");
}
