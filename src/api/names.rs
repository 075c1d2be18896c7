//! Names that other programs read: groups, kinds, labels, annotations, and result names.

/// API group of [`super::multiarchbuild::MultiArchBuild`].
pub const GROUP: &str = "archfan.dev";
/// The `apiVersion` by which a custom task names us.
pub const API_VERSION: &str = "archfan.dev/v1alpha1";
/// The `kind` by which a custom task names us.
pub const KIND: &str = "MultiArchBuild";

/// Tekton's group, for owner references and look-ups.
pub const TEKTON_GROUP: &str = "tekton.dev";
/// `apiVersion` of a CustomRun: it exists as `v1beta1` only (Tekton `config/300-crds/300-customrun.yaml`).
pub const CUSTOM_RUN_API_VERSION: &str = "tekton.dev/v1beta1";
/// `apiVersion` of TaskRuns, PipelineRuns and Tasks.
pub const TEKTON_API_VERSION: &str = "tekton.dev/v1";

/// Labels that archfan puts on the TaskRuns it makes; Tekton copies them on to the pods.
pub mod label {
    /// Which platform the TaskRun builds for, as [`crate::core::platform::Platform::key`] writes it: `linux-arm64`.
    pub const PLATFORM: &str = "archfan.dev/platform";
    /// Which task of the chain the TaskRun is.
    pub const TASK: &str = "archfan.dev/task";
    /// What the TaskRun is for: [`ROLE_BUILD`] or [`ROLE_INDEX`]. Every child bears it, and the watches select on it.
    pub const ROLE: &str = "archfan.dev/role";
    /// The [`ROLE`] of a TaskRun that builds for one platform.
    pub const ROLE_BUILD: &str = "build";
    /// The [`ROLE`] of the TaskRun that assembles the image index.
    pub const ROLE_INDEX: &str = "index";
    /// The CustomRun a TaskRun belongs to. Tekton reserves the key and leaves it to the controller
    /// (Tekton `pkg/apis/pipeline/register.go`).
    pub const CUSTOM_RUN: &str = "tekton.dev/customRun";
    /// Digest of the text in `strategy.reuse`, by which later runs find a child that they may take over.
    pub const REUSE: &str = "archfan.dev/reuse";
    /// The pipeline task that a run stands for, set by Tekton.
    pub const PIPELINE_TASK: &str = "tekton.dev/pipelineTask";
    /// The PipelineRun that a run belongs to, set by Tekton.
    pub const PIPELINE_RUN: &str = "tekton.dev/pipelineRun";
}

/// Annotations that archfan reads or writes.
pub mod annotation {
    /// The platform in OCI spelling, which a label value cannot hold: `linux/arm64`.
    pub const PLATFORM: &str = "archfan.dev/platform";
    /// Digest of the resolved TaskRun spec, by which reuse recognises the same work.
    pub const SPEC_DIGEST: &str = "archfan.dev/spec-digest";
    /// Makes a pod demand the node of the pipeline's affinity assistant (Tekton `pkg/workspace/affinity_assistant_names.go`).
    pub const AFFINITY_ASSISTANT: &str = "pipeline.tekton.dev/affinity-assistant";
    /// Trace context of a TaskRun, read by Tekton (Tekton `pkg/reconciler/taskrun/tracing.go`).
    pub const TASK_RUN_SPAN_CONTEXT: &str = "tekton.dev/taskrunSpanContext";
    /// Trace context of a PipelineRun.
    pub const PIPELINE_RUN_SPAN_CONTEXT: &str = "tekton.dev/pipelinerunSpanContext";
    /// Trace context of a CustomRun.
    pub const CUSTOM_RUN_SPAN_CONTEXT: &str = "tekton.dev/customrunSpanContext";
}

/// Names of the results that the index gives to the CustomRun.
pub mod result {
    /// Reference of the image index, with its tag.
    pub const IMAGE_URL: &str = "IMAGE_URL";
    /// Digest of the image index.
    pub const IMAGE_DIGEST: &str = "IMAGE_DIGEST";
    /// `IMAGE_URL` pinned to `IMAGE_DIGEST`.
    pub const IMAGE_REF: &str = "IMAGE_REF";
    /// The index and the manifest of every platform, each pinned to its digest, separated by commas: what Tekton Chains
    /// reads to sign more than one image.
    pub const IMAGES: &str = "IMAGES";
    /// How many bytes of blobs pushing the index has sent. For the metrics; the run does not report it.
    pub const BYTES_PUSHED: &str = "BYTES_PUSHED";
    /// How many bytes of blobs pushing the index found in the registry already. For the metrics; the run does not report it.
    pub const BYTES_SKIPPED: &str = "BYTES_SKIPPED";
    /// JSON array of the platforms that the run built.
    pub const PLATFORMS: &str = "PLATFORMS";
}
