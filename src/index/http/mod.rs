//! HTTP as registries need it: one pool of connections, TLS with the user's authorities, proxies, and bodies of any size.
//!
//! Why hyper-util and no client of a higher level: the stack is in the tree for Kubernetes already; redirects of blobs, resumed
//! uploads and what counts as a retry are registry matters that a general client would have to be talked out of; and its
//! bodies are what we hand it, so memory stays what this module says. HTTP/1.1 only: an upload over HTTP/2 is held up by
//! flow-control windows of 64 KiB to 1 MiB, and Go's registries speak both.

pub(super) mod body;
mod dial;
mod pinned;
pub(super) mod retry;
mod tls;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use self::body::{Activity, Body};
use self::dial::Dialer;
use super::error::{Error, Kind, Result};

/// How long nothing may happen on a connection before it counts as lost. Registries that assemble a large blob in an object store
/// are silent for minutes at its end.
const SILENCE: Duration = Duration::from_mins(5);
/// What is kept in memory of one connection's data that came but was not read, or was written but not sent.
const BUFFER: usize = 256 << 10;

/// What the command line says about connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Files or folders with certificate authorities, besides the system's.
    pub(super) authorities: Vec<PathBuf>,
    /// Whether certificates are taken unseen and plain HTTP is spoken where there is no TLS.
    pub(super) insecure: bool,
}

/// The pool of connections to all registries and token servers.
pub(crate) struct Transport {
    settings: Settings,
    proxies: Arc<Matcher>,
    plain: OnceLock<Client<Dialer, Body>>,
    // Reading the system's authorities takes longer than an index over plain HTTP does altogether: only where TLS is spoken.
    secure: OnceLock<std::result::Result<Client<HttpsConnector<Dialer>, Body>, Error>>,
}

/// The whole answer to [`Transport::post`].
pub(crate) struct Posted {
    /// Its status.
    pub(crate) status: StatusCode,
    /// When to ask again, if it says so in seconds.
    pub(crate) retry_after: Option<Duration>,
    /// Its body.
    pub(crate) body: Bytes,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(super) struct SendError {
    /// In words, with what to do where that is known.
    pub(super) message: String,
    /// Whether trying again may help.
    pub(super) transient: bool,
}

impl Transport {
    /// A pool without connections yet.
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            proxies: Arc::new(Matcher::from_env()),
            plain: OnceLock::new(),
            secure: OnceLock::new(),
        })
    }

    /// A pool for servers that are no registries, which may have a certificate authority of their own besides the system's.
    pub(crate) fn outside_of_registries(authority: Option<PathBuf>) -> Arc<Self> {
        Self::new(Settings { authorities: authority.into_iter().collect(), insecure: false })
    }

    /// Posts a document and reads the answer, of which more than `limit` bytes are not taken.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(crate) async fn post(
        &self,
        uri: &Uri,
        headers: Vec<(header::HeaderName, HeaderValue)>,
        body: Bytes,
        limit: u64,
    ) -> std::result::Result<Posted, String> {
        let mut request = Request::new(Body::Whole(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri.clone();
        request.headers_mut().extend(headers);
        let reply = self.send(request, &Activity::default()).await.map_err(|error| error.message)?;
        let status = reply.status();
        let retry_after = reply.header(header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        let body = reply.bytes(limit).await.map_err(|error| error.message)?;
        Ok(Posted { status, retry_after: retry_after.map(Duration::from_secs), body })
    }

    /// Whether `--insecure` was given.
    pub(super) fn is_insecure(&self) -> bool {
        self.settings.insecure
    }

    /// Sends one request and waits for the head of the answer. `activity` is the body's, so that an upload that moves is not
    /// taken for silence.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        activity: &Activity,
    ) -> std::result::Result<Reply, SendError> {
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let started = Instant::now();
        let response = if uri.scheme_str() == Some("https") {
            let client = self
                .secure
                .get_or_init(|| self.connect_securely())
                .as_ref()
                .map_err(|error| SendError { message: error.to_string(), transient: false })?;
            activity.watch(SILENCE, client.request(request)).await
        } else {
            let proxy = dial::proxy_for(&self.proxies, &uri);
            if let Some(auth) = proxy.and_then(|proxy| proxy.basic_auth().cloned()) {
                request.headers_mut().insert(header::PROXY_AUTHORIZATION, auth);
            }
            let client = self.plain.get_or_init(|| self.connect_plainly());
            activity.watch(SILENCE, client.request(request)).await
        };
        let outcome = match response {
            Some(Ok(response)) => Ok(Reply { response, uri: uri.clone() }),
            Some(Err(error)) => Err(tls::explain(&error, &self.proxies, &uri)),
            None => Err(SendError {
                message: format!("nothing came or went for {} s", SILENCE.as_secs()),
                transient: true,
            }),
        };
        let status = outcome.as_ref().map_or(0, |reply| reply.status().as_u16());
        tracing::debug!(%method, %uri, status, took = ?started.elapsed(), "request");
        outcome
    }

    fn connect_plainly(&self) -> Client<Dialer, Body> {
        builder().build(Dialer::new(Arc::clone(&self.proxies)))
    }

    fn connect_securely(&self) -> Result<Client<HttpsConnector<Dialer>, Body>> {
        let config = tls::config(&self.settings)?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Dialer::new(Arc::clone(&self.proxies)));
        Ok(builder().build(connector))
    }
}

const USER_AGENT: &str = concat!("archfan/", env!("CARGO_PKG_VERSION"));

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).http1_max_buf_size(BUFFER);
    builder
}

/// An answer whose body has not been read yet.
pub(super) struct Reply {
    response: Response<Incoming>,
    uri: Uri,
}

impl Reply {
    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// One header as text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// Where it came from.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The next piece of the body.
    pub(super) async fn next(&mut self) -> std::result::Result<Option<Bytes>, SendError> {
        loop {
            let lost = |message: String| SendError { message, transient: true };
            let frame = tokio::time::timeout(SILENCE, self.response.body_mut().frame())
                .await
                .map_err(|_| lost(format!("nothing came for {} s", SILENCE.as_secs())))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(format!("the answer broke off: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, of which more than `limit` bytes are not taken.
    pub(super) async fn bytes(mut self, limit: u64) -> std::result::Result<Bytes, SendError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if (whole.len() + piece.len()) as u64 > limit {
                let message = format!("the answer is larger than {limit} bytes");
                return Err(SendError { message, transient: false });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Reads what is left of a short body, so that the connection can be used again.
    pub(super) async fn drain(self) {
        let _ = self.bytes(64 << 10).await;
    }
}

/// Makes a failure out of a request without an answer.
pub(super) fn unreachable(what: &str, error: &SendError) -> Error {
    let kind = if error.transient { Kind::Unavailable } else { Kind::Failed };
    Error::new(kind, format!("{what}: {}", error.message))
}

/// Where a `Location` leads that was given in answer to a request for `base` (RFC 9110, 10.2.2: it may be relative).
pub(super) fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return location.parse().ok();
    }
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{scheme}://{rest}").parse().ok();
    }
    if location.starts_with('/') {
        return format!("{scheme}://{authority}{location}").parse().ok();
    }
    let path = base.path();
    let folder = &path[..=path.rfind('/')?];
    format!("{scheme}://{authority}{folder}{location}").parse().ok()
}

/// Whether two addresses are of one server: the same host and port. The scheme is compared apart from this.
pub(super) fn same_host(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    host(one) == host(other) && port(one) == port(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_may_be_relative() {
        let base: Uri = "https://r.example:5000/v2/a/blobs/uploads/".parse().unwrap();
        for (location, whole) in [
            ("https://other.example/x?y=1", "https://other.example/x?y=1"),
            ("/v2/a/blobs/uploads/1?_state=x", "https://r.example:5000/v2/a/blobs/uploads/1?_state=x"),
            ("1?_state=x", "https://r.example:5000/v2/a/blobs/uploads/1?_state=x"),
            ("//other.example/x", "https://other.example/x"),
        ] {
            assert_eq!(resolve(&base, location).unwrap().to_string(), whole);
        }
        assert!(resolve(&base, "http://[").is_none());
    }

    #[test]
    fn hosts_are_compared_with_their_ports() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert!(same_host(&uri("https://r.example/x"), &uri("https://R.example:443/y")));
        assert!(same_host(&uri("http://r.example:5000/x"), &uri("https://r.example:5000/y")));
        assert!(!same_host(&uri("https://r.example/x"), &uri("https://r.example:5000/x")));
        assert!(!same_host(&uri("https://r.example/x"), &uri("https://s.example/x")));
    }
}
