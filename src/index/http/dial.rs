//! Opening connections: directly, or through the proxy that the environment names.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a host may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// The proxy for an address, by `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. As in Go, whose clients users know from
/// here, loopback addresses are never reached through one.
pub(super) fn proxy_for(proxies: &Matcher, uri: &Uri) -> Option<Intercept> {
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback { None } else { proxies.intercept(uri) }
}

/// Opens TCP connections.
#[derive(Clone)]
pub(super) struct Dialer {
    direct: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Dialer {
    pub(super) fn new(proxies: Arc<Matcher>) -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        // A request's head and its body are two writes: without this the second waits for the first's acknowledgement.
        direct.set_nodelay(true);
        direct.set_connect_timeout(Some(PATIENCE));
        direct.set_keepalive(Some(Duration::from_secs(30)));
        Self { direct, proxies }
    }
}

impl Service<Uri> for Dialer {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut direct = self.direct.clone();
        let Some(proxy) = proxy_for(&self.proxies, &uri) else {
            let connecting = direct.call(uri);
            return Box::pin(async move { Ok(Stream { io: connecting.await?, proxied: false }) });
        };
        let address = proxy.uri().clone();
        if address.scheme_str() != Some("http") {
            let scheme = address.scheme_str().unwrap_or_default().to_owned();
            return Box::pin(async move {
                Err(format!("a proxy of the kind {scheme}:// is not supported; name one as http://host:port")
                    .into())
            });
        }
        if uri.scheme_str() == Some("https") {
            let mut tunnel = Tunnel::new(address, direct);
            if let Some(auth) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(auth.clone());
            }
            let connecting = tunnel.call(uri);
            return Box::pin(async move { Ok(Stream { io: connecting.await?, proxied: false }) });
        }
        let connecting = direct.call(address);
        Box::pin(async move { Ok(Stream { io: connecting.await?, proxied: true }) })
    }
}

/// A TCP connection that knows whether requests on it go to a proxy, and so must name the whole address.
pub(super) struct Stream {
    io: TokioIo<TcpStream>,
    proxied: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.proxied)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_the_proxy() {
        let proxies = Matcher::builder()
            .https("http://u:p@proxy.example:3128")
            .http("http://plain.example:80")
            .no("internal.example,10.0.0.0/8,.svc")
            .build();
        let chosen = |text: &str| {
            proxy_for(&proxies, &text.parse().unwrap())
                .map(|proxy| proxy.uri().host().unwrap_or_default().to_owned())
        };
        assert_eq!(chosen("https://quay.io/v2/").as_deref(), Some("proxy.example"));
        assert_eq!(chosen("http://quay.io/v2/").as_deref(), Some("plain.example"));
        for text in [
            "https://registry.internal.example/",
            "https://internal.example/",
            "https://10.1.2.3:5000/",
            "https://image-registry.openshift.svc:5000/",
            "https://127.0.0.1:5000/",
            "https://[::1]:5000/",
            "http://localhost:5000/",
        ] {
            assert_eq!(chosen(text), None, "{text}");
        }
    }
}
