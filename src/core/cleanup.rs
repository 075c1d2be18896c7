//! What is removed after a run has ended, and what is stopped.
//!
//! A finished run itself is never changed again, whatever happens to it or its children: a late cancel patch, which Tekton sends to
//! runs that have finished too, changes nothing.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::cancel;
use super::observed::Observed;
use super::plan::{Action, Plan};
use super::progress;
use super::timeouts::until;
use crate::api::status::ExtraFields;
use crate::api::tekton::{Condition, CustomRunStatus};

/// Whether a run has ended. `completionTime` counts even if a condition says otherwise: it is set once and with the end.
pub fn is_finished(status: &CustomRunStatus) -> bool {
    status.completion_time.is_some()
        || Condition::succeeded(&status.conditions)
            .is_some_and(|condition| matches!(condition.status.as_str(), "True" | "False"))
}

/// What is left to do for a finished run: stop children that should not be there, and remove children when their time has come.
pub fn after_the_end(observed: &Observed, status: &CustomRunStatus, extra: &ExtraFields) -> Plan {
    let mut plan = Plan::default();
    for (name, child) in &observed.children {
        // Created by a controller that did not know yet, or that lost its lease with a request under way.
        if !progress::has_ended(child)
            && !cancel::is_asked(child)
            && child.metadata.deletion_timestamp.is_none()
        {
            plan.actions.push(Action::CancelTaskRun {
                name: name.clone(),
                message: cancel::message("the run it belongs to has ended"),
            });
        }
    }
    let ttl = extra.plan.as_ref().and_then(|accepted| accepted.ttl_seconds);
    if let (Some(ttl), Some(Time(end))) = (ttl, &status.completion_time) {
        let due = end.checked_add(std::time::Duration::from_secs(ttl)).unwrap_or(Timestamp::MAX);
        if observed.now < due {
            plan.again = Some(until(due, observed.now));
            return plan;
        }
        plan.actions.clear();
        for (name, child) in &observed.children {
            if child.metadata.deletion_timestamp.is_none() {
                plan.actions.push(Action::DeleteTaskRun {
                    name: name.clone(),
                    uid: child.metadata.uid.clone().unwrap_or_default(),
                });
            }
        }
    }
    plan
}
