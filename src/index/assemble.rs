//! Writing the index: a pure function from its children to its bytes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::digest::Digest;
use super::document::Descriptor;
use super::media::{self, Format};

/// An image index, ready to be pushed.
#[derive(Clone, Debug)]
pub(crate) struct Assembled {
    /// Its media type.
    pub(crate) media_type: &'static str,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Their digest.
    pub(crate) digest: Digest,
}

/// Fields in the order of canonical JSON, and nothing between them: the same children give the same bytes everywhere.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    manifests: Vec<&'a Descriptor>,
    media_type: &'static str,
    schema_version: u8,
}

/// Which format the index has. Asked for explicitly, Docker's must be able to hold it all. Otherwise it is OCI's, unless every
/// child is Docker's and nothing is annotated: clients that know only Docker's formats can then read all of it.
pub(crate) fn format(
    asked: Option<Format>,
    images: &[Descriptor],
    attestations: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<Format, String> {
    let foreign = images.iter().chain(attestations).find(|d| d.media_type != media::DOCKER_MANIFEST);
    match asked {
        Some(Format::Docker) => {
            if let Some(child) = foreign {
                return Err(format!(
                    "a Docker manifest list holds Docker images only, but {} is {}; build it in Docker's format too (buildah: \
                     --format docker), or leave --format out",
                    child.digest, child.media_type
                ));
            }
            if !annotations.is_empty() {
                return Err(
                    "a Docker manifest list has no annotations; leave out --annotation or use --format oci"
                        .to_owned(),
                );
            }
            Ok(Format::Docker)
        }
        None if foreign.is_none() && annotations.is_empty() => Ok(Format::Docker),
        Some(Format::Oci) | None => Ok(Format::Oci),
    }
}

/// Writes the index: images in the order given, as "the first matching entry SHOULD be used" (image-spec, image-index.md), then
/// the attestations, which no client shall take for an image.
pub(crate) fn assemble(
    format: Format,
    images: &[Descriptor],
    attestations: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<Assembled, String> {
    let document = Document {
        annotations,
        manifests: images.iter().chain(attestations).collect(),
        media_type: format.index(),
        schema_version: 2,
    };
    let bytes =
        serde_json::to_vec(&document).map_err(|error| format!("the index cannot be written: {error}"))?;
    let digest = Digest::of(&bytes);
    Ok(Assembled { media_type: format.index(), bytes, digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::document::PlatformFields;

    fn child(media_type: &str, arch: &str) -> Descriptor {
        Descriptor {
            annotations: BTreeMap::new(),
            artifact_type: None,
            digest: Digest::of(arch.as_bytes()).to_string(),
            media_type: media_type.to_owned(),
            platform: Some(PlatformFields {
                architecture: arch.to_owned(),
                os: "linux".to_owned(),
                ..PlatformFields::default()
            }),
            size: 7,
            urls: None,
        }
    }

    #[test]
    fn bytes_are_canonical_and_fixed() {
        let annotations =
            BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let images = [child(media::OCI_MANIFEST, "amd64"), child(media::OCI_MANIFEST, "arm64")];
        let index = assemble(Format::Oci, &images, &[], &annotations).unwrap();
        assert_eq!(
            String::from_utf8(index.bytes.clone()).unwrap(),
            format!(
                concat!(
                    r#"{{"annotations":{{"a":"1","b":"2"}},"manifests":[{{"digest":"{}","mediaType":"{m}","#,
                    r#""platform":{{"architecture":"amd64","os":"linux"}},"size":7}},{{"digest":"{}","mediaType":"{m}","#,
                    r#""platform":{{"architecture":"arm64","os":"linux"}},"size":7}}],"#,
                    r#""mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}}"#
                ),
                images[0].digest,
                images[1].digest,
                m = media::OCI_MANIFEST
            )
        );
        // Keys sorted, nothing between them: writing it again from a generic reading changes nothing.
        let value: serde_json::Value = serde_json::from_slice(&index.bytes).unwrap();
        assert_eq!(serde_json::to_vec(&value).unwrap(), index.bytes);
    }

    #[test]
    fn docker_lists_hold_docker_images_only() {
        let none = BTreeMap::new();
        let some = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let docker = [child(media::DOCKER_MANIFEST, "amd64")];
        let mixed = [child(media::DOCKER_MANIFEST, "amd64"), child(media::OCI_MANIFEST, "arm64")];
        assert_eq!(format(None, &docker, &[], &none), Ok(Format::Docker));
        assert_eq!(format(None, &docker, &[], &some), Ok(Format::Oci));
        assert_eq!(format(None, &mixed, &[], &none), Ok(Format::Oci));
        assert_eq!(format(None, &docker, &mixed[1..], &none), Ok(Format::Oci));
        assert_eq!(format(Some(Format::Oci), &docker, &[], &none), Ok(Format::Oci));
        assert!(format(Some(Format::Docker), &mixed, &[], &none).unwrap_err().contains(&mixed[1].digest));
        assert!(format(Some(Format::Docker), &docker, &[], &some).unwrap_err().contains("annotations"));
    }
}
