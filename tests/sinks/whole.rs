//! A whole bridge beside a vendor's sandbox: from a config file and real requests to what the vendor was called with.

use std::sync::Arc;
use std::time::Duration;

use dari::admin::Operator;
use dari::app::{AppError, Bridge, Options};
use dari::clock::Clock;
use dari::connectors::Manifest;
use dari::connectors::client::Client;
use dari::connectors::sandbox::{self, Served};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const HEAD: &str = r#"
listen: { hooks: "127.0.0.1:0", public: "https://bridge.acme.kr" }
store: { url: "sqlite://dari.db" }
min_free: 1KiB
time_zone: Asia/Seoul
"#;

/// A bridge at work.
pub struct Whole {
    pub served: Served,
    pub operator: Arc<Operator>,
    /// Where its hooks are reached.
    pub hooks: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), AppError>>,
    _dir: tempfile::TempDir,
}

/// A vendor's sandbox, and the clock that it goes by.
pub async fn played(manifest: &Manifest) -> (Clock, Served) {
    let clock = Clock::system(7);
    let router = (manifest.sandbox.unwrap().router)(clock.clone());
    let served = sandbox::serve(router, clock.clone(), sandbox::LOOPBACK).await.unwrap();
    (clock, served)
}

impl Whole {
    /// Starts it; `URL` in the config stands for the sandbox.
    pub async fn start((clock, served): (Clock, Served), config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.yaml");
        std::fs::write(&file, format!("{HEAD}{config}").replace("URL", &served.url)).unwrap();
        let client = Client::new().unwrap();
        let config = dari::config::load(&file, &|_| None, &client, &clock).unwrap_or_else(|faults| panic!("{faults}"));
        let bridge = Bridge::build(Arc::new(config), clock.clone(), &Options::default()).await.unwrap();
        let (operator, stop) = (bridge.operator(), CancellationToken::new());
        let hooks = format!("http://{}/hooks", bridge.hooks_address());
        let task = tokio::spawn(bridge.run(stop.clone()));
        Self { served, operator, hooks, stop, task, _dir: dir }
    }

    /// Posts JSON to a source's hook; it has to be taken.
    pub async fn post(&self, source: &str, body: &Value) {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let answer = client.post(format!("{}/{source}", self.hooks)).json(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 202);
    }

    /// Waits until the sandbox's state fits.
    pub async fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let state = self.served.state().await;
                if fits(&state) {
                    return state;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if let Ok(state) = tokio::time::timeout(Duration::from_secs(30), wait).await {
            return state;
        }
        panic!("waited in vain for {what}: {}", self.served.state().await)
    }

    /// Waits until no route has anything to do.
    pub async fn idle(&self) {
        let wait = async {
            while self.operator.routes().await.unwrap().iter().any(|route| route.queued > 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("all queues are empty");
    }

    pub async fn stop(self) -> Served {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.served
    }
}
