//! The HTTP server for probes and scrapes.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Serves `/healthz` and `/readyz` on `address` until dropped. `ready` says whether the caches are filled.
///
/// # Errors
/// The address cannot be listened on, or the server broke off.
pub async fn serve(address: SocketAddr, ready: watch::Receiver<bool>) -> std::io::Result<()> {
    let readyz = move || {
        let ready = *ready.borrow();
        async move {
            if ready {
                (StatusCode::OK, "ok\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "the caches are being filled\n")
            }
        }
    };
    let router = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(readyz));
    axum::serve(TcpListener::bind(address).await?, router).await
}
