//! What `docker save` and its like write (Docker Image Specification v1.2, "Combined Image JSON + Filesystem Changeset Format").
//!
//! Such an archive has no manifest of the kind that registries hold, so one is made: canonical, from the configuration and the
//! layers as they are. Layers are pushed as they lie there, mostly uncompressed: compressing would make their digests depend on the
//! version of a compressor, and the same archive would no longer give the same index. Their digests stand in the configuration
//! (`rootfs.diff_ids`), so they need not be read to be looked for in the registry. Only layers that somebody compressed inside the
//! archive are read once more, for their digests.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Root;
use super::container::Container;
use crate::index::config::Config;
use crate::index::digest::Digest;
use crate::index::document::{Descriptor, LARGEST_CONFIG, LARGEST_MANIFEST};
use crate::index::media::{Compression, Format};
use crate::index::reference::Reference;
use crate::index::registry::Fetched;

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// A manifest, with its fields in the order of canonical JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    config: Descriptor,
    layers: Vec<Descriptor>,
    media_type: &'static str,
    schema_version: u8,
}

/// Makes the manifest, and notes under which names its blobs lie.
pub(super) fn read(
    container: &Container,
    wanted: Option<&str>,
    format: Format,
    names: &mut BTreeMap<Digest, String>,
) -> Result<Root, String> {
    let bytes = container.read("manifest.json", LARGEST_MANIFEST)?;
    let images: Vec<Saved> =
        serde_json::from_slice(&bytes).map_err(|error| format!("manifest.json is not docker's: {error}"))?;
    let image = choose(&images, wanted)?;
    let config_bytes = container.read(&image.config, LARGEST_CONFIG)?;
    let config_digest = Digest::of(&config_bytes);
    if let Some(named) = named_digest(&image.config).filter(|named| *named != config_digest) {
        return Err(format!(
            "{} is damaged: it is named for {named}, but its digest is {config_digest}",
            image.config
        ));
    }
    let config = Config::parse(&config_bytes).map_err(|error| format!("{} is {error}", image.config))?;
    let layers = image.layers.as_deref().unwrap_or_default();
    if layers.len() != config.diff_ids().len() {
        return Err(format!(
            "manifest.json names {} layers, but the configuration {}; it is damaged",
            layers.len(),
            config.diff_ids().len()
        ));
    }
    names.insert(config_digest.clone(), image.config.clone());
    let mut found: BTreeMap<Digest, Descriptor> = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, diff_id) in layers.iter().zip(config.diff_ids()) {
        let diff_id = Digest::parse(diff_id).map_err(|error| format!("{}: {error}", image.config))?;
        if found.contains_key(&diff_id) {
            continue;
        }
        // docker of old writes a link for a layer that was there before: its twin need not come first.
        match layer(container, name, &diff_id, format) {
            Ok(layer) => {
                names.insert(layer.checked_digest()?, name.clone());
                found.insert(diff_id, layer);
            }
            Err(error) => problems.push((diff_id, error)),
        }
    }
    if let Some((_, error)) = problems.into_iter().find(|(diff_id, _)| !found.contains_key(diff_id)) {
        return Err(error);
    }
    let ordered =
        config.diff_ids().iter().filter_map(|diff_id| found.get(&Digest::parse(diff_id).ok()?).cloned());
    let made = Made {
        config: descriptor(&config_digest, format.config(), config_bytes.len() as u64),
        layers: ordered.collect(),
        media_type: format.manifest(),
        schema_version: 2,
    };
    let bytes =
        serde_json::to_vec(&made).map_err(|error| format!("its manifest cannot be written: {error}"))?;
    let (bytes, digest) = (Bytes::from(bytes.clone()), Digest::of(&bytes));
    let kept = BTreeMap::from([(config_digest, config_bytes), (digest.clone(), bytes.clone())]);
    let document = Fetched { bytes, digest, content_type: Some(format.manifest().to_owned()) };
    Ok(Root { document, made: kept })
}

fn layer(container: &Container, name: &str, diff_id: &Digest, format: Format) -> Result<Descriptor, String> {
    let size = container.find(name)?;
    match container.compression(name)? {
        Compression::None => Ok(descriptor(diff_id, &format.layer(Compression::None), size)),
        compression => {
            let (digest, inner) = container.digests(name)?;
            if compression == Compression::Gzip && inner != *diff_id {
                return Err(format!(
                    "{name} is damaged: it unpacks to {inner}, not to {diff_id} as the image says"
                ));
            }
            Ok(descriptor(&digest, &format.layer(compression), size))
        }
    }
}

fn descriptor(digest: &Digest, media_type: &str, size: u64) -> Descriptor {
    Descriptor {
        annotations: BTreeMap::new(),
        artifact_type: None,
        digest: digest.to_string(),
        media_type: media_type.to_owned(),
        platform: None,
        size,
        urls: None,
    }
}

fn choose<'a>(images: &'a [Saved], wanted: Option<&str>) -> Result<&'a Saved, String> {
    let names = || {
        let all: Vec<String> = images
            .iter()
            .enumerate()
            .map(|(place, image)| {
                let first = image.repo_tags.as_ref().and_then(|tags| tags.first());
                first.map_or_else(|| format!(":@{place}"), |tag| format!(":{tag}"))
            })
            .collect();
        format!("there are {}", all.join(", "))
    };
    let Some(wanted) = wanted else {
        return match images {
            [one] => Ok(one),
            [] => Err("manifest.json names no image".to_owned()),
            _ => Err(format!("several images are in it; write the name of one after its path: {}", names())),
        };
    };
    if let Some(number) = wanted.strip_prefix('@').and_then(|number| number.parse::<usize>().ok()) {
        return images
            .get(number)
            .ok_or_else(|| format!("there is no image {wanted}: it has {}", images.len()));
    }
    // `app:v1` and `docker.io/library/app:v1` are one name.
    let whole = Reference::parse(wanted).ok();
    let is = |tag: &String| tag == wanted || (whole.is_some() && Reference::parse(tag).ok() == whole);
    images
        .iter()
        .find(|image| image.repo_tags.iter().flatten().any(is))
        .ok_or_else(|| format!("no image in it is named {wanted:?}; {}", names()))
}

/// The digest that a configuration is named for: `HEX.json`, or `blobs/sha256/HEX`.
fn named_digest(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    let hex = last.strip_suffix(".json").unwrap_or(last);
    Digest::parse(&format!("sha256:{hex}")).ok()
}
