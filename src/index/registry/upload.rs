//! Blobs that a registry is given (distribution-spec, "Pushing blobs" and "Mounting a blob from another repository").

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};

use super::check::{Check, Payload};
use super::{Call, Registry, asked_to_wait};
use crate::index::digest::Digest;
use crate::index::error::{Error, Kind, Result};
use crate::index::http::body::{Activity, Body};
use crate::index::http::retry::{Waits, is_transient};
use crate::index::http::{Reply, resolve};
use crate::index::reference::Repository;

/// Blobs up to this size are held in memory and sent in one request; most are configurations.
const SMALL: u64 = 256 << 10;

/// What became of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::index) enum Outcome {
    /// It was there.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

/// How one attempt to send a blob's bytes ended.
enum Step {
    /// All are there; this is where the upload is closed.
    Complete(Uri),
    /// Some are there.
    Partial(Uri, u64),
    /// The login is asked for.
    Challenged(u64, Reply),
    /// Something broke that may work another time.
    Broken(String, Option<Duration>),
    /// The registry has forgotten the upload.
    Forgotten,
}

impl Registry {
    /// Brings a blob to a repository: by a mount from `mount`, if that is a repository of this registry that has it, else by sending
    /// it, unless it is there. `missing` says that the registry was asked already.
    pub(in crate::index) async fn put_blob(
        &self,
        repository: &Repository,
        mount: Option<&Repository>,
        missing: bool,
        payload: &dyn Payload,
        check: &Arc<Check>,
    ) -> Result<Outcome> {
        let mut session = None;
        if let Some(from) = mount {
            // A mount of what is there already succeeds as well: no need to ask first.
            match self.mount(repository, from, check.digest()).await? {
                None => return Ok(Outcome::Mounted),
                Some(started) => session = started,
            }
        }
        let present = !missing && self.has_blob(repository, check.digest()).await?;
        if let Some(begun) = session.take_if(|_| present) {
            self.cancel(&repository.to_string(), begun).await;
        }
        if present {
            return Ok(Outcome::Present);
        }
        let what = format!("{repository}: uploading the blob {}", check.digest());
        if check.size() <= SMALL {
            self.send_whole(&what, repository, session, payload, check).await?;
        } else {
            self.send_stream(&what, repository, session, payload, check).await?;
        }
        Ok(Outcome::Sent)
    }

    /// Asks for a mount. `None` if it was made; else the upload that the registry has begun instead, if any.
    async fn mount(
        &self,
        to: &Repository,
        from: &Repository,
        digest: &Digest,
    ) -> Result<Option<Option<Uri>>> {
        let what = format!("{to}: mounting the blob {digest} from {}", from.path());
        let path = format!("{}/blobs/uploads/?mount={digest}&from={}", to.path(), from.path());
        let uri = self.uri(&path).await?;
        let reply = self.call(&what, &Call::new(Method::POST, uri)).await?;
        match reply.status() {
            StatusCode::CREATED => {
                reply.drain().await;
                Ok(None)
            }
            StatusCode::ACCEPTED => {
                let session = location(&reply);
                reply.drain().await;
                Ok(Some(session))
            }
            // Mounts are optional for a registry, and it may not let this login read the other repository: copying tells.
            status if status.is_client_error() => {
                reply.drain().await;
                Ok(Some(None))
            }
            _ => Err(self.refused(&what, reply).await),
        }
    }

    async fn start(&self, what: &str, repository: &Repository) -> Result<Uri> {
        let uri = self.uri(&format!("{}/blobs/uploads/", repository.path())).await?;
        let reply = self.call(what, &Call::new(Method::POST, uri)).await?;
        if reply.status() != StatusCode::ACCEPTED {
            return Err(self.refused(what, reply).await);
        }
        let session = location(&reply);
        reply.drain().await;
        session.ok_or_else(|| Error::failed(format!("{what}: the registry names no place for the upload")))
    }

    /// POST and PUT: "Pushing a blob monolithically".
    async fn send_whole(
        &self,
        what: &str,
        repository: &Repository,
        session: Option<Uri>,
        payload: &dyn Payload,
        check: &Arc<Check>,
    ) -> Result<()> {
        let mut pieces = payload.open(0, check);
        let mut whole = BytesMut::new();
        while let Some(Ok(piece)) = pieces.recv().await {
            whole.extend_from_slice(&piece);
            if whole.len() as u64 > check.size() {
                break;
            }
        }
        check.verdict()?;
        let whole = whole.freeze();
        let mut session = session;
        let mut waits = Waits::default();
        loop {
            let place = match session.take() {
                Some(place) => place,
                None => self.start(what, repository).await?,
            };
            let Some((reason, asked)) = self.close(what, repository, &place, whole.clone(), check).await?
            else {
                return Ok(());
            };
            match waits.next(asked) {
                Some(wait) => self.pause(&reason, wait, &waits).await,
                None => return Err(Error::new(Kind::Unavailable, format!("{what}: {reason}"))),
            }
        }
    }

    /// POST, PATCH and PUT: "Pushing a blob in chunks", with one chunk unless the connection breaks.
    async fn send_stream(
        &self,
        what: &str,
        repository: &Repository,
        session: Option<Uri>,
        payload: &dyn Payload,
        check: &Arc<Check>,
    ) -> Result<()> {
        let mut session = session.map(|place| (place, 0));
        let mut waits = Waits::default();
        let mut challenges = 0;
        loop {
            let (place, from) = match session.take() {
                Some(known) => known,
                None => (self.start(what, repository).await?, 0),
            };
            let (reason, asked) = match self.patch(what, &place, from, payload, check).await? {
                Step::Complete(end) => {
                    if let Err(error) = check.verdict() {
                        self.cancel(what, end).await;
                        return Err(error);
                    }
                    match self.close(what, repository, &end, Bytes::new(), check).await? {
                        None => return Ok(()),
                        Some(broken) => broken,
                    }
                }
                Step::Partial(next, reached) => {
                    session = Some((next, reached));
                    continue;
                }
                Step::Challenged(generation, reply) if challenges < 2 => {
                    challenges += 1;
                    self.answer_challenge(what, generation, reply).await?;
                    ("the login was asked for again".to_owned(), Some(Duration::ZERO))
                }
                Step::Challenged(_, reply) => return Err(self.refused(what, reply).await),
                Step::Broken(reason, asked) => {
                    session = self.resume(what, &place, check.size()).await;
                    (reason, asked)
                }
                Step::Forgotten => ("the registry has forgotten the upload".to_owned(), None),
            };
            if !payload.again() {
                return Err(Error::new(Kind::Unavailable, format!("{what}: {reason}")));
            }
            match waits.next(asked) {
                Some(wait) => self.pause(&reason, wait, &waits).await,
                None => {
                    return Err(Error::new(
                        Kind::Unavailable,
                        format!("{what}: {reason}; given up after {} tries", waits.tries),
                    ));
                }
            }
        }
    }

    /// Sends the bytes from `from` on.
    async fn patch(
        &self,
        what: &str,
        place: &Uri,
        from: u64,
        payload: &dyn Payload,
        check: &Arc<Check>,
    ) -> Result<Step> {
        let (generation, auth) = self.authorization(what).await?;
        let activity = Activity::default();
        let left = check.size() - from;
        let body = Body::Stream { pieces: payload.open(from, check), left, activity: activity.clone() };
        let mut request = Request::new(body);
        *request.method_mut() = Method::PATCH;
        *request.uri_mut() = place.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if from > 0 {
            // Only when resuming: registries that take one stream, as docker sends it, need not know the header.
            if let Ok(range) = HeaderValue::try_from(format!("{from}-{}", check.size() - 1)) {
                headers.insert(header::CONTENT_RANGE, range);
            }
        }
        if let Some(auth) = auth.filter(|_| self.is_own(place)) {
            headers.insert(header::AUTHORIZATION, auth);
        }
        let sent = self.transport.send(request, &activity).await;
        if let Some(failure) = check.failure() {
            return Err(failure);
        }
        let reply = match sent {
            Ok(reply) => reply,
            Err(error) if error.transient => return Ok(Step::Broken(error.message, None)),
            Err(error) => return Err(Error::failed(format!("{what}: {}", error.message))),
        };
        match reply.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED => {
                let next = location(&reply).unwrap_or_else(|| place.clone());
                let reached = reply.header(header::RANGE).and_then(reached);
                reply.drain().await;
                Ok(match reached {
                    // "0-0" is also what registries say of nothing at all, so it is not believed.
                    Some(reached) if reached > from.max(1) && reached < check.size() => {
                        Step::Partial(next, reached)
                    }
                    _ => Step::Complete(next),
                })
            }
            StatusCode::UNAUTHORIZED => Ok(Step::Challenged(generation, reply)),
            StatusCode::NOT_FOUND if from > 0 => Ok(Step::Forgotten),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                Ok(Step::Broken("it has other bytes than were sent".to_owned(), None))
            }
            status if is_transient(status) => {
                Ok(Step::Broken(format!("it answered {status}"), asked_to_wait(&reply)))
            }
            _ => Err(self.refused(what, reply).await),
        }
    }

    /// Where a broken upload can go on. Registries that cannot tell (CNCF distribution checks the place against a token that a broken
    /// request never got) get all of it again.
    async fn resume(&self, what: &str, place: &Uri, size: u64) -> Option<(Uri, u64)> {
        let reply = self.call(what, &Call::new(Method::GET, place.clone())).await.ok()?;
        let fine = matches!(reply.status(), StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED);
        let next = location(&reply).unwrap_or_else(|| place.clone());
        let reached =
            reply.header(header::RANGE).and_then(reached).filter(|reached| *reached > 1 && *reached < size);
        reply.drain().await;
        reached.filter(|_| fine).map(|reached| (next, reached))
    }

    /// Closes an upload under its digest, with the last bytes. `Some` is a reason to do it all again.
    async fn close(
        &self,
        what: &str,
        repository: &Repository,
        place: &Uri,
        last: Bytes,
        check: &Check,
    ) -> Result<Option<(String, Option<Duration>)>> {
        let joint = if place.query().is_some() { '&' } else { '?' };
        let uri: Uri = format!("{place}{joint}digest={}", check.digest()).parse().map_err(|error| {
            Error::failed(format!("{what}: the place of the upload is no address: {error}"))
        })?;
        let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
        let reply = self.call(what, &Call::new(Method::PUT, uri).headers(&headers).body(last)).await?;
        match reply.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => {
                reply.drain().await;
                return Ok(None);
            }
            // If an answer was lost on its way, the second try finds the upload closed.
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::BAD_REQUEST => {}
            status if is_transient(status) => {}
            _ => return Err(self.refused(what, reply).await),
        }
        let asked = asked_to_wait(&reply);
        let error = self.refused(what, reply).await;
        if self.has_blob(repository, check.digest()).await? {
            return Ok(None);
        }
        if error.kind() == Kind::Unavailable || error.has_code("BLOB_UPLOAD_UNKNOWN") {
            return Ok(Some((error.to_string(), asked)));
        }
        Err(error)
    }

    /// Gives up an upload. If the registry does not want to know, it clears up by itself.
    async fn cancel(&self, what: &str, place: Uri) {
        if let Ok(reply) = self.call(what, &Call::new(Method::DELETE, place)).await {
            reply.drain().await;
        }
    }
}

/// Where an upload goes on. A registry behind a proxy that ends TLS may name itself by http: the login is not shown there, and
/// `Registry::is_own` sees to that; the address is mended here where it is the same server.
fn location(reply: &Reply) -> Option<Uri> {
    let next = resolve(reply.uri(), reply.header(header::LOCATION)?)?;
    let same = next.authority() == reply.uri().authority();
    if same && next.scheme() != reply.uri().scheme() {
        let path = next.path_and_query()?.as_str();
        return resolve(reply.uri(), path);
    }
    Some(next)
}

/// How many bytes a `Range: 0-N` says that the registry has.
pub(super) fn reached(range: &str) -> Option<u64> {
    let range = range.trim();
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (start, end) = range.split_once('-')?;
    (start == "0").then_some(())?;
    end.parse::<u64>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (text, bytes) in [
            ("0-99", Some(100)),
            ("bytes=0-9", Some(10)),
            ("0-0", Some(1)),
            ("5-9", None),
            ("x", None),
            ("0-", None),
        ] {
            assert_eq!(reached(text), bytes, "{text}");
        }
    }
}
