//! What archfan keeps in `status.extraFields` of a CustomRun: the one place in a CustomRun's status that takes arbitrary
//! JSON (Tekton `config/300-crds/300-customrun.yaml` prunes everything else).
//!
//! It serves two readers. People and dashboards see what every platform does. And the next reconcile, perhaps of another
//! process after a crash, finds what has been decided already, so that phases only move forward.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tekton::{Metadata, TaskRunResult};

/// All of `status.extraFields`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtraFields {
    /// What the run was accepted as. Set once; from then on neither an edit of the `MultiArchBuild` nor of the PipelineRun
    /// changes what this run does.
    pub plan: Option<Arc<AcceptedPlan>>,
    /// One entry per platform, in the order of the platform list.
    pub platforms: Vec<PlatformStatus>,
    /// The child that assembles the image index.
    pub index: Option<TaskStatus>,
    /// Why the run is coming to its end while children still run.
    pub ending: Option<Ending>,
    /// What the author ought to know and what does not stop the run.
    pub warnings: Vec<Warning>,
}

/// What a run was accepted as. Every look carries the same `Arc` on, and two of those are compared by their address, which std does for what is
/// `Eq` only.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct AcceptedPlan {
    /// The `MultiArchBuild` that was referred to, if it was.
    pub definition: Option<DefinitionRef>,
    /// Its spec at that moment. Left out for an embedded spec, which stands in the CustomRun itself.
    pub spec: Option<Value>,
    /// Digest of what the CustomRun itself asks for. A run whose own spec changes after this has ended as `SpecChanged`.
    pub spec_digest: String,
    /// What the PipelineRun says about the pods of this task and what Tekton does not hand down.
    pub inherited: Option<Inherited>,
    /// How long one attempt may take, in force for this run: Go duration, `0s` for no bound.
    pub timeout: String,
    /// The claim that was made for a `volumeClaimTemplate`, by workspace.
    pub claims: BTreeMap<String, String>,
    /// Whether every claim has been judged. Until then only the first child is created, or none.
    pub claims_settled: bool,
    /// Whether the children keep to the node of the pipeline's affinity assistant.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_assistant: bool,
    /// After how many seconds children of the finished run are removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// Trace context handed on to the children, as the JSON carrier that Tekton reads.
    pub span_context: Option<String>,
}

/// Which `MultiArchBuild` a run was made from.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct DefinitionRef {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its generation at that moment.
    pub generation: i64,
}

/// What a PipelineRun says about the pods of one of its tasks (Tekton `pkg/apis/pipeline/v1/pipelinerun_types.go`,
/// `GetTaskRunSpec`).
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Inherited {
    /// Tekton's own default pod template, then the PipelineRun's for all its tasks.
    pub general: Vec<Value>,
    /// The PipelineRun's pod template for this task.
    pub specific: Option<Value>,
    /// Resources of single steps.
    pub step_specs: Vec<Value>,
    /// Resources of single sidecars.
    pub sidecar_specs: Vec<Value>,
    /// Resources of the TaskRun as a whole.
    pub compute_resources: Option<Value>,
    /// Labels and annotations.
    pub metadata: Option<Metadata>,
}

/// Where a platform, or one task of it, is.
///
/// The order is the order of life: a phase never becomes a smaller one, but for a child that was deleted by hand or is tried
/// again.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// No TaskRun yet: another task or platform comes first.
    #[default]
    Waiting,
    /// The TaskRun is there and its pod does not run yet.
    Pending,
    /// The pod runs.
    Running,
    /// A `when` expression said no.
    Skipped,
    /// Done.
    Succeeded,
    /// Ended for good without success.
    Failed,
    /// Ended because the run came to its end.
    Cancelled,
}

impl Phase {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Skipped | Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether a chain goes on after it.
    pub fn lets_go_on(self) -> bool {
        matches!(self, Self::Skipped | Self::Succeeded)
    }

    /// The word, as it stands in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Skipped => "Skipped",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// One platform.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PlatformStatus {
    /// The platform in OCI spelling: `linux/arm64`.
    pub platform: String,
    /// Whether the run fails if this platform does.
    pub required: bool,
    /// Where it is.
    pub phase: Phase,
    /// One word for programs, where there is more to say than the phase.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A line for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The node of the TaskRun that runs or ran last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// When its first TaskRun was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When its last TaskRun ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// The digest that it built, if its tasks said so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Its tasks, in order.
    pub tasks: Vec<TaskStatus>,
}

/// One task on one platform, or the index.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskStatus {
    /// Name of the task in the chain.
    pub name: String,
    /// Name of its TaskRun.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task_run: String,
    /// Where it is.
    pub phase: Phase,
    /// One word for programs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A line for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The pod of the current attempt.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Where that pod is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// How many attempts have failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_attempts: usize,
    /// How many TaskRuns were replaced by another of the same name, because something that is nobody's fault kept their pod from
    /// starting.
    #[serde(skip_serializing_if = "is_zero")]
    pub replaced: usize,
    /// Uid of the TaskRun that is being replaced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replacing: String,
    /// When it was noticed that somebody has deleted the TaskRun, until it is created again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_time: Option<Time>,
    /// When the TaskRun was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// The earlier run's TaskRun that was taken over instead of running this task again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reused: String,
    /// What it wrote. Kept here once it has succeeded, so that a TaskRun that is pruned while others still run takes nothing
    /// with it; removed when the run ends, because `status.results` has it then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<TaskRunResult>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Why a run is coming to its end.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Ending {
    /// The reason that the `Succeeded` condition will bear.
    pub reason: String,
    /// The cause, for people.
    pub message: String,
}

/// Something the author ought to know.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Warning {
    /// One word for programs.
    pub reason: String,
    /// A line for people.
    pub message: String,
}
