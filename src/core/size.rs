//! How much room a run's status takes, and what it does without before that is too much.
//!
//! An object may have 1.5 MB ([`MOST_BYTES`]), and the status of a run has an entry for each task of each platform: 64 platforms with 64
//! tasks are 4,096. A name may have 63 characters, that of a node 253, so entries with everything in them would not fit. What is only for
//! people goes first: of a task that has ended well, where it ran. What a decision needs, and what tasks wrote, is never left out; if it
//! does not fit, the run ends and says so.

use super::problem::Reason;
use super::results::MOST_BYTES;
use crate::api::status::{Ending, Phase, PlatformStatus, TaskStatus};
use crate::api::tekton::ParamValue;

/// Above this the entries leave out what they can, in bytes: half of what there is, so that as much is left for results.
const ROOMY: usize = MOST_BYTES / 2;
/// What an entry takes beside its texts: names of fields, its phase, two times.
const ENTRY: usize = 140;
/// What a field takes beside its text, where it may be left out.
const FIELD: usize = 16;

/// How many bytes the entries take, with what their tasks wrote.
pub fn of(platforms: &[PlatformStatus]) -> usize {
    let texts = |platform: &PlatformStatus| {
        optional([&platform.reason, &platform.message, &platform.node, &platform.digest])
    };
    platforms
        .iter()
        .map(|platform| ENTRY + texts(platform) + platform.tasks.iter().map(of_task).sum::<usize>())
        .sum()
}

/// The same once the run has ended: `status.results` has then what the tasks wrote.
pub fn without_results(platforms: &[PlatformStatus]) -> usize {
    let results = platforms.iter().flat_map(|platform| &platform.tasks).map(of_results);
    of(platforms) - results.sum::<usize>()
}

fn of_task(task: &TaskStatus) -> usize {
    let names = task.name.len() + task.task_run.len();
    let texts = optional([&task.reason, &task.message, &task.pod, &task.node, &task.replacing, &task.reused]);
    ENTRY + names + texts + of_results(task)
}

fn of_results(task: &TaskStatus) -> usize {
    task.results.iter().map(|result| result.name.len() + of_value(&result.value) + FIELD).sum()
}

fn optional<const N: usize>(texts: [&String; N]) -> usize {
    texts.iter().filter(|text| !text.is_empty()).map(|text| text.len() + FIELD).sum()
}

fn of_value(value: &ParamValue) -> usize {
    match value {
        ParamValue::String(text) => text.len(),
        other => other.to_string().len(),
    }
}

/// Leaves out where tasks ran that have ended well, if the entries take much room. The last of each platform stays: it speaks for it.
pub fn tighten(platforms: &mut [PlatformStatus]) {
    if of(platforms) <= ROOMY {
        return;
    }
    for platform in platforms {
        let last = platform.tasks.iter().rposition(|task| !task.node.is_empty());
        let before = &mut platform.tasks[..last.unwrap_or_default()];
        for task in before.iter_mut().filter(|task| task.phase == Phase::Succeeded) {
            task.pod.clear();
            task.node.clear();
        }
    }
}

/// The end of a run of which more is to be told than an object takes.
pub fn ending(bytes: usize) -> Option<Ending> {
    (bytes > MOST_BYTES).then(|| Ending {
        reason: Reason::ResultsTooLarge.as_str().to_owned(),
        message: format!(
            "what the run has to tell takes {bytes} bytes, and an object takes {MOST_BYTES} at most; have the tasks write less, for instance a digest instead of a document, or build for fewer platforms in one run"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::ExtraFields;
    use crate::api::tekton::TaskRunResult;
    use crate::core::status::whole_seconds;

    /// The largest run that is taken on, with names as long as they may be, on its way: every task but the last of each platform is done.
    fn largest() -> Vec<PlatformStatus> {
        let time = || Some(whole_seconds("2026-01-01T10:00:00Z".parse().unwrap()));
        let task = |number: usize| TaskStatus {
            name: format!("{number:063}"),
            task_run: "r".repeat(63),
            phase: if number < 63 { Phase::Succeeded } else { Phase::Running },
            pod: "p".repeat(63),
            node: "n".repeat(253),
            start_time: time(),
            completion_time: time(),
            ..TaskStatus::default()
        };
        let platform = |number: usize| PlatformStatus {
            platform: format!("linux/arm64/v8.{number}"),
            required: true,
            phase: Phase::Running,
            message: "m".repeat(1000),
            node: "n".repeat(253),
            start_time: time(),
            tasks: (0..64).map(task).collect(),
            ..PlatformStatus::default()
        };
        (0..64).map(platform).collect()
    }

    fn written(platforms: &[PlatformStatus]) -> usize {
        let extra = ExtraFields { platforms: platforms.to_vec(), ..ExtraFields::default() };
        serde_json::to_string(&extra).unwrap().len()
    }

    #[test]
    fn the_largest_run_fits_into_its_status() {
        let mut platforms = largest();
        assert!(written(&platforms) > 2_000_000, "without more it would not");
        tighten(&mut platforms);
        let size = of(&platforms);
        assert!(size < 1_250_000, "{size} bytes leave no room for results");
        assert_eq!(ending(size), None);
        let written = written(&platforms);
        assert!(written <= size && size < written + written / 5, "{size} is said to be {written}");
        assert_eq!(platforms[9].tasks[63].node.len(), 253, "where a platform is now is still told");
        let before = platforms.clone();
        tighten(&mut platforms);
        assert_eq!(platforms, before);
    }

    /// They move to `status.results` at the end, where they are counted anew.
    #[test]
    fn results_are_counted_once() {
        let mut platforms = largest();
        platforms.truncate(2);
        let empty = of(&platforms);
        for (task, value) in platforms.iter_mut().flat_map(|platform| &mut platform.tasks).zip(0..) {
            let value = ParamValue::String("v".repeat(value));
            task.results = vec![TaskRunResult { name: "IMAGE_URL".to_owned(), value }];
        }
        assert!(of(&platforms) > empty + 128 * "IMAGE_URL".len(), "{} and {empty}", of(&platforms));
        assert_eq!(without_results(&platforms), empty);
    }

    #[test]
    fn a_run_ends_only_by_what_an_object_cannot_take() {
        assert_eq!(ending(MOST_BYTES), None);
        let ending = ending(MOST_BYTES + 1).expect("one byte more");
        assert_eq!(ending.reason, "ResultsTooLarge");
        assert!(
            ending.message.contains("takes 1400001 bytes, and an object takes 1400000"),
            "{}",
            ending.message
        );
    }

    #[test]
    fn an_ordinary_run_tells_everything() {
        let mut platforms = largest();
        platforms.truncate(8);
        let before = platforms.clone();
        tighten(&mut platforms);
        assert_eq!(platforms, before);
    }
}
