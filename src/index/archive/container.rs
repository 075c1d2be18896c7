//! What holds the files of an archive: a folder, a tar file, or a compressed tar file.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::packed::{Packed, PartSender};
use super::table::{Entry, Table};
use crate::index::digest::{Digest, Hasher};
use crate::index::media::Compression;
use crate::index::registry::Check;

/// One of the three.
pub(super) enum Container {
    /// A folder.
    Folder(PathBuf),
    /// A tar file, which can be read at any place.
    Plain(Arc<File>, Table),
    /// A compressed tar file, which can be read from its beginning only.
    Packed(Packed),
}

/// How much is read at once.
pub(super) const PIECE: usize = 256 << 10;

impl Container {
    /// Opens a path, and makes the table of contents of a file. Compression is told by content.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
        if metadata.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if !metadata.is_file() {
            return Err("it is neither a file nor a folder; a stream can be read only once".to_owned());
        }
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        if metadata.len() == 0 {
            return Err("it is empty".to_owned());
        }
        let mut head = [0; 8];
        let length = file.read_at(&mut head, 0).map_err(|error| error.to_string())?;
        match Compression::of(&head[..length]) {
            Compression::None => {
                let table = Table::scan(&mut file, metadata.len())?;
                Ok(Self::Plain(Arc::new(file), table))
            }
            compression => Packed::open(path, compression).map(Self::Packed),
        }
    }

    pub(super) fn is_folder(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    /// Whether a file of this name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// The size of a file.
    pub(super) fn find(&self, name: &str) -> Result<u64, String> {
        match self {
            Self::Folder(root) => inside(root, name).map(|(_, size)| size),
            _ => self.entry(name).map(|entry| entry.size),
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry, String> {
        match self {
            Self::Folder(_) => Err(format!("{name} is in a folder")),
            Self::Plain(_, table) => table.find(name),
            Self::Packed(packed) => packed.table().find(name),
        }
    }

    /// Where a file stands in the order of the archive.
    pub(super) fn ordinal(&self, name: &str) -> Result<usize, String> {
        self.entry(name).map(|entry| entry.ordinal)
    }

    /// Reads a small file whole.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Bytes, String> {
        let size = self.find(name)?;
        if size > limit {
            return Err(format!("{name} has {size} bytes; more than {limit} are not read"));
        }
        let bytes = match self {
            Self::Folder(root) => {
                let (path, _) = inside(root, name)?;
                let mut bytes = Vec::new();
                let file = File::open(&path).map_err(|error| format!("{name}: {error}"))?;
                file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
                bytes
            }
            Self::Plain(file, _) => {
                let entry = self.entry(name)?;
                let size = usize::try_from(size).map_err(|_| format!("{name} is too large"))?;
                let mut bytes = vec![0; size];
                file.read_exact_at(&mut bytes, entry.offset).map_err(|error| format!("{name}: {error}"))?;
                bytes
            }
            Self::Packed(packed) => return packed.kept(name),
        };
        Ok(Bytes::from(bytes))
    }

    /// The file and the place in it where a file's bytes start, if it can be read by itself.
    pub(super) fn part(&self, name: &str) -> Result<Option<(Arc<File>, u64)>, String> {
        match self {
            Self::Folder(root) => {
                let (path, _) = inside(root, name)?;
                let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
                Ok(Some((Arc::new(file), 0)))
            }
            Self::Plain(file, table) => Ok(Some((Arc::clone(file), table.find(name)?.offset))),
            Self::Packed(_) => Ok(None),
        }
    }

    /// How a file is compressed, by its first bytes.
    pub(super) fn compression(&self, name: &str) -> Result<Compression, String> {
        if let Self::Packed(packed) = self {
            return Ok(packed.table().find(name)?.compression);
        }
        let size = self.find(name)?;
        let Some((file, offset)) = self.part(name)? else { return Ok(Compression::None) };
        let mut head = [0; 8];
        let length = usize::try_from(size.min(8)).unwrap_or(8);
        file.read_exact_at(&mut head[..length], offset).map_err(|error| format!("{name}: {error}"))?;
        Ok(Compression::of(&head[..length]))
    }

    /// The digest of a compressed file and that of what it unpacks to. This reads it.
    pub(super) fn digests(&self, name: &str) -> Result<(Digest, Digest), String> {
        if let Self::Packed(packed) = self {
            let found = packed.table().find(name)?.digests.clone();
            return found.ok_or_else(|| format!("{name} was not unpacked"));
        }
        let (size, compression) = (self.find(name)?, self.compression(name)?);
        let Some((file, mut offset)) = self.part(name)? else { return Err(format!("{name} cannot be read")) };
        let mut both = Both::new(compression);
        let mut buffer = vec![0; PIECE];
        let end = offset + size;
        while offset < end {
            let length = usize::try_from(end - offset).unwrap_or(PIECE).min(PIECE);
            file.read_exact_at(&mut buffer[..length], offset).map_err(|error| format!("{name}: {error}"))?;
            both.update(&buffer[..length]).map_err(|error| format!("{name}: {error}"))?;
            offset += length as u64;
        }
        both.finish().map_err(|error| format!("{name}: {error}"))
    }

    /// Reads a compressed archive again.
    pub(super) fn stream(&self, wanted: &[(usize, Arc<Check>)], parts: &PartSender) -> Result<(), String> {
        match self {
            Self::Packed(packed) => packed.stream(wanted, parts),
            _ => Err("it is read in places, not as a stream".to_owned()),
        }
    }
}

/// A file below a folder. Neither it nor a folder on the way may be a link: a build may have laid one to what it must not read.
fn inside(root: &Path, name: &str) -> Result<(PathBuf, u64), String> {
    let mut path = root.to_owned();
    let mut size = 0;
    for part in name.split('/') {
        if matches!(part, "" | "." | "..") {
            return Err(format!("{name} leads out of the folder"));
        }
        path.push(part);
        let metadata = std::fs::symlink_metadata(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("{name} is not there; it is incomplete"),
            _ => format!("{name}: {error}"),
        })?;
        if metadata.is_symlink() {
            return Err(format!("{name} is a link, and links are not followed"));
        }
        size = metadata.len();
    }
    if path.is_file() { Ok((path, size)) } else { Err(format!("{name} is no file")) }
}

/// Computes the digest of compressed bytes and of what they unpack to, in one go.
pub(super) struct Both {
    outer: Hasher,
    inner: super::decompress::Unpacker,
}

impl Both {
    pub(super) fn new(compression: Compression) -> Self {
        Self { outer: Hasher::sha256(), inner: super::decompress::Unpacker::new(compression) }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.outer.update(bytes);
        self.inner.update(bytes)
    }

    pub(super) fn finish(self) -> Result<(Digest, Digest), String> {
        Ok((self.outer.finish(), self.inner.finish()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_not_left() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("layout");
        std::fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("index.json"), "{}").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), root.join("blobs/sha256/x")).unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("blobs/sha512")).unwrap();
        let container = Container::open(&root).unwrap();
        assert_eq!(container.read("index.json", 10).unwrap(), "{}");
        for (name, part) in [
            ("../secret", "leads out"),
            ("blobs/../../secret", "leads out"),
            ("blobs/sha256/x", "is a link"),
            ("blobs/sha512/secret", "is a link"),
            ("blobs/sha256/y", "is not there"),
            ("blobs", "is no file"),
        ] {
            let error = container.read(name, 10).expect_err(name);
            assert!(error.contains(part), "{name}: {error}");
        }
        assert!(container.read("index.json", 1).unwrap_err().contains("more than 1"));
        assert!(Container::open(Path::new("/dev/null")).err().unwrap().contains("stream"));
    }
}
