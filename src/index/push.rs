//! `archfan index push`: find the images, bring what is missing, and move the tags last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::access::Registries;
use super::archive::{self, Archive};
use super::auth::{Keychain, Places};
use super::digest::Digest;
use super::error::{Error, Kind, Result};
use super::http::{Settings, Transport};
use super::image::{Image, Store};
use super::media::Format;
use super::plan::{self, MovedBlob, Plan};
use super::progress::{self, Progress};
use super::reference::{Reference, Repository};
use super::registry::{Check, Outcome, Payload, Registry};
use super::results::{Results, Traffic};
use super::source::{Source, Wanted};

/// What is asked for.
pub(crate) struct Request {
    /// Where the index goes.
    pub(crate) target: Reference,
    /// Its tags, one at least.
    pub(crate) tags: Vec<String>,
    /// Annotations of the index.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its format, or the one that the images ask for.
    pub(crate) format: Option<Format>,
    /// The images, in their order.
    pub(crate) wanted: Vec<Wanted>,
    /// How registries are reached.
    pub(crate) connection: Connection,
    /// How many blobs move at once.
    pub(crate) jobs: usize,
    /// Whether to say only what would be done.
    pub(crate) dry_run: bool,
    /// Where Tekton's result files go, and how much room they have.
    pub(crate) results: Option<(PathBuf, usize)>,
}

/// How registries are reached: what all commands share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    /// `--authfile`
    pub(crate) authfile: Option<PathBuf>,
    /// `--ca`
    pub(crate) authorities: Vec<PathBuf>,
    /// `--insecure`
    pub(crate) insecure: bool,
}

impl Connection {
    /// Opens what is needed to talk to registries.
    pub(super) fn open(&self) -> Result<(Arc<Transport>, Keychain)> {
        let keychain = Keychain::open(self.authfile.as_deref(), &Places::from_env())?;
        let settings = Settings { authorities: self.authorities.clone(), insecure: self.insecure };
        Ok((Transport::new(settings), keychain))
    }
}

/// Pushes an index and gives its digest.
pub(crate) async fn push(request: &Request, progress: &Progress) -> Result<String> {
    let (transport, keychain) = request.connection.open()?;
    let target = &request.target.repository;
    let mut uses = vec![(target.clone(), !request.dry_run)];
    for wanted in &request.wanted {
        if let Source::Registry(reference) = &wanted.source {
            uses.push((reference.repository.clone(), false));
        }
    }
    let registries = Registries::open(&transport, progress, &keychain, &uses).await?;
    let registry = registries.of(target).ok_or_else(|| Error::failed(format!("{target}: no way to it")))?;

    let images = find_all(request, &registries).await?;
    for remark in images.iter().filter_map(|image| image.remark.as_deref()) {
        progress.say(&format!("note: {remark}"));
    }
    let plan =
        plan::plan(images, target, &registry, request.format, &request.annotations, request.dry_run).await?;
    for image in &plan.images {
        progress.say(&format!("{}  {}  {}", image.platform, image.descriptor.digest, image.source));
    }
    if request.dry_run {
        return Ok(tell(&plan, request, progress));
    }
    let traffic = move_blobs(&plan, target, &registry, request.jobs, progress).await?;
    move_manifests(&plan, target, &registry).await?;
    move_tags(&plan, request, &registry).await?;
    progress.say(&format!(
        "{target}: {} of {} images is tagged {}",
        plan.index.digest,
        plan.images.len(),
        request.tags.join(", ")
    ));
    if let Some((dir, limit)) = &request.results {
        let images: Vec<Digest> = plan.images.iter().map(|image| image.fetched.digest.clone()).collect();
        let results = Results::new(target, &request.tags[0], &plan.index.digest, &images, traffic, *limit);
        if results.left_out > 0 {
            progress.say(&format!(
                "note: the result IMAGES leaves out the last {} of {} images: a TaskRun's results have no more room",
                results.left_out,
                images.len()
            ));
        }
        results.write(dir)?;
    }
    Ok(plan.index.digest.to_string())
}

/// Finds all images at once. Everything that is wrong is told, not only what came first.
async fn find_all(request: &Request, registries: &Registries) -> Result<Vec<Image>> {
    let found = join_all(request.wanted.iter().map(|wanted| find(wanted, registries, request.format))).await;
    let mut images = Vec::new();
    let mut errors = Vec::new();
    for image in found {
        match image {
            Ok(image) => images.push(image),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors).map_or(Ok(images), Err)
}

async fn find(wanted: &Wanted, registries: &Registries, format: Option<Format>) -> Result<Image> {
    let source = wanted.source.to_string();
    let (store, root) = match &wanted.source {
        Source::Registry(reference) => {
            let repository = &reference.repository;
            let registry = registries
                .of(repository)
                .ok_or_else(|| Error::failed(format!("{repository}: no way to it")))?;
            let root = registry.manifest(repository, reference.wanted()).await?;
            (Store::Remote(registry, repository.clone()), root)
        }
        Source::Archive(place) => {
            let place = place.clone();
            let opened: Arc<Archive> = archive::open(place, format.unwrap_or(Format::Oci)).await?;
            let root = opened.root();
            (Store::Local(opened), root)
        }
    };
    Image::find(store, source, root, &wanted.platform).await
}

/// How often an archive that can only be read as a stream is read for its blobs, if connections break.
const READINGS: usize = 3;

/// Brings all blobs, several at once. None that is damaged leaves anything tagged: tags move after the last of them.
async fn move_blobs(
    plan: &Plan,
    target: &Repository,
    registry: &Registry,
    jobs: usize,
    progress: &Progress,
) -> Result<Traffic> {
    let (pushed, skipped) = (AtomicU64::new(0), AtomicU64::new(plan.there));
    let mover = Mover { target, registry, progress, pushed: &pushed, skipped: &skipped };
    let mut work: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
    let mut streams: Vec<(&Arc<Archive>, Vec<&MovedBlob>)> = Vec::new();
    for blob in &plan.blobs {
        if blob.present == Some(true) {
            mover.done(blob, &Outcome::Present, Duration::ZERO);
            continue;
        }
        match (blob.store.payload(&blob.digest, blob.size)?, &blob.store) {
            (Some(payload), _) => work.push(mover.blob(blob, payload).boxed()),
            (None, Store::Local(archive)) => {
                match streams.iter_mut().find(|(known, _)| Arc::ptr_eq(known, archive)) {
                    Some((_, blobs)) => blobs.push(blob),
                    None => streams.push((archive, vec![blob])),
                }
            }
            (None, Store::Remote(..)) => {}
        }
    }
    work.extend(streams.into_iter().map(|(archive, blobs)| mover.stream(archive, blobs).boxed()));
    stream::iter(work.into_iter().map(Ok)).try_for_each_concurrent(jobs.max(1), |work| work).await?;
    Ok(Traffic { pushed: pushed.load(Ordering::Relaxed), skipped: skipped.load(Ordering::Relaxed) })
}

#[derive(Clone, Copy)]
struct Mover<'a> {
    target: &'a Repository,
    registry: &'a Registry,
    progress: &'a Progress,
    pushed: &'a AtomicU64,
    skipped: &'a AtomicU64,
}

impl<'a> Mover<'a> {
    /// Says and counts what became of a blob.
    fn done(self, blob: &MovedBlob, outcome: &Outcome, took: Duration) {
        let counter = match outcome {
            Outcome::Sent => self.pushed,
            Outcome::Present | Outcome::Mounted => self.skipped,
        };
        counter.fetch_add(blob.size, Ordering::Relaxed);
        self.progress.blob(&blob.label, &blob.digest, blob.size, outcome, took);
    }

    async fn blob(self, blob: &'a MovedBlob, payload: Box<dyn Payload>) -> Result<()> {
        let check = Check::new(&blob.digest, blob.size, blob.source.clone());
        self.put(blob, payload.as_ref(), &check).await
    }

    async fn put(self, blob: &MovedBlob, payload: &dyn Payload, check: &Arc<Check>) -> Result<()> {
        let started = Instant::now();
        let missing = blob.present == Some(false);
        let outcome =
            self.registry.put_blob(self.target, blob.mount.as_ref(), missing, payload, check).await?;
        self.done(blob, &outcome, started.elapsed());
        Ok(())
    }

    /// Blobs of an archive that is compressed as a whole come one after another, as they are unpacked. A connection that breaks means
    /// to start over, for those that are still missing.
    async fn stream(self, archive: &Arc<Archive>, blobs: Vec<&MovedBlob>) -> Result<()> {
        let mut left = blobs;
        for reading in 1..=READINGS {
            match self.read_once(archive, &mut left).await {
                Err(error) if error.kind() == Kind::Unavailable && reading < READINGS => {
                    self.progress.say(&format!("{error}; reading the archive again"));
                }
                other => return other,
            }
        }
        Ok(())
    }

    async fn read_once(self, archive: &Arc<Archive>, left: &mut Vec<&MovedBlob>) -> Result<()> {
        let wanted: Vec<(Digest, u64)> = left.iter().map(|blob| (blob.digest.clone(), blob.size)).collect();
        let mut parts = archive.stream(&wanted)?;
        while let Some(part) = parts.recv().await {
            let part = part?;
            let place = left.iter().position(|blob| blob.digest == *part.check.digest());
            let Some(place) = place else { continue };
            self.put(left[place], &part, &part.check).await?;
            left.remove(place);
        }
        match left.first() {
            None => Ok(()),
            Some(blob) => {
                Err(Error::source(format!("{}: the blob {} did not come", blob.source, blob.digest)))
            }
        }
    }
}

/// Brings the manifests of images and attestations. None names another, so their order is free.
async fn move_manifests(plan: &Plan, target: &Repository, registry: &Registry) -> Result<()> {
    stream::iter(plan.manifests.iter().map(|moved| {
        let fetched = &moved.fetched;
        registry.put_manifest(
            target,
            fetched.digest.as_str(),
            &moved.media_type,
            &fetched.bytes,
            &fetched.digest,
        )
    }))
    .buffer_unordered(8)
    .try_collect()
    .await
}

/// Moves the tags, all at once: each becomes the new index in one request, so at any moment each names a whole one, old or new.
async fn move_tags(plan: &Plan, request: &Request, registry: &Registry) -> Result<()> {
    let target = &request.target.repository;
    let bytes = Bytes::from(plan.index.bytes.clone());
    let puts =
        join_all(request.tags.iter().map(|tag| {
            registry.put_manifest(target, tag, plan.index.media_type, &bytes, &plan.index.digest)
        }))
        .await;
    Error::all(puts.into_iter().filter_map(std::result::Result::err).collect()).map_or(Ok(()), Err)
}

/// Says what would be done.
fn tell(plan: &Plan, request: &Request, progress: &Progress) -> String {
    let target = &request.target.repository;
    let (mut count, mut sum) = (0, 0u64);
    for blob in &plan.blobs {
        let what = match (&blob.mount, blob.present) {
            (_, Some(true)) => "is there".to_owned(),
            (Some(from), _) => format!("would be mounted from {from}"),
            (None, _) => {
                count += 1;
                sum = sum.saturating_add(blob.size);
                "would be sent".to_owned()
            }
        };
        let size = progress::bytes(blob.size);
        progress.say(&format!("{}  blob {}  {size:>9}  {what}", blob.label, blob.digest.short()));
    }
    for moved in &plan.manifests {
        progress.say(&format!("manifest {} would be pushed", moved.fetched.digest));
    }
    progress.say(&format!(
        "{target}: {} of {} images would be tagged {}; {count} blobs of {} would be sent; nothing was changed",
        plan.index.digest,
        plan.images.len(),
        request.tags.join(", "),
        progress::bytes(sum)
    ));
    plan.index.digest.to_string()
}
