//! Narrow views of Kubernetes' own kinds.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Serialize};

/// A pod: where it is and why it does not run yet.
#[derive(Resource, Clone, Debug, Default, Deserialize, Serialize)]
#[resource(inherit = core_v1::Pod)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Name, labels, owners.
    pub metadata: ObjectMeta,
    /// Where it was placed.
    pub spec: PodSpec,
    /// What holds it up.
    pub status: PodStatus,
}

/// Where a pod was placed.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node, once there is one.
    pub node_name: String,
}

/// What a pod reports.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// `PodScheduled` and others.
    pub conditions: Vec<PodCondition>,
    /// Containers that run before the steps.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// The steps and sidecars.
    pub container_statuses: Vec<ContainerStatus>,
}

/// A condition of a pod.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// Which one.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False`, or `Unknown`.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// A line for people.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Option<Time>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// What it does.
    pub state: ContainerState,
}

/// What a container does.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    /// Set while it waits.
    pub waiting: Option<ContainerWaiting>,
    /// Set while it runs.
    pub running: Option<ContainerBegan>,
    /// Set once it has ended.
    pub terminated: Option<ContainerBegan>,
}

/// When a container began, whatever has become of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerBegan {
    /// When it began.
    pub started_at: Option<Time>,
}

/// What a container waits for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerWaiting {
    /// One word for programs: `ImagePullBackOff`.
    pub reason: String,
    /// A line for people, with the registry's own words.
    pub message: String,
}

/// A node: its architecture and who may run there.
#[derive(Resource, Clone, Debug, Default, Deserialize, Serialize)]
#[resource(inherit = core_v1::Node)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// Taints.
    pub spec: NodeSpec,
    /// Readiness.
    pub status: NodeStatus,
}

/// Who may run on a node.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Cordoned.
    pub unschedulable: bool,
    /// What a pod must tolerate.
    pub taints: Vec<Taint>,
}

/// A taint of a node.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule`, or `NoExecute`.
    pub effect: String,
}

/// What a node reports.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// `Ready` and others.
    pub conditions: Vec<PodCondition>,
}

/// Label by which the kubelet says its operating system.
pub const LABEL_OS: &str = "kubernetes.io/os";
/// Label by which the kubelet says its architecture, as Go spells it.
pub const LABEL_ARCH: &str = "kubernetes.io/arch";
/// The label's name before Kubernetes 1.14, still found in old pipelines.
pub const LABEL_ARCH_BETA: &str = "beta.kubernetes.io/arch";

/// Labels of an object, empty if there are none.
pub fn labels(meta: &ObjectMeta) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    meta.labels.as_ref().unwrap_or(&NONE)
}
