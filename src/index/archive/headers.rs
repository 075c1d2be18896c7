//! Bounds what stands between the contents of two files of a tar file.
//!
//! Names of any length, and attributes, stand before a file's own header (GNU's long names, POSIX's extended headers), and reading an
//! archive's next entry takes them into memory whole. Some kilobytes of gzip may unpack to a name of gigabytes.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// The most that may stand before the contents of a file. The longest path that Linux takes has 4096 bytes.
const MOST: u64 = 1 << 20;

/// A reader of which headers are read in pieces of bounded size.
pub(super) struct Bounded<R> {
    source: R,
    left: Meter,
}

/// Says whether headers are read now, or contents.
#[derive(Clone)]
pub(super) struct Meter(Rc<Cell<u64>>);

impl Meter {
    /// From now on headers are read, up to the next contents, and before them `unread` bytes of the last contents.
    pub(super) fn headers(&self, unread: u64) {
        self.0.set(unread.saturating_add(MOST));
    }

    /// From now on contents are read.
    pub(super) fn contents(&self) {
        self.0.set(u64::MAX);
    }
}

impl<R> Bounded<R> {
    /// Bounds a reader, and gives what says what is read of it.
    pub(super) fn new(source: R) -> (Self, Meter) {
        let left = Meter(Rc::new(Cell::new(MOST)));
        (Self { source, left: left.clone() }, left)
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.0.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!(
                "more than {MOST} bytes stand before the contents of a file"
            )));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.source.read(&mut buffer[..most])?;
        if left < u64::MAX {
            self.left.0.set(left - length as u64);
        }
        Ok(length)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_bounded_and_contents_are_not() {
        let (mut reader, meter) = Bounded::new(io::repeat(7));
        let all = |reader: &mut Bounded<io::Repeat>, size| io::copy(&mut reader.take(size), &mut io::sink());
        assert_eq!(all(&mut reader, MOST).unwrap(), MOST);
        assert!(all(&mut reader, 1).unwrap_err().to_string().contains("before the contents"));
        meter.contents();
        assert_eq!(all(&mut reader, 3 * MOST).unwrap(), 3 * MOST);
        meter.headers(5);
        assert_eq!(all(&mut reader, MOST + 5).unwrap(), MOST + 5);
        assert!(all(&mut reader, 1).is_err());
    }
}
