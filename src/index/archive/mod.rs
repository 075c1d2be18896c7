//! Images in files and folders.

use std::sync::Arc;

use bytes::Bytes;

use super::digest::Digest;
use super::error::{Error, Result};
use super::media::Format;
use super::registry::{Fetched, Payload};
use super::source::Place;

/// An opened archive.
pub(super) enum Archive {}

/// Opens an archive and reads its table of contents.
pub(super) async fn open(place: Place, _format: Format) -> Result<Arc<Archive>> {
    tokio::task::yield_now().await;
    Err(Error::usage(format!("{place}: archives cannot be read yet")))
}

impl Archive {
    pub(super) fn root(&self) -> Fetched {
        match *self {}
    }
    pub(super) fn manifest(&self, _digest: &Digest) -> Result<Fetched> {
        match *self {}
    }
    pub(super) fn small(&self, _digest: &Digest, _limit: u64) -> Result<Bytes> {
        match *self {}
    }
    pub(super) fn payload(&self, _digest: &Digest, _size: u64) -> Result<Box<dyn Payload>> {
        match *self {}
    }
}
