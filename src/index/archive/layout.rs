//! OCI image layouts (image-spec, image-layout.md).

use std::collections::BTreeMap;

use super::Root;
use super::container::Container;
use crate::index::digest::Digest;
use crate::index::document::{Descriptor, Document, LARGEST_MANIFEST, is_attestation};
use crate::index::media;
use crate::index::registry::Fetched;

/// The annotation of `index.json` by which images in a layout are told apart.
const NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's own, with the whole name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Finds where to start: the one image, the one that is named, or the index with all of them.
pub(super) fn read(container: &Container, wanted: Option<&str>) -> Result<Root, String> {
    let bytes = container.read("index.json", LARGEST_MANIFEST)?;
    let Document::Index(index) =
        Document::parse(&bytes, Some(media::OCI_INDEX)).map_err(|error| format!("index.json is {error}"))?
    else {
        return Err("index.json is no index".to_owned());
    };
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|entry| !is_attestation(entry)).collect();
    let chosen = match wanted {
        Some(wanted) => Some(named(&images, wanted)?),
        None if images.is_empty() => return Err("index.json names no image".to_owned()),
        None if images.len() == index.manifests.len() && images.len() == 1 => Some(images[0]),
        None => None,
    };
    let Some(chosen) = chosen else {
        // Several: the platform tells which, if each has another.
        distinct(&images)?;
        let document =
            Fetched { digest: Digest::of(&bytes), bytes, content_type: Some(media::OCI_INDEX.to_owned()) };
        return Ok(Root { document, made: BTreeMap::new() });
    };
    let digest = chosen.checked_digest()?;
    let name = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
    let bytes = container.read(&name, LARGEST_MANIFEST)?;
    if !digest.fits(&bytes) {
        return Err(format!(
            "the manifest {digest} is damaged: the digest of what is there is {}",
            Digest::of(&bytes)
        ));
    }
    let content_type = Some(chosen.media_type.clone()).filter(|media_type| !media_type.is_empty());
    // Kept: it will be asked for again by its digest.
    let made = BTreeMap::from([(digest.clone(), bytes.clone())]);
    Ok(Root { document: Fetched { bytes, digest, content_type }, made })
}

fn named<'a>(images: &[&'a Descriptor], wanted: &str) -> Result<&'a Descriptor, String> {
    if let Some(number) = wanted.strip_prefix('@').and_then(|number| number.parse::<usize>().ok()) {
        return images
            .get(number)
            .copied()
            .ok_or_else(|| format!("there is no image {wanted}: it has {} of them", images.len()));
    }
    let names = |entry: &&&Descriptor| {
        [NAME, CONTAINERD_NAME]
            .iter()
            .any(|key| entry.annotations.get(*key).is_some_and(|name| name == wanted))
    };
    let found: Vec<_> = images.iter().filter(names).copied().collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(format!("no image in it is named {wanted:?}; {}", list(images))),
        _ => Err(format!("{} images in it are named {wanted:?}; choose one by :@0, :@1 …", found.len())),
    }
}

/// An index of a registry may hold two images for one platform, of which the first is meant. In a layout they are two images that
/// somebody put beside each other, and to take the first would be to guess.
fn distinct(images: &[&Descriptor]) -> Result<(), String> {
    for (place, one) in images.iter().enumerate() {
        if images[..place].iter().any(|other| other.platform == one.platform && other.digest != one.digest) {
            return Err(format!(
                "several images are in it that nothing tells apart; write the name of one after its path: {}",
                list(images)
            ));
        }
    }
    Ok(())
}

fn list(images: &[&Descriptor]) -> String {
    let names: Vec<String> = images
        .iter()
        .enumerate()
        .map(|(place, entry)| {
            let name = entry.annotations.get(NAME).or_else(|| entry.annotations.get(CONTAINERD_NAME));
            name.map_or_else(|| format!(":@{place}"), |name| format!(":{name}"))
        })
        .collect();
    format!("there are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"schemaVersion":2,"config":{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}}"#;

    fn layout(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        let mut manifests = Vec::new();
        for (name, arch) in entries {
            let bytes = format!("{MANIFEST}{}", " ".repeat(manifests.len()));
            let digest = Digest::of(bytes.as_bytes());
            std::fs::write(dir.path().join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
            let platform = if arch.is_empty() {
                String::new()
            } else {
                format!(r#","platform":{{"os":"linux","architecture":"{arch}"}}"#)
            };
            manifests.push(format!(
                r#"{{"mediaType":"{}","digest":"{digest}","size":{}{platform},"annotations":{{"{NAME}":"{name}"}}}}"#,
                media::OCI_MANIFEST,
                bytes.len()
            ));
        }
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, manifests.join(","));
        std::fs::write(dir.path().join("index.json"), index).unwrap();
        dir
    }

    fn start(dir: &tempfile::TempDir, wanted: Option<&str>) -> Result<usize, String> {
        let container = Container::open(dir.path())?;
        let bytes = read(&container, wanted)?.document.bytes;
        Ok(bytes.len().wrapping_sub(MANIFEST.len()))
    }

    #[test]
    fn one_image_or_a_named_one_is_found() {
        assert_eq!(start(&layout(&[("v1", "")]), None), Ok(0));
        let two = layout(&[("v1", ""), ("v2", "")]);
        assert_eq!(start(&two, Some("v2")), Ok(1));
        assert_eq!(start(&two, Some("@0")), Ok(0));
        for (wanted, part) in
            [(Some("v3"), ":v1, :v2"), (Some("@2"), "it has 2"), (None, "nothing tells apart")]
        {
            let error = start(&two, wanted).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(
            start(&layout(&[("v1", "amd64"), ("v2", "amd64")]), None).unwrap_err().contains("tells apart")
        );
        assert!(start(&layout(&[("v1", "amd64"), ("v2", "arm64")]), None).is_ok());
        assert!(start(&layout(&[]), None).unwrap_err().contains("names no image"));
    }

    #[test]
    fn damage_is_named() {
        let dir = layout(&[("v1", "")]);
        let blob =
            std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&blob, MANIFEST.replace('2', "3")).unwrap();
        assert!(start(&dir, None).unwrap_err().contains("is damaged"));
        std::fs::remove_file(&blob).unwrap();
        assert!(start(&dir, None).unwrap_err().contains("incomplete"));
    }
}
