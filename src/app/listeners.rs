//! Where the bridge listens: for webhooks, for people, for commands.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::AppError;
use super::tasks::Tasks;
use crate::admin::doors::Doors;
use crate::admin::{Desk, api, serve};
use crate::config::Config;
use crate::dashboard;
use crate::intake::{self, Intake};

/// Bound before the bridge calls itself ready: a command that comes then must find it.
///
/// Deliveries need no socket: without it (its path may be too long for one) the bridge works on.
pub fn socket(config: &Config) -> Option<UnixListener> {
    let bound = serve::bind_socket(&serve::socket_path(&config.store));
    bound.inspect_err(|error| tracing::error!(%error, "commands cannot reach this bridge: there is no socket")).ok()
}

/// Serves the API on both.
pub fn serve_api(
    tasks: &mut Tasks,
    config: &Config,
    desk: &Desk,
    (listener, socket): (Option<TcpListener>, Option<UnixListener>),
) {
    let api = api::router(desk.clone());
    if let Some(listener) = listener {
        let token = config.listen.admin.as_ref().and_then(|admin| admin.token.clone());
        let doors = Arc::new(Doors::new(token, desk.now().clock.clone()));
        let pages = dashboard::router(desk.clone(), Arc::clone(&doors), tasks.until.clone());
        let served = serve::on_listener(listener, api.clone().merge(pages), doors, tasks.until.clone());
        let until = tasks.until.clone();
        tasks.start("admin", async move { after(served.await, "listener", &until).await });
    }
    if let Some(socket) = socket {
        let (path, until) = (serve::socket_path(&config.store), tasks.until.clone());
        tasks.start("socket", async move {
            after(serve::on_socket(socket, &path, api, until.clone()).await, "socket", &until).await;
        });
    }
}

/// Deliveries need no admin API: without it the bridge works on.
async fn after(served: std::io::Result<()>, at: &'static str, until: &CancellationToken) {
    if let Err(error) = served {
        tracing::error!(%error, at, "the admin API cannot be served there");
        until.cancelled().await;
    }
}

/// Listens.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|why| AppError::Listen { address: address.to_string(), why })
}

/// Hooks and health.
pub fn public_router(intake: Arc<Intake>, desk: Desk) -> axum::Router {
    intake::router(intake).route(
        "/readyz",
        get(async move || {
            // Anybody can ask here: what is suspended and why is told on the admin API.
            let readiness = desk.now().ability().await;
            let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, Json(readiness))
        }),
    )
}
