//! Where the API listens: a socket beside the store for this machine's owner, and the admin listener.

use std::future::IntoFuture;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

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

/// Serves the API on the admin listener, until told to stop.
///
/// # Errors
/// The listener fails.
pub async fn on_listener(
    listener: TcpListener,
    api: Router,
    token: Option<SecretString>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let api = api.layer(from_fn_with_state(Arc::new(token), guard));
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

/// Asks for the token where one is set; else for a host that is this machine, so that a page in a browser cannot
/// reach the listener under a name of its own.
async fn guard(State(token): State<Arc<Option<SecretString>>>, request: Request, next: Next) -> Response {
    if let Some(token) = token.as_ref() {
        if !has_token(request.headers(), token) {
            return problem(StatusCode::UNAUTHORIZED, "the admin token is missing or wrong (Authorization: Bearer …)");
        }
    } else if !host_is_local(request.headers()) {
        return problem(StatusCode::FORBIDDEN, "without a token only requests to a loopback host are answered");
    }
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && !same_host(origin.to_str().unwrap_or_default(), request.headers())
    {
        return problem(StatusCode::FORBIDDEN, "requests of other sites are not answered");
    }
    next.run(request).await
}

fn has_token(headers: &HeaderMap, token: &SecretString) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let given = given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
    given.as_bytes().ct_eq(token.expose_secret().as_bytes()).into()
}

fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|v| v.to_str().ok()) else { return false };
    let Ok(url) = url::Url::parse(&format!("http://{host}/")) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn same_host(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    origin.split_once("://").is_some_and(|(_, authority)| authority == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn only_loopback_hosts_are_local() {
        for host in ["localhost:8081", "127.0.0.1:8081", "[::1]:8081"] {
            assert!(host_is_local(&headers(&[(header::HOST, host)])), "{host}");
        }
        for host in ["evil.example:8081", "localhost.evil.example", "10.0.0.1", ""] {
            assert!(!host_is_local(&headers(&[(header::HOST, host)])), "{host}");
        }
    }

    #[test]
    fn another_sites_origin_is_told_from_ours() {
        let ours = headers(&[(header::HOST, "localhost:8081")]);
        assert!(same_host("http://localhost:8081", &ours));
        assert!(!same_host("http://localhost:9999", &ours));
        assert!(!same_host("null", &ours));
    }

    #[test]
    fn the_token_is_compared_whole() {
        let token = SecretString::from("sesame");
        assert!(has_token(&headers(&[(header::AUTHORIZATION, "Bearer sesame")]), &token));
        for wrong in ["Bearer sesam", "Bearer sesame1", "Basic sesame", "sesame"] {
            assert!(!has_token(&headers(&[(header::AUTHORIZATION, wrong)]), &token), "{wrong}");
        }
    }
}
