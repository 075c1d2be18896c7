//! Why a run has failed: a word that is told must stand for something that has really happened.

use archfan::api::names::label;

use super::{Check, PlatformView, broken};
use crate::scenario::{Broken, IndexPlan, RunPlan, VolumePlan};
use crate::server::Refuse;
use crate::world::World;

/// A run is reported as failed, with a reason.
pub(super) fn check(
    world: &World,
    uid: &str,
    plan: &RunPlan,
    reason: &str,
    platforms: &[PlatformView<'_>],
) -> Check {
    let wrong =
        |what: &str| broken("a_verdict_has_its_reason", format!("{}: {reason}, and {what}", plan.name));
    let build = &plan.build;
    let not_built = |required: bool| {
        build.platforms.iter().filter(|wanted| wanted.required == required).any(|wanted| {
            let seen = platforms.iter().find(|platform| platform.name == wanted.name);
            seen.is_some_and(|platform| matches!(platform.phase, "Failed" | "Cancelled"))
        })
    };
    let left_out = platforms.is_empty() && world.knobs.too_large > 0;
    let failed =
        world.ledger.children_of(uid).any(|child| child.end.as_ref().is_some_and(|end| end.status != "True"));
    let namesake = |uid: &str| {
        let others = world.ledger.runs.iter().any(|(other, record)| other != uid && record.name == plan.name);
        others || !world.ledger.strangers.is_empty()
    };
    let refused = |how: &[Refuse]| how.iter().any(|how| world.ledger.refused.contains(how));
    let template = build.volume == Some(VolumePlan::Template);
    let held = match reason {
        // Of a status that the server does not take, the platforms are left out.
        "BuildFailed" | "PendingTimeout" | "WrongNode" => not_built(true) || left_out && failed,
        "NothingBuilt" => !build.platforms.iter().any(|platform| platform.required),
        "ChildRejected" => refused(&[Refuse::Webhook, Refuse::Invalid]) || template,
        "NameTaken" => namesake(uid) || template,
        "IndexFailed" => world.ledger.children_of(uid).any(|child| {
            child.role == label::ROLE_INDEX
                && (!child.there || child.end.as_ref().is_some_and(|end| end.status != "True"))
        }),
        "ResultMissing" => build.index == Some(IndexPlan::Results),
        "WorkspaceNotShareable" => build.volume == Some(VolumePlan::OneNode),
        "ResultsTooLarge" => world.knobs.too_large > 0,
        "MultiArchBuildNotFound" => build.broken == Some(Broken::Reference),
        "EmptySpec"
        | "UnknownField"
        | "InvalidField"
        | "InvalidPlatform"
        | "UnknownVariable"
        | "SelectorContradictsPlatform"
        | "InvalidRun"
        | "NoPlatforms"
        | "DuplicatePlatform"
        | "AmbiguousTask"
        | "MissingParam"
        | "MissingWorkspace"
        | "UnknownWorkspace"
        | "NoTask" => {
            // A result that a task takes, and that the task before it has not written.
            let taken = reason == "UnknownVariable" && build.tasks.iter().any(|task| task.takes);
            build.broken.is_some() || taken
        }
        "CustomRunCancelled" | "CustomRunTimedOut" | "ClaimNotFound" | "SpecChanged" => true,
        _ => return wrong("no schedule can bring that about"),
    };
    if held { Ok(()) } else { wrong("nothing of the kind has happened") }
}
