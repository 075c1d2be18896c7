//! Images in files and folders: OCI image layouts (image-spec, image-layout.md), in folders or tar files, and what `docker save`
//! writes. Nothing is unpacked: a table of contents is made, and blobs go from their place to the registry.

mod container;
mod decompress;
mod docker;
mod file;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod headers;
mod layout;
mod packed;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use self::container::Container;
use self::file::{FilePart, Memory};
use super::digest::Digest;
use super::document::LARGEST_MANIFEST;
use super::error::{Error, Result};
use super::media::Format;
use super::registry::{Check, Fetched, Payload};
use super::source::{Form, Place};

/// Documents up to this size are kept once they were read, so that no byte of a shared volume is read twice.
const KEPT: u64 = 1 << 20;

/// An opened archive.
pub(super) struct Archive {
    /// In the user's words.
    name: String,
    container: Container,
    root: Root,
    /// Where blobs lie that do not lie under their digest.
    names: BTreeMap<Digest, String>,
    kept: Mutex<BTreeMap<Digest, Bytes>>,
}

/// Where to start to look for an image.
pub(super) struct Root {
    /// The image's manifest, or an index in which it is to be found.
    pub(super) document: Fetched,
    /// Documents that stand in no blob.
    pub(super) made: BTreeMap<Digest, Bytes>,
}

/// Opens an archive and reads its table of contents. `format` is that of a manifest which has to be made.
pub(super) async fn open(place: Place, format: Format) -> Result<Arc<Archive>> {
    let name = place.to_string();
    let opened = tokio::task::spawn_blocking(move || open_now(&place, format)).await;
    opened
        .map_err(|error| Error::failed(format!("{name}: reading it broke off: {error}")))?
        .map(Arc::new)
        .map_err(|error| Error::source(format!("{name}: {error}")))
}

fn open_now(place: &Place, format: Format) -> std::result::Result<Archive, String> {
    let container = Container::open(&place.path)?;
    let is_layout = container.has("index.json");
    let is_docker = container.has("manifest.json");
    let form = match (place.form, is_layout, is_docker) {
        (Form::OciLayout, ..) if !container.is_folder() => {
            return Err("it is a file, not a folder; write oci-archive: or docker-archive: before its path"
                .to_owned());
        }
        (Form::OciArchive | Form::DockerArchive, ..) if container.is_folder() => {
            return Err("it is a folder; write oci: before its path".to_owned());
        }
        // docker's newer archives are both.
        (Form::DockerArchive, _, true) | (Form::Any, false, true) => Form::DockerArchive,
        (Form::OciLayout | Form::OciArchive | Form::Any, true, _) => Form::OciArchive,
        (Form::DockerArchive, true, false) => {
            return Err("it holds an OCI image layout; write oci-archive: before its path".to_owned());
        }
        (Form::OciArchive, false, true) => {
            return Err("it is what docker save writes; write docker-archive: before its path".to_owned());
        }
        (_, false, _) => {
            return Err("neither index.json nor manifest.json is in it: it is no image, or was not written to its end"
                .to_owned());
        }
    };
    let mut names = BTreeMap::new();
    let root = if form == Form::DockerArchive {
        docker::read(&container, place.image.as_deref(), format, &mut names)?
    } else {
        layout::read(&container, place.image.as_deref())?
    };
    let kept = Mutex::new(root.made.clone());
    Ok(Archive { name: place.to_string(), container, root, names, kept })
}

impl Archive {
    /// Where to start.
    pub(super) fn root(&self) -> Fetched {
        self.root.document.clone()
    }

    /// Reads a manifest.
    pub(super) fn manifest(&self, digest: &Digest) -> Result<Fetched> {
        let bytes = self.small(digest, LARGEST_MANIFEST)?;
        Ok(Fetched { bytes, digest: digest.clone(), content_type: None })
    }

    /// Reads a small blob, and checks it.
    pub(super) fn small(&self, digest: &Digest, limit: u64) -> Result<Bytes> {
        if let Some(bytes) = self.kept(digest) {
            return Ok(bytes);
        }
        let bytes = self.container.read(&self.name_of(digest), limit).map_err(|error| self.broken(&error))?;
        if !digest.fits(&bytes) {
            let found = Digest::of(&bytes);
            return Err(
                self.broken(&format!("the blob {digest} is damaged: the digest of what is there is {found}"))
            );
        }
        if bytes.len() as u64 <= KEPT {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone(), bytes.clone());
        }
        Ok(bytes)
    }

    /// Checks that a blob is there, whole.
    pub(super) fn expect(&self, digest: &Digest, size: u64) -> Result<()> {
        if self.kept(digest).is_some_and(|bytes| bytes.len() as u64 == size) {
            return Ok(());
        }
        let found = self.container.find(&self.name_of(digest)).map_err(|error| self.broken(&error))?;
        if found == size {
            return Ok(());
        }
        Err(self.broken(&format!(
            "the blob {digest} has {found} bytes where its manifest says {size}; it is damaged"
        )))
    }

    /// The bytes of a blob, to be sent; `None` if the archive can only be read from its beginning to its end.
    pub(super) fn payload(&self, digest: &Digest, size: u64) -> Result<Option<Box<dyn Payload>>> {
        if let Some(bytes) = self.kept(digest) {
            return Ok(Some(Box::new(Memory::new(bytes))));
        }
        self.expect(digest, size)?;
        let part = self.container.part(&self.name_of(digest)).map_err(|error| self.broken(&error))?;
        Ok(part.map(|(file, offset)| {
            Box::new(FilePart::new(file, offset, size, self.name.clone())) as Box<dyn Payload>
        }))
    }

    /// Reads an archive that is compressed as a whole once more, and gives the blobs in the order in which they come.
    pub(super) fn stream(self: &Arc<Self>, wanted: &[(Digest, u64)]) -> Result<packed::Parts> {
        let mut places = Vec::new();
        for (digest, size) in wanted {
            let name = self.name_of(digest);
            let ordinal = self.container.ordinal(&name).map_err(|error| self.broken(&error))?;
            places.push((ordinal, Check::new(digest, *size, self.name.clone())));
        }
        let (sender, parts) = tokio::sync::mpsc::channel(1);
        let archive = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = archive.container.stream(&places, &sender) {
                let _ = sender.blocking_send(Err(archive.broken(&error)));
            }
        });
        Ok(parts)
    }

    fn kept(&self, digest: &Digest) -> Option<Bytes> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    fn name_of(&self, digest: &Digest) -> String {
        self.names
            .get(digest)
            .cloned()
            .unwrap_or_else(|| format!("blobs/{}/{}", digest.algorithm(), digest.hex()))
    }

    fn broken(&self, error: &str) -> Error {
        Error::source(format!("{}: {error}", self.name))
    }
}
