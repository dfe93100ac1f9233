//! The demo.

use dari::clock::Clock;
use dari::config;
use dari::connectors::client::Client;

use crate::process::Process;

/// Sends the request of a printed `curl -i URL -H '…' -d '…'` and gives the status.
fn send(curl: &str) -> u16 {
    let _ = Client::new().unwrap();
    let curl = curl.trim().strip_prefix("curl -i ").expect("a curl line");
    let (url, rest) = curl.split_once(' ').unwrap();
    let quoted: Vec<&str> = rest.split('\'').skip(1).step_by(2).collect();
    let (body, headers) = quoted.split_last().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut request = reqwest::Client::new().post(url).body((*body).to_owned());
        for header in headers {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    })
}

#[test]
fn nothing_is_lost_and_what_it_prints_works() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Process::start(&["demo", "--for", "6s", "--keep", "kept"], dir.path(), &[]);
    let curl = demo.until("curl -i ");
    demo.until("starts now");
    assert_eq!(send(&curl), 202);
    assert_eq!(send(&curl), 202, "the same order again is one event");
    demo.until("record");
    let status = demo.end();
    assert!(status.success(), "{}", demo.seen);
    assert!(demo.seen.contains("nothing lost, nothing twice"), "{}", demo.seen);
    assert!(demo.seen.contains(", and 1 of yours"), "{}", demo.seen);
    assert!(demo.seen.contains("HTTP 500") && demo.seen.contains("attempt 2"), "{}", demo.seen);
    assert!(!demo.seen.contains('\u{1b}'), "no colours where nobody looks");

    let kept = dir.path().join("kept");
    let environment = std::fs::read_to_string(kept.join(".env")).unwrap();
    let env =
        |name: &str| environment.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned);
    let config = config::load(&kept.join("dari.yaml"), &env, &Client::new().unwrap(), &Clock::system(0));
    let config = config.unwrap_or_else(|faults| panic!("{faults}"));
    assert!(config.store.exists(), "the store is kept too");

    let variables: Vec<_> = environment.lines().filter_map(|line| line.split_once('=')).collect();
    let mut trace = Process::start(&["trace", "A-1000"], &kept, &variables);
    assert!(trace.end().success(), "{}", trace.seen);
    assert!(trace.seen.contains("orders-to-erp"), "{}", trace.seen);

    let mut again = Process::start(&["demo", "--for", "1s", "--keep", "kept"], dir.path(), &[]);
    assert_eq!(again.end().code(), Some(1));
    assert!(again.seen.contains("is there already"), "{}", again.seen);
}

#[test]
fn ctrl_c_ends_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    // A company's proxy does not stand between this machine and itself.
    let env = [("TMPDIR", dir.path().to_str().unwrap()), ("http_proxy", "http://127.0.0.1:1")];
    let mut demo = Process::start(&["demo"], dir.path(), &env);
    demo.until("delivered");
    demo.interrupt();
    let status = demo.end();
    assert_eq!(status.code(), Some(0), "{}", demo.seen);
    assert!(demo.seen.contains("expected at Works"), "{}", demo.seen);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "its folder is gone");
}

#[test]
fn a_time_that_is_none_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Process::start(&["demo", "--for", "soon"], dir.path(), &[]);
    assert_eq!(demo.end().code(), Some(2));
    assert!(demo.seen.contains("expected a time as 500ms, 30s or 5m"), "{}", demo.seen);
}
