//! Media types, and the two families of documents that they belong to.

/// OCI image index (image-spec, image-index.md).
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest (image-spec, manifest.md).
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image configuration (image-spec, config.md).
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// An uncompressed OCI layer (image-spec, layer.md).
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's manifest list (distribution, "Image Manifest Version 2, Schema 2").
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest of one image.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's configuration of one image.
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// An uncompressed Docker layer, as containerd and containers/image name it.
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// What is asked for when a manifest is fetched: every form that can be read, so that no registry converts one to another.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// How an index is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// An OCI image index.
    Oci,
    /// A Docker manifest list.
    Docker,
}

impl Format {
    /// The media type of an index.
    pub(crate) fn index(self) -> &'static str {
        match self {
            Self::Oci => OCI_INDEX,
            Self::Docker => DOCKER_LIST,
        }
    }

    /// The media type of a manifest.
    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Self::Oci => OCI_MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        }
    }

    /// The media type of an image's configuration.
    pub(crate) fn config(self) -> &'static str {
        match self {
            Self::Oci => OCI_CONFIG,
            Self::Docker => DOCKER_CONFIG,
        }
    }

    /// The media type of a layer with this compression. Docker has no name of its own for zstd.
    pub(crate) fn layer(self, compression: Compression) -> String {
        match (self, compression) {
            (Self::Oci, Compression::None) => OCI_LAYER.to_owned(),
            (Self::Oci, Compression::Gzip) => format!("{OCI_LAYER}+gzip"),
            (_, Compression::Zstd) => format!("{OCI_LAYER}+zstd"),
            (Self::Docker, Compression::None) => DOCKER_LAYER.to_owned(),
            (Self::Docker, Compression::Gzip) => format!("{DOCKER_LAYER}.gzip"),
        }
    }
}

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Tells from the first bytes; names of files are not asked.
    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A skippable frame (RFC 8878, 3.1.2) may stand first: pzstd and seekable formats write one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The first part of a `Content-Type`, without parameters.
pub(crate) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a descriptor of this type stands for an image's configuration, which names a platform. Others are artifacts.
pub(crate) fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Layers that lie elsewhere and must not be copied (image-spec, layer.md, "Non-Distributable Layers").
pub(crate) fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_told_by_content() {
        assert_eq!(Compression::of(&[0x1f, 0x8b, 8, 0]), Compression::Gzip);
        assert_eq!(Compression::of(&[0x28, 0xb5, 0x2f, 0xfd]), Compression::Zstd);
        assert_eq!(Compression::of(&[0x5a, 0x2a, 0x4d, 0x18]), Compression::Zstd);
        assert_eq!(Compression::of(b"blobs/"), Compression::None);
        assert_eq!(Compression::of(b""), Compression::None);
    }

    #[test]
    fn layers_are_named_by_family_and_compression() {
        assert_eq!(Format::Oci.layer(Compression::Gzip), "application/vnd.oci.image.layer.v1.tar+gzip");
        assert_eq!(
            Format::Docker.layer(Compression::Gzip),
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        );
        assert_eq!(Format::Docker.layer(Compression::None), DOCKER_LAYER);
        assert_eq!(Format::Docker.index(), DOCKER_LIST);
        assert_eq!(essence("application/json; charset=utf-8"), "application/json");
        assert!(is_foreign("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"));
        assert!(is_foreign("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));
    }
}
