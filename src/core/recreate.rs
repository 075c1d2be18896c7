//! When a child is created again that somebody has deleted.
//!
//! Not at once. Tekton names a pod after its TaskRun, and when it finds a pod of that name it takes it for the TaskRun's own (Tekton
//! `pkg/reconciler/taskrun/taskrun.go`): a new TaskRun would get its predecessor's pod, which is about to be removed, and fail with it. So the
//! pod must be gone; and because Tekton may be making it in the moment in which the TaskRun goes, it is waited for a while that it
//! appears.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::problem::Reason;
use super::timeouts;
use crate::api::status::TaskStatus;

/// How long after its TaskRun's end Tekton may still make a pod for it. A reconcile of Tekton's takes well under a second; on a busy
/// cluster its call to the API server may be a few on the way.
const POD_MAY_COME: Duration = Duration::from_secs(5);

/// Why a child is not created now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// One word for programs.
    pub reason: Reason,
    /// A line for people.
    pub message: String,
    /// How long, if time alone ends it.
    pub left: Option<Duration>,
}

/// What keeps a task's TaskRun from being created, whether it is for a platform or for the index, if something does.
///
/// `pod` is whether a pod of a TaskRun of its name is there. `successor` is when the run was made, if an earlier run of its name had a
/// TaskRun of that name at work: who deletes a CustomRun of a PipelineRun that is under way gets another at once.
pub fn held(task: &TaskStatus, pod: bool, successor: Option<&Time>, now: Timestamp) -> Option<Held> {
    if pod && !task.replacing.is_empty() {
        return Some(Held { reason: Reason::Volume, message: task.message.clone(), left: None });
    }
    let held = |reason, message: &str, left| Held { reason, message: message.to_owned(), left };
    if pod {
        let message = "its TaskRun was deleted; it is created again once its pod is gone";
        return Some(held(Reason::Deleted, message, None));
    }
    let (reason, since, message) = match (&task.deleted_time, successor) {
        (Some(deleted), _) => {
            (Reason::Deleted, deleted, "its TaskRun was deleted; it is created again in a few seconds")
        }
        (None, Some(made)) => (
            Reason::NameTaken,
            made,
            "a TaskRun of its name was at work for an earlier run of the same name; it is created in a few seconds",
        ),
        (None, None) => return None,
    };
    let until = since.0 + POD_MAY_COME;
    (now < until).then(|| held(reason, message, Some(timeouts::until(until, now))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::status::whole_seconds;

    #[test]
    fn a_deleted_child_is_created_once_its_pod_is_gone_and_none_can_come() {
        let at = |millis: i64| Timestamp::from_millisecond(millis).unwrap();
        let never = TaskStatus::default();
        let deleted = TaskStatus { deleted_time: Some(whole_seconds(at(10_000))), ..TaskStatus::default() };
        let raced = TaskStatus { replacing: "uid".into(), message: "raced".into(), ..TaskStatus::default() };
        let made = whole_seconds(at(20_000));
        let (anew, pod_gone) = (Some(&made), Some((Reason::Deleted, "pod is gone", None)));
        for (task, pod, successor, now, held_for) in [
            (&never, false, None, 10_000, None),
            (&never, true, None, 10_000, pod_gone),
            (&deleted, true, None, 60_000, pod_gone),
            (&deleted, false, None, 10_000, Some((Reason::Deleted, "few seconds", Some(5_000)))),
            (&deleted, false, anew, 14_000, Some((Reason::Deleted, "few seconds", Some(1_000)))),
            (&deleted, false, None, 15_000, None),
            (&raced, true, None, 10_000, Some((Reason::Volume, "raced", None))),
            (&raced, false, None, 10_000, None),
            (&never, true, anew, 20_000, pod_gone),
            (&never, false, anew, 20_500, Some((Reason::NameTaken, "earlier run", Some(4_500)))),
            (&never, false, anew, 25_000, None),
        ] {
            let found = held(task, pod, successor, at(now));
            let told = found.map(|held| {
                let words = held_for.map_or("nothing", |(_, words, _)| words);
                assert!(held.message.contains(words), "{:?} does not say {words:?}", held.message);
                (held.reason, held.left.map(|left| left.as_millis()))
            });
            assert_eq!(told, held_for.map(|(reason, _, left)| (reason, left)), "{task:?} at {now}");
        }
    }
}
