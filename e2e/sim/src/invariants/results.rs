//! What a run reports, held against what its children have really written.

use std::collections::BTreeMap;

use archfan::api::names::label;
use archfan::api::tekton::{CustomRun, ParamValue, TaskRunResult};

use super::{Check, PlatformView, TaskView, broken, index};
use crate::ledger::Child;
use crate::scenario::RunPlan;
use crate::world::World;

/// Results by name.
type Results = BTreeMap<String, String>;

/// Names that speak of the index where there is one.
const OF_INDEX: [&str; 4] = ["IMAGES", "IMAGE_DIGEST", "IMAGE_REF", "IMAGE_URL"];

/// A run has ended with results.
pub(super) fn check(
    world: &World,
    uid: &str,
    plan: &RunPlan,
    run: &CustomRun,
    platforms: &[PlatformView<'_>],
) -> Check {
    let reported: Results = run
        .status
        .iter()
        .flat_map(|status| &status.results)
        .map(|result| (result.name.clone(), result.value.clone()))
        .collect();
    let wrong = |what: String| {
        broken(
            "results_are_what_the_children_said",
            format!("{what}; reported: {reported:?}; {}", crate::ledger::tell_run(run)),
        )
    };
    let names: Vec<&String> =
        run.status.iter().flat_map(|status| &status.results).map(|result| &result.name).collect();
    if !names.is_sorted() || names.len() != reported.len() {
        return wrong("the results are not sorted by name, or one is there twice".to_owned());
    }
    let (status, reason) = crate::ledger::verdict(run);
    if reported.is_empty() {
        // Of a status that the server does not take, the results and the tasks are left out, and it says so.
        let left_out = world.knobs.too_large > 0
            && platforms.iter().all(|platform| platform.tasks.is_empty())
            && crate::ledger::message(run).contains("larger than the API server takes");
        let unread = platforms.is_empty()
            || left_out
            || matches!(reason, "SpecChanged" | "ResultsTooLarge" | "CustomRunCancelled" | "ClaimNotFound")
            || world.ledger.runs.get(uid).is_some_and(|record| record.edited)
            || is_refusal(reason);
        return if unread && status != "True" { Ok(()) } else { wrong("there are none".to_owned()) };
    }
    let mut expected = Results::new();
    let mut built: Vec<(&str, Results)> = Vec::new();
    for platform in platforms {
        let Some(wanted) = plan.build.platforms.iter().find(|wanted| wanted.name == platform.name) else {
            if world.ledger.is_edited(uid) {
                return Ok(());
            }
            return wrong(format!("the build lists no {}", platform.name));
        };
        let prefix = format!("{}-", wanted.key);
        let said: Results = reported
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.to_owned(), value.clone())))
            .filter(|(name, _)| is_result(name))
            .collect();
        let choices = choices(world, uid, plan, wanted.key, &platform.tasks);
        let Some(real) = choices.iter().find(|choice| **choice == said) else {
            return wrong(format!("{} has written one of {choices:?}", platform.name));
        };
        expected.extend(real.iter().map(|(name, value)| (format!("{prefix}{name}"), value.clone())));
        if platform.phase == "Succeeded" {
            built.push((platform.name, real.clone()));
        }
    }
    let list = |values: Vec<&str>| serde_json::to_string(&values).unwrap_or_default();
    expected.insert("PLATFORMS".to_owned(), list(built.iter().map(|(name, _)| *name).collect()));
    for name in
        built.first().map(|(_, results)| results.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
    {
        let values: Vec<&str> =
            built.iter().filter_map(|(_, results)| results.get(&name).map(String::as_str)).collect();
        let claimed = plan.build.index.is_some() && OF_INDEX.contains(&name.as_str());
        if values.len() == built.len() && !claimed {
            expected.insert(name, list(values));
        }
    }
    if plan.build.index.is_some() && index(run).is_some_and(|index| index.phase == "Succeeded") {
        let said: Results = OF_INDEX
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), reported.get(*name)?.clone())))
            .collect();
        let of_index = world.ledger.children_of(uid).filter(|child| child.role == label::ROLE_INDEX);
        let choices: Vec<Results> = of_index.filter_map(|child| written(child, "True")).collect();
        if !choices.contains(&said) {
            return wrong(format!("the index has written one of {choices:?}"));
        }
        expected.extend(said);
    }
    if expected == reported { Ok(()) } else { wrong(format!("expected {expected:?}")) }
}

/// Names that children write. A platform's key may be the beginning of another's.
fn is_result(name: &str) -> bool {
    matches!(name, "IMAGE_DIGEST" | "IMAGE_URL" | "LAYERS")
}

fn is_refusal(reason: &str) -> bool {
    matches!(
        reason,
        "WorkspaceNotShareable" | "TooManyClaims" | "VolumeNotReachable" | "ChildRejected" | "NameTaken"
    )
}

/// What a platform's tasks may have written, as its status tells them: one for each way of choosing among children that were made
/// more than once.
fn choices(world: &World, uid: &str, plan: &RunPlan, platform: &str, tasks: &[TaskView<'_>]) -> Vec<Results> {
    let mut all = vec![Results::new()];
    for task in tasks {
        let status = match task.phase {
            "Succeeded" => "True",
            "Failed" | "Cancelled" => "False",
            _ => continue,
        };
        let children = world.ledger.children.iter().filter(|child| {
            let own = if task.reused.is_empty() {
                child.run == uid
            } else {
                child.name == task.reused && plan.build.reuse
            };
            own && child.role == label::ROLE_BUILD && child.platform == platform && child.task == task.name
        });
        let mut written: Vec<Results> = children
            .filter_map(|child| {
                // Where a pod has run on a foreign node, a success counts as a failure.
                let misplaced = task.reason == "WrongNode" && world.ledger.misplaced.contains(&child.uid);
                written(child, if misplaced { &child.end.as_ref()?.status } else { status })
            })
            .collect();
        if status == "False" {
            // It may have been given up without a child.
            written.push(Results::new());
        }
        all = all
            .iter()
            .flat_map(|before| {
                written.iter().map(move |more| {
                    let mut both = before.clone();
                    both.extend(more.clone());
                    both
                })
            })
            .collect();
    }
    all
}

fn written(child: &Child, status: &str) -> Option<Results> {
    let end = child.end.as_ref().filter(|end| end.status == status)?;
    Some(end.results.iter().map(|result| (result.name.clone(), text(result))).collect())
}

fn text(result: &TaskRunResult) -> String {
    match &result.value {
        ParamValue::String(text) => text.trim_end_matches(['\n', '\r']).to_owned(),
        other => other.to_string(),
    }
}
