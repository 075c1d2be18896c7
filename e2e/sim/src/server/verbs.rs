//! What clients ask of the server, and its answers.
//!
//! Each answer is the one that [`archfan::shell::kube_errors`] makes of Kubernetes' own.

use std::sync::Arc;

use archfan::api::tekton::{CustomRun, CustomRunStatus, TaskRun, TaskRunSpec};
use archfan::core::accept::ClaimBody;
use archfan::core::children::{BodyMetadata, TaskRunBody};
use archfan::core::observed::{Claim, ClaimFacts};
use archfan::core::progress::has_ended;
use archfan::shell::api::{ApiError, ApiResult};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{Server, StoredClaim, uid_of};

/// Why the server, or something before it, will not take a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuse {
    /// A quota on the number of objects.
    Quota,
    /// A policy's webhook.
    Webhook,
    /// Validation.
    Invalid,
    /// The namespace is going, or a right is missing.
    Forbidden,
}

impl Refuse {
    /// The answer.
    pub fn answer(self, name: &str) -> ApiError {
        match self {
            Self::Quota => ApiError::Forbidden(format!(
                "taskruns.tekton.dev {name:?} is forbidden: exceeded quota: objects, requested: count/taskruns.tekton.dev=1"
            )),
            Self::Webhook => ApiError::Forbidden(format!(
                "admission webhook \"policy.example.com\" denied the request: {name} has no owner label"
            )),
            Self::Invalid => {
                ApiError::Invalid(format!("TaskRun.tekton.dev {name:?} is invalid: spec.x: Forbidden"))
            }
            Self::Forbidden => ApiError::Forbidden(format!(
                "taskruns.tekton.dev {name:?} is forbidden: unable to create new content in namespace ns because it is being terminated"
            )),
        }
    }
}

fn not_found(kind: &str, name: &str) -> ApiError {
    ApiError::NotFound(format!("{kind} {name:?} not found"))
}

fn conflict(kind: &str, name: &str, why: &str) -> ApiError {
    ApiError::Conflict(format!("Operation cannot be fulfilled on {kind} {name:?}: {why}"))
}

impl Server {
    /// `POST taskruns`.
    pub fn create_task_run(&mut self, body: &TaskRunBody) -> ApiResult<Arc<TaskRun>> {
        let name = &body.metadata.name;
        if self.task_runs.get(name).is_some() {
            return Err(ApiError::AlreadyExists(format!("taskruns.tekton.dev {name:?} already exists")));
        }
        let mut task_run = TaskRun::new(
            name,
            TaskRunSpec {
                retries: (body.spec.retries > 0).then(|| body.spec.retries.into()),
                ..TaskRunSpec::default()
            },
        );
        task_run.metadata = metadata(&body.metadata);
        Ok(self.add_task_run(task_run))
    }

    /// `GET taskruns/NAME`.
    pub fn get_task_run(&self, name: &str) -> Option<Arc<TaskRun>> {
        self.task_runs.get(name).cloned()
    }

    /// `PATCH taskruns/NAME` with `spec.status: TaskRunCancelled`, which Tekton's webhook refuses once the TaskRun has ended; for the
    /// one with this uid if one is given.
    pub fn cancel_task_run(
        &mut self,
        name: &str,
        uid: Option<&str>,
        message: &str,
    ) -> ApiResult<Arc<TaskRun>> {
        let before = self.task_runs.get(name).ok_or_else(|| not_found("taskruns.tekton.dev", name))?;
        if let Some(uid) = uid.filter(|uid| !uid.is_empty() && *uid != uid_of(&**before)) {
            return Err(ApiError::Invalid(format!(
                "TaskRun.tekton.dev {name:?} is invalid: metadata.uid: Invalid value: {uid:?}: field is immutable"
            )));
        }
        let asked = |spec: &TaskRunSpec| {
            spec.status.as_deref() == Some("TaskRunCancelled")
                && spec.status_message.as_deref() == Some(message)
        };
        if has_ended(before) && !asked(&before.spec) {
            return Err(ApiError::Invalid(
                "admission webhook \"validation.webhook.pipeline.tekton.dev\" denied the request: validation failed: invalid value: Once the TaskRun is complete, no updates are allowed".to_owned(),
            ));
        }
        self.edit_task_run(name, |task_run| {
            task_run.spec.status = Some("TaskRunCancelled".to_owned());
            task_run.spec.status_message = Some(message.to_owned());
        })
        .ok_or_else(|| not_found("taskruns.tekton.dev", name))
    }

    /// `PUT customruns/NAME/status` over the version that was read.
    pub fn write_status(&mut self, run: &CustomRun, status: &CustomRunStatus) -> ApiResult<Arc<CustomRun>> {
        let name = run.metadata.name.as_deref().unwrap_or_default();
        let there = self.runs.get(name).ok_or_else(|| not_found("customruns.tekton.dev", name))?;
        // Who names no version writes over any.
        let named = run.metadata.resource_version.is_some();
        let other = named && there.metadata.resource_version != run.metadata.resource_version;
        // The uid is not looked at: where an object has a part for its status, a write of that part keeps the metadata that is there.
        if other {
            return Err(conflict(
                "customruns.tekton.dev",
                name,
                "the object has been modified; please apply your changes to the latest version and try again",
            ));
        }
        if there.status.as_ref() == Some(status) {
            return Ok(there.clone());
        }
        let (metadata, spec) = (there.metadata.clone(), there.spec.clone());
        Ok(self.runs.put(&mut self.versions, CustomRun { metadata, spec, status: Some(status.clone()) }))
    }

    /// `POST persistentvolumeclaims`. One that is there and has the same owner is no error.
    pub fn create_claim(&mut self, body: &ClaimBody, facts: ClaimFacts) -> ApiResult<()> {
        let name = &body.metadata.name;
        let owners: Vec<String> =
            body.metadata.owner_references.iter().map(|owner| owner.uid.clone()).collect();
        if let Some(there) = self.claims.get(name) {
            return if there.owners.iter().any(|owner| owners.contains(owner)) {
                Ok(())
            } else {
                Err(ApiError::AlreadyExists(format!("persistentvolumeclaims {name:?} already exists")))
            };
        }
        for owner in &metadata(&body.metadata).owner_references.unwrap_or_default() {
            if !self.is_alive(owner) {
                self.garbage.bury(&owner.uid);
            }
        }
        self.claims.insert(name.clone(), StoredClaim { facts, owners });
        Ok(())
    }

    /// `GET persistentvolumeclaims/NAME`.
    pub fn get_claim(&self, name: &str) -> Claim {
        self.claims.get(name).map_or(Claim::NotFound, |claim| Claim::Found(claim.facts.clone()))
    }
}

/// What the server stores of the metadata of an object that is created.
pub fn metadata(body: &BodyMetadata) -> ObjectMeta {
    ObjectMeta {
        name: Some(body.name.clone()),
        labels: Some(body.labels.clone()),
        annotations: Some(body.annotations.clone()).filter(|annotations| !annotations.is_empty()),
        owner_references: Some(
            body.owner_references
                .iter()
                .map(|owner| OwnerReference {
                    api_version: owner.api_version.clone(),
                    kind: owner.kind.clone(),
                    name: owner.name.clone(),
                    uid: owner.uid.clone(),
                    controller: Some(owner.controller),
                    block_owner_deletion: owner.block_owner_deletion,
                })
                .collect(),
        ),
        ..ObjectMeta::default()
    }
}
