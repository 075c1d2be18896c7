//! What is made, and when.

use std::sync::Arc;

use archfan::api::names::label;
use archfan::api::tekton::{ParamValue, TaskRun};
use archfan::core::children::TaskRunBody;

use super::{Check, PlatformView, TaskView, broken, is_final, platforms};
use crate::coverage::Point;
use crate::ledger::Child;
use crate::scenario::{IndexPlan, PlatformPlan, RunPlan};
use crate::world::{Caller, TOUCHED, World};

/// The server has made a child.
pub fn on_create(world: &mut World, caller: &Caller, body: &Arc<TaskRunBody>, task_run: &TaskRun) -> Check {
    let Some(child) = world.ledger.children.last().cloned() else { return Ok(()) };
    let looked_at = world.ledger.looks.get(&(caller.replica, caller.reconcile)).cloned().unwrap_or_default();
    if child.run != looked_at {
        return broken(
            "a_foreign_object_is_never_written",
            format!("{} is made for the run {}, while {looked_at} was looked at", child.name, child.run),
        );
    }
    let Some(record) = world.ledger.runs.get(&child.run) else { return Ok(()) };
    let plan = world.plans[record.plan].clone();
    world.coverage.meet(if child.role == label::ROLE_INDEX { Point::IndexMade } else { Point::Served });
    if world.ledger.children.iter().any(|other| is_same_task(other, &child) && other.uid != child.uid) {
        world.coverage.meet(Point::ChildRecreated);
    }
    one_child(world, &child)?;
    nothing_final(world, &child)?;
    if world.ledger.is_edited(&child.run) {
        // What it asks for is no longer what was drawn.
        return Ok(());
    }
    as_asked(world, &plan, &child, body, task_run)?;
    labels(world, caller, &child, body)?;
    if child.role == label::ROLE_INDEX {
        return index(world, &plan, &child);
    }
    order(world, &plan, &child)?;
    max_parallel(world, &plan, &child)
}

fn is_same_task(one: &Child, other: &Child) -> bool {
    (&one.run, &one.role, &one.platform, &one.task) == (&other.run, &other.role, &other.platform, &other.task)
}

fn one_child(world: &World, child: &Child) -> Check {
    let twin = world.ledger.children.iter().find(|other| {
        is_same_task(other, child) && other.uid != child.uid && other.there && other.end.is_none()
    });
    match twin {
        None => Ok(()),
        Some(twin) => broken(
            "one_child_per_platform_and_task",
            format!("{} ({}) is made while {} ({}) is at work", child.name, child.uid, twin.name, twin.uid),
        ),
    }
}

fn nothing_final(world: &World, child: &Child) -> Check {
    if child.orphan || world.ledger.overlap {
        return Ok(());
    }
    let run = world.server.runs.iter().find(|(_, run)| run.metadata.uid.as_ref() == Some(&child.run));
    let Some((name, run)) = run else { return Ok(()) };
    let found = platforms(run);
    let task = found
        .iter()
        .filter(|platform| key(world, platform.name) == child.platform)
        .flat_map(|platform| &platform.tasks)
        .find(|task| task.name == child.task);
    match task {
        Some(task) if is_final(task.phase) => broken(
            "nothing_final_is_made_again",
            format!("{} is made although the status of {name} says {}", child.name, task.phase),
        ),
        _ => Ok(()),
    }
}

/// A child's task, if its run reports that it was taken over from an earlier run: another replica has made the child meanwhile, for nothing.
pub(super) fn taken_over<'a>(
    world: &World,
    platforms: &'a [PlatformView<'_>],
    child: &Child,
) -> Option<&'a TaskView<'a>> {
    let platform = platforms.iter().find(|platform| key(world, platform.name) == child.platform)?;
    platform.tasks.iter().find(|task| task.name == child.task && !task.reused.is_empty())
}

/// The key of a platform that is named as OCI does.
fn key(world: &World, name: &str) -> String {
    world
        .plans
        .iter()
        .flat_map(|plan| &plan.build.platforms)
        .find(|platform| platform.name == name)
        .map_or_else(|| name.replace('/', "-"), |platform| platform.key.to_owned())
}

fn as_asked(
    world: &mut World,
    plan: &RunPlan,
    child: &Child,
    body: &Arc<TaskRunBody>,
    task_run: &TaskRun,
) -> Check {
    let wrong = |what: &str| broken("a_child_is_made_as_asked", format!("{}: {what}: {body:?}", child.name));
    let owners = task_run.metadata.owner_references.as_deref().unwrap_or_default();
    let Some(first) = owners.first() else { return wrong("it has no owner") };
    if first.kind != "CustomRun" || first.name != plan.name {
        return wrong("its first owner is not its run");
    }
    let is_index = child.role == label::ROLE_INDEX;
    let controllers = owners.iter().filter(|owner| owner.controller == Some(true)).count();
    let wanted = if is_index && plan.pipeline.is_some() { 2 } else { 1 };
    if controllers != 1 || owners.len() != wanted || (wanted == 2 && owners[1].kind != "PipelineRun") {
        return wrong("its owners are not those that Tekton and Chains need");
    }
    if body.spec.retries != plan.retries {
        return wrong("it has other retries than its run");
    }
    if is_index {
        if child.name != plan.name {
            return wrong("the index does not bear its run's name");
        }
    } else {
        let Some(platform) = plan.build.platforms.iter().find(|platform| platform.key == child.platform)
        else {
            return wrong("the build lists no such platform");
        };
        let selector = body.spec.pod_template.as_ref().and_then(|template| template.get("nodeSelector"));
        let arch = selector.and_then(|selector| selector.get("kubernetes.io/arch")?.as_str());
        if arch != Some(platform.arch) {
            return wrong("its pod would not go to a node of its platform");
        }
    }
    let key = (child.run.clone(), child.platform.clone(), child.task.clone());
    let meddled = world.ledger.runs.get(&child.run).is_some_and(|run| !run.meddled.is_empty());
    match world.ledger.bodies.get(&key) {
        Some(before)
            if !meddled && !plan.build.tasks.iter().any(|task| task.takes) && !is_same(before, body) =>
        {
            wrong(&format!("it is not what it was before: {before:?}"))
        }
        _ => {
            world.ledger.bodies.insert(key, body.clone());
            Ok(())
        }
    }
}

/// Whether a task does not run on a platform.
pub(super) fn is_skipped(plan: &RunPlan, platform: &PlatformPlan, task: usize) -> bool {
    // `$(platform.arch)` is the platform's own, not that of the nodes it is built on.
    let arch = platform.name.split('/').nth(1).unwrap_or_default();
    plan.build.tasks[task].only_on.is_some_and(|only| only != arch)
}

/// Children of a platform's task that have succeeded, those of earlier runs that may be taken over among them.
pub(super) fn successes<'a>(
    world: &'a World,
    run: &'a str,
    plan: &'a RunPlan,
    platform: &'a str,
    task: &'a str,
) -> impl Iterator<Item = &'a Child> {
    let reuse = plan.build.reuse;
    world.ledger.children.iter().filter(move |child| {
        (child.run == run || reuse)
            && child.role == label::ROLE_BUILD
            && child.platform == platform
            && child.task == task
            && child.end.as_ref().is_some_and(|end| end.status == "True")
    })
}

/// Whether two bodies are the same but for the label that a user may put on a run under way.
fn is_same(one: &TaskRunBody, other: &TaskRunBody) -> bool {
    let bare = |body: &TaskRunBody| {
        let mut metadata = body.metadata.clone();
        metadata.labels.remove(TOUCHED);
        metadata
    };
    one == other
        || (one.api_version, one.kind) == (other.api_version, other.kind)
            && one.spec == other.spec
            && bare(one) == bare(other)
}

/// A child bears the labels that its run had when it was looked at, as Tekton's own TaskRuns do: those that are made later get what
/// was put on the run meanwhile.
fn labels(world: &World, caller: &Caller, child: &Child, body: &TaskRunBody) -> Check {
    let wrong = |what: &str| broken("a_child_is_made_as_asked", format!("{}: {what}", child.name));
    let bears = |run: &archfan::api::tekton::CustomRun| {
        run.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(TOUCHED))
    };
    let touched = body.metadata.labels.contains_key(TOUCHED);
    let mut runs = world.server.runs.iter().map(|(_, run)| run);
    let now = runs.find(|run| run.metadata.uid.as_ref() == Some(&child.run));
    if touched && now.is_some_and(|run| !bears(run)) {
        return wrong("it has a label that its run has not");
    }
    let replica = world.replicas.iter().find(|replica| replica.number == caller.replica);
    let look = replica.and_then(|replica| replica.reconcile(caller.reconcile));
    if !caller.abandoned && !touched && look.is_some_and(|look| bears(&look.run)) {
        return wrong("it lacks a label of its run");
    }
    Ok(())
}

fn order(world: &World, plan: &RunPlan, child: &Child) -> Check {
    let Some(place) = plan.build.tasks.iter().position(|task| task.name == child.task) else {
        return broken(
            "a_child_is_made_as_asked",
            format!("{}: the build has no task {}", child.name, child.task),
        );
    };
    let Some(platform) = plan.build.platforms.iter().find(|platform| platform.key == child.platform) else {
        return Ok(());
    };
    if is_skipped(plan, platform, place) {
        return broken(
            "a_chain_keeps_its_order",
            format!("{} is made although its when says no", child.name),
        );
    }
    for (index, task) in plan.build.tasks.iter().enumerate().take(place) {
        let done = is_skipped(plan, platform, index)
            || successes(world, &child.run, plan, platform.key, task.name).next().is_some();
        if !done {
            return broken(
                "a_chain_keeps_its_order",
                format!("{} is made before {} has succeeded", child.name, task.name),
            );
        }
    }
    Ok(())
}

fn max_parallel(world: &World, plan: &RunPlan, child: &Child) -> Check {
    let most = plan.build.max_parallel;
    if most == 0 || world.ledger.overlap {
        return Ok(());
    }
    let at_work: Vec<&str> = world
        .ledger
        .children_of(&child.run)
        .filter(|child| child.role == label::ROLE_BUILD && child.there && child.end.is_none())
        .map(|child| child.name.as_str())
        .collect();
    if at_work.len() > most {
        return broken(
            "max_parallel_is_kept",
            format!("{} are at work at once, and {most} may be", at_work.join(", ")),
        );
    }
    Ok(())
}

/// The index names what was built.
fn index(world: &World, plan: &RunPlan, child: &Child) -> Check {
    let wrong = |what: String| broken("the_index_is_whole", format!("{}: {what}", child.name));
    let args = child.body.spec.task_spec.as_ref().and_then(|spec| spec.pointer("/steps/0/args")?.as_array());
    let args: Vec<&str> = args.into_iter().flatten().filter_map(|arg| arg.as_str()).collect();
    let Some(dashes) = args.iter().position(|arg| *arg == "--") else {
        return wrong(format!("its arguments are not understood: {args:?}"));
    };
    let mut members = args[dashes + 1..].iter().skip(1);
    let mut next = members.next();
    for platform in &plan.build.platforms {
        let source = next.and_then(|member| member.strip_prefix(platform.name)?.strip_prefix('='));
        match source {
            None if platform.required => {
                return wrong(format!("{} is required and not in it: {args:?}", platform.name));
            }
            None => {}
            Some(source) => {
                let real = match plan.build.index {
                    Some(IndexPlan::Archives) => source.starts_with("archive:/workspace/archives/"),
                    _ => sources(world, plan, child, platform).iter().any(|real| real == source),
                };
                if !real {
                    return wrong(format!("no child of {} has reported {source}", platform.name));
                }
                next = members.next();
            }
        }
    }
    match next {
        None => Ok(()),
        Some(more) => wrong(format!("it names {more} out of order, or what was not built")),
    }
}

/// What a platform's children have reported as their image.
fn sources(world: &World, plan: &RunPlan, index: &Child, platform: &PlatformPlan) -> Vec<String> {
    let tasks = plan.build.tasks.iter();
    tasks
        .flat_map(|task| successes(world, &index.run, plan, platform.key, task.name))
        .filter_map(|child| {
            let results = &child.end.as_ref()?.results;
            let text = |name: &str| match &results.iter().find(|result| result.name == name)?.value {
                ParamValue::String(text) => Some(text.trim_end().to_owned()),
                _ => None,
            };
            let url = text("IMAGE_URL")?;
            Some(format!("docker://{}@{}", url.strip_suffix(":v1")?, text("IMAGE_DIGEST")?))
        })
        .collect()
}
