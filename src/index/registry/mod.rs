//! A registry as one login sees it (OCI distribution-spec 1.1).

mod answer;
mod blob;
mod check;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod manifest;
mod token;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

pub(super) use self::blob::Download;
pub(super) use self::check::{Check, Payload};
pub(super) use self::manifest::Fetched;
pub(super) use self::upload::Outcome;
use super::auth::challenge::{self, Bearer, Challenge};
use super::auth::{Found, Login};
use super::error::{Error, Kind, Result};
use super::http::body::{Activity, Body};
use super::http::retry::{Waits, is_transient, retry_after};
use super::http::{Reply, SendError, Transport, same_host, unreachable};
use super::progress::Progress;

/// A registry, with what is needed to be let in.
pub(super) struct Registry {
    transport: Arc<Transport>,
    progress: Progress,
    /// As users write it: `quay.io`.
    name: String,
    /// The host that is connected to.
    api: String,
    /// `https://HOST` or `http://HOST`, once that is known.
    base: OnceCell<String>,
    login: Option<Found>,
    /// Where logins were looked for in vain.
    searched: String,
    /// What tokens are asked for: `repository:team/app:pull,push`.
    scopes: Vec<String>,
    /// How many requests come at once at first.
    first: usize,
    auth: Mutex<Auth>,
}

/// What the registry wants to see, as far as is known.
struct Auth {
    /// Counts up with every change, so that of many requests that are refused at once only one gets a new token.
    generation: u64,
    scheme: Scheme,
}

enum Scheme {
    Unknown,
    Basic(HeaderValue),
    Bearer {
        challenge: Bearer,
        token: HeaderValue,
        until: Instant,
    },
    /// A token that the user brought along.
    Given(HeaderValue),
}

/// How long plain HTTP, once it has answered, waits for TLS to do so.
const PLAIN_WAITS: Duration = Duration::from_secs(2);

/// A request that can be sent more than once.
struct Call<'a> {
    method: Method,
    uri: Uri,
    headers: &'a [(HeaderName, &'a str)],
    body: Bytes,
}

impl<'a> Call<'a> {
    fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: &[], body: Bytes::new() }
    }

    fn headers(mut self, headers: &'a [(HeaderName, &'a str)]) -> Self {
        self.headers = headers;
        self
    }

    fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

/// How a registry is reached and let in to.
pub(super) struct Access {
    /// As users write it.
    pub(super) name: String,
    /// The host that is connected to.
    pub(super) api: String,
    /// The login, if there is one.
    pub(super) login: Option<Found>,
    /// Where logins were looked for, for messages.
    pub(super) searched: String,
    /// What tokens are asked for.
    pub(super) scopes: Vec<String>,
    /// How many requests come at once at first.
    pub(super) first: usize,
}

impl Registry {
    /// A registry that has not been talked to yet.
    pub(super) fn new(transport: Arc<Transport>, progress: Progress, access: Access) -> Arc<Self> {
        let scheme = match &access.login {
            Some(Found { login: Login::Token(token), .. }) => {
                secret(format!("Bearer {token}")).map_or(Scheme::Unknown, Scheme::Given)
            }
            _ => Scheme::Unknown,
        };
        Arc::new(Self {
            transport,
            progress,
            name: access.name,
            api: access.api,
            base: OnceCell::new(),
            login: access.login,
            searched: access.searched,
            scopes: access.scopes,
            first: access.first.clamp(1, 8),
            auth: Mutex::new(Auth { generation: 0, scheme }),
        })
    }

    /// The address of something below `/v2/`.
    async fn uri(&self, path: &str) -> Result<Uri> {
        let base = self.base.get_or_try_init(|| self.find_base()).await?;
        format!("{base}/v2/{path}")
            .parse()
            .map_err(|error| Error::failed(format!("{}: {path:?} makes no address: {error}", self.name)))
    }

    /// HTTPS, unless `--insecure` lets plain HTTP be tried too. Both are then tried at once, with a request that holds no secret, and
    /// HTTPS is taken if it answers at all: a registry that speaks TLS is never spoken to without, and one that does not costs no
    /// time. Loopback addresses are no exception, unlike docker's: whoever wants plain HTTP says so.
    async fn find_base(&self) -> Result<String> {
        let secure = format!("https://{}", self.api);
        if !self.transport.is_insecure() {
            return Ok(secure);
        }
        let plain = format!("http://{}", self.api);
        let mut waits = Waits::default();
        loop {
            let (by_tls, by_plain) = (self.ping(&secure), self.ping_all(&plain));
            tokio::pin!(by_tls, by_plain);
            let found = tokio::select! {
                answer = &mut by_tls => match answer {
                    Ok(()) => Ok(&secure),
                    Err(error) => by_plain.await.map(|()| &plain).map_err(|_| error),
                },
                answer = &mut by_plain => match answer {
                    // A server without TLS may be silent about what it does not understand.
                    Ok(()) => match tokio::time::timeout(PLAIN_WAITS, by_tls).await {
                        Ok(Ok(())) => Ok(&secure),
                        _ => Ok(&plain),
                    },
                    Err(_) => by_tls.await.map(|()| &secure),
                },
            };
            let error = match found {
                Ok(base) => return Ok(base.clone()),
                Err(error) => error,
            };
            match waits.next(None) {
                Some(wait) => self.pause(&error.message, wait, &waits).await,
                None => return Err(unreachable(&self.name, &error)),
            }
        }
    }

    /// Asks several times at once, so that as many connections are open when they are needed: one round trip less.
    async fn ping_all(&self, base: &str) -> std::result::Result<(), SendError> {
        let answers = join_all((0..self.first).map(|_| self.ping(base))).await;
        answers
            .into_iter()
            .find(std::result::Result::is_ok)
            .unwrap_or_else(|| Err(SendError { message: format!("{base} does not answer"), transient: true }))
    }

    /// Asks for `/v2/`. What the answer says about authentication is learnt from the first request that matters.
    async fn ping(&self, base: &str) -> std::result::Result<(), SendError> {
        let uri: Uri = format!("{base}/v2/")
            .parse()
            .map_err(|_| SendError { message: format!("{base:?} is no address"), transient: false })?;
        let request = self.request(&Call::new(Method::GET, uri), None);
        let reply = self.transport.send(request, &Activity::default()).await?;
        // A server that speaks TLS answers plain HTTP too, with 400 and a sentence about it (Go's net/http).
        if reply.status() == StatusCode::BAD_REQUEST {
            return Err(SendError {
                message: "it answered 400 Bad Request to /v2/".to_owned(),
                transient: false,
            });
        }
        reply.drain().await;
        Ok(())
    }

    fn request(&self, call: &Call<'_>, auth: Option<&HeaderValue>) -> Request<Body> {
        let mut request = Request::new(Body::Whole(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri.clone();
        for (name, value) in call.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                request.headers_mut().insert(name.clone(), value);
            }
        }
        if let Some(auth) = auth.filter(|_| self.is_own(&call.uri)) {
            request.headers_mut().insert(header::AUTHORIZATION, auth.clone());
        }
        request
    }

    /// Whether an address is the registry's own, so that the login may be shown there: same host and port, and no less safe.
    fn is_own(&self, uri: &Uri) -> bool {
        let Some(base) = self.base.get().and_then(|base| base.parse::<Uri>().ok()) else { return false };
        same_host(&base, uri) && (uri.scheme_str() == Some("https") || base.scheme_str() == Some("http"))
    }

    /// Sends a request, shows the login if it is asked for, and tries again what may pass. Gives any answer that is neither.
    async fn call(&self, what: &str, call: &Call<'_>) -> Result<Reply> {
        let mut waits = Waits::default();
        let mut challenges = 0;
        loop {
            let (generation, auth) = self.authorization(what).await?;
            let request = self.request(call, auth.as_ref());
            let (reason, asked) = match self.transport.send(request, &Activity::default()).await {
                Ok(reply) if reply.status() == StatusCode::UNAUTHORIZED && challenges < 2 => {
                    challenges += 1;
                    self.answer_challenge(what, generation, reply).await?;
                    continue;
                }
                Ok(reply) if is_transient(reply.status()) => {
                    let asked = asked_to_wait(&reply);
                    if waits.is_over() {
                        return Ok(reply);
                    }
                    let reason = format!("it answered {}", reply.status());
                    reply.drain().await;
                    (reason, asked)
                }
                Ok(reply) => return Ok(reply),
                Err(error) if error.transient => (error.message, None),
                Err(error) => return Err(unreachable(what, &error)),
            };
            let Some(wait) = waits.next(asked) else {
                let asked = asked.map(|asked| format!("; it asks to wait {} s", asked.as_secs()));
                let error = SendError { message: reason, transient: true };
                return Err(unreachable(what, &error).advice(format!(
                    "given up after {} tries{}",
                    waits.tries,
                    asked.unwrap_or_default()
                )));
            };
            self.pause(&reason, wait, &waits).await;
        }
    }

    /// Tells why it waits, and waits.
    async fn pause(&self, reason: &str, wait: Duration, waits: &Waits) {
        self.progress.say(&format!(
            "{}: {reason}; trying again in {:.1} s (try {})",
            self.name,
            wait.as_secs_f64(),
            waits.tries
        ));
        tokio::time::sleep(wait).await;
    }

    /// What to send as `Authorization`, and of which generation it is. A token that is about to end is replaced first: an upload that
    /// is refused at its end is an upload made twice.
    async fn authorization(&self, what: &str) -> Result<(u64, Option<HeaderValue>)> {
        let mut auth = self.auth.lock().await;
        let stale = match &auth.scheme {
            Scheme::Bearer { challenge, until, .. } if *until <= Instant::now() => Some(challenge.clone()),
            _ => None,
        };
        if let Some(challenge) = stale {
            self.renew(what, &mut auth, challenge).await?;
        }
        let value = match &auth.scheme {
            Scheme::Unknown => None,
            Scheme::Basic(value) | Scheme::Given(value) | Scheme::Bearer { token: value, .. } => {
                Some(value.clone())
            }
        };
        Ok((auth.generation, value))
    }

    /// Does what a 401 asks for.
    async fn answer_challenge(&self, what: &str, generation: u64, reply: Reply) -> Result<()> {
        let headers = reply.headers().get_all(header::WWW_AUTHENTICATE);
        let challenge = challenge::choose(headers.iter().filter_map(|value| value.to_str().ok()));
        let mut auth = self.auth.lock().await;
        if auth.generation != generation {
            // Another request has seen to it meanwhile.
            drop(auth);
            reply.drain().await;
            return Ok(());
        }
        match (challenge, &self.login) {
            (Some(Challenge::Bearer(bearer)), _) if !matches!(auth.scheme, Scheme::Given(_)) => {
                reply.drain().await;
                self.renew(what, &mut auth, bearer).await
            }
            (Some(Challenge::Basic), Some(Found { login: Login::Password { user, password }, .. }))
                if !matches!(auth.scheme, Scheme::Basic(_)) =>
            {
                let value = secret(basic(user, password))
                    .ok_or_else(|| Error::failed(format!("{what}: the login cannot be sent")))?;
                auth.scheme = Scheme::Basic(value);
                auth.generation += 1;
                drop(auth);
                reply.drain().await;
                Ok(())
            }
            _ => {
                drop(auth);
                Err(self.refused(what, reply).await)
            }
        }
    }

    async fn renew(&self, what: &str, auth: &mut Auth, challenge: Bearer) -> Result<()> {
        let token = self.fetch_token(what, &challenge).await?;
        let value = secret(format!("Bearer {}", token.value)).ok_or_else(|| {
            Error::new(Kind::Denied, format!("{what}: the token server gave a token that cannot be sent"))
        })?;
        auth.scheme = Scheme::Bearer { challenge, token: value, until: token.until };
        auth.generation += 1;
        Ok(())
    }
}

/// `Basic` and base64 of `name:password` (RFC 7617).
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A header's value that is kept out of logs.
fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What the registry asks to wait.
fn asked_to_wait(reply: &Reply) -> Option<Duration> {
    retry_after(reply.header(header::RETRY_AFTER)?, jiff::Timestamp::now())
}
