//! The table of contents of a tar file.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use tar::EntryType;

use super::headers::Bounded;

use crate::index::digest::Digest;
use crate::index::media::Compression;

/// More entries than this are in no image: an image has two files a layer, and 127 layers at most.
const MOST: usize = 20_000;

/// A file in a tar file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its place in the order of entries.
    pub(super) ordinal: usize,
    /// Where its bytes start.
    pub(super) offset: u64,
    /// How many they are.
    pub(super) size: u64,
    /// How they are compressed, if that is known yet.
    pub(super) compression: Compression,
    /// The digests of the bytes and of what they unpack to, if they were needed.
    pub(super) digests: Option<(Digest, Digest)>,
    /// Why it cannot be read, if so.
    odd: Option<&'static str>,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<String, Entry>,
    count: usize,
}

impl Table {
    /// Reads the headers of a tar file of `length` bytes, and none of the contents.
    pub(super) fn scan(file: &mut (impl Read + Seek), length: u64) -> Result<Self, String> {
        file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
        let mut table = Self::default();
        let (reader, meter) = Bounded::new(file);
        let mut archive = tar::Archive::new(reader);
        let mut entries = archive.entries_with_seek().map_err(|error| no_tar(&error))?;
        loop {
            // Contents are leapt over, not read.
            meter.headers(0);
            let Some(entry) = entries.next() else { return Ok(table) };
            let entry = entry.map_err(|error| no_tar(&error))?;
            let (name, kind) = describe(&entry);
            let (offset, size) = (entry.raw_file_position(), entry.size());
            if offset.checked_add(size).is_none_or(|end| end > length) {
                return Err(format!(
                    "it ends in the middle of {name}, of which it has {} of {size} bytes; it was not written to its end",
                    length.saturating_sub(offset)
                ));
            }
            table.add(name, kind, offset, size)?;
        }
    }

    /// Notes an entry and gives its number.
    pub(super) fn add(
        &mut self,
        name: String,
        odd: Option<&'static str>,
        offset: u64,
        size: u64,
    ) -> Result<usize, String> {
        let ordinal = self.count;
        self.count += 1;
        if self.count > MOST {
            return Err(format!("it has more than {MOST} entries; that is no image"));
        }
        let (compression, digests) = (Compression::None, None);
        // Of two entries with one name the later counts, as it would when unpacked.
        self.entries.insert(name, Entry { ordinal, offset, size, compression, digests, odd });
        Ok(ordinal)
    }

    /// The entry of a name, for what is learnt of it later.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.get_mut(name)
    }

    /// Finds a file that can be read.
    pub(super) fn find(&self, name: &str) -> Result<&Entry, String> {
        let entry = self
            .entries
            .get(&normalize(name.as_bytes()))
            .ok_or_else(|| format!("{name} is not in it; it is incomplete, or was not written to its end"))?;
        match entry.odd {
            None => Ok(entry),
            Some(odd) => Err(format!("{name} is {odd} in it, and only files are read")),
        }
    }
}

/// The name of an entry, and why it cannot be read, if so.
pub(super) fn describe<R: Read>(entry: &tar::Entry<'_, R>) -> (String, Option<&'static str>) {
    let odd = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => None,
        EntryType::Symlink | EntryType::Link => Some("a link"),
        EntryType::Directory => Some("a folder"),
        EntryType::GNUSparse => Some("a sparse file"),
        _ => Some("a special file"),
    };
    (normalize(&entry.path_bytes()), odd)
}

/// How many bytes of the archive an entry's contents are: of a sparse file fewer than it seems to have.
pub(super) fn length<R: Read>(entry: &tar::Entry<'_, R>) -> u64 {
    match entry.header().entry_type() {
        EntryType::GNUSparse => entry.header().entry_size().unwrap_or_default(),
        _ => entry.size(),
    }
}

/// Names are compared, never opened: `./index.json` is `index.json`, and one with `..` in it is found by nobody who asks for less.
fn normalize(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let mut name = name.as_ref();
    while let Some(rest) = name.strip_prefix("./") {
        name = rest.trim_start_matches('/');
    }
    name.trim_end_matches('/').to_owned()
}

fn no_tar(error: &std::io::Error) -> String {
    format!("it is no tar file, or is damaged: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn tar_with(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn scan(bytes: &[u8]) -> Result<Table, String> {
        Table::scan(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn files_are_found_by_name() {
        let bytes = tar_with(&[
            ("./index.json", EntryType::Regular, b"first"),
            ("blobs", EntryType::Directory, b""),
            ("blobs/sha256/a", EntryType::Regular, b"aaaa"),
            ("index.json", EntryType::Regular, b"second!"),
            ("link", EntryType::Symlink, b""),
            ("../escape", EntryType::Regular, b"x"),
            ("/abs", EntryType::Regular, b"x"),
        ]);
        let table = scan(&bytes).unwrap();
        let found = table.find("index.json").unwrap();
        let start = usize::try_from(found.offset).unwrap();
        assert_eq!(&bytes[start..start + 7], b"second!", "the later of two counts");
        assert_eq!((found.ordinal, table.find("blobs/sha256/a").unwrap().ordinal), (3, 2));
        assert!(table.find("link").unwrap_err().contains("is a link"));
        assert!(table.find("blobs").unwrap_err().contains("is a folder"));
        assert!(table.find("escape").unwrap_err().contains("incomplete"));
        assert!(table.find("abs").unwrap_err().contains("incomplete"));
    }

    #[test]
    fn what_was_cut_is_named() {
        let bytes = tar_with(&[("a", EntryType::Regular, &[1; 2000]), ("b", EntryType::Regular, &[2; 2000])]);
        let error = scan(&bytes[..1000]).unwrap_err();
        assert!(error.contains("in the middle of a") && error.contains("488 of 2000"), "{error}");
        let error = scan(&bytes[..2600 + 100]).unwrap_err();
        assert!(error.contains("no tar file, or is damaged"), "{error}");
        assert!(scan(b"hello, this is no tar file at all").is_err());
    }

    /// A name that goes on and on is taken into memory whole by whoever does not look out.
    #[test]
    fn names_are_not_read_without_end() {
        let name = vec![b'x'; 4000];
        let bytes = tar_with(&[("l", EntryType::GNULongName, &name), ("a", EntryType::Regular, b"1")]);
        assert_eq!(scan(&bytes).unwrap().count, 1);
        let name = vec![b'x'; 2 << 20];
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
            let bytes = tar_with(&[("l", kind, &name), ("a", EntryType::Regular, b"1")]);
            let error = scan(&bytes).unwrap_err();
            assert!(error.contains("before the contents"), "{kind:?}: {error}");
        }
        // Contents may be of any length, of whatever they are.
        for kind in [EntryType::Regular, EntryType::Block] {
            let bytes = tar_with(&[("l", kind, &name), ("a", EntryType::Regular, b"1")]);
            assert_eq!(scan(&bytes).unwrap().count, 2);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
            let _ = scan(&bytes);
        }

        #[test]
        fn never_panics_on_a_damaged_archive(place in 0usize..3000, value in proptest::num::u8::ANY, cut in 0usize..3000) {
            let mut bytes = tar_with(&[("a", EntryType::Regular, &[1; 700]), ("b", EntryType::Symlink, b""), ("c", EntryType::XHeader, b"30 path=x\n")]);
            let place = place % bytes.len();
            bytes[place] = value;
            bytes.truncate(cut.max(1));
            let _ = scan(&bytes);
        }
    }
}
