//! Manifests and indexes as registries hold them, read from bytes that anybody may have written.
//!
//! Documents that are read are never written again from what was understood of them: children keep their bytes, so that their
//! digests and everything that refers to these stay true.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::media::{self, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

/// The largest manifest that is read: what distribution-spec asks registries to take at least, and what most take at most.
pub(crate) const LARGEST_MANIFEST: u64 = 4 << 20;
/// The largest configuration of an image that is read.
pub(crate) const LARGEST_CONFIG: u64 = 8 << 20;

/// A pointer to content (image-spec, descriptor.md). Fields are in the order of canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<PlatformFields>,
    pub(crate) size: u64,
    #[serde(default, skip_serializing)]
    pub(crate) urls: Option<Vec<String>>,
}

/// `platform` of a descriptor (image-spec, image-index.md). Fields are in the order of canonical JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlatformFields {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub(crate) os_features: Vec<String>,
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub(crate) os_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
}

/// Go writes an empty map or list as `null` at times.
fn null_is_empty<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

impl Descriptor {
    /// Its digest, checked.
    pub(crate) fn checked_digest(&self) -> Result<Digest, String> {
        Digest::parse(&self.digest)
    }
}

/// An image manifest.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// Of this document.
    pub(crate) media_type: String,
    /// The configuration, or an artifact's.
    pub(crate) config: Descriptor,
    /// The layers, or an artifact's blobs.
    pub(crate) layers: Vec<Descriptor>,
    /// Artifacts say what they are here.
    pub(crate) artifact_type: Option<String>,
}

/// An image index or a manifest list.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Of this document.
    pub(crate) media_type: String,
    /// What it names.
    pub(crate) manifests: Vec<Descriptor>,
    /// Of the index itself.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Either of the two.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    /// One image or artifact.
    Manifest(Box<Manifest>),
    /// Several.
    Index(Index),
}

/// All the fields that tell one document from another.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Reads a document. `content_type` is what the registry, or the descriptor that led here, says it is; a document that says
    /// itself what it is must say the same (image-spec, manifest.md, "mediaType").
    pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| format!("no manifest: {error}"))?;
        match raw.schema_version {
            Some(2) => {}
            Some(1) => {
                return Err("a manifest of Docker's schema 1, which was given up in 2017; push the image \
                            again with a builder of today"
                    .to_owned());
            }
            _ => return Err("no manifest: it has no schemaVersion 2".to_owned()),
        }
        let said = content_type.map(media::essence).filter(|t| {
            // Some servers of plain files say no more than this.
            !matches!(*t, "" | "application/json" | "application/octet-stream" | "text/plain")
        });
        let media_type = match (raw.media_type.as_deref(), said) {
            (Some(own), Some(said)) if own != said && !own.is_empty() => {
                return Err(format!("a manifest that says it is {own}, but was given as {said}"));
            }
            (Some(own), _) if !own.is_empty() => own.to_owned(),
            (_, Some(said)) => said.to_owned(),
            _ if raw.manifests.is_some() => OCI_INDEX.to_owned(),
            _ => OCI_MANIFEST.to_owned(),
        };
        match media_type.as_str() {
            OCI_INDEX | DOCKER_LIST => {
                // A document with both lists could be read as one thing here and another there (CVE-2021-41190).
                if raw.config.is_some() || raw.layers.is_some() {
                    return Err("an index that has the fields of a manifest too".to_owned());
                }
                let manifests = raw.manifests.unwrap_or_default();
                Ok(Self::Index(Index {
                    media_type,
                    manifests,
                    annotations: raw.annotations.unwrap_or_default(),
                }))
            }
            OCI_MANIFEST | DOCKER_MANIFEST => {
                if raw.manifests.is_some() {
                    return Err("a manifest that has the fields of an index too".to_owned());
                }
                let config = raw.config.ok_or("a manifest without a config")?;
                let mut layers = raw.layers.unwrap_or_default();
                layers.extend(raw.blobs.unwrap_or_default());
                let artifact_type = raw.artifact_type;
                Ok(Self::Manifest(Box::new(Manifest { media_type, config, layers, artifact_type })))
            }
            other => Err(format!("neither an image manifest nor an index, but {other}")),
        }
    }
}

impl Manifest {
    /// Every blob that must be there before the manifest: the configuration and the layers, once each.
    pub(crate) fn blobs(&self) -> Result<Vec<(Digest, u64)>, String> {
        let mut blobs: Vec<(Digest, u64)> = Vec::new();
        for descriptor in std::iter::once(&self.config).chain(&self.layers) {
            if media::is_foreign(&descriptor.media_type)
                && descriptor.urls.as_ref().is_some_and(|u| !u.is_empty())
            {
                continue;
            }
            let digest = descriptor.checked_digest()?;
            match blobs.iter().find(|(known, _)| *known == digest) {
                None => blobs.push((digest, descriptor.size)),
                Some((_, size)) if *size == descriptor.size => {}
                Some((_, size)) => {
                    return Err(format!("two sizes for {digest}: {size} and {}", descriptor.size));
                }
            }
        }
        Ok(blobs)
    }

    /// The size of all that is pulled: the configuration and the layers.
    pub(crate) fn content_size(&self) -> u64 {
        self.layers.iter().fold(self.config.size, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// BuildKit's annotation that makes an entry of an index an attestation (BuildKit, `docs/attestations/attestation-storage.md`).
pub(crate) const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Of which image it is.
pub(crate) const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// Whether an entry of an index is an attestation, not an image.
pub(crate) fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotations.get(REFERENCE_TYPE).is_some_and(|kind| kind == "attestation-manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{DIGEST}","size":5}},
               "layers":[{{"mediaType":"x","digest":"{DIGEST}","size":5}}]{extra}}}"#,
            media::OCI_CONFIG
        )
    }

    #[test]
    fn reads_manifests_and_indexes() {
        let Ok(Document::Manifest(read)) = Document::parse(manifest("").as_bytes(), None) else {
            panic!("no manifest")
        };
        assert_eq!(read.media_type, OCI_MANIFEST);
        assert_eq!(read.blobs().unwrap().len(), 1, "the same blob twice is one to move");
        assert_eq!(read.content_size(), 10);
        let Ok(Document::Manifest(read)) = Document::parse(
            manifest("").as_bytes(),
            Some("application/vnd.docker.distribution.manifest.v2+json; x"),
        ) else {
            panic!("no manifest")
        };
        assert_eq!(read.media_type, DOCKER_MANIFEST);
        let index = br#"{"schemaVersion":2,"manifests":null,"annotations":null}"#;
        assert!(matches!(Document::parse(index, Some(OCI_INDEX)), Ok(Document::Index(_))));
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        for (text, said, part) in [
            (manifest(r#","manifests":[]"#), Some(OCI_MANIFEST), "fields of an index too"),
            (manifest(""), Some(OCI_INDEX), "fields of a manifest too"),
            (manifest(&format!(r#","mediaType":"{OCI_MANIFEST}""#)), Some(DOCKER_MANIFEST), "says it is"),
            (r#"{"schemaVersion":1}"#.to_owned(), None, "schema 1"),
            (r#"{"schemaVersion":2}"#.to_owned(), None, "without a config"),
            ("{}".to_owned(), None, "no schemaVersion"),
            ("[".to_owned(), None, "no manifest"),
            (manifest(r#","mediaType":"text/html""#), None, "neither"),
        ] {
            let error = Document::parse(text.as_bytes(), said).expect_err(&text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn foreign_layers_stay_where_they_are() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{DIGEST}","size":5}},"layers":[
               {{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"sha256:{}","size":9,
                 "urls":["https://elsewhere.example/x"]}}]}}"#,
            media::OCI_CONFIG,
            "0".repeat(64)
        );
        let Ok(Document::Manifest(read)) = Document::parse(text.as_bytes(), None) else {
            panic!("no manifest")
        };
        assert_eq!(read.blobs().unwrap().len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Document::parse(&bytes, None);
        }

        #[test]
        fn never_panics_on_json(text in r#"\{("schemaVersion":2,?)?("(mediaType|config|layers|manifests)":("x"|null|\[\]|\{\}|3),?){0,3}\}"#) {
            let _ = Document::parse(text.as_bytes(), None);
        }
    }
}
