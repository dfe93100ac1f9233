//! A bridge in this process, from a config file in a folder of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dari::admin::reload::Reloaded;
use dari::admin::views::{Journey, RouteJourney};
use dari::admin::{Desk, Operator};
use dari::app::{AppError, Bridge, Options};
use dari::clock::Clock;
use dari::config::Config;
use dari::connectors::Manifest;
use dari::connectors::client::Client;
use dari::outcome::Scope;
use dari::store::journal::Step;
use dari::store::{DeadFilter, StoredDead, Suspension};
use jiff::SignedDuration;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The longest that anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What every config of these tests begins with.
pub const HEAD: &str = r#"
listen: { hooks: "127.0.0.1:0" }
store: { url: "sqlite://dari.db" }
min_free: 1KiB
sources:
  in: { webhook: { verify: none, event: { id: "{{ body.id | default(omit) }}", type: "{{ body.kind | default('thing.changed') }}", subject: "{{ body.s | default(omit) }}", version: "{{ body.v | default(omit) }}" } } }
"#;

/// A client of its own, with its own connections.
pub fn http(timeout: Duration) -> reqwest::Client {
    // For the process's TLS provider, without which no client can be built.
    Client::new().unwrap();
    reqwest::Client::builder().timeout(timeout).build().unwrap()
}

/// A folder with a config, and the clock of the bridges that run there.
pub struct World {
    pub dir: tempfile::TempDir,
    pub clock: Clock,
}

impl World {
    /// With [`HEAD`] before `yaml`.
    pub fn new(yaml: &str) -> Self {
        Self::whole(&format!("{HEAD}{yaml}"))
    }

    /// With this config alone.
    pub fn whole(yaml: &str) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap(), clock: Clock::system(7) };
        world.write(yaml);
        world
    }

    /// Writes another config.
    pub fn write(&self, yaml: &str) {
        std::fs::write(self.dir.path().join("dari.yaml"), yaml).unwrap();
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("dari.db.sock")
    }

    /// Moves the bridge's clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(SignedDuration::try_from(by).unwrap());
    }

    pub async fn try_start(&self) -> Result<Running, AppError> {
        self.try_start_with(dari::connectors::ALL, &Options::default()).await
    }

    /// With other connectors.
    pub async fn start_with(&self, manifests: &[&'static Manifest]) -> Running {
        let started = self.try_start_with(manifests, &Options::default()).await;
        started.unwrap_or_else(|error| panic!("{error}"))
    }

    /// With other options.
    #[allow(dead_code, reason = "not every binary does")]
    pub async fn start_as(&self, options: &Options) -> Running {
        let started = self.try_start_with(dari::connectors::ALL, options).await;
        started.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_start_with(&self, manifests: &[&'static Manifest], options: &Options) -> Result<Running, AppError> {
        let client = Client::new().unwrap();
        let file = self.dir.path().join("dari.yaml");
        let config = dari::config::load_with(manifests, &file, &|name| Some(secret(name)), &client, &self.clock);
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let options = Options { load: options.load.or(Some(load)), ..options.clone() };
        let bridge = Bridge::build(Arc::new(config), self.clock.clone(), &options).await?;
        let (operator, desk, stop) = (bridge.operator(), bridge.desk(), CancellationToken::new());
        let (hooks, admin) = (format!("http://{}", bridge.hooks_address()), bridge.admin_address());
        let admin = admin.map(|address| format!("http://{address}"));
        let task = tokio::spawn(bridge.run(stop.clone()));
        let http = http(PATIENCE);
        Ok(Running { hooks, admin, operator: Some(operator), desk: Some(desk), http, stop, task: Some(task) })
    }

    pub async fn start(&self) -> Running {
        self.try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }
}

fn secret(name: &str) -> String {
    format!("hunter2-{}", name.to_lowercase())
}

fn load(file: &Path) -> Result<Config, String> {
    let config = dari::config::load(file, &|name| Some(secret(name)), &Client::new().unwrap(), &Clock::system(7));
    config.map_err(|faults| faults.to_string())
}

/// A bridge at work.
pub struct Running {
    pub hooks: String,
    pub admin: Option<String>,
    operator: Option<Arc<Operator>>,
    desk: Option<Desk>,
    pub http: reqwest::Client,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), AppError>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().unwrap()
    }

    /// Loads the config anew; what became of it.
    pub async fn reload(&mut self) -> Result<Reloaded, String> {
        let desk = self.desk.as_ref().unwrap();
        let reloading = tokio::time::timeout(PATIENCE, desk.now().reload()).await.expect("it is answered in time");
        self.operator = Some(desk.now());
        reloading.map_err(|error| error.to_string())
    }

    /// Stops in order and waits for the end.
    pub async fn stop(mut self) {
        (self.operator, self.desk) = (None, None);
        self.stop.cancel();
        let task = self.task.take().unwrap();
        tokio::time::timeout(PATIENCE, task).await.expect("it stops in time").unwrap().unwrap();
    }

    /// Ends without any order, as near as a process can come to that from within.
    pub async fn abort(mut self) {
        (self.operator, self.desk) = (None, None);
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// Sends a webhook: status and answer.
    pub async fn post(&self, source: &str, body: &Value) -> (u16, String) {
        let url = format!("{}/hooks/{source}", self.hooks);
        let answer = self.http.post(url).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends an event to `in`, which must be taken; its id.
    pub async fn send(&self, body: Value) -> String {
        let (status, text) = self.post("in", &body).await;
        assert_eq!(status, 202, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["id"].as_str().unwrap_or_default().to_owned()
    }

    // === What is known ===

    /// Waits until `what` is some.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&Operator) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self.operator()).await {
                return found;
            }
            if tokio::time::Instant::now() > deadline {
                let routes = serde_json::to_string_pretty(&self.operator().routes().await.unwrap()).unwrap();
                panic!("{what} did not come; routes: {routes}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is queued on a route.
    pub async fn drained(&self, route: &str) {
        self.until("an empty queue", async |op| {
            let routes = op.routes().await.unwrap();
            let route = routes.into_iter().find(|r| r.name == route).expect("a known route");
            (route.queued == 0).then_some(())
        })
        .await;
    }

    /// The steps of an event on a route so far.
    pub async fn steps(&self, event: &str, route: &str) -> Vec<Step> {
        self.operator().journal.flush().await.unwrap();
        let journeys: Vec<Journey> = self.operator().trace(event).await.unwrap();
        let of = journeys.into_iter().flat_map(|j| j.routes).find(|r: &RouteJourney| r.route == route);
        of.map(|r| r.steps.into_iter().map(|entry| entry.step).collect()).unwrap_or_default()
    }

    /// Waits for an ending of an event on a route; its detail.
    pub async fn ended(&self, event: &str, route: &str, how: &str) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let steps = self.steps(event, route).await;
            let detail = steps.iter().find_map(|step| match step {
                Step::Ended { ending, detail } if ending == how => Some(detail.clone()),
                _ => None,
            });
            match detail {
                Some(detail) => return detail,
                None if tokio::time::Instant::now() > deadline => panic!("{event} is not {how}: {steps:#?}"),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub fn suspended(&self, scope: Scope, name: &str) -> Option<Suspension> {
        self.operator().halts.any(&[(scope, name)])
    }

    pub async fn dead(&self) -> Vec<StoredDead> {
        self.operator().dead(DeadFilter::default()).await.unwrap()
    }
}
