//! A destination that does what a test says, and remembers what came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::Value;
use tokio::sync::watch;

/// What a call is answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200.
    Ok,
    /// This status with this body.
    Status(u16, &'static str),
    /// This status, and to come back after so many seconds.
    Later(u16, u64),
    /// 200, once [`Receiver::release`] was called.
    Hold,
    /// 200 after a while.
    Slow(Duration),
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct Got {
    pub at: Instant,
    /// `webhook-id`.
    pub id: String,
    /// `traceparent`.
    #[allow(dead_code, reason = "not every binary looks at it")]
    pub trace: String,
    /// `authorization`.
    #[allow(dead_code, reason = "not every binary looks at it")]
    pub auth: String,
    pub method: String,
    pub path: String,
    pub body: Value,
}

impl Got {
    /// The subject, as the tests' maps write it.
    pub fn subject(&self) -> String {
        self.body["s"].as_str().unwrap_or_default().to_owned()
    }

    /// The number of the event, as the tests' maps write it.
    pub fn n(&self) -> i64 {
        self.body["n"].as_i64().unwrap_or(-1)
    }
}

type Choose = dyn Fn(&Got, usize) -> Answer + Send + Sync;

struct Shared {
    choose: Mutex<Box<Choose>>,
    calls: Mutex<Vec<Got>>,
    /// By subject: how many are being answered now.
    open: Mutex<HashMap<String, usize>>,
    overlaps: Mutex<Vec<String>>,
    changed: watch::Sender<usize>,
    released: watch::Sender<bool>,
}

/// A receiver on a port of its own.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Answers each call as `choose` says, which is given the call and how many came before it.
    pub async fn start(choose: impl Fn(&Got, usize) -> Answer + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            choose: Mutex::new(Box::new(choose)),
            calls: Mutex::default(),
            open: Mutex::default(),
            overlaps: Mutex::default(),
            changed: watch::Sender::new(0),
            released: watch::Sender::new(false),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    pub async fn ok() -> Self {
        Self::start(|_, _| Answer::Ok).await
    }

    /// Answers otherwise from now on.
    pub fn now(&self, choose: impl Fn(&Got, usize) -> Answer + Send + Sync + 'static) {
        *self.shared.choose.lock().unwrap() = Box::new(choose);
    }

    /// Lets go what is held, now and later.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    pub fn calls(&self) -> Vec<Got> {
        self.shared.calls.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.calls.lock().unwrap().len()
    }

    pub fn numbers(&self) -> Vec<i64> {
        self.calls().iter().map(Got::n).collect()
    }

    /// Subjects of which two were being answered at once.
    pub fn overlaps(&self) -> Vec<String> {
        self.shared.overlaps.lock().unwrap().clone()
    }

    /// Waits until so many calls came.
    pub async fn reach(&self, count: usize) -> Vec<Got> {
        let mut changed = self.shared.changed.subscribe();
        let reached = tokio::time::timeout(Duration::from_secs(20), changed.wait_for(|n| *n >= count)).await;
        assert!(reached.is_ok(), "{count} calls were awaited, these came: {:#?}", self.calls());
        self.calls()
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, trace, auth) = (header("webhook-id"), header("traceparent"), header("authorization"));
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let got = Got { at: Instant::now(), id, trace, auth, method: method.to_string(), path: uri.to_string(), body };
    let subject = got.subject();
    let before = {
        let mut calls = shared.calls.lock().unwrap();
        calls.push(got.clone());
        calls.len() - 1
    };
    let answer = (shared.choose.lock().unwrap())(&got, before);
    {
        let mut open = shared.open.lock().unwrap();
        let now = open.entry(subject.clone()).or_default();
        *now += 1;
        if *now > 1 && !subject.is_empty() {
            shared.overlaps.lock().unwrap().push(subject.clone());
        }
    }
    shared.changed.send_replace(before + 1);
    let mut released = shared.released.subscribe();
    let response = match answer {
        Answer::Ok => StatusCode::OK.into_response(),
        Answer::Status(status, text) => (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Answer::Later(status, seconds) => {
            let head = [("retry-after", seconds.to_string())];
            (StatusCode::from_u16(status).unwrap(), head, "not now").into_response()
        }
        Answer::Hold => {
            // The sender lives as long as the state.
            let _ = released.wait_for(|yes| *yes).await;
            StatusCode::OK.into_response()
        }
        Answer::Slow(length) => {
            tokio::time::sleep(length).await;
            StatusCode::OK.into_response()
        }
    };
    *shared.open.lock().unwrap().get_mut(&subject).unwrap() -= 1;
    response
}
