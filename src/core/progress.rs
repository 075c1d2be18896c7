//! What each task on each platform is doing, from its child and from what was known before.
//!
//! What is final stays: a TaskRun that has succeeded and is then pruned, while another platform still builds, has succeeded.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::cancel;
use super::observed::{Nodes, PodNote};
use super::pending::{self, Waiting};
use super::platform::Platform;
use super::problem::Reason;
use super::request::{ONLY_TASK, Request, Source, Target};
use super::status::whole_seconds;
use super::workspaces::is_of;
use crate::api::kubernetes::Pod;
use crate::api::status::{Phase, PlatformStatus, TaskStatus};
use crate::api::tekton::{Condition, ParamValue, TaskRun};
use crate::core::index_child::results_of;

/// A child and everything beside it that says what it does.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Name that the child has, or will have.
    pub name: &'a str,
    /// The child, if it is there.
    pub child: Option<&'a TaskRun>,
    /// Its pod.
    pub pod: Option<&'a Pod>,
    /// What the cluster said of that pod.
    pub notes: &'a [PodNote],
    /// The nodes, if they may be read.
    pub nodes: Option<&'a Nodes>,
    /// The platform on whose nodes it runs; `None` for the index, which may run anywhere.
    pub runs_on: Option<&'a Platform>,
    /// The time.
    pub now: Timestamp,
    /// Whether the run is coming to its end, so that a cancelled child is no failure of its own.
    pub ending: bool,
}

/// Where a task is.
pub fn of_task(task: &str, prior: Option<&TaskStatus>, seen: Seen<'_>) -> TaskStatus {
    if let Some(prior) = prior.filter(|prior| prior.phase.is_final()) {
        return prior.clone();
    }
    let mut status = TaskStatus {
        name: task.to_owned(),
        task_run: seen.name.to_owned(),
        replaced: prior.map_or(0, |prior| prior.replaced),
        ..TaskStatus::default()
    };
    let Some(child) = seen.child else {
        let Some(prior) = prior else { return status };
        status.start_time.clone_from(&prior.start_time);
        if prior.phase > Phase::Waiting && prior.replacing.is_empty() {
            status.reason = Reason::Deleted.as_str().to_owned();
            status.message = "its TaskRun was deleted".to_owned();
            status.deleted_time = Some(whole_seconds(seen.now));
        } else {
            // It waits for something, or was taken away to make room for another.
            status.replacing.clone_from(&prior.replacing);
            status.deleted_time.clone_from(&prior.deleted_time);
            status.reason.clone_from(&prior.reason);
            status.message.clone_from(&prior.message);
        }
        return status;
    };
    let reported = child.status.as_ref();
    status.start_time.clone_from(&child.metadata.creation_timestamp);
    status.failed_attempts = reported.map_or(0, |reported| reported.retries_status);
    status.pod = reported.map(|reported| reported.pod_name.clone()).unwrap_or_default();
    status.node = seen
        .pod
        .map(|pod| pod.spec.node_name.clone())
        .filter(|node| !node.is_empty())
        .or_else(|| prior.map(|prior| prior.node.clone()))
        .unwrap_or_default();
    let condition = reported.and_then(|reported| Condition::succeeded(&reported.conditions));
    match condition.map(|condition| (condition.status.as_str(), condition)) {
        Some(("True", _)) => {
            status.phase = Phase::Succeeded;
            status.completion_time = reported.and_then(|reported| reported.completion_time.clone());
            status.results = reported.map(|reported| reported.results.clone()).unwrap_or_default();
        }
        Some(("False", condition)) => {
            let cancelled = condition.reason == "TaskRunCancelled";
            let with_the_run = cancelled && (seen.ending || cancel::is_ours(child));
            status.phase = if with_the_run { Phase::Cancelled } else { Phase::Failed };
            status.completion_time = reported.and_then(|reported| reported.completion_time.clone());
            if with_the_run {
                status.reason = Reason::RunEnded.as_str().to_owned();
            } else {
                status.reason.clone_from(&condition.reason);
                status.message = with_remedy(task, condition);
            }
            // Results of a failed task may say why it failed.
            status.results = reported.map(|reported| reported.results.clone()).unwrap_or_default();
        }
        _ => unfinished(&mut status, child, seen),
    }
    if let Some(platform) = seen.runs_on
        && let Some(node) = seen.nodes.and_then(|nodes| nodes.get(&status.node))
        && !is_of(node, platform)
        && status.phase != Phase::Cancelled
    {
        status.phase = Phase::Failed;
        status.reason = Reason::WrongNode.as_str().to_owned();
        status.message = format!(
            "its pod was placed on {}, which is no node of {platform}; something in the cluster has taken the node selector away",
            status.node
        );
    }
    status
}

/// What Tekton says of a child that failed, with what to do where Tekton, which does not know what the child was made from, cannot say it.
///
/// The one such case: a Task that is referred to refuses workspaces that it does not declare (Tekton `pkg/workspace/validate.go`), and it was
/// not its run but its build that gave it all of them.
fn with_remedy(task: &str, condition: &Condition) -> String {
    let told = &condition.message;
    if condition.reason != "TaskRunValidationFailed"
        || !told.ends_with("does not match any declared workspace")
    {
        return told.clone();
    }
    let field = if task == ONLY_TASK { "workspaces" } else { "tasks[].workspaces" };
    format!("{told}; list those that the task declares in {field} of the MultiArchBuild")
}

fn unfinished(status: &mut TaskStatus, child: &TaskRun, seen: Seen<'_>) {
    if child.metadata.deletion_timestamp.is_some() {
        status.phase = Phase::Pending;
        status.reason = Reason::Deleted.as_str().to_owned();
        status.message = "its TaskRun is being deleted and will be created again".to_owned();
        return;
    }
    let waiting =
        Waiting { child, pod: seen.pod, notes: seen.notes, platform: seen.runs_on, nodes: seen.nodes };
    match pending::diagnose(waiting) {
        None => status.phase = Phase::Running,
        Some(diagnosis) => {
            status.phase = Phase::Pending;
            status.reason = diagnosis.reason.as_str().to_owned();
            status.message = diagnosis.message;
        }
    }
}

/// Since when a child has been without a node, if it is: its pod's making, or its own.
pub fn unscheduled_since(child: &TaskRun, pod: Option<&Pod>) -> Option<Timestamp> {
    let ended = child
        .status
        .as_ref()
        .and_then(|status| Condition::succeeded(&status.conditions))
        .is_some_and(|condition| condition.status != "Unknown");
    let scheduled = pod.is_some_and(|pod| {
        !pod.spec.node_name.is_empty()
            || matches!(pod.status.phase.as_str(), "Running" | "Succeeded" | "Failed")
    });
    if ended || scheduled {
        return None;
    }
    let made = pod.and_then(|pod| pod.metadata.creation_timestamp.clone());
    made.or_else(|| child.metadata.creation_timestamp.clone()).map(|Time(time)| time)
}

/// Where a platform is, from where its tasks are.
pub fn of_platform(request: &Request, target: &Target, tasks: Vec<TaskStatus>) -> PlatformStatus {
    let mut status = PlatformStatus {
        platform: target.platform.to_string(),
        required: target.required,
        tasks,
        ..PlatformStatus::default()
    };
    settle(&mut status, request.chained);
    status.digest = digest(request, &status);
    status
}

/// Works out a platform's state from its tasks: the first that has not ended well speaks for it, or else the last.
pub fn settle(status: &mut PlatformStatus, chained: bool) {
    let started = status.tasks.iter().any(|task| task.start_time.is_some());
    let current = status.tasks.iter().find(|task| !task.phase.lets_go_on()).or_else(|| status.tasks.last());
    if let Some(task) = current {
        status.phase = match task.phase {
            Phase::Skipped => Phase::Succeeded,
            // Between two tasks of a chain the platform is at work, unless something keeps it waiting.
            Phase::Waiting if started && task.reason.is_empty() => Phase::Running,
            phase => phase,
        };
        status.reason.clone_from(&task.reason);
        status.message.clone_from(&task.message);
        if chained && !status.message.is_empty() {
            status.message = format!("{}: {}", task.name, status.message);
        }
    }
    status.node = status
        .tasks
        .iter()
        .rev()
        .find(|task| !task.node.is_empty())
        .map(|task| task.node.clone())
        .unwrap_or_default();
    status.start_time = status.tasks.iter().find_map(|task| task.start_time.clone());
    if status.phase.is_final() {
        status.completion_time = status.tasks.iter().rev().find_map(|task| task.completion_time.clone());
    }
}

/// The digest that a platform built, if its results say.
fn digest(request: &Request, status: &PlatformStatus) -> String {
    let name = match request.index.as_ref().map(|index| &index.source) {
        Some(Source::Results { digest, .. }) => digest,
        _ => crate::api::names::result::IMAGE_DIGEST,
    };
    match results_of(status).get(name) {
        Some(ParamValue::String(digest)) => digest.trim().to_owned(),
        _ => String::new(),
    }
}

/// Whether a child's state must be read from the API server itself before it is believed: a TaskRun whose pod was evicted is False
/// for a moment and then goes on (Tekton `pkg/reconciler/pipelinerun/pipelinerun.go`, which does the same).
pub fn needs_fresh_look(child: &TaskRun) -> bool {
    child
        .status
        .as_ref()
        .and_then(|status| Condition::succeeded(&status.conditions))
        .is_some_and(|condition| condition.status == "False" && condition.reason == "PodEvicted")
}

/// Whether a child has ended.
pub fn has_ended(child: &TaskRun) -> bool {
    child
        .status
        .as_ref()
        .and_then(|status| Condition::succeeded(&status.conditions))
        .is_some_and(|condition| matches!(condition.status.as_str(), "True" | "False"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workspaces_that_a_task_does_not_declare_lead_to_the_field() {
        // Words of Tekton 1.15.
        let told = r#"[User error] TaskRun "shop"/"app" workspaces are invalid: workspace binding "cache" does not match any declared workspace"#;
        let message = |task: &str, reason: &str, told: &str| {
            let condition =
                json!({"type": "Succeeded", "status": "False", "reason": reason, "message": told});
            let child =
                json!({"metadata": {"name": "app"}, "spec": {}, "status": {"conditions": [condition]}});
            let child = serde_json::from_value(child).unwrap();
            let seen = Seen {
                name: "app",
                child: Some(&child),
                pod: None,
                notes: &[],
                nodes: None,
                runs_on: None,
                now: Timestamp::UNIX_EPOCH,
                ending: false,
            };
            of_task(task, None, seen).message
        };
        let only = message(ONLY_TASK, "TaskRunValidationFailed", told);
        assert_eq!(
            only,
            format!("{told}; list those that the task declares in workspaces of the MultiArchBuild")
        );
        let one_of_many = message("test", "TaskRunValidationFailed", told);
        assert!(
            one_of_many.ends_with("declares in tasks[].workspaces of the MultiArchBuild"),
            "{one_of_many}"
        );
        // What a step says is its own.
        assert_eq!(message("test", "Failed", told), told);
        let other = r#"declared workspace "source" is required but has not been bound"#;
        assert_eq!(message("test", "TaskRunValidationFailed", other), other);
    }
    fn seen<'a>(child: Option<&'a TaskRun>, pod: Option<&'a Pod>) -> Seen<'a> {
        let now = Timestamp::UNIX_EPOCH;
        Seen { name: "app", child, pod, notes: &[], nodes: None, runs_on: None, now, ending: false }
    }

    #[test]
    fn a_child_that_is_not_there_was_deleted_or_waits() {
        let prior = |phase, replacing: &str| TaskStatus {
            phase,
            reason: "Why".to_owned(),
            message: "words".to_owned(),
            replacing: replacing.to_owned(),
            ..TaskStatus::default()
        };
        for (prior, reason) in [
            (prior(Phase::Waiting, ""), "Why"),
            (prior(Phase::Pending, ""), "Deleted"),
            (prior(Phase::Running, ""), "Deleted"),
            (prior(Phase::Pending, "uid-1"), "Why"),
        ] {
            let found = of_task("build", Some(&prior), seen(None, None));
            assert_eq!((found.phase, found.reason.as_str()), (Phase::Waiting, reason), "{prior:?}");
            assert_eq!(found.replacing, prior.replacing);
        }
    }

    #[test]
    fn only_a_cancel_of_ours_or_at_the_end_is_no_failure() {
        let child = |reason: &str, message: &str| -> TaskRun {
            serde_json::from_value(json!({
                "metadata": {"name": "app"}, "spec": {"status": "TaskRunCancelled", "statusMessage": message},
                "status": {"conditions": [{"type": "Succeeded", "status": "False", "reason": reason, "message": "m"}]},
            }))
            .unwrap()
        };
        for (reason, message, ending, phase) in [
            ("TaskRunCancelled", "archfan: given up", false, Phase::Cancelled),
            ("TaskRunCancelled", "by hand", true, Phase::Cancelled),
            ("TaskRunCancelled", "by hand", false, Phase::Failed),
            ("StepFailed", "archfan: given up", false, Phase::Failed),
            ("StepFailed", "by hand", true, Phase::Failed),
        ] {
            let child = child(reason, message);
            let seen = Seen { ending, ..seen(Some(&child), None) };
            assert_eq!(of_task("build", None, seen).phase, phase, "{reason} {message} {ending}");
        }
    }

    #[test]
    fn a_child_is_without_a_node_until_its_pod_has_one() {
        let at = |second: i64| Time(Timestamp::from_second(second).unwrap());
        let child = |status: &str| -> TaskRun {
            serde_json::from_value(json!({
                "metadata": {"name": "app", "creationTimestamp": at(10)}, "spec": {},
                "status": {"conditions": [{"type": "Succeeded", "status": status, "reason": "r", "message": ""}]},
            }))
            .unwrap()
        };
        let pod = |node: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "creationTimestamp": at(20)}, "spec": {"nodeName": node}, "status": {"phase": phase},
            }))
            .unwrap()
        };
        for (status, pod, since) in [
            ("Unknown", None, Some(10)),
            ("True", None, None),
            ("False", None, None),
            ("Unknown", Some(pod("", "Pending")), Some(20)),
            ("Unknown", Some(pod("n1", "Pending")), None),
            ("Unknown", Some(pod("", "Failed")), None),
        ] {
            let found = unscheduled_since(&child(status), pod.as_ref());
            assert_eq!(found.map(Timestamp::as_second), since, "{status} {pod:?}");
        }
    }

    #[test]
    fn a_platform_between_two_tasks_is_at_work() {
        let time = || Some(Time(Timestamp::UNIX_EPOCH));
        let task = |name: &str, phase, reason: &str| TaskStatus {
            name: name.to_owned(),
            phase,
            reason: reason.to_owned(),
            start_time: if phase == Phase::Waiting { None } else { time() },
            ..TaskStatus::default()
        };
        let settled = |tasks: &[TaskStatus], message: &str, chained| {
            let mut status = PlatformStatus { tasks: tasks.to_vec(), ..PlatformStatus::default() };
            status.tasks.last_mut().unwrap().message = message.to_owned();
            settle(&mut status, chained);
            (status.phase, status.message)
        };
        let done = task("clone", Phase::Succeeded, "");
        let next = |reason: &str| task("build", Phase::Waiting, reason);
        assert_eq!(settled(&[done.clone(), next("")], "", true), (Phase::Running, String::new()));
        assert_eq!(settled(&[done, next("Limit")], "w", true), (Phase::Waiting, "build: w".to_owned()));
        assert_eq!(settled(&[next("")], "w", false), (Phase::Waiting, "w".to_owned()));
    }
}
