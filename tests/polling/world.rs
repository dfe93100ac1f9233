//! A sandbox behind a front that can answer in its place, a clock that stands still, and a poller.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use dari::clock::Clock;
use dari::connectors::client::Client;
use dari::connectors::walla::{sandbox, source};
use dari::connectors::{Account, Build, Poller, SourceRole};
use dari::settings::{Fault, Field, Key, Kind, Need, Node, NodeValue, Settings, Spot};
use http::StatusCode;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::Value;
use tower::ServiceExt as _;

/// Which of Walla's APIs is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Response,
    Open,
}

pub const BOTH: [Api; 2] = [Api::Response, Api::Open];

/// An answer in place of the sandbox's: status, headers, body.
pub type Canned = (StatusCode, Vec<(&'static str, String)>, String);

/// What respondents and the form's owner do meanwhile.
pub enum Between {
    Nothing,
    Submit(Value),
    Remove(&'static str),
}

/// What happens before a request reaches the sandbox.
#[derive(Default)]
pub struct Front {
    /// Answers instead of the sandbox, one a request.
    pub canned: Mutex<VecDeque<Canned>>,
    /// Done one before each page of responses that is asked for.
    pub between: Mutex<VecDeque<Between>>,
    /// The paths that were asked for, with their queries.
    pub asked: Mutex<Vec<String>>,
}

pub struct World {
    pub clock: Clock,
    pub front: Arc<Front>,
    url: String,
    sandbox: Router,
}

impl World {
    pub async fn new() -> Self {
        let clock = Clock::manual("2026-11-21T00:00:00Z".parse().unwrap());
        Self::of(sandbox::router(clock.clone()), clock).await
    }

    pub async fn of(sandbox: Router, clock: Clock) -> Self {
        let front = Arc::new(Front::default());
        let app = sandbox.clone().layer(from_fn_with_state((Arc::clone(&front), sandbox.clone()), pass));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { clock, front, url, sandbox }
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    /// The time, moved by some seconds.
    pub fn at(&self, seconds: i64) -> String {
        (self.clock.now() + SignedDuration::from_secs(seconds)).to_string()
    }

    /// Submits or changes a response; its id.
    pub async fn submit(&self, submission: Value) -> String {
        post(&self.sandbox, "/_sandbox/responses", &submission).await["id"].as_str().unwrap().to_owned()
    }

    /// Sets the sandbox's switches.
    pub async fn set(&self, switches: &Value) {
        let request = http::Request::put("/_sandbox/state").header("content-type", "application/json");
        let request = request.body(Body::from(switches.to_string())).unwrap();
        assert_eq!(self.sandbox.clone().oneshot(request).await.unwrap().status(), StatusCode::NO_CONTENT);
    }

    /// A poller of the response API that is not told the workspace.
    pub fn by_project(&self, project: &str) -> Box<dyn Poller> {
        let keys = mapping(&[("client_id", sandbox::CLIENT_ID), ("api_key", sandbox::API_KEY)]);
        self.built(&keys, &mapping(&[("project", project)])).unwrap()
    }

    /// Adds or rewords a question.
    pub async fn ask(&self, question: Value) {
        post(&self.sandbox, "/_sandbox/questions", &question).await;
    }

    pub fn answer_next(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let canned = (StatusCode::from_u16(status).unwrap(), headers, body.to_owned());
        self.front.canned.lock().unwrap().push_back(canned);
    }

    pub fn poller(&self, api: Api, settings: &[(&str, &str)]) -> Box<dyn Poller> {
        self.try_poller(api, settings).unwrap()
    }

    pub fn try_poller(&self, api: Api, settings: &[(&str, &str)]) -> Result<Box<dyn Poller>, Vec<Fault>> {
        let (keys, form): (&[_], &[_]) = match api {
            Api::Response => (
                &[("client_id", sandbox::CLIENT_ID), ("api_key", sandbox::API_KEY)],
                &[("workspace", sandbox::WORKSPACE), ("project", sandbox::PROJECT)],
            ),
            Api::Open => (&[("open_api_key", sandbox::OPEN_API_KEY)], &[("form", sandbox::FORM)]),
        };
        let account = mapping(keys);
        // What a test sets comes before what is usual.
        self.built(&account, &mapping(&[settings, form].concat()))
    }

    fn built(&self, account: &Node, source: &Node) -> Result<Box<dyn Poller>, Vec<Fault>> {
        let build = Build {
            name: "signup",
            settings: Settings::new(source, source::KIND.fields),
            account: Some(Account { name: "walla", settings: Settings::new(account, ACCOUNT), url: &self.url }),
            zone: TimeZone::get("Asia/Seoul").unwrap(),
            client: Client::new().unwrap(),
            clock: self.clock.clone(),
        };
        match (source::KIND.build)(&build)? {
            SourceRole::Poller(poller) => Ok(poller),
            _ => panic!("no poller"),
        }
    }
}

const ACCOUNT: &[Field] = &[key("client_id"), key("api_key"), key("open_api_key")];

const fn key(name: &'static str) -> Field {
    Field { name, kind: Kind::Text, need: Need::Optional, doc: "" }
}

fn mapping(entries: &[(&str, &str)]) -> Node {
    let spot = Spot { line: 1, column: 1 };
    let entry = |(key, value): &(&str, &str)| {
        (Key { name: (*key).to_owned(), spot }, Node { spot, value: NodeValue::Text((*value).to_owned()) })
    };
    Node { spot, value: NodeValue::Map(entries.iter().map(entry).collect()) }
}

async fn pass(State((front, sandbox)): State<(Arc<Front>, Router)>, request: Request, next: Next) -> Response {
    let path = request.uri().to_string();
    let pages = path.ends_with("/search") || path.contains("dateRange");
    front.asked.lock().unwrap().push(path);
    let between = pages.then(|| front.between.lock().unwrap().pop_front()).flatten();
    match between.unwrap_or(Between::Nothing) {
        Between::Nothing => {}
        Between::Submit(submission) => drop(post(&sandbox, "/_sandbox/responses", &submission).await),
        Between::Remove(id) => {
            let request = http::Request::delete(format!("/_sandbox/responses/{id}")).body(Body::empty()).unwrap();
            assert_eq!(sandbox.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
        }
    }
    let canned = front.canned.lock().unwrap().pop_front();
    match canned {
        Some((status, headers, body)) => {
            let mut response = (status, body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        None => next.run(request).await,
    }
}

async fn post(router: &Router, path: &str, body: &Value) -> Value {
    let request = http::Request::post(path).header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap()
}
