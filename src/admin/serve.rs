//! Where the API listens: a socket beside the store for this machine's owner, and the admin listener.

use std::future::IntoFuture;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::doors::{self, Doors};
use crate::problem::problem;

/// How long requests under way may take once the server is to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// The socket beside a store's file.
#[must_use]
pub fn socket_path(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".sock");
    PathBuf::from(name)
}

/// Binds the socket, which only this user can open. Whoever calls this holds the store.
///
/// # Errors
/// The socket cannot be made. One that a killed process left behind is replaced.
pub fn bind_socket(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the API on the socket at `path`, until told to stop.
///
/// # Errors
/// The socket fails.
pub async fn on_socket(
    listener: UnixListener,
    path: &Path,
    api: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let path = path.to_owned();
    let serving = axum::serve(listener, api).with_graceful_shutdown(stop.clone().cancelled_owned());
    let served = within(serving.into_future(), &stop).await;
    // Nobody listens any more: commands then open the store themselves.
    let _ = std::fs::remove_file(path);
    served
}

/// Serves API and dashboard on the admin listener, until told to stop.
///
/// # Errors
/// The listener fails.
pub async fn on_listener(
    listener: TcpListener,
    api: Router,
    doors: Arc<Doors>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let api = api.layer(from_fn_with_state(doors, guard));
    let serving = axum::serve(listener, api).with_graceful_shutdown(stop.clone().cancelled_owned());
    within(serving.into_future(), &stop).await
}

/// Serves until the end; once told to stop not much longer, for a client may be silent in the middle of a request.
async fn within(serving: impl Future<Output = std::io::Result<()>>, stop: &CancellationToken) -> std::io::Result<()> {
    tokio::select! {
        end = serving => end,
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
    }
}

/// Asks for the token where one is set, or for the cookie of somebody who has shown it; else for a host that is this
/// machine. Whoever comes to the dashboard is a [`Visitor`](super::doors::Visitor) from here on.
async fn guard(State(doors): State<Arc<Doors>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !doors.are_locked() && !doors::host_is_local(headers) {
        return problem(StatusCode::FORBIDDEN, "without a token only requests to a loopback host are answered");
    }
    if doors::is_of_another_site(request.method(), headers) {
        return problem(StatusCode::FORBIDDEN, "requests of other sites are not answered");
    }
    let path = request.uri().path();
    let of_programs = path == "/metrics" || path.starts_with("/api/") || path == "/openapi.json";
    if of_programs && doors.are_locked() && !doors.has_token(headers) {
        return problem(StatusCode::UNAUTHORIZED, "the admin token is missing or wrong (Authorization: Bearer …)");
    }
    if !of_programs && !is_open(path) {
        let Some(visitor) = doors.visitor(headers) else { return to_the_login(&request) };
        request.extensions_mut().insert(visitor);
    }
    next.run(request).await
}

/// What anybody may see: there is nothing in it.
fn is_open(path: &str) -> bool {
    path == "/login" || path.starts_with("/assets/")
}

fn to_the_login(request: &Request) -> Response {
    let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if *request.method() != Method::GET || !accepts.contains("text/html") {
        return problem(StatusCode::UNAUTHORIZED, "log in first, or show the admin token (Authorization: Bearer …)");
    }
    let here = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let next = percent_encoding::utf8_percent_encode(here, percent_encoding::NON_ALPHANUMERIC);
    Redirect::to(&format!("/login?next={next}")).into_response()
}
