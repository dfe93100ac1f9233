//! A bridge with something of everything: deliveries, dead and held ones, what is suspended, a quota that runs out.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::driver::PATIENCE;

/// The config: `{vendor}` is where the destinations are.
const CONFIG: &str = r#"
listen: { hooks: "127.0.0.1:0", admin: { address: "127.0.0.1:0"{token} } }
store: { url: "sqlite://data/dari.db" }
time_zone: Asia/Seoul
min_free: 1KiB
redact: ["data.phone"]
sources:
  signup: { webhook: { verify: none, event: { id: "{{ body.id }}", type: "{{ body.kind }}", subject: "{{ body.s }}" } } }
  orders: { webhook: { verify: none, event: { id: "{{ body.id }}", type: "{{ body.kind }}", subject: "{{ body.s }}" } } }
  tasks: { webhook: { verify: { bearer: { tokens: ["${TASKS_TOKEN}"] } } } }
sinks:
  crm: { http: { url: "{vendor}/crm", allow_private: true, limits: { monthly: 50 } } }
  ops: { http: { url: "{vendor}/ops", allow_private: true } }
  erp: { http: { url: "{vendor}/erp", allow_private: true } }
routes:
  signup-to-crm: { from: signup, types: [response.*], to: crm, do: create, map: { name: "{{ data.name }}", phone: "{{ data.phone }}" } }
  signup-to-ops: { from: signup, when: "data.name != '이둘'", to: ops, do: create, map: { text: "{{ data.name }} 신청" } }
  orders-to-erp: { from: orders, types: [order.paid], to: erp, do: create, on_doubt: hold, map: { no: "{{ data.s }}", amount: "{{ data.amount }}" } }
  tasks-to-ops: { from: tasks, to: ops, do: create, map: { text: "{{ data.title }}" } }
"#;

/// How many worlds there are at once: a browser is many processes, and on a small machine one that gets no time to draw
/// answers nothing.
static WORLDS: Semaphore = Semaphore::const_new(2);

/// A bridge that is a process of its own, and the vendors in this one.
pub struct World {
    process: Child,
    lines: Receiver<String>,
    hooks: String,
    pub admin: String,
    http: reqwest::Client,
    _dir: tempfile::TempDir,
    _place: SemaphorePermit<'static>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl World {
    /// A bridge; with a token if one is given.
    pub async fn start(token: Option<&str>) -> Self {
        let place = WORLDS.acquire().await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vendor = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        let dir = tempfile::tempdir().unwrap();
        let token = token.map(|token| format!(", token: {token}")).unwrap_or_default();
        let config = CONFIG.replace("{vendor}", &vendor).replace("{token}", &token);
        std::fs::write(dir.path().join("dari.yaml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dari"));
        command.arg("run").current_dir(dir.path()).env_remove("DARI_CONFIG").env_remove("RUST_LOG");
        command.env("TASKS_TOKEN", "hunter2").env("DARI_LOG_FORMAT", "json").stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (sender, lines) = channel();
        let pipe = process.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        dari::connectors::client::Client::new().unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let mut world =
            Self { process, lines, hooks: String::new(), admin: String::new(), http, _dir: dir, _place: place };
        world.admin = world.address("the admin API listens");
        world.hooks = world.address("the bridge is ready");
        world
    }

    fn address(&self, message: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("it did not say {message:?}"));
            let told: Value = serde_json::from_str(&line).unwrap_or_default();
            if told["message"].as_str().is_some_and(|text| text.starts_with(message)) {
                return format!("http://{}", told["address"].as_str().unwrap());
            }
        }
    }

    /// An event comes.
    pub async fn send(&self, source: &str, body: &Value) {
        let answer = self.http.post(format!("{}/hooks/{source}", self.hooks)).json(body).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{body}");
    }

    /// What the API says; without a token.
    pub async fn ask(&self, path: &str) -> Value {
        self.http.get(format!("{}{path}", self.admin)).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until the API says that something is so.
    pub async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.ask(path).await;
            if is_so(&told) {
                return;
            }
            assert!(Instant::now() < deadline, "{path}: {told:#}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Lets a few things happen: 24 respondents, of whom two are refused, and three orders of which one is in doubt.
    pub async fn live(&self) {
        for n in 1..=24 {
            let name = if n == 2 { "이둘".to_owned() } else { format!("김{n}") };
            let body = json!({ "id": format!("res-{n}"), "kind": "response.created", "s": format!("응답-{n}"), "name": name, "phone": format!("010-0000-{n:04}") });
            self.send("signup", &body).await;
        }
        for n in 1..=3 {
            let body =
                json!({ "id": format!("ord-{n}"), "kind": "order.paid", "s": format!("A-100{n}"), "amount": 1000 * n });
            self.send("orders", &body).await;
        }
        self.until("/api/routes", |routes| {
            let route = |name: &str| routes.as_array().unwrap().iter().find(|r| r["name"] == name).unwrap().clone();
            let [crm, ops, erp] = ["signup-to-crm", "signup-to-ops", "orders-to-erp"].map(route);
            let still = [&crm, &ops, &erp].iter().all(|route| route["queued"] == 0);
            still && crm["dead"] == 2 && erp["held"] == 1
        })
        .await;
    }
}

/// Refuses respondents 5 and 6 once, and hangs up on the second order.
async fn answer(request: axum::extract::Request) -> Response {
    static REFUSED: std::sync::Mutex<Vec<(String, String)>> = std::sync::Mutex::new(Vec::new());
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    if ["김5", "김6"].contains(&name.as_str()) {
        let world = parts.headers["host"].to_str().unwrap().to_owned();
        let mut refused = REFUSED.lock().unwrap();
        if !refused.contains(&(world.clone(), name.clone())) {
            refused.push((world, name));
            return (StatusCode::UNPROCESSABLE_ENTITY, "등급이 비어 있습니다").into_response();
        }
    }
    if body["no"] == "A-1002" {
        let cut = futures_util::stream::iter([Err::<bytes::Bytes, _>(std::io::Error::other("cut off"))]);
        return axum::body::Body::from_stream(cut).into_response();
    }
    axum::Json(json!({ "id": format!("rec-{}", body.to_string().len()) })).into_response()
}
