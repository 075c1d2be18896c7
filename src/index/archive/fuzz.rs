//! Entry points for [`crate::fuzz`].

use std::io::Write as _;

use super::open_now;
use crate::index::document::Document;
use crate::index::media::Format;
use crate::index::source::{Form, Place};

/// Opens an archive and reads everything in it that is read before a blob is sent.
pub(in crate::index) fn open(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let form = [Form::Any, Form::OciArchive, Form::DockerArchive][usize::from(how % 3)];
    let format = if how & 4 == 0 { Format::Oci } else { Format::Docker };
    let image = (how & 8 != 0).then(|| "@0".to_owned());
    let folder = std::env::temp_dir();
    let path = folder.join(format!("archfan-fuzz-{}-{:?}", std::process::id(), std::thread::current().id()));
    let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(&contents(*how, bytes)));
    let opened = written.map_err(|error| error.to_string());
    let opened = opened.and_then(|()| open_now(&Place { form, path: path.clone(), image }, format));
    match opened {
        Err(words) => assert!(!words.is_empty()),
        Ok(archive) => {
            let root = archive.root();
            if let Ok(document) = Document::parse(&root.bytes, root.content_type.as_deref()) {
                let descriptors = match &document {
                    Document::Manifest(manifest) => manifest.layers.clone(),
                    Document::Index(index) => index.manifests.clone(),
                };
                for descriptor in descriptors {
                    let Ok(digest) = descriptor.checked_digest() else { continue };
                    let _ = archive.expect(&digest, descriptor.size);
                    if let Ok(manifest) = archive.manifest(&digest) {
                        assert!(digest.fits(&manifest.bytes), "{digest} is not what was read");
                    }
                }
            }
        }
    }
    let _ = std::fs::remove_file(&path);
}

/// The bytes as they are; or compressed first, so that what is inside is reached although a checksum stands before it.
fn contents(how: u8, bytes: &[u8]) -> Vec<u8> {
    match how >> 4 & 3 {
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            let _ = encoder.write_all(bytes);
            encoder.finish().unwrap_or_default()
        }
        2 => zstd::encode_all(bytes, 1).unwrap_or_default(),
        _ => bytes.to_vec(),
    }
}
