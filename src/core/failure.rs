//! When a failure ends a run, and what is left out.

use super::problem::Reason;
use super::request::Request;
use crate::api::status::{Ending, Phase, PlatformStatus};

/// The end that the platforms' failures bring about.
///
/// With `failFast` the first final failure of a required platform ends the run, and the others are cancelled. Without it every
/// platform is let finish. Optional platforms never end a run, unless all platforms are optional and all have failed.
pub fn ending(request: &Request, platforms: &[PlatformStatus]) -> Option<Ending> {
    let of = |phase: Phase| -> Vec<&PlatformStatus> {
        platforms.iter().filter(|platform| platform.required && platform.phase == phase).collect()
    };
    // A platform that was cancelled with the run is a consequence, not a cause, as long as there is another.
    let failed = Some(of(Phase::Failed)).filter(|failed| !failed.is_empty());
    let failed = failed.unwrap_or_else(|| of(Phase::Cancelled));
    let all_done = platforms.iter().all(|platform| platform.phase.is_final());
    if !failed.is_empty() && (request.strategy.fail_fast || all_done) {
        let told: Vec<String> = failed.iter().map(|platform| tell(platform)).collect();
        return Some(Ending { reason: reason(&failed).as_str().to_owned(), message: told.join("; ") });
    }
    let built = platforms.iter().any(|platform| platform.phase.lets_go_on());
    if all_done && !built && failed.is_empty() {
        return Some(Ending {
            reason: Reason::NothingBuilt.as_str().to_owned(),
            message: "every platform is optional, and every one failed".to_owned(),
        });
    }
    None
}

fn is_failure(platform: &PlatformStatus) -> bool {
    matches!(platform.phase, Phase::Failed | Phase::Cancelled)
}

/// Why the run failed, where every failed platform failed for the same reason of ours; else that a build failed.
fn reason(failed: &[&PlatformStatus]) -> Reason {
    const OURS: [Reason; 6] = [
        Reason::NameTaken,
        Reason::ChildRejected,
        Reason::PendingTimeout,
        Reason::WrongNode,
        Reason::UnknownVariable,
        Reason::InvalidField,
    ];
    OURS.into_iter()
        .find(|reason| failed.iter().all(|platform| platform.reason == reason.as_str()))
        .unwrap_or(Reason::BuildFailed)
}

/// Says that a platform failed, and why.
pub fn tell(platform: &PlatformStatus) -> String {
    match platform.message.as_str() {
        "" => format!("{} failed", platform.platform),
        message => format!("{} failed: {message}", platform.platform),
    }
}

/// The optional platforms that failed: they are not in the index, and the run says so.
pub fn left_out(platforms: &[PlatformStatus]) -> impl Iterator<Item = &PlatformStatus> {
    platforms.iter().filter(|platform| !platform.required && is_failure(platform))
}
