//! Cancelling: what Tekton, or a person, asks of a run with `spec.status: RunCancelled`.
//!
//! The reason must be exactly `CustomRunCancelled`, or the PipelineRun counts the run as failed (Tekton
//! `pkg/reconciler/pipelinerun/resources/pipelinerunresolution.go`).

use super::problem::Reason;
use crate::api::status::Ending;
use crate::api::tekton::{CustomRun, TaskRun};

/// The end that was asked for, if one was.
pub fn requested(run: &CustomRun) -> Option<Ending> {
    if run.spec.status.as_deref() != Some("RunCancelled") {
        return None;
    }
    let message = run
        .spec
        .status_message
        .clone()
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| "CustomRun cancelled by spec.status".to_owned());
    Some(Ending { reason: Reason::Cancelled.as_str().to_owned(), message })
}

/// What a `statusMessage` of ours begins with, by which a child that archfan has cancelled is told from one that somebody else has.
const BY_US: &str = "archfan: ";

/// The `statusMessage` for a child that is cancelled, for the given reason.
pub fn message(why: &str) -> String {
    format!("{BY_US}{why}")
}

/// Whether archfan has cancelled a child, because its run came to its end or its platform was given up.
pub fn is_ours(child: &TaskRun) -> bool {
    is_asked(child) && child.spec.status_message.as_ref().is_some_and(|message| message.starts_with(BY_US))
}

/// Whether anybody has asked a child to end.
pub fn is_asked(child: &TaskRun) -> bool {
    child.spec.status.as_deref() == Some("TaskRunCancelled")
}
