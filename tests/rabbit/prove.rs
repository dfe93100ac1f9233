//! The promises on the real binary: killed every few seconds, over RabbitMQ, with destinations that lose their answers,
//! are busy, slow and down; and a ledger of what was taken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self, Fault, Served};
use dari::connectors::works;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::node;
use crate::receiver::{Answer, Got, Receiver};
use crate::whole::spawn;

/// How long the troubles last.
const TROUBLES: Duration = Duration::from_secs(25);
/// How long all may take to end afterwards.
const QUIET: Duration = Duration::from_mins(2);
const SUBJECTS: i64 = 12;

/// What goes wrong at the groupware.
const FAULTS: [Fault; 6] = [
    Fault::TooManyRequests { after: 1 },
    Fault::ServerError,
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::Garbage,
    Fault::Slow { ms: 400 },
];

fn config(hooks: &str, broker: &str, crm: &str, erp: &str) -> String {
    let prefix = node::prefix();
    let (id, secret, token) = (works::sandbox::CLIENT_ID, works::sandbox::CLIENT_SECRET, works::sandbox::TOKEN);
    format!(
        r#"
listen: {{ hooks: "{hooks}" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
broker: {{ url: "{broker}", prefix: {prefix} }}
sources:
  in: {{ webhook: {{ verify: none, event: {{ id: "{{{{ body.id }}}}", type: thing.changed, subject: "{{{{ body.s }}}}", version: "{{{{ body.n }}}}" }} }} }}
accounts: {{ daou: {{ works: {{ client_id: {id}, client_secret: {secret}, url: "{crm}" }} }} }}
sinks:
  crm: {{ works: {{ account: daou, token: {token}, key: id, fields: {{ id: text, Title: text }} }} }}
  erp: {{ http: {{ url: "{erp}", allow_private: true }} }}
routes:
  state: {{ from: in, to: crm, do: upsert, map: {{ id: "{{{{ subject }}}}", Title: "{{{{ data.n }}}}" }}, retry: {{ first: 500ms, factor: 1, max: 500ms }} }}
  every: {{ from: in, to: erp, do: create, on_doubt: retry, map: {{ s: "{{{{ subject }}}}", n: "{{{{ data.n }}}}" }}, retry: {{ first: 500ms, factor: 1, max: 500ms }} }}
"#
    )
}

/// Sends one event until it is taken.
async fn send(http: &reqwest::Client, url: &str, n: i64) {
    let body = json!({"id": format!("e{n}"), "s": format!("s{}", n % SUBJECTS), "n": n});
    loop {
        match http.post(url).json(&body).send().await {
            Ok(answer) if answer.status() == 202 => return,
            _ => tokio::time::sleep(Duration::from_millis(30)).await,
        }
    }
}

async fn records(crm: &Served) -> BTreeMap<String, Vec<i64>> {
    let mut records: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for record in crm.state().await["records"].as_array().unwrap() {
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        records.entry(text("id")).or_default().push(text("Title").parse().unwrap());
    }
    records
}

/// Decides on what is held, by the truth, as a person would who looks into the groupware. True while there is any.
async fn decide(socket: &reqwest::Client, crm: &Served) -> Option<bool> {
    let ask = |path: &str| socket.get(format!("http://localhost{path}"));
    let held: Value = ask("/api/dead?class=held").send().await.ok()?.json().await.ok()?;
    let held = held.as_array()?.clone();
    for letter in &held {
        let subject = letter["letter"]["event"]["subject"].as_str()?;
        let made = records(crm).await.contains_key(subject);
        let mark = if made { json!({"delivered": {"id": subject}}) } else { json!("again") };
        let path = format!("http://localhost/api/dead/{}/mark", letter["id"]);
        socket.post(path).json(&mark).send().await.ok()?;
    }
    Some(!held.is_empty())
}

async fn queued(socket: &reqwest::Client) -> Option<u64> {
    let routes = socket.get("http://localhost/api/routes").send().await.ok()?;
    let routes: Value = routes.json().await.ok()?;
    routes.as_array()?.iter().map(|route| route["queued"].as_u64()).sum()
}

fn log(dir: &Path) -> String {
    let text = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    text.lines().rev().take(40).collect::<Vec<_>>().join("\n")
}

/// Waits until everything that was sent is where it belongs and nothing waits; the records that there are to be then.
async fn all_has_come(
    sent: i64,
    crm: &Served,
    erp: &Receiver,
    socket: &reqwest::Client,
    told: &impl Fn() -> String,
) -> BTreeMap<String, Vec<i64>> {
    let expected: BTreeMap<String, Vec<i64>> = (0..SUBJECTS.min(sent))
        .map(|s| (format!("s{s}"), vec![(0..sent).rev().find(|n| n % SUBJECTS == s).expect("one at the least")]))
        .collect();
    let all: BTreeSet<i64> = (0..sent).collect();
    let came = || erp.calls().iter().map(Got::n).collect::<BTreeSet<_>>();
    let end = Instant::now() + QUIET;
    // What waits in the broker for its time is in no queue: the end is what is there in the end.
    while came() != all
        || records(crm).await != expected
        || decide(socket, crm).await != Some(false)
        || queued(socket).await != Some(0)
    {
        if Instant::now() > end {
            let missing: Vec<_> = all.difference(&came()).copied().collect();
            let (queued, records) = (queued(socket).await, records(crm).await);
            panic!("{queued:?} wait, {missing:?} never came, {records:?}, {}", told());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p2_p3_p6_nothing_is_lost_or_done_twice_by_kills_and_lost_answers() {
    let seed = std::env::var("DARI_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
    println!("DARI_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let server = node::server().await;
    let clock = Clock::system(7);
    let crm = sandbox::serve(works::sandbox::router(clock.clone()), clock, sandbox::LOOPBACK).await.unwrap();
    crm.faults.at_random(0.15, seed, &FAULTS);
    // Each seventh call is refused for now.
    let erp =
        Receiver::start(|_, before| if before % 7 == 3 { Answer::Status(503, "later") } else { Answer::Ok }).await;
    let dir = tempfile::tempdir().unwrap();
    let hooks = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    std::fs::write(dir.path().join("dari.yaml"), config(&hooks, &server.url, &crm.url, &erp.url)).unwrap();
    // For the process's TLS provider, which every HTTP client needs.
    Client::new().unwrap();
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let socket = reqwest::Client::builder().unix_socket(dir.path().join("dari.db.sock"));
    let socket = socket.timeout(Duration::from_secs(5)).build().unwrap();

    let mut child = spawn(dir.path());
    let (start, url) = (Instant::now(), format!("http://{hooks}/hooks/in"));
    let (mut sent, mut kills) = (0, 0);
    let mut next = start + Duration::from_millis(dice.random_range(2_000..5_000));
    while start.elapsed() < TROUBLES {
        send(&http, &url, sent).await;
        sent += 1;
        if dice.random_bool(0.1) {
            // Received twice.
            send(&http, &url, dice.random_range(0..sent)).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(5..60))).await;
        _ = decide(&socket, &crm).await;
        if Instant::now() > next {
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            child = spawn(dir.path());
            next = Instant::now() + Duration::from_millis(dice.random_range(2_000..5_000));
        }
    }
    crm.faults.clear();
    let told = || format!("{kills} kills: {}", log(dir.path()));
    let expected = all_has_come(sent, &crm, &erp, &socket, &told).await;
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(records(&crm).await, expected, "one record a subject, as of its newest event; {kills} kills");
    let mut ids = BTreeMap::<i64, BTreeSet<String>>::new();
    for got in erp.calls() {
        ids.entry(got.n()).or_default().insert(got.id);
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "what comes again is known by its webhook-id");
    println!("{sent} events, {kills} kills, {} calls of the groupware", crm.calls.count());
}
