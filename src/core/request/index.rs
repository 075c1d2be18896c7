//! The image index that a run shall make.

use std::collections::BTreeMap;

use super::{Parser, Target, Workspace};
use crate::api::multiarchbuild::{Index, IndexFormat, IndexSource, WorkspaceMapping};
use crate::api::names::result;
use crate::api::tekton::ParamValue;
use crate::core::path::Path;
use crate::core::problem::Reason;

/// What the index shall be, with variables replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexRequest {
    /// Registry, repository and tag.
    pub image: String,
    /// Further tags.
    pub tags: Vec<String>,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// The format of the document, if one is wanted and not the one that fits the images.
    pub format: Option<IndexFormat>,
    /// Where the platforms' images are.
    pub source: Source,
    /// Whether the registry's certificate need not be good.
    pub insecure: bool,
    /// Workspaces of the push: `dockerconfig` and `ca`.
    pub workspaces: Vec<WorkspaceMapping>,
}

/// Where the platforms' images are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a registry, as two results of each platform's tasks say.
    Results {
        /// The result with the reference.
        url: String,
        /// The result with the digest.
        digest: String,
    },
    /// In archives.
    Archives {
        /// The workspace that holds them.
        workspace: String,
        /// The path of a platform's archive, with variables of the platform.
        path: String,
    },
}

/// Where an archive is looked for if nothing is said: what `$(uname -m).tar` made there.
const DEFAULT_ARCHIVE: &str = "$(platform.machine).tar";

impl Parser<'_> {
    pub(super) fn index(
        &mut self,
        written: &Index,
        params: &BTreeMap<String, ParamValue>,
        workspaces: &[Workspace],
        targets: &[Target],
    ) -> Option<IndexRequest> {
        let root = *self.input.root;
        let place = root.field("index");
        let image = self.scope(params).text(&written.image, &place.field("image"));
        let tags = self.scope(params).list(&written.tags, &place.field("tags"));
        let annotations = self.scope(params).map(&written.annotations, &place.field("annotations"));
        let (image, tags, annotations) = (self.keep(image), self.keep(tags), self.keep(annotations));
        if let Some(image) = &image {
            self.image(image, &place.field("image"));
        }
        for (index, tag) in tags.iter().flatten().enumerate() {
            if !is_tag(tag) {
                self.report(
                    Reason::InvalidField,
                    &place.field("tags").index(index),
                    format!(
                        "{tag:?} is no tag; write letters, digits, dots, dashes and underscores, at most 128"
                    ),
                );
            }
        }
        for (index, mapping) in written.workspaces.iter().enumerate() {
            let list = place.field("workspaces");
            let path = list.index(index);
            if !matches!(mapping.name.as_str(), "dockerconfig" | "ca") {
                self.report(
                    Reason::InvalidField,
                    &path.field("name"),
                    format!("{:?} is no workspace of the push; those are dockerconfig and ca", mapping.name),
                );
            }
            self.mapping(mapping, workspaces, &path);
        }
        let source = self.source(written, workspaces, targets, &place)?;
        Some(IndexRequest {
            image: image?,
            tags: tags?,
            annotations: annotations?,
            format: written.format,
            source,
            insecure: written.insecure,
            workspaces: written.workspaces.clone(),
        })
    }

    fn source(
        &mut self,
        written: &Index,
        workspaces: &[Workspace],
        targets: &[Target],
        place: &Path<'_>,
    ) -> Option<Source> {
        let asked = written.source.unwrap_or(if written.archives.is_some() {
            IndexSource::Archives
        } else {
            IndexSource::Results
        });
        match (asked, &written.results, &written.archives) {
            (IndexSource::Results, _, Some(_)) => {
                self.report(
                    Reason::InvalidField,
                    &place.field("archives"),
                    "archives is set, but source is results; set source to archives, or leave archives out",
                );
                None
            }
            (IndexSource::Archives, Some(_), _) => {
                self.report(
                    Reason::InvalidField,
                    &place.field("results"),
                    "results is set, but the images come from archives; leave results out",
                );
                None
            }
            (IndexSource::Archives, None, None) => {
                self.report(
                    Reason::InvalidField,
                    place,
                    "source is archives, but archives.workspace does not say on which workspace they are",
                );
                None
            }
            (IndexSource::Results, results, None) => {
                let results = results.clone().unwrap_or_default();
                let or = |name: Option<String>, default: &str| {
                    name.filter(|name| !name.is_empty()).unwrap_or_else(|| default.to_owned())
                };
                Some(Source::Results {
                    url: or(results.url, result::IMAGE_URL),
                    digest: or(results.digest, result::IMAGE_DIGEST),
                })
            }
            (IndexSource::Archives, None, Some(archives)) => {
                let place = place.field("archives");
                let mapping =
                    WorkspaceMapping { name: archives.workspace.clone(), ..WorkspaceMapping::default() };
                self.mapping(&mapping, workspaces, &place.field("workspace"));
                let path = archives.path.clone().unwrap_or_else(|| DEFAULT_ARCHIVE.to_owned());
                if targets.len() > 1 && !path.contains("$(platform") {
                    self.report(
                        Reason::InvalidField,
                        &place.field("path"),
                        format!("{path:?} is the same file for every platform; use a variable such as $(platform.machine)"),
                    );
                }
                if path.starts_with('/') || path.split('/').any(|part| part == "..") {
                    self.report(
                        Reason::InvalidField,
                        &place.field("path"),
                        format!("{path:?} leads out of the workspace; write a path inside it"),
                    );
                }
                Some(Source::Archives { workspace: archives.workspace.clone(), path })
            }
        }
    }

    fn image(&mut self, image: &str, path: &Path<'_>) {
        let complaint = if image.is_empty() {
            "is empty"
        } else if image.contains("://") {
            "has a scheme; write registry/repository:tag"
        } else if image.contains('@') {
            "has a digest, but what is pushed there gets a digest of its own; write registry/repository:tag"
        } else if !image.chars().all(|c| c.is_ascii_alphanumeric() || "._-:/[]".contains(c)) {
            "has characters that a reference cannot have; write registry/repository:tag"
        } else if image.starts_with('-') || !image.contains('/') {
            "names no registry; write registry/repository:tag"
        } else {
            return;
        };
        self.report(Reason::InvalidField, path, format!("{image:?} {complaint}"));
    }
}

/// Distribution spec, "Pulling manifests": `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
        && bytes.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
}
