//! Blobs on disk and in memory, to be sent.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::container::PIECE;
use crate::index::error::Error;
use crate::index::http::body::{Broken, Pieces};
use crate::index::registry::{Check, Payload};

/// How many pieces may wait to be sent.
pub(super) const AHEAD: usize = 3;

/// A part of a file.
pub(super) struct FilePart {
    file: Arc<File>,
    offset: u64,
    size: u64,
    name: String,
}

impl FilePart {
    pub(super) fn new(file: Arc<File>, offset: u64, size: u64, name: String) -> Self {
        Self { file, offset, size, name }
    }
}

impl Payload for FilePart {
    fn open(&self, from: u64, check: &Arc<Check>) -> Pieces {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let (file, check, name) = (Arc::clone(&self.file), Arc::clone(check), self.name.clone());
        let (offset, size) = (self.offset, self.size);
        // Reading and hashing have a thread of their own: neither a slow volume nor a fast one holds up the connections.
        tokio::task::spawn_blocking(move || {
            let mut place = from;
            while place < size {
                let length = usize::try_from(size - place).unwrap_or(PIECE).min(PIECE);
                let mut piece = vec![0; length];
                if let Err(error) = file.read_exact_at(&mut piece, offset + place) {
                    check.fail(Error::source(format!(
                        "{name}: reading failed at byte {}: {error}",
                        offset + place
                    )));
                    let _ = sender.blocking_send(Err(Broken));
                    return;
                }
                check.pass(place, &piece);
                place += length as u64;
                if sender.blocking_send(Ok(Bytes::from(piece))).is_err() {
                    return;
                }
            }
        });
        pieces
    }
}

/// Bytes that are there already.
pub(super) struct Memory(Bytes);

impl Memory {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Payload for Memory {
    fn open(&self, from: u64, check: &Arc<Check>) -> Pieces {
        let (sender, pieces) = mpsc::channel(1);
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(self.0.len());
        let rest = self.0.slice(start..);
        check.pass(from, &rest);
        // The channel is empty and its other end is held: there is room.
        let _ = sender.try_send(Ok(rest));
        pieces
    }
}
