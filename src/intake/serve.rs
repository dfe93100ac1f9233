//! The listener: a bounded number of connections, each with its time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::Limits;

/// Who sent a request: an extension of every request that [`serve`] hands to the router.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves a router until `shutdown` completes; then accepts nothing more, lets the requests under way finish within
/// [`Limits::drain`], and closes the rest.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (tracker, stopping) = (TaskTracker::new(), CancellationToken::new());
    let limits = Arc::new(limits);
    let mut shutdown = pin!(shutdown);
    loop {
        // A slot first: what cannot be served yet waits in the kernel's queue rather than in our memory.
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, accept(&listener).await)
        };
        let (slot, (stream, peer)) = tokio::select! {
            () = &mut shutdown => break,
            accepted = next => accepted,
        };
        let connection = connection(stream, peer, router.clone(), Arc::clone(&limits), stopping.clone());
        tracker.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    stopping.cancel();
    tracker.close();
    tracker.wait().await;
}

/// The next connection. Errors of accepting are passing (a client gone, no file handles left): they never end it.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(e) if is_clients(&e) => {}
            Err(e) => {
                tracing::error!(error = %e, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn is_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: Arc<Limits>, stop: CancellationToken) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            router.oneshot(request).await.map_err(|never: Infallible| never)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_headers(limits.headers)
            .max_buf_size(limits.head.max(8 << 10))
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = stop.cancelled() => None,
        () = tokio::time::sleep(limits.connection_time) => None,
    };
    let ended = if let Some(ended) = ended {
        Ok(ended)
    } else {
        connection.as_mut().graceful_shutdown();
        tokio::time::timeout(limits.drain, connection).await
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::debug!(error = %e, %peer, "a connection failed"),
        Err(_) => tracing::debug!(%peer, "a connection was cut off"),
    }
}
