//! The `MultiArchBuild` kind: what a user writes, by reference or embedded in a Pipeline.
//!
//! The doc comments here are what `kubectl explain multiarchbuild.spec` prints, so they speak to the person who writes
//! YAML. Where Tekton has a field for an idea, ours has the same name and shape.
//!
//! Every string may hold variables; [`crate::core::variables`] says which.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tekton::{Metadata, ParamValue};

/// One build task, run on every platform at once, each on nodes of that platform, and reported as one image index.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "archfan.dev",
    version = "v1alpha1",
    kind = "MultiArchBuild",
    plural = "multiarchbuilds",
    shortname = "mab",
    category = "tekton",
    category = "tekton-pipelines",
    category = "archfan",
    namespaced,
    doc = "A MultiArchBuild is a Tekton custom task: it runs one build task on every platform at once, each on nodes of that platform, and reports one result.",
    printcolumn(
        name = "Platforms",
        type_ = "string",
        json_path = ".spec.platforms",
        description = "The platforms, as written"
    ),
    printcolumn(
        name = "Task",
        type_ = "string",
        json_path = ".spec.taskRef.name",
        priority = 1,
        description = "The build task, if there is one and it has a name"
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".spec.index.image",
        description = "The image index, as written"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    derive = "Default",
    derive = "PartialEq"
)]
#[schemars(
    transform = RecursiveTransform(without_default),
    extend("required" = ["platforms"]),
    extend("x-kubernetes-validations" = [
        {
            "rule": "(has(self.taskRef) ? 1 : 0) + (has(self.taskSpec) ? 1 : 0) + (has(self.tasks) && self.tasks.size() > 0 ? 1 : 0) == 1",
            "message": "exactly one of taskRef, taskSpec and tasks says what is built; set one of them"
        }
    ])
)]
#[serde(rename_all = "camelCase", default)]
pub struct MultiArchBuildSpec {
    /// The params that this build takes, declared as a Task declares them. An embedded build may leave them out: then every
    /// param of the pipeline task is there by its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub params: Vec<ParamSpec>,

    /// The platforms to build for, in the order in which results and the image index list them. Each is a string like
    /// "linux/arm64", "linux/arm/v7" or an alias like "aarch64"; or an object with the fields platform, required and runsOn;
    /// or "$(params.NAME[*])", which stands for every item of an array param.
    #[schemars(length(min = 1, max = 64))]
    pub platforms: Vec<PlatformEntry>,

    /// The build task, by name or by resolver, as in a TaskRun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_ref: Option<TaskRef>,

    /// The build task, written out, as in a TaskRun. Inside it only "$(platform…)" is replaced here; every other variable is
    /// Tekton's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub task_spec: Option<Value>,

    /// Instead of taskRef and taskSpec: tasks that run one after the other on each platform. A platform may be a task ahead
    /// of another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tasks: Vec<ChainTask>,

    /// The workspaces that the build tasks take, declared as a Task declares them. If none is declared, the build tasks take
    /// every workspace of the pipeline task except those that index.workspaces names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub workspaces: Vec<WorkspaceDeclaration>,

    /// Service account, pod template and metadata of every TaskRun, as in a PipelineRun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_run_template: Option<TaskRunTemplate>,

    /// Exceptions from taskRunTemplate by platform and by task. Later entries win over earlier ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub task_run_specs: Vec<TaskRunSpecEntry>,

    /// How the platforms are run and what happens when one fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,

    /// The image index to make of what the platforms built. Left out, nothing is assembled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<Index>,
}

/// A param, declared.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ParamSpec {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its type: string (the default), array, or object.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ParamType>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The value it has when none is given. Without a default the param is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_value")]
    pub default: Option<ParamValue>,
    /// The keys of an object param. A default or a value must have each of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, PropertySpec>,
    /// The only values that a string param may have.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub enum_: Vec<String>,
}

/// Its type: string (the default), array, or object.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// One string.
    #[default]
    String,
    /// A list of strings.
    Array,
    /// Named strings.
    Object,
}

impl ParamType {
    /// The name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// One key of an object param.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PropertySpec {
    /// Its type: always string.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ParamType>,
}

/// One entry of `platforms`: a string or an object.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(untagged)]
pub enum PlatformEntry {
    /// A platform, an alias, or `$(params.NAME[*])`.
    Name(String),
    /// A platform with more to say.
    Options(PlatformOptions),
    /// Anything else, kept so that the complaint can quote it.
    Odd(Value),
}

/// The long form of an entry of `platforms`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlatformOptions {
    /// The platform.
    pub platform: String,
    /// Whether the run fails if this platform does.
    #[serde(default = "yes")]
    pub required: bool,
    /// The platform on whose nodes the build runs, for cross builds and emulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_on: Option<String>,
}

fn yes() -> bool {
    true
}

impl JsonSchema for PlatformEntry {
    fn schema_name() -> Cow<'static, str> {
        "PlatformEntry".into()
    }

    // A structural schema cannot say "string or object", so the API server takes anything here and archfan checks it.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A platform like \"linux/arm64\"; or an object: platform (such a string), required (whether the run fails if this platform does; true unless said otherwise), runsOn (the platform on whose nodes the build runs, for cross builds and emulation); or \"$(params.NAME[*])\".",
            "x-kubernetes-preserve-unknown-fields": true
        })
    }
}

/// A reference to a Task.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TaskRef {
    /// Name of a Task in the namespace of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kind of the task: Task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Group and version of the task; Tekton does not need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// A Tekton resolver that fetches the task: git, bundles, hub, cluster, http, or one of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<String>,
    /// Arguments of the resolver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<ParamArgument>,
}

/// A named argument.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ParamArgument {
    /// Name of the param.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its value: a string, a list of strings, or an object of strings.
    #[schemars(schema_with = "any_value")]
    pub value: ParamValue,
}

/// One task of a chain.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ChainTask {
    /// Its name, by which later tasks read its results: "$(tasks.NAME.results.RESULT)".
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(min = 1, max = 63))]
    pub name: String,
    /// The task, by name or by resolver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ref: Option<TaskRef>,
    /// The task, written out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub task_spec: Option<Value>,
    /// Arguments of this task. Every param of the build is passed by its name as well, unless this list has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<ParamArgument>,
    /// Which workspaces of the build this task takes, and by which name. Left out, it takes those that every task takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspaces: Option<Vec<WorkspaceMapping>>,
    /// How long one attempt may take: "30m", "1h30m".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How many further attempts it is given, instead of the pipeline task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub retries: Option<i64>,
    /// Conditions, all of which must hold, or the task is skipped on that platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<WhenExpression>,
}

/// A condition on a task of a chain.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WhenExpression {
    /// The text that is looked for.
    pub input: String,
    /// Whether it must be among the values or must not.
    pub operator: WhenOperator,
    /// The values.
    #[schemars(length(min = 1))]
    pub values: Vec<String>,
}

/// Whether the input must be one of the values (in) or none of them (notin).
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum WhenOperator {
    /// The input is one of the values.
    #[default]
    #[serde(rename = "in")]
    In,
    /// The input is none of the values.
    #[serde(rename = "notin")]
    NotIn,
}

/// A workspace, declared.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceDeclaration {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether the run may leave it unbound.
    #[serde(default)]
    pub optional: bool,
    /// Gives each platform a folder of its own in the same volume, named like "linux-arm64".
    #[serde(default)]
    pub per_platform: bool,
    /// A folder inside the bound volume, for instance "build/$(platform.machine)".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
}

/// Which workspace of the build a task takes.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceMapping {
    /// Name of the workspace in the task.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Name of the workspace of the build; the same name if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// A further folder inside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
}

/// What every TaskRun gets.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TaskRunTemplate {
    /// Service account, instead of the one of the pipeline run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Pod template, merged over the one of the pipeline run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PodTemplate>")]
    pub pod_template: Option<Value>,
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MetadataSchema>")]
    pub metadata: Option<Metadata>,
}

/// What the TaskRuns of one platform, or of one task, get. An entry without platform speaks of all platforms, one without
/// taskName of all tasks.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TaskRunSpecEntry {
    /// The platform that this entry is for, as in platforms; every platform if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The task of the chain that this entry is for; every task if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_name: Option<String>,
    /// Another Task, for the platform that needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_ref: Option<TaskRef>,
    /// Arguments, over those of the task and of the build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<ParamArgument>,
    /// Service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Pod template, merged over taskRunTemplate's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PodTemplate>")]
    pub pod_template: Option<Value>,
    /// Resources of single steps: name and computeResources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "any_objects")]
    pub step_specs: Vec<Value>,
    /// Resources of single sidecars: name and computeResources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "any_objects")]
    pub sidecar_specs: Vec<Value>,
    /// Resources of the whole TaskRun: requests and limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub compute_resources: Option<Value>,
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MetadataSchema>")]
    pub metadata: Option<Metadata>,
    /// How long one attempt may take: "30m", "1h30m".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// Schema of [`Metadata`], which is Tekton's and so has none of its own.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct MetadataSchema {
    /// Labels.
    labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    annotations: Option<BTreeMap<String, String>>,
}

/// Tekton's pod template (Tekton `pkg/apis/pipeline/pod/template.go`), every field of it. Templates are merged as JSON, so only its schema
/// is used.
#[derive(JsonSchema, Debug)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels that a node must have. kubernetes.io/os and kubernetes.io/arch are added for the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub node_selector: Option<Value>,
    /// Taints that the pod bears. Those of the platform's nodes are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_objects")]
    pub tolerations: Option<Value>,
    /// Node and pod affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub affinity: Option<Value>,
    /// Environment of every step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_objects")]
    pub env: Option<Value>,
    /// Security context of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub security_context: Option<Value>,
    /// Volumes that steps may mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_objects")]
    pub volumes: Option<Value>,
    /// RuntimeClass of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub runtime_class_name: Option<Value>,
    /// Whether the service account's token is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<bool>")]
    pub automount_service_account_token: Option<Value>,
    /// DNS policy of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub dns_policy: Option<Value>,
    /// DNS parameters of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub dns_config: Option<Value>,
    /// Whether services are put into the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<bool>")]
    pub enable_service_links: Option<Value>,
    /// Priority class of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub priority_class_name: Option<Value>,
    /// The scheduler that places the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub scheduler_name: Option<Value>,
    /// Secrets with registry logins for pulling the step images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_objects")]
    pub image_pull_secrets: Option<Value>,
    /// Entries of the pod's /etc/hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_objects")]
    pub host_aliases: Option<Value>,
    /// Whether the pod uses the node's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<bool>")]
    pub host_network: Option<Value>,
    /// Whether the pod uses the node's user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<bool>")]
    pub host_users: Option<Value>,
    /// How pods are spread over zones and nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_objects")]
    pub topology_spread_constraints: Option<Value>,
}

/// How platforms are run.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// Whether the other platforms are cancelled as soon as a required one has finally failed.
    #[serde(default = "yes")]
    pub fail_fast: bool,
    /// How many TaskRuns may run at once; 0 means any number.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub max_parallel: i64,
    /// How long a TaskRun may wait for a node before its platform fails: "10m". Left out, it waits until the timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_timeout: Option<String>,
    /// After how many seconds the TaskRuns of a finished run are removed. The results stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// A text that says what is built, for instance "$(params.revision)". A TaskRun of an earlier run in this namespace with the
    /// same text, platform and spec, which has succeeded and still exists, is taken over instead of being run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<String>,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            fail_fast: true,
            max_parallel: 0,
            pending_timeout: None,
            ttl_seconds_after_finished: None,
            reuse: None,
        }
    }
}

/// The image index.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Where the index is pushed: registry, repository and tag.
    #[schemars(length(min = 1))]
    pub image: String,
    /// Further tags in the same repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Annotations of the index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The format: oci (an OCI image index) or docker (a Docker manifest list). Left out, it is oci, unless every image is Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<IndexFormat>,
    /// Where each platform's image is: in the registry, named by the results of its task (results, the default), or in archives
    /// on a workspace (archives).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IndexSource>,
    /// Which results name a platform's image, for source results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<IndexResults>,
    /// Where the archives are, for source archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archives: Option<IndexArchives>,
    /// Whether the registry may be spoken to over plain HTTP or with a certificate that nobody vouches for.
    #[serde(default)]
    pub insecure: bool,
    /// Workspaces for the push: "dockerconfig" (a Secret with config.json or .dockerconfigjson) and "ca" (a ConfigMap or Secret
    /// with certificates).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<WorkspaceMapping>,
}

/// The format: oci (an OCI image index) or docker (a Docker manifest list). Left out, it is oci, unless every image is Docker's.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum IndexFormat {
    /// OCI image index.
    #[default]
    Oci,
    /// Docker manifest list.
    Docker,
}

/// Where each platform's image is: in the registry, named by the results of its task (results, the default), or in archives
/// on a workspace (archives).
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum IndexSource {
    /// From the registry, by digest.
    #[default]
    Results,
    /// From archives on a workspace.
    Archives,
}

/// Which results name an image.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IndexResults {
    /// The result with the image's reference; IMAGE_URL if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The result with its digest; IMAGE_DIGEST if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Where archives are.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IndexArchives {
    /// The workspace they are on.
    #[schemars(length(min = 1))]
    pub workspace: String,
    /// The path of a platform's archive on it; "$(platform.machine).tar" if left out. OCI archives, OCI layout folders and
    /// Docker archives are recognised by what they hold, compressed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Takes the defaults out of a schema. The API server would write them into every object, where they would look as if the author had
/// said them; archfan knows them anyway.
fn without_default(schema: &mut Schema) {
    schema.remove("default");
}

fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

fn any_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } })
}
