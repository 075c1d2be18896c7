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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_kubelet_is_told_what_is_stuck_and_when_the_caches_are_filled() {
        let health = Health::default();
        let (filled, ready) = watch::channel(false);
        let router = probes(health.clone(), ready);
        assert_eq!(get(&router, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(get(&router, "/readyz").await.0, 503);
        filled.send(true).unwrap();
        assert_eq!(get(&router, "/readyz").await, (200, "ok\n".to_owned()));
        let beat = health.watch("work", Duration::ZERO);
        let (status, words) = get(&router, "/healthz").await;
        assert_eq!((status, words.contains("work")), (503, true), "{words}");
        drop(beat);
        assert_eq!(get(&router, "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn everybody_may_scrape_where_nobody_keeps_the_door() {
        let router = super::metrics(Metrics::new().unwrap(), None);
        let (status, text) = get(&router, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("archfan_runs_total"), "{text}");
    }
}
