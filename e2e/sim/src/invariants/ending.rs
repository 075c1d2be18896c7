//! What is ended, and what is removed.

use std::time::Duration;

use archfan::api::names::label;
use archfan::api::tekton::{Condition, TaskRun};
use archfan::core::cleanup::is_finished;
use jiff::Timestamp;

use super::creating::taken_over;
use super::{Check, broken};
use crate::coverage::Point;
use crate::ledger::Child;
use crate::life::{RACE, labelled};
use crate::scenario::RunPlan;
use crate::world::{Caller, World};

fn owner(task_run: &TaskRun) -> (&str, &str) {
    task_run
        .metadata
        .owner_references
        .iter()
        .flatten()
        .next()
        .map_or(("", ""), |owner| (owner.kind.as_str(), owner.uid.as_str()))
}

/// A child was asked to end.
pub fn on_cancel(world: &mut World, caller: &Caller, before: &TaskRun, after: &TaskRun) -> Check {
    let name = before.metadata.name.as_deref().unwrap_or_default();
    let looked_at = world.ledger.looks.get(&(caller.replica, caller.reconcile)).cloned().unwrap_or_default();
    // A user who leaves the children of a run takes their owner away, and no cancel can ask for it to be there.
    let made = world.ledger.child(before.metadata.uid.as_deref().unwrap_or_default()).cloned();
    let made_for = made.as_ref().map(|child| child.run.clone());
    let (kind, uid) = match &made_for {
        Some(run) => ("CustomRun", run.as_str()),
        None => owner(before),
    };
    if kind != "CustomRun" || uid != looked_at || labelled(before, label::ROLE).is_empty() {
        return broken(
            "a_foreign_object_is_never_written",
            format!("{name} belongs to {kind} {uid} and is cancelled for the run {looked_at}"),
        );
    }
    if before.metadata.resource_version == after.metadata.resource_version {
        return Ok(());
    }
    let run = world
        .server
        .runs
        .iter()
        .map(|(_, run)| run)
        .find(|run| run.metadata.uid.as_deref() == Some(uid))
        .cloned();
    let Some(run) = run else { return Ok(()) };
    let finished = run.status.as_ref().is_some_and(is_finished);
    if finished {
        world.coverage.meet(Point::StoppedAfterEnd);
    }
    let Some(record) = world.ledger.runs.get(uid) else { return Ok(()) };
    let plan = &world.plans[record.plan];
    let failed = |end: &crate::ledger::End| end.status != "True";
    let cause = finished
        || run.spec.status.is_some()
        || run.metadata.deletion_timestamp.is_some()
        || world.ledger.is_edited(uid)
        || plan.build.fail_fast
            && world.ledger.children_of(uid).any(|child| child.end.as_ref().is_some_and(failed))
        // Its task had failed on its platform, and a replica that did not know made it once more.
        || made.as_ref().is_some_and(|made| {
            let again = |child: &Child| (&child.platform, &child.task) == (&made.platform, &made.task);
            world.ledger.children_of(uid).any(|child| again(child) && child.end.as_ref().is_some_and(failed))
        })
        || made.as_ref().is_some_and(|made| taken_over(world, &super::platforms(&run), made).is_some())
        || world.knobs.too_large > 0 && super::is_too_large(&run)
        || world.ledger.children_of(uid).any(|child| world.ledger.misplaced.contains(&child.uid))
        || plan.build.pending_timeout.is_some()
        || plan.build.index.is_some()
        || plan.build.tasks.iter().any(|task| task.takes)
        || !world.knobs.calm
            && (world.knobs.refuse.0 > 0
                || !world.ledger.strangers.is_empty()
                || plan.build.volume.is_some())
        || is_late(world, plan, &run);
    if cause {
        return Ok(());
    }
    broken(
        "nothing_is_cancelled_without_a_cause",
        format!("{name} is cancelled ({:?}), and nothing has failed", after.spec.status_message),
    )
}

/// Whether a run has used up its time.
pub(super) fn is_late(world: &World, plan: &RunPlan, run: &archfan::api::tekton::CustomRun) -> bool {
    is_late_at(plan, run, world.server.now)
}

/// Whether a run has used up its time at this moment.
pub(super) fn is_late_at(plan: &RunPlan, run: &archfan::api::tekton::CustomRun, now: Timestamp) -> bool {
    let Some(start) = run.status.as_ref().and_then(|status| status.start_time.clone()) else { return false };
    let span = match plan.timeout {
        None => Duration::from_hours(1),
        Some(0) => return false,
        Some(seconds) => Duration::from_secs(seconds.into()),
    };
    start.0.checked_add(span * (plan.retries + 1)).is_ok_and(|deadline| now >= deadline)
}

/// Whether a child has failed before it began, because another made a folder in the same moment.
fn is_race(child: &TaskRun) -> bool {
    let condition = child.status.as_ref().and_then(|status| Condition::succeeded(&status.conditions));
    condition.is_some_and(|condition| condition.status == "False" && condition.reason == RACE)
}

/// A TaskRun was removed.
pub fn on_delete(world: &mut World, caller: &Caller, before: &TaskRun) -> Check {
    let name = before.metadata.name.as_deref().unwrap_or_default();
    let looked_at = world.ledger.looks.get(&(caller.replica, caller.reconcile)).cloned().unwrap_or_default();
    let (_, uid) = owner(before);
    let Some(record) = world.ledger.runs.get(&looked_at) else { return Ok(()) };
    let plan = world.plans[record.plan].clone();
    if uid == looked_at {
        let Some(run) =
            world.server.runs.get(&plan.name).filter(|run| run.metadata.uid.as_deref() == Some(uid)).cloned()
        else {
            return Ok(());
        };
        if is_race(before) {
            world.coverage.meet(Point::ChildReplaced);
            return Ok(());
        }
        let end = run.status.as_ref().and_then(|status| status.completion_time.clone());
        let due = end
            .zip(plan.build.ttl)
            .and_then(|(end, ttl)| end.0.checked_add(Duration::from_secs(ttl.into())).ok());
        return match due {
            Some(due) if world.server.now >= due => {
                world.coverage.meet(Point::Expired);
                Ok(())
            }
            _ => broken(
                "nothing_is_removed_before_its_time",
                format!("{name} is removed, and was due at {due:?}"),
            ),
        };
    }
    let leftover =
        !labelled(before, label::ROLE).is_empty() && labelled(before, label::CUSTOM_RUN) == plan.name;
    if !leftover {
        return broken(
            "a_foreign_object_is_never_written",
            format!("{name} of {uid} is removed for the run {looked_at}, and was not left by an earlier one"),
        );
    }
    world.coverage.meet(Point::LeftoverRemoved);
    Ok(())
}
