//! Narrow views of Tekton's kinds.
//!
//! Field names and meaning: Tekton `pkg/apis/pipeline/v1` and `v1beta1`, `pkg/apis/run/v1beta1`.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What a CustomRun asks for.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "tekton.dev",
    version = "v1beta1",
    kind = "CustomRun",
    namespaced,
    status = "CustomRunStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomRunSpec {
    /// The custom task by reference; exclusive with `custom_spec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_ref: Option<CustomRef>,
    /// The custom task, embedded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_spec: Option<EmbeddedSpec>,
    /// Arguments, with every variable of the Pipeline already replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Param>,
    /// `RunCancelled`, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Why `status` was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// How many further attempts a failure is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
    /// The service account of every child.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    /// How long one attempt may take, as Go writes durations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// What each workspace is bound to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<WorkspaceBinding>,
}

/// `customRef`: which custom task, by name or by resolver.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomRef {
    /// Group and version, `archfan.dev/v1alpha1` for us.
    pub api_version: String,
    /// Kind, `MultiArchBuild` for us.
    pub kind: String,
    /// Name of the object in the run's namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A remote resolver instead of a name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resolver: String,
}

/// `customSpec`: a custom task written out in the run.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct EmbeddedSpec {
    /// Group and version, `archfan.dev/v1alpha1` for us.
    pub api_version: String,
    /// Kind, `MultiArchBuild` for us.
    pub kind: String,
    /// Labels and annotations that the author wants on what is made from it. Tekton copies `taskSpec.metadata` here and
    /// nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The spec as it was written. Tekton copies it without looking inside.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub spec: Value,
}

/// Labels and annotations.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A named argument.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: ParamValue,
}

/// The value of a param or of a TaskRun's result: Tekton's `ParamValue` (`pkg/apis/pipeline/v1/param_types.go`).
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum ParamValue {
    /// One string.
    String(String),
    /// A list of strings.
    Array(Vec<String>),
    /// Named strings.
    Object(BTreeMap<String, String>),
}

impl Default for ParamValue {
    fn default() -> Self {
        Self::String(String::new())
    }
}

impl ParamValue {
    /// The name of its type, as a param declares it: `string`, `array`, or `object`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Array(items) => f.write_str(&serde_json::to_string(items).unwrap_or_default()),
            Self::Object(fields) => f.write_str(&serde_json::to_string(fields).unwrap_or_default()),
        }
    }
}

impl From<Value> for ParamValue {
    /// Takes any JSON. Tekton accepts numbers and booleans where it wants strings and keeps their spelling; so does this.
    fn from(value: Value) -> Self {
        fn text(value: Value) -> String {
            match value {
                Value::String(text) => text,
                Value::Null => String::new(),
                other => other.to_string(),
            }
        }
        match value {
            Value::Array(items) => Self::Array(items.into_iter().map(text).collect()),
            Value::Object(fields) => {
                Self::Object(fields.into_iter().map(|(key, item)| (key, text(item))).collect())
            }
            scalar => Self::String(text(scalar)),
        }
    }
}

impl<'de> Deserialize<'de> for ParamValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

/// What a workspace is bound to. Exactly one of the sources is set (Tekton's webhook sees to it).
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkspaceBinding {
    /// Name of the workspace.
    pub name: String,
    /// Folder inside the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_path: String,
    /// A claim that exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimSource>,
    /// Every other kind of source (`emptyDir`, `secret`, `configMap`, `projected`, `csi`, `volumeClaimTemplate`), as written.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A PersistentVolumeClaim by name.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSource {
    /// Name of the claim.
    pub claim_name: String,
    /// Mounted read-only everywhere.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// What a CustomRun reports. Anything that is not a field here is pruned by the API server or refused by Tekton's webhook;
/// what is ours goes into `extra_fields`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomRunStatus {
    /// `Succeeded` is the first: Tekton reads the reason from `conditions[0]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the run was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended. Set once, never changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Named strings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<RunResult>,
    /// Ours: see [`super::status::ExtraFields`].
    #[serde(skip_serializing_if = "Value::is_null")]
    pub extra_fields: Value,
}

/// A result of a CustomRun: always a string (Tekton `pkg/apis/run/v1beta1/customrunstatus_types.go`).
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct RunResult {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A knative condition.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `Succeeded`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False`, or `Unknown`.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// A line for people.
    pub message: String,
    /// When `status` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

/// A TaskRun, as far as a run needs to know its children.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[kube(
    group = "tekton.dev",
    version = "v1",
    kind = "TaskRun",
    namespaced,
    status = "TaskRunStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskRunSpec {
    /// `TaskRunCancelled` once somebody wants it to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// How many attempts are left to it in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
}

/// What a TaskRun reports.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskRunStatus {
    /// `Succeeded` is the one that counts.
    pub conditions: Vec<Condition>,
    /// When Tekton began with it. Time spent waiting for a node counts from here.
    pub start_time: Option<Time>,
    /// When it ended.
    pub completion_time: Option<Time>,
    /// The pod of the current attempt.
    pub pod_name: String,
    /// What the steps wrote.
    pub results: Vec<TaskRunResult>,
    /// One entry for each failed attempt; only their number is read.
    #[serde(deserialize_with = "count")]
    pub retries_status: usize,
}

/// A result of a TaskRun.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct TaskRunResult {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: ParamValue,
}

/// Decodes a list of anything to its length, and the length that this view itself writes to itself.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Counted {
        List(Vec<serde::de::IgnoredAny>),
        Number(usize),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Counted::deserialize(deserializer)? {
        Counted::List(items) => items.len(),
        Counted::Number(number) => number,
        Counted::Other(_) => 0,
    })
}

/// The PipelineRun that owns a CustomRun: only what Tekton does not hand down to custom tasks.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "tekton.dev",
    version = "v1",
    kind = "PipelineRun",
    namespaced,
    status = "PipelineRunStatus",
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineRunSpec {
    /// Defaults for every task of the pipeline.
    pub task_run_template: PipelineTaskRunTemplate,
    /// Exceptions, by pipeline task.
    pub task_run_specs: Vec<PipelineTaskRunSpec>,
}

/// `taskRunTemplate` of a PipelineRun.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineTaskRunTemplate {
    /// Pod template for every task.
    pub pod_template: Option<Value>,
}

/// One entry of `taskRunSpecs` of a PipelineRun.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineTaskRunSpec {
    /// Which task of the pipeline.
    pub pipeline_task_name: String,
    /// Its pod template.
    pub pod_template: Option<Value>,
    /// Resources of single steps.
    pub step_specs: Vec<Value>,
    /// Resources of single sidecars.
    pub sidecar_specs: Vec<Value>,
    /// Labels and annotations.
    pub metadata: Option<Metadata>,
    /// Resources of the task as a whole.
    pub compute_resources: Option<Value>,
}

/// What a PipelineRun reports.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineRunStatus {
    /// W3C trace context carrier.
    pub span_context: BTreeMap<String, String>,
}

impl CustomRun {
    /// Whether this run is addressed to us, by reference or embedded. Everything else in the cluster is somebody else's and is
    /// neither kept nor touched (Tekton `pkg/controller/filter.go`).
    pub fn is_ours(&self) -> bool {
        use super::names::{API_VERSION, KIND};
        let by_ref = self
            .spec
            .custom_ref
            .as_ref()
            .is_some_and(|reference| reference.api_version == API_VERSION && reference.kind == KIND);
        let embedded = self
            .spec
            .custom_spec
            .as_ref()
            .is_some_and(|spec| spec.api_version == API_VERSION && spec.kind == KIND);
        by_ref || embedded
    }
}

impl Condition {
    /// Finds `Succeeded` among conditions.
    pub fn succeeded(conditions: &[Condition]) -> Option<&Condition> {
        conditions.iter().find(|condition| condition.type_ == "Succeeded")
    }
}
