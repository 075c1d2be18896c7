//! Everything that a decision is made from: read by the shell, never by a policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::settings::Settings;
use crate::api::kubernetes::{Pod, Taint};
use crate::api::tekton::{CustomRun, PipelineRun, TaskRun};

/// What is known about one run at one moment.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The run.
    pub run: Arc<CustomRun>,
    /// Its children, by name: every TaskRun whose first owner it is.
    pub children: BTreeMap<String, Arc<TaskRun>>,
    /// The pods of its children, by name of the TaskRun. A pod without its TaskRun is what a TaskRun that was deleted has left, until
    /// Kubernetes removes it too.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// Names of TaskRuns that an earlier run of the same name had at work when they were last seen, whether they are still there or not.
    pub predecessors: BTreeSet<String>,
    /// What the cluster has lately said of those pods, by name of the pod; newest last.
    pub notes: BTreeMap<String, Vec<PodNote>>,
    /// The nodes, or `None` if they may not be read.
    pub nodes: Option<Arc<Nodes>>,
    /// What is read once, before a run is accepted.
    pub facts: Facts,
    /// What came of the actions of this very reconcile.
    pub refusals: Vec<Refusal>,
    /// The clock.
    pub now: Timestamp,
    /// What the person who installed archfan decided.
    pub settings: Arc<Settings>,
}

impl Observed {
    /// A run of which nothing else has been seen yet.
    pub fn alone(run: CustomRun, settings: Arc<Settings>, now: Timestamp) -> Self {
        Self {
            run: Arc::new(run),
            children: BTreeMap::new(),
            pods: BTreeMap::new(),
            predecessors: BTreeSet::new(),
            notes: BTreeMap::new(),
            nodes: None,
            facts: Facts::default(),
            refusals: Vec::new(),
            now,
            settings,
        }
    }
}

/// What is read before a run is accepted, and again while it waits for a claim.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The `MultiArchBuild` that the run refers to.
    pub definition: Definition,
    /// The PipelineRun that the run belongs to, if it does and if it may be read.
    pub pipeline_run: Option<Arc<PipelineRun>>,
    /// The claims that the run's workspaces name.
    pub claims: BTreeMap<String, Claim>,
    /// Earlier children that may be taken over (`strategy.reuse`).
    pub reusable: Vec<Arc<TaskRun>>,
    /// Tekton's own configuration.
    pub tekton: TektonConfig,
}

/// The `MultiArchBuild` that a run refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Definition {
    /// The run refers to none, or it has not been looked for.
    #[default]
    None,
    /// It is not there.
    NotFound,
    /// The cluster has no such kind: its CRD is not installed.
    NoKind,
    /// It is there.
    Found {
        /// Its uid.
        uid: String,
        /// Its generation.
        generation: i64,
        /// Its spec, as stored.
        spec: Value,
    },
}

/// A claim and what stands behind it.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// It is not there.
    NotFound,
    /// It is there.
    Found(ClaimFacts),
}

/// What is known about a claim.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own; they do not exclude one another"
)]
pub struct ClaimFacts {
    /// The access modes in force: the volume's once it is bound, the claim's before.
    pub access_modes: Vec<String>,
    /// Whether a volume is bound to it.
    pub bound: bool,
    /// Whether it is lost or being deleted.
    pub lost: bool,
    /// Whether its volume is a raw block device.
    pub block: bool,
    /// Whether its volume is made where its first pod runs (`volumeBindingMode: WaitForFirstConsumer`).
    pub waits_for_consumer: bool,
    /// Node selector terms of which a node must fit one to mount the volume; empty if any node can.
    pub node_terms: Vec<Value>,
}

/// The parts of Tekton's ConfigMaps that decide something here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TektonConfig {
    /// `coschedule` of `feature-flags`; `None` if it cannot be read.
    pub coschedule: Option<String>,
    /// `default-timeout-minutes` of `config-defaults`; zero is no timeout. `None` if it cannot be read.
    pub default_timeout: Option<Duration>,
    /// `default-pod-template` of `config-defaults`.
    pub default_pod_template: Option<Value>,
}

/// What Tekton uses if nobody has said anything (Tekton `pkg/apis/config/default.go`, `DefaultTimeoutMinutes`).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_hours(1);

/// Something that the cluster said about a pod: an event, boiled down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNote {
    /// One word: `TriggeredScaleUp`, `FailedMount`.
    pub reason: String,
    /// A line for people.
    pub message: String,
}

/// The nodes of the cluster, by name.
pub type Nodes = BTreeMap<String, NodeFacts>;

/// What is known about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its labels; `kubernetes.io/os` and `kubernetes.io/arch` among them.
    pub labels: BTreeMap<String, String>,
    /// What a pod must tolerate to be placed there.
    pub taints: Vec<Taint>,
    /// Ready, and not cordoned.
    pub usable: bool,
}

#[cfg(any(test, fuzzing))]
impl NodeFacts {
    /// A node that pods for Linux and an architecture can be placed on, as tests put it into their worlds.
    pub(crate) fn linux(arch: &str) -> Self {
        use crate::api::kubernetes::{LABEL_ARCH, LABEL_OS};
        let labels = [(LABEL_OS, "linux"), (LABEL_ARCH, arch)];
        Self {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            taints: Vec::new(),
            usable: true,
        }
    }
}

/// An action that the API server turned down.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Name of the object that could not be made.
    pub name: String,
    /// Why.
    pub why: RefusalReason,
}

/// Why an object could not be made.
#[derive(Clone, Debug, PartialEq)]
pub enum RefusalReason {
    /// An object of that name is there and is not ours.
    Taken(Arc<TaskRun>),
    /// A quota on the number of objects is used up: it may be made later.
    Quota(String),
    /// The server, or a webhook, will not have it.
    Rejected(String),
    /// It is not allowed now, but may be later: the namespace is going, or the controller lacks a right.
    NotNow(String),
}
