//! Blobs that a registry has (distribution-spec, "Pulling blobs" and "Checking if content exists in the registry").

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode, Uri, header};

use super::{Call, Registry};
use crate::index::digest::Digest;
use crate::index::error::{Error, Result};
use crate::index::http::retry::Waits;
use crate::index::http::{Reply, SendError, resolve, unreachable};
use crate::index::reference::Repository;

/// How often a registry may send on to another address.
const REDIRECTS: usize = 5;

impl Registry {
    /// Whether a blob is there.
    pub(in crate::index) async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool> {
        let what = format!("{repository}: looking for the blob {digest}");
        let uri = self.uri(&format!("{}/blobs/{digest}", repository.path())).await?;
        let reply = self.call(&what, &Call::new(Method::HEAD, uri)).await?;
        match reply.status() {
            // A redirect leads to the store where it lies: it is there.
            status if status == StatusCode::OK || status.is_redirection() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused(&what, reply).await),
        }
    }

    /// Reads a small blob whole, and checks it.
    pub(in crate::index) async fn small_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Bytes> {
        let what = format!("{repository}: reading the blob {digest}");
        let mut waits = Waits::default();
        loop {
            let reply = self.open_blob(&what, repository, digest, 0).await?;
            match reply.bytes(limit).await {
                Ok(bytes) if digest.fits(&bytes) => return Ok(bytes),
                Ok(_) => return Err(Error::source(format!("{what}: the registry gave other bytes"))),
                Err(error) => match waits.next(None).filter(|_| error.transient) {
                    Some(wait) => self.pause(&error.message, wait, &waits).await,
                    None => return Err(unreachable(&what, &error)),
                },
            }
        }
    }

    /// Starts to read a blob from some place in it. Redirects are followed, without the login where they lead elsewhere.
    async fn open_blob(
        &self,
        what: &str,
        repository: &Repository,
        digest: &Digest,
        from: u64,
    ) -> Result<Reply> {
        let range = format!("bytes={from}-");
        let headers: &[(HeaderName, &str)] = if from > 0 { &[(header::RANGE, range.as_str())] } else { &[] };
        let mut uri: Uri = self.uri(&format!("{}/blobs/{digest}", repository.path())).await?;
        for _ in 0..=REDIRECTS {
            let reply = self.call(what, &Call::new(Method::GET, uri).headers(headers)).await?;
            match reply.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(reply),
                status if status.is_redirection() => {
                    let next = reply.header(header::LOCATION).and_then(|to| resolve(reply.uri(), to));
                    let next = next.ok_or_else(|| {
                        Error::failed(format!("{what}: it answered {status} and leads nowhere"))
                    })?;
                    let downgrade =
                        reply.uri().scheme_str() == Some("https") && next.scheme_str() != Some("https");
                    if downgrade && !self.transport.is_insecure() {
                        return Err(Error::failed(format!(
                            "{what}: it leads on to {} without TLS",
                            next.host().unwrap_or_default()
                        )));
                    }
                    reply.drain().await;
                    uri = next;
                }
                _ => return Err(self.refused(what, reply).await),
            }
        }
        Err(Error::failed(format!("{what}: it leads on more than {REDIRECTS} times")))
    }
}

/// A blob that is read from a registry while it is written to another.
pub(in crate::index) struct Download {
    registry: Arc<Registry>,
    what: String,
    repository: Repository,
    digest: Digest,
    size: u64,
    place: u64,
    reply: Option<Reply>,
    /// What came beyond the place that was looked for.
    held: Option<Bytes>,
    waits: Waits,
}

impl Download {
    /// A download that starts at the byte `from`.
    pub(in crate::index) fn new(
        registry: Arc<Registry>,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        from: u64,
    ) -> Self {
        Self {
            registry,
            what: format!("{repository}: reading the blob {digest}"),
            repository: repository.clone(),
            digest: digest.clone(),
            size,
            place: from,
            reply: None,
            held: None,
            waits: Waits::default(),
        }
    }

    /// The next piece. A connection that breaks is taken up again where it broke.
    pub(in crate::index) async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.place < self.size {
            let mut reply = if let Some(reply) = self.reply.take() {
                reply
            } else {
                let opened =
                    self.registry.open_blob(&self.what, &self.repository, &self.digest, self.place).await?;
                self.skip(opened).await?
            };
            let next = match self.held.take() {
                Some(piece) => Ok(Some(piece)),
                None => reply.next().await,
            };
            let reason = match next {
                Ok(Some(piece)) => {
                    self.place += piece.len() as u64;
                    self.reply = Some(reply);
                    // It moves: the next break is another one.
                    self.waits = Waits::default();
                    return Ok(Some(piece));
                }
                Ok(None) => format!("it ended after {} of {} bytes", self.place, self.size),
                Err(error) => error.message,
            };
            let Some(wait) = self.waits.next(None) else {
                return Err(unreachable(&self.what, &SendError { message: reason, transient: true }));
            };
            self.registry.pause(&reason, wait, &self.waits).await;
        }
        Ok(None)
    }

    /// A registry may ignore the range and start over ("Range requests … SHOULD support"): what was read before is dropped again.
    async fn skip(&mut self, mut reply: Reply) -> Result<Reply> {
        if reply.status() == StatusCode::PARTIAL_CONTENT {
            return Ok(reply);
        }
        let mut left = usize::try_from(self.place).unwrap_or(usize::MAX);
        while left > 0 {
            let piece = reply.next().await.map_err(|error| unreachable(&self.what, &error))?;
            let Some(piece) = piece else { break };
            if piece.len() > left {
                self.held = Some(piece.slice(left..));
            }
            left = left.saturating_sub(piece.len());
        }
        Ok(reply)
    }
}
