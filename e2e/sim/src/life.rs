//! The life of a TaskRun: what Tekton, the scheduler and the kubelet make of it, one visible step at a time.
//!
//! Tekton `pkg/reconciler/taskrun/taskrun.go` and `pkg/pod/status.go`: a TaskRun gets a pod and follows it; a failure with retries left
//! is written as Unknown with reason `ToBeRetried` and a new pod is made; a cancel and a timeout are seen when Tekton next looks, and
//! take the pod away; a TaskRun that has ended is never changed again. Tekton writes what it has worked out over a newer version too,
//! so a TaskRun that is cancelled may still succeed. A pod that was evicted shows as False for a moment before Tekton goes on
//! (`pkg/reconciler/pipelinerun/pipelinerun.go`), which is why nobody may believe `PodEvicted` without reading again.

use std::sync::Arc;
use std::time::Duration;

use archfan::api::kubernetes::{ContainerState, ContainerStatus, ContainerWaiting, Pod, PodCondition};
use archfan::api::names::label;
use archfan::api::tekton::{Condition, ParamValue, TaskRun, TaskRunResult, TaskRunStatus};
use archfan::core::children::TaskRunBody;
use archfan::core::duration;
use archfan::core::progress::has_ended;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use crate::server::Server;

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were done.
    Success,
    /// All steps were done, but nothing was said about the image.
    Silent,
    /// A step failed.
    StepFailed,
    /// The node threw the pod out.
    Evicted,
    /// Tekton saw the pod thrown out, and then that it goes on.
    SeemsEvicted,
    /// An image cannot be pulled.
    ImagePull,
    /// Tekton will not have it.
    Invalid,
}

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Tekton has not looked at it.
    New,
    /// Tekton fetches the Task.
    Resolving,
    /// There is a pod without a node.
    Unscheduled,
    /// The scheduler has said that no node fits.
    Unschedulable,
    /// The pod has a node.
    Scheduled,
    /// The pod's image cannot be pulled.
    Pulling,
    /// The pod runs, and Tekton has not seen it.
    PodRuns,
    /// Tekton says that it runs.
    Runs,
    /// The pod has ended, and Tekton has not seen it.
    PodOver(Outcome),
    /// It has ended.
    Over,
}

/// What is behind a TaskRun.
#[derive(Clone, Debug)]
pub struct Life {
    /// Uid of the TaskRun.
    pub uid: String,
    /// As it was created.
    pub body: Option<Arc<TaskRunBody>>,
    /// Where its attempt is.
    pub stage: Stage,
    /// How many attempts have failed.
    pub failed: usize,
    /// How many attempts may fail.
    pub retries: usize,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// When the attempt began.
    pub begun: Option<Timestamp>,
    /// Whether it has a pod that is shown.
    pub pods: bool,
    /// Whether it will go on until somebody ends it.
    pub hangs: bool,
}

impl Life {
    /// The life of a TaskRun that was just created.
    pub fn new(task_run: &TaskRun, body: Option<Arc<TaskRunBody>>, pods: bool) -> Self {
        let timeout = body.as_ref().and_then(|body| duration::parse(&body.spec.timeout).ok());
        Self {
            uid: task_run.metadata.uid.clone().unwrap_or_default(),
            retries: task_run
                .spec
                .retries
                .and_then(|retries| usize::try_from(retries).ok())
                .unwrap_or_default(),
            body,
            stage: Stage::New,
            failed: 0,
            timeout: timeout.filter(|timeout| !timeout.is_zero()),
            begun: None,
            pods,
            hangs: false,
        }
    }

    /// When its attempt has taken too long.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.stage == Stage::Over {
            return None;
        }
        self.begun?.checked_add(self.timeout?).ok()
    }

    /// The name of the attempt's pod (Tekton `pkg/pod/pod.go`).
    pub fn pod(&self, name: &str) -> String {
        match self.failed {
            0 => format!("{name}-pod"),
            failed => format!("{name}-pod-retry{failed}"),
        }
    }

    /// The architecture that its pod asks for.
    pub fn arch(&self) -> Option<&str> {
        self.body.as_ref()?.spec.pod_template.as_ref()?.pointer("/nodeSelector/kubernetes.io~1arch")?.as_str()
    }

    /// The claim that its pod mounts.
    pub fn claim(&self) -> Option<&str> {
        let binding = self.body.as_ref()?.spec.workspaces.first()?;
        Some(binding.persistent_volume_claim.as_ref()?.claim_name.as_str())
    }
}

/// The name of the role that a TaskRun has for archfan.
pub fn role(task_run: &TaskRun) -> &str {
    labelled(task_run, label::ROLE)
}

/// A label of a TaskRun, or nothing.
pub fn labelled<'a>(task_run: &'a TaskRun, key: &str) -> &'a str {
    task_run.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map_or("", String::as_str)
}

fn condition(task_run: &mut TaskRun, status: &str, reason: &str, message: &str, time: &Time) {
    let reported = task_run.status.get_or_insert_default();
    let since = Condition::succeeded(&reported.conditions)
        .filter(|before| before.status == status)
        .and_then(|before| before.last_transition_time.clone());
    reported.conditions = vec![Condition {
        type_: "Succeeded".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: since.or_else(|| Some(time.clone())),
    }];
}

/// Says that a TaskRun goes on.
pub fn ongoing(server: &mut Server, name: &str, reason: &str, message: &str, pod: Option<&str>) {
    let time = server.time();
    server.edit_task_run(name, |task_run| {
        condition(task_run, "Unknown", reason, message, &time);
        let status = task_run.status.get_or_insert_default();
        status.start_time.get_or_insert_with(|| time.clone());
        if let Some(pod) = pod {
            pod.clone_into(&mut status.pod_name);
        }
    });
}

/// Says that a TaskRun has ended.
pub fn ended(
    server: &mut Server,
    name: &str,
    status: &str,
    reason: &str,
    message: &str,
    results: Vec<TaskRunResult>,
) {
    let time = server.time();
    server.edit_task_run(name, |task_run| {
        condition(task_run, status, reason, message, &time);
        let reported = task_run.status.get_or_insert_default();
        reported.start_time.get_or_insert_with(|| time.clone());
        reported.completion_time = Some(time.clone());
        reported.results = results;
    });
}

/// Says that a TaskRun that had seemed to have ended goes on.
pub fn go_on_again(server: &mut Server, name: &str) {
    let time = server.time();
    server.edit_task_run(name, |task_run| {
        condition(task_run, "Unknown", "Running", "Not all Steps in the Task have finished executing", &time);
        task_run.status.get_or_insert_default().completion_time = None;
    });
}

/// Says that an attempt has failed and that another begins.
pub fn retried(server: &mut Server, name: &str, message: &str) {
    let time = server.time();
    server.edit_task_run(name, |task_run| {
        condition(task_run, "Unknown", "ToBeRetried", message, &time);
        let reported = task_run.status.get_or_insert_default();
        *reported = TaskRunStatus {
            conditions: std::mem::take(&mut reported.conditions),
            retries_status: reported.retries_status + 1,
            ..TaskRunStatus::default()
        };
    });
}

/// Makes the pod of a TaskRun's attempt.
pub fn make_pod(server: &mut Server, task_run: &TaskRun, name: &str) {
    let meta = &task_run.metadata;
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert("tekton.dev/taskRun".to_owned(), meta.name.clone().unwrap_or_default());
    let mut pod = Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            owner_references: Some(vec![OwnerReference {
                api_version: "tekton.dev/v1".to_owned(),
                kind: "TaskRun".to_owned(),
                name: meta.name.clone().unwrap_or_default(),
                uid: meta.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        ..Pod::default()
    };
    "Pending".clone_into(&mut pod.status.phase);
    server.add_pod(pod);
}

/// What the scheduler says of a pod that fits no node: reason and causes.
pub const UNSCHEDULABLE: [(&str, &str); 6] = [
    ("Unschedulable", "didn't match Pod's node affinity/selector"),
    ("Unschedulable", "Insufficient cpu"),
    ("Unschedulable", "node(s) had untolerated taint(s) {gpu: true}"),
    ("Unschedulable", "node(s) had volume node affinity conflict"),
    ("Unschedulable", "node(s) didn't satisfy x"),
    ("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"),
];

/// The scheduler says that no node fits.
pub fn unschedulable(server: &mut Server, pod: &str, nodes: usize, how: usize) {
    let (reason, cause) = UNSCHEDULABLE[how];
    let message = format!(
        "0/{nodes} nodes are available: {nodes} {cause}. preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."
    );
    server.edit_pod(pod, |pod| {
        pod.status.conditions = vec![PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: None,
        }];
    });
}

/// The scheduler places a pod.
pub fn schedule(server: &mut Server, pod: &str, node: &str) {
    server.edit_pod(pod, |pod| {
        node.clone_into(&mut pod.spec.node_name);
        pod.status.conditions = vec![PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "True".to_owned(),
            ..PodCondition::default()
        }];
    });
}

/// The kubelet cannot pull an image, or cannot set up a container.
pub fn pull_fails(server: &mut Server, pod: &str, config: bool) {
    let (reason, message) = if config {
        ("CreateContainerConfigError", "secret \"registry\" not found")
    } else {
        ("ImagePullBackOff", "Back-off pulling image")
    };
    server.edit_pod(pod, |pod| {
        pod.status.container_statuses = vec![ContainerStatus {
            name: "step-build".to_owned(),
            image: "registry.example/builder:v1".to_owned(),
            state: ContainerState {
                waiting: Some(ContainerWaiting { reason: reason.to_owned(), message: message.to_owned() }),
                ..ContainerState::default()
            },
        }];
    });
}

/// The kubelet tells a pod's phase.
pub fn pod_phase(server: &mut Server, pod: &str, phase: &str) {
    server.edit_pod(pod, |pod| {
        phase.clone_into(&mut pod.status.phase);
        pod.status.container_statuses.clear();
    });
}

/// What a TaskRun writes as its results: different for each TaskRun, so that nobody can mix two of them up unnoticed.
pub fn results(task_run: &TaskRun, outcome: Outcome) -> Vec<TaskRunResult> {
    let uid = task_run.metadata.uid.as_deref().unwrap_or_default();
    let number: u64 = uid.trim_start_matches('u').parse().unwrap_or_default();
    let digest = format!("sha256:{number:064x}");
    let text =
        |name: &str, value: String| TaskRunResult { name: name.to_owned(), value: ParamValue::String(value) };
    if role(task_run) == label::ROLE_INDEX {
        return vec![
            text("IMAGES", format!("registry.example/app@{digest}")),
            text("IMAGE_DIGEST", digest.clone()),
            text("IMAGE_REF", format!("registry.example/app@{digest}")),
            text("IMAGE_URL", "registry.example/app:v1".to_owned()),
        ];
    }
    let mut results = vec![TaskRunResult {
        name: "LAYERS".to_owned(),
        value: ParamValue::Array(vec![format!("a{number}"), format!("b{number}")]),
    }];
    if outcome != Outcome::Silent {
        // `echo` leaves a line break, as it does in real tasks.
        results.push(text("IMAGE_DIGEST", format!("{digest}\n")));
        results.push(text("IMAGE_URL", format!("registry.example/app-{number}:v1")));
    }
    results
}

/// The reason with which Tekton fails a TaskRun whose container the kubelet could not set up.
pub const RACE: &str = "CreateContainerConfigError";
/// What the kubelet says where another pod has made the folder of a `subPath` in the same moment.
pub const RACE_WORDS: &str =
    "failed to create subPath directory for volumeMount \"ws-1\" of container \"step-build\"";

/// Whether a TaskRun still has something before it.
pub fn is_alive(task_run: &TaskRun) -> bool {
    !has_ended(task_run)
}
