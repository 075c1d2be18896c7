//! The HTTP servers: one for the kubelet's probes, one for scrapes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::error;

use super::access::{Guard, Verdict};
use super::health::Health;
use super::metrics::{MEDIA_TYPE, Metrics};
use super::tls::{Certificate, Secured};

/// `/healthz` and `/readyz`. The kubelet asks without a login and over plain HTTP, and learns nothing but whether all is well.
pub fn probes(health: Health, ready: watch::Receiver<bool>) -> Router {
    let healthz = move || {
        let stuck = health.stuck(Instant::now());
        async move {
            if stuck.is_empty() {
                return (StatusCode::OK, "ok\n".to_owned());
            }
            error!(?stuck, "not healthy");
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", stuck.join("\n")))
        }
    };
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
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// `/metrics`, for everybody or for those whom `guard` lets in.
pub fn metrics(metrics: Arc<Metrics>, guard: Option<Arc<Guard>>) -> Router {
    let scrape = move |headers: HeaderMap| {
        let (metrics, guard) = (metrics.clone(), guard.clone());
        async move {
            let header = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
            let verdict = match guard {
                Some(guard) => guard.judge(header).await,
                None => Verdict::Allowed,
            };
            answer(verdict, &metrics)
        }
    };
    Router::new().route("/metrics", get(scrape))
}

fn answer(verdict: Verdict, metrics: &Metrics) -> Response {
    match verdict {
        Verdict::Unknown => {
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], "a bearer token is wanted\n")
                .into_response()
        }
        Verdict::Denied => {
            let words = "you may not get /metrics; bind the role for reading metrics (docs/metrics.md)\n";
            (StatusCode::FORBIDDEN, words).into_response()
        }
        Verdict::Allowed => match metrics.text() {
            Ok(text) => ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
            Err(error) => {
                error!(%error, "the metrics cannot be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        },
    }
}

/// Serves on `address` until dropped, over TLS if there is a certificate.
///
/// # Errors
/// The address cannot be listened on, or the server broke off; in words.
pub async fn serve(
    address: SocketAddr,
    router: Router,
    certificate: Option<Arc<Certificate>>,
) -> Result<(), String> {
    let say = |error: std::io::Error| format!("{address} cannot be served: {error}");
    let listener = TcpListener::bind(address).await.map_err(say)?;
    match certificate {
        None => axum::serve(listener, router).await.map_err(say),
        Some(certificate) => {
            let secured = Secured::new(listener, certificate.clone()).map_err(say)?;
            tokio::select! {
                served = async { axum::serve(secured, router).await } => served.map_err(say),
                () = certificate.follow() => Ok(()),
            }
        }
    }
}
