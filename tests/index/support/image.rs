//! Images that are made for the tests: one real layer with one file in it, and a configuration.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// An image of one platform.
pub(crate) struct Image {
    /// As they are pushed: compressed, which is all that crane can check.
    pub(crate) layers: Vec<Vec<u8>>,
    /// The same, unpacked.
    pub(crate) tars: Vec<Vec<u8>>,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

/// Bytes that do not compress, always the same for one seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn layer(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, bytes).unwrap();
    builder.into_inner().unwrap()
}

impl Image {
    /// An OCI image for a platform, of layers of these sizes.
    pub(crate) fn new(platform: &str, seed: u64, sizes: &[usize]) -> Self {
        Self::of_type(platform, seed, sizes, OCI_MANIFEST)
    }

    pub(crate) fn of_type(platform: &str, seed: u64, sizes: &[usize], media_type: &str) -> Self {
        let mut parts = platform.split('/');
        let (os, arch, variant) = (parts.next().unwrap(), parts.next().unwrap(), parts.next());
        let tars: Vec<Vec<u8>> =
            (0u64..).zip(sizes).map(|(n, size)| layer(&format!("f{n}"), &noise(seed + n, *size))).collect();
        let layers: Vec<Vec<u8>> = tars.iter().map(|bytes| compress(bytes)).collect();
        let mut config = json!({"os": os, "architecture": arch, "config": {}, "rootfs": {
            "type": "layers", "diff_ids": tars.iter().map(|bytes| digest(bytes)).collect::<Vec<_>>()}});
        if let Some(variant) = variant {
            config["variant"] = json!(variant);
        }
        let config = config.to_string().into_bytes();
        let (config_type, layer_type) = if media_type == DOCKER_MANIFEST {
            (
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            )
        } else {
            ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
        };
        let descriptors: Vec<Value> = layers
            .iter()
            .map(|bytes| json!({"mediaType": layer_type, "digest": digest(bytes), "size": bytes.len()}))
            .collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "layers": descriptors,
            "config": {"mediaType": config_type, "digest": digest(&config), "size": config.len()}});
        Self { layers, tars, config, manifest: manifest.to_string().into_bytes() }
    }

    pub(crate) fn digest(&self) -> String {
        digest(&self.manifest)
    }

    fn blobs(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.layers.iter().chain([&self.config, &self.manifest])
    }

    /// Writes an OCI image layout.
    pub(crate) fn layout(&self, dir: &Path) {
        layout(
            dir,
            &[self],
            &[json!({"mediaType": OCI_MANIFEST, "digest": self.digest(), "size": self.manifest.len()})],
        );
    }

    /// Writes an OCI archive.
    pub(crate) fn oci_archive(&self, path: &Path) -> PathBuf {
        let dir = tempfile::tempdir().unwrap();
        self.layout(dir.path());
        pack(dir.path(), path);
        path.to_owned()
    }

    /// Writes what `docker save` writes. With `gzip`, layers are compressed inside, as some builders do.
    pub(crate) fn docker_archive(&self, path: &Path, gzip: bool) -> PathBuf {
        let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes).unwrap();
        };
        let config = format!("{}.json", &digest(&self.config)[7..]);
        let names: Vec<String> = (0..self.layers.len()).map(|n| format!("layer{n}/layer.tar")).collect();
        for (name, bytes) in names.iter().zip(if gzip { &self.layers } else { &self.tars }) {
            add(name, bytes);
        }
        add(&config, &self.config);
        let manifest = json!([{"Config": config, "RepoTags": ["localhost/app:v1"], "Layers": names}]);
        add("manifest.json", manifest.to_string().as_bytes());
        builder.finish().unwrap();
        path.to_owned()
    }
}

/// Writes an OCI image layout with these entries in its index.
pub(crate) fn layout(dir: &Path, images: &[&Image], entries: &[Value]) {
    std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    for bytes in images.iter().flat_map(|image| image.blobs()) {
        std::fs::write(dir.join("blobs/sha256").join(&digest(bytes)[7..]), bytes).unwrap();
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Makes a tar file of a folder, in the order in which buildah does: the index after the blobs.
pub(crate) fn pack(dir: &Path, path: &Path) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    builder.append_dir_all("blobs", dir.join("blobs")).unwrap();
    for name in ["index.json", "oci-layout"] {
        builder.append_path_with_name(dir.join(name), name).unwrap();
    }
    builder.finish().unwrap();
}

pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI archive in a folder, as a source of archfan's.
pub(crate) fn archive(dir: &Path, platform: &str, seed: u64, sizes: &[usize]) -> (Image, String) {
    let image = Image::new(platform, seed, sizes);
    let path = image.oci_archive(&dir.join(format!("{}-{seed}.tar", platform.replace('/', "-"))));
    (image, format!("{platform}=oci-archive:{}", path.display()))
}
