//! What holds once nothing moves any more.

use std::sync::Arc;

use archfan::api::names::label;
use archfan::api::tekton::CustomRun;
use archfan::core::cleanup::is_finished;

use super::creating::taken_over;
use super::{Check, broken};
use crate::ledger::RunRecord;
use crate::life::labelled;
use crate::replica::{Duty, Replica};
use crate::server::{uid_of, version_of};
use crate::world::{Part, World};

/// Nothing moves any more.
pub fn at_rest(world: &mut World) -> Check {
    let runs: Vec<Arc<CustomRun>> = world.server.runs.snapshot();
    for run in runs.iter().filter(|run| run.is_ours()) {
        let name = run.metadata.name.as_deref().unwrap_or_default();
        let finished = run.status.as_ref().is_some_and(is_finished);
        if !finished && run.metadata.deletion_timestamp.is_none() {
            return broken(
                "a_run_ends_once_its_children_have",
                format!("{name}: {}", crate::ledger::tell_run(run)),
            );
        }
        if let (Part::After, Some(status), Some(before)) =
            (world.part, &run.status, world.ledger.frozen(uid_of(&**run)))
            && status != before
        {
            return broken("over_is_over", format!("{name} has become {}", crate::ledger::tell_run(run)));
        }
    }
    for run in runs.iter().filter(|run| !run.is_ours()) {
        if run.status.is_some() {
            return broken(
                "a_foreign_object_is_never_written",
                "another controller's run has a status".to_owned(),
            );
        }
    }
    children(world, &runs)?;
    if let Some(replica) = world.replicas.iter().find(|replica| replica.duty == Duty::Leads) {
        caught_up(world, replica)?;
    }
    for (uid, record) in &world.ledger.runs {
        bounded(world, uid, record)?;
        told(world, uid, record)?;
    }
    Ok(())
}

/// Nothing is left to do but to wait for a timer.
pub fn before_time(world: &mut World) -> Check {
    let Some(leader) = world.replicas.iter().find(|replica| replica.duty == Duty::Leads) else {
        return Ok(());
    };
    if world.part == Part::Anything || leader.queue.failing() > 0 || !leader.reconciles.is_empty() {
        return Ok(());
    }
    for (name, run) in world.server.runs.iter() {
        let uid = uid_of(&**run);
        let over = run.status.as_ref().is_some_and(is_finished) || run.metadata.deletion_timestamp.is_some();
        if !run.is_ours() || over || world.ledger.is_edited(uid) {
            continue;
        }
        let platforms = super::platforms(run);
        let ended = |child: &&crate::ledger::Child| {
            child.there && child.end.is_some() && child.role == label::ROLE_BUILD
        };
        for child in world.ledger.children_of(uid).filter(ended) {
            let mut told = platforms.iter().flat_map(|platform| &platform.tasks);
            let told = told
                .find(|task| task.task_run == child.name)
                .or_else(|| taken_over(world, &platforms, child));
            if !told.is_some_and(|task| super::is_final(task.phase)) {
                return broken(
                    "nothing_waits_for_the_clock",
                    format!("{} has ended, and {name} says {told:?}", child.name),
                );
            }
        }
    }
    Ok(())
}

fn children(world: &World, runs: &[Arc<CustomRun>]) -> Check {
    for child in world.ledger.children.iter().filter(|child| child.there) {
        let run = runs.iter().find(|run| uid_of(&***run) == child.run);
        let Some(task_run) = world.server.task_runs.get(&child.name) else { continue };
        let owner = task_run.metadata.owner_references.iter().flatten().next();
        // Left behind on purpose, or handed over to the PipelineRun, which is Tekton's own business.
        let ours = owner.is_some_and(|owner| owner.uid == child.run);
        if child.end.is_none() && ours {
            let run = run.map_or_else(|| "gone".to_owned(), |run| crate::ledger::tell_run(run));
            return broken(
                "no_child_outlives_its_run",
                format!("{} is at work, and its run: {run}", child.name),
            );
        }
        let expired = run.and_then(|run| {
            let plan = &world.plans[world.ledger.runs.get(uid_of(&**run))?.plan];
            let accepted = !run.status.as_ref()?.extra_fields.get("plan")?.is_null();
            plan.build.ttl.filter(|_| accepted)
        });
        if ours && expired.is_some() && world.server.task_runs.get(&child.name).is_some() {
            return broken("children_go_when_their_time_has_come", format!("{} is still there", child.name));
        }
    }
    Ok(())
}

/// The caches are what the server has.
fn caught_up(world: &World, replica: &Replica) -> Check {
    let cache = &replica.context.cache;
    let wrong = |what: String| broken("caches_catch_up", what);
    if !replica.queue.is_quiet() {
        return wrong("the queue is not quiet".to_owned());
    }
    let ours: Vec<&Arc<CustomRun>> =
        world.server.runs.iter().map(|(_, run)| run).filter(|run| run.is_ours()).collect();
    for run in &ours {
        let key = archfan::shell::api::Key::new(
            crate::server::NAMESPACE,
            run.metadata.name.clone().unwrap_or_default(),
        );
        let cached = cache.run(&key);
        if cached.as_ref().map(|run| version_of(&**run)) != Some(version_of(&***run)) {
            return wrong(format!(
                "{key} is {} and is cached as {:?}",
                version_of(&***run),
                cached.map(|run| version_of(&*run))
            ));
        }
    }
    if cache.all_runs().len() != ours.len() {
        return wrong("a run is cached that is not there".to_owned());
    }
    for run in &ours {
        let cached = cache.children_of(uid_of(&***run));
        let real: Vec<(String, u64)> = world
            .server
            .task_runs
            .iter()
            .filter(|(_, task_run)| !labelled(task_run, label::ROLE).is_empty())
            .filter(|(_, task_run)| {
                task_run
                    .metadata
                    .owner_references
                    .iter()
                    .flatten()
                    .next()
                    .is_some_and(|owner| owner.uid == uid_of(&***run))
            })
            .map(|(name, task_run)| (name.clone(), version_of(&**task_run)))
            .collect();
        let seen: Vec<(String, u64)> =
            cached.iter().map(|(name, child)| (name.clone(), version_of(&**child))).collect();
        if seen != real {
            return wrong(format!("the children are {real:?} and are cached as {seen:?}"));
        }
    }
    Ok(())
}

/// A run costs what it must and, for each fault, a little more.
fn bounded(world: &World, uid: &str, record: &RunRecord) -> Check {
    let plan = &world.plans[record.plan];
    let children =
        u32::try_from(plan.build.children() + usize::from(plan.build.index.is_some())).unwrap_or(u32::MAX);
    let made = u32::try_from(world.ledger.children_of(uid).count()).unwrap_or(u32::MAX);
    // That it is accepted, that it waits for its claim, its end; and of each attempt: the TaskRun, its pod, that no node takes it, what nodes
    // that come change of that, its node, its first step, its end.
    let changes = 2 + u32::from(plan.build.volume.is_some()) + children * (plan.retries + 1) * 7;
    let excess = |what: &str, found: u32, most: u32| {
        broken("writes_are_bounded", format!("{}: {found} {what}, and at most {most} are due", record.name))
    };
    if world.knobs.calm && world.part == Part::Calm {
        // To the call, where nothing goes wrong.
        if record.creates_asked != made {
            return excess("creates", record.creates_asked, made);
        }
        if record.status_asked != record.status_writes {
            return excess("status writes", record.status_asked, record.status_writes);
        }
        if record.status_writes > changes {
            return excess("status writes", record.status_writes, changes);
        }
        if record.cancels_asked > made {
            return excess("cancels", record.cancels_asked, made);
        }
        return Ok(());
    }
    let troubles = world.ledger.troubles + 2;
    let most = changes + troubles * (children + 4) * 2;
    for (what, found) in [
        ("creates", record.creates_asked),
        ("status writes", record.status_asked),
        ("cancels", record.cancels_asked),
    ] {
        if found > most {
            return excess(what, found, most);
        }
    }
    Ok(())
}

/// Without faults every transition is told.
fn told(world: &World, uid: &str, record: &RunRecord) -> Check {
    if !world.knobs.calm {
        return Ok(());
    }
    let Some(run) = &record.ended else { return Ok(()) };
    let (_, reason) = crate::ledger::verdict(run);
    let told = |about: &str, reason: &str| {
        record.told.iter().any(|(said_about, said)| said_about == about && said == reason)
    };
    let missing = |what: String| {
        broken("an_event_is_told_once", format!("{uid}: {what} was not told: {:?}", record.told))
    };
    if !told("", reason) {
        return missing(format!("the end, {reason},"));
    }
    for platform in super::platforms(run) {
        let word = if platform.reason == "Reused" { "Reused" } else { "Built" };
        if platform.phase == "Succeeded" && !told(platform.name, word) {
            return missing(format!("that {} was built", platform.name));
        }
    }
    Ok(())
}
