//! Unpacking gzip and zstd, with bounded memory.

use std::io::{self, BufRead, Read, Write as _};

use flate2::bufread::MultiGzDecoder;

use crate::index::digest::{Digest, Hasher};
use crate::index::media::Compression;

/// The largest window of zstd, which is memory: what RFC 8878 (3.1.1.1.2) asks decoders to take, and what `zstd -19` makes.
const WINDOW: u64 = 8 << 20;

/// A reader of what `source` unpacks to.
///
/// # Errors
/// The memory that zstd needs cannot be had.
pub(super) fn reader<'a>(
    source: impl BufRead + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Zstd => Box::new(Zstd::new(source)?),
    })
}

/// Frames of zstd, one after another. Those that may be skipped are.
struct Zstd<'a, R: BufRead>(zstd::Decoder<'a, R>);

impl<R: BufRead> Zstd<'_, R> {
    fn new(source: R) -> io::Result<Self> {
        let mut decoder = zstd::Decoder::with_buffer(source)?;
        decoder.window_log_max(WINDOW.ilog2())?;
        Ok(Self(decoder))
    }
}

impl<R: BufRead> Read for Zstd<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            // The library has no kind for this, only these words (`ZSTD_error_frameParameter_windowTooLarge`).
            if error.to_string().contains("requires too much memory") {
                return io::Error::other(format!(
                    "it was compressed with a larger window than the {WINDOW} bytes that are taken, since unpacking needs as much \
                     memory: compress it without --ultra and --long"
                ));
            }
            error
        })
    }
}

/// Takes compressed bytes piece by piece and computes the digest of what they unpack to. Only gzip can be unpacked in this
/// direction by what is in the tree; of zstd, the digest is left to whoever pulls the layer.
pub(super) enum Unpacker {
    /// Nothing to unpack, or nothing that can be.
    Plain(Box<Hasher>),
    /// gzip.
    Gzip(Box<flate2::write::MultiGzDecoder<HashWriter>>),
}

/// Hashes what is written to it.
pub(super) struct HashWriter(Hasher);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Unpacker {
    pub(super) fn new(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => {
                Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(HashWriter(Hasher::sha256()))))
            }
            Compression::None | Compression::Zstd => Self::Plain(Box::new(Hasher::sha256())),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self {
            Self::Plain(hasher) => hasher.update(bytes),
            Self::Gzip(decoder) => {
                decoder.write_all(bytes).map_err(|error| format!("it cannot be unpacked: {error}"))?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Digest, String> {
        match self {
            Self::Plain(hasher) => Ok(hasher.finish()),
            Self::Gzip(decoder) => decoder
                .finish()
                .map(|writer| writer.0.finish())
                .map_err(|error| format!("it cannot be unpacked: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        reader(bytes, Compression::of(bytes))?.read_to_end(&mut whole)?;
        Ok(whole)
    }

    #[test]
    fn several_members_are_one_stream() {
        let text: Vec<u8> = (0..300_000u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
        for packed in [gzip(&text), zstd(&text), text.clone()] {
            assert_eq!(unpack(&packed).unwrap(), text);
        }
        let (first, second) = text.split_at(1000);
        assert_eq!(unpack(&[gzip(first), gzip(second)].concat()).unwrap(), text);
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let frames = [&skippable[..], &zstd(first), &skippable, &zstd(second)].concat();
        assert_eq!(unpack(&frames).unwrap(), text);
    }

    #[test]
    fn damage_and_cuts_are_noticed() {
        let text = vec![7; 100_000];
        for packed in [gzip(&text), zstd(&text)] {
            assert!(unpack(&packed[..packed.len() - 3]).is_err(), "cut");
        }
        let mut packed = gzip(&text);
        let end = packed.len();
        packed[end - 6] ^= 1;
        assert!(unpack(&packed).is_err(), "the sum at the end");
        // A frame with a window of 128 MiB.
        let mut huge = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3];
        huge.extend([1, 0, 0]);
        let error = unpack(&huge).unwrap_err();
        assert!(error.to_string().contains("--ultra"), "{error}");
    }

    #[test]
    fn digests_of_both_sides_are_computed_in_one_go() {
        let text = vec![7; 100_000];
        let packed = gzip(&text);
        let mut unpacker = Unpacker::new(Compression::Gzip);
        for piece in packed.chunks(17) {
            unpacker.update(piece).unwrap();
        }
        assert_eq!(unpacker.finish().unwrap(), Digest::of(&text));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), kind in 0..2) {
            let head: &[u8] = if kind == 0 { &[0x1f, 0x8b, 8] } else { &[0x28, 0xb5, 0x2f, 0xfd] };
            let _ = unpack(&[head, &bytes].concat());
        }
    }
}
