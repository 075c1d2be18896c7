//! `archfan index inspect`: what an index names, as a table or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::access::Registries;
use super::config::Config;
use super::document::{self, Descriptor, Document, LARGEST_CONFIG, REFERENCE_DIGEST};
use super::error::{Error, Result};
use super::image::describe;
use super::media;
use super::progress::{self, Progress};
use super::push::Connection;
use super::reference::{Reference, Repository};
use super::registry::Registry;

/// What was found. Its fields are the JSON output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    reference: String,
    digest: String,
    media_type: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    images: Vec<Entry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    platform: String,
    digest: String,
    media_type: String,
    /// What a pull of it moves: configuration and layers.
    content_size: u64,
    layers: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attestations: Vec<String>,
}

/// Reads an index and the manifests that it names.
pub(crate) async fn inspect(
    reference: &Reference,
    connection: &Connection,
    progress: &Progress,
) -> Result<Report> {
    let (transport, keychain) = connection.open()?;
    let repository = &reference.repository;
    let uses = [(repository.clone(), false)];
    let registries = Registries::open(&transport, progress, &keychain, &uses).await?;
    let registry =
        registries.of(repository).ok_or_else(|| Error::failed(format!("{repository}: no way to it")))?;
    let root = registry.manifest(repository, reference.wanted()).await?;
    let broken = |error: String| Error::source(format!("{reference}: {error}"));
    let (media_type, annotations, images) =
        match Document::parse(&root.bytes, root.content_type.as_deref()).map_err(broken)? {
            Document::Index(index) => {
                let images: Vec<&Descriptor> =
                    index.manifests.iter().filter(|entry| !document::is_attestation(entry)).collect();
                let read = stream::iter(
                    images.into_iter().map(|entry| read(entry, &index.manifests, repository, &registry)),
                )
                .buffered(8)
                .try_collect()
                .await?;
                (index.media_type, index.annotations, read)
            }
            Document::Manifest(manifest) => {
                let platform = if media::is_image_config(&manifest.config.media_type) {
                    let digest = manifest.config.checked_digest().map_err(broken)?;
                    let bytes = registry.small_blob(repository, &digest, LARGEST_CONFIG).await?;
                    Config::parse(&bytes).map_err(broken)?.platform_text()
                } else {
                    "-".to_owned()
                };
                let image = Entry {
                    platform,
                    digest: root.digest.to_string(),
                    media_type: manifest.media_type.clone(),
                    content_size: manifest.content_size(),
                    layers: manifest.layers.len(),
                    attestations: Vec::new(),
                };
                (manifest.media_type.clone(), BTreeMap::new(), vec![image])
            }
        };
    let digest = root.digest.to_string();
    Ok(Report { reference: reference.to_string(), digest, media_type, annotations, images })
}

async fn read(
    entry: &Descriptor,
    all: &[Descriptor],
    repository: &Repository,
    registry: &Registry,
) -> Result<Entry> {
    let broken = |error: String| Error::source(format!("{repository}@{}: {error}", entry.digest));
    let digest = entry.checked_digest().map_err(broken)?;
    let fetched = registry.manifest(repository, digest.as_str()).await?;
    let (content_size, layers) =
        match Document::parse(&fetched.bytes, fetched.content_type.as_deref()).map_err(broken)? {
            Document::Manifest(manifest) => (manifest.content_size(), manifest.layers.len()),
            Document::Index(_) => (0, 0),
        };
    let of_this = |other: &&Descriptor| {
        document::is_attestation(other) && other.annotations.get(REFERENCE_DIGEST) == Some(&entry.digest)
    };
    Ok(Entry {
        platform: describe(entry.platform.as_ref()),
        digest: entry.digest.clone(),
        media_type: entry.media_type.clone(),
        content_size,
        layers,
        attestations: all.iter().filter(of_this).map(|other| other.digest.clone()).collect(),
    })
}

impl Report {
    /// For programs.
    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Error::failed(format!("no JSON can be made: {error}")))
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}\ndigest: {}\ntype:   {}\n", self.reference, self.digest, self.media_type);
        for (key, value) in &self.annotations {
            let _ = writeln!(text, "{key}: {value}");
        }
        let head = ["PLATFORM", "SIZE", "LAYERS", "FORMAT", "ATTESTED", "DIGEST"].map(str::to_owned);
        let mut rows = vec![head];
        rows.extend(self.images.iter().map(|image| {
            let format = match image.media_type.as_str() {
                media::OCI_MANIFEST => "oci",
                media::DOCKER_MANIFEST => "docker",
                media::OCI_INDEX | media::DOCKER_LIST => "index",
                _ => "other",
            };
            [
                image.platform.clone(),
                progress::bytes(image.content_size),
                image.layers.to_string(),
                format.to_owned(),
                if image.attestations.is_empty() { "no" } else { "yes" }.to_owned(),
                image.digest.clone(),
            ]
        }));
        let widths: Vec<usize> =
            (0..6).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
        for row in rows {
            text.push('\n');
            for (cell, width) in row.iter().zip(&widths).take(5) {
                let _ = write!(text, "{cell:width$}  ");
            }
            text.push_str(&row[5]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let image = |platform: &str, size, attestations: &[&str]| Entry {
            platform: platform.to_owned(),
            digest: "sha256:1".to_owned(),
            media_type: media::OCI_MANIFEST.to_owned(),
            content_size: size,
            layers: 2,
            attestations: attestations.iter().map(|&text| text.to_owned()).collect(),
        };
        let report = Report {
            reference: "quay.io/a/b:v1".to_owned(),
            digest: "sha256:0".to_owned(),
            media_type: media::OCI_INDEX.to_owned(),
            annotations: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            images: vec![image("linux/amd64", 1_500_000, &["sha256:2"]), image("linux/arm/v7", 7, &[])],
        };
        assert_eq!(
            report.table(),
            "quay.io/a/b:v1\ndigest: sha256:0\ntype:   application/vnd.oci.image.index.v1+json\na: 1\n\n\
             PLATFORM      SIZE    LAYERS  FORMAT  ATTESTED  DIGEST\n\
             linux/amd64   1.5 MB  2       oci     yes       sha256:1\n\
             linux/arm/v7  7 B     2       oci     no        sha256:1"
        );
        assert!(report.json().unwrap().contains(r#""contentSize": 1500000"#));
    }
}
