//! The last child: one step of archfan's own image that assembles the image index and pushes it, under the user's service account.
//!
//! So the controller never sees a registry's login, quota and proxies are the user's, the log is where logs are, and Tekton
//! Chains can sign what it made. Chains looks for a **TaskRun with the CustomRun's name** when it collects a PipelineRun, and is
//! woken by the owner that *controls* that TaskRun; the child therefore has exactly that name, and two owners: the CustomRun
//! first, by which Tekton and archfan know it, and the PipelineRun as its controller, by which Chains does
//! (`docs/supply-chain.md`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::children::{Family, Owner, TaskRunBody, TaskRunBodySpec};
use super::path::Path;
use super::placement::{self, Layer};
use super::platform::Platform;
use super::problem::{Problem, Reason};
use super::request::{IndexRequest, Source, Target};
use super::variables::ResultsOfTask;
use crate::api::multiarchbuild::{IndexFormat, WorkspaceMapping};
use crate::api::names::{TEKTON_API_VERSION, label, result};
use crate::api::status::{Phase, PlatformStatus};
use crate::api::tekton::ParamValue;

/// Where Tekton collects the results of a step (Tekton `docs/tasks.md`, "Emitting Results").
const RESULTS: &str = "/tekton/results";
/// Where a workspace is mounted, if its Task does not say (Tekton `docs/workspaces.md`).
const WORKSPACES: &str = "/workspace";
/// Name of the workspace that holds the archives, in the child.
const ARCHIVES: &str = "archives";

/// One image of the index, as `archfan index push` takes it: `linux/arm64=docker://registry/app@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The platform.
    pub platform: Platform,
    /// Where its image is.
    pub source: String,
}

impl Family<'_> {
    /// The members of the index: one for each platform that was built, in the order of the platform list.
    ///
    /// # Errors
    /// A platform that succeeded without saying what it built.
    pub fn members(
        &self,
        index: &IndexRequest,
        platforms: &[PlatformStatus],
    ) -> Result<Vec<Member>, Problem> {
        let built =
            self.request.targets.iter().zip(platforms).filter(|(_, status)| status.phase.lets_go_on());
        built
            .map(|(target, status)| {
                let source = match &index.source {
                    Source::Results { url, digest } => from_results(target, status, url, digest)?,
                    Source::Archives { workspace: _, path } => {
                        let scope = self.request.scope_on(&target.platform, None);
                        let place = self.root.field("index");
                        let place = place.field("archives");
                        let path = scope.text(path, &place.field("path"))?;
                        format!("archive:{WORKSPACES}/{ARCHIVES}/{path}")
                    }
                };
                Ok(Member { platform: target.platform.clone(), source })
            })
            .collect()
    }

    /// The members of the index before anything is built: `$(linux-arm64-IMAGE_DIGEST)` stands for what a platform's result will say.
    ///
    /// # Errors
    /// An unknown variable in the path of an archive.
    pub fn expected_members(&self, index: &IndexRequest) -> Result<Vec<Member>, Problem> {
        match &index.source {
            Source::Results { url, digest } => Ok(self
                .request
                .targets
                .iter()
                .map(|target| {
                    let key = target.platform.key();
                    Member {
                        platform: target.platform.clone(),
                        source: format!("docker://$({key}-{url})@$({key}-{digest})"),
                    }
                })
                .collect()),
            Source::Archives { .. } => {
                let built = PlatformStatus { phase: Phase::Succeeded, ..PlatformStatus::default() };
                self.members(index, &vec![built; self.request.targets.len()])
            }
        }
    }

    /// The child that pushes the index.
    ///
    /// # Errors
    /// An unknown variable in the path of a workspace.
    pub fn index(&self, index: &IndexRequest, members: &[Member]) -> Result<TaskRunBody, Problem> {
        let scope = self.request.scope();
        let place = self.root.field("index");
        let list = place.field("workspaces");
        let mut bindings = Vec::new();
        for (number, mapping) in index.workspaces.iter().enumerate() {
            bindings.extend(self.map_workspace(mapping, None, &scope, &list.index(number))?);
        }
        if let Source::Archives { workspace, .. } = &index.source {
            let mapping = WorkspaceMapping {
                name: ARCHIVES.to_owned(),
                workspace: Some(workspace.clone()),
                sub_path: None,
            };
            bindings.extend(self.map_workspace(&mapping, None, &scope, &place.field("archives"))?);
        }
        let service_account_name = match &self.request.template.service_account_name {
            Some(name) => {
                scope.text(name, &self.root.field("taskRunTemplate").field("serviceAccountName"))?
            }
            None => self.run.spec.service_account_name.clone(),
        };
        let mut metadata = self.metadata(&[], &scope)?;
        metadata.name.clone_from(&self.request.context.custom_run);
        metadata.labels.insert(label::ROLE.to_owned(), label::ROLE_INDEX.to_owned());
        metadata.owner_references = self.index_owners();
        let pod_template = self.index_pod_template()?;
        let spec = TaskRunBodySpec {
            service_account_name,
            task_spec: Some(self.index_task(
                index,
                members,
                bindings.iter().map(|binding| binding.name.as_str()),
                pod_template.as_ref(),
            )),
            retries: self.request.retries,
            timeout: super::duration::format(self.request.timeout.unwrap_or_default()),
            pod_template: pod_template.map(Arc::new),
            workspaces: bindings,
            ..TaskRunBodySpec::default()
        };
        Ok(TaskRunBody { api_version: TEKTON_API_VERSION, kind: "TaskRun", metadata, spec })
    }

    /// The CustomRun, and behind it the PipelineRun as the one that controls the child. A stand-alone run has no second owner.
    fn index_owners(&self) -> Vec<Owner> {
        let pipeline_run = self
            .run
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.kind == "PipelineRun" && owner.controller == Some(true));
        let Some(pipeline_run) = pipeline_run else { return vec![self.custom_run_owner(true)] };
        vec![
            self.custom_run_owner(false),
            Owner {
                api_version: pipeline_run.api_version.clone(),
                kind: pipeline_run.kind.clone(),
                name: pipeline_run.name.clone(),
                uid: pipeline_run.uid.clone(),
                controller: true,
                // Blocking would need a right on `pipelineruns/finalizers` where OwnerReferencesPermissionEnforcement is on.
                block_owner_deletion: None,
            },
        ]
    }

    /// What every child gets, without a platform, and on top what the installer decided for this one.
    fn index_pod_template(&self) -> Result<Option<Value>, Problem> {
        let scope = self.request.scope();
        let place = self.root.field("taskRunTemplate");
        let written = self
            .request
            .template
            .pod_template
            .as_ref()
            .map(|template| {
                // A template that differs by platform says nothing about a child that has none.
                if template.to_string().contains("$(platform") {
                    Ok(Value::Null)
                } else {
                    scope.json(template, &place.field("podTemplate"))
                }
            })
            .transpose()?;
        let inherited = self
            .plan
            .inherited
            .iter()
            .flat_map(|inherited| inherited.general.iter().chain(&inherited.specific));
        let layers: Vec<Layer<'_>> = inherited
            .chain(&written)
            .chain(&self.settings.index.pod_template)
            .map(|template| Layer { template, place: None })
            .collect();
        let merged = placement::merge(&layers);
        Ok((!merged.is_empty()).then_some(Value::Object(merged)))
    }

    fn index_task<'b>(
        &self,
        index: &IndexRequest,
        members: &[Member],
        workspaces: impl Iterator<Item = &'b str> + Clone,
        pod_template: Option<&Value>,
    ) -> Value {
        let mut args: Vec<String> = vec!["index".into(), "push".into(), format!("--results-dir={RESULTS}")];
        for tag in &index.tags {
            args.push(format!("--tag={tag}"));
        }
        for (key, value) in &index.annotations {
            args.push(format!("--annotation={key}={value}"));
        }
        match index.format {
            Some(IndexFormat::Oci) => args.push("--format=oci".into()),
            Some(IndexFormat::Docker) => args.push("--format=docker".into()),
            None => {}
        }
        if index.insecure {
            args.push("--insecure".into());
        }
        for workspace in workspaces.clone() {
            match workspace {
                "dockerconfig" => args.push(format!("--authfile={WORKSPACES}/dockerconfig")),
                "ca" => args.push(format!("--ca={WORKSPACES}/ca")),
                _ => {}
            }
        }
        args.push("--".into());
        args.push(index.image.clone());
        args.extend(members.iter().map(|member| format!("{}={}", member.platform, member.source)));

        let settings = &self.settings.index;
        // A pod that its author lets run as root must not be told that it does not; every other is.
        let root = pod_template.is_some_and(|template| {
            template.pointer("/securityContext/runAsUser") == Some(&json!(0))
                || template.pointer("/securityContext/runAsNonRoot") == Some(&json!(false))
        });
        let mut security = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        if !root {
            security["runAsNonRoot"] = true.into();
        }
        let mut step = json!({
            "name": "push",
            "image": settings.image,
            "command": ["/archfan"],
            "args": args,
            "securityContext": security,
        });
        if let Some(policy) = &settings.image_pull_policy {
            step["imagePullPolicy"] = policy.as_str().into();
        }
        if let Some(resources) = &settings.compute_resources {
            step["computeResources"] = resources.clone();
        }
        let results = [
            (result::IMAGE_URL, "Reference of the image index"),
            (result::IMAGE_DIGEST, "Digest of the image index"),
            (result::IMAGE_REF, "Reference of the image index, with its digest"),
            (result::IMAGES, "The image index and every platform's manifest, for Tekton Chains"),
            (result::BYTES_PUSHED, "How many bytes of blobs were sent"),
            (result::BYTES_SKIPPED, "How many bytes of blobs the registry had already"),
        ]
        .map(|(name, description)| json!({"name": name, "type": "string", "description": description}));
        let mut task = json!({
            "description": "Assembles the images of all platforms into one image index and pushes it.",
            "results": results,
            "steps": [step],
        });
        let declared: Vec<Value> = workspaces.map(|name| json!({"name": name, "readOnly": true})).collect();
        if !declared.is_empty() {
            task["workspaces"] = declared.into();
        }
        task
    }
}

/// Where a platform's image is, by its results: the reference without tag, and the digest.
fn from_results(
    target: &Target,
    status: &PlatformStatus,
    url: &str,
    digest: &str,
) -> Result<String, Problem> {
    let found = results_of(status);
    let text = |name: &str| match found.get(name) {
        Some(ParamValue::String(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        _ => None,
    };
    let path = format!("{} results", target.platform);
    let path = Path::root(&path);
    let missing = |name: &str| {
        let wrote = if found.is_empty() {
            "none".to_owned()
        } else {
            found.keys().copied().collect::<Vec<_>>().join(", ")
        };
        Problem::new(
            Reason::ResultMissing,
            &path,
            format!(
                "no result {name} says what was built (there are: {wrote}); have the task write it, or name another in index.results"
            ),
        )
    };
    let url = text(url).ok_or_else(|| missing(url))?;
    let digest = text(digest).ok_or_else(|| missing(digest))?;
    if !is_digest(&digest) {
        return Err(Problem::new(
            Reason::ResultMissing,
            &path,
            format!("{digest:?} is no digest; a digest is sha256: and 64 hexadecimal digits"),
        ));
    }
    let bare = url.strip_prefix("docker://").unwrap_or(&url);
    Ok(format!("docker://{}@{digest}", without_tag(bare)))
}

/// Every result of a platform's tasks. Where two tasks of a chain wrote the same name, the later one holds.
pub fn results_of(status: &PlatformStatus) -> BTreeMap<&str, &ParamValue> {
    status
        .tasks
        .iter()
        .flat_map(|task| &task.results)
        .map(|result| (result.name.as_str(), &result.value))
        .collect()
}

/// What variables may say of the tasks of a platform that have ended.
pub fn known_results(status: &PlatformStatus) -> super::variables::TaskResults {
    status
        .tasks
        .iter()
        .filter_map(|task| {
            let results = match task.phase {
                Phase::Succeeded => ResultsOfTask::Known(
                    task.results.iter().map(|result| (result.name.clone(), tidy(&result.value))).collect(),
                ),
                Phase::Skipped => ResultsOfTask::Skipped,
                _ => return None,
            };
            Some((task.name.clone(), results))
        })
        .collect()
}

/// A value without the line break that `echo` left at its end. It belongs to nobody, and inside a script it would end the line.
pub fn tidy(value: &ParamValue) -> ParamValue {
    match value {
        ParamValue::String(text) => ParamValue::String(text.trim_end_matches(['\n', '\r']).to_owned()),
        other => other.clone(),
    }
}

/// OCI image-spec, descriptor, "Digests": the one algorithm that everybody must know.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    })
}

/// A reference without its tag and digest: `registry:5000/app:v1` is `registry:5000/app`.
pub fn without_tag(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or(reference);
    match reference.rfind([':', '/']) {
        Some(last) if reference[last..].starts_with(':') && reference[..last].contains('/') => {
            &reference[..last]
        }
        _ => reference,
    }
}

#[cfg(test)]
mod tests;
