//! Tar files that are compressed as a whole. They are read twice: once to see what is in them, once to send what is wanted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::container::{Both, PIECE};
use super::decompress;
use super::file::AHEAD;
use super::headers::Bounded;
use super::table::{self, Table};
use crate::index::error::{Error, Result};
use crate::index::http::body::{Broken, Pieces};
use crate::index::media::Compression;
use crate::index::registry::{Check, Payload};

/// Documents up to this size are kept from the first reading, and all together up to the second bound.
const KEPT_EACH: u64 = 4 << 20;
const KEPT_ALL: u64 = 8 << 20;

/// Unpacking zstd needs its window as memory: one archive at a time, or several would need that of all.
static ZSTD: Mutex<()> = Mutex::new(());

/// A compressed tar file.
pub(super) struct Packed {
    path: PathBuf,
    compression: Compression,
    table: Table,
    kept: BTreeMap<String, Bytes>,
}

/// A blob that comes out of the second reading.
pub(in crate::index) struct Part {
    /// What it should be, and what passes by.
    pub(in crate::index) check: Arc<Check>,
    pieces: Mutex<Option<Pieces>>,
}

/// Where such blobs come from.
pub(in crate::index) type Parts = mpsc::Receiver<Result<Part>>;
/// Where they go.
pub(super) type PartSender = mpsc::Sender<Result<Part>>;

impl Payload for Part {
    fn open(&self, _from: u64, check: &Arc<Check>) -> Pieces {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).take();
        pieces.unwrap_or_else(|| {
            check.fail(Error::failed("a compressed archive cannot be read again from its middle"));
            mpsc::channel(1).1
        })
    }

    fn again(&self) -> bool {
        false
    }
}

impl Packed {
    /// Reads it once.
    pub(super) fn open(path: &Path, compression: Compression) -> std::result::Result<Self, String> {
        let _turn = turn(compression);
        let mut packed =
            Self { path: path.to_owned(), compression, table: Table::default(), kept: BTreeMap::new() };
        let (reader, meter) = Bounded::new(packed.reader()?);
        let mut archive = tar::Archive::new(reader);
        let mut room = KEPT_ALL;
        let mut entries = archive.entries().map_err(|error| broken(&error))?;
        let mut unread = 0;
        loop {
            meter.headers(unread);
            let Some(entry) = entries.next() else { break };
            let mut entry = entry.map_err(|error| broken(&error))?;
            meter.contents();
            unread = table::length(&entry);
            let (name, odd) = table::describe(&entry);
            let size = entry.size();
            packed.table.add(name.clone(), odd, 0, size)?;
            if odd.is_some() {
                continue;
            }
            let whole = packed.learn(&mut entry, &name, size, size <= KEPT_EACH.min(room));
            if let Some(bytes) = whole.map_err(|error| format!("{name}: {error}"))? {
                room -= bytes.len() as u64;
                packed.kept.insert(name, bytes);
            }
        }
        drop(archive);
        Ok(packed)
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// A document that was kept.
    pub(super) fn kept(&self, name: &str) -> std::result::Result<Bytes, String> {
        self.kept
            .get(name)
            .cloned()
            .ok_or_else(|| format!("{name} is no document of JSON, or too large for one"))
    }

    fn reader(&self) -> std::result::Result<Box<dyn Read>, String> {
        let file = File::open(&self.path).map_err(|error| error.to_string())?;
        decompress::reader(BufReader::with_capacity(PIECE, file), self.compression)
            .map_err(|error| error.to_string())
    }

    /// Reads an entry to its end. Documents are given whole if they may be kept; of anything that lies under another name than its
    /// digest, the digests are noted.
    fn learn(
        &mut self,
        entry: &mut impl Read,
        name: &str,
        size: u64,
        may_keep: bool,
    ) -> std::result::Result<Option<Bytes>, String> {
        let mut piece = vec![0; PIECE];
        let length = fill(entry, &mut piece)?;
        let head = &piece[..length];
        let document =
            head.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| matches!(b, b'{' | b'['));
        if document && may_keep {
            let mut whole = head.to_vec();
            (&mut *entry).take(size).read_to_end(&mut whole).map_err(|error| broken(&error))?;
            return Ok(Some(Bytes::from(whole)));
        }
        let compression = Compression::of(head);
        if let Some(entry) = self.table.get_mut(name) {
            entry.compression = compression;
        }
        // A layer of `docker save` that is compressed by itself: nothing else tells its digest.
        let unnamed = compression != Compression::None && !name.starts_with("blobs/");
        let mut both = unnamed.then(|| Both::new(compression));
        let mut length = length;
        while length > 0 {
            if let Some(both) = &mut both {
                both.update(&piece[..length])?;
            }
            length = fill(entry, &mut piece)?;
        }
        if let (Some(both), Some(entry)) = (both, self.table.get_mut(name)) {
            entry.digests = Some(both.finish()?);
        }
        Ok(None)
    }

    /// Reads it again, and gives the wanted entries in the order in which they come. Ends after the last.
    pub(super) fn stream(
        &self,
        wanted: &[(usize, Arc<Check>)],
        parts: &PartSender,
    ) -> std::result::Result<(), String> {
        let _turn = turn(self.compression);
        let (reader, meter) = Bounded::new(self.reader()?);
        let mut archive = tar::Archive::new(reader);
        let mut left = wanted.len();
        let mut entries = archive.entries().map_err(|error| broken(&error))?.enumerate();
        let mut unread = 0;
        loop {
            meter.headers(unread);
            let Some((ordinal, entry)) = entries.next().filter(|_| left > 0) else { return Ok(()) };
            meter.contents();
            let mut entry = entry.map_err(|error| broken(&error))?;
            unread = table::length(&entry);
            for (_, check) in wanted.iter().filter(|(number, _)| *number == ordinal) {
                left -= 1;
                let (sender, pieces) = mpsc::channel(AHEAD);
                let part = Part { check: Arc::clone(check), pieces: Mutex::new(Some(pieces)) };
                if parts.blocking_send(Ok(part)).is_err() || !send(&mut entry, check, &sender) {
                    return Ok(());
                }
            }
        }
    }
}

fn turn(compression: Compression) -> Option<std::sync::MutexGuard<'static, ()>> {
    (compression == Compression::Zstd).then(|| ZSTD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Sends one entry. `false` if nobody wants more.
fn send(
    entry: &mut impl Read,
    check: &Check,
    sender: &mpsc::Sender<std::result::Result<Bytes, Broken>>,
) -> bool {
    let mut place = 0;
    loop {
        let mut piece = vec![0; PIECE];
        match fill(entry, &mut piece) {
            Ok(0) => return true,
            Ok(length) => {
                piece.truncate(length);
                check.pass(place, &piece);
                place += length as u64;
                if sender.blocking_send(Ok(Bytes::from(piece))).is_err() {
                    return false;
                }
            }
            Err(error) => {
                check.fail(Error::source(error));
                let _ = sender.blocking_send(Err(Broken));
                return false;
            }
        }
    }
}

/// Reads until the buffer is full or the end is there.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> std::result::Result<usize, String> {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(&error)),
        }
    }
    Ok(length)
}

fn broken(error: &std::io::Error) -> String {
    format!("it is damaged, was not written to its end, or holds no tar file: {error}")
}
