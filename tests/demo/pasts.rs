//! `dari replay --past` of every poller, by the binary: counted, begun, killed with its bridge, and gone on with. And how much
//! memory a large form's past takes.

use std::path::Path;
use std::process::{Command, Output};

use ::http::Method;
use dari::clock::Clock;
use dari::connectors::sandbox::{LOOPBACK, Served, serve};
use dari::connectors::{Manifest, dooray, http, walla, workfront, worksection};
use jiff::SignedDuration;
use rand::RngExt;
use serde_json::{Value, json};

use crate::process::{Process, eventually};

/// A poller, and what fills its vendor.
struct Past {
    manifest: &'static Manifest,
    account: &'static str,
    source: &'static str,
    /// How many events it has, in more pages than one.
    count: usize,
    play: fn(usize, &Clock) -> (Method, String, Value),
}

fn ago(clock: &Clock, hours: usize) -> String {
    (clock.now() - SignedDuration::from_hours(i64::try_from(hours).unwrap())).to_string()
}

const PASTS: [Past; 6] = [
    Past {
        manifest: &walla::MANIFEST,
        account: "walla: { client_id: walla-client, api_key: walla-key,",
        source: "walla: { account: a, project: pj-7,",
        count: 230,
        play: |n, clock| {
            let body =
                json!({ "id": format!("r{n}"), "submitted_at": ago(clock, n + 1), "answers": { "이름": "김하나" } });
            (Method::POST, "/_sandbox/responses".to_owned(), body)
        },
    },
    Past {
        manifest: &dooray::MANIFEST,
        account: "dooray: { token: sandbox-token,",
        source: "dooray-calendar: { account: a, calendars: ['1'],",
        count: 12,
        play: |n, clock| {
            let at = ago(clock, (n + 1) * 24 * 30);
            let body = json!({ "id": n.to_string(), "subject": "회의", "startedAt": at, "endedAt": at });
            (Method::POST, "/_sandbox/events".to_owned(), body)
        },
    },
    Past {
        manifest: &dooray::MANIFEST,
        account: "dooray: { token: sandbox-token,",
        source: "dooray-task: { account: a, project: '7', comments: none,",
        count: 130,
        play: |n, clock| {
            let body = json!({ "id": n.to_string(), "subject": "버그", "updatedAt": ago(clock, n + 1) });
            (Method::POST, "/_sandbox/tasks".to_owned(), body)
        },
    },
    Past {
        manifest: &workfront::MANIFEST,
        account: "workfront: { host: acme.my.workfront.com, auth: { api_key: sandboxkey0123456789 },",
        source: "workfront: { account: a, object: task, page: 5,",
        count: 13,
        play: |n, clock| {
            let at = ago(clock, n + 1);
            let body =
                json!({ "objCode": "TASK", "ID": format!("t{n}"), "name": "x", "entryDate": at, "lastUpdateDate": at });
            (Method::POST, "/_sandbox/objects".to_owned(), body)
        },
    },
    Past {
        manifest: &worksection::MANIFEST,
        account: "worksection: { host: acme.worksection.com, admin_key: 7776461cd931e7b1c8e9632ff8e979ce,",
        source: "worksection: { account: a,",
        count: 13,
        play: |n, _| (Method::POST, "/_sandbox/tasks".to_owned(), json!({ "id": (100 + n).to_string(), "name": "x" })),
    },
    Past {
        manifest: &http::MANIFEST,
        account: "",
        source: "http-poll: { url: 'URL/api/by-page', auth: { bearer: sandbox-key }, allow_private: true, id: '{{ item.no }}', type: order, paging: { page: { size: 2 } },",
        count: 13,
        play: |n, _| (Method::PUT, format!("/_sandbox/orders/{n}"), json!({ "total": n })),
    },
];

fn config(past: &Past, url: &str, erp: &str) -> String {
    let account = match past.account {
        "" => String::new(),
        account => format!("accounts: {{ a: {{ {account} url: '{url}', limits: {{ rate: 10000 }} }} }} }}\n"),
    };
    format!(
        r#"listen: {{ hooks: "127.0.0.1:0" }}
min_free: 1KiB
time_zone: Asia/Seoul
{account}sources: {{ in: {{ {} start: now, every: 1h }} }} }}
sinks: {{ out: {{ http: {{ url: "{erp}", allow_private: true, idempotent: true, limits: {{ monthly: 10000, rate: 10000 }} }} }} }}
routes: {{ all: {{ from: in, to: out, do: upsert, request: {{ path: "/r" }}, map: {{ s: "{{{{ subject }}}}" }} }} }}
"#,
        past.source.replace("URL", url)
    )
}

fn dari(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dari"));
    command.args(args).current_dir(dir).env_remove("DARI_CONFIG").env_remove("RUST_LOG").output().expect("it runs")
}

fn out(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

async fn received(erp: &Served) -> Vec<Value> {
    erp.state().await["received"].as_object().unwrap().values().cloned().collect()
}

async fn played(past: &Past) -> Served {
    let clock = Clock::system(0);
    let router = (past.manifest.sandbox.unwrap().router)(clock.clone());
    let vendor = serve(router, clock.clone(), LOOPBACK).await.unwrap();
    vendor.play(Method::PUT, "/_sandbox/state", &json!({ "rate": 1e12 })).await;
    for n in 0..past.count {
        let (method, path, body) = (past.play)(n, &clock);
        vendor.play(method, &path, &body).await;
    }
    vendor
}

async fn replayed(past: &Past) {
    let vendor = played(past).await;
    let clock = Clock::system(0);
    let erp = serve(http::sandbox::router(clock.clone()), clock.clone(), LOOPBACK).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dari.yaml"), config(past, &vendor.url, &erp.url)).unwrap();
    let name = past.source;
    let mut bridge = Process::start(&["run"], dir.path(), &[]);
    let state = async || {
        let known = dari(dir.path(), &["sources", "--json"]);
        serde_json::from_slice::<Value>(&known.stdout).ok().filter(|known| !known[0]["cursor"].is_null())
    };
    eventually(&format!("a first poll of {name}"), state).await;

    let from = (clock.now() - SignedDuration::from_hours(24 * 500)).strftime("%Y-%m-%d").to_string();
    // Only calendars are read from a date on: without one from 2014, slice by slice.
    let since: &[&str] = if name.starts_with("dooray-calendar") { &["--from", &from] } else { &[] };
    let counted =
        out(&dari(dir.path(), &[&["replay", "--source", "in", "--past", "--dry-run", "--json"], since].concat()));
    let counted: Value = serde_json::from_str(&counted).unwrap();
    // Where pages overlap, the last of one is the first of the next.
    let events = counted["events"].as_u64().unwrap();
    let least = past.count as u64;
    assert!((least..=least + 3).contains(&events), "{name}: {counted}");
    assert_eq!(counted["changes"], counted["events"], "{name}");
    assert_eq!(counted["calls_left"], json!([["out", 10_000]]), "{name}: {counted}");
    assert!(received(&erp).await.is_empty(), "a dry run sends nothing");

    // So slow that it stands still after its first page.
    let begun = [&["replay", "--source", "in", "--past", "--rate", "1"], since].concat();
    let mut replay = Process::start(&begun, dir.path(), &[]);
    eventually(&format!("some of {name}"), async || (!received(&erp).await.is_empty()).then_some(())).await;
    bridge.kill();
    replay.kill();
    let before = received(&erp).await.len();
    let mut bridge = Process::start(&["run"], dir.path(), &[]);
    bridge.until("the bridge is ready");
    let done = dari(dir.path(), &["replay", "--resume"]);
    // All of one page: nothing was left to go on with.
    if before < past.count || done.status.success() {
        let said = out(&done);
        assert!(said.contains(" events are sent again as "), "{name}: {said}");
    }
    eventually(&format!("all of {name}"), async || (received(&erp).await.len() >= past.count).then_some(())).await;
    bridge.interrupt();
    assert!(bridge.end().success(), "{}", bridge.seen);
    let all = received(&erp).await;
    let subjects: std::collections::BTreeSet<String> = all.iter().map(|one| one["body"]["s"].to_string()).collect();
    assert_eq!(subjects.len(), past.count, "{name}: none was left out");
    assert!(all.len() <= past.count + 3, "{name}: {} were sent for {}", all.len(), past.count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pollers_past_is_counted_and_goes_on_after_both_were_killed() {
    for past in &PASTS {
        replayed(past).await;
    }
}

/// In KiB.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forms_past_takes_less_memory_than_its_file() {
    const RESPONSES: usize = 6_000;
    const LONG: usize = 12_000;
    let past = Past { count: 0, ..PASTS.into_iter().next().unwrap() };
    let vendor = played(&past).await;
    let mut dice = rand::rng();
    for n in 0..RESPONSES {
        // What no compression makes shorter.
        let text: String = (0..LONG).map(|_| char::from(dice.random_range(b' '..b'~'))).collect();
        let answers = json!({ "이름": n.to_string(), "문의": text });
        let at = ago(&Clock::system(0), n + 1);
        let response = json!({ "id": format!("r{n}"), "submitted_at": at, "answers": answers });
        vendor.play(Method::POST, "/_sandbox/responses", &response).await;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dari.yaml"), config(&past, &vendor.url, "http://127.0.0.1:9")).unwrap();
    let mut bridge = Process::start(&["run"], dir.path(), &[]);
    bridge.until("the bridge is ready");
    bridge.until("polled: ");
    let before = peak(&bridge);
    let counted = out(&dari(dir.path(), &["replay", "--source", "in", "--past", "--dry-run", "--json"]));
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["events"], RESPONSES);
    let (grown, file) = (peak(&bridge) - before, (RESPONSES * LONG / 1024) as u64);
    // Held whole it would take its own length, and several times that for its rows.
    assert!(grown < file / 4 * 3, "{grown} KiB for a file of {file} KiB");
    bridge.interrupt();
    assert!(bridge.end().success(), "{}", bridge.seen);
}
