//! Why a child waits, explained.
//!
//! "No node yet" is not an error, since clusters scale from zero; but nobody should have to guess. The words come from who knows:
//! the scheduler (pod condition `PodScheduled`), the kubelet (waiting containers), the autoscaler (events), and Tekton (condition of
//! the TaskRun).

use super::observed::{NodeFacts, Nodes, PodNote};
use super::placement::ARCH_TAINTS;
use super::platform::Platform;
use super::problem::Reason;
use super::workspaces::is_of;
use crate::api::kubernetes::{ContainerWaiting, LABEL_ARCH, LABEL_OS, Pod};
use crate::api::tekton::{Condition, TaskRun};

/// Why a child waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// One word for programs.
    pub reason: Reason,
    /// A line for people.
    pub message: String,
    /// Whether the pod has no node yet: what `pendingTimeout` bounds.
    pub unscheduled: bool,
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// The child.
    pub child: &'a TaskRun,
    /// Its pod, if there is one.
    pub pod: Option<&'a Pod>,
    /// What the cluster said of that pod, newest last.
    pub notes: &'a [PodNote],
    /// The platform on whose nodes it runs; `None` if it may run anywhere.
    pub platform: Option<&'a Platform>,
    /// The nodes, if they may be read.
    pub nodes: Option<&'a Nodes>,
}

/// Explains why a child that has not ended does not run; `None` if it does run.
pub fn diagnose(waiting: Waiting<'_>) -> Option<Diagnosis> {
    let condition = waiting.child.status.as_ref().and_then(|status| Condition::succeeded(&status.conditions));
    let Some(pod) = waiting.pod else { return without_pod(condition) };
    if matches!(pod.status.phase.as_str(), "Running" | "Succeeded" | "Failed") {
        return None;
    }
    let scheduled = pod.status.conditions.iter().find(|condition| condition.type_ == "PodScheduled");
    match scheduled {
        Some(scheduled) if scheduled.status == "False" => {
            Some(unscheduled(&waiting, &scheduled.reason, &scheduled.message))
        }
        _ if pod.spec.node_name.is_empty() => Some(Diagnosis {
            reason: Reason::Starting,
            message: "the scheduler has not looked at the pod yet".to_owned(),
            unscheduled: true,
        }),
        _ => Some(on_node(pod, waiting.notes)),
    }
}

/// Tekton's own words, for a child without a pod (Tekton `pkg/pod/status.go`).
fn without_pod(condition: Option<&Condition>) -> Option<Diagnosis> {
    let (reason, message) = condition
        .map(|condition| (condition.reason.as_str(), condition.message.as_str()))
        .unwrap_or_default();
    let (found, message) = match reason {
        "Running" => return None,
        "" => (Reason::Starting, "Tekton has not taken up the TaskRun yet".to_owned()),
        "ExceededResourceQuota" => (Reason::Quota, message.to_owned()),
        "ResolvingTaskRef" | "ResolvingStepActionRef" => {
            (Reason::Resolving, format!("the Task is being fetched: {message}"))
        }
        "ToBeRetried" => (Reason::Starting, format!("an attempt failed and another begins: {message}")),
        "PullImageFailed" => (Reason::ImagePull, message.to_owned()),
        "ExceededNodeResources" => (Reason::NodesFull, message.to_owned()),
        "PodAdmissionFailed" => (Reason::Admission, message.to_owned()),
        "CreateContainerConfigError" => (Reason::ContainerConfig, message.to_owned()),
        _ => (Reason::Starting, "the pod is being made".to_owned()),
    };
    Some(Diagnosis { reason: found, message, unscheduled: true })
}

/// The scheduler's words, read with the platform in mind.
fn unscheduled(waiting: &Waiting<'_>, reason: &str, words: &str) -> Diagnosis {
    let say = |reason, message: String| Diagnosis { reason, message, unscheduled: true };
    if reason == "SchedulingGated" {
        return say(Reason::SchedulingGated, format!("the pod waits at a scheduling gate: {words}"));
    }
    if let Some(note) = waiting.notes.last()
        && matches!(note.reason.as_str(), "TriggeredScaleUp" | "Nominated")
    {
        return say(Reason::Autoscaling, format!("a node is being added: {}", note.message));
    }
    let label = match waiting.platform {
        None => LABEL_OS.to_owned(),
        Some(platform) if platform.os() == "linux" => format!("{LABEL_ARCH}={}", platform.arch()),
        Some(platform) => format!("{LABEL_OS}={}, {LABEL_ARCH}={}", platform.os(), platform.arch()),
    };
    let no_help = waiting
        .notes
        .last()
        .filter(|note| note.reason == "NotTriggerScaleUp")
        .map(|note| format!("; the autoscaler adds none: {}", note.message))
        .unwrap_or_default();
    if let (Some(nodes), Some(platform)) = (waiting.nodes, waiting.platform) {
        let ours: Vec<&NodeFacts> = nodes.values().filter(|node| is_of(node, platform)).collect();
        if ours.is_empty() {
            return say(Reason::NoNode, format!("no node has {label}{no_help}"));
        }
        if ours.iter().all(|node| !node.usable) {
            let message = match ours.len() {
                1 => format!("the only node with {label} is cordoned or not ready{no_help}"),
                count => format!("all {count} nodes with {label} are cordoned or not ready{no_help}"),
            };
            return say(Reason::NoNode, message);
        }
    }
    // Causes that nodes of other architectures have say nothing about ours.
    let known = waiting.nodes.map(|nodes| taints(nodes, waiting.platform));
    let causes: Vec<&str> = causes(words)
        .filter(|cause| !cause.contains("didn't match Pod's node affinity/selector"))
        .filter(|cause| {
            !cause.contains("untolerated taint") || known.as_ref().is_none_or(|known| !known.is_empty())
        })
        .collect();
    let has = |part: &str| causes.iter().any(|cause| cause.to_ascii_lowercase().contains(part));
    let told = if causes.is_empty() { words.to_owned() } else { causes.join(", ") };
    if has("volume") || has("persistentvolumeclaim") {
        say(Reason::Volume, format!("the pod's volume keeps it from every node with {label}: {told}"))
    } else if has("insufficient") || has("too many pods") || has("free ports") {
        say(Reason::NodesFull, format!("nodes with {label} have no room: {told}{no_help}"))
    } else if has("untolerated taint") {
        let which = known.map_or(told, |known| known.join(", "));
        say(
            Reason::Taint,
            format!(
                "nodes with {label} have a taint that the pod does not tolerate: {which}; add a toleration to the podTemplate"
            ),
        )
    } else if causes.is_empty() && waiting.nodes.is_some() && waiting.platform.is_some() {
        say(
            Reason::Unschedulable,
            format!(
                "nodes with {label} are there, but the podTemplate's nodeSelector or affinity fits none of them"
            ),
        )
    } else {
        say(Reason::Unschedulable, format!("{told}{no_help}"))
    }
}

/// The taints that keep pods off the nodes of a platform, but for those that every child tolerates. The scheduler counts them and
/// does not name them.
fn taints(nodes: &Nodes, platform: Option<&Platform>) -> Vec<String> {
    let ours = nodes.values().filter(|node| platform.is_none_or(|platform| is_of(node, platform)));
    let mut named: Vec<String> = ours
        .flat_map(|node| &node.taints)
        .filter(|taint| taint.effect != "PreferNoSchedule" && !ARCH_TAINTS.contains(&taint.key.as_str()))
        .map(|taint| match taint.value.as_str() {
            "" => format!("{}:{}", taint.key, taint.effect),
            value => format!("{}={value}:{}", taint.key, taint.effect),
        })
        .collect();
    named.sort();
    named.dedup();
    named
}

/// The causes in "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match …. preemption: …".
fn causes(words: &str) -> impl Iterator<Item = &str> {
    let body = words.split_once("available: ").map_or(words, |(_, body)| body);
    // What comes after the first sentence is about preemption and claims.
    let body = body.split(". ").next().unwrap_or(body).trim().trim_end_matches('.');
    body.split(", ").map(str::trim).filter(|cause| !cause.is_empty())
}

/// The kubelet's words, for a pod that has a node.
fn on_node(pod: &Pod, notes: &[PodNote]) -> Diagnosis {
    let say = |reason, message: String| Diagnosis { reason, message, unscheduled: false };
    let containers = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    for container in containers {
        let Some(ContainerWaiting { reason, message }) = &container.state.waiting else { continue };
        match reason.as_str() {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => {
                return say(
                    Reason::ImagePull,
                    format!("{} cannot be pulled: {}", container.image, last_words(message, reason)),
                );
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                return say(
                    Reason::ContainerConfig,
                    format!("{} cannot be set up: {}", container.name, last_words(message, reason)),
                );
            }
            _ => {}
        }
    }
    if let Some(note) =
        notes.iter().rev().find(|note| matches!(note.reason.as_str(), "FailedMount" | "FailedAttachVolume"))
    {
        return say(Reason::Volume, note.message.clone());
    }
    say(Reason::Starting, format!("the pod is starting on {}", pod.spec.node_name))
}

fn last_words<'a>(message: &'a str, reason: &'a str) -> &'a str {
    if message.is_empty() { reason } else { message }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(arch: &str, usable: bool) -> NodeFacts {
        NodeFacts { usable, ..NodeFacts::linux(arch) }
    }

    fn nodes(nodes: &[(&str, bool)]) -> Nodes {
        nodes.iter().enumerate().map(|(i, (arch, usable))| (format!("n{i}"), node(arch, *usable))).collect()
    }

    fn look(
        pod: Option<Value>,
        condition: Option<Value>,
        said: &[(&str, &str)],
        nodes: Option<&Nodes>,
    ) -> Option<(Reason, String)> {
        look_on(Some("linux/arm64"), pod, condition, said, nodes)
    }

    fn look_on(
        platform: Option<&str>,
        pod: Option<Value>,
        condition: Option<Value>,
        said: &[(&str, &str)],
        nodes: Option<&Nodes>,
    ) -> Option<(Reason, String)> {
        let child: TaskRun = serde_json::from_value(
            json!({"metadata": {"name": "t"}, "spec": {}, "status": {"conditions": condition.into_iter().collect::<Vec<_>>()}}),
        )
        .unwrap();
        let pod: Option<Pod> = pod.map(|pod| serde_json::from_value(pod).unwrap());
        let said: Vec<PodNote> = said
            .iter()
            .map(|(reason, message)| PodNote { reason: (*reason).into(), message: (*message).into() })
            .collect();
        let platform = platform.map(|platform| Platform::parse(platform).unwrap());
        let platform = platform.as_ref();
        diagnose(Waiting { child: &child, pod: pod.as_ref(), notes: &said, platform, nodes })
            .map(|diagnosis| (diagnosis.reason, diagnosis.message))
    }

    #[allow(clippy::unnecessary_wraps, reason = "as `look` takes it")]
    fn stuck(reason: &str, words: &str) -> Option<Value> {
        Some(json!({"status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": reason, "message": words}]}}))
    }

    #[allow(clippy::unnecessary_wraps, reason = "as `look` takes it")]
    fn waiting(reason: &str, message: &str) -> Option<Value> {
        Some(json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "step-x", "image": "r/x:v1", "state": {"waiting": {"reason": reason, "message": message}}}]}}))
    }

    #[test]
    fn the_scheduler_is_read_with_the_platform_in_mind() {
        let both = nodes(&[("amd64", true), ("arm64", true)]);
        let none = nodes(&[("amd64", true), ("amd64", true)]);
        let cordoned = nodes(&[("amd64", true), ("arm64", false)]);
        let selector = "1 node(s) didn't match Pod's node affinity/selector";
        let cases: &[(&Nodes, &str, Reason, &str)] = &[
            (
                &none,
                "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes are available",
                Reason::NoNode,
                "no node has kubernetes.io/arch=arm64",
            ),
            (
                &cordoned,
                "0/2 nodes are available: 1 node(s) were unschedulable",
                Reason::NoNode,
                "the only node with kubernetes.io/arch=arm64 is cordoned or not ready",
            ),
            (
                &both,
                "0/2 nodes are available: 1 Insufficient cpu, ",
                Reason::NodesFull,
                "have no room: 1 Insufficient cpu",
            ),
            (&both, "0/2 nodes are available: 1 Too many pods, ", Reason::NodesFull, "Too many pods"),
            (
                &both,
                "0/4 nodes are available: 3 node(s) had untolerated taint(s), ",
                Reason::Unschedulable,
                "nodeSelector or affinity fits none",
            ),
            (
                &both,
                "0/2 nodes are available: 1 node(s) had volume node affinity conflict, ",
                Reason::Volume,
                "volume node affinity conflict",
            ),
            (
                &both,
                r#"0/2 nodes are available: persistentvolumeclaim "x" not found, "#,
                Reason::Volume,
                r#"persistentvolumeclaim "x" not found"#,
            ),
            (&both, "0/2 nodes are available: ", Reason::Unschedulable, "nodeSelector or affinity fits none"),
            (
                &both,
                "0/2 nodes are available: 1 node(s) didn't satisfy x, ",
                Reason::Unschedulable,
                "didn't satisfy x",
            ),
        ];
        for (nodes, words, reason, part) in cases {
            let words =
                if words.ends_with([' ', ',']) { format!("{words}{selector}.") } else { (*words).to_owned() };
            let (found, message) = look(stuck("Unschedulable", &words), None, &[], Some(nodes)).unwrap();
            assert_eq!(found, *reason, "{words}: {message}");
            assert!(message.contains(part), "{words}: {message}");
        }
    }

    /// On Linux the architecture says enough; the child that pushes the index has no platform.
    #[test]
    fn nodes_are_called_by_the_labels_that_tell_them_from_others() {
        let both = nodes(&[("amd64", true), ("arm64", true)]);
        let words = "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.";
        for (platform, nodes, says) in [
            (Some("windows/amd64"), &both, "no node has kubernetes.io/os=windows, kubernetes.io/arch=amd64"),
            (Some("linux/s390x"), &both, "no node has kubernetes.io/arch=s390x"),
            (
                Some("linux/arm64"),
                &both,
                "nodes with kubernetes.io/arch=arm64 have no room: 2 node(s) didn't have free ports",
            ),
            (None, &both, "nodes with kubernetes.io/os have no room: 2 node(s) didn't have free ports"),
        ] {
            let (_, message) =
                look_on(platform, stuck("Unschedulable", words), None, &[], Some(nodes)).unwrap();
            assert!(message.starts_with(says), "{platform:?}: {message}");
        }
        let unusable = nodes(&[("arm64", false), ("arm64", false), ("amd64", true)]);
        let (reason, message) = look(stuck("Unschedulable", words), None, &[], Some(&unusable)).unwrap();
        assert_eq!(reason, Reason::NoNode);
        assert_eq!(message, "all 2 nodes with kubernetes.io/arch=arm64 are cordoned or not ready");
    }

    #[test]
    fn taints_are_named_by_the_nodes_that_have_them() {
        let taint = |key: &str, value: &str, effect: &str| {
            serde_json::from_value(json!({"key": key, "value": value, "effect": effect})).unwrap()
        };
        let mut tainted = node("arm64", true);
        tainted.taints = vec![
            taint("gpu", "true", "NoSchedule"),
            taint("spot", "", "NoExecute"),
            taint("kubernetes.io/arch", "arm64", "NoSchedule"),
            taint("busy", "", "PreferNoSchedule"),
        ];
        let mut other = node("amd64", true);
        other.taints = vec![taint("other", "x", "NoSchedule")];
        let nodes = Nodes::from([("a".into(), tainted), ("b".into(), other)]);
        let words = "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) didn't match Pod's node affinity/selector.";
        let (reason, message) = look(stuck("Unschedulable", words), None, &[], Some(&nodes)).unwrap();
        assert_eq!(reason, Reason::Taint);
        assert!(message.contains("does not tolerate: gpu=true:NoSchedule, spot:NoExecute; add"), "{message}");
    }

    #[test]
    fn without_a_right_to_see_nodes_the_scheduler_is_quoted() {
        let words = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
        assert_eq!(
            look(stuck("Unschedulable", words), None, &[], None),
            Some((Reason::Unschedulable, words.to_owned()))
        );
    }

    #[test]
    fn an_autoscaler_at_work_is_told() {
        let none = nodes(&[("amd64", true)]);
        let words = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
        let see =
            |notes: &[(&str, &str)]| look(stuck("Unschedulable", words), None, notes, Some(&none)).unwrap();
        assert_eq!(
            see(&[("TriggeredScaleUp", "pod triggered scale-up: [{arm 0->1 (max: 3)}]")]),
            (
                Reason::Autoscaling,
                "a node is being added: pod triggered scale-up: [{arm 0->1 (max: 3)}]".into()
            )
        );
        assert_eq!(
            see(&[("TriggeredScaleUp", "x"), ("NotTriggerScaleUp", "max node group size reached")]),
            (
                Reason::NoNode,
                "no node has kubernetes.io/arch=arm64; the autoscaler adds none: max node group size reached"
                    .into()
            )
        );
    }

    #[test]
    fn a_gate_is_told() {
        let (reason, message) =
            look(stuck("SchedulingGated", "Scheduling is blocked"), None, &[], None).unwrap();
        assert_eq!(
            (reason, message.as_str()),
            (Reason::SchedulingGated, "the pod waits at a scheduling gate: Scheduling is blocked")
        );
    }

    #[test]
    fn the_kubelet_is_quoted() {
        for (state, reason, part) in [
            (
                waiting("ErrImagePull", "manifest unknown"),
                Reason::ImagePull,
                "r/x:v1 cannot be pulled: manifest unknown",
            ),
            (waiting("ImagePullBackOff", ""), Reason::ImagePull, "r/x:v1 cannot be pulled: ImagePullBackOff"),
            (
                waiting("CreateContainerConfigError", "secret \"x\" not found"),
                Reason::ContainerConfig,
                "step-x cannot be set up: secret \"x\" not found",
            ),
            (waiting("ContainerCreating", ""), Reason::Starting, "the pod is starting on n1"),
        ] {
            let (found, message) = look(state, None, &[], None).unwrap();
            assert_eq!((found, message.as_str()), (reason, part));
        }
        let notes = [("FailedMount", "MountVolume.SetUp failed for volume \"nfs\"")];
        let (reason, message) = look(waiting("ContainerCreating", ""), None, &notes, None).unwrap();
        assert_eq!((reason, message.as_str()), (Reason::Volume, notes[0].1));
    }

    #[test]
    fn tekton_is_quoted_where_there_is_no_pod() {
        let condition = |reason: &str| {
            Some(json!({"type": "Succeeded", "status": "Unknown", "reason": reason, "message": "words"}))
        };
        for (reason, found, message) in [
            ("ExceededResourceQuota", Reason::Quota, "words"),
            ("ResolvingTaskRef", Reason::Resolving, "the Task is being fetched: words"),
            ("ToBeRetried", Reason::Starting, "an attempt failed and another begins: words"),
            ("PodAdmissionFailed", Reason::Admission, "words"),
            ("PullImageFailed", Reason::ImagePull, "words"),
            ("ExceededNodeResources", Reason::NodesFull, "words"),
            ("CreateContainerConfigError", Reason::ContainerConfig, "words"),
            ("Pending", Reason::Starting, "the pod is being made"),
        ] {
            assert_eq!(
                look(None, condition(reason), &[], None),
                Some((found, message.to_owned())),
                "{reason}"
            );
        }
        assert_eq!(look(None, condition("Running"), &[], None), None);
        let untouched = (Reason::Starting, "Tekton has not taken up the TaskRun yet".to_owned());
        assert_eq!(look(None, None, &[], None), Some(untouched));
    }

    #[test]
    fn a_running_pod_waits_for_nothing() {
        assert_eq!(look(Some(json!({"status": {"phase": "Running"}})), None, &[], None), None);
        let fresh = look(Some(json!({"status": {"phase": "Pending"}})), None, &[], None).unwrap();
        assert_eq!(fresh.1, "the scheduler has not looked at the pod yet");
    }
}
