//! Images as they are found at their sources: which documents make one up, and whether it is the one asked for.

use std::sync::Arc;

use bytes::Bytes;

use super::archive::Archive;
use super::config::{self, Config};
use super::digest::Digest;
use super::document::{
    self, Descriptor, Document, Index, LARGEST_CONFIG, Manifest, PlatformFields, REFERENCE_DIGEST,
};
use super::error::{Error, Result};
use super::media;
use super::reference::Repository;
use super::registry::{Fetched, Payload, Registry};
use super::remote::RemoteBlob;
use crate::core::platform::Platform;

/// How deep indexes may lie in one another.
const DEEPEST: usize = 4;

/// Where content lies.
#[derive(Clone)]
pub(super) enum Store {
    /// In a repository.
    Remote(Arc<Registry>, Repository),
    /// In a file or folder.
    Local(Arc<Archive>),
}

impl Store {
    /// Reads a manifest by digest.
    async fn manifest(&self, digest: &Digest) -> Result<Fetched> {
        match self {
            Self::Remote(registry, repository) => registry.manifest(repository, digest.as_str()).await,
            Self::Local(archive) => archive.manifest(digest),
        }
    }

    /// Reads a configuration.
    async fn config(&self, digest: &Digest) -> Result<Bytes> {
        match self {
            Self::Remote(registry, repository) => {
                registry.small_blob(repository, digest, LARGEST_CONFIG).await
            }
            Self::Local(archive) => archive.small(digest, LARGEST_CONFIG),
        }
    }

    /// The bytes of a blob, to be sent elsewhere; `None` if they come only with all others, from an archive that is read as a stream.
    pub(super) fn payload(&self, digest: &Digest, size: u64) -> Result<Option<Box<dyn Payload>>> {
        match self {
            Self::Remote(registry, repository) => {
                let (registry, repository) = (Arc::clone(registry), repository.clone());
                Ok(Some(Box::new(RemoteBlob::new(registry, repository, digest.clone(), size))))
            }
            Self::Local(archive) => archive.payload(digest, size),
        }
    }

    /// Checks that a blob that will have to be sent is there, as far as that costs nothing.
    pub(super) fn expect(&self, digest: &Digest, size: u64) -> Result<()> {
        match self {
            Self::Remote(..) => Ok(()),
            Self::Local(archive) => archive.expect(digest, size),
        }
    }

    /// Whether this is the repository itself, so that nothing has to be moved to it.
    pub(super) fn is(&self, target: &Repository) -> bool {
        matches!(self, Self::Remote(_, repository) if repository == target)
    }
}

/// An image, found and checked.
pub(super) struct Image {
    /// What was asked for.
    pub(super) platform: Platform,
    /// The source, in the user's words.
    pub(super) source: String,
    /// Where its content lies.
    pub(super) store: Store,
    /// What stands for it in the index.
    pub(super) descriptor: Descriptor,
    /// Its manifest, as it came.
    pub(super) fetched: Fetched,
    /// The same, read.
    pub(super) manifest: Manifest,
    /// What its builder attests of it, as the index that it came in names it.
    pub(super) attestations: Vec<Descriptor>,
    /// A remark for the user.
    pub(super) remark: Option<String>,
}

impl Image {
    /// Finds the image for `asked`, starting at the document `root`, which may be the image itself or an index that holds it.
    pub(super) async fn find(store: Store, source: String, root: Fetched, asked: &Platform) -> Result<Self> {
        let mut root = root;
        let mut attestations = Vec::new();
        for _ in 0..DEEPEST {
            match parse(&source, &root, None)? {
                Document::Manifest(manifest) => {
                    return Self::check(store, source, root, *manifest, attestations, asked).await;
                }
                Document::Index(index) => {
                    let chosen = choose(&source, &index, asked)?;
                    let digest = chosen
                        .checked_digest()
                        .map_err(|error| Error::source(format!("{source}: {error}")))?;
                    let of_chosen = |entry: &&Descriptor| {
                        document::is_attestation(entry)
                            && entry.annotations.get(REFERENCE_DIGEST).is_some_and(|of| of == digest.as_str())
                    };
                    attestations = index.manifests.iter().filter(of_chosen).cloned().collect();
                    let mut fetched = store.manifest(&digest).await.map_err(|error| error.before(&source))?;
                    if fetched.bytes.len() as u64 != chosen.size {
                        return Err(Error::source(format!(
                            "{source}: the manifest {digest} has {} bytes, but its index says {}",
                            fetched.bytes.len(),
                            chosen.size
                        )));
                    }
                    if fetched.content_type.is_none() && !chosen.media_type.is_empty() {
                        fetched.content_type = Some(chosen.media_type.clone());
                    }
                    root = fetched;
                }
            }
        }
        Err(Error::source(format!("{source}: indexes lie more than {DEEPEST} deep in one another")))
    }

    async fn check(
        store: Store,
        source: String,
        fetched: Fetched,
        manifest: Manifest,
        attestations: Vec<Descriptor>,
        asked: &Platform,
    ) -> Result<Self> {
        let broken = |error: String| Error::source(format!("{source}: {error}"));
        let mut remark = None;
        let platform = if media::is_image_config(&manifest.config.media_type) {
            let digest = manifest.config.checked_digest().map_err(broken)?;
            let bytes = store.config(&digest).await.map_err(|error| error.before(&source))?;
            let config = Config::parse(&bytes).map_err(broken)?;
            config.check(asked).map_err(broken)?
        } else {
            remark = Some(format!(
                "{source}: an artifact ({}), not an image; that it is for {asked} is taken on trust",
                manifest.artifact_type.as_deref().unwrap_or(&manifest.config.media_type)
            ));
            PlatformFields {
                architecture: asked.arch().to_owned(),
                os: asked.os().to_owned(),
                variant: asked.variant().to_owned(),
                ..PlatformFields::default()
            }
        };
        let artifact_type = manifest.artifact_type.clone().filter(|_| remark.is_some());
        let descriptor = Descriptor {
            annotations: std::collections::BTreeMap::new(),
            artifact_type,
            digest: fetched.digest.to_string(),
            media_type: manifest.media_type.clone(),
            platform: Some(platform),
            size: fetched.bytes.len() as u64,
            urls: None,
        };
        Ok(Self {
            platform: asked.clone(),
            source,
            store,
            descriptor,
            fetched,
            manifest,
            attestations,
            remark,
        })
    }

    /// Reads an attestation's manifest, to move it.
    pub(super) async fn attestation(&self, descriptor: &Descriptor) -> Result<(Fetched, Manifest)> {
        let broken = |error: String| Error::source(format!("{}: {error}", self.source));
        let digest = descriptor.checked_digest().map_err(broken)?;
        let fetched = self.store.manifest(&digest).await.map_err(|error| error.before(&self.source))?;
        match parse(&self.source, &fetched, Some(&descriptor.media_type))? {
            Document::Manifest(manifest) => Ok((fetched, *manifest)),
            Document::Index(_) => Err(broken(format!("the attestation {digest} is an index"))),
        }
    }
}

fn parse(source: &str, fetched: &Fetched, media_type: Option<&str>) -> Result<Document> {
    let said = fetched.content_type.as_deref().or(media_type);
    Document::parse(&fetched.bytes, said)
        .map_err(|error| Error::source(format!("{source}: {} is {error}", fetched.digest)))
}

/// Picks the entry for a platform: one that says exactly this platform before one that leaves the variant open, before one that says
/// nothing; the first of equals.
fn choose<'a>(source: &str, index: &'a Index, asked: &Platform) -> Result<&'a Descriptor> {
    let images: Vec<&Descriptor> =
        index.manifests.iter().filter(|entry| !document::is_attestation(entry)).collect();
    let rank = |entry: &&Descriptor| match &entry.platform {
        Some(fields)
            if config::may_be(fields, asked) && fields.variant.is_empty() && !asked.variant().is_empty() =>
        {
            Some(1)
        }
        Some(fields) if config::may_be(fields, asked) => Some(0),
        Some(fields) if fields.os.is_empty() && fields.architecture.is_empty() => Some(2),
        Some(_) => None,
        None => Some(2),
    };
    let found = images.iter().copied().filter(|entry| rank(entry).is_some()).min_by_key(rank);
    found.ok_or_else(|| {
        let there: Vec<String> = images.iter().map(|entry| describe(entry.platform.as_ref())).collect();
        Error::source(format!(
            "{source}: {asked} was asked for, but the index there has only {}",
            if there.is_empty() { "nothing".to_owned() } else { there.join(", ") }
        ))
    })
}

/// A platform as an index writes it, for people.
pub(super) fn describe(platform: Option<&PlatformFields>) -> String {
    match platform {
        None => "-".to_owned(),
        Some(fields) if fields.variant.is_empty() => format!("{}/{}", fields.os, fields.architecture),
        Some(fields) => format!("{}/{}/{}", fields.os, fields.architecture, fields.variant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[&str]) -> Index {
        let manifests = entries
            .iter()
            .enumerate()
            .map(|(place, platform)| {
                let mut parts = platform.split('/');
                let mut next = || parts.next().unwrap_or_default().to_owned();
                let fields = PlatformFields {
                    os: next(),
                    architecture: next(),
                    variant: next(),
                    ..Default::default()
                };
                Descriptor {
                    annotations: std::collections::BTreeMap::default(),
                    artifact_type: None,
                    digest: Digest::of(&[u8::try_from(place).unwrap()]).to_string(),
                    media_type: media::OCI_MANIFEST.to_owned(),
                    platform: (!platform.is_empty()).then_some(fields),
                    size: 1,
                    urls: None,
                }
            })
            .collect();
        Index {
            media_type: media::OCI_INDEX.to_owned(),
            manifests,
            annotations: std::collections::BTreeMap::default(),
        }
    }

    #[test]
    fn the_entry_that_says_most_is_picked() {
        for (asked, entries, picked) in [
            ("linux/arm64", &["linux/amd64", "linux/arm64/v8"][..], Some(1)),
            ("linux/arm/v6", &["linux/arm", "linux/arm/v7", "linux/arm/v6"], Some(2)),
            ("linux/arm/v6", &["linux/arm", "linux/arm/v7"], Some(0)),
            ("linux/amd64", &["", "linux/amd64"], Some(1)),
            ("linux/amd64", &["", "linux/arm64"], Some(0)),
            ("linux/amd64", &["linux/arm64", "unknown/unknown"], None),
            ("linux/amd64", &[], None),
        ] {
            let index = index(entries);
            let found = choose("x", &index, &Platform::parse(asked).unwrap());
            let place = found.ok().and_then(|found| index.manifests.iter().position(|entry| entry == found));
            assert_eq!(place, picked, "{asked} of {entries:?}");
        }
        let error = choose("x", &index(&["linux/s390x"]), &Platform::parse("amd64").unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("linux/amd64") && error.to_string().contains("linux/s390x"),
            "{error}"
        );
    }
}
