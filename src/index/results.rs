//! Tekton's result files.

use std::path::Path;

use super::digest::Digest;
use super::error::{Error, Result};
use super::reference::Repository;

/// The results of a push, under the names that Tekton Chains takes as hints ("Type hinting") and Konflux' tasks share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Results {
    /// `IMAGE_URL`: the repository with its first tag.
    pub(super) url: String,
    /// `IMAGE_DIGEST`: of the index.
    pub(super) digest: Digest,
    /// `IMAGE_REF`: both in one.
    pub(super) reference: String,
    /// `IMAGES`: the index and every platform's image, by digest, with commas between.
    pub(super) images: String,
    /// How many images `IMAGES` leaves out for want of room.
    pub(super) left_out: usize,
    /// `BYTES_PUSHED` and `BYTES_SKIPPED`: what moving the blobs took.
    pub(super) traffic: Traffic,
}

/// How many bytes of blobs moved, and how many did not have to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Sent to the registry.
    pub(super) pushed: u64,
    /// Found there, or mounted from another of its repositories.
    pub(super) skipped: u64,
}

/// As long as the largest number of bytes.
const LONGEST_NUMBER: usize = 20;

/// What the bytes of one result cost beside its name and value in a pod's termination message: Tekton writes
/// `{"key":"NAME","value":"VALUE","type":1},` (Tekton `pkg/result/result.go`).
const FRAME: usize = 32;

/// All results of a TaskRun share the termination messages of its containers, of which each holds 4096 bytes and all together
/// 12 KiB; Tekton itself takes some 200 bytes of it. A quarter is left to other steps.
pub(crate) const USUAL_LIMIT: usize = 3072;

impl Results {
    /// Makes the results so that they take at most `limit` bytes of a termination message. `IMAGES` gives way: it loses images from
    /// its end, never the index at its head, and so stays a list of whole references.
    pub(super) fn new(
        repository: &Repository,
        tag: &str,
        index: &Digest,
        images: &[Digest],
        traffic: Traffic,
        limit: usize,
    ) -> Self {
        let url = format!("{repository}:{tag}");
        let reference = format!("{repository}@{index}");
        let fixed = [
            ("IMAGE_URL", url.len()),
            ("IMAGE_DIGEST", index.as_str().len()),
            ("IMAGE_REF", reference.len()),
            ("IMAGES", reference.len()),
            ("BYTES_PUSHED", LONGEST_NUMBER),
            ("BYTES_SKIPPED", LONGEST_NUMBER),
        ];
        let mut room = limit.saturating_sub(fixed.iter().map(|(name, size)| name.len() + size + FRAME).sum());
        let mut list = reference.clone();
        let mut left_out = 0;
        for digest in images {
            let entry = format!(",{repository}@{digest}");
            // The order tells nothing of importance, but a gap in it would look like a platform that failed.
            if left_out > 0 || entry.len() > room {
                left_out += 1;
                continue;
            }
            room -= entry.len();
            list.push_str(&entry);
        }
        Self { url, digest: index.clone(), reference, images: list, left_out, traffic }
    }

    /// Writes the files, without a line's end, as Tekton takes every byte for the value.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let (pushed, skipped) = (self.traffic.pushed.to_string(), self.traffic.skipped.to_string());
        let files = [
            ("IMAGE_URL", self.url.as_str()),
            ("IMAGE_DIGEST", self.digest.as_str()),
            ("IMAGE_REF", self.reference.as_str()),
            ("IMAGES", self.images.as_str()),
            ("BYTES_PUSHED", &pushed),
            ("BYTES_SKIPPED", &skipped),
        ];
        for (name, value) in files {
            let path = dir.join(name);
            std::fs::write(&path, value).map_err(|error| {
                Error::failed(format!(
                    "the index is pushed, but its result {} was not written: {error}",
                    path.display()
                ))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::reference::Reference;

    fn results(images: usize, limit: usize) -> Results {
        let repository = Reference::parse("registry.example:5000/team/app").unwrap().repository;
        let digests: Vec<Digest> = (0..images).map(|n| Digest::of(n.to_string().as_bytes())).collect();
        let traffic = Traffic { pushed: u64::MAX, skipped: 12 };
        Results::new(&repository, "v1", &Digest::of(b"index"), &digests, traffic, limit)
    }

    /// The message as Tekton writes it.
    fn message(results: &Results) -> String {
        let entries: Vec<String> = [
            ("IMAGE_URL", results.url.as_str()),
            ("IMAGE_DIGEST", results.digest.as_str()),
            ("IMAGE_REF", results.reference.as_str()),
            ("IMAGES", results.images.as_str()),
            ("BYTES_PUSHED", &results.traffic.pushed.to_string()),
            ("BYTES_SKIPPED", &results.traffic.skipped.to_string()),
        ]
        .iter()
        .map(|(key, value)| format!(r#"{{"key":"{key}","value":"{value}","type":1}}"#))
        .collect();
        format!("[{}]", entries.join(","))
    }

    #[test]
    fn few_platforms_fit_whole() {
        let few = results(4, USUAL_LIMIT);
        assert_eq!(few.left_out, 0);
        assert_eq!(few.images.split(',').count(), 5);
        assert!(few.images.starts_with(&few.reference));
        assert_eq!(few.url, "registry.example:5000/team/app:v1");
        let dir = tempfile::tempdir().unwrap();
        few.write(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("IMAGE_DIGEST")).unwrap(), few.digest.as_str());
        assert_eq!(std::fs::read_to_string(dir.path().join("IMAGES")).unwrap(), few.images);
        assert_eq!(std::fs::read_to_string(dir.path().join("BYTES_SKIPPED")).unwrap(), "12");
        assert!(few.write(&dir.path().join("missing")).unwrap_err().to_string().contains("is pushed"));
    }

    proptest::proptest! {
        #[test]
        fn the_message_never_overflows(images in 0usize..80, limit in 0usize..5000) {
            let made = results(images, limit);
            let smallest = message(&results(0, 0)).len();
            proptest::prop_assert!(message(&made).len() <= limit.max(smallest));
            proptest::prop_assert_eq!(made.images.split(',').count(), 1 + images - made.left_out);
            proptest::prop_assert!(made.images.split(',').all(|entry| Reference::parse(entry).is_ok()));
        }
    }
}
