//! Which task of a chain comes next on a platform.

use super::path::Path;
use super::problem::Problem;
use super::request::{Request, Target};
use super::variables::TaskResults;
use crate::api::multiarchbuild::WhenOperator;
use crate::api::status::{Phase, TaskStatus};

/// The task that is to be created next on a platform: the first that has not ended, if no TaskRun of it is there and everything
/// before it went well.
pub fn next(tasks: &[TaskStatus]) -> Option<usize> {
    let index = tasks.iter().position(|task| !task.phase.lets_go_on())?;
    (tasks[index].phase == Phase::Waiting).then_some(index)
}

/// Whether the `when` expressions of a task keep it from running on a platform. All of them must hold for it to run
/// (Tekton `docs/pipelines.md`, "Guard Task execution using when expressions").
///
/// # Errors
/// A variable that has no value.
pub fn is_skipped(
    request: &Request,
    target: &Target,
    index: usize,
    results: &TaskResults,
    root: &Path<'_>,
) -> Result<bool, Problem> {
    let task = &request.tasks[index];
    let scope = request.scope_on(&target.platform, Some(results));
    let list = root.field("tasks");
    let item = list.index(index);
    let when = item.field("when");
    for (place, expression) in task.written.when.iter().enumerate() {
        let path = when.index(place);
        let input = scope.text(&expression.input, &path.field("input"))?;
        let listed = scope.list(&expression.values, &path.field("values"))?.contains(&input);
        if listed != (expression.operator == WhenOperator::In) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_task_is_the_first_that_has_not_ended() {
        use Phase::{Failed, Pending, Running, Skipped, Succeeded, Waiting};
        for (phases, expected) in [
            (&[Waiting, Waiting][..], Some(0)),
            (&[Succeeded, Waiting], Some(1)),
            (&[Skipped, Waiting], Some(1)),
            (&[Running, Waiting], None),
            (&[Pending, Waiting], None),
            (&[Failed, Waiting], None),
            (&[Succeeded, Succeeded], None),
        ] {
            let tasks: Vec<TaskStatus> =
                phases.iter().map(|phase| TaskStatus { phase: *phase, ..TaskStatus::default() }).collect();
            assert_eq!(next(&tasks), expected, "{phases:?}");
        }
    }
}
