//! How many children may run at once: `strategy.maxParallel`.
//!
//! Places are given in the order of the platform list, so a platform is never overtaken by a later one, and a platform that has begun
//! its chain goes on with it before the next platform begins.

use crate::api::status::{Phase, PlatformStatus};

/// How many more children may be created, if so many are at work whose task was given up; `None` is any number.
pub fn free_places(
    most: Option<usize>,
    platforms: &[PlatformStatus],
    given_up_at_work: usize,
) -> Option<usize> {
    let most = most?;
    let active = platforms
        .iter()
        .flat_map(|platform| &platform.tasks)
        .filter(|task| matches!(task.phase, Phase::Pending | Phase::Running))
        .count();
    Some(most.saturating_sub(active + given_up_at_work))
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
        assert_eq!(free_places(None, &platforms, 0), None);
        assert_eq!(free_places(Some(3), &platforms, 0), Some(1));
        assert_eq!(free_places(Some(3), &platforms, 1), Some(0));
        assert_eq!(free_places(Some(2), &platforms, 0), Some(0));
        assert_eq!(free_places(Some(1), &platforms, 0), Some(0));
    }
}
