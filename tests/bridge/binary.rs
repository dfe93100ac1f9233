//! The program itself: a process with a config file, killed and told to stop.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::bridge::{HEAD, PATIENCE, http};
use crate::order::github;
use crate::receiver::{Answer, Got, Receiver};

fn dari(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dari"));
    command.current_dir(dir).args(args).env("GITHUB_SECRET", "hunter2").env("TZ", "UTC");
    for name in ["DARI_CONFIG", "DARI_ADMIN_TOKEN", "DARI_LOG_FORMAT", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end: its code, and what it said.
pub async fn done(dir: &Path, args: &[&str]) -> (i32, String) {
    let mut command = dari(dir, args);
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap_or(-1), text)
}

pub fn folder(yaml: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dari.yaml"), yaml).unwrap();
    dir
}

/// `dari run`, which has said that it is ready. Dropped, it is killed.
pub struct Process {
    pub child: Child,
    pub hooks: String,
    said: Arc<Mutex<Vec<String>>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[]).await
    }

    /// With more variables.
    pub async fn start_with(dir: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = dari(dir, &["run"]);
        let mut child = command.envs(env.iter().copied()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (found, mut ready) = watch::channel(None);
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let told: Value = serde_json::from_str(&line).unwrap_or_default();
                if told["message"] == "the bridge is ready" {
                    found.send_replace(told["address"].as_str().map(str::to_owned));
                }
                heard.lock().unwrap().push(line);
            }
        });
        let address =
            tokio::time::timeout(PATIENCE, async { ready.wait_for(Option::is_some).await.map(|a| a.clone()) });
        let address = address.await.expect("ready in time");
        let Ok(Some(address)) = address else { panic!("it ended: {:#?}", said.lock().unwrap()) };
        Self { child, hooks: format!("http://{address}"), said }
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    pub fn signal(&self, name: &str) {
        let told = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(told.success());
    }

    /// Waits for the end; the exit code, `None` if a signal ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {:#?}", self.said.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn post(http: &reqwest::Client, process: &Process, body: &Value) -> u16 {
    let url = format!("{}/hooks/in", process.hooks);
    http.post(url).json(body).send().await.unwrap().status().as_u16()
}

fn news(url: &str) -> String {
    format!(
        r#"{HEAD}
sinks: {{ out: {{ http: {{ url: "{url}", allow_private: true }} }} }}
routes:
  news: {{ from: in, to: out, do: create, map: {{ s: "{{{{ subject }}}}", n: "{{{{ data.n }}}}" }} }}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_users_receiver_gets_a_signed_event_once() {
    let receiver = Receiver::ok().await;
    let dir = folder(&format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
sources: {{ git: {{ github-hook: {{ secrets: ["${{GITHUB_SECRET}}"] }} }} }}
sinks: {{ mine: {{ http: {{ url: "{}/in", allow_private: true }} }} }}
routes:
  issues:
    from: git
    types: ["issues.*"]
    to: mine
    do: create
    map: {{ title: "{{{{ data.issue.title }}}}", s: "{{{{ subject }}}}" }}
"#,
        receiver.url
    ));
    let mut process = Process::start(dir.path()).await;
    let http = http(PATIENCE);
    let body = r#"{ "action": "opened", "issue": { "number": 7, "title": "다리", "updated_at": "2026-11-21T00:00:00Z" }, "repository": { "full_name": "acme/bridge" } }"#;
    let send = async |body: &str, signed: &str, id: &str| {
        let request = http.post(format!("{}/hooks/git", process.hooks)).body(body.to_owned());
        let request = request.header("content-type", "application/json").header("x-github-event", "issues");
        let request = request.header("x-github-delivery", id).header("x-hub-signature-256", github("hunter2", signed));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(send(body, body, "d-1").await, (202, json!({"id": "d-1"})));
    let calls = receiver.reach(1).await;
    assert_eq!((calls[0].path.as_str(), &calls[0].body), ("/in", &json!({"title": "다리", "s": "acme/bridge#7"})));
    assert_eq!(send(body, body, "d-1").await.0, 202);
    let (status, problem) = send(&body.replace("다리", "다라"), body, "d-2").await;
    assert_eq!((status, problem["detail"].as_str()), (401, Some("the signature does not match")));
    let other = body.replace("7,", "8,");
    assert_eq!(send(&other, &other, "d-3").await.0, 202);
    receiver.reach(2).await;
    // The same questions have the same answers while it runs and after it has stopped.
    for running in [true, false] {
        if !running {
            process.signal("TERM");
            assert_eq!(process.ended().await, Some(0));
        }
        commands_tell_what_happened(dir.path()).await;
    }
    assert_eq!(receiver.count(), 2);
    let log = process.said.lock().unwrap().join("\n");
    assert!(!log.contains("hunter2"), "{log}");
}

async fn commands_tell_what_happened(dir: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, text) = done(dir, &["trace", "d-1"]).await;
        let whole = code == 0 && text.contains("ended      duplicate: was delivered already");
        if !whole && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        for words in ["issues.opened of git", "subject acme/bridge#7", "route issues → mine", "attempt 1 delivered 200"]
        {
            assert!(code == 0 && text.contains(words), "{words} in {text}");
        }
        break;
    }
    let (code, text) = done(dir, &["events"]).await;
    assert!(code == 0 && text.contains("d-1") && text.contains("issues: delivered"), "{text}");
    let (code, text) = done(dir, &["events", "--refused"]).await;
    assert!(code == 0 && text.contains("401") && text.contains("the signature does not match"), "{text}");
    let (code, text) = done(dir, &["sinks"]).await;
    assert!(code == 0 && text.contains("mine") && text.contains("ok"), "{text}");
    assert_eq!(done(dir, &["dead"]).await, (0, "no dead letters\n".to_owned()));
    let (code, text) = done(dir, &["sinks", "suspend", "mne"]).await;
    assert_eq!((code, text.as_str()), (1, "error: there is no sink \"mne\"; did you mean \"mine\"?\n"));
    let (code, text) = done(dir, &["trace", "d-99"]).await;
    assert!(code == 1 && text.contains("d-99"), "{text}");
}

/// Sends events of a few subjects of its own, one after the other, to whichever address is good now. What is refused or
/// cut off is not sent again: a sender that repeats would hide a loss.
async fn sender(number: usize, events: usize, mut address: watch::Receiver<String>) -> Vec<i64> {
    let http = http(Duration::from_secs(5));
    let mut taken = Vec::new();
    for k in 0..events {
        let n = i64::try_from(number * events + k).unwrap();
        let body = json!({"id": format!("e{n}"), "s": format!("{number}-{}", k % 3), "n": n});
        let url = address.borrow_and_update().clone();
        match http.post(url).json(&body).send().await {
            Ok(answer) if answer.status() == 202 => taken.push(n),
            Ok(answer) => panic!("{}", answer.status()),
            // Killed: the next one goes to its successor.
            Err(_) => drop(tokio::time::timeout(PATIENCE, address.changed()).await),
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p4_p6_nothing_is_lost_by_kill_9_at_full_speed() {
    const SENDERS: usize = 8;
    const EVENTS: usize = 250;
    const KILLS: usize = 2;
    let receiver = Receiver::ok().await;
    let dir = folder(&news(&receiver.url));
    let mut process = Process::start(dir.path()).await;
    let (address, known) = watch::channel(format!("{}/hooks/in", process.hooks));
    let senders: Vec<_> = (0..SENDERS).map(|number| tokio::spawn(sender(number, EVENTS, known.clone()))).collect();
    for kill in 0..KILLS {
        // Somewhere in the middle of what is left.
        let least = SENDERS * EVENTS * kill / (KILLS + 1);
        receiver.reach(least + rand::rng().random_range(50..400)).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        process = Process::start(dir.path()).await;
        address.send_replace(format!("{}/hooks/in", process.hooks));
    }
    let mut taken = HashSet::new();
    for sender in senders {
        taken.extend(sender.await.unwrap());
    }
    assert!(taken.len() >= SENDERS * EVENTS - SENDERS * KILLS, "{} were taken", taken.len());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, text) = done(dir.path(), &["routes", "--json"]).await;
        assert_eq!(code, 0, "{text}");
        let routes: Value = serde_json::from_str(&text).unwrap();
        if routes[0]["queued"] == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
    }
    let calls = receiver.calls();
    let came: HashSet<i64> = calls.iter().map(Got::n).collect();
    let lost: Vec<_> = taken.difference(&came).collect();
    assert!(lost.is_empty(), "answered 202 and lost: {lost:?}");
    let mut ids: HashMap<i64, HashSet<String>> = HashMap::new();
    for call in &calls {
        ids.entry(call.n()).or_default().insert(call.id.clone());
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "each repetition bears the first's webhook-id");
    let repeats = calls.len() - came.len();
    assert!(repeats <= 8 * KILLS, "{repeats} repeats of what was under way at {KILLS} kills");
    // In order of receipt per subject; a repetition comes at once after its first.
    let mut newest: HashMap<String, i64> = HashMap::new();
    for call in &calls {
        let before = newest.insert(call.subject(), call.n()).unwrap_or(-1);
        assert!(before <= call.n(), "{} came after {before} of its subject", call.n());
    }
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
}

/// Waits for so many calls of the second event; their ids.
async fn second_calls(receiver: &Receiver, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ids: Vec<_> = receiver.calls().into_iter().filter(|call| call.n() == 2).map(|call| call.id).collect();
        if ids.len() >= count {
            return ids;
        }
        assert!(Instant::now() < deadline, "{:#?}", receiver.calls());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_under_way_and_a_second_one_does_not_wait() {
    let receiver = Receiver::start(|_, _| Answer::Slow(Duration::from_millis(1500))).await;
    let dir = folder(&news(&receiver.url));
    let mut process = Process::start(dir.path()).await;
    let http = http(PATIENCE);
    assert_eq!(post(&http, &process, &json!({"id": "a", "s": "1", "n": 1})).await, 202);
    assert_eq!(post(&http, &process, &json!({"id": "b", "s": "1", "n": 2})).await, 202);
    let began = receiver.reach(1).await[0].at;
    process.signal("TERM");
    // Nothing more is received, long before the delivery ends.
    let url = format!("{}/hooks/in", process.hooks);
    loop {
        match http.post(&url).json(&json!({"id": "c", "s": "2", "n": 3})).send().await {
            Ok(answer) if answer.status() == 202 => {}
            Ok(answer) => assert_eq!(answer.status(), 503),
            Err(_) => break,
        }
        assert!(began.elapsed() < Duration::from_millis(1400), "it still listens");
    }
    assert_eq!(process.ended().await, Some(0));
    assert!(began.elapsed() >= Duration::from_millis(1500));
    let (_, text) = done(dir.path(), &["trace", "a"]).await;
    assert!(text.contains("attempt 1 delivered 200") && text.contains("ended      delivered"), "{text}");
    let (_, text) = done(dir.path(), &["trace", "b"]).await;
    assert!(text.contains("waits in the route's queue") || text.contains("matched"), "{text}");

    receiver.now(|_, _| Answer::Hold);
    let mut process = Process::start(dir.path()).await;
    let second = second_calls(&receiver, 1).await;
    process.signal("TERM");
    let http = crate::bridge::http(Duration::from_secs(1));
    while http.get(format!("{}/healthz", process.hooks)).send().await.is_ok() {}
    assert!(process.child.try_wait().unwrap().is_none(), "it waits for the delivery");
    let told = Instant::now();
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(1));
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    receiver.release();
    let mut process = Process::start(dir.path()).await;
    assert_eq!(second_calls(&receiver, 2).await[1], second[0], "the one in doubt, under its id");
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_store_has_one_bridge_and_a_broken_config_none() {
    let dir = folder(&news("http://127.0.0.1:1"));
    let mut process = Process::start(dir.path()).await;
    let (code, text) = done(dir.path(), &["run"]).await;
    let words = format!("is in use by another dari (process {})", process.child.id());
    assert!(code == 1 && text.contains(&words), "{code}: {text}");
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
    let broken = news("http://127.0.0.1:1").replace("from: in", "from: inn").replace("do: create", "do: creat");
    std::fs::write(dir.path().join("dari.yaml"), broken.replace("allow_private", "allow_privat")).unwrap();
    let (code, text) = done(dir.path(), &["run"]).await;
    assert_eq!(code, 78, "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (line, word) in lines.iter().zip(["`allow_private`", "`in`", "`create`"]) {
        let place: Vec<_> = line.splitn(4, ':').collect();
        assert!(place[0].ends_with("dari.yaml") && place[1].parse::<u32>().is_ok(), "{line}");
        assert!(line.contains(&format!("did you mean {word}?")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_has_something_does_not_vanish_silently() {
    let receiver = Receiver::ok().await;
    let dir = folder(&news(&receiver.url));
    let mut process = Process::start(dir.path()).await;
    let http = http(PATIENCE);
    assert_eq!(post(&http, &process, &json!({"id": "a", "s": "1", "n": 1})).await, 202);
    receiver.reach(1).await;
    let (code, text) = done(dir.path(), &["routes", "suspend", "news", "--why", "holiday"]).await;
    assert_eq!((code, text.as_str()), (0, "route news is suspended\n"));
    assert_eq!(post(&http, &process, &json!({"id": "b", "s": "1", "n": 2})).await, 202);
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));

    let write = |route: &str| {
        let yaml = news(&receiver.url).replace("  news: {", &format!("  {route}"));
        std::fs::write(dir.path().join("dari.yaml"), yaml).unwrap();
    };
    write("tidings: {");
    let (code, text) = done(dir.path(), &["run"]).await;
    let words = "route news is no longer in the config, but 1 messages wait for it and 1 links";
    assert!(code == 1 && text.contains(words) && text.contains("`was: news`"), "{code}: {text}");
    // It was refused, so nothing was changed.
    write("news: {");
    let mut process = Process::start(dir.path()).await;
    let (_, text) = done(dir.path(), &["routes"]).await;
    assert!(text.contains("route suspended since") && text.contains(": holiday"), "{text}");
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));

    write("tidings: { was: news, ");
    // A command before the next start finds the route under its new name, and does not stand in its way.
    let (code, text) = done(dir.path(), &["routes"]).await;
    assert!(code == 0 && text.contains("tidings") && !text.contains("no longer in the config"), "{code}: {text}");
    let mut process = Process::start(dir.path()).await;
    let (_, text) = done(dir.path(), &["routes"]).await;
    assert!(text.contains("tidings") && text.contains("route suspended since") && text.contains(": holiday"), "{text}");
    assert_eq!(done(dir.path(), &["routes", "resume", "tidings"]).await.0, 0);
    assert_eq!(receiver.reach(2).await[1].n(), 2);
    // What the former name has delivered is known under the new one.
    assert_eq!(post(&http, &process, &json!({"id": "a", "s": "1", "n": 1})).await, 202);
    assert_eq!(post(&http, &process, &json!({"id": "c", "s": "1", "n": 3})).await, 202);
    assert_eq!(receiver.reach(3).await[2].n(), 3);
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
    assert_eq!(receiver.count(), 3);
}
