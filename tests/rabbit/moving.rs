//! `dari move`: what is queued in the store's file goes to RabbitMQ, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dari::app::{Bridge, Options};
use dari::broker::embedded::Embedded;
use dari::broker::{Broker, JOURNAL};
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::event::{Event, NewEvent, Payload};
use dari::outcome::Scope;
use dari::store::journal::{EventFilter, Step};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::keeping::{all, ready};
use crate::node::{self, Site};
use crate::receiver::{Answer, Receiver};

/// How long a part of a test may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// Numbers of events: the first waits for its third attempt, the second for an hour.
const ALL: i64 = 2_802;
const SUBJECTS: i64 = 21;

fn config(broker: Option<(&str, &str)>, sink: &str) -> String {
    let broker = broker.map(|(url, prefix)| format!("broker: {{ url: \"{url}\", prefix: {prefix} }}\n"));
    format!(
        r#"
listen: {{ hooks: "127.0.0.1:0" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
{}sources:
  in: {{ webhook: {{ verify: none, event: {{ id: "{{{{ body.id }}}}", type: "thing.changed", subject: "{{{{ body.s }}}}" }} }} }}
sinks:
  out: {{ http: {{ url: "{sink}", allow_private: true, limits: {{ concurrency: 16 }} }} }}
routes:
  news:
    from: in
    to: out
    do: create
    on_doubt: retry
    map: {{ s: "{{{{ subject }}}}", n: "{{{{ data.n }}}}" }}
    retry: {{ first: 1s, factor: 1, max: 1s }}
"#,
        broker.unwrap_or_default()
    )
}

fn body(n: i64) -> Value {
    let subject = if n == 1 { "hour".to_owned() } else { format!("s{}", n % SUBJECTS) };
    json!({"id": format!("e{n}"), "s": subject, "n": n})
}

/// The event that a webhook with this body becomes.
fn made(clock: &Clock, n: i64) -> Arc<Event> {
    let body = body(n);
    let mut new = NewEvent::new("thing.changed", Payload::from_value(&body));
    new.id = body["id"].as_str().map(str::to_owned);
    new.subject = body["s"].as_str().map(str::to_owned);
    Arc::new(new.stamp("in", clock).unwrap())
}

/// A bridge in this process.
struct Running {
    operator: Arc<dari::admin::Operator>,
    url: String,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), dari::app::AppError>>,
}

impl Running {
    async fn start(file: &Path) -> Self {
        let (client, clock) = (Client::new().unwrap(), Clock::system(7));
        let config = dari::config::load(file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
        let bridge = Bridge::build(Arc::new(config), clock, &Options::default()).await.unwrap();
        let (operator, url) = (bridge.operator(), format!("http://{}", bridge.hooks_address()));
        let stop = CancellationToken::new();
        Self { operator, url, task: tokio::spawn(bridge.run(stop.clone())), stop }
    }

    /// The delivery's steps, as far as they were written.
    async fn steps(&self, event: &str) -> Vec<Step> {
        self.operator.journal.flush().await.unwrap();
        let journeys = self.operator.trace(event).await.unwrap_or_default();
        let routes = journeys.into_iter().flat_map(|journey| journey.routes);
        routes.flat_map(|route| route.steps).map(|entry| entry.step).collect()
    }

    async fn waits(&self, event: &str, wanted: u32) {
        let deadline = Instant::now() + PATIENCE;
        let waits = |step: &Step| matches!(step, Step::Waiting { attempt, .. } if *attempt == wanted);
        while !self.steps(event).await.iter().any(waits) {
            assert!(Instant::now() < deadline, "{event}: {:?}", self.steps(event).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        drop(self.operator);
        self.task.await.unwrap().unwrap();
    }
}

fn dari(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dari"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn done(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = dari(dir, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Runs a command that must fail; what it says.
async fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = done(dir, arguments).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    said
}

/// A folder with `old.yaml` and `new.yaml`.
fn folder(url: &str, prefix: &str, sink: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old.yaml"), config(None, sink)).unwrap();
    std::fs::write(dir.path().join("new.yaml"), config(Some((url, prefix)), sink)).unwrap();
    dir
}

async fn depths(dir: &Path) -> BTreeMap<String, (u64, u64)> {
    let parts = Embedded::open(&dir.join("dari.db"), Clock::system(1)).unwrap();
    let depths = parts.broker.depths().await.unwrap();
    parts.close().await;
    depths.into_iter().map(|depth| (depth.queue, (depth.messages, depth.waiting))).collect()
}

/// Fills the old queues: one message waits for its third attempt, one for an hour, the others are fresh, and the journal
/// knows none of those.
async fn fill(dir: &Path) {
    let bridge = Running::start(&dir.join("old.yaml")).await;
    let http = reqwest::Client::new();
    for n in [0, 1] {
        let answer = http.post(format!("{}/hooks/in", bridge.url)).json(&body(n)).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
    bridge.waits("e0", 3).await;
    bridge.waits("e1", 2).await;
    bridge.stop().await;
    let clock = Clock::system(1);
    let parts = Embedded::open(&dir.join("dari.db"), clock.clone()).unwrap();
    for first in (2..ALL).step_by(400) {
        let events = (first..ALL.min(first + 400)).map(|n| made(&clock, n)).collect();
        parts.broker.publish(events).await.unwrap();
    }
    parts.close().await;
}

/// Begins a move, and kills it once a part of the queue is over.
async fn kill_in_the_middle(dir: &Path, server: &str, queue: &str) {
    let mut child = dari(dir, &["move", "old.yaml", "new.yaml"]).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // 500 are copied at once and taken out of the old queue then: with one more, some are taken out.
    while depth(server, queue).await <= 500 {
        assert!(Instant::now() < deadline, "nothing is moved");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until every event that did not wait in the old broker has come, once.
async fn all_fresh_ones_came(receiver: &Receiver) {
    let deadline = Instant::now() + PATIENCE;
    let expected: Vec<i64> = (2..ALL).collect();
    loop {
        let mut came: Vec<i64> = receiver.numbers().into_iter().filter(|n| *n > 1).collect();
        came.sort_unstable();
        if came == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{} of {} came", came.len(), expected.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p4_a_move_that_is_killed_goes_on_and_everything_is_delivered_once_and_in_order() {
    let server = node::server().await;
    let receiver = Receiver::start(|got, before| match (got.n(), before) {
        (0, 0) => Answer::Later(503, 1),
        (0, before) if before < 3 => Answer::Later(503, 15),
        (1, _) => Answer::Later(503, 3_600),
        _ => Answer::Ok,
    })
    .await;
    let prefix = node::prefix();
    let dir = folder(&server.url, &prefix, &receiver.url);
    fill(dir.path()).await;
    let fresh = u64::try_from(ALL - 2).unwrap();
    let before = depths(dir.path()).await;
    assert_eq!(before[JOURNAL], (fresh, 0));
    assert_eq!(before["news"], (fresh + 2, 2));
    let left = refused(dir.path(), &["run", "new.yaml"]).await;
    assert!(left.contains("`dari move OLD NEW`"), "{left}");

    kill_in_the_middle(dir.path(), &server.url, &format!("{prefix}.route.news.v1")).await;
    let half = depths(dir.path()).await;
    assert_eq!(half[JOURNAL].0, 0);
    assert!(half["news"].0 > 0 && half["news"].0 < fresh, "it was killed in the middle: {half:?}");
    let begun = refused(dir.path(), &["run", "old.yaml"]).await;
    assert!(begun.contains("was begun and is not over: end it with the same `dari move OLD NEW`"), "{begun}");
    refused(dir.path(), &["run", "new.yaml"]).await;

    let output = done(dir.path(), &["move", "old.yaml", "new.yaml", "--json"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let moved: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of =
        |queue: &str, messages: u64| json!({"queue": queue, "messages": messages, "waiting": 0, "moved": messages});
    assert_eq!(
        moved,
        json!({"queues": [of(JOURNAL, fresh), of("news", fresh + 2)], "spooled": 0, "unreadable": 0}),
        "counted from the beginning"
    );
    assert!(depths(dir.path()).await.values().all(|depth| *depth == (0, 0)));

    let bridge = Running::start(&dir.path().join("new.yaml")).await;
    all_fresh_ones_came(&receiver).await;
    let steps = bridge.steps("e0").await;
    let third = |step: &Step| matches!(step, Step::Attempt { attempt: 3, outcome, .. } if outcome == "delivered");
    assert!(steps.iter().any(third), "{steps:?}");
    let mut last = BTreeMap::<String, i64>::new();
    for got in receiver.calls().iter().skip(3) {
        let before = last.insert(got.subject(), got.n());
        assert!(before.is_none_or(|n| n < got.n()), "{} came after {before:?}", got.n());
    }
    let called: Vec<i64> = receiver.numbers().into_iter().filter(|n| *n < 2).collect();
    assert_eq!(called.iter().filter(|n| **n == 0).count(), 3, "{called:?}");
    assert_eq!(called.iter().filter(|n| **n == 1).count(), 1, "{called:?}");
    assert_eq!(ready(&server.url, &format!("{prefix}.wait.11.v1")).await, 1, "one waits for an hour");
    let every = EventFilter { limit: 10_000, ..EventFilter::default() };
    let known = bridge.operator.events(every).await.unwrap().len();
    assert_eq!(i64::try_from(known).unwrap(), ALL, "the journal knows all");
    bridge.stop().await;
}

/// How many messages are ready in a queue that may not be there yet.
async fn depth(url: &str, queue: &str) -> u32 {
    let (url, queue) = (url.to_owned(), queue.to_owned());
    tokio::spawn(async move { ready(&url, &queue).await }).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_cannot_be_made_is_refused_in_words_and_moves_nothing() {
    let server = node::server().await;
    let site = Site::new(&server.url).await;
    let dir = folder(&server.url, &site.prefix, "http://127.0.0.1:9/");
    let go = ["move", "old.yaml", "new.yaml"];
    let none = refused(dir.path(), &go).await;
    assert!(none.contains("dari.db does not exist: there is nothing to move"), "{none}");

    let bridge = Running::start(&dir.path().join("old.yaml")).await;
    bridge.operator.suspend(Scope::Sink, "out", None).await.unwrap();
    bridge.operator.broker.publish(vec![made(&Clock::system(1), 2)]).await.unwrap();
    let held = refused(dir.path(), &go).await;
    assert!(held.contains("dari.db is in use by another dari (process"), "{held}");
    bridge.stop().await;

    let owned = refused(dir.path(), &go).await;
    assert!(owned.contains("belong to a bridge with another store; give this one another `prefix`"), "{owned}");

    let new = config(Some((&server.url, &node::prefix())), "http://127.0.0.1:9/");
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
    write("new.yaml", new.replace("\n  news:", "\n  olds:"));
    let names = refused(dir.path(), &go).await;
    assert!(
        names.contains("the routes are not the same: only in old.yaml: news; only in new.yaml: olds. Move first"),
        "{names}"
    );
    write("new.yaml", new.replace("dari.db", "other.db"));
    let store = refused(dir.path(), &go).await;
    assert!(store.contains("a move is within one store"), "{store}");
    write("new.yaml", new);
    let back = refused(dir.path(), &["move", "new.yaml", "old.yaml"]).await;
    assert!(back.contains("messages cannot be moved back from RabbitMQ: run with new.yaml until"), "{back}");
    let nowhere = refused(dir.path(), &["move", "old.yaml", "old.yaml"]).await;
    assert!(nowhere.contains("old.yaml has no `broker`: there is nowhere to move to"), "{nowhere}");
    write("postgres.yaml", config(None, "http://127.0.0.1:9/").replace("sqlite://dari.db", "postgres://dari@db/dari"));
    let output = done(dir.path(), &["move", "old.yaml", "postgres.yaml"]).await;
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a PostgreSQL store does not work yet"));
    assert_eq!(depths(dir.path()).await["news"], (1, 0), "it is all where it was");
    let bridge = Running::start(&dir.path().join("old.yaml")).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_takes_the_queue_of_a_route_that_is_switched_off_and_a_spool_that_was_left() {
    let server = node::server().await;
    let receiver = Receiver::ok().await;
    let prefix = node::prefix();
    let dir = folder(&server.url, &prefix, &receiver.url);
    let clock = Clock::system(1);
    let parts = Embedded::open(&dir.path().join("dari.db"), clock.clone()).unwrap();
    parts.broker.declare(vec![all("news")]).await.unwrap();
    parts.broker.publish(vec![made(&clock, 2)]).await.unwrap();
    // A spool of an earlier time.
    let refusing: Arc<dyn Broker> = parts.broker.clone();
    let spool = dari::broker::spool::Spool::open(&dir.path().join("spool"), 1 << 20, refusing, &clock).unwrap();
    parts.broker.close();
    spool.publish(vec![made(&clock, 3)]).await.unwrap();
    spool.close().await;
    parts.close().await;
    for name in ["old.yaml", "new.yaml"] {
        let file = dir.path().join(name);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("  news:\n", "  news:\n    enabled: false\n")).unwrap();
    }
    let output = done(dir.path(), &["move", "old.yaml", "new.yaml"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).lines().map(str::trim).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(said, @r"
    queue  to move
    news   1
    1 events of the spool are published after them
    queue  moved
    news   1
    1 events of the spool were published
    everything is in RabbitMQ: start the bridge with new.yaml
    ");
    assert_eq!(ready(&server.url, &format!("{prefix}.route.news.v1")).await, 1);
    assert_eq!(
        ready(&server.url, &format!("{prefix}.journal.v1")).await,
        1,
        "the spool's event goes where it is bound"
    );

    // Switched on again it goes on with what was there.
    std::fs::write(dir.path().join("new.yaml"), config(Some((&server.url, &prefix)), &receiver.url)).unwrap();
    let bridge = Running::start(&dir.path().join("new.yaml")).await;
    receiver.reach(1).await;
    assert_eq!(receiver.numbers(), [2]);
    bridge.stop().await;
}
