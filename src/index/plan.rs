//! What a push will do, found out before anything is changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::assemble::{self, Assembled};
use super::digest::Digest;
use super::document::{Descriptor, Manifest};
use super::error::{Error, Kind, Result};
use super::image::{Image, Store};
use super::media::Format;
use super::reference::Repository;
use super::registry::{Fetched, Registry};

/// A push, planned.
pub(super) struct Plan {
    /// The index that will be there.
    pub(super) index: Assembled,
    /// The images, in the index' order.
    pub(super) images: Vec<Image>,
    /// Manifests that must come to the repository first.
    pub(super) manifests: Vec<Moved>,
    /// Blobs that must come before these, each once.
    pub(super) blobs: Vec<MovedBlob>,
    /// How many bytes of blobs need not be asked for, since a manifest that names them is there.
    pub(super) there: u64,
}

/// A manifest on its way.
pub(super) struct Moved {
    pub(super) fetched: Fetched,
    pub(super) media_type: String,
}

/// A blob on its way.
pub(super) struct MovedBlob {
    /// Of which image it is, for the log.
    pub(super) label: String,
    /// Where that comes from, in the user's words.
    pub(super) source: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) store: Store,
    /// The repository of the same registry from which it can be mounted.
    pub(super) mount: Option<Repository>,
    /// Whether the target has it, if it was asked.
    pub(super) present: Option<bool>,
}

/// How many questions are asked at once; each needs a connection.
const QUESTIONS: usize = 8;

/// Decides on the index and finds what is missing at the target.
pub(super) async fn plan(
    images: Vec<Image>,
    target: &Repository,
    registry: &Arc<Registry>,
    format: Option<Format>,
    annotations: &BTreeMap<String, String>,
    ask_all: bool,
) -> Result<Plan> {
    let entries: Vec<Descriptor> = images.iter().map(|image| image.descriptor.clone()).collect();
    let mut attestations: Vec<Descriptor> = Vec::new();
    for attestation in images.iter().flat_map(|image| &image.attestations) {
        if !attestations.iter().any(|known| known.digest == attestation.digest) {
            attestations.push(attestation.clone());
        }
    }
    let format = assemble::format(format, &entries, &attestations, annotations)
        .map_err(|error| Error::new(Kind::Usage, error))?;
    let index = assemble::assemble(format, &entries, &attestations, annotations).map_err(Error::failed)?;

    let found: Vec<Missing> = stream::iter(&images)
        .map(|image| missing(image, target, registry))
        .buffered(images.len().max(1))
        .try_collect()
        .await?;
    let mut manifests = Vec::new();
    let mut blobs = BTreeMap::new();
    let mut order = Vec::new();
    let mut there = 0u64;
    for of_image in found {
        manifests.extend(of_image.manifests);
        there = there.saturating_add(of_image.there);
        for blob in of_image.blobs {
            if let Entry::Vacant(place) = blobs.entry(blob.digest.clone()) {
                order.push(blob.digest.clone());
                place.insert(blob);
            }
        }
    }
    let mut blobs: Vec<MovedBlob> = order.iter().filter_map(|digest| blobs.remove(digest)).collect();
    look(&mut blobs, target, registry, ask_all).await?;
    Ok(Plan { index, images, manifests, blobs, there })
}

/// What of an image and its attestations has to be brought to the target.
#[derive(Default)]
struct Missing {
    manifests: Vec<Moved>,
    blobs: Vec<MovedBlob>,
    there: u64,
}

async fn missing(image: &Image, target: &Repository, registry: &Arc<Registry>) -> Result<Missing> {
    let mut missing = Missing::default();
    let named = |manifest: &Manifest| {
        manifest.blobs().map_err(|error| Error::source(format!("{}: {error}", image.source)))
    };
    if image.store.is(target) {
        missing.there = size(&named(&image.manifest)?);
        return Ok(missing);
    }
    let mut wanted: Vec<(Fetched, Manifest)> = vec![(image.fetched.clone(), image.manifest.clone())];
    for attestation in &image.attestations {
        wanted.push(image.attestation(attestation).await?);
    }
    for (fetched, manifest) in wanted {
        // A manifest is only taken by a registry that has all it names: where it is, its blobs are.
        if registry.has_manifest(target, &fetched.digest).await? {
            missing.there = missing.there.saturating_add(size(&named(&manifest)?));
            continue;
        }
        for (digest, size) in named(&manifest)? {
            missing.blobs.push(MovedBlob {
                label: image.platform.to_string(),
                source: image.source.clone(),
                digest,
                size,
                store: image.store.clone(),
                mount: mountable(&image.store, registry),
                present: None,
            });
        }
        missing.manifests.push(Moved { fetched, media_type: manifest.media_type });
    }
    Ok(missing)
}

/// How many bytes blobs are together.
fn size(blobs: &[(Digest, u64)]) -> u64 {
    blobs.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size))
}

/// Asks which blobs are there, and sees that the others can be had, before any is sent. A mount needs no question: it succeeds at
/// once for a blob that is there.
async fn look(blobs: &mut [MovedBlob], target: &Repository, registry: &Registry, all: bool) -> Result<()> {
    stream::iter(blobs.iter_mut().filter(|blob| all || blob.mount.is_none()).map(Ok))
        .try_for_each_concurrent(QUESTIONS, |blob| async move {
            let present = registry.has_blob(target, &blob.digest).await?;
            blob.present = Some(present);
            if present { Ok(()) } else { blob.store.expect(&blob.digest, blob.size) }
        })
        .await
}

/// A mount needs one login for both repositories: the same registry, seen with the same login, is the same object.
fn mountable(store: &Store, registry: &Arc<Registry>) -> Option<Repository> {
    match store {
        Store::Remote(from, repository) if Arc::ptr_eq(from, registry) => Some(repository.clone()),
        _ => None,
    }
}
