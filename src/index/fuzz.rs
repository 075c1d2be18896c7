//! What registries, builds and users write, as functions of bytes (see [`crate::fuzz`]).

use super::archive;
use super::auth;
use super::config::Config;
use super::document::{Document, is_attestation};
use super::reference::Reference;
use super::registry;
use super::source::Wanted;

/// The first byte says what the archive is taken for; the rest is the file.
pub(crate) fn archive(bytes: &[u8]) {
    archive::fuzz::open(bytes);
}

/// `WWW-Authenticate`, one header a line: a challenge for a token always says where the token is to be had.
pub(crate) fn challenge(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    auth::fuzz::challenge(text);
}

/// The other small things that a registry says: tokens, errors, `Range`, `Retry-After`, `Location`.
pub(crate) fn answers(bytes: &[u8]) {
    registry::fuzz::answers(bytes);
}

/// Manifests, indexes and configurations.
pub(crate) fn manifest(bytes: &[u8]) {
    for said in [None, Some("application/vnd.oci.image.index.v1+json"), Some("text/plain; charset=utf-8")] {
        match Document::parse(bytes, said) {
            Ok(Document::Manifest(manifest)) => {
                assert!(!manifest.media_type.is_empty());
                let size = manifest.content_size();
                if let Ok(blobs) = manifest.blobs() {
                    // Every blob is counted once, and none is larger than all together.
                    assert!(blobs.iter().all(|(_, one)| *one <= size), "{blobs:?} of {size}");
                    for (place, (digest, _)) in blobs.iter().enumerate() {
                        assert!(!blobs[..place].iter().any(|(other, _)| other == digest), "{digest} twice");
                    }
                }
            }
            Ok(Document::Index(index)) => {
                for entry in &index.manifests {
                    let _ = (is_attestation(entry), entry.checked_digest());
                }
            }
            Err(words) => assert!(!words.is_empty()),
        }
    }
    if let Ok(config) = Config::parse(bytes) {
        let _ = (config.platform_text(), config.diff_ids().len());
        for asked in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            if let Ok(asked) = crate::core::platform::Platform::parse(asked) {
                let _ = config.check(&asked);
            }
        }
    }
}

/// Files with logins.
pub(crate) fn logins(bytes: &[u8]) {
    auth::fuzz::logins(bytes);
}

/// References, and members of an index: what is written again is the same.
pub(crate) fn image(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = Reference::parse(text) {
        let written = reference.to_string();
        assert_eq!(Reference::parse(&written).as_ref(), Ok(&reference), "{text:?}");
        assert_eq!(Reference::parse(&written).map(|again| again.to_string()), Ok(written));
        let host = reference.repository.api_host();
        assert!(!host.is_empty() && !host.contains('/') && !reference.wanted().is_empty(), "{text:?}");
        // It becomes a part of an address.
        let address =
            format!("https://{host}/v2/{}/manifests/{}", reference.repository.path(), reference.wanted());
        let address = address.parse::<http::Uri>();
        assert!(address.is_ok_and(|uri| uri.query().is_none()), "{text:?}");
    }
    // Paths are looked for on the disk, so only what is at a registry is read again.
    if text.contains("=docker://")
        && let Ok(wanted) = Wanted::parse(text)
    {
        let written = format!("{}={}", wanted.platform, wanted.source);
        assert_eq!(Wanted::parse(&written).as_ref(), Ok(&wanted), "{text:?}");
    }
}
