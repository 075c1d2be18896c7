//! Time: how long a run may take, and how long a child may wait for a node.
//!
//! `spec.timeout` of a CustomRun is per attempt (Tekton `docs/customruns.md`). Each child gets it as its own, so each of its attempts
//! is bounded; the run as a whole is bounded by as many such spans as it has attempts.

use std::time::Duration;

use jiff::Timestamp;

use super::duration::human;
use super::problem::Reason;
use super::request::Request;
use crate::api::status::{Ending, Phase, TaskStatus};

/// When a run that started at `start` must be over; `None` is never.
pub fn deadline(request: &Request, start: Timestamp) -> Option<Timestamp> {
    let attempts = request.retries.saturating_add(1);
    let span = request.timeout?.checked_mul(attempts)?;
    start.checked_add(span).ok()
}

/// The end of a run that has taken too long.
pub fn over(request: &Request, start: Timestamp, now: Timestamp) -> Option<Ending> {
    let deadline = deadline(request, start)?;
    (now >= deadline).then(|| {
        let attempts = match request.retries {
            0 => String::new(),
            retries => format!(" for each of {} attempts", retries + 1),
        };
        Ending {
            reason: Reason::TimedOut.as_str().to_owned(),
            message: format!(
                "the run took longer than its timeout of {}{attempts}",
                human(request.timeout.unwrap_or_default())
            ),
        }
    })
}

/// When a child that has been without a node since `since` has waited long enough; `None` is never.
pub fn pending_deadline(pending_timeout: Option<Duration>, since: Option<Timestamp>) -> Option<Timestamp> {
    since?.checked_add(pending_timeout?).ok()
}

/// Fails a task that has waited for a node longer than `strategy.pendingTimeout`, keeping what it waited for.
pub fn give_up(status: &mut TaskStatus, pending_timeout: Duration) {
    let why = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
    status.phase = Phase::Failed;
    status.reason = Reason::PendingTimeout.as_str().to_owned();
    status.message =
        format!("found no node within {} (strategy.pendingTimeout){why}", human(pending_timeout));
}

/// What is left until `then`, at least a moment.
pub fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default().max(Duration::from_millis(10))
}
