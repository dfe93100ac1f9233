//! What all sandboxes share: faults that can be switched on, a record of every call, a server on a free port.
//!
//! A sandbox is a vendor's stand-in, an [`axum::Router`] from [`super::Manifest::sandbox`]. [`serve`] puts it behind
//! HTTP and adds:
//!
//! | request | does |
//! | --- | --- |
//! | `POST /_sandbox/faults` | switches a fault on: `{ "fault": "too-many-requests", "after": 2, "times": 3, "path": "/api" }` ([`Order`]) |
//! | `DELETE /_sandbox/faults` | switches all faults off |
//! | `GET /_sandbox/calls` | every call so far, the last [`MAX_CALLS`], oldest first ([`Recorded`]) |
//! | `GET /_sandbox/state` | the vendor's own state; its shape is the vendor's |

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::clock::Clock;

mod faults;
mod record;
pub(in crate::connectors) mod telling;

pub use faults::{Fault, Faults, Order};
pub use record::{Calls, MAX_CALLS, Recorded};

/// A free port of this machine.
pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A running sandbox. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct Served {
    /// Its base URL without a trailing slash: what goes into an account's `url`.
    pub url: String,
    /// Switches faults on and off.
    pub faults: Faults,
    /// What was called.
    pub calls: Calls,
    vendor: Router,
    connections: TaskTracker,
    stop: DropGuard,
}

impl Served {
    /// The vendor's own state, as under `GET /_sandbox/state`.
    pub async fn state(&self) -> Value {
        self.play(Method::GET, "/_sandbox/state", &Value::Null).await
    }

    /// Asks the vendor itself, past faults and record: for the paths under `/_sandbox/` that are the vendor's. Null if
    /// it does not know the path.
    pub async fn play(&self, method: Method, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        let Ok(response) = self.vendor.clone().oneshot(request.body(body).unwrap_or_default()).await;
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        serde_json::from_slice(&body).unwrap_or_default()
    }

    /// Stops: no new connections, what is being answered is answered, what never would be is cut.
    pub async fn stop(self) {
        drop(self.stop);
        self.connections.wait().await;
    }
}

/// Serves a vendor's stand-in at an address ([`LOOPBACK`]: a free port).
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(vendor: Router, clock: Clock, address: SocketAddr) -> io::Result<Served> {
    let listener = TcpListener::bind(address).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let connections = TaskTracker::new();
    let (faults, calls) = (Faults::default(), Calls::new(clock));
    let stand = Stand { vendor: vendor.clone(), faults: faults.clone(), calls: calls.clone(), stop: stop.clone() };
    connections.spawn(accept(listener, Arc::new(stand), connections.clone()));
    connections.close();
    Ok(Served { url, faults, calls, vendor, connections, stop: stop.drop_guard() })
}

/// A vendor's switches with those of `wanted` changed that it has.
///
/// # Errors
/// What of them no switch takes.
pub(super) fn changed<T: Serialize + DeserializeOwned>(switches: &T, wanted: &Value) -> Result<T, String> {
    let mut all = serde_json::to_value(switches).unwrap_or_default();
    for (name, value) in all.as_object_mut().into_iter().flatten() {
        if let Some(wanted) = wanted.get(name) {
            value.clone_from(wanted);
        }
    }
    serde_json::from_value(all).map_err(|error| error.to_string())
}

struct Stand {
    vendor: Router,
    faults: Faults,
    calls: Calls,
    stop: CancellationToken,
}

async fn accept(listener: TcpListener, stand: Arc<Stand>, connections: TaskTracker) {
    loop {
        let stream = tokio::select! {
            () = stand.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => _ = connections.spawn(converse(stream, stand.clone())),
            // Out of file descriptors, as a rule: the next accept would fail at once as well.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(stream: TcpStream, stand: Arc<Stand>) {
    let reset = Arc::new(Notify::new());
    let service = {
        let (stand, reset) = (stand.clone(), reset.clone());
        service_fn(move |request| {
            let (stand, reset) = (stand.clone(), reset.clone());
            async move { Ok::<_, Infallible>(stand.answer(request, &reset).await) }
        })
    };
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Errors here are the caller's, who has gone.
        _ = &mut connection => return,
        () = reset.notified() => {
            // Closing with a linger time of zero sends RST instead of FIN.
            let _ = connection.into_parts().io.into_inner().set_zero_linger();
            return;
        }
        () = stand.stop.cancelled() => {}
    }
    std::pin::Pin::new(&mut connection).graceful_shutdown();
    tokio::select! {
        _ = &mut connection => {}
        () = reset.notified() => {}
    }
}

impl Stand {
    async fn answer(&self, request: Request<Incoming>, reset: &Notify) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
            return plain(StatusCode::BAD_REQUEST, "the body was cut");
        };
        let path = head.uri.path().to_owned();
        if let Some(rest) = path.strip_prefix("/_sandbox/") {
            return match (&head.method, rest) {
                (&Method::POST, "faults") => self.switch_on(&body),
                (&Method::DELETE, "faults") => {
                    self.faults.clear();
                    as_json(StatusCode::OK, &json!({ "faults": 0 }))
                }
                (&Method::GET, "calls") => as_json(StatusCode::OK, &json!(self.calls.all())),
                _ => self.vendor_answers(Request::from_parts(head, Body::from(body))).await,
            };
        }
        let fault = self.faults.take(&path);
        let number = self.calls.begin(&head, &body, fault);
        let answer = self.faulty(fault, Request::from_parts(head, Body::from(body)), reset).await;
        self.calls.end(number, answer.status());
        answer
    }

    fn switch_on(&self, body: &Bytes) -> Response<Body> {
        match serde_json::from_slice::<Order>(body) {
            Ok(order) => {
                self.faults.order(order);
                as_json(StatusCode::CREATED, &json!({ "faults": self.faults.len() }))
            }
            Err(error) => as_json(StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() })),
        }
    }

    async fn faulty(&self, fault: Option<Fault>, request: Request<Body>, reset: &Notify) -> Response<Body> {
        match fault {
            None => self.vendor_answers(request).await,
            Some(Fault::TooManyRequests { after }) => {
                let mut answer = plain(StatusCode::TOO_MANY_REQUESTS, "too many requests");
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after));
                answer
            }
            Some(Fault::ServerError) => plain(StatusCode::INTERNAL_SERVER_ERROR, "internal server error"),
            Some(Fault::ResetBefore) => cut(reset).await,
            Some(Fault::ResetAfter) => {
                self.vendor_answers(request).await;
                cut(reset).await
            }
            Some(Fault::Timeout) => {
                self.vendor_answers(request).await;
                self.stop.cancelled().await;
                cut(reset).await
            }
            Some(Fault::Garbage) => {
                self.vendor_answers(request).await;
                plain(StatusCode::OK, "<html><body>\u{fffd} proxy status: fine")
            }
            Some(Fault::Slow { ms }) => {
                let answer = self.vendor_answers(request).await;
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                    () = self.stop.cancelled() => {}
                }
                answer
            }
        }
    }

    async fn vendor_answers(&self, request: Request<Body>) -> Response<Body> {
        let Ok(answer) = self.vendor.clone().oneshot(request).await;
        answer
    }
}

/// Has the connection reset; never returns, for the connection takes this future down with it.
async fn cut(reset: &Notify) -> Response<Body> {
    reset.notify_one();
    std::future::pending().await
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn as_json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
