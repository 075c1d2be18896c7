//! A TaskRun as it is written to the API server: its fields, and which of them are left out when they are empty.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::api::tekton::{Param, WorkspaceBinding};

/// A TaskRun, as it is created.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TaskRunBody {
    /// `tekton.dev/v1`.
    pub api_version: &'static str,
    /// `TaskRun`.
    pub kind: &'static str,
    /// Name, labels, annotations, owners.
    pub metadata: BodyMetadata,
    /// What it runs.
    pub spec: TaskRunBodySpec,
}

/// Metadata of an object that is created.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BodyMetadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Its owners. The first is always the CustomRun.
    pub owner_references: Vec<Owner>,
}

/// An owner of an object that is created.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Whether it is the one that controls the object.
    pub controller: bool,
    /// Whether the owner's deletion in the foreground waits for the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

/// Spec of a TaskRun (Tekton `pkg/apis/pipeline/v1/taskrun_types.go`).
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TaskRunBodySpec {
    /// Arguments, sorted by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Param>,
    /// Service account; Tekton's default if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    /// The Task, by reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ref: Option<Value>,
    /// The Task, written out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_spec: Option<Value>,
    /// Further attempts.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// How long one attempt may take.
    pub timeout: String,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Arc<Value>>,
    /// What its workspaces are bound to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<WorkspaceBinding>,
    /// Resources of single steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub step_specs: Vec<Value>,
    /// Resources of single sidecars.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sidecar_specs: Vec<Value>,
    /// Resources of the TaskRun as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_resources: Option<Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
