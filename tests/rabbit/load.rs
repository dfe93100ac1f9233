//! A whole bridge, webhooks into it, and a ledger of both ends: what was answered 2xx, and what the receiver got.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dari::admin::Operator;
use dari::app::{Bridge, Options};
use dari::clock::Clock;
use dari::config::Config;
use dari::connectors::client::Client;
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::node;
use crate::receiver::Receiver;

/// How long what must happen may take: a broker that says nothing is noticed after half a minute.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Waits for a condition.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A config: webhooks in, HTTP out.
pub fn config(hooks: &str, broker: &str, prefix: &str, sink: &str) -> String {
    format!(
        r#"
listen: {{ hooks: "{hooks}" }}
store: {{ url: "sqlite://dari.db" }}
min_free: 1KiB
broker: {{ {broker}, prefix: {prefix} }}
sources:
  in: {{ webhook: {{ verify: none, event: {{ id: "{{{{ body.id | default(omit) }}}}", type: "thing.changed", subject: "{{{{ body.s | default(omit) }}}}" }} }} }}
sinks:
  out: {{ http: {{ url: "{sink}", allow_private: true }} }}
routes:
  news:
    from: in
    types: thing.*
    to: out
    do: create
    on_doubt: retry
    map: {{ s: "{{{{ subject | default('') }}}}", n: "{{{{ data.n | default(0) }}}}" }}
    retry: {{ first: 1s, factor: 1, max: 1s }}
"#
    )
}

/// The same with the broker at one URL.
pub fn config_at(hooks: &str, url: &str, prefix: &str, sink: &str) -> String {
    config(hooks, &format!("url: \"{url}\""), prefix, sink)
}

/// Writes a config into a folder and loads it.
pub fn load(dir: &Path, text: &str, clock: &Clock) -> Arc<Config> {
    let file = dir.join("dari.yaml");
    std::fs::write(&file, text).unwrap();
    let client = Client::new().unwrap();
    let config = dari::config::load(&file, &|_| None, &client, clock);
    Arc::new(config.unwrap_or_else(|faults| panic!("{faults}")))
}

/// A bridge that runs, and its receiver.
pub struct Running {
    /// Of the public listener.
    pub url: String,
    /// Where webhooks go.
    pub hooks: String,
    pub receiver: Receiver,
    pub operator: Arc<Operator>,
    _dir: tempfile::TempDir,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// On the broker of a URL.
    pub async fn start(url: &str) -> Self {
        Self::on(&format!("url: \"{url}\"")).await
    }

    /// With these keys of `broker`.
    pub async fn on(broker: &str) -> Self {
        let receiver = Receiver::ok().await;
        let text = config("127.0.0.1:0", broker, &node::prefix(), &receiver.url);
        Self::with(&text, receiver).await
    }

    /// With a whole config.
    pub async fn with(text: &str, receiver: Receiver) -> Self {
        Self::run(text, receiver, &Options::default()).await
    }

    /// The same as a dry run.
    pub async fn dry(text: &str, receiver: Receiver) -> Self {
        Self::run(text, receiver, &Options { dry_run: true, ..Options::default() }).await
    }

    async fn run(text: &str, receiver: Receiver, options: &Options) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::system(rand::random()));
        let config = load(dir.path(), text, &clock);
        let bridge = Bridge::build(config, clock, options).await.unwrap_or_else(|e| panic!("{e}"));
        let (url, operator, stop) =
            (format!("http://{}", bridge.hooks_address()), bridge.operator(), CancellationToken::new());
        let until = stop.clone();
        let task = tokio::spawn(async move { bridge.run(until).await.unwrap() });
        Self { hooks: format!("{url}/hooks/in"), url, receiver, operator, _dir: dir, stop, task }
    }

    /// How many events wait in the spool.
    pub fn spooled(&self) -> u64 {
        self.operator.broker.spooled().map_or(0, |waiting| waiting.events)
    }

    /// Waits until nothing is in any queue or in the spool.
    pub async fn drained(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let depths = self.operator.broker.depths().await;
            let empty = depths.as_ref().is_ok_and(|all| all.iter().all(|depth| depth.messages == 0));
            if empty && self.spooled() == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "not drained: {depths:?}, {} in the spool", self.spooled());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends the load, and checks the ledgers: lost 0, twice 0.
    pub async fn settle(&self, load: Load) {
        let answered = load.end().await;
        self.drained().await;
        let numbers = self.receiver.numbers();
        let received: BTreeSet<i64> = numbers.iter().copied().collect();
        let lost: Vec<_> = answered.difference(&received).collect();
        assert!(lost.is_empty(), "{} of {} were lost: {lost:?}", lost.len(), answered.len());
        let twice = repeated(&numbers);
        assert!(twice.is_empty(), "received more than once: {twice:?}");
        in_order(&self.receiver);
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Makes sure that the events of one subject came in their order; a repetition has its place already.
pub fn in_order(receiver: &Receiver) {
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for got in receiver.calls().into_iter().filter(|got| seen.insert(got.n())) {
        let before = last.insert(got.subject(), got.n()).unwrap_or(-1);
        assert!(before < got.n(), "{before} came before {} of {}", got.n(), got.subject());
    }
}

/// What is there more than once, and how often.
pub fn repeated(numbers: &[i64]) -> BTreeMap<i64, usize> {
    let mut counts = BTreeMap::new();
    for n in numbers {
        *counts.entry(*n).or_insert(0) += 1;
    }
    counts.retain(|_, count| *count > 1);
    counts
}

/// Sends webhooks from several sides; what is not answered 2xx is sent again under the same id.
pub struct Load {
    answered: Arc<Mutex<BTreeSet<i64>>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    pub fn start(hooks: &str, sides: usize) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let (answered, stop, next) = (Arc::<Mutex<BTreeSet<i64>>>::default(), Arc::default(), Arc::default());
        let mut tasks = JoinSet::new();
        for number in 0..sides {
            let side = Side {
                number,
                http: http.clone(),
                hooks: hooks.to_owned(),
                answered: Arc::clone(&answered),
                stop: Arc::clone(&stop),
                next: Arc::clone(&next),
            };
            tasks.spawn(side.run());
        }
        Self { answered, stop, tasks }
    }

    pub fn answered(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    /// Waits until so many more were answered 2xx.
    pub async fn more(&self, count: usize) {
        let goal = self.answered() + count;
        until("webhooks are answered 2xx", || self.answered() >= goal).await;
    }

    /// Ends the load; everything that was answered 2xx.
    pub async fn end(mut self) -> BTreeSet<i64> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.answered.lock().unwrap())
    }
}

struct Side {
    number: usize,
    http: reqwest::Client,
    hooks: String,
    answered: Arc<Mutex<BTreeSet<i64>>>,
    stop: Arc<AtomicBool>,
    next: Arc<AtomicI64>,
}

impl Side {
    /// Its own, so that what it sends of one is in the order of the numbers.
    fn subject(&self, n: i64) -> String {
        format!("s{}-{}", self.number, n % 23)
    }

    async fn run(self) {
        while !self.stop.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let body = json!({"id": format!("e{n}"), "s": self.subject(n), "n": n});
            loop {
                let answer = self.http.post(&self.hooks).json(&body).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    break;
                }
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            self.answered.lock().unwrap().insert(n);
            // A load, not a flood: others run on this machine.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}
