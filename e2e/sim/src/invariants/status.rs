//! What a run says of itself.

use std::sync::Arc;

use archfan::api::tekton::{Condition, CustomRun, CustomRunStatus};
use archfan::core::cleanup::is_finished;
use archfan::core::problem::Reason;

use super::ending::is_late;
use super::{Check, PlatformView, TaskView, broken, cause, index, is_final, platforms, results};
use crate::coverage::Point;
use crate::world::World;

/// The status of a run was written.
pub fn on_status(world: &mut World, before: &Arc<CustomRun>, after: &Arc<CustomRun>) -> Check {
    let uid = after.metadata.uid.clone().unwrap_or_default();
    if !after.is_ours() {
        return broken(
            "a_foreign_object_is_never_written",
            format!("the status of {uid} is another controller's"),
        );
    }
    let (old, new) = (before.status.clone().unwrap_or_default(), after.status.clone().unwrap_or_default());
    if is_finished(&old) && old != new {
        return broken("over_is_over", format!("{} became {}", tell(before), tell(after)));
    }
    if before.metadata.resource_version == after.metadata.resource_version {
        return broken("a_status_write_changes_something", tell(after));
    }
    well_formed(world, &uid, before, &old, &new)?;
    let now = platforms(after);
    let seen = platforms(before);
    forward(world, &uid, &seen, &now)?;
    if let (Some(was), Some(is)) = (index(before), index(after))
        && is_final(was.phase)
        && was.phase != is.phase
    {
        return broken("phases_go_forward", format!("the index was {} and is {}", was.phase, is.phase));
    }
    explained(world, after, &now)?;
    let accepted =
        |status: &CustomRunStatus| status.extra_fields.get("plan").is_some_and(|plan| !plan.is_null());
    if !accepted(&old) && accepted(&new) {
        world.coverage.meet(Point::Accepted);
    }
    if super::is_too_large(after) {
        world.coverage.meet(Point::TooLargeUnderWay);
    }
    if is_finished(&new) && new.extra_fields.is_null() {
        world.coverage.meet(Point::OnlyTheVerdict);
    } else if is_finished(&new) && !now.is_empty() && now.iter().all(|platform| platform.tasks.is_empty()) {
        world.coverage.meet(Point::TooLargeAtTheEnd);
    }
    if is_finished(&new) {
        ended(world, &uid, before, after, &now)?;
    }
    let record = world.ledger.run(&uid);
    record.status_writes += 1;
    if is_finished(&new) {
        record.ended = Some(after.clone());
    }
    Ok(())
}

fn tell(run: &CustomRun) -> String {
    crate::ledger::tell_run(run)
}

fn well_formed(
    world: &mut World,
    uid: &str,
    before: &CustomRun,
    old: &CustomRunStatus,
    new: &CustomRunStatus,
) -> Check {
    let wrong = |what: &str| broken("a_status_is_well_formed", format!("{what}: {new:?}"));
    let [condition] = new.conditions.as_slice() else { return wrong("there is not one condition") };
    if condition.type_ != "Succeeded" || !["True", "False", "Unknown"].contains(&condition.status.as_str()) {
        return wrong("the condition is none that Tekton knows");
    }
    if condition.last_transition_time.is_none() {
        return wrong("the condition has no time");
    }
    let was = Condition::succeeded(&old.conditions);
    if was.is_some_and(|was| {
        (was.status == condition.status) != (was.last_transition_time == condition.last_transition_time)
            && was.status == condition.status
    }) {
        return wrong("the time of the condition changed without it");
    }
    if new.start_time.is_none() || (old.start_time.is_some() && old.start_time != new.start_time) {
        return wrong("startTime is not set once");
    }
    if new.completion_time.is_some() != (condition.status != "Unknown") {
        return wrong("completionTime is not set with the end");
    }
    if new.observed_generation != before.metadata.generation {
        return wrong("observedGeneration is not that of the run that was read");
    }
    let Some(record) = world.ledger.runs.get(uid) else { return Ok(()) };
    let plan = &world.plans[record.plan];
    let listed: Vec<&str> = plan.build.platforms.iter().map(|platform| platform.name).collect();
    let list = new.extra_fields.get("platforms").and_then(serde_json::Value::as_array);
    let reported: Vec<&str> =
        list.into_iter().flatten().filter_map(|platform| platform.get("platform")?.as_str()).collect();
    let edited = world.ledger.is_edited(uid);
    if !reported.is_empty() && !edited && plan.build.broken.is_none() && reported != listed {
        return wrong("the platforms are not in the order of the list");
    }
    if new.completion_time.is_none() && !new.results.is_empty() {
        return wrong("there are results before the end");
    }
    world.coverage.say(&condition.reason);
    Ok(())
}

/// A task that has ended stays as it ended; what becomes of the others is counted.
fn forward(world: &mut World, uid: &str, before: &[PlatformView<'_>], after: &[PlatformView<'_>]) -> Check {
    for platform in after {
        let was = before.iter().find(|was| was.name == platform.name);
        for task in &platform.tasks {
            let was = was.and_then(|was| was.tasks.iter().find(|was| was.name == task.name));
            let phase = was.map_or("Waiting", |was| was.phase);
            if phase == task.phase {
                continue;
            }
            if is_final(phase) {
                return broken(
                    "phases_go_forward",
                    format!("{uid}: {} {} was {phase} and is {}", platform.name, task.name, task.phase),
                );
            }
            world.coverage.transition(phase, task.phase);
            note_task(world, task);
        }
    }
    // Of a status that the server does not take, all of them are left out.
    let left_out = after.is_empty() && world.knobs.too_large > 0;
    if before.len() > after.len() && !left_out {
        return broken("phases_go_forward", format!("{uid}: a platform that was reported is not any more"));
    }
    Ok(())
}

fn note_task(world: &mut World, task: &TaskView<'_>) {
    match task.reason {
        "When" => world.coverage.meet(Point::Skipped),
        "Reused" => world.coverage.meet(Point::TookOverChild),
        _ => {}
    }
}

/// What waits, has failed or has ended says why.
fn explained(world: &mut World, after: &CustomRun, platforms: &[PlatformView<'_>]) -> Check {
    let wrong = |what: String| broken("a_message_explains_its_phase", format!("{what}: {}", tell(after)));
    let Some(condition) = after.status.as_ref().and_then(|status| Condition::succeeded(&status.conditions))
    else {
        return Ok(());
    };
    if condition.message.is_empty() && !platforms.is_empty() {
        return wrong("the run says nothing".to_owned());
    }
    for platform in platforms {
        if !condition.message.contains(platform.name) {
            return wrong(format!("the line does not name {}", platform.name));
        }
        if !condition.message.contains(&format!("{} {}", platform.name, platform.phase.to_lowercase())) {
            return wrong(format!("the line does not say that {} is {}", platform.name, platform.phase));
        }
        for task in &platform.tasks {
            world.coverage.say(task.reason);
            if task.reason == "MaxParallel" {
                world.coverage.meet(Point::Waited);
            }
            if let Err(what) = explains(task) {
                return wrong(format!("{} {}: {what}: {task:?}", platform.name, task.name));
            }
        }
        let (own, task) =
            (platform.reason, platform.tasks.iter().map(|task| task.reason).collect::<Vec<_>>());
        // Of a status that the server does not take, the tasks are left out.
        let left_out = task.is_empty() && world.knobs.too_large > 0;
        if !own.is_empty() && !task.contains(&own) && !left_out {
            return wrong(format!("{} has the reason {own} of none of its tasks", platform.name));
        }
    }
    if let Some(index) = index(after) {
        world.coverage.say(index.reason);
        if let Err(what) = explains(&index) {
            return wrong(format!("index: {what}: {index:?}"));
        }
    }
    Ok(())
}

fn explains(task: &TaskView<'_>) -> Result<(), &'static str> {
    let (reason, message) = (!task.reason.is_empty(), !task.message.is_empty());
    match task.phase {
        "Pending" if !reason || !message => Err("it waits and does not say why"),
        "Waiting" if reason != message => Err("a reason without a message, or the other way round"),
        "Running" if reason || message => Err("it runs and complains"),
        "Failed" if !reason || !message => Err("it has failed and does not say why"),
        "Cancelled" if !reason => Err("it was cancelled and does not say why"),
        "Skipped" if task.reason != "When" => Err("it was skipped and does not say why"),
        "Succeeded" if reason && task.reused.is_empty() => Err("it has succeeded and complains"),
        _ => Ok(()),
    }
}

/// A run is reported to have ended.
fn ended(
    world: &mut World,
    uid: &str,
    before: &CustomRun,
    after: &CustomRun,
    platforms: &[PlatformView<'_>],
) -> Check {
    let (status, reason) = crate::ledger::verdict(after);
    let wrong = |what: &str| broken("a_verdict_has_its_reason", format!("{what}: {}", tell(after)));
    let known = Reason::ALL.iter().any(|(known, _)| known.as_str() == reason);
    let life = ["Started", "Running", "Succeeded", "Built"];
    match status {
        "True" if reason != "Succeeded" => return wrong("True without Succeeded"),
        "False" if !known || life.contains(&reason) => {
            return wrong("False for no reason that is documented");
        }
        _ => {}
    }
    let cancelled = before.spec.status.as_deref() == Some("RunCancelled");
    if cancelled != (reason == "CustomRunCancelled") {
        return wrong("it was cancelled and does not say so, or the other way round");
    }
    let said = before.spec.status_message.as_deref().unwrap_or_default();
    if reason == "CustomRunCancelled" && !crate::ledger::message(after).starts_with(said) {
        return wrong("it was cancelled and does not say what Tekton said");
    }
    let Some(record) = world.ledger.runs.get(uid) else { return Ok(()) };
    let plan = world.plans[record.plan].clone();
    if reason == "CustomRunTimedOut" && !is_late(world, &plan, after) {
        return wrong("it has timed out before its time");
    }
    if status == "True" {
        for platform in platforms {
            let good = matches!(platform.phase, "Succeeded" | "Skipped")
                || (!platform.required && is_final(platform.phase));
            if !good {
                return wrong("a required platform has not succeeded");
            }
            if platform.phase != "Succeeded" {
                world.coverage.meet(Point::LeftOut);
            }
        }
    }
    world.coverage.meet(match reason {
        "Succeeded" => Point::SucceededRun,
        "CustomRunCancelled" => Point::CancelledRun,
        "CustomRunTimedOut" => Point::TimedOutRun,
        _ if platforms.is_empty() => Point::RefusedRun,
        _ => Point::FailedRun,
    });
    if status == "False" && !world.ledger.is_edited(uid) {
        cause::check(world, uid, &plan, reason, platforms)?;
    }
    results::check(world, uid, &plan, after, platforms)
}

/// No run is reported to have ended while a child that its replica knows is at work.
pub(super) fn children_first(world: &World, replica: usize, uid: &str, status: &CustomRunStatus) -> Check {
    let reason = Condition::succeeded(&status.conditions).map_or("", |condition| condition.reason.as_str());
    if world.ledger.overlap {
        return Ok(());
    }
    let known = world.replicas[replica].context.cache.children_of(uid);
    let at_work = world.ledger.children_of(uid).find(|child| {
        let known =
            known.get(&child.name).is_some_and(|known| known.metadata.uid.as_ref() == Some(&child.uid));
        child.there && child.end.is_none() && !child.orphan && known
    });
    match at_work {
        None => Ok(()),
        Some(child) => broken(
            "a_run_does_not_end_before_its_children",
            format!("{} is at work, and {uid} ends as {reason}", child.name),
        ),
    }
}
