//! How many children may run at once: `strategy.maxParallel`.
//!
//! Places are given in the order of the platform list, so a platform is never overtaken by a later one, and a platform that has begun
//! its chain goes on with it before the next platform begins.

use crate::api::status::{Phase, PlatformStatus};

/// How many more children may be created; `None` is any number.
pub fn free_places(most: Option<usize>, platforms: &[PlatformStatus]) -> Option<usize> {
    let most = most?;
    let active = platforms
        .iter()
        .flat_map(|platform| &platform.tasks)
        .filter(|task| matches!(task.phase, Phase::Pending | Phase::Running))
        .count();
    Some(most.saturating_sub(active))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::TaskStatus;

    #[test]
    fn children_that_have_not_ended_hold_a_place() {
        let platform = |phases: &[Phase]| PlatformStatus {
            tasks: phases.iter().map(|phase| TaskStatus { phase: *phase, ..TaskStatus::default() }).collect(),
            ..PlatformStatus::default()
        };
        let platforms = [
            platform(&[Phase::Succeeded, Phase::Running]),
            platform(&[Phase::Pending, Phase::Waiting]),
            platform(&[Phase::Failed, Phase::Waiting]),
            platform(&[Phase::Waiting]),
        ];
        assert_eq!(free_places(None, &platforms), None);
        assert_eq!(free_places(Some(3), &platforms), Some(1));
        assert_eq!(free_places(Some(2), &platforms), Some(0));
        assert_eq!(free_places(Some(1), &platforms), Some(0));
    }
}
