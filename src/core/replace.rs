//! Children that failed before they began, by nobody's fault: made again.
//!
//! The kubelet creates the folder of a `subPath` step by step, and takes it for an error when somebody else creates it in the same moment
//! (Kubernetes `pkg/volume/util/subpath`, `doSafeMakeDir`). Children of one run start at the same time on one volume, so this happens to
//! them. The kubelet would try again, but Tekton fails the TaskRun first (Tekton `pkg/reconciler/taskrun/taskrun.go`,
//! `checkContainerFailure`). No step has run then, so another TaskRun may take its place; this is no retry and uses none up.

use super::problem::Reason;
use crate::api::status::{Phase, TaskStatus};
use crate::api::tekton::{Condition, TaskRun};

/// How often a child is replaced. A folder that cannot be made for another reason fails the same way each time.
const MOST: usize = 3;

/// What is to be done about a task that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// Nothing: it has failed.
    None,
    /// It shall be replaced, which is written down first.
    Decided,
    /// It was written down, and the failed TaskRun may go.
    Due,
}

/// Whether a failed child is to be replaced, given what is known of its task. Changes `status` to say so.
pub fn consider(status: &mut TaskStatus, prior: Option<&TaskStatus>, child: &TaskRun) -> Replacement {
    let replaced = prior.map_or(0, |prior| prior.replaced);
    let replacing = prior.map(|prior| prior.replacing.as_str()).unwrap_or_default();
    let uid = child.metadata.uid.as_deref().unwrap_or_default();
    // What has failed for another reason before, such as having waited too long, stays failed however its TaskRun ends.
    let over = prior.is_some_and(|prior| prior.phase.is_final());
    if over || !is_race(child) {
        return Replacement::None;
    }
    let due = !replacing.is_empty() && replacing == uid;
    if !due && replaced >= MOST {
        return Replacement::None;
    }
    status.replaced = if due { replaced } else { replaced + 1 };
    status.replacing = uid.to_owned();
    status.phase = Phase::Pending;
    status.completion_time = None;
    status.reason = Reason::Volume.as_str().to_owned();
    status.message = format!(
        "the folder of a workspace was made by another pod in the same moment, which the kubelet takes for an error; the TaskRun is replaced ({} of {MOST})",
        status.replaced
    );
    if due { Replacement::Due } else { Replacement::Decided }
}

fn is_race(child: &TaskRun) -> bool {
    child.status.as_ref().and_then(|status| Condition::succeeded(&status.conditions)).is_some_and(
        |condition| {
            condition.status == "False"
                && condition.reason == "CreateContainerConfigError"
                && condition.message.contains("failed to create subPath directory")
        },
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raced(uid: &str, message: &str) -> TaskRun {
        serde_json::from_value(json!({
            "metadata": {"name": "app", "uid": uid}, "spec": {},
            "status": {"conditions": [{"type": "Succeeded", "status": "False", "reason": "CreateContainerConfigError", "message": message}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_replaced_is_written_down_first_and_that_very_child_goes() {
        let child = raced("uid-2", "failed to create subPath directory for volumeMount");
        let prior = |replacing: &str, replaced, phase| TaskStatus {
            replacing: replacing.to_owned(),
            replaced,
            phase,
            ..TaskStatus::default()
        };
        for (prior, found, replaced) in [
            (None, Replacement::Decided, 1),
            (Some(prior("", 0, Phase::Pending)), Replacement::Decided, 1),
            (Some(prior("uid-2", 1, Phase::Pending)), Replacement::Due, 1),
            (Some(prior("uid-1", 1, Phase::Pending)), Replacement::Decided, 2),
            (Some(prior("uid-1", 3, Phase::Pending)), Replacement::None, 0),
            (Some(prior("uid-2", 3, Phase::Pending)), Replacement::Due, 3),
            (Some(prior("uid-2", 1, Phase::Failed)), Replacement::None, 0),
        ] {
            let mut status = TaskStatus::default();
            assert_eq!(consider(&mut status, prior.as_ref(), &child), found, "{prior:?}");
            assert_eq!(status.replaced, replaced, "{prior:?}");
            assert_eq!(status.replacing, if found == Replacement::None { "" } else { "uid-2" });
        }
        let other = raced("uid-2", "secret \"x\" not found");
        assert_eq!(consider(&mut TaskStatus::default(), None, &other), Replacement::None);
    }
}
