//! A blob that is read from one registry while it is sent to another.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::digest::Digest;
use super::http::body::{Broken, Pieces};
use super::reference::Repository;
use super::registry::{Check, Download, Payload, Registry};

/// How many pieces may wait to be sent.
const AHEAD: usize = 4;

/// The source of such a blob.
pub(super) struct RemoteBlob {
    registry: Arc<Registry>,
    repository: Repository,
    digest: Digest,
    size: u64,
}

impl RemoteBlob {
    /// A blob of a repository.
    pub(super) fn new(registry: Arc<Registry>, repository: Repository, digest: Digest, size: u64) -> Self {
        Self { registry, repository, digest, size }
    }
}

impl Payload for RemoteBlob {
    fn open(&self, from: u64, check: &Arc<Check>) -> Pieces {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let check = Arc::clone(check);
        let mut download =
            Download::new(Arc::clone(&self.registry), &self.repository, &self.digest, self.size, from);
        tokio::spawn(async move {
            let mut place = from;
            loop {
                match download.next().await {
                    Ok(None) => return,
                    Ok(Some(piece)) => {
                        check.pass(place, &piece);
                        place += piece.len() as u64;
                        if sender.send(Ok(piece)).await.is_err() {
                            // The upload broke off; what comes next opens it again.
                            return;
                        }
                    }
                    Err(error) => {
                        check.fail(error);
                        let _ = sender.send(Err(Broken)).await;
                        return;
                    }
                }
            }
        });
        pieces
    }
}
